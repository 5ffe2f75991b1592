"""The decoder's task by hand: what ends a string, what counts, what is fed."""

import math

import pytest
import torch

from semilla.contract import Output, View
from semilla.parts.losses import squared_error
from semilla.tasks import Alphabet, Attention

TASK = Attention(Alphabet("ab"))


def saying(*rows, sure=0.8):
    """Logits of a decoder whose best symbols are those of the rows, each with the probability ``sure``."""
    p = torch.full((len(rows), len(rows[0]), 3), (1 - sure) / 2)
    for row, symbols in enumerate(rows):
        p[row, torch.arange(len(symbols)), torch.tensor(symbols)] = sure
    return p.log()


def test_what_the_decoder_is_fed():
    assert TASK.prefix(TASK.encode(["ab", "", "b"])).tolist() == [[0, 1, 2], [0, 0, 0], [0, 2, 0]]


def test_readings_end_at_the_first_end():
    logits = saying([1, 2, 0], [0, 1, 2], [2, 0, 1], [1, 2, 1])
    guess = TASK.guess(Output(logits, logits))
    assert TASK.decode(guess.target) == ["ab", "", "b", "aba"]
    # two symbols and the end; nothing; one symbol and the end; no end, so no string
    expected = [0.8 ** (3 / 2), 0, 0.8**2, 0]
    assert guess.confidence.tolist() == pytest.approx(expected, rel=1e-5)


def test_positions_after_the_length_are_not_read():
    logits = saying([1, 2, 0], [1, 0, 2])
    guess = TASK.guess(Output(logits, logits, torch.tensor([1, 2])))
    assert TASK.decode(guess.target) == ["a", "a"]
    assert guess.confidence.tolist() == pytest.approx([0, 0.64], rel=1e-5)
    assert TASK.guess(Output(logits, logits, torch.tensor([0, 0]))).target.tolist() == [[-1], [-1]]


def test_confidence_is_the_probability_of_the_string_by_the_chain_rule():
    logits = torch.randn((24, 4, 3), generator=torch.Generator().manual_seed(0))
    logits[:, 3, 0] += 9  # every reading ends
    guess = TASK.guess(Output(logits, logits))
    p = logits.double().softmax(-1)
    read = TASK.decode(guess.target)
    assert {len(text) for text in read} >= {0, 1, 2}
    for row, (text, confidence) in enumerate(zip(read, guess.confidence.tolist(), strict=True)):
        factors = [p[row, t, symbol].item() for t, symbol in enumerate([*("ab".index(s) + 1 for s in text), 0])]
        assert confidence == pytest.approx(math.prod(factors) ** (1 / len(text)) if text else 0, rel=1e-5)


def test_the_loss_counts_the_symbols_and_the_end():
    logits = torch.randn((3, 4, 3), generator=torch.Generator().manual_seed(0), requires_grad=True)
    target = TASK.encode(["ab", "", "b"])
    loss = TASK.loss(Output(logits, logits), target)
    log_p = logits.log_softmax(-1)
    expected = [
        -(log_p[0, 0, 1] + log_p[0, 1, 2] + log_p[0, 2, 0]) / 3,
        -log_p[1, 0, 0],
        -(log_p[2, 0, 2] + log_p[2, 1, 0]) / 2,
    ]
    torch.testing.assert_close(loss, torch.stack(expected))
    loss.sum().backward()
    assert logits.grad.abs().sum(-1).ne(0).tolist() == [[1, 1, 1, 0], [1, 0, 0, 0], [1, 1, 0, 0]]


def test_a_reading_that_was_stopped_has_a_loss_for_what_is_there():
    logits = saying([1, 2], [2, 0])
    output = Output(logits, logits)
    guess = TASK.guess(output)
    assert TASK.decode(guess.target) == ["ab", "b"]
    assert TASK.loss(output, guess.target).tolist() == pytest.approx(
        [-2 * math.log(0.8) / 3, -2 * math.log(0.8) / 2], rel=1e-5
    )


def test_bf16_logits_give_a_float32_loss():
    logits = torch.randn((3, 4, 3), generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", torch.bfloat16):
        assert TASK.loss(Output(logits.bfloat16(), logits), TASK.encode(["a", "b", "ab"])).dtype == torch.float32


def test_the_soft_loss_is_a_mean_over_the_string_and_its_end():
    logits = torch.randn((3, 4, 3), generator=torch.Generator().manual_seed(0))
    q = torch.randn((3, 3, 3), generator=torch.Generator().manual_seed(1)).softmax(-1)  # one position less
    loss = TASK.soft_loss(Output(logits, logits, torch.tensor([2, 1, 4])), q, squared_error)
    each = squared_error(logits[:, :3], q)
    torch.testing.assert_close(loss, torch.stack([each[0, :2].mean(), torch.zeros(()), each[2].mean()]))


def test_symbols_have_no_place_in_the_picture():
    logits = saying([1, 0])
    output = Output(logits, logits)
    assert (
        TASK.align(output, View(torch.zeros(1, 1, 8, 8)), View(torch.ones(1, 1, 8, 16), torch.eye(2, 3)[None]))
        is output
    )
