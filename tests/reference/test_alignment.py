"""Distribution alignment and relative thresholds: the equations in NumPy, and what they become at their ends."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from semilla.contract import Info, Net
from semilla.errors import UsageError
from semilla.methods.fixmatch import FixMatch
from semilla.methods.pseudo_label import PseudoLabel
from semilla.methods.uda import UDA
from semilla.parts.alignment import Alignment

from . import equations as eq
from .linear import Problem, SoftmaxRegression

PRIOR = (0.5, 0.3, 0.2)
INFO = Info(classes=3, labeled=8, unlabeled=40, prior=PRIOR)
ALIGNED = (FixMatch, UDA, PseudoLabel)


def test_aligned_guesses_are_those_of_the_equation() -> None:
    """p̃ ∝ p · prior / mean, mean ← 0.99 · mean + 0.01 · average of p, three steps in a row."""
    alignment, mean = Alignment(INFO), np.full(3, 1 / 3)
    draw = np.random.default_rng(0)
    for _ in range(3):
        z = draw.normal(size=(7, 3))
        p = eq.softmax(z)
        mean = 0.99 * mean + 0.01 * p.mean(0)
        expected = p * np.array(PRIOR) / mean
        expected /= expected.sum(1, keepdims=True)
        found = alignment(torch.from_numpy(z)).softmax(-1).numpy()
        np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_a_uniform_prior_changes_nothing_while_the_mean_is_uniform() -> None:
    alignment = Alignment(Info(3, 8, 40, (1 / 3,) * 3), decay=1.0)
    z = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(alignment(z).softmax(-1), z.softmax(-1))


def test_in_the_long_run_the_mean_of_the_guesses_is_the_prior() -> None:
    """With soft guesses all alike the alignment gives the prior itself."""
    alignment = Alignment(INFO, decay=0.5)
    z = torch.tensor([[3.0, 0.0, 0.0]]).expand(4, 3)
    for _ in range(40):
        aligned = alignment(z)
    torch.testing.assert_close(aligned.softmax(-1)[0], torch.tensor(PRIOR), atol=1e-5, rtol=0)


@pytest.mark.parametrize("method", ALIGNED)
@pytest.mark.parametrize("option", ["align", "relative"])
def test_strings_are_refused(method: type, option: str) -> None:
    with pytest.raises(UsageError) as caught:
        method(Info(4, 8, 40), **{option: True})
    assert caught.value.code == "U074"


@pytest.mark.parametrize("method", ALIGNED)
def test_the_mean_is_in_the_state_and_the_guesses_follow_it(method: type) -> None:
    first = method(INFO, align=True)
    assert set(first.state_dict()) == {"alignment.mean", "alignment.log_prior"}
    assert not method(INFO).state_dict()


@pytest.mark.parametrize("method", ALIGNED)
def test_a_relative_threshold_is_a_share_of_the_confidence_in_labels(method: type) -> None:
    """0.9 of the labeled mean confidence as an absolute threshold keeps the same examples."""
    problem = Problem(3, 5, 9, 3)
    own = method(problem.info, threshold=0.9, relative=True)
    batch, run, net = problem.batch(own), problem.run(), Net(SoftmaxRegression(problem.theta))
    with torch.no_grad():
        confidence = run.task.guess(net(batch.x[0])).confidence.mean().item()
    fixed = method(problem.info, threshold=0.9 * confidence)
    losses, logs = own(net, batch, run)
    others, other_logs = fixed(net, batch, run)
    assert 0 < logs["used"] < 1
    assert torch.equal(logs["used"], other_logs["used"])
    assert all(torch.equal(losses[name], others[name]) for name in losses)
