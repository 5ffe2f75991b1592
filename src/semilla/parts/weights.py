"""Which examples count, and how much."""

from __future__ import annotations

import math
from typing import Literal

from torch import Tensor

Annealing = Literal["linear", "exp", "log"]


def above(confidence: Tensor, threshold: float | Tensor) -> Tensor:
    """1.0 where confidence > threshold, else 0.0; a threshold of 1 or more keeps nothing."""
    return (confidence > threshold).float()


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Σ mask·values / max(Σ mask, 1): the mean over what is kept, 0 and without NaN when nothing is."""
    return (mask * values).sum() / mask.sum().clamp_min(1.0)


def annealing_threshold(progress: float, classes: int, schedule: Annealing) -> float:
    """UDA's training-signal annealing threshold η(t) = a(t)·(1 − 1/C) + 1/C (Xie et al. 2020, §2.3).

    Labeled examples whose true class is already more probable than η are left out. ``log`` releases the labels
    fastest, ``exp`` slowest.
    """
    share = {
        "linear": progress,
        "exp": math.exp(5 * (progress - 1)),
        "log": 1 - math.exp(-5 * progress),
    }[schedule]
    return share * (1 - 1 / classes) + 1 / classes
