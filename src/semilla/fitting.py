"""``semilla.train``: from data, a number of labels and a method's name to a trained model in a run folder.

This page puts the rooms together in the order of the house: data → split → plan → network and method → loop → model.
"""

from __future__ import annotations

import copy
import dataclasses
import platform
import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import torch
from torch import nn

import semilla
from semilla import files, predict
from semilla.config import FREE, Settings, recipe, recipes
from semilla.config import settings as resolve
from semilla.contract import Info, Net
from semilla.data.dataset import Dataset, Split, fingerprint, split
from semilla.data.labels import choose_labels, read_index_file
from semilla.data.sources import load as load_data
from semilla.errors import StateError, UsageError
from semilla.methods import find
from semilla.randomness import torch_seed
from semilla.tasks import Classes
from semilla.text import clean
from semilla.training import devices, plan
from semilla.training.batches import Batches, Views
from semilla.training.ema import EMA
from semilla.training.evaluate import Evaluation
from semilla.training.loop import train_loop
from semilla.training.monitor import Monitor
from semilla.training.optimizers import build_optimizer
from semilla.training.progress import Progress
from semilla.training.recorder import CHECKPOINTS, Recorder
from semilla.training.state import State

FIT = "fit.json"


@dataclass(frozen=True)
class Result:
    """What a fit gives back.

    Attributes:
        model: the averaged weights, ready to predict.
        scores: of the last evaluation, such as ``{"test/accuracy": 0.96}``; empty without held-out labels.
        history: the lines of metrics.jsonl.
        warnings: (code, message) of what the monitor said.
        settings: as resolved.
        reasons: why the settings left open are what they are.
        seconds: wall-clock time of the training loop.
        folder: the fit's folder, or None.
        test_examples: examples behind the scores.
    """

    model: predict.Model
    scores: dict[str, float]
    history: list[dict[str, Any]]
    warnings: list[tuple[str, str]]
    settings: Settings
    reasons: dict[str, str]
    seconds: float
    folder: Path | None
    test_examples: int

    def summary(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "scores": self.scores,
            "test_examples": self.test_examples,
            "warnings": [{"code": code, "message": message} for code, message in self.warnings],
            "settings": _described(self.settings),
            "seconds": round(self.seconds, 3),
            "folder": None if self.folder is None else str(self.folder),
        }


def train(
    data: Any = "digits",
    *,
    labels: int | None = None,
    labels_file: str | Path | None = None,
    method: str = "fixmatch",
    recipe: str | Path | None = "auto",
    minutes: float | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    network: nn.Module | None = None,
    evaluate_on: str = "test",
    keep_checkpoints: bool = True,
    progress: TextIO | None = None,
    say: Callable[[str], object] = lambda line: None,
    **changes: Any,
) -> Result:
    """Train one method on a few labels and the rest of the pool.

    Args:
        data: ``digits``, ``cifar10``, a path, a pair of arrays, or a `Dataset`.
        labels: labeled examples in all, the same number for each class; None uses every label there is.
        labels_file: positions of the labeled examples in the pool, instead of ``labels``.
        method: a name from ``semilla methods``.
        recipe: a recipe's name or TOML file; ``auto`` takes the one for this set and method if there is one.
        minutes: train for about so long, instead of ``steps``.
        out: the run folder; None keeps everything in memory.
        resume: take up a run where it stopped.
        overwrite: start anew although ``out`` holds this fit.
        network: a module of your own whose forward returns (logits, features).
        evaluate_on: the held-out part that is scored along the way, ``test`` or ``development``.
        keep_checkpoints: False removes the checkpoints once the run is finished.
        progress: a stream for the progress bar; None shows none.
        say: called with each line about the data and the plan, such as ``print``.
        **changes: settings and hyperparameters by name, such as ``steps=300, threshold=0.9``.

    Raises:
        SemillaError: a condition that can be mended; says how.
        Interrupted: a signal arrived; the run was saved.
    """
    if resume and overwrite:
        raise UsageError("U008", "resume and overwrite contradict each other", "give one of them")
    entry = find(method)
    if Classes.name not in entry.tasks:
        raise UsageError("U007", f"{method} is not defined for class labels", f"it is for {', '.join(entry.tasks)}")
    dataset = load_data(data)
    asked = resolve(method, entry.hyperparameters, *_recipe_layers(recipe, dataset.name, method), changes)
    index = _labeled_index(dataset, labels, labels_file, asked.seed)
    parts = split(dataset, index, asked.unlabeled, needed=method != "supervised")
    source = str(data) if isinstance(data, (str, Path)) else None
    fit = Fit(dataset, parts, *plan.complete(asked, dataset, parts), network, evaluate_on, source)
    folder = None if out is None else Path(out) / "fits" / f"{method}-{asked.seed}"
    if minutes is not None:
        fit = fit.within(minutes, asked, folder if resume else None)
    for line in fit.announcement():
        say(line)
    return fit.run(folder, resume=resume, overwrite=overwrite, keep_checkpoints=keep_checkpoints, progress=progress)


