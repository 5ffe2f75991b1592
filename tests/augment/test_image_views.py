"""Whole views: against Pillow decision by decision, and what must hold of every view."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare, kstest

from semilla.augment import images as module
from semilla.augment.images import VIEWS, ImageView, ImageViews, find
from semilla.augment.operations import FIXMATCH
from semilla.contract import View
from semilla.errors import DataError, UsageError
from semilla.randomness import uniform

from .pillow_views import FUSED, pillow_view

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
SIZES = [(1, 8, 8), (3, 32, 32), (3, 17, 24), (1, 33, 40)]

quick = settings(max_examples=25, deadline=None)
names = st.sampled_from(sorted(VIEWS))
sizes = st.tuples(st.sampled_from([1, 3]), st.integers(8, 40), st.integers(8, 40))
seeds = st.integers(0, 2**32)


def make(size: tuple[int, int, int], flip: bool = True) -> ImageViews:
    channels = size[0]
    return ImageViews(size, [0.49, 0.48, 0.44][:channels], [0.25, 0.24, 0.26][:channels], flip)


def batch(size: tuple[int, int, int], count: int, seed: int) -> torch.Tensor:
    """Noise over a gradient, so that neither histograms nor neighbourhoods are trivial."""
    rng = np.random.default_rng(seed)
    ramp = np.linspace(20, 200, size[2])
    return torch.from_numpy((ramp + rng.integers(0, 56, (count, *size))).astype(np.uint8))


def draw(views: ImageViews, name: str, count: int, seed: int) -> torch.Tensor:
    return torch.from_numpy(uniform(seed, name, 1, np.arange(count), views.draws(name)))


def make_view(size: tuple[int, int, int], name: str, count: int = 12, seed: int = 0, flip: bool = True) -> View:
    views = make(size, flip)
    return views(name, batch(size, count, seed), draw(views, name, count, seed))


@pytest.fixture
def add_view(monkeypatch: pytest.MonkeyPatch):
    """A further view is one more row."""

    def add(view: ImageView) -> ImageView:
        monkeypatch.setitem(VIEWS, view.name, view)
        return view

    return add


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", [name for name, view in VIEWS.items() if not view.recolour])
def test_equals_pillow_following_the_same_draws(name: str, size: tuple[int, int, int], device: str) -> None:
    views, count = make(size), 150
    pixels, draws = batch(size, count, 5), draw(make(size), name, count, 5)
    got = views(name, pixels.to(device), draws).inputs.cpu().numpy()
    pairs = zip(pixels.numpy(), draws.numpy(), strict=True)
    expected = np.stack([pillow_view(views, find(name), one, row) for one, row in pairs])
    # A grey level is 0.015 after normalisation; what is far below is float32 rounding.
    assert (np.abs(got - expected) > 1e-4).mean() <= (0.02 if FUSED else 0)


def test_operations_follow_the_drawn_order(add_view) -> None:
    """Solarize then posterize is not posterize then solarize."""
    rows = tuple(row for row in FIXMATCH if row.name in {"Posterize", "Solarize"})
    add_view(ImageView("pair", pool=rows, count=2, probability=1.0))
    views, pixels = make((1, 8, 8)), batch((1, 8, 8), 1, 2)
    posterize, solarize = [0.1, 0.0, 0.0, 0.3], [0.9, 0.0, 0.0, 0.5]  # 5 bits; threshold 128
    forward, backward = (
        views("pair", pixels, torch.tensor([first + second])).inputs
        for first, second in ((posterize, solarize), (solarize, posterize))
    )
    levels = pixels.float()
    forward, backward = (255 * (inputs * views.std + views.mean) for inputs in (forward, backward))
    kept = (levels / 8).floor() * 8
    assert torch.allclose(forward, torch.where(kept < 128, kept, 255 - kept), atol=1e-3)
    inverted = torch.where(levels < 128, levels, 255 - levels)
    assert torch.allclose(backward, (inverted / 8).floor() * 8, atol=1e-3)


@quick
@given(names, sizes, seeds)
def test_shape_type_and_repeatability(name: str, size: tuple[int, int, int], seed: int) -> None:
    view, again = (make_view(size, name, 5, seed) for _ in range(2))
    assert view.inputs.shape == (5, *size)
    assert view.inputs.dtype == torch.float32
    assert view.inputs.isfinite().all()
    assert torch.equal(view.inputs, again.inputs)
    assert view.width is None
    if name == "none":
        assert view.geometry is None
    else:
        assert view.geometry is not None
        assert view.geometry.shape == (5, 2, 3)
        assert view.geometry.dtype == torch.float32
        assert torch.equal(view.geometry, again.geometry)


@quick
@given(names, st.sampled_from(SIZES), seeds)
def test_an_example_does_not_depend_on_its_batch(name: str, size: tuple[int, int, int], seed: int) -> None:
    views, pixels = make(size), batch(size, 64, seed % 1000)
    draws = draw(views, name, 64, seed)
    whole = views(name, pixels, draws)
    for k in (0, 17, 63):
        alone = views(name, pixels[k : k + 1], draws[k : k + 1])
        assert torch.equal(alone.inputs[0], whole.inputs[k])
        if whole.geometry is not None:
            assert torch.equal(alone.geometry[0], whole.geometry[k])


@pytest.mark.parametrize("name", VIEWS)
def test_images_and_draws_are_left_as_they_are(name: str) -> None:
    views, pixels = make((3, 16, 16)), batch((3, 16, 16), 40, 1)
    draws = draw(views, name, 40, 1)
    before = pixels.clone(), draws.clone()
    views(name, pixels, draws)
    assert torch.equal(pixels, before[0])
    assert torch.equal(draws, before[1])


def test_images_are_left_as_they_are_by_a_view_without_moves(add_view) -> None:
    add_view(ImageView("still", pool=FIXMATCH, count=2, probability=1.0))
    views, pixels = make((3, 16, 16)), batch((3, 16, 16), 40, 1)
    before = pixels.clone()
    assert not torch.equal(
        views("still", pixels, draw(views, "still", 40, 1)).inputs, make_view((3, 16, 16), "none", 40, 1).inputs
    )
    assert torch.equal(pixels, before)


@pytest.mark.parametrize("name", VIEWS)
def test_memory_layout_does_not_matter(name: str) -> None:
    views, pixels = make((3, 16, 12)), batch((3, 16, 12), 40, 1)
    draws = draw(views, name, 40, 1)
    last = views(name, pixels.contiguous(memory_format=torch.channels_last), draws)
    assert torch.equal(views(name, pixels, draws).inputs, last.inputs)


def test_an_empty_batch_gives_an_empty_view() -> None:
    assert make_view((3, 16, 16), "strong", count=0).inputs.shape == (0, 3, 16, 16)


def test_views_can_be_trained_on() -> None:
    weight = torch.ones(1, requires_grad=True)
    (make_view((1, 8, 8), "strong").inputs * weight).sum().backward()
    assert weight.grad is not None


def test_none_is_only_normalised() -> None:
    """(128 / 255 − 0.49) / 0.25 = 0.047843…"""
    pixels = torch.full((2, 3, 8, 8), 128, dtype=torch.uint8)
    inputs = make((3, 8, 8))("none", pixels, torch.empty(2, 0)).inputs
    expected = torch.tensor([(128 / 255 - m) / s for m, s in ((0.49, 0.25), (0.48, 0.24), (0.44, 0.26))])
    assert torch.allclose(inputs, expected.view(1, 3, 1, 1).expand(2, 3, 8, 8), atol=1e-6)


def test_a_constant_channel_does_not_divide_by_zero() -> None:
    views = ImageViews((1, 8, 8), [0.0], [0.0])
    assert views("none", torch.full((1, 1, 8, 8), 3, dtype=torch.uint8), torch.empty(1, 0)).inputs.max() == 3


@pytest.mark.parametrize("name", ["weak", "strong", "lecture"])
def test_never_flipped_where_the_data_forbid_it(name: str) -> None:
    free, fixed = (make_view((1, 16, 16), name, 300, flip=flip).geometry for flip in (True, False))
    assert free is not None
    assert fixed is not None
    determinants = [np.linalg.det(maps[:, :, :2].numpy()) for maps in (free, fixed)]
    assert 100 < (determinants[0] < 0).sum() < 200
    assert (determinants[1] > 0).all()


@pytest.mark.parametrize(("side", "limit"), [(32, 4), (8, 1), (20, 2)])
def test_weak_shifts_are_whole_pixels_up_to_an_eighth(side: int, limit: int) -> None:
    geometry = make_view((1, side, side), "weak", 2000, flip=False).geometry
    assert geometry is not None
    for axis in range(2):
        shifts, counts = np.unique(geometry[:, axis, 2].numpy(), return_counts=True)
        assert shifts.tolist() == list(range(-limit, limit + 1))
        assert chisquare(counts).pvalue > 1e-3


@pytest.mark.parametrize("spec", ["weak", "turns", "lecture turns"])
@pytest.mark.parametrize("flip", [True, False])
def test_geometry_says_where_each_pixel_came_from(spec: str, flip: bool, add_view) -> None:
    """Channels 0 and 1 hold 4x and 4y, channel 2 is 0 where no grey from beyond the edge was mixed in."""
    for name, base in (("turns", "strong"), ("lecture turns", "lecture")):
        pool = tuple(row for row in VIEWS[base].pool if row.maps is not None)
        add_view(replace(VIEWS[base], name=name, pool=pool, probability=1.0, erasing=""))
    height, width, count = 40, 50, 60
    y, x = np.mgrid[:height, :width] + 0.5
    ramps = torch.from_numpy(np.stack([4 * x, 4 * y, 0 * x]).astype(np.uint8)).expand(count, 3, height, width)
    views = ImageViews((3, height, width), [0.0] * 3, [1 / 255] * 3, flip)  # inputs are grey levels
    view = views(spec, ramps, draw(views, spec, count, 9))
    assert view.geometry is not None
    source = np.einsum("bij,jhw->bihw", view.geometry.numpy(), np.stack([x, y, np.ones_like(x)]))
    seen = (view.inputs[:, 2].numpy() == 0) & (source > 1).all(1)
    seen &= (source[:, 0] < width - 1) & (source[:, 1] < height - 1)
    assert seen.mean() > 0.4
    for axis in range(2):
        error = (view.inputs[:, axis].numpy() - 4 * source[:, axis])[seen]
        # Each of two resamplings cuts off less than one level; it repeats the last half pixel at a (tilted) edge.
        assert ((error > -2) & (error < 1e-3)).mean() > 0.97
        assert np.abs(error).max() < 4, "never a pixel off"


def test_operations_are_drawn_as_the_row_says() -> None:
    """Each of the 14 equally often, half of them applied, half of the signs negative, levels uniform."""
    spec, count = VIEWS["strong"], 20_000
    columns = iter(uniform(7, "frequencies", 0, np.arange(count), 8).astype(float).T)
    for _ in range(2):
        choice, magnitudes = module._choose(spec, columns)
        counts = np.bincount(choice, minlength=15)
        assert chisquare(counts[:14]).pvalue > 1e-3
        assert abs(counts[14] / count - 0.5) < 0.015
        for k, row in enumerate(spec.pool):
            drawn = magnitudes[choice == k]
            if row.high > row.low:
                span = 2 * row.high if row.signed else row.high - row.low
                start = -row.high if row.signed else row.low
                assert kstest((drawn - start) / span, "uniform").pvalue > 1e-3
            else:
                assert not drawn.any()
    assert next(columns, None) is None, "every column is one decision"


@pytest.mark.parametrize("name", VIEWS)
def test_every_column_decides_something(name: str) -> None:
    size, count = (3, 32, 32), 200
    views, pixels = make(size), batch(size, count, 3)
    draws = draw(views, name, count, 3)
    base = views(name, pixels, draws).inputs
    for column in range(views.draws(name)):
        changed = draws.clone()
        changed[:, column] = (changed[:, column] + 0.5) % 1
        assert not torch.equal(views(name, pixels, changed).inputs, base), f"column {column} has no effect"


def erased(add_view, kind: str, size: tuple[int, int, int], count: int) -> np.ndarray:
    """(count, H, W) bool: what a row that does nothing but erase sets to 0."""
    add_view(ImageView("erase", erasing=kind))
    views = ImageViews(size, [0.0], [1.0])
    pixels = torch.full((count, *size), 200, dtype=torch.uint8)
    zero = views("erase", pixels, draw(views, "erase", count, 11)).inputs.numpy() == 0
    assert (zero.all(1) == zero.any(1)).all(), "all channels alike"
    return zero.all(1)


@pytest.mark.parametrize("size", SIZES)
def test_cutout_is_a_square_up_to_half_the_side(size: tuple[int, int, int], add_view) -> None:
    mask = erased(add_view, "square", size, 3000)
    height, width = size[1:]
    limit = min(height, width) // 2
    tall, wide = mask.any(2).sum(1), mask.any(1).sum(1)
    assert (mask.sum((1, 2)) == tall * wide).all(), "one box"
    assert max(tall.max(), wide.max()) == limit
    inner = ~(mask[:, 0].any(1) | mask[:, -1].any(1) | mask[:, :, 0].any(1) | mask[:, :, -1].any(1))
    assert (tall == wide)[inner].all()
    assert mask.any(0).all(), "every pixel is erased at some time"


@pytest.mark.parametrize("size", [(3, 32, 32), (1, 8, 8), (1, 33, 40)])
def test_random_erasing_keeps_to_its_area_and_ratio(size: tuple[int, int, int], add_view) -> None:
    mask, (height, width) = erased(add_view, "rectangle", size, 4000), size[1:]
    tall, wide = mask.any(2).sum(1), mask.any(1).sum(1)
    assert (mask.sum((1, 2)) == tall * wide).all(), "one box"
    hit = tall > 0
    assert abs(hit.mean() - 0.25) < 0.03
    assert (tall[hit] < height).all()
    assert (wide[hit] < width).all()
    # A side is off by half a pixel at most before the area and the ratio are formed from it.
    low, high = ((tall + shift) * (wide + shift) / (height * width) for shift in (-0.5, 0.5))
    assert (low[hit] <= 0.33).all()
    assert (high[hit] >= 0.02).all()
    assert ((tall - 0.5)[hit] / (wide + 0.5)[hit] <= 3.3).all()
    assert ((tall + 0.5)[hit] / (wide - 0.5)[hit] >= 0.3).all()
    share = (tall * wide)[hit] / (height * width)
    assert abs(share.mean() - 0.175) < 0.012


def test_an_unknown_view_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'strong'") as caught:
        make((1, 8, 8)).draws("stong")
    assert caught.value.code == "U110"
    with pytest.raises(UsageError):
        make((1, 8, 8))("", torch.zeros(1, 1, 8, 8, dtype=torch.uint8), torch.zeros(1, 0))


@pytest.mark.parametrize("size", [(1, 7, 8), (3, 32, 4), (2, 32, 32), (4, 32, 32)])
def test_sizes_that_cannot_be_augmented(size: tuple[int, int, int]) -> None:
    with pytest.raises(DataError, match="8 pixels or more") as caught:
        ImageViews(size, [0.5], [0.5])
    assert caught.value.code == "D110"


@pytest.mark.parametrize(
    "images",
    [torch.zeros(2, 1, 8, 8), torch.zeros(2, 8, 8, dtype=torch.uint8), torch.zeros(2, 3, 8, 8, dtype=torch.uint8)],
)
def test_images_of_another_type_or_size(images: torch.Tensor) -> None:
    with pytest.raises(DataError, match=r"pass torch\.uint8 images") as caught:
        make((1, 8, 8))("none", images, torch.empty(2, 0))
    assert caught.value.code == "D111"


def test_draws_of_the_wrong_shape() -> None:
    images = torch.zeros(2, 1, 8, 8, dtype=torch.uint8)
    for draws in (torch.zeros(2, 2), torch.zeros(1, 3), torch.zeros(2, 3, dtype=torch.int64)):
        with pytest.raises(UsageError, match="draws of shape") as caught:
            make((1, 8, 8))("weak", images, draws)
        assert caught.value.code == "U111"
