"""The model card: a README in the form of the Hugging Face hub that says what the model is worth, and for what.

The text is `card.md.jinja`. Whatever it prints goes through `markup.markdown`, so that a hostile name stays a name.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence, Sized
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
from jinja2 import Environment, StrictUndefined

import semilla
from semilla.evidence.confusion import Confusion
from semilla.evidence.intervals import Interval, wilson
from semilla.evidence.verdict import SCOPE, Verdict, chosen_by_test
from semilla.exporting.facts import describe_input, entry_of, pipeline, without_paths
from semilla.exporting.markup import Plain, markdown, yaml
from semilla.exporting.onnx import Agreement
from semilla.inference.model import Model
from semilla.reporting.run_data import BASELINE, FitData, Part, RunData

FEW_PER_CLASS = 30
"""Test examples of a class below which its figure is called uncertain."""

_SHOWN = 12
_TASK_NAMES = {"image-classification": "Image classification", "tabular-classification": "Tabular classification"}


def model_card(run: RunData, model: Model, written: Sequence[str], agreement: Agreement | None) -> str:
    """The card as text, to be written as UTF-8.

    Args:
        run: the run.
        model: the exported model.
        written: names of the files beside the card.
        agreement: how near the ONNX file is to PyTorch, or None without one.
    """
    fit = run.model
    part, held = _held_out(fit)
    data = without_paths(fit.described.get("fit", {}).get("data", {}))
    scores = _scores(held) if held is not None else {}
    values = {
        "front": Plain(yaml(_front_matter(fit, model, data, part, held, scores, written))),
        "title": _title(fit, data),
        "kind": model.card["inputs"]["kind"],
        "class_count": len(model.classes),
        "entry": entry_of(fit.method),
        "method": fit.method,
        "data": data,
        "part": part,
        "held": held,
        "scores": [(name, interval_text(interval)) for name, interval in scores.items()],
        "rows": _class_rows(model.classes, fit.parts.get("labeled"), held),
        "verdict": verdict_sentences(run),
        "calibration": model.card.get("calibration"),
        "limits": _limits(run, part, held),
        "notes": [_first_line(note) for note in fit.described.get("notes", []) if note],
        "settings": _settings(fit),
        "versions": ", ".join(f"{name} {number}" for name, number in fit.described.get("versions", {}).items()),
        "network": _network(fit),
        "written": written,
        "agreement": agreement,
        "reads": [(key, _short(value)) for key, value in describe_input(model.card["inputs"]).items() if value],
        "version": semilla.__version__,
    }
    return _environment().from_string(_template()).render(**values).rstrip() + "\n"


def verdict_sentences(run: RunData) -> list[str]:
    """What the unlabeled examples brought, in words, from the run's comparison with supervised training.

    Raises:
        StateError: C005, ``run.json`` holds a verdict that is none.
    """
    if run.verdict is None:
        said = [
            "This run did not compare the method with supervised training on a test part, so nothing is claimed about "
            "what the unlabeled examples brought."
        ]
    else:
        said = _compared(Verdict.from_plain(run.verdict))
    if run.model.method == BASELINE:
        said.append("The exported model is the supervised one: no unlabeled example had a part in it.")
    if isinstance(why := run.summary.get("why"), str) and run.summary.get("shipped") == run.model.name:
        said.append(f"This model was chosen because {without_paths(_first_line(why))}.")
    return said


def _compared(verdict: Verdict) -> list[str]:
    gain = verdict.difference
    figures = (
        f"On {verdict.n:,} test examples {verdict.method} has an accuracy of {interval_text(verdict.accuracy)}, and "
        f"{verdict.baseline} training of the same network on the same labels "
        f"{interval_text(verdict.baseline_accuracy)}. The difference is {100 * gain.mean:+.1f} points, with a "
        f"{100 * verdict.level:g} % interval from {100 * gain.low:+.1f} to {100 * gain.high:+.1f}."
    )
    if verdict.word != "cannot tell":
        return [f"In this run the unlabeled examples {verdict.word}.", figures, SCOPE]
    asked, question = "Whether the unlabeled examples helped in this run cannot be told", verdict.open_question()
    if verdict.idle:
        return [f"{asked}: {question}.", figures]
    return [f"{asked} with this many test labels.", figures, f"{question.capitalize()}."]


def interval_text(interval: Interval) -> str:
    """A share with its 95 % interval."""
    if math.isnan(interval.mean):
        return "–"
    return f"{100 * interval.mean:.1f} % ({100 * interval.low:.1f} – {100 * interval.high:.1f})"


def _front_matter(
    fit: FitData,
    model: Model,
    data: Mapping[str, Any],
    part: str,
    held: Part | None,
    scores: Mapping[str, Interval],
    written: Sequence[str],
) -> dict[str, Any]:
    """What the hub reads."""
    task = pipeline(model.card)
    name = str(data.get("name", "data"))
    front: dict[str, Any] = {"license": "other", "library_name": "semilla", "pipeline_tag": task}
    kinds = [kind for kind in ("onnx", "safetensors") if f"model.{kind}" in written]
    front["tags"] = ["semi-supervised-learning", fit.method, *kinds]
    if held is None:
        return front
    metrics = [
        {
            "type": kind,
            "value": interval.mean,
            "name": f"{title}, 95 % interval {interval.low:.4f} – {interval.high:.4f}",
            "args": {"interval_95": [interval.low, interval.high], "n": len(held)},
        }
        for title, interval in scores.items()
        if (kind := title.lower().replace(" ", "_")) and math.isfinite(interval.mean + interval.low + interval.high)
    ]
    slug = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "data"
    result = {
        "task": {"type": task, "name": _TASK_NAMES[task]},
        "dataset": {"name": name, "type": slug, "split": part},
        "metrics": metrics,
    }
    front["model-index"] = [{"name": _title(fit, data), "results": [result]}]
    return front


def _title(fit: FitData, data: Mapping[str, Any]) -> str:
    return f"{data.get('name', 'model')}-{fit.name}"


def _held_out(fit: FitData) -> tuple[str, Part | None]:
    """The part the figures are about: the test part, or the one that was scored along the way."""
    for name in ("test", fit.held_out):
        if (part := fit.parts.get(name)) is not None and part.labels is not None:
            return name, part
    return "test", None


def _scores(part: Part) -> dict[str, Interval]:
    """The headline figures with their intervals."""
    assert part.labels is not None
    right = part.logits.argmax(1) == part.labels
    return {"Accuracy": wilson(int(right.sum()), len(right))}


def _class_rows(classes: Sequence[str], labeled: Part | None, held: Part | None) -> list[tuple[str, ...]]:
    """For each class its name, labeled and held-out examples, recall and precision."""
    used = None
    if labeled is not None and labeled.labels is not None:
        used = np.bincount(labeled.labels, minlength=len(classes)) if labeled.counts is None else labeled.counts
    rows = [(name, "–" if used is None else f"{used[number]:,}") for number, name in enumerate(classes)]
    if held is None or held.labels is None:
        return list(rows)
    found = Confusion.of(held.labels, held.logits.argmax(1), len(classes))
    sums = (own.tolist() for own in (found.right(), found.of_class(), found.said_class()))
    return [
        (*row, f"{of_it:,}", *(interval_text(wilson(right, among)) for among in (of_it, said)))
        for row, right, of_it, said in zip(rows, *sums, strict=True)
    ]


def _limits(run: RunData, part: str, held: Part | None) -> list[str]:
    """What a reader must not conclude."""
    fit = run.model
    said = []
    if held is None or held.labels is None:
        said.append("No labeled test part was kept: how often the model is right is not known.")
    else:
        counts = np.bincount(held.labels, minlength=len(fit.classes))
        said.append(
            f"The figures rest on {len(held):,} {part} examples; their intervals cover the choice of these examples, "
            "not the choice of the labeled ones nor the random initial weights. Another draw gives another model."
        )
        if few := int((counts < FEW_PER_CLASS).sum()):
            said.append(
                f"{few} of {len(counts)} classes have fewer than {FEW_PER_CLASS} {part} examples; "
                "their figures are rough."
            )
        if chosen_by_test(run.summary, fit.name, fit.parts):
            said.append("These test labels also chose the model, which makes its accuracy on them a little too good.")
        if part != "test":
            said.append(f"The {part} part may have served to choose settings, which makes its figures too good.")
    said.append(
        "The figures hold for inputs drawn like those examples. Another camera, place, time or population is another "
        f"question, and an input of none of the {len(fit.classes)} classes still gets one of them."
    )
    said.append(_duplicates(run))
    if weights := fit.settings.get("weights"):
        name = without_paths(str(weights))
        said.append(f"Training began with the weights {name}, whose license and limits hold here too.")
    return said


def _duplicates(run: RunData) -> str:
    manifest = run.manifest
    if manifest is None or not manifest.digests:
        return "Whether test examples are also among those trained on was not looked into file by file."
    tested = {digest for digest, part in zip(manifest.digests, manifest.parts, strict=True) if part == "test"}
    seen = {digest for digest, part in zip(manifest.digests, manifest.parts, strict=True) if part != "test"}
    if not tested:
        return "There is no test part, so nothing could be in it and in training."
    same = len(tested & seen)
    if same:
        return f"Test files that are byte for byte also among those trained on, which flatters the figures: {same:,}."
    return "No test file is byte for byte among those trained on; near-duplicates are told by `semilla check`."


def _settings(fit: FitData) -> list[tuple[str, str]]:
    settings = dict(without_paths(fit.settings))
    settings |= settings.pop("hyperparameters", None) or {}
    return [(name, _short(value)) for name, value in sorted(settings.items()) if value is not None]


def _network(fit: FitData) -> str:
    network = dict(without_paths(fit.card.get("network") or {}))
    name = network.pop("name", "custom")
    return f"{name} ({', '.join(f'{key} {_short(value)}' for key, value in network.items())})" if network else name


def _short(value: Any) -> str:
    """A plain value in few words."""
    if isinstance(value, dict):
        return "; ".join(f"{key} {_short(item)}" for key, item in list(value.items())[:_SHOWN]) + _more(value)
    if isinstance(value, list | tuple):
        return ", ".join(map(_short, value[:_SHOWN])) + _more(value)
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _more(values: Sized) -> str:
    return f", … ({len(values)} in all)" if len(values) > _SHOWN else ""


def _first_line(text: object) -> str:
    """Without the files a note may list below it."""
    first, *_ = str(text).strip().split("\n")
    return str(without_paths(first.rstrip(":")))


@cache
def _template() -> str:
    return resources.files("semilla.exporting").joinpath("card.md.jinja").read_text("utf-8")


@cache
def _environment() -> Environment:
    return Environment(
        finalize=markdown, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
