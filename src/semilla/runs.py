"""``semilla.train``: a method and the supervised baseline it has to beat, in one run folder, with a verdict."""

from __future__ import annotations

import dataclasses
import math
import shlex
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TextIO

import numpy as np
from torch import nn

from semilla import files
from semilla.config import PARAMETERS, settings, table_of
from semilla.config import recipe as read_recipe
from semilla.contract import Method
from semilla.data.dataset import UNKNOWN, Dataset, held_out_fingerprint
from semilla.data.labels import IMBALANCE, IntArray
from semilla.data.lines import widths_of
from semilla.data.manifest import Manifest, differences
from semilla.data.progress import in_words
from semilla.data.roles import listed
from semilla.data.source import Source
from semilla.data.sources import load as load_data
from semilla.errors import DataError, StateError
from semilla.evidence.comparison import share_used
from semilla.evidence.intervals import Interval, paired_difference
from semilla.evidence.reading import Edits, cer_change, judge_reading
from semilla.evidence.verdict import FEW, FEW_GROUPS, Verdict, judge
from semilla.fitting import (
    FIT,
    Fit,
    Result,
    check_request,
    labeled_index,
    make_run_folder,
    plan_fit,
    recipe_named,
    refuse_pretraining,
    versions,
)
from semilla.generated_start import GENERATED
from semilla.inference.model import Model, read_run, refuse_file
from semilla.methods import Entry, find
from semilla.methods.catalogue import check_task
from semilla.networks.line_encoder import STRIDE
from semilla.pretraining import facts_of
from semilla.starting import STAGE, first_stage, make_start, started
from semilla.tasks.alphabet import RARE, Alphabet, characters, described, frames_needed
from semilla.text import clean, short
from semilla.training import plan
from semilla.training.trial import profile, step_seconds

RUN, MANIFEST, FORMAT = "run.json", "manifest.jsonl", 1
BASELINE, SCRATCH = "supervised", "from_scratch"

_NOT_TIMED = 50  # steps up to which the plan does not say how long they take: they are over as soon
_FEW_LINES = 64  # generated for the plan of a training from them
_COLOURS = {1: "grey", 3: "colour"}
_CLASSES_SHOWN = 20
_SHARED = (
    *("width", "weights", "layer_decay", "size", "resize", "steps", "labeled_batch", "pool", "optimizer", "seed"),
    *("device", "precision", "memory_format", "threads", "compile"),
    *("evaluate_every", "save_every", "log_every", "strict"),
)
"""What the baseline has in common with the method: everything but the method."""


@dataclass(frozen=True)
class Trained:
    """What a run gives back.

    Attributes:
        fits: each fit's result by name, the baseline first.
        verdict: did the unlabeled data help; None without a test part or a baseline.
        shipped: the name of the fit whose model the run stands for.
        why: why that one.
        folder: the run folder, or None.
        plan: what was understood and planned, line by line.
    """

    fits: dict[str, Result]
    verdict: Verdict | None
    shipped: str
    why: str
    folder: Path | None
    plan: tuple[str, ...]

    def __repr__(self) -> str:
        """Short, for notebooks."""
        word = "no verdict" if self.verdict is None else self.verdict.sentence()
        return f"<Trained: {self.shipped} is shipped; {word}>"

    @property
    def result(self) -> Result:
        """The shipped fit."""
        return self.fits[self.shipped]

    @property
    def model(self) -> Model:
        """The shipped model."""
        return self.result.model

    @property
    def scores(self) -> dict[str, float]:
        """The shipped fit's scores, such as ``{"test/accuracy": 0.96}``; empty without held-out labels."""
        return self.result.scores

    def summary(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "verdict": None if self.verdict is None else self.verdict.plain(),
            "shipped": self.shipped,
            "why": self.why,
            "fits": {name: result.summary() for name, result in self.fits.items()},
            "folder": None if self.folder is None else str(self.folder),
            **self.result.summary(),
        }


