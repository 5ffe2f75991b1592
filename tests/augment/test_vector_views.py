"""Views of vectors: functions of their draws, with blocks left out or replaced as a whole."""

import json

import numpy as np
import pytest
import torch

from semilla.augment import VectorViews, vectors
from semilla.augment.vectors import DROPPED, NOISE, SWAPPED, reference_rows
from semilla.errors import UsageError
from semilla.randomness import uniform

BLOCKS = (1, 1, 3, 2)
WIDTH = sum(BLOCKS)
MEAN = np.linspace(-1, 1, WIDTH).astype(np.float32)
STD = np.linspace(0.5, 2, WIDTH).astype(np.float32)


def pool(count=200):
    """Two numbers, a block of three categories in shares 1/2, 1/4, 1/4, and one of two."""
    rng = np.random.default_rng(0)
    three = np.eye(3, dtype=np.float32)[np.array([0, 0, 1, 2])[np.arange(count) % 4]]
    two = np.eye(2, dtype=np.float32)[rng.integers(2, size=count)]
    return np.concatenate([rng.normal(size=(count, 2)).astype(np.float32), three, two], axis=1)


def make(swap=True):
    return VectorViews(MEAN, STD, BLOCKS, reference_rows(pool(), BLOCKS) if swap else None)


def draw(views, name, count):
    return torch.from_numpy(uniform(3, "views", np.zeros(count, int), np.arange(count), max(1, views.draws(name))))


@pytest.fixture
def strengths(monkeypatch):
    def set_strengths(noise=0.0, dropped=0.0, swapped=0.0):
        for table, value in ((NOISE, noise), (DROPPED, dropped), (SWAPPED, swapped)):
            monkeypatch.setitem(table, "strong", value)

    return set_strengths


def test_none_is_the_standardised_input():
    views, inputs = make(), torch.from_numpy(pool(5))
    assert views.draws("none") == 0
    view = views("none", inputs, torch.zeros(5, 0))
    np.testing.assert_allclose(view.inputs, (pool(5) - MEAN) / STD, rtol=1e-6)
    np.testing.assert_array_equal(inputs, pool(5))


@pytest.mark.parametrize("name", ["weak", "strong", "drop", "swap", "contrastive"])
def test_a_view_is_a_function_of_its_draws(name):
    views, inputs = make(), torch.from_numpy(pool())
    draws = draw(views, name, len(inputs))
    assert draws.shape[1] == views.draws(name) == WIDTH + len(BLOCKS)
    together = views(name, inputs, draws).inputs
    assert torch.isfinite(together).all()
    torch.manual_seed(1)
    for row in (0, 7, 199):
        alone = views(name, inputs[row : row + 1], draws[row : row + 1]).inputs
        np.testing.assert_array_equal(alone[0], together[row])
    np.testing.assert_array_equal(inputs, pool())


@pytest.mark.parametrize("value", [0.0, 1 - 2.0**-24])
def test_the_ends_of_the_draws_are_finite(value):
    views = make()
    for name in NOISE:
        view = views(name, torch.from_numpy(pool(4)), torch.full((4, views.draws(name)), value))
        assert torch.isfinite(view.inputs).all()


def test_the_number_of_draws_is_a_function_of_the_name():
    assert make().draws("strong") == make().draws("weak") == make().draws("swap")
    assert VectorViews(MEAN, STD).draws("strong") == 2 * WIDTH
    with pytest.raises(UsageError, match="no view 'stong'") as caught:
        make().draws("stong")
    assert caught.value.code == "U110"


def test_noise_is_normal_and_leaves_categories_alone():
    views, inputs = make(), torch.from_numpy(pool(4000))
    difference = (
        views("weak", inputs, draw(views, "weak", 4000)).inputs - views("none", inputs, torch.zeros(4000, 0)).inputs
    )
    assert abs(difference[:, :2].mean()) < 0.01
    np.testing.assert_allclose(difference[:, :2].std(), NOISE["weak"], rtol=0.03)
    np.testing.assert_array_equal(difference[:, 2:], 0)


