"""One fit: one method on one split, from its settings to a trained model in a folder of its own.

This page puts the rooms together in the order of the house: data → split → plan → network and method → loop → model.
"""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import platform
import random
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import numpy.typing as npt
import safetensors.numpy
import torch
from torch import nn

import semilla
from semilla import files
from semilla.augment.vectors import reference_rows
from semilla.config import Settings, recipe, recipe_for, recipes, table_of
from semilla.config import settings as resolve
from semilla.contract import Info, Method, Net, Task
from semilla.data.dataset import Dataset, Split, choose, fingerprint, held_out_fingerprint, split, take
from semilla.data.labels import read_index_file
from semilla.data.lines import widths_of
from semilla.data.preparation import preparation
from semilla.data.reading import TableReading
from semilla.data.source import Source
from semilla.data.sources import load as load_data
from semilla.errors import Interrupted, StateError, UsageError
from semilla.inference.model import CARD, WEIGHTS, Model, load, make_views, refuse_file, save_model
from semilla.inference.outputs import calibration_of, class_outputs, readings_of
from semilla.inference.reader import Reader
from semilla.methods import PRETRAINING, Entry, find
from semilla.methods.catalogue import check_task
from semilla.networks import WhitenedCNN
from semilla.randomness import permutation, torch_seed
from semilla.tasks import CTC, Attention, Classes
from semilla.tasks.alphabet import Alphabet
from semilla.text import clean
from semilla.training import devices, lineage, plan, strings
from semilla.training.batches import Batches, Views, view_of
from semilla.training.ema import EMA
from semilla.training.evaluate import Evaluation
from semilla.training.loop import train_loop
from semilla.training.monitor import Monitor
from semilla.training.optimizers import build_optimizer
from semilla.training.progress import Progress, Watcher
from semilla.training.recorder import CHECKPOINTS, METRICS, Recorder
from semilla.training.state import State
from semilla.training.trial import step_seconds

FIT, OUTPUTS, READINGS = "fit.json", "outputs.safetensors", "readings.jsonl"


STRONGEST = {"images": ("weak", "strong"), "vectors": ("weak",), "text": ("strong",)}
"""The baseline's views, all in every step: what strong augmentation gives is not credited to the unlabeled data."""

WIDE = 2_000
"""Features beyond which no reference rows are kept in the card: there is no view ``swap`` then."""

