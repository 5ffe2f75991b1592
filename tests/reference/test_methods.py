"""Every method against its equations: each loss term, each gradient, and what it logs.

Gradients are central differences of the NumPy loss with everything a method must hold fixed held fixed, so they also
say where a gradient flows. Terms are compared in the order in which they stand in the paper.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from semilla.contract import Net
from semilla.methods.fixmatch import FixMatch
from semilla.methods.mean_teacher import MeanTeacher
from semilla.methods.mixmatch import MixMatch
from semilla.methods.pi_model import PiModel
from semilla.methods.pseudo_label import PseudoLabel
from semilla.methods.supervised import Supervised
from semilla.methods.uda import UDA
from semilla.training.ema import EMA

from . import equations as eq
from .linear import Problem, assert_equals, assert_logs, logits

# (seed, labeled, unlabeled, classes): unequal batches, single examples, two to five classes
PROBLEMS = [Problem(10, 4, 7, 3), Problem(1, 5, 1, 2), Problem(8, 1, 6, 5), Problem(4, 3, 3, 4), Problem(7, 6, 4, 3)]
STEPS = [0, 1, 3, 9]
THRESHOLDS = [0.0, 0.6, 0.8, 1.1]
MOMENTS = [
    (0, {}),
    (1, {}),
    (9, {}),
    (0, {"ramp_shape": "sigmoid"}),
    (3, {"ramp_shape": "sigmoid"}),
    (0, {"ramp": 0.0}),
    (9, {"ramp": 1.0, "weight": 3.0}),
    (1, {"ramp": 0.25, "ramp_shape": "sigmoid", "weight": 100.0}),
]

over_problems = pytest.mark.parametrize("problem", PROBLEMS, ids=lambda p: f"{p.x.shape[1]}+{p.u.shape[1]}")
over_steps = pytest.mark.parametrize("step", STEPS)


def ids(settings: dict[str, object] | int) -> str:
    """A test's name: its settings, or the step where that is what varies."""
    if isinstance(settings, int):
        return f"step{settings}"
    return ",".join(f"{name}={value}" for name, value in settings.items()) or "defaults"


over_moments = pytest.mark.parametrize(("step", "settings"), MOMENTS, ids=ids)


def growth(step: int, settings: dict[str, object], weight: float, ramp: float) -> float:
    """λ·w(t) of a run of 10 steps, with the method's default λ and ramp where the settings do not say."""
    start, shape = settings.get("ramp_start", 0.0), settings.get("ramp_shape", "linear")
    return settings.get("weight", weight) * eq.ramp(step / 10, settings.get("ramp", ramp), shape, start)


def share_kept(z: eq.Array, threshold: float) -> float:
    return float((eq.softmax(z).max(axis=1) > threshold).mean())


def test_problems_exercise_the_masks() -> None:
    """A threshold keeps all, some or none: no mask is tested on a trivial batch alone."""
    shares = [share_kept(logits(p.theta, p.u[0]), threshold) for p in PROBLEMS for threshold in THRESHOLDS]
    assert 0.0 in shares
    assert 1.0 in shares
    assert sum(0.0 < share < 1.0 for share in shares) >= 4


@over_problems
@pytest.mark.parametrize("views", [("weak",), ("strong", "weak"), ("weak", "weak", "weak")])
def test_supervised(problem: Problem, views: tuple[str, ...]) -> None:
    logs = assert_equals(
        Supervised(problem.info, views=views),
        problem,
        lambda theta: eq.supervised([logits(theta, problem.x[i]) for i in range(len(views))], problem.y),
    )
    assert logs == {}


@over_problems
@over_moments
@pytest.mark.parametrize("both", [False, True], ids=["one branch", "both branches"])
@pytest.mark.parametrize("on", ["unlabeled", "all"])
def test_pi_model(problem: Problem, step: int, settings: dict[str, object], both: bool, on: str) -> None:
    first, second = problem.u[0], problem.u[1]
    if on == "all":  # the rows of one mean: unlabeled and labeled, in any order
        first, second = np.concatenate([first, problem.x[0]]), np.concatenate([second, problem.x[1]])

    def expected(theta: eq.Array) -> eq.Terms:
        target = theta if both else problem.theta
        weight = growth(step, settings, 10.0, 0.4)
        return eq.consistency(
            logits(theta, problem.x[0]), problem.y, logits(target, first), logits(theta, second), weight
        )

    method = PiModel(problem.info, both_branches=both, consistency_on=on, **settings)
    logs = assert_equals(method, problem, expected, step)
    assert_logs(logs, 1.0, logits(problem.theta, problem.u[0]))


