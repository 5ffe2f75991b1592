"""A few steps on a copy of a fit: how long one takes, and where its time goes."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import torch
from torch.profiler import ProfilerActivity

from semilla import files
from semilla.config import Settings
from semilla.contract import Task
from semilla.training import devices
from semilla.training.batches import Batches
from semilla.training.loop import train_loop
from semilla.training.profile import Stopwatch
from semilla.training.progress import Progress
from semilla.training.recorder import Recorder
from semilla.training.state import State

TRACE = "trace.json"


class Trainable(Protocol):
    """What a trial needs of a `semilla.fitting.Fit`."""

    @property
    def settings(self) -> Settings:
        """Filled in."""

    @property
    def task(self) -> Task:
        """What a label is."""

    def build(self) -> tuple[State, dict[str, Any]]:
        """Everything as it is before the first step."""

    def batches(self, state: State) -> Batches:
        """The batches that the method wants."""


@contextmanager
def trial(fit: Trainable) -> Iterator[tuple[State, Batches, Callable[[int], None]]]:
    """State and batches of a copy of a fit, and what makes some steps of it; nothing of it stays."""
    with devices.computing(fit.settings.device, fit.settings.threads):
        state, _ = fit.build()
        batches = fit.batches(state)

        def go(steps: int) -> None:
            settings = dataclasses.replace(fit.settings, steps=state.step + steps, log_every=None)
            train_loop(state, fit.task, batches, settings, None, Recorder(None, {}, Progress("", 0, None)))

        yield state, batches, go


def step_seconds(fit: Trainable, least: float = 3.0) -> float:
    """Seconds of one step, measured for about so long after one that does not count."""
    steps = 1
    with trial(fit) as (_, _, go):
        go(1)  # the first is slower than the rest, by minutes where it is compiled
        while True:
            start = time.monotonic()
            go(steps)
            elapsed = time.monotonic() - start
            if elapsed >= least / 2:
                return elapsed / steps
            steps *= 2


def profile(fit: Trainable, folder: Path | None = None, least: float = 3.0) -> list[str]:
    """Measure for about so long where the time of a step goes.

    Args:
        fit: of which a copy is measured.
        folder: where `TRACE` of two more steps is written, for chrome://tracing or Perfetto; None writes none.
        least: seconds.

    Returns:
        Lines for people.
    """
    with trial(fit) as (state, batches, go):
        watch = Stopwatch(state, batches)
        go(3)  # the first steps are slower than the rest
        watch.reset()
        began = time.monotonic()
        while time.monotonic() - began < least:
            go(2)
        lines = watch.lines()
        if folder is not None:
            watch.stop()
            os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # its lines about a GPU that is not there look like faults
            kinds = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if torch.cuda.is_available() else [])]
            with torch.profiler.profile(activities=kinds) as recorded:
                go(2)
            files.make_folder(folder)
            recorded.export_chrome_trace(str(folder / TRACE))
            lines.append(f"trace of two steps: {folder / TRACE} (open it in ui.perfetto.dev or chrome://tracing)")
    return lines
