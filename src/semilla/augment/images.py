"""Views of images: a few decisions for each example on the CPU, the pixels of the whole batch on the device.

A view is a row of `VIEWS`. Its decisions (which operations, how strong, what is erased) come from uniform draws handed
in, one column for each decision, so a view is a function of its draws: the same on every device, and for every example
the same whatever else is in the batch.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from semilla.augment import contrastive, geometry
from semilla.augment.geometry import Maps, Vector
from semilla.augment.operations import FIXMATCH, LECTURE, Operation, operate
from semilla.augment.resampling import pick
from semilla.contract import View
from semilla.errors import DataError, UsageError
from semilla.transfer import send

Columns: TypeAlias = Iterator[Vector]
"""The draws, (B,) for each decision, in the order in which the decisions are made."""
Boxes: TypeAlias = npt.NDArray[np.int64]
"""(B, 4): top, bottom, left, right; bottom and right are outside; a box may reach over the image's edge."""

SMALLEST = 8


@dataclass(frozen=True, slots=True)
class ImageView:
    """A row of `VIEWS`. Its decisions are drawn in the order of the fields.

    Attributes:
        name: as methods ask for it.
        flip: mirrored left to right for half of the examples, where the data allow it; 1 draw.
        shift: moved by whole pixels, the edges reflected; 2 draws: x, y.
        pool: the operations to draw from, with replacement.
        count: operations in a row; for each 3 draws: which, whether, sign; and the level where it is random.
        level: level of every operation from 0 to 1, or None for a random one.
        probability: of each operation to be applied.
        crop: smallest share of the area that a random part of the picture has, enlarged to the whole; 0 keeps all of
            it; 4 draws: area, ratio, x, y.
        recolour: brightness, contrast, saturation and hue changed, or made grey; 6 draws.
        erasing: ``square``: a random square up to half the shorter side, its middle anywhere in the image; 3 draws:
            side, y, x. ``rectangle``: random erasing of a quarter of the examples; 5 draws: whether, area, ratio, y, x.
    """

    name: str
    flip: bool = False
    shift: bool = False
    pool: tuple[Operation, ...] = ()
    count: int = 0
    level: float | None = None
    probability: float = 0.5
    crop: float = 0.0
    recolour: bool = False
    erasing: Literal["", "square", "rectangle"] = ""

    @property
    def draws(self) -> int:
        """Uniform draws for each example."""
        operations = self.count * (4 if self.level is None else 3)
        erasing = {"": 0, "square": 3, "rectangle": 5}[self.erasing]
        contrast = contrastive.CROP_DRAWS * (self.crop > 0) + contrastive.COLOUR_DRAWS * self.recolour
        return self.flip + 2 * self.shift + operations + contrast + erasing


VIEWS = {
    view.name: view
    for view in (
        ImageView("none"),
        ImageView("weak", flip=True, shift=True),
        # FixMatch (Sohn et al. 2020): weak, two operations of random strength, cutout.
        ImageView("strong", flip=True, shift=True, pool=FIXMATCH, count=2, erasing="square"),
        # The semi-supervised lecture: flip, RandomAugment(2, 7), RandomErasing. Its resizing to the network's side
        # changes nothing here: images arrive in that size.
        ImageView("lecture", flip=True, pool=LECTURE, count=2, level=0.7, erasing="rectangle"),
        # Self-supervised methods: SimCLR's view in the strength for small pictures, a quarter of the area at least.
        ImageView("contrastive", flip=True, crop=0.25, recolour=True),
    )
}

ERASED_SHARE, ERASED_AREA, ERASED_RATIO = 0.25, (0.02, 0.33), (0.3, 3.3)  # torchvision's RandomErasing


