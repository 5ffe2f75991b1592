"""Wide ResNet (Zagoruyko & Komodakis 2016, arXiv 1605.07146) as the semi-supervised papers use it: leaky ReLU 0.1."""

from __future__ import annotations

import math
from itertools import pairwise

from torch import Tensor, nn

from semilla.contract import Output

LEAK = 0.1


class _Block(nn.Module):
    """Two pre-activated 3×3 convolutions beside a shortcut, which is a 1×1 convolution where the width changes.

    ``activated_shortcut`` lets the shortcut start from the activated input, as the very first block does.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, momentum: float, activated_shortcut: bool) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(inputs, eps=1e-3, momentum=momentum)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs, eps=1e-3, momentum=momentum)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.activate = nn.LeakyReLU(LEAK, inplace=True)  # in BatchNorm's output, which nothing else reads: less memory
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False) if inputs != outputs else nn.Identity()
        self.activated_shortcut = activated_shortcut

    def forward(self, x: Tensor) -> Tensor:
        active = self.activate(self.norm1(x))
        kept: Tensor = self.shortcut(active if self.activated_shortcut else x)
        out: Tensor = self.conv2(self.activate(self.norm2(self.conv1(active))))
        return out + kept


class WideResNet(nn.Module):
    """Three groups of blocks at 16·k, 32·k and 64·k channels.

    Args:
        channels: 1 for grey pictures, 3 for colour.
        classes: number of classes.
        depth: 6n + 4 layers.
        widen: k.
        momentum: BatchNorm's momentum. The papers' 0.001 suits 2²⁰ steps; here the running statistics are averaged
            once more by the EMA, so that PyTorch's 0.1 serves short and long runs.
    """

    def __init__(self, channels: int, classes: int, depth: int = 28, widen: int = 2, momentum: float = 0.1) -> None:
        super().__init__()
        if depth % 6 != 4:
            raise ValueError(f"depth {depth} is not 6n + 4 (16, 22, 28, 34, …)")
        widths = [16, 16 * widen, 32 * widen, 64 * widen]
        layers: list[nn.Module] = [nn.Conv2d(channels, widths[0], 3, padding=1, bias=False)]
        for group, (inputs, outputs) in enumerate(pairwise(widths)):
            layers.append(_Block(inputs, outputs, 2 if group else 1, momentum, activated_shortcut=group == 0))
            layers += [_Block(outputs, outputs, 1, momentum, False) for _ in range((depth - 4) // 6 - 1)]
        layers += [nn.BatchNorm2d(widths[-1], eps=1e-3, momentum=momentum), nn.LeakyReLU(LEAK, inplace=True)]
        self.body = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.classifier = nn.Linear(widths[-1], classes)
        self.apply(_initialise)

    def forward(self, inputs: Tensor) -> Output:
        """(B, channels, height, width) → logits (B, classes), features (B, 64·k)."""
        features = self.body(inputs)
        return Output(self.classifier(features), features)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels
        nn.init.normal_(module.weight, 0.0, math.sqrt(2.0 / fan_out))
    elif isinstance(module, nn.Linear):
        nn.init.xavier_normal_(module.weight)
        nn.init.zeros_(module.bias)
