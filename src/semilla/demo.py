"""The demonstration: every method on handwritten digits with a few labels, against supervised on the same draws.

It does not import PyTorch: the worker processes do.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, TextIO

from semilla import files
from semilla.evidence.comparison import Job, as_json, compare, format_rows, free_folder, summarise
from semilla.methods import METHODS, find

BASELINE = "supervised"
SHORT = {"steps": 250, "width": 16, "unlabeled_batch": 64, "evaluate_every": 25}
"""What makes the recipes quick enough to be watched: half the steps, a narrower network, smaller batches."""


def run_demo(
    draws: int,
    methods: Sequence[str],
    labels: int,
    out: str | None,
    progress: TextIO | None,
    say: Callable[..., None],
) -> dict[str, Any]:
    """Train, compare, draw the figure, and say what to try next.

    Args:
        draws: label draws, seeds 0 to draws − 1.
        methods: names, or nothing for all; supervised always takes part.
        labels: labeled examples in all.
        out: folder for runs, figure and ``demo.json``; None takes ``semilla-demo`` or the next free name.
        progress: where the bar goes.
        say: prints a line.
    """
    from semilla.data.sources import load

    names = list(dict.fromkeys([BASELINE, *(find(name).name for name in methods)])) if methods else list(METHODS)
    digits = load("digits")
    folder = free_folder(Path("semilla-demo")) if out is None else Path(out)
    files.make_folder(folder.absolute())
    assert digits.test is not None
    say(
        f"digits: {labels} labeled and {len(digits.labels) - labels:,} unlabeled 8×8 pictures, {len(digits.test):,} "
        f"for the test; {len(names)} methods × {draws} label draws\n"
    )
    began = time.monotonic()
    options = {
        "data": "digits",
        "labels": labels,
        "out": str(folder),
        "overwrite": True,
        "keep_checkpoints": False,
        **SHORT,
    }
    # The longest first: the last fits decide when all are done.
    jobs = [Job(name, seed, options) for name in sorted(names, key=_cost, reverse=True) for seed in range(draws)]
    done = {(outcome.job.method, outcome.job.seed): outcome for outcome in compare(jobs, progress=progress)}
    outcomes = [done[name, seed] for name in names for seed in range(draws)]
    rows = summarise(outcomes, BASELINE)

    from semilla.report.curves import accuracy_figure

    figure = folder / "accuracy.png"
    accuracy_figure(outcomes, figure, f"digits, {labels} labels: test accuracy over {draws} label draws")
    seconds = time.monotonic() - began
    summary = {
        "labels": labels,
        "draws": draws,
        "test_examples": len(digits.test),
        "rows": as_json(rows),
        "seconds": round(seconds, 1),
        "figure": str(figure),
        "folder": str(folder),
        "versions": {"python": platform.python_version(), "torch": metadata.version("torch")},
    }
    files.write_json(folder / "demo.json", {key: summary[key] for key in summary if key not in ("figure", "folder")})
    _tell(say, rows, draws, labels, folder, figure, seconds)
    return summary


def _tell(
    say: Callable[..., None], rows: Sequence[Any], draws: int, labels: int, folder: Path, figure: Path, seconds: float
) -> None:
    for line in format_rows(rows):
        say(line)
    say(f"\n± is the standard deviation over {draws} label draws; every gain is over supervised on the same draws.")
    if 1 < draws < 10:
        say(f"{draws} draws leave the intervals wide: an interval that holds 0 says that these draws cannot tell.")
    say(f"{seconds:.0f} s in all. Figure: {figure}   Runs: {folder / 'fits'}")
    best = max(rows, key=lambda row: row.mean).method
    say("The runs are short; benchmarks/results/digits.md has longer ones over 20 draws.")
    say("\nNext:")
    say(f"  semilla demo --draws 10 --method {best}".ljust(56) + "narrower intervals")
    say(f"  semilla evaluate {folder} --fit {best}-0".ljust(56) + "one of these models, class by class")
    say(
        f"  semilla train digits --labels {labels} --method {best}".ljust(56)
        + "a run of your own; then your data as .npz"
    )


def _cost(method: str) -> int:
    """Views in a step: what a fit's time goes with."""
    return {"supervised": 0, "pseudo_label": 1}.get(method, 2)
