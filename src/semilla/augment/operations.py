"""Pillow's image operations for whole batches, on any device.

Images are uint8 (B, C, H, W) with one or three channels. Each example has a magnitude of its own, and is made into what
Pillow makes of the one image. The arithmetic is Pillow's: blends in float32, histograms in integers, contrast
stretching and resampling in float64, always cut toward zero. Products and sums are separate calls, so that no device
fuses them into one rounding.

An operation says only what is its own: a table of 256 levels, what to blend with, or an affine map. Examples of one
kind then share the work on pixels, which is most of the time: tables take one gather, whatever they do. Those that
follow from the magnitudes alone are made on the CPU.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from semilla.augment import geometry
from semilla.augment.geometry import Maps, Vector
from semilla.augment.resampling import neighbours, precision, see
from semilla.transfer import send

Levels: TypeAlias = npt.NDArray[np.uint8]
Pool: TypeAlias = "tuple[Operation, ...]"

# Tables that follow from the magnitudes: (B,) → uint8 (B, 256), the new level of each level.


def posterize(bits: Vector) -> Levels:
    """Only the ``bits`` highest bits of each level kept, 1 … 8; fractions are cut off."""
    return (np.arange(256) & (255 << (8 - bits.astype(np.int64)))[:, None]).astype(np.uint8)


def solarize(threshold: Vector) -> Levels:
    """Levels from ``threshold`` up, 0 … 256, inverted."""
    levels = np.arange(256)
    return np.where(levels < threshold[:, None], levels, 255 - levels).astype(np.uint8)


def brightness(factor: Vector) -> Levels:
    """Blend with black; factor 1 changes nothing, here and in the other blends."""
    levels = np.arange(256, dtype=np.float32) * factor.astype(np.float32)[:, None]
    return levels.clip(0, 255).astype(np.uint8)


# Tables that follow from the pixels: uint8 (B, C, H · W) → uint8 (B, C, 256).


def autocontrast(pixels: Tensor) -> Tensor:
    """Each channel stretched so that its darkest pixel becomes 0 and its brightest 255."""
    low, high = (level.to(precision(pixels.device)) for level in pixels.aminmax(dim=2, keepdim=True))
    span = high - low
    scale = torch.full_like(span, 255.0).div_(span)  # 255.0 / span is a reciprocal and a product: rounded twice
    levels = torch.arange(256, device=pixels.device, dtype=span.dtype)
    stretched = (levels * scale).add_(-low * scale)
    return _to_levels(torch.where(span == 0, levels, stretched))  # a channel of one level stays as it is


def equalize(pixels: Tensor) -> Tensor:
    """Each channel's levels spread so that they are about equally frequent; under 256 pixels nothing changes."""
    levels = torch.arange(256, device=pixels.device)
    if pixels.shape[2] < 256:
        return levels.to(torch.uint8).expand(*pixels.shape[:2], -1)
    one = torch.ones((), dtype=torch.int64, device=pixels.device)
    histogram = one.new_zeros(*pixels.shape[:2], 256).scatter_add_(2, pixels.long(), one.expand(pixels.shape))
    brightest = histogram.gather(2, pixels.amax(2, keepdim=True).long())
    step = (pixels.shape[2] - brightest) // 255
    darker = histogram.cumsum(2).sub_(histogram)
    # Whole numbers this small are divided as exactly in floating point, in a fraction of the time.
    table = darker.add_(step // 2).to(precision(pixels.device)).div_(step.clamp(min=1))
    return _to_levels(
        torch.where(step == 0, levels.to(table.dtype), table)
    )  # too few pixels, or too few levels, to spread


# What to blend with: whole levels in float32 (B, C, H, W) → float32, of that shape or one that expands to it.


def contrast(images: Tensor) -> Tensor:
    """The image's mean grey level, rounded."""
    luma = _luma(images)
    count = luma.shape[2] * luma.shape[3]
    total = luma.sum((1, 2, 3), keepdim=True, dtype=torch.int64)
    return ((2 * total + count) // (2 * count)).float()


def color(images: Tensor) -> Tensor:
    """The grey image; grey images stay as they are."""
    return _luma(images)


def sharpness(images: Tensor) -> Tensor:
    """The image smoothed by ((1, 1, 1), (1, 5, 1), (1, 1, 1)) / 13, its border left as it is."""
    rows = images[:, :, :-2] + images[:, :, 1:-1]
    rows += images[:, :, 2:]
    total = rows[..., :-2] + rows[..., 1:-1]
    total += rows[..., 2:]
    total.add_(images[..., 1:-1, 1:-1], alpha=4)
    smooth = images.clone()
    # The sums are whole numbers below 2¹², never half way between multiples of 13: any precision rounds them alike.
    smooth[..., 1:-1, 1:-1] = total.div_(13.0).add_(0.5).floor_()
    return smooth


def _luma(images: Tensor) -> Tensor:
    """Grey levels by ITU-R 601-2, its weights times 2¹⁶ whole numbers: every sum is below 2²⁴, so float32 is exact."""
    if images.shape[1] == 1:
        return images
    weights = torch.tensor([19595.0, 38470.0, 7471.0]).to(images.device, non_blocking=True)
    return (images * weights.view(3, 1, 1)).sum(1, keepdim=True).add_(0x8000).div_(0x10000).floor_()


@dataclass(frozen=True, slots=True)
class Operation:
    """A row of a pool: what is done, and how strongly at levels from 0 to 1. At most one of the last four is set.

    Attributes:
        name: as in the literature.
        low: magnitude at level 0.
        high: magnitude at level 1; in between in proportion.
        signed: whether the magnitude's sign is drawn.
        levels: new levels, by the magnitudes.
        table: new levels, by the pixels.
        other: what to blend with; the magnitude is the image's weight.
        maps: ``(magnitudes, height, width) → maps`` through which the image is seen.
    """

    name: str
    low: float = 0.0
    high: float = 0.0
    signed: bool = False
    levels: Callable[[Vector], Levels] | None = None
    table: Callable[[Tensor], Tensor] | None = None
    other: Callable[[Tensor], Tensor] | None = None
    maps: Callable[[Vector, int, int], Maps] | None = None

    def __call__(self, images: Tensor, magnitudes: Vector) -> Tensor:
        """Change each image of a uint8 (B, C, H, W) batch by its own magnitude, (B,)."""
        changed = images.clone(memory_format=torch.contiguous_format)
        operate((self,), changed, np.zeros(len(images), np.int64), magnitudes)
        return changed


@torch.inference_mode()  # spares a tenth of the time of small batches
def operate(pool: Pool, images: Tensor, choice: npt.NDArray[np.int64], magnitudes: Vector) -> Maps:
    """One operation on each image, in place.

    The images that change are sorted by what is done, so that a kind of operation works on one slice of them.

    Args:
        pool: the operations.
        images: uint8 (B, C, H, W), contiguous.
        choice: (B,) places in the pool; ``len(pool)`` stands for no operation.
        magnitudes: (B,).

    Returns:
        The maps (B, 2, 3) through which the images are seen.
    """
    (batch, _, height, width), device = images.shape, images.device
    maps = geometry.identity(batch)
    tables, blends, keys = _kinds(pool)
    key = keys[choice]
    seen = 1 + len(tables) + len(blends)
    if (key == seen).any():
        for place, operation in enumerate(pool):
            if operation.maps is not None:
                rows = np.flatnonzero(choice == place)
                maps[rows] = operation.maps(magnitudes[rows], height, width)
        key[key == seen] += neighbours(maps[key == seen])
    order = np.argsort(key, kind="stable")
    counts = np.bincount(key, minlength=seen + 3)
    order = order[counts[0] :]
    if not len(order):
        return maps
    index = send(order, device)
    waiting, strengths, through = images.index_select(0, index), magnitudes[order], maps[order]
    ends = np.cumsum(counts[1:]).tolist()
    slices = [slice(start, stop) for start, stop in zip([0, *ends], ends, strict=False)]

    done: list[Tensor] = []
    if stop := ends[len(tables) - 1] if tables else 0:
        done.append(_look_up(waiting[:stop], tables, slices, strengths))
    for row, part in zip(blends, slices[len(tables) :], strict=False):
        if row.other and part.start < part.stop:
            done.append(blend(waiting[part], row.other, strengths[part]))
    if (start := ends[seen - 2] if seen > 1 else 0) < len(order):
        done += see(waiting[start:], through[start:])
    _words(images).index_copy_(0, index, _words(torch.cat(done)))
    return maps


@cache
def _kinds(pool: Pool) -> tuple[Pool, Pool, npt.NDArray[np.int64]]:
    """The rows with tables, those that blend, and the key by which examples are sorted for each place in the pool."""
    tables = *(row for row in pool if row.levels), *(row for row in pool if row.table)
    blends = tuple(row for row in pool if row.other)
    keys = {row: key for key, row in enumerate((*tables, *blends), 1)}
    seen = 1 + len(keys)
    return tables, blends, np.array([*(keys.get(row, seen if row.maps else 0) for row in pool), 0])


def _words(images: Tensor) -> Tensor:
    """Contiguous images as (B, …) numbers as wide as they allow: a CPU copies rows number by number."""
    rows = images.view(len(images), -1)
    return rows.view(torch.int64) if rows.shape[1] % 8 == 0 else rows


def _look_up(images: Tensor, rows: Pool, parts: list[slice], magnitudes: Vector) -> Tensor:
    """New levels from a table for each channel: one gather, whatever the operations."""
    pixels = images.flatten(2)
    drawn = [(row, part) for row, part in zip(rows, parts, strict=False) if part.start < part.stop]
    known = [row.levels(magnitudes[part]) for row, part in drawn if row.levels]
    tables = [row.table(pixels[part]) for row, part in drawn if row.table]
    if known:
        tables.insert(0, send(np.concatenate(known), images.device)[:, None].expand(-1, images.shape[1], -1))
    return torch.cat(tables).gather(2, pixels.long()).view(images.shape)


def blend(images: Tensor, other: Callable[[Tensor], Tensor], factors: Vector) -> Tensor:
    """Other + factor · (image − other), beyond the image where the factor exceeds 1."""
    levels, factor = images.float(), send(factors.astype(np.float32), images.device).view(-1, 1, 1, 1)
    against = other(levels)
    return _to_levels((levels - against).mul_(factor).add_(against))  # not in place: grey images are their own luma


def _to_levels(values: Tensor) -> Tensor:
    return values.clamp_(0, 255).to(torch.uint8)


FIXMATCH = (
    # FixMatch (Sohn et al. 2020), the ranges of the appendix. The authors' program draws from other ranges (factors
    # 0.28 … 1.72, for instance); the known PyTorch versions follow the paper.
    Operation("Identity"),
    Operation("AutoContrast", table=autocontrast),
    Operation("Equalize", table=equalize),
    Operation("Posterize", 4, 8, levels=posterize),
    Operation("Solarize", 0, 256, levels=solarize),
    Operation("Brightness", 0.05, 0.95, levels=brightness),
    Operation("Contrast", 0.05, 0.95, other=contrast),
    Operation("Color", 0.05, 0.95, other=color),
    Operation("Sharpness", 0.05, 0.95, other=sharpness),
    Operation("ShearX", 0, 0.3, signed=True, maps=geometry.shear_x),
    Operation("ShearY", 0, 0.3, signed=True, maps=geometry.shear_y),
    Operation("TranslateX", 0, 0.3, signed=True, maps=geometry.translate_x),
    Operation("TranslateY", 0, 0.3, signed=True, maps=geometry.translate_y),
    Operation("Rotate", 0, 30, signed=True, maps=geometry.rotate),
)

LECTURE = (
    # RandomAugment as distributed with ALBEF and BLIP, in Pillow's arithmetic where that program used OpenCV's. Its
    # translation of ten pixels, at side 32, is a share of the side here, in fractions of a pixel where it must be.
    Operation("Identity"),
    Operation("AutoContrast", table=autocontrast),
    Operation("Equalize", table=equalize),
    Operation("Brightness", 0.1, 1.9, levels=brightness),
    Operation("Sharpness", 0.1, 1.9, other=sharpness),
    Operation("ShearX", 0, 0.3, signed=True, maps=geometry.shear_x),
    Operation("ShearY", 0, 0.3, signed=True, maps=geometry.shear_y),
    Operation("TranslateX", 0, 10 / 32, signed=True, maps=geometry.translate_x),
    Operation("TranslateY", 0, 10 / 32, signed=True, maps=geometry.translate_y),
    Operation("Rotate", 0, 30, signed=True, maps=geometry.rotate),
)

OPERATIONS = {operation.name: operation for operation in FIXMATCH}
"""Every operation by name, with FixMatch's magnitudes."""