class Fit:
    """One method on one split, built from its settings."""

    def __init__(
        self,
        dataset: Dataset,
        parts: Split,
        settings: Settings,
        reasons: dict[str, str],
        network: nn.Module | None = None,
        evaluate_on: str = "test",
        source: str | None = None,
    ) -> None:
        self.dataset, self.parts, self.settings, self.reasons = dataset, parts, settings, dict(reasons)
        self.network, self.evaluate_on, self.source = network, evaluate_on, source
        self.task = Classes(dataset.classes)
        self.info = _info(dataset, parts)
        self.inputs = _preparation(dataset, parts)
        self.views: Views = predict.make_views(self.inputs)

    def run(
        self,
        folder: Path | None,
        *,
        resume: bool = False,
        overwrite: bool = False,
        keep_checkpoints: bool = True,
        progress: TextIO | None = None,
    ) -> Result:
        """Train from the beginning or from the last checkpoint to the end, as the folder's only writer."""
        if folder is None:
            return self._run(None, resume, overwrite, progress)
        files.make_folder(folder.absolute())
        with files.lock(folder):
            result = self._run(folder, resume, overwrite, progress)
            if not keep_checkpoints:
                forget_checkpoints(folder)
        return result

    def _run(self, folder: Path | None, resume: bool, overwrite: bool, progress: TextIO | None) -> Result:
        held_out = getattr(self.dataset, self.evaluate_on)
        with own_generators(), devices.threads(self.settings.threads or 1):
            state, spec = self.build()
            provenance = self._prepare(folder, spec, resume, overwrite)
            device = torch.device(self.settings.device or "cpu")
            batches = Batches(self.parts, state.method, self.views, self.settings, device)
            evaluation = Evaluation(self.evaluate_on, held_out, self.task, self.views, device) if held_out else None
            bar = Progress(self.settings.method, self.settings.steps or 0, progress)
            recorder = Recorder(folder, provenance, bar)
            if resume:
                recorder.resume(state)
                bar.begin(state.step)
            recorder.event("started", step=state.step)
            began = time.monotonic()
            train_loop(state, self.task, batches, self.settings, evaluation, recorder)
            seconds = time.monotonic() - began
            recorder.progress.close()
        return self._finish(state, spec, recorder, seconds)

    def build(self) -> tuple[State, dict[str, Any]]:
        """Network, average, method and optimizer as they are before the first step."""
        settings = self.settings
        torch.manual_seed(torch_seed(settings.seed, 2**32 - 1))  # a step no run reaches: the initial weights' own
        method = find(settings.method).load()(self.info, **settings.hyperparameters)
        if self.network is None:
            model, spec = plan.build_network(settings, self.dataset)
        else:
            model, spec = copy.deepcopy(self.network), {"name": "custom"}  # the caller's module stays as it is
        width = _feature_width(model, self.views, self.parts)
        model = plan.memory_format(model, settings.device or "cpu")
        net = Net(model, method.heads(width)).to(settings.device or "cpu").train()
        method = method.to(settings.device or "cpu")
        decay = method.ema_decay if method.ema_decay is not None else settings.ema_decay
        assert decay is not None
        return State(net, EMA(net, decay), method, build_optimizer(net, settings), Monitor(self.info)), spec

    def within(self, minutes: float, asked: Settings, resumed: Path | None) -> Fit:
        """The same fit with as many steps as fit into so many minutes.

        Args:
            minutes: of training; evaluations and checkpoints come on top.
            asked: the settings before the open ones were filled in.
            resumed: the folder of the run to resume, whose number of steps is replayed, or None.
        """
        steps, why = _steps_within(minutes, self, resumed)
        settings, reasons = plan.complete(dataclasses.replace(asked, steps=steps), self.dataset, self.parts)
        reasons["steps"] = why
        return Fit(self.dataset, self.parts, settings, reasons, self.network, self.evaluate_on, self.source)

    def announcement(self) -> list[str]:
        """What was understood and what is going to happen."""
        counts = {"labeled": len(self.parts.labeled), "unlabeled": len(self.parts.unlabeled)}
        counts |= {part: len(held) for part in ("development", "test") if (held := getattr(self.dataset, part))}
        sizes = ", ".join(f"{count:,} {part}" for part, count in counts.items())
        names = ", ".join(clean(name) for name in self.dataset.classes[:10])
        more = f" and {len(self.dataset.classes) - 10} more" if len(self.dataset.classes) > 10 else ""
        lines = [f"{clean(self.dataset.name)}: {self.dataset.kind}, {sizes}", f"classes: {names}{more}"]
        lines += [clean(note) for note in (*self.dataset.notes, *self.parts.notes)]
        chosen = "; ".join(
            f"{name} {_short(getattr(self.settings, name))} ({reason})" for name, reason in self.reasons.items()
        )
        return [*lines, f"chosen for you: {chosen}" if chosen else "every setting was given"]

    def describe(self, spec: Mapping[str, Any]) -> dict[str, Any]:
        """What decides the result, as plain values: saved with the run and compared on resume."""
        return {
            "settings": _described(self.settings),
            "network": dict(spec),
            "classes": list(self.dataset.classes),
            "data": {"name": self.dataset.name, "fingerprint": fingerprint(self.parts), **_counts(self.parts)},
            "evaluate_on": self.evaluate_on,
        }

    def _prepare(self, folder: Path | None, spec: dict[str, Any], resume: bool, overwrite: bool) -> dict[str, Any]:
        """Write the fit's description, or hold it against the one of the run to resume."""
        described = self.describe(spec)
        provenance = {"fit": described, "versions": versions()}
        if folder is None:
            return provenance
        path = folder / FIT
        if path.exists() and resume:
            _same(files.read_json(path)["fit"], described)
        elif path.exists() and not overwrite:
            raise StateError(
                "C001", f"{str(folder)!r} holds this fit already", "add --resume, --overwrite or another --out"
            )
        elif resume and not path.exists():
            raise StateError("C002", f"no run to resume in {str(folder)!r}", "check --out, --method and --seed")
        if overwrite:
            for name in ("metrics.jsonl", "events.jsonl", predict.WEIGHTS, predict.CARD, "result.json"):
                files.remove(folder / name)
            forget_checkpoints(folder)
        files.write_json(path, {**provenance, "reasons": self.reasons, "source": self.source})
        return provenance

    def _finish(self, state: State, spec: dict[str, Any], recorder: Recorder, seconds: float) -> Result:
        card = {"network": spec, "classes": list(self.dataset.classes), "inputs": self.inputs, "task": "classes"}
        model = predict.Model(state.ema.net, self.dataset.classes, card, self.views)
        scores = {key: value for key, value in recorder.lines[-1].items() if key.startswith(self.evaluate_on + "/")}
        if recorder.folder is not None:
            predict.save_model(recorder.folder, state.ema.net, card)
            result = {"scores": scores, "seconds": round(seconds, 3), "warnings": recorder.warned, "step": state.step}
            files.write_json(recorder.folder / "result.json", result)
            recorder.event("finished", step=state.step)
        return Result(
            model,
            scores,
            recorder.lines,
            recorder.warned,
            self.settings,
            self.reasons,
            seconds,
            recorder.folder,
            len(getattr(self.dataset, self.evaluate_on) or ()),
        )


