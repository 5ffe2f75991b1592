"""Scores on held-out labels, always of the averaged weights and in evaluation mode."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import pad

from semilla.contract import Guess, Net, Output, Task
from semilla.data.dataset import Examples, Inputs
from semilla.data.lines import widths_of
from semilla.parts.forward import training_mode
from semilla.training.batches import Views, view_of

BATCH = 512
"""Examples in one forward. The result does not depend on it, only memory does."""


AREA = 2**20
"""Columns times pixels of height, padding included, of lines in one forward: memory does not grow with their width."""


@torch.no_grad()
def outputs(net: Net, views: Views, inputs: Inputs, device: torch.device) -> Iterator[Output]:
    """What the network says of the plain, unaugmented examples, batch after batch.

    Lines of text are read in order of their width and told in their own order: one output for every `BATCH` lines,
    padded with 0 to its longest, with the length of each.
    """
    widths = widths_of(inputs)
    with training_mode(net, False):
        for start in range(0, len(inputs), BATCH):
            if widths is None:
                rows = torch.from_numpy(np.ascontiguousarray(inputs[start : start + BATCH])).to(device)
                yield net(views("none", rows, torch.zeros(len(rows), 0)))
            else:
                yield _lines(net, views, inputs, start, widths[start : start + BATCH], device)


def read(net: Net, task: Task, views: Views, inputs: Inputs, device: torch.device) -> Guess:
    """The task's reading of plain examples, on the CPU: targets as `stack_targets` puts them together, confidences."""
    guesses = [task.guess(output) for output in outputs(net, views, inputs, device)]
    if not guesses:
        return Guess(torch.empty(0, 1, dtype=torch.int64), torch.empty(0))
    target = stack_targets([each.target.cpu() for each in guesses])
    return Guess(target, torch.cat([each.confidence.float().cpu() for each in guesses]))


def _lines(
    net: Net, views: Views, inputs: Inputs, start: int, widths: npt.NDArray[np.int64], device: torch.device
) -> Output:
    """The output of some consecutive lines."""
    groups, parts = _by_width(widths, inputs.shape[2]), []
    for group in groups:
        rows = torch.from_numpy(np.ascontiguousarray(inputs[start + group])).to(device)
        width = torch.from_numpy(widths[group]).to(device)
        output = net(view_of(views, "none", rows, torch.zeros(len(rows), 0), width))
        lengths = output.lengths
        if lengths is None and output.logits.dim() == 3:
            lengths = torch.full((len(rows),), output.logits.shape[1], device=device)
        parts.append(output._replace(lengths=lengths))
    order = torch.from_numpy(np.argsort(np.concatenate(groups))).to(device)
    lengths = None if parts[0].lengths is None else _joined([part.lengths for part in parts])[order]
    return Output(
        _joined([part.logits for part in parts])[order], _joined([part.features for part in parts])[order], lengths
    )


def _joined(parts: Sequence[Tensor | None]) -> Tensor:
    """Tensors of several batches as one; sequences (B, T, …) are padded with 0 to the longest."""
    given = [part for part in parts if part is not None]
    if given[0].dim() == 3:
        longest = max(part.shape[1] for part in given)
        given = [pad(part, (0, 0, 0, longest - part.shape[1])) for part in given]
    return torch.cat(given)


def _by_width(widths: npt.NDArray[np.int64], height: int) -> list[npt.NDArray[np.int64]]:
    """Rows sorted by width, cut where a batch padded to its widest would exceed `AREA`; a line by itself may."""
    order = np.argsort(widths, kind="stable")
    groups: list[list[int]] = [[]]
    for row in order.tolist():
        if groups[-1] and (len(groups[-1]) + 1) * int(widths[row]) * height > AREA:
            groups.append([])
        groups[-1].append(row)
    return [np.array(group, np.int64) for group in groups]


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
        truth: (N, L) true targets as the task encodes them, padded with −1; None where they are the labels.
    """

    name: str
    examples: Examples
    task: Task
    views: Views
    device: torch.device
    threshold: float | None = None
    truth: Tensor | None = None

    def scores(self, net: Net) -> dict[str, float]:
        """The task's metrics, each under ``<name>/<metric>``.

        For a method with a threshold also ``kept``, the share of guesses it would use, and the first metric over those
        alone: what the pseudo-labels may be worth. It is left out where none is kept.
        """
        guess, confidence = read(net, self.task, self.views, self.examples.inputs, self.device)
        truth = torch.from_numpy(self.examples.labels) if self.truth is None else self.truth.cpu()
        metrics = self.task.metrics(guess, truth)
        if self.threshold is not None:
            kept = confidence >= self.threshold
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
