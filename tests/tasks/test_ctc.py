"""CTC against the enumeration of every path, and what its soft loss weighs."""

import itertools
import math
from collections import defaultdict

import numpy as np
import pytest
import torch

from semilla.contract import Output, View
from semilla.parts.losses import kl_divergence, squared_error
from semilla.tasks import CTC, Alphabet
from semilla.tasks.positions import packed
from semilla.tasks.spelling import Protocol

TASK = CTC(Alphabet("ab"))


def strings(p):
    """(T, C) → the probability of every string, as the sum over all C^T paths."""
    found = defaultdict(float)
    for path in itertools.product(range(p.shape[1]), repeat=len(p)):
        symbols = [symbol for symbol, _ in itertools.groupby(path) if symbol]
        found["".join("ab"[symbol - 1] for symbol in symbols)] += math.prod(
            p[t, symbol] for t, symbol in enumerate(path)
        )
    return found


def outputs(seed, count=6, frames=5):
    draw = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn((count, frames, 3), generator=draw)
    lengths = torch.randint(1, frames + 1, (count,), generator=draw)
    return Output(logits, logits, lengths)


def lines(output):
    p = output.logits.double().softmax(-1).numpy()
    lengths = output.lengths if output.lengths is not None else [p.shape[1]] * len(p)
    return [row[: int(length)] for row, length in zip(p, lengths, strict=True)]


@pytest.mark.parametrize("seed", range(5))
def test_loss_reading_and_confidence_are_those_of_all_paths(seed):
    output = outputs(seed)
    guess = TASK.guess(output)
    for row, (p, read) in enumerate(zip(lines(output), TASK.decode(guess.target), strict=True)):
        every = strings(p)
        assert sum(every.values()) == pytest.approx(1)
        best = [symbol for symbol, _ in itertools.groupby(p.argmax(-1).tolist()) if symbol]
        assert read == "".join("ab"[symbol - 1] for symbol in best)
        confidence = every[read] ** (1 / len(read)) if read else 0.0
        assert guess.confidence[row].item() == pytest.approx(confidence, rel=1e-5)
        for text, probability in every.items():
            one = Output(output.logits[row : row + 1], output.features, output.lengths[row : row + 1])
            loss = TASK.loss(one, TASK.encode([text])).item()
            assert loss == pytest.approx(-math.log(probability) / max(1, len(text)), rel=1e-5, abs=1e-5)


def test_the_best_path_is_not_always_the_best_string():
    """Two frames at p(blank) = 0.6: the path of blanks has 0.36, the string a 0.4² + 2 · 0.4 · 0.6 = 0.64."""
    logits = torch.tensor([[0.6, 0.4, 1e-9]]).log().expand(1, 2, 3)
    output = Output(logits, logits)
    assert TASK.decode(TASK.guess(output).target) == [""]
    assert TASK.guess(output).confidence.item() == 0


def test_targets_that_no_path_reaches_cost_nothing():
    target = TASK.encode(["aa", "ab", "", "aab", "abab"])
    lengths = torch.tensor([2, 2, 1, 4, 3])
    logits = torch.zeros(5, 5, 3, requires_grad=True)
    loss = TASK.loss(Output(logits, logits, lengths), target)
    loss.sum().backward()
    assert torch.isfinite(loss).all()
    assert (loss == 0).tolist() == [True, False, False, False, True]
    assert torch.isfinite(logits.grad).all()
    assert not logits.grad[[0, 4]].any()
    assert logits.grad[[1, 2, 3]].flatten(1).any(1).all()


def test_no_frame_at_all():
    logits = torch.zeros(2, 3, 3, requires_grad=True)
    output = Output(logits, logits, torch.tensor([0, 3]))
    guess = TASK.guess(output)
    assert guess.confidence[0] == 0
    assert torch.isfinite(TASK.loss(output, TASK.encode(["a", "a"]))).all()


def test_bf16_logits_give_a_float32_loss():
    output = outputs(0)
    with torch.autocast("cpu", torch.bfloat16):
        loss = TASK.loss(output._replace(logits=output.logits.bfloat16()), TASK.encode(["a"] * 6))
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, TASK.loss(output, TASK.encode(["a"] * 6)), rtol=0.05, atol=0.05)


def surest_of(symbols):
    """(1, T, 3): 0.8 for each frame's symbol, 0.1 for the others."""
    q = torch.full((1, len(symbols), 3), 0.1)
    q[0, torch.arange(len(symbols)), torch.tensor(symbols)] = 0.8
    return q


@pytest.mark.parametrize(
    ("symbols", "weights"),
    [
        ([0, 1, 0, 0], [1 / 3, 1, 1 / 3, 1 / 3]),  # three blanks share what the symbol weighs
        ([0, 1, 2, 1], [1, 1, 1, 1]),  # a blank weighs at most 1
        ([1, 2, 1, 2], [1, 1, 1, 1]),
        ([0, 0, 0, 0], [0, 0, 0, 0]),  # nothing is read: nothing is taught
    ],
)
@pytest.mark.parametrize("divergence", [squared_error, kl_divergence])
def test_blank_frames_share_what_the_others_weigh(symbols, weights, divergence):
    logits = torch.randn((1, 5, 3), generator=torch.Generator().manual_seed(1), requires_grad=True)
    q = torch.cat([surest_of(symbols), surest_of([2])], 1)  # the last frame is padding
    loss = TASK.soft_loss(Output(logits, logits, torch.tensor([4])), q, divergence)
    each = divergence(logits, q)[0, :4].detach().numpy()
    expected = (each * weights).sum() / max(sum(weights), 1)
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    loss.sum().backward()
    assert logits.grad[0, :4].abs().sum(-1).ne(0).tolist() == [weight > 0 for weight in weights]
    assert not logits.grad[0, 4].any()


def test_packing():
    symbols = torch.tensor([[1, 2, 3], [1, 2, 3], [1, 2, 3]])
    keep = torch.tensor([[True, False, True], [False, False, False], [False, True, False]])
    assert packed(symbols, keep).tolist() == [[1, 3], [-1, -1], [2, -1]]
    assert packed(symbols, torch.zeros_like(keep)).tolist() == [[-1]] * 3


def test_metrics_and_their_protocol():
    task = CTC(Alphabet("abA-"), Protocol.preset("english36"))
    guess, truth = task.encode(["A-b", "a"]), task.encode(["ab", "b"])
    assert task.metrics(guess, truth)["accuracy"] == 0.5
    assert list(task.metrics(guess, truth)) == ["cer", "wer", "accuracy", "1-ned"]
    assert CTC(task.alphabet).metrics(guess, truth)["accuracy"] == 0
    assert task.prefix(truth) is None


def test_views_that_did_not_move_are_left_alone():
    output = outputs(0)
    view = View(torch.zeros(6, 1, 8, 20))
    assert TASK.align(output, view, view) is output
    assert np.isfinite(output.logits.numpy()).all()
