"""Views of text lines: a few decisions for each line on the CPU, the pixels of the whole batch on the device.

A view is a row of `LINE_VIEWS`, which says whether it keeps the time axis: whether a column of the view shows the same
column of the line. Predictions for each frame can be compared between such views as they are; `strong` stretches and
slants, and its `geometry` says where each pixel came from.

A view is a function of its draws: whatever else is in the batch, and however much padding there is, a line looks the
same. So every decision is one column of the draws, noise is hashed from a draw and the place of each pixel, and nothing
is computed from a line but its own valid columns.

Shapes: B lines, height H, width W of the widest; levels are float32, 0 to 1.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from semilla.augment.geometry import Maps, Vector
from semilla.augment.resampling import BLOCK
from semilla.config import nearest
from semilla.contract import View
from semilla.errors import DataError, UsageError
from semilla.transfer import send

Columns: TypeAlias = Iterator[Vector]
"""The draws, (B,) for each decision, in the order in which the decisions are made."""

SMALLEST, BOXES = 16, 3
NOISE, BLUR, SHARPEN = 0.15, 0.8, 0.5
"""Largest noise of a pixel in levels; largest share of the neighbours' mean in a blurred pixel, and less it in a sharp
one."""
SLANT, DEGREES, RISE, MARGIN = 0.3, 3.0, 0.2, 0.2
"""Columns by which a row moves against the next; largest turn, and height it may have from end to end, in heights, so
that a long line stays in its picture; largest empty margin at the left, in heights."""
TALL, DOWN = (0.8, 1.05), 0.06
"""Factors of the height; largest shift up or down, in heights."""


@dataclass(frozen=True, slots=True)
class LineView:
    """A row of `LINE_VIEWS`. Its decisions are drawn in the order of the fields.

    Attributes:
        name: as methods ask for it.
        stretch: largest factor of the width, and one over the smallest, with slant, turn, height and place changed
            too; 1 moves nothing. The picture grows with what it shows, so that no end of a line is lost. 6 draws:
            stretch, slant, turn, height, margin, down.
        sway: whether height and place change and nothing moves sideways. 2 draws: height, down.
        ink: whether strokes of half of the lines are made thicker or thinner. 2 draws: which, how much.
        blur: whether the line is blurred or sharpened. 1 draw.
        curve: how far middle levels may bend away from the straight line. 1 draw.
        contrast: how far contrast may leave 1. 1 draw.
        brightness: how far the levels may move. 1 draw.
        noise: whether each pixel changes at random. 2 draws: how much, the noise's own number.
        boxes: small boxes filled with the line's own mean; for each 4 draws: whether and how wide, how high, x, y.
    """

    name: str
    stretch: float = 1.0
    sway: bool = False
    ink: bool = False
    blur: bool = False
    curve: float = 0.0
    contrast: float = 0.0
    brightness: float = 0.0
    noise: bool = False
    boxes: int = 0

    @property
    def keeps_time(self) -> bool:
        """Whether every column shows what it showed before."""
        return self.stretch == 1

    @property
    def draws(self) -> int:
        """Uniform draws for each line."""
        moved = 6 * (self.stretch != 1) + 2 * self.sway
        levels = (self.curve > 0) + (self.contrast > 0) + (self.brightness > 0)
        return moved + 2 * self.ink + self.blur + levels + 2 * self.noise + 4 * self.boxes


_LEVELS = LineView("", ink=True, blur=True, curve=0.6, contrast=0.5, brightness=0.2, noise=True, boxes=BOXES)

LINE_VIEWS = {
    view.name: view
    for view in (
        LineView("none"),
        LineView("weak", contrast=0.1, brightness=0.05),
        replace(_LEVELS, name="photometric", sway=True),
        replace(_LEVELS, name="strong", stretch=1.25),
    )
}


class LineViews:
    """Makes named views of uint8 grey lines of one height and any width.

    Args:
        height: pixels.
        mean: of the levels, in [0, 1] units.
        std: likewise; at least one grey level is used.

    Raises:
        DataError: D160 for a height that cannot be augmented.
    """

    def __init__(self, height: int, mean: Sequence[float], std: Sequence[float]) -> None:
        if height < SMALLEST:
            raise DataError("D160", f"lines of {height} pixels cannot be read", f"use a height of {SMALLEST} or more")
        self.height = height
        (self.mean,), (self.std,) = mean, (max(value, 1 / 255) for value in std)

    def draws(self, name: str) -> int:
        """Uniform draws that the named view takes for each line.

        Raises:
            UsageError: U110 for an unknown name.
        """
        return find(name).draws

    def stretches(self, name: str) -> bool:
        """Whether lines come out of the named view wider or narrower than they were."""
        return find(name).stretch != 1

    def widths_in(
        self, name: str, draws: npt.NDArray[np.float32], widths: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.int64]:
        """How wide lines are in the named view, without making it.

        Args:
            name: a key of `LINE_VIEWS`.
            draws: float32 (N, ``draws(name)``), as the view will get them.
            widths: int64 (N,) of the lines.
        """
        spec = find(name)
        if spec.stretch == 1:
            return widths
        _, margin, half = _bent(spec.stretch, self.height, widths, iter(draws.astype(np.float64).T))
        return _whole_width(margin, half)

    def __call__(self, name: str, inputs: Tensor, draws: Tensor, width: Tensor) -> View:
        """Make one view of a batch; the lines are left as they are.

        Args:
            name: a key of `LINE_VIEWS`.
            inputs: uint8 (B, 1, H, W), on the device where the view is wanted.
            draws: float32 (B, ``draws(name)``) in [0, 1), on the CPU (anywhere else they have to be fetched).
            width: int64 (B,) valid columns of each line, on the CPU likewise.

        Returns:
            Normalised lines, 0 beyond their ends; the widths on the device of the lines; the geometry, if the view has
            any.

        Raises:
            UsageError: U110 for an unknown name, U111 for draws of the wrong shape.
            DataError: D111 for lines of another type or height, D161 for widths that are not of these lines.
        """
        spec, device = find(name), inputs.device
        widths = width.detach().cpu().numpy().astype(np.int64)
        self._check(spec, inputs, draws, widths)
        columns = iter(draws.detach().cpu().numpy().astype(np.float64).T)
        maps, mean = None, _mean(inputs, widths)
        pixels = _continued(inputs, widths)
        if spec.stretch != 1:
            maps, widths = _bend(spec.stretch, self.height, widths, columns)
            levels = _seen(pixels, maps, int(widths.max()))
        else:
            levels = pixels[:, 0].float()
        levels = _sway(levels, columns) if spec.sway else levels
        levels = _thicken(levels, widths, columns) if spec.ink else levels
        levels = _blur(levels, widths, columns) if spec.blur else levels
        levels = _recolour(spec, levels.div_(255), mean, columns)
        levels = _disturb(levels, columns) if spec.noise else levels
        levels = levels if spec.draws == 0 else levels.clamp_(0, 1)
        for _ in range(spec.boxes):
            _fill(levels, mean, widths, columns)
        levels.sub_(self.mean).div_(self.std)
        ends = send(widths, device)
        if widths.min() < levels.shape[2]:
            levels.mul_(torch.arange(levels.shape[2], device=device) < ends[:, None, None])
        geometry = None if maps is None else send(maps.astype(np.float32), device)
        return View(levels[:, None], geometry, ends)

    def _check(self, spec: LineView, inputs: Tensor, draws: Tensor, widths: npt.NDArray[np.int64]) -> None:
        if inputs.dtype != torch.uint8 or inputs.ndim != 4 or tuple(inputs.shape[1:3]) != (1, self.height):
            found = f"{inputs.dtype} lines of shape {tuple(inputs.shape)}"
            raise DataError("D111", found, f"pass torch.uint8 lines of shape (B, 1, {self.height}, W)")
        if widths.shape != (len(inputs),) or not ((widths > 0) & (widths <= inputs.shape[3])).all():
            found = f"widths of shape {widths.shape} from {widths.min(initial=0)} to {widths.max(initial=0)}"
            raise DataError("D161", found, f"pass one from 1 to {inputs.shape[3]} for each of {len(inputs)} lines")
        wanted = len(inputs), spec.draws
        if not draws.is_floating_point() or tuple(draws.shape) != wanted:
            found = f"{draws.dtype} draws of shape {tuple(draws.shape)} for the view '{spec.name}'"
            raise UsageError("U111", found, f"pass float draws of shape {wanted}")


def find(name: str) -> LineView:
    """The row of `LINE_VIEWS` with this name.

    Raises:
        UsageError: U110 for an unknown name.
    """
    if name not in LINE_VIEWS:
        raise UsageError("U110", f"there is no view {name!r} of text lines", nearest(name, LINE_VIEWS))
    return LINE_VIEWS[name]


def _mean(inputs: Tensor, widths: npt.NDArray[np.int64]) -> Tensor:
    """(B, 1, 1) mean level of each line, 0 to 1, from whole numbers: no padding can change how it is rounded."""
    places = torch.arange(inputs.shape[3], device=inputs.device) < send(widths, inputs.device)[:, None]
    total = (inputs.sum((1, 2), dtype=torch.int32) * places).sum(1)
    share = send(1 / (255.0 * inputs.shape[2] * widths), inputs.device)
    return (total * share).float()[:, None, None]


def _continued(inputs: Tensor, widths: npt.NDArray[np.int64]) -> Tensor:
    """The lines with their last column repeated to the end of the padding, which is paper and not black."""
    if widths.min() == inputs.shape[3]:
        return inputs
    index = np.minimum(np.arange(inputs.shape[3]), widths[:, None] - 1)
    return inputs.gather(3, send(index, inputs.device)[:, None, None].expand_as(inputs))


def _bend(
    stretch: float, height: int, widths: npt.NDArray[np.int64], columns: Columns
) -> tuple[Maps, npt.NDArray[np.int64]]:
    """Slant, turn and stretch about a line's middle: maps from output to input pixels, and the new widths."""
    forward, margin, half = _bent(stretch, height, widths, columns)
    down = DOWN * height * _signed(columns)
    middle = np.stack([margin + half, height / 2 + down], 1)
    maps = np.empty((len(widths), 2, 3))
    maps[:, :, :2] = np.linalg.inv(forward)
    maps[:, :, 2] = np.stack([widths / 2, np.full(len(widths), height / 2)], 1)
    maps[:, :, 2] -= (maps[:, :, :2] @ middle[:, :, None])[:, :, 0]
    return maps, _whole_width(margin, half)


