"""Intervals: how far a number may be from what it stands for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Interval(NamedTuple):
    """A mean and its 95 % interval; the ends are NaN where one observation leaves them open.

    Attributes:
        mean: the estimate.
        low: lower end.
        high: upper end.
    """

    mean: float
    low: float
    high: float


def paired_gain(ours: Sequence[float], baseline: Sequence[float], level: float = 0.95) -> Interval:
    """The mean difference over the same label draws, with Student's t interval of the paired differences.

    It covers the choice of the labels, the initial weights and the order of training. It does not cover the choice of
    the test examples, which all draws share.
    """
    difference = np.asarray(ours, dtype=np.float64) - np.asarray(baseline, dtype=np.float64)
    mean = float(difference.mean())
    if len(difference) < 2:
        return Interval(mean, math.nan, math.nan)
    from scipy import stats  # a second to import, which the demonstration spends while its workers are busy

    quantile = float(stats.t.ppf((1 + level) / 2, len(difference) - 1))
    half = quantile * float(difference.std(ddof=1)) / math.sqrt(len(difference))
    return Interval(mean, mean - half, mean + half)


def wilson(right: int, count: int, level: float = 0.95) -> Interval:
    """A share and its Wilson score interval (Wilson 1927): honest for few examples and near 0 or 1."""
    if count == 0:
        return Interval(math.nan, math.nan, math.nan)
    from scipy import stats

    z = float(stats.norm.ppf((1 + level) / 2))
    share = right / count
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    # The ends at 0 and 1 are exact, where rounding would pass them by 1e-18.
    return Interval(share, middle - half if right else 0.0, middle + half if right < count else 1.0)
