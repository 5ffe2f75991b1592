"""Some rows of a pool, gathered only when they are asked for: a split of a large set costs an index, not a copy."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from semilla.data.labels import IntArray


class Pool(Protocol):
    """Pictures or vectors that are gathered by index: an array, a file mapped into memory, or a decoder."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, …)."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of an element."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Any, /) -> npt.NDArray[Any]: ...


class LinePool(Pool, Protocol):
    """Lines of text, in memory or drawn when they are asked for.

    Attributes:
        widths: int64 (N,) columns of each.
    """

    widths: IntArray

    def line(self, row: int) -> npt.NDArray[np.uint8]:
        """One line, without padding: uint8 (H, W)."""


def drawn(pool: object) -> bool:
    """Whether a pool makes its examples when they are asked for, so that to go through it is to make them all."""
    return bool(getattr(pool, "drawn", False))


class Rows:
    """A selection of a pool's rows that looks like an array where batches are gathered.

    Args:
        pool: where the rows lie.
        index: int64 (N,) which rows, in order.
    """

    def __init__(self, pool: Pool, index: IntArray) -> None:
        self.pool, self.index = pool, np.asarray(index, np.int64)
        self.shape, self.dtype = (len(self.index), *pool.shape[1:]), pool.dtype

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, rows: Any) -> npt.NDArray[Any]:
        """The rows as an array."""
        return np.asarray(self.pool[self.index[rows]])

    def take(self, rows: Any) -> Rows:
        """A selection of the selection; nothing is gathered."""
        return Rows(self.pool, self.index[rows])

    @property
    def nbytes(self) -> int:
        """Bytes of the gathered rows; of lines, which differ in width, without their padding."""
        if hasattr(self.pool, "nbytes_of"):
            return int(self.pool.nbytes_of(self.index))
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize
