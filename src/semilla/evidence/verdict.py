"""Did the unlabeled data help in this run? One of three words, on the same test examples, with an interval."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from semilla.errors import StateError
from semilla.evidence.intervals import NEEDED_CAP, Interval, labels_needed, paired_difference, wilson

Word = Literal["helped", "hurt", "cannot tell"]

USED = 0.001
"""Share of the unlabeled draws below which they cannot have helped or hurt."""

SCOPE = (
    "That is about this one run on these test examples: another draw of the labels, other initial weights or another "
    "order of training may give another answer, which semilla compare shows."
)
"""What the interval does not cover, in a sentence for the report and the card."""

ACCURACY = "accuracy"
"""What is held against each other unless a verdict says otherwise: the share of the examples that are right."""

FEW, FEW_GROUPS = 100, 10
"""Test labels, and groups of them such as writers, below which a warning is given (D060)."""


@dataclass(frozen=True)
class Verdict:
    """A method against supervised training with the same network, budget and labels.

    Attributes:
        word: what the interval of the difference says: all above 0, all below 0, or neither.
        method: the name of what used the unlabeled data.
        baseline: the name of what did not.
        n: test labels.
        accuracy: of the method, with its interval.
        baseline_accuracy: likewise.
        difference: method − baseline, paired over the test examples.
        needed: test labels at which the interval of the observed difference would leave 0 out, where
            `semilla.evidence.intervals.NEEDED_CAP` stands for more than that; None where none was observed.
        used: share of the unlabeled draws that entered the loss; None for a method that does not choose.
        level: of the intervals.
        measure: what ``accuracy`` is the share of: of lines of text, the characters.
        groups: of test examples that are alike, such as the lines of a writer; None where each stands by itself.
    """

    word: Word
    method: str
    baseline: str
    n: int
    accuracy: Interval
    baseline_accuracy: Interval
    difference: Interval
    needed: int | None
    used: float | None = None
    level: float = 0.95
    measure: str = ACCURACY
    groups: int | None = None

    def plain(self) -> dict[str, Any]:
        """As JSON values."""
        names = ("word", "method", "baseline", "n", "needed", "used", "level", "measure", "groups")
        values = {name: getattr(self, name) for name in names}
        intervals = {name: list(getattr(self, name)) for name in ("accuracy", "baseline_accuracy", "difference")}
        return values | intervals

    @classmethod
    def from_plain(cls, values: Mapping[str, Any]) -> Verdict:
        """The inverse of `plain`.

        Raises:
            StateError: C005, the values are no verdict.
        """
        names = ("accuracy", "baseline_accuracy", "difference")
        try:
            found: dict[str, Any] = {key: Interval(*value) if key in names else value for key, value in values.items()}
            if found["word"] not in get_args(Word):
                raise ValueError(f"{found['word']!r} is none of its words")
            return cls(**found)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            message = f"run.json holds no verdict that can be read: {error}"
            raise StateError("C005", message, "restore it from a copy") from error

    def lines(self) -> list[str]:
        """As text: the two accuracies, the difference, and the word."""
        width = max(len(self.method), len(self.baseline), len("difference"))
        rows = [
            f"  {self.baseline:<{width}}  {_percent(self.baseline_accuracy)}",
            f"  {self.method:<{width}}  {_percent(self.accuracy)}",
            f"  {'difference':<{width}}  {_points(self.difference)}",
        ]
        told = "" if self.measure == ACCURACY else f"{self.measure} "
        many = f"{self.n:,} test labels" + ("" if self.groups is None else f" of {self.groups:,} groups")
        head = f"{told}on {many}, with 95 % intervals over their choice (over draws: semilla compare):"
        return [head, *rows, f"verdict: {self.sentence()}"]

    @property
    def idle(self) -> bool:
        """Whether the unlabeled examples had no part in the loss, so that nothing is their doing."""
        return self.used is not None and self.used < USED

    def sentence(self) -> str:
        """The word, in a sentence that says what it is about."""
        if self.idle:
            return f"cannot tell: {self.open_question()}"
        if self.word == "cannot tell":
            asked = "cannot tell with this many labels whether the unlabeled data helped in this run"
            return f"{asked}: {self.open_question()}"
        alone = "training from scratch" if self.baseline == "from_scratch" else f"{self.baseline} training"
        gain = f"{_points(self.difference)} against {alone} on these test examples"
        return (
            f"the unlabeled data {self.word} in this run: {gain} (other label draws, weights, order: semilla compare)"
        )

    def open_question(self) -> str:
        """Why it cannot be told, or what would settle it: the end of a sentence, the same wherever it is said."""
        if self.idle:
            few = "hardly any" if self.used else "no"
            return f"{few} unlabeled example was used, so the difference is not their doing"
        if self.groups is not None and self.groups < 2:
            return "all test lines are of one group, such as a writer, and of others nothing is known"
        if self.needed is None:
            return "no difference was seen, so no number of test labels can be named that settles it"
        if self.needed >= NEEDED_CAP:
            return f"the difference is so small that it would take more than {NEEDED_CAP:,} test labels to settle it"
        wanted = max(self.needed, self.n + 1)
        more = "" if self.groups is None else f", from as many times the {self.groups:,} groups,"
        return f"if the difference stays as it is, about {wanted:,} test labels instead of {self.n:,}{more} settle it"


def judge(
    method: str,
    right: npt.NDArray[np.bool_],
    baseline: str,
    baseline_right: npt.NDArray[np.bool_],
    used: float | None = None,
) -> Verdict:
    """Hold a method against its baseline.

    It covers the choice of the test examples. It does not cover the choice of the labeled examples, the initial weights
    or the order of training: several draws (``semilla compare``) do.

    Args:
        method: its name.
        right: (N,) whether it is right, for each test example.
        baseline: its name.
        baseline_right: (N,) likewise, on the same examples.
        used: share of the unlabeled draws that entered the loss; where it is nothing, the word is *cannot tell*.
    """
    difference = paired_difference(right, baseline_right)
    word: Word = "helped" if difference.low > 0 else "hurt" if difference.high < 0 else "cannot tell"
    if used is not None and used < USED:
        word = "cannot tell"
    n = len(right)
    return Verdict(
        word,
        method,
        baseline,
        n,
        wilson(int(right.sum()), n),
        wilson(int(baseline_right.sum()), n),
        difference,
        labels_needed(right, baseline_right),
        used,
    )


def chosen_by_test(summary: Mapping[str, Any], fit: str, parts: Container[str]) -> bool:
    """Whether a run ships a fit for its figures on the test part, which are then a little too good.

    Args:
        summary: the content of ``run.json``.
        fit: the fit's name.
        parts: those it has outputs for; where ``development`` is among them, that part chose.
    """
    return summary.get("shipped") == fit and summary.get("verdict") is not None and "development" not in parts


def _percent(share: Interval) -> str:
    return f"{100 * share.mean:5.1f} % ({100 * share.low:.1f} … {100 * share.high:.1f})"


def _points(difference: Interval) -> str:
    low, high = 100 * difference.low, 100 * difference.high
    return f"{100 * difference.mean:+5.1f} points ({low:+.1f} … {high:+.1f})".lstrip()
