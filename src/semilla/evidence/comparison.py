"""Several methods on the same label draws, side by side in worker processes.

Nothing here imports PyTorch: the workers do, each with one thread, which on small networks uses the cores better than
one process with all of them.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import numpy as np

from semilla.data.progress import Bar
from semilla.evidence.intervals import Interval, paired_gain
from semilla.workers import without_main


class Measure(NamedTuple):
    """What methods are compared by.

    Attributes:
        name: for people.
        change: what a difference of two is called.
        rises: whether more is better.
    """

    name: str
    change: str
    rises: bool


MEASURES = {
    "accuracy": Measure("accuracy", "gain over supervised", True),
    "cer": Measure("CER", "change of supervised's", False),
}
"""By the key of a score."""


@dataclass(frozen=True)
class Job:
    """One fit to make.

    Attributes:
        method: its name.
        seed: the label draw, and everything else that is random.
        options: arguments of `semilla.train` besides.
        name: what its row is called, where a method has several; the method's name if empty.
    """

    method: str
    seed: int
    options: dict[str, Any]
    name: str = ""

    @property
    def row(self) -> str:
        """What its row is called."""
        return self.name or self.method


@dataclass(frozen=True)
class Outcome:
    """What came of a job.

    Attributes:
        job: what was asked.
        score: on the held-out part at the end: accuracy, or another measure.
        curve: (step, score) along training.
        used: share of unlabeled draws that entered the loss, over the whole run; None without unlabeled data.
        seconds: wall-clock time of the training loop.
        warnings: (code, message) of what the monitor said.
        measure: what the score is, a key of `MEASURES`.
    """

    job: Job
    score: float
    curve: list[tuple[int, float]]
    used: float | None
    seconds: float
    warnings: list[tuple[str, str]]
    measure: str = "accuracy"


@dataclass(frozen=True)
class Row:
    """One method over all draws.

    Attributes:
        method: its name, or that of its jobs.
        scores: of each draw.
        gain: over the baseline on the same draws, the method's score less the baseline's; None for the baseline itself.
        used: mean share of the unlabeled data used, or None.
        seconds: mean seconds of a fit.
        measure: what the scores are, a key of `MEASURES`.
    """

    method: str
    scores: list[float]
    gain: Interval | None
    used: float | None
    seconds: float
    measure: str = "accuracy"

    @property
    def mean(self) -> float:
        """Mean score."""
        return float(np.mean(self.scores))

    @property
    def word(self) -> str:
        """What the interval says: the unlabeled data ``helped``, ``hurt``, or it ``cannot tell``."""
        if self.gain is None or not (self.gain.low > 0 or self.gain.high < 0):
            return "cannot tell"
        return "helped" if (self.gain.low > 0) == MEASURES[self.measure].rises else "hurt"

    @property
    def spread(self) -> float:
        """Standard deviation over the draws; NaN for one draw."""
        return float(np.std(self.scores, ddof=1)) if len(self.scores) > 1 else float("nan")


def run_jobs(
    jobs: Sequence[Job], workers: int | None = None, progress: TextIO | None = sys.stderr, title: str = "fits"
) -> list[Outcome]:
    """Make all fits; the outcomes in the order of the jobs.

    A job's failure ends the comparison with that job's error.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    count = max(1, min(workers or cores, len(jobs)))
    bar = Bar(title, len(jobs), "fits", progress, keep=True)
    context = multiprocessing.get_context("spawn")  # a fork would copy the threads' locks
    with bar, ProcessPoolExecutor(count, mp_context=context, initializer=_end_with_parent) as pool:
        with nullcontext() if _of_main(jobs) else without_main():  # this is where processes start
            futures: dict[Future[Outcome], int] = {pool.submit(run_job, job): place for place, job in enumerate(jobs)}
        outcomes: dict[int, Outcome] = {}
        try:
            for future in as_completed(futures):
                outcomes[futures[future]] = future.result()
                bar.update(1, jobs[futures[future]].row)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return [outcomes[place] for place in range(len(jobs))]


