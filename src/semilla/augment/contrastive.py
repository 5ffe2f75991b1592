"""What self-supervised methods do to pictures: a part of them, enlarged, in other colours.

The recipe is SimCLR's (Chen et al. 2020, arXiv 2002.05709, appendix A), for whole batches. The four changes of colour
are affine maps of a pixel, so one matrix for each picture makes them all; levels are cut to the range once, after the
last, and hue turns the plane of colours of equal luma (YIQ) where Pillow goes through HSV.

Shapes: B pictures, C channels, H × W pixels; levels are float32, 0 to 255.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch import Tensor
from torch.nn import functional as F

from semilla.augment import geometry
from semilla.augment.geometry import Maps, Vector
from semilla.transfer import send

ASPECT = 4 / 3
"""The crop's largest ratio of its sides, and one over its smallest."""
RECOLOURED, GREYED = 0.8, 0.2
"""Shares of the pictures whose colours change, and which lose them."""
JITTER, HUE = 0.4, 0.1
"""How far brightness, contrast and saturation may leave 1, and how far hue is turned, in turns: half of ImageNet's."""

_LUMA = (0.299, 0.587, 0.114)
_TO_YIQ = np.array([_LUMA, (0.595716, -0.274453, -0.321263), (0.211456, -0.522591, 0.311135)])
_FROM_YIQ = np.linalg.inv(_TO_YIQ)

CROP_DRAWS, COLOUR_DRAWS = 4, 6


def crop(images: Tensor, smallest: float, columns: Iterator[Vector]) -> tuple[Maps, Tensor]:
    """A part of each picture, brought to the whole's size by bilinear resampling.

    Args:
        images: uint8 (B, C, H, W).
        smallest: share of the area that is kept at least.
        columns: draws (B,): area, ratio, x, y.

    Returns:
        Float64 (B, 2, 3) maps from output to input pixels, and the levels (B, C, H, W).
    """
    height, width = images.shape[2:]
    area = smallest + (1 - smallest) * next(columns)
    ratio = ASPECT ** (2 * next(columns) - 1)
    wide, tall = np.minimum(1, np.sqrt(area * ratio)), np.minimum(1, np.sqrt(area / ratio))
    maps = geometry.identity(len(images))
    maps[:, 0, 0], maps[:, 1, 1] = wide, tall
    maps[:, 0, 2], maps[:, 1, 2] = (1 - wide) * width * next(columns), (1 - tall) * height * next(columns)
    # grid_sample counts from −1 to 1 across each side, the map from 0 to width or height.
    theta = maps.copy()
    theta[:, 0, 2] = 2 * maps[:, 0, 2] / width + wide - 1
    theta[:, 1, 2] = 2 * maps[:, 1, 2] / height + tall - 1
    grid = F.affine_grid(_send(theta, images), list(images.shape), align_corners=False)
    return maps, F.grid_sample(images.float(), grid, padding_mode="border", align_corners=False)


def recolour(levels: Tensor, columns: Iterator[Vector]) -> Tensor:
    """Brightness, contrast, saturation and hue of each picture changed at random, some made grey.

    Args:
        levels: (B, C, H, W) with one or three channels; grey pictures keep brightness and contrast to change.
        columns: draws (B,): whether, brightness, contrast, saturation, hue, whether grey.

    Returns:
        The levels (B, C, H, W), cut to 0 … 255.
    """
    changed = next(columns) < RECOLOURED
    brightness, contrast, saturation = (1 + changed * JITTER * (2 * next(columns) - 1) for _ in range(3))
    hue = 2 * np.pi * changed * HUE * (2 * next(columns) - 1)
    saturation = np.where(next(columns) < GREYED, 0.0, saturation)
    channels, pixels = levels.shape[1], levels.flatten(2)
    mean, weights = pixels.mean(2), _LUMA if channels == 3 else (1.0,)
    luma = sum(weight * mean[:, channel, None, None] for channel, weight in enumerate(weights))
    matrix = _turned(saturation, hue) if channels == 3 else np.ones((len(hue), 1, 1))
    sent = _send(matrix * (brightness * contrast)[:, None, None], levels)
    # Sums by channel: a matrix product rounds otherwise in another batch. Contrast blends with the mean grey.
    made = luma * _send(brightness * (1 - contrast), levels)[:, None, None]
    for channel in range(channels):
        made = made + sent[:, :, channel, None] * pixels[:, channel, None, :]
    return made.clamp_(0, 255).view(levels.shape)


def _turned(saturation: Vector, hue: Vector) -> Maps:
    """(B, 3, 3): the plane of colours stretched and turned, luma as it is."""
    plane = np.zeros((len(hue), 3, 3))
    plane[:, 0, 0] = 1.0
    plane[:, 1, 1] = plane[:, 2, 2] = saturation * np.cos(hue)
    plane[:, 2, 1] = saturation * np.sin(hue)
    plane[:, 1, 2] = -plane[:, 2, 1]
    turned: Maps = _FROM_YIQ @ plane @ _TO_YIQ
    return turned


def _send(values: Maps, like: Tensor) -> Tensor:
    return send(values.astype(np.float32), like.device)
