"""Does bf16 cost accuracy? Every method on MNIST pictures with 40 labels, in fp32 and in bf16, on the same draws.

    python benchmarks/precision.py                 writes results/precision.json

2,000 pictures, of which 40 are labeled, and 1,000 test pictures, the small CNN, 300 steps. Each draw has other labels,
initial weights and order; the difference is taken draw by draw, and its interval is Student's t over the draws.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from machine import provenance
from semilla.data.source import Source
from semilla.evidence.comparison import Job, run_jobs
from semilla.evidence.intervals import paired_gain
from semilla.methods import names_for

MNIST = Path(__file__).parents[2] / "shared" / "data" / "small" / "mnist_2000_1000.npz"
METHODS = names_for("classes")
RESULTS = Path(__file__).parent / "results" / "precision.json"
COMMON: dict[str, Any] = {"labels": 40, "steps": 300, "recipe": None, "device": "cpu", "evaluate_every": 300}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=3)
    draws = parser.parse_args().draws
    with np.load(MNIST) as arrays:
        data = {name: arrays[name] for name in ("x_train", "y_train", "x_test", "y_test")}
    options = {**COMMON, "data": Source(data)}
    kinds = [(method, precision) for method in METHODS for precision in ("fp32", "bf16")]
    jobs = [Job(method, seed, {**options, "precision": kind}) for method, kind in kinds for seed in range(draws)]
    scores = np.reshape([outcome.score for outcome in run_jobs(jobs)], (len(METHODS), 2, draws))
    rows = {}
    for method, (plain, half) in zip(METHODS, scores, strict=True):
        gain = paired_gain(half, plain)
        rows[method] = {"fp32": plain.tolist(), "bf16": half.tolist(), "difference": list(gain)}
        print(f"{method:<14}{100 * plain.mean():6.1f} %{100 * half.mean():7.1f} %   {100 * gain.mean:+.1f} "
              f"({100 * gain.low:+.1f} … {100 * gain.high:+.1f})")  # fmt: skip
    every = paired_gain(scores[:, 1].ravel(), scores[:, 0].ravel())
    print(f"all {scores[:, 0].size} pairs: {100 * every.mean:+.2f} ({100 * every.low:+.2f} … {100 * every.high:+.2f})")
    found = {"rows": rows, "all pairs": list(every), "settings": COMMON, "draws": draws}
    found["provenance"] = provenance("torch", "numpy")
    RESULTS.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
