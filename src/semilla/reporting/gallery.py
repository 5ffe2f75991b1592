"""The examples of a report: errors, doubts, look-alikes across parts, and what the views of training look like.

They are taken from the data, if these still are where they were and what they were. Every picture is encoded anew; of
the row of a table a few cells are told.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from semilla.augment.images import VIEWS
from semilla.data.dataset import Dataset, held_out_fingerprint
from semilla.data.reading import TableReading
from semilla.data.source import Source
from semilla.data.sources import load as load_data
from semilla.errors import ResourceError, SemillaError, StateError
from semilla.inference.model import make_views
from semilla.randomness import uniform
from semilla.reporting.page import minus, shortened, thumbnail
from semilla.reporting.run_data import FitData, FloatArray, IntArray, RunData

SHOWN = 16
"""Pictures in a gallery."""
MOST_PAIRS, COMPARED = 6, 4_000
"""Pairs of look-alikes shown, and examples of each side that are compared."""
SAME = 8.0
"""Root mean square difference in grey levels below which two pictures are called nearly the same."""

TOLD = 4
"""Columns of a table that are told of a row."""

_GONE = ("D001", "D002", "D005")
_LONGEST = 24


@dataclass(frozen=True)
class Shown:
    """An example in a gallery.

    Attributes:
        name: its path or number.
        true: its class, or "".
        guess: what the model says.
        confidence: how sure it is, in [0, 1].
        picture: a data URI, or "" where there is none.
        cells: some of a table's cells, such as ``length 2.7, colour blue``; "" where there is no table.
    """

    name: str
    true: str
    guess: str
    confidence: float
    picture: str
    cells: str = ""


@dataclass(frozen=True)
class LookAlike:
    """Two examples of different parts that look nearly the same.

    Attributes:
        names: of the held-out one and of the one in training.
        pictures: their data URIs.
        distance: root mean square difference in grey levels, 0 … 255.
    """

    names: tuple[str, str]
    pictures: tuple[str, str]
    distance: float

    @property
    def same(self) -> bool:
        """Whether they are nearly the same picture."""
        return self.distance < SAME


def load_again(
    run: RunData, data: Any = None, say: Callable[[str], object] = lambda line: None
) -> tuple[Dataset | None, str]:
    """The run's data set, or None and the reason why there is none.

    The reason names no path: a report may be handed on.

    Args:
        run: the run.
        data: where its data lie now; None takes the place they had.
        say: called with a line that says what is missing and where it was looked for, such as ``print``.

    Raises:
        SemillaError: ``data`` cannot be read.
        StateError: C026, ``data`` are not what the run was trained on.
    """
    source, kind = _source(run, data), _kind(run.model)
    if not kind:
        return None, ""
    if source is None:
        return None, f"The data of this run were given in memory, so no {kind} can be shown; --data PATH names a copy."
    try:
        dataset = load_data(source)
    except ResourceError:
        raise
    except (SemillaError, OSError, TypeError) as error:
        if data is not None:
            raise
        return None, _not_read(source, error, kind, say)
    if _same(dataset, run.model):
        return dataset, ""
    if data is not None:
        message = f"{dataset.name} is not what {run.model.name} was trained on: its labels or sizes are others"
        raise StateError("C026", message, "name the data of this run, or leave --data out")
    say("warn[C026]: the galleries are left out, because the data have changed since; --data PATH names a copy")
    return None, f"The data have changed since training, so no {kind} are shown."


def _source(run: RunData, data: Any) -> Source | None:
    """What to read: as in training, at the place that is given; a leak has been told of, and is worth showing."""
    saved = run.model.described.get("source")
    if isinstance(data, Source) or (saved is None and data is None):
        return data
    known = Source.from_plain(saved) if isinstance(saved, dict) else Source(saved)
    return replace(known, allow_leak=True, **({} if data is None else {"data": data}))


def _kind(fit: FitData) -> str:
    """What can be shown of an example: ``pictures``, the ``values`` of a table's row, or nothing."""
    inputs = fit.card.get("inputs", {})
    if inputs.get("kind") in ("images", "text"):
        return "pictures"
    return "values" if (inputs.get("reading") or {}).get("columns") else ""


def _not_read(source: Source, error: Exception, kind: str, say: Callable[[str], object]) -> str:
    """The reason for the page; and, said aloud, the place."""
    code, said = (error.code, error.message) if isinstance(error, SemillaError) else ("D001", str(error))
    place = os.path.abspath(source.data)
    reason = said if code == "D002" or os.path.exists(place) else f"the data are not at {place}"
    say(f"warn[{code}]: the galleries are left out, because {reason}; say where the data lie: --data PATH")
    why = "are not where they were" if code in _GONE else f"can no longer be read ({code})"
    return f"The data of this run {why}, so no {kind} are shown. Make the report again with --data PATH."


