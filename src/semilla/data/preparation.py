"""How inputs are brought to a common scale: mean and deviation over the training pool, never over held-out parts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from semilla.data.dataset import Dataset, Inputs, Split
from semilla.data.rows import Rows
from semilla.data.store import is_stored

_SLICE = 4096


def preparation(dataset: Dataset, parts: Split) -> dict[str, Any]:
    """What a model's card says of its inputs: kind, shape, scale, and how raw ones become such.

    A constant channel or feature keeps its scale.
    """
    images = dataset.kind == "images"
    count, total, square = _moments([rows for rows in (parts.labeled.inputs, parts.unlabeled) if len(rows)], images)
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


def _moments(pools: list[Inputs], images: bool) -> tuple[int, npt.NDArray[Any], npt.NDArray[Any]]:
    """Values for each channel or feature, their sum, and the sum of their squared distances from the mean."""
    axes: tuple[int, ...] = (0, 2, 3) if images else (0,)
    count = sum(len(pool) * int(np.prod(pool.shape[2:], dtype=np.int64)) for pool in pools)
    known = [pool.pool.sums[pool.index].sum(0) for pool in pools if isinstance(pool, Rows) and is_stored(pool.pool)]
    if len(known) == len(pools):
        total, squares = np.asarray(sum(known), np.float64).T
        return count, total, squares - total * total / count
    total = sum(part.sum(axes, dtype=np.float64) for pool in pools for part in _slices(pool))
    mean = np.reshape(total / count, (-1, 1, 1) if images else (-1,))
    return count, total, sum(np.square(part - mean).sum(axes) for pool in pools for part in _slices(pool))


def _slices(pool: Inputs) -> Iterator[npt.NDArray[Any]]:
    """A slice at a time: no copy of the pool in float64."""
    return (pool[start : start + _SLICE] for start in range(0, len(pool), _SLICE))
