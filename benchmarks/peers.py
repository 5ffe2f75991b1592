"""A training step beside the two other toolkits: semilla, USB and LAMDA-SSL with the same network, batch and data.

    python benchmarks/peers.py                         everything; writes results/peers.json and peers.md
    python benchmarks/peers.py --methods fixmatch      these methods anew, the others as they stand in the file
    python benchmarks/peers.py --render                only the page, from the file

WRN-28-2, SGD with Nesterov momentum, 64 labeled and 64·μ unlabeled CIFAR-10 pictures; μ = 7 for FixMatch and UDA and 1
for the others. Every side is a process that runs its own loop and is told over a pipe to make n more steps
(`sides/protocol.py`). All sides of a method are warm and wait, stopped by a signal, so that nothing of them works, not
even a process that loads data; then they take turns: A B C, B C A, … A round gives one ratio for each side; the tables
give medians and the smallest and largest. Processor seconds, of the training process alone, tell a busy machine from a
slow program: the machine should do nothing else.

USB and LAMDA-SSL get an environment each, made once beside this file, which holds that one package, installed without
its dependencies: PyTorch, torchvision, NumPy, Pillow and scikit-learn are those of the running environment, so that the
same kernels compute on all sides. What had to be changed to run them on a CPU with these versions is in `sides/usb.py`
and `sides/lamda.py`, and in the output. For Linux: memory and processes are read from /proc.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch

from machine import provenance
from semilla.data.sources import load
from semilla.training.devices import available_cores
from semilla.training.probe import processor

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "peers.json"
CIFAR = HERE.parents[1] / "shared" / "data" / "cifar10"
PACKAGES = {"usb": "semilearn==0.3.2", "lamda": "LAMDA-SSL==1.0.2"}
SHARED = ("torch", "torchvision", "numpy", "pillow", "scikit-learn")
METHODS = {"fixmatch": 7, "uda": 7, "mixmatch": 1, "pi_model": 1, "mean_teacher": 1, "pseudo_label": 1}
"""The unlabeled examples for each labeled one, as published."""
LABELS = 250
NARROW = {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_BF16"}
"""Without the matrix unit AMX, and as before it came."""
USUAL, WITHOUT = "semilla", "semilla, no AMX"
SIDES: dict[str, dict[str, Any]] = {
    USUAL: {"program": "ours"},
    "semilla, fp32": {"program": "ours", "changes": {"precision": "fp32"}},
    WITHOUT: {
        "program": "ours",
        "changes": {"precision": "bf16"},
        "environment": NARROW,
        "only": ("fixmatch",),
    },
    "USB": {"program": "usb"},
    "USB, loading inline": {"program": "usb", "changes": {"num_workers": 0}},
    "USB, use_cat off": {"program": "usb", "changes": {"use_cat": False}, "only": ("fixmatch", "uda")},
    "LAMDA-SSL": {"program": "lamda"},
}
"""The first is what the others are divided by. Changes are settings of the package; ``only`` names methods."""

EXPLAINED = {
    "semilla": "as `semilla train` runs: precision and order of memory measured here, no gradient on weak views",
    "semilla, fp32": "the same in fp32",
    WITHOUT: "bf16, with ONEDNN_MAX_CPU_ISA=AVX512_CORE_BF16: of interest for its share of that peak, which "
    "is lower than fp32's; nobody would choose it",
    "USB": "as shipped: fp32, one pass over all views with gradient, data loaded by processes of its own",
    "USB, loading inline": "its num_workers = 0: no processes that compete for the cores",
    "USB, use_cat off": "its option for separate passes, without gradient on weak views",
    "LAMDA-SSL": "as shipped: fp32, loads in the training process",
}
FEWEST = 3
"""Turns of a side that could not go on which still make a row."""
PATIENCE = 900.0
"""Seconds after which a side that does not answer has failed."""


class SideError(Exception):
    """A side cannot run; says why in its own words."""


class Side:
    """A process that trains when told.

    Args:
        name: in `SIDES`.
        order: what its program takes.
        place: where its log is written and it may leave files.
    """

    def __init__(self, name: str, order: dict[str, Any], place: Path) -> None:
        side = SIDES[name]
        folder = place / name.replace(" ", "-").replace(",", "")
        folder.mkdir(exist_ok=True)
        self._log = folder / "log.txt"
        environment = {**os.environ, "SEMILLA_CACHE": str(folder), "PYTHONWARNINGS": "ignore"}
        environment |= side.get("environment", {})
        if side["program"] in PACKAGES:
            environment.pop("PYTHONPATH", None)
        words = [python_of(side["program"]), "-m", f"sides.{side['program']}"]
        order = {**order, "changes": side.get("changes", {})}
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [*words, json.dumps(order)], cwd=HERE, env=environment, process_group=0, text=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
            )  # fmt: skip
        try:
            self.facts = self._answer()
        except BaseException:
            self.close()
            raise

    def ask(self, **order: Any) -> dict[str, Any]:
        """Have an order carried out while everything else of this run stands still."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError, ProcessLookupError):  # it has ended while it waited, and `_answer` says how
            os.killpg(self._process.pid, signal.SIGCONT)
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        """End the process and all that it started."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            with suppress(BrokenPipeError):  # what was still to be written
                pipe.close()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        there, _, _ = select.select([self._process.stdout], [], [], PATIENCE)
        line = self._process.stdout.readline() if there else ""
        if not line:
            if there:  # its end of the pipe is closed: it is ending by itself
                with suppress(subprocess.TimeoutExpired):
                    self._process.wait(timeout=10)
            self.close()
            said = self._log.read_text(errors="replace").strip().splitlines()
            code = self._process.returncode
            if there and code == -signal.SIGKILL:  # by the system: `close` comes after the answer was missed
                raise SideError("its process was killed, most likely because the sides need more memory than there is")
            raise SideError(said[-1] if there and said else f"no answer within {PATIENCE:.0f} s")
        os.killpg(self._process.pid, signal.SIGSTOP)
        answer: dict[str, Any] = json.loads(line)
        return answer


def python_of(program: str) -> str:
    """The interpreter of a side; the environment of a package is made if it is not there."""
    if program not in PACKAGES:
        return sys.executable
    folder, package = HERE / f".venv-{program}", PACKAGES[program]
    python, done = folder / "bin" / "python", folder / package
    if not done.exists():
        print(f"making {folder.name} with {package}", file=sys.stderr)
        venv.create(folder, clear=True, symlinks=True)
        pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", package]
        subprocess.run(pip, check=True)
        done.touch()
    (library,) = folder.glob("lib/python*/site-packages")
    (library / "shared.pth").write_text(f"{Path(torch.__file__).parents[1]}\n")
    return str(python)


class Round:
    """All sides of a method, warm and stopped.

    Args:
        names: of the sides.
        order: what their programs take.
        place: a folder for their logs.

    Attributes:
        able: the sides that run.
        failed: why the others do not.
        facts: what every side said of itself that ran for a while.
    """

    def __init__(self, names: list[str], order: dict[str, Any], place: Path) -> None:
        self.able: dict[str, Side] = {}
        self.failed: dict[str, str] = {}
        self.facts: dict[str, dict[str, Any]] = {}
        self._begun = names, order, place

    def __enter__(self) -> Round:
        try:
            for name in self._begun[0]:
                self._begin(name)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        for side in self.able.values():
            side.close()

    def ask(self, name: str, **order: Any) -> dict[str, Any]:
        """A side's answer; empty if it cannot go on, which takes it out."""
        try:
            return self.able[name].ask(**order)
        except SideError as error:
            self._fail(name, error)
            return {}

    def _begin(self, name: str) -> None:
        try:
            self.able[name] = Side(name, *self._begun[1:])
        except SideError as error:
            self._fail(name, error)
        else:
            self.facts[name] = self.able[name].facts
            self.ask(name, do="steps", steps=1)

    def _fail(self, name: str, error: SideError) -> None:
        print(f"  {name} cannot run: {error}", file=sys.stderr)
        self.failed[name] = str(error)
        self.able.pop(name, None)


