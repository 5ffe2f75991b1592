"""Batches and scores of lines of text: a view belongs to its line, and padding is no part of it."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from semilla import config
from semilla.augment.lines import LINE_VIEWS, LineViews
from semilla.contract import Guess, Method, Net, Output, View
from semilla.data import load, split
from semilla.data.dataset import Examples
from semilla.data.lines import widths_of
from semilla.data.source import Source
from semilla.training import batches as batching
from semilla.training import evaluate
from semilla.training.batches import Batches
from semilla.training.evaluate import Evaluation, outputs

CPU = torch.device("cpu")
HEIGHT = 16
PARTS = 12, 40


def arrays(hidden="hidden"):
    generator = np.random.default_rng(0)
    widths = generator.integers(8, 120, sum(PARTS))
    pictures = [generator.integers(1, 256, (HEIGHT, width), np.uint8) for width in widths]
    texts = [f"text {number % 7}" for number in range(PARTS[0])] + [f"{hidden} {number}" for number in range(PARTS[1])]
    return {"x_train": pictures, "y_train": texts}


def parts(hidden="hidden"):
    dataset = load(Source(arrays(hidden), task="text", height=HEIGHT), None)
    return split(dataset, np.arange(PARTS[0]))


class Plain:
    """Views of lines that add a draw to what is a line, as `semilla.augment.lines.LineViews` does more cleverly."""

    def __init__(self):
        self.widths = []

    def draws(self, name):
        return {"none": 0, "weak": 1, "strong": 3}[name]

    def __call__(self, name, inputs, draws, width):
        self.widths.append(inputs.shape[-1])
        inside = torch.arange(inputs.shape[-1]) < width[:, None, None, None]
        moved = inputs / 255 + draws.sum(1)[:, None, None, None]
        return View(torch.where(inside, moved, 0.0), width=width)


class Both(Method):
    labeled_views = ("weak", "strong")
    unlabeled_views = ("weak", "strong", "strong")


def made(split_parts=None, targets=None, views=None, method=Both, **sizes):
    sizes = {"labeled_batch": 4, "unlabeled_batch": 6, **sizes}
    settings = dataclasses.replace(config.Settings("supervised"), **sizes)
    return Batches(split_parts or parts(), method(), views or Plain(), settings, CPU, targets)


def cut(view, row):
    return view.inputs[row, :, :, : int(view.width[row])]


def test_all_views_of_a_step_have_one_width_and_show_nothing_in_the_padding():
    own = parts()
    x_widths, u_widths = (rows.pool.widths[rows.index] for rows in (own.labeled.inputs, own.unlabeled))
    for step in range(20):
        batch = made(own).at(step)
        (columns,) = {view.inputs.shape[-1] for view in (*batch.x, *batch.u)}
        assert columns % 16 == 0
        widest = max(x_widths[batch.x_index].max(), u_widths[batch.u_index].max())
        assert widest <= columns < widest + 16
        for views, index, widths in ((batch.x, batch.x_index, x_widths), (batch.u, batch.u_index, u_widths)):
            for view in views:
                np.testing.assert_array_equal(view.width, widths[index])
                beyond = torch.arange(columns) >= view.width[:, None, None, None]
                assert not view.inputs[beyond.expand_as(view.inputs)].any()


@pytest.mark.parametrize("step", range(6))
def test_each_view_is_as_wide_as_its_widest_line_needs(step):
    """Up to a multiple of 16, and with lines that are cut nowhere: `strong` makes them wider and narrower."""
    own = parts()
    views = LineViews(HEIGHT, [0.5], [0.25])
    batch = made(own, views=views).at(step)
    for view in (*batch.x, *batch.u):
        columns, widest = view.inputs.shape[-1], int(view.width.max())
        assert columns % 16 == 0
        assert widest <= columns < widest + 16
        beyond = torch.arange(columns) >= view.width[:, None, None, None]
        assert not view.inputs[beyond.expand_as(view.inputs)].any()


def test_a_view_says_beforehand_how_wide_lines_will_be():
    views, lines = LineViews(HEIGHT, [0.5], [0.25]), parts().unlabeled
    widths = widths_of(lines)
    for name in LINE_VIEWS:
        draws = np.random.default_rng(1).random((len(lines), views.draws(name)), np.float32)
        seen = views(name, torch.from_numpy(lines[:]), torch.from_numpy(draws), torch.from_numpy(widths)).width
        np.testing.assert_array_equal(views.widths_in(name, draws, widths), seen)
        assert views.stretches(name) == (not np.array_equal(seen, widths))


def test_lines_come_together_by_the_width_that_their_view_gives_them():
    """Sorted by their own widths alone, stretched lines of a batch would be padded by more than a tenth."""
    generator = np.random.default_rng(0)
    pictures = [np.zeros((HEIGHT, width), np.uint8) for width in generator.integers(100, 110, 400)]
    data = load(Source({"x_train": pictures, "y_train": ["a"] * 8 + [None] * 392}, task="text", height=HEIGHT), None)
    views, own = LineViews(HEIGHT, [0.5], [0.25]), split(data)

    class Strong(Method):
        labeled_views = ("strong",)
        unlabeled_views = ("strong",)

    batches = made(own, views=views, method=Strong, unlabeled_batch=16)
    seen = [batches.at(step).u[0] for step in range(24)]
    valid = sum(int(view.width.sum()) for view in seen)
    assert valid / sum(view.inputs[:, 0, 0].numel() for view in seen) > 0.9
    rows = np.concatenate([batches.at(step).u_index for step in range(24)])
    assert len(np.unique(rows)) == len(rows) == 384  # an epoch all the same


def test_the_lines_are_those_of_the_index():
    own = parts()

    class Undisturbed(Plain):
        def __call__(self, name, inputs, draws, width):
            return View(inputs.float(), width=width)

    batch = made(own, views=Undisturbed()).at(3)
    for row, place in enumerate(batch.u_index.tolist()):
        np.testing.assert_array_equal(cut(batch.u[0], row), own.unlabeled[[place]][0])
    for row, place in enumerate(batch.x_index.tolist()):
        np.testing.assert_array_equal(cut(batch.x[1], row), own.labeled.inputs[[place]][0])


def test_a_view_does_not_depend_on_its_companions():
    """The same lines in batches of another size: their k-th view in an epoch is the same, whatever is beside them."""
    own = parts()

    def seen(size):
        found = {}
        batches = made(own, unlabeled_batch=size)
        for step in range(3 * PARTS[1] // size):
            batch = batches.at(step)
            epochs = batches._rows(step)[2]
            for row, place in enumerate(batch.u_index.tolist()):
                found[int(epochs[row]), place] = [cut(view, row).clone() for view in batch.u]
        return found

    few, many = seen(5), seen(8)
    assert len(few) == len(many) == 3 * PARTS[1]
    for key, views in few.items():
        for one, other in zip(views, many[key], strict=True):
            assert torch.equal(one, other)
    assert not torch.equal(few[0, 3][1], few[1, 3][1])  # another epoch, other draws
    assert not torch.equal(few[0, 3][1], few[0, 3][2])  # and so another view of one name


def test_streamed_lines_are_those_on_the_device(monkeypatch):
    expected = made().at(2), made().at(3)
    monkeypatch.setattr(batching, "RESIDENT", 0)
    streamed = made()
    for step, batch in zip((2, 3), expected, strict=True):
        found = streamed.at(step)
        for one, other in zip((*found.x, *found.u), (*batch.x, *batch.u), strict=True):
            assert torch.equal(one.inputs, other.inputs)
            assert torch.equal(one.width, other.width)


def test_a_step_is_the_same_whatever_came_before():
    batches, other = made(), made()
    for step in (9, 0, 4):
        batches.at(step)
    for one, two in zip(batches.at(7).u, other.at(7).u, strict=True):
        assert torch.equal(one.inputs, two.inputs)


def test_hidden_texts_do_not_change_a_bit():
    one, other = made(parts("hidden")), made(parts("anything else"))
    for step in range(8):
        left, right = one.at(step), other.at(step)
        assert torch.equal(left.y, right.y)
        for first, second in zip((*left.x, *left.u), (*right.x, *right.u), strict=True):
            assert torch.equal(first.inputs, second.inputs)


def encoded():
    """Targets of different lengths; the third is an empty string."""
    targets = torch.full((PARTS[0], 9), -1)
    for row in range(PARTS[0]):
        targets[row, : (row * 5) % 10 if row != 2 else 0] = row + 1
    return targets


def test_targets_are_trimmed_to_the_longest_of_the_batch():
    batches = made(targets=encoded())
    for step in range(9):
        batch = batches.at(step)
        whole = encoded()[batch.x_index]
        longest = max(1, int((whole >= 0).sum(1).max()))
        assert torch.equal(batch.y, whole[:, :longest])


def test_an_empty_target_has_a_column():
    batch = made(targets=torch.full((PARTS[0], 3), -1)).at(0)
    assert batch.y.tolist() == [[-1]] * 4


def test_without_targets_labels_are_positions_of_the_own_texts():
    own = parts()
    batch = made(own).at(0)
    assert torch.equal(batch.y, torch.from_numpy(own.labeled.labels)[batch.x_index])
    assert [own.classes[number] for number in batch.y] == [f"text {place % 7}" for place in batch.x_index.tolist()]


def test_a_method_without_labeled_views():
    class Unlabeled(Method):
        labeled_views = ()
        unlabeled_views = ("weak",)

    batch = made(method=Unlabeled).at(1)
    assert batch.x == ()
    assert len(batch.y) == 0
    assert len(batch.u[0]) == 6


# Scores


class Frames(nn.Module):
    """A frame for every four columns: the mean of what is valid in it; reads nothing beyond a line's width."""

    def __init__(self):
        super().__init__()
        self.sizes = []

    def forward(self, inputs, width=None):
        self.sizes.append(inputs.shape)
        inputs = nn.functional.pad(inputs, (0, -inputs.shape[-1] % 4))
        frames = inputs.mean((1, 2)).unflatten(1, (-1, 4)).mean(2, keepdim=True)
        return Output(torch.cat([frames, -frames], 2), frames, -(-width // 4))


class FirstFrames:
    """A task whose guess is the length of a line, and how much ink its first frame has, in hundredths."""

    name = "ctc"

    def guess(self, output):
        target = torch.stack([output.lengths, (100 * output.logits[:, 0, 0]).long()], 1)
        return Guess(target, output.logits[:, 0, 0])

    def metrics(self, guess, truth):
        return {"exact": float((guess == truth).all(1).double().mean())}


@pytest.mark.parametrize("area", [1, 4000, 2**20])
def test_outputs_are_in_their_own_order_whatever_the_batches(monkeypatch, area):
    monkeypatch.setattr(evaluate, "AREA", area)
    monkeypatch.setattr(evaluate, "BATCH", 17)
    rows, net = parts().unlabeled, Frames()
    found = list(outputs(Net(net), Plain(), rows, CPU))
    assert [len(output.logits) for output in found] == [17, 17, 6]
    widths = rows.pool.widths[rows.index]
    place = 0
    for output in found:
        assert output.logits.shape[1] == output.features.shape[1] == output.lengths.max()
        for logits, length in zip(output.logits, output.lengths.tolist(), strict=True):
            line = torch.from_numpy(rows[[place]]).float() / 255
            alone = Frames()(line, torch.tensor([widths[place]])).logits[0]
            assert length == -(-widths[place] // 4)
            torch.testing.assert_close(logits[:length], alone)
            assert not logits[length:].any()
            place += 1
    assert place == len(rows)
    for count, _, height, columns in net.sizes:
        assert count == 1 or count * height * columns <= area


def test_scores_of_lines_with_their_own_truth():
    rows, widths = parts().unlabeled, parts().unlabeled
    widths = widths.pool.widths[widths.index]
    ink = [int(100 * (np.pad(rows[[row]][0, 0], ((0, 0), (0, 3)))[:, :4] / 255).mean()) for row in range(len(rows))]
    truth = torch.stack([torch.from_numpy(-(-widths // 4)), torch.tensor(ink)], 1)
    truth[:4, 1] += 3
    held = Examples(rows, np.zeros(len(rows), np.int64))
    told = Evaluation("test", held, FirstFrames(), Plain(), CPU, 0.0, truth).scores(Net(Frames()))
    assert told == {"test/exact": 0.9, "test/kept": 1.0, "test/kept_exact": 0.9}


def test_a_network_with_one_answer_for_a_line(monkeypatch):
    class Whole(nn.Module):
        def forward(self, inputs: Tensor, width: Tensor) -> Output:
            sums = inputs.sum((1, 2, 3))[:, None]
            return Output(sums, width[:, None].float())

    monkeypatch.setattr(evaluate, "AREA", 3000)
    rows = parts().unlabeled
    (output,) = outputs(Net(Whole()), Plain(), rows, CPU)
    assert output.lengths is None
    assert output.features[:, 0].tolist() == rows.pool.widths[rows.index].tolist()
