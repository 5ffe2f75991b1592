"""Vietnamese handwriting: 270 transcribed lines of 10 writers, 70 writers without transcriptions, 20 to be tested on.

    python benchmarks/kalapa.py --list                   the pieces, and which are done
    python benchmarks/kalapa.py                          all that are left; writes results/kalapa.json
    python benchmarks/kalapa.py --piece mean_teacher-0   one of them
    python benchmarks/kalapa.py --search                 settings, on 2 of the 10 labeled writers of two draws

A piece is one fit of `semilla train` on the Kalapa lines (see the README of the data), from one start for all: a
recogniser pre-trained on generated lines alone (``start``). Every method and supervised training get the same start,
network, labels and number of steps; ``supervised_longer`` gets as much time as FixMatch instead. The three draws of
labeled writers and the 20 test writers are those of ``splits.json``; what all other writers' lines say is hidden. The
last averaged weights are scored once on the test lines: character error rate over grapheme clusters, case and
punctuation counting. Intervals are by bootstrap over the test writers and the draws, both drawn anew together (4,000
times).

Settings were looked for on the last two of a draw's labeled writers, kept out of training there; test writers play no
part in it. ``--search`` is about Mean Teacher. Rows of the file that name no draw are of an earlier search (draw 0, 300
steps, squares averaged over the symbols): two settings of supervised training and of FixMatch, five of Mean Teacher,
one each of UDA and pseudo-label, none of the Π-model. Mean Teacher met the test writers with both kinds of lines.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import cifar10
from recognisers import asked, made, piece, relative, start
from semilla.data.dataset import UNKNOWN, Dataset, Examples, take
from semilla.data.source import Source
from semilla.data.sources import load

FOLDER = cifar10.DATA / "vietnamese_lines"
PATH = cifar10.RESULTS / "kalapa.json"
RUNS = Path(__file__).parents[1] / "runs" / "kalapa"
HEIGHT, START_STEPS, GENERATED = 32, 2_500, 20_000
STEPS, SEARCH_STEPS = 1_500, 500
LONGER = 5_000
DRAWS = 3
KEPT_BACK = 2
NETWORK: dict[str, Any] = {"network": "crnn", "alphabet": "vietnamese"}
BATCHES: dict[str, Any] = {"labeled_batch": 16, "unlabeled_batch": 32}
METHODS: dict[str, dict[str, Any]] = {
    "supervised": {"views": ("strong",)},
    "mean_teacher": {"view": "photometric", "teacher_view": "weak", "labeled_view": "strong", "weight": 1.7},
    "pi_model": {"view": "strong", "weight": 1.3},
    "uda": {"views": ("weak", "strong"), "labeled_view": "strong", "threshold": 0.7},
    "pseudo_label": {"view": "strong", "threshold": 0.8},
    "fixmatch": {"views": ("weak", "strong"), "labeled_view": "strong", "threshold": 0.8},
}
_TEACHER = METHODS["mean_teacher"]
BENT = {"view": "strong", "teacher_view": "weak", "weight": 1.7}
"""Mean Teacher with a student whose lines are stretched and slanted, along which the teacher's frames are moved."""
EQUAL_TIME, FIRST = "supervised_longer", "mean_teacher_bent"
OTHERS = {EQUAL_TIME: ("supervised", METHODS["supervised"], LONGER), FIRST: ("mean_teacher", BENT, STEPS)}
"""Pieces besides the methods: their method, settings and steps."""
SEARCHED: dict[str, tuple[str, dict[str, Any]]] = {
    "supervised": ("supervised", METHODS["supervised"]),
    "mean_teacher, strong, 1.7": ("mean_teacher", BENT),
    "mean_teacher, photometric, 1.7": ("mean_teacher", _TEACHER | {"weight": 1.7}),
    "mean_teacher, photometric, 4.3": ("mean_teacher", _TEACHER | {"weight": 4.3}),
}
SEARCH_DRAWS = 2
PIECES = [f"{method}-{draw}" for draw in range(DRAWS) for method in (*METHODS, *OTHERS)]


