"""What a method must become when its hyperparameters take an extreme value, and what must not matter to it.

On networks without BatchNorm. "Exactly" means bit for bit: it is asked for where both sides make the same separate
forwards.
"""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from semilla.contract import Batch, Method, Net, Run, View
from semilla.methods.fixmatch import FixMatch
from semilla.methods.mean_teacher import MeanTeacher
from semilla.methods.mixmatch import MixMatch
from semilla.methods.pi_model import PiModel
from semilla.methods.pseudo_label import PseudoLabel
from semilla.methods.supervised import Supervised
from semilla.methods.uda import UDA
from semilla.parts.forward import frozen_bn, interleaved, together, training_mode

from .linear import Problem

PROBLEM = Problem(10, 4, 7, 3)
INFO = PROBLEM.info


class MLP(nn.Module):
    """Two layers in float32 without BatchNorm."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        draws = torch.Generator().manual_seed(seed)
        self.hidden, self.classifier = nn.Linear(3, 8), nn.Linear(8, 3)
        for parameter in self.parameters():
            parameter.data = torch.randn(parameter.shape, generator=draws)

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        features = self.hidden(inputs.float()).tanh()
        return self.classifier(features), features


NET = Net(MLP())


def views(method: Method, swapped: bool = False) -> Batch:
    """The problem's batch with as many views as the method asks for, the two unlabeled ones exchanged if asked."""
    batch = PROBLEM.batch(method)
    return Batch(batch.x, batch.y, batch.u[::-1] if swapped else batch.u, batch.x_index, batch.u_index)


def gradients(term: Tensor, net: Net = NET) -> Tensor:
    """All gradients of a term in one vector, zeros where it depends on nothing."""
    if not term.requires_grad:
        return torch.zeros(sum(parameter.numel() for parameter in net.parameters()))
    found = torch.autograd.grad(
        term, list(net.parameters()), retain_graph=True, allow_unused=True, materialize_grads=True
    )
    return torch.cat([slope.flatten() for slope in found])


def evaluate(method: Method, batch: Batch | None = None, net: Net = NET, ema: Net | None = None) -> dict[str, Tensor]:
    """Each loss term with its gradient attached: [loss, ∂ loss / ∂ θ]."""
    losses, _ = method(net, batch or views(method), PROBLEM.run(ema=ema or Net(MLP(seed=1))))
    return {name: torch.cat([loss.detach().reshape(1), gradients(loss, net)]) for name, loss in losses.items()}


def unlabeled_term(method: Method, **arguments: object) -> Tensor:
    return list(evaluate(method, **arguments).values())[1]


def close(a: Tensor, b: Tensor, tolerance: float = 1e-6) -> bool:
    return torch.allclose(a, b, rtol=tolerance, atol=tolerance * max(1.0, b.abs().max().item()))


SUPERVISED = evaluate(Supervised(INFO))["supervised"]


# --- limits that leave the labels alone ---


@pytest.mark.parametrize(
    "method",
    [
        FixMatch(INFO, threshold=1.1),
        FixMatch(INFO, threshold=1.0),
        FixMatch(INFO, weight=0.0),
        PseudoLabel(INFO, threshold=1.1),
        PseudoLabel(INFO, threshold=0.0, ramp_start=0.5, ramp=1.0),
        UDA(INFO, weight=0.0),
        UDA(INFO, threshold=1.1),
        PiModel(INFO, weight=0.0),
        MeanTeacher(INFO, weight=0.0),
    ],
    ids=lambda m: type(m).__name__,
)
def test_without_unlabeled_loss_it_is_supervised(method: Method) -> None:
    """Exactly, loss and gradient."""
    terms = evaluate(method)
    assert torch.equal(terms.pop("supervised"), SUPERVISED)
    assert not torch.stack(list(terms.values())).any()


@pytest.mark.parametrize("method", [FixMatch(INFO, threshold=1.1, joint=True), UDA(INFO, weight=0.0, joint=True)])
def test_without_unlabeled_loss_a_joint_forward_is_supervised(method: Method) -> None:
    assert close(sum(evaluate(method).values()), SUPERVISED)


