"""Convolutions, then self-attention over the frames of a line, and a distribution per frame for CTC."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from semilla.contract import Output
from semilla.networks.line_encoder import STRIDE, LineEncoder, blank_first, places


class ConvTransformer(nn.Module):
    """A recogniser of text lines for CTC: symbol 0 is the blank.

    Args:
        classes: symbols, the blank among them.
        channels: 1 for grey pictures.
        height: of the pictures, 32 or 48 pixels; 16 at least.
        width: channels of the first convolution; frames have six times as many features. 32 is for a CPU
            (1.5 million weights), 64 for a GPU (6 million).
        layers: of self-attention.
        depth: residual blocks at each resolution.

    Attributes:
        stride: columns of a frame.
    """

    stride = STRIDE

    def __init__(
        self, classes: int, channels: int = 1, height: int = 32, width: int = 32, layers: int = 2, depth: int = 1
    ) -> None:
        super().__init__()
        self.encoder = FrameTransformer(channels, height, width, layers, depth)
        self.classifier = nn.Linear(self.encoder.outputs, classes)
        blank_first(self.classifier)

    def forward(self, inputs: Tensor, width: Tensor | None = None) -> Output:
        """(B, channels, height, W), widths (B,) → logits (B, ⌈W / 4⌉, classes), features (B, ⌈W / 4⌉, 6 · width)."""
        features, lengths, _ = self.encoder(inputs, width)
        return Output(self.classifier(features), features, lengths)


class FrameTransformer(nn.Module):
    """The line encoder and self-attention over its frames.

    Frames know where they are from their neighbours alone: each layer starts with a convolution along the line
    (as in Chu et al. 2021, arXiv 2102.10882), so that a line may be longer than any seen in training.

    Args:
        channels: 1 for grey pictures.
        height: pixels.
        width: channels of the first convolution; frames have ``outputs`` = six times as many features.
        layers: of self-attention.
        depth: residual blocks at each resolution.
    """

    def __init__(self, channels: int, height: int, width: int, layers: int, depth: int) -> None:
        super().__init__()
        self.outputs = 6 * width
        self.convolutions = LineEncoder(channels, height, width, depth, self.outputs)
        self.layers = nn.ModuleList(_Layer(self.outputs) for _ in range(layers))
        self.norm = nn.LayerNorm(self.outputs)

    def forward(self, inputs: Tensor, width: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor | None]:
        """(B, channels, height, W) → features (B, T, outputs), lengths (B,), which frames are valid (B, T) or None."""
        frames, lengths = self.convolutions(inputs, width)
        valid = None if width is None else places(lengths, frames.shape[1])
        for layer in self.layers:
            frames = layer(frames, valid)
        return self.norm(frames), lengths, valid


class Attention(nn.Module):
    """Multi-head attention whose keys and values can be kept from one call to the next.

    Written out: at some hundred frames PyTorch's fused attention takes longer in bf16 on a CPU, most of it backward.

    Args:
        size: features of queries and of what is read.
        heads: of size // heads features each.
    """

    def __init__(self, size: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key_value, self.out = nn.Linear(size, size), nn.Linear(size, 2 * size), nn.Linear(size, size)
        for linear in (self.query, self.key_value, self.out):
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)

    def memory(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values (B, heads, T, size / heads) of what is read (B, T, size)."""
        keys, values = self.key_value(x).chunk(2, 2)
        return self._apart(keys), self._apart(values)

    def forward(self, x: Tensor, memory: tuple[Tensor, Tensor], bias: Tensor | None = None) -> Tensor:
        """Queries (B, L, size) → (B, L, size).

        Args:
            x: what asks.
            memory: what is read, from `memory`.
            bias: added to the scores, broadcast to (B, heads, L, T); −∞ for what may not be read.
        """
        (keys, values), queries = memory, self._apart(self.query(x))
        scores = (queries @ keys.transpose(2, 3)).float() * queries.shape[3] ** -0.5
        scores = scores if bias is None else scores + bias
        read = scores.softmax(3).to(values.dtype) @ values
        out: Tensor = self.out(read.transpose(1, 2).flatten(2))
        return out

    def _apart(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:2], self.heads, -1).transpose(1, 2)


def hidden(allowed: Tensor) -> Tensor:
    """The bias of attention that hides what is not allowed."""
    return torch.zeros(allowed.shape, device=allowed.device).masked_fill_(~allowed, -torch.inf)


def feed_forward(size: int, factor: int = 2) -> nn.Sequential:
    """Two linear layers with their normalisation in front."""
    return nn.Sequential(nn.LayerNorm(size), nn.Linear(size, factor * size), nn.GELU(), nn.Linear(factor * size, size))


def heads_of(size: int) -> int:
    """Heads of about 48 features."""
    return next(heads for heads in range(max(1, size // 48), 0, -1) if size % heads == 0)


class _Layer(nn.Module):
    """Convolution along the line, self-attention, two linear layers, each beside the identity."""

    def __init__(self, size: int, kernel: int = 7) -> None:
        super().__init__()
        self.place = nn.Conv1d(size, size, kernel, padding=kernel // 2, groups=size)
        self.norm, self.attention = nn.LayerNorm(size), Attention(size, heads_of(size))
        self.feed_forward = feed_forward(size)

    def forward(self, x: Tensor, valid: Tensor | None) -> Tensor:
        ended = x if valid is None else x * valid[:, :, None].to(x.dtype)
        x = x + self.place(ended.transpose(1, 2)).transpose(1, 2)
        asked = self.norm(x)
        bias = None if valid is None else hidden(valid)[:, None, None]
        x = x + self.attention(asked, self.attention.memory(asked), bias)
        x = x + self.feed_forward(x)
        return x