@over_problems
@over_moments
@pytest.mark.parametrize(("teacher_bn", "on"), [("batch", "unlabeled"), ("running", "unlabeled"), ("batch", "all")])
def test_mean_teacher(problem: Problem, step: int, settings: dict[str, object], teacher_bn: str, on: str) -> None:
    taught, learned = problem.u[0], problem.u[1]
    if on == "all":  # the student's labeled pass serves both losses
        taught, learned = np.concatenate([taught, problem.x[1]]), np.concatenate([learned, problem.x[0]])

    def expected(theta: eq.Array) -> eq.Terms:
        weight = growth(step, settings, 50.0, 0.4)
        return eq.consistency(
            logits(theta, problem.x[0]), problem.y, logits(problem.teacher, taught), logits(theta, learned), weight
        )

    method = MeanTeacher(problem.info, teacher_bn=teacher_bn, consistency_on=on, **settings)
    logs = assert_equals(method, problem, expected, step)
    assert_logs(logs, 1.0, logits(problem.teacher, problem.u[0]))


LEE = {"ramp_start": 0.17, "ramp": 1.0, "weight": 3.0}
LEE_MOMENTS = [(0, {}), (3, {}), (9, {}), (1, LEE), (9, LEE), (3, {"ramp_shape": "sigmoid"})]


@over_problems
@pytest.mark.parametrize(("step", "settings"), LEE_MOMENTS, ids=ids)
@pytest.mark.parametrize("threshold", THRESHOLDS)
def test_pseudo_label(problem: Problem, step: int, settings: dict[str, object], threshold: float) -> None:
    guess = logits(problem.theta, problem.u[0])

    def expected(theta: eq.Array) -> eq.Terms:
        weight = growth(step, settings, 1.0, 0.4)
        student = logits(theta, problem.u[0])
        return eq.hard_guess(logits(theta, problem.x[0]), problem.y, guess, student, threshold, weight)

    logs = assert_equals(PseudoLabel(problem.info, threshold=threshold, **settings), problem, expected, step)
    assert_logs(logs, share_kept(guess, threshold), guess)


@over_problems
@pytest.mark.parametrize("threshold", THRESHOLDS)
@pytest.mark.parametrize(("weight", "joint"), [(1.0, False), (0.3, False), (1.0, True)])
def test_fixmatch(problem: Problem, threshold: float, weight: float, joint: bool) -> None:
    guess = logits(problem.theta, problem.u[0])

    def expected(theta: eq.Array) -> eq.Terms:
        student = logits(theta, problem.u[1])
        return eq.hard_guess(logits(theta, problem.x[0]), problem.y, guess, student, threshold, weight)

    method = FixMatch(problem.info, threshold=threshold, weight=weight, joint=joint)
    assert_logs(assert_equals(method, problem, expected), share_kept(guess, threshold), guess)


def check_uda(problem: Problem, step: int, settings: dict[str, object], joint: bool = False) -> None:
    guess = logits(problem.theta, problem.u[0])
    threshold, temperature = settings.get("threshold", 0.8), settings.get("temperature", 0.4)
    annealing = settings.get("annealing")
    eta = None if annealing is None else eq.tsa_threshold(step / 10, problem.classes, annealing)

    def expected(theta: eq.Array) -> eq.Terms:
        return eq.uda(
            logits(theta, problem.x[0]),
            problem.y,
            guess,
            logits(theta, problem.u[1]),
            threshold=threshold,
            temperature=temperature,
            weight=settings.get("weight", 1.0),
            eta=eta,
            minimization=settings.get("entropy", 0.0),
        )

    logs = assert_equals(UDA(problem.info, joint=joint, **settings), problem, expected, step)
    assert_logs(logs, share_kept(guess, threshold), guess)


@over_problems
@pytest.mark.parametrize("threshold", THRESHOLDS)
@pytest.mark.parametrize(("temperature", "joint"), [(0.1, False), (0.4, False), (2.0, False), (0.4, True)])
def test_uda(problem: Problem, threshold: float, temperature: float, joint: bool) -> None:
    check_uda(problem, 3, {"threshold": threshold, "temperature": temperature}, joint)


@over_problems
@over_steps
@pytest.mark.parametrize("annealing", ["linear", "exp", "log"])
def test_uda_annealing(problem: Problem, step: int, annealing: str) -> None:
    check_uda(problem, step, {"annealing": annealing})


@over_problems
@pytest.mark.parametrize(
    "settings", [{}, {"weight": 0.3}, {"entropy": 0.1}, {"entropy": 2.0, "threshold": 1.1, "annealing": "log"}], ids=ids
)
def test_uda_terms(problem: Problem, settings: dict[str, object]) -> None:
    check_uda(problem, 1, settings)