class ImageViews:
    """Makes named views of uint8 images of one size.

    Args:
        size: channels (1 or 3), height, width; sides of at least 8.
        mean: of each channel, or one for all, in [0, 1] units.
        std: likewise; at least one grey level is used.
        flip: whether a mirrored image still belongs to its class (not so for digits or letters).
        shift: largest shift as a share of each side, rounded to whole pixels: 4 pixels at side 32, 1 at side 8.

    Raises:
        DataError: D110 for a size that cannot be augmented.
    """

    def __init__(
        self,
        size: tuple[int, int, int],
        mean: Sequence[float],
        std: Sequence[float],
        flip: bool = True,
        shift: float = 0.125,
    ) -> None:
        channels, height, width = size
        if channels not in (1, 3) or min(height, width) < SMALLEST:
            found = f"images of {channels} channels, {height}×{width} pixels, cannot be augmented"
            raise DataError("D110", found, f"use 1 or 3 channels and sides of {SMALLEST} pixels or more")
        self.size = size
        self.flip = flip
        self.shift = round(shift * height), round(shift * width)
        self.mean = torch.tensor(mean, dtype=torch.float32).expand(channels)
        self.std = torch.tensor(std, dtype=torch.float32).expand(channels).clamp(min=1 / 255)  # constant channels
        self._normalisation: dict[torch.device, tuple[Tensor, Tensor]] = {}

    def draws(self, name: str) -> int:
        """Uniform draws that the named view takes for each example.

        Raises:
            UsageError: U110 for an unknown name.
        """
        return find(name).draws

    def __call__(self, name: str, images: Tensor, draws: Tensor) -> View:
        """Make one view of a batch; the images are left as they are.

        Args:
            name: a key of `VIEWS`.
            images: uint8 (B, C, H, W), on the device where the view is wanted.
            draws: float32 (B, ``draws(name)``) in [0, 1), on the CPU (anywhere else they have to be fetched).

        Raises:
            UsageError: U110 for an unknown name, U111 for draws of the wrong shape.
            DataError: D111 for images of another type or size.
        """
        spec = find(name)
        self._check(spec, images, draws)
        columns = iter(draws.detach().cpu().numpy().astype(np.float64).T)
        maps: Maps | None = None
        if spec.flip or spec.shift:
            maps, pixels = self._move(spec, images.contiguous(), columns)
        else:
            pixels = images.clone(memory_format=torch.contiguous_format)  # operations change it in place
        for _ in range(spec.count):
            turned = operate(spec.pool, pixels, *_choose(spec, columns))
            maps = turned if maps is None else geometry.compose(maps, turned)
        if spec.crop:
            cropped, pixels = contrastive.crop(pixels, spec.crop, columns)
            maps = cropped if maps is None else geometry.compose(maps, cropped)
        if spec.recolour:
            pixels = contrastive.recolour(pixels.float(), columns)
        inputs = self._normalise(pixels)
        if spec.erasing:
            choose = _square if spec.erasing == "square" else _rectangle
            _erase(inputs, choose(columns, *self.size[1:]))
        moved = None if maps is None else send(maps.astype(np.float32), images.device)
        return View(inputs, moved)

    def _check(self, spec: ImageView, images: Tensor, draws: Tensor) -> None:
        if images.dtype != torch.uint8 or images.ndim != 4 or tuple(images.shape[1:]) != self.size:
            found = f"{images.dtype} images of shape {tuple(images.shape)}"
            raise DataError("D111", found, f"pass torch.uint8 images of shape (B, {', '.join(map(str, self.size))})")
        wanted = len(images), spec.draws
        if not draws.is_floating_point() or tuple(draws.shape) != wanted:
            found = f"{draws.dtype} draws of shape {tuple(draws.shape)} for the view '{spec.name}'"
            raise UsageError("U111", found, f"pass float draws of shape {wanted}")

    def _move(self, spec: ImageView, images: Tensor, columns: Columns) -> tuple[Maps, Tensor]:
        """Mirror and shift: both only pick pixels."""
        batch, (_, height, width) = len(images), self.size
        limit_y, limit_x = self.shift
        flipped = (next(columns) < 0.5) & self.flip if spec.flip else np.zeros(batch, dtype=bool)
        x = _whole(next(columns), -limit_x, limit_x) if spec.shift else np.zeros(batch, dtype=np.int64)
        y = _whole(next(columns), -limit_y, limit_y) if spec.shift else np.zeros(batch, dtype=np.int64)
        maps = geometry.flip_and_shift(flipped, x.astype(np.float64), y.astype(np.float64), width)
        if not spec.shift:
            # Bytes chosen by their bits: on a CPU a quarter of the time of a gather.
            mask = send(flipped.astype(np.uint8) * np.uint8(255), images.device).view(-1, 1, 1, 1)
            return maps, (images.flip(3) ^ images).bitwise_and_(mask).bitwise_xor_(images)
        column = _reflect(np.arange(width) + x[:, None], width)
        column = np.where(flipped[:, None], width - 1 - column, column)
        row = _reflect(np.arange(height) + y[:, None], height)
        source = send(row * width, images.device)[:, :, None] + send(column, images.device)[:, None]
        return maps, pick(images, source.flatten(1)).view(images.shape)

    def _normalise(self, pixels: Tensor) -> Tensor:
        device = pixels.device
        if device not in self._normalisation:
            levels = (255 * self.mean).view(1, -1, 1, 1), (255 * self.std).view(1, -1, 1, 1)
            self._normalisation[device] = levels[0].to(device), levels[1].to(device)
        mean, std = self._normalisation[device]
        return pixels.to(torch.float32).sub_(mean).div_(std)


