"""What is watched while a run trains: averages for the log, a loss not finite, a mask stuck at 0, a collapse."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from semilla.contract import Info, Logs, Losses
from semilla.errors import TrainingError

WINDOWS = 3
"""Windows in a row before a warning is given."""
WARM_UP = 0.2
"""Share of the run before which nothing is suspected: every method starts by knowing nothing."""


@dataclass
class Monitor:
    """Sums over the steps since the last line of the log. Reading them is the only device synchronisation of a step.

    Attributes:
        info: the data set's facts.
        sums: by name, on the device.
        steps: steps in the sums.
        strikes: windows in a row in which a condition held, by its code.
    """

    info: Info
    sums: dict[str, Tensor] = field(default_factory=dict)
    steps: int = 0
    strikes: dict[str, int] = field(default_factory=lambda: {"T101": 0, "T102": 0})

    @torch.no_grad()
    def add(self, losses: Losses, logs: Logs, total: Tensor) -> None:
        """Count one step."""
        values = {"loss": total, **{f"loss/{name}": loss for name, loss in losses.items()}, **logs}
        for name, value in values.items():
            value = value.detach().float()
            self.sums[name] = self.sums[name] + value if name in self.sums else value
        self.steps += 1

    def window(self) -> dict[str, Any]:
        """Means over the window as plain numbers; starts the next one."""
        means = {name: (value / self.steps).tolist() for name, value in self.sums.items()}
        self.sums, self.steps = {}, 0
        return means

    def warnings(self, means: dict[str, Any], progress: float) -> list[tuple[str, str]]:
        """(code, message) of every condition that has now held for three windows in a row, once each."""
        found = {"T101": self._collapse(means), "T102": self._unused(means)}
        said = []
        for code, message in found.items():
            self.strikes[code] = self.strikes[code] + 1 if message and progress >= WARM_UP else 0
            if self.strikes[code] == WINDOWS:
                said.append((code, message))
        return said

    def _collapse(self, means: dict[str, Any]) -> str:
        prediction = means.get("prediction")
        if prediction is None or not self.info.prior:
            return ""
        effective = effective_classes(prediction)
        top = max(range(len(prediction)), key=prediction.__getitem__)
        expected = effective_classes(list(self.info.prior))
        if effective >= expected / 2 and prediction[top] <= max(0.9, 3 * self.info.prior[top]):
            return ""
        return (
            f"collapse suspected: the predictions for the unlabeled examples use {effective:.1f} of "
            f"{expected:.1f} classes that the labels show, class {top} gets {prediction[top]:.0%} "
            f"(among the labels {self.info.prior[top]:.0%}); try a smaller weight or a higher threshold"
        )

    def _unused(self, means: dict[str, Any]) -> str:
        if means.get("used", 1.0) >= 0.01:
            return ""
        return (
            f"the confidence mask is stuck: {means['used']:.2%} of the unlabeled examples are used; "
            "try a lower threshold or more steps"
        )

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Everything above, for a checkpoint."""
        return dict(self.sums), {"steps": self.steps, "strikes": dict(self.strikes)}

    def load(self, sums: dict[str, Tensor], state: dict[str, Any]) -> None:
        """The inverse of `state`."""
        self.sums, self.steps, self.strikes = dict(sums), state["steps"], dict(state["strikes"])


def effective_classes(distribution: list[float]) -> float:
    """Exp of the entropy: how many classes a distribution really uses."""
    return math.exp(-sum(share * math.log(share) for share in distribution if share > 0))


def check_finite(total: Tensor, losses: Losses, step: int) -> None:
    """Stop before a loss that is not finite reaches the weights.

    Raises:
        TrainingError: T001, with the value of every loss term.
    """
    if not torch.isfinite(total):
        values = ", ".join(f"{name} {loss.item():g}" for name, loss in losses.items())
        raise TrainingError(
            "T001",
            f"the loss is not finite at step {step}: {values}",
            "lower learning_rate or weight, or set clip=1; checkpoints are written with finite weights only",
        )


def check_weights(weights: Iterable[Tensor], step: int) -> None:
    """Stop before weights that are not finite are saved.

    Raises:
        TrainingError: T001.
    """
    if not all(bool(torch.isfinite(weight).all()) for weight in weights):
        raise TrainingError(
            "T001",
            f"weights are not finite after step {step}",
            "lower learning_rate or weight, or set clip=1; checkpoints are written with finite weights only",
        )


def check_learns(total: Tensor) -> None:
    """Refuse a loss that does not depend on any weight.

    Raises:
        TrainingError: B001.
    """
    if not total.requires_grad:
        raise TrainingError(
            "B001",
            "the loss does not depend on any weight of the network: it would never change",
            "check that the network's parameters require gradients and that its logits depend on them",
        )