def train(
    data: Any = "digits",
    *,
    labels: int | None = None,
    labels_file: str | Path | None = None,
    method: str | type[Method] = "fixmatch",
    baseline: bool = True,
    recipe: str | Path | None = "auto",
    minutes: float | None = None,
    init: str | Path | None = None,
    pretraining: str | None = None,
    generated: Mapping[str, Any] | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    network: nn.Module | str | None = None,
    evaluate_on: str = "test",
    dry_run: bool = False,
    profiled: bool = False,
    allow_change: Iterable[str] = (),
    allow_data_change: bool = False,
    command: str = "semilla.train(…)",
    progress: TextIO | None = None,
    say: Callable[[str], object] = lambda line: None,
    **changes: Any,
) -> Trained | None:
    """Train a method on a few labels and the rest of the pool, and the supervised baseline beside it.

    Args:
        data: ``digits``, ``cifar10``, a folder or file, arrays, a DataFrame, a `Source` or a `Dataset`.
        labels: labeled examples in all, the same number for each class; None uses every label there is.
        labels_file: positions of the labeled examples in the pool, instead of ``labels``.
        method: a name from ``semilla methods``, or a `semilla.contract.Method` of your own.
        baseline: whether to fit supervised training too, with the same network and budget.
        recipe: a recipe's name or TOML file; ``auto`` takes the one for this set and method if there is one.
        minutes: train the method for about so long, instead of ``steps``; the baseline gets as many steps.
        init: a run (of `semilla.pretrain`, or of this function) or a safetensors file to start from. The baseline
            starts from it too, and a second one from scratch.
        pretraining: a method of `semilla.pretrain` that makes such a start first, in ``out``/pretrain, from all
            examples without their labels; ``none`` leaves out what a recipe has. Of ``minutes`` it takes its share. The
            verdict is against labels alone from scratch; after ``generated``, which saw none of the data, from the same
            start.
        generated: with ``pretraining="generated"`` what the generated lines are like, such as ``{"corpus":
            "addresses.txt", "look": "handwriting", "lines": 40_000}``: words of `semilla.generating.renderer`,
            ``lines``, ``steps``, and ``on_the_fly`` for lines drawn as they are needed.
        out: the run folder; None keeps everything in memory.
        resume: take up a run where it stopped.
        overwrite: start anew although ``out`` holds this fit.
        network: a network's name, or a module of your own whose forward returns (logits, features).
        evaluate_on: the held-out part that is scored along the way, ``test`` or ``development``.
        dry_run: only read the data and say what would be done.
        profiled: first measure where the time of the method's step goes, say so, and write a trace into ``out``.
        allow_change: settings that a resumed run may change; it is not bit-exact from there on.
        allow_data_change: whether a resumed run may find other data.
        command: what to write into the run folder as its origin.
        progress: a stream for progress bars; None shows none.
        say: called with each line about the data, the plan and the verdict, such as ``print``.
        **changes: settings and hyperparameters by name, such as ``steps=300, threshold=0.9``, and what belongs to the
            data: ``unlabeled``, ``test``, ``holdout``, ``label_column``, ``size``, … as in `Source`.

    Returns:
        The fits and the verdict; None for a dry run.

    Raises:
        SemillaError: a condition that can be mended; says how.
        Interrupted: a signal arrived; the run was saved.
    """
    check_request(out, resume, overwrite, evaluate_on)
    source, changes = Source.of(data, changes)
    _check_words(method, network, init, pretraining, generated, changes)
    folder = None if out is None else Path(out)
    dataset = _read(source, find(method), network, folder, resume, changes, progress)
    named = recipe_named(recipe, dataset, source, find(method).name)
    if recipe not in ("auto", None):
        recipe = named
    stage = first_stage(pretraining, named, init, dataset.kind == "text", generated)
    asked: dict[str, Any] = {"labels": labels, "labels_file": labels_file, "evaluate_on": evaluate_on}
    own: dict[str, Any] = {"method": method, "recipe": recipe, "network": network}
    if stage is not None:
        known = labeled_index(dataset, labels, labels_file, changes.get("seed") or stage.get("seed") or 0)
        given = changes | {"network": network}
        begin = partial(make_start, dataset, changes=given, labeled=known, read=evaluate_on == "test")
        if dry_run:
            own |= {"baseline": baseline, "profiled": profiled}
            _plan_of_both(source, begin, stage, minutes, progress, say, {**asked, **own, **changes})
            return None
        words: dict[str, Any] = {"overwrite": overwrite, "progress": progress, "say": say, "dry_run": False}
        init, minutes = begin(stage, folder, minutes=minutes, resume=resume, **words)
    if init is not None:
        network = own["network"] = started(init, network, changes)
    common = asked | {"out": folder, "resume": resume, "source": source}
    main = _main(dataset, say, minutes=minutes, **own, **common, **changes)
    if init is not None:
        plan.build_network(main.settings, dataset, main.parts)  # a start that does not fit is told before any training
    others = _beside(dataset, main, network, init is not None, common, changes, recipe) if baseline else []
    fits = [*others, main]
    told = _understood(dataset, main)
    say("\n".join(told))
    planned = _plan(fits, timed=dry_run or progress is not None)  # takes seconds
    say("\n".join([*planned, *([f"run folder: {folder}"] if folder is not None and not dry_run else [])]))
    told += planned
    if profiled:
        say("\n".join(profile(main, None if dry_run else folder)))
    if dry_run:
        return None
    if folder is not None:
        make_run_folder(folder)
        _check_data(folder, dataset, fits, resume, overwrite, allow_data_change)
    allowed = {"allow_change": tuple(allow_change), "allow_data_change": allow_data_change}
    results = {fit.name: _run(fit, folder, fit is main, resume, overwrite, allowed, progress) for fit in fits}
    of_pool = stage is not None and stage["method"] != GENERATED
    trained = _concluded(results, folder, tuple(told), whole=of_pool)
    if folder is not None:
        _save_manifest(folder, dataset)  # now that every fit has accepted what changed
        _write(folder, trained, source, dataset, command, None if init is None else facts_of(init))
    say("\n".join(conclusion(trained, dataset, _usual_steps(named, main))))
    return trained