def forget_checkpoints(folder: Path) -> None:
    """Remove what only a resumed run would need."""
    for old in sorted((folder / CHECKPOINTS).glob("step-*")):
        files.remove(old)


def versions() -> dict[str, str]:
    """What the bits depend on."""
    return {
        "semilla": semilla.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
    }


@contextmanager
def own_generators() -> Iterator[None]:
    """Give the caller's global generators back as they were."""
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng():
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)


def _recipe_layers(name: str | Path | None, dataset: str, method: str) -> list[dict[str, Any]]:
    if name is None:
        return []
    if name != "auto":
        return [recipe(name)]
    own = f"{dataset}/{method}"
    return [recipe(own)] if own in recipes() else []


def _labeled_index(dataset: Dataset, count: int | None, file: str | Path | None, seed: int) -> np.ndarray[Any, Any]:
    if count is not None and file is not None:
        raise UsageError("U008", "labels and labels_file say the same thing twice", "give one of them")
    if file is not None:
        return read_index_file(file, len(dataset.labels))
    if count is None:
        return np.flatnonzero(dataset.labels >= 0)
    return choose_labels(dataset.labels, dataset.classes, count, seed)


def _info(dataset: Dataset, parts: Split) -> Info:
    counts = np.bincount(parts.labeled.labels, minlength=len(dataset.classes))
    prior = tuple((counts / counts.sum()).tolist())
    return Info(len(dataset.classes), len(parts.labeled.labels), len(parts.unlabeled), prior)


