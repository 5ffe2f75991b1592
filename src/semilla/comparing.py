"""``semilla.compare``: several methods on the same label draws, with intervals over the draws.

It does not import PyTorch: the worker processes do.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, TextIO

from semilla import files
from semilla.config import nearest, task_of
from semilla.data.dataset import Dataset
from semilla.data.source import Source
from semilla.data.sources import load
from semilla.errors import DataError, StateError, UsageError
from semilla.evidence.comparison import MEASURES, Job, Outcome, Row, as_json, format_rows, run_jobs, summarise
from semilla.methods import METHODS, find, names_for
from semilla.methods.catalogue import check_task

BASELINE, SCRATCH = "supervised", "from_scratch"

_SHAPE = ("network", "width")
_TOLD = {
    "helped": "the unlabeled data helped",
    "hurt": "the unlabeled data hurt",
    "cannot tell": "cannot tell with this many draws",
}


@dataclass(frozen=True)
class Comparison:
    """What a comparison gives back.

    Attributes:
        rows: one for each method: scores of the draws, gain over the baseline with its interval; by accuracy, or for
            text by the character error rate.
        outcomes: every fit.
        folder: where the fits, ``compare.json`` and the figure are, or None.
        seconds: wall-clock time of it all.
    """

    rows: list[Row]
    outcomes: list[Outcome]
    folder: Path | None
    seconds: float

    def summary(self) -> dict[str, Any]:
        """As plain values."""
        versions = {name: metadata.version(name) for name in ("torch", "numpy")}
        told = {"rows": as_json(self.rows), "seconds": round(self.seconds, 1), "versions": versions}
        if MEASURES[self.rows[0].measure].rises:
            return told
        from semilla.tasks.spelling import Protocol  # imports PyTorch

        return {**told, "protocol": Protocol().plain()}

    def write(self, labels: int | None, draws: int) -> None:
        """``compare.json`` into the folder, if there is one."""
        if self.folder is not None:
            files.write_json(self.folder / "compare.json", {"labels": labels, "draws": draws, **self.summary()})

    def lines(self) -> list[str]:
        """The table, and one of three words for each method."""
        return [
            *format_rows(self.rows),
            "",
            *(f"{row.method}: {_TOLD[row.word]}" for row in self.rows if row.gain and row.method != SCRATCH),
        ]

    @property
    def figure(self) -> Path | None:
        """The curves."""
        return None if self.folder is None else self.folder / f"{self.rows[0].measure}.png"


def compare(
    data: Any = "digits",
    methods: Sequence[str] = (),
    *,
    labels: int | None = None,
    draws: int = 3,
    out: str | Path | None = None,
    init: str | Path | None = None,
    workers: int | None = None,
    progress: TextIO | None = None,
    title: str = "",
    **changes: Any,
) -> Comparison:
    """Train several methods and the supervised baseline on the same draws.

    Args:
        data: as for `semilla.train`.
        methods: names; none stands for all. Supervised always takes part.
        labels: labeled examples in all, drawn anew for each draw; None uses every label there is, and then the draws
            differ in the initial weights and the order only.
        draws: how many, seeds 0 to draws − 1.
        out: folder for the fits, the figure and ``compare.json``; None keeps nothing.
        init: a run or a safetensors file that every fit starts from; the labels alone from scratch stand beside them.
        workers: processes side by side; None takes the cores there are.
        progress: where the bar goes; None shows none.
        title: of the figure.
        **changes: as for `semilla.train`.

    Raises:
        SemillaError: a condition that can be mended; says how.
    """
    if draws < 1:
        raise UsageError("U006", f"draws = {draws} is out of range", "give 1 or more; an interval needs 2")
    if "method" in changes:
        raise UsageError("U002", "compare takes methods, a list, and not method", f"methods=[{changes['method']!r}]")
    data, changes = Source.of(data, changes)
    folder = None if out is None else Path(out)
    if folder is not None:
        data.refuse_inside(folder)
    part = changes.get("evaluate_on", "test")
    if not isinstance(data.data, Dataset):
        for name in methods:
            check_task(find(name), data.task or "images", changes.get("network"))
    dataset = load(data, progress)  # it is also decoded once here, and not by each worker
    task = task_of(dataset.kind, changes.get("network"))
    names = list(dict.fromkeys([BASELINE, *(find(name).name for name in methods)])) if methods else names_for(task)
    for name in names:
        check_task(find(name), dataset.kind, changes.get("network"))
    known = {name for method in names for name in find(method).hyperparameters}
    for name in {name for entry in METHODS.values() for name in entry.hyperparameters} & changes.keys() - known:
        raise UsageError("U002", f"none of {', '.join(names)} has {name!r}", nearest(name, known))
    if getattr(dataset, part, None) is None:
        raise DataError("D061", f"the data have no {part} part, so nothing can be told", "give one: test=, holdout=0.2")
    if folder is not None and (folder / "fits").exists():
        raise StateError("C001", f"{str(folder)!r} holds fits already", "name another folder with --out")
    scratch = [] if init is None else [SCRATCH]
    started = dict(changes)
    if init is not None:
        from semilla.pretraining import start_from

        started |= start_from(init)
    began = time.monotonic()
    options = {"data": data, "labels": labels, "out": None if out is None else str(out), "keep_checkpoints": False}
    # The longest first: the last fits decide when all are done.
    order = sorted(names, key=_cost, reverse=True)
    jobs = [Job(name, seed, {**options, **_own(name, started)}) for name in order for seed in range(draws)]
    alone = {**options, **_own(BASELINE, changes)} | {name: started[name] for name in _SHAPE if name in started}
    jobs += [Job(BASELINE, seed, alone, name) for name in scratch for seed in range(draws)]
    done = {(outcome.job.row, outcome.job.seed): outcome for outcome in run_jobs(jobs, workers, progress)}
    outcomes = [done[name, seed] for name in [*scratch, *names] for seed in range(draws)]
    result = Comparison(summarise(outcomes, BASELINE), outcomes, folder, time.monotonic() - began)
    if folder is not None:
        from semilla.reporting.curves import comparison_figure

        assert result.figure is not None
        measure = MEASURES[result.rows[0].measure].name
        comparison_figure(outcomes, result.figure, title or f"test {measure} over {draws} draws")
        result.write(labels, draws)
    return result


def _own(method: str, changes: dict[str, Any]) -> dict[str, Any]:
    """What of the changes a method knows: a threshold is nothing to one without."""
    others = {name for entry in METHODS.values() for name in entry.hyperparameters} - set(find(method).hyperparameters)
    return {key: value for key, value in changes.items() if key not in others}


def _cost(method: str) -> int:
    """Views in a step: what a fit's time goes with."""
    return {"supervised": 0, "pseudo_label": 1}.get(method, 2)


def command_for(folder: Path, fit: str) -> str:
    """The command that scores one of the models."""
    return f"semilla evaluate {shlex.quote(str(folder))} --fit {fit}"
