"""A prediction of one view, at the frames of another.

The line is a function of its own columns: what stands at x. A perfect reader of a view says, of each frame, what stands
where its middle came from. Aligned with another view, it must say what it would say of that one; without the maps it
must not.
"""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from semilla.contract import Batch, Info, Net, Output, Run, View
from semilla.methods.mean_teacher import MeanTeacher
from semilla.methods.pi_model import PiModel
from semilla.methods.uda import UDA
from semilla.randomness import generator
from semilla.tasks import CTC, Alphabet
from semilla.tasks.frames import stride_of

HEIGHT, WIDTH, STRIDE = 32, 160, 4
TASK = CTC(Alphabet("abc"))


def line(x: torch.Tensor) -> torch.Tensor:
    """What stands at columns x of the line: logits that change over some twenty columns."""
    return torch.stack([2 * torch.ones_like(x), *(4 * torch.sin(x / 18 + phase) for phase in (0, 2, 4))], -1)


def placed(scale=1.0, shift=0.0, slant=0.0, count=2) -> torch.Tensor:
    """Maps x ↦ scale · x + slant · (y − middle) + shift, of which the slant leaves the middle row alone."""
    maps = torch.zeros(count, 2, 3)
    maps[:, 0, 0], maps[:, 0, 1], maps[:, 0, 2], maps[:, 1, 1] = scale, slant, shift - slant * HEIGHT / 2, 1
    return maps


def view(maps, width=WIDTH):
    return View(torch.zeros(2, 1, HEIGHT, width), maps, torch.full((2,), width))


