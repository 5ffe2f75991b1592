"""Networks: modules whose ``forward(inputs)`` gives an `Output` of logits and features."""

from semilla.networks.mlp import MLP
from semilla.networks.small_cnn import SmallCNN
from semilla.networks.whitened_cnn import WhitenedCNN
from semilla.networks.wide_resnet import WideResNet

__all__ = ["MLP", "SmallCNN", "WhitenedCNN", "WideResNet"]
