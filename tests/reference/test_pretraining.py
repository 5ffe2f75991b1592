"""The losses of pre-training against their equations, term by term and gradient by gradient, and their identities."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from semilla.contract import Batch, Info, Logs, Losses, Method, Net, View
from semilla.methods.rotation import Rotation
from semilla.methods.simclr import SimCLR
from semilla.methods.vicreg import VICReg
from semilla.parts.projection import projection

from . import equations as eq
from .linear import Problem, assert_terms, logits

INFO = Info(3, 0, 40)
SIZES = [(2, 3), (5, 2), (7, 4)]  # examples, dimensions
over_sizes = pytest.mark.parametrize(("count", "dimension"), SIZES)


class Linear(nn.Module):
    """Features that are linear in the inputs, in float64; logits that are no part of it."""

    def __init__(self, theta: eq.Array) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.from_numpy(theta.copy()))

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        features = inputs.flatten(1) @ self.theta[:, :-1].T + self.theta[:, -1]
        return torch.zeros(len(inputs), 3, dtype=torch.float64), features


def drawn(count: int, dimension: int, scale: float = 1.0) -> tuple[eq.Array, eq.Array, eq.Array]:
    """θ (dimension, 4) and two views (count, 3) that are near one another."""
    draws = np.random.default_rng([count, dimension])
    first = draws.normal(size=(count, 3))
    return scale * draws.normal(size=(dimension, 4)), first, first + 0.4 * draws.normal(size=(count, 3))


def step(method: Method, theta: eq.Array, *views: eq.Array, head: str = "projection") -> tuple[Losses, Logs, Net, Net]:
    """One step of a linear network whose head changes nothing."""
    net, ema = (Net(Linear(values), {head: nn.Identity()}) for values in (theta, theta + 0.1))
    nothing = torch.zeros(0, dtype=torch.int64)
    seen = tuple(View(torch.from_numpy(view.copy())) for view in views)
    batch = Batch((), nothing, seen, nothing, torch.arange(len(views[0])))
    losses, logs = method(net, batch, Problem(0, 1, 1, 3).run(ema=ema))
    return losses, logs, net, ema


# SimCLR


@over_sizes
@pytest.mark.parametrize("temperature", [0.1, 0.2, 1.0])
def test_simclr(count: int, dimension: int, temperature: float) -> None:
    theta, *views = drawn(count, dimension)
    losses, _, net, ema = step(SimCLR(INFO, temperature=temperature), theta, *views)

    def expected(at: eq.Array) -> eq.Terms:
        return eq.nt_xent(*(logits(at, view) for view in views), temperature)

    assert_terms(losses, net, ema, theta, expected)


def test_simclr_says_how_often_the_other_view_is_the_nearest() -> None:
    near, far = np.eye(3), -np.eye(3)
    whole = np.concatenate([np.eye(3), np.zeros((3, 1))], axis=1)
    assert step(SimCLR(INFO), whole, near, near)[1]["right"] == 1
    assert step(SimCLR(INFO), whole, near, far)[1]["right"] == 0  # opposite: the others are nearer


def test_simclr_of_one_example_is_exactly_zero() -> None:
    """The only other row is its other view."""
    theta, *views = drawn(1, 3)
    losses, _, net, _ = step(SimCLR(INFO), theta, *views)
    assert losses["contrastive"].item() == 0.0
    losses["contrastive"].backward()
    assert not net.model.theta.grad.any()


def test_simclr_asks_for_directions_only() -> None:
    """Longer features and another order of examples or views change nothing; a temperature of ∞ leaves ln(2N−1)."""
    theta, first, second = drawn(7, 4)
    theta[:, -1] = 0.0  # without biases longer inputs are longer features
    loss = step(SimCLR(INFO), theta, first, second)[0]["contrastive"].item()
    order = np.random.default_rng(1).permutation(7)
    for views in ((3.0 * first, 3.0 * second), (second, first), (first[order], second[order])):
        assert step(SimCLR(INFO), theta, *views)[0]["contrastive"].item() == pytest.approx(loss, rel=1e-6)
    assert step(SimCLR(INFO), theta, first, second[order])[0]["contrastive"].item() > loss
    flat = step(SimCLR(INFO, temperature=1e6), theta, first, second)[0]["contrastive"].item()
    assert flat == pytest.approx(math.log(13), rel=1e-5)


def test_simclr_projects_both_views_with_the_statistics_of_both() -> None:
    """BatchNorm over all 2N rows of one pass: with each view's own the two could be told apart by them."""
    theta, first, second = drawn(5, 4)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        head = projection(4, 6, 3).double()
    net = Net(Linear(theta), {"projection": head})
    views = tuple(View(torch.from_numpy(view)) for view in (first, second))
    nothing = torch.zeros(0, dtype=torch.int64)
    losses, _ = SimCLR(INFO)(net, Batch((), nothing, views, nothing, torch.arange(5)), Problem(0, 1, 1, 3).run())
    weights = [value.detach().numpy() for value in (head[0].weight, head[3].weight, head[3].bias)]
    hidden = logits(theta, np.concatenate([first, second])) @ weights[0].T
    hidden = (hidden - hidden.mean(axis=0)) / np.sqrt(hidden.var(axis=0) + 1e-5)
    z = np.maximum(hidden, 0.0) @ weights[1].T + weights[2]
    assert losses["contrastive"].item() == pytest.approx(eq.nt_xent(z[:5], z[5:], 0.2)["contrastive"], rel=1e-5)


# VICReg