def _counts(parts: Split) -> dict[str, int]:
    return {"labeled": len(parts.labeled.labels), "unlabeled": len(parts.unlabeled)}


def _preparation(dataset: Dataset, parts: Split) -> dict[str, Any]:
    """Mean and deviation over the training pool; a constant channel or feature keeps its scale."""
    pool = [rows for rows in (parts.labeled.inputs, parts.unlabeled) if len(rows)]
    axes, unit = ((0, 2, 3), 255.0) if dataset.kind == "images" else ((0,), 1.0)
    count = sum(rows.size // rows.shape[1] for rows in pool)
    mean = sum(rows.sum(axes, dtype=np.float64) for rows in pool) / count
    shape = (-1, 1, 1) if dataset.kind == "images" else (-1,)
    square = sum(_squares(rows, np.reshape(mean, shape), axes) for rows in pool) / count
    deviation = np.sqrt(square)
    deviation = np.where(deviation > 1e-8 * np.maximum(1.0, np.abs(mean)), deviation, unit)
    return {
        "kind": dataset.kind,
        "shape": list(parts.labeled.inputs.shape[1:]),
        "mean": (mean / unit).tolist(),
        "std": (deviation / unit).tolist(),
        "flip": dataset.flip,
    }


def _squares(rows: np.ndarray[Any, Any], mean: Any, axes: tuple[int, ...]) -> Any:
    """Sum of squared distances from the mean, a slice at a time: no copy of the pool in float64."""
    slices = (rows[start : start + 4096] for start in range(0, len(rows), 4096))
    return sum(np.square(part - mean).sum(axes) for part in slices)


@torch.no_grad()
def _feature_width(model: nn.Module, views: Views, parts: Split) -> int:
    """Ask the network how wide its features are, with two examples and without touching its statistics."""
    mode = model.training
    view = views("none", torch.from_numpy(np.ascontiguousarray(parts.labeled.inputs[:2])), torch.zeros(2, 0))
    width: int = Net(model).eval()(view).features.shape[-1]
    model.train(mode)
    return width


def _steps_within(minutes: float, fit: Fit, interrupted: Path | None) -> tuple[int, str]:
    """Steps that fit into so many minutes, and why: measured once, and replayed from the run that is resumed."""
    if not minutes > 0:
        raise UsageError("U006", f"minutes = {minutes} is out of range", "give a number above 0")
    if interrupted is not None and (interrupted / FIT).exists():
        saved = files.read_json(interrupted / FIT)
        return saved["fit"]["settings"]["steps"], saved["reasons"].get("steps", "as the run to resume")
    seconds = _step_seconds(fit)
    return max(1, int(60 * minutes / seconds)), f"{minutes:g} minutes at {1000 * seconds:.1f} ms a step"


def _step_seconds(fit: Fit, least: float = 3.0) -> float:
    """Seconds of one step, measured for about so long on a copy of the fit."""
    with own_generators(), devices.threads(fit.settings.threads or 1):
        state, _ = fit.build()
        device = torch.device(fit.settings.device or "cpu")
        batches = Batches(fit.parts, state.method, fit.views, fit.settings, device)
        steps, done, began = 3, 0, 0.0
        while True:
            settings = dataclasses.replace(fit.settings, steps=done + steps, log_every=None)
            recorder = Recorder(None, {}, Progress("", 0, None))
            start = time.monotonic()
            train_loop(state, fit.task, batches, settings, None, recorder)
            elapsed = time.monotonic() - start
            if began and elapsed >= least / 2:
                return elapsed / steps
            done, began = done + steps, start
            steps *= 2


def _described(settings: Settings) -> dict[str, Any]:
    plain = {key: list(value) if isinstance(value, tuple) else value for key, value in settings.hyperparameters.items()}
    return {**dataclasses.asdict(settings), "hyperparameters": plain}


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _same(saved: dict[str, Any], asked: dict[str, Any]) -> None:
    """Refuse to resume a run as another one.

    Raises:
        StateError: C003, with every difference as old → new.
    """
    old, new = _flat(saved), _flat(asked)
    different = [
        f"{key}: {old.get(key)} → {new.get(key)}"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key) and key.removeprefix("settings.") not in FREE
    ]
    if different:
        found = "".join(f"\n  {line}" for line in different[:10])
        raise StateError(
            "C003", f"the run to resume was started otherwise:{found}", "resume with the same settings and data"
        )


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat
