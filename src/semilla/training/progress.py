"""The progress of training, on stderr or to a function."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TextIO, TypeAlias

from tqdm import tqdm

from semilla.data.progress import Bar

Watcher: TypeAlias = Callable[[int, int, dict[str, float]], object]
"""Called now and then with the steps made, the steps of the whole run, and the latest means of the log."""


class Progress:
    """A bar over the steps of a run.

    Args:
        title: what is being trained.
        steps: steps of the whole run.
        stream: where to write, or a function to call instead; None does neither.
    """

    def __init__(self, title: str, steps: int, stream: TextIO | Watcher | None = sys.stderr) -> None:
        self.title, self.steps = title, steps
        self._watcher = stream if callable(stream) else None
        self._stream = None if callable(stream) else stream
        self._bar = self._begun(0)

    def begin(self, done: int) -> None:
        """Start the clock after so many steps made before."""
        self.close()
        self._bar = self._begun(done)

    def update(self, done: int, values: dict[str, Any]) -> None:
        """Show how far the run is, with the latest means of the log."""
        shown = {name: value for name, value in values.items() if isinstance(value, float)}
        if self._watcher is not None:
            self._watcher(done, self.steps, shown)
        self._bar.update(done - self._bar.done, "  ".join(f"{name} {value:.3f}" for name, value in shown.items()))

    def say(self, text: str) -> None:
        """A line above the bar."""
        if self._stream is not None:
            tqdm.write(text, file=self._stream)

    def close(self) -> None:
        """Leave the finished bar on the screen."""
        self._bar.close()

    def _begun(self, done: int) -> Bar:
        return Bar(self.title, self.steps, "steps", self._stream, done=done, keep=True)
