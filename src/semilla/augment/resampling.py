"""Images seen through affine maps, in Pillow's arithmetic: bilinear, float64, cut toward zero, grey beyond the edge.

`resample` serves every map. On a CPU most of a view's time is spent here, and most maps need less: `slide` reads two
neighbours in place of four, `shift` one pixel. All three give the same bytes where they apply.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from semilla.augment import geometry
from semilla.augment.geometry import Maps, Vector
from semilla.transfer import send

GREY = 128
"""What is seen beyond the picture's edge."""
FEW, BLOCK = 2**14, 2**16
"""Pixels of a batch for which calls cost more than arithmetic; pixels at a time, so that a CPU's cache holds them."""


def see(images: Tensor, maps: Maps) -> list[Tensor]:
    """`resample` of images sorted by `neighbours`, by the function that costs least, in parts to be joined.

    With many pixels on a CPU less arithmetic is less time; otherwise fewer calls are, and one function serves all.
    """
    side = images.shape[2] * images.shape[3]
    if images.device.type != "cpu" or len(images) * side < FEW:
        return [resample(images, maps)]
    seen, block = [], max(1, BLOCK // side)
    ends = np.cumsum(np.bincount(neighbours(maps), minlength=3)).tolist()
    for function, start, stop in zip((shift, slide, resample), (0, *ends), ends, strict=False):
        for first in range(start, stop, block):
            part = slice(first, min(first + block, stop))
            seen.append(function(images[part], maps[part]))
    return seen


def neighbours(maps: Maps) -> npt.NDArray[np.int64]:
    """What each map needs: 0 a pixel for each pixel, `shift`; 1 two in a line, `slide`; 2 four, `resample`."""
    changed = maps != geometry.identity(1)
    whole = ~changed[:, :, :2].any((1, 2)) & (maps[:, :, 2] % 1 == 0).all(1)
    return np.where(whole, 0, np.where(changed.any(2).all(1), 2, 1))


def resample(images: Tensor, maps: Maps) -> Tensor:
    """The images seen through affine maps: bilinear between pixels, grey where a map leaves the picture.

    Args:
        images: uint8 (B, C, H, W).
        maps: float64 (B, 2, 3) from output to input coordinates, on the CPU; see `semilla.augment.geometry`.
    """
    batch, _, height, width = images.shape
    sides = np.tile((width, height), batch)
    found = _positions(images, maps.reshape(-1, 3), sides)
    inside, corner, weight = (part.view(batch, 2, height * width) for part in found)
    x, y = weight[:, None, :1], weight[:, None, 1]
    index = corner[:, 1].mul_(width).add_(corner[:, 0]).long()
    left, right = (pick(images, torch.stack((start, start + width), 1)) for start in (index, index + 1))
    upper, lower = _between(left, right, x).unbind(2)
    return _framed(lower.sub_(upper).mul_(y).add_(upper), inside[:, :1] & inside[:, 1:], images)


def shift(images: Tensor, maps: Maps) -> Tensor:
    """`resample` by whole pixels: nothing lies between neighbours.

    Args:
        images: uint8 (B, C, H, W).
        maps: float64 (B, 2, 3) on the CPU; translations by whole numbers.
    """
    (_, _, height, width), device = images.shape, images.device
    x, y = (np.arange(side) + maps[:, k, 2:].astype(np.int64) for k, side in enumerate((width, height)))
    inside = send((y >= 0) & (y < height), device)[:, :, None] & send((x >= 0) & (x < width), device)[:, None]
    index = send(y.clip(0, height - 1) * width, device)[:, :, None] + send(x.clip(0, width - 1), device)[:, None]
    return _framed(pick(images, index.flatten(1)), inside.flatten(1)[:, None], images)


def slide(images: Tensor, maps: Maps) -> Tensor:
    """`resample` where one coordinate stays as it is: two neighbours in place of four.

    Args:
        images: uint8 (B, C, H, W).
        maps: float64 (B, 2, 3) on the CPU; one row of each is the identity's.
    """
    batch, _, height, width = images.shape
    down = (maps[:, 1] != (0.0, 1.0, 0.0)).any(1)[:, None]  # whether it is y that changes
    sides, strides = np.where(down, height, width), np.where(down, width, 1)
    inside, corner, weight = _positions(images, np.where(down, maps[:, 1], maps[:, 0]), sides[:, 0])
    rows, columns, stride = _columns(
        images.device, ~down * np.arange(0, height * width, width), down * np.arange(width), strides
    )
    index = corner.view(batch, height, width).mul_(stride[:, :, None]).add_(rows[:, :, None]).add_(columns[:, None])
    index = index.flatten(1).long()
    left, right = pick(images, index), pick(images, index + stride.long())
    return _framed(_between(left, right, weight[:, None]), inside[:, None], images)


def _positions(images: Tensor, lines: Vector, sides: npt.NDArray[np.int64]) -> tuple[Tensor, Tensor, Tensor]:
    """Where pixels come from along one coordinate, each (B, H · W): whether inside, left neighbour, way to the right.

    Args:
        images: (B, C, H, W).
        lines: (B, 3): factors of x and y, offset.
        sides: (B,) pixels in a line.
    """
    x, y = (np.arange(0.5, side) for side in (images.shape[3], images.shape[2]))
    terms = lines[:, :1] * x, lines[:, 1:2] * y, lines[:, 2:]
    across, down, offset, side = _columns(images.device, *terms, sides[:, None])
    position = (across[:, None] + down[:, :, None]).flatten(1).add_(offset)
    inside = (position >= 0) & (position < side)
    # Beyond the middle of the edge pixel there is that pixel alone: the way is cut to 0 at one end, to 1 at the other.
    position = torch.minimum(position.sub_(0.5).clamp_(min=0), side - 1, out=position)
    corner = torch.minimum(position.floor(), side - 2)
    return inside, corner, position.sub_(corner)


def _columns(device: torch.device, *columns: npt.NDArray[Any]) -> tuple[Tensor, ...]:
    """Arrays (B, n) to the device at once, in the precision of positions."""
    precise = np.float64 if precision(device) == torch.float64 else np.float32
    joined = send(np.concatenate(columns, 1, dtype=precise), device)
    return torch.split(joined, [column.shape[1] for column in columns], 1)


def pick(images: Tensor, index: Tensor) -> Tensor:
    """The pixels (B, C, …) at places (B, …), the same in every channel."""
    batch, channels = images.shape[:2]
    picked = images.flatten(2).gather(2, index.flatten(1)[:, None].expand(-1, channels, -1))
    return picked.view(batch, channels, *index.shape[1:])


def _between(left: Tensor, right: Tensor, weight: Tensor) -> Tensor:
    """Left + weight · (right − left) of bytes, in the precision of the weight."""
    return (right.short() - left).to(weight.dtype).mul_(weight).add_(left)


def _framed(levels: Tensor, inside: Tensor, images: Tensor) -> Tensor:
    """Levels (B, C, H · W) as uint8, grey outside. Arithmetic on bytes takes a tenth of the time of `masked_fill`."""
    outside = (~inside).view(torch.uint8)
    return levels.to(torch.uint8).mul_(inside.view(torch.uint8)).add_(outside * GREY).view(images.shape)


def precision(device: torch.device) -> torch.dtype:
    """Pillow computes in double precision; Apple's GPUs have none, and are off by one level here and there."""
    return torch.float32 if device.type == "mps" else torch.float64