def compare(names: list[str], order: dict[str, Any], rounds: int, steps: int, place: Path) -> dict[str, Any]:
    """All that is measured of a method."""
    load = round(os.getloadavg()[0], 1)
    turns: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    found: dict[str, Any] = {}
    with Round(names, order, place) as sides:
        for turn in range(rounds):
            for name in rotated(list(sides.able), turn):
                if made := sides.ask(name, do="steps", steps=steps):
                    turns[name].append(made)
            said = [f"{name} {turns[name][-1]['seconds']:.2f} s" for name in sides.able]
            print("  " + "   ".join(said), file=sys.stderr)
        for name in list(sides.able):
            counts = sides.ask(name, do="passes", steps=1)
            found[name] = {**sides.able[name].facts, "turns": turns[name], "images_per_step": counts}
            if SIDES[name]["program"] == "ours":
                found[name]["profile"] = sides.ask(name, do="profile", seconds=3.0)
        for name in sides.failed:  # what was measured before counts
            if len(turns[name]) >= FEWEST:
                found[name] = {**sides.facts[name], "turns": turns[name], "images_per_step": {}}
    return {
        "labeled": order["labeled"],
        "unlabeled": order["unlabeled"],
        "rounds": rounds,
        "steps in a turn": steps,
        "sides": found,
        "failed": sides.failed,
        "provenance": {**provenance(*SHARED), "load at the start": load},
    }


