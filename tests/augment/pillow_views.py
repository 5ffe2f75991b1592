"""The views of one image at a time, by Pillow: slow, plain, and what the batched code must equal."""

from __future__ import annotations

import math
import platform

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from semilla.augment.images import ImageView, ImageViews

FUSED = platform.machine().lower() in {"arm64", "aarch64"}
"""Compilers for ARM fuse Pillow's products and sums, which moves a value across a whole number now and then."""


def _affine(image: Image.Image, *matrix: float) -> Image.Image:
    return image.transform(
        image.size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR, fillcolor=_grey(image)
    )


def _grey(image: Image.Image) -> int | tuple[int, ...]:
    return 128 if image.mode == "L" else (128, 128, 128)


def _posterize(image: Image.Image, bits: float) -> Image.Image:
    return ImageOps.posterize(image, math.floor(bits))


def _rotate(image: Image.Image, degrees: float) -> Image.Image:
    return image.rotate(degrees, Image.Resampling.BILINEAR, fillcolor=_grey(image))


PILLOW = {
    "Identity": lambda image, _: image,
    "AutoContrast": lambda image, _: ImageOps.autocontrast(image),
    "Equalize": lambda image, _: ImageOps.equalize(image),
    "Posterize": _posterize,
    "Solarize": ImageOps.solarize,
    "Brightness": lambda image, factor: ImageEnhance.Brightness(image).enhance(factor),
    "Contrast": lambda image, factor: ImageEnhance.Contrast(image).enhance(factor),
    "Color": lambda image, factor: ImageEnhance.Color(image).enhance(factor),
    "Sharpness": lambda image, factor: ImageEnhance.Sharpness(image).enhance(factor),
    "ShearX": lambda image, slope: _affine(image, 1, slope, 0, 0, 1, 0),
    "ShearY": lambda image, slope: _affine(image, 1, 0, 0, slope, 1, 0),
    "TranslateX": lambda image, share: _affine(image, 1, 0, share * image.width, 0, 1, 0),
    "TranslateY": lambda image, share: _affine(image, 1, 0, 0, 0, 1, share * image.height),
    "Rotate": _rotate,
}


def to_pillow(pixels: np.ndarray) -> Image.Image:
    """(C, H, W) uint8 → a picture in mode L or RGB."""
    return Image.fromarray(pixels[0] if len(pixels) == 1 else np.ascontiguousarray(pixels.transpose(1, 2, 0)))


def to_array(image: Image.Image) -> np.ndarray:
    """The inverse of `to_pillow`."""
    pixels = np.asarray(image)
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def pillow_view(views: ImageViews, spec: ImageView, pixels: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """One view of one (C, H, W) image, decision by decision: float32 (C, H, W)."""
    draw = iter(draws.astype(float).tolist())
    height, width = pixels.shape[1:]
    if spec.flip and next(draw) < 0.5 and views.flip:
        pixels = pixels[:, :, ::-1]
    if spec.shift:
        up, side = views.shift
        x = math.floor(next(draw) * (2 * side + 1))
        y = math.floor(next(draw) * (2 * up + 1))
        padded = np.pad(pixels, ((0, 0), (up, up), (side, side)), mode="reflect")
        pixels = padded[:, y : y + height, x : x + width]
    image = to_pillow(pixels)
    for _ in range(spec.count):
        operation = spec.pool[math.floor(next(draw) * len(spec.pool))]
        applied, negative = next(draw) < spec.probability, next(draw) < 0.5
        level = next(draw) if spec.level is None else spec.level
        magnitude = operation.low + (operation.high - operation.low) * level
        if applied:
            image = PILLOW[operation.name](image, -magnitude if operation.signed and negative else magnitude)
    mean, std = (255 * stat.numpy()[:, None, None] for stat in (views.mean, views.std))
    inputs = (to_array(image).astype(np.float32) - mean) / std
    if spec.erasing == "square":
        size = math.floor(next(draw) * (min(height, width) // 2 + 1))
        y, x = (math.floor(next(draw) * side) - size // 2 for side in (height, width))
        inputs[:, max(y, 0) : max(y + size, 0), max(x, 0) : max(x + size, 0)] = 0
    if spec.erasing == "rectangle" and next(draw) < 0.25:
        area = (0.02 + 0.31 * next(draw)) * height * width
        ratio = math.exp(math.log(0.3) + (math.log(3.3) - math.log(0.3)) * next(draw))
        tall = min(round(math.sqrt(area * ratio)), height - 1)
        wide = min(round(math.sqrt(area / ratio)), width - 1)
        y, x = math.floor(next(draw) * (height - tall + 1)), math.floor(next(draw) * (width - wide + 1))
        inputs[:, y : y + tall, x : x + wide] = 0
    return inputs
