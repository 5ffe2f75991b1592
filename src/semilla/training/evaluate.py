"""Scores on held-out labels, always of the averaged weights and in evaluation mode."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from semilla.contract import Net, Output, Task
from semilla.data.dataset import Examples, Inputs
from semilla.parts.forward import training_mode
from semilla.training.batches import Views

BATCH = 512
"""Examples in one forward. The result does not depend on it, only memory does."""


@torch.no_grad()
def outputs(net: Net, views: Views, inputs: Inputs, device: torch.device) -> Iterator[Output]:
    """What the network says of the plain, unaugmented examples, batch after batch."""
    with training_mode(net, False):
        for start in range(0, len(inputs), BATCH):
            rows = torch.from_numpy(np.ascontiguousarray(inputs[start : start + BATCH])).to(device)
            yield net(views("none", rows, torch.zeros(len(rows), 0)))


@dataclass(frozen=True)
class Evaluation:
    """A held-out part and how to score a network on it.

    Attributes:
        name: what the scores are called, such as ``test``.
        examples: inputs and labels.
        task: scores the guesses.
        views: prepares the inputs.
        device: where the network lies.
        threshold: the confidence from which the method uses a guess, or None.
    """

    name: str
    examples: Examples
    task: Task
    views: Views
    device: torch.device
    threshold: float | None = None

    def scores(self, net: Net) -> dict[str, float]:
        """The task's metrics, each under ``<name>/<metric>``.

        For a method with a threshold also ``kept``, the share of guesses it would use, and the first metric over those
        alone: what the pseudo-labels may be worth. It is left out where none is kept.
        """
        read = outputs(net, self.views, self.examples.inputs, self.device)
        guesses = [self.task.guess(output) for output in read]
        guess, truth = stack_targets([each.target.cpu() for each in guesses]), torch.from_numpy(self.examples.labels)
        metrics = self.task.metrics(guess, truth)
        if self.threshold is not None:
            kept = torch.cat([each.confidence.cpu() for each in guesses]) >= self.threshold
            metrics["kept"] = kept.double().mean().item()
            if kept.any():
                headline, value = next(iter(self.task.metrics(guess[kept], truth[kept]).items()))
                metrics[f"kept_{headline}"] = value
        return {f"{self.name}/{metric}": value for metric, value in metrics.items()}


def stack_targets(targets: list[Tensor]) -> Tensor:
    """Targets of several batches as one: (B,), or (B, L) padded with −1 to the longest."""
    longest = max(target.shape[-1] for target in targets)
    if targets[0].dim() == 2:
        targets = [pad(target, (0, longest - target.shape[1]), value=-1) for target in targets]
    return torch.cat(targets)