def _whole_width(margin: Vector, half: Vector) -> npt.NDArray[np.int64]:
    return np.ceil(margin + 2 * half).astype(np.int64)


def _bent(
    stretch: float, height: int, widths: npt.NDArray[np.int64], columns: Columns
) -> tuple[Vector, Vector, Vector]:
    """(B, 2, 2) maps from a line's middle, and in pixels the margin at its left and half of its new width."""
    wide, slant = stretch ** _signed(columns), SLANT * _signed(columns)
    turn = np.minimum(np.radians(DEGREES), RISE * height / widths) * _signed(columns)
    tall, margin = _between(TALL, columns), MARGIN * height * next(columns)
    cosine, sine = np.cos(turn), np.sin(turn)
    forward = np.empty((len(widths), 2, 2))  # the slanted line turned, then stretched
    forward[:, 0, 0], forward[:, 0, 1] = wide * cosine, wide * (cosine * slant - sine)
    forward[:, 1, 0], forward[:, 1, 1] = tall * sine, tall * (sine * slant + cosine)
    half = (np.abs(forward[:, 0, 0]) * widths + np.abs(forward[:, 0, 1]) * height) / 2
    return forward, margin, half


def _seen(pixels: Tensor, maps: Maps, wide: int) -> Tensor:
    """Lines (B, 1, H, W) seen through maps: bilinear, edges continued; float32 levels (B, H, ``wide``).

    On a CPU a few lines at a time, so that its cache holds them.
    """
    pixels = torch.cat([pixels, pixels[..., -1:]], 3) if pixels.shape[3] == 1 else pixels  # neighbours come in pairs
    block = len(pixels) if pixels.device.type != "cpu" else max(1, BLOCK // (pixels.shape[2] * wide))
    parts = zip(pixels.split(block), np.split(maps, range(block, len(maps), block)), strict=True)
    return torch.cat([_seen_at_once(*part, wide) for part in parts])


def _seen_at_once(pixels: Tensor, maps: Maps, wide: int) -> Tensor:
    """`_seen` of a few lines.

    Places are counted in pixels, not in shares of the padded width as `grid_sample` does: padding would change how they
    are rounded.
    """
    (_, _, height, width), device = pixels.shape, pixels.device
    x, y = np.arange(0.5, wide), np.arange(0.5, height)
    flat, found = pixels.flatten(1), []
    for row, side in ((0, width), (1, height)):
        line = maps[:, row, :, None]
        across = send((line[:, 0] * x - 0.5).astype(np.float32), device)
        down = send((line[:, 1] * y + line[:, 2]).astype(np.float32), device)
        place = (across[:, None] + down[:, :, None]).clamp_(0, side - 1)
        corner = place.floor().clamp_(max=side - 2)
        found += [place.sub_(corner), corner.to(torch.int64)]
    right, column, lower, corner = found
    corner = corner.mul_(width).add_(column).flatten(1)
    four = [flat.gather(1, corner + offset).float().view_as(right) for offset in (0, 1, width, width + 1)]
    above, below = four[0].lerp_(four[1], right), four[2].lerp_(four[3], right)
    return above.lerp_(below, lower)


def _sway(levels: Tensor, columns: Columns) -> Tensor:
    """Rows moved and drawn together or apart, the columns as they are."""
    batch, height, width = levels.shape
    tall, down = _between(TALL, columns), DOWN * height * _signed(columns)
    place = (np.arange(0.5, height) - height / 2 - down[:, None]) / tall[:, None] + height / 2 - 0.5
    place = place.clip(0, height - 1)
    upper = np.minimum(np.floor(place), height - 2)
    share = send((place - upper).astype(np.float32), levels.device)[:, :, None]
    index = send((upper.astype(np.int64) + height * np.arange(batch)[:, None]).ravel(), levels.device)
    rows = levels.view(-1, width)
    above, below = rows[index].view_as(levels), rows[index + 1].view_as(levels)
    return above.lerp_(below, share)


def _repeat_ends(levels: Tensor, widths: npt.NDArray[np.int64]) -> None:
    """The column beyond each line's end made like the last, as the edge of the widest one is for what looks there."""
    rows = np.flatnonzero(widths < levels.shape[2])
    if len(rows):
        row, end = send(rows, levels.device), send(widths[rows], levels.device)
        levels[row, :, end] = levels[row, :, end - 1]


def _thicken(levels: Tensor, widths: npt.NDArray[np.int64], columns: Columns) -> Tensor:
    """Strokes of half of the lines mixed with the lightest or the darkest of their neighbours."""
    _repeat_ends(levels, widths)
    which, share = next(columns), next(columns)
    chosen = np.flatnonzero(which < 0.5)
    if not len(chosen):
        return levels
    rows, device = send(chosen, levels.device), levels.device
    sign = send(np.where(which < 0.25, 1, -1)[chosen].astype(np.float32), device)[:, None, None]
    picked = levels[rows]
    padded = F.pad((picked * sign)[:, None], (1, 1, 1, 1), mode="replicate")[:, 0]
    most = torch.maximum(torch.maximum(padded[:, :-2], padded[:, 1:-1]), padded[:, 2:])
    most = torch.maximum(torch.maximum(most[..., :-2], most[..., 1:-1]), most[..., 2:]).mul_(sign)
    mixed = picked.lerp_(most, send(share[chosen].astype(np.float32), device)[:, None, None])
    return levels.index_copy(0, rows, mixed)


def _blur(levels: Tensor, widths: npt.NDArray[np.int64], columns: Columns) -> Tensor:
    """Each pixel moved toward the weighted mean of its neighbours, or away from it."""
    _repeat_ends(levels, widths)
    share = _between((-SHARPEN, BLUR), columns)
    padded = F.pad(levels[:, None], (1, 1, 1, 1), mode="replicate")[:, 0]
    mean = (padded[:, :-2] + padded[:, 2:]).add_(padded[:, 1:-1], alpha=2)
    mean = (mean[..., :-2] + mean[..., 2:]).add_(mean[..., 1:-1], alpha=2).div_(16)
    return levels.lerp(mean, send(share.astype(np.float32), levels.device)[:, None, None])


def _recolour(spec: LineView, levels: Tensor, mean: Tensor, columns: Columns) -> Tensor:
    """Middle levels bent, contrast changed about the line's mean, and all levels moved."""
    if spec.curve:
        levels = levels.addcmul_(levels * _sent(spec.curve * _signed(columns), levels), 1 - levels)
    if spec.contrast:
        factor = _sent(1 + spec.contrast * _signed(columns), levels)
        offset = mean * (1 - factor)
        offset = offset + _sent(spec.brightness * _signed(columns), levels) if spec.brightness else offset
        levels = levels.mul_(factor).add_(offset)
    return levels


def _disturb(levels: Tensor, columns: Columns) -> Tensor:
    """A number of each pixel's own added, a hash of the line's number and the pixel's place."""
    amount, number = NOISE * next(columns) ** 2, next(columns)
    rows, wide = (np.arange(side, dtype=np.int64) for side in levels.shape[1:])
    start = (number * 2**31).astype(np.int64)[:, None] + rows * 0x9E3779B1
    parts = (start, np.broadcast_to(wide * 0x85EBCA77, (1, len(wide))))
    down, across = (send(part.astype(np.uint32).view(np.int32), levels.device) for part in parts)
    mixed = down[:, :, None] + across[:, None]  # whole numbers of 32 bits that wrap around, the same on every device
    for shift, factor in ((15, 0x2C1B3C6D), (12, 0x297A2D39), (15, 1)):
        mixed.bitwise_xor_((mixed >> shift).bitwise_and_(2 ** (32 - shift) - 1)).mul_(factor)  # the sign is a bit too
    return levels.addcmul_(mixed.float(), _sent(amount * 2.0**-31, levels))


def _fill(levels: Tensor, mean: Tensor, widths: npt.NDArray[np.int64], columns: Columns) -> None:
    """Half of the lines get a box of their mean level, up to a fifth of the height wide and half of it high."""
    height, wide = levels.shape[1:]
    sides = np.floor((2 * next(columns) - 1).clip(0) * (height // 5 + 1)), np.ceil(next(columns) * height / 2)
    left, top = np.floor(next(columns) * widths) - sides[0] // 2, np.floor(next(columns) * (height - sides[1] + 1))
    x, y = np.arange(wide), np.arange(height)
    beside = (x < left[:, None]) | (x >= (left + sides[0])[:, None])
    over = (y < top[:, None]) | (y >= (top + sides[1])[:, None])
    kept = torch.maximum(_sent(beside[:, None], levels), _sent(over[:, :, None], levels))
    levels.sub_(mean).mul_(kept).add_(mean)


def _signed(columns: Columns) -> Vector:
    return 2 * next(columns) - 1


def _between(ends: tuple[float, float], columns: Columns) -> Vector:
    return ends[0] + (ends[1] - ends[0]) * next(columns)


def _sent(values: npt.NDArray[Any], like: Tensor) -> Tensor:
    """(B,) numbers as float32 (B, 1, 1), others as they are, to the device."""
    values = values[:, None, None] if values.ndim == 1 else values
    return send(values.astype(np.float32), like.device)
