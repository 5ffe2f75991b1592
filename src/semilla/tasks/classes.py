"""One class of several: the label is a name, its target the name's position."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from semilla.contract import Divergence, Guess, Output, View
from semilla.errors import DataError


@dataclass(frozen=True)
class Classes:
    """The task of telling classes apart.

    Args:
        names: the classes in the order of the logits.
    """

    names: tuple[str, ...]
    name: ClassVar[str] = "classes"

    def encode(self, labels: Sequence[str]) -> Tensor:
        """Class names → (B,) int64 positions."""
        position = {name: index for index, name in enumerate(self.names)}
        for label in labels:
            if label not in position:
                near = get_close_matches(str(label), self.names, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"the classes are {', '.join(self.names[:10])}"
                raise DataError("D052", f"label {label!r} is not one of the {len(self.names)} classes", hint)
        return torch.tensor([position[label] for label in labels], dtype=torch.int64)

    def decode(self, target: Tensor) -> list[str]:
        """(B,) positions → class names."""
        return [self.names[index] for index in target.tolist()]

    def prefix(self, target: Tensor) -> None:
        """Classifiers read nothing but the input."""
        return None

    def loss(self, output: Output, target: Tensor) -> Tensor:
        """(B,) −log p(target) in float32."""
        return F.cross_entropy(output.logits.float(), target, reduction="none")

    @torch.no_grad()
    def guess(self, output: Output) -> Guess:
        """The most probable class and its probability."""
        confidence, target = output.logits.float().softmax(-1).max(-1)
        return Guess(target, confidence)

    def soft_loss(self, output: Output, q: Tensor, divergence: Divergence) -> Tensor:
        """(B,) divergence of the prediction from q (B, C)."""
        return divergence(output.logits, q)

    def align(self, output: Output, seen: View, wanted: View) -> Output:
        """A class has no place in the picture."""
        return output

    def metrics(self, guess: Tensor, truth: Tensor) -> dict[str, float]:
        """Share of the guesses that are right, in [0, 1]."""
        return {"accuracy": (guess == truth).double().mean().item()}
