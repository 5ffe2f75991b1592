"""The parts against their equations: values, gradients with respect to logits and targets, and the edges."""

from __future__ import annotations

import doctest
import itertools
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from semilla import randomness
from semilla.contract import Output
from semilla.parts import losses, mixing, monitors, ramps, targets, weights
from semilla.tasks import Classes

from . import equations as eq

SHAPES = [(1, 2), (5, 3), (2, 4, 3), (7, 10)]
DIVERGENCES = {
    "squared_error": (losses.squared_error, eq.mse_over_classes),
    "cross_entropy": (losses.cross_entropy, eq.soft_cross_entropy),
    "kl_divergence": (losses.kl_divergence, eq.kl),
}
CPU = torch.device("cpu")


def draw(shape: tuple[int, ...], seed: int = 0, scale: float = 2.0) -> eq.Array:
    return scale * np.random.default_rng(seed).normal(size=shape)


def test_worked_examples() -> None:
    """The arithmetic in the docstrings of the equations is right."""
    result = doctest.testmod(eq)
    assert result.failed == 0
    assert result.attempted >= 25


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", DIVERGENCES)
def test_divergences(name: str, shape: tuple[int, ...]) -> None:
    part, equation = DIVERGENCES[name]
    z, q = draw(shape), eq.softmax(draw(shape, seed=1))
    found = part(torch.from_numpy(z), torch.from_numpy(q))
    assert found.dtype == torch.float32
    assert found.shape == shape[:-1]
    np.testing.assert_allclose(found, equation(z, q), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shape", [(5, 3), (2, 4, 3)])
@pytest.mark.parametrize("name", DIVERGENCES)
def test_divergence_gradients(name: str, shape: tuple[int, ...]) -> None:
    """Into the logits, and into q where the caller left it attached."""
    part, equation = DIVERGENCES[name]
    z, q = draw(shape), eq.softmax(draw(shape, seed=1))
    logits, target = torch.tensor(z, requires_grad=True), torch.tensor(q, requires_grad=True)
    part(logits, target).mean().backward()
    into_logits = eq.numerical_gradient(lambda at: equation(at, q).mean(), z)
    into_target = eq.numerical_gradient(lambda at: equation(z, at).mean(), q, step=1e-6)
    np.testing.assert_allclose(logits.grad, into_logits, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(target.grad, into_target, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", DIVERGENCES)
def test_divergences_of_hard_targets_and_certain_predictions(name: str) -> None:
    """Zeros in q and logits 160 apart: finite, and as in float64."""
    part, equation = DIVERGENCES[name]
    z = np.array([[80.0, -80.0, 0.0], [-80.0, 80.0, 0.0], [0.0, 0.0, 0.0]])
    q = eq.one_hot(np.array([0, 0, 2]), 3)
    logits = torch.tensor(z, requires_grad=True)
    found = part(logits, torch.from_numpy(q))
    np.testing.assert_allclose(found.detach(), equation(z, q), rtol=1e-5, atol=1e-6)
    found.sum().backward()
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("shape", SHAPES)
def test_entropy(shape: tuple[int, ...]) -> None:
    z = draw(shape)
    logits = torch.tensor(z, requires_grad=True)
    found = losses.entropy(logits)
    np.testing.assert_allclose(found.detach(), eq.entropy(z), rtol=1e-5, atol=1e-6)
    found.mean().backward()
    slope = eq.numerical_gradient(lambda at: eq.entropy(at).mean(), z)
    np.testing.assert_allclose(logits.grad, slope, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("part", [losses.cross_entropy, losses.kl_divergence, losses.squared_error])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_losses_are_computed_in_float32(part: Callable[[Tensor, Tensor], Tensor], dtype: torch.dtype) -> None:
    """Half-precision logits are raised before anything is computed: rounding the inputs is the only loss."""
    logits = torch.from_numpy(draw((5, 3))).to(dtype)
    q = torch.from_numpy(eq.softmax(draw((5, 3), seed=1)))
    assert torch.equal(part(logits, q), part(logits.float(), q.float()))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("temperature", [0.05, 0.5, 1.0, 2.0])
def test_sharpen(shape: tuple[int, ...], temperature: float) -> None:
    p = eq.softmax(draw(shape))
    found = targets.sharpen(torch.from_numpy(p), temperature)
    np.testing.assert_allclose(found, eq.sharpen(p, temperature), rtol=1e-4, atol=1e-6)


def test_sharpening_probabilities_divides_logits() -> None:
    """sharpen(softmax(z), T) = softmax(z / T): UDA's target can be read either way."""
    z = draw((20, 5))
    np.testing.assert_allclose(eq.sharpen(eq.softmax(z), 0.4), eq.softmax(z / 0.4), rtol=1e-12)
    np.testing.assert_allclose(targets.sharpen(targets.probs(torch.from_numpy(z)), 0.4), eq.softmax(z / 0.4), rtol=1e-5)


def test_probs_and_one_hot() -> None:
    z, y = draw((2, 4, 3)), np.array([[0, 2, 1, 1], [2, 2, 0, 1]])
    np.testing.assert_allclose(targets.probs(torch.from_numpy(z)), eq.softmax(z), rtol=1e-6)
    found = targets.one_hot(torch.from_numpy(y), 3)
    assert found.dtype == torch.float32
    np.testing.assert_array_equal(found, np.stack([eq.one_hot(row, 3) for row in y]))


def test_above_is_strict() -> None:
    confidence = torch.tensor([0.0, 0.5, 0.75, 1.0])
    assert weights.above(confidence, 0.5).tolist() == [0.0, 0.0, 1.0, 1.0]
    assert weights.above(confidence, 1.0).tolist() == [0.0] * 4


@pytest.mark.parametrize("kept", [[], [2], [0, 3], [0, 1, 2, 3]])
def test_masked_mean(kept: list[int]) -> None:
    values, mask = draw((4,)), np.zeros(4)
    mask[kept] = 1.0
    found = weights.masked_mean(torch.from_numpy(values), torch.from_numpy(mask)).item()
    assert found == pytest.approx(values[kept].mean() if kept else 0.0)


def test_ramp() -> None:
    grid = itertools.product(np.linspace(0, 1, 21), [0.0, 0.015625, 0.4, 1.0], ["linear", "sigmoid"], [0.0, 0.17])
    for progress, end, shape, start in grid:
        assert ramps.ramp(progress, end, shape, start) == pytest.approx(eq.ramp(progress, end, shape, start))
    assert ramps.ramp(0.0, 0.4) == 0.0
    assert ramps.ramp(0.0, 0.4, "sigmoid") == pytest.approx(0.006737947)  # e⁻⁵
    assert ramps.ramp(0.1, 0.4, "sigmoid", start=0.2) == 0.0


@pytest.mark.parametrize("schedule", ["linear", "exp", "log"])
@pytest.mark.parametrize("classes", [2, 10, 100])
def test_annealing_threshold(schedule: str, classes: int) -> None:
    for progress in np.linspace(0, 1, 11):
        found = weights.annealing_threshold(progress, classes, schedule)
        assert found == pytest.approx(eq.tsa_threshold(progress, classes, schedule), rel=1e-12)


@pytest.mark.parametrize("alpha", [0.1, 0.75, 16.0])
def test_mixing_weights(alpha: float) -> None:
    """One Beta draw for each example, in order, and the larger of it and its complement."""
    found = mixing.mixing_weights(randomness.generator(3, "method", 5), alpha, 50, CPU)
    drawn = randomness.generator(3, "method", 5).beta(alpha, alpha, 50)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found, [max(share, 1 - share) for share in drawn], rtol=1e-6)
    assert mixing.mixing_weights(randomness.generator(3, "method", 5), 0.0, 3, CPU).tolist() == [1.0] * 3


@pytest.mark.parametrize("shape", [(4, 3), (4, 2, 5, 5)])
def test_mix(shape: tuple[int, ...]) -> None:
    a, b, drawn = draw(shape), draw(shape, seed=1), np.array([0.1, 0.5, 0.8, 1.0])
    expected = np.stack([eq.mixup(a[i], b[i], drawn[i]) for i in range(4)])
    larger = torch.from_numpy(np.maximum(drawn, 1 - drawn))
    np.testing.assert_allclose(mixing.mix(torch.from_numpy(a), torch.from_numpy(b), larger), expected, rtol=1e-12)


def test_usage() -> None:
    p = torch.from_numpy(eq.softmax(draw((4, 3)))).requires_grad_()
    logs = monitors.usage(p, torch.tensor([1.0, 0.0, 0.0, 1.0]))
    assert logs["used"].item() == 0.5
    np.testing.assert_allclose(logs["prediction"], p.detach().numpy().mean(axis=0))
    assert monitors.usage(p)["used"].item() == 1.0
    assert set(monitors.usage(p.reshape(2, 2, 3))) == {"used"}  # frames of a string have no class balance
    assert not any(value.requires_grad for value in logs.values())


def test_classes() -> None:
    task, z, y = Classes(("a", "b", "c")), draw((6, 3)), np.array([0, 2, 1, 1, 0, 2])
    output = Output(torch.tensor(z, requires_grad=True), torch.zeros(6, 1))
    np.testing.assert_allclose(task.loss(output, torch.from_numpy(y)).detach(), eq.cross_entropy(z, y), rtol=1e-5)
    guess = task.guess(output)
    np.testing.assert_array_equal(guess.target, eq.softmax(z).argmax(axis=1))
    np.testing.assert_allclose(guess.confidence, eq.softmax(z).max(axis=1), rtol=1e-6)
    assert not guess.confidence.requires_grad
    q = eq.softmax(draw((6, 3), seed=1))
    found = task.soft_loss(output, torch.from_numpy(q), losses.kl_divergence)
    np.testing.assert_allclose(found.detach(), eq.kl(z, q), rtol=1e-5, atol=1e-6)
    assert task.metrics(torch.tensor([0, 1, 2]), torch.tensor([0, 2, 2]))["accuracy"] == pytest.approx(2 / 3)
