"""Recognisers of lines: shapes, independence of padding, reading and teacher-forcing, what training needs of them."""

from __future__ import annotations

import copy
import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from semilla.contract import Net, Output, View
from semilla.networks import CRNN, AttentionReader, ConvTransformer
from semilla.networks.line_encoder import LineEncoder, _Normalised, _normalised
from semilla.parts.forward import frozen_bn

KINDS = [CRNN, ConvTransformer, AttentionReader]
FRAMED = [CRNN, ConvTransformer]
CLASSES = 7

quick = settings(max_examples=15, deadline=None)
every = pytest.mark.parametrize("kind", KINDS)


def make(kind, height=32, seed=0, **changes):
    torch.manual_seed(seed)
    return kind(CLASSES, height=height, **{"width": 8, **changes}).eval()


def lines(count=3, columns=37, height=32, seed=0):
    return torch.randn(count, 1, height, columns, generator=torch.Generator().manual_seed(seed))


def read(net, inputs, width=None):
    """Outputs of one line, where a decoder is told what to predict after."""
    prefix = torch.tensor([[0, 3, 1, 5]]).expand(len(inputs), -1)
    return net(inputs, width, **({"prefix": prefix} if isinstance(net, AttentionReader) else {}))


def eager(net):
    """A reader that seldom ends, so that there is something to read before it has learned."""
    with torch.no_grad():
        net.classifier.bias[0] -= 3.0
        net.classifier.weight *= 4
    return net


# Shapes


