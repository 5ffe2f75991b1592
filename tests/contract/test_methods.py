"""What every method promises on every task it is defined for. A new method gets all of this from the catalogue."""

from __future__ import annotations

import copy
import inspect
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from toys import TOYS, Toy

from semilla.contract import Batch, Method, Net, View
from semilla.methods import METHODS, Entry

LOW = {"threshold": 0.05}  # toy networks know nothing: let them use something
SMALL: list[dict[str, Any]] = [{**LOW, "relative": True}, {**LOW, "align": True}]
VARIANTS: dict[str, list[dict[str, Any]]] = {
    "supervised": [{}, {"views": ("weak", "strong")}],
    "pi_model": [{}, {"both_branches": True}, {"consistency_on": "all"}, {"update_bn": True, "ramp_shape": "sigmoid"}],
    "mean_teacher": [
        {},
        {"teacher_bn": "running"},
        {"consistency_on": "all"},
        {"update_bn": True},
        {"teacher_view": "weak", "view": "strong", "consistency_on": "all"},
    ],
    "uda": [
        *(LOW, {**LOW, "annealing": "exp"}, {**LOW, "entropy": 0.3, "temperature": 1.0}, {**LOW, "joint": True}),
        *SMALL,
    ],
    "pseudo_label": [LOW, {**LOW, "update_bn": True, "ramp_start": 0.2}, *SMALL],
    "mixmatch": [{}, {"augmentations": 3}, {"one_weight": True}, {"interleave": False}, {"alpha": 0.0}],
    "fixmatch": [LOW, {**LOW, "joint": True}, *SMALL],
    "character_consistency": [LOW, {**LOW, "temperature": 1.0, "weight": 0.3}],
}
CASES = [
    pytest.param(toy, name, options, id=f"{task}-{name}-{'-'.join(map(str, options)) or 'default'}")
    for task, toy in TOYS.items()
    for name, entry in METHODS.items()
    for options in VARIANTS[name]
    if task in entry.tasks
    and not (task == "attention" and options.get("joint"))  # teacher forcing needs its own pass
    and (task == "classes" or not {"align", "relative"} & options.keys())  # these need classes
]
ON_CLASSES = [case.values[1:] for case in CASES if case.values[0] is TOYS["classes"]]
every_case = pytest.mark.parametrize(("toy", "name", "options"), CASES)
PLAIN = [case for case in CASES if case.values[2] in ({}, LOW)]
every_method = pytest.mark.parametrize(("toy", "name", "options"), PLAIN)


def build(toy: Toy, name: str, options: dict[str, Any]) -> Method:
    method = METHODS[name].load()(toy.info, **options)
    if (onset := getattr(method, "onset", None)) is not None:
        onset.step.fill_(0)  # a ramp that begins with the step that is looked at would hide the loss
    return method


def talkative(toy: Toy, **kwargs: Any) -> Net:
    """A network whose decoder says a letter or two and ends: without one or the other a reading has no confidence."""
    net = toy.net(**({"seed": 4} if toy.task.name == "attention" else {}) | kwargs)
    if toy.task.name == "attention":
        with torch.no_grad():
            net.model.classifier.bias[0] = -0.5  # type: ignore[union-attr, index]
    return net


def teacher_of(net: Net, noise: float = 0.05) -> Net:
    teacher = copy.deepcopy(net)
    with torch.no_grad():
        for index, weight in enumerate(teacher.parameters()):
            weight += noise * torch.randn(weight.shape, generator=torch.Generator().manual_seed(index))
    return teacher.eval()


def gradients(net: Net) -> list[Tensor]:
    return [weight.grad for weight in net.parameters() if weight.grad is not None]


def tensors_of(batch: Batch) -> list[Tensor]:
    views: list[View] = [*batch.x, *batch.u]
    return [view.inputs for view in views] + [batch.y, batch.x_index, batch.u_index]


@every_case
def test_each_loss_term_alone_moves_the_student_and_never_the_teacher(
    toy: Toy, name: str, options: dict[str, Any]
) -> None:
    method, net = build(toy, name, options), talkative(toy)
    teacher = teacher_of(net).requires_grad_(True)  # so that a leak into it would show
    batch = toy.batch(method)
    terms = method(net, batch, toy.run(teacher))[0]
    assert set(terms) >= {"supervised"}
    assert len(terms) >= (1 if name == "supervised" else 2)
    for term in terms:
        net.zero_grad(set_to_none=True)
        losses, _ = method(net, batch, toy.run(teacher))
        assert losses[term].shape == ()
        assert torch.isfinite(losses[term])
        losses[term].backward()
        assert any(bool(gradient.abs().max() > 0) for gradient in gradients(net)), f"{term} teaches nothing"
        assert all(weight.grad is None for weight in teacher.parameters()), f"{term} reaches the teacher"


