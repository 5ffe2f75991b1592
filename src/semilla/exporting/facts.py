"""What an export says of its model, as plain values: gathered once for the ONNX metadata and the model card."""

from __future__ import annotations

import json
import os
from importlib import metadata as installed
from typing import Any

import torch

import semilla
from semilla.errors import SemillaError
from semilla.exporting.onnx import INPUT, LIBRARIES, LOGITS, PROBABILITIES
from semilla.inference.model import Model
from semilla.methods import find
from semilla.methods.catalogue import Entry
from semilla.reporting.provenance import private
from semilla.reporting.run_data import RunData

RESIZE = {
    "squash": "stretched to the given height and width",
    "pad": "scaled to fit into the given height and width, in the middle, the rest black",
    "crop": "scaled to cover the given height and width, the middle kept",
}
"""What a resize policy does, in words."""


def metadata(run: RunData, model: Model) -> dict[str, str]:
    """What the ONNX file says of itself; everything but plain words as JSON."""
    fit, entry = run.model, entry_of(run.model.method)
    described = fit.described.get("fit", {})
    training = {
        "method": fit.method,
        "paper": entry.paper if entry else None,
        "data": without_paths(described.get("data", {})),
        "settings": without_paths(fit.settings),
        "step": fit.result.get("step"),
        "scores": fit.result.get("scores", {}),
        "verdict": without_paths(run.verdict),
    }
    outputs = {
        PROBABILITIES: "float32 (batch, classes), calibrated by the temperature, each row sums to 1",
        LOGITS: "float32 (batch, classes), before the temperature",
    }
    versions = {"semilla": semilla.__version__, "torch": torch.__version__}
    versions |= {name: installed.version(name) for name in LIBRARIES}
    values = {
        "classes": list(model.classes),
        "input": describe_input(model.card["inputs"]),
        "outputs": outputs,
        "calibration": model.card.get("calibration"),
        "training": training,
        "versions": {
            "trained": fit.described.get("versions", {}),
            "exported": {**versions, "torch": torch.__version__},
        },
    }
    plain = {"task": pipeline(model.card), "method": fit.method, "semilla": semilla.__version__}
    return {**plain, **{key: json.dumps(value, ensure_ascii=True, allow_nan=False) for key, value in values.items()}}


def describe_input(inputs: dict[str, Any]) -> dict[str, Any]:
    """What a program must do before it calls the model, as values."""
    shape: list[Any] = ["batch", *inputs["shape"]]
    reading = inputs.get("reading") or {}
    scale = 255 if inputs["kind"] == "images" else 1
    inside = {"scale": scale, "mean": inputs["mean"], "std": inputs["std"]}  # (value / scale − mean) / std
    if inputs["kind"] == "vectors":
        return {
            "name": INPUT,
            "type": "float32",
            "shape": shape,
            "layout": "one vector a row",
            "preparation": "columns of a table turned into numbers as 'reading' says" if reading else "",
            "reading": reading,
            "normalized_inside": inside,
        }
    resize = reading.get("resize", "squash")
    return {
        "name": INPUT,
        "type": "uint8",
        "shape": shape,
        "layout": "NCHW",
        "colors": "RGB" if inputs["shape"][0] == 3 else "gray",
        "range": [0, 255],
        "resize": resize,
        "preparation": f"turned upright by its EXIF orientation, 8 bits a sample, transparency on white; "
        f"{RESIZE.get(resize, resize)}, bilinear with antialiasing",
        "reading": reading,
        "normalized_inside": inside,
    }


def pipeline(card: dict[str, Any]) -> str:
    """The task as the Hugging Face hub calls it."""
    return "image-classification" if card["inputs"]["kind"] == "images" else "tabular-classification"


def entry_of(method: str) -> Entry | None:
    """The method's entry in the catalogue; None for one that is not installed here."""
    try:
        return find(method)
    except SemillaError:
        return None


def without_paths(value: Any) -> Any:
    """The same plain values, of absolute paths only the last name."""
    if isinstance(value, dict):
        return {key: without_paths(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_paths(item) for item in value]
    if not isinstance(value, str):
        return value
    if os.path.isabs(value) or value.startswith("~"):
        return os.path.basename(value.rstrip("/")) or "/"
    return private(value)
