"""``semilla.pretrain``: a network learns from all examples without any label, as the start of a later training.

No label takes part: they are dropped before the fit is planned. Those that are known serve afterwards, to read out how
much a linear classifier gets from the features.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import numpy.typing as npt

from semilla import files
from semilla.config import nearest
from semilla.config import recipe as read_recipe
from semilla.config import settings as resolve
from semilla.contract import Method
from semilla.data.dataset import UNKNOWN, Dataset, Inputs, pool_only, take
from semilla.data.labels import choose_labels
from semilla.data.progress import in_words
from semilla.data.source import Source
from semilla.data.sources import load as load_data
from semilla.errors import UsageError
from semilla.evidence.intervals import Interval, wilson
from semilla.fitting import FIT, Fit, Result, make_run_folder, versions
from semilla.inference.model import RUN, Model, find_fit
from semilla.methods import PRETRAINING, Entry, find
from semilla.methods.catalogue import check_task
from semilla.networks import weights as weight_files
from semilla.randomness import permutation, torch_seed
from semilla.text import clean, short
from semilla.training import devices, lineage, plan
from semilla.training.trial import profile, step_seconds

FORMAT = 1
MOST_READ, MOST_PROBED = 2_000, 10_000
"""Labeled examples a read-out learns from, and held-out ones it is scored on, at the most."""

_STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
_FOLDS = 3


@dataclass(frozen=True)
class Readout:
    """What a linear classifier gets from the features, on the test part.

    Attributes:
        labels: labeled examples it learnt from.
        n: test examples.
        accuracy: with the features of pre-training, with its interval.
        untrained: with those of the same network before its first step.
    """

    labels: int
    n: int
    accuracy: Interval
    untrained: Interval

    def line(self) -> str:
        """For people."""
        own, before = (
            f"{100 * each.mean:.1f} % ({100 * each.low:.1f} … {100 * each.high:.1f})"
            for each in (self.accuracy, self.untrained)
        )
        return f"a linear classifier on {self.labels:,} labels: {own} of {self.n:,} test examples; untrained {before}"

    def plain(self) -> dict[str, Any]:
        """As JSON values."""
        own, before = ([each.mean, each.low, each.high] for each in (self.accuracy, self.untrained))
        return {"labels": self.labels, "n": self.n, "accuracy": own, "untrained": before}


@dataclass(frozen=True)
class Pretrained:
    """What pre-training gives back.

    Attributes:
        result: of the fit.
        readout: None without labels of two classes or without a test part.
        folder: the run folder, or None.
        labeled: how many of the examples have a label, which a training from here needs.
    """

    result: Result
    readout: Readout | None
    folder: Path | None
    labeled: int = 0

    @property
    def model(self) -> Model:
        """Whose ``embed`` gives features; it has no classes to predict."""
        return self.result.model

    def summary(self) -> dict[str, Any]:
        """As plain values."""
        read = None if self.readout is None else self.readout.plain()
        return {**self.result.summary(), "readout": read, "folder": None if self.folder is None else str(self.folder)}


def pretrain(
    data: Any,
    *,
    method: str | type[Method] = "simclr",
    labels: int | None = None,
    recipe: str | Path | None = None,
    minutes: float | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    network: str | None = None,
    readout: bool = True,
    dry_run: bool = False,
    profiled: bool = False,
    allow_change: Iterable[str] = (),
    allow_data_change: bool = False,
    command: str = "semilla.pretrain(…)",
    progress: TextIO | None = None,
    say: Callable[[str], object] = lambda line: None,
    **changes: Any,
) -> Pretrained | None:
    """Train a network on all examples without labels: what `semilla.train` can start from with ``init=``.

    Args:
        data: as for `semilla.train`; a folder of pictures without any label will do.
        method: a name from `semilla.methods.PRETRAINING`, or a `Method` of your own without labeled views.
        labels: labels in all for the read-out alone, the same number for each class; None uses those there are.
        recipe: a TOML file of settings.
        minutes: train for about so long, instead of ``steps``.
        out: the run folder; None keeps everything in memory.
        resume: take up a run where it stopped.
        overwrite: start anew although ``out`` holds this run.
        network: a network's name.
        readout: whether to read out the features with the labels there are.
        dry_run: only read the data and say what would be done.
        profiled: first measure where the time of a step goes, say so, and write a trace into ``out``.
        allow_change: settings that a resumed run may change.
        allow_data_change: whether a resumed run may find other data.
        command: what to write into the run folder as its origin.
        progress: a stream for progress bars; None shows none.
        say: called with each line, such as ``print``.
        **changes: settings, hyperparameters and what belongs to the data, as for `semilla.train`.

    Raises:
        SemillaError: a condition that can be mended; says how.
        Interrupted: a signal arrived; the run was saved.
    """
    if resume and overwrite:
        raise UsageError("U008", "resume and overwrite contradict each other", "give one of them")
    if resume and out is None:
        raise UsageError("U016", "there is nothing to resume without a run folder", "say which: out=")
    source, changes = Source.of(data, changes)
    folder = None if out is None else Path(out)
    if folder is not None:
        source.refuse_inside(folder)
    if recipe is not None and Path(recipe).suffix != ".toml":
        fix = "give a TOML file; a training's recipe makes its own start: semilla train DATA --recipe"
        raise UsageError("U004", f"there is no recipe of pre-training called {str(recipe)!r}", fix)
    entry = _entry(method)
    words = {**changes, **({"network": network} if network is not None else {})}
    resolve(entry.name, entry.hyperparameters, words)  # wrong words are told before any data are read
    if not isinstance(source.data, Dataset):
        check_task(entry, source.task or "images", network)
    dataset = load_data(source, progress)
    check_task(entry, dataset.kind, network)
    readout = readout and dataset.kind != "text"
    if readout and labels is not None and dataset.test is not None:
        choose_labels(dataset.labels, dataset.classes, labels, 0)  # a wrong number is told before hours of training
    fit, place = plan_pretraining(dataset, entry, recipe, minutes, folder, resume, source, words)
    say("\n".join(_announced(fit, timed=dry_run or progress is not None)))
    if profiled:
        say("\n".join(profile(fit, None if dry_run else folder)))
    if dry_run:
        return None
    if folder is not None:
        make_run_folder(folder)
    result = fit.run(
        place,
        resume=resume,
        overwrite=overwrite,
        allow_change=allow_change,
        allow_data_change=allow_data_change,
        progress=progress,
    )
    if readout and dataset.test is not None:
        say("reading out the features with a linear classifier …")
    read = read_out(fit, result.model, dataset, labels) if readout else None
    if folder is not None:
        _write(folder, fit, read, source, dataset, command)
    if readout:
        say(read.line() if read is not None else "no read-out: it needs labels of two classes and a test part")
    return Pretrained(result, read, folder, int((dataset.labels != UNKNOWN).sum()))


def plan_pretraining(
    dataset: Dataset,
    entry: Entry,
    recipe: str | Path | None,
    minutes: float | None,
    folder: Path | None,
    resume: bool,
    source: Source | None,
    changes: dict[str, Any],
) -> tuple[Fit, Path | None]:
    """Everything that is decided before pre-training, and the folder of the fit."""
    layers = [read_recipe(recipe)] if recipe is not None else []
    asked = resolve(entry.name, entry.hyperparameters, *layers, changes)
    bare, parts = pool_only(dataset)
    place = None if folder is None else folder / "fits" / f"{entry.name}-{asked.seed}"
    replayed: dict[str, str] = {}
    if resume and place is not None and (place / FIT).exists():
        asked, replayed = lineage.replayed(asked, files.read_json(place / FIT), minutes is not None, versions())
    settings, reasons = plan.complete(asked, bare, parts)
    fit = Fit(bare, parts, settings, reasons | replayed, entry, source=source)
    if minutes is not None and "steps" not in replayed:
        fit = fit.within(minutes, asked)
    return fit, place


def read_out(fit: Fit, model: Model, dataset: Dataset, labels: int | None = None) -> Readout | None:
    """Logistic regression on frozen features, its strength chosen by cross-validation among the labels.

    Args:
        fit: the fit, for the network as it was before its first step.
        model: the finished one.
        dataset: with its labels and its test part.
        labels: how many to learn from in all, the same number for each class; None takes all, `MOST_READ` at the most.

    Returns:
        None where the data have no labels of two classes, or no test part.
    """
    known = np.flatnonzero(dataset.labels != UNKNOWN)
    if dataset.test is None or len(np.unique(dataset.labels[known])) < 2:
        return None
    seed = fit.settings.seed
    if labels is not None:
        known = choose_labels(dataset.labels, dataset.classes, labels, seed)
    elif len(known) > MOST_READ:
        known = np.sort(known[permutation(seed, "read-out", 0, len(known))[:MOST_READ]])
    tested = np.sort(permutation(seed, "read-out test", 0, len(dataset.test))[:MOST_PROBED])
    inputs = take(dataset.inputs, known), take(dataset.test.inputs, tested)
    truth = dataset.labels[known], dataset.test.labels[tested]
    with devices.own_generators(fit.settings.device):
        untrained = Model(fit.build()[0].ema.net, (), model.card, model.views)
    right = [_linear(each, *inputs, *truth, torch_seed(seed, 0)) for each in (model, untrained)]
    return Readout(len(known), len(tested), *(wilson(int(each.sum()), len(each)) for each in right))


def _linear(
    model: Model,
    inputs: Inputs,
    tested: Inputs,
    labels: npt.NDArray[np.int64],
    truth: npt.NDArray[np.int64],
    seed: int,
) -> npt.NDArray[np.bool_]:
    """Which test examples a linear classifier on the model's features gets right."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, StratifiedKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    features, others = model.embed(inputs[:]), model.embed(tested[:])
    linear = make_pipeline(StandardScaler(), LogisticRegression(C=1e-2, max_iter=500))
    fewest = int(np.unique(labels, return_counts=True)[1].min())
    if fewest >= 2:
        folds = StratifiedKFold(min(_FOLDS, fewest), shuffle=True, random_state=seed % 2**32)
        linear = GridSearchCV(linear, {"logisticregression__C": _STRENGTHS}, cv=folds)
    right: npt.NDArray[np.bool_] = linear.fit(features, labels).predict(others) == truth
    return right


