"""Every batched operation against Pillow, image by image, over its whole range of magnitudes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_images

from semilla.augment import geometry
from semilla.augment.operations import FIXMATCH, LECTURE, OPERATIONS, autocontrast, color, operate
from semilla.augment.resampling import neighbours, resample, see, shift, slide

from .pillow_views import FUSED, PILLOW, to_array, to_pillow

CIFAR = Path(__file__).parents[3] / "shared" / "data" / "small" / "cifar10_1000_500.npz"
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
SIZES = [(8, 8), (8, 13), (16, 16), (17, 9), (32, 32), (33, 40), (48, 40)]

FACTORS = np.array([0, 0.05, 0.37, 0.5, 0.95, 1, 1.01, 1.36, 2])
SHARES = np.array([-0.3125, -0.3, -0.21875, -0.111, -0.03125, 0, 0.01, 0.0625, 0.17, 0.25, 0.3, 0.3125])
SLOPES = np.array([-0.3, -0.21, -0.07, -1e-3, 0, 1e-3, 0.1, 0.21, 0.25, 0.3])
ANGLES = np.array([-180, -90, -45, -30, -21, -7.3, -1e-3, 0, 1, 13.7, 21, 30, 60, 90, 180, 270, 359])

# Grey levels by which a pixel may differ, and the share of pixels that may differ at all: none where Pillow's products
# and sums are rounded one by one.
EXACT, ROUNDED = (0, 0.0), (1, 0.01) if FUSED else (0, 0.0)
TOLERANCE = {
    # name: (tolerance, magnitudes)
    "Identity": (EXACT, np.zeros(1)),
    "AutoContrast": (EXACT, np.zeros(1)),
    "Equalize": (EXACT, np.zeros(1)),
    "Posterize": (EXACT, np.array([1, 2, 3.9, 4, 4.5, 5, 6, 7.99, 8])),
    "Solarize": (EXACT, np.array([0, 0.5, 1, 12, 127.9, 128, 200.2, 254.5, 255, 255.5, 256])),
    "Brightness": (ROUNDED, FACTORS),
    "Contrast": (ROUNDED, FACTORS),
    "Color": (ROUNDED, FACTORS),
    "Sharpness": (ROUNDED, FACTORS),
    "ShearX": (ROUNDED, SLOPES),
    "ShearY": (ROUNDED, SLOPES),
    "TranslateX": (ROUNDED, SHARES),
    "TranslateY": (ROUNDED, SHARES),
    "Rotate": (ROUNDED, ANGLES),
}


def synthetic(height: int, width: int, channels: int) -> np.ndarray:
    """(N, C, H, W): noise, gradients, constants, two levels, narrow ranges, crops of photographs."""
    rng = np.random.default_rng(height * 100 + width)
    size = (channels, height, width)
    ramp = np.broadcast_to(np.linspace(0, 255, width), size)
    diagonal = np.add.outer(np.arange(height), np.arange(width)) * 255 / (height + width - 2)
    photos = [photo[100 : 100 + height, 200 : 200 + width].transpose(2, 0, 1) for photo in load_sample_images().images]
    images = [
        rng.integers(0, 256, size),
        rng.integers(0, 256, size),
        rng.integers(100, 131, size),
        ramp,
        255 - ramp,
        np.broadcast_to(diagonal, size),
        np.zeros(size),
        np.full(size, 255),
        np.full(size, 77),
        rng.choice([0, 255], size),
        rng.choice([31, 32], size),
        np.where(rng.random(size) < 0.98, 200, rng.integers(0, 256, size)),
        *(photo[:channels] for photo in photos),
        *(photo[:channels, ::-1] // 3 for photo in photos),
    ]
    return np.stack([np.asarray(image).astype(np.uint8) for image in images])


def compare(name: str, images: np.ndarray, device: str) -> None:
    (levels, share), magnitudes = TOLERANCE[name]
    batch = np.repeat(images, len(magnitudes), axis=0)
    strengths = np.tile(magnitudes, len(images)).astype(float)
    expected = np.stack([to_array(PILLOW[name](to_pillow(x), m)) for x, m in zip(batch, strengths, strict=True)])
    given = torch.from_numpy(batch).to(device)
    got = OPERATIONS[name](given, strengths)
    assert got.dtype == torch.uint8
    assert got.device == given.device
    assert torch.equal(given.cpu(), torch.from_numpy(batch)), "the input was changed"
    difference = np.abs(got.cpu().numpy().astype(int) - expected)
    assert difference.max() <= levels
    assert (difference > 0).mean() <= share


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", TOLERANCE)
def test_equals_pillow_on_synthetic_images_and_photographs(name: str, channels: int, device: str) -> None:
    for height, width in SIZES:
        compare(name, synthetic(height, width, channels), device)


@pytest.mark.skipif(not CIFAR.exists(), reason=f"no real photographs: {CIFAR.name} is not there")
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", TOLERANCE)
def test_equals_pillow_on_cifar10(name: str, device: str) -> None:
    with np.load(CIFAR) as file:
        images = file["x_train"][::20].transpose(0, 3, 1, 2)
    compare(name, images, device)


@pytest.mark.parametrize("name", ["ShearX", "TranslateY", "Rotate", "Solarize", "Contrast"])
def test_equals_pillow_at_random_magnitudes(name: str) -> None:
    operation, rng = OPERATIONS[name], np.random.default_rng(3)
    images = rng.integers(0, 256, (400, 3, 19, 24), dtype=np.uint8)
    magnitudes = rng.uniform(-operation.high if operation.signed else operation.low, operation.high, 400)
    expected = np.stack([to_array(PILLOW[name](to_pillow(x), m)) for x, m in zip(images, magnitudes, strict=True)])
    difference = np.abs(operation(torch.from_numpy(images), magnitudes).numpy().astype(int) - expected)
    (levels, share), _ = TOLERANCE[name]
    assert difference.max() <= levels
    assert (difference > 0).mean() <= share


@pytest.mark.parametrize("name", ["Posterize", "Solarize", "Brightness"])
def test_tables_by_magnitude_hold_every_level(name: str) -> None:
    """All 256 levels at many magnitudes, the whole and half ones of the range among them."""
    table, row = OPERATIONS[name].levels, OPERATIONS[name]
    assert table is not None
    low, high = (0, 2) if name == "Brightness" else (max(1, row.low - 3) if name == "Posterize" else 0, row.high)
    magnitudes = np.concatenate((np.linspace(low, high, 513), np.linspace(low, high, 100)))
    ramp = Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16))
    expected = np.stack([np.asarray(PILLOW[name](ramp, m)).ravel() for m in magnitudes.tolist()])
    np.testing.assert_array_equal(table(magnitudes), expected)


def test_autocontrast_holds_every_level_of_every_span() -> None:
    """32,640 pairs of a darkest and a brightest level, by the formula in the words of Pillow's source, one by one."""
    low, high = np.triu_indices(256, 1)
    pixels = torch.from_numpy(np.stack((low, high), 1).astype(np.uint8))[:, None]
    scale = 255.0 / (high - low)
    levels = np.arange(256)
    expected = (levels * scale[:, None] + (-low * scale)[:, None]).astype(np.int64).clip(0, 255)
    np.testing.assert_array_equal(autocontrast(pixels)[:, 0].numpy(), expected)
    flat = torch.arange(256, dtype=torch.uint8).view(256, 1, 1).expand(256, 1, 4)
    assert torch.equal(autocontrast(flat), torch.arange(256, dtype=torch.uint8).expand(256, 1, 256))


