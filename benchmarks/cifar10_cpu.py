"""CIFAR-10 with 250 and 4,000 labels on two CPU cores: the default recipes, in minutes.

    python benchmarks/cifar10_cpu.py --list                      the pieces, and which are done
    python benchmarks/cifar10_cpu.py                             all that are left; writes results/cifar10_cpu.json
    python benchmarks/cifar10_cpu.py --piece fixmatch-250-0      one of them
    python benchmarks/cifar10_cpu.py --within 50                 as many as fit into so many minutes

A piece is one run of `semilla train cifar10 --labels-file … --method … --minutes … --no-baseline` with the recipe that
comes with semilla: its pre-training, where it has one, is inside the minutes. A piece that was stopped is taken up
where it stopped (its folder lies under runs/cifar10-cpu/); a finished one is not made again. Label draws are the
published ones (USB's algorithm, seeds 0 to 2). The last averaged weights are scored once, on the 9,980 test pictures
that are exact; the curve is of all 10,000 and chose nothing: recipes are to be
chosen by cifar10_search.py, on 5,000 pictures of the training set, before this is run.

Supervised training is what the recipe of that name makes: the same network from scratch on weak and strong views. With
250 labels it is flat after a few minutes and runs for 10 instead of 30; its curve shows it.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any, NamedTuple

import cifar10
from machine import provenance
from semilla import train

PATH = cifar10.RESULTS / "cifar10_cpu.json"
RUNS = Path(__file__).parents[1] / "runs" / "cifar10-cpu"


class Piece(NamedTuple):
    """One run."""

    method: str
    labels: int
    draw: int
    minutes: float

    @property
    def name(self) -> str:
        """As ``--piece`` names it."""
        return f"{self.method}-{self.labels}-{self.draw}"


_DRAWN = (("fixmatch", 30), ("supervised", 10))
PIECES = (
    *(Piece(method, 250, draw, minutes) for draw in range(3) for method, minutes in _DRAWN),
    Piece("fixmatch", 4000, 0, 30),
    Piece("supervised", 4000, 0, 30),
    *(Piece(method, 250, 0, 10) for method in ("uda", "mixmatch", "pseudo_label", "mean_teacher", "pi_model")),
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--piece", choices=[piece.name for piece in PIECES])
    parser.add_argument("--within", type=float, help="minutes")
    options = parser.parse_args()
    found = cifar10.load(PATH)
    for piece in PIECES:
        if options.list:
            print(f"{piece.name:<24}{piece.minutes:>4g} min   {'done' if piece.name in found else ''}")
    began = time.monotonic()
    for piece in () if options.list else PIECES:
        asked = options.piece in (None, piece.name) and piece.name not in found
        left = options.within is None or (time.monotonic() - began) / 60 + 1.1 * piece.minutes < options.within
        if asked and left:
            found[piece.name] = run(piece)
            cifar10.save(PATH, found)
    for line in table(found):
        print(line)


def run(piece: Piece) -> dict[str, Any]:
    """Make one piece, or go on with it."""
    began, folder = time.monotonic(), RUNS / piece.name
    resume = any(folder.glob("**/fit.json"))
    train(
        "cifar10",
        labels_file=cifar10.draw(piece.labels, piece.draw, RUNS / "labels"),
        method=piece.method,
        minutes=piece.minutes,
        baseline=False,
        seed=piece.draw,
        out=folder,
        resume=resume,
        say=print,
    )
    fits = sorted((folder / "pretrain" / "fits").glob("*"))
    before = [cifar10.seconds(fit) for fit in fits]
    made = cifar10.row(folder / "fits" / f"{piece.method}-{piece.draw}")
    made |= {"pre-training seconds": sum(before), "resumed": resume, "wall seconds": round(time.monotonic() - began, 1)}
    return made | {"minutes asked": piece.minutes, "provenance": provenance("torch", "numpy")}


def table(found: dict[str, Any]) -> list[str]:
    """The rows there are, and the mean over draws."""
    lines = [f"{'piece':<24}{'accuracy':>9}{'steps':>8}{'pre-training':>14}{'training':>10}{'wall':>8}"]
    for piece in PIECES:
        if row := found.get(piece.name):
            times = (
                f"{row['pre-training seconds']:>12.0f} s{row['training seconds']:>8.0f} s{row['wall seconds']:>6.0f} s"
            )
            lines.append(f"{piece.name:<24}{100 * row['accuracy']:>7.1f} %{row['steps']:>8,}{times}")
    for method in ("fixmatch", "supervised"):
        scores = [found[name]["accuracy"] for draw in range(3) if (name := f"{method}-250-{draw}") in found]
        if scores:
            lines.append(f"{method}, 250 labels: mean of {len(scores)} draws {100 * sum(scores) / len(scores):.1f} %")
    return lines


if __name__ == "__main__":
    main()
