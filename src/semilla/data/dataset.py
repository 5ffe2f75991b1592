"""Examples in memory, and the split that forgets the labels of the unlabeled ones.

Shapes: N examples, C channels, H × W pixels, D features.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from semilla.data.labels import IntArray, check_index, choose_labels, choose_lines
from semilla.data.manifest import Manifest
from semilla.data.rows import Rows
from semilla.errors import DataError

Inputs: TypeAlias = npt.NDArray[Any] | Rows
LARGE = 2**25
"""Bytes beyond which rows of an array are not copied."""
"""uint8 (N, C, H, W) images, or float32 (N, D) vectors: an array, or rows of a pool that are gathered when needed.
Pictures of lines of text are rows of `semilla.data.lines.Lines`, each of its own width."""

UNKNOWN = -1
"""The label of an example whose class is not known."""

_FEW_LABELS = 4
_HASHED_ROWS = 4096


@dataclass(frozen=True, slots=True, eq=False)
class Examples:
    """Examples and their labels.

    Attributes:
        inputs: uint8 (N, C, H, W) or float32 (N, D).
        labels: int64 (N,), positions in the data set's classes.
    """

    inputs: Inputs
    labels: IntArray

    def __post_init__(self) -> None:
        if self.inputs.dtype not in (np.uint8, np.float32) or self.labels.dtype != np.int64:
            raise ValueError(f"examples of {self.inputs.dtype} and labels of {self.labels.dtype}")
        if len(self.inputs) != len(self.labels):
            raise ValueError(f"{len(self.inputs)} examples and {len(self.labels)} labels")

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """What was loaded, before anyone decided which labels are to be used.

    Attributes:
        name: a short name for reports.
        kind: what an example is; ``text`` is the picture of a line of text, labeled with its transcription.
        classes: the names, sorted; whole-number labels keep their numeric order. Of text the distinct transcriptions of
            all parts: what may be learnt of them is what `split` leaves.
        inputs: the training pool.
        labels: int64 (N,) of the training pool, `UNKNOWN` where there is none.
        development: held out for choosing settings, or None.
        test: held out for the final figures, or None.
        flip: whether the mirror image of an example means the same.
        unlabeled: inputs of an unlabeled pool given by itself, or None.
        notes: what the user should know about how the data were read, a sentence each.
        manifest: where each example came from, or None for arrays. Its rows of ``train`` are the training pool in
            order, those of ``development`` and ``test`` the held-out parts.
        reading: how raw inputs became ``inputs``, as JSON values: what a model must know to read others like them.
    """

    name: str
    kind: Literal["images", "vectors", "text"]
    classes: tuple[str, ...]
    inputs: Inputs
    labels: IntArray
    development: Examples | None = None
    test: Examples | None = None
    flip: bool = False
    unlabeled: Inputs | None = None
    notes: tuple[str, ...] = ()
    manifest: Manifest | None = None
    reading: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for part in (Examples(self.inputs, self.labels), self.development, self.test):
            if part is not None and len(part) and part.labels.max() >= len(self.classes):
                raise ValueError(f"label {part.labels.max()} of {len(self.classes)} classes")


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """What a run may train on. Nothing here leads to the label of an unlabeled example.

    Attributes:
        classes: the names of the classes; of text the transcriptions of the labeled examples, and no other.
        labeled: examples with labels, positions in these classes.
        unlabeled: inputs without labels.
        labeled_index: int64 positions of the labeled examples in the training pool.
        unlabeled_index: int64 positions of the unlabeled examples there; a pool given by itself is counted on after
            the training pool's end.
        notes: what the user should know about the split, a sentence each.
    """

    classes: tuple[str, ...]
    labeled: Examples
    unlabeled: Inputs
    labeled_index: IntArray
    unlabeled_index: IntArray
    notes: tuple[str, ...] = ()


def split(
    dataset: Dataset,
    labeled_index: npt.ArrayLike | None = None,
    pool: Literal["rest", "all"] = "rest",
    needed: bool = True,
) -> Split:
    """Keep the labels of the chosen rows and drop all others for good.

    Args:
        dataset: where the examples come from.
        labeled_index: positions in the training pool whose labels may be used; None stands for every known label.
        pool: which rows of the training pool are unlabeled examples: the ``rest`` of it, or ``all`` of it, the
            labeled ones included. A pool given by itself is always added.
        needed: whether to refuse a split without unlabeled examples.

    Returns:
        The split, its arrays copies; of rows that lie in a pool or in a large array only the index is copied.

    Raises:
        DataError: D040, no unlabeled example; D050, a class without a labeled example; D051, fewer than two classes;
            D055, a position that is not one or whose label is not known; D167, no labeled line of text.
    """
    if pool not in ("rest", "all"):
        raise ValueError(f"pool is {pool!r}, not 'rest' or 'all'")
    text = dataset.kind == "text"
    if not text:
        _check_classes(dataset.classes)
    size = len(dataset.labels)
    if labeled_index is None:
        index = np.flatnonzero(dataset.labels != UNKNOWN)
    else:
        index = check_index(np.asarray(labeled_index).tolist(), size, "labeled_index")
    labels, classes = dataset.labels[index], dataset.classes
    _check_known(labels, index)
    if text:
        labels, classes = _own_texts(labels, dataset)
    else:
        _check_labels(labels, classes)

    unused = np.ones(size, bool)
    unused[index] = pool == "all"
    inputs, rows = _pool(dataset, np.flatnonzero(unused))
    if needed and not len(rows):
        fix = "give unlabeled examples, use fewer labels (--labels N), or let them serve as both (--set pool=all)"
        raise DataError("D040", f"no unlabeled example: all {size} examples of {dataset.name} are labeled", fix)
    notes = () if text else _few_labels(labels, classes)
    return Split(classes, Examples(take(dataset.inputs, index), labels), inputs, index, rows, notes)


def _own_texts(labels: IntArray, dataset: Dataset) -> tuple[IntArray, tuple[str, ...]]:
    """Labels as positions in their own transcriptions: those of other examples are not to be known, not even as a set.

    Raises:
        DataError: D167, there is none.
    """
    if not len(labels):
        message = f"{dataset.name}: no line of the training part has a transcription"
        fix = "label some; if they are in a column of an unusual name, name it with --text-column"
        raise DataError("D167", message, fix)
    used, numbers = np.unique(labels, return_inverse=True)
    return numbers.reshape(-1).astype(np.int64), tuple(dataset.classes[number] for number in used.tolist())


def choose(dataset: Dataset, count: int, seed: int) -> IntArray:
    """Draw the examples whose labels may be used: as many of each class, or any lines of text.

    Raises:
        DataError: those of `choose_labels` and `choose_lines`.
    """
    if dataset.kind == "text":
        return choose_lines(dataset.labels, count, seed)
    return choose_labels(dataset.labels, dataset.classes, count, seed)


def pool_only(dataset: Dataset) -> tuple[Dataset, Split]:
    """Everything that may be trained on, as unlabeled examples: no label and no held-out part is left.

    Raises:
        DataError: D040, there is no example.
    """
    size = len(dataset.labels)
    inputs, rows = _pool(dataset, np.arange(size))
    if not len(rows):
        raise DataError("D040", f"{dataset.name} has no example to learn from", "give pictures, or rows of a table")
    none = Examples(take(dataset.inputs, np.empty(0, np.int64)), np.empty(0, np.int64))
    bare = replace(dataset, classes=(), labels=np.full(size, UNKNOWN), development=None, test=None)
    return bare, Split((), none, inputs, np.empty(0, np.int64), rows)


def _pool(dataset: Dataset, rest: IntArray) -> tuple[Inputs, IntArray]:
    """Some rows of the training pool and all of the pool given by itself, and where they stand."""
    inputs, rows = take(dataset.inputs, rest), rest
    if dataset.unlabeled is not None:
        inputs = np.concatenate([inputs[:], dataset.unlabeled[:]])
        rows = np.concatenate([rest, len(dataset.labels) + np.arange(len(dataset.unlabeled))])
    return inputs, rows


def take(inputs: Inputs, rows: IntArray) -> Inputs:
    """Some rows: of a small array a copy, of a large one and of what is gathered when needed a selection."""
    if isinstance(inputs, Rows):
        return inputs.take(rows)
    return Rows(inputs, rows) if isinstance(inputs, np.memmap) or inputs.nbytes > LARGE else inputs[rows]


def fingerprint(split: Split) -> str:
    """SHA-256 of what a run trains on, as 64 hexadecimal digits: a resumed run must find the same.

    Rows of a pool that knows the digest of each of its examples are told by those, so that nothing is read.
    """
    columns = {"labeled": split.labeled.inputs, "labels": split.labeled.labels, "unlabeled": split.unlabeled}
    return _digest(columns, split.classes)


def held_out_fingerprint(dataset: Dataset) -> str:
    """SHA-256 of what a run is scored on: figures of two fits may be paired, and told again, only where it is equal."""
    parts = {part: getattr(dataset, part) for part in ("development", "test")}
    columns = {part: held.inputs for part, held in parts.items() if held is not None}
    if dataset.kind == "text":  # told by the texts themselves: the data set's others may be hidden
        texts = [dataset.classes[number] for held in parts.values() if held is not None for number in held.labels]
        return _digest(columns, tuple(texts))
    columns |= {f"{part} labels": held.labels for part, held in parts.items() if held is not None}
    return _digest(columns, dataset.classes)


def _digest(columns: dict[str, Inputs], classes: tuple[str, ...]) -> str:
    digest = hashlib.sha256()
    for name, array in columns.items():
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        if isinstance(array, Rows) and hasattr(array.pool, "digests"):
            digest.update(array.pool.digests[array.index].tobytes())
            continue
        for start in range(0, len(array), _HASHED_ROWS):
            digest.update(array[start : start + _HASHED_ROWS].tobytes())
    for name in classes:
        digest.update(f"class {len(name.encode())} {name}\n".encode())
    return digest.hexdigest()


def _check_classes(classes: tuple[str, ...]) -> None:
    if len(classes) < 2:
        found = f"only {classes[0]!r}" if classes else "no label at all"
        fix = "label examples of a second class; −1, NaN, None and empty text mean that the label is not known"
        raise DataError("D051", f"need at least 2 classes, found {found}", fix)


def _check_known(labels: IntArray, index: IntArray) -> None:
    unknown = index[labels == UNKNOWN]
    if len(unknown):
        message = f"labeled_index names {unknown[0]}, whose label is not known"
        raise DataError("D055", message, "choose rows that have labels")


def _check_labels(labels: IntArray, classes: tuple[str, ...]) -> None:
    missing = np.flatnonzero(np.bincount(labels, minlength=len(classes)) == 0)
    if len(missing):
        names = ", ".join(repr(classes[number]) for number in missing[:5])
        message = f"{len(missing)} of {len(classes)} classes without a labeled example: {names}"
        raise DataError("D050", message, "label at least one example of each class, better four")


def _few_labels(labels: IntArray, classes: tuple[str, ...]) -> tuple[str, ...]:
    counts = np.bincount(labels, minlength=len(classes))
    few = np.flatnonzero(counts < _FEW_LABELS)
    if not len(few):
        return ()
    names = ", ".join(f"{classes[number]!r} ({counts[number]})" for number in few[:5])
    text = f"{len(few)} of {len(classes)} classes have fewer than {_FEW_LABELS} labels: {names}"
    return (f"warn[D053]: {text}; results will depend much on which examples are labeled",)
