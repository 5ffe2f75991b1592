"""What a finished network says of its data, kept with a fit: the verdict, the report and the card are made of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from semilla.contract import Net
from semilla.data.dataset import Dataset, Inputs, Split, take
from semilla.data.labels import IntArray
from semilla.data.leaks import row_hashes
from semilla.inference.calibration import calibrate, calibrate_readings, calibrated
from semilla.inference.reader import Reader
from semilla.randomness import permutation
from semilla.tasks.spelling import scores
from semilla.training.batches import Views
from semilla.training.evaluate import outputs

TRAINED = "trained_rows"
"""The hashes of all that was trained on, among a fit's outputs: of arrays and tables, whose manifest has none."""

SAMPLED, SAMPLED_LOGITS = 5_000, 10_000_000
"""Unlabeled examples whose predictions are kept with a fit, drawn from the pool, and labeled ones likewise: fewer where
there are so many classes that they would have more logits. All labels of 10,000 classes had 100 million and more."""

SAMPLED_LINES = 500
"""Lines of the pool, and labeled ones, that a finished recogniser reads to be looked at."""

Outputs = dict[str, npt.NDArray[Any]]


def class_outputs(net: Net, views: Views, dataset: Dataset, parts: Split) -> Outputs:
    """What the averaged network says of the held-out parts, the labeled examples and a sample of the pool."""
    said: Outputs = {}
    for part, first in _held_out(dataset):
        held = getattr(dataset, part)
        said |= _said(net, views, part, held.inputs, first + np.arange(len(held)))
        said[f"{part}_labels"] = held.labels
    labeled, most = parts.labeled, min(SAMPLED, max(1, SAMPLED_LOGITS // max(1, len(dataset.classes))))
    chosen = np.arange(len(labeled))
    if len(labeled) > most:
        chosen = np.sort(permutation(0, "sampled labels", 0, len(labeled))[:most])
        said["labeled_counts"] = np.bincount(labeled.labels, minlength=len(dataset.classes))
    said |= _said(net, views, "labeled", take(labeled.inputs, chosen), parts.labeled_index[chosen])
    said["labeled_labels"] = labeled.labels[chosen]
    trained = [row_hashes(inputs) for inputs in (labeled.inputs, parts.unlabeled)]
    if dataset.manifest is None or not dataset.manifest.digests:  # other examples tell themselves so
        said[TRAINED] = np.concatenate(trained).view(np.int64)
    chosen = np.sort(permutation(0, "sampled outputs", 0, len(parts.unlabeled))[:most])
    sample = take(parts.unlabeled, chosen)
    return said | _said(net, views, "unlabeled", sample, parts.unlabeled_index[chosen])


def readings_of(
    reader: Reader, dataset: Dataset, parts: Split
) -> tuple[Outputs, list[dict[str, Any]], dict[str, Any] | None]:
    """What a reader makes of the held-out parts, the labeled lines and a sample of the pool.

    Figures, texts, and what the figures say about calibration.

    For each line its row in the manifest and the confidence as the network gives it; where its text is known ``edits``
    and ``lengths`` in grapheme clusters, and the number of its group, or of the line itself where it has none. The
    confidence beside a text is the calibrated one.
    """
    said: Outputs = {}
    read: list[tuple[str, list[dict[str, Any]]]] = []
    for part, inputs, truths, places in _to_read(dataset, parts):
        found = reader.read(inputs)
        names, groups = _named(dataset, part, places)
        said[f"{part}_confidence"], said[f"{part}_rows"] = found.confidence, places
        if truths is not None:
            counted = scores(found.texts, truths)
            said |= {f"{part}_edits": counted.edits, f"{part}_lengths": counted.length, f"{part}_groups": groups}
        rows = [{"part": part, "path": name, "text": text} for name, text in zip(names, found.texts, strict=True)]
        if truths is not None:
            rows = [{**row, "truth": truth} for row, truth in zip(rows, truths, strict=True)]
        read.append((part, rows))
    calibration = calibration_of(said)
    temperature = 1.0 if calibration is None else calibration["temperature"]
    told = []
    for part, rows in read:
        sure = calibrated(said[f"{part}_confidence"], temperature)
        told += [{**row, "confidence": round(float(own), 4)} for row, own in zip(rows, sure, strict=True)]
    return said, told, calibration


def calibration_of(said: Outputs) -> dict[str, Any] | None:
    """A temperature from the development part, or from the test part where there is no other; it changes no guess."""
    for part in ("development", "test"):
        if f"{part}_logits" in said:
            return calibrate(said[f"{part}_logits"], said[f"{part}_labels"], part)
        if f"{part}_edits" in said:
            edits, lengths = (said[f"{part}_{name}"].astype(np.float64) for name in ("edits", "lengths"))
            right = 1 - np.minimum(edits, lengths) / np.maximum(lengths, 1)
            return calibrate_readings(said[f"{part}_confidence"], right, lengths, said[f"{part}_groups"], part)
    return None


def _held_out(dataset: Dataset) -> Iterator[tuple[str, int]]:
    """The held-out parts that there are, and the row of the manifest where each begins: behind the training pool's."""
    first = len(dataset.labels) + (0 if dataset.unlabeled is None else len(dataset.unlabeled))
    for part in ("development", "test"):
        held = getattr(dataset, part)
        if held is not None:
            yield part, first
            first += len(held)


def _to_read(dataset: Dataset, parts: Split) -> Iterator[tuple[str, Inputs, list[str] | None, IntArray]]:
    """Name, lines, texts where they are known, and rows in the manifest of each part that has some."""
    for part, first in _held_out(dataset):
        held = getattr(dataset, part)
        yield part, held.inputs, [dataset.classes[label] for label in held.labels], first + np.arange(len(held))
    labeled, pool = parts.labeled, parts.unlabeled
    chosen = np.sort(permutation(0, "sampled labeled lines", 0, len(labeled))[:SAMPLED_LINES])
    if len(chosen):
        texts = [parts.classes[label] for label in labeled.labels[chosen]]
        yield "labeled", take(labeled.inputs, chosen), texts, parts.labeled_index[chosen]
    chosen = np.sort(permutation(0, "sampled unlabeled lines", 0, len(pool))[:SAMPLED_LINES])
    if len(chosen):
        yield "unlabeled", take(pool, chosen), None, parts.unlabeled_index[chosen]


def _named(dataset: Dataset, part: str, places: IntArray) -> tuple[list[str], IntArray]:
    """What examples are called, and the number of each one's group: its own where it has none."""
    manifest = dataset.manifest
    if manifest is None:
        return [f"{part} line {place}" for place in places], places
    groups = [manifest.groups[place] or f"\0{place}" for place in places]
    return [manifest.paths[place] for place in places], np.unique(groups, return_inverse=True)[1].astype(np.int64)


def _said(net: Net, views: Views, part: str, inputs: Inputs, rows: IntArray) -> Outputs:
    if not len(inputs):
        return {}
    said: Outputs = {}
    start = 0
    for output in outputs(net, views, inputs, next(net.parameters()).device):
        for name, values in ((f"{part}_logits", output.logits), (f"{part}_features", output.features)):
            if not start:
                said[name] = np.empty((len(inputs), *values.shape[1:]), np.float32)
            said[name][start : start + len(values)] = values.float().cpu().numpy()
        start += len(output.logits)
    return {**said, f"{part}_rows": np.asarray(rows, np.int64)}
