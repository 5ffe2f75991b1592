"""The report of a run: one HTML file that says first whether the unlabeled data helped, and then shows everything.

The file needs nothing but itself; beside it every figure lies as PNG, SVG and CSV.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from semilla import files
from semilla.data.dataset import Dataset
from semilla.evidence.confusion import Confusion
from semilla.inference.calibration import cross_fitted
from semilla.reporting import charts, gallery
from semilla.reporting.class_scores import ClassRow, class_rows
from semilla.reporting.figures import Chart, table
from semilla.reporting.page import SHORT, render
from semilla.reporting.provenance import private, provenance
from semilla.reporting.reading_report import is_reading, reading_figures, reading_page, readings_table
from semilla.reporting.run_data import BASELINE, FitData, IntArray, Part, RunData, read_run
from semilla.reporting.verdict import verdict_words

_CODED = re.compile(r"warn\[(\w+)\]: (.*)", re.DOTALL)
REPORT, FIGURES = "report.html", "figures"
MAPPED = 1_500
"""Examples on the map, at most a third of them of each part."""
FOLDED = 30
"""Classes up to which the tables of classes stand open."""


def report(
    run: str | Path,
    fit: str | None = None,
    pictures: bool = True,
    data: Any = None,
    say: Callable[[str], object] = lambda line: None,
) -> Path:
    """Write ``report.html`` and ``figures/`` into a run's folder.

    Args:
        run: the run's folder.
        fit: the fit the report is to be about; None takes the one that is shipped, or the only one.
        pictures: whether examples of the data are shown.
        data: where the run's data lie now, if not where they were in training.
        say: called with each line that the user should know, such as ``print``.

    Returns:
        The path of the page.

    Raises:
        StateError: no finished model, several to choose from, or a damaged file; C026, ``data`` are not those of the
            run.
        SemillaError: ``data`` cannot be read.
        ResourceError: R001, the disk is full.
    """
    read = read_run(Path(run), fit)
    if read.unfinished:
        what = f"{' and '.join(read.unfinished)} begun and not finished, so the report goes without"
        say(f"warn[C023]: {what}; semilla train … --out {shlex.quote(str(run))} --resume goes on")
    if is_reading(read.model):
        shown = reading_figures(read)
        page = reading_page(read, shown, pictures, data, say)
    else:
        shown = figures_of(read)
        page = render("report.html", **page_values(read, shown, pictures, data, say))
    folder = read.folder / FIGURES
    with files.resource_errors("cannot write the report", read.folder, len(page)):
        files.make_folder(folder.absolute())
    for chart in shown.values():
        chart.save(folder)
    if is_reading(read.model):
        files.write_atomic(folder / "readings.csv", readings_table(read))
    elif rows := _scored_classes(read.model):
        files.write_atomic(folder / "classes.csv", table(ClassRow.HEADER, [row.cells() for row in rows]))
    files.write_atomic(read.folder / REPORT, page.encode())
    return read.folder / REPORT


def figures_of(run: RunData) -> dict[str, Chart]:
    """Every figure the run has the numbers for, by name."""
    own = run.own or run.model
    others = {fit.name: fit for fit in (run.baseline, *run.starts) if fit is not None and fit.name != own.name}
    curves = [own, *others.values()]
    made = [
        charts.difference_chart(run.verdict) if run.verdict else None,
        charts.learning_chart(curves),
        charts.pseudo_label_chart(own),
        *_held_out_charts(run.model),
        _pool_chart(run.model),
        *_maps(run.model),
    ]
    return {chart.name: chart for chart in made if chart is not None}


def page_values(
    run: RunData, shown: dict[str, Chart], pictures: bool, source: Any, say: Callable[[str], object]
) -> dict[str, Any]:
    """All that the template prints."""
    fit = run.model
    data = fit.described.get("fit", {}).get("data", {})
    scored = _scored_part(fit)
    return {
        "name": private(str(data.get("name", run.folder.name))),
        "fit": fit.name,
        "method": fit.method,
        "alone": fit.method == BASELINE,
        "unfinished": run.unfinished,
        "sizes": {
            "labeled": data.get("labeled", 0),
            "unlabeled": data.get("unlabeled", 0),
            "classes": len(fit.classes),
        },
        "verdict": verdict_words(run),
        "charts": shown,
        "scored": scored and scored[0],
        "tuned_on": (fit.card.get("calibration") or {}).get("fitted_on"),
        "rows": _scored_classes(fit),
        "confused": _confused(fit),
        "short": SHORT,
        "folded": len(fit.classes) > FOLDED,
        "pool": _pool(fit),
        "notes": _notes(run),
        **_galleries(run, pictures, source, say),
        **provenance(run),
    }


def _scored_part(fit: FitData) -> tuple[str, Part, IntArray] | None:
    """The held-out part the tables are about, with its labels: the test part, or else the development part."""
    for name in ("test", "development"):
        part = fit.parts.get(name)
        if part is not None and part.labels is not None:
            return name, part, part.labels
    return None


def _confusion(fit: FitData) -> Confusion | None:
    scored = _scored_part(fit)
    if scored is None:
        return None
    _, part, labels = scored
    return Confusion.of(labels, part.logits.argmax(1), len(fit.classes))


def _scored_classes(fit: FitData) -> list[ClassRow]:
    confusion = _confusion(fit)
    return [] if confusion is None else class_rows(confusion, fit.classes)


def _confused(fit: FitData, most: int = 8) -> list[tuple[str, str, int]]:
    confusion = _confusion(fit)
    found = [] if confusion is None else confusion.errors()[:most]
    return [(fit.classes[true], fit.classes[guess], count) for true, guess, count in found]


def _held_out_charts(fit: FitData) -> list[Chart | None]:
    scored, confusion = _scored_part(fit), _confusion(fit)
    if scored is None or confusion is None:
        return []
    name, part, labels = scored
    calibration = fit.card.get("calibration")
    calibrated = part.probabilities(fit.temperature) if calibration else None
    if calibration and calibration.get("fitted_on") == name:  # the examples that chose the temperature: half by half
        calibrated = cross_fitted(part.logits, labels)
    return [
        charts.confusion_chart(confusion, fit.classes, name),
        charts.calibration_chart(part.probabilities(), calibrated, labels, name),
    ]


def _counts(fit: FitData, part: str) -> IntArray:
    """Examples of each class: as labeled, or as predicted where the labels are not known."""
    outputs = fit.parts[part]
    if outputs.counts is not None:
        return outputs.counts
    found = outputs.logits.argmax(1) if outputs.labels is None else outputs.labels
    return np.bincount(found, minlength=len(fit.classes))


def _pool_chart(fit: FitData) -> Chart | None:
    if not {"labeled", "unlabeled"} <= fit.parts.keys():
        return None
    return charts.class_chart(_counts(fit, "labeled"), _counts(fit, "unlabeled"), fit.classes)


def _pool(fit: FitData) -> dict[str, Any]:
    """Examples of each class in each part; unlabeled ones by what the model takes them for."""
    parts = [part for part in ("labeled", "unlabeled", "development", "test") if part in fit.parts]
    counts = [_counts(fit, part).tolist() for part in parts]
    rows = [(name, [column[number] for column in counts]) for number, name in enumerate(fit.classes)]
    sampled = len(fit.parts["unlabeled"]) if "unlabeled" in fit.parts else 0
    return {"parts": parts, "rows": rows if parts else [], "sampled": sampled}


def _maps(fit: FitData) -> list[Chart]:
    """The map of the examples by part and by class."""
    scored = _scored_part(fit)
    held = scored[0] if scored else ""
    parts = [part for part in ("labeled", held, "unlabeled") if part in fit.parts and _has_features(fit.parts[part])]
    if not parts:
        return []
    features, names, wrong, guesses = [], [], [], []
    for part in parts:
        outputs = fit.parts[part]
        kept = min(len(outputs), MAPPED // 3)
        places = np.arange(kept) * len(outputs) // kept
        assert outputs.features is not None
        features.append(outputs.features[places])
        guesses.append(outputs.logits[places].argmax(1))
        right = outputs.labels[places] if part == held and outputs.labels is not None else guesses[-1]
        wrong.append(guesses[-1] != right)
        names += [part] * kept
    points = charts.embed(np.concatenate(features), int(fit.settings.get("seed", 0)) % 2**32)
    return [
        charts.map_by_part(points, names, np.concatenate(wrong)),
        charts.map_by_class(points, np.concatenate(guesses), fit.classes),
    ]


def _has_features(part: Part) -> bool:
    return part.features is not None and part.features.ndim == 2 and bool(np.isfinite(part.features).all())


def _notes(run: RunData) -> list[tuple[str, str]]:
    """(kind, sentence) of everything the data reader and the monitor said; kinds are those of a badge."""
    said = []
    for note in filter(None, run.model.described.get("notes", [])):
        coded = _CODED.fullmatch(str(note))
        said.append(("warn", private(f"{coded[2]} ({coded[1]})")) if coded else ("plain", private(str(note))))
    fits = {fit.name: fit for fit in (run.model, run.own, run.baseline, *run.starts) if fit is not None}
    for name, fit in fits.items():
        said += [("warn", private(f"{name}: {text} ({code})")) for code, text in fit.result.get("warnings", [])]
    return said


def _galleries(run: RunData, wanted: bool, source: Any, say: Callable[[str], object]) -> dict[str, Any]:
    """Errors and doubts by name, and with pictures or values where the data can be read again."""
    fit, scored = run.model, _scored_part(run.model)
    dataset, why = gallery.load_again(run, source, say) if wanted and fit.parts else (None, "")
    values: dict[str, Any] = {"errors": [], "doubts": [], "no_pictures": why}
    values |= {"pairs": [], "view_names": [], "view_rows": [], "view_used": []}
    if scored is not None:
        name, part, _ = scored
        sure = part.probabilities(fit.temperature)
        values["errors"] = gallery.hardest(run, dataset, name, sure, wrong_only=True)
        values["doubts"] = gallery.hardest(run, dataset, name, sure, wrong_only=False)
    if dataset is not None and dataset.kind == "images":
        values |= _more_pictures(run, dataset, scored and scored[0])
    return values


def _more_pictures(run: RunData, dataset: Dataset, part: str | None) -> dict[str, Any]:
    fits = {fit.name: fit for fit in (run.own or run.model, run.baseline) if fit is not None}
    used = [(fit.method, views) for fit in fits.values() if (views := gallery.views_in_use(fit))]
    wanted = list(dict.fromkeys(name for _, views in used for name in views))
    names, rows = gallery.view_rows(run, dataset, wanted) if used and "labeled" in run.model.parts else ([], [])
    return {
        "pairs": gallery.look_alikes(run, dataset, part) if part else [],
        "view_names": names,
        "view_rows": rows,
        "view_used": used,
    }
