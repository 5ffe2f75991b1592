"""The small network between features and the space in which self-supervised methods compare them."""

from __future__ import annotations

from torch import nn


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
