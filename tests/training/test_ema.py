"""The averaged network: its equation, its policy for buffers, and its place after the optimizer's step."""

import copy

import numpy as np
import pytest
import torch
from small import go, make_fit
from torch import nn

from semilla.contract import Net, Output
from semilla.training.ema import EMA, ema_alpha


class Buffered(nn.Module):
    """Parameters of two sizes, and buffers that are floating, of little precision and whole numbers."""

    def __init__(self, seed=0):
        super().__init__()
        self.linear = nn.Linear(3, 4)
        self.norm = nn.BatchNorm1d(4)
        self.register_buffer("coarse", torch.zeros(2, dtype=torch.bfloat16))
        self.register_buffer("flags", torch.zeros(2, dtype=torch.bool))
        shuffle(self, seed)

    def forward(self, inputs):
        features = self.norm(self.linear(inputs))
        return Output(features, features)


@torch.no_grad()
def shuffle(module, seed):
    """Another value in every entry of the state, in place."""
    draws = torch.Generator().manual_seed(seed)
    for value in module.state_dict().values():
        value.copy_(torch.randint(-50, 50, value.shape, generator=draws) / (7 if value.is_floating_point() else 1))


def values(net):
    return {name: value.clone() for name, value in net.state_dict().items()}


def test_the_first_decays_are_a_half_and_two_thirds_until_the_long_run_takes_over():
    assert [ema_alpha(step, 0.999) for step in (1, 2, 3)] == [1 / 2, pytest.approx(2 / 3), 3 / 4]
    assert [ema_alpha(step, 0.7) for step in (2, 3, 1000)] == [pytest.approx(2 / 3), 0.7, 0.7]
    assert ema_alpha(1, 0.0) == 0.0


def test_without_decay_the_average_is_the_network_in_every_entry():
    net = Net(Buffered())
    ema = EMA(net, 0.0)
    shuffle(net, 1)
    ema.update(1)
    assert ema.net.state_dict().keys() == net.state_dict().keys()
    for name, value in net.state_dict().items():
        assert torch.equal(ema.net.state_dict()[name], value), name


def test_with_full_decay_and_late_the_average_stays():
    net = Net(Buffered())
    ema = EMA(net, 1.0)
    before = values(ema.net)
    shuffle(net, 1)
    ema.update(2**60)
    for name, value in before.items():
        kept = value if value.is_floating_point() else net.state_dict()[name]
        assert torch.equal(ema.net.state_dict()[name], kept), name


def test_three_steps_follow_the_closed_form_and_whole_numbers_are_copied():
    decay, net = 0.6, Net(Buffered())
    ema = EMA(net, decay)
    expected = {name: value.double().numpy() for name, value in values(net).items()}
    for step in (1, 2, 3):
        shuffle(net, step)
        ema.update(step)
        alpha = min(1 - 1 / (step + 1), decay)
        assert alpha == {1: 0.5, 2: 0.6, 3: 0.6}[step]
        for name, value in values(net).items():
            new = value.double().numpy()
            expected[name] = alpha * expected[name] + (1 - alpha) * new if value.is_floating_point() else new
    for name, value in values(ema.net).items():
        tolerance = 5e-2 if value.dtype == torch.bfloat16 else 1e-6
        np.testing.assert_allclose(value.double().numpy(), expected[name], rtol=tolerance, atol=tolerance, err_msg=name)
    running = ema.net.model.norm.running_mean
    assert not torch.equal(running, net.model.norm.running_mean)  # a buffer that is averaged, not copied
    assert torch.equal(ema.net.model.norm.num_batches_tracked, net.model.norm.num_batches_tracked)


def test_a_whole_number_is_never_averaged():
    net = Net(Buffered())
    ema = EMA(net, 0.999)
    net.model.norm.num_batches_tracked.fill_(2**53 + 1)  # not representable in float64
    ema.update(5)
    assert ema.net.model.norm.num_batches_tracked.item() == 2**53 + 1


def test_teacher_and_student_share_no_tensor():
    net = Net(Buffered(), {"head": nn.Linear(4, 2)})
    ema = EMA(net, 0.5)
    ema.update(1)
    mine = {value.untyped_storage().data_ptr() for value in ema.net.state_dict().values()}
    assert mine.isdisjoint(value.untyped_storage().data_ptr() for value in net.state_dict().values())
    before = values(ema.net)
    shuffle(net, 3)
    assert all(torch.equal(value, before[name]) for name, value in ema.net.state_dict().items())
    assert not any(parameter.requires_grad for parameter in ema.net.parameters())
    assert not ema.net.training


def test_the_average_follows_after_weights_were_loaded_in_place():
    net = Net(Buffered())
    ema = EMA(net, 0.0)
    net.load_state_dict(copy.deepcopy(Net(Buffered(seed=4)).state_dict()))
    ema.update(7)
    assert all(torch.equal(value, net.state_dict()[name]) for name, value in ema.net.state_dict().items())


def test_the_loop_updates_the_average_after_the_optimizer():
    fit = make_fit("supervised", steps=1, ema_decay=0.0)
    start = values(fit.build()[0].net)
    state = go(fit).state
    assert not torch.equal(start["model.classifier.weight"], state.net.model.classifier.weight)
    for name, value in state.net.state_dict().items():
        assert torch.equal(state.ema.net.state_dict()[name], value), name


def test_the_loop_counts_the_first_step_as_one():
    fit = make_fit("supervised", steps=1, ema_decay=0.999)
    start = values(fit.build()[0].net)
    state = go(fit).state
    for name, value in state.net.state_dict().items():
        if value.is_floating_point():
            half = (start[name] + value) / 2
            torch.testing.assert_close(state.ema.net.state_dict()[name], half, msg=name)


@pytest.mark.parametrize(("changes", "decay"), [({"decay": 0.7}, 0.7), ({"decay": 0.0}, 0.0), ({}, 0.83)])
def test_the_decay_of_mean_teacher_reaches_the_average(changes, decay):
    state, _ = make_fit("mean_teacher", ema_decay=0.83, **changes).build()
    assert state.ema.decay == decay
