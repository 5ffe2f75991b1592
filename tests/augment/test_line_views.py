"""Views of lines: functions of their draws, maps that say where each pixel came from, ends that nothing crosses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest

from semilla.augment import LineViews
from semilla.augment.lines import DEGREES, LINE_VIEWS, MARGIN, RISE, SLANT, LineView
from semilla.contract import View
from semilla.errors import DataError, UsageError
from semilla.randomness import uniform

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
MEAN, STD = 0.6, 0.2

quick = settings(max_examples=25, deadline=None)
names = st.sampled_from(sorted(LINE_VIEWS))
seeds = st.integers(0, 2**32)
every = pytest.mark.parametrize("name", LINE_VIEWS)


def make(height: int = 32) -> LineViews:
    return LineViews(height, [MEAN], [STD])


def batch(widths: list[int], height: int = 32, columns: int = 0, seed: int = 0, beyond: int = 0) -> torch.Tensor:
    """Noise over a gradient, the same for a line whatever else there is, padded on the right."""
    lines = np.full((len(widths), 1, height, max(columns, *widths)), beyond, np.uint8)
    for row, width in enumerate(widths):
        rng = np.random.default_rng([seed, row])
        lines[row, 0, :, :width] = np.linspace(30, 190, width) + rng.integers(0, 60, (height, width))
    return torch.from_numpy(lines)


def draw(name: str, count: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(uniform(seed, name, 1, np.arange(count), make().draws(name)))


def see(name: str, widths: list[int], height: int = 32, seed: int = 0) -> View:
    return make(height)(name, batch(widths, height, seed=seed), draw(name, len(widths), seed), torch.tensor(widths))


def levels(view: View) -> torch.Tensor:
    return (view.inputs[:, 0] * STD + MEAN) * 255


# Every view


@every
@pytest.mark.parametrize("height", [16, 32, 48])
def test_shapes_and_padding(name, height):
    widths = [90, 1, 2, 33]
    view = see(name, widths, height)
    assert view.inputs.dtype == torch.float32
    assert view.inputs.shape == (4, 1, height, int(view.width.max()))
    assert torch.isfinite(view.inputs).all()
    for row, width in enumerate(view.width.tolist()):
        assert (view.inputs[row, ..., width:] == 0).all()
        assert view.inputs[row, ..., :width].abs().max() > 0
    kept = LINE_VIEWS[name].keeps_time
    assert (view.geometry is None) == kept
    assert view.width.dtype == torch.int64
    assert (view.width.tolist() == widths) == kept


def test_what_keeps_the_time_axis_is_said():
    assert {name for name, view in LINE_VIEWS.items() if view.keeps_time} == {"none", "weak", "photometric"}


@quick
@given(
    name=names,
    seed=seeds,
    width=st.integers(1, 60),
    padding=st.integers(0, 60),
    beyond=st.sampled_from([0, 255]),
    height=st.sampled_from([32, 48]),
)
def test_a_view_is_a_function_of_its_draws_and_its_line_alone(name, seed, width, padding, beyond, height):
    """The same pixels, bit for bit, alone and in a batch, whatever the padding is and whatever it holds."""
    views, draws = make(height), draw(name, 3, seed)
    alone = views(name, batch([width], height, seed=seed), draws[:1], torch.tensor([width]))
    widths = [width, width + padding, 1]
    lines = batch(widths, height, width + padding + 3, seed, beyond)
    before = lines.clone()
    together = views(name, lines, draws, torch.tensor(widths))
    assert torch.equal(lines, before), "the lines are left as they are"
    assert together.width[0] == alone.width[0]
    assert torch.equal(together.inputs[0, ..., : alone.width[0]], alone.inputs[0])
    if alone.geometry is not None:
        assert torch.equal(together.geometry[0], alone.geometry[0])


@every
@pytest.mark.parametrize("device", DEVICES)
def test_the_same_draws_give_the_same_view(name, device):
    lines, widths, draws = batch([70, 40]), torch.tensor([70, 40]), draw(name, 2)
    first = make()(name, lines, draws, widths)
    again = make()(name, lines.to(device), draws, widths.to(device))
    torch.testing.assert_close(again.inputs.cpu(), first.inputs, atol=1e-4 if device == "cuda" else 0, rtol=0)
    if LINE_VIEWS[name].draws:
        assert not torch.equal(make()(name, lines, draw(name, 2, 1), widths).inputs, first.inputs)


@pytest.mark.parametrize("name", ["photometric", "strong"])
def test_every_draw_matters(name):
    """Each column decides something for some line: none is read twice, none forgotten."""
    count = 40
    lines, widths, draws = batch([64] * count), torch.full((count,), 64), draw(name, count)
    first = make()(name, lines, draws, widths)
    for column in range(draws.shape[1]):
        other = draws.clone()
        other[:, column] = (other[:, column] + 0.37) % 1
        view = make()(name, lines, other, widths)
        assert view.inputs.shape != first.inputs.shape or not torch.equal(view.inputs, first.inputs), column


def test_none_is_the_line_itself():
    view = see("none", [50, 20])
    torch.testing.assert_close(levels(view)[0], batch([50, 20])[0, 0].float(), atol=1e-3, rtol=0)


def test_weak_hardly_changes_a_level():
    view, plain = see("weak", [50] * 50), see("none", [50] * 50)
    moved = (levels(view) - levels(plain)).abs().flatten(1).amax(1)
    assert (moved > 0.5).float().mean() > 0.9
    assert moved.max() <= 255 * 0.05 + 0.1 * 128 + 1


def test_levels_stay_between_black_and_white():
    for name in LINE_VIEWS:
        view = see(name, [60] * 60)
        for row, width in enumerate(view.width.tolist()):
            seen = levels(view)[row, :, :width]
            assert seen.min() >= -1e-3
            assert seen.max() <= 255 + 1e-3


def test_strong_views_are_strong_and_lines_stay_readable():
    """Most of a stroke's contrast with the paper survives in most views."""
    lines = torch.full((200, 1, 32, 64), 220, dtype=torch.uint8)
    lines[..., 10:22, 30:34] = 30
    for name in ("photometric", "strong"):
        view = make()(name, lines, draw(name, 200), torch.full((200,), 64))
        span = torch.stack([one.max() - one.min() for one in levels(view)])
        assert span.std() > 10
        assert (span > 60).float().mean() > 0.9


