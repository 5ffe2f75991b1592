"""A small convolutional network for pictures of 8 to 32 pixels."""

from __future__ import annotations

from torch import Tensor, nn

from semilla.contract import Output


def _block(inputs: int, outputs: int) -> list[nn.Module]:
    return [
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.LeakyReLU(0.1, inplace=True),
    ]


class SmallCNN(nn.Module):
    """Stages of two 3×3 convolutions, each stage at half the resolution and twice the width of the one before.

    Pictures are halved until 4 pixels or fewer would remain: 8 px get two stages, 16 px three, 32 px four at the most.

    Args:
        channels: 1 for grey pictures, 3 for colour.
        size: height and width of the pictures.
        classes: number of classes.
        width: channels of the first stage.
    """

    def __init__(self, channels: int, size: tuple[int, int], classes: int, width: int = 16) -> None:
        super().__init__()
        layers = [*_block(channels, width), *_block(width, width)]
        side = min(size)
        while side > 4 and width < 512:
            layers += [nn.MaxPool2d(2), *_block(width, 2 * width), *_block(2 * width, 2 * width)]
            side, width = side // 2, 2 * width
        self.body = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.classifier = nn.Linear(width, classes)

    def forward(self, inputs: Tensor) -> Output:
        """(B, channels, height, width) → logits (B, classes), features (B, width of the last stage)."""
        features = self.body(inputs)
        return Output(self.classifier(features), features)
