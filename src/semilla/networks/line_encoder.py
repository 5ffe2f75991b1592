"""What all recognisers of text lines share: convolutions from a picture of any width to one vector for each 4 columns.

Lines of different widths are padded to a common one, and what is read in a line must not depend on how much padding
there is. So what lies beyond a line's end is 0 before every convolution that looks sideways, as if the picture ended
there, and each channel is normalised over the places of its own line (instance normalisation). Batch statistics would
hold the padding and the other lines: a teacher and a student who see different views would be normalised differently,
and running statistics of generated text would be wrong for real text. In trials on rendered words it also
left the plateau of all blanks, where training with CTC begins, sooner than BatchNorm or LayerNorm over the channels of
each place; no committed benchmark shows that yet.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

STRIDE = 4
"""Columns of the picture that one frame covers: frame t covers columns 4t to 4t + 3."""
BLANK = 2.0
"""The blank's bias to start with."""
EPSILON = 1e-3
"""Added to each variance: what is almost empty stays small."""


class LineEncoder(nn.Module):
    """Pictures (B, channels, height, W) → frames (B, ⌈W / 4⌉, outputs).

    Both sides are halved twice, then the height alone twice, and what is left of it is one matrix. Every convolution
    that halves has an even kernel without overlap along the halved side, so that a frame's middle is the middle of its
    columns, as the maps of views count it.

    Args:
        channels: 1 for grey pictures.
        height: pixels.
        width: channels of the first convolution; the next have two and four times as many.
        depth: residual blocks after each halving but the first.
        outputs: features of a frame.
    """

    def __init__(self, channels: int, height: int, width: int, depth: int, outputs: int) -> None:
        super().__init__()
        sizes, rows = [width, 2 * width, 4 * width, 4 * width], math.ceil(height / 2)
        self.stem = _Layer(4 * channels, width, (3, 3), (1, 1), (1, 1))
        self.halvings, self.blocks = nn.ModuleList(), nn.ModuleList()
        for number, (inputs, size) in enumerate(pairwise(sizes)):
            shape = ((2, 2), (2, 2), (0, 0)) if number == 0 else ((2, 3), (2, 1), (0, 1))
            rows = math.ceil(rows / 2)
            self.halvings.append(_Layer(inputs, size, *shape))
            self.blocks.append(nn.ModuleList(_Block(size) for _ in range(depth)))
        self.collapse, self.norm = nn.Linear(rows * sizes[-1], outputs, bias=False), nn.LayerNorm(outputs)
        self.outputs = outputs

    def forward(self, inputs: Tensor, width: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Frames of a batch of lines.

        Args:
            inputs: (B, channels, height, W), normalised.
            width: (B,) valid columns, at least 1; None where all are.

        Returns:
            Frames (B, T, outputs), 0 beyond each line's end, and (B,) how many are valid.
        """
        valid = None if width is None else _columns(width, inputs.shape[3], inputs)
        x = F.pixel_unshuffle(_even(inputs if valid is None else inputs * valid), 2)
        valid = _halved(valid)
        x = self.stem(x.contiguous(memory_format=torch.channels_last), valid)
        for number, (halving, blocks) in enumerate(zip(self.halvings, self.blocks, strict=True)):
            valid = _halved(valid) if number == 0 else valid
            x = halving(_even(x) if number == 0 else _even(x, sideways=False), valid)
            for block in blocks:  # type: ignore[attr-defined]
                x = block(x, valid)
        frames = F.relu(self.norm(self.collapse(x.permute(0, 3, 2, 1).flatten(2))))
        if width is None or valid is None:
            return frames, torch.full((len(frames),), frames.shape[1], device=frames.device)
        return frames * valid[:, 0, 0, :, None].to(frames.dtype), (width.to(frames.device) + STRIDE - 1) // STRIDE


class _Layer(nn.Module):
    """Convolution, normalisation, ReLU, and 0 beyond the line's end.

    Args:
        inputs: channels.
        outputs: channels.
        kernel: of the convolution, (height, width).
        stride: likewise.
        padding: columns and rows of 0 around; odd kernels keep the size by it.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int]
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False)
        self.weight, self.bias = nn.Parameter(torch.ones(outputs)), nn.Parameter(torch.zeros(outputs))
        nn.init.kaiming_normal_(self.conv.weight, nonlinearity="relu")

    def forward(self, x: Tensor, valid: Tensor | None, added: Tensor | None = None) -> Tensor:
        """(B, inputs, h, w) → (B, outputs, h', w'); ``valid`` (B, 1, 1, w') is 1 before the end, 0 after."""
        x = self.conv(x).permute(0, 2, 3, 1)  # a change of strides, not of memory
        rows, columns = x.shape[1:3]
        kept = x.new_ones(len(x), 1, rows * columns) if valid is None else _spread(valid, rows, x.dtype)
        rest = None if added is None else added.permute(0, 2, 3, 1).flatten(1, 2)
        arguments = (x.flatten(1, 2), kept, self.weight, self.bias, rest)
        out: Tensor = _Normalised.apply(*arguments) if self.training else _normalised(*arguments)[0]
        return out.view(-1, rows, columns, out.shape[2]).permute(0, 3, 1, 2)


