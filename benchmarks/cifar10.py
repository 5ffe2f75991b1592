"""What the two CIFAR-10 benchmarks share: label draws, one row for each finished run."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

DATA = Path(__file__).parents[2] / "shared" / "data"
RESULTS = Path(__file__).parent / "results"


def draw(labels: int, number: int, folder: Path) -> Path:
    """The file of a label draw made with USB's algorithm and seeds: positions in the official training order."""
    with np.load(DATA / "splits" / "label_indexes.npz") as splits:
        index = np.asarray(splits[f"cifar10_usb_{labels}"][number])
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"usb-{labels}-{number}.npy"
    np.save(path, np.sort(index))
    return path


def row(fit: Path) -> dict[str, Any]:
    """What a finished fit reached: last averaged weights, once, on the exact test pictures, which alone are read."""
    outputs = safetensors.numpy.load_file(fit / "outputs.safetensors")
    right = outputs["test_logits"].argmax(1) == outputs["test_labels"]
    lines = [json.loads(line) for line in (fit / "metrics.jsonl").read_text().splitlines()]
    curve = [[line["step"], round(line["test/accuracy"], 4)] for line in lines if "test/accuracy" in line]
    words = settings(fit)
    return {
        "accuracy": float(right.mean()),
        "n": len(right),
        "steps": words["steps"],
        "training seconds": seconds(fit),
        "network": words["network"],
        "precision": words["precision"],
        "threads": words["threads"],
        "curve": curve,
    }


def settings(fit: Path) -> dict[str, Any]:
    """The settings of a fit, filled in."""
    return dict(json.loads((fit / "fit.json").read_text())["fit"]["settings"])


def weights(run: Path) -> Path:
    """The weights of a finished run's only fit."""
    (found,) = run.glob("fits/*/model.safetensors")
    return found


def seconds(fit: Path) -> float:
    """Training time of a finished fit."""
    return float(json.loads((fit / "result.json").read_text())["seconds"])


def load(path: Path) -> dict[str, Any]:
    """What earlier pieces found."""
    return dict(json.loads(path.read_text())) if path.exists() else {}


def save(path: Path, found: dict[str, Any]) -> None:
    """After every piece, so that nothing is lost."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = re.sub(r"\[[-\d.e,\s]+\]", lambda match: " ".join(match[0].split()), json.dumps(found, indent=1))
    path.write_text(text + "\n")  # a list of numbers is one line
