"""Which class was taken for which, and how often."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]


class Confusion(NamedTuple):
    """The cells of a confusion matrix that are not 0, row by row: at most one for each example, however many classes.

    Attributes:
        true: (K,) the class of some examples.
        said: (K,) what they were taken for.
        times: (K,) how many they are.
        classes: C, the side of the matrix.
    """

    true: Integers
    said: Integers
    times: Integers
    classes: int

    @classmethod
    def of(cls, truth: Integers, guess: Integers, classes: int) -> Confusion:
        """Count answers.

        Args:
            truth: (N,) the class of each example.
            guess: (N,) what it was taken for.
            classes: how many there are.
        """
        cells, times = np.unique(truth.astype(np.int64) * classes + guess, return_counts=True)
        return cls(*np.divmod(cells, classes), times, classes)

    @classmethod
    def of_table(cls, table: npt.ArrayLike) -> Confusion:
        """The cells of a whole matrix, (C, C)."""
        whole = np.asarray(table, np.int64)
        true, said = np.nonzero(whole)
        return cls(true, said, whole[true, said], len(whole))

    def table(self) -> Integers:
        """The whole matrix, int64 (C, C): rows are the true classes. 10,000 classes take 800 MB."""
        whole = np.zeros((self.classes, self.classes), np.int64)
        whole[self.true, self.said] = self.times
        return whole

    def of_class(self) -> Integers:
        """(C,) examples of each class."""
        return self._sums(self.true, self.times)

    def said_class(self) -> Integers:
        """(C,) examples that were taken for each class."""
        return self._sums(self.said, self.times)

    def right(self) -> Integers:
        """(C,) examples of each class that were recognised."""
        own = self.true == self.said
        return self._sums(self.true[own], self.times[own])

    def errors(self) -> list[tuple[int, int, int]]:
        """(true, said, count) of every kind of error that was made, the most frequent first."""
        wrong = np.flatnonzero(self.true != self.said)
        order = wrong[np.argsort(-self.times[wrong], kind="stable")]
        columns = (column[order].tolist() for column in (self.true, self.said, self.times))
        return list(zip(*columns, strict=True))

    def _sums(self, where: Integers, times: Integers) -> Integers:
        sums = np.zeros(self.classes, np.int64)
        np.add.at(sums, where, times)
        return sums