class _Block(nn.Module):
    """Two 3×3 convolutions beside the identity; the second starts at a small scale, so the block starts near it."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.first, self.second = (_Layer(size, size, (3, 3), (1, 1), (1, 1)) for _ in range(2))
        nn.init.constant_(self.second.weight, 0.2)

    def forward(self, x: Tensor, valid: Tensor | None) -> Tensor:
        out: Tensor = self.second(self.first(x, valid), valid, x)
        return out


def _normalised(
    x: Tensor, kept: Tensor, weight: Tensor, bias: Tensor, added: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Each channel of each line normalised over the line's own places, then ReLU.

    Args:
        x: (B, places, channels).
        kept: (B, 1, places) 1 where a place belongs to the line, else 0.
        weight: (channels,).
        bias: (channels,).
        added: what stands beside it under the ReLU, like x.

    Returns:
        The result, 0 where nothing is kept; x less its mean; one over its deviation, float32 (B, 1, channels).
    """
    count = kept.sum(2, keepdim=True, dtype=torch.float32)
    centred = x - ((kept @ x) / count).to(x.dtype)  # sums as products of matrices: the fastest there are on a CPU
    inverse = ((kept @ (centred * centred)) / count + EPSILON).rsqrt()
    out = torch.addcmul(bias.to(x.dtype), centred, (inverse * weight).to(x.dtype))
    out = out if added is None else out + added
    return out.relu() * kept.transpose(1, 2), centred, inverse


class _Normalised(torch.autograd.Function):
    """`_normalised` with a gradient that takes half the passes over memory, and half the memory."""

    @staticmethod
    def forward(context: Any, x: Tensor, kept: Tensor, weight: Tensor, bias: Tensor, added: Tensor | None) -> Tensor:
        out, centred, inverse = _normalised(x, kept, weight, bias, added)
        context.save_for_backward(out, centred, inverse, kept, weight)
        context.adds = added is not None
        return out

    @staticmethod
    @once_differentiable
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        out, centred, inverse, kept, weight = context.saved_tensors
        gradient = torch.ops.aten.threshold_backward(gradient, out, 0)
        count = kept.sum(2, keepdim=True, dtype=torch.float32)
        whole, along = (kept @ gradient).float(), (kept @ (gradient * centred)).float() * inverse
        scale = inverse * weight
        back = torch.addcmul((-scale * whole / count).to(out.dtype), gradient, scale.to(out.dtype))
        back.addcmul_(centred, (-scale * inverse * along / count).to(out.dtype)).mul_(kept.transpose(1, 2))
        return back, None, along.sum((0, 1)), whole.sum((0, 1)), gradient if context.adds else None


def places(width: Tensor, frames: int) -> Tensor:
    """Booleans (B, frames): which frames lie before each line's end.

    Args:
        width: (B,) valid frames.
        frames: of the padded line.
    """
    return torch.arange(frames, device=width.device) < width[:, None]


def blank_first(classifier: nn.Linear) -> None:
    """Let the blank begin as the likeliest symbol, as most frames are blank in the end.

    A start at equal shares first learns that by a detour.
    """
    nn.init.zeros_(classifier.bias)
    with torch.no_grad():
        classifier.bias[0] = BLANK


def sinusoids(position: Tensor, size: int) -> Tensor:
    """(…, size) sines and cosines of positions (…), wavelengths from 2π to 10,000 · 2π (Vaswani et al. 2017)."""
    speed = torch.exp(torch.arange(0, size, 2, device=position.device) * (-math.log(10_000.0) / size))
    angle = position[..., None] * speed
    return torch.stack([angle.sin(), angle.cos()], -1).flatten(-2)


def _columns(width: Tensor, columns: int, like: Tensor) -> Tensor:
    """1 before each line's end, 0 after: (B, 1, 1, columns)."""
    return places(width.to(like.device), columns).to(like.dtype)[:, None, None]


def _spread(valid: Tensor, rows: int, dtype: torch.dtype) -> Tensor:
    """(B, 1, 1, w) → (B, 1, rows · w), the same for each row."""
    return valid.to(dtype).expand(-1, -1, rows, -1).flatten(2)


def _halved(valid: Tensor | None) -> Tensor | None:
    """A pair of columns is valid where its first one is."""
    return None if valid is None else valid[..., ::2]


def _even(x: Tensor, sideways: bool = True) -> Tensor:
    """A row and, where asked for, a column of 0 at the end of odd sides."""
    rows, columns = x.shape[2] % 2, x.shape[3] % 2 * sideways
    return F.pad(x, (0, columns, 0, rows)) if rows or columns else x