def _read(
    source: Source,
    entry: Entry,
    network: nn.Module | str | None,
    folder: Path | None,
    resume: bool,
    changes: dict[str, Any],
    progress: TextIO | None,
) -> Dataset:
    """The data, once method and folder are known to suit them."""
    if not isinstance(source.data, Dataset):
        check_task(entry, source.task or "images", network if isinstance(network, str) else None)
    if folder is not None:
        source.refuse_inside(folder)
    dataset = load_data(_sized(source, network, changes), progress)
    if resume and folder is not None:
        _check_begun(folder)
    return dataset


def _plan_of_both(
    source: Source,
    begin: Callable[..., tuple[Path | None, float | None]],
    stage: dict[str, Any],
    minutes: float | None,
    progress: TextIO | None,
    say: Callable[[str], object],
    asked: dict[str, Any],
) -> None:
    """A dry run with a pre-training: its plan, and that of a training from what it makes.

    What a training from a start is like is known once there is one: one of a single step, in a temporary folder.
    """
    common: dict[str, Any] = {"resume": False, "overwrite": False}
    _, left = begin(stage, None, minutes=minutes, dry_run=True, progress=progress, say=say, **common)
    with TemporaryDirectory() as place:
        quiet: dict[str, Any] = {"progress": None, "say": lambda line: None, **common}
        few = {"steps": 1} | ({"lines": _FEW_LINES} if stage["method"] == GENERATED else {})
        init, _ = begin(stage | few, Path(place), minutes=None, dry_run=False, read=False, **quiet)
        train(source, init=init, minutes=left, dry_run=True, progress=progress, say=say, **asked)


def _beside(
    dataset: Dataset,
    main: Fit,
    network: nn.Module | str | None,
    begun: bool,
    common: dict[str, Any],
    changes: dict[str, Any],
    recipe: str | Path | None,
) -> list[Fit]:
    """What the method is held against: labels alone, first from scratch where there is a start."""
    scratch = [_from_scratch(dataset, main, common, changes)] if begun else []
    alone = [_baseline(dataset, main, network, common, changes, recipe)] if main.entry.name != BASELINE else []
    return [*scratch, *alone]


def _check_words(
    method: str | type[Method],
    network: nn.Module | str | None,
    init: str | Path | None,
    pretraining: str | None,
    generated: Mapping[str, Any] | None,
    changes: dict[str, Any],
) -> None:
    """Tell wrong words, and what is wrong with a start, before any data are read."""
    entry = find(method)
    refuse_pretraining(entry)
    settings(entry.name, entry.hyperparameters, changes)
    if init is not None:
        first_stage(pretraining, None, init, generated=generated)
        started(init, network, dict(changes))


def _main(dataset: Dataset, say: Callable[[str], object], **asked: Any) -> Fit:
    """The method's own fit. Where the data do not allow it, what was understood of them is said first."""
    try:
        return plan_fit(dataset, **asked)[0]
    except DataError:
        known = dataset.labels[dataset.labels != UNKNOWN]
        pool = len(dataset.labels) - len(known) + (0 if dataset.unlabeled is None else len(dataset.unlabeled))
        say("\n".join(_overview(dataset, known, pool)))
        raise


