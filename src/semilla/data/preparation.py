"""How inputs are brought to a common scale: mean and deviation over the training pool, never over held-out parts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from semilla.data.dataset import Dataset, Inputs, Split
from semilla.data.lines import Lines, widths_of
from semilla.data.rows import LinePool, Rows, drawn
from semilla.data.store import is_stored

_SLICE, _NUMBERS = 4096, 2**17
_DRAWN = 500


def preparation(dataset: Dataset, parts: Split) -> dict[str, Any]:
    """What a model's card says of its inputs: kind, shape, scale, and how raw ones become such.

    The width in the shape of lines of text is that of the widest; a model reads any.

    A constant channel or feature keeps its scale.
    """
    images = dataset.kind != "vectors"
    pools = [_looked_at(rows) for rows in (parts.labeled.inputs, parts.unlabeled) if len(rows)]
    count, total, square = _moments(pools, images)
    mean, unit = total / count, 255.0 if images else 1.0
    deviation = np.sqrt(np.maximum(square / count, 0.0))
    deviation = np.where(deviation > 1e-8 * np.maximum(1.0, np.abs(mean)), deviation, unit)
    return {
        "kind": dataset.kind,
        "shape": list(parts.labeled.inputs.shape[1:]),
        "mean": (mean / unit).tolist(),
        "std": (deviation / unit).tolist(),
        "flip": dataset.flip,
        **({"reading": dataset.reading} if dataset.reading else {}),
    }


def _looked_at(rows: Inputs) -> Inputs:
    """All there is; of lines that are drawn when they are asked for the first ones, drawn now."""
    if not isinstance(rows, Rows) or not drawn(rows.pool):
        return rows
    pool = cast(LinePool, rows.pool)
    lines = [pool.line(row) for row in rows.index[:_DRAWN].tolist()]
    return Rows(Lines.of(lines, rows.shape[2]), np.arange(len(lines)))


def _moments(pools: list[Inputs], images: bool) -> tuple[int, npt.NDArray[Any], npt.NDArray[Any]]:
    """Values for each channel or feature, their sum, and the sum of their squared distances from the mean."""
    axes: tuple[int, ...] = (0, 2, 3) if images else (0,)
    count = sum(_values(pool) for pool in pools)
    known = [pool.pool.sums[pool.index].sum(0) for pool in pools if isinstance(pool, Rows) and is_stored(pool.pool)]
    if len(known) == len(pools):
        total, squares = np.asarray(sum(known), np.float64).T
        return count, total, squares - total * total / count
    total = sum(part.sum(axes, dtype=np.float64) for pool in pools for part in _slices(pool))
    mean = np.reshape(total / count, (-1, 1, 1) if images else (-1,))
    return count, total, np.asarray(sum(_squares(part, mean, axes) for pool in pools for part in _slices(pool)))


def _values(pool: Inputs) -> int:
    """Values of each channel or feature; the padding of lines is none."""
    widths = widths_of(pool)
    if widths is not None:
        return int(widths.sum()) * pool.shape[2]
    return len(pool) * int(np.prod(pool.shape[2:], dtype=np.int64))


def _squares(part: npt.NDArray[Any], mean: npt.NDArray[Any], axes: tuple[int, ...]) -> npt.NDArray[Any]:
    """The squared distances from the mean, summed; of pictures with several channels a few at a time, as their sums are
    added one by one anyway: a slice of large ones would take gigabytes in float64.
    """
    if part.ndim == 2 or part.shape[1] == 1:
        apart = part - mean
        return np.asarray(np.square(apart, out=apart).sum(axes))
    step, planes = max(1, _NUMBERS // part[0].size), np.empty(part.shape[:2])
    for start in range(0, len(part), step):
        apart = part[start : start + step] - mean
        planes[start : start + step] = np.square(apart, out=apart).sum((2, 3))
    return np.asarray(planes.sum(0))


def _slices(pool: Inputs) -> Iterator[npt.NDArray[Any]]:
    """A slice at a time: no copy of the pool in float64."""
    return (pool[start : start + _SLICE] for start in range(0, len(pool), _SLICE))
