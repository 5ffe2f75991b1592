"""MixUp (Zhang et al. 2018) in MixMatch's form."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from semilla.transfer import send


def mixing_weights(generator: np.random.Generator, alpha: float, size: int, device: torch.device) -> Tensor:
    """(size,) weights λ′ = max(λ, 1 − λ), λ ~ Beta(α, α) for each example by itself (MixMatch, equations 8 and 9).

    With λ′ ≥ ½ a mixed example stays nearer to its first part, which is what tells X′ and U′ apart. α = 0 is the limit
    without mixing: all ones.
    """
    if alpha == 0:
        return torch.ones(size, device=device)
    share = generator.beta(alpha, alpha, size).astype(np.float32)
    return send(np.maximum(share, 1 - share), device)


def mix(a: Tensor, b: Tensor, weight: Tensor) -> Tensor:
    """weight·a + (1 − weight)·b with one weight for each example; a and b are (B, …), weight is (B,)."""
    weight = weight.reshape(-1, *[1] * (a.dim() - 1)).to(a.dtype)
    return weight * a + (1 - weight) * b