LOOKED_AT = 2_000
"""Pictures from which a whitening layer is computed: a million patches settle its twelve directions."""


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
        outputs: what the model says of the examples: ``<part>_logits``, ``<part>_features``, ``<part>_labels`` and
            ``<part>_rows`` (of the data's manifest) for ``test``, ``development``, and a sample of the ``labeled`` and
            the ``unlabeled``; ``labeled_counts`` of each class where that is not all of the labeled.
    """

    model: Model
    scores: dict[str, float]
    history: list[dict[str, Any]]
    warnings: list[tuple[str, str]]
    settings: Settings
    reasons: dict[str, str]
    seconds: float
    folder: Path | None
    test_examples: int
    notes: tuple[str, ...]
    outputs: dict[str, npt.NDArray[Any]] = field(default_factory=dict, repr=False)

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


def fit(
    data: Any = "digits",
    *,
    labels: int | None = None,
    labels_file: str | Path | None = None,
    method: str | type[Method] = "fixmatch",
    recipe: str | Path | None = "auto",
    minutes: float | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    network: nn.Module | str | None = None,
    evaluate_on: str = "test",
    keep_checkpoints: bool = True,
    allow_change: Iterable[str] = (),
    allow_data_change: bool = False,
    progress: TextIO | Watcher | None = None,
    say: Callable[[str], object] = lambda line: None,
    name: str | None = None,
    **changes: Any,
) -> Result:
    """Train one method on a few labels and the rest of the pool.

    Args:
        data: ``digits``, ``cifar10``, a path, arrays, a `Source`, or a `Dataset`.
        labels: labeled examples in all, the same number for each class; None uses every label there is.
        labels_file: positions of the labeled examples in the pool, instead of ``labels``.
        method: a name from ``semilla methods``, or a `Method` of your own.
        recipe: a recipe's name or TOML file; ``auto`` takes the one for this set and method if there is one.
        minutes: train for about so long, instead of ``steps``.
        out: the run folder; None keeps everything in memory.
        resume: take up a run where it stopped.
        overwrite: start anew although ``out`` holds this fit.
        network: a network's name, or a module of your own whose forward returns (logits, features).
        evaluate_on: the held-out part that is scored along the way, ``test`` or ``development``.
        keep_checkpoints: False removes the checkpoints once the run is finished.
        allow_change: settings that a resumed run may change; it is not bit-exact from there on.
        allow_data_change: whether a resumed run may find other data.
        progress: a stream for the progress bar, or a function (step, steps, means) to call; None shows none.
        say: called with each line about the data and the plan, such as ``print``.
        name: what the fit's folder is called, without the seed; None takes the method's name.
        **changes: settings and hyperparameters by name, such as ``steps=300, threshold=0.9``.

    Raises:
        SemillaError: a condition that can be mended; says how.
        Interrupted: a signal arrived; the run was saved.
    """
    check_request(out, resume, overwrite, evaluate_on)
    planned, folder = plan_fit(
        load_data(data),
        labels=labels,
        labels_file=labels_file,
        method=method,
        recipe=recipe,
        minutes=minutes,
        out=out,
        resume=resume,
        network=network,
        evaluate_on=evaluate_on,
        source=data if isinstance(data, Source) else Source(data),
        name=name,
        **changes,
    )
    say("\n".join(planned.announcement()))
    return planned.run(
        folder,
        resume=resume,
        overwrite=overwrite,
        keep_checkpoints=keep_checkpoints,
        allow_change=allow_change,
        allow_data_change=allow_data_change,
        progress=progress,
    )


def plan_fit(
    dataset: Dataset,
    *,
    labels: int | None = None,
    labels_file: str | Path | None = None,
    method: str | type[Method] = "fixmatch",
    recipe: str | Path | None = "auto",
    minutes: float | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    network: nn.Module | str | None = None,
    evaluate_on: str = "test",
    source: Source | None = None,
    name: str | None = None,
    **changes: Any,
) -> tuple[Fit, Path | None]:
    """Everything that is decided before training, and the folder of the fit.

    Arguments as for `fit`; ``name`` is what the folder is called, before the seed, where that is not the method.
    """
    if isinstance(network, str):
        changes["network"], network = network, None
    if network is not None and changes.get("weights") is not None:
        raise UsageError("U063", "weights are for a network that semilla builds", "load them into your own module")
    entry = find(method)
    refuse_pretraining(entry)
    asked = resolve(
        entry.name,
        entry.hyperparameters,
        *_recipe_layers(recipe, dataset, source, entry.name, changes.get("weights") is not None),
        changes,
    )
    check_task(entry, dataset.kind, asked.network)
    index = labeled_index(dataset, labels, labels_file, asked.seed)
    parts = split(dataset, index, asked.pool, needed=entry.name != "supervised")
    name = f"{name or entry.name}-{asked.seed}"
    folder = None if out is None else Path(out) / "fits" / name
    replayed: dict[str, str] = {}
    if resume and folder is not None and (folder / FIT).exists():
        asked, replayed = lineage.replayed(asked, files.read_json(folder / FIT), minutes is not None, versions())
    settings, reasons = plan.complete(asked, dataset, parts, network is not None)
    planned = Fit(dataset, parts, settings, reasons | replayed, entry, network, evaluate_on, source, name)
    if minutes is not None and "steps" not in replayed:
        planned = planned.within(minutes, asked)
    return planned, folder


def refuse_pretraining(entry: Entry) -> None:
    """Refuse to train by a method that never learns a class.

    Raises:
        UsageError: U071.
    """
    if entry.name in PRETRAINING:
        fix = f"semilla pretrain DATA --method {entry.name}, and then semilla train DATA --init its run"
        raise UsageError("U071", f"{entry.name} learns without labels and classifies nothing", fix)


def check_request(out: str | Path | None, resume: bool, overwrite: bool, evaluate_on: str) -> None:
    """Refuse what contradicts itself.

    Raises:
        UsageError: U008, U015 or U016.
    """
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
        entry: Entry | None = None,
        network: nn.Module | None = None,
        evaluate_on: str = "test",
        source: Source | None = None,
        name: str | None = None,
    ) -> None:
        self.name = name if name is not None else f"{settings.method}-{settings.seed}"
        self.dataset, self.parts, self.settings, self.reasons = dataset, parts, settings, dict(reasons)
        self.entry = entry if entry is not None else find(settings.method)
        self.network, self.evaluate_on, self.source = network, evaluate_on, source
        self.task: Task = Classes(dataset.classes)
        self.targets: torch.Tensor | None = None
        if dataset.kind == "text":
            self.task = strings.task(settings, parts)
            self.targets = self.task.encode(strings.texts(parts))
        self.info = _info(dataset, parts, plan.outputs(settings, dataset, parts))
        self.inputs = preparation(dataset, parts)
        if dataset.kind == "vectors":
            self.inputs |= _corruption(dataset, parts)
        if scale := plan.normalisation(settings, dataset.inputs.shape[1]):  # what pretrained weights expect
            self.inputs |= {"mean": scale[0], "std": scale[1]}
        self.views: Views = make_views(self.inputs)

    def run(
        self,
        folder: Path | None,
        *,
        resume: bool = False,
        overwrite: bool = False,
        keep_checkpoints: bool = True,
        allow_change: Iterable[str] = (),
        allow_data_change: bool = False,
        progress: TextIO | Watcher | None = None,
    ) -> Result:
        """Train from the beginning or from the last checkpoint to the end, as the folder's only writer."""
        allowed = tuple(allow_change), allow_data_change
        if folder is None:
            return self._run(None, resume, overwrite, allowed, progress)
        if resume and not (folder / FIT).exists():
            raise StateError("C002", f"no run to resume in {str(folder)!r}", "check --out, --method and --seed")
        make_run_folder(folder)
        with files.lock(folder):
            result = self._run(folder, resume, overwrite, allowed, progress)
            if not keep_checkpoints:
                forget_checkpoints(folder)
        return result

    def finished(self, folder: Path) -> Result | None:
        """The result of this very fit where it was finished before; None if there is none, or one of another kind."""
        if not (folder / "result.json").is_file() or self.network is not None:
            return None
        _, spec = plan.build_network(self.settings, self.dataset, self.parts)
        saved = files.read_json(folder / FIT)
        if saved["fit"] != json.loads(files.to_json(self.describe(spec))) or saved["versions"] != versions():
            return None
        result = files.read_json(folder / "result.json")
        log = (folder / METRICS).read_text(encoding="utf-8").splitlines()
        return Result(
            load(folder, pretrained=True),
            result["scores"],
            [json.loads(line) for line in log],
            [(code, message) for code, message in result["warnings"]],
            self.settings,
            self.reasons,
            result["seconds"],
            folder,
            len(getattr(self.dataset, self.evaluate_on) or ()),
            (*self.dataset.notes, *self.parts.notes),
            safetensors.numpy.load_file(folder / OUTPUTS),
        )

    def _run(
        self,
        folder: Path | None,
        resume: bool,
        overwrite: bool,
        allowed: tuple[tuple[str, ...], bool],
        progress: TextIO | Watcher | None,
    ) -> Result:
        with devices.computing(self.settings.device, self.settings.threads):
            state, spec = self.build()
            provenance = self._prepare(folder, spec, resume, overwrite, allowed)
            evaluation = self._evaluation(state)
            bar = Progress(self.settings.method, self.settings.steps or 0, progress)
            recorder = Recorder(folder, provenance, bar)
            if resume:
                recorder.resume(state)
                bar.begin(state.step)
            recorder.event("started", step=state.step)
            began = time.monotonic()
            try:
                train_loop(state, self.task, self.batches(state), self.settings, evaluation, recorder)
            except Interrupted as stop:
                recorder.event("interrupted", step=state.step, signal=stop.signal_number)
                raise
            seconds = time.monotonic() - began
            recorder.progress.close()
            return self._finish(state, spec, recorder, seconds)

    def batches(self, state: State) -> Batches:
        """The batches that the method wants."""
        device = torch.device(self.settings.device or "cpu")
        return Batches(self.parts, state.method, self.views, self.settings, device, self.targets)

    def _evaluation(self, state: State) -> Evaluation | None:
        held_out = getattr(self.dataset, self.evaluate_on)
        if held_out is None:
            return None
        threshold, device = getattr(state.method, "threshold", None), torch.device(self.settings.device or "cpu")
        if self.targets is None:
            return Evaluation(self.evaluate_on, held_out, self.task, self.views, device, threshold)
        texts = [self.dataset.classes[label] for label in held_out.labels]
        task = strings.of_network(self.settings.network or "", Alphabet(self.symbols).grown(texts))  # all can be wrong
        return Evaluation(self.evaluate_on, held_out, task, self.views, device, threshold, task.encode(texts))

    def build(self) -> tuple[State, dict[str, Any]]:
        """Network, average, method and optimizer as they are before the first step."""
        settings = self.settings
        start = torch_seed(settings.seed, 2**32 - 1)  # a step no run reaches: the initial weights' own
        torch.manual_seed(start)
        random.seed(start)  # semilla draws from neither of these two, a network of the user's may
        np.random.seed(start % 2**32)
        method = self.entry.load()(self.info, **settings.hyperparameters)
        if self.network is None:
            model, spec = plan.build_network(settings, self.dataset, self.parts)
            if isinstance(model, WhitenedCNN) and settings.weights is None:
                model.whiten(self._some_inputs())
        else:
            model, spec = copy.deepcopy(self.network), {"name": "custom"}  # the caller's module stays as it is
        width = _feature_width(model, self.views, self.parts)
        model = plan.placed(model, settings.device or "cpu", settings.memory_format or "channels_last")
        net = Net(model, method.heads(width)).to(settings.device or "cpu").train()
        method = method.to(settings.device or "cpu")
        decay = method.ema_decay if method.ema_decay is not None else settings.ema_decay
        assert decay is not None
        ema = EMA(net, decay)
        if settings.compile:  # after the average was copied: that is only scored, and stays as it is
            devices.check_compiler(settings.device or "cpu")
            net.model.compile()
        return State(net, ema, method, build_optimizer(net, settings), Monitor(self.info)), spec

    def _some_inputs(self) -> torch.Tensor:
        """Up to `LOOKED_AT` pictures of the pool as the network will see them, labels unseen."""
        pool = self.parts.unlabeled if len(self.parts.unlabeled) else self.parts.labeled.inputs
        rows = np.sort(permutation(self.settings.seed, "whitening", 0, len(pool))[:LOOKED_AT])
        inputs = torch.from_numpy(np.ascontiguousarray(take(pool, rows)[:]))
        return self.views("none", inputs, torch.zeros(len(inputs), 0)).inputs

    def within(self, minutes: float, asked: Settings) -> Fit:
        """The same fit with as many steps as fit into so many minutes of training, by a timed trial.

        Args:
            minutes: of training; evaluations and checkpoints come on top.
            asked: the settings before the open ones were filled in.
        """
        if not 0 < minutes < math.inf:
            raise UsageError("U006", f"minutes = {minutes} is out of range", "give a number above 0")
        seconds = step_seconds(self)
        steps = max(1, int(60 * minutes / seconds))
        asked = dataclasses.replace(asked, steps=steps)
        settings, reasons = plan.complete(asked, self.dataset, self.parts, self.network is not None)
        reasons["steps"] = f"{minutes:g} minutes at {1000 * seconds:.1f} ms a step"
        rest = self.entry, self.network, self.evaluate_on, self.source, self.name
        return Fit(self.dataset, self.parts, settings, reasons, *rest)

    @property
    def symbols(self) -> str:
        """The alphabet; none where a label is a class."""
        return getattr(self.task, "alphabet", Alphabet("")).symbols

    def announcement(self) -> list[str]:
        """What was understood and what is going to happen."""
        counts = {"labeled": len(self.parts.labeled), "unlabeled": len(self.parts.unlabeled)}
        counts |= {part: len(held) for part in ("development", "test") if (held := getattr(self.dataset, part))}
        sizes = ", ".join(f"{count:,} {part}" for part, count in counts.items())
        known = self.symbols or self.dataset.classes
        names = ", ".join(clean(name) for name in known[:10])
        more = f" and {len(known) - 10} more" if len(known) > 10 else ""
        what = "alphabet" if self.symbols else "classes"
        lines = [f"{clean(self.dataset.name)}: {self.dataset.kind}, {sizes}", f"{what}: {names}{more}"]
        lines += [clean(note) for note in (*self.dataset.notes, *self.parts.notes)]
        chosen = "; ".join(
            f"{name} {_short(getattr(self.settings, name))} ({reason})" for name, reason in self.reasons.items()
        )
        return [*lines, f"chosen for you: {chosen}" if chosen else "every setting was given"]

    def describe(self, spec: Mapping[str, Any]) -> dict[str, Any]:
        """What decides the result, as plain values: saved with the run and compared on resume."""
        text = self.dataset.kind == "text"
        return {
            "settings": self._decisive(),
            "network": dict(spec),
            "classes": [] if text else list(self.dataset.classes),
            **({"alphabet": list(self.symbols)} if text else {}),
            "data": {
                "name": self.dataset.name,
                "fingerprint": fingerprint(self.parts),
                "held_out": held_out_fingerprint(self.dataset),
                **_counts(self.parts),
            },
            "evaluate_on": self.evaluate_on,
        }

    def _decisive(self) -> dict[str, Any]:
        """The settings without hyperparameters that are what they would be anyway: said or not, the fit is the same."""
        known = self.entry.hyperparameters
        own = {key: value for key, value in self.settings.hyperparameters.items() if value != known[key].ours}
        return _described(dataclasses.replace(self.settings, hyperparameters=own))

    def _prepare(
        self,
        folder: Path | None,
        spec: dict[str, Any],
        resume: bool,
        overwrite: bool,
        allowed: tuple[tuple[str, ...], bool],
    ) -> dict[str, Any]:
        """Write the fit's description, or hold it against the one of the run to resume."""
        described = self.describe(spec)
        provenance = {"fit": described, "versions": versions()}
        if folder is None:
            return provenance
        path, changed = folder / FIT, []
        if path.exists() and resume:
            saved = files.read_json(path)
            changed = saved.get("changed", [])
            if different := lineage.check_same(saved["fit"], described, *allowed):
                changed = [*changed, different]
        elif path.exists() and not overwrite:
            raise StateError(
                "C001", f"{str(folder)!r} holds this fit already", "add --resume, --overwrite or another --out"
            )
        if overwrite:
            for name in ("metrics.jsonl", "events.jsonl", WEIGHTS, CARD, "result.json", OUTPUTS, READINGS):
                files.remove(folder / name)
            forget_checkpoints(folder)
        notes = [*self.dataset.notes, *self.parts.notes]
        written = {**provenance, "reasons": self.reasons, "notes": notes, "changed": changed}
        written["lineage"] = lineage.identity(described, changed)
        files.write_json(path, {**written, "source": self.source.plain() if self.source is not None else None})
        return provenance

    def _finish(self, state: State, spec: dict[str, Any], recorder: Recorder, seconds: float) -> Result:
        if self.dataset.kind == "text":
            return self._finish_text(state, spec, recorder, seconds)
        said = class_outputs(state.ema.net, self.views, self.dataset, self.parts)
        card: dict[str, Any] = {"network": spec, "classes": list(self.dataset.classes), "inputs": self.inputs}
        card["task"] = self.task.name if self.dataset.classes else "pretraining"
        if (calibration := calibration_of(said)) is not None:
            card["calibration"] = calibration
        return self._kept(state, Model(state.ema.net, self.dataset.classes, card, self.views), said, recorder, seconds)

    def _finish_text(self, state: State, spec: dict[str, Any], recorder: Recorder, seconds: float) -> Result:
        card: dict[str, Any] = {"network": spec, "classes": [], "inputs": self.inputs, "task": self.task.name}
        card["alphabet"] = list(self.symbols)
        if self.entry.name in PRETRAINING:  # it has learnt no symbol
            card["task"] = "pretraining"
            return self._kept(state, Model(state.ema.net, (), card, self.views), {}, recorder, seconds)
        reader = Reader(state.ema.net, (), card, self.views)
        said, rows, calibration = readings_of(reader, self.dataset, self.parts)
        if calibration is not None:
            card["calibration"] = calibration
        if recorder.folder is not None:
            written = "".join(f"{json.dumps(row, ensure_ascii=True)}\n" for row in rows)  # names may be no UTF-8
            files.write_atomic(recorder.folder / READINGS, written.encode())
        return self._kept(state, reader, said, recorder, seconds)

    def _kept(
        self, state: State, model: Model, said: dict[str, npt.NDArray[Any]], recorder: Recorder, seconds: float
    ) -> Result:
        """The result, and its files."""
        card = model.card
        scores = {key: value for key, value in recorder.lines[-1].items() if key.startswith(self.evaluate_on + "/")}
        if recorder.folder is not None:
            files.write_atomic(recorder.folder / OUTPUTS, safetensors.numpy.save(said))
            save_model(recorder.folder, state.ema.net, card)
            result = {"scores": scores, "seconds": round(seconds, 3), "warnings": recorder.warned, "step": state.step}
            if isinstance(self.task, CTC | Attention):
                result["protocol"] = self.task.protocol.plain()
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
            said,
        )