def rotated(names: list[str], turn: int) -> list[str]:
    """The order of a round: each time another one begins."""
    first = turn % max(1, len(names))
    return names[first:] + names[:first]


def peaks(images: int) -> list[dict[str, Any]]:
    """The fastest convolutions here, with all instructions and, where there is AMX, without it."""
    order = json.dumps({"images": images, "threads": available_cores(), "seconds": 2.0})
    found = []
    for extra in ({}, NARROW) if has_amx() else ({},):
        environment = {**os.environ, **extra}
        words = [sys.executable, "-m", "sides.peak", order]
        done = subprocess.run(words, cwd=HERE, env=environment, check=True, capture_output=True, text=True)
        found.append(json.loads(done.stdout))
    return found


def has_amx() -> bool:
    """Whether this processor has a matrix unit that could be left out."""
    return "amx_bf16" in processor()


def pixels(folder: Path, place: Path) -> tuple[Path, str]:
    """CIFAR-10's training pictures as one file that all sides read, and what they are."""
    path = place / "pixels.npz"
    if folder.exists():
        dataset = load(str(folder), None)
        images, labels, words = np.asarray(dataset.inputs[:]), dataset.labels, "CIFAR-10, the 50,000 training pictures"
    else:
        draw = np.random.default_rng(0)
        images, labels = draw.integers(0, 256, (50_000, 3, 32, 32), np.uint8), np.arange(50_000) % 10
        words = f"GENERATED pixels in the place of CIFAR-10, which is not in {folder.name}"
    print(words, file=sys.stderr)
    np.savez(path, images=images, labels=labels)
    return path, words


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS))
    parser.add_argument("--sides", nargs="+", choices=list(SIDES), default=list(SIDES))
    parser.add_argument("--repeats", type=int, default=5, help="rounds, in each of which every side has a turn")
    parser.add_argument("--steps", type=int, default=1, help="of a turn, and twice as many where μ = 1")
    parser.add_argument("--batch", type=int, default=64, help="labeled pictures in a step")
    parser.add_argument("--data", type=Path, default=CIFAR, help="folder with CIFAR-10")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--render", action="store_true", help="only write the page of a file again")
    asked = parser.parse_args()
    if asked.render and not asked.out.exists():
        parser.error(f"there is no {asked.out} to render")
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # so that no side is left behind
    found: dict[str, Any] = json.loads(asked.out.read_text()) if asked.out.exists() else {"methods": {}}
    if not asked.render:
        with tempfile.TemporaryDirectory() as temporary:
            place = Path(temporary)
            path, found["data"] = pixels(asked.data, place)
            order = {"pixels": str(path), "labels": LABELS, "labeled": asked.batch, "steps": 2**20}
            for method in asked.methods:
                began = time.monotonic()
                print(f"{method} …", file=sys.stderr)
                mu = METHODS[method]
                if method == "fixmatch":
                    found["peaks"] = peaks(asked.batch * mu)
                names = [name for name in asked.sides if method in SIDES[name].get("only", METHODS)]
                names = [name for name in names if name != WITHOUT or has_amx()]
                own = {**order, "method": method, "unlabeled": asked.batch * mu}
                steps = asked.steps * (1 if mu > 1 else 2)
                found["methods"][method] = compare(names, own, asked.repeats, steps, place)
                found["methods"][method]["wall_seconds"] = round(time.monotonic() - began)
                asked.out.write_text(json.dumps(found, indent=1) + "\n")
    text = page(found)
    print(text)
    asked.out.with_suffix(".md").write_text(text)


