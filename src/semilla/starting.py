"""What a training starts from: a run or a file that is given, or a pre-training that is made first."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from semilla.config import nearest, network_name, table_of
from semilla.config import recipe as read_recipe
from semilla.data.dataset import UNKNOWN, Dataset
from semilla.data.labels import IntArray
from semilla.errors import UsageError
from semilla.fitting import FIT
from semilla.generated_start import GENERATED, WORDS, check_word, check_words, corpus_for, pretrain_generated
from semilla.pretraining import pretrain, start_from

_NOT_OF_LINES = ("method", "share")
STAGE = "pretrain"
"""The folder of the pre-training inside a run's folder, and the recipe's table that asks for one."""
SHARE = 0.4
"""Of a budget in minutes, what the pre-training takes where a recipe says nothing else."""

_OF_BOTH = (
    *("network", "width", "size", "resize", "seed", "device", "precision", "memory_format", "threads", "compile"),
    *("save_every", "log_every"),
)
"""Settings of the training that its pre-training shares."""


def first_stage(
    asked: str | None,
    recipe: str | Path | None,
    init: str | Path | None,
    text: bool = False,
    generated: Mapping[str, Any] | None = None,
) -> dict[str, Any] | None:
    """What is to be done before a training: ``method``, ``share`` of the minutes, and settings; None for nothing.

    Args:
        asked: a method of pre-training, ``none`` for none, or None to leave it to the recipe.
        recipe: a recipe's name or file, or None.
        init: what the user starts from.
        text: whether it is text that is to be read.
        generated: what generated lines are like, names of `semilla.generated_start.WORDS`.

    Raises:
        UsageError: U002, a word that says nothing of generated lines; U008, both a start and a pre-training were asked
            for, or words about generated lines and another pre-training.
    """
    if generated and asked != GENERATED:
        message = f"generated says what generated lines are like, and pretrain is {asked or 'not given'}"
        raise UsageError("U008", message, f"add --pretrain {GENERATED}")
    for name in generated or ():
        if name not in (*WORDS, "steps"):
            raise UsageError("U002", f"{name!r} says nothing of generated lines", nearest(name, (*WORDS, "steps")))
        check_word(name, (generated or {})[name])
    if init is not None:
        if asked not in (None, "none"):
            raise UsageError("U008", "init and pretrain both say what to start from", "give one of them")
        return None
    own = table_of(recipe, STAGE) if recipe is not None else None
    if asked == "none" or (asked is None and own is None):
        return None
    stage = {"method": GENERATED if text else "simclr", "share": SHARE, **(own or {})}
    if asked not in (None, stage["method"]):  # another method's settings are not for it
        stage = {"method": asked, "share": stage["share"]}
    stage |= generated or {}
    if not isinstance(stage["share"], int | float) or not 0 < stage["share"] < 1:
        raise UsageError("U006", f"share = {stage['share']!r} of the minutes is out of range", "between 0 and 1")
    shared = read_recipe(recipe) if recipe is not None else {}
    return {**{name: value for name, value in shared.items() if name in _OF_BOTH}, **stage}


def make_start(
    dataset: Dataset,
    stage: dict[str, Any],
    folder: Path | None,
    changes: dict[str, Any],
    minutes: float | None,
    resume: bool,
    labeled: IntArray,
    read: bool,
    **words: Any,
) -> tuple[Path | None, float | None]:
    """Pre-train, and say where the start lies, or None for a dry run; and the minutes that are left.

    Args:
        dataset: whose labels pre-training does not look at; those that ``labeled`` names read out its features.
        stage: as `first_stage` gives it.
        folder: of the run.
        changes: the settings of the training; those of both are taken over.
        minutes: for the whole run, or None to leave it to the steps.
        resume: whether the run is taken up again: a stage that was not begun begins.
        labeled: positions of the examples whose labels the training may use.
        read: whether the test part may say how well a linear classifier reads the features.
        **words: as for `semilla.pretrain`.

    Raises:
        UsageError: U073, there is no folder.
    """
    if folder is None and not words["dry_run"]:
        raise UsageError("U073", "a pre-training is kept in the run's folder, and there is none", "say which: out=")
    place = (folder or Path()) / STAGE
    share = stage["share"]
    given = {name: value for name, value in changes.items() if name in _OF_BOTH and value is not None}
    begun = any((place / "fits").glob(f"*/{FIT}"))
    if stage["method"] == GENERATED:
        return _from_generated(dataset, stage, place, given, minutes, resume and begun, labeled, words)
    own = {name: value for name, value in {**stage, **given}.items() if name != "share"}
    part = None if minutes is None else share * minutes
    shown = knowing(dataset, labeled)
    readable = read and shown.test is not None and len(np.unique(shown.labels[labeled])) > 1
    made = pretrain(shown, out=place, minutes=part, resume=resume and begun, readout=readable, **own, **words)
    return None if made is None else place, None if minutes is None else (1 - share) * minutes


def knowing(dataset: Dataset, labeled: IntArray) -> Dataset:
    """The data with these labels alone."""
    labels = np.full_like(dataset.labels, UNKNOWN)
    labels[labeled] = dataset.labels[labeled]
    return dataclasses.replace(dataset, labels=labels)


def _from_generated(
    dataset: Dataset,
    stage: dict[str, Any],
    place: Path,
    given: dict[str, Any],
    minutes: float | None,
    resume: bool,
    labeled: IntArray,
    words: dict[str, Any],
) -> tuple[Path | None, float | None]:
    """`make_start` from generated lines, whose corpus is chosen by the transcriptions that training may see.

    Raises:
        UsageError: U071, the data are no lines of text.
    """
    if dataset.kind != "text":
        message = f"generated lines are a start for text, and {dataset.name} has {dataset.kind}"
        raise UsageError("U071", message, "add --task text, or take another method of pre-training")
    part = None if minutes is None else stage["share"] * minutes
    known = [dataset.classes[label] for label in dataset.labels[labeled]]
    own = {"corpus": corpus_for(known), **{name: value for name, value in stage.items() if name not in _NOT_OF_LINES}}
    if words.pop("dry_run"):
        check_words({name: value for name, value in own.items() if name in WORDS}, int(dataset.inputs.shape[2]))
        words["say"](f"first: a start from generated lines of {own['corpus']}")
        return None, None if minutes is None else minutes - (part or 0.0)
    height = int(dataset.inputs.shape[2])
    pretrain_generated(place, height=height, minutes=part, resume=resume, **{**own, **given}, **words)
    return place, None if minutes is None else minutes - (part or 0.0)


def started(init: str | Path, network: nn.Module | str | None, changes: dict[str, Any]) -> nn.Module | str | None:
    """Put a start into the settings, and say which network it is of.

    Raises:
        UsageError: U008, ``weights`` say another start; U063, another network was asked for than the start's,
            or another width.
    """
    if changes.get("weights") is not None:
        raise UsageError("U008", "init and weights both say what to start from", "give one of them")
    start = start_from(init)
    named = start.pop("network", None)
    asked = network_name(network) if isinstance(network, str) else network
    if named is not None and asked not in (None, named):
        other = asked if isinstance(asked, str) else "a network of your own"
        raise UsageError("U063", f"{str(init)!r} is a {named}, not {other}", "leave network out")
    width = start.get("width")
    if width is not None and changes.get("width") not in (None, width):
        raise UsageError("U063", f"{str(init)!r} is {width} wide, not {changes['width']}", "leave width out")
    changes |= start
    return network if named is None else named
