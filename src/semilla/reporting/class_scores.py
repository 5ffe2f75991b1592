"""Precision, recall and F1 of every class, with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from semilla.evidence.confusion import Confusion
from semilla.evidence.intervals import Interval, wilson
from semilla.reporting.figures import Cell


@dataclass(frozen=True)
class ClassRow:
    """One class.

    Attributes:
        name: its name.
        count: held-out examples of it.
        precision: share of the examples it was said of that are of it.
        recall: share of its examples that were found.
        f1: the harmonic mean of both.
    """

    HEADER: ClassVar[tuple[str, ...]] = (
        *("class", "n", "precision", "precision_low", "precision_high"),
        *("recall", "recall_low", "recall_high", "f1", "f1_low", "f1_high"),
    )
    name: str
    count: int
    precision: Interval
    recall: Interval
    f1: Interval

    def cells(self) -> tuple[Cell, ...]:
        """As a row of a table."""
        return (self.name, self.count, *self.precision, *self.recall, *self.f1)


def class_rows(confusion: Confusion, classes: Sequence[str]) -> list[ClassRow]:
    """The scores of every class, the lowest F1 first; classes without an example come last.

    Precision and recall have Wilson's interval. So has the share J of right ones among all examples that are of the
    class or were said to be; F1 is 2J / (1 + J), so its interval follows from J's.
    """
    rows = []
    sums = (own.tolist() for own in (confusion.right(), confusion.of_class(), confusion.said_class()))
    for name, right, of_it, said in zip(classes, *sums, strict=True):
        union = wilson(right, of_it + said - right)
        f1 = Interval(*(2 * share / (1 + share) for share in union))
        rows.append(ClassRow(name, of_it, wilson(right, said), wilson(right, of_it), f1))
    return sorted(rows, key=lambda row: (np.isnan(row.f1.mean), row.f1.mean))
