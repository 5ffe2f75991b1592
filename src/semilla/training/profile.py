"""Where the time of a step goes: a stopwatch around the parts that the loop calls, without a line in the loop itself.

The loop calls its parts in one order, so that a part is what passes between two of their ends. On a device that
computes asynchronously every end waits for it, which is why nothing is measured unless it is asked for.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch

from semilla.training.batches import Batches
from semilla.training.state import State

PARTS = ("views", "forward", "backward", "optimizer", "ema", "other")
"""In the order of a step. Forward is the method's whole page; backward includes clearing the gradients and clipping;
other is what the loop does besides: seeding, checks, the log."""


class Stopwatch:
    """Seconds spent in each part of a step.

    Args:
        state: whose method, optimizer and average tell when they are done.
        batches: likewise.

    Attributes:
        seconds: by part, since `reset`.
        steps: how many, since `reset`.
    """

    def __init__(self, state: State, batches: Batches) -> None:
        self._device = next(state.net.parameters()).device
        self.reset()
        hooks = (
            state.method.register_forward_hook(lambda *_: self.lap("forward")),
            state.optimizer.register_step_pre_hook(lambda *_: self.lap("backward")),
            state.optimizer.register_step_post_hook(lambda *_: self.lap("optimizer")),
        )
        self._undo = [
            _around(batches, "at", lambda: self.lap("other"), lambda: self.lap("views")),
            _around(state.ema, "update", lambda: None, self._end_step),
            *(hook.remove for hook in hooks),
        ]

    def stop(self) -> None:
        """Take everything off again: the device is waited for no more."""
        while self._undo:
            self._undo.pop()()

    def reset(self) -> None:
        """Start anew."""
        self.seconds, self.steps = dict.fromkeys(PARTS, 0.0), 0
        self._last = self._now()

    def lap(self, part: str) -> None:
        """What has passed since the last lap belongs to a part."""
        now = self._now()
        self.seconds[part] += now - self._last
        self._last = now

    def lines(self) -> list[str]:
        """For people: milliseconds of a step and the share of each part."""
        total, each = sum(self.seconds.values()), 1000 / max(1, self.steps)
        rows = [f"  {part:<10}{each * own:10.2f} ms{100 * own / total:7.1f} %" for part, own in self.seconds.items()]
        return [f"a step takes {each * total:.2f} ms (mean of {self.steps} steps):", *rows]

    def _end_step(self) -> None:
        self.lap("ema")
        self.steps += 1

    def _now(self) -> float:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        elif self._device.type == "mps":
            torch.mps.synchronize()
        return time.perf_counter()


def _around(owner: object, name: str, before: Callable[[], None], after: Callable[[], None]) -> Callable[[], None]:
    """Have something done before and after each call of an object's method; the answer undoes it."""
    inner = getattr(owner, name)

    def outer(*arguments: Any) -> Any:
        before()
        result = inner(*arguments)
        after()
        return result

    setattr(owner, name, outer)
    return lambda: delattr(owner, name)
