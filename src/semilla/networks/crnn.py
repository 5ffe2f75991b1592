"""CRNN (Shi, Bai & Yao 2015, arXiv 1507.05717): convolutions, an LSTM in either direction, a distribution per frame."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from semilla.contract import Output
from semilla.networks.line_encoder import STRIDE, LineEncoder, blank_first, places


class CRNN(nn.Module):
    """A recogniser of text lines for CTC: symbol 0 is the blank.

    An LSTM takes as many steps as there are frames, whatever a processor could do at once, so those for a CPU are
    small. Each stands beside the identity, so that the classifier sees what the convolutions found from the first step
    on; without it nothing but blanks was read for hundreds of steps, in trials that no benchmark here repeats.

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
        """(B, channels, height, W), widths (B,) → logits (B, ⌈W / 4⌉, classes), features (B, ⌈W / 4⌉, 6 · width)."""
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
        self.rightward = _LSTM(size, size // 2, batch_first=True)
        self.leftward = _LSTM(size, size // 2, batch_first=True)

    def forward(self, x: Tensor, lengths: Tensor, valid: Tensor | None) -> Tensor:
        asked = self.norm(x)
        order = lengths[:, None] - 1 - torch.arange(x.shape[1], device=x.device)
        # What lies beyond the end comes last, turned round too: the places are below 0 and count from the padded end.
        order = (order % x.shape[1])[:, :, None]
        rightward = self.rightward(asked)
        leftward = self.leftward(asked.gather(1, order.expand_as(asked)))
        leftward = leftward.gather(1, order.expand_as(leftward))
        both: Tensor = x + torch.cat([rightward, leftward], 2)
        return both if valid is None else both * valid[:, :, None].to(both.dtype)


class _LSTM(nn.LSTM):
    """An LSTM that keeps to one thread of a CPU, forward and backward.

    Its steps are so small that threads spend their time on waiting for one another: on two cores that other programs
    used too, two threads took from twice to a hundred times as long as one. Everything else may use all of them.
    """

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        """(B, T, inputs) → (B, T, outputs)."""
        out: Tensor
        if x.device.type != "cpu" or torch.get_num_threads() == 1 or torch.compiler.is_compiling():
            out, _ = super().forward(x)
        elif torch.is_grad_enabled():
            out = _OneThread.apply(super().forward, x, *self.parameters())
        else:
            with _one_thread():
                out, _ = super().forward(x)
        return out


class _OneThread(torch.autograd.Function):
    """A module's forward and backward on one thread; its graph is kept from the one to the other."""

    @staticmethod
    def forward(context: Any, call: Callable[[Tensor], tuple[Tensor, Any]], x: Tensor, *weights: Tensor) -> Tensor:
        x = x.detach().requires_grad_(x.requires_grad)
        with _one_thread(), torch.enable_grad():
            out = call(x)[0]
        context.read, context.out = (x, *weights), out
        return out.detach()

    @staticmethod
    @once_differentiable
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        wanted = [value for value, needed in zip(context.read, context.needs_input_grad[1:], strict=True) if needed]
        with _one_thread():
            found = iter(torch.autograd.grad(context.out, wanted, gradient))
        context.out = context.read = None
        return None, *(next(found) if needed else None for needed in context.needs_input_grad[1:])


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