def _check_begun(folder: Path) -> None:
    """Refuse to go on where nothing was begun, the pre-training before the fits included.

    Raises:
        SafetyError: S020, it is a file.
        StateError: C002.
    """
    refuse_file(folder)
    if not any(list((folder / stage / "fits").glob(f"*/{FIT}")) for stage in ("", STAGE)):
        raise StateError("C002", f"no run to resume in {str(folder)!r}", "check --out, --method and --seed")


def _run(
    fit: Fit,
    folder: Path | None,
    main: bool,
    resume: bool,
    overwrite: bool,
    allowed: dict[str, Any],
    progress: TextIO | None,
) -> Result:
    """One of the fits; a baseline that an earlier command finished in this folder is taken as it is."""
    place = None if folder is None else folder / "fits" / fit.name
    if place is not None and not (main or resume or overwrite) and (finished := fit.finished(place)) is not None:
        return finished
    began = place is not None and (place / FIT).exists()
    return fit.run(place, resume=resume and began, overwrite=overwrite, progress=progress, **(allowed if began else {}))


def _from_scratch(dataset: Dataset, main: Fit, common: dict[str, Any], changes: dict[str, Any]) -> Fit:
    """Supervised training of the same network without the start: what the start is worth by itself.

    It takes as many steps, but where a start leaves it with fewer than are usual without: then those.
    """
    names = set(_SHARED) - {"weights", "layer_decay", "optimizer"}
    if "steps" not in changes and main.settings.steps == plan.usual_steps(main.settings):
        names -= {"steps", "evaluate_every", "save_every", "log_every"}
    shared = {name: getattr(main.settings, name) for name in names}
    own = {"weights", "layer_decay", "optimizer", "learning_rate", "network"}
    given = {key: value for key, value in changes.items() if key in PARAMETERS and key not in own}
    net = main.settings.network
    views = main.settings.hyperparameters if main.entry.name == BASELINE else {}
    words = {**views, **given, **shared}
    fit, _ = plan_fit(dataset, method=BASELINE, network=net, name=SCRATCH, **common, **words)
    return fit


def _sized(source: Source, network: nn.Module | str | None, changes: dict[str, Any]) -> Source:
    """The source with the size that pretrained weights want, if any are asked for: known before a picture is read."""
    words = {key: value for key, value in changes.items() if key in ("weights", "size", "device")}
    words |= {"network": network} if isinstance(network, str) else {}
    size, _ = plan.choose_size(settings("", {}, words))
    return dataclasses.replace(source, size=size) if size is not None else source


def _baseline(
    dataset: Dataset,
    main: Fit,
    network: nn.Module | str | None,
    common: dict[str, Any],
    changes: dict[str, Any],
    recipe: str | Path | None,
) -> Fit:
    """Supervised training with the method's network, budget and labels.

    Its own settings are those of a recipe's table ``baseline``; of a recipe without one, the method's; and without a
    recipe those of the data set's recipe for supervised training, or else the weak and the strong view.
    """
    given = {key: value for key, value in changes.items() if key in PARAMETERS}
    named = recipe not in ("auto", None)
    own = table_of(recipe, "baseline") if named and recipe is not None else None
    common_names = PARAMETERS if named and own is None else _SHARED
    shared = {name: getattr(main.settings, name) for name in common_names}
    net = network if isinstance(network, nn.Module) else main.settings.network
    words = {key: value for key, value in {**(own or {}), **given, **shared}.items() if key != "network"}
    layers = "auto" if own is None else None
    fit, _ = plan_fit(dataset, method=BASELINE, network=net, recipe=layers, **common, **words)
    return fit


def _overview(dataset: Dataset, labels: IntArray, unlabeled: int) -> list[str]:
    """The form of the data, and how many examples of each class there are in each part.

    Args:
        dataset: as it was read.
        labels: of the labeled examples.
        unlabeled: how many examples have none, or whose label is not used.
    """
    if dataset.kind == "text":
        return _lines_overview(dataset, labels, unlabeled)
    shape = dataset.inputs.shape[1:]
    form = (
        f"{shape[2]} × {shape[1]} pixels, {_COLOURS[shape[0]]}" if dataset.kind == "images" else f"{shape[0]} features"
    )
    lines = [f"{clean(dataset.name)}: {dataset.kind}, {form}", ""]
    counts = {name: np.bincount(own, minlength=len(dataset.classes)) for name, own in _labels(dataset, labels).items()}
    names = [clean(name) for name in dataset.classes]
    width = max(len(name) for name in ("unlabeled", *(name[:30] for name in names)))
    lines.append(f"  {'class':<{width}}" + "".join(f"  {name:>11}" for name in counts))
    shown = range(len(names)) if len(names) <= _CLASSES_SHOWN else range(_CLASSES_SHOWN - 3)
    for number in shown:
        lines.append(
            f"  {names[number][:30]:<{width}}" + "".join(f"  {count[number]:>11,}" for count in counts.values())
        )
    if len(names) > _CLASSES_SHOWN:
        lines.append(f"  … and {len(names) - len(shown)} more classes")
    lines.append(f"  {'all':<{width}}" + "".join(f"  {count.sum():>11,}" for count in counts.values()))
    return [*lines, f"  {'unlabeled':<{width}}  {unlabeled:>11,}", ""]


