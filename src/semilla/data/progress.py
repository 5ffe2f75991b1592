"""How far long work is, on stderr: a bar with the time left on a terminal, elsewhere a plain line now and then."""

from __future__ import annotations

import time
from typing import Any, TextIO

QUIET_SECONDS = 10.0
"""Without a terminal: seconds between two lines, and before the first."""


class Bar:
    """The progress of some work; a context that closes it at the end.

    Args:
        title: what is being done.
        total: how much there is to do; None where nobody knows.
        unit: what is counted, in the plural.
        stream: where to write; None shows nothing.
        done: how much was done before.
        delay: seconds before a bar appears.
        keep: whether the finished bar stays on the screen.

    Attributes:
        done: how much is done.
    """

    def __init__(
        self,
        title: str,
        total: int | None,
        unit: str,
        stream: TextIO | None,
        *,
        done: int = 0,
        delay: float = 0.0,
        keep: bool = False,
    ) -> None:
        self._title, self._total, self._unit, self._stream = title, total, unit, stream
        self.done = self._start = done
        self._began = self._said = time.monotonic()
        self._bar: Any = None
        if stream is not None and stream.isatty():
            from tqdm import tqdm  # only where there is a bar: data are read without it

            self._bar = tqdm(
                total=total, initial=done, desc=title, unit=f" {unit}", file=stream, delay=delay, leave=keep
            )

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def update(self, count: int = 1, more: str = "") -> None:
        """So much more is done; ``more`` is what else to show."""
        self.done += count
        now = time.monotonic()
        if self._bar is not None:
            self._bar.set_postfix_str(more, refresh=False)
            self._bar.update(count)
        elif self._stream is not None and now - self._said >= QUIET_SECONDS:
            self._said = now
            print(self._line(now - self._began, more), file=self._stream, flush=True)

    def close(self) -> None:
        """Take the bar away, or leave it finished."""
        if self._bar is not None:
            self._bar.close()

    def _line(self, seconds: float, more: str) -> str:
        of, left = "", ""
        if self._total is not None:
            of = f" of {self._total:,}"
            left = f", {in_words(seconds / max(1, self.done - self._start) * max(0, self._total - self.done))} left"
        return f"{self._title}: {self.done:,}{of} {self._unit}{left}" + (f"  {more}" if more else "")


def in_words(seconds: float) -> str:
    """About how long that is: ``40 s``, ``12 min``, ``3.5 h``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