def _of_main(jobs: Sequence[Job]) -> bool:
    """Whether a job needs something that the user's program defines: then that program is run again, as spawn does."""
    values = [value for job in jobs for value in job.options.values()]
    return any("__main__" in (type(value).__module__, getattr(value, "__module__", "")) for value in values)


def _end_with_parent() -> None:
    """End this worker when the process that started it is gone: a killed comparison must not go on computing."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def run_job(job: Job) -> Outcome:
    """Make one fit in this process."""
    from semilla.fitting import fit

    part = job.options.get("evaluate_on", "test")
    result = fit(**{"threads": 1, **job.options, "method": job.method, "seed": job.seed, "name": job.name or None})
    measure = "cer" if f"{part}/cer" in result.scores else "accuracy"
    key = f"{part}/{measure}"
    curve = [(line["step"], line[key]) for line in result.history if key in line]
    return Outcome(job, result.scores[key], curve, share_used(result.history), result.seconds, result.warnings, measure)


def share_used(history: Sequence[dict[str, Any]]) -> float | None:
    """Over all steps alike: a line of the log is the mean of the steps since the line before."""
    lines = [line for line in history if "used" in line]
    steps = np.diff([0, *(line["step"] for line in lines)])
    return float(np.average([line["used"] for line in lines], weights=steps)) if lines else None


def summarise(outcomes: Sequence[Outcome], baseline: str = "supervised") -> list[Row]:
    """One row for each method, in the order they first appear; gains pair the draws by seed."""
    methods = list(dict.fromkeys(outcome.job.row for outcome in outcomes))
    by_seed = {
        method: {outcome.job.seed: outcome for outcome in outcomes if outcome.job.row == method} for method in methods
    }
    rows = []
    for method in methods:
        own, base = by_seed[method], by_seed.get(baseline, {})
        seeds = sorted(own)
        gain = None
        if method != baseline and all(seed in base for seed in seeds):
            gain = paired_gain([own[seed].score for seed in seeds], [base[seed].score for seed in seeds])
        used = [outcome.used for outcome in own.values() if outcome.used is not None]
        rows.append(
            Row(
                method,
                [own[seed].score for seed in seeds],
                gain,
                float(np.mean(used)) if used else None,
                float(np.mean([outcome.seconds for outcome in own.values()])),
                own[seeds[0]].measure,
            )
        )
    return rows


def format_rows(rows: Sequence[Row]) -> list[str]:
    """The table as lines of text."""
    measure = MEASURES[rows[0].measure]
    heads = f"test {measure.name}", f"{measure.change} (95 %)"
    lines = [f"{'method':<14}{heads[0]:>18}{heads[1]:>32}{'data used':>12}{'seconds':>10}"]
    for row in rows:
        score = f"{100 * row.mean:.1f} ± {100 * row.spread:.1f} %" if len(row.scores) > 1 else f"{100 * row.mean:.1f} %"
        used = "–" if row.used is None else f"{100 * row.used:.0f} %"
        lines.append(f"{row.method:<14}{score:>18}{format_gain(row.gain):>32}{used:>12}{row.seconds:>10.1f}")
    return lines


def format_gain(gain: Interval | None) -> str:
    """A gain in points with its interval."""
    if gain is None:
        return "–"
    if np.isnan(gain.low):
        return f"{100 * gain.mean:+.1f} (one draw: no interval)"
    return f"{100 * gain.mean:+.1f} ({100 * gain.low:+.1f} … {100 * gain.high:+.1f})"


def as_json(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The rows as plain values, an open interval as None."""

    def gain(row: Row) -> dict[str, float | None] | None:
        if row.gain is None:
            return None
        return {key: None if np.isnan(value) else value for key, value in row.gain._asdict().items()}

    return [{**asdict(row), "gain": gain(row), "mean": row.mean} for row in rows]


def free_folder(wanted: Path) -> Path:
    """``wanted``, or ``wanted-2``, ``wanted-3`` … if there is something already."""
    if not wanted.exists():
        return wanted
    number = 2
    while (numbered := wanted.with_name(f"{wanted.name}-{number}")).exists():
        number += 1
    return numbered
