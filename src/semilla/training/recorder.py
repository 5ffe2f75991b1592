"""The folder of one fit: its log, its events, its checkpoints, and the model it ends with.

``metrics.jsonl`` is a contract: one line for each logged step, strictly increasing, without anything read from a clock,
so that a run that was killed and resumed leaves the same bytes as one that was not. ``events.jsonl`` tells what
happened when.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from semilla import files
from semilla.config import Settings
from semilla.errors import StateError, TrainingError
from semilla.training import checkpoint
from semilla.training.monitor import check_weights
from semilla.training.optimizers import learning_rate_factor
from semilla.training.progress import Progress
from semilla.training.state import State

METRICS, EVENTS, CHECKPOINTS = "metrics.jsonl", "events.jsonl", "checkpoints"


class Recorder:
    """Writes down what a fit does.

    Args:
        folder: the fit's folder, or None to keep the log in memory only.
        provenance: what a checkpoint must say besides the state: settings, data, versions.
        progress: shows how far the run is.

    Attributes:
        lines: the log so far.
        warned: (code, message) of every warning given.
    """

    def __init__(self, folder: Path | None, provenance: dict[str, Any], progress: Progress) -> None:
        self.folder, self.provenance, self.progress = folder, provenance, progress
        self.lines: list[dict[str, Any]] = []
        self.warned: list[tuple[str, str]] = []
        if folder is not None:
            files.make_folder(folder)

    def log(self, state: State, scores: dict[str, float], settings: Settings) -> None:
        """Close the window of the monitor and append it, with the scores, to the log."""
        assert settings.steps is not None
        assert settings.learning_rate is not None
        before = (state.step - 1) / settings.steps
        rate = settings.learning_rate * learning_rate_factor(before, settings)
        means = state.monitor.window()
        line = {"step": state.step, "learning_rate": rate, **means, **scores}
        self.lines.append(line)
        self._append(METRICS, line, "metrics.append")
        for code, message in state.monitor.warnings(means, state.step / settings.steps):
            self.warned.append((code, message))
            self.event("warning", code=code, message=message, step=state.step)
            self.progress.say(f"warn[{code}]: {message}")
            if settings.strict and code == "T101":
                raise TrainingError(code, message, "the last checkpoint is from before; run without --strict to go on")
        self.progress.update(state.step, {"loss": means["loss"], "used": means.get("used"), **scores})

    def event(self, kind: str, **details: Any) -> None:
        """Append to the list of events, with the time."""
        self._append(EVENTS, {"event": kind, "clock": time.time(), **details}, "events.append")

    def save(self, state: State) -> None:
        """Write a checkpoint of everything, unless a weight is not finite.

        Raises:
            TrainingError: T001.
        """
        if self.folder is None:
            return
        check_weights(state.net.parameters(), state.step)
        tensors, values = state.capture()
        size = self._flush_log()
        values |= {"metrics_bytes": size, "warned": [list(pair) for pair in self.warned], **self.provenance}
        checkpoint.save(self.folder / CHECKPOINTS, state.step, tensors, values)

    def resume(self, state: State) -> bool:
        """Take up the newest whole checkpoint; False if there is none.

        The log is cut back to where that checkpoint was made, so that every step stands in it once.
        """
        assert self.folder is not None
        found = checkpoint.load_latest(self.folder / CHECKPOINTS)
        if found is None:
            self._cut(0)
            return False
        checkpoint.require(found.state, ("metrics_bytes", "warned", *self.provenance))
        state.restore(found.tensors, found.state)
        self._cut(found.state["metrics_bytes"])
        self.warned = [(code, message) for code, message in found.state["warned"]]
        self.event("resumed", step=state.step)
        return True

    def _flush_log(self) -> int:
        """Bytes of the log, all on the disk: a checkpoint must never remember more of it than a power cut leaves."""
        assert self.folder is not None
        path = self.folder / METRICS
        if not path.exists():
            return 0
        with path.open("rb") as log:
            os.fsync(log.fileno())
        return path.stat().st_size

    def _cut(self, size: int) -> None:
        assert self.folder is not None
        path = self.folder / METRICS
        if path.exists():
            if path.stat().st_size < size:
                raise StateError("C014", f"{METRICS} is shorter than the checkpoint says", "restore it from a copy")
            with path.open("r+b") as log:
                log.truncate(size)
            try:
                self.lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
            except ValueError as error:
                raise StateError("C014", f"{METRICS} is damaged: {error}", "restore it from a copy") from error

    def _append(self, name: str, line: dict[str, Any], point: str) -> None:
        if self.folder is None:
            return
        data = json.dumps(line, allow_nan=False, ensure_ascii=True).encode() + b"\n"
        with files.resource_errors(f"cannot write {name}", self.folder, len(data)):
            files.fault(point)
            with (self.folder / name).open("ab") as log:
                log.write(data)