def page(found: dict[str, Any]) -> str:
    """The tables of all that is in the file."""
    methods = {name: found["methods"][name] for name in METHODS if name in found["methods"]}
    lines = ["# A training step of semilla, USB and LAMDA-SSL", ""]
    sizes = sorted({f"{own['labeled']} labeled and {own['labeled']}·μ unlabeled" for own in methods.values()})
    lines += [f"WRN-28-2, SGD with Nesterov momentum, {' or '.join(sizes)} pictures. Data: {found['data']}.", ""]
    lines += [*summary_table(methods), "", *speed_table(methods)]
    lines += notes(methods)
    lines += ["", "## Where a step of semilla goes", "", *profile_table(methods)]
    if "peaks" in found and "fixmatch" in methods:
        lines += ["", "## How much of the processor", "", *peak_table(found["peaks"], methods["fixmatch"])]
    lines += ["", "## What was run", "", *conditions(methods)]
    return "\n".join(lines) + "\n"


def summary_table(methods: dict[str, Any]) -> list[str]:
    """USB against semilla on one line for each method: time as shipped, with equal arithmetic, and memory."""
    pairs = (("USB", USUAL), ("USB", "semilla, fp32"), ("USB, use_cat off", "semilla, fp32"))
    lines = [
        "| method | USB's time by semilla's, both as shipped | both in fp32 | both in fp32, no gradient on weak views "
        "| semilla's peak memory by USB's | by USB's with its loaders |",
        "|---" * 6 + "|",
    ]
    for method, own in methods.items():
        sides = own["sides"]
        cells = [
            spread(ratios(sides[theirs], sides[ours]), "{:.2f}") if {theirs, ours} <= sides.keys() else "–"
            for theirs, ours in pairs
        ]
        if {USUAL, "USB"} <= sides.keys():
            ours, theirs = (sides[name]["turns"][-1] for name in (USUAL, "USB"))
            whole = theirs["peak_bytes"] + theirs["loaders"]["bytes"]
            cells += [f"{ours['peak_bytes'] / other:.2f}" for other in (theirs["peak_bytes"], whole)]
        else:
            cells += ["–", "–"]
        lines.append(f"| {' | '.join([method, *cells])} |")
    return lines


