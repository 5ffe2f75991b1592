"""Progress on stderr: a bar with an ETA on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any, TextIO, TypeAlias

from tqdm import tqdm

Watcher: TypeAlias = Callable[[int, int, dict[str, float]], object]
"""Called now and then with the steps made, the steps of the whole run, and the latest means of the log."""

QUIET_SECONDS = 10.0
"""Without a terminal: seconds between two lines."""


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
        self._bar: Any = None
        self.begin(0)

    def begin(self, done: int) -> None:
        """Start the clock after so many steps made before."""
        self.start, self._began = done, time.monotonic()
        self._said = self._began
        if self._stream is not None and self._stream.isatty():
            self.close()
            self._bar = tqdm(total=self.steps, initial=done, desc=self.title, unit="step", file=self._stream)

    def update(self, done: int, values: dict[str, Any]) -> None:
        """Show how far the run is, with the latest means of the log."""
        shown = {name: value for name, value in values.items() if isinstance(value, float)}
        if self._watcher is not None:
            self._watcher(done, self.steps, shown)
        if self._bar is not None:
            self._bar.set_postfix({name: f"{value:.3f}" for name, value in shown.items()}, refresh=False)
            self._bar.update(done - self._bar.n)
        elif self._stream is not None and time.monotonic() - self._said > QUIET_SECONDS:
            self._said = time.monotonic()
            left = (self._said - self._began) / max(1, done - self.start) * (self.steps - done)
            text = "  ".join(f"{name} {value:.3f}" for name, value in shown.items())
            print(f"{self.title}: step {done}/{self.steps}, {left:.0f} s left  {text}", file=self._stream, flush=True)

    def say(self, text: str) -> None:
        """A line above the bar."""
        if self._stream is not None:
            tqdm.write(text, file=self._stream)

    def close(self) -> None:
        """Leave the finished bar on the screen."""
        if self._bar is not None:
            self._bar.close()