def _same(dataset: Dataset, fit: FitData) -> bool:
    """Whether the labels that were saved with the outputs are those of the data."""
    if dataset.kind == "text":
        return bool(held_out_fingerprint(dataset) == fit.described.get("fit", {}).get("data", {}).get("held_out"))
    known = {name: number for number, name in enumerate(fit.classes)}
    for part, outputs in fit.parts.items():
        if outputs.labels is None:
            continue
        if part == "labeled":
            if outputs.rows is None or (len(outputs.rows) and outputs.rows.max() >= len(dataset.labels)):
                return False
            labels = dataset.labels[outputs.rows]
        else:
            held_out = getattr(dataset, part)
            labels = held_out.labels if held_out is not None else np.zeros(0, np.int64)
        found = [known.get(dataset.classes[label], -1) if label >= 0 else -1 for label in labels.tolist()]
        if found != outputs.labels.tolist():
            return False
    return list(dataset.inputs.shape[1:]) == list(fit.card.get("inputs", {}).get("shape", []))


def inputs_of(dataset: Dataset, fit: FitData, part: str, places: Sequence[int]) -> npt.NDArray[Any]:
    """The inputs behind some outputs of a part: uint8 (N, C, H, W) pictures, or float32 (N, D) rows of a table."""
    wanted = np.asarray(places, np.int64)
    if part in ("test", "development"):
        return np.asarray(getattr(dataset, part).inputs[wanted])
    rows = fit.parts[part].rows
    assert rows is not None
    own, pool = rows[wanted], len(dataset.labels)
    if dataset.unlabeled is None:
        return np.asarray(dataset.inputs[own])
    given = own >= pool  # an unlabeled pool given by itself follows the training pool
    found = np.empty((len(own), *dataset.inputs.shape[1:]), dataset.inputs.dtype)
    found[~given], found[given] = dataset.inputs[own[~given]], dataset.unlabeled[own[given] - pool]
    return found


def hardest(
    run: RunData, dataset: Dataset | None, part: str, probabilities: FloatArray, wrong_only: bool
) -> list[Shown]:
    """The errors the model was surest of, or the examples it was least sure of."""
    fit, labels = run.model, run.model.parts[part].labels
    guesses, confidence = probabilities.argmax(1), probabilities.max(1)
    order = np.argsort(-confidence if wrong_only else confidence, kind="stable")
    if wrong_only:
        assert labels is not None
        order = order[guesses[order] != labels[order]]
    places = order[:SHOWN].tolist()
    uris, cells = _looks(dataset, fit, part, places)
    return [
        Shown(
            run.name_of(part, place),
            "" if labels is None else fit.classes[int(labels[place])],
            fit.classes[int(guesses[place])],
            float(confidence[place]),
            uri,
            told,
        )
        for place, uri, told in zip(places, uris, cells, strict=True)
    ]


def _looks(dataset: Dataset | None, fit: FitData, part: str, places: Sequence[int]) -> tuple[list[str], list[str]]:
    """Of each example the picture and the cells; "" for what it does not have."""
    none = [""] * len(places)
    if dataset is None or not places:
        return none, none
    inputs = inputs_of(dataset, fit, part, places)
    if dataset.kind == "images":
        return _thumbnails(inputs), none
    reading = TableReading.from_json(dataset.reading or {})
    return none, [cells_of(row, reading) for row in inputs]


def cells_of(row: npt.NDArray[np.float32], reading: TableReading) -> str:
    """The first cells of a table's row, in the units of the file."""
    numbers = zip(reading.numbers, row.tolist(), strict=False)
    said = [(column.name, minus(f"{column.offset + column.scale * value:.6g}")) for column, value in numbers]
    start = len(said)
    for category in reading.categories:
        block = row[start : start + len(category.categories)]
        word = category.categories[int(block.argmax())] if block.any() else "a word that is new"
        said.append((category.name, word))
        start += len(block)
    told = [f"{shortened(name, _LONGEST)} {shortened(cell, _LONGEST)}" for name, cell in said[:TOLD]]
    return ", ".join([*told, "…"] if len(said) > TOLD else told)


