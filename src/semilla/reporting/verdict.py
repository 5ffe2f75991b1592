"""The verdict in words that need no statistics to be read."""

from __future__ import annotations

from typing import Any

from semilla.evidence.intervals import NEEDED_CAP, wilson
from semilla.reporting.figures import percent
from semilla.reporting.provenance import private
from semilla.reporting.run_data import BASELINE, RunData

HEADLINES = {
    "helped": ("good", "The unlabeled data helped."),
    "hurt": ("bad", "The unlabeled data hurt."),
    "cannot tell": ("warn", "Cannot tell with this many labels."),
}


def verdict_words(run: RunData) -> dict[str, Any]:
    """What the page says first: ``tone``, ``headline``, ``sentences`` and ``tiles`` of (number, words)."""
    if run.verdict is None:
        return _no_comparison(run)
    verdict = run.verdict
    tone, headline = HEADLINES[verdict["word"]]
    level = f"{100 * verdict.get('level', 0.95):g}\u00a0%"
    own, base = verdict["accuracy"], verdict["baseline_accuracy"]
    mean, low, high = (100 * value for value in verdict["difference"])
    sentences = [
        f"On {verdict['n']:,} labeled test examples kept out of training, {_method(verdict['method'])} is right in "
        f"{percent(own[0])} of cases. The same network with the same number of steps, trained on the labels alone, "
        f"is right in {percent(base[0])}. The difference is {mean:+.1f} points, with a {level} interval from "
        f"{low:+.1f} to {high:+.1f}.",
        _meaning(verdict["word"], level),
    ]
    if verdict["word"] == "cannot tell":
        sentences.append(_needed(verdict))
    if any(str(note).startswith("warn[D030]") for note in run.model.described.get("notes", [])):
        sentences.append("Some test examples were also trained on, so all these numbers are too good.")
    tiles = [
        (f"{mean:+.1f}", f"points; {level} interval {low:+.1f} to {high:+.1f}"),
        (f"{percent(own[0])}", f"with unlabeled data; {percent(own[1])} to {percent(own[2])}"),
        (f"{percent(base[0])}", f"labels alone; {percent(base[1])} to {percent(base[2])}"),
    ]
    return {
        "tone": tone,
        "headline": headline,
        "sentences": [*sentences, *_shipped(run)],
        "tiles": tiles,
        "limit": "The interval covers chance in the choice of the test examples. What another choice of the labeled "
        "examples would have given, only other runs can tell: vary --seed.",
    }


def _meaning(word: str, level: str) -> str:
    if word == "cannot tell":
        return "The interval includes zero: what is seen may be chance, in either direction."
    side = "above" if word == "helped" else "below"
    return f"The whole interval lies {side} zero, so chance in the choice of test examples does not explain it."


def _needed(verdict: dict[str, Any]) -> str:
    needed = verdict.get("needed")
    if needed is not None and needed >= NEEDED_CAP:
        return "The difference is so small that no affordable number of test labels would settle it."
    if needed is None:
        return "Both models are right equally often here, so no number of test labels would settle it."
    wanted = max(needed, verdict["n"] + 1)
    return (
        f"If the difference is as large as it looks, about {wanted:,} labeled test examples instead of "
        f"{verdict['n']:,} would settle it."
    )


def _shipped(run: RunData) -> list[str]:
    shipped, why = run.summary.get("shipped"), run.summary.get("why")
    sentences = []
    if shipped:
        reason = f", because {private(str(why)).rstrip('.')}" if why else ""
        sentences.append(f"The model to use is {shipped}{reason}.")
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
    named = (("labeled", "labeled examples"), ("unlabeled", "unlabeled examples"))
    return [(f"{data[key]:,}", words) for key, words in named if key in data]


def _method(name: str) -> str:
    return name.rsplit("-", 1)[0]
