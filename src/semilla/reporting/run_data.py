"""A run folder as the report reads it: what was asked, what was measured, what the network says of every example."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import safetensors.numpy
from safetensors import SafetensorError

from semilla import files
from semilla.data.manifest import Manifest
from semilla.errors import StateError
from semilla.inference.calibration import softmax
from semilla.inference.model import CARD, find_fit, refuse_pretrained
from semilla.inference.model import read_run as read_summary

FloatArray: TypeAlias = npt.NDArray[np.float64]
IntArray: TypeAlias = npt.NDArray[np.int64]

PARTS = ("test", "development", "labeled", "unlabeled")
"""The parts whose outputs a fit leaves behind, the held-out ones first."""
BASELINE, SCRATCH = "supervised", "from_scratch"

_LOG_BYTES, _OUTPUT_BYTES = 2**30, 2**34


@dataclass(frozen=True, eq=False)
class Part:
    """What a finished network says of some examples.

    Attributes:
        logits: (N, classes).
        features: (N, D), or None.
        labels: (N,), or None where they are not known.
        rows: (N,) their rows in the run's manifest, or None.
        counts: (classes,) how many there are of each class, where these are but a sample; else None.
    """

    logits: FloatArray
    features: npt.NDArray[np.float32] | None = None
    labels: IntArray | None = None
    rows: IntArray | None = None
    counts: IntArray | None = None

    def __len__(self) -> int:
        return len(self.logits)

    def probabilities(self, temperature: float = 1.0) -> FloatArray:
        """Softmax of the logits divided by a temperature, (N, classes)."""
        return softmax(self.logits, temperature)


@dataclass(frozen=True, eq=False)
class FitData:
    """One fit of a run.

    Attributes:
        name: of its folder, such as ``fixmatch-0``.
        described: the content of ``fit.json``.
        card: of ``model.json``.
        result: of ``result.json``.
        history: the lines of ``metrics.jsonl``.
        parts: what the network says, by part; empty for a run made before outputs were kept.
        times: seconds since 1970 of its first and last event, or None.
    """

    name: str
    described: dict[str, Any]
    card: dict[str, Any]
    result: dict[str, Any]
    history: list[dict[str, Any]]
    parts: dict[str, Part]
    times: tuple[float, float] | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """As resolved."""
        return dict(self.described.get("fit", {}).get("settings", {}))

    @property
    def method(self) -> str:
        """The method's name."""
        return str(self.settings.get("method", self.name.rsplit("-", 1)[0]))

    @property
    def title(self) -> str:
        """The method's name, and what sets this fit apart from another of the same method."""
        return f"{self.method} from scratch" if self.name.startswith(f"{SCRATCH}-") else self.method

    @property
    def classes(self) -> tuple[str, ...]:
        """In the order of the logits."""
        return tuple(map(str, self.card["classes"]))

    @property
    def held_out(self) -> str:
        """The part that was scored along the way."""
        return str(self.described.get("fit", {}).get("evaluate_on", "test"))

    @property
    def temperature(self) -> float:
        """What the logits are divided by for calibrated confidences; 1 where nothing was fitted."""
        return float((self.card.get("calibration") or {}).get("temperature", 1.0))

    def curve(self, key: str) -> list[tuple[int, float]]:
        """(step, value) of one column of the log, where it has one."""
        return [(line["step"], float(line[key])) for line in self.history if line.get(key) is not None]


@dataclass(frozen=True, eq=False)
class RunData:
    """A run.

    Attributes:
        folder: where it lies.
        summary: the content of ``run.json``, empty for a run of a single ``semilla train`` of old.
        model: the fit the report is about.
        own: the semi-supervised fit that was compared, or None.
        baseline: the supervised fit it was compared with, or None.
        manifest: every example's path, or None.
        starts: the supervised fit without the start that the others had, and the one with it; empty where every fit
            began from scratch.
        unfinished: the names of the fits that were begun and have no result.
    """

    folder: Path
    summary: dict[str, Any]
    model: FitData
    own: FitData | None
    baseline: FitData | None
    manifest: Manifest | None
    starts: tuple[FitData, ...] = ()
    unfinished: tuple[str, ...] = ()

    @property
    def verdict(self) -> dict[str, Any] | None:
        """The comparison with supervised training, where the run has one."""
        return self.summary.get("verdict")

    def name_of(self, part: str, place: int) -> str:
        """What an example is called: its path where there is a manifest."""
        rows = self.model.parts[part].rows
        if self.manifest is None or rows is None or not 0 <= rows[place] < len(self.manifest):
            return f"{part} example {place}"
        return self.manifest.paths[int(rows[place])]