def look_alikes(run: RunData, dataset: Dataset, part: str) -> list[LookAlike]:
    """The pairs of a held-out and a training picture that differ least, the nearest first.

    Pictures are compared as 8 × 8 grey levels, the nearest pairs then pixel by pixel. At most `COMPARED` examples
    of each side are looked at; ``semilla check`` looks at all.
    """
    from sklearn.neighbors import NearestNeighbors

    sides = [(part, place) for place in _spread(len(run.model.parts[part]))]
    others = [
        (name, place)
        for name in ("labeled", "unlabeled")
        if name in run.model.parts
        for place in _spread(len(run.model.parts[name]))
    ]
    if not others:
        return []
    ours, theirs = (_gathered(dataset, run.model, places) for places in (sides, others))
    index = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(_small(theirs))
    distances, nearest = index.kneighbors(_small(ours))
    candidates = np.argsort(distances[:, 0], kind="stable")[: 5 * MOST_PAIRS]
    pairs = []
    for here in candidates.tolist():
        there = int(nearest[here, 0])
        gap = float(np.sqrt(np.mean((ours[here].astype(np.float64) - theirs[there]) ** 2)))
        pairs.append((gap, here, there))
    return [
        LookAlike(
            (run.name_of(*sides[here]), run.name_of(*others[there])),
            (thumbnail(ours[here]), thumbnail(theirs[there])),
            gap,
        )
        for gap, here, there in sorted(pairs)[:MOST_PAIRS]
    ]


def view_rows(run: RunData, dataset: Dataset, names: Sequence[str]) -> tuple[list[str], list[list[str]]]:
    """Labeled examples as training sees them: the heads of the columns, and for each example a picture under each.

    Args:
        run: the run.
        dataset: its data.
        names: the views to show beside the plain picture, each twice.
    """
    fit = run.model
    views = make_views(fit.card["inputs"])
    places = _one_of_each(fit.parts["labeled"].labels)[:5]
    images = torch.from_numpy(np.ascontiguousarray(inputs_of(dataset, fit, "labeled", places)))
    mean, std = (np.reshape(fit.card["inputs"][name], (-1, 1, 1)) for name in ("mean", "std"))
    shown = [("none", 0), *((name, epoch) for name in names for epoch in (0, 1) if name != "none")]
    columns = []
    for name, epoch in shown:
        count = VIEWS[name].draws
        seed = int(fit.settings.get("seed", 0))
        draws = torch.from_numpy(uniform(seed, "labeled view 0", np.full(len(places), epoch), places, max(1, count)))
        seen = views(name, images, draws[:, :count]).inputs.numpy() * std + mean
        columns.append(_thumbnails(np.clip(np.rint(255 * seen), 0, 255).astype(np.uint8)))
    return [name for name, _ in shown], [list(row) for row in zip(*columns, strict=True)]


def views_in_use(fit: FitData) -> list[str]:
    """The names of the views that a method trains on, where its settings or its class say so."""
    from semilla.methods.catalogue import METHODS, PLUGGED

    entry = METHODS.get(fit.method) or PLUGGED.get(fit.method)
    values = {name: parameter.ours for name, parameter in entry.hyperparameters.items()} if entry else {}
    values |= fit.settings.get("hyperparameters", {})
    used = [values[name] for name in ("labeled_view", "view", "views") if values.get(name)]
    names = {word for value in used for word in ([value] if isinstance(value, str) else value)}
    return [name for name in VIEWS if name in names]


def _one_of_each(labels: IntArray | None) -> list[int]:
    """The first example of each class."""
    first: dict[int, int] = {}
    for place, label in enumerate([] if labels is None else labels.tolist()):
        first.setdefault(label, place)
    return [first[label] for label in sorted(first)]


def _spread(count: int) -> list[int]:
    """At most `COMPARED` places, evenly spread."""
    return [place * count // min(count, COMPARED) for place in range(min(count, COMPARED))]


def _gathered(dataset: Dataset, fit: FitData, where: Sequence[tuple[str, int]]) -> npt.NDArray[np.uint8]:
    parts = dict.fromkeys(part for part, _ in where)
    return np.concatenate(
        [inputs_of(dataset, fit, part, [place for own, place in where if own == part]) for part in parts]
    )


def _small(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Mean grey levels of an 8 × 8 grid, (N, 64)."""
    grey = images.mean(1, dtype=np.float32)
    for axis in (1, 2):
        edges = np.linspace(0, grey.shape[axis], 9).astype(np.int64)
        sizes = np.diff(edges).reshape([-1 if place == axis else 1 for place in range(3)])
        grey = np.add.reduceat(grey, edges[:-1], axis=axis) / sizes
    return np.asarray(grey.reshape(len(grey), -1), np.float32)


def _thumbnails(images: Iterable[Any]) -> list[str]:
    return [thumbnail(image) for image in images]
