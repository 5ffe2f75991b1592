"""Weights for more symbols: the old ones to the bit, the new ones such that no reading changes."""

import pytest
import torch
from torch import nn

from semilla.errors import DataError
from semilla.networks.growth import grown
from semilla.tasks import Alphabet

NAMES = ("classifier.weight", "classifier.bias", "embedding.weight")


def network(symbols, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.ModuleDict({"embedding": nn.Embedding(symbols, 6), "classifier": nn.Linear(6, symbols)})


def test_old_rows_are_kept_to_the_bit_and_new_ones_change_no_reading():
    old = Alphabet.of(["chim sẻ"])
    new = old.grown(["đại bàng"])
    small, large = network(len(old) + 1), network(len(new) + 1, seed=1)
    state = grown(small.state_dict(), NAMES, len(new) + 1)
    large.load_state_dict(state)
    for name, value in small.state_dict().items():
        assert torch.equal(state[name][: len(value)], value)
        assert torch.isfinite(state[name]).all()
    assert not state["classifier.weight"][-1].equal(state["classifier.weight"][-2])
    features = torch.randn((500, 6), generator=torch.Generator().manual_seed(2))
    before, after = small["classifier"](features), large["classifier"](features)
    torch.testing.assert_close(before, after[:, : len(old) + 1], rtol=1e-5, atol=1e-6)  # a kernel for each width
    assert torch.equal(before.argmax(-1), after.argmax(-1))
    again = grown(small.state_dict(), NAMES, len(new) + 1)
    assert all(torch.equal(state[name], again[name]) for name in state)


def test_nothing_to_grow_changes_nothing():
    state = network(5).state_dict()
    assert all(torch.equal(value, state[name]) for name, value in grown(state, NAMES, 5).items())


@pytest.mark.parametrize(("names", "symbols"), [(NAMES, 4), (("head.weight",), 9)])
def test_what_cannot_grow_is_refused(names, symbols):
    with pytest.raises(DataError) as caught:
        grown(network(5).state_dict(), names, symbols)
    assert caught.value.code == "D142"
