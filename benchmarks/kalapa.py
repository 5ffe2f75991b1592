"""Vietnamese handwriting: 270 transcribed lines of 10 writers, 70 writers without transcriptions, 20 to be tested on.

    python benchmarks/kalapa.py --list                   the pieces, and which are done
    python benchmarks/kalapa.py                          all that are left; writes results/kalapa.json
    python benchmarks/kalapa.py --piece mean_teacher-0   one of them
    python benchmarks/kalapa.py --search                 settings, on 2 of the 10 labeled writers of the first draw

A piece is one fit of `semilla train` on the Kalapa lines (see the README of the data), from one start for all: a
recogniser pre-trained on generated lines alone (``start``). Every method and supervised training get the same start,
network, labels and number of steps. The three draws of labeled writers and the 20 test writers are those of
``splits.json``; the transcriptions of all other writers are hidden. The last averaged weights are scored once on the
test lines: character error rate over grapheme clusters, case and punctuation counting. Intervals are by bootstrap over
the test writers and the draws, both drawn anew together (4,000 times).

Settings were chosen with ``--search`` on writers 9 and 10 of the first draw's labeled ones, kept out of training there;
test writers play no part in it.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import cifar10
from machine import provenance
from semilla import fit
from semilla.data.dataset import UNKNOWN, Dataset, Examples, take
from semilla.data.source import Source
from semilla.data.sources import load

FOLDER = cifar10.DATA / "vietnamese_lines"
PATH = cifar10.RESULTS / "kalapa.json"
RUNS = Path(__file__).parents[1] / "runs" / "kalapa"
HEIGHT, STEPS, START_STEPS, GENERATED = 32, 1_500, 4_000, 40_000
DRAWS, RESAMPLES = 3, 4_000
KEPT_BACK = 2
COMMON: dict[str, Any] = {"recipe": None, "network": "crnn", "alphabet": "vietnamese", "keep_checkpoints": False}
METHODS: dict[str, dict[str, Any]] = {
    "supervised": {"views": ("strong",)},
    "mean_teacher": {"view": "photometric", "weight": 50.0},
    "pi_model": {"view": "photometric", "weight": 10.0},
    "uda": {"views": ("weak", "strong"), "labeled_view": "strong", "threshold": 0.7},
    "pseudo_label": {"view": "strong", "threshold": 0.9},
    "fixmatch": {"views": ("weak", "strong"), "labeled_view": "strong", "threshold": 0.9},
}
SEARCHED: dict[str, tuple[str, dict[str, Any]]] = {name: (name, words) for name, words in METHODS.items()}
SEARCHED |= {
    "mean_teacher, strong": ("mean_teacher", {"view": "strong", "weight": 50.0}),
    "mean_teacher, less": ("mean_teacher", {"view": "photometric", "weight": 10.0}),
    "fixmatch, 0.7": ("fixmatch", METHODS["fixmatch"] | {"threshold": 0.7}),
    "pseudo_label, 0.7": ("pseudo_label", METHODS["pseudo_label"] | {"threshold": 0.7}),
}
PIECES = [f"{method}-{draw}" for draw in range(DRAWS) for method in METHODS]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--search", action="store_true")
    parser.add_argument("--piece", choices=["start", *PIECES])
    options = parser.parse_args()
    found = cifar10.load(PATH)
    if options.list:
        print("\n".join(f"{name:<24}{'done' if name in found else ''}" for name in ["start", *PIECES]))
        return
    if "start" not in found or options.piece == "start":
        found["start"] = start()
        cifar10.save(PATH, found)
    if options.search:
        searched = found.setdefault("search", {})
        for name, (method, words) in SEARCHED.items():
            if name not in searched:
                searched[name] = piece(f"search {name}", method, words, lines(0, KEPT_BACK), 0)
                cifar10.save(PATH, found)
                print(f"{name:<28}CER {100 * cer(searched[name]):.2f} %", flush=True)
        return
    for name in PIECES if options.piece is None else [options.piece] if options.piece != "start" else []:
        if name not in found:
            method, draw = name.rsplit("-", 1)
            found[name] = piece(name, method, METHODS[method], lines(int(draw)), int(draw))
            cifar10.save(PATH, found)
            print(f"{name:<28}CER {100 * cer(found[name]):.2f} %", flush=True)
    for line in table(found):
        print(line)


def start() -> dict[str, Any]:
    """Pre-train on generated lines; go on with what is there."""
    from semilla.generated_start import pretrain_generated

    began, folder = time.monotonic(), RUNS / "start"
    words = {key: value for key, value in COMMON.items() if key not in ("recipe", "keep_checkpoints")}
    resume = any(folder.glob("fits/*/fit.json"))
    result = pretrain_generated(
        folder,
        look="handwriting",
        lines=GENERATED,
        height=HEIGHT,
        steps=START_STEPS,
        seed=0,
        resume=resume,
        say=print,
        **words,
    )
    seconds = round(result.seconds, 1)
    told = {"steps": START_STEPS, "lines": GENERATED, "training seconds": seconds}
    return told | {"wall seconds": round(time.monotonic() - began, 1), **provenance("torch", "pillow")}


def lines(draw: int, kept_back: int = 0) -> Dataset:
    """The lines of a draw: transcriptions of its labeled writers alone; the test writers, or some of those labeled.

    Args:
        draw: 0, 1 or 2.
        kept_back: how many of the labeled writers stand for the test part, which is then left out.
    """
    splits = json.loads((FOLDER / "splits.json").read_text())
    source = Source(
        FOLDER / "kalapa_train.parquet", unlabeled=str(FOLDER / "kalapa_unlabeled.parquet"), task="text", height=HEIGHT
    )
    whole = load(source)
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


def piece(name: str, method: str, words: dict[str, Any], dataset: Dataset, draw: int) -> dict[str, Any]:
    """One fit, scored once; go on with what is there."""
    began, folder = time.monotonic(), RUNS / name.replace(", ", "-").replace(" ", "-")
    (weights,) = (RUNS / "start").glob("fits/*/model.safetensors")
    resume = any(folder.glob("fits/*/fit.json"))
    result = fit(
        dataset,
        method=method,
        weights=str(weights),
        steps=STEPS,
        seed=draw,
        out=folder,
        resume=resume,
        **COMMON,
        **words,
    )
    outputs = result.outputs
    sums = {
        str(group): [int(outputs[f"test_{key}"][outputs["test_groups"] == group].sum()) for key in ("edits", "lengths")]
        for group in np.unique(outputs["test_groups"])
    }
    curve = [[line["step"], line["test/cer"]] for line in result.history if "test/cer" in line]
    scores = {key.removeprefix("test/"): value for key, value in result.scores.items()}
    made = {"scores": scores, "writers": sums, "curve": curve, "settings": words, "steps": STEPS}
    made |= {"training seconds": round(result.seconds, 1), "wall seconds": round(time.monotonic() - began, 1)}
    return made | {"labeled": int((dataset.labels >= 0).sum()), **provenance("torch")}


def cer(row: dict[str, Any]) -> float:
    """Edits by characters of all writers."""
    sums = np.array(list(row["writers"].values()))
    return float(sums[:, 0].sum() / sums[:, 1].sum())


def relative(found: dict[str, Any], method: str) -> tuple[float, float, float] | None:
    """How far a method's error rate lies from that of supervised training, as a share of it, with its interval."""
    draws = [draw for draw in range(DRAWS) if {f"{method}-{draw}", f"supervised-{draw}"} <= found.keys()]
    if not draws:
        return None
    own, base = (
        np.array([list(found[f"{name}-{draw}"]["writers"].values()) for draw in draws])
        for name in (method, "supervised")
    )

    def change(rows: np.ndarray[Any, Any], writers: np.ndarray[Any, Any]) -> float:
        rates = [sums[rows][:, writers].sum(1) for sums in (own, base)]
        return float((rates[0][:, 0] / rates[0][:, 1]).mean() / (rates[1][:, 0] / rates[1][:, 1]).mean() - 1)

    random, count = np.random.default_rng(0), own.shape[1]
    samples = [
        change(random.integers(0, len(draws), len(draws)), random.integers(0, count, count)) for _ in range(RESAMPLES)
    ]
    low, high = np.quantile(samples, [0.025, 0.975])
    return change(np.arange(len(draws)), np.arange(count)), float(low), float(high)


def table(found: dict[str, Any]) -> list[str]:
    """Each method over the draws there are."""
    lines_ = [f"{'method':<24}{'draws':>6}{'CER':>9}{'exact':>9}   against supervised (95 %)"]
    for method in METHODS:
        rows = [found[f"{method}-{draw}"] for draw in range(DRAWS) if f"{method}-{draw}" in found]
        if rows:
            exact = np.mean([row["scores"]["accuracy"] for row in rows])
            change = relative(found, method)
            told = "" if change is None or method == "supervised" else "{:+.1%} ({:+.1%} … {:+.1%})".format(*change)
            lines_.append(
                f"{method:<24}{len(rows):>6}{np.mean([cer(row) for row in rows]):>9.2%}{exact:>9.1%}   {told}"
            )
    return lines_


if __name__ == "__main__":
    main()