@every
@pytest.mark.parametrize("height", [32, 48])
@pytest.mark.parametrize("columns", [1, 2, 3, 4, 5, 9, 64])
def test_any_width_and_both_heights(kind, height, columns):
    net = make(kind, height)
    width = torch.tensor([columns, 1, max(1, columns // 2)])
    output = net(lines(3, columns, height), width)
    assert isinstance(output, Output)
    if kind is not AttentionReader:
        assert output.logits.shape[1] == -(-columns // 4)
        assert output.lengths.tolist() == [-(-one // 4) for one in width.tolist()]
    assert output.logits.shape == (*output.features.shape[:2], CLASSES)
    assert torch.isfinite(output.logits).all()
    torch.testing.assert_close(net.classifier(output.features), output.logits)


@pytest.mark.parametrize("kind", FRAMED)
def test_without_widths_all_columns_are_valid(kind):
    net, inputs = make(kind), lines(2, 30)
    plain, told = net(inputs), net(inputs, torch.tensor([30, 30]))
    assert plain.lengths.tolist() == [8, 8]
    torch.testing.assert_close(plain.logits, told.logits)


@every
def test_it_is_built_again_from_json(kind):
    arguments = json.loads(json.dumps({"classes": 5, "channels": 1, "height": 48, "width": 8}))
    assert kind(**arguments)(lines(2, 20, 48)).logits.shape[2] == 5
    assert kind.stride == 4


@pytest.mark.parametrize(("kind", "millions"), [(CRNN, 1.35), (ConvTransformer, 1.5), (AttentionReader, 2.4)])
def test_the_default_is_as_large_as_promised(kind, millions):
    assert sum(weight.numel() for weight in kind(142).parameters()) / 1e6 == pytest.approx(millions, abs=0.05)


# Padding


@every
@pytest.mark.parametrize("training", [False, True])
@quick
@given(
    columns=st.integers(1, 40),
    padding=st.integers(1, 40),
    others=st.integers(0, 2),
    filled=st.sampled_from([0.0, 5.0]),
    height=st.sampled_from([32, 48]),
)
def test_what_is_read_depends_neither_on_padding_nor_on_the_batch(
    kind, training, columns, padding, others, filled, height
):
    net = make(kind, height).train(training)
    line = lines(1, columns, height, seed=1)
    batch = torch.cat([torch.full((1, 1, height, columns + padding), filled), lines(others, columns + padding, height)])
    batch[:1, ..., :columns] = line
    alone = read(net, line, torch.tensor([columns]))
    together = read(net, batch, torch.tensor([columns] + [columns + padding] * others))
    count = int(alone.lengths[0])
    # Sums over padded lines are added up in another order: float32 rounding, where a wrong mask gives 1e-2.
    torch.testing.assert_close(together.logits[:1, :count], alone.logits, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(together.features[:1, :count], alone.features, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", FRAMED)
def test_the_lines_own_end_is_read_from_both_sides(kind):
    """The last valid frame's columns matter to the first frame, and nothing beyond them does."""
    net = make(kind)
    inputs = lines(1, 60).requires_grad_()
    net(inputs, torch.tensor([45])).logits[0, 0].square().sum().backward()
    reached = inputs.grad[0, 0].abs().sum(0)
    assert (reached[:45] > 0).all()
    assert (reached[45:] == 0).all()


def test_a_frames_middle_is_the_middle_of_its_columns():
    """A picture mirrored within whole frames gives mirrored frames, if the kernels are mirrored too."""
    net = LineEncoder(1, 32, 8, 1, 16).eval()
    mirrored = copy.deepcopy(net)
    for module in mirrored.modules():
        if isinstance(module, nn.Conv2d):
            module.weight.data = module.weight.data.flip(3)
    # Of the four parts of the first layer's input, the columns trade places.
    mirrored.stem.conv.weight.data = mirrored.stem.conv.weight.data[:, [1, 0, 3, 2]]
    inputs = lines(2, 40)
    torch.testing.assert_close(mirrored(inputs.flip(3))[0].flip(1), net(inputs)[0], atol=1e-5, rtol=1e-5)


def test_the_normalisations_own_gradient_is_that_of_its_equations():
    generator = torch.Generator().manual_seed(0)
    drawn = [
        torch.randn(shape, generator=generator, dtype=torch.double) for shape in ((3, 20, 5), (5,), (5,), (3, 20, 5))
    ]
    x, weight, bias, added = (value.requires_grad_() for value in drawn)
    kept = (torch.arange(20) < torch.tensor([[20], [7], [1]])).double()[:, None]
    out = torch.randn(3, 20, 5, generator=generator, dtype=torch.double)
    for beside in (added, None):
        wanted = [one for one in (x, weight, bias, beside) if one is not None]
        own, plain = (
            torch.autograd.grad((value * out).sum(), wanted)
            for value in (
                _Normalised.apply(x, kept, weight, bias, beside),
                _normalised(x, kept, weight, bias, beside)[0],
            )
        )
        for one, other in zip(own, plain, strict=True):
            # Counts and deviations are float32; a line of one place has the deviation of EPSILON alone.
            torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


# Reading


def test_teacher_forcing_with_what_was_read_gives_the_same():
    net, inputs, width = eager(make(AttentionReader)), lines(4, 60), torch.tensor([60, 44, 12, 3])
    free = net(inputs, width)
    symbols = free.logits.argmax(2)
    assert free.lengths.max() > 4, "something was read"
    prefix = torch.cat([torch.zeros(4, 1, dtype=torch.int64), symbols[:, :-1]], 1)
    forced = net(inputs, width, prefix=prefix)
    for row, length in enumerate(free.lengths.tolist()):
        torch.testing.assert_close(forced.logits[row, :length], free.logits[row, :length])
        assert (symbols[row, : length - 1] > 0).all(), "no end before the last position"
        assert length - 1 == min(-(-int(width[row]) // 4), 128) or symbols[row, length - 1] == 0
    assert free.logits.shape[1] == free.lengths.max()


def test_a_reading_depends_neither_on_padding_nor_on_the_batch():
    net, inputs = eager(make(AttentionReader)), lines(3, 60)
    width = torch.tensor([60, 30, 8])
    together = net(inputs, width)
    for row, columns in enumerate(width.tolist()):
        alone = net(inputs[row : row + 1, ..., :columns], torch.tensor([columns]))
        assert together.lengths[row] == alone.lengths[0]
        found = together.logits[row, : int(alone.lengths[0])]
        torch.testing.assert_close(found, alone.logits[0], atol=1e-4, rtol=1e-4)


def test_reading_ends_when_every_line_has_ended():
    net = make(AttentionReader)
    with torch.no_grad():
        net.classifier.bias[0] += 100
    output = net(lines(3))
    assert output.logits.shape[1] == 1
    assert output.lengths.tolist() == [1, 1, 1]


@pytest.mark.parametrize(("longest", "expected"), [(4, [5, 3]), (100, [11, 3])])
def test_a_reading_is_at_most_as_long_as_allowed_and_as_its_frames(longest, expected):
    net = make(AttentionReader, longest=longest)
    with torch.no_grad():
        net.classifier.bias[0] -= 100
    assert net(lines(2, 40), torch.tensor([40, 8])).lengths.tolist() == expected


def test_a_symbol_depends_on_those_before_it_alone():
    net, inputs = make(AttentionReader), lines(1)
    first, second = (net(inputs, prefix=torch.tensor([[0, 1, 2, last]])).logits for last in (3, 4))
    torch.testing.assert_close(first[:, :3], second[:, :3])
    assert (first[:, 3] - second[:, 3]).abs().max() > 1e-3


# Training


@every
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_every_weight_gets_a_gradient(kind, precision):
    """Also of a decoder that has just read by itself, without one, under the same autocast."""
    net = eager(make(kind)).train()
    inputs, width = lines(4, 50), torch.tensor([50, 31, 20, 9])
    with torch.autocast("cpu", precision, enabled=precision != torch.float32):
        output = net(inputs, width)
    output.logits.float().square().mean().backward()
    assert all(weight.grad is not None and torch.isfinite(weight.grad).all() for weight in net.parameters())
    still = [name for name, weight in net.named_parameters() if not weight.grad.any()]
    assert not still


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_an_lstm_on_one_thread_of_several_learns_the_same(two_threads, precision, monkeypatch):
    """Two passes in one step, as a method makes them; other threads are there again afterwards."""
    net, inputs, width = make(CRNN).train(), lines(3), torch.tensor([37, 20, 5])
    seen = []
    original = nn.LSTM.forward
    monkeypatch.setattr(nn.LSTM, "forward", lambda *given: (seen.append(torch.get_num_threads()), original(*given))[1])

    def step():
        net.zero_grad()
        with torch.autocast("cpu", precision, enabled=precision != torch.float32):
            outputs = [net(inputs, width), net(inputs.flip(3), width)]
        sum(output.logits.float().square().mean() for output in outputs).backward()
        return [outputs[0].logits.detach(), *(weight.grad for weight in net.parameters())]

    limited = step()
    assert set(seen) == {1}
    assert torch.get_num_threads() == 2
    torch.set_num_threads(1)
    for one, other in zip(limited, step(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-4 if precision == torch.float32 else 3e-2, rtol=1e-2)
    torch.set_num_threads(2)
    with torch.no_grad():
        torch.testing.assert_close(net(inputs, width).logits, net(inputs, width).logits)
    frozen = net.requires_grad_(False)(inputs, width).logits
    assert not frozen.requires_grad


def test_threads_come_back_after_an_error(two_threads):
    with pytest.raises(RuntimeError):
        make(CRNN).recurrent[0].rightward(torch.zeros(2, 5, 7))
    assert torch.get_num_threads() == 2


@every
def test_half_precision_reads_about_the_same(kind):
    net, inputs, width = make(kind, 48), lines(3, 80, 48), torch.tensor([80, 61, 7])
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        half = read(net, inputs, width).logits.float()
    whole = read(net, inputs, width).logits
    assert (half - whole).abs().mean() < 0.05 * whole.abs().mean()  # 2⁻⁸ for each of some 20 roundings in a row


@every
def test_the_same_seed_gives_the_same_numbers(kind):
    first, second = (read(make(kind).train(), lines()).logits for _ in range(2))
    assert torch.equal(first, second)


@every
def test_training_and_evaluation_read_the_same_and_nothing_is_kept(kind):
    """No batch statistics, no dropout: teacher and student differ in weights and views alone."""
    net, inputs, width = make(kind), lines(3), torch.tensor([37, 20, 5])
    before = copy.deepcopy(net.state_dict())
    calm = read(net, inputs, width).logits
    with frozen_bn(net.train()):
        torch.testing.assert_close(read(net, inputs, width).logits, calm)
    read(net, inputs, width)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert not dict(net.named_buffers())


@every
def test_copies_and_saved_weights_read_the_same(kind):
    net, other = make(kind), make(kind, seed=1)
    expected = read(net, lines()).logits
    assert not torch.allclose(read(other, lines()).logits, expected)
    other.load_state_dict(net.state_dict())
    assert torch.equal(read(other, lines()).logits, expected)
    assert torch.equal(read(copy.deepcopy(net), lines()).logits, expected)


@every
@pytest.mark.parametrize("memory_format", [torch.channels_last, torch.contiguous_format])
def test_the_order_of_memory_changes_nothing(kind, memory_format):
    net, inputs = make(kind), lines()
    expected = read(net, inputs).logits
    torch.testing.assert_close(read(net.to(memory_format=memory_format), inputs).logits, expected, atol=1e-5, rtol=1e-5)


@every
def test_it_stands_in_a_net(kind):
    width = torch.tensor([37, 20, 5])
    output = Net(make(kind))(View(lines(), width=width))
    assert len(output.lengths) == 3


@every
def test_a_few_steps_lower_the_loss(kind):
    net = make(kind).train()
    optimizer = torch.optim.AdamW(net.parameters(), 3e-3)
    target = torch.tensor([[3, 1, 5], [2, 2, 4], [6, 1, 2]])
    losses = []
    for _ in range(12):
        if kind is AttentionReader:
            logits = net(lines(), prefix=torch.cat([torch.zeros(3, 1, dtype=torch.int64), target], 1)).logits
            wanted = torch.cat([target, torch.zeros(3, 1, dtype=torch.int64)], 1)
            loss = nn.functional.cross_entropy(logits.transpose(1, 2), wanted)
        else:
            output = net(lines())
            probs = output.logits.log_softmax(2).transpose(0, 1)
            loss = nn.functional.ctc_loss(probs, target, output.lengths, torch.full((3,), 3))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.6 * losses[0]
