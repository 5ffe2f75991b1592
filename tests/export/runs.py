"""Run folders as training leaves them, made by hand: exporting needs a finished run, not a long one."""

from __future__ import annotations

import json

import numpy as np
import safetensors.numpy
import torch
from torch import nn

import semilla
from semilla.contract import Net
from semilla.data.manifest import Manifest
from semilla.inference.model import load, save_model
from semilla.training.plan import network_from

GREY = {"kind": "images", "shape": [1, 8, 8], "mean": [0.3], "std": [0.4], "flip": False}
COLOR = {"kind": "images", "shape": [3, 16, 12], "mean": [0.3, 0.4, 0.5], "std": [0.2, 0.0, 0.3], "flip": True}
LARGER = {**COLOR, "shape": [3, 32, 32], "std": [0.2, 0.2, 0.3]}
VECTORS = {"kind": "vectors", "shape": [5], "mean": [0.0, 1.0, 2.0, 3.0, 4.0], "std": [1.0, 2.0, 3.0, 4.0, 5.0]}
VECTORS["flip"] = False
NAMES = ("cat", "dog", "owl")

SPECS = {
    "small_cnn": ({"name": "small_cnn", "channels": 1, "size": [8, 8], "classes": 3, "width": 4}, GREY),
    "whitened_cnn": ({"name": "whitened_cnn", "channels": 3, "size": [32, 32], "classes": 3, "width": 4}, LARGER),
    "wide_resnet": ({"name": "wide_resnet", "channels": 3, "classes": 3, "depth": 10, "widen": 1}, COLOR),
    "resnet": ({"name": "timm/test_resnet", "channels": 3, "size": [32, 32], "classes": 3}, LARGER),
    "vit": ({"name": "timm/test_vit", "channels": 3, "size": [32, 32], "classes": 3}, LARGER),
    "mlp": ({"name": "mlp", "inputs": 5, "classes": 3, "width": 8}, VECTORS),
}


def lived_in(net):
    """BatchNorm statistics as after some training, so that a forgotten one shows."""
    torch.manual_seed(1)
    with torch.no_grad():
        for name, buffer in net.named_buffers():
            if "running" in name:
                buffer.uniform_(0.5, 1.5)
    return net


def build(spec):
    torch.manual_seed(0)
    return network_from(spec)


def examples(inputs, count, seed=0):
    draw = np.random.default_rng(seed)
    if inputs["kind"] == "vectors":
        return draw.normal(size=(count, *inputs["shape"])).astype(np.float32) * 3
    return draw.integers(0, 256, (count, *inputs["shape"]), dtype=np.uint8)


def write_run(
    folder,
    kind="small_cnn",
    classes=NAMES,
    data="pets",
    source=None,
    method="fixmatch",
    network=None,
    spec=None,
    inputs=None,
    calibration=None,
    settings=None,
    notes=(),
    test=60,
    heads=None,
):
    """One finished fit; ``test`` held-out examples whose labels the network mostly guesses."""
    own, prepared = SPECS.get(kind, (None, None))
    spec, inputs = spec or own, inputs or prepared
    fit = folder / "fits" / f"{method}-0"
    fit.mkdir(parents=True)
    net = lived_in(Net(network or build(spec), heads)).eval()
    card = {"network": spec, "classes": list(classes), "inputs": inputs, "task": "classes"}
    if calibration:
        card["calibration"] = calibration
    save_model(fit, net, card)
    described = {
        "settings": {
            "method": method,
            "seed": 0,
            "steps": 12,
            "hyperparameters": {"threshold": 0.9},
            **(settings or {}),
        },
        "network": spec,
        "classes": list(classes),
        "evaluate_on": "test",
        "data": {"name": data, "fingerprint": "0" * 64, "labeled": 9, "unlabeled": 50},
    }
    versions = {"semilla": semilla.__version__, "torch": torch.__version__}
    put(
        fit / "fit.json",
        {"fit": described, "versions": versions, "reasons": {}, "source": source, "notes": list(notes)},
    )
    put(fit / "result.json", {"scores": {"test/accuracy": 0.9}, "seconds": 1.5, "warnings": [], "step": 12})
    said = {"labeled_labels": np.arange(9) % 3, "labeled_logits": np.eye(3, dtype=np.float32)[np.arange(9) % 3]}
    if test:
        logits = load(fit, network=network).logits(examples(inputs, test))
        labels = logits.argmax(1).astype(np.int64)
        labels[::10] = (labels[::10] + 1) % 3
        said |= {"test_logits": logits, "test_labels": labels}
    (fit / "outputs.safetensors").write_bytes(safetensors.numpy.save(said))
    return folder


def put(path, value):
    path.write_text(json.dumps(value), "utf-8")


def write_verdict(run, word="helped", why="the unlabeled data helped", **more):
    """``run.json`` with a comparison."""
    verdict = {
        "word": word,
        "method": "fixmatch",
        "baseline": "supervised",
        "n": 60,
        "level": 0.95,
        "needed": None,
        "accuracy": [0.9, 0.8, 0.95],
        "baseline_accuracy": [0.7, 0.6, 0.8],
        "difference": [0.2, 0.1, 0.3],
        **more,
    }
    put(run / "run.json", {"format": 1, "verdict": verdict, "shipped": "fixmatch-0", "why": why})


def write_manifest(run, digests):
    """A manifest of one training file, then test files, with the given contents."""
    parts = ("train", *["test"] * (len(digests) - 1))
    paths = tuple(f"{number}.png" for number in range(len(digests)))
    empty = ("",) * len(digests)
    Manifest("pets", paths, (None,) * len(digests), parts, empty, sizes=(1,) * len(digests), digests=digests).save(
        run / "manifest.jsonl"
    )


class Own(nn.Module):
    """A network of the user's own."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.body, self.head = nn.Conv2d(1, 4, 3), nn.Linear(4, 3)

    def forward(self, inputs):
        features = self.body(inputs).amax((2, 3))
        return self.head(features), features


class Stubborn(Own):
    """A network that decides in Python, which no graph can hold."""

    def forward(self, inputs):
        features = self.body(inputs).amax((2, 3))
        return (self.head(features) if float(features.sum()) > 0 else -self.head(features)), features