def _lines_overview(dataset: Dataset, labels: IntArray, unlabeled: int) -> list[str]:
    """Height and widths of the lines, and how many of them and of their characters there are in each part."""
    widths = widths_of(dataset.inputs)
    assert widths is not None
    narrow, middle, wide = (int(value) for value in np.quantile(widths.astype(float), [0, 0.5, 1]))
    height = dataset.inputs.shape[2]
    lines = [
        f"{clean(dataset.name)}: lines of text, {height} px high, {narrow:,} to {wide:,} px wide (half {middle:,})"
    ]
    lines += ["", f"  {'part':<12}{'lines':>9}{'characters':>12}{'longest':>9}{'different':>11}"]
    for name, own in _labels(dataset, labels).items():
        texts = [dataset.classes[number] for number in own]
        many = f"{sum(map(len, texts)):>12,}{max(map(len, texts), default=0):>9,}{len(set().union(*texts)):>11,}"
        lines.append(f"  {name:<12}{len(texts):>9,}{many}")
    return [*lines, f"  {'unlabeled':<12}{unlabeled:>9,}", ""]


def _labels(dataset: Dataset, labels: IntArray) -> dict[str, IntArray]:
    """The labels of each part that has some."""
    held = {part: examples.labels for part in ("development", "test") if (examples := getattr(dataset, part))}
    return {"labeled": labels, **held}


def _understood(dataset: Dataset, fit: Fit) -> list[str]:
    """The data as they were read: form, counts for each class and part, notes."""
    labels, pool = fit.parts.labeled.labels, len(fit.parts.unlabeled)
    if dataset.kind == "text":  # positions in all transcriptions: the split knows its own alone
        labels = dataset.labels[fit.parts.labeled_index]
    notes = [note for note in (*dataset.notes, *fit.parts.notes) if note]
    batch = fit.settings.unlabeled_batch or 0
    if 0 < pool < batch:
        notes.append(f"warn[D041]: {pool:,} unlabeled are fewer than a batch of {batch}: each is used several times")
    notes += _characters(dataset, fit) if dataset.kind == "text" else _imbalance(dataset, labels)
    if dataset.test is None:
        notes.append(
            "no test part: the gain cannot be told; give one with --test DIR, or keep labels back: --holdout 0.2"
        )
    elif len(dataset.test) < FEW:
        notes.append(f"warn[D060]: {len(dataset.test)} test labels are few: only large differences can be told")
    elif (groups := _test_groups(dataset)) and groups < FEW_GROUPS:
        what = f"the {len(dataset.test):,} test lines are of {groups} groups, such as writers"
        notes.append(f"warn[D060]: {what}: only large differences can be told")
    return [*_overview(dataset, labels, pool), *(clean(note).replace("\\n", "\n") for note in notes)]


def _test_groups(dataset: Dataset) -> int:
    """Groups of the test lines, such as writers; 0 where each stands by itself."""
    if dataset.kind != "text" or dataset.manifest is None or dataset.test is None:
        return 0
    own = dataset.manifest.groups[len(dataset.manifest) - len(dataset.test) :]
    return len({*own}) if all(own) else 0


