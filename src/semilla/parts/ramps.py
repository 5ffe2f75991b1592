"""Weights that grow along training, as functions of progress in [0, 1] so that every budget runs the same recipe."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from semilla.contract import Guess, Run

READ = 0.5
"""Share of the guesses with a symbol in them from which on a run has left the plateau of empty ones."""

Ramp = Literal["linear", "sigmoid"]


def ramp(progress: float, end: float, shape: Ramp = "linear", start: float = 0.0) -> float:
    """0 until ``start``, 1 from ``end`` on.

    ``linear`` is the straight line between; ``sigmoid`` is exp(−5(1 − τ)²) of Laine & Aila 2017 (§2), which begins at
    e⁻⁵ rather than at 0.
    """
    if progress >= end:
        return 1.0
    if progress < start:
        return 0.0
    share = (progress - start) / (end - start)
    return share if shape == "linear" else math.exp(-5 * (1 - share) ** 2)


class Onset(nn.Module):
    """From where a ramp counts: with classes the first step, with strings that where there is something to agree on.

    Training with CTC from scratch begins on a plateau where every guess is empty. A ramp that counted its steps would
    meet the first readings with its full weight.

    Attributes:
        step: where the plateau was left, −1 before; a buffer, so that a resumed run knows it.
    """

    step: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("step", torch.tensor(-1))

    def progress(self, run: Run, guess: Guess) -> float:
        """The share of the run that has passed since, in [0, 1]."""
        if run.task.name == "classes":
            return run.progress
        if self.step < 0 and (guess.confidence > 0).float().mean() >= READ:
            self.step.fill_(run.step)
        return 0.0 if self.step < 0 else (run.step - int(self.step)) / run.steps
