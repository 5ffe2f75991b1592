"""The report of a run on text: how well lines are read, whether the unlabeled ones helped, and the lines themselves."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors.numpy

from semilla import files
from semilla.data.dataset import Dataset
from semilla.errors import StateError
from semilla.evidence.reading import MEASURE, Edits, cer_change, cer_interval, exact_interval
from semilla.evidence.verdict import Verdict
from semilla.inference.calibration import BINS, bins_of, calibrated, calibration_error, cross_fitted_readings
from semilla.reporting import charts, gallery
from semilla.reporting.figures import INK, OTHER, OWN, Chart, draw, percent, table
from semilla.reporting.page import minus, render, thumbnail
from semilla.reporting.provenance import private, provenance
from semilla.reporting.run_data import BASELINE, FitData, FloatArray, RunData
from semilla.reporting.verdict import HEADLINES, start_words
from semilla.tasks.spelling import graphemes, letter_errors, scores

SHOWN = 20
"""Lines in a gallery."""
WIDEST = 620
"""Pixels of a line's picture at most."""
_BYTES, _FEW = 2**30, 5


@dataclass(frozen=True)
class Line:
    """A line of a gallery.

    Attributes:
        name: its path.
        picture: a data URI, or "".
        reading: pieces of what was read, each with whether it is wrong.
        truth: pieces of what is written there, each with whether it was missed; empty where that is not known.
        confidence: in [0, 1].
        edits: what it takes to mend it, in characters; None where the truth is not known.
    """

    name: str
    picture: str
    reading: list[tuple[str, bool]]
    truth: list[tuple[str, bool]]
    confidence: float
    edits: int | None


def reading_figures(run: RunData) -> dict[str, Chart]:
    """Every figure the run has the numbers for, by name."""
    own = run.own or run.model
    others = {fit.name: fit for fit in (run.baseline, *run.starts) if fit is not None and fit.name != own.name}
    made = [
        charts.difference_chart(run.verdict) if run.verdict else None,
        charts.learning_chart([own, *others.values()], "cer", "character error rate"),
        charts.pseudo_label_chart(own),
        _reliability_chart(run),
    ]
    return {chart.name: chart for chart in made if chart is not None}


def reading_page(
    run: RunData, shown: dict[str, Chart], pictures: bool, source: Any, say: Callable[[str], object]
) -> str:
    """The page as text."""
    fit = run.model
    data = fit.described.get("fit", {}).get("data", {})
    dataset, why = gallery.load_again(run, source, say) if pictures else (None, "")
    part, rows = _scored(run)
    return render(
        "reading.html",
        name=private(str(data.get("name", run.folder.name))),
        method=fit.method,
        alone=fit.method == BASELINE,
        unfinished=run.unfinished,
        sizes={"labeled": data.get("labeled", 0), "unlabeled": data.get("unlabeled", 0)},
        alphabet="".join(fit.card.get("alphabet", [])),
        verdict=_verdict(run),
        charts=shown,
        scored=part,
        rates=_rates(rows, edits_of(run.folder / "fits" / fit.name, part).groups) if rows else [],
        letters=letter_errors([row["text"] for row in rows], [row["truth"] for row in rows]) if rows else {},
        worst=_lines(run, dataset, sorted(rows, key=lambda row: -row["wrong"])[:SHOWN]),
        doubts=_lines(run, dataset, sorted(rows, key=lambda row: row["confidence"])[:SHOWN]),
        pool=_lines(run, dataset, _of_part(run, "unlabeled")[:SHOWN]),
        no_pictures=why,
        notes=[private(str(note)) for note in fit.described.get("notes", []) if note],
        **provenance(run),
    )


def readings_table(run: RunData) -> bytes:
    """Every line that was read, as CSV."""
    rows = [row for part in ("test", "development", "labeled", "unlabeled") for row in _of_part(run, part)]
    cells = [(row["part"], row["path"], row["text"], row.get("truth"), row["confidence"]) for row in rows]
    return table(("part", "path", "text", "truth", "confidence"), cells)


