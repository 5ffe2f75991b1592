"""A softmax regression in float64, once in PyTorch and once in NumPy: the smallest network with known logits.

θ is one (C, D + 1) array, the weights and in its last column the biases; logits = [inputs, 1] θᵀ.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from semilla import randomness
from semilla.contract import Batch, Info, Logs, Losses, Method, Net, Run, View
from semilla.tasks import Classes

from .equations import Array, Terms, numerical_gradient, softmax

FEATURES = 3


def logits(theta: Array, inputs: Array) -> Array:
    return inputs @ theta[:, :-1].T + theta[:, -1]


class SoftmaxRegression(nn.Module):
    def __init__(self, theta: Array) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.from_numpy(theta.copy()))

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        return inputs @ self.theta[:, :-1].T + self.theta[:, -1], inputs


class Problem:
    """Parameters of a student and a teacher, three views of every example and the labels, all drawn from the seed."""

    def __init__(self, seed: int, labeled: int, unlabeled: int, classes: int) -> None:
        draws = np.random.default_rng(seed)
        self.seed, self.classes = seed, classes
        self.theta = 1.2 * draws.normal(size=(classes, FEATURES + 1))
        self.teacher = 1.2 * draws.normal(size=(classes, FEATURES + 1))
        self.x = draws.normal(size=(3, labeled, FEATURES))
        self.u = draws.normal(size=(3, unlabeled, FEATURES))
        self.y = draws.integers(classes, size=labeled)

    @property
    def info(self) -> Info:
        return Info(self.classes, self.x.shape[1], self.u.shape[1], (1 / self.classes,) * self.classes)

    def batch(self, method: Method) -> Batch:
        x, u = len(method.labeled_views), len(method.unlabeled_views)
        return Batch(
            x=tuple(View(torch.from_numpy(view)) for view in self.x[:x]),
            y=torch.from_numpy(self.y),
            u=tuple(View(torch.from_numpy(view)) for view in self.u[:u]),
            x_index=torch.arange(self.x.shape[1]),
            u_index=torch.arange(self.u.shape[1]),
        )

    def run(self, step: int = 3, steps: int = 10, ema: Net | None = None) -> Run:
        task = Classes(tuple(f"class {c}" for c in range(self.classes)))
        return Run(task, ema or Net(SoftmaxRegression(self.teacher)), step, steps, self.generator(step))

    def generator(self, step: int = 3) -> np.random.Generator:
        return randomness.generator(self.seed, "method", step)


def gradient(term: Tensor, net: Net) -> Array:
    """∂ term / ∂ θ of a network, zero where the term does not depend on it."""
    theta = net.model.theta
    if not term.requires_grad:
        return np.zeros(theta.shape)
    (slope,) = torch.autograd.grad(term, theta, retain_graph=True, allow_unused=True)
    return np.zeros(theta.shape) if slope is None else slope.numpy()


def assert_equals(method: Method, problem: Problem, expected: Callable[[Array], Terms], step: int = 3) -> Logs:
    """Every loss term and its gradient are those of ``expected``, and none reaches the teacher.

    Args:
        method: what is tested.
        problem: its data and parameters.
        expected: the terms as a function of the student's live parameters; what the method holds fixed it computes from
            ``problem.theta``. Its central differences are the gradient.
        step: step of a run of 10.
    """
    net, run = Net(SoftmaxRegression(problem.theta)), problem.run(step)
    losses, logs = method(net, problem.batch(method), run)
    assert next(iter(losses)) == "supervised"
    assert_terms(losses, net, run.ema, problem.theta, expected)
    return logs


def assert_terms(losses: Losses, net: Net, ema: Net, theta: Array, expected: Callable[[Array], Terms]) -> None:
    """Each loss, in its order, and its gradient at ``theta``, which none has that reaches the teacher."""
    values = list(expected(theta).values())
    slopes = numerical_gradient(lambda at: np.array(list(expected(at).values())), theta)
    for (name, loss), value, slope in zip(losses.items(), values, slopes, strict=True):
        tolerance = 1e-6 * max(1.0, abs(value), np.abs(slope).max())  # of float32, weights of 100 included
        np.testing.assert_allclose(loss.item(), value, rtol=1e-5, atol=tolerance, err_msg=name)
        np.testing.assert_allclose(gradient(loss, net), slope, rtol=1e-5, atol=tolerance, err_msg=f"∂ {name}")
        assert not gradient(loss, ema).any(), f"{name} reaches the teacher"


def assert_logs(logs: Logs, used: float, guesses: Array) -> None:
    """``used`` and ``prediction`` are the share kept and the mean of softmax(guesses); no log keeps its graph."""
    assert logs["used"].item() == np.float32(used)
    np.testing.assert_allclose(logs["prediction"].numpy(), softmax(guesses).mean(axis=0), rtol=1e-5)
    assert not any(value.requires_grad for value in logs.values())
