"""The optimizers of the papers, and the learning rate as a function of progress and of a layer's depth."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from semilla.config import Settings
from semilla.contract import Net
from semilla.networks.timm_backbone import TimmBackbone


def build_optimizer(net: nn.Module, settings: Settings) -> torch.optim.Optimizer:
    """SGD with Nesterov momentum, or AdamW, over `parameter_groups`.

    The fused form makes one pass over all weights instead of one for each.
    """
    groups, rate = parameter_groups(net, settings), settings.learning_rate
    assert rate is not None
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=rate, fused=True)
    return torch.optim.SGD(groups, lr=rate, momentum=settings.momentum, nesterov=settings.momentum > 0, fused=True)


def parameter_groups(net: nn.Module, settings: Settings) -> list[dict[str, Any]]:
    """The parameters by the weight decay and the learning rate they get; each that is trained stands in one group.

    Biases and normalisation weights, recognised by having one dimension, are not decayed, as in the FixMatch repository
    and USB, nor is what a timm model asks to leave alone. With ``layer_decay`` γ the rate of a parameter k layers below
    the deepest is γᵏ of the full one (Bao et al. 2022, arXiv 2106.08254), which the classifier and all heads get.

    Returns:
        Groups with ``params``, ``weight_decay`` and ``lr_scale``, the share of the learning rate.
    """
    weights = {name: weight for name, weight in net.named_parameters() if weight.requires_grad}
    kept = _undecayed(net)
    decays = {name: weight.dim() > 1 and name not in kept for name, weight in weights.items()}
    depths = layer_depths(net) if settings.layer_decay not in (None, 1.0) else {}
    deepest = max(depths.values(), default=0)
    levels = sorted({depths.get(name, deepest) for name in weights}) or [0]
    return [
        {
            "params": [
                weight
                for name, weight in weights.items()
                if (depths.get(name, deepest), decays[name]) == (level, decayed)
            ],
            "weight_decay": settings.weight_decay if decayed else 0.0,
            "lr_scale": (settings.layer_decay or 1.0) ** (deepest - level),
        }
        for level in levels
        for decayed in (True, False)
    ]


def layer_depths(net: nn.Module) -> dict[str, int]:
    """The layer of each parameter, 0 next to the input; extra heads are left out.

    Models of timm are grouped by timm. In other networks a layer is a kernel (a parameter of two or more dimensions)
    with the biases and the normalisation that follow it in the order they were registered; a module called
    ``classifier`` is deepest wherever it stands.
    """
    model, prefix = (net.model, "model.") if isinstance(net, Net) else (net, "")
    depths = model.layers() if isinstance(model, TimmBackbone) else {}
    return {prefix + name: depth for name, depth in (depths or _by_kernels(model)).items()}


def _by_kernels(model: nn.Module) -> dict[str, int]:
    last = _classifier(model)
    depths, depth = {}, -1
    for name, weight in model.named_parameters():
        if name not in last:
            depth += weight.dim() > 1
            depths[name] = max(0, depth)
    return depths | dict.fromkeys(last, max(0, depth) + 1)


def _classifier(model: nn.Module) -> set[str]:
    """Names of the classifier's parameters: by that name, by timm's, or none."""
    own = getattr(model, "classifier", model.model.get_classifier() if isinstance(model, TimmBackbone) else None)
    members = {id(weight) for weight in own.parameters()} if isinstance(own, nn.Module) else set()
    return {name for name, weight in model.named_parameters() if id(weight) in members}


def _undecayed(net: nn.Module) -> set[str]:
    model, prefix = (net.model, "model.") if isinstance(net, Net) else (net, "")
    return {prefix + name for name in model.undecayed()} if isinstance(model, TimmBackbone) else set()


def learning_rate_factor(progress: float, settings: Settings) -> float:
    """The share of the largest learning rate at a point of the run.

    ``cosine`` is cos(7π/16 · progress), which ends at a fifth of the start (Sohn et al. 2020, §2.3); a warm-up rises
    linearly before it takes over.
    """
    rise = min(1.0, progress / settings.warmup) if settings.warmup > 0 else 1.0
    fall = math.cos(7 * math.pi / 16 * progress) if settings.schedule == "cosine" else 1.0
    return rise * fall


def set_learning_rate(optimizer: torch.optim.Optimizer, settings: Settings, progress: float) -> None:
    """Set the rate of the coming step, each group's share of it."""
    assert settings.learning_rate is not None
    rate = settings.learning_rate * learning_rate_factor(progress, settings)
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("lr_scale", 1.0)
