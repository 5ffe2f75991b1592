"""Pillow's image operations for whole batches, on any device.

Images are uint8 (B, C, H, W) with one or three channels. Each example has a magnitude of its own, and each operation
returns new uint8 images, equal to what Pillow makes of the images one by one. The arithmetic is Pillow's: blends in
float32, histograms in integers, contrast stretching and resampling in float64, always cut toward zero. Products and
sums are separate calls, so that no device fuses them into one rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from semilla.augment import geometry
from semilla.augment.geometry import Maps, Vector

Function: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""(images (B, C, H, W), magnitudes (B,)) → images; `resample` takes maps (B, 2, 3) in place of magnitudes."""

GREY = 128
"""What is seen beyond the picture's edge."""
_LUMA = (19595, 38470, 7471)  # ITU-R 601-2 weights of red, green, blue, times 2¹⁶


def identity(images: Tensor, magnitudes: Tensor) -> Tensor:
    """The images as they are."""
    return images


def autocontrast(images: Tensor, magnitudes: Tensor) -> Tensor:
    """Each channel stretched so that its darkest pixel becomes 0 and its brightest 255."""
    pixels = images.flatten(2)
    low, high = (level.to(_precise(images.device)) for level in pixels.aminmax(dim=2, keepdim=True))
    span = high - low
    scale = torch.full_like(span, 255.0).div_(span)  # 255.0 / span is a reciprocal and a product: rounded twice
    scale = torch.where(span == 0, 1.0, scale)  # a channel of one level stays as it is
    offset = torch.where(span == 0, 0.0, -low * scale)
    return _to_levels(pixels.to(low.dtype).mul_(scale).add_(offset)).view(images.shape)