def _characters(dataset: Dataset, fit: Fit) -> list[str]:
    """The alphabet, the labels' rare and odd characters with the files they are in, and what tests have beyond it."""
    parts, known = fit.parts, Alphabet(fit.symbols)
    texts = [parts.classes[number] for number in parts.labeled.labels]
    found = characters(texts, _names(dataset, parts.labeled_index))
    notes = [f"alphabet: {len(known)} characters: {clean(known.symbols)}"]
    odd = [one for one in found if one.combining or one.control]
    if odd:
        told = "; ".join(f"{described(one.character)} {one.count}× in {one.names[0]}" for one in odd[:5])
        notes.append(f"warn[D190]: {len(odd)} characters that join others or cannot be seen: {told}")
    if fit.settings.alphabet is not None:
        given = Alphabet.preset(fit.settings.alphabet)
        more = [one for one in characters(texts, _names(dataset, parts.labeled_index), given) if one.unknown]
        told = "; ".join(f"{described(one.character)} {one.count}× as in {one.names[0]}" for one in more[:5])
        notes += (
            [f"{len(more)} characters of the labels join the alphabet {fit.settings.alphabet}: {told}"] if more else []
        )
    narrow = _narrow(dataset, fit, texts)
    if narrow:
        what = f"{len(narrow)} of {len(texts)} labeled lines are too narrow for their text and teach nothing"
        notes.append(f"warn[D192]: {what}, such as {narrow[0]}")
    rare = [one for one in found if one.count < RARE]
    if rare:
        told = ", ".join(f"{one.character!r} ({one.count})" for one in rare[:20]) + (", …" if len(rare) > 20 else "")
        notes.append(f"{len(rare)} characters stand in the labels fewer than {RARE} times: {told}")
    if dataset.test is not None:
        tested = [dataset.classes[number] for number in dataset.test.labels]
        rows = len(dataset.labels) + len(dataset.development or ()) + np.arange(len(tested))
        beyond = [one for one in characters(tested, _names(dataset, rows), known) if one.unknown]
        if beyond:
            told = "; ".join(f"{described(one.character)} {one.count}× as in {one.names[0]}" for one in beyond[:5])
            notes.append(f"warn[D191]: the test part has {len(beyond)} characters that cannot be written: {told}")
    return notes


