"""English words in photographs: 2,000 transcribed crops of IIIT5K, 4,725 crops without transcriptions, three test sets.

    python benchmarks/english_words.py --list                   the pieces, and which are done
    python benchmarks/english_words.py                          all that are left; writes results/english_words.json

Labeled: the training part of IIIT5K. Unlabeled: the training parts of SVT and ICDAR 2015, their transcriptions hidden.
Tests: IIIT5K 3,000, SVT 647, ICDAR 2015 2,077. Truth and reading are compared by the 36-character protocol: small
letters, then digits and a to z alone. All methods and supervised training have one start, a recogniser pre-trained on
generated words alone, one network, the same labels and steps. The last averaged weights are scored once.

Accuracy is exact match. The interval of a difference is by bootstrap over the words of a set and the seeds, both drawn
anew together. Settings are those of the recipes for text (``--recipe text``), which have seen none of these words.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import cifar10
from recognisers import RESAMPLES, asked, made, piece, start
from semilla.config import recipe, recipe_for
from semilla.data.dataset import UNKNOWN, Dataset, Examples, take
from semilla.data.lines import Lines
from semilla.data.rows import Rows
from semilla.data.source import Source
from semilla.data.sources import load
from semilla.tasks.spelling import Protocol

FOLDER = cifar10.DATA / "scene_text"
PATH = cifar10.RESULTS / "english_words.json"
RUNS = Path(__file__).parents[1] / "runs" / "english-words"
HEIGHT, START_STEPS, GENERATED = 32, 4_000, 40_000
STEPS, SEEDS = 1_500, 3
LABELED, UNLABELED = "iiit5k_train", ("svt_train", "ic15_train")
TESTS = {"IIIT5K": "iiit5k_test", "SVT": "svt_test", "IC15": "ic15_test"}
NETWORK: dict[str, Any] = {"network": "crnn", "alphabet": "english36"}
BATCHES: dict[str, Any] = {"labeled_batch": 32, "unlabeled_batch": 64}
METHODS = ("supervised", "mean_teacher", "fixmatch")
PIECES = [f"{method}-{seed}" for seed in range(SEEDS) for method in METHODS]
PROTOCOL = Protocol.preset("english36")


def main() -> None:
    found = cifar10.load(PATH)
    options = asked(__doc__, PIECES, found)
    if options is None:
        return
    words = {
        "corpus": "english",
        "mode": "words",
        "case": "mixed",
        "look": "scene",
        "protocol": "english36",
        "lines": GENERATED,
        "height": HEIGHT,
    }
    made(PATH, found, "start", lambda: start(RUNS / "start", words | {"steps": START_STEPS, **NETWORK}))
    for name in PIECES if options.piece is None else [options.piece] if options.piece != "start" else []:
        fitted(found, name)
    for line in table(found):
        print(line)


def fitted(found: dict[str, Any], name: str) -> None:
    """One fit."""
    method, seed = name.rsplit("-", 1)
    words = NETWORK | BATCHES | recipe(recipe_for("text", method))
    made(
        PATH,
        found,
        name,
        lambda: piece(RUNS / name, RUNS / "start", crops(), method, words, int(seed), STEPS),
        settings=words,
        steps=STEPS,
    )


def crops() -> Dataset:
    """The crops as one data set; the group of a test crop is itself, and they follow in the order of `TESTS`."""
    lines: list[np.ndarray[Any, np.dtype[np.uint8]]] = []
    texts: list[str] = []
    ends = [0]
    for name in (LABELED, *UNLABELED, *TESTS.values()):
        part = load(Source(FOLDER / f"{name}.parquet", task="text", height=HEIGHT, holdout=None))
        for row, label in zip(part.inputs.index, part.labels, strict=True):
            text = PROTOCOL.apply(part.classes[label]) if label >= 0 else ""
            if text or name in UNLABELED:
                lines.append(part.inputs.pool.line(row))
                texts.append("" if name in UNLABELED else text)
        ends.append(len(lines))
    classes = tuple(sorted({*texts} - {""}))
    numbers = {text: number for number, text in enumerate(classes)} | {"": UNKNOWN}
    labels = np.array([numbers[text] for text in texts], np.int64)
    rows = Rows(Lines.of(lines, HEIGHT), np.arange(len(lines)))
    pool, test = np.arange(ends[3]), np.arange(ends[3], ends[-1])
    held = Examples(take(rows, test), labels[test])
    reading = {"height": HEIGHT, "widest": 100 * HEIGHT}
    return Dataset("english words", "text", classes, take(rows, pool), labels[pool], test=held, reading=reading)


def sets(row: dict[str, Any]) -> dict[str, np.ndarray[Any, np.dtype[np.bool_]]]:
    """Which words of each test set were read without an error."""
    right, start_, found = np.array(row["test"]["edits"]) == 0, 0, {}
    for name, file in TESTS.items():
        size = row_count(file)
        found[name] = right[start_ : start_ + size]
        start_ += size
    assert start_ == len(right), f"{len(right)} words were tested and the sets have {start_}"
    return found


def row_count(name: str) -> int:
    """Crops of a set that the protocol leaves a character."""
    import pyarrow.parquet

    texts = pyarrow.parquet.read_table(FOLDER / f"{name}.parquet", columns=["text"]).column("text").to_pylist()
    return sum(bool(PROTOCOL.apply(text)) for text in texts)


def table(found: dict[str, Any]) -> list[str]:
    """Each method over the seeds there are, on each test set."""
    told = [f"{'method':<16}{'seeds':>6}  " + "".join(f"{name:>34}" for name in TESTS)]
    for method in METHODS:
        seeds = [seed for seed in range(SEEDS) if {f"{method}-{seed}", f"supervised-{seed}"} <= found.keys()]
        if not seeds:
            continue
        own, base = ([sets(found[f"{name}-{seed}"]) for seed in seeds] for name in (method, "supervised"))
        cells = []
        for name in TESTS:
            right, other = (np.array([row[name] for row in rows]) for rows in (own, base))
            cell = f"{right.mean():.1%}"
            if method != "supervised":
                cell += " ({:+.1f}: {:+.1f} … {:+.1f})".format(*gain(right, other))
            cells.append(f"{cell:>34}")
        told.append(f"{method:<16}{len(seeds):>6}  " + "".join(cells))
    return told


def gain(
    right: np.ndarray[Any, np.dtype[np.bool_]], base: np.ndarray[Any, np.dtype[np.bool_]]
) -> tuple[float, float, float]:
    """Difference in points, with its 95 % interval over words and seeds."""
    difference, random = right.astype(float) - base, np.random.default_rng(0)
    seeds, words = difference.shape
    samples = [
        difference[random.integers(0, seeds, seeds)][:, random.integers(0, words, words)].mean()
        for _ in range(RESAMPLES)
    ]
    low, high = np.quantile(samples, [0.025, 0.975])
    return 100 * float(difference.mean()), 100 * float(low), 100 * float(high)


if __name__ == "__main__":
    main()
