"""Views of lines: functions of their draws alone, with maps that say where every pixel came from."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from semilla.augment.lines import LINE_VIEWS, STRETCH, LineViews
from semilla.errors import DataError, UsageError

HEIGHT = 32
VIEWS = LineViews(HEIGHT, [0.7], [0.2])
RANDOM = [name for name, view in LINE_VIEWS.items() if view.draws]


def batch(widths=(40, 77, 101, 13), seed=0):
    generator = torch.Generator().manual_seed(seed)
    width = torch.tensor(widths)
    lines = torch.randint(0, 256, (len(widths), 1, HEIGHT, max(widths)), generator=generator).to(torch.uint8)
    return lines * (torch.arange(max(widths)) < width[:, None])[:, None, None], width


def draws(name, count, seed=1):
    return torch.rand(count, VIEWS.draws(name), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", LINE_VIEWS)
def test_a_line_is_the_same_alone_and_in_company_and_with_any_padding(name):
    lines, width = batch()
    drawn = draws(name, 4)
    together = VIEWS(name, lines, drawn, width)
    wider = VIEWS(name, torch.nn.functional.pad(lines, (0, 50), value=99), drawn, width)
    for row in range(4):
        alone = VIEWS(name, lines[row : row + 1, :, :, : width[row]], drawn[row : row + 1], width[row : row + 1])
        own = int(alone.width[0])
        assert own == together.width[row] == wider.width[row]
        assert torch.equal(alone.inputs[0], together.inputs[row, :, :, :own])
        assert torch.equal(alone.inputs[0], wider.inputs[row, :, :, :own])


@pytest.mark.parametrize("name", LINE_VIEWS)
def test_padding_is_zero_and_the_lines_are_left_as_they_are(name):
    lines, width = batch()
    before = lines.clone()
    view = VIEWS(name, lines, draws(name, 4), width)
    assert torch.equal(lines, before)
    beyond = torch.arange(view.inputs.shape[3]) >= view.width[:, None]
    assert not view.inputs.masked_select(beyond[:, None, None]).any()
    assert torch.isfinite(view.inputs).all()


def test_none_only_normalises():
    lines, width = batch((20, 20))
    view = VIEWS("none", lines, torch.zeros(2, 0), width)
    torch.testing.assert_close(view.inputs, (lines / 255 - 0.7) / 0.2)
    assert view.geometry is None


@pytest.mark.parametrize("name", RANDOM)
def test_other_draws_give_other_views(name):
    lines, width = batch()
    one, two = (VIEWS(name, lines, draws(name, 4, seed), width) for seed in (1, 2))
    assert one.inputs.shape != two.inputs.shape or not torch.equal(one.inputs, two.inputs)


@pytest.mark.parametrize("name", RANDOM)
def test_every_draw_counts(name):
    lines, width = batch((90,))
    base = draws(name, 1, 7)
    looked = 5 * LINE_VIEWS[name].move
    if name != "weak":
        base[0, looked + 3], base[0, looked + 5] = 0.05, 0.9  # thicker ink, and noise
        for box, (place, level) in enumerate(((0.1, 0.2), (0.4, 0.7), (0.7, 0.4))):  # and three boxes apart
            base[0, looked + 7 + 4 * box : looked + 11 + 4 * box] = torch.tensor([0.2, place, 0.5, level])
    view = VIEWS(name, lines, base, width)
    for place in range(VIEWS.draws(name)):
        other = base.clone()
        other[0, place] = (other[0, place] + 0.45) % 1
        changed = VIEWS(name, lines, other, width)
        assert view.inputs.shape != changed.inputs.shape or not torch.equal(view.inputs, changed.inputs), place


@pytest.mark.parametrize("name", ["weak", "photometric"])
def test_what_keeps_the_time_axis_moves_no_column(name):
    assert LINE_VIEWS[name].keeps_time
    lines = torch.full((1, 1, HEIGHT, 90), 255, dtype=torch.uint8)
    lines[:, :, :, 44:47] = 0
    for seed in range(30):
        drawn = draws(name, 1, seed)
        if name == "photometric":
            drawn[:, 7::4] = 0.9  # no boxes
            drawn[:, 5] = 0.0  # no noise
        view = VIEWS(name, lines, drawn, torch.tensor([90]))
        assert view.geometry is None
        assert int(view.width) == 90
        row = view.inputs[0, 0, HEIGHT // 2].double()
        ink = (row.median() - row).clamp_min(0)
        assert abs(float((ink * torch.arange(90)).sum() / ink.sum()) - 45) < 0.05  # its middle, thicker or thinner


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(30, 200))
def test_the_map_of_a_strong_view_says_where_each_pixel_came_from(seed, columns):
    """A ramp from left to right and one from top to bottom show in every pixel where it was."""
    drawn = draws("strong", 1, seed)
    across = torch.arange(columns) + 0.5
    for axis, ramp in (
        (0, across.expand(HEIGHT, -1)),
        (1, (torch.arange(HEIGHT) + 0.5)[:, None].expand(-1, columns)),
    ):
        view = _moved_only(ramp[None, None].float(), torch.tensor([columns]), drawn)
        inputs, width, maps = view
        x, y = torch.arange(int(width)) + 0.5, torch.arange(HEIGHT) + 0.5
        came = maps[0, axis, 0] * x + maps[0, axis, 1] * y[:, None] + maps[0, axis, 2]
        other = maps[0, 1 - axis, 0] * x + maps[0, 1 - axis, 1] * y[:, None] + maps[0, 1 - axis, 2]
        limits = (columns, HEIGHT)
        inside = (came >= 0.5) & (came <= limits[axis] - 0.5) & (other >= 0.5) & (other <= limits[1 - axis] - 0.5)
        assert inside.float().mean() > 0.5
        found = inputs[0, 0, :, : int(width)]
        torch.testing.assert_close(found[inside], came[inside], atol=2e-3, rtol=1e-4)


def _moved_only(x, width, drawn):
    from semilla.augment.lines import _moved

    return _moved(x, width, iter(drawn[:, :5].numpy().astype(np.float64).T))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(8, 400))
def test_nothing_is_cut_off_at_the_ends(seed, columns):
    """Both ends of the line lie on the canvas: the middle of its first and of its last column are found in the view."""
    drawn = draws("strong", 1, seed)
    view = VIEWS("strong", torch.zeros(1, 1, HEIGHT, columns, dtype=torch.uint8), drawn, torch.tensor([columns]))
    forth = torch.linalg.inv(view.geometry[0, :, :2].double())
    for end in (0.0, float(columns)):
        x, y = forth @ (torch.tensor([end, HEIGHT / 2]).double() - view.geometry[0, :, 2].double())
        assert -0.51 <= x <= int(view.width) + 0.51
        assert -0.2 * HEIGHT <= y <= 1.2 * HEIGHT
    assert STRETCH[0] * columns - 1 <= int(view.width) <= STRETCH[1] * columns + 0.5 * HEIGHT + 2


def test_the_narrowest_lines_survive():
    lines, width = torch.full((2, 1, HEIGHT, 3), 7, dtype=torch.uint8), torch.tensor([1, 3])
    for name in LINE_VIEWS:
        assert torch.isfinite(VIEWS(name, lines, draws(name, 2), width).inputs).all()


def test_wrong_words_and_shapes_are_told():
    lines, width = batch()
    with pytest.raises(UsageError, match=r"(?s)U140.*'photometric'"):
        VIEWS.draws("fotometric")
    with pytest.raises(UsageError, match="U141"):
        VIEWS("weak", lines, torch.rand(4, 9), width)
    with pytest.raises(UsageError, match="U141"):
        VIEWS("weak", lines, draws("weak", 4), width[:2])
    with pytest.raises(DataError, match="D160"):
        VIEWS("weak", lines.float(), draws("weak", 4), width)
    with pytest.raises(DataError, match="D160"):
        VIEWS("weak", lines[:, :, :20], draws("weak", 4), width)
