"""From ink to a picture: ground, light, ink, and what printer, camera and compression do to them.

Grain and stains are cut out of a few tiles that are the same in every process; where they are cut is drawn.
"""

from __future__ import annotations

import functools
import io
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from semilla.generating.draws import Draws
from semilla.generating.looks import Look

Floats: TypeAlias = npt.NDArray[np.float32]
Grey: TypeAlias = npt.NDArray[np.uint8]

_TILE = 160, 4096
_LEAST = 0.55  # share of the ink that must be left of thinned strokes
_FULL = np.float32(255)


def paint(ink: Image.Image, look: Look, free: int, draws: Draws) -> Grey:
    """A picture of the ink.

    Args:
        ink: coverage, mode L.
        look: probabilities and ranges of the effects.
        free: columns at the right end without ink, where a form's box may end.
        draws: what is drawn from.

    Returns:
        uint8 (H, W).
    """
    if look.name == "plain":
        return 255 - np.asarray(ink)
    shape = ink.size[1], ink.size[0]
    cover = _stroke(ink, look, draws)
    dark, light = _greys(look, draws)
    ground = _ground(shape, light, look, draws)
    if draws.chance(look.ruled):
        _rule(ground, light, draws)
    if draws.chance(look.boxed):
        _box(ground, light, free, draws)
    if draws.chance(look.neighbors):
        _neighbors(ground, cover, dark, draws)
    if draws.chance(look.shadow):
        _shadow(ground, cover, draws)
    if draws.chance(look.outline):
        around = np.asarray(Image.fromarray(np.asarray(cover * _FULL, np.uint8)).filter(ImageFilter.MaxFilter(3)))
        ground += (np.float32(255 if dark < light else 0) - ground) * (
            around * np.float32(draws.between(0.3, 0.9) / 255)
        )
    if look.pressure:
        fading = _cut(4 + draws.whole(0, 1), shape, draws)
        cover *= 1 - np.float32(look.pressure * draws.one()) * np.clip(0.5 + 0.3 * fading, 0, 1)
    picture = ground + (np.float32(dark) - ground) * cover
    return _camera(picture, look, abs(light - dark), draws)


def _stroke(ink: Image.Image, look: Look, draws: Draws) -> Floats:
    """Coverage in [0, 1] by strokes made thinner or thicker, float32 (H, W)."""
    weight = draws.between(*look.weight)
    if weight > 0.15:
        ink = ink.filter(ImageFilter.BoxBlur(0.75 * weight))
    cover = np.asarray(ink, np.float32) / _FULL
    if weight > 0.15:
        cover = np.minimum(cover * np.float32(1 + 1.6 * weight), 1)
    elif weight < -0.15:  # what is covered in part is given up first
        low = np.float32(-0.45 * weight)
        thinner = np.maximum(cover - low, 0) / (1 - low)
        if thinner.sum() > _LEAST * cover.sum():  # a face that is thin already would break into dots
            cover = thinner
    if draws.chance(look.bleed):
        soaked = np.asarray(
            Image.fromarray(np.asarray(cover * _FULL, np.uint8)).filter(ImageFilter.BoxBlur(1)), np.float32
        )
        cover = np.maximum(
            cover, soaked * np.clip(_cut(1, cover.shape, draws) * np.float32(0.004), 0, np.float32(0.004))
        )
    strongest = cover.max()
    return cover / strongest if 0 < strongest < 0.9 else cover


def _greys(look: Look, draws: Draws) -> tuple[float, float]:
    """Of ink and ground, as far apart as the look asks for."""
    light, dark = draws.between(*look.paper), draws.between(*look.ink)
    if light - dark < look.contrast:
        dark = max(0.0, light - look.contrast)
        light = max(light, dark + look.contrast)
    return (light, dark) if draws.chance(look.inverted) else (dark, light)


def _ground(shape: tuple[int, int], light: float, look: Look, draws: Draws) -> Floats:
    height, width = shape
    ground = np.full(shape, light, np.float32)
    if draws.chance(look.gradient):
        most = 0.5 * look.contrast
        across = np.linspace(draws.around(most), draws.around(most), width, dtype=np.float32)
        down = np.linspace(draws.around(most), draws.around(most), height, dtype=np.float32)
        ground += 0.5 * (across + down[:, None])
    if draws.chance(look.texture):
        ground += np.float32(min(look.coarse, 0.15 * look.contrast) * draws.one()) * _cut(
            draws.whole(0, 5), shape, draws
        )
    return ground


def _rule(ground: Floats, light: float, draws: Draws) -> None:
    """A line on which one writes."""
    height = ground.shape[0]
    _line(ground, height * draws.between(0.6, 0.98), draws.around(0.08 * height), _line_grey(light, draws), draws)
    if draws.chance(0.3):
        _line(ground, height * draws.between(0.0, 0.3), draws.around(0.08 * height), _line_grey(light, draws), draws)