def make_run_folder(folder: Path) -> None:
    """Make a folder to write to.

    Raises:
        UsageError: U014, it cannot be made there.
        SafetyError: S020, it is a file: a model is a folder of safetensors and JSON.
        ResourceError: R001, the disk is full or cannot be written to.
    """
    refuse_file(folder)
    try:
        with files.resource_errors("cannot make the run folder", folder, 0):
            files.make_folder(folder.absolute())
    except (FileExistsError, NotADirectoryError, FileNotFoundError, PermissionError) as error:
        raise UsageError("U014", f"{str(folder)!r} cannot be made: {error.strerror}", "take another --out") from None


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


def _known_as(dataset: Dataset, source: Source | None) -> str:
    """The name that recipes go by: a folder that happens to be called digits is not the set of that name."""
    return source.data if source is not None and isinstance(source.data, str) else dataset.name


def recipe_named(name: str | Path | None, dataset: Dataset, source: Source | None, method: str) -> str | Path | None:
    """The recipe that a word stands for: a folder is the one for the method in it, ``auto`` the one for this set and
    method, or else for this method on text.

    Returns:
        The recipe's name or file; None for none.
    """
    if name != "auto":
        return None if name is None else recipe_for(name, method)
    known = recipes()
    wanted = [f"{_known_as(dataset, source)}/{method}", *([f"text/{method}"] if dataset.kind == "text" else [])]
    return next((own for own in wanted if own in known), None)


