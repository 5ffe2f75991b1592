"""The demonstration: every method on handwritten digits with a few labels, against supervised on the same draws.

It does not import PyTorch: the worker processes do.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TextIO

from semilla.comparing import BASELINE, compare
from semilla.evidence.comparison import format_rows, free_folder
from semilla.methods import find, names_for

SHORT: dict[str, Any] = {
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
        out: folder for runs, figure and ``compare.json``; None takes ``semilla-demo`` or the next free name.
        progress: where the bar goes.
        say: prints a line.
    """
    folder = free_folder(Path("semilla-demo")) if out is None else Path(out)
    count = len({BASELINE, *(find(name).name for name in methods)}) if methods else len(names_for("classes"))
    say(f"digits: {labels} labels, the rest of the pool unlabeled; {count} methods × {draws} label draws\n")
    title = f"digits, {labels} labels: test accuracy over {draws} label draws"
    done = compare("digits", methods, labels=labels, draws=draws, out=folder, progress=progress, title=title, **SHORT)
    _tell(say, done.rows, draws, labels, folder, folder / "accuracy.png", done.seconds)
    return {"labels": labels, "draws": draws, "folder": str(folder), **done.summary()} | {
        "figure": str(folder / "accuracy.png")
    }


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
        f"semilla train digits --labels {labels} --method {best}": "a run of your own; then: semilla train photos/",
    }
    width = max(map(len, commands))
    for command, what in commands.items():
        say(f"  {command:<{width}}  {what}")