# Each change alone


def alone(monkeypatch, **fields) -> None:
    monkeypatch.setitem(LINE_VIEWS, "one", LineView("one", **fields))


def one(lines: torch.Tensor, draws: list[float]) -> torch.Tensor:
    count = len(lines)
    rows = torch.tensor([draws]).expand(count, -1)
    return levels(make(lines.shape[2])("one", lines, rows, torch.full((count,), lines.shape[3])))


def stroke(height: int = 32, width: int = 40) -> torch.Tensor:
    line = torch.full((1, 1, height, width), 200, dtype=torch.uint8)
    line[..., 10:20, 18:21] = 50
    return line


def test_contrast_turns_about_the_lines_mean(monkeypatch):
    alone(monkeypatch, contrast=0.5)
    line = batch([40])
    mean = line.float().mean()
    seen = one(line, [0.0])
    torch.testing.assert_close(seen[0], mean + 0.5 * (line[0, 0].float() - mean), atol=1e-2, rtol=0)


def test_the_curve_keeps_black_and_white_and_the_order_between(monkeypatch):
    alone(monkeypatch, curve=0.6)
    line = torch.arange(256, dtype=torch.uint8).view(1, 1, 1, 256).expand(1, 1, 32, 256).contiguous()
    for draws, sign in (([0.0], -1), ([0.999], 1)):
        seen = one(line, draws)[0, 0]
        torch.testing.assert_close(seen[[0, 255]], torch.tensor([0.0, 255.0]), atol=1e-3, rtol=0)
        assert (seen.diff() > 0).all()
        assert sign * (seen[128] - 128) == pytest.approx(0.6 * 64, abs=1)


def test_strokes_become_thicker_or_thinner_by_a_pixel(monkeypatch):
    alone(monkeypatch, ink=True)
    line = stroke()
    lighter, darker, same = (one(line, [which, 0.9999])[0] for which in (0.1, 0.4, 0.6))
    assert (lighter < 125).sum() == 8 * 1
    assert (darker < 125).sum() == 12 * 5
    torch.testing.assert_close(same, line[0, 0].float(), atol=1e-3, rtol=0)


