"""A data set out of arrays, in memory or from an ``.npz`` file."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Mapping, Sequence
from itertools import repeat
from numbers import Integral
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from semilla.data.dataset import UNKNOWN, Dataset, Examples, Inputs
from semilla.data.labels import IntArray
from semilla.errors import DataError

Kind = Literal["images", "vectors"]

NAMES = frozenset(
    {"x_train", "y_train", "x_development", "y_development", "x_test", "y_test", "x_unlabeled", "x_unlabelled"}
)
"""The arrays that are read; of the rest a note is made."""

_CHANNELS = (1, 3)


def from_arrays(arrays: Mapping[str, Any], name: str) -> Dataset:
    """Make a data set of arrays.

    Args:
        arrays: ``x_train`` and ``y_train``; if wanted ``x_test`` and ``y_test``, ``x_development`` and
            ``y_development``, ``x_unlabeled``. Images are uint8 (N, H, W), (N, H, W, C) or (N, C, H, W), vectors are
            numbers (N, D). Labels (N,) are whole numbers, −1 where the class is not known, or text, where ``""``,
            None or NaN says so.
        name: for reports and messages.

    Returns:
        The data set. Images are laid out (N, C, H, W), vectors are float32.

    Raises:
        DataError: D020, arrays of a wrong form; D080, a number that is not finite; D081, an array is missing; D082,
            arrays that do not belong together; D056, labels of a wrong form; D052, a held-out label that the
            training pool does not have.
    """
    given = {"x_unlabeled" if key == "x_unlabelled" else str(key): value for key, value in arrays.items()}
    kind, inputs = _inputs(given, "x_train", name)
    cells = _cells(_required(given, "y_train", name), f"{name}: y_train")
    _check_length(name, "train", inputs, cells)
    classes = _classes(cells, f"{name}: y_train")

    unlabeled = None
    if given.get("x_unlabeled") is not None:
        unlabeled = _alike(given, "x_unlabeled", name, kind, inputs)
    ignored = sorted(key for key in set(given) - NAMES if key != "classes" and not key.startswith("path_"))
    notes = (f"{name}: not read: {', '.join(map(repr, ignored[:8]))}",) if ignored else ()
    return Dataset(
        name=name,
        kind=kind,
        classes=tuple(str(label) for label in classes),
        inputs=inputs,
        labels=_numbers(cells, classes),
        development=_held_out(given, "development", name, kind, inputs, classes),
        test=_held_out(given, "test", name, kind, inputs, classes),
        unlabeled=unlabeled,
        notes=notes,
    )


def _held_out(
    given: Mapping[str, Any], part: str, name: str, kind: Kind, like: Inputs, classes: Sequence[str | int]
) -> Examples | None:
    x, y = f"x_{part}", f"y_{part}"
    if given.get(x) is None and given.get(y) is None:
        return None
    inputs = _alike(given, x, name, kind, like)
    cells = _cells(_required(given, y, name), f"{name}: {y}")
    _check_length(name, part, inputs, cells)
    known = set(classes)
    for row, cell in enumerate(cells):
        if cell is None:
            raise DataError("D081", f"{name}: {y} has no label at row {row}", "every held-out example needs its label")
        if cell not in known:
            fix = "correct the label, leave the row out, or give training examples of that class"
            raise DataError("D052", f"{name}: {y} has {cell!r} at row {row}, a class y_train does not have", fix)
    return Examples(inputs, _numbers(cells, classes))


def _required(given: Mapping[str, Any], key: str, name: str) -> Any:
    if given.get(key) is None:
        fix = f"add {key}; the arrays read are {', '.join(sorted(NAMES - {'x_unlabelled'}))}"
        raise DataError("D081", f"{name} has no array {key!r}", fix)
    return given[key]


def _inputs(given: Mapping[str, Any], key: str, name: str) -> tuple[Kind, Inputs]:
    where = f"{name}: {key}"
    try:
        array = np.asarray(_required(given, key, name))
    except ValueError as error:  # rows of different lengths
        raise DataError("D020", f"{where} is not one array ({str(error)[:80]})", "give every row one length") from error
    if array.size == 0:
        raise DataError("D020", f"{where} of shape {array.shape} holds no example", "give at least one")
    if array.ndim == 2:
        return "vectors", _vectors(array, where)
    if array.ndim not in (3, 4):
        fix = "give images (N, H, W), (N, H, W, C) or (N, C, H, W), or vectors (N, D)"
        raise DataError("D020", f"{where} has shape {array.shape}", fix)
    return "images", as_images(array, where)


def _alike(given: Mapping[str, Any], key: str, name: str, kind: Kind, like: Inputs) -> Inputs:
    """Inputs of the same form as the training pool's."""
    other, inputs = _inputs(given, key, name)
    if other != kind or inputs.shape[1:] != like.shape[1:]:
        message = f"{name}: {key} holds {other} of shape {inputs.shape[1:]}, x_train {kind} of {like.shape[1:]}"
        raise DataError("D082", message, "give both the same form")
    return inputs


