"""Networks: modules whose ``forward(inputs)`` gives an `Output` of logits and features."""

from semilla.networks.attention_reader import AttentionReader
from semilla.networks.conv_transformer import ConvTransformer
from semilla.networks.crnn import CRNN
from semilla.networks.mlp import MLP
from semilla.networks.small_cnn import SmallCNN
from semilla.networks.whitened_cnn import WhitenedCNN
from semilla.networks.wide_resnet import WideResNet

__all__ = ["CRNN", "MLP", "AttentionReader", "ConvTransformer", "SmallCNN", "WhitenedCNN", "WideResNet"]
