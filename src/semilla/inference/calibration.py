"""Calibration: confidences that come true, and from which confidence on a wanted precision holds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

SMALLEST = 50
"""Labels below which nothing is fitted."""
BINS = 15
"""Bins of the calibration error, of equal width (Guo et al. 2017)."""
SHARES = tuple(k / 20 for k in range(20, 0, -1))
"""Shares of accepted examples among which a threshold is sought, fixed before any label is seen."""

_INVERSE_RANGE = 0.05, 20.0
_AT_ONCE = 2**15  # numbers of a block of rows: many classes are worked on in the cache, and not copied as a whole


def softmax(logits: npt.ArrayLike, temperature: float = 1.0) -> npt.NDArray[np.float64]:
    """Probabilities (N, C) of logits divided by a temperature, in float64."""
    logits = np.asarray(logits)
    shares = np.empty(logits.shape, np.float64)
    for rows in _blocks(logits):
        powers = logits[rows].astype(np.float64) / temperature
        np.exp(powers - powers.max(1, keepdims=True), out=powers)
        np.divide(powers, powers.sum(1, keepdims=True), out=shares[rows])
    return shares


def calibrate(logits: npt.ArrayLike, labels: npt.ArrayLike, fitted_on: str) -> dict[str, Any] | None:
    """What a model's card says about calibration, from held-out examples.

    Args:
        logits: (N, C).
        labels: (N,) positions of the true classes.
        fitted_on: the part they are of, ``development`` or ``test``.

    Returns:
        ``temperature``, by which logits are to be divided; ``fitted_on`` and ``n``; ``error``, the expected calibration
        error before, and after with each half of the examples under the temperature of the other; ``acceptance``, what
        `threshold` reads. None for fewer than `SMALLEST` examples.
    """
    logits, labels = np.asarray(logits, np.float64), np.asarray(labels, np.int64)
    if len(labels) < SMALLEST:
        return None
    right = logits.argmax(1) == labels
    temperature = fit_temperature(logits, labels)
    before, after = _confidence(logits), cross_fitted(logits, labels).max(1)
    return {
        "temperature": temperature,
        "fitted_on": fitted_on,
        "n": len(labels),
        "error": [calibration_error(confidence, right) for confidence in (before, after)],
        "acceptance": acceptance(_confidence(logits, temperature), right),
    }


def calibrate_readings(
    confidence: npt.NDArray[np.float32],
    right: npt.NDArray[np.float64],
    lengths: npt.NDArray[np.float64],
    groups: npt.NDArray[np.int64],
    fitted_on: str,
) -> dict[str, Any] | None:
    """What a recogniser's card says about calibration, from held-out lines.

    The logarithm of a confidence, P(string)^(1/symbols), is divided by a temperature, so that it comes to mean the
    share of the characters that are right.

    Args:
        confidence: (N,) of each reading, in [0, 1].
        right: (N,) share of its characters that are right, in [0, 1].
        lengths: (N,) characters of the truth: longer lines weigh more.
        groups: (N,) of the writer or document, or of the line itself.
        fitted_on: as for `calibrate`.

    Returns:
        As `calibrate`; ``acceptance`` counts the lines without any error. None for fewer than `SMALLEST` lines.
    """
    if len(right) < SMALLEST:
        return None
    temperature = fit_power(confidence, right, lengths)
    after = cross_fitted_readings(confidence, right, lengths, groups)
    errors = [calibration_error(own, right, lengths) for own in (confidence, after)]
    accepted = acceptance(calibrated(confidence, temperature), right >= 1)
    known = {"temperature": temperature, "fitted_on": fitted_on, "n": len(right)}
    return {**known, "error": errors, "acceptance": accepted}


def cross_fitted_readings(
    confidence: npt.NDArray[np.float32],
    right: npt.NDArray[np.float64],
    lengths: npt.NDArray[np.float64],
    groups: npt.NDArray[np.int64],
) -> npt.NDArray[np.float32]:
    """(N,) confidences, those of each half under the temperature of the other: what `cross_fitted` is for classes.

    The lines of a group, such as a writer, are alike and stay together, unless there is one group alone.
    """
    _, number = np.unique(groups, return_inverse=True)
    first = (number if number.any() else np.arange(len(right))) % 2 == 0
    after = np.empty_like(confidence)
    for own, other in ((first, ~first), (~first, first)):
        after[own] = calibrated(confidence[own], fit_power(confidence[other], right[other], lengths[other]))
    return after


def calibrated(confidence: npt.NDArray[np.float32], temperature: float) -> npt.NDArray[np.float32]:
    """Confidences whose logarithm is divided by a temperature: of a string's probability, as it were."""
    return np.asarray(np.power(confidence, 1 / temperature), np.float32)


def fit_power(
    confidence: npt.NDArray[np.floating[Any]], right: npt.NDArray[np.float64], weights: npt.NDArray[np.float64]
) -> float:
    """The temperature T for which confidence^(1/T) has the smallest cross-entropy to the shares that are right."""
    from scipy import optimize

    log_p = np.log(np.clip(np.asarray(confidence, np.float64), 1e-12, 1 - 1e-6))

    def cross_entropy(log_inverse: float) -> float:
        scaled = log_p * np.exp(log_inverse)
        wrong = np.log(-np.expm1(np.minimum(scaled, -1e-9)))
        return float(-(weights * (right * scaled + (1 - right) * wrong)).sum() / weights.sum())

    low, high = np.log(_INVERSE_RANGE)
    return float(np.exp(-optimize.minimize_scalar(cross_entropy, bounds=(low, high), method="bounded").x))


