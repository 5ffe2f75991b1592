"""Weights that grow along training, as functions of progress in [0, 1] so that every budget runs the same recipe."""

from __future__ import annotations

import math
from typing import Literal

Ramp = Literal["linear", "sigmoid"]


def ramp(progress: float, end: float, shape: Ramp = "linear", start: float = 0.0) -> float:
    """0 until ``start``, 1 from ``end`` on.

    ``linear`` is the straight line between; ``sigmoid`` is exp(−5(1 − τ)²) of Laine & Aila 2017 (§2), which begins at
    e⁻⁵ rather than at 0.
    """
    if progress >= end:
        return 1.0
    if progress < start:
        return 0.0
    share = (progress - start) / (end - start)
    return share if shape == "linear" else math.exp(-5 * (1 - share) ** 2)
