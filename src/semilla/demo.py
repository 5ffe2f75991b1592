"""The demonstrations: every method on handwritten digits with a few labels, against supervised on the same draws.

It does not import PyTorch: the worker processes do.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from semilla.comparing import BASELINE, Comparison, compare
from semilla.config import task_of
from semilla.data.source import DIGIT_STRINGS, Source
from semilla.evidence.comparison import MEASURES, format_rows, free_folder
from semilla.methods import find, names_for

SHORT: dict[str, Any] = {
    "device": "cpu",  # many small fits side by side are no work for a GPU
    "precision": "fp32",
}


class Demo(NamedTuple):
    """What is trained on.

    Attributes:
        data: a name.
        labels: how many, unless others are asked for.
        pool: what has no label.
        short: settings that make the fits quick enough to be watched.
        own: what to try on one's own data.
        longer: where longer runs are.
    """

    data: str
    labels: int
    pool: str
    short: dict[str, Any]
    own: str
    longer: str


DEMOS = {
    "digits": Demo(
        "digits",
        40,
        "the rest of the pool unlabeled",
        SHORT | {"steps": 150, "width": 16, "unlabeled_batch": 64, "evaluate_every": 15},
        "semilla train photos/",
        "The runs are short; benchmarks/results/digits.md has longer ones over 20 draws.",
    ),
    "text": Demo(
        DIGIT_STRINGS,
        40,
        "the other strings without their transcriptions",
        SHORT | {"steps": 300, "width": 16, "labeled_batch": 16, "unlabeled_batch": 32, "evaluate_every": 30},
        "semilla train lines/ --task text",
        "The runs are short, and the strings are few: digits in all, each picture once.",
    ),
}


def run_demo(
    draws: int,
    methods: Sequence[str],
    labels: int | None,
    out: str | None,
    progress: TextIO | None,
    say: Callable[..., None],
    what: str = "digits",
) -> dict[str, Any]:
    """Train, compare, draw the figure, and say what to try next.

    Args:
        draws: label draws, seeds 0 to draws − 1.
        methods: names, or nothing for all; supervised always takes part.
        labels: labeled examples in all; None takes the demonstration's own number.
        out: folder for runs, figure and ``compare.json``; None takes ``semilla-demo`` or the next free name.
        progress: where the bar goes.
        say: prints a line.
        what: a key of `DEMOS`.
    """
    demo = DEMOS[what]
    labels = demo.labels if labels is None else labels
    folder = free_folder(Path("semilla-demo")) if out is None else Path(out)
    source = Source(demo.data)
    task = task_of("text" if source.task == "text" else "images", None)
    count = len({BASELINE, *(find(name).name for name in methods)}) if methods else len(names_for(task))
    say(f"{demo.data}: {labels} labels, {demo.pool}; {count} methods × {draws} label draws\n")
    measure = "test CER" if source.task == "text" else "test accuracy"
    title = f"{demo.data}, {labels} labels: {measure} over {draws} label draws"
    done = compare(
        source, methods, labels=labels, draws=draws, out=folder, progress=progress, title=title, **demo.short
    )
    _tell(say, what, demo, done, draws, labels)
    return {"labels": labels, "draws": draws, "folder": str(folder), **done.summary(), "figure": str(done.figure)}


def _tell(say: Callable[..., None], what: str, demo: Demo, done: Comparison, draws: int, labels: int) -> None:
    rows, folder = done.rows, done.folder
    assert folder is not None
    for line in format_rows(rows):
        say(line)
    spread = f"± is the standard deviation over {draws} label draws; " if draws > 1 else ""
    rises = MEASURES[rows[0].measure].rises
    every = "every gain is over" if rises else "CER is the share of characters read wrong; every change is from"
    say(f"\n{spread}{every} supervised on the same draws.")
    if 1 < draws < 10:
        say(f"{draws} draws leave the intervals wide: an interval that holds 0 says that these draws cannot tell.")
    say(f"{done.seconds:.0f} s in all. Figure: {done.figure}   Runs: {folder / 'fits'}")
    best = (max if rises else min)(rows, key=lambda row: row.mean).method
    say(demo.longer)
    say("\nNext:")
    words = "" if what == "digits" else f"{what} "
    one = "class by class" if rises else "line by line"
    commands = {
        f"semilla demo {words}--draws 10 --method {best}": "narrower intervals",
        f"semilla evaluate {shlex.quote(str(folder))} --fit {best}-0": f"one of these models, {one}",
        f"semilla train {demo.data} --labels {labels} --method {best}": f"a run of your own; then: {demo.own}",
    }
    width = max(map(len, commands))
    for command, told in commands.items():
        say(f"  {command:<{width}}  {told}")