@pytest.mark.parametrize("interleave", [False, True])
def test_mixmatch_without_mixing_and_unlabeled_loss_is_supervised(interleave: bool) -> None:
    """The soft cross-entropy of a one-hot label is the cross-entropy."""
    terms = evaluate(MixMatch(INFO, alpha=0.0, weight=0.0, interleave=interleave))
    assert close(sum(terms.values()), SUPERVISED)


def test_uda_annealing_at_the_end_keeps_every_label() -> None:
    """η → 1: at the last of very many steps only an example with p = 1 could be left out."""
    method = UDA(INFO, annealing="linear", weight=0.0)
    run = PROBLEM.run(step=10**9 - 1, steps=10**9)
    losses, _ = method(NET, views(method), run)
    assert close(losses["supervised"].detach(), SUPERVISED[0])


# --- one method as the limit of another ---


@pytest.mark.parametrize("threshold", [0.5, 0.6, 0.8])
@pytest.mark.parametrize("joint", [False, True])
def test_uda_with_the_sharpest_target_is_fixmatch(threshold: float, joint: bool) -> None:
    uda = evaluate(UDA(INFO, threshold=threshold, temperature=1e-3, joint=joint))
    fixmatch = evaluate(FixMatch(INFO, threshold=threshold, joint=joint))
    assert close(sum(uda.values()), sum(fixmatch.values()))
    assert list(fixmatch.values())[1][0] > 1e-3  # some guess is kept


@pytest.mark.parametrize("threshold", [0.0, 0.6, 1.1])
def test_fixmatch_on_one_view_is_pseudo_label(threshold: float) -> None:
    """Where the strong view is the weak one, the two papers' losses are the same."""
    method = FixMatch(INFO, threshold=threshold)
    batch = views(method)
    batch = Batch(batch.x, batch.y, (batch.u[0], batch.u[0]), batch.x_index, batch.u_index)
    pseudo = PseudoLabel(INFO, threshold=threshold, ramp=0.0)
    assert torch.equal(unlabeled_term(method, batch=batch), unlabeled_term(pseudo))


def test_mean_teacher_taught_by_the_student_is_pi_model() -> None:
    """Exactly: the teacher's pass is the Π-model's first one, without gradient."""
    teacher = copy.deepcopy(NET)
    mean_teacher = evaluate(MeanTeacher(INFO, weight=10.0), ema=teacher)
    pi_model = evaluate(PiModel(INFO, weight=10.0))
    assert mean_teacher.keys() == pi_model.keys()
    assert all(torch.equal(mean_teacher[name], pi_model[name]) for name in pi_model)


def test_both_branches_are_two_single_ones() -> None:
    """∇(p_a − p_b)² = ∇ with p_a fixed + ∇ with p_b fixed: with exchangeable views, twice one branch on average."""
    both, one = PiModel(INFO, both_branches=True), PiModel(INFO)
    forward, backward = unlabeled_term(one), unlabeled_term(one, batch=views(one, swapped=True))
    found = unlabeled_term(both)
    assert torch.equal(found[0], forward[0])
    assert close(found[1:], forward[1:] + backward[1:])
    assert not close(found[1:], 2 * forward[1:], tolerance=1e-2)


def test_mixmatch_of_one_unmixed_unsharpened_view_asks_nothing() -> None:
    """K = 1, T = 1, α = 0: the target is the prediction itself, so loss and gradient vanish."""
    term = unlabeled_term(MixMatch(INFO, augmentations=1, temperature=1.0, alpha=0.0))
    assert term.abs().max() < 1e-4  # weight 75 times float32 rounding


def test_mixmatch_of_two_unmixed_unsharpened_views_is_pi_model() -> None:
    """K = 2, T = 1, α = 0: each view is half the difference from the mean, so ¼ of (p₁ − p₂)², value and gradient.

    With q fixed the gradient is the mean of 2(p_k − q)·∇p_k = ½(p₁ − p₂)·(∇p₁ − ∇p₂), a quarter of both branches'.
    """
    mixmatch = unlabeled_term(MixMatch(INFO, temperature=1.0, alpha=0.0, weight=4.0))
    pi_model = unlabeled_term(PiModel(INFO, both_branches=True, weight=1.0, ramp=0.0))
    assert close(mixmatch, pi_model, tolerance=1e-5)