def test_annealing_separates_true_class_from_largest() -> None:
    """At some step an example is sure of the wrong class: p(true class) keeps it, the largest probability would not."""
    found = 0
    for problem, step in itertools.product(PROBLEMS, STEPS):
        p = eq.softmax(logits(problem.theta, problem.x[0]))
        eta = eq.tsa_threshold(step / 10, problem.classes, "linear")
        found += int(((p[np.arange(len(p)), problem.y] <= eta) & (p.max(axis=1) > eta)).sum())
    assert found >= 4


MIXMATCH = [
    (0, {}),
    (3, {}),
    (3, {"augmentations": 1}),
    (3, {"augmentations": 3}),
    (3, {"one_weight": True}),
    (3, {"one_weight": True, "augmentations": 3, "interleave": False}),
    (3, {"interleave": False}),
    (3, {"temperature": 0.1}),
    (3, {"temperature": 1.0}),
    (3, {"alpha": 0.0}),
    (3, {"alpha": 16.0}),
    (3, {"ramp": 0.4}),
    (9, {"ramp": 1.0, "weight": 250.0}),
]


@over_problems
@pytest.mark.parametrize(("step", "settings"), MIXMATCH, ids=ids)
def test_mixmatch(problem: Problem, step: int, settings: dict[str, object]) -> None:
    """Algorithm 1 with the draws it makes: one permutation of all rows, then one Beta draw for each row (or one)."""
    views = problem.u[: settings.get("augmentations", 2)]
    guesses = [logits(problem.theta, view) for view in views]
    q = eq.mixmatch_guess(guesses, settings.get("temperature", 0.5))

    rows = problem.x.shape[1] + len(views) * problem.u.shape[1]
    alpha, one_weight = settings.get("alpha", 0.75), settings.get("one_weight", False)
    generator = problem.generator(step)
    order = generator.permutation(rows)
    weights = generator.beta(alpha, alpha, 1 if one_weight else rows) if alpha else np.ones(1)
    weights = np.broadcast_to(weights, rows)

    labels = eq.one_hot(problem.y, problem.classes)
    mixed = eq.mixmatch_mix(problem.x[0], labels, list(views), q, order, weights)
    weight = growth(step, settings, 75.0, 1 / 64)

    def expected(theta: eq.Array) -> eq.Terms:
        return eq.mixmatch_losses(logits(theta, mixed.x), mixed.p, logits(theta, mixed.u), mixed.q, weight)

    logs = assert_equals(MixMatch(problem.info, **settings), problem, expected, step)
    assert logs["used"].item() == 1.0
    average = np.mean([eq.softmax(z) for z in guesses], axis=(0, 1))
    np.testing.assert_allclose(logs["prediction"].numpy(), average, rtol=1e-5)
    assert not logs["prediction"].requires_grad


# --- whose statistics BatchNorm keeps ---


class Normalized(nn.Module):
    """BatchNorm on the inputs and a linear layer: the running statistics tell which passes moved them."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(3).double()
        self.linear = nn.Linear(3, classes).double()

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        features = self.norm(inputs)
        return self.linear(features), features


def running_statistics(passes: list[eq.Array]) -> tuple[eq.Array, eq.Array]:
    """Running mean and variance after the passes: 0.9 of the old and 0.1 of the batch's (variance with B − 1)."""
    mean, variance = np.zeros(3), np.ones(3)
    for rows in passes:
        mean, variance = 0.9 * mean + 0.1 * rows.mean(axis=0), 0.9 * variance + 0.1 * rows.var(axis=0, ddof=1)
    return mean, variance


P = Problem(5, 4, 7, 3)
X, U1, U2 = P.x[0], P.u[0], P.u[1]
PASSES = {
    "supervised": (Supervised(P.info), [X]),
    "supervised, two views": (Supervised(P.info, views=("weak", "strong")), [X, P.x[1]]),
    "Π": (PiModel(P.info), [X]),
    "Π, all": (PiModel(P.info, consistency_on="all"), [X]),
    "Π, update_bn": (PiModel(P.info, update_bn=True), [X, U1, U2]),
    "Π, all, update_bn": (PiModel(P.info, update_bn=True, consistency_on="all"), [X, U1, U2, P.x[1]]),
    "Mean Teacher": (MeanTeacher(P.info), [X]),
    "Mean Teacher, all": (MeanTeacher(P.info, consistency_on="all"), [X]),
    "Mean Teacher, update_bn": (MeanTeacher(P.info, update_bn=True), [X, U2]),
    "Mean Teacher, running": (MeanTeacher(P.info, teacher_bn="running"), [X]),
    "pseudo-label": (PseudoLabel(P.info), [X]),
    "pseudo-label, update_bn": (PseudoLabel(P.info, update_bn=True), [X, U1]),
    "FixMatch": (FixMatch(P.info), [X, U1, U2]),
    "FixMatch, joint": (FixMatch(P.info, joint=True), [np.concatenate([X, U1, U2])]),
    "UDA": (UDA(P.info), [X, U1, U2]),
    "UDA, joint": (UDA(P.info, joint=True), [np.concatenate([X, U1, U2])]),
    # α = 0 mixes nothing; 18 rows in 18 // 4 = 4 sub-batches, of which the first takes every fourth row
    "MixMatch": (MixMatch(P.info, alpha=0.0), [np.concatenate([X, U1, U2])[::4]]),
    "MixMatch, whole": (MixMatch(P.info, alpha=0.0, interleave=False), [np.concatenate([X, U1, U2])]),
}