def test_grey_levels_of_every_colour() -> None:
    """All 2²⁴ colours in float32 against Pillow's whole numbers."""
    side = np.arange(256, dtype=np.uint8)
    for red in np.split(side, 16):
        colours = np.stack(np.meshgrid(red, side, side, indexing="ij"), -1).reshape(1024, 1024, 3)
        expected = np.asarray(Image.fromarray(colours).convert("L"))
        got = color(torch.from_numpy(colours).permute(2, 0, 1)[None].float())
        assert np.array_equal(got[0, 0].numpy(), expected)


@pytest.mark.parametrize(("height", "width"), [(8, 8), (17, 9), (32, 32), (33, 40)])
def test_fewer_neighbours_show_the_same(height: int, width: int) -> None:
    """`resample`, which alone serves other devices, against what serves a CPU in its place."""
    rng, n = np.random.default_rng(height), 60
    share, slope = rng.uniform(-0.4, 0.4, n), rng.uniform(-0.4, 0.4, n)
    whole = rng.integers(-height, height + 1, (2, n))
    share[:4], slope[:4] = (0, 1, -1, 0.5), (0, 0.25, -0.1, 0.3)
    maps = {
        shift: [geometry.translate_x(whole[0] / width, height, width), geometry.identity(n)],
        slide: [geometry.shear_x(slope, height, width), geometry.shear_y(slope, height, width),
                geometry.translate_x(share, height, width), geometry.translate_y(share, height, width)],
        resample: [geometry.rotate(rng.uniform(1, 30, n), height, width)],
    }  # fmt: skip
    maps[shift][1][:, :, 2] = whole.T
    images = torch.from_numpy(rng.integers(0, 256, (n, 3, height, width), dtype=np.uint8))
    for place, (function, kinds) in enumerate(maps.items()):
        for each in kinds:
            fit = neighbours(each) <= place
            assert fit.mean() > 0.9
            assert (neighbours(each) == place).mean() > (0.5 if function is shift else 0.9)
            assert torch.equal(function(images[fit], each[fit]), resample(images[fit], each[fit]))
    mixed = np.concatenate([each for kinds in maps.values() for each in kinds])
    mixed = mixed[np.argsort(neighbours(mixed), kind="stable")]
    many = images.repeat(-(-len(mixed) // n), 1, 1, 1)[: len(mixed)]
    assert torch.equal(torch.cat(see(many, mixed)), resample(many, mixed))


@pytest.mark.parametrize("pool", [FIXMATCH, LECTURE, FIXMATCH[5:7], FIXMATCH[9:], FIXMATCH[:1]])
@pytest.mark.parametrize("size", [(3, 32, 32), (1, 9, 11)])
def test_each_image_of_a_batch_gets_its_own_operation(pool, size) -> None:
    """In any mixture what it gets alone, and nothing where nothing is drawn."""
    rng, count = np.random.default_rng(len(pool)), 130
    images = torch.from_numpy(rng.integers(0, 256, (count, *size), dtype=np.uint8))
    choice = rng.integers(0, len(pool) + 1, count)
    magnitudes = np.array([rng.uniform(row.low, row.high) for row in (*pool, pool[0])])[choice]
    changed = images.clone()
    maps = operate(pool, changed, choice, magnitudes)
    for k in range(count):
        if choice[k] == len(pool):
            assert torch.equal(changed[k], images[k])
            assert (maps[k] == geometry.identity(1)[0]).all()
            continue
        row, one = pool[choice[k]], slice(k, k + 1)
        assert torch.equal(changed[one], row(images[one], magnitudes[one]))
        assert (maps[one] == (row.maps or geometry.translate_x)(magnitudes[one] * bool(row.maps), *size[1:])).all()


def test_every_operation_is_compared() -> None:
    assert set(TOLERANCE) == set(PILLOW) == set(OPERATIONS)
    assert {operation.name for operation in LECTURE} < set(OPERATIONS)


def test_fixmatch_ranges_are_the_papers() -> None:
    """Sohn et al. 2020, table of the appendix: transformation, range."""
    enhance = (0.05, 0.95, False)
    paper = {
        "AutoContrast": (0, 0, False),
        "Brightness": enhance,
        "Color": enhance,
        "Contrast": enhance,
        "Equalize": (0, 0, False),
        "Identity": (0, 0, False),
        "Posterize": (4, 8, False),
        "Rotate": (0, 30, True),
        "Sharpness": enhance,
        "ShearX": (0, 0.3, True),
        "ShearY": (0, 0.3, True),
        "Solarize": (0, 256, False),
        "TranslateX": (0, 0.3, True),
        "TranslateY": (0, 0.3, True),
    }
    assert {row.name: (row.low, row.high, row.signed) for row in FIXMATCH} == paper


def test_lecture_magnitudes_at_level_seven() -> None:
    """Rotate 21°, shear 0.21, translate 7 of 32 pixels, factors 1.36; ten operations."""
    at_seven = {row.name: row.low + (row.high - row.low) * 0.7 for row in LECTURE}
    assert at_seven == pytest.approx(
        {
            "Identity": 0,
            "AutoContrast": 0,
            "Equalize": 0,
            "Brightness": 1.36,
            "Sharpness": 1.36,
            "ShearX": 0.21,
            "ShearY": 0.21,
            "TranslateX": 7 / 32,
            "TranslateY": 7 / 32,
            "Rotate": 21,
        }
    )
    assert [row.signed for row in LECTURE] == [False] * 5 + [True] * 5
    assert at_seven["TranslateX"] * 32 == 7, "whole pixels, or every translation would blur"