def test_blocks_are_left_out_as_a_whole(strengths):
    strengths(dropped=0.3)
    views, inputs = make(swap=False), torch.from_numpy(pool(4000))
    view = views("strong", inputs, draw(views, "strong", 4000)).inputs
    original = views("none", inputs, torch.zeros(4000, 0)).inputs
    start = 0
    for size in BLOCKS:
        gone = (view[:, start : start + size] == 0).all(1)
        kept = (view[:, start : start + size] == original[:, start : start + size]).all(1)
        assert (gone | kept).all()
        np.testing.assert_allclose(gone.float().mean(), 0.3, atol=0.03)
        start += size


def test_blocks_are_swapped_as_a_whole_by_their_shares(strengths):
    strengths(swapped=1.0)
    views, inputs = make(), torch.from_numpy(pool()[:1].repeat(4000, 0))
    view = views("strong", inputs, draw(views, "strong", 4000)).inputs * torch.from_numpy(STD) + torch.from_numpy(MEAN)
    three, two = view[:, 2:5].round().numpy(), view[:, 5:].round().numpy()
    np.testing.assert_allclose(view[:, 2:5], three, atol=1e-5)
    np.testing.assert_array_equal(three.sum(1), 1)
    np.testing.assert_array_equal(two.sum(1), 1)
    np.testing.assert_allclose(three.mean(0), [0.5, 0.25, 0.25], atol=0.03)
    quantiles = np.sort(pool()[:, 0])
    assert np.isin(view[:, 0].numpy().round(4), quantiles.round(4)).all()
    np.testing.assert_allclose(view[:, 0].mean(), pool()[:, 0].mean(), atol=0.05)
    np.testing.assert_allclose(view[:, 0].std(), pool()[:, 0].std(), rtol=0.05)
    assert abs(np.corrcoef(view[:, 0], three[:, 0])[0, 1]) < 0.05  # blocks are swapped each on its own


def test_a_block_is_kept_swapped_or_left_out(strengths):
    strengths(dropped=0.25, swapped=0.5)
    views = VectorViews(np.zeros(1, np.float32), np.ones(1, np.float32), None, np.array([[5.0], [6.0]], np.float32))
    draws = torch.tensor([[0.5, place] for place in (0.0, 0.24, 0.25, 0.49, 0.51, 0.74, 0.75, 0.99)])
    view = views("strong", torch.full((8, 1), 9.0), draws)
    assert view.inputs[:, 0].tolist() == [0, 0, 5, 5, 6, 6, 9, 9]


def test_without_a_reference_there_is_no_swap():
    views = make(swap=False)
    assert views.draws("strong") == make().draws("swap")
    with pytest.raises(UsageError, match="'swap' without reference rows"):
        views.draws("swap")


def test_reference_rows_stand_for_each_block():
    rows = reference_rows(pool(), BLOCKS, 16)
    assert rows.dtype == np.float32
    assert rows.shape == (16, WIDTH)
    np.testing.assert_array_equal(rows[:, 2:5].sum(0), [8, 4, 4])
    assert (np.diff(rows[:, 0]) > 0).all()
    assert np.isin(rows[:, :2], pool()[:, :2]).all()
    again = np.array(json.loads(json.dumps(rows.tolist())), np.float32)
    np.testing.assert_array_equal(again, rows)
    assert reference_rows(pool(3), BLOCKS).shape == (vectors.REFERENCE_ROWS, WIDTH)
    assert reference_rows(pool(1)).shape == (vectors.REFERENCE_ROWS, WIDTH)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="blocks of 3"):
        VectorViews(MEAN, STD, (1, 2))
    with pytest.raises(ValueError, match="reference"):
        VectorViews(MEAN, STD, BLOCKS, np.zeros((4, 2), np.float32))
