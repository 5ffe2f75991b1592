"""Pictures of lines of text: one height, each as wide as it is, put side by side in one array without padding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeGuard, cast

import numpy as np
import numpy.typing as npt

from semilla.data.images import Images
from semilla.data.labels import IntArray
from semilla.data.rows import LinePool, Rows
from semilla.data.store import pixel_digests

Starts = IntArray
"""int64 (N + 1,): line i is the columns ``starts[i]`` … ``starts[i + 1] − 1``."""


class Lines:
    """A pool of N lines that is gathered by row, each gathered line padded on the right with 0.

    The columns of all lines follow one another, each column in one piece, so that a line is one piece of memory and a
    pool costs what its lines do, whatever the widest of them is.

    Args:
        columns: uint8 (K, H), in memory or mapped from a file.
        starts: int64 (N + 1,), see `Starts`.
        sums: float64 (N, 1, 2): for each line the sum of its values and of their squares; computed unless given.
        digests: uint8 (N, 16): BLAKE2b of each line's columns; computed unless given.

    Attributes:
        widths: int64 (N,) columns of each line.
    """

    def __init__(
        self,
        columns: Images,
        starts: Starts,
        sums: npt.NDArray[np.float64] | None = None,
        digests: npt.NDArray[np.uint8] | None = None,
    ) -> None:
        self.columns, self.starts, self.widths = columns, starts, np.diff(starts)
        if columns.ndim != 2 or columns.dtype != np.uint8 or starts[0] != 0 or starts[-1] != len(columns):
            raise ValueError(f"columns {columns.dtype} {columns.shape}, of which lines fill {starts[0]} … {starts[-1]}")
        if len(self.widths) and self.widths.min() < 0:
            raise ValueError("a line ends before it starts")
        self.sums = line_sums(columns, starts) if sums is None else sums
        self.digests = line_digests(columns, starts) if digests is None else digests
        self.shape = (len(self.widths), 1, columns.shape[1], int(self.widths.max(initial=0)))
        self.dtype = np.dtype(np.uint8)

    @classmethod
    def of(cls, lines: Sequence[Images], height: int) -> Lines:
        """A pool of pictures uint8 (H, W) of one height."""
        starts = np.concatenate([[0], np.cumsum([line.shape[1] for line in lines], dtype=np.int64)]).astype(np.int64)
        columns = np.empty((starts[-1], height), np.uint8)
        for line, start in zip(lines, starts.tolist(), strict=False):
            columns[start : start + line.shape[1]] = line.T
        return cls(columns, starts)

    def __len__(self) -> int:
        return len(self.widths)

    def __getitem__(self, rows: Any, /) -> Images:
        """Some rows, as indexing an array gives them: uint8 (…, 1, H, W), W the width of the widest of them."""
        index: IntArray = np.asarray(np.arange(len(self))[rows])
        flat = index.reshape(-1)
        widths = self.widths[flat]
        padded = np.zeros((len(flat), self.columns.shape[1], int(widths.max(initial=0))), np.uint8)
        # A copy a line: a gather of all columns at once, which also makes their indexes, takes twice the time.
        for place, (start, width) in enumerate(zip(self.starts[flat].tolist(), widths.tolist(), strict=True)):
            padded[place, :, :width] = self.columns[start : start + width].T
        return padded.reshape(*index.shape, 1, *padded.shape[1:])

    def nbytes_of(self, rows: IntArray) -> int:
        """Bytes of some rows, without padding."""
        return int(self.widths[rows].sum()) * int(self.shape[2])

    @property
    def nbytes(self) -> int:
        """Bytes of all lines."""
        return int(self.starts[-1]) * int(self.shape[2])

    def line(self, row: int) -> Images:
        """One line, upright and without padding: uint8 (H, W), a view."""
        return self.columns[self.starts[row] : self.starts[row + 1]].T


def line_sums(columns: Images, starts: Starts) -> npt.NDArray[np.float64]:
    """The sum of each line's values and of their squares, float64 (N, 1, 2); exact, for all are whole numbers."""
    sums = np.zeros((len(starts) - 1, 1, 2))
    for row, (start, stop) in enumerate(zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True)):
        values = columns[start:stop].reshape(-1).astype(np.float64)
        sums[row, 0] = values.sum(), values @ values
    return sums


def line_digests(columns: Images, starts: Starts) -> npt.NDArray[np.uint8]:
    """The digest of each line, uint8 (N, 16). With one height for all, equal bytes are equal pictures."""
    bounds = zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True)
    return pixel_digests([columns[start:stop] for start, stop in bounds])


def is_lines(inputs: object) -> TypeGuard[Rows]:
    """Whether inputs are rows of a pool of lines, whose width is not that of their shape."""
    return isinstance(inputs, Rows) and hasattr(inputs.pool, "widths")


def widths_of(inputs: Any) -> IntArray | None:
    """int64 (N,) the width of each line; None where all examples have one shape."""
    if not is_lines(inputs):
        return None
    widths: IntArray = cast(LinePool, inputs.pool).widths[inputs.index]
    return widths