@pytest.mark.parametrize("method", [FixMatch, UDA])
def test_joint_equals_separate(method: type[Method]) -> None:
    separate, joint = evaluate(method(INFO, threshold=0.6)), evaluate(method(INFO, threshold=0.6, joint=True))
    assert all(close(joint[name], separate[name]) for name in separate)


# --- symmetries ---

METHODS = [
    Supervised(INFO),
    PiModel(INFO),
    PiModel(INFO, both_branches=True, consistency_on="all"),
    MeanTeacher(INFO),
    MeanTeacher(INFO, consistency_on="all"),
    PseudoLabel(INFO, threshold=0.6),
    FixMatch(INFO, threshold=0.6),
    FixMatch(INFO, threshold=0.6, joint=True),
    UDA(INFO, threshold=0.6, annealing="log", entropy=0.1),
    UDA(INFO, threshold=0.6, joint=True),
    MixMatch(INFO, alpha=0.0),
]
over_methods = pytest.mark.parametrize("method", METHODS, ids=lambda m: type(m).__name__)


@over_methods
def test_the_order_of_the_unlabeled_batch_does_not_matter(method: Method) -> None:
    """Not of methods that mix: there the order decides who is mixed with whom."""
    batch = views(method)
    order = torch.tensor([3, 0, 6, 5, 1, 4, 2])
    shuffled = Batch(batch.x, batch.y, tuple(View(u.inputs[order]) for u in batch.u), batch.x_index, order)
    before, after = evaluate(method), evaluate(method, batch=shuffled)
    assert all(close(after[name], before[name], tolerance=2e-6) for name in before)


@over_methods
def test_the_order_of_the_labeled_batch_does_not_matter(method: Method) -> None:
    batch = views(method)
    order = torch.tensor([3, 0, 2, 1])
    shuffled = Batch(tuple(View(x.inputs[order]) for x in batch.x), batch.y[order], batch.u, order, batch.u_index)
    before, after = evaluate(method), evaluate(method, batch=shuffled)
    assert all(close(after[name], before[name], tolerance=2e-6) for name in before)


def renamed(net: Net, order: Tensor) -> Net:
    """The same network with its classes in another order."""
    other = copy.deepcopy(net)
    for parameter in other.model.classifier.parameters():
        parameter.data = parameter.data[order]
    return other


@pytest.mark.parametrize("method", [*METHODS, MixMatch(INFO)], ids=lambda m: type(m).__name__)
def test_the_order_of_the_classes_does_not_matter(method: Method) -> None:
    """With the classifier's rows and the labels renamed: the same losses, the same gradient with its rows renamed."""
    order = torch.tensor([2, 0, 1])
    batch, teacher = views(method), Net(MLP(seed=1))
    new = Batch(batch.x, order.argsort()[batch.y], batch.u, batch.x_index, batch.u_index)
    net = renamed(NET, order)
    losses, logs = method(NET, batch, PROBLEM.run(ema=teacher))
    after, renamed_logs = method(net, new, PROBLEM.run(ema=renamed(teacher, order)))
    for name in losses:
        assert close(after[name].detach(), losses[name].detach(), tolerance=2e-6)
        if losses[name].requires_grad:
            slopes = torch.autograd.grad(losses[name], NET.model.classifier.weight, retain_graph=True)[0]
            found = torch.autograd.grad(after[name], net.model.classifier.weight, retain_graph=True)[0]
            assert close(found, slopes[order], tolerance=1e-5)
    if logs:
        assert close(renamed_logs["prediction"], logs["prediction"][order])


@pytest.mark.parametrize("method", [*METHODS, MixMatch(INFO)], ids=lambda m: type(m).__name__)
def test_inputs_stay_as_they_are(method: Method) -> None:
    batch = views(method)
    before = copy.deepcopy(batch)
    method(NET, batch, PROBLEM.run(ema=Net(MLP(seed=1))))
    for a, b in zip((*batch.x, *batch.u), (*before.x, *before.u), strict=True):
        assert torch.equal(a.inputs, b.inputs)
    assert torch.equal(batch.y, before.y)


