"""The demonstrations: every method on handwritten digits with a few labels, against supervised on the same draws.

It does not import PyTorch: the worker processes do.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import numpy as np

from semilla.comparing import BASELINE, SCRATCH, Comparison, compare
from semilla.config import task_of
from semilla.data.digit_strings import LONGEST, SHORTEST
from semilla.data.source import DIGIT_STRINGS, Source
from semilla.evidence.comparison import MEASURES, format_rows, free_folder
from semilla.methods import find, names_for
from semilla.methods.catalogue import check_task
from semilla.randomness import words as random_words

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
        methods: which take part unless others are asked for; none stands for all.
        short: settings that make the fits quick enough to be watched.
        own: what to try on one's own data.
        longer: where longer runs are.
    """

    data: str
    labels: int
    pool: str
    methods: tuple[str, ...]
    short: dict[str, Any]
    own: str
    longer: str


DEMOS = {
    "digits": Demo(
        "digits",
        40,
        "the rest of the pool unlabeled",
        (),
        SHORT | {"steps": 150, "width": 16, "unlabeled_batch": 64, "evaluate_every": 15},
        "semilla train photos/",
        "The runs are short; benchmarks/results/digits.md has longer ones over 20 draws.",
    ),
    "text": Demo(
        DIGIT_STRINGS,
        20,
        "the other strings without their transcriptions",
        (BASELINE, "mean_teacher", "fixmatch"),
        SHORT
        | {"steps": 200, "labeled_batch": 16, "unlabeled_batch": 24, "evaluate_every": 20, "learning_rate": 0.003},
        "semilla train lines/ --task text --pretrain generated",
        "The runs are short, and the strings few: each of the pictures of digits stands in one.",
    ),
}

START = "start"
"""The folder of what the recognisers of text start from."""
_TEXTS = 1_500
_DRAWN: dict[str, Any] = SHORT | {"steps": 250, "width": 8, "labeled_batch": 16, "learning_rate": 0.005}


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
    began, demo = time.monotonic(), DEMOS[what]
    labels, methods = demo.labels if labels is None else labels, methods or demo.methods
    folder = free_folder(Path("semilla-demo")) if out is None else Path(out)
    source = Source(demo.data)
    task = task_of("text" if source.task == "text" else "images", None)
    count = len({BASELINE, *(find(name).name for name in methods)}) if methods else len(names_for(task))
    say(f"{demo.data}: {labels} labels, {demo.pool}; {count} methods × {draws} label draws\n")
    measure = "test CER" if source.task == "text" else "test accuracy"
    title = f"{demo.data}, {labels} labels: {measure} over {draws} label draws"
    words: dict[str, Any] = {"labels": labels, "draws": draws, "out": folder, "title": title, **demo.short}
    for name in methods:
        check_task(find(name), source.task or "images", None)
    if source.task == "text":
        words["init"] = _start(folder / START, progress, say)
    done = replace(compare(source, methods, progress=progress, **words), seconds=time.monotonic() - began)
    done.write(labels, draws)  # with the time of the start
    _tell(say, what, demo, done, draws, labels)
    return {"labels": labels, "draws": draws, "folder": str(folder), **done.summary(), "figure": str(done.figure)}


def _start(folder: Path, progress: TextIO | None, say: Callable[..., None]) -> Path:
    """A recogniser that has read strings of digits drawn with fonts, of which semilla brings no picture along."""
    from semilla.generated_start import pretrain_generated

    drawn = random_words(0, "texts of the demonstration", 0, np.arange(_TEXTS), 1 + LONGEST)
    sizes = SHORTEST + drawn[:, 0] % (LONGEST - SHORTEST + 1)
    texts = ["".join(str(word % 10) for word in row[1 : 1 + size]) for row, size in zip(drawn, sizes, strict=True)]
    say("first, what all but one of the rows start from: strings of digits drawn with fonts, no picture of the data")
    pretrain_generated(folder, corpus=texts, look="handwriting", lines=_TEXTS, progress=progress, say=say, **_DRAWN)
    say("")
    return folder


def _tell(say: Callable[..., None], what: str, demo: Demo, done: Comparison, draws: int, labels: int) -> None:
    rows, folder = done.rows, done.folder
    assert folder is not None
    for line in format_rows(rows):
        say(line)
    spread = f"± is the standard deviation over {draws} label draws; " if draws > 1 else ""
    rises = MEASURES[rows[0].measure].rises
    every = "every gain is over" if rises else "CER is the share of characters read wrong; every change is from"
    say(f"\n{spread}{every} supervised on the same draws.")
    if not rises:
        say(f"{SCRATCH} is supervised without the generated start.")
    if 1 < draws < 10:
        say(f"{draws} draws leave the intervals wide: an interval that holds 0 says that these draws cannot tell.")
    say(f"{done.seconds:.0f} s in all. Figure: {done.figure}   Runs: {folder / 'fits'}")
    best = (max if rises else min)([row for row in rows if row.method != SCRATCH], key=lambda row: row.mean).method
    say(demo.longer)
    say("\nNext:")
    words = "" if what == "digits" else f"{what} "
    one = "class by class" if rises else "line by line"
    start = "" if rises else f" --init {shlex.quote(str(folder / START))}"
    commands = {
        f"semilla demo {words}--draws 10 --method {best}": "narrower intervals",
        f"semilla evaluate {shlex.quote(str(folder))} --fit {best}-0": f"one of these models, {one}",
        f"semilla train {demo.data} --labels {labels} --method {best}{start}": f"a run of your own; then: {demo.own}",
    }
    width = max(map(len, commands))
    for command, told in commands.items():
        say(f"  {command:<{width}}  {told}")
