"""A test part cut out of the labeled examples, where the data bring none."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from semilla.data.dataset import UNKNOWN, Dataset, Examples, take
from semilla.data.labels import IntArray
from semilla.data.manifest import Manifest
from semilla.errors import DataError, UsageError
from semilla.randomness import permutation

_SEED = 20_000  # fixed: the test part must be the same whatever the seed of a run


def hold_out(dataset: Dataset, holdout: float) -> Dataset:
    """Keep back labeled examples for testing: the same share of each class, whole groups together.

    Args:
        dataset: without a test part.
        holdout: a share below 1, or a number of examples.

    Raises:
        UsageError: U017, the data have a test part already; U018, so many cannot be kept back.
        DataError: D062, a class would be left without a labeled example.
    """
    if dataset.test is not None:
        raise UsageError("U017", f"{dataset.name} has a test part already", "leave --holdout out")
    labeled = np.flatnonzero(dataset.labels != UNKNOWN)
    wanted = holdout * len(labeled) if holdout < 1 else holdout
    if not 0 < wanted < len(labeled):
        fix = f"give a share between 0 and 1, or a number below {len(labeled)}"
        raise UsageError("U018", f"holdout = {holdout:g} of {len(labeled)} labeled examples", fix)
    groups = None if dataset.manifest is None else [dataset.manifest.groups[row] for row in labeled.tolist()]
    if groups and any(groups):  # an example without a group is a group of its own
        groups = [group or f"\0{row}" for row, group in zip(labeled.tolist(), groups, strict=True)]
    test = _by_group(labeled, groups, wanted) if groups and any(groups) else _by_class(dataset, labeled, wanted)
    copies = _copies(dataset, test)
    if not len(test):
        raise UsageError("U018", f"holdout = {holdout:g} keeps back no example", "label more, or give a test part")
    keep = np.setdiff1d(np.arange(len(dataset.labels)), np.concatenate([test, copies]))
    missing = np.setdiff1d(dataset.labels[labeled], dataset.labels[keep])
    if len(missing):
        message = f"holdout = {holdout:g} leaves class {dataset.classes[missing[0]]!r} without a labeled example"
        raise DataError("D062", message, "keep fewer back, or label more")
    gone = [f"{len(copies):,} copies or fellows of them are left out of training"] if len(copies) else []
    return replace(
        dataset,
        inputs=take(dataset.inputs, keep),
        labels=dataset.labels[keep],
        test=Examples(take(dataset.inputs, test), dataset.labels[test]),
        manifest=_moved(dataset, keep, test),
        notes=(*dataset.notes, f"{len(test):,} of {len(labeled):,} labeled examples are kept back for testing", *gone),
    )


def _copies(dataset: Dataset, test: IntArray) -> IntArray:
    """Rows of the pool that would give the test away: the same content, or of the same group."""
    manifest = dataset.manifest
    if manifest is None:
        return np.empty(0, np.int64)
    own = set(test.tolist())
    groups = {manifest.groups[row] for row in own} - {""}
    contents = {manifest.digests[row] for row in own} - {""} if manifest.digests else set()
    same = [
        row
        for row in range(len(dataset.labels))
        if row not in own and (manifest.groups[row] in groups or (bool(contents) and manifest.digests[row] in contents))
    ]
    return np.array(same, np.int64)


def _by_class(dataset: Dataset, labeled: IntArray, wanted: float) -> IntArray:
    """About the same share of each class, at least one where the class can spare it."""
    order = labeled[permutation(_SEED, "holdout", 0, len(labeled))]
    chosen = []
    for label in range(len(dataset.classes)):
        own = order[dataset.labels[order] == label]
        count = round(wanted * len(own) / len(labeled))
        chosen.append(own[: min(max(count, min(1, len(own) - 1)), max(0, len(own) - 1))])
    return np.sort(np.concatenate(chosen))


def _by_group(labeled: IntArray, groups: list[str], wanted: float) -> IntArray:
    """Whole groups, in a drawn order, until there are enough examples."""
    names = sorted(set(groups))
    taken: set[str] = set()
    count = 0
    for place in permutation(_SEED, "holdout groups", 0, len(names)).tolist():
        size = groups.count(names[place])
        if count and count + size / 2 > wanted:
            break
        taken.add(names[place])
        count += size
    return labeled[[group in taken for group in groups]]


def _moved(dataset: Dataset, keep: IntArray, test: IntArray) -> Manifest | None:
    """The manifest with the kept-back rows in the test part, in the order of the data set's parts."""
    manifest = dataset.manifest
    if manifest is None:
        return None
    rest = range(len(dataset.labels), len(manifest))  # the development part
    moved = manifest.select([*keep.tolist(), *rest, *test.tolist()])
    return replace(moved, parts=(*moved.parts[: len(moved) - len(test)], *("test",) * len(test)))
