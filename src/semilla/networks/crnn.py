"""CRNN (Shi, Bai & Yao 2015, arXiv 1507.05717): convolutions, an LSTM in either direction, a distribution per frame."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from semilla.contract import Output
from semilla.networks.line_encoder import STRIDE, LineEncoder, blank_first, places


class CRNN(nn.Module):
    """A recogniser of text lines for CTC: symbol 0 is the blank.

    An LSTM takes as many steps as there are frames, whatever a processor could do at once, so those for a CPU are
    small. Each stands beside the identity, so that the classifier sees what the convolutions found from the first step
    on; without it nothing but blanks was read for more than 300 steps.

    Args:
        classes: symbols, the blank among them.
        channels: 1 for grey pictures.
        height: of the pictures, 32 or 48 pixels; 16 at least.
        width: channels of the first convolution. 32 is for a CPU (1.3 million weights), 64 for a GPU (5.3 million).
        layers: of the LSTM.
        depth: residual blocks at each resolution.

    Attributes:
        stride: columns of a frame.
    """

    stride = STRIDE

    def __init__(
        self, classes: int, channels: int = 1, height: int = 32, width: int = 32, layers: int = 2, depth: int = 1
    ) -> None:
        super().__init__()
        size = 6 * width
        self.encoder = LineEncoder(channels, height, width, depth, size)
        self.recurrent = nn.ModuleList(_BothWays(size) for _ in range(layers))
        self.norm = nn.LayerNorm(size)
        self.classifier = nn.Linear(size, classes)
        blank_first(self.classifier)

    def forward(self, inputs: Tensor, width: Tensor | None = None) -> Output:
        """(B, channels, height, W), widths (B,) → logits (B, ⌈W / 4⌉, classes), features (B, ⌈W / 4⌉, 8 · width)."""
        frames, lengths = self.encoder(inputs, width)
        valid = None if width is None else places(lengths, frames.shape[1])
        for layer in self.recurrent:
            frames = layer(frames, lengths, valid)
        features = self.norm(frames)
        return Output(self.classifier(features), features, lengths)


class _BothWays(nn.Module):
    """An LSTM from the left and one from each line's own end.

    The second reads the lines turned round within their own lengths. Packed sequences would do the same, but PyTorch's
    fast kernels on CPUs, those in bf16 too, take none that are packed: they need three times as long.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(size)
        self.rightward = nn.LSTM(size, size // 2, batch_first=True)
        self.leftward = nn.LSTM(size, size // 2, batch_first=True)

    def forward(self, x: Tensor, lengths: Tensor, valid: Tensor | None) -> Tensor:
        asked = self.norm(x)
        order = lengths[:, None] - 1 - torch.arange(x.shape[1], device=x.device)
        # What lies beyond the end comes last, turned round too: the places are below 0 and count from the padded end.
        order = (order % x.shape[1])[:, :, None]
        rightward, _ = self.rightward(asked)
        leftward, _ = self.leftward(asked.gather(1, order.expand_as(asked)))
        leftward = leftward.gather(1, order.expand_as(leftward))
        both: Tensor = x + torch.cat([rightward, leftward], 2)
        return both if valid is None else both * valid[:, :, None].to(both.dtype)
