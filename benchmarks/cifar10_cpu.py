"""CIFAR-10 with 250 and 4,000 labels on two CPU cores: the default recipes, in minutes.

    python benchmarks/cifar10_cpu.py --list                      the pieces, and which are done
    python benchmarks/cifar10_cpu.py                             all that are left; writes results/cifar10_cpu.json
    python benchmarks/cifar10_cpu.py --piece fixmatch-250-0      one of them
    python benchmarks/cifar10_cpu.py --time                      what their steps take on all cores, now

A piece is one run of `semilla train cifar10 --labels-file … --method … --init START --no-baseline` with the recipe that
comes with semilla. START is the recipe's pre-training on all 50,000 pictures without labels: it does not depend on the
label draw, so it is made once (seed 0) and its minutes are counted in every piece that begins with it. A piece that was
stopped is taken up where it stopped (its folder lies under runs/cifar10-cpu/); a finished one is not made again, unless
its number of steps is another by now. Label draws are USB's, made anew with its algorithm and seeds 0 to 2. The last
averaged weights are scored once, on the 9,980 test pictures that are exact; the curve is of the same pictures and chose
nothing: recipes were chosen by cifar10_search.py, on 5,000 pictures of the training set.

Numbers of steps are fixed, so that a busy machine changes no accuracy. What a piece takes on all cores is reckoned by
``--time``, in five rounds, as machines that others share are not equally fast from minute to minute: the mean time of a
step over some seconds (from random weights, which take as long), times its steps, pre-training included and without the
20 evaluations; the median and the extremes are kept. Beside them stands what it took as it was made, evaluations
included, where it was made in one go.

Supervised training is what the recipe of that name makes: the same network from scratch on weak and strong views. With
250 labels its curve stops rising after a few minutes, and it gets 3,000 steps; with 4,000 labels 12,000.
``fine_tuned`` is the same from a start with FixMatch's learning rate: what of FixMatch's gain the pre-training makes.
Pieces whose names end in steps x examples of a step begin with such a start, not with the recipe's.

Pieces whose names end in ``-cut`` and a number are what a user types: `semilla train cifar10 … --minutes 27` makes its
own start and cuts both parts to what the machine does in that time just then. The other three minutes of the half hour
are for reading and for the 20 evaluations. Their steps, and so their accuracies, differ from hour to hour.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import cifar10
from machine import provenance
from semilla import pretrain, train
from semilla.config import recipe, table_of
from semilla.data.sources import load
from semilla.fitting import plan_fit
from semilla.methods import find
from semilla.pretraining import plan_pretraining
from semilla.training.trial import step_seconds

PATH = cifar10.RESULTS / "cifar10_cpu.json"
RUNS = Path(__file__).parents[1] / "runs" / "cifar10-cpu"
STEP, TIMED, ROUNDS = "milliseconds of a step", 5.0, 5
FINE_TUNED = "fine_tuned"


class Piece(NamedTuple):
    """One run. ``steps``, and the steps and the batch of its start, are the recipe's where they are None.

    ``cut`` is what the whole run is told to take, in minutes, whatever steps that makes.
    """

    what: str
    labels: int
    draw: int
    minutes: float
    steps: int | None = None
    start: int | None = None
    batch: int | None = None
    cut: int | None = None

    @property
    def name(self) -> str:
        """As ``--piece`` names it; with its start where that is not the recipe's."""
        start = "" if self.batch is None else f"-{self.start}x{self.batch}"
        return f"{self.what}-{self.labels}-{self.draw}{start}" + ("" if self.cut is None else f"-cut{self.cut}")

    @property
    def method(self) -> str:
        """What trains."""
        return "supervised" if self.what == FINE_TUNED else self.what

    @property
    def recipe(self) -> str:
        """Whose pre-training it begins with."""
        return "cifar10/fixmatch" if self.what == FINE_TUNED else f"cifar10/{self.what}"

    @property
    def begins(self) -> list[int] | None:
        """Steps of the pre-training it begins with, and examples of a step; None for none."""
        own = table_of(self.recipe, "pretrain")
        return None if own is None else [self.start or own["steps"], self.batch or own["unlabeled_batch"]]

    @property
    def goes(self) -> int:
        """Steps of the training itself."""
        return self.steps or recipe(f"cifar10/{self.method}")["steps"]

    @property
    def words(self) -> dict[str, Any]:
        """What differs from the recipe besides."""
        return {"learning_rate": recipe("cifar10/fixmatch")["learning_rate"]} if self.what == FINE_TUNED else {}


