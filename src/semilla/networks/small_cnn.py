"""A small convolutional network for pictures of 8 to 32 pixels."""

from __future__ import annotations

from torch import Tensor, nn

from semilla.contract import Output


class SmallCNN(nn.Module):
    """3×3 convolutions, each at half the resolution and twice the width of the one before, until 2 or 3 pixels remain.

    8-pixel pictures get three convolutions, 32-pixel pictures five.

    Args:
        channels: 1 for grey pictures, 3 for colour.
        size: height and width of the pictures.
        classes: number of classes.
        width: channels of the first convolution; none gets more than eight times as many.
    """

    def __init__(self, channels: int, size: tuple[int, int], classes: int, width: int = 32) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs, outputs, side = channels, width, min(size)
        while True:
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs)]
            layers.append(nn.LeakyReLU(0.1, inplace=True))
            if side < 4:
                break
            layers.append(nn.MaxPool2d(2))
            inputs, outputs, side = outputs, min(2 * outputs, 8 * width), side // 2
        self.body = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.classifier = nn.Linear(outputs, classes)

    def forward(self, inputs: Tensor) -> Output:
        """(B, channels, height, width) → logits (B, classes), features (B, channels of the last convolution)."""
        features = self.body(inputs)
        return Output(self.classifier(features), features)
