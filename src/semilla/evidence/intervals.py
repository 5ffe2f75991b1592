"""Intervals: how far a number may be from what it stands for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

NEEDED_CAP = 10_000_000
"""`labels_needed` never asks for more: a difference that small is not worth settling."""


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


def paired_difference(right_a: npt.ArrayLike, right_b: npt.ArrayLike, level: float = 0.95) -> Interval:
    """The difference in accuracy of two models on the same test examples, a − b, with Tango's score interval.

    The interval (Tango 1998, Statistics in Medicine 17:891) holds the differences that a score test with the
    constrained estimate of the discordant share does not reject. It stays honest where few examples, or none, are right
    under one model only. It covers the choice of the test examples, not that of labels and initial weights.

    Args:
        right_a: (N,) whether the first model is right.
        right_b: (N,) whether the second is, on the same examples.
        level: of the interval.

    Raises:
        ValueError: for unequal lengths.
    """
    only_a, only_b, count = _discordant(right_a, right_b)
    if count == 0:
        return Interval(math.nan, math.nan, math.nan)
    z = _normal_quantile(level)
    low, high = -_highest(only_b, only_a, count, z), _highest(only_a, only_b, count, z)
    return Interval((only_a - only_b) / count, low, high)


def labels_needed(right_a: npt.ArrayLike, right_b: npt.ArrayLike, level: float = 0.95) -> int | None:
    """How many test labels would settle the observed difference: its `paired_difference` interval leaves 0 outside.

    At a difference of 0 the score is McNemar's, (b − c) / √(b + c), so that no interval need be inverted: it grows with
    the root of the number of labels if the shares stay as observed.

    Returns:
        The number, at most `NEEDED_CAP`; None where the observed difference is 0 and no number would do.
    """
    only_a, only_b, count = _discordant(right_a, right_b)
    if only_a == only_b:
        return None
    z = _normal_quantile(level)
    needed = z * z * count * (only_a + only_b) / (only_a - only_b) ** 2
    return min(math.floor(needed) + 1, NEEDED_CAP)


def _discordant(right_a: npt.ArrayLike, right_b: npt.ArrayLike) -> tuple[int, int, int]:
    """Examples that only the first model has right, only the second, and all."""
    a, b = np.asarray(right_a, dtype=bool), np.asarray(right_b, dtype=bool)
    if a.shape != b.shape or a.ndim != 1:
        raise ValueError(f"shapes {a.shape} and {b.shape} are not two answers for each example")
    return int((a & ~b).sum()), int((b & ~a).sum()), len(a)


def _highest(only_a: int, only_b: int, count: int, z: float) -> float:
    """The largest difference that is not rejected: where the falling score passes −z, halved down to the last bit."""
    below, above = -1.0, 1.0
    while below < (middle := (below + above) / 2) < above:
        below, above = (middle, above) if _tango_score(middle, only_a, only_b, count) > -z else (below, middle)
    return above


def _tango_score(difference: float, only_a: int, only_b: int, count: int) -> float:
    """The score statistic at a supposed difference; it falls as the difference grows."""
    square, product = 2 * count, -only_b * difference * (1 - difference)
    linear = -only_a - only_b + (2 * count - only_a + only_b) * difference
    share_b = (math.sqrt(max(linear * linear - 4 * square * product, 0.0)) - linear) / (2 * square)
    distance = only_a - only_b - count * difference
    variance = count * (2 * share_b + difference * (1 - difference))
    if variance <= 0:  # nothing may differ by chance: any distance is impossible
        return math.copysign(math.inf, distance) if distance else 0.0
    return distance / math.sqrt(variance)


def _normal_quantile(level: float) -> float:
    from scipy import stats

    return float(stats.norm.ppf((1 + level) / 2))
