"""Intervals: how far a number may be from what it stands for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from semilla.evidence.confusion import Confusion

NEEDED_CAP = 10_000_000
"""`labels_needed` counts no further: the cap stands for more than that."""

PRIOR = 4.0
"""Examples by which the error rate of a class is drawn to the rate of all classes, as many as Agresti & Coull add."""


class Interval(NamedTuple):
    """A mean and its 95 % interval; the ends are NaN where too few observations leave them open.

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


def wilson(right: float, count: float, level: float = 0.95) -> Interval:
    """A share and its Wilson score interval (Wilson 1927): honest for few examples and near 0 or 1."""
    if count == 0:
        return Interval(math.nan, math.nan, math.nan)
    z = _normal_quantile(level)
    share = right / count
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    # The ends at 0 and 1 are exact, where rounding would pass them by 1e-18.
    return Interval(share, middle - half if right else 0.0, middle + half if right < count else 1.0)


def mean_recall(confusion: Confusion) -> Interval:
    """Balanced accuracy: the mean recall of the classes that occur, with Wilson's interval.

    The interval is that of as many examples as would give a share the variance that the mean has (Korn & Graubard 1998,
    Survey Methodology 24:193; Franco et al. 2019, J. Survey Statistics and Methodology 7:334): where the C classes err
    alike, C² / Σ 1/nₖ of them, so that a rare class counts for what it is. It stays open where every answer is right,
    and with one class it is Wilson's own. The error rates behind the variance are drawn to the rate of all classes by
    `PRIOR` examples: three right answers of three do not say that a class has no errors.

    Args:
        confusion: of at least one example.
    """
    count = confusion.of_class()
    found = count > 0
    count, wrong = count[found], (count - confusion.right())[found]
    rate = (wrong + PRIOR * _error_rate(confusion)) / (count + PRIOR)
    variance = (rate * (1 - rate) / count).sum() / len(count) ** 2
    return _share_like(1 - float((wrong / count).mean()), 1 - float(rate.mean()), float(variance))


def macro_f1(confusion: Confusion) -> Interval:
    """Mean F1 of the classes that occur or are predicted, with Wilson's interval, of as many examples as `mean_recall`.

    The variance is that of the delta method (Takahashi et al. 2022, Applied Intelligence 52:4961) at smoothed counts: a
    class's errors are drawn to the rate of all by `PRIOR` examples, which are taken for every other class alike. One
    more example of class i that is taken for j moves the mean by −(Fᵢ/Dᵢ + Fⱼ/Dⱼ)/C, and a right one by
    2(1 − Fᵢ)/(Dᵢ C), where Dᵢ counts the examples that are i and those that are said to be. F1 itself is biased where
    classes have one or two examples, and its interval with it.

    Args:
        confusion: as for `mean_recall`.
    """
    of_it, said_it = confusion.of_class(), confusion.said_class()
    known = of_it + said_it > 0
    count, right, classes = of_it[known], confusion.right()[known], int(known.sum())
    observed = 2 * right / (count + said_it[known])
    kept, others = count / (count + PRIOR), max(1, classes - 1)
    wrong, place = confusion.true != confusion.said, np.cumsum(known) - 1  # a class's place among the known ones
    rows, columns = place[confusion.true[wrong]], place[confusion.said[wrong]]
    errors, strays = confusion.times[wrong] * kept[rows], PRIOR * _error_rate(confusion) * kept
    true = count - np.bincount(rows, errors, classes) - strays
    said = true + np.bincount(columns, errors, classes) + (strays.sum() - strays) / others
    f1 = 2 * true / (count + said)
    pull = f1 / (count + said) / classes  # what an error takes from either class
    rest, rest_squared = pull.sum() - pull, (pull**2).sum() - pull**2
    moved = true * (2 * (1 - f1) / (count + said) / classes) ** 2
    moved += np.bincount(rows, errors * (pull[rows] + pull[columns]) ** 2, classes)
    moved += strays * (pull**2 + (2 * pull * rest + rest_squared) / others)
    return _share_like(float(observed.mean()), float(f1.mean()), float(moved.sum()))


def _error_rate(confusion: Confusion) -> float:
    """Of all classes, with `PRIOR` examples more of which half are wrong: never 0 or 1."""
    count = int(confusion.times.sum())
    return (count - int(confusion.right().sum()) + PRIOR / 2) / (count + PRIOR)


def _share_like(mean: float, smoothed: float, variance: float) -> Interval:
    """Wilson's interval of a share whose variance at its smoothed value is the given one."""
    count = smoothed * (1 - smoothed) / variance
    _, low, high = wilson(mean * count, count)
    return Interval(mean, low, high)


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
        The number, where `NEEDED_CAP` stands for more than that; None where the observed difference is 0 and no number
        would do.
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


@cache  # a tenth of a millisecond each time, and a table asks for it three times a class
def _normal_quantile(level: float) -> float:
    from scipy import stats

    return float(stats.norm.ppf((1 + level) / 2))