def as_images(array: npt.NDArray[Any], where: str) -> npt.NDArray[np.uint8]:
    """uint8 images as (N, C, H, W), wherever the channels stood.

    Raises:
        DataError: D020, they are of another type or shape.
    """
    if array.dtype != np.uint8:
        fix = "give uint8 from 0 to 255, such as (255 * x).round().astype('uint8') for values in 0 … 1"
        raise DataError("D020", f"{where} holds images of {array.dtype}", fix)
    if array.ndim == 3:
        return np.ascontiguousarray(array[:, None])
    first, last = array.shape[1] in _CHANNELS, array.shape[3] in _CHANNELS
    if first == last:
        reason = "both its second and its last axis could be" if first else "neither its second nor its last axis is"
        message = f"{where} has shape {array.shape}: {reason} 1 or 3 channels"
        raise DataError("D020", message, "give grey or RGB images, (N, H, W) or (N, H, W, 3), larger than 3 × 3 pixels")
    return np.ascontiguousarray(array if first else np.moveaxis(array, 3, 1))


def _vectors(array: npt.NDArray[Any], where: str) -> npt.NDArray[np.float32]:
    if array.dtype.kind not in "biuf":
        raise DataError("D020", f"{where} holds {array.dtype}, not numbers", "encode text columns as numbers")
    with np.errstate(over="ignore"):
        vectors = np.ascontiguousarray(array, dtype=np.float32)
    wrong = ~np.isfinite(vectors)
    if wrong.any():
        row, column = (int(place) for place in np.argwhere(wrong)[0])
        message = f"{where} has {array[row, column]} at row {row}, column {column} (counted from 0)"
        fix = f"{wrong.sum()} cells are not finite 32-bit numbers: fill them in or leave the rows out"
        raise DataError("D080", message, fix)
    return vectors


def _check_length(name: str, part: str, inputs: Inputs, cells: list[Any]) -> None:
    if len(inputs) != len(cells):
        message = f"{name}: x_{part} has {len(inputs)} examples, y_{part} {len(cells)} labels"
        raise DataError("D082", message, "give one label for each example, −1 or empty text where it is not known")


def _cells(values: Any, where: str) -> list[str | int | None]:
    """Labels as text or whole numbers, None where they are not known."""
    # a plain list goes through objects, or NumPy would turn ["a", nan] into two texts
    array = np.asarray(values) if hasattr(values, "dtype") else np.asarray(values, dtype=object)
    if array.ndim != 1:
        fix = "give one label for each example; several labels for one and regression are not supported"
        raise DataError("D056", f"{where} has shape {array.shape}", fix)
    if (
        array.dtype.kind in "iu" and array.size and array.min() >= UNKNOWN
    ):  # a million labels in a twentieth of a second
        return [None if number == UNKNOWN else number for number in array.tolist()]
    cells = [_cell(value, where, row) for row, value in enumerate(array.tolist())]
    if len({type(cell) for cell in cells if cell is not None}) > 1:
        raise DataError("D056", f"{where} mixes text and numbers", "write all labels as text, or all as whole numbers")
    return cells


def _cell(value: Any, where: str, row: int) -> str | int | None:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, str | bool | np.bool_):
        return str(value) or None
    number = int(value) if isinstance(value, Integral) or (isinstance(value, float) and value.is_integer()) else None
    if number is not None and number >= UNKNOWN:
        return None if number == UNKNOWN else number
    shown = reprlib.repr(value)
    fix = "labels are text or whole numbers from 0, −1 for not known; regression is not supported"
    raise DataError("D056", f"{where} has {shown} of type {type(value).__name__} at row {row}", fix)


def _classes(cells: list[str | int | None], where: str) -> list[str | int]:
    known = {cell for cell in cells if cell is not None}
    return sorted(known, key=lambda label: (isinstance(label, str), label))


def _numbers(cells: list[str | int | None], classes: Sequence[str | int]) -> IntArray:
    numbers: dict[str | int | None, int] = {label: number for number, label in enumerate(classes)}
    return np.fromiter(map(numbers.get, cells, repeat(UNKNOWN)), np.int64, len(cells))
