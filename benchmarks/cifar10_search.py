"""How the recipes of CIFAR-10 were chosen: on 5,000 pictures of the training set, never on the test part.

    python benchmarks/cifar10_search.py --list             the candidates, and which are done
    python benchmarks/cifar10_search.py [--only NAME]      writes results/cifar10_search.json

The first 45,000 training pictures are the pool, with USB's draw 0 of 250 labels as far as it lies in them (218); the
last 5,000 stand for the test part. Those that start from a pre-training share one of 1,000 steps of SimCLR on 512
pictures, or of 2,000 on 256, and get 800 steps; the labels alone, from scratch, get 600. A busy machine changes no
figure. One seed: differences below two points decide nothing.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import cifar10
from machine import provenance
from semilla import fit, pretrain
from semilla.data.dataset import Dataset, Examples
from semilla.data.sources import load

PATH = cifar10.RESULTS / "cifar10_search.json"
RUNS = cifar10.RESULTS.parents[1] / "runs" / "cifar10-search"
KEPT = 45_000
COMMON: dict[str, Any] = {"network": "whitened_cnn", "device": "cpu", "precision": "bf16", "recipe": None}
TUNED = {"unlabeled_batch": 256, "learning_rate": 1e-3, "steps": 800}
SMALL = {"align": True, "relative": True}
START = (1_000, 512)
"""Steps of the pre-training that candidates start from, and examples of a step."""

HALF = {"init": (2_000, 256)}
CANDIDATES: dict[str, tuple[str, dict[str, Any]]] = {
    "supervised, weak and strong": ("supervised", {"steps": 600, "views": ("weak", "strong"), "optimizer": "adamw"}),
    "supervised, strong": ("supervised", {"steps": 600, "views": ("strong",), "optimizer": "adamw"}),
    "supervised, sgd": ("supervised", {"steps": 600, "views": ("weak", "strong"), "learning_rate": 0.1}),
    "fixmatch from the start": ("fixmatch", TUNED),
    "fixmatch, aligned and relative": ("fixmatch", TUNED | SMALL),
    "fixmatch, from scratch": ("fixmatch", TUNED | SMALL | {"optimizer": "adamw", "init": False}),
    "fixmatch, aligned and relative, start on 256": ("fixmatch", TUNED | SMALL | HALF),
    "fixmatch likewise, small_cnn": ("fixmatch", TUNED | SMALL | HALF | {"network": "small_cnn"}),
    "uda, aligned and relative": ("uda", TUNED | SMALL),
    "mean_teacher": ("mean_teacher", TUNED),
    "pi_model": ("pi_model", TUNED),
    "pseudo_label, aligned and relative": ("pseudo_label", TUNED | SMALL),
    "pseudo_label": ("pseudo_label", TUNED),
    "mixmatch": ("mixmatch", TUNED | {"unlabeled_batch": 64, "weight": 30.0, "ramp": 0.4}),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--only", choices=list(CANDIDATES))
    options = parser.parse_args()
    found = cifar10.load(PATH)
    for name, (method, changes) in CANDIDATES.items():
        if options.list:
            print(f"{name:<46}{'done' if name in found else ''}")
        elif options.only in (None, name) and name not in found:
            found[name] = candidate(method, dict(changes))
            print(f"{name:<46}{100 * found[name]['accuracy']:.1f} %")
            cifar10.save(PATH, found)


def candidate(method: str, changes: dict[str, Any]) -> dict[str, Any]:
    """Fit one candidate and score it on the pictures kept back."""
    dataset = validation()
    words = {**COMMON, **changes}
    begun = words.pop("init", None if method == "supervised" else START)
    if begun:
        words["weights"] = str(start(dataset, words["network"], *begun))
    result = fit(dataset, method=method, evaluate_every=changes["steps"] // 8, **words)
    curve = [[line["step"], line["test/accuracy"]] for line in result.history if "test/accuracy" in line]
    return {"accuracy": result.scores["test/accuracy"], "curve": curve, "changes": changes, **provenance("torch")}


def start(dataset: Dataset, network: str, steps: int, batch: int) -> Path:
    """The weights candidates start from: some steps of SimCLR, made once."""
    folder = RUNS / f"{network}-{steps}-{batch}"
    weights = folder / "fits" / "simclr-0" / "model.safetensors"
    if not weights.exists():
        words = {key: value for key, value in COMMON.items() if key != "recipe"} | {"network": network}
        begun = any(folder.glob("fits/*/fit.json"))
        pretrain(dataset, steps=steps, unlabeled_batch=batch, out=folder, resume=begun, readout=False, **words)
    return weights


def validation() -> Dataset:
    """CIFAR-10's training pictures, cut in two; its test part is dropped."""
    whole = load("cifar10")
    with np.load(cifar10.DATA / "splits" / "label_indexes.npz") as splits:
        index = np.asarray(splits["cifar10_usb_250"][0])
    labels = np.full(KEPT, -1, np.int64)
    labels[index[index < KEPT]] = whole.labels[index[index < KEPT]]
    kept_back = Examples(whole.inputs[KEPT:], whole.labels[KEPT:])
    return replace(whole, inputs=whole.inputs[:KEPT], labels=labels, test=kept_back, manifest=None)


if __name__ == "__main__":
    main()