_SHORT = {"uda": 2500, "mixmatch": 3900, "pseudo_label": 3200, "mean_teacher": 2300, "pi_model": 2500}
_DRAWN = (("fixmatch", 30), ("supervised", 10))
_FORMER = (1800, 512)
"""The start of the recipe before today's, which had 5,600 steps of FixMatch."""

PIECES = (
    *(Piece(method, 250, draw, minutes) for draw in range(3) for method, minutes in _DRAWN),
    Piece("fixmatch", 4000, 0, 30),
    Piece("supervised", 4000, 0, 30, steps=12_000),
    Piece("fixmatch", 250, 0, 30, cut=27),
    Piece("fixmatch", 4000, 0, 30, cut=27),
    *(Piece("fixmatch", 250, draw, 30, 5_600, *_FORMER) for draw in range(3)),
    Piece("fixmatch", 4000, 0, 30, 5_600, *_FORMER),
    *(Piece(FINE_TUNED, 250, draw, 30, 3_000, *_FORMER) for draw in range(3)),
    *(Piece(method, 250, 0, 10, steps, 600, 512) for method, steps in _SHORT.items()),
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--time", action="store_true")
    parser.add_argument("--piece", choices=[piece.name for piece in PIECES])
    options = parser.parse_args()
    found = cifar10.load(PATH)
    for piece in PIECES:
        asked = options.piece in (None, piece.name)
        if options.list:
            first = "" if piece.begins is None else f"{piece.begins[0]:,} ({piece.begins[1]}) +"
            steps = f"{first:>14} {piece.goes:>6,} steps" if piece.cut is None else f"{'as many steps as fit':>27}"
            plan = f"{piece.minutes:>4g} min  {steps}"
            print(f"{piece.name:<28}{plan}   {'done' if done(piece, found) else ''}")
        elif options.time and asked and piece.cut is None:
            found.setdefault(STEP, {})[piece.name] = timed(piece)
            cifar10.save(PATH, found)
        elif asked and not done(piece, found):
            row = run(piece)
            found = cifar10.load(PATH) | {piece.name: row}  # others may be made beside this one
            cifar10.save(PATH, found)
            print(table(found)[-1], flush=True)
    for line in [] if options.list else table(found):
        print(line)


def done(piece: Piece, found: dict[str, Any]) -> bool:
    """Whether the file has this piece, with the steps and the start it is to have now."""
    row = found.get(piece.name, {})
    if piece.cut is not None:
        return bool(row.get("cut") == piece.cut)
    return (row.get("pre-training"), row.get("steps")) == (piece.begins, piece.goes)


def start(steps: int, batch: int) -> Path:
    """The folder of the pre-training of so many steps, made or gone on with if it is not there yet."""
    folder = RUNS / f"start-{steps}-{batch}"
    if not any(folder.glob("fits/*/result.json")):
        begun = any(folder.glob("fits/*/fit.json"))
        pretrain("cifar10", **beginning(steps, batch), out=folder, resume=begun, readout=False, say=print)
    return folder


def beginning(steps: int, batch: int) -> dict[str, Any]:
    """The recipe's pre-training, which is the same for every method, in so many steps on so many examples each."""
    own = table_of("cifar10/fixmatch", "pretrain") or {}
    words = {key: value for key, value in own.items() if key != "share"}
    return words | {"network": "whitened_cnn", "steps": steps, "unlabeled_batch": batch}


def run(piece: Piece) -> dict[str, Any]:
    """Make one piece, or go on with it."""
    if piece.cut is not None:
        return run_cut(piece)
    begun = None if piece.begins is None else start(*piece.begins)
    began = time.monotonic()
    folder = RUNS / "-".join(map(str, (piece.name, *(piece.begins or (0,)), piece.goes)))
    resume = any(folder.glob("**/fit.json"))
    train(
        "cifar10",
        labels_file=cifar10.draw(piece.labels, piece.draw, RUNS / "labels"),
        method=piece.method,
        init=begun,
        baseline=False,
        seed=piece.draw,
        out=folder,
        resume=resume,
        say=print,
        steps=piece.goes,
        **piece.words,
    )
    made = cifar10.row(fit_of(piece, folder))
    made |= {"pre-training": piece.begins, "resumed": resume, "wall seconds": round(time.monotonic() - began, 1)}
    if begun is not None:  # its training loop alone; the pictures are read anew in every piece
        made["pre-training seconds"] = cifar10.seconds(cifar10.weights(begun).parent)
    return made | {"minutes asked": piece.minutes, "provenance": provenance("torch", "numpy")}


def run_cut(piece: Piece) -> dict[str, Any]:
    """Make one piece as its user would, with the start that the recipe says, in so many minutes."""
    began = time.monotonic()
    folder = RUNS / piece.name
    resume = any(folder.glob("**/fit.json"))
    labels = cifar10.draw(piece.labels, piece.draw, RUNS / "labels")
    words: dict[str, Any] = {"method": piece.method, "baseline": False, "seed": piece.draw, "minutes": piece.cut}
    train("cifar10", labels_file=labels, out=folder, resume=resume, say=print, **words)
    (start,) = folder.glob("*/fits/*/model.safetensors")
    made = cifar10.row(fit_of(piece, folder)) | {"cut": piece.cut, "resumed": resume}
    settings = cifar10.settings(start.parent)
    made |= {"pre-training": [settings["steps"], settings["unlabeled_batch"]]}
    made |= {"pre-training seconds": cifar10.seconds(start.parent)}
    made |= {"wall seconds": round(time.monotonic() - began, 1)}  # all of it, the pre-training too
    return made | {"minutes asked": piece.minutes, "provenance": provenance("torch", "numpy")}


def fit_of(piece: Piece, folder: Path) -> Path:
    """The folder of a piece's training."""
    return folder / "fits" / f"{piece.method}-{piece.draw}"


def timed(piece: Piece) -> dict[str, Any]:
    """What a step of a piece and of its pre-training takes on this machine now, in ms, and all of them in minutes."""
    dataset, labels = load("cifar10"), cifar10.draw(piece.labels, piece.draw, RUNS / "labels")
    fit, _ = plan_fit(dataset, labels_file=labels, method=piece.method, steps=piece.goes, **piece.words)
    fits = {"training": (piece.goes, fit)}
    if piece.begins is not None:
        own = beginning(*piece.begins)
        begun, _ = plan_pretraining(dataset, find(own.pop("method")), None, None, None, False, None, own)
        fits["pre-training"] = (piece.begins[0], begun)
    rounds = [{name: step_seconds(each, least=TIMED) for name, (_, each) in fits.items()} for _ in range(ROUNDS)]
    minutes = sorted(sum(fits[name][0] * each for name, each in seconds.items()) / 60 for seconds in rounds)
    told = {name: round(1000 * median(each[name] for each in rounds), 1) for name in fits}
    least = {"minutes": round(median(minutes), 1), "extremes": [round(minutes[0], 1), round(minutes[-1], 1)]}
    return {"steps": [piece.begins, piece.goes], **told, **least, **provenance("torch", "numpy")}


def as_made(row: dict[str, Any]) -> str:
    """Minutes of the pre-training's loop and of the whole run after it; nothing where a run was stopped in between."""
    if row["resumed"] or (row["pre-training"] and "pre-training seconds" not in row):
        return "not measured"
    before = 0.0 if "cut" in row else row.get("pre-training seconds", 0.0)  # a cut run makes its own start
    minutes = (before + row["wall seconds"]) / 60
    return f"{minutes:.1f} min" + (f", {row['threads']} threads" if "threads" in row else "")


def reckoned(piece: Piece, found: dict[str, Any]) -> str:
    """Minutes as ``--time`` reckons them, if it did so for as many steps."""
    told = found.get(STEP, {}).get(piece.name, {})
    if told.get("steps") != [piece.begins, piece.goes]:
        return "not measured"
    low, high = told["extremes"]
    return f"{told['minutes']:.1f} ({low:.1f} … {high:.1f}) min"


def table(found: dict[str, Any]) -> list[str]:
    """The rows there are, and the mean over draws."""
    lines = [f"{'piece':<28}{'accuracy':>10}{'steps':>16}{'as made':>22}{'on all cores':>24}"]
    for piece in PIECES:
        if done(piece, found):
            row = found[piece.name]
            steps = f"{(row['pre-training'] or [0])[0]:,} + {row['steps']:,}"
            told = f"{as_made(row):>22}{reckoned(piece, found):>24}"
            lines.append(f"{piece.name:<28}{100 * row['accuracy']:>8.1f} %{steps:>16}{told}")
    for first in (piece for piece in PIECES if (piece.labels, piece.draw) == (250, 0)):
        alike = [piece for piece in PIECES if piece._replace(draw=0) == first]
        there = [found[piece.name]["accuracy"] for piece in alike if done(piece, found)]
        if len(alike) > 1 and there:
            mean = 100 * sum(there) / len(there)
            lines.append(f"{first.name} and other draws: mean of {len(there)} draws {mean:.1f} %")
    return lines


if __name__ == "__main__":
    main()
