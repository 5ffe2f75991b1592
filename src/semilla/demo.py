"""The demonstration: every method on handwritten digits with a few labels, against supervised on the same draws.

It does not import PyTorch: the worker processes do.
"""

from __future__ import annotations

import platform
import shlex
import time
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, TextIO

from semilla import files
from semilla.errors import StateError
from semilla.evidence.comparison import Job, as_json, compare, format_rows, free_folder, summarise
from semilla.methods import METHODS, find

BASELINE = "supervised"
SHORT = {
    "steps": 150,
    "width": 16,
    "unlabeled_batch": 64,
    "evaluate_every": 15,
    "device": "cpu",  # many small fits side by side are no work for a GPU
    "precision": "fp32",
}
"""What makes the recipes quick enough to be watched: a third of the steps, a narrower network, smaller batches."""


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
    names = list(dict.fromkeys([BASELINE, *(find(name).name for name in methods)])) if methods else list(METHODS)
    folder = free_folder(Path("semilla-demo")) if out is None else Path(out)
    if (folder / "fits").exists():
        raise StateError("C001", f"{str(folder)!r} holds fits already", "name another folder with --out")
    say(f"digits: {labels} labels, the rest of the pool unlabeled; {len(names)} methods × {draws} label draws\n")
    began = time.monotonic()
    options = {"data": "digits", "labels": labels, "out": str(folder), "keep_checkpoints": False, **SHORT}
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
    spread = f"± is the standard deviation over {draws} label draws; " if draws > 1 else ""
    say(f"\n{spread}every gain is over supervised on the same draws.")
    if 1 < draws < 10:
        say(f"{draws} draws leave the intervals wide: an interval that holds 0 says that these draws cannot tell.")
    say(f"{seconds:.0f} s in all. Figure: {figure}   Runs: {folder / 'fits'}")
    best = max(rows, key=lambda row: row.mean).method
    say("The runs are short; benchmarks/results/digits.md has longer ones over 20 draws.")
    say("\nNext:")
    commands = {
        f"semilla demo --draws 10 --method {best}": "narrower intervals",
        f"semilla evaluate {shlex.quote(str(folder))} --fit {best}-0": "one of these models, class by class",
        f"semilla train digits --labels {labels} --method {best}": "a run of your own; then your data as .npz",
    }
    width = max(map(len, commands))
    for command, what in commands.items():
        say(f"  {command:<{width}}  {what}")


def _cost(method: str) -> int:
    """Views in a step: what a fit's time goes with."""
    return {"supervised": 0, "pseudo_label": 1}.get(method, 2)