def _line(ground: Floats, level: float, rise: float, grey: float, draws: Draws) -> None:
    """A line from end to end, whose height changes by ``rise``; dotted at times."""
    height, width = ground.shape
    middle = np.linspace(level - rise / 2, level + rise / 2, width, dtype=np.float32)
    reach = np.float32(draws.between(0.6, 1.3))
    top, bottom = max(0, int(min(middle[0], middle[-1]) - 2)), int(max(middle[0], middle[-1]) + 3)
    if top >= height or bottom <= 0:
        return
    rows = np.arange(top, min(bottom, height), dtype=np.float32)[:, None]
    cover = np.clip(reach - np.abs(rows - middle), 0, 1) * np.float32(draws.between(0.4, 1))
    if draws.chance(0.15):
        cover *= (np.arange(width) // draws.whole(1, 3)) % 2
    ground[top : min(bottom, height)] += (np.float32(grey) - ground[top : min(bottom, height)]) * cover


def _line_grey(light: float, draws: Draws) -> float:
    return max(0.0, light - draws.between(25, 190)) if light > 100 else min(255.0, light + draws.between(25, 150))


def _box(ground: Floats, light: float, free: int, draws: Draws) -> None:
    """A form's box: its upper and lower edge, its right edge where there is room, and the margin beyond."""
    height, width = ground.shape
    grey, rise = _line_grey(light, draws), draws.around(0.06 * height)
    for level, chance in ((draws.between(-0.03, 0.05), 0.75), (draws.between(0.93, 1.03), 0.75)):
        if draws.chance(chance):
            _line(ground, level * height, rise, grey, draws)
    if free >= 4:
        at = width - draws.whole(1, max(1, free - 2))
        beyond = np.float32(draws.around(30))
        ground[:, at:] += beyond
        thick = draws.whole(1, 2 if height < 40 else 3)
        ground[:, at : at + thick] = grey
    if draws.chance(0.1):
        ground[:, : draws.whole(1, 2)] = grey


def _neighbors(ground: Floats, cover: Floats, dark: float, draws: Draws) -> None:
    """Feet of letters of the line above along the upper edge, or heads of those below along the lower one.

    They are taken from the line's own ink, moved sideways, and cover less than a tenth of the height.
    """
    height, width = cover.shape
    inked = np.flatnonzero(cover.max(1) > 0.3)
    if not len(inked):
        return
    rows = min(max(2, round(0.09 * height)), len(inked))
    move = draws.whole(0, width - 1)
    strength = np.float32(draws.between(0.5, 1))
    if draws.chance(0.6):
        piece, part = cover[inked[-1] - rows + 1 : inked[-1] + 1], ground[:rows]
    else:
        piece, part = cover[inked[0] : inked[0] + rows], ground[-rows:]
    piece = np.roll(piece, move, 1)[: len(part)] * strength
    part[: len(piece)] += (np.float32(dark) - part[: len(piece)]) * piece


def _shadow(ground: Floats, cover: Floats, draws: Draws) -> None:
    right, down = draws.whole(1, 2), draws.whole(-1, 2)
    moved = np.roll(cover, (down, right), (0, 1)) * np.float32(draws.between(20, 70))
    ground -= moved if draws.chance(0.8) else -moved


def _camera(picture: Floats, look: Look, contrast: float, draws: Draws) -> Grey:
    """What is between the paper and the file."""
    if draws.chance(look.motion):
        reach = draws.whole(1, 2)
        picture = (picture + np.roll(picture, reach, 1)) * np.float32(0.5)
    noisy = draws.chance(look.noise)
    if noisy:
        picture = picture + np.float32(draws.between(0.01, 0.11) * contrast) * _cut(0, picture.shape, draws)
    image = Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8))
    if draws.chance(look.coarsened):
        share = draws.between(0.5, 0.9)
        smaller = image.resize(
            (max(1, round(share * image.width)), max(1, round(share * image.height))), Image.Resampling.BILINEAR
        )
        image = smaller.resize(image.size, Image.Resampling.BILINEAR)
    elif draws.chance(look.blur):
        image = image.filter(ImageFilter.BoxBlur(draws.between(0.2, 0.9) * image.height / 40))
    if draws.chance(look.jpeg):
        image = _compressed(image, round(draws.between(*look.quality)))
    return np.asarray(image)


def _compressed(image: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    file.seek(0)
    return Image.open(file, formats=("JPEG",))


@functools.cache
def _tile(kind: int) -> Floats:
    """Noise with mean 0 and deviation 1: white, then coarser and coarser, then fibres. Wraps around."""
    from scipy.ndimage import gaussian_filter

    white = np.random.Generator(np.random.Philox(key=kind)).standard_normal(_TILE, dtype=np.float32)
    reach = ((0, 0), (0.8, 0.8), (2, 2), (0.6, 5), (6, 10), (12, 40))[kind]
    smooth = white if not kind else gaussian_filter(white, reach, mode="wrap")
    tile: Floats = np.clip((smooth - smooth.mean()) / smooth.std(), -3, 3)
    return tile


def _cut(kind: int, shape: tuple[int, ...], draws: Draws) -> Floats:
    """A piece of a tile; wider ones than it go around."""
    tile = _tile(kind)
    top = draws.whole(0, max(0, _TILE[0] - shape[0]))
    left = draws.whole(0, _TILE[1] - 1)
    if left + shape[1] <= _TILE[1] and shape[0] <= _TILE[0]:
        return tile[top : top + shape[0], left : left + shape[1]]
    return tile.take(np.arange(top, top + shape[0]), 0, mode="wrap").take(
        np.arange(left, left + shape[1]), 1, mode="wrap"
    )