def reading(seen: View) -> Output:
    frames = -(-seen.inputs.shape[-1] // STRIDE)
    x = (torch.arange(frames) + 0.5) * STRIDE
    if seen.geometry is not None:
        middle = torch.stack([x, torch.full_like(x, HEIGHT / 2), torch.ones_like(x)])
        x = (seen.geometry @ middle)[:, 0]
    logits = line(x.expand(2, -1))
    return Output(logits, logits, -(-seen.width // STRIDE))


PAIRS = [
    (None, placed(shift=8)),
    (None, placed(shift=-14.5)),
    (placed(shift=10), None),
    (placed(shift=10), placed(shift=-7)),
    (None, placed(scale=1.25)),
    (placed(scale=0.8), placed(scale=1.1, shift=-20)),
    (placed(slant=0.4), placed(scale=0.9, slant=-0.3, shift=-25)),
]


@pytest.mark.parametrize(("there", "here"), PAIRS)
def test_with_the_maps_the_views_agree_and_without_them_they_do_not(there, here):
    seen, wanted = view(there), view(here)
    output, truth = reading(seen), reading(wanted).logits.softmax(-1)
    found = TASK.align(output, seen, wanted)
    assert found.logits.shape == truth.shape
    p = found.logits.softmax(-1)
    torch.testing.assert_close(found.logits.exp().sum(-1), torch.ones(p.shape[:2]))
    nothing = (p[:, :, 0] == 1).squeeze(-1)
    assert 0.6 < (~nothing).float().mean() <= 1
    error = (p - truth).abs().amax(-1)[~nothing]
    # linear interpolation over four columns, and half a frame at either end, where there is nothing to go between
    assert error.median() < 0.02
    assert error.quantile(0.9) < 0.06
    unaligned = (output.logits.softmax(-1) - truth).abs().amax(-1)
    assert unaligned.median() > 0.1


def test_whole_frames_are_moved_to_the_bit_and_nothing_is_read_where_nothing_was_seen():
    seen, wanted = view(None), view(placed(shift=3 * STRIDE))
    output = reading(seen)
    p = TASK.align(output, seen, wanted).logits.softmax(-1)
    torch.testing.assert_close(p[:, :-3], output.logits.softmax(-1)[:, 3:], rtol=1e-6, atol=1e-7)
    assert torch.equal(p[:, -3:].argmax(-1), torch.zeros(2, 3, dtype=torch.int64))
    assert p[:, -3:, 0].min() == 1
    back = TASK.align(output, seen, view(placed(shift=-2 * STRIDE))).logits.softmax(-1)
    assert back[:, :2, 0].min() == 1
    assert back[:, 2:, 0].max() < 1


def test_the_same_map_on_both_sides_changes_nothing():
    seen = view(placed(scale=0.9, slant=0.2, shift=4))
    output = reading(seen)
    torch.testing.assert_close(
        TASK.align(output, seen, seen).logits.softmax(-1), output.logits.softmax(-1), rtol=1e-4, atol=1e-5
    )


def test_padding_was_not_seen():
    """The second line is half as long: of what lies behind it nothing is known, whatever the network says there."""
    seen, wanted = view(None), view(placed(shift=0.0))
    output = reading(seen)._replace(lengths=torch.tensor([40, 20]))
    p = TASK.align(output, seen, wanted).logits.softmax(-1)
    assert p[1, 20:, 0].min() == 1
    assert p[0, :, 0].max() < 1
    torch.testing.assert_close(p[1, :20], output.logits.softmax(-1)[1, :20])


def test_views_of_other_widths():
    """The wanted view is stretched to 1.5 times the width: as many more frames, each where it belongs."""
    seen, wanted = view(None), view(placed(scale=2 / 3), width=240)
    found = TASK.align(reading(seen), seen, wanted)
    assert found.logits.shape[1] == 60
    assert found.lengths.tolist() == [60, 60]
    assert (found.logits.softmax(-1) - reading(wanted).logits.softmax(-1)).abs().amax(-1).median() < 0.02


def test_gradient_flows_through_and_stays_finite():
    seen, wanted = view(None), view(placed(shift=17))
    output = reading(seen)
    logits = (30 * output.logits).requires_grad_(True)
    TASK.align(output._replace(logits=logits), seen, wanted).logits.softmax(-1).square().sum().backward()
    assert torch.isfinite(logits.grad).all()
    assert logits.grad.any()


@pytest.mark.parametrize(
    ("columns", "frames", "stride"), [(160, 40, 4), (157, 40, 4), (9, 9, 1), (9, 3, 4), (8, 2, 4), (90, 30, 3)]
)
def test_the_stride_is_told_by_the_frames(columns, frames, stride):
    assert stride_of(columns, frames) == stride


class Reader(nn.Module):
    """Each column of the picture is one frame, and its rows are the logits."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(4))

    def forward(self, inputs, width=None):
        logits = 6 * inputs[:, 0].transpose(1, 2) * self.scale
        return Output(logits, logits, width)


@pytest.mark.parametrize(
    "method", [MeanTeacher(Info(4, 2, 2)), PiModel(Info(4, 2, 2)), UDA(Info(4, 2, 2), threshold=0.1)]
)
@pytest.mark.parametrize("told", [True, False])
def test_methods_compare_frames_of_the_same_place(method, told):
    """Two views of one line, the second two columns further on: they agree where the maps are told, and not else."""
    draws = torch.from_numpy(np.random.default_rng(0).integers(0, 4, (3, 14)))
    picture = nn.functional.one_hot(draws, 4).float().transpose(1, 2)[:, None]
    picture[..., -2:] = torch.tensor([1.0, 0, 0, 0])[:, None]  # blank, as what lies outside counts
    moved = torch.cat([picture[..., 2:], picture[..., -2:]], -1)
    maps = torch.eye(2, 3).repeat(3, 1, 1)
    maps[:, 0, 2] = 2
    full = torch.full((3,), 14)
    views = (View(picture, None, full), View(moved, maps if told else None, full))
    batch = Batch(views[:1], TASK.encode(["a", "b", "c"]), views, torch.arange(3), torch.arange(3))
    net = Net(Reader())
    run = Run(TASK, copy.deepcopy(net), 5, 10, generator(0, "method", 5))
    if hasattr(method, "onset"):
        method.onset.step.fill_(0)
    consistency = method(net, batch, run)[0]["consistency"].item()
    if told:
        assert consistency < 0.02
    else:
        assert consistency > 0.2
