"""The endless order in which a pool is gone through: a function of (seed, stream, row), with no state to save."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from semilla.data.labels import IntArray
from semilla.randomness import permutation, words

_BLOCK = 4096  # rows made at a time where epochs are shorter: a draw's cost is in the call


class Order:
    """Epoch after epoch of a pool, each in a fresh order: `semilla.randomness.permutation` of (seed, stream, epoch).

    Args:
        seed: the run's seed.
        stream: name of the draws.
        size: examples in the pool, at least 1.
    """

    def __init__(self, seed: int, stream: str, size: int) -> None:
        if size < 1:
            raise ValueError(f"a pool of {size} examples has no order")
        self._seed, self._stream, self.size = seed, stream, size
        self._epochs = max(1, _BLOCK // size)
        self._blocks: dict[int, IntArray] = {}

    def rows(self, start: int, count: int) -> tuple[IntArray, IntArray]:
        """Rows ``start`` … ``start + count − 1`` of the sequence.

        Returns:
            int64 (count,) epoch of each row, counted from 0, and int64 (count,) position of its example in the pool.
        """
        if start < 0 or count < 0:
            raise ValueError(f"rows {start} … {start + count - 1} of a sequence that starts at 0")
        length, stop = self._epochs * self.size, start + count
        pieces: list[npt.NDArray[np.int64]] = [np.empty(0, np.int64)]
        for number in range(start // length, -(-stop // length)):
            first = number * length
            pieces.append(self._block(number)[max(0, start - first) : stop - first])
        return np.arange(start, stop) // self.size, np.concatenate(pieces)

    def _block(self, number: int) -> IntArray:
        """The samples of a run of whole epochs; the last two blocks are kept."""
        if number not in self._blocks:
            while len(self._blocks) > 1:
                del self._blocks[next(iter(self._blocks))]
            self._blocks[number] = self._made(number)
        return self._blocks[number]

    def _made(self, number: int) -> IntArray:
        if self._epochs == 1:
            return permutation(self._seed, self._stream, number, self.size)
        epochs = np.arange(number * self._epochs, (number + 1) * self._epochs)
        samples = np.tile(np.arange(self.size), self._epochs)
        high, low = words(self._seed, self._stream, epochs.repeat(self.size), samples, 2).T.astype(np.uint64)
        keys = (high << np.uint64(32) | low).reshape(self._epochs, self.size)
        return np.argsort(keys, axis=1, kind="stable").ravel()  # each row as `permutation` would give it