def edits_of(fit: Path, part: str) -> Edits:
    """What it takes to mend what a finished fit read of a part.

    Raises:
        StateError: C022, the fit's outputs have no such part.
    """
    found = _tensors(fit)
    names = [f"{part}_{name}" for name in Edits._fields]
    if not set(names) <= found.keys():
        raise StateError("C022", f"{fit.name} has no readings of a {part} part", "train with a test part")
    return Edits(*(found[name] for name in names))


def _tensors(fit: Path) -> dict[str, npt.NDArray[Any]]:
    return safetensors.numpy.load(files.read_bytes(fit / "outputs.safetensors", _BYTES))


def _of_part(run: RunData, part: str) -> list[dict[str, Any]]:
    path = run.folder / "fits" / run.model.name / "readings.jsonl"
    lines = files.read_bytes(path, _BYTES).decode().split("\n") if path.exists() else []  # texts hold other separators
    return [row for row in map(json.loads, filter(None, lines)) if row["part"] == part]


def _scored(run: RunData) -> tuple[str, list[dict[str, Any]]]:
    """The held-out part there is, and its lines with the characters that are wrong in each."""
    for part in ("test", "development"):
        if rows := _of_part(run, part):
            counted = scores([row["text"] for row in rows], [row["truth"] for row in rows])
            return part, [{**row, "wrong": int(wrong)} for row, wrong in zip(rows, counted.edits, strict=True)]
    return "", []


def _rates(rows: list[dict[str, Any]], groups: npt.NDArray[np.int64]) -> list[tuple[str, str, str]]:
    """(name, value, what it means) of each figure on the held-out part."""
    counted = scores([row["text"] for row in rows], [row["truth"] for row in rows])
    found, exact = counted.rates(), exact_interval(counted.exact, groups)
    span = f"{percent(exact.low)} to {percent(exact.high)}"
    return [
        ("CER", percent(found["cer"]), "edits of characters (grapheme clusters) by characters of the truth"),
        ("WER", percent(found["wer"]), "the same of words"),
        ("exact", percent(found["accuracy"]), f"lines without any error; 95 % interval {span}"),
        ("1 − NED", percent(found["1-ned"]), "mean over lines of 1 − edits by the longer of reading and truth"),
    ]


def _verdict(run: RunData) -> dict[str, Any]:
    """What the page says first: ``tone``, ``headline``, ``sentences`` and ``tiles``."""
    if run.verdict is None or run.own is None or run.baseline is None:
        told = "The run holds no comparison with training on the labels alone, or no test part to make it on."
        return {"tone": "plain", "headline": "No comparison was made.", "sentences": [told], "tiles": []}
    verdict = Verdict.from_plain(run.verdict)
    tone, headline = HEADLINES[verdict.word]
    own, base = (edits_of(run.folder / "fits" / fit.name, "test") for fit in (run.own, run.baseline))
    mine, theirs = cer_interval(own), cer_interval(base)
    _, relative = cer_change(own, base)
    groups = len(np.unique(own.groups))
    cut = (
        minus(f"{100 * relative.mean:+.0f}"),
        minus(f"{100 * relative.low:+.0f}"),
        minus(f"{100 * relative.high:+.0f}"),
    )
    drawn = f"{groups:,} groups, such as writers" if groups < verdict.n else f"{groups:,} lines"
    sentences = [
        f"On {verdict.n:,} test lines, {run.own.title} reads {percent(mine.mean)} of the characters wrong, and "
        f"training on the labels alone {percent(theirs.mean)}. That is a change of {cut[0]} % ({cut[1]} to {cut[2]}), "
        f"an interval over {drawn}.",
        verdict.sentence()[0].upper() + verdict.sentence()[1:] + ".",
        *start_words(run.summary),
    ]
    tiles = [
        (f"{cut[0]} %", f"character errors; 95 % interval {cut[1]} to {cut[2]}"),
        (percent(mine.mean), f"CER with unlabeled lines; {percent(mine.low)} to {percent(mine.high)}"),
        (percent(theirs.mean), f"CER, labels alone; {percent(theirs.low)} to {percent(theirs.high)}"),
    ]
    return {"tone": tone, "headline": headline, "sentences": sentences, "tiles": tiles, "measure": MEASURE}


