"""The scores of a finished model on held-out labels, with intervals."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from semilla import files
from semilla.data.sources import load as load_data
from semilla.errors import DataError, UsageError
from semilla.evidence.intervals import Interval, wilson
from semilla.predict import find_fit, load
from semilla.text import clean


@dataclass(frozen=True)
class Scores:
    """Accuracy over all held-out examples and over each class.

    Attributes:
        fit: the fit's name.
        part: the held-out part.
        count: its examples.
        accuracy: share of right answers, with its Wilson interval.
        classes: (name, examples, share right with interval).
    """

    fit: str
    part: str
    count: int
    accuracy: Interval
    classes: list[tuple[str, int, Interval]]

    def lines(self) -> list[str]:
        """As text."""
        head = f"{clean(self.fit)}: accuracy {_percent(self.accuracy)} on {self.count:,} {self.part} examples"
        width = max(len("class"), *(len(clean(name)) for name, *_ in self.classes))
        rows = [f"  {clean(name):<{width}}  {count:>6,}  {_percent(share)}" for name, count, share in self.classes]
        return [head, "", f"  {'class':<{width}}  {'n':>6}  right (95 % interval)", *rows]

    def summary(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "fit": self.fit,
            "part": self.part,
            "n": self.count,
            "accuracy": self.accuracy._asdict(),
            "classes": [{"name": name, "n": count, **share._asdict()} for name, count, share in self.classes],
        }


def evaluate(run: str | Path, fit: str | None = None, data: Any = None, part: str = "test") -> Scores:
    """Score a run's model on the held-out part of the data it was trained on, or of other data.

    Raises:
        StateError: no finished model.
        UsageError: U009, the run does not say where its data came from.
        DataError: D061, the data has no such part; D052, it has classes the model does not know.
    """
    folder = find_fit(Path(run), fit)
    model = load(folder)
    source = data if data is not None else files.read_json(folder / "fit.json").get("source")
    if source is None:
        raise UsageError("U009", f"{folder.name} was trained on arrays in memory", "name the data: --data PATH")
    dataset = load_data(source)
    examples = getattr(dataset, part)
    if examples is None:
        raise DataError("D061", f"{dataset.name} has no {part} part", "give x_test and y_test")
    unknown = [name for name in dataset.classes if name not in model.classes]
    if unknown:
        raise DataError("D052", f"the model knows no class {unknown[0]!r}", "use data with the classes of training")
    truth = np.array([model.classes.index(dataset.classes[label]) for label in examples.labels])
    right = model.predict_proba(examples.inputs).argmax(1) == truth
    rows = []
    for index, name in enumerate(model.classes):
        own = right[truth == index]
        rows.append((name, len(own), wilson(int(own.sum()), len(own))))
    return Scores(folder.name, part, len(truth), wilson(int(right.sum()), len(truth)), rows)


def _percent(share: Interval) -> str:
    return f"{100 * share.mean:.1f} % ({100 * share.low:.1f} – {100 * share.high:.1f})"