def _recipe_layers(
    name: str | Path | None, dataset: Dataset, source: Source | None, method: str, tuned: bool
) -> list[dict[str, Any]]:
    found = recipe_named(name, dataset, source, method)
    if found is not None:
        own = recipe(found)
        if tuned and name == "auto" and table_of(found, "pretrain") is None:
            own.pop("learning_rate", None)  # it was found for random weights and would undo the ones to start from
        return [own]
    return [{"views": STRONGEST[dataset.kind]}] if name == "auto" and method == "supervised" else []


def labeled_index(dataset: Dataset, count: int | None, file: str | Path | None, seed: int) -> np.ndarray[Any, Any]:
    """Positions of the examples whose labels a training may use.

    Args:
        dataset: with all the labels that are known.
        count: how many are drawn, or None.
        file: that names them, or None.
        seed: of the draw.
    """
    if count is not None and file is not None:
        raise UsageError("U008", "labels and labels_file say the same thing twice", "give one of them")
    if file is not None:
        return read_index_file(file, len(dataset.labels))
    if count is None:
        return np.flatnonzero(dataset.labels >= 0)
    return choose(dataset, count, seed)


def _corruption(dataset: Dataset, parts: Split) -> dict[str, Any]:
    """What the views of vectors replace features by: rows of the pool, the features of one column together."""
    blocks = list(TableReading.from_json(dataset.reading).blocks) if dataset.reading else None
    pool = parts.unlabeled if len(parts.unlabeled) else parts.labeled.inputs
    said = {} if blocks is None else {"blocks": blocks}
    if pool.shape[1] > WIDE:
        return said
    return {**said, "reference": reference_rows(pool[:], blocks).tolist()}