def fit_temperature(logits: npt.NDArray[np.float64], labels: npt.NDArray[np.int64]) -> float:
    """The temperature with the smallest negative log-likelihood (Guo et al. 2017, arXiv 1706.04599).

    The likelihood is convex in 1/T, so its slope is halved down to the last bit. The targets are softened by one error
    in N + 2 (Platt 1999), or examples that are all right would ask for T = 0. T stays between 0.05 and 20.
    """
    from scipy import optimize

    centred = logits - logits.max(1, keepdims=True)
    soft, means = 1 / (len(labels) + 2), np.empty(len(labels))
    wanted = (1 - soft) * centred[np.arange(len(labels)), labels].mean() + soft * centred.mean()

    def slope(inverse: float) -> float:
        for rows in _blocks(centred):
            means[rows] = (softmax(centred[rows], 1 / inverse) * centred[rows]).sum(1)
        return float(means.mean() - wanted)

    low, high = _INVERSE_RANGE
    if slope(low) >= 0:
        return 1 / low
    if slope(high) <= 0:
        return 1 / high
    return float(1 / optimize.brentq(slope, low, high, xtol=1e-12, rtol=1e-12))


def cross_fitted(logits: npt.ArrayLike, labels: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Probabilities (N, C), those of each half under the temperature fitted on the other half.

    So the examples that chose a temperature can show how good it is. The halves take turns within each class.
    """
    logits, labels = np.asarray(logits, np.float64), np.asarray(labels, np.int64)
    first = np.zeros(len(labels), bool)
    first[np.argsort(labels, kind="stable")[::2]] = True
    found = np.empty_like(logits)
    for own, other in ((first, ~first), (~first, first)):
        temperature, places = fit_temperature(logits[other], labels[other]), np.flatnonzero(own)
        for rows in _blocks(found[: len(places)]):
            found[places[rows]] = softmax(logits[places[rows]], temperature)
    return found


def calibration_error(confidence: npt.ArrayLike, right: npt.ArrayLike, weights: npt.ArrayLike | None = None) -> float:
    """Expected calibration error: the mean distance of confidence and accuracy over `BINS` bins, weighted by size."""
    confidence, right = np.asarray(confidence, np.float64), np.asarray(right, np.float64)
    weights = np.ones(len(right)) if weights is None else np.asarray(weights, np.float64)
    gaps = np.bincount(bins_of(confidence), weights * (confidence - right), BINS)
    return float(np.abs(gaps).sum() / max(1.0, weights.sum()))


def bins_of(confidence: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """The bin of each confidence, 0 … `BINS` − 1; a bin holds its upper end."""
    return np.clip(np.ceil(confidence * BINS).astype(np.int64) - 1, 0, BINS - 1)


def acceptance(confidence: npt.ArrayLike, right: npt.ArrayLike) -> list[list[float]]:
    """For each of `SHARES`, the threshold that accepts so many: ``[threshold, accepted, right]``, falling in number.

    The thresholds depend on confidences alone, so that the right ones among the accepted are plain coin tosses. They
    are rounded to the nearest float32, as are the confidences that `semilla predict` compares with them and those
    counted here: rounded up, they would turn away the very example that each is the confidence of.
    """
    order = np.sort(np.asarray(confidence, np.float64))[::-1]
    rows: list[list[float]] = []
    for share in SHARES:
        threshold = np.float32(order[max(0, round(share * len(order)) - 1)])
        accepted = np.asarray(confidence, np.float32) >= threshold
        row = [float(threshold), int(accepted.sum()), int((accepted & np.asarray(right, bool)).sum())]
        if not rows or rows[-1] != row:
            rows.append(row)
    return rows


def threshold(table: Sequence[Sequence[float]], precision: float, level: float = 0.95) -> float | None:
    """The confidence from which examples may be accepted so that a share ``precision`` of them is right.

    The lower Clopper–Pearson bound of the accepted ones' precision must reach it. As several thresholds are tried, each
    is held to the error rate divided by their number (Geifman & El-Yaniv 2017, arXiv 1705.08500), so that the promise
    holds for the one chosen with the confidence ``level``.

    Returns:
        The threshold that accepts the most, or None where none keeps the promise.
    """
    from scipy import stats

    for least, accepted, right in table:  # the most accepted first
        rate = (1 - level) / len(table)
        if right and stats.beta.ppf(rate, right, accepted - right + 1) >= precision:
            return float(least)
    return None


def _confidence(logits: npt.NDArray[np.float64], temperature: float = 1.0) -> npt.NDArray[np.float64]:
    """(N,) the largest probability of each row, without a copy of all."""
    return np.concatenate([softmax(logits[rows], temperature).max(1) for rows in _blocks(logits)])


def _blocks(rows: npt.NDArray[Any]) -> Iterator[slice]:
    """Slices of some whole rows; sums over a row do not depend on them."""
    step = max(1, _AT_ONCE // max(1, rows.shape[1]))
    return (slice(start, start + step) for start in range(0, len(rows), step))
