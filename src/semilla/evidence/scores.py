"""The scores of a finished model on held-out labels, with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import numpy.typing as npt

from semilla import files
from semilla.evidence.held_out import held_out
from semilla.evidence.intervals import Interval, wilson
from semilla.inference.calibration import BINS, bins_of, cross_fitted, softmax
from semilla.inference.model import find_fit, load
from semilla.randomness import generator
from semilla.text import clean, csv_safe, escape_path

Floats = npt.NDArray[np.float64]

RESAMPLES = 1000
"""Bootstrap samples behind an interval, fewer for more than 100,000 examples."""
SHOWN_CLASSES = 20
"""Classes up to which the confusion matrix is printed."""

_DRAWS, _CHUNK = 10**8, 2**21


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
        confusion: (C, C) examples of each class (rows) by what they were taken for (columns).
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
    confusion: npt.NDArray[np.int64]
    predictions: list[tuple[str, str, str, float]]
    notes: tuple[str, ...] = ()

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
        """As plain values."""
        names = ("accuracy", "balanced_accuracy", "macro_f1", "calibration_error", "brier", "nll")
        shares = ("recall", "precision", "f1")
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
            "confusion": self.confusion.tolist(),
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
    progress: TextIO | None = None,
) -> Scores:
    """Score a run's model on the held-out part of the data it was trained on, or of other data.

    Args:
        run: a run folder, or the folder of one of its fits.
        fit: which fit, where the run has several.
        data: other data; it may hold nothing but what is to be scored: ``x_test`` and ``y_test``, a folder with a
            subfolder for each class, a list of pictures, a table.
        part: ``test`` or ``development``.
        allow_leak: whether pictures that were trained on are accepted.
        progress: where the progress of decoding goes.

    Raises:
        StateError: no finished model.
        UsageError: U009, the run does not say where its data came from.
        DataError: as `semilla.evidence.held_out.held_out`.
    """
    folder = find_fit(Path(run), fit)
    model = load(folder)
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
    class or were said to be, and has the interval that follows from J's. The others have a percentile interval of
    bootstrap samples of the examples, with a seed of their own. The binned calibration error of few examples is
    biased upwards, and with it its interval.

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
    confusion = np.bincount(truth * len(classes) + guess, minlength=len(classes) ** 2).reshape(2 * (len(classes),))
    balanced, macro, error, brier, nll = _intervals(p, truth, guess)
    told = names if names is not None else [str(row) for row in range(count)]
    rows = zip(told, truth.tolist(), guess.tolist(), p[np.arange(count), guess].tolist(), strict=True)
    return Scores(
        fit=fit,
        part=part,
        count=count,
        accuracy=wilson(int((guess == truth).sum()), count),
        balanced_accuracy=balanced,
        macro_f1=macro,
        calibration_error=error,
        brier=brier,
        nll=nll,
        classes=[_class_score(name, number, confusion) for number, name in enumerate(classes)],
        confusion=confusion,
        predictions=[(name, classes[true], classes[label], share) for name, true, label, share in rows],
        notes=notes,
    )


def _class_score(name: str, number: int, confusion: npt.NDArray[np.int64]) -> ClassScore:
    right, count, said = int(confusion[number, number]), int(confusion[number].sum()), int(confusion[:, number].sum())
    both = wilson(right, count + said - right)
    f1 = Interval(*(2 * share / (1 + share) for share in both))
    return ClassScore(name, count, wilson(right, count), wilson(right, said), f1)


def _intervals(p: Floats, truth: npt.NDArray[np.int64], guess: npt.NDArray[np.int64]) -> list[Interval]:
    """Balanced accuracy, macro-F1, calibration error, Brier score and negative log-likelihood.

    Each is a function of sums over the examples, and a bootstrap sample is a weight for each example, so that a
    thousand samples are one product of a (samples × N) matrix with a sparse (N × sums) one.
    """
    from scipy import sparse

    count, classes = p.shape
    row, confidence, right = np.arange(count), p[np.arange(count), guess], (guess == truth).astype(np.float64)
    likelihood = np.maximum(p[row, truth], np.finfo(np.float64).tiny)
    square = (p**2).sum(1) - 2 * p[row, truth] + 1
    columns = [0 * row, 0 * row + 1, 2 + bins_of(confidence)]
    columns += [2 + BINS + k * classes + kind for k, kind in enumerate((guess, truth, guess))]
    values = np.concatenate([-np.log(likelihood), square, confidence - right, right, np.ones(2 * count)])
    shape = (count, 2 + BINS + 3 * classes)
    sums = sparse.csr_matrix((values, (np.tile(row, 6), np.concatenate(columns))), shape).T.tocsr()
    observed = _metrics(np.asarray(sums.sum(1)).reshape(1, -1), count, classes)[:, 0]
    draw, samples = generator(0, "bootstrap", 0), int(np.clip(_DRAWS // count, 200, RESAMPLES))
    found, at_once = [], max(1, _CHUNK // count)
    for start in range(0, samples, at_once):
        many = min(at_once, samples - start)
        drawn = draw.integers(0, count, (many, count)) + count * np.arange(many)[:, None]
        weights = np.bincount(drawn.ravel(), minlength=many * count).reshape(many, count).astype(np.float64)
        found.append(_metrics((sums @ weights.T).T, count, classes))
    spread = np.quantile(np.concatenate(found, axis=1), (0.025, 0.975), axis=1)
    return [Interval(float(m), float(min(m, a)), float(max(m, b))) for m, a, b in zip(observed, *spread, strict=True)]


def _metrics(sums: Floats, count: int, classes: int) -> Floats:
    """(5, samples) scores of (samples, 2 + `BINS` + 3 C) sums."""
    nll, square, gaps = sums[:, 0], sums[:, 1], np.abs(sums[:, 2 : 2 + BINS]).sum(1)
    right, true, said = np.split(sums[:, 2 + BINS :], 3, axis=1)
    recall = np.divide(right, true, out=np.zeros_like(right), where=true > 0)
    f1 = np.divide(2 * right, true + said, out=np.zeros_like(right), where=true + said > 0)
    balanced, macro = recall.sum(1) / (true > 0).sum(1), f1.sum(1) / (true + said > 0).sum(1)
    return np.stack([balanced, macro, gaps / count, square / count, nll / count])


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
    return f"{100 * share.mean:.1f} % ({100 * share.low:.1f} – {100 * share.high:.1f})"


def _number(value: Interval) -> str:
    return f"{value.mean:.3f} ({value.low:.3f} – {value.high:.3f})"
