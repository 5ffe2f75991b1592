"""Does cost grow faster than the work? Time and memory against batch, pool, labels, classes and pixels.

    python benchmarks/scaling.py                 writes results/scaling.json
    python benchmarks/scaling.py --quick         two small points of each row, to see that it runs

Each point is a run of `semilla.fit` on made-up arrays, on one core, in a process of its own, so that its peak memory is
its own; that of an idle process is taken off. It is made twice, and the least counts. Seconds are those of the
processor, so that what else runs there counts less. A step is measured with its line of the log. ``start`` is all from
the call to the end of the first step: reading the arrays, choosing labels, split, scale, network and fingerprint;
``pass`` is one SHA-256 over the pool, to hold it against. ``finish`` is all after the last step: checkpoint, outputs,
calibration, model. ``evaluate`` and ``report`` follow on the run folder.

The exponent is that of growth beyond the constant between the two largest points: the slope of log(y - y1) over
log(n - n1), where y1 at n1 is the smallest point. Growth of less than `NOISE` of y1 cannot be told from none and
counts as that much, which can only make the exponent smaller. Peak memory is that of the largest part of a run, to
which the others add nothing, so that its exponent is that of the two points themselves. Linear is 1; a row passes up to
`MOST`. Where the work is in memory the two points are a factor of 4 apart and both beyond the caches, whose ends would
look like growth.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import json
import multiprocessing
import os
import resource
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

import semilla
from machine import provenance
from semilla.methods import names_for

METHODS = names_for("classes")
RESULTS = Path(__file__).parent / "results" / "scaling.json"
MOST, NOISE = 1.1, 0.1
ENVIRONMENT = {
    **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"),
    # glibc gives arrays beyond 32 MB back to the system and fetches them anew, at a cost that would look like growth
    **{"MALLOC_MMAP_THRESHOLD_": str(2**30), "MALLOC_TRIM_THRESHOLD_": str(2**33)},
}
COMMON: dict[str, Any] = {"recipe": None, "device": "cpu", "threads": 1, "log_every": 1}
COMMON |= {"precision": "fp32", "memory_format": "channels_last"}  # not the fastest, which would be raced for first
BASE = {"kind": "vectors", "pool": 4_000, "labels": 100, "classes": 10, "batch": 32, "side": 16, "test": 0, "steps": 12}
"""A point before its row changes something: ``batch`` labeled and twice as many unlabeled examples a step."""

CLASSES = {"pool": 40_000, "batch": 128, "steps": 8}
PICTURES = {"kind": "images", "pool": 200, "batch": 8, "steps": 4}

ROWS: list[dict[str, Any]] = [
    *({"of": "batch", "points": (64, 4_096, 16_384), "method": name, "pool": 20_000, "steps": 8} for name in METHODS),
    {"of": "batch", "points": (8, 32, 128), "method": "fixmatch", "kind": "images", "steps": 4},
    *({"of": "pool", "points": (10_000, 250_000, 1_000_000), "method": name} for name in METHODS),
    {"of": "pool", "points": (2_000, 50_000, 200_000), "method": "fixmatch", "kind": "images", "side": 32, "steps": 5},
    {"of": "labels", "points": (1_000, 10_000, 100_000), "method": "fixmatch", "pool": 200_000},
    *({"of": "classes", "points": (2, 100, 2_500, 10_000), "method": name, **CLASSES} for name in METHODS),
    {"of": "classes", "points": (2, 100, 2_500, 10_000), "method": "fixmatch", **CLASSES, "test": 1_000},
    *({"of": "side", "points": (16, 32, 64, 128), "method": name, **PICTURES} for name in METHODS),
]
"""What is varied, over which values, with which method, and what differs from `BASE`."""

SMALL = {"batch": (4, 8), "pool": (400, 800), "labels": (40, 80), "classes": (2, 20), "side": (8, 16)}
UNITS = {"start": "s", "pass": "s", "step": "ms", "finish": "s", "evaluate": "s", "report": "s", "peak": "MB"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=RESULTS, help="where to write the JSON")
    parser.add_argument("--quick", action="store_true", help="two small points of a few rows")
    parser.add_argument("--repeats", type=int, default=2, help="processes for each point, of which the least counts")
    parser.add_argument("--only", default="", help="rows whose name holds this, such as classes or pool/fixmatch")
    options = parser.parse_args()
    rows = [row for row in ROWS if options.only in name_of(row)]
    if options.quick:
        rows = [row | {"points": SMALL[row["of"]], "pool": 800} for row in rows if row["method"] == "fixmatch"]
    began = time.monotonic()
    print("| row | points | measured | at each point | exponent | |\n|---|---|---|---|---|---|")
    found = measured(rows, 1 if options.quick else options.repeats)
    slow = [f"{row['name']} {key}" for row in found for key, own in row["measured"].items() if not own["passes"]]
    minutes = (time.monotonic() - began) / 60
    print(f"\n{minutes:.1f} minutes; more than linear: {', '.join(slow) or 'nothing'}")
    written = {
        "rows": found,
        "base": BASE,
        "settings": COMMON,
        "most": MOST,
        "noise": NOISE,
        "repeats": options.repeats,
    }
    written |= {"minutes": round(minutes, 1), "provenance": provenance("torch", "numpy")}
    options.out.write_text(json.dumps(written, indent=1) + "\n")


def name_of(row: dict[str, Any]) -> str:
    more = "".join(f" {word}" for word in (row.get("kind"), "test" if row.get("test") else None) if word)
    return f"{row['of']}/{row['method']}{more}"


def measured(rows: list[dict[str, Any]], repeats: int) -> list[dict[str, Any]]:
    """Every row with its points measured, the least of some repeats; printed as it comes."""
    os.environ.update(ENVIRONMENT)  # for the processes that are started from here
    context = multiprocessing.get_context("forkserver")
    preload = ("fitting", "reporting.run_report", "evidence.scores")
    context.set_forkserver_preload([*(f"semilla.{name}" for name in preload), "torch._dynamo", "scipy.stats"])
    found = []
    with ProcessPoolExecutor(1, mp_context=context, max_tasks_per_child=1) as pool:
        for row in rows:
            points = [BASE | row | {row["of"]: value} for value in row["points"]]
            runs = [[_fresh(pool, point) for point in points] for _ in range(repeats)]
            values = [{key: min(run[key] for run in own) for key in own[0]} for own in zip(*runs, strict=True)]
            # the work that a point is: pixels, not their side
            work = [value**2 if row["of"] == "side" else value for value in row["points"]]
            columns = {key: [value[key] for value in values] for key in UNITS if key in values[0]}
            table = {key: judged(work, own, key == "peak") for key, own in columns.items()}
            found.append({"name": name_of(row), **row, "work": work, "measured": table})
            report_row(found[-1])
    return found


def _fresh(pool: ProcessPoolExecutor, point: dict[str, Any]) -> dict[str, float]:
    """One point, after a process that touched as much memory: a virtual machine may fetch what it never used from its
    host, at many times the cost, which is none of semilla's.
    """
    numbers = point["pool"] * (3 * point["side"] ** 2 if point["kind"] == "images" else 4 * 32)
    pool.submit(touch, 5 * numbers + 600_000_000).result()
    return pool.submit(measure, point).result()


def touch(size: int) -> None:
    np.empty(size, np.uint8).fill(1)


def judged(work: list[int], values: list[float], plain: bool = False) -> dict[str, Any]:
    """The values with their exponent; ``plain`` where another part of the run may be the floor, and not a summand."""
    exponent = growth(work[-2:], values[-2:]) if plain else growth(work, values)
    return {"values": values, "exponent": round(exponent, 2), "passes": exponent <= MOST}


def growth(work: list[int], values: list[float]) -> float:
    """The exponent of growth beyond the constant between the two largest points; 0 where there is none."""
    first, least = values[0], NOISE * values[0]
    if len(values) == 2:
        return float(np.log(max(values[1], first) / first) / np.log(work[1] / work[0]))
    before, last = (max(value - first, least) for value in values[-2:])
    return float(np.log(last / before) / np.log((work[-1] - work[0]) / (work[-2] - work[0])))


def report_row(row: dict[str, Any]) -> None:
    points = " ".join(f"{point:,}" for point in row["points"])
    for key, own in row["measured"].items():
        shown = " ".join(f"{1000 * value:.3g}" if key == "step" else f"{value:.3g}" for value in own["values"])
        verdict = "" if own["passes"] else "**more than linear**"
        print(f"| {row['name']} | {points} | {key}, {UNITS[key]} | {shown} | {own['exponent']:.2f} | {verdict} |")
    sys.stdout.flush()


def measure(point: dict[str, Any]) -> dict[str, float]:
    """One point, in a process of its own."""
    run_once(made(BASE | {"kind": point["kind"], "pool": 40, "labels": 20, "side": 8}), 20, "fixmatch", 2, None, 2)
    gc.freeze()  # or now and then a point would pay for a look through all of PyTorch's objects
    idle = peak()
    data = made(point)
    labels = max(point["labels"], point["classes"]) // point["classes"] * point["classes"]
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        found = run_once(data, labels, point["method"], point["steps"], run, point["batch"])
        found["peak"] = peak() - idle
        if point["test"]:
            test = {name: data[name] for name in ("x_test", "y_test")}
            for name, act in (("evaluate", lambda: evaluated(run, test)), ("report", lambda: semilla.report(run))):
                began = time.process_time()
                act()
                found[name] = time.process_time() - began
            found["peak"] = peak() - idle
    if point["of"] == "pool":
        began = time.process_time()
        hashlib.sha256(data["x_train"]).digest()
        found["pass"] = time.process_time() - began
    return found


def run_once(
    data: dict[str, Any], labels: int, method: str, steps: int, run: Path | None, batch: int
) -> dict[str, float]:
    ends: list[float] = []
    sizes = {"labeled_batch": batch, "unlabeled_batch": 2 * batch, "evaluate_every": steps, "save_every": steps}
    began = time.process_time()
    semilla.fit(
        data,
        labels=labels,
        method=method,
        out=run,
        steps=steps,
        progress=lambda *told: ends.append(time.process_time()),
        **sizes,
        **COMMON,
    )
    end = time.process_time()
    return {
        "start": ends[0] - began,
        "step": median(np.diff(ends[:-1]).tolist() or [0.0]),  # the last one evaluates
        "finish": end - ends[-1],
    }


def evaluated(run: Path, test: dict[str, Any]) -> None:
    from semilla.evidence.scores import evaluate

    scores = evaluate(run, data=test)
    scores.lines(), scores.summary()


def made(point: dict[str, Any]) -> dict[str, Any]:
    """Examples of each class in turn; test examples of their own, of as many classes as they can be."""
    draw = np.random.default_rng(0)

    def inputs(count: int) -> Any:
        if point["kind"] == "vectors":
            return draw.standard_normal((count, 32), np.float32)
        return draw.integers(0, 256, (count, point["side"], point["side"], 3), np.uint8)

    data = {"x_train": inputs(point["pool"]), "y_train": np.arange(point["pool"]) % point["classes"]}
    if point["test"]:
        data |= {"x_test": inputs(point["test"]), "y_test": np.arange(point["test"]) % point["classes"]}
    return data


def peak() -> float:
    """MB that this process ever held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


if __name__ == "__main__":
    main()