def _lines(run: RunData, dataset: Dataset | None, rows: list[dict[str, Any]]) -> list[Line]:
    """Rows with their pictures, where the data can be read again."""
    places = {} if run.manifest is None else {path: place for place, path in enumerate(run.manifest.paths)}
    return [
        Line(
            row["path"],
            _picture(dataset, places.get(row["path"])),
            *_compared(row["text"], row.get("truth")),
            row["confidence"],
            row.get("wrong"),
        )
        for row in rows
    ]


def _picture(dataset: Dataset | None, place: int | None) -> str:
    if dataset is None or place is None:
        return ""
    pools = [dataset.inputs, *(held.inputs for held in (dataset.development, dataset.test) if held is not None)]
    for pool in pools:
        if place < len(pool):
            return thumbnail(pool[place : place + 1][0], WIDEST)
        place -= len(pool)
    return ""


def _compared(reading: str, truth: str | None) -> tuple[list[tuple[str, bool]], list[tuple[str, bool]]]:
    """Reading and truth in pieces, with what differs marked."""
    if truth is None:
        return [(reading, False)], []
    read, true = graphemes(reading), graphemes(truth)
    pieces: tuple[list[tuple[str, bool]], list[tuple[str, bool]]] = ([], [])
    for kind, a, b, c, d in SequenceMatcher(None, read, true, autojunk=False).get_opcodes():
        for side, text in zip(pieces, (read[a:b], true[c:d]), strict=True):
            if text:
                side.append(("".join(text), kind != "equal"))
    return pieces


def _reliability_chart(run: RunData) -> Chart | None:
    """How many characters are right where the reader is so sure, as it was trained and calibrated."""
    part, rows = _scored(run)
    if not rows:
        return None
    fit, folder = run.model, run.folder / "fits" / run.model.name
    own, confidence = edits_of(folder, part), _tensors(folder)[f"{part}_confidence"]
    lengths = own.lengths.astype(np.float64)
    right = 1 - np.minimum(own.edits, lengths) / np.maximum(lengths, 1)
    named = {"as trained": confidence}
    if calibration := fit.card.get("calibration"):
        chose = calibration.get("fitted_on") == part  # then half by half, or the lines would praise what they chose
        fitted = cross_fitted_readings(confidence, right, lengths, own.groups) if chose else None
        named["calibrated"] = calibrated(confidence, calibration["temperature"]) if fitted is None else fitted
    points = {name: _bins(sure, right, lengths) for name, sure in named.items()}
    errors = {name: calibration_error(sure, right, lengths) for name, sure in named.items()}
    last = list(named)[-1]

    def paint(axes: Any) -> None:
        axes.plot([0, 1], [0, 1], color=INK, linewidth=0.9, alpha=0.5)
        for name, shown in points.items():
            style: dict[str, Any] = {"color": OWN, "marker": "o"} if name == last else {"color": OTHER, "marker": "s"}
            axes.plot([x for x, _, _ in shown], [y for _, y, _ in shown], linewidth=1.6, label=name, **style)
        axes.set(xlabel="confidence", ylabel="characters right", xlim=(0, 1.01), ylim=(0, 1.03))
        axes.grid()
        axes.legend(loc="upper left")

    said = ", ".join(f"{name} {percent(error)}" for name, error in errors.items())
    return draw(
        "reliability",
        (4.6, 3.6),
        paint,
        caption=f"On the diagonal a confidence is the share of the characters that are right ({part} part; points of "
        f"fewer than {_FEW} lines are left out). Expected calibration error: {said}.",
        alt=f"Reliability diagram of readings. Expected calibration error: {said}.",
        header=("confidences", "confidence", "right", "lines"),
        rows=[(name, *point) for name, shown in points.items() for point in shown],
    )


def _bins(sure: FloatArray, right: FloatArray, lengths: FloatArray) -> list[tuple[float, float, int]]:
    """Mean confidence and share of right characters, both by characters, and lines, of each bin that has enough."""
    places = bins_of(sure.astype(np.float64))
    chosen = [own for k in range(BINS) if (own := places == k).sum() >= _FEW]
    weights = np.maximum(lengths, 1)
    return [
        (
            float(np.average(sure[own], weights=weights[own])),
            float(np.average(right[own], weights=weights[own])),
            int(own.sum()),
        )
        for own in chosen
    ]


def is_reading(fit: FitData) -> bool:
    """Whether a fit reads text."""
    return bool(fit.card.get("alphabet"))