def test_blur_is_the_mean_with_weights_and_keeps_even_paper(monkeypatch):
    alone(monkeypatch, blur=True)
    dot = torch.full((1, 1, 16, 9), 40, dtype=torch.uint8)
    dot[..., 8, 4] = 200
    seen = one(dot, [0.999999])[0]
    kernel = torch.tensor([1.0, 2.0, 1.0])
    expected = 40 + 160 * 0.8 * kernel[:, None] * kernel / 16
    expected[1, 1] += 160 * 0.2
    torch.testing.assert_close(seen[7:10, 3:6], expected, atol=1e-2, rtol=0)
    torch.testing.assert_close(one(dot[..., :3], [0.999]), torch.full((1, 16, 3), 40.0), atol=1e-3, rtol=0)
    assert one(dot, [0.0])[0, 8, 4] > 225, "sharpened"


def test_noise_is_uniform_and_differs_from_pixel_to_pixel_and_line_to_line(monkeypatch):
    alone(monkeypatch, noise=True)
    grey = torch.full((2, 1, 48, 400), 128, dtype=torch.uint8)
    rows = torch.tensor([[0.9999, 0.25], [0.9999, 0.75]])
    seen = levels(make(48)("one", grey, rows, torch.tensor([400, 400]))) - 128
    seen = seen.numpy() / (255 * 0.15)
    assert kstest(seen.ravel(), "uniform", (-1, 2)).pvalue > 1e-3
    for first, second in (
        (seen[:, :, 1:], seen[:, :, :-1]),
        (seen[:, 1:], seen[:, :-1]),
        (seen[:, 1:, 1:], seen[:, :-1, :-1]),
        (seen[0], seen[1]),
    ):
        correlation = np.corrcoef(first.ravel(), second.ravel())[0, 1]
        assert abs(correlation) < 5 / first.size**0.5


def test_boxes_hold_the_lines_mean_and_lie_in_it(monkeypatch):
    alone(monkeypatch, boxes=1)
    line = batch([40])
    assert torch.allclose(one(line, [0.4, 0.5, 0.5, 0.5])[0], line[0, 0].float(), atol=1e-3), "half have none"
    seen = one(line, [0.99, 0.99, 0.5, 0.0])[0]
    changed = (seen - line[0, 0]).abs() > 1e-2
    rows, columns = changed.any(1).nonzero()[:, 0], changed.any(0).nonzero()[:, 0]
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (0, 15, 17, 22)
    torch.testing.assert_close(seen[:16, 17:23], line.float().mean().expand(16, 6), atol=1e-2, rtol=0)


def test_sway_moves_rows_and_no_column(monkeypatch):
    alone(monkeypatch, sway=True)
    line = batch([40], height=48)
    smooth = torch.linspace(0, 235, 48).byte().view(1, 1, 48, 1).expand(1, 1, 48, 20).contiguous()
    for draws in ([0.8, 0.999], [0.8, 0.0], [0.0, 0.5], [1.0, 0.5]):
        seen = one(line, draws)[0]
        other = one(line.flip(3), draws)[0].flip(1)
        torch.testing.assert_close(seen, other, atol=1e-3, rtol=0)
        tall, down = 0.8 + 0.25 * draws[0], 0.06 * 48 * (2 * draws[1] - 1)
        place = ((torch.arange(48) + 0.5 - 24 - down) / tall + 23.5).clamp(0, 47)
        torch.testing.assert_close(one(smooth, draws)[0, :, 3], place * 5, atol=0.6, rtol=0)  # whole levels


# Geometry


@quick
@given(
    seed=seeds, width=st.integers(16, 200), height=st.sampled_from([32, 48]), share=st.tuples(*[st.floats(0, 1)] * 2)
)
def test_a_dot_goes_where_the_map_says(seed, width, height, share):
    """The middle of gravity of a round spot, against the inverse of the map."""
    monkey = pytest.MonkeyPatch()
    with monkey.context() as patch:
        patch.setitem(LINE_VIEWS, "moved", LineView("moved", stretch=1.25))
        views = make(height)
        draws = torch.from_numpy(uniform(seed, "moved", 0, [0], views.draws("moved")))
        x, y = 7 + share[0] * (width - 14), height * (0.35 + 0.3 * share[1])
        columns, rows = torch.arange(width) + 0.5, torch.arange(height) + 0.5
        spot = torch.exp(-((columns - x) ** 2 + (rows[:, None] - y) ** 2) / 4) * 250
        view = views("moved", spot.round().byte()[None, None], draws, torch.tensor([width]))
    matrix = view.geometry[0].double()
    there = torch.linalg.solve(matrix[:, :2], torch.tensor([x, y], dtype=torch.float64) - matrix[:, 2])
    seen = levels(view)[0].double()
    seen = torch.where(seen > 20, seen, 0)
    columns, rows = torch.arange(seen.shape[1]) + 0.5, torch.arange(height) + 0.5
    found = torch.stack([(seen * columns).sum(), (seen * rows[:, None]).sum()]) / seen.sum()
    assert (found - there).abs().max() < 0.1, (found, there)  # levels are whole, and the faintest are left out


