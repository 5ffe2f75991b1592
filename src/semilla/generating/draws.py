"""Random draws of one line, taken one after another from a generator that belongs to its (seed, index)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from semilla.randomness import generator

_AT_ONCE = 64  # uniform numbers drawn at a time: a call of the generator costs as much as these
T = TypeVar("T")


class Draws:
    """A sequence of draws that is a function of its arguments.

    Args:
        seed: of the whole set, 0 ≤ seed < 2⁶⁴.
        stream: what the draws are for.
        index: which line.
    """

    def __init__(self, seed: int, stream: str, index: int) -> None:
        self.generator: np.random.Generator = generator(seed, stream, index)
        self._ready: list[float] = []

    def one(self) -> float:
        """Uniform in [0, 1)."""
        if not self._ready:
            self._ready = self.generator.random(_AT_ONCE).tolist()
        return self._ready.pop()

    def between(self, low: float, high: float) -> float:
        """Uniform in [low, high)."""
        return low + (high - low) * self.one()

    def around(self, most: float) -> float:
        """In (−most, most), small values more often: the mean of two uniform draws."""
        return most * (self.one() + self.one() - 1)

    def whole(self, low: int, high: int) -> int:
        """A whole number from low to high, both included."""
        return low + int((high - low + 1) * self.one())

    def chance(self, probability: float) -> bool:
        """True with a probability."""
        return self.one() < probability

    def pick(self, values: Sequence[T]) -> T:
        """One of some values, each as likely."""
        return values[int(len(values) * self.one())]


def listed(text: str, mark: str | None = None) -> tuple[str, ...]:
    """The words of a text, or what stands between marks."""
    return tuple(part for part in text.split(mark) if part)