# --- joint forwards ---


class Normalized(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(3)

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        features = self.norm(inputs.float())
        return features, features


def rows(count: int, seed: int = 0) -> Tensor:
    return torch.randn((count, 3), generator=torch.Generator().manual_seed(seed))


def test_frozen_bn_normalizes_with_the_batch_and_keeps_the_running_statistics() -> None:
    net, inputs = Net(Normalized()), 3.0 * rows(6) + 5.0
    state = copy.deepcopy(net.state_dict())
    with frozen_bn(net):
        found = net(View(inputs)).logits
    assert close(found, (inputs - inputs.mean(0)) / (inputs.var(0, unbiased=False) + 1e-5).sqrt(), tolerance=1e-5)
    assert all(torch.equal(value, state[key]) for key, value in net.state_dict().items())
    assert torch.equal(net(View(inputs)).logits, found)
    assert net.model.norm.num_batches_tracked == 1


def test_frozen_bn_evaluates_with_the_running_statistics() -> None:
    net, inputs = Net(Normalized()).eval(), rows(6)
    with frozen_bn(net):
        assert close(net(View(inputs)).logits, inputs / (1 + 1e-5) ** 0.5)


def test_contexts_are_left_after_an_error() -> None:
    net = Net(Normalized())
    with pytest.raises(ZeroDivisionError), frozen_bn(net), training_mode(net, False):
        _ = 1 / 0
    assert net.training
    assert net.model.norm.track_running_stats


def test_together_equals_separate_passes() -> None:
    parts = [View(rows(count, seed)) for seed, count in enumerate((4, 1, 6))]
    for view, output in zip(parts, together(NET, *parts), strict=True):
        alone = NET(view)
        assert close(output.logits, alone.logits)
        assert close(output.features, alone.features)
        assert output.lengths is None
        assert close(gradients(output.logits.square().sum()), gradients(alone.logits.square().sum()), tolerance=1e-5)


def test_together_normalizes_with_everything() -> None:
    net, a, b = Net(Normalized()), rows(4), rows(6, seed=1) + 3.0
    found = together(net, View(a), View(b))
    assert torch.equal(torch.cat([found[0].logits, found[1].logits]), Net(Normalized())(View(torch.cat([a, b]))).logits)


@pytest.mark.parametrize(("count", "size"), [(18, 4), (12, 4), (13, 5), (3, 4), (4, 4), (9, 1)])
def test_interleaved_equals_one_pass(count: int, size: int) -> None:
    inputs = rows(count)
    assert close(interleaved(NET, inputs, size), NET(View(inputs)).logits)


class Recorder(nn.Module):
    """Remembers what it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        self.seen.append(inputs[:, 0])
        return inputs, inputs


@pytest.mark.parametrize(("labeled", "unlabeled"), [(4, 8), (6, 12), (64, 128), (5, 10), (4, 14)])
def test_interleaved_sub_batches_share_one_mixture(labeled: int, unlabeled: int) -> None:
    """Each holds the labeled rows' share to within one row, and about ``size`` rows."""
    model = Recorder()
    kind = torch.cat([torch.ones(labeled), torch.zeros(unlabeled)])
    found = interleaved(Net(model), torch.stack([kind, torch.arange(len(kind)).float()], dim=1), labeled)
    share = labeled / len(kind)
    assert len(model.seen) == len(kind) // labeled
    assert sum(len(chunk) for chunk in model.seen) == len(kind)
    for chunk in model.seen:
        assert abs(chunk.sum().item() - share * len(chunk)) < 1
        assert labeled <= len(chunk) <= 2 * labeled
    assert torch.equal(found[:, 1], torch.arange(len(kind)).float())


def test_draws_belong_to_the_step() -> None:
    """The same step twice gives the same loss, the next step another one."""

    def loss(run: Run) -> float:
        method = MixMatch(INFO)
        return sum(term.item() for term in method(NET, views(method), run)[0].values())

    assert loss(PROBLEM.run(step=3)) == loss(PROBLEM.run(step=3))
    assert loss(PROBLEM.run(step=3)) != loss(PROBLEM.run(step=4))