def start_from(init: str | Path) -> dict[str, Any]:
    """Settings that start a training from a run, or from a weights file.

    Args:
        init: a run folder, the folder of one of its fits, or a ``.safetensors`` file.

    Returns:
        ``weights``, and for a run the ``network`` and ``width`` it has.

    Raises:
        UsageError: U062, there is no such file; U072, the run's network is one of the user's own.
        StateError: C023 or C024, there is no finished model, or there are several.
        SafetyError: S021, the weights are a pickle.
    """
    path = Path(init)
    if path.is_file() or (path.suffix and not path.is_dir()):
        return {"weights": str(weight_files.find(path))}
    folder = find_fit(path)
    spec = files.read_json(folder / "model.json")["network"]
    if spec.get("name") == "custom":
        raise UsageError("U072", f"{str(path)!r} has a network of your own", "load its weights into your own module")
    width = spec.get("width", spec.get("widen"))
    own = {} if width is None else {"width": width}
    return {"weights": str(folder / "model.safetensors"), "network": spec["name"], **own}


def facts_of(init: str | Path) -> dict[str, Any]:
    """What a start is, for a run's record: ``name``; of a run also ``method``, ``steps``, ``data`` and ``readout``."""
    path = Path(init)
    if not path.is_dir():
        return {"name": path.name}
    fit = files.read_json(find_fit(path) / FIT)["fit"]
    summary = files.read_json(path / RUN) if (path / RUN).is_file() else {}
    steps = {name: fit["settings"][name] for name in ("method", "steps")}
    return {"name": path.resolve().name, **steps, "data": fit["data"]["name"], "readout": summary.get("readout")}


