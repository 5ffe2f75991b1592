"""The small network between features and the space in which self-supervised methods compare them, and how they do."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def projection(inputs: int, width: int, outputs: int) -> nn.Sequential:
    """Linear, BatchNorm, ReLU, linear (Chen et al. 2020, arXiv 2002.05709, §4.2, and its program for BatchNorm).

    Args:
        inputs: width of the features.
        width: of the hidden layer, whose biases BatchNorm would cancel.
        outputs: dimension of the space.
    """
    return nn.Sequential(
        nn.Linear(inputs, width, bias=False), nn.BatchNorm1d(width), nn.ReLU(inplace=True), nn.Linear(width, outputs)
    )


def products(rows: Tensor) -> Tensor:
    """Inner products of all rows with all: (N, D) → (N, N) in float32.

    Under autocast a product of matrices is rounded to 16 bits whatever goes in, and every loss is float32.
    """
    kind = rows.device.type
    if not torch.amp.is_autocast_available(kind):
        return rows.float() @ rows.float().T
    with torch.autocast(kind, enabled=False):
        return rows.float() @ rows.float().T
