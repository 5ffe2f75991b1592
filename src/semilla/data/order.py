"""The endless order in which a pool is gone through: a function of (seed, stream, row), with no state to save."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from semilla.data.labels import IntArray
from semilla.randomness import permutation, uniform, words

_WINDOW = 32  # batches that are sorted at once
_SPREAD = 0.1  # of a width and of the mean one: how much may be added before lines are sorted

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


class WidthOrder:
    """`Order` for lines of text: batches hold lines of similar width, and still others in every epoch.

    An epoch is a permutation, cut into windows of 32 batches. Within a window the lines are sorted by width, to which
    up to a tenth of itself and of the mean is added at random, lest a small set fall into the same batches for ever; or
    by the width that a view will give them, which is random itself. Then all batches of the epoch are shuffled. Every
    line is there once in an epoch: the lines that fill no batch end it, and the first ones of the next epoch complete
    theirs. The order is a function of (seed, stream, epoch) alone.

    Args:
        seed: the run's seed.
        stream: name of the draws.
        widths: int64 (N,) of the pool's lines, N at least 1.
        batch: lines of a batch; the sequence must be asked for in such pieces to have lines of similar width together.
        seen: the width of every line as it is seen in an epoch, int64 (N,); None for lines that keep theirs.
    """

    def __init__(
        self, seed: int, stream: str, widths: IntArray, batch: int, seen: Callable[[int], IntArray] | None = None
    ) -> None:
        if not len(widths) or batch < 1:
            raise ValueError(f"{len(widths)} lines in batches of {batch} have no order")
        self._seed, self._stream, self._batch, self._seen = seed, stream, batch, seen
        self._widths, self.size = np.asarray(widths, np.float64), len(widths)
        self._epochs: dict[int, IntArray] = {}

    def rows(self, start: int, count: int) -> tuple[IntArray, IntArray]:
        """Rows ``start`` … ``start + count − 1`` of the sequence: epoch and position, as `Order.rows`."""
        if start < 0 or count < 0:
            raise ValueError(f"rows {start} … {start + count - 1} of a sequence that starts at 0")
        stop = start + count
        pieces: list[npt.NDArray[np.int64]] = [np.empty(0, np.int64)]
        for epoch in range(start // self.size, -(-stop // self.size)):
            first = epoch * self.size
            pieces.append(self._epoch(epoch)[max(0, start - first) : stop - first])
        return np.arange(start, stop) // self.size, np.concatenate(pieces)

    def _epoch(self, epoch: int) -> IntArray:
        """The samples of an epoch; those of a few epochs are kept, for a batch may reach over several short ones."""
        if epoch not in self._epochs:
            while len(self._epochs) > max(2, 2 * self._batch // self.size):
                del self._epochs[next(iter(self._epochs))]
            self._epochs[epoch] = self._made(epoch)
        return self._epochs[epoch]

    def _made(self, epoch: int) -> IntArray:
        drawn = permutation(self._seed, self._stream, epoch, self.size)
        head = min(-epoch * self.size % self._batch, self.size)  # completes a batch that the epoch before began
        whole = (self.size - head) // self._batch
        body = drawn[head : head + whole * self._batch]
        keys = self._keys(epoch, drawn)[head : head + len(body)]
        window = np.arange(len(body)) // (_WINDOW * self._batch)
        batches = body[np.lexsort((keys, window))].reshape(whole, self._batch)
        shuffled = batches[permutation(self._seed, f"{self._stream} batches", epoch, whole)].ravel()
        return np.concatenate([drawn[:head], shuffled, drawn[head + len(body) :]])

    def _keys(self, epoch: int, drawn: IntArray) -> npt.NDArray[np.float64]:
        """What the lines of an epoch are sorted by."""
        if self._seen is not None:
            return np.asarray(self._seen(epoch)[drawn], np.float64)
        draws = uniform(self._seed, f"{self._stream} widths", np.full(self.size, epoch), drawn, 1)[:, 0]
        return np.asarray(self._widths[drawn] + _SPREAD * draws * (self._widths[drawn] + self._widths.mean()))