def _entry(method: str | type[Method]) -> Entry:
    try:
        entry = find(method)
    except UsageError as error:
        if error.code != "U001":
            raise
        fix = nearest(str(method), PRETRAINING)
        raise UsageError("U001", f"unknown method of pre-training {method!r}", fix) from None
    if entry.name not in PRETRAINING and (entry.own is None or entry.own.labeled_views):
        fix = f"take one of {', '.join(PRETRAINING)}; or semilla train DATA --method {entry.name}"
        raise UsageError("U071", f"{entry.name} needs labels, so it is no method of pre-training", fix)
    return entry


def _announced(fit: Fit, timed: bool) -> list[str]:
    """What was understood and what is going to happen."""
    settings, pool = fit.settings, len(fit.parts.unlabeled)
    shape = fit.parts.unlabeled.shape[1:]
    form = {
        "images": f"images of {shape[-1]} × {shape[-2] if len(shape) > 1 else 1} pixels",
        "text": f"lines of text, {shape[1] if len(shape) > 1 else 1} pixels high",
    }.get(fit.dataset.kind, f"vectors of {shape[0]} features")
    lines = [f"{clean(fit.dataset.name)}: {pool:,} {form}, no label is looked at"]
    lines += [clean(note) for note in fit.dataset.notes if note]
    seconds = step_seconds(fit, least=0.5) * (settings.steps or 0) if timed else 0.0
    total = f", about {in_words(max(1.0, seconds))}" if timed else ""
    lines.append(f"plan: {settings.steps:,} steps of {settings.method} with {settings.network}{total}")
    lines += [f"  {name:<16}{short(getattr(settings, name)):<13} {why}" for name, why in fit.reasons.items()]
    return lines


def _write(folder: Path, fit: Fit, read: Readout | None, source: Source, dataset: Dataset, command: str) -> None:
    name = f"{fit.settings.method}-{fit.settings.seed}"
    described = {
        "format": FORMAT,
        "command": command,
        "data": {
            "name": dataset.name,
            "kind": dataset.kind,
            "classes": [],
            "source": source.plain(),
            "notes": [note for note in dataset.notes if note],
        },
        "fits": [name],
        "verdict": None,
        "shipped": name,
        "why": "it was pre-trained without labels; semilla train DATA --init starts from it",
        "readout": None if read is None else read.plain(),
        "versions": versions(),
    }
    files.write_json(folder / RUN, described)