def equalize(images: Tensor, magnitudes: Tensor) -> Tensor:
    """Each channel's levels spread so that they are about equally frequent; under 256 pixels nothing changes."""
    if images.shape[2] * images.shape[3] < 256:
        return images
    pixels = images.flatten(2).long()
    histogram = pixels.new_zeros(*pixels.shape[:2], 256).scatter_add_(2, pixels, torch.ones_like(pixels))
    brightest = histogram.gather(2, pixels.amax(2, keepdim=True))
    step = (pixels.shape[2] - brightest) // 255
    darker = histogram.cumsum(2) - histogram
    table = ((darker + step // 2) // step.clamp(min=1)).clamp_(max=255)
    levels = torch.arange(256, device=images.device)
    table = torch.where(step == 0, levels, table)  # too few pixels, or too few levels, to spread
    return table.to(torch.uint8).gather(2, pixels).view(images.shape)


def posterize(images: Tensor, bits: Tensor) -> Tensor:
    """Only the ``bits`` highest bits of each level kept, 1 … 8; fractions are cut off."""
    mask = (255 << (8 - bits.int())).to(torch.uint8)
    return images & _per_image(mask)


def solarize(images: Tensor, threshold: Tensor) -> Tensor:
    """Levels from ``threshold`` up, 0 … 256, inverted."""
    inverted = images.short() >= _per_image(threshold.ceil().short())  # 256 has no place in a byte
    return inverted.to(torch.uint8).mul_(255).bitwise_xor_(images)


def brightness(images: Tensor, factor: Tensor) -> Tensor:
    """Blend with black; factor 1 changes nothing, here and in the other blends."""
    return _to_levels(images.float().mul_(_per_image(factor)))


def contrast(images: Tensor, factor: Tensor) -> Tensor:
    """Blend with the image's mean grey level, rounded."""
    luma = _luma(images)
    count = luma[0].numel()
    mean = (2 * luma.sum((1, 2, 3), dtype=torch.int64) + count) // (2 * count)
    return _blend(_per_image(mean.float()), images, factor)


def color(images: Tensor, factor: Tensor) -> Tensor:
    """Blend with the grey image; grey images stay as they are."""
    return images if images.shape[1] == 1 else _blend(_luma(images).float(), images, factor)


def sharpness(images: Tensor, factor: Tensor) -> Tensor:
    """Blend with the image smoothed by ((1, 1, 1), (1, 5, 1), (1, 1, 1)) / 13, its border left as it is."""
    smooth = images.float()
    rows = smooth[:, :, :-2] + smooth[:, :, 1:-1]
    rows += smooth[:, :, 2:]
    total = rows[..., :-2] + rows[..., 1:-1]
    total += rows[..., 2:]
    total += 4 * smooth[..., 1:-1, 1:-1]
    # The sums are whole numbers below 2¹², never half way between multiples of 13: any precision rounds them alike.
    smooth[..., 1:-1, 1:-1] = total.div_(13.0).add_(0.5).floor_()
    return _blend(smooth, images, factor)


def resample(images: Tensor, maps: Tensor) -> Tensor:
    """The images seen through affine maps: bilinear between pixels, grey where a map leaves the picture.

    Args:
        images: uint8 (B, C, H, W).
        maps: float64 (B, 2, 3) from output to input coordinates, see `semilla.augment.geometry`.
    """
    (batch, channels, height, width), device = images.shape, images.device
    maps = maps.to(device, _precise(device)).view(batch, 2, 3, 1, 1)
    x_out = torch.arange(0.5, width, device=device, dtype=maps.dtype)
    y_out = torch.arange(0.5, height, device=device, dtype=maps.dtype)[:, None]
    position = (maps[:, :, 0] * x_out + maps[:, :, 1] * y_out).add_(maps[:, :, 2]).flatten(2)  # (B, 2, H · W)
    sides = torch.tensor([[width], [height]]).to(device, non_blocking=True)
    outside = ((position < 0) | (position >= sides)).any(1, keepdim=True)
    corner = position.sub_(0.5).floor()
    x, y = position.sub_(corner).unsqueeze(2).unbind(1)  # how far each pixel lies between its four neighbours

    stride = width + 2  # one pixel is repeated all round: beyond the edge a neighbour equals the edge
    first = (corner[:, 0] + 1).add_(corner[:, 1].add_(1), alpha=stride).clamp_(0, (height + 1) * stride - 2).long()
    neighbours = torch.stack([first, first + 1, first + stride, first + (stride + 1)], 1).view(batch, 1, -1)
    levels = _repeat_edges(images).flatten(2).gather(2, neighbours.expand(-1, channels, -1)).to(maps.dtype)
    left, right = levels.view(batch, channels, 2, 2, -1).unbind(3)
    upper, lower = right.sub_(left).mul_(x[:, :, None]).add_(left).unbind(2)
    levels = lower.sub_(upper).mul_(y).add_(upper)
    return levels.masked_fill_(outside, GREY).to(torch.uint8).view(images.shape)


def _repeat_edges(images: Tensor) -> Tensor:
    height, width = images.shape[2:]
    rows = torch.arange(-1, height + 1, device=images.device).clamp_(0, height - 1)
    columns = torch.arange(-1, width + 1, device=images.device).clamp_(0, width - 1)
    return images.index_select(2, rows).index_select(3, columns)


def _blend(degenerate: Tensor, images: Tensor, factor: Tensor) -> Tensor:
    """Degenerate + factor · (image − degenerate), beyond the image where the factor exceeds 1."""
    return _to_levels(images.float().sub_(degenerate).mul_(_per_image(factor)).add_(degenerate))


def _luma(images: Tensor) -> Tensor:
    if images.shape[1] == 1:
        return images
    red, green, blue = (images[:, k : k + 1].int() * _LUMA[k] for k in range(3))
    return (red + green + blue + 0x8000) >> 16


def _to_levels(values: Tensor) -> Tensor:
    return values.clamp_(0, 255).to(torch.uint8)


def _per_image(values: Tensor) -> Tensor:
    return values.view(-1, 1, 1, 1)


def _precise(device: torch.device) -> torch.dtype:
    """Pillow computes in double precision; Apple's GPUs have none, and are off by one level here and there."""
    return torch.float32 if device.type == "mps" else torch.float64


@dataclass(frozen=True, slots=True)
class Operation:
    """A row of a pool: what is done, and how strongly at levels from 0 to 1.

    Attributes:
        name: as in the literature.
        function: what changes the pixels.
        low: magnitude at level 0.
        high: magnitude at level 1; in between in proportion.
        signed: whether the magnitude's sign is drawn.
        maps: for geometric operations, ``(magnitudes, height, width) → maps`` for `resample`.
    """

    name: str
    function: Function
    low: float = 0.0
    high: float = 0.0
    signed: bool = False
    maps: Callable[[Vector, int, int], Maps] | None = None

    def __call__(self, images: Tensor, magnitudes: Vector) -> Tensor:
        """Change each image of a uint8 (B, C, H, W) batch by its own magnitude, (B,)."""
        if self.maps is None:
            return self.function(images, torch.from_numpy(magnitudes.astype(np.float32)).to(images.device))
        return self.function(images, torch.from_numpy(self.maps(magnitudes, *images.shape[2:])))


# The geometric operations stand together in a pool: one resampling serves all their examples.
FIXMATCH = (
    # FixMatch (Sohn et al. 2020), the ranges of the appendix. The authors' program draws from other ranges (factors
    # 0.28 … 1.72, for instance); the known PyTorch versions follow the paper.
    Operation("Identity", identity),
    Operation("AutoContrast", autocontrast),
    Operation("Equalize", equalize),
    Operation("Posterize", posterize, 4, 8),
    Operation("Solarize", solarize, 0, 256),
    Operation("Brightness", brightness, 0.05, 0.95),
    Operation("Contrast", contrast, 0.05, 0.95),
    Operation("Color", color, 0.05, 0.95),
    Operation("Sharpness", sharpness, 0.05, 0.95),
    Operation("ShearX", resample, 0, 0.3, signed=True, maps=geometry.shear_x),
    Operation("ShearY", resample, 0, 0.3, signed=True, maps=geometry.shear_y),
    Operation("TranslateX", resample, 0, 0.3, signed=True, maps=geometry.translate_x),
    Operation("TranslateY", resample, 0, 0.3, signed=True, maps=geometry.translate_y),
    Operation("Rotate", resample, 0, 30, signed=True, maps=geometry.rotate),
)

LECTURE = (
    # RandomAugment as distributed with ALBEF and BLIP, in Pillow's arithmetic where that program used OpenCV's. Its
    # translation of ten pixels, at side 32, is a share of the side here, in fractions of a pixel where it must be.
    Operation("Identity", identity),
    Operation("AutoContrast", autocontrast),
    Operation("Equalize", equalize),
    Operation("Brightness", brightness, 0.1, 1.9),
    Operation("Sharpness", sharpness, 0.1, 1.9),
    Operation("ShearX", resample, 0, 0.3, signed=True, maps=geometry.shear_x),
    Operation("ShearY", resample, 0, 0.3, signed=True, maps=geometry.shear_y),
    Operation("TranslateX", resample, 0, 10 / 32, signed=True, maps=geometry.translate_x),
    Operation("TranslateY", resample, 0, 10 / 32, signed=True, maps=geometry.translate_y),
    Operation("Rotate", resample, 0, 30, signed=True, maps=geometry.rotate),
)

OPERATIONS = {operation.name: operation for operation in FIXMATCH}
"""Every operation by name, with FixMatch's magnitudes."""