def read_run(run: Path, fit: str | None = None) -> RunData:
    """Read a run for its report.

    Args:
        run: the run's folder.
        fit: the fit the report is to be about; None takes the one that is shipped, or the only one.

    Raises:
        StateError: no finished model, several to choose from, or a damaged file.
    """
    summary = read_summary(run)
    verdict = summary.get("verdict") or {}
    names = sorted(path.parent.name for path in (run / "fits").glob(f"*/{CARD}"))
    model = read_fit(find_fit(run, fit or _named(summary.get("shipped"), names)))
    own = model.name if model.method != BASELINE else _named(verdict.get("method"), names)
    others = [name for name in names if not name.startswith((f"{BASELINE}-", f"{SCRATCH}-"))]
    own = own or (others[0] if len(others) == 1 else None)
    seed = (own or model.name).rsplit("-", 1)[-1]
    baseline = _named(verdict.get("baseline"), names) or _named(f"{BASELINE}-{seed}", names)
    manifest = run / "manifest.jsonl"
    begun = sorted(path.parent for path in (run / "fits").glob("*/fit.json"))
    unfinished = tuple(folder.name for folder in begun if not (folder / "result.json").exists())

    def other(name: str | None) -> FitData | None:
        return None if name is None else model if name == model.name else read_fit(run / "fits" / name)

    rows = Manifest.read(manifest) if manifest.exists() else None
    from_scratch = _named(f"{SCRATCH}-{seed}", names)
    both = (from_scratch, _named(f"{BASELINE}-{seed}", names)) if from_scratch is not None else ()
    starts = tuple(fit for fit in map(other, both) if fit is not None)
    return RunData(run, summary, model, other(own), other(baseline), rows, starts, unfinished)


def read_fit(folder: Path) -> FitData:
    """Read one fit.

    Raises:
        StateError: C005 or C022, a file is damaged; C027, it was only pre-trained.
    """
    described, card = (_object(folder / name, "restore it from a copy") for name in ("fit.json", CARD))
    refuse_pretrained(card, folder)
    if not card.get("classes") and not card.get("alphabet"):
        raise StateError("C022", f"{folder.name}/{CARD} lacks classes", "restore it from a copy")
    result = _object(folder / "result.json", "") if (folder / "result.json").exists() else {}
    events = _lines(folder / "events.jsonl")
    clocks = [float(event["clock"]) for event in events if "clock" in event]
    times = (clocks[0], clocks[-1]) if clocks else None
    parts = _outputs(folder / "outputs.safetensors", len(card["classes"]))
    return FitData(folder.name, described, card, result, _lines(folder / "metrics.jsonl"), parts, times)


def _named(name: Any, names: list[str]) -> str | None:
    """The fit that is called so, or the only one of the method that is called so."""
    if not isinstance(name, str):
        return None
    found = [name] if name in names else [fit for fit in names if fit.rsplit("-", 1)[0] == name]
    return found[0] if found else None


def _object(path: Path, fix: str) -> dict[str, Any]:
    value = files.read_json(path)
    if not isinstance(value, dict):
        raise StateError("C022", f"{path.parent.name}/{path.name} is not an object", fix)
    return value


def _lines(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    try:
        return [json.loads(line) for line in files.read_bytes(path, _LOG_BYTES).decode().splitlines()]
    except ValueError as error:
        raise StateError("C005", f"{path.parent.name}/{path.name} is damaged: {error}", "restore it") from None


def _outputs(path: Path, classes: int) -> dict[str, Part]:
    """The parts of ``outputs.safetensors``, each array held against the others.

    Raises:
        StateError: C022, the file is damaged or does not fit the model.
    """
    if not path.exists():
        return {}
    try:
        tensors = safetensors.numpy.load(files.read_bytes(path, _OUTPUT_BYTES))
    except SafetensorError as error:
        raise StateError("C022", f"{path.parent.name}/{path.name} is damaged: {error}", "train again") from None
    parts = {}
    for name in PARTS:
        logits = tensors.get(f"{name}_logits")
        if logits is None or not len(logits):
            continue
        kinds = ("features", "labels", "rows", "counts")
        features, labels, rows, counts = (tensors.get(f"{name}_{kind}") for kind in kinds)
        fits = logits.ndim == 2 and logits.shape[1] == classes and bool(np.isfinite(logits).all())
        fits = fits and all(len(column) == len(logits) for column in (features, labels, rows) if column is not None)
        fits = fits and (labels is None or (labels.ndim == 1 and labels.min() >= 0 and labels.max() < classes))
        fits = fits and (counts is None or (counts.shape == (classes,) and counts.min() >= 0))
        if not fits:
            raise StateError("C022", f"{path.parent.name}/{path.name} does not fit {CARD} ({name})", "train again")
        parts[name] = Part(logits.astype(np.float64), features, labels, rows, counts)
    return parts
