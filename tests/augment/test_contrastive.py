"""The views ``contrastive`` of pictures and of vectors, against an implementation of one example at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import kstest

from semilla.augment import VectorViews, contrastive
from semilla.augment.images import ImageViews, find
from semilla.augment.vectors import reference_rows
from semilla.contract import View
from semilla.randomness import uniform

from .numpy_contrastive import box, contrastive_view

SIZES = [(3, 8, 8), (3, 32, 32), (3, 17, 24), (1, 33, 40), (1, 8, 8)]
NAMES = ("flip", "area", "ratio", "x", "y", "whether", "brightness", "contrast", "saturation", "hue", "grey")
STILL = {"flip": 0.9, "area": 1.0, "ratio": 0.5, "x": 0.3, "y": 0.7, "whether": 0.99, "grey": 0.99}
LEVEL = 0.02
"""Grey levels by which a view in float32 may differ: a level of 255 is known to 2⁻¹⁷, and a point of a picture of 40
pixels, counted from −1 to 1, to 2⁻¹⁹ pixels, between neighbours that are 255 levels apart; some ten such sums and a
factor of up to 1.4³."""


def levels(size: tuple[int, int, int], flip: bool = True) -> ImageViews:
    """Views whose inputs are grey levels."""
    return ImageViews(size, [0.0] * size[0], [1 / 255] * size[0], flip)


def noise(size: tuple[int, int, int], count: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (count, *size)).astype(np.uint8))


def drawn(count: int, seed: int = 0, **fixed: float) -> torch.Tensor:
    """Draws of the view, some of them fixed for all."""
    columns = uniform(seed, "contrastive", 1, np.arange(count), len(NAMES)).copy()
    for name, value in fixed.items():
        columns[:, NAMES.index(name)] = value
    return torch.from_numpy(columns)


def view(pixels: torch.Tensor, draws: torch.Tensor, flip: bool = True) -> View:
    return levels(tuple(pixels.shape[1:]), flip)("contrastive", pixels, draws)


def test_the_draws_are_eleven() -> None:
    assert find("contrastive").draws == len(NAMES)
    assert len(NAMES) == 1 + contrastive.CROP_DRAWS + contrastive.COLOUR_DRAWS
    assert VectorViews(np.zeros(4), np.ones(4), None, np.zeros((2, 4), np.float32)).draws("contrastive") == 8


@pytest.mark.parametrize("flip", [True, False])
@pytest.mark.parametrize("size", SIZES)
def test_equals_one_picture_at_a_time_following_the_same_draws(size: tuple[int, int, int], flip: bool) -> None:
    pixels, draws = noise(size, 24, 5), drawn(24, 7)
    got = view(pixels, draws, flip).inputs.double().numpy()
    pairs = zip(pixels.numpy(), draws.double().tolist(), strict=True)
    expected = np.stack([contrastive_view(one, row, flip, 0.25) for one, row in pairs])
    assert np.abs(got - expected).max() < LEVEL
    assert ((expected > 0) & (expected < 255)).mean() > 0.5, "most levels are not cut, so that they are compared"


@pytest.mark.parametrize("size", SIZES)
def test_nothing_asked_for_is_nothing_done(size: tuple[int, int, int]) -> None:
    pixels = noise(size, 8)
    seen = view(pixels, drawn(8, **STILL))
    assert (seen.inputs - pixels).abs().max() < LEVEL
    assert seen.geometry is not None
    torch.testing.assert_close(seen.geometry, torch.eye(3)[:2].expand(8, 2, 3))
    mirrored = view(pixels, drawn(8, **{**STILL, "flip": 0.1})).inputs
    assert (mirrored - pixels.flip(3)).abs().max() < LEVEL


def test_colours_do_not_depend_on_the_crops_place_nor_the_crop_on_colours() -> None:
    pixels, area = noise((3, 16, 16), 8), {"area": 0.2, "ratio": 0.4}
    plain, other = (view(pixels, drawn(8, 1, **area, whether=whether)).geometry for whether in (0.99, 0.1))
    assert torch.equal(plain, other)


@pytest.mark.parametrize("size", [(3, 32, 32), (3, 20, 40)])
@pytest.mark.parametrize("flip", [True, False])
def test_geometry_says_where_each_pixel_came_from(size: tuple[int, int, int], flip: bool) -> None:
    """Channels 0 and 1 hold 4x and 4y of pixel centres: what is seen is what the map predicts, but for the edges."""
    height, width = size[1:]
    y, x = np.mgrid[:height, :width] + 0.5
    ramps = torch.from_numpy(np.stack([4 * x, 4 * y, 0 * x]).astype(np.uint8)).expand(40, 3, height, width)
    seen = view(ramps, drawn(40, 9, whether=0.99, grey=0.99), flip)
    assert seen.geometry is not None
    source = np.einsum("bij,jhw->bihw", seen.geometry.double().numpy(), np.stack([x, y, np.ones_like(x)]))
    inside = ((source > 0.5) & (source < np.array([width, height]).reshape(2, 1, 1) - 0.5)).all(1)
    assert inside.mean() > 0.9
    for axis in range(2):
        assert np.abs(seen.inputs[:, axis].numpy() - 4 * source[:, axis])[inside].max() < LEVEL
    corners = np.einsum("bij,jk->bik", seen.geometry.double().numpy(), np.array([[0, width], [0, height], [1, 1]]))
    assert corners.min() > -1e-4
    assert (corners < np.array([[width], [height]]) + 1e-4).all(), "no part reaches beyond the picture"


def test_parts_keep_to_their_area_and_ratio_and_may_lie_anywhere() -> None:
    draws = drawn(4000, 3)
    geometry = view(noise((1, 8, 16), 4000), draws, flip=False).geometry
    assert geometry is not None
    wide, tall = geometry[:, 0, 0].double().numpy(), geometry[:, 1, 1].double().numpy()
    expected = np.array([box(row[1:5], 0.25, 8, 16) for row in draws.double().tolist()])
    np.testing.assert_allclose(geometry[:, 0, 2], expected[:, 0], atol=1e-5)
    np.testing.assert_allclose(geometry[:, 1, 2], expected[:, 1], atol=1e-5)
    whole = (wide < 1) & (tall < 1)  # a side that would be longer than the picture is cut, and the area with it
    assert 0.25 <= (wide * tall)[whole].min() < 0.26
    assert (wide * tall).max() <= 1
    assert 0.74 < (wide / tall)[whole].min() < 0.76
    assert 1.32 < (wide / tall)[whole].max() < 1.34
    place = geometry[:, 0, 2].double().numpy()[whole] / (16 * (1 - wide[whole]))
    assert kstest(place, "uniform").pvalue > 1e-3


def test_as_many_pictures_are_changed_as_the_paper_says() -> None:
    """Eight of ten are recoloured and two of ten made grey; brightness goes from 0.6 to 1.4."""
    pixels = torch.full((4000, 3, 8, 8), 100, dtype=torch.uint8)
    pixels[:, 0, :, :4] = 140  # not grey, and contrast has something to change
    seen = view(pixels, drawn(4000, 2, area=1.0, ratio=0.5, x=0, y=0), flip=False).inputs
    changed = ((seen - pixels).abs() > LEVEL).flatten(1).any(1)
    grey = (seen.amax(1) - seen.amin(1)).flatten(1).amax(1) < LEVEL
    assert abs(grey.float().mean() - 0.2) < 0.02
    assert abs(changed.float().mean() - (1 - 0.2 * 0.8)) < 0.02
    flat = torch.full((4000, 1, 8, 8), 100, dtype=torch.uint8)
    bright = view(flat, drawn(4000, 2, whether=0.1), flip=False).inputs[:, 0, 0, 0].double().numpy()
    assert kstest((bright - 60) / 80, "uniform").pvalue > 1e-3


def test_a_grey_picture_stays_grey() -> None:
    """Three equal channels stay equal, whatever hue and saturation; one channel has only brightness and contrast."""
    one = noise((1, 16, 16), 30)
    three = one.expand(-1, 3, -1, -1).contiguous()
    draws = drawn(30, 4)
    seen = view(three, draws).inputs
    assert (seen - seen[:, :1]).abs().max() < LEVEL
    assert (seen[:, :1] - view(one, draws).inputs).abs().max() < LEVEL
    other = draws.clone()
    for name in ("saturation", "hue", "grey"):
        other[:, NAMES.index(name)] = 0.77
    assert torch.equal(view(one, draws).inputs, view(one, other).inputs)


def test_hue_and_saturation_leave_the_luma() -> None:
    pixels = noise((3, 16, 16), 30) // 4 + 96  # so that no level is cut
    weights = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
    fixed = {**STILL, "whether": 0.1, "brightness": 0.5, "contrast": 0.5}
    seen = view(pixels, drawn(30, 4, **fixed)).inputs
    assert ((seen - pixels) * weights).sum(1).abs().max() < LEVEL
    assert (seen - pixels).abs().max() > 10


def test_contrast_leaves_the_mean() -> None:
    pixels = noise((3, 16, 16), 30) // 4 + 96
    fixed = {**STILL, "whether": 0.1, "brightness": 0.5, "saturation": 0.5, "hue": 0.5}
    seen = view(pixels, drawn(30, 4, **fixed)).inputs
    weights = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
    torch.testing.assert_close(
        (seen * weights).sum(1).mean((1, 2)), (pixels * weights).sum(1).mean((1, 2)), atol=LEVEL, rtol=0
    )
    assert (seen.std((1, 2, 3)) / pixels.float().std((1, 2, 3))).max() > 1.2


# Vectors


def test_three_features_of_five_are_replaced() -> None:
    """By values of the pool, whatever the example's own; the rest gets the noise of the weak view."""
    draw = np.random.default_rng(0)
    pool = draw.integers(0, 50, (500, 10)).astype(np.float32)
    views = VectorViews(np.zeros(10, np.float32), np.ones(10, np.float32), None, reference_rows(pool))
    rows = torch.full((2000, 10), 1000.0)
    draws = torch.from_numpy(uniform(0, "vectors", 0, np.arange(2000), views.draws("contrastive")))
    seen = views("contrastive", rows, draws).inputs.numpy()
    replaced = seen < 500
    assert abs(replaced.mean() - 0.6) < 0.01
    np.testing.assert_allclose(replaced.mean(0), 0.6, atol=0.04)
    assert abs(np.corrcoef(replaced[:, 0], replaced[:, 1])[0, 1]) < 0.08, "each on its own"
    np.testing.assert_allclose(seen[replaced].mean(), pool.mean(), atol=1)
    np.testing.assert_allclose((seen[~replaced] - 1000).std(), 0.1, rtol=0.05)