def _info(dataset: Dataset, parts: Split, outputs: int) -> Info:
    if dataset.kind == "text":  # strings have no prior
        return Info(outputs, len(parts.labeled.labels), len(parts.unlabeled))
    counts = np.bincount(parts.labeled.labels, minlength=len(dataset.classes))
    prior = tuple((counts / counts.sum()).tolist()) if len(parts.labeled) else ()
    return Info(len(dataset.classes), len(parts.labeled.labels), len(parts.unlabeled), prior)


def _counts(parts: Split) -> dict[str, int]:
    return {"labeled": len(parts.labeled.labels), "unlabeled": len(parts.unlabeled)}


@torch.no_grad()
def _feature_width(model: nn.Module, views: Views, parts: Split) -> int:
    """Ask the network how wide its features are, with two examples and without touching its statistics."""
    mode = model.training
    some = parts.labeled.inputs if len(parts.labeled) else parts.unlabeled
    inputs = torch.from_numpy(np.ascontiguousarray(some[:2]))
    widths = widths_of(some[:2] if isinstance(some, np.ndarray) else some.take(np.arange(min(2, len(some)))))
    valid = None if widths is None else torch.from_numpy(widths)
    output = Net(model.cpu()).eval()(view_of(views, "none", inputs, torch.zeros(len(inputs), 0), valid))
    model.train(mode)
    if widths is None and parts.classes and output.logits.shape != (len(inputs), len(parts.classes)):
        found = f"the network gives logits of shape {tuple(output.logits.shape)} for {len(inputs)} examples"
        fix = f"give it {len(parts.classes)} outputs, one for each class"
        raise UsageError("U012", found, fix)
    width: int = output.features.shape[-1]
    return width


def _described(settings: Settings) -> dict[str, Any]:
    plain = {key: list(value) if isinstance(value, tuple) else value for key, value in settings.hyperparameters.items()}
    return {**dataclasses.asdict(settings), "hyperparameters": plain}


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
