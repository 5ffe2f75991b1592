"""Affine maps of whole batches, from output pixels to the input pixels they come from.

Maps are float64 (B, 2, 3). Coordinates (x, y) are those of `semilla.contract.View`, and of Pillow: pixel centres, the
first at 0.5. The maps are computed on the CPU, a few numbers for each example, so that every device is handed the same.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Vector: TypeAlias = npt.NDArray[np.float64]
Maps: TypeAlias = npt.NDArray[np.float64]


def identity(count: int) -> Maps:
    """(count, 2, 3) maps that move nothing."""
    maps = np.zeros((count, 2, 3))
    maps[:, 0, 0] = maps[:, 1, 1] = 1.0
    return maps


def shear_x(slope: Vector, height: int, width: int) -> Maps:
    """Rows moved in proportion to y, the top edge fixed: x + slope · y."""
    maps = identity(len(slope))
    maps[:, 0, 1] = slope
    return maps


def shear_y(slope: Vector, height: int, width: int) -> Maps:
    """Columns moved in proportion to x, the left edge fixed: y + slope · x."""
    maps = identity(len(slope))
    maps[:, 1, 0] = slope
    return maps


def translate_x(share: Vector, height: int, width: int) -> Maps:
    """The input read ``share`` of the width further right."""
    maps = identity(len(share))
    maps[:, 0, 2] = share * width
    return maps


def translate_y(share: Vector, height: int, width: int) -> Maps:
    """The input read ``share`` of the height further down."""
    maps = identity(len(share))
    maps[:, 1, 2] = share * height
    return maps


def rotate(degrees: Vector, height: int, width: int) -> Maps:
    """The picture turned counterclockwise about its middle.

    Sine and cosine are rounded to 15 digits, as Pillow does, so that right angles come out exact. Pillow transposes at
    multiples of 90 degrees; bilinear resampling at whole pixels gives the same.
    """
    angle = -np.radians(degrees % 360.0)
    cosine, sine = np.round(np.cos(angle), 15), np.round(np.sin(angle), 15)
    middle_x, middle_y = width / 2, height / 2
    maps = np.empty((len(degrees), 2, 3))
    maps[:, 0, 0], maps[:, 0, 1] = cosine, sine
    maps[:, 1, 0], maps[:, 1, 1] = -sine, cosine
    maps[:, 0, 2] = cosine * -middle_x + sine * -middle_y + middle_x
    maps[:, 1, 2] = -sine * -middle_x + cosine * -middle_y + middle_y
    return maps


def flip_and_shift(flipped: npt.NDArray[np.bool_], x: Vector, y: Vector, width: int) -> Maps:
    """The input mirrored left to right where ``flipped``, and the mirrored one read (x, y) pixels further on."""
    maps = identity(len(x))
    maps[:, 0, 0] = np.where(flipped, -1.0, 1.0)
    maps[:, 0, 2] = np.where(flipped, width - x, x)
    maps[:, 1, 2] = y
    return maps


def compose(first: Maps, second: Maps) -> Maps:
    """The map of two changes in a row: a final pixel is sent back through the second, then through the first."""
    maps = first[:, :, :2] @ second
    maps[:, :, 2] += first[:, :, 2]
    return maps