@pytest.mark.parametrize("name", PASSES)
def test_running_statistics(name: str) -> None:
    method, passes = PASSES[name]
    student, teacher = Net(Normalized(P.classes)), Net(Normalized(P.classes))
    teacher.eval()
    before = {key: value.clone() for key, value in teacher.state_dict().items()}
    method(student, P.batch(method), P.run(ema=teacher))
    mean, variance = running_statistics(passes)
    np.testing.assert_allclose(student.model.norm.running_mean, mean, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(student.model.norm.running_var, variance, rtol=1e-5)
    assert student.model.norm.num_batches_tracked == len(passes)
    assert student.model.norm.track_running_stats
    assert not teacher.training
    assert all(torch.equal(value, before[key]) for key, value in teacher.state_dict().items())


@pytest.mark.parametrize("teacher_bn", ["batch", "running"])
def test_the_teacher_normalizes_with(teacher_bn: str) -> None:
    """The teacher's prediction, seen in the logs, uses the statistics of its batch or its own running ones."""
    teacher = Net(Normalized(P.classes)).eval()
    teacher.model.norm.running_mean += 0.5
    teacher.model.norm.running_var *= 2.0
    norm, linear = teacher.model.norm, teacher.model.linear
    mean, variance = (U1.mean(axis=0), U1.var(axis=0)) if teacher_bn == "batch" else (0.5, 2.0)
    features = (U1 - mean) / np.sqrt(variance + norm.eps)
    z = features @ linear.weight.detach().numpy().T + linear.bias.detach().numpy()
    method = MeanTeacher(P.info, teacher_bn=teacher_bn)
    _, logs = method(Net(Normalized(P.classes)), P.batch(method), P.run(ema=teacher))
    assert_logs(logs, 1.0, z)


# --- the averaged weights ---


@pytest.mark.parametrize("decay", [0.0, 0.7, 0.999, 1.0])
def test_ema(decay: float) -> None:
    """Parameters and floating-point buffers are averaged, the count of batches is copied, the student stays."""
    draws = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
    net = Net(nn.BatchNorm1d(3))
    entries = (net.model.weight.data, net.model.running_mean)

    def fill(step: int) -> None:
        for scale, entry in enumerate(entries, start=1):
            entry.copy_(torch.from_numpy(scale * draws[step]))
        net.model.num_batches_tracked.fill_(step)

    fill(0)
    average, expected = EMA(net, decay), draws[0].astype(np.float64)
    for step in range(1, len(draws)):
        fill(step)
        average.update(step)
        expected = eq.ema(expected, draws[step].astype(np.float64), step, decay)
        np.testing.assert_allclose(average.net.model.weight.detach(), expected, rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(average.net.model.running_mean, 2 * expected, rtol=1e-5, atol=1e-7)
        assert average.net.model.num_batches_tracked == step
        assert torch.equal(net.model.weight.data, torch.from_numpy(draws[step]))


def test_ema_starts_as_the_mean_of_all_weights() -> None:
    """While α = 1 − 1/(step + 1), θ′ is the plain mean of the initial weights and of every update's."""
    draws = np.random.default_rng(0).normal(size=(8, 5))
    teacher = draws[0]
    for step, student in enumerate(draws[1:], start=1):
        teacher = eq.ema(teacher, student, step, 0.999)
    np.testing.assert_allclose(teacher, draws.mean(axis=0))


def test_ema_forgets_at_the_decay() -> None:
    """Once α is the decay, a student held at 0 leaves decay^n of the teacher."""
    teacher = np.ones(1)
    for step in range(100, 110):
        teacher = eq.ema(teacher, np.zeros(1), step, 0.9)
    assert math.isclose(teacher.item(), 0.9**10)
