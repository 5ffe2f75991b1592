"""The verdict in words that need no statistics to be read."""

from __future__ import annotations

from typing import Any

from semilla.evidence.intervals import paired_difference, wilson
from semilla.evidence.verdict import SCOPE, Verdict, chosen_by_test
from semilla.reporting.figures import percent
from semilla.reporting.page import minus
from semilla.reporting.provenance import private
from semilla.reporting.run_data import BASELINE, SCRATCH, RunData

HEADLINES = {
    "helped": ("good", "The unlabeled data helped in this run."),
    "hurt": ("bad", "The unlabeled data hurt in this run."),
    "cannot tell": ("warn", "Cannot tell with this many labels."),
}


def verdict_words(run: RunData) -> dict[str, Any]:
    """What the page says first: ``tone``, ``headline``, ``sentences`` and ``tiles`` of (number, words).

    Raises:
        StateError: C005, ``run.json`` holds a verdict that is none.
    """
    if run.verdict is None:
        return _no_comparison(run)
    verdict = Verdict.from_plain(run.verdict)
    tone, headline = HEADLINES[verdict.word]
    level = f"{100 * verdict.level:g}\u00a0%"
    own, base = verdict.accuracy, verdict.baseline_accuracy
    mean, low, high = (minus(f"{100 * value:+.1f}") for value in verdict.difference)
    sentences = [
        f"On {verdict.n:,} labeled test examples kept out of training, {_method(verdict.method)} is right in "
        f"{percent(own.mean)} of cases. The same network with the same number of steps, trained on the labels alone"
        f"{_from_where(run, verdict)}, "
        f"is right in {percent(base.mean)}. The difference is {mean} points, with a {level} interval from "
        f"{low} to {high}.",
        _meaning(verdict),
    ]
    if any(str(note).startswith("warn[D030]") for note in run.model.described.get("notes", [])):
        sentences.append("Some test examples were also trained on, so all these numbers are too good.")
    sentences[1:1] = _starts(run, percent(own.mean))
    tiles = [
        (mean, f"points; {level} interval {low} to {high}"),
        (f"{percent(own.mean)}", f"with unlabeled data; {percent(own.low)} to {percent(own.high)}"),
        (f"{percent(base.mean)}", f"labels alone; {percent(base.low)} to {percent(base.high)}"),
    ]
    return {
        "tone": tone,
        "headline": "Cannot tell." if verdict.idle else headline,
        "sentences": [*sentences, *_shipped(run)],
        "tiles": tiles,
        "limit": "The interval covers chance in the choice of the test examples. Chance in the choice of the labeled "
        "examples, in the initial weights and in the order of training is covered by the interval of semilla compare, "
        "which repeats the fits.",
    }


def _starts(run: RunData, with_pool: str) -> list[str]:
    """What the start was worth by itself, where the run has a fit from scratch."""
    tests = [part for fit in run.starts if (part := fit.parts.get("test")) is not None]
    right = [test.logits.argmax(1) == test.labels for test in tests if test.labels is not None]
    if len(right) < 2:
        return start_words(run.summary)
    worth = paired_difference(right[1], right[0])
    change = minus(f"{100 * worth.mean:+.1f} points, 95 % interval {100 * worth.low:+.1f} to {100 * worth.high:+.1f}")
    return [
        *start_words(run.summary),
        f"Step by step: from scratch the labels alone reach {percent(float(right[0].mean()))}; fine-tuned from the "
        f"pre-trained start they reach {percent(float(right[1].mean()))} ({change}); fine-tuned and with the unlabeled "
        f"data, {with_pool}.",
    ]


def start_words(summary: dict[str, Any]) -> list[str]:
    """What the run started from, as ``run.json`` knows it."""
    start = summary.get("start")
    if not isinstance(start, dict) or "method" not in start:
        return [] if not start else [f"The start is the weights file {private(str(start.get('name')))}."]
    said = f"The start is {start['steps']:,} steps of {start['method']} on {private(str(start['data']))}"
    read = start.get("readout")
    if read:
        own, before = (percent(read[name][0]) for name in ("accuracy", "untrained"))
        said += (
            f"; a linear classifier on its features was right in {own}, on those of an untrained network in {before}"
        )
    return [f"{said}."]


def _from_where(run: RunData, verdict: Verdict) -> str:
    """Where the fit of the labels alone began, if the run has a start."""
    if not run.summary.get("start"):
        return ""
    return " from scratch" if verdict.baseline == SCRATCH else " from the same start"


def _meaning(verdict: Verdict) -> str:
    if verdict.word == "cannot tell":
        chance = "" if verdict.idle else "The interval includes zero: what is seen may be chance, in either direction. "
        return f"{chance}{verdict.open_question().capitalize()}."
    side = "above" if verdict.word == "helped" else "below"
    return f"The whole interval lies {side} zero, so chance in the choice of test examples does not explain it. {SCOPE}"


def _shipped(run: RunData) -> list[str]:
    shipped, why = run.summary.get("shipped"), run.summary.get("why")
    sentences = []
    if shipped:
        reason = f", because {private(str(why)).rstrip('.')}" if why else ""
        sentences.append(f"The model to use is {shipped}{reason}.")
    if chosen_by_test(run.summary, run.model.name, run.model.parts):
        sentences.append("As these test labels chose it, its accuracy on them is a little too good.")
    if shipped and run.model.name != shipped and run.model.method != shipped:
        sentences.append(f"This report was asked to show {run.model.name} instead.")
    return sentences


def _no_comparison(run: RunData) -> dict[str, Any]:
    fit = run.model
    test = fit.parts.get("test")
    if test is None or test.labels is None:
        how = (
            "Nothing is claimed about how good the model is, because the run had no test examples. Name some with "
            "--test, or let --holdout keep back a share of the labels; then train again."
        )
        return {
            "tone": "plain",
            "headline": "No test set, no claim.",
            "sentences": [how, *_shipped(run)],
            "tiles": _size_tiles(run),
            "limit": "",
        }
    share = wilson(int((test.logits.argmax(1) == test.labels).sum()), len(test))
    said = (
        f"{_method(fit.method)} is right in {percent(share.mean)} of {len(test):,} test examples (95 % interval "
        f"{percent(share.low)} to {percent(share.high)})."
    )
    alone = (
        "It was trained on the labels alone."
        if fit.method == BASELINE
        else (
            "Whether the unlabeled data helped is not known: the run holds no comparison with training on the labels "
            "alone. Train without --no-baseline to get one."
        )
    )
    return {
        "tone": "plain",
        "headline": "No comparison was made.",
        "sentences": [said[0].upper() + said[1:], alone, *_shipped(run)],
        "tiles": [
            (f"{percent(share.mean)}", f"right; {percent(share.low)} to {percent(share.high)}"),
            *_size_tiles(run),
        ],
        "limit": "",
    }


def _size_tiles(run: RunData) -> list[tuple[str, str]]:
    data = run.model.described.get("fit", {}).get("data", {})
    named = [("labeled", "labeled examples"), ("unlabeled", "unlabeled examples")]
    if run.model.method == BASELINE:  # it saw none of them
        named.pop()
    return [(f"{data[key]:,}", words) for key, words in named if key in data]


def _method(name: str) -> str:
    return name.rsplit("-", 1)[0]
