"""A small fast network for colour pictures: a whitening layer that is never trained, then few wide convolutions.

The first layer of Jordan's airbench networks (2024, "94 % on CIFAR-10 in 3.29 seconds on a single GPU", arXiv
2404.00498, §3.2) makes the values of 2 × 2 patches uncorrelated and of equal variance. It is computed from pictures
alone, so in semi-supervised learning the whole pool serves. What follows are three wide layers with as little between
them as there can be; `benchmarks/networks.py` holds the network against a Wide ResNet in the same minutes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semilla.contract import Output

PATCH = 2
SHRINKAGE = 5e-4
"""Added to every eigenvalue (airbench's value, for inputs of unit variance): directions of no variance stay small."""
_SMALLEST = 6


class WhitenedCNN(nn.Module):
    """Whitening, then 3×3 convolutions, each of which halves the resolution, until 3 to 5 pixels remain.

    The first does so by its stride, the others by 2×2 pooling, as pooling the widest map is dear on a CPU (a trace of
    ``--profile`` shows it). 32-pixel pictures get three convolutions of width, 2·width and 4·width channels.

    Args:
        channels: 1 for grey pictures, 3 for colour.
        size: height and width of the pictures.
        classes: number of classes.
        width: channels of the first convolution; none gets more than four times as many.

    Attributes:
        whitening: (8 · channels, channels, 2, 2), every direction once with either sign. Random until `whiten`.
    """

    whitening: Tensor

    def __init__(self, channels: int, size: tuple[int, int], classes: int, width: int = 64) -> None:
        super().__init__()
        directions = channels * PATCH * PATCH
        random = torch.randn(directions, directions) / directions**0.5
        self.register_buffer("whitening", _both_signs(random, channels))
        layers: list[nn.Module] = []
        inputs, outputs, side = 2 * directions, width, min(size) - PATCH + 1
        while side >= _SMALLEST:
            stride = 1 if layers else 2
            layers.append(nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False))
            layers += [nn.MaxPool2d(2)] if stride == 1 else []
            layers += [nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
            inputs, outputs, side = outputs, min(2 * outputs, 4 * width), (side + stride - 1) // 2
        self.body = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.classifier = nn.Linear(inputs, classes)

    @torch.no_grad()
    def whiten(self, inputs: Tensor) -> None:
        """Make the first layer's outputs uncorrelated and of unit variance over some pictures.

        Args:
            inputs: (N, channels, height, width), normalised; some thousand pictures of the pool.
        """
        channels = inputs.shape[1]
        patches = F.unfold(inputs, PATCH).transpose(1, 2).flatten(0, 1).double()  # (patches, channels · 4)
        values, vectors = torch.linalg.eigh(patches.T @ patches / len(patches))
        directions = (vectors / (values + SHRINKAGE).sqrt()).T.flip(0)
        sign = directions.gather(1, directions.abs().argmax(1, keepdim=True)).sign()  # eigenvectors have none
        self.whitening.copy_(_both_signs((directions * sign).float(), channels))

    def forward(self, inputs: Tensor) -> Output:
        """(B, channels, height, width) → logits (B, classes), features (B, channels of the last convolution)."""
        features = self.body(F.relu(F.conv2d(inputs, self.whitening)))
        return Output(self.classifier(features), features)


def _both_signs(directions: Tensor, channels: int) -> Tensor:
    return torch.cat([directions, -directions]).view(-1, channels, PATCH, PATCH)