@quick
@given(seed=seeds, width=st.integers(1, 900), height=st.sampled_from([32, 48]))
def test_no_corner_of_a_line_leaves_its_view_at_the_ends(seed, width, height):
    views = make(height)
    line = torch.zeros(1, 1, height, width, dtype=torch.uint8)
    draws = torch.from_numpy(uniform(seed, "strong", 0, [0], views.draws("strong")))
    view = views("strong", line, draws, torch.tensor([width]))
    matrix = view.geometry[0].double()
    corners = torch.tensor([[0, 0, width, width], [0, height, 0, height]], dtype=torch.float64)
    there = torch.linalg.solve(matrix[:, :2], corners - matrix[:, 2:])
    assert there[0].min() > -1e-3
    assert there[0].max() < int(view.width) + 1e-3
    # And no more of it is empty than the margin and what the slant needs.
    assert int(view.width) <= 1.25 * (width + SLANT * height + height * np.radians(DEGREES)) + MARGIN * height + 1
    # A long line's ends rise no further than they may, so that it stays in its picture.
    rise = (there[1, 2:] - there[1, :2]).abs().max()
    assert rise <= 1.05 * min(RISE * height, width * np.radians(DEGREES)) + 1e-3


def test_lines_become_wider_and_narrower_evenly():
    view = see("strong", [400] * 400, seed=3)
    factor = 1 / view.geometry[:, 0, 0].double().numpy()
    assert factor.min() < 0.83
    assert factor.max() > 1.2
    assert abs(np.log(factor).mean()) < 0.03


def test_what_comes_into_view_is_paper_and_not_black():
    """Edges are continued: an even line stays even, at the padding's side too."""
    monkey = pytest.MonkeyPatch()
    with monkey.context() as patch:
        patch.setitem(LINE_VIEWS, "moved", LineView("moved", stretch=1.25))
        lines = torch.zeros(20, 1, 32, 90, dtype=torch.uint8)
        lines[..., :60] = 230
        view = make()("moved", lines, torch.from_numpy(uniform(0, "x", 0, np.arange(20), 6)), torch.full((20,), 60))
    for row, width in enumerate(view.width.tolist()):
        torch.testing.assert_close(levels(view)[row, :, :width], torch.full((32, width), 230.0), atol=1e-2, rtol=0)


def test_a_shifted_view_without_its_map_is_another_prediction():
    """Frames of both views are as far apart as the map says, which is farther than a frame."""
    view = see("strong", [300] * 20)
    middle = torch.stack([view.width / 2, torch.full((20,), 16.0), torch.ones(20)], 1)
    came_from = (view.geometry @ middle[:, :, None])[:, 0, 0]
    assert (came_from - view.width / 2).abs().median() > 4


# Refusals


def test_an_unknown_view_is_refused():
    with pytest.raises(UsageError, match="photometric") as refused:
        make().draws("photometrik")
    assert refused.value.code == "U110"


@pytest.mark.parametrize(
    ("kind", "code", "changed"),
    [
        (DataError, "D111", {"inputs": torch.zeros(2, 1, 32, 20)}),
        (DataError, "D111", {"inputs": torch.zeros(2, 1, 48, 20, dtype=torch.uint8)}),
        (DataError, "D111", {"inputs": torch.zeros(2, 3, 32, 20, dtype=torch.uint8)}),
        (DataError, "D161", {"width": torch.tensor([20, 0])}),
        (DataError, "D161", {"width": torch.tensor([21, 2])}),
        (DataError, "D161", {"width": torch.tensor([20])}),
        (UsageError, "U111", {"draws": torch.zeros(2, 3)}),
        (UsageError, "U111", {"draws": torch.zeros(2, 2, dtype=torch.int64)}),
    ],
)
def test_what_cannot_be_a_batch_is_refused(kind, code, changed):
    given = {"inputs": batch([20, 20]), "draws": torch.zeros(2, 2), "width": torch.tensor([20, 20])}
    with pytest.raises(kind) as refused:
        make()("weak", **(given | changed))
    assert refused.value.code == code


def test_a_height_that_cannot_be_read_is_refused():
    with pytest.raises(DataError) as refused:
        make(15)
    assert refused.value.code == "D160"