@over_sizes
@pytest.mark.parametrize("scale", [0.2, 1.0, 3.0])  # below the variance that is wanted, about it, above it
@pytest.mark.parametrize("weights", [(25.0, 25.0, 1.0), (1.0, 4.0, 9.0)])
def test_vicreg(count: int, dimension: int, scale: float, weights: tuple[float, float, float]) -> None:
    theta, *views = drawn(count, dimension, scale)
    method = VICReg(INFO, **dict(zip(("invariance", "variance", "covariance"), weights, strict=True)))
    losses, logs, net, ema = step(method, theta, *views)

    def expected(at: eq.Array) -> eq.Terms:
        return eq.vicreg(*(logits(at, view) for view in views), *weights)

    assert list(losses) == list(expected(theta))
    assert_terms(losses, net, ema, theta, expected)
    assert logs["spread"].item() == pytest.approx(logits(theta, views[0]).std(axis=0).mean(), rel=1e-5)


def test_vicreg_problems_exercise_the_hinge() -> None:
    """Some coordinates are short of the wanted deviation and others are not, so that no term is trivial."""
    short = [
        logits(theta, view).std(axis=0, ddof=1) < 1
        for count, dimension in SIZES
        for scale in (0.2, 1.0, 3.0)
        for theta, *views in [drawn(count, dimension, scale)]
        for view in views
    ]
    flat = np.concatenate(short)
    assert 10 < flat.sum() < len(flat) - 10


def test_vicreg_of_equal_views_has_no_invariance_to_learn() -> None:
    theta, view, _ = drawn(5, 4)
    losses = step(VICReg(INFO), theta, view, view)[0]
    assert losses["invariance"].item() == 0.0
    one = eq.vicreg(logits(theta, view), logits(theta, view), 25.0, 25.0, 1.0)
    assert losses["covariance"].item() == pytest.approx(one["covariance"], rel=1e-5)


def test_vicreg_asks_for_no_place_and_no_order() -> None:
    theta, first, second = drawn(7, 4)
    base = step(VICReg(INFO), theta, first, second)[0]
    moved = theta.copy()
    moved[:, -1] += 5.0  # both views elsewhere
    order = np.random.default_rng(1).permutation(7)
    for other in (
        step(VICReg(INFO), moved, first, second)[0],
        step(VICReg(INFO), theta, second, first)[0],
        step(VICReg(INFO), theta, first[order], second[order])[0],
    ):
        for term, loss in base.items():
            assert other[term].item() == pytest.approx(loss.item(), rel=1e-4), term


def test_vicreg_weights_scale_their_terms_alone() -> None:
    theta, *views = drawn(5, 2, 0.3)
    base = step(VICReg(INFO, invariance=1.0, variance=1.0, covariance=1.0), theta, *views)[0]
    for term in base:
        weights = {"invariance": 1.0, "variance": 1.0, "covariance": 1.0, term: 7.0}
        scaled = step(VICReg(INFO, **weights), theta, *views)[0]
        for name, loss in base.items():
            assert scaled[name].item() == pytest.approx((7.0 if name == term else 1.0) * loss.item(), rel=1e-6)


# Whose statistics BatchNorm sees


class Normalised(nn.Module):
    """BatchNorm over the inputs: how many passes there were, and over what, is in its running statistics."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(3, momentum=1.0).double()

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        features = self.norm(inputs)
        return features, features


@pytest.mark.parametrize(("method", "passes"), [(SimCLR(INFO), 1), (VICReg(INFO), 2)], ids=["simclr", "vicreg"])
def test_one_pass_over_both_views_or_one_for_each(method: Method, passes: int) -> None:
    _, first, second = drawn(7, 3)
    net = Net(Normalised(), {"projection": nn.Identity()})
    nothing = torch.zeros(0, dtype=torch.int64)
    views = tuple(View(torch.from_numpy(view)) for view in (first, second))
    method(net, Batch((), nothing, views, nothing, torch.arange(7)), Problem(0, 1, 1, 3).run(ema=net))
    assert net.model.norm.num_batches_tracked == passes
    last = second if passes == 2 else np.concatenate([first, second])
    np.testing.assert_allclose(net.model.norm.running_mean, last.mean(axis=0))


# Rotation


@pytest.mark.parametrize(("shape", "turns"), [((3, 3), (0, 1, 2, 3)), ((2, 3), (0, 2))])
def test_rotation(shape: tuple[int, int], turns: tuple[int, ...]) -> None:
    draws = np.random.default_rng(3)
    pictures, theta = draws.normal(size=(5, *shape)), draws.normal(size=(4, math.prod(shape) + 1))
    losses, logs, net, ema = step(Rotation(INFO), theta, pictures[:, None], head="rotation")

    def predict(at: eq.Array, picture: eq.Array) -> eq.Array:
        return logits(at, picture.reshape(1, -1))[0]

    def expected(at: eq.Array) -> eq.Terms:
        return eq.rotation(pictures, lambda picture: predict(at, picture), turns)

    assert_terms(losses, net, ema, theta, expected)
    told = [predict(theta, np.rot90(picture, turn)).argmax() == turn for picture in pictures for turn in turns]
    assert logs["right"].item() == pytest.approx(np.mean(told))


def test_rotation_of_what_looks_the_same_in_every_position_is_a_guess() -> None:
    """A constant picture: whatever the weights, the four probabilities sum to 1 and none is better than ln 4."""
    theta = np.random.default_rng(0).normal(size=(4, 10))
    constant = step(Rotation(INFO), theta, np.ones((2, 1, 3, 3)), head="rotation")[0]["rotation"].item()
    assert constant >= math.log(4)
    assert step(Rotation(INFO), 0 * theta, np.ones((2, 1, 3, 3)), head="rotation")[0]["rotation"].item() == (
        pytest.approx(math.log(4), rel=1e-6)
    )
