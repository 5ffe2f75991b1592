"""Which examples are labeled: a balanced draw, or positions read from a file."""

from __future__ import annotations

import json
import os
import re
import reprlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from semilla.data.numpy_files import read_numpy
from semilla.errors import DataError
from semilla.randomness import permutation

IntArray: TypeAlias = npt.NDArray[np.int64]

IMBALANCE = 10
"""More times as many labels of one class as of another are told."""

_TEXT_BYTES = 64 * 2**20
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")


def choose_labels(
    labels: IntArray, classes: Sequence[str], count: int, seed: int, stream: str = "chosen labels"
) -> IntArray:
    """Draw ``count`` examples, the same number of each class.

    The draws of one seed are nested: a smaller one is the beginning of a larger one.

    Args:
        labels: int64 (N,), −1 where the label is not known.
        classes: the names of the classes.
        count: examples in all, a multiple of the number of classes.
        seed: decides which.
        stream: name of the draws.

    Returns:
        int64 (count,) positions, one of each class in turn.

    Raises:
        DataError: D050, a class without a label; D054, ``count`` is not a multiple of the number of classes, or a
            class has too few examples.
    """
    sizes = np.bincount(labels[labels >= 0], minlength=len(classes))
    _check_count(count, classes, sizes)
    order = permutation(seed, stream, 0, len(labels))
    drawn = labels[order]
    places = np.argsort(drawn, kind="stable")  # one class after the other, in the drawn order: no pass for each class
    starts = np.searchsorted(drawn, np.arange(len(classes)), sorter=places)
    chosen: IntArray = order[places[starts + np.arange(count // len(classes))[:, None]]]
    return chosen.ravel()


def choose_lines(labels: IntArray, count: int, seed: int, stream: str = "chosen labels") -> IntArray:
    """Draw ``count`` of the examples whose label is known, whatever it is: transcriptions have no classes to balance.

    The draws of one seed are nested, as those of `choose_labels`.

    Args:
        labels: int64 (N,), −1 where the label is not known.
        count: examples in all.
        seed: decides which.
        stream: name of the draws.

    Returns:
        int64 (count,) positions, in the order of the draw.

    Raises:
        DataError: D168, there are not so many.
    """
    known = int((labels >= 0).sum())
    if not 0 < count <= known:
        message = f"{count} labels of {known} lines with a transcription"
        raise DataError("D168", message, f"give a number from 1 to {known}" if known else "transcribe some lines")
    order = permutation(seed, stream, 0, len(labels))
    return order[labels[order] >= 0][:count]


def _check_count(count: int, classes: Sequence[str], sizes: npt.NDArray[np.intp]) -> None:
    if not classes:
        raise DataError("D051", "need at least 2 classes, found no label at all", "label examples of two classes")
    step, scarcest = len(classes), int(sizes.argmin())
    most = step * int(sizes[scarcest])
    if most == 0:
        raise DataError("D050", f"class {classes[scarcest]!r} has no labeled example", "label one, or drop the class")
    if count % step == 0 and 0 < count <= most:
        return
    if count > most:
        message = f"{count} labels: class {classes[scarcest]!r} has only {sizes[scarcest]} of its {-(-count // step)}"
    elif count < step:
        message = f"{count} labels are fewer than one for each of {step} classes"
    else:
        message = f"{count} labels cannot be shared equally among {step} classes"
    below = count // step * step
    valid = [near for near in (below, below + step) if step <= near <= most] or [min(max(below, step), most)]
    raise DataError("D054", message, f"nearest valid: {' or '.join(map(str, valid))}; at most {most}")


def read_index_file(path: str | os.PathLike[str], size: int) -> IntArray:
    """Read positions in the training pool from a file.

    Args:
        path: ``.txt`` with one whole number a line, ``.json`` with a list, ``.npy``, or ``.npz``. An array of an
            ``.npz`` file is named after a ``#`` (``indexes.npz#cifar10_40``), and so is a row where the array has two
            axes (``indexes.npz#cifar10_40#0``, ``indexes.npy#0``).
        size: examples in the training pool.

    Returns:
        int64 positions, in the file's order.

    Raises:
        DataError: D001, there is no such file; D003, it is of another kind; D055, what it holds is not a list of
            distinct positions below ``size``; D006, it is damaged.
        SafetyError: S001, it holds Python objects.
    """
    text = os.fspath(path)
    name, *address = [text] if os.path.exists(text) else text.split("#")
    file = Path(name)
    suffix = file.suffix.lower()
    if not file.is_file():
        raise DataError("D001", f"no file {name!r}", "check the path of the label list")
    if suffix in (".npy", ".npz"):
        return check_index(_row(file, address), size, text)
    if suffix not in (".txt", ".json"):
        raise DataError("D003", f"{name!r} is not a label list", "give a .txt, .json, .npy or .npz file")
    if address:
        raise _bad(f"{text}: a {suffix} file has no parts to choose with #", f"write {name}")
    content = _read_text(file)
    if suffix == ".json":
        return check_index(_json_list(content, name), size, name)
    lines = [(number, line.strip()) for number, line in enumerate(content.splitlines(), 1) if line.strip()]
    values = [int(line) if _INTEGER.fullmatch(line) else line for _, line in lines]
    return check_index(values, size, name, "line", [number for number, _ in lines])


def check_index(
    values: Sequence[Any], size: int, source: str, unit: str = "entry", places: Iterable[int] | None = None
) -> IntArray:
    """Positions as an array, once they are whole numbers, distinct, and below ``size``.

    Args:
        values: what should be positions.
        size: examples in the pool.
        source: where the values come from, for the message.
        unit: what the places count.
        places: where each value stands there; 1, 2, … unless given.

    Raises:
        DataError: D055, naming the first value that is wrong.
    """
    if not isinstance(values, list) or not values:
        raise _bad(f"{source}: no position", "list the positions of the labeled examples, counted from 0")
    seen: dict[int, int] = {}
    for place, value in zip(places or range(1, len(values) + 1), values, strict=True):
        where = f"{source}, {unit} {place}"
        if type(value) is not int:
            raise _bad(f"{where}: {reprlib.repr(value)} is not a whole number", "write whole numbers, counted from 0")
        if not 0 <= value < size:
            fix = f"positions count from 0 to {size - 1}"
            raise _bad(f"{where}: {reprlib.repr(value)} is outside the {size} training examples", fix)
        if value in seen:
            raise _bad(f"{where}: {value} is already at {unit} {seen[value]}", "name each example once")
        seen[value] = place
    return np.array(values, dtype=np.int64)


def _row(file: Path, address: list[str]) -> Any:
    """The list of numbers that an address in a NumPy file leads to."""
    arrays = read_numpy(file)
    if file.suffix.lower() == ".npz":
        name = address.pop(0) if address else next(iter(arrays)) if len(arrays) == 1 else ""
        if name not in arrays:
            raise _bad(f"{file}: no array {name!r} among {', '.join(arrays)}", f"name one: {file}#{next(iter(arrays))}")
    else:
        name = ""
    array = arrays[name]
    label = f"{file}#{name}" if name else str(file)
    if array.ndim == 2 and len(address) == 1:
        if not re.fullmatch(r"[0-9]{1,9}", address[0]) or int(address[0]) >= len(array):
            raise _bad(f"{label}: no row {address[0]!r}", f"rows count from 0 to {len(array) - 1}")
        return array[int(address[0])].tolist()
    if array.ndim == 2:
        raise _bad(f"{label} holds {len(array)} lists of {array.shape[1]}", f"choose one, such as {label}#0")
    if array.ndim != 1 or address:
        wrong = f"#{address[0]} does not fit" if address else "is not a list"
        raise _bad(f"{label} of shape {array.shape} {wrong}", "give whole numbers in one axis")
    return array.tolist()


def _json_list(content: str, name: str) -> Any:
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise _bad(f"{name}: not JSON ({str(error)[:100]})", "write a list such as [3, 17, 42]") from error
    if not isinstance(value, list):
        raise _bad(f"{name}: {type(value).__name__} instead of a list", "write a list such as [3, 17, 42]")
    return value


def _read_text(file: Path) -> str:
    try:
        if file.stat().st_size > _TEXT_BYTES:
            raise _bad(f"{file}: more than {_TEXT_BYTES} bytes", "give a list of positions")
        return file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError("D006", f"{file} cannot be read: {error.strerror}", "check the file") from error
    except UnicodeDecodeError as error:
        raise _bad(f"{file}: not UTF-8 text (byte {error.start})", "save it as plain text") from error


def _bad(message: str, fix: str) -> DataError:
    return DataError("D055", message, fix)