def _narrow(dataset: Dataset, fit: Fit, texts: list[str]) -> list[str]:
    """Labeled lines with fewer frames than symbols, of which no path of frames leads to the text."""
    widths = widths_of(fit.parts.labeled.inputs)
    if fit.task.name != "ctc" or widths is None:
        return []
    names = _names(dataset, fit.parts.labeled_index)
    rows = zip(names, texts, widths.tolist(), strict=True)
    return [name for name, text, width in rows if frames_needed(text) > -(-width // STRIDE)]


def _names(dataset: Dataset, rows: IntArray) -> list[str]:
    manifest = dataset.manifest
    return [f"line {row}" if manifest is None else manifest.paths[row] for row in rows.tolist()]


def _imbalance(dataset: Dataset, labels: IntArray) -> list[str]:
    """What accuracy hides: classes far apart in size, and those that nothing is tested on."""
    counts, notes = np.bincount(labels, minlength=len(dataset.classes)), []
    if counts.max() > IMBALANCE * counts.min():
        name, share = clean(dataset.classes[counts.argmax()]), counts.max() / counts.sum()
        what = f"the classes are unbalanced: always saying {name!r} would be right for {share:.0%} of the labels"
        notes.append(f"warn[D130]: {what}; look at balanced accuracy (semilla evaluate)")
    if dataset.test is not None:
        untested = np.setdiff1d(np.arange(len(counts)), dataset.test.labels)
        if len(untested):
            names = listed([dataset.classes[number] for number in untested])
            notes.append(f"warn[D060]: there is no test label of {clean(names)}: nothing can be told of them")
    return notes


def _plan(fits: list[Fit], timed: bool) -> list[str]:
    """What will be trained, with what, and for how long if there is someone to read it."""
    main = fits[-1].settings
    timed = timed and (main.steps or 0) > _NOT_TIMED
    seconds = [step_seconds(fit, least=0.5) * (fit.settings.steps or 0) if timed else 0.0 for fit in fits]
    named = []
    for fit, time in zip(fits, seconds, strict=True):
        told = [f"{fit.settings.steps:,} steps"] if fit.settings.steps != main.steps else []
        told += [in_words(max(1.0, time))] if timed else []
        named.append(fit.name.rsplit("-", 1)[0] + (f" ({', '.join(told)})" if told else ""))
    names = " and ".join(named)
    reasons = [f"  {name:<16}{short(getattr(main, name)):<13} {why}" for name, why in fits[-1].reasons.items()]
    total = f", about {in_words(max(1.0, sum(seconds)))} in all" if timed else ""
    plan = f"plan: {main.steps:,} steps of {names} with {main.network} on {main.device}{total}"
    return [plan, "chosen for you:" if reasons else "every setting was given", *reasons]


def _check_data(folder: Path, dataset: Dataset, fits: list[Fit], resume: bool, overwrite: bool, allowed: bool) -> None:
    """Hold the data against those of a run that is there, and write down what a new run is made of.

    Raises:
        StateError: C026, they have changed: a run stands for one state of its data.
    """
    path, new = folder / MANIFEST, {fit.name for fit in fits}
    others = [place for place in sorted((folder / "fits").glob(f"*/{FIT}")) if place.parent.name not in new]
    changed = differences(Manifest.read(path), dataset.manifest) if path.exists() and dataset.manifest else []
    held_out = held_out_fingerprint(dataset)
    torn = [place for place in others if files.read_json(place)["fit"]["data"].get("held_out") != held_out]
    stale = others if changed else torn
    if overwrite and stale:
        message = f"{str(folder)!r} also holds {stale[0].parent.name}, which was trained on other data"
        raise StateError("C026", message, "take another --out, or remove the folder")
    if (changed or stale) and not (overwrite or (resume and allowed)):
        more = f"\n  … and {len(changed) - 10} more" if len(changed) > 10 else ""
        lines = "".join(f"\n  {clean(line)}" for line in changed[:10]) + more
        what = f"{len(changed)} rows:{lines}" if changed else f"or {stale[0].parent.name} had others to be tested on"
        fix = "give the data back as they were, or add --allow-data-change (another lineage), or another --out"
        raise StateError("C026", f"the data have changed since the run began, {what}", fix)
    if overwrite or not path.exists():
        _save_manifest(folder, dataset)


def _save_manifest(folder: Path, dataset: Dataset) -> None:
    if dataset.manifest is not None:
        dataset.manifest.save(folder / MANIFEST)


def _concluded(results: dict[str, Result], folder: Path | None, told: tuple[str, ...], whole: bool) -> Trained:
    """The verdict, and which fit the run stands for.

    ``whole``: the start was made of the unlabeled examples too, so that the baseline is the fit without it.
    """
    if len(results) == 1:
        return Trained(results, None, next(iter(results)), "it is the only fit", folder, told)
    *others, base, main = results
    if whole and others:
        others, base = [base], others[0]
    parts = [part for part in ("development", "test") if _is_scored(results[main], part)]
    if not parts:
        why = "it uses the unlabeled data; without a test part nothing is claimed"
        return Trained(results, None, main, why, folder, told)
    verdict = None
    if "test" in parts and (whole or results[main].settings.method != BASELINE):  # else the start alone differs
        used = share_used(results[main].history)
        own, alone = (name.rsplit("-", 1)[0] for name in (main, base))
        verdict = _judged(own, results[main], alone, results[base], None if whole else used)  # the start used them all
    scores = {name: _score(results[name], parts[0]) for name in (*others, base, main)}
    gain = scores[main] - scores[base]
    chosen, why = (
        (main, f"it is {100 * gain:.1f} points better than {base.rsplit('-', 1)[0]} on the {parts[0]} labels")
        if gain > 0
        else (base, f"{main.rsplit('-', 1)[0]} is not better on the {parts[0]} labels ({100 * gain:+.1f} points)")
    )
    for name in others:
        if scores[name] > scores[chosen]:
            chosen, why = name, f"no other fit of this run is better on the {parts[0]} labels"
    return Trained(results, verdict, chosen, why, folder, told)


def _is_scored(result: Result, part: str) -> bool:
    return f"{part}_logits" in result.outputs or f"{part}_edits" in result.outputs


def _judged(method: str, own: Result, baseline: str, other: Result, used: float | None) -> Verdict:
    """The verdict on the test part: of classes by the examples that are right, of text by the characters."""
    if "test_edits" in own.outputs:
        return judge_reading(method, _edits(own), baseline, _edits(other), used)
    return judge(method, _right(own), baseline, _right(other), used)


def _score(result: Result, part: str = "test") -> float:
    """The share of the examples that are right; of text, of the characters."""
    return 1 - _edits(result, part).cer if f"{part}_edits" in result.outputs else float(_right(result, part).mean())


def _edits(result: Result, part: str = "test") -> Edits:
    return Edits(*(result.outputs[f"{part}_{name}"] for name in Edits._fields))


def _right(result: Result, part: str = "test") -> np.ndarray[Any, np.dtype[np.bool_]]:
    guess = result.outputs[f"{part}_logits"].argmax(1)
    right: np.ndarray[Any, np.dtype[np.bool_]] = guess == result.outputs[f"{part}_labels"]
    return right


def conclusion(trained: Trained, dataset: Dataset, usual: int) -> list[str]:
    """The last lines of a run: the verdict last of all but the ways on.

    Args:
        trained: the run.
        dataset: its data.
        usual: steps of a run that does not say how many.
    """
    warnings = [f"warn[{code}]: {message}" for fit in trained.fits.values() for code, message in fit.warnings]
    lines = ["", *warnings]
    if dataset.test is None:
        lines.append("nothing is claimed: there is no test part (give --test DIR or --holdout 0.2)")
    elif len(trained.fits) > 1:
        lines += [*_starts(trained), *(trained.verdict.lines() if trained.verdict is not None else [])]
    else:
        metric, value = next(iter(trained.scores.items()), ("", math.nan))
        lines.append(f"{metric.replace('/', ' ')} {100 * value:.1f} %; without a baseline no verdict" if metric else "")
    steps = trained.result.settings.steps or 0
    if trained.verdict is not None and 4 * steps <= usual:
        lines.append(f"note: {steps:,} steps are few (by default {usual:,}): after more of them it may be otherwise")
    return [*lines, f"shipped: {trained.shipped}, because {trained.why}"]


def _usual_steps(recipe: str | Path | None, fit: Fit) -> int:
    """Steps of a run that does not say how many: the recipe's, or else those for the device and the network."""
    own: int | None = read_recipe(recipe).get("steps") if recipe is not None else None
    return own or plan.usual_steps(fit.settings)


def _starts(trained: Trained) -> list[str]:
    """What the start, and then the unlabeled data, added to the labels alone; nothing without a fit from scratch."""
    names = list(trained.fits)
    if not names[0].startswith(f"{SCRATCH}-"):
        return []
    what = ("from scratch, labels alone", "from the start, labels alone", "from the start, with the unlabeled data")
    scores = [100 * _score(trained.fits[name]) for name in names]
    lines = [f"{words}: {score:.1f} %" for words, score in zip(what, scores, strict=False)]
    worth = _gain(trained.fits[names[1]], trained.fits[names[0]])
    lines[1] += f" ({100 * worth.mean:+.1f} points, {100 * worth.low:+.1f} … {100 * worth.high:+.1f})"
    if worth.high < 0:
        steps = trained.fits[names[1]].settings.steps or 0
        lines.append(
            f"after {steps:,} steps the start is worse than none on these labels: train for more steps from it, "
            "pre-train for more, or leave it out"
        )
    return lines


def _gain(own: Result, other: Result) -> Interval:
    """How much better one fit is than another on the same test examples: the share right; of text, of characters."""
    if "test_edits" not in own.outputs:
        return paired_difference(_right(own), _right(other))
    change, _ = cer_change(_edits(own), _edits(other))
    return Interval(0 - change.mean, 0 - change.high, 0 - change.low)


def next_steps(folder: Path) -> list[str]:
    """Commands that go on from a run folder."""
    run = shlex.quote(str(folder))
    commands = {
        f"semilla report {run}": "one page with everything, to read and to pass on",
        f"semilla evaluate {run}": "class by class, with intervals",
        f"semilla predict {run} FILES…": "labels for other files",
        f"semilla export {run}": "ONNX, safetensors and a model card",
    }
    if read_run(folder).get("data", {}).get("kind") == "text":
        del commands[f"semilla export {run}"]
        commands[f"semilla evaluate {run}"] = "error rates with intervals, and which letters are taken for which"
        commands[f"semilla predict {run} FILES…"] = "texts and confidences of other files"
    width = max(map(len, commands))
    return ["", "Next:", *(f"  {command:<{width}}  {what}" for command, what in commands.items())]


def _write(
    folder: Path, trained: Trained, source: Source, dataset: Dataset, command: str, start: dict[str, Any] | None
) -> None:
    described = {
        "format": FORMAT,
        "command": command,
        "data": {
            "name": dataset.name,
            "kind": dataset.kind,
            "classes": list(dataset.classes),
            "source": source.plain(),
            "notes": [note for note in dataset.notes if note],
        },
        "fits": sorted(path.parent.name for path in (folder / "fits").glob(f"*/{FIT}")),
        "start": start,
        "verdict": None if trained.verdict is None else trained.verdict.plain(),
        "shipped": trained.shipped,
        "why": trained.why,
        "versions": versions(),
    }
    files.write_json(folder / RUN, described)