def main() -> None:
    found = cifar10.load(PATH)
    options = asked(__doc__, PIECES, found, search=True)
    if options is None:
        return
    begun = {"look": "handwriting", "lines": GENERATED, "height": HEIGHT, "steps": START_STEPS, **NETWORK}
    made(PATH, found, "start", lambda: start(RUNS / "start", begun))
    if options.search:
        for name, (method, words) in SEARCHED.items():
            for draw in range(SEARCH_DRAWS):
                searched(found, f"search {name}-{draw}", method, words, draw)
        return
    for name in PIECES if options.piece is None else [options.piece] if options.piece != "start" else []:
        fitted(found, name)
    for line in table(found):
        print(line)


def fitted(found: dict[str, Any], name: str) -> None:
    """One method on one draw."""
    what, draw = name.rsplit("-", 1)
    method, own, steps = OTHERS[what] if what in OTHERS else (what, METHODS[what], STEPS)
    words = NETWORK | BATCHES | own
    made(
        PATH,
        found,
        name,
        lambda: piece(RUNS / name, RUNS / "start", lines(int(draw)), method, words, int(draw), steps),
        settings=words,
        steps=steps,
    )


def searched(found: dict[str, Any], name: str, method: str, words: dict[str, Any], draw: int) -> None:
    """One candidate on one draw, on writers kept back."""
    folder, words = RUNS / name.replace(", ", "-").replace(" ", "-"), NETWORK | BATCHES | words
    made(
        PATH,
        found,
        name,
        lambda: piece(folder, RUNS / "start", lines(draw, KEPT_BACK), method, words, draw, SEARCH_STEPS, looks=5),
        settings=words,
        steps=SEARCH_STEPS,
    )


def lines(draw: int, kept_back: int = 0) -> Dataset:
    """The lines of a draw: transcriptions of its labeled writers alone; the test writers, or some of those labeled.

    Args:
        draw: 0, 1 or 2.
        kept_back: how many of the labeled writers stand for the test part, which is then left out.
    """
    splits = json.loads((FOLDER / "splits.json").read_text())
    whole = load(Source(FOLDER / "kalapa_train.parquet", task="text", height=HEIGHT))
    assert whole.manifest is not None
    groups = np.array(whole.manifest.groups[: len(whole.labels)])
    labeled, tested = (
        list(map(str, splits[name] if name == "test" else splits[name][str(draw)])) for name in ("labeled", "test")
    )
    if kept_back:
        labeled, tested, hidden = labeled[:-kept_back], labeled[-kept_back:], tested
    else:
        hidden = []
    test = np.flatnonzero(np.isin(groups, tested))
    pool = np.flatnonzero(~np.isin(groups, tested + hidden))
    labels = np.where(np.isin(groups[pool], labeled), whole.labels[pool], UNKNOWN)
    manifest = whole.manifest.select([*pool.tolist(), *test.tolist()])
    manifest = replace(manifest, parts=("train",) * len(pool) + ("test",) * len(test))
    held = Examples(take(whole.inputs, test), whole.labels[test])
    return replace(whole, inputs=take(whole.inputs, pool), labels=labels, test=held, manifest=manifest)


def table(found: dict[str, Any]) -> list[str]:
    """Each method over the draws there are."""
    told = [f"{'method':<24}{'draws':>6}{'CER':>9}{'exact':>9}{'minutes':>9}   against supervised (95 %)"]
    for method in (*METHODS, *OTHERS):
        draws = [draw for draw in range(DRAWS) if {f"{method}-{draw}", f"supervised-{draw}"} <= found.keys()]
        own, base = ([found[f"{name}-{draw}"] for draw in draws] for name in (method, "supervised"))
        if own:
            scores = [np.mean([row["scores"][key] for row in own]) for key in ("cer", "accuracy")]
            change = "" if method == "supervised" else "{:+.1%} ({:+.1%} … {:+.1%})".format(*relative(own, base))
            if len(own) > 1 and change:
                each = (
                    f"{mine['scores']['cer'] / other['scores']['cer'] - 1:+.1%}"
                    for mine, other in zip(own, base, strict=True)
                )
                change += f"; draws {', '.join(each)}"
            minutes = np.mean([row["training seconds"] for row in own]) / 60
            told.append(f"{method:<24}{len(own):>6}{scores[0]:>9.2%}{scores[1]:>9.1%}{minutes:>9.1f}   {change}")
    return told


if __name__ == "__main__":
    main()
