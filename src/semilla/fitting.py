"""``semilla.train``: from data, a number of labels and a method's name to a trained model in a run folder.

This page puts the rooms together in the order of the house: data → split → plan → network and method → loop → model.
"""

from __future__ import annotations

import copy
import dataclasses
import logging
import math
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
from semilla.errors import Interrupted, StateError, UsageError
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
        notes: what the user should know about the data.
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
    notes: tuple[str, ...]

    def summary(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "scores": self.scores,
            "test_examples": self.test_examples,
            "notes": list(self.notes),
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
    network: nn.Module | str | None = None,
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
        network: a network's name, or a module of your own whose forward returns (logits, features).
        evaluate_on: the held-out part that is scored along the way, ``test`` or ``development``.
        keep_checkpoints: False removes the checkpoints once the run is finished.
        progress: a stream for the progress bar; None shows none.
        say: called with each line about the data and the plan, such as ``print``.
        **changes: settings and hyperparameters by name, such as ``steps=300, threshold=0.9``.

    Raises:
        SemillaError: a condition that can be mended; says how.
        Interrupted: a signal arrived; the run was saved.
    """
    _check_request(out, resume, overwrite, evaluate_on)
    if isinstance(network, str):
        changes["network"], network = network, None
    entry = find(method)
    if Classes.name not in entry.tasks:
        raise UsageError("U007", f"{method} is not defined for class labels", f"it is for {', '.join(entry.tasks)}")
    dataset = load_data(data)
    asked = resolve(method, entry.hyperparameters, *_recipe_layers(recipe, dataset.name, method), changes)
    index = _labeled_index(dataset, labels, labels_file, asked.seed)
    parts = split(dataset, index, asked.unlabeled, needed=method != "supervised")
    source = str(data) if isinstance(data, (str, Path)) else None
    folder = None if out is None else Path(out) / "fits" / f"{method}-{asked.seed}"
    asked, replayed = _replayed(asked, folder if resume else None, minutes is not None)
    settings, reasons = plan.complete(asked, dataset, parts)
    fit = Fit(dataset, parts, settings, reasons | replayed, network, evaluate_on, source)
    if minutes is not None and "steps" not in replayed:
        fit = fit.within(minutes, asked)
    say("\n".join(fit.announcement()))
    return fit.run(folder, resume=resume, overwrite=overwrite, keep_checkpoints=keep_checkpoints, progress=progress)


def _check_request(out: str | Path | None, resume: bool, overwrite: bool, evaluate_on: str) -> None:
    if resume and overwrite:
        raise UsageError("U008", "resume and overwrite contradict each other", "give one of them")
    if evaluate_on not in ("test", "development"):
        raise UsageError("U015", f"evaluate_on = {evaluate_on!r} is no held-out part", "test or development")
    if resume and out is None:
        raise UsageError("U016", "there is nothing to resume without a run folder", "say which: out=")


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
        if resume and not (folder / FIT).exists():
            raise StateError("C002", f"no run to resume in {str(folder)!r}", "check --out, --method and --seed")
        try:
            files.make_folder(folder.absolute())
        except (FileExistsError, NotADirectoryError, FileNotFoundError) as error:
            raise UsageError(
                "U014", f"{str(folder)!r} cannot be made: {error.strerror}", "take another --out"
            ) from None
        with files.lock(folder):
            result = self._run(folder, resume, overwrite, progress)
            if not keep_checkpoints:
                forget_checkpoints(folder)
        return result

    def _run(self, folder: Path | None, resume: bool, overwrite: bool, progress: TextIO | None) -> Result:
        held_out = getattr(self.dataset, self.evaluate_on)
        with own_generators(self.settings.device), devices.threads(self.settings.threads or 1):
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
            try:
                train_loop(state, self.task, batches, self.settings, evaluation, recorder)
            except Interrupted as stop:
                recorder.event("interrupted", step=state.step, signal=stop.signal_number)
                raise
            seconds = time.monotonic() - began
            recorder.progress.close()
        return self._finish(state, spec, recorder, seconds)

    def build(self) -> tuple[State, dict[str, Any]]:
        """Network, average, method and optimizer as they are before the first step."""
        settings = self.settings
        start = torch_seed(settings.seed, 2**32 - 1)  # a step no run reaches: the initial weights' own
        torch.manual_seed(start)
        random.seed(start)  # semilla draws from neither of these two, a network of the user's may
        np.random.seed(start % 2**32)
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

    def within(self, minutes: float, asked: Settings) -> Fit:
        """The same fit with as many steps as fit into so many minutes of training, by a timed trial.

        Args:
            minutes: of training; evaluations and checkpoints come on top.
            asked: the settings before the open ones were filled in.
        """
        if not 0 < minutes < math.inf:
            raise UsageError("U006", f"minutes = {minutes} is out of range", "give a number above 0")
        seconds = _step_seconds(self)
        steps = max(1, int(60 * minutes / seconds))
        settings, reasons = plan.complete(dataclasses.replace(asked, steps=steps), self.dataset, self.parts)
        reasons["steps"] = f"{minutes:g} minutes at {1000 * seconds:.1f} ms a step"
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
        if overwrite:
            for name in ("metrics.jsonl", "events.jsonl", predict.WEIGHTS, predict.CARD, "result.json"):
                files.remove(folder / name)
            forget_checkpoints(folder)
        notes = [*self.dataset.notes, *self.parts.notes]
        files.write_json(path, {**provenance, "reasons": self.reasons, "source": self.source, "notes": notes})
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
            (*self.dataset.notes, *self.parts.notes),
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
def own_generators(device: str | None = None) -> Iterator[None]:
    """Give the caller's global generators back as they were: the CPU's and those of the device in use."""
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng([torch.cuda.current_device()] if device == "cuda" else []):
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
    inputs = torch.from_numpy(np.ascontiguousarray(parts.labeled.inputs[:2]))
    output = Net(model.cpu()).eval()(views("none", inputs, torch.zeros(len(inputs), 0)))
    model.train(mode)
    if output.logits.shape != (len(inputs), len(parts.classes)):
        found = f"the network gives logits of shape {tuple(output.logits.shape)} for {len(inputs)} examples"
        fix = f"give it {len(parts.classes)} outputs, one for each class"
        raise UsageError("U012", found, fix)
    width: int = output.features.shape[-1]
    return width


def _replayed(asked: Settings, folder: Path | None, timed: bool) -> tuple[Settings, dict[str, str]]:
    """What was left open is what it was when the run began, whatever this machine would choose now."""
    if folder is None or not (folder / FIT).exists():
        return asked, {}
    saved = files.read_json(folder / FIT)
    old, known = saved["fit"]["settings"], saved["versions"]
    changes = [f"{name} {known.get(name)} → {now}" for name, now in versions().items() if known.get(name) != now]
    if changes:
        logging.getLogger("semilla").warning(
            "warn[C025]: resumed with other versions, not bit-exact: %s", ", ".join(changes)
        )
    reasons = {
        name: why
        for name, why in saved["reasons"].items()
        if getattr(asked, name) is None or (timed and name == "steps")  # minutes overrule the steps of a recipe
    }
    return dataclasses.replace(asked, **{name: old[name] for name in reasons}), reasons


def _step_seconds(fit: Fit, least: float = 3.0) -> float:
    """Seconds of one step, measured for about so long on a copy of the fit."""
    with own_generators(fit.settings.device), devices.threads(fit.settings.threads or 1):
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
