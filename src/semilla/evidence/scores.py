"""The scores of a finished model on held-out labels, with intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import numpy.typing as npt

from semilla import files
from semilla.errors import UsageError
from semilla.evidence.confusion import Confusion
from semilla.evidence.held_out import held_out
from semilla.evidence.intervals import Interval, macro_f1, mean_recall, wilson
from semilla.evidence.reading_scores import ReadingScores, evaluate_reading
from semilla.inference.calibration import BINS, bins_of, cross_fitted, softmax
from semilla.inference.model import find_fit, load
from semilla.inference.reader import Reader
from semilla.randomness import generator
from semilla.text import clean, csv_safe, escape_path

Floats = npt.NDArray[np.float64]

RESAMPLES = 1000
"""Bootstrap samples behind an interval, fewer for more than 100,000 examples."""
FEWEST = 10
"""Right and wrong answers, of each, below which there is no bootstrap interval: what decides it was hardly seen."""
SHOWN_CLASSES = 20
"""Classes up to which the confusion matrix is printed."""
WHOLE_CLASSES = 1000
"""Classes up to which the summary holds the whole matrix: of ten thousand it would have 100 million numbers."""

_DRAWS, _CHUNK = 10**8, 2**21
_FEW = f"calibration error, Brier score and likelihood have no interval with fewer than {FEWEST} right or wrong answers"


@dataclass(frozen=True, slots=True)
class ClassScore:
    """One class.

    Attributes:
        name: of the class.
        count: its examples.
        recall: share of them that were recognised.
        precision: share of the predictions of this class that are right.
        f1: the harmonic mean of both.
    """

    name: str
    count: int
    recall: Interval
    precision: Interval
    f1: Interval


@dataclass(frozen=True, eq=False)
class Scores:
    """How a model does on held-out examples. Every interval is one of 95 % and covers the choice of the examples.

    Those of the calibration error, the Brier score and the likelihood are NaN with fewer than `FEWEST` right or wrong
    answers.

    Attributes:
        fit: the fit's name.
        part: the held-out part.
        count: its examples.
        accuracy: share of right answers.
        balanced_accuracy: mean recall of the classes that occur.
        macro_f1: mean F1 of the classes that occur or are predicted.
        calibration_error: expected calibration error, over `BINS` bins.
        brier: mean squared distance of the probabilities from the truth, summed over classes: 0 to 2.
        nll: mean negative log-likelihood.
        classes: the scores of each class.
        cells: which class was taken for which.
        predictions: name, true class, predicted class and its confidence of each example.
        notes: what the user should know.
    """

    fit: str
    part: str
    count: int
    accuracy: Interval
    balanced_accuracy: Interval
    macro_f1: Interval
    calibration_error: Interval
    brier: Interval
    nll: Interval
    classes: list[ClassScore]
    cells: Confusion
    predictions: list[tuple[str, str, str, float]]
    notes: tuple[str, ...] = ()

    @property
    def confusion(self) -> npt.NDArray[np.int64]:
        """(C, C) examples of each class (rows) by what they were taken for (columns)."""
        return self.cells.table()

    def lines(self) -> list[str]:
        """As text."""
        head = f"{clean(self.fit)}: accuracy {_percent(self.accuracy)} on {self.count:,} {self.part} examples"
        width = max(len("class"), *(len(clean(row.name)) for row in self.classes))
        columns = f"{'recall':<23}{'precision':<23}{'F1':<23}"
        rows = [
            f"  {clean(row.name):<{width}}  {row.count:>6,}  "
            + "".join(f"{_percent(share):<23}" for share in (row.recall, row.precision, row.f1))
            for row in self.classes
        ]
        return [
            head,
            f"balanced accuracy {_percent(self.balanced_accuracy)}, macro-F1 {_percent(self.macro_f1)}",
            f"calibration error {_percent(self.calibration_error)}, Brier {_number(self.brier)}, "
            f"negative log-likelihood {_number(self.nll)}",
            "in brackets: 95 % intervals over the choice of the examples",
            *(clean(note) for note in self.notes),
            "",
            f"  {'class':<{width}}  {'n':>6}  {columns}".rstrip(),
            *(row.rstrip() for row in rows),
            *(self._matrix() if len(self.classes) <= SHOWN_CLASSES else ()),
        ]

    def _matrix(self) -> list[str]:
        """The confusion matrix as text."""
        names = [clean(row.name) for row in self.classes]
        left = max(map(len, ("true class", *names)))
        cells = [[f"{count:,}" for count in line] for line in self.confusion.tolist()]
        columns = zip(*cells, strict=True)
        widths = [max(len(name[:12]), *map(len, column)) for name, column in zip(names, columns, strict=True)]
        titles = "  ".join(f"{name[:12]:>{wide}}" for name, wide in zip(names, widths, strict=True))
        lines = [
            f"{name:<{left}}  " + "  ".join(f"{cell:>{wide}}" for cell, wide in zip(line, widths, strict=True))
            for name, line in zip(names, cells, strict=True)
        ]
        return ["", "predicted as:", f"{'true class':<{left}}  {titles}", *lines]

    def summary(self) -> dict[str, Any]:
        """As plain values; beyond `WHOLE_CLASSES` the matrix is (true, predicted, count) of each cell above 0."""
        names = ("accuracy", "balanced_accuracy", "macro_f1", "calibration_error", "brier", "nll")
        shares = ("recall", "precision", "f1")
        wide = len(self.classes) > WHOLE_CLASSES
        return {
            "fit": self.fit,
            "part": self.part,
            "n": self.count,
            **{name: getattr(self, name)._asdict() for name in names},
            "classes": [
                {
                    "name": row.name,
                    "n": row.count,
                    **{key: getattr(row, key)._asdict() for key in shares},
                }
                for row in self.classes
            ],
            "confusion": None if wide else self.confusion.tolist(),
            "confusion_cells": np.stack(self.cells[:3], axis=1).tolist() if wide else None,
            "notes": list(self.notes),
        }

    def write_predictions(self, path: Path) -> None:
        """Write a CSV with path, truth, label, confidence and right, written as `semilla predict` writes its own."""

        def cell(text: str) -> str:
            text = csv_safe(text)
            return '"' + text.replace('"', '""') + '"' if any(mark in text for mark in ',"\n\r') else text

        lines = ["path,truth,label,confidence,right\n"]
        for name, truth, label, confidence in self.predictions:
            right = "true" if truth == label else "false"
            shown = str(np.float32(confidence))
            lines.append(f"{cell(escape_path(name))},{cell(truth)},{cell(label)},{shown},{right}\n")
        files.write_atomic(path, "".join(lines).encode())


def evaluate(
    run: str | Path,
    fit: str | None = None,
    data: Any = None,
    part: str = "test",
    allow_leak: bool = False,
    protocol: str | None = None,
    progress: TextIO | None = None,
) -> Scores | ReadingScores:
    """Score a run's model on the held-out part of the data it was trained on, or of other data.

    Args:
        run: a run folder, or the folder of one of its fits.
        fit: which fit, where the run has several.
        data: other data; it may hold nothing but what is to be scored: ``x_test`` and ``y_test``, a folder with a
            subfolder for each class, a list of pictures, a table.
        part: ``test`` or ``development``.
        allow_leak: whether pictures that were trained on are accepted.
        protocol: what readings of text are compared by, ``exact`` or ``english36``; for text alone.
        progress: where the progress of decoding goes.

    Raises:
        StateError: no finished model.
        UsageError: U009, the run does not say where its data came from.
        DataError: as `semilla.evidence.held_out.held_out`.
    """
    folder = find_fit(Path(run), fit)
    model = load(folder)
    if isinstance(model, Reader):
        return evaluate_reading(folder, model, data, part, allow_leak, protocol or "exact", progress)
    if protocol is not None:
        raise UsageError("U034", f"protocol = {protocol!r} is for models that read text", "leave it out")
    examples = held_out(model, folder, data, part, allow_leak, progress)
    fitted: Mapping[str, Any] = model.card.get("calibration") or {}
    same = examples.own and fitted.get("fitted_on") == part
    return score(
        model.logits(examples.inputs),
        examples.truth,
        model.classes,
        temperature=None if same else model.temperature,
        fit=folder.name,
        part=part,
        names=examples.names,
        notes=(*examples.notes, _calibrated(fitted, same)),
    )


def score(
    logits: npt.ArrayLike,
    truth: npt.NDArray[np.int64],
    classes: Sequence[str],
    *,
    temperature: float | None = 1.0,
    fit: str = "",
    part: str = "test",
    names: Sequence[str] | None = None,
    notes: tuple[str, ...] = (),
) -> Scores:
    """All scores of logits against the truth.

    Shares have Wilson's interval; F1 is 2J / (1 + J) of the share J of right ones among the examples that are of a
    class or were said to be, and has the interval that follows from J's. Balanced accuracy and macro-F1 have those of
    `mean_recall` and `macro_f1`. The others rest on bootstrap samples of the examples, with a seed of their own, and
    have no interval with fewer than `FEWEST` right or wrong answers: a sample without an error knows nothing of what
    an error costs. For Brier score and likelihood it is the percentile interval, for the calibration error the basic
    one (Davison & Hinkley 1997, section 5.2), as few examples in a bin make that error too large, and samples of them
    larger still; it begins at 0 where a calibrated model would show as large an error by chance.

    Args:
        logits: (N, C).
        truth: int64 (N,).
        classes: the C names.
        temperature: by which logits are divided; None calibrates each half of the examples by the other half.
        fit: name of the fit.
        part: name of the part.
        names: (N,) of the examples.
        notes: what the user should know.
    """
    logits = np.asarray(logits, np.float64)
    p = cross_fitted(logits, truth) if temperature is None else softmax(logits, temperature)
    guess = logits.argmax(1)
    count = len(truth)
    confusion = Confusion.of(truth, guess, len(classes))
    of_it, said_it, right = (
        sums.tolist() for sums in (confusion.of_class(), confusion.said_class(), confusion.right())
    )
    error, brier, nll = _bootstrapped(p, truth, guess)
    told = names if names is not None else [str(row) for row in range(count)]
    rows = zip(told, truth.tolist(), guess.tolist(), p[np.arange(count), guess].tolist(), strict=True)
    return Scores(
        fit=fit,
        part=part,
        count=count,
        accuracy=wilson(int((guess == truth).sum()), count),
        balanced_accuracy=mean_recall(confusion),
        macro_f1=macro_f1(confusion),
        calibration_error=error,
        brier=brier,
        nll=nll,
        classes=[_class_score(*own) for own in zip(classes, right, of_it, said_it, strict=True)],
        cells=confusion,
        predictions=[(name, classes[true], classes[label], share) for name, true, label, share in rows],
        notes=notes if math.isfinite(nll.low) else (*notes, _FEW),
    )


def _class_score(name: str, right: int, count: int, said: int) -> ClassScore:
    both = wilson(right, count + said - right)
    f1 = Interval(*(2 * share / (1 + share) for share in both))
    return ClassScore(name, count, wilson(right, count), wilson(right, said), f1)


def _bootstrapped(p: Floats, truth: npt.NDArray[np.int64], guess: npt.NDArray[np.int64]) -> list[Interval]:
    """Calibration error, Brier score and negative log-likelihood.

    Each is a function of sums over the examples, and a bootstrap sample is a weight for each example, so that many
    samples are one product of a (samples × N) matrix with a (N × sums) one.
    """
    count, row = len(p), np.arange(len(p))
    confidence, right = p[row, guess], guess == truth
    sums = np.zeros((count, 2 + BINS))
    sums[:, 0] = -np.log(np.maximum(p[row, truth], np.finfo(np.float64).tiny))
    sums[:, 1] = (p**2).sum(1) - 2 * p[row, truth] + 1
    bins = bins_of(confidence)
    sums[row, 2 + bins] = confidence - right
    nll, brier, error = _means(sums.sum(0, keepdims=True), count)[:, 0].tolist()
    if min(right.sum(), count - right.sum()) < FEWEST:
        return [Interval(mean, math.nan, math.nan) for mean in (error, brier, nll)]
    draw, samples = generator(0, "bootstrap", 0), int(np.clip(_DRAWS // count, 200, RESAMPLES))
    found, at_once = [], max(1, _CHUNK // count)
    for start in range(0, samples, at_once):
        many = min(at_once, samples - start)
        drawn = draw.integers(0, count, (many, count)) + count * np.arange(many)[:, None]
        weights = np.bincount(drawn.ravel(), minlength=many * count).reshape(many, count)
        found.append(_means(weights @ sums, count))
    low, high = np.quantile(np.concatenate(found, axis=1), (0.025, 0.975), axis=1).tolist()
    by_chance = draw.standard_normal((samples, BINS)) * np.sqrt(np.bincount(bins, confidence * (1 - confidence), BINS))
    least = 2 * error - high[2] if error > np.quantile(np.abs(by_chance).sum(1) / count, 0.975) else 0.0
    basic = Interval(error, min(error, max(0.0, least)), max(error, 2 * error - low[2]))
    return [basic, Interval(brier, low[1], high[1]), Interval(nll, low[0], high[0])]


def _means(sums: Floats, count: int) -> Floats:
    """(3, samples) negative log-likelihood, Brier score and calibration error of (samples, 2 + `BINS`) sums."""
    return np.stack([sums[:, 0], sums[:, 1], np.abs(sums[:, 2:]).sum(1)]) / count


def _calibrated(fitted: Mapping[str, Any], same: bool) -> str:
    if not fitted:
        return "probabilities are not calibrated: the run had too few held-out labels"
    words = f"probabilities calibrated on the {fitted['fitted_on']} part, temperature {fitted['temperature']:.3g}"
    if not same:
        return words
    return f"{words}; as that is this part, each half is scored under the temperature of the other half"


def _percent(share: Interval) -> str:
    if np.isnan(share.mean):
        return "–"
    if np.isnan(share.low):
        return f"{100 * share.mean:.1f} % (no interval)"
    return f"{100 * share.mean:.1f} % ({100 * share.low:.1f} – {100 * share.high:.1f})"


def _number(value: Interval) -> str:
    if np.isnan(value.low):
        return f"{value.mean:.3f} (no interval)"
    return f"{value.mean:.3f} ({value.low:.3f} – {value.high:.3f})"
