"""The view ``contrastive`` of one picture at a time, in NumPy float64: what the batched code must equal.

Levels go from 0 to 255; a picture is (C, H, W). Colours are changed as the paper's authors describe them, one after the
other, and not as one matrix.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

LUMA = np.array([0.299, 0.587, 0.114])


def contrastive_view(picture: npt.NDArray[np.uint8], draws: list[float], flip: bool, smallest: float) -> Array:
    """The view's levels before they are normalised.

    Args:
        picture: uint8 (C, H, W).
        draws: flip; area, ratio, x, y; whether, brightness, contrast, saturation, hue, whether grey.
        flip: whether the picture may be mirrored.
        smallest: share of the area that is kept at least.
    """
    mirrored = picture[:, :, ::-1] if flip and draws[0] < 0.5 else picture
    return recoloured(cropped(mirrored.astype(np.float64), draws[1:5], smallest), draws[5:])


def cropped(picture: Array, draws: list[float], smallest: float) -> Array:
    """A part, enlarged: each pixel's centre is sent back, and read between the four nearest centres."""
    height, width = picture.shape[1:]
    x, y, wide, tall = box(draws, smallest, height, width)
    seen = np.empty_like(picture)
    for row in range(height):
        for column in range(width):
            seen[:, row, column] = between(picture, y + (row + 0.5) * tall / height, x + (column + 0.5) * wide / width)
    return seen


def box(draws: list[float], smallest: float, height: int, width: int) -> tuple[float, float, float, float]:
    """Left, top, width and height of the part, in pixels; a side that would be longer than the picture's is its."""
    area = smallest + (1 - smallest) * draws[0]
    ratio = math.exp(math.log(4 / 3) * (2 * draws[1] - 1))  # 3/4 to 4/3, as many below 1 as above
    wide, tall = min(1.0, math.sqrt(area * ratio)) * width, min(1.0, math.sqrt(area / ratio)) * height
    return (width - wide) * draws[2], (height - tall) * draws[3], wide, tall


def between(picture: Array, y: float, x: float) -> Array:
    """Bilinear at a point whose pixel centres are at whole numbers and a half; beyond the last centre, that pixel."""
    height, width = picture.shape[1:]
    y, x = min(max(y - 0.5, 0.0), height - 1.0), min(max(x - 0.5, 0.0), width - 1.0)
    top, left = min(int(y), height - 2), min(int(x), width - 2)
    down, right = y - top, x - left
    upper = (1 - right) * picture[:, top, left] + right * picture[:, top, left + 1]
    lower = (1 - right) * picture[:, top + 1, left] + right * picture[:, top + 1, left + 1]
    return (1 - down) * upper + down * lower


def recoloured(picture: Array, draws: list[float]) -> Array:
    """Brightness, contrast, saturation, hue, and grey; levels are cut once, at the end."""
    whether, *strengths, grey = draws
    if whether < 0.8:
        brightness, contrast, saturation = (1 + 0.4 * (2 * draw - 1) for draw in strengths[:3])
        picture = brightness * picture
        mean = float(luma(picture).mean())
        picture = mean + contrast * (picture - mean)
        if len(picture) == 3:
            picture = luma(picture) + saturation * (picture - luma(picture))
            picture = turned(picture, 2 * math.pi * 0.1 * (2 * strengths[3] - 1))
    if grey < 0.2 and len(picture) == 3:
        picture = np.broadcast_to(luma(picture), picture.shape)
    return np.clip(picture, 0.0, 255.0)


def luma(picture: Array) -> Array:
    """(H, W): the grey of a picture of one or three channels."""
    return picture[0] if len(picture) == 1 else np.einsum("c,chw->hw", LUMA, picture)


def turned(picture: Array, angle: float) -> Array:
    """Hue: the I and Q of YIQ (NTSC, 1953) turned about the axis of greys."""
    red, green, blue = picture
    y = luma(picture)
    i = 0.595716 * red - 0.274453 * green - 0.321263 * blue
    q = 0.211456 * red - 0.522591 * green + 0.311135 * blue
    i, q = math.cos(angle) * i - math.sin(angle) * q, math.sin(angle) * i + math.cos(angle) * q
    to_yiq = np.array([LUMA, (0.595716, -0.274453, -0.321263), (0.211456, -0.522591, 0.311135)])
    return np.linalg.solve(to_yiq, np.stack([y, i, q]).reshape(3, -1)).reshape(picture.shape)