@every_case
def test_logs_are_detached_and_named_as_the_loop_expects(toy: Toy, name: str, options: dict[str, Any]) -> None:
    method, net = build(toy, name, options), talkative(toy)
    _, logs = method(net, toy.batch(method), toy.run(teacher_of(net)))
    assert not any(value.requires_grad for value in logs.values())
    if name != "supervised":
        assert 0 <= logs["used"] <= 1
        assert ("prediction" in logs) == (toy.task.name == "classes")
    if "prediction" in logs:
        torch.testing.assert_close(logs["prediction"].sum(), torch.tensor(1.0))


@every_case
def test_inputs_and_teacher_are_left_as_they_were(toy: Toy, name: str, options: dict[str, Any]) -> None:
    method, net = build(toy, name, options), talkative(toy)
    teacher = teacher_of(net)
    batch = toy.batch(method)
    tensors = [*tensors_of(batch), *teacher.state_dict().values()]
    before = [tensor.clone() for tensor in tensors]
    sum(method(net, batch, toy.run(teacher))[0].values()).backward()
    for old, new in zip(before, tensors, strict=True):
        assert torch.equal(old, new)
    assert not teacher.training, "the teacher must be given back in evaluation mode"
    assert net.training


@every_method
@pytest.mark.parametrize(("labeled", "unlabeled"), [(1, 1), (1, 7), (6, 2), (3, 17)])
def test_tiny_and_unequal_batches(toy: Toy, name: str, options: dict[str, Any], labeled: int, unlabeled: int) -> None:
    method, net = build(toy, name, options), toy.net(batch_norm=False)
    losses, _ = method(net, toy.batch(method, labeled, unlabeled), toy.run(teacher_of(net)))
    total = torch.stack(list(losses.values())).sum()
    total.backward()
    assert torch.isfinite(total)
    assert all(torch.isfinite(gradient).all() for gradient in gradients(net))


@pytest.mark.parametrize(
    ("toy", "name", "options"),
    [
        case
        for case in CASES
        if "threshold" in METHODS[case.values[1]].hyperparameters and not case.values[2].get("relative")
    ],
)
def test_nothing_kept_teaches_nothing_and_is_finite(toy: Toy, name: str, options: dict[str, Any]) -> None:
    method, net = (
        build(
            toy,
            name,
            {**options, "threshold": 1.01, "entropy": 0.0} if name == "uda" else {**options, "threshold": 1.01},
        ),
        talkative(toy),
    )
    losses, logs = method(net, toy.batch(method), toy.run(teacher_of(net)))
    term = next(name for name in losses if name != "supervised")
    losses[term].backward()
    assert losses[term] == 0
    assert logs["used"] == 0
    assert all(not gradient.any() for gradient in gradients(net))


@every_method
@pytest.mark.parametrize("scale", [0.0, 1e4, -1e4])
def test_extreme_logits(toy: Toy, name: str, options: dict[str, Any], scale: float) -> None:
    method, net = build(toy, name, options), toy.net()
    with torch.no_grad():
        net.model.classifier.weight *= scale  # type: ignore[union-attr, operator]
    losses, _ = method(net, toy.batch(method), toy.run(teacher_of(net, noise=0.0)))
    torch.stack(list(losses.values())).sum().backward()
    assert all(torch.isfinite(loss) for loss in losses.values())
    assert all(torch.isfinite(gradient).all() for gradient in gradients(net))


@every_method
def test_bf16_is_close_to_fp32(toy: Toy, name: str, options: dict[str, Any]) -> None:
    method, net = build(toy, name, options), talkative(toy)
    batch, run = toy.batch(method), toy.run(teacher_of(net))
    exact, _ = method(net, batch, run)
    with torch.autocast("cpu", torch.bfloat16):
        rough, _ = method(copy.deepcopy(net), batch, toy.run(run.ema))
    for term, loss in rough.items():
        assert loss.dtype == torch.float32, f"{term} is computed in {loss.dtype}"
        assert loss.item() == pytest.approx(exact[term].item(), rel=0.2, abs=0.05)


@every_method
def test_the_same_step_twice_is_the_same_to_the_bit(toy: Toy, name: str, options: dict[str, Any]) -> None:
    method, net = build(toy, name, options), talkative(toy)
    batch, teacher = toy.batch(method), teacher_of(net)
    first = method(copy.deepcopy(net), batch, toy.run(teacher))[0]
    again = method(copy.deepcopy(net), batch, toy.run(teacher))[0]
    assert all(torch.equal(first[term], again[term]) for term in first)


