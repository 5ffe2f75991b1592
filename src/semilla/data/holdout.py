"""A test part cut out of the labeled examples, where the data bring none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from semilla.data.dataset import UNKNOWN, Dataset, Examples, take
from semilla.data.labels import IntArray
from semilla.data.manifest import Manifest
from semilla.data.rows import Rows
from semilla.data.store import is_stored
from semilla.errors import DataError, UsageError
from semilla.randomness import permutation

_SEED = 20_000  # fixed: the test part must be the same whatever the seed of a run


def hold_out(dataset: Dataset, holdout: float) -> Dataset:
    """Keep back labeled examples for testing: the same share of each class, whole groups together; any lines of text.

    Args:
        dataset: without a test part.
        holdout: a share below 1, or a number of examples.

    Raises:
        UsageError: U017, the data have a test part already; U018, so many cannot be kept back.
        DataError: D062, a class would be left without a labeled example.
    """
    if dataset.test is not None:
        raise UsageError("U017", f"{dataset.name} has a test part already", "leave --holdout out")
    manifest, size = dataset.manifest, len(dataset.labels)
    held = size + np.arange(0 if dataset.development is None else len(dataset.development))  # rows of the manifest
    groups = [""] * (size + len(held)) if manifest is None else list(manifest.groups)
    contents = _contents(dataset)
    chosen = choose_test(dataset.labels, dataset.classes, holdout, groups, contents, dataset.kind != "text")
    keep = np.setdiff1d(np.arange(size), np.concatenate([chosen.test, chosen.fellows]))
    rest = np.setdiff1d(held, chosen.fellows)
    return replace(
        dataset,
        inputs=take(dataset.inputs, keep),
        labels=dataset.labels[keep],
        development=_rows(dataset.development, rest - size),
        test=Examples(take(dataset.inputs, chosen.test), dataset.labels[chosen.test]),
        manifest=None if manifest is None else _moved(manifest, [*keep.tolist(), *rest.tolist()], chosen.test),
        notes=(*dataset.notes, *chosen.notes),
    )


def _contents(dataset: Dataset) -> list[str]:
    """What tells equal examples of the pool and the development part: their pixels, else their files' bytes."""
    parts = [dataset.inputs, *([] if dataset.development is None else [dataset.development.inputs])]
    known = [part.pool.digests[part.index] for part in parts if isinstance(part, Rows) and is_stored(part.pool)]
    if len(known) == len(parts):
        return [digest.tobytes().hex() for digests in known for digest in digests]
    if dataset.manifest is not None and dataset.manifest.digests:
        return list(dataset.manifest.digests)
    return [""] * sum(map(len, parts))


class Chosen(NamedTuple):
    """Which examples are kept back.

    Attributes:
        test: positions of the test part, in order.
        fellows: positions of those that would give it away: the same content, or of the same group.
        notes: what the user should know.
    """

    test: IntArray
    fellows: IntArray
    notes: tuple[str, ...]


def choose_test(
    labels: IntArray,
    classes: Sequence[str],
    holdout: float,
    groups: Sequence[str],
    contents: Sequence[str],
    by_class: bool = True,
) -> Chosen:
    """Choose by labels and groups alone, before anything is learnt from the examples.

    Args:
        labels: int64 (N,) of the training pool.
        classes: their names.
        holdout: a share below 1, or a number of examples.
        groups: of the pool and then of the development part, "" where there is none.
        contents: likewise what tells equal examples, "" where nothing does.
        by_class: whether each class gives its share and keeps an example; transcriptions, each of which may be there
            once, are drawn at random.

    Raises:
        UsageError: U018, so many cannot be kept back.
        DataError: D062, a class would be left without a labeled example.
    """
    labeled = np.flatnonzero(labels != UNKNOWN)
    wanted = holdout * len(labeled) if holdout < 1 else holdout
    if not 0 < wanted < len(labeled):
        fix = f"give a share between 0 and 1, or a number below {len(labeled)}"
        raise UsageError("U018", f"holdout = {holdout:g} of {len(labeled)} labeled examples", fix)
    own = [groups[row] for row in labeled.tolist()]
    if any(own):  # an example without a group is a group of its own
        own = [group or f"\0{row}" for row, group in zip(labeled.tolist(), own, strict=True)]
    if any(own):
        test = _by_group(labeled, own, wanted)
    else:
        test = _by_class(labels if by_class else np.zeros_like(labels), labeled, wanted)
    if not len(test):
        raise UsageError("U018", f"holdout = {holdout:g} keeps back no example", "label more, or give a test part")
    fellows = _fellows(test, groups, contents)
    gone = np.concatenate([test, fellows[fellows < len(labels)]])
    left = np.delete(labels, gone)
    missing = np.setdiff1d(labels[labeled], left)
    if by_class and len(missing):
        message = f"holdout = {holdout:g} leaves class {classes[missing[0]]!r} without a labeled example"
        raise DataError("D062", message, "keep fewer back, or label more")
    if not (left != UNKNOWN).any():
        message = f"holdout = {holdout:g} leaves no labeled example to train on"
        raise DataError("D062", message, "keep fewer back, or label examples of more groups")
    notes = [f"{len(test):,} of {len(labeled):,} labeled examples are kept back for testing"]
    if len(fellows):
        notes.append(f"{len(fellows):,} copies or fellows of them are left out of training and development")
    return Chosen(test, fellows, tuple(notes))


def _rows(examples: Examples | None, rows: IntArray) -> Examples | None:
    if examples is None or len(rows) == len(examples):
        return examples
    if not len(rows):
        return None
    return Examples(take(examples.inputs, rows), examples.labels[rows])


def _fellows(test: IntArray, groups: Sequence[str], contents: Sequence[str]) -> IntArray:
    own = set(test.tolist())
    group, content = {groups[row] for row in own} - {""}, {contents[row] for row in own} - {""}
    alike = (row for row in range(len(groups)) if groups[row] in group or contents[row] in content)
    return np.array([row for row in alike if row not in own], np.int64)


def _by_class(labels: IntArray, labeled: IntArray, wanted: float) -> IntArray:
    """About the same share of each class, at least one where the class can spare it."""
    order = labeled[permutation(_SEED, "holdout", 0, len(labeled))]
    order = order[np.argsort(labels[order], kind="stable")]  # one class after the other
    ends = np.cumsum(np.unique(labels[order], return_counts=True)[1])
    chosen = []
    for own in np.split(order, ends[:-1]):
        count = round(wanted * len(own) / len(labeled))
        chosen.append(own[: min(max(count, min(1, len(own) - 1)), max(0, len(own) - 1))])
    return np.sort(np.concatenate(chosen))


def _by_group(labeled: IntArray, groups: list[str], wanted: float) -> IntArray:
    """Whole groups, in a drawn order, until there are enough examples."""
    sizes = Counter(groups)
    names = sorted(sizes)
    taken: set[str] = set()
    count = 0
    for place in permutation(_SEED, "holdout groups", 0, len(names)).tolist():
        size = sizes[names[place]]
        if count and count + size / 2 > wanted:
            break
        taken.add(names[place])
        count += size
    return labeled[[group in taken for group in groups]]


def _moved(manifest: Manifest, keep: list[int], test: IntArray) -> Manifest:
    """The manifest with the kept-back rows in the test part, in the order of the data set's parts."""
    moved = manifest.select([*keep, *test.tolist()])
    return replace(moved, parts=(*moved.parts[: len(moved) - len(test)], *("test",) * len(test)))
