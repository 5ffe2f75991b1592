"""Inputs to compare an exported file with PyTorch on: real ones wherever there are any."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from semilla.data.dataset import Dataset
from semilla.data.source import Source
from semilla.data.sources import load as load_data
from semilla.data.walk import SUFFIXES, list_pictures
from semilla.errors import DataError, SemillaError
from semilla.inference.decode import decode
from semilla.inference.model import Model, arrange
from semilla.text import clean

COUNT = 64
"""Inputs in a comparison."""
RANDOM = "random inputs, as the run's data are not at hand"
"""What inputs are called that no data gave."""


def find_samples(model: Model, source: Any, given: str | Path | None = None) -> tuple[npt.NDArray[Any], str]:
    """Inputs as the model reads them, and what they are in words.

    Args:
        model: who is to read them.
        source: where the run's data came from, as ``fit.json`` says, or None.
        given: a path the user named, which must then be readable.

    Raises:
        SemillaError: what the user named cannot be read, or does not fit the model.
    """
    wanted = model.card["inputs"]
    if given is not None:
        return arrange(_given(os.fspath(given), model), wanted), "samples of yours"
    if source is not None:
        try:
            known = Source.from_plain(source) if isinstance(source, Mapping) else source
            inputs, part = _some(load_data(known))
            return arrange(inputs, wanted), f"{part} examples"
        except (SemillaError, OSError, TypeError):  # moved, changed, or described by another version
            pass
    return _random(wanted), RANDOM


def _given(path: str, model: Model) -> npt.NDArray[Any]:
    """Pictures as `semilla predict` reads them; anything else as data to train on."""
    folder_or_picture = os.path.isdir(path) or path.rpartition(".")[2].lower() in SUFFIXES
    if model.card["inputs"]["kind"] != "images" or not folder_or_picture:
        return _some(load_data(path))[0]
    names = [os.path.join(*found) for found in list_pictures([path])]
    pixels, problems = decode([names[row] for row in _spread(len(names))], model.form)
    readable = [row for row in range(len(pixels)) if row not in problems]
    if not readable:
        why = clean(next(iter(problems.values()), "there is none"))
        raise DataError("D014", f"no picture of {path!r} can be read: {why}", "name others with --samples")
    return pixels[readable]


def _some(dataset: Dataset) -> tuple[npt.NDArray[Any], str]:
    """Inputs evenly spread over the part that training saw least of, and its name."""
    parts = {"test": dataset.test, "development": dataset.development}
    pools = {name: part.inputs for name, part in parts.items() if part is not None}
    pools |= {"training": dataset.inputs} | ({} if dataset.unlabeled is None else {"unlabeled": dataset.unlabeled})
    for name, pool in pools.items():
        if len(pool):
            return np.asarray(pool[_spread(len(pool))]), name
    raise DataError("D004", f"{dataset.name} holds no example", "name others with --samples")


def _spread(count: int) -> npt.NDArray[np.int64]:
    return np.unique(np.linspace(0, count - 1, COUNT).astype(np.int64)) if count else np.zeros(0, np.int64)


def _random(wanted: Mapping[str, Any]) -> npt.NDArray[Any]:
    draw = np.random.default_rng(0)
    if wanted["kind"] == "images":
        return draw.integers(0, 256, (COUNT, *wanted["shape"]), dtype=np.uint8)
    normal = draw.normal(size=(COUNT, *wanted["shape"]))
    return np.asarray(normal * wanted["std"] + wanted["mean"], np.float32)