@every_method
def test_state_round_trip(toy: Toy, name: str, options: dict[str, Any]) -> None:
    method, net = build(toy, name, options), talkative(toy)
    batch, teacher = toy.batch(method), teacher_of(net)
    method(net, batch, toy.run(teacher))
    other = build(toy, name, options)
    other.load_state_dict(method.state_dict())
    one = method(copy.deepcopy(net), batch, toy.run(teacher))[0]
    two = other(copy.deepcopy(net), batch, toy.run(teacher))[0]
    assert all(torch.equal(one[term], two[term]) for term in one)


@every_case
def test_memory_lives_in_persistent_buffers_only(toy: Toy, name: str, options: dict[str, Any]) -> None:
    """A step may change nothing about a method but its buffers: anything else would be lost by a checkpoint."""
    method, net = build(toy, name, options), talkative(toy)

    def attributes(module: nn.Module) -> dict[str, Any]:
        plain = {key: value for key, value in vars(module).items() if not key.startswith("_")}
        assert not module._non_persistent_buffers_set
        assert not any(isinstance(value, Tensor) for value in plain.values())
        return copy.deepcopy(plain)

    before = attributes(method)
    method(net, toy.batch(method), toy.run(teacher_of(net)))
    assert attributes(method) == before


@pytest.mark.parametrize(("name", "options"), ON_CLASSES)
def test_renaming_the_classes_changes_nothing(name: str, options: dict[str, Any]) -> None:
    """With the classifier's rows permuted like the labels, every loss is the same."""
    toy = TOYS["classes"]
    order = torch.tensor([2, 0, 1])  # new position of class 0, 1, 2
    method, net = build(toy, name, options), toy.net()
    renamed = copy.deepcopy(net)
    with torch.no_grad():
        for old, new in zip(net.model.classifier.parameters(), renamed.model.classifier.parameters(), strict=True):  # type: ignore[union-attr, operator]
            new[order] = old
    batch = toy.batch(method)
    permuted = Batch(batch.x, order[batch.y], batch.u, batch.x_index, batch.u_index)
    again = copy.deepcopy(method)  # what it remembers is of one network
    one = method(net, batch, toy.run(copy.deepcopy(net).eval()))[0]
    two = again(renamed, permuted, toy.run(copy.deepcopy(renamed).eval()))[0]
    for term in one:
        torch.testing.assert_close(one[term], two[term], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("device", ["meta", "cuda"])
@pytest.mark.parametrize(("name", "options"), ON_CLASSES)
def test_every_tensor_of_a_step_is_made_where_the_inputs_are(name: str, options: dict[str, Any], device: str) -> None:
    """The meta device holds no numbers but, like a GPU, refuses to meet a tensor that was left on the CPU."""
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device here")
    toy = TOYS["classes"]
    method, net = build(toy, name, options).to(device), toy.net().to(device)
    batch = toy.batch(method)

    def moved(views: tuple[View, ...]) -> tuple[View, ...]:
        return tuple(View(view.inputs.to(device)) for view in views)

    there = Batch(
        moved(batch.x), batch.y.to(device), moved(batch.u), batch.x_index.to(device), batch.u_index.to(device)
    )
    losses, logs = method(net, there, toy.run(copy.deepcopy(net).eval()))
    torch.stack(list(losses.values())).sum().backward()
    assert {value.device.type for value in [*losses.values(), *logs.values()]} == {device}


@pytest.mark.parametrize("name", METHODS)
def test_catalogue_says_what_the_class_does(name: str) -> None:
    assert_catalogue_says_what_the_class_does(METHODS[name])


def assert_catalogue_says_what_the_class_does(entry: Entry) -> None:
    """The hyperparameters of a row are the constructor's, with the same defaults, and the class is final."""
    method = entry.load()
    arguments = dict(list(inspect.signature(method.__init__).parameters.items())[2:])
    assert {key: argument.default for key, argument in arguments.items()} == {
        key: parameter.ours for key, parameter in entry.hyperparameters.items()
    }
    assert all(argument.kind is inspect.Parameter.KEYWORD_ONLY for argument in arguments.values())
    assert len(arguments) <= 10
    assert frozenset(entry.tasks) == method.tasks
    assert getattr(method, "__final__", False), f"{entry.class_name} must be @final"
    assert method.__mro__[1] is Method


@pytest.mark.parametrize("name", METHODS)
def test_a_method_is_one_page(name: str) -> None:
    method = METHODS[name].load()
    source = inspect.getsource(inspect.getmodule(method)).splitlines()  # type: ignore[arg-type]
    forward, whole = inspect.getsourcelines(method.forward)[0], inspect.getsourcelines(method)[0]
    assert len(source) <= 120
    assert len(forward) <= 40
    assert len(whole) <= 90