def speed_table(methods: dict[str, Any]) -> list[str]:
    lines = [
        "| method, μ | side | s a step | steps/s | pictures/s | times semilla's time | processor s | peak memory "
        "| forward, backward |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for method, own in methods.items():
        title = f"{method}, {own['unlabeled'] // own['labeled']}"
        base = own["sides"].get(USUAL)
        for name in SIDES:
            if name in own["failed"]:
                turns = len(own["sides"][name]["turns"]) if name in own["sides"] else 0
                what = f"stopped after {turns} turns" if turns else "cannot run"
                lines.append(f"| {title} | {name} | {what}: `{own['failed'][name]}` | | | | | | |")
            if name not in own["sides"]:
                continue
            side = own["sides"][name]
            seconds = [turn["seconds"] for turn in side["turns"]]
            each = statistics.median(seconds)
            ratio = "–" if base is None or name == USUAL else spread(ratios(side, base), "{:.2f}")
            busy = statistics.median(turn["processor_seconds"] for turn in side["turns"])
            passes = side["images_per_step"]
            counted = f"{passes['forward']:.0f}, {passes['backward']:.0f}" if passes else "–"
            lines.append(
                f"| {title} | {name} | {spread(seconds, '{:.2f}')} | {1 / each:.3f} "
                f"| {(own['labeled'] + own['unlabeled']) / each:.0f} | {ratio} | {busy:.2f} | {memory(side)} "
                f"| {counted}{mark(own, side)} |"
            )
    return lines


def ratios(side: dict[str, Any], base: dict[str, Any]) -> list[float]:
    """Round by round."""
    return [own["seconds"] / usual["seconds"] for own, usual in zip(side["turns"], base["turns"], strict=False)]


def spread(values: list[float], form: str) -> str:
    """The median, and the smallest and the largest."""
    middle, low, high = (form.format(value) for value in (statistics.median(values), min(values), max(values)))
    return f"{middle} ({low} … {high})"


def memory(side: dict[str, Any]) -> str:
    last = side["turns"][-1]
    loaders = last["loaders"]
    more = f" + {loaders['bytes'] / 1e9:.2f} in {loaders['processes']} loaders" if loaders["bytes"] else ""
    return f"{last['peak_bytes'] / 1e9:.2f} GB{more}"


def mark(own: dict[str, Any], side: dict[str, Any]) -> str:
    """Whether nothing that the unlabeled examples say comes back to the weights."""
    passes = side["images_per_step"]
    return " †" if passes and passes["backward"] <= own["labeled"] else ""


def notes(methods: dict[str, Any]) -> list[str]:
    """What one must know before reading a ratio."""
    lines = [""]
    lines += [
        f"- **{name}**: {EXPLAINED[name]}." for name in SIDES if any(name in own["sides"] for own in methods.values())
    ]
    lines += [
        "- *forward, backward*: pictures that go through the network in a step, and those whose gradient comes back; "
        "counted in a step after the timed ones. Methods may do the same work in another number of passes, and two "
        "toolkits that share a name need not do the same work: the counts say how much of a ratio is arithmetic.",
        "- *processor s*: of the training process with all its threads, without the processes that load data.",
        "- *peak memory*: the largest resident size of the training process, libraries and all pictures included; of "
        "processes that load data, what they hold at the end, shared pages in proportion.",
    ]
    dead = [
        f"{name} in {method}"
        for method, own in methods.items()
        for name, side in own["sides"].items()
        if mark(own, side)
    ]
    if dead:
        lines.append(
            f"- † ({', '.join(dead)}): the gradient comes back through the labeled pictures alone, so the unlabeled "
            "loss trains nothing and its backward pass is missing from the time: the ratio flatters that side."
        )
    if "mean_teacher" in methods:
        lines.append(
            "- USB's Mean Teacher: the release measured here, 0.3.2, has a student's pass and its gradient, as the "
            "counts show. Its development version compares the teacher's pass with itself since commit 639cfbf "
            "(March 2024), which leaves that term without gradient; it is not what is measured here."
        )
    return lines


def profile_table(methods: dict[str, Any]) -> list[str]:
    parts = ("views", "forward", "backward", "optimizer", "ema", "other")
    lines = [f"| method | side | ms a step | {' | '.join(parts)} | outside forward and backward |", "|---" * 10 + "|"]
    for method, own in methods.items():
        for name, side in own["sides"].items():
            if "profile" in side:
                seconds = side["profile"]["parts"]
                total = sum(seconds.values())
                shares = " | ".join(f"{100 * seconds[part] / total:.2f} %" for part in parts)
                outside = 100 * (1 - (seconds["forward"] + seconds["backward"]) / total)
                lines.append(f"| {method} | {name} | {1000 * total:.0f} | {shares} | {outside:.2f} % |")
    return [*lines, "", "By the stopwatch of `semilla train --profile`, in steps after the timed ones."]


def peak_table(measured: list[dict[str, Any]], own: dict[str, Any]) -> list[str]:
    """The best convolutions, and how much of them a step reaches."""
    lines = ["| 3 × 3 convolution, forward | instructions | bf16 GFLOP/s | fp32 GFLOP/s |", "|---|---|---|---|"]
    for run in measured:
        for row in run["rows"]:
            shape = row["shape"] + ("" if row["in the network"] else " (not in the network)")
            lines.append(
                f"| {shape} | {run['instructions']} | {row['bfloat16'] / 1e9:.0f} | {row['float32'] / 1e9:.0f} |"
            )
    lines += [
        "",
        "| FixMatch step | GFLOP | s | GFLOP/s | of the network's best shape | of the best shape "
        "| its convolutions by themselves, s | which is of the best shape |",
        "|---" * 8 + "|",
    ]
    for name, run in ((USUAL, measured[0]), (WITHOUT, measured[-1]), ("semilla, fp32", measured[0])):
        if name not in own["sides"]:
            continue
        side = own["sides"][name]
        kind = "bfloat16" if side["chosen"]["precision"] == "bf16" else "float32"
        best = max(row[kind] for row in run["rows"])
        inner = max(row[kind] for row in run["rows"] if row["in the network"])
        passes = side["images_per_step"]
        work = side["flop_per_image"] * (passes["forward"] + 2 * passes["backward"])
        each = statistics.median(turn["seconds"] for turn in side["turns"])
        rate = work / each
        picture = run.get("seconds of a picture's convolutions", {}).get(kind)  # older files have none
        alone = sum(passes[way] * picture[way] for way in ("forward", "backward")) if picture else 0.0
        by_themselves = f"{alone:.2f} | {share(work / alone, best)}" if picture else "– | –"
        lines.append(
            f"| {name} ({side['chosen']['precision']}, {run['instructions']}) | {work / 1e9:.0f} | {each:.2f} "
            f"| {rate / 1e9:.0f} | {share(rate, inner)} | {share(rate, best)} | {by_themselves} |"
        )
    flop = next(iter(own["sides"].values()))["flop_per_image"]
    return [
        *lines,
        "",
        f"Arithmetic from the layers' shapes: {flop / 1e6:.0f} MFLOP for a picture's forward pass (an addition and a "
        "multiplication are two), twice that for its backward pass, none for a backward pass that does not take place. "
        "The peak is the best single pass of two seconds of passes, channels last. The convolutions by themselves are "
        "all layers' passes of a step, one by one, the best of each: what a step would take if nothing lay between.",
    ]


def share(rate: float, peak: float) -> str:
    return f"{100 * rate / peak:.0f} % of {peak / 1e9:.0f}"


def conditions(methods: dict[str, Any]) -> list[str]:
    lines = []
    packages = {}
    for own in methods.values():
        for side in own["sides"].values():
            packages[side["package"]] = side["patches"], side["parameters"], side["torch"], side["threads"]
    for package, (patches, parameters, version, threads) in packages.items():
        changed = "; ".join(patches) or "nothing"
        lines.append(f"- {package}: {parameters:,} parameters, torch {version}, {threads} threads. Changed: {changed}.")
    lines += ["", "| method | rounds × steps | semilla chose | device and versions |", "|---|---|---|---|"]
    for method, own in methods.items():
        where = ", ".join(f"{key} {value}" for key, value in own["provenance"].items())
        chose = own["sides"].get(USUAL, {"chosen": {}})["chosen"]
        words = ", ".join(f"{key} {value}" for key, value in chose.items())
        lines.append(f"| {method} | {own['rounds']} × {own['steps in a turn']} | {words} | {where} |")
    return lines


if __name__ == "__main__":
    main()
