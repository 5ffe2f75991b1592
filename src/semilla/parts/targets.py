"""From predictions to targets. Distributions are (…, C), float32 and sum to 1."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def probs(logits: Tensor) -> Tensor:
    """softmax(logits) in float32; keeps the gradient."""
    return logits.float().softmax(-1)


def sharpen(p: Tensor, temperature: float) -> Tensor:
    """p^(1/T) / Σ p^(1/T), as softmax(log p / T): the power itself underflows at small T (MixMatch, equation 7).

    Args:
        p: (…, C) distributions.
        temperature: T > 0; 1 changes nothing, towards 0 the result becomes one-hot.
    """
    return (p.float().log() / temperature).softmax(-1)  # log 0 = −∞ gives 0 again


def one_hot(target: Tensor, classes: int) -> Tensor:
    """(…,) class indices → (…, classes) float32."""
    return F.one_hot(target, classes).float()
