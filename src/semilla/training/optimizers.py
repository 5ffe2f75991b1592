"""The optimizers of the papers, and the learning rate as a function of progress."""

from __future__ import annotations

import math

import torch
from torch import nn

from semilla.config import Settings


def build_optimizer(net: nn.Module, settings: Settings) -> torch.optim.Optimizer:
    """SGD with Nesterov momentum, or AdamW; weight decay on kernels only.

    Biases and normalisation weights, recognised by having one dimension, are not decayed, as in the FixMatch repository
    and USB. The fused form makes one pass over all weights instead of one for each.
    """
    weights = [parameter for parameter in net.parameters() if parameter.requires_grad]
    groups = [
        {"params": [weight for weight in weights if weight.dim() > 1], "weight_decay": settings.weight_decay},
        {"params": [weight for weight in weights if weight.dim() <= 1], "weight_decay": 0.0},
    ]
    rate = settings.learning_rate
    assert rate is not None
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=rate, fused=True)
    return torch.optim.SGD(groups, lr=rate, momentum=settings.momentum, nesterov=settings.momentum > 0, fused=True)


def learning_rate_factor(progress: float, settings: Settings) -> float:
    """The share of the largest learning rate at a point of the run.

    ``cosine`` is cos(7π/16 · progress), which ends at a fifth of the start (Sohn et al. 2020, §2.3); a warm-up rises
    linearly before it takes over.
    """
    rise = min(1.0, progress / settings.warmup) if settings.warmup > 0 else 1.0
    fall = math.cos(7 * math.pi / 16 * progress) if settings.schedule == "cosine" else 1.0
    return rise * fall


def set_learning_rate(optimizer: torch.optim.Optimizer, settings: Settings, progress: float) -> None:
    """Set the rate of the coming step."""
    assert settings.learning_rate is not None
    for group in optimizer.param_groups:
        group["lr"] = settings.learning_rate * learning_rate_factor(progress, settings)
