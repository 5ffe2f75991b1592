"""Where the frames of one view's prediction lie in another view of the same lines.

Frame t of a view covers its columns from t · stride on; its place is their middle, at half the height. A view's map
sends its pixels to those of the original line, so the frame's place in the other view is reached through the original.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from semilla.contract import Output, View
from semilla.tasks.positions import lengths_of

SMALLEST = 1e-30
"""Probabilities become logits by a logarithm, whose slope must stay finite."""


def stride_of(columns: int, frames: int) -> float:
    """Columns of one frame: the power of two that makes so many frames of so many columns, else their quotient."""
    powers = (2**k for k in range(max(1, columns).bit_length() + 1))
    return float(next((power for power in powers if -(-columns // power) == frames), columns / frames))


def aligned(output: Output, seen: View, wanted: View, blank: int) -> Output:
    """What was predicted of ``seen``, frame by frame of ``wanted``.

    Probabilities are interpolated linearly between the two frames a place lies between. Where ``seen`` does not reach,
    nothing was read: the blank is certain. Gradient flows through the logits; the features stay those of ``seen``.

    Args:
        output: logits (B, T, C) of ``seen``, whose lengths say how far it reaches.
        seen: the view that was read.
        wanted: the view whose frames are asked for.
        blank: the symbol of nothing.

    Returns:
        The output itself where nothing moved; else logits (B, T′, C), T′ the frames of ``wanted``, normalised.
    """
    columns, count = seen.inputs.shape[-1], output.logits.shape[1]
    stride = stride_of(columns, count)
    frames = -int(-wanted.inputs.shape[-1] // stride)
    if seen.geometry is None and wanted.geometry is None and frames == count:
        return output

    place = _places(seen, wanted, stride, frames)  # in columns of `seen`
    reach = lengths_of(output)[:, None]
    inside = (place >= 0) & (place < reach * stride)
    position = torch.minimum((place / stride - 0.5).clamp_min(0), (reach - 1).clamp_min(0).to(place.dtype))
    left = position.long()
    share = (position - left).float()[:, :, None]
    p = output.logits.float().softmax(-1)
    symbols = p.shape[-1]
    first = p.gather(1, left[:, :, None].expand(-1, -1, symbols))
    second = p.gather(1, (left + 1).clamp_max(count - 1)[:, :, None].expand(-1, -1, symbols))
    nothing = F.one_hot(torch.tensor(blank, device=p.device), symbols).to(p.dtype)
    warped = torch.where(inside[:, :, None], (1 - share) * first + share * second, nothing)

    lengths = output.lengths if wanted.width is None else (wanted.width.to(p.device) / stride).ceil().long()
    if lengths is not None:
        lengths = lengths.clamp_max(frames)
    return output._replace(logits=warped.clamp_min(SMALLEST).log(), lengths=lengths)


def _places(seen: View, wanted: View, stride: float, frames: int) -> Tensor:
    """(B, frames) float64: the column of ``seen`` at which each frame's middle lies."""
    device, height = wanted.inputs.device, wanted.inputs.shape[-2]
    x = (torch.arange(frames, device=device, dtype=torch.float64) + 0.5) * stride
    point = torch.stack([x, torch.full_like(x, height / 2)]).expand(len(wanted), -1, -1)  # (B, 2, frames)
    if wanted.geometry is not None:
        there = wanted.geometry.to(device, torch.float64)
        point = there[:, :, :2] @ point + there[:, :, 2:]
    if seen.geometry is not None:
        back = seen.geometry.to(device, torch.float64)
        point = torch.linalg.solve(back[:, :, :2], point - back[:, :, 2:])
    return point[:, 0]
