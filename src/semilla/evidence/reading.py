"""How well lines are read, and whether one model reads them better: shares of characters, with intervals over writers.

The lines of one writer, or of one document, are alike: an interval that took them for independent would be too narrow.
So whole groups are drawn, again and again (the cluster bootstrap: Davison & Hinkley, Bootstrap Methods and Their
Application, 1997, §3.8); lines without a group are each one of its own. Of few groups the draws lie too close together:
the interval reaches as many of their standard deviations, or as many times as far as their quantiles, as Student's t
does for so many groups, and with one group nothing is known (Hesterberg, What teachers should know about the bootstrap,
The American Statistician 2015, arXiv 1411.5279, on the narrowness bias).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from semilla.evidence.intervals import NEEDED_CAP, Interval, wilson
from semilla.evidence.verdict import USED, Verdict, Word

MEASURE = "characters read right (1 − CER)"
DRAWS = 4_000
LEVEL = 0.95


class Edits(NamedTuple):
    """What it takes to mend what a model read.

    Attributes:
        edits: (N,) grapheme clusters to insert, delete or replace in each line.
        lengths: (N,) grapheme clusters of its true text.
        groups: (N,) number of the writer or document; every line its own where there are none.
    """

    edits: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int64]
    groups: npt.NDArray[np.int64]

    @property
    def cer(self) -> float:
        """The character error rate: all edits by all characters."""
        return float(self.edits.sum() / max(1, self.lengths.sum()))

    @property
    def many(self) -> int:
        """How many groups there are."""
        return len(np.unique(self.groups))


def cer_interval(own: Edits) -> Interval:
    """The character error rate with its interval over groups."""
    edits, lengths = _drawn(own.groups, np.stack([own.edits, own.lengths]))
    return _interval(own.cer, edits / np.maximum(lengths, 1), own.many, (0.0, max(1.0, own.cer)))


def exact_interval(exact: npt.NDArray[np.bool_], groups: npt.NDArray[np.int64]) -> Interval:
    """The share of lines without an error: the wider of Wilson's interval, over lines, and the bootstrap's over groups.

    The bootstrap alone is a point where every line is right, or none.
    """
    ones = np.ones(len(exact), np.int64)
    wrong, lines = cer_interval(Edits(1 - exact.astype(np.int64), ones, groups)), wilson(int(exact.sum()), len(exact))
    return Interval(lines.mean, min(lines.low, 1 - wrong.high), max(lines.high, 1 - wrong.low))


def cer_change(own: Edits, other: Edits) -> tuple[Interval, Interval]:
    """How far one error rate lies from another on the same lines: own − other, and as a share of the other."""
    mine, lengths, theirs = _drawn(own.groups, np.stack([own.edits, own.lengths, other.edits]))
    lengths, base = np.maximum(lengths, 1), max(other.cer, 1e-12)
    most = max(1.0, own.cer, other.cer)
    difference = _interval(own.cer - other.cer, (mine - theirs) / lengths, own.many, (-most, most))
    relative = _interval(own.cer / base - 1, mine / np.maximum(theirs, 1) - 1, own.many, (-1.0, most / base))
    return difference, relative


def judge_reading(method: str, own: Edits, baseline: str, other: Edits, used: float | None = None) -> Verdict:
    """Hold a method against its baseline, as `semilla.evidence.verdict.judge` does for classes.

    Args:
        method: its name.
        own: what it takes to mend its readings.
        baseline: its name.
        other: likewise, of the same lines in the same order.
        used: share of the unlabeled draws that entered the loss.
    """
    change, _ = cer_change(own, other)
    difference = Interval(0 - change.mean, 0 - change.high, 0 - change.low)  # not −0
    word: Word = "helped" if difference.low > 0 else "hurt" if difference.high < 0 else "cannot tell"
    if used is not None and used < USED:
        word = "cannot tell"
    mine, theirs = (Interval(1 - each.mean, 1 - each.high, 1 - each.low) for each in map(cer_interval, (own, other)))
    needed, n = _needed(difference, own), len(own.edits)
    groups = own.many if own.many < n else None
    return Verdict(word, method, baseline, n, mine, theirs, difference, needed, used, LEVEL, MEASURE, groups)


def _needed(difference: Interval, own: Edits) -> int | None:
    """Lines at which the observed difference would be told: the interval narrows with the root of their number."""
    if difference.mean == 0:
        return None
    half = max(difference.high - difference.mean, difference.mean - difference.low)
    return min(NEEDED_CAP, int(len(own.edits) * (half / abs(difference.mean)) ** 2) + 1)


def _drawn(groups: npt.NDArray[np.int64], rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Sums of each row (R, N) over as many groups as there are, drawn with replacement: (R, `DRAWS`)."""
    _, place = np.unique(groups, return_inverse=True)
    count = int(place.max()) + 1 if len(place) else 1
    sums = np.stack([np.bincount(place, row, count) for row in rows])
    times = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), DRAWS)
    drawn: npt.NDArray[np.float64] = (sums @ times.T).astype(np.float64)
    return drawn


def _interval(mean: float, draws: npt.NDArray[np.float64], groups: int, limits: tuple[float, float]) -> Interval:
    """The interval of a mean from bootstrap draws over so many groups, within what is possible at all."""
    if groups < 2:
        return Interval(mean, *limits)
    from scipy import stats  # a second to import

    normal = float(stats.norm.ppf((1 + LEVEL) / 2))
    wider = float(stats.t.ppf((1 + LEVEL) / 2, groups - 1)) / normal * np.sqrt(groups / (groups - 1))
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    least = normal * float(draws.std())
    below, above = (wider * max(least, float(reach)) for reach in (mean - low, high - mean))
    return Interval(mean, max(limits[0], mean - below), min(limits[1], mean + above))