def find(name: str) -> ImageView:
    """The row of `VIEWS` with this name.

    Raises:
        UsageError: U110 for an unknown name; it names the nearest one.
    """
    if name not in VIEWS:
        near = difflib.get_close_matches(name, VIEWS, n=1, cutoff=0.0)[0]
        raise UsageError("U110", f"unknown view '{name}'", f"did you mean '{near}'? There are: {', '.join(VIEWS)}")
    return VIEWS[name]


def _choose(spec: ImageView, columns: Columns) -> tuple[npt.NDArray[np.int64], Vector]:
    """The operation of each example, ``len(pool)`` where none is applied, and its magnitude."""
    choice = _whole(next(columns), 0, len(spec.pool) - 1)
    applied = next(columns) < spec.probability
    sign = np.where(next(columns) < 0.5, -1.0, 1.0)
    level = next(columns) if spec.level is None else spec.level
    low, high, signed = _ranges(spec.pool)[:, choice]
    magnitudes = (low + (high - low) * level) * np.where(signed > 0, sign, 1.0)
    return np.where(applied, choice, len(spec.pool)), magnitudes


@cache
def _ranges(pool: tuple[Operation, ...]) -> Vector:
    return np.array([(row.low, row.high, row.signed) for row in pool]).T


def _square(columns: Columns, height: int, width: int) -> Boxes:
    side = _whole(next(columns), 0, min(height, width) // 2)
    top = _whole(next(columns), 0, height - 1) - side // 2
    left = _whole(next(columns), 0, width - 1) - side // 2
    return np.stack((top, top + side, left, left + side), axis=1)


def _rectangle(columns: Columns, height: int, width: int) -> Boxes:
    """Torchvision draws a box that does not fit anew (one or two in a hundred), here it is cut to fit."""
    erased = next(columns) < ERASED_SHARE
    low, high = ERASED_AREA
    area = (low + (high - low) * next(columns)) * height * width
    flat, tall = np.log(ERASED_RATIO)
    ratio = np.exp(flat + (tall - flat) * next(columns))
    tall_side = np.minimum(np.round(np.sqrt(area * ratio)), height - 1) * erased
    wide_side = np.minimum(np.round(np.sqrt(area / ratio)), width - 1) * erased
    top = np.floor(next(columns) * (height - tall_side + 1))
    left = np.floor(next(columns) * (width - wide_side + 1))
    return np.stack((top, top + tall_side, left, left + wide_side), axis=1).astype(np.int64)


def _erase(inputs: Tensor, boxes: Boxes) -> None:
    """Set the boxes to 0, which is the mean colour once the inputs are normalised."""
    top, bottom, left, right = boxes.T[:, :, None]
    y, x = np.arange(inputs.shape[2]), np.arange(inputs.shape[3])
    rows = send(((y < top) | (bottom <= y)).astype(np.float32), inputs.device)
    columns = send(((x < left) | (right <= x)).astype(np.float32), inputs.device)
    # On a CPU a product takes a quarter of the time of `masked_fill_`.
    inputs.mul_(torch.maximum(rows[:, None, :, None], columns[:, None, None, :]))


def _whole(draws: Vector, low: int, high: int) -> npt.NDArray[np.int64]:
    """Whole numbers low … high, equally likely."""
    whole: npt.NDArray[np.int64] = np.floor(low + (high - low + 1) * draws).astype(np.int64)
    return whole


def _reflect(position: npt.NDArray[np.int64], side: int) -> npt.NDArray[np.int64]:
    """Positions beyond an edge mirrored at the edge pixel, which is not repeated."""
    mirrored: npt.NDArray[np.int64] = side - 1 - np.abs(side - 1 - np.abs(position))
    return mirrored
