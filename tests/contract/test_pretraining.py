"""What every method of pre-training promises: it learns from unlabeled views alone, and leaves the classifier alone."""

from __future__ import annotations

import copy
import inspect
from typing import Any

import pytest
import torch
from test_methods import assert_catalogue_says_what_the_class_does, gradients, teacher_of, tensors_of
from torch import Tensor, nn
from toys import TOYS

from semilla.contract import Batch, Method, Net, Run, View
from semilla.errors import UsageError
from semilla.methods import PRETRAINING
from semilla.networks import CRNN, SmallCNN, WhitenedCNN

SMALL = {"hidden": 8, "dimension": 4}
VARIANTS: dict[str, list[dict[str, Any]]] = {
    "rotation": [{}, {"view": "strong"}],
    "simclr": [SMALL, {**SMALL, "temperature": 0.5}, {**SMALL, "dimension": 2, "view": "strong"}],
    "vicreg": [SMALL, {**SMALL, "invariance": 1.0, "variance": 1.0}, {**SMALL, "covariance": 5.0, "dimension": 6}],
}
CASES = [
    pytest.param(name, options, id=f"{name}-{number}")
    for name in PRETRAINING
    for number, options in enumerate(VARIANTS[name])
]
every_case = pytest.mark.parametrize(("name", "options"), CASES)
every_method = pytest.mark.parametrize(("name", "options"), [(name, VARIANTS[name][0]) for name in PRETRAINING])
INFO = TOYS["classes"].info
SIZE = (3, 8, 8)


def build(name: str, options: dict[str, Any]) -> Method:
    return PRETRAINING[name].load()(INFO, **options)


def net_for(method: Method, seed: int = 0, model: nn.Module | None = None) -> Net:
    """A small network of pictures with the heads that the method asks for."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = SmallCNN(SIZE[0], SIZE[1:], 3, width=4) if model is None else model
        return Net(model, method.heads(model.classifier.in_features))


def batch_for(method: Method, count: int = 6, size: tuple[int, int, int] = SIZE, seed: int = 0) -> Batch:
    """Pictures and noisy copies of them; of labeled examples there are none."""
    draw = torch.Generator().manual_seed(seed)
    clean = torch.randn((count, *size), generator=draw)
    views = tuple(View(clean + 0.3 * torch.randn(clean.shape, generator=draw)) for _ in method.unlabeled_views)
    nothing = torch.zeros(0, dtype=torch.int64)
    return Batch((), nothing, views, nothing, torch.arange(count))


def run_for(teacher: Net) -> Run:
    return TOYS["classes"].run(teacher)


def test_every_method_has_variants_and_no_label_of_its_own() -> None:
    assert VARIANTS.keys() == PRETRAINING.keys()
    for name, options in ((case.values[0], case.values[1]) for case in CASES):
        method = build(name, options)
        assert method.labeled_views == ()
        assert method.unlabeled_views


@every_case
def test_each_loss_term_alone_moves_the_student_and_never_teacher_or_classifier(
    name: str, options: dict[str, Any]
) -> None:
    method = build(name, options)
    net = net_for(method)
    teacher = teacher_of(net).requires_grad_(True)  # so that a leak into it would show
    batch = batch_for(method)
    terms = list(method(net, batch, run_for(teacher))[0])
    assert terms
    for term in terms:
        net.zero_grad(set_to_none=True)
        loss = method(net, batch, run_for(teacher))[0][term]
        assert loss.shape == ()
        assert torch.isfinite(loss)
        loss.backward()
        classifier = {id(weight) for weight in net.model.classifier.parameters()}
        assert all(weight.grad is None for weight in net.parameters() if id(weight) in classifier)
        body = [weight.grad for key, weight in net.model.named_parameters() if not key.startswith("classifier")]
        assert all(gradient is not None for gradient in body), f"{term} leaves out a layer"
        assert any(bool(gradient.abs().max() > 0) for gradient in body), f"{term} teaches the network nothing"
        assert any(bool(w.grad.abs().max() > 0) for w in net.heads.parameters() if w.grad is not None)
        assert all(weight.grad is None for weight in teacher.parameters()), f"{term} reaches the teacher"


@every_case
def test_logs_are_detached_scalars(name: str, options: dict[str, Any]) -> None:
    method = build(name, options)
    net = net_for(method)
    _, logs = method(net, batch_for(method), run_for(teacher_of(net)))
    assert logs
    assert all(value.shape == () and torch.isfinite(value) for value in logs.values())
    assert not any(value.requires_grad for value in logs.values())
    assert not logs.keys() & {"used", "prediction"}, "what these mean is said of classes"


@every_case
def test_inputs_and_teacher_are_left_as_they_were(name: str, options: dict[str, Any]) -> None:
    method = build(name, options)
    net = net_for(method)
    teacher, batch = teacher_of(net), batch_for(method)
    tensors = [*tensors_of(batch), *teacher.state_dict().values()]
    before = [tensor.clone() for tensor in tensors]
    sum(method(net, batch, run_for(teacher))[0].values()).backward()
    assert all(torch.equal(old, new) for old, new in zip(before, tensors, strict=True))
    assert not teacher.training
    assert net.training


@every_case
@pytest.mark.parametrize("count", [1, 2])
def test_tiny_batches_are_finite(name: str, options: dict[str, Any], count: int) -> None:
    """Of one example too, with the running statistics of BatchNorm where it cannot have others."""
    method = build(name, options)
    net = net_for(method)
    net.heads.train(count > 1)
    losses, _ = method(net, batch_for(method, count), run_for(teacher_of(net)))
    total = torch.stack(list(losses.values())).sum()
    total.backward()
    assert torch.isfinite(total)
    assert all(torch.isfinite(gradient).all() for gradient in gradients(net))


@every_case
@pytest.mark.parametrize("scale", [0.0, 1e4])
def test_features_of_any_size_are_finite(name: str, options: dict[str, Any], scale: float) -> None:
    """All of them 0, so that no direction and no variance is left, or very large."""
    method = build(name, options)
    net = net_for(method)
    with torch.no_grad():
        for weight in net.heads.parameters():
            weight *= scale
    losses, _ = method(net, batch_for(method), run_for(teacher_of(net)))
    torch.stack(list(losses.values())).sum().backward()
    assert all(torch.isfinite(loss) for loss in losses.values())
    assert all(torch.isfinite(gradient).all() for gradient in gradients(net))


@every_case
def test_the_same_step_twice_is_the_same_to_the_bit(name: str, options: dict[str, Any]) -> None:
    method = build(name, options)
    net = net_for(method)
    batch, teacher = batch_for(method), teacher_of(net)
    first, again = (method(copy.deepcopy(net), batch, run_for(teacher))[0] for _ in range(2))
    assert all(torch.equal(first[term], again[term]) for term in first)


@every_case
def test_bf16_is_close_to_fp32(name: str, options: dict[str, Any]) -> None:
    method = build(name, options)
    net = net_for(method)
    batch, run = batch_for(method, 24), run_for(teacher_of(net))
    exact, _ = method(copy.deepcopy(net), batch, run)
    with torch.autocast("cpu", torch.bfloat16):
        rough, _ = method(copy.deepcopy(net), batch, run)
    for term, loss in rough.items():
        assert loss.dtype == torch.float32, f"{term} is computed in {loss.dtype}"
        assert loss.item() == pytest.approx(exact[term].item(), rel=0.2, abs=0.05)


class Fixed(nn.Module):
    """Gives the inputs as its features, and rounds nothing under autocast."""

    def __init__(self) -> None:
        super().__init__()
        self.classifier = nn.Linear(5, 3)

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        return inputs.sum((1, 2, 3), keepdim=True).flatten(1).expand(-1, 3), inputs[:, 0, 0, :5]


@pytest.mark.parametrize("name", ["simclr", "vicreg"])
def test_losses_are_computed_in_float32_whatever_the_autocast(name: str) -> None:
    """Where the network and its head round nothing, bf16 changes nothing: a product of matrices would be rounded."""
    method = build(name, SMALL)
    net = Net(Fixed(), {"projection": nn.Identity()})
    batch = batch_for(method, 24)
    exact, _ = method(net, batch, run_for(net))
    with torch.autocast("cpu", torch.bfloat16):
        rough, _ = method(net, batch, run_for(net))
    for term, loss in rough.items():
        assert loss.item() == pytest.approx(exact[term].item(), rel=1e-6), term


@every_case
def test_state_round_trip_and_memory_in_buffers_only(name: str, options: dict[str, Any]) -> None:
    method = build(name, options)
    net = net_for(method)
    batch, teacher = batch_for(method), teacher_of(net)
    plain = {key: value for key, value in vars(method).items() if not key.startswith("_")}
    method(net, batch, run_for(teacher))
    assert {key: value for key, value in vars(method).items() if not key.startswith("_")} == plain
    assert not any(isinstance(value, Tensor) for value in plain.values())
    other = build(name, options)
    other.load_state_dict(method.state_dict())
    one, two = (each(copy.deepcopy(net), batch, run_for(teacher))[0] for each in (method, other))
    assert all(torch.equal(one[term], two[term]) for term in one)


@every_method
def test_every_tensor_of_a_step_is_made_where_the_inputs_are(name: str, options: dict[str, Any]) -> None:
    """The meta device holds no numbers but, like a GPU, refuses to meet a tensor that was left on the CPU."""
    method = build(name, options).to("meta")
    net = net_for(method).to("meta")
    batch = batch_for(method)
    there = Batch((), batch.y, tuple(View(view.inputs.to("meta")) for view in batch.u), batch.x_index, batch.u_index)
    losses, logs = method(net, there, run_for(net))
    torch.stack(list(losses.values())).sum().backward()
    assert {value.device.type for value in [*losses.values(), *logs.values()]} == {"meta"}


@every_method
@pytest.mark.parametrize("model", [lambda: SmallCNN(1, (8, 8), 3, 4), lambda: WhitenedCNN(1, (8, 8), 3, 4)])
def test_a_step_works_with_our_networks_of_grey_pictures(name: str, options: dict[str, Any], model: Any) -> None:
    method = build(name, options)
    net = net_for(method, model=model())
    losses, _ = method(net, batch_for(method, size=(1, 8, 8)), run_for(net))
    assert torch.isfinite(sum(losses.values()))


# Rotation


class Told(nn.Module):
    """Its features are the four corners of a picture: what a turn does to them is known."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []
        self.classifier = nn.Linear(4, 3)

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        self.seen.append(inputs)
        corners = inputs[:, 0, [0, 0, -1, -1], [0, -1, 0, -1]]
        return self.classifier(corners), corners


def turned(size: tuple[int, int, int], count: int = 2) -> tuple[Tensor, Tensor, float]:
    """The pictures, what the network was shown in the step, and the loss where every turn is told right."""
    method = build("rotation", {})
    net = Net(Told(), method.heads(4))
    with torch.no_grad():  # logit r is large where the mark, first at the top left, is where r turns bring it
        places = {0: 0, 1: 2, 2: 3, 3: 1}  # counterclockwise: top left, bottom left, bottom right, top right
        net.heads["rotation"].weight.zero_()
        net.heads["rotation"].bias.zero_()
        for turns, corner in places.items():
            net.heads["rotation"].weight[turns, corner] = 50.0
    pictures = torch.zeros(count, *size)
    pictures[:, 0, 0, 0] = 1.0
    pictures[:, 0, 1, 2] = torch.arange(1.0, count + 1) / 10  # so that the pictures can be told apart
    batch = batch_for(method, count, size)
    batch = Batch(batch.x, batch.y, (View(pictures),), batch.x_index, batch.u_index)
    losses, logs = method(net, batch, run_for(net))
    assert logs["right"] == 1
    (seen,) = net.model.seen
    return pictures, seen, losses["rotation"].item()


def test_a_square_picture_is_seen_in_four_positions() -> None:
    pictures, seen, loss = turned((3, 8, 8))
    assert seen.shape == (8, 3, 8, 8)
    for turns in range(4):
        assert torch.equal(seen[2 * turns : 2 * turns + 2], torch.rot90(pictures, turns, (2, 3)))
    assert loss < 1e-6


def test_lines_of_a_padded_batch_are_turned_within_their_own_widths() -> None:
    """What lies behind a line's end stays there, and does not count for what is said of it."""
    method = build("rotation", {})
    model = CRNN(5, height=16, width=4).eval()
    net = Net(model, method.heads(24))
    widths = torch.tensor([20, 33, 48])
    lines = torch.randn(3, 1, 16, 48) * (torch.arange(48) < widths[:, None])[:, None, None]
    batch = batch_for(method, 3, (1, 16, 48))
    seen: list[View] = []
    net.model.register_forward_pre_hook(
        lambda _, words, more: seen.append(View(words[0], width=more["width"])), with_kwargs=True
    )
    whole, _ = method(
        net, Batch(batch.x, batch.y, (View(lines, width=widths),), batch.x_index, batch.u_index), run_for(net)
    )
    (view,) = seen
    assert view.width.tolist() == [*widths, *widths]
    alone = []
    for row, width in enumerate(widths.tolist()):
        line = lines[row : row + 1, :, :, :width]
        assert torch.equal(view.inputs[3 + row, :, :, :width], line[0].flip(1, 2))
        assert not view.inputs[3 + row, :, :, width:].any()
        own = (View(line, width=torch.tensor([width])),)
        losses, _ = method(net, Batch(batch.x, batch.y, own, batch.x_index[:1], batch.u_index[:1]), run_for(net))
        alone.append(losses["rotation"])
    assert whole["rotation"].item() == pytest.approx(torch.stack(alone).mean().item(), rel=1e-4)


def test_a_line_is_seen_in_two_positions() -> None:
    pictures, seen, loss = turned((1, 8, 20))
    assert torch.equal(seen, torch.cat([pictures, pictures.flip(2, 3)]))
    assert loss < 1e-6


def test_vectors_cannot_be_turned() -> None:
    method = build("rotation", {})
    net = Net(TOYS["classes"].net().model, method.heads(16))
    view = View(torch.zeros(4, 6))
    nothing = torch.zeros(0, dtype=torch.int64)
    with pytest.raises(UsageError, match="simclr") as caught:
        method(net, Batch((), nothing, (view,), nothing, torch.arange(4)), run_for(net))
    assert caught.value.code == "U070"


# The catalogue


@pytest.mark.parametrize("name", PRETRAINING)
def test_catalogue_says_what_the_class_does(name: str) -> None:
    assert_catalogue_says_what_the_class_does(PRETRAINING[name])


@pytest.mark.parametrize("name", PRETRAINING)
def test_a_method_is_one_page(name: str) -> None:
    method = PRETRAINING[name].load()
    assert len(inspect.getsource(inspect.getmodule(method)).splitlines()) <= 120  # type: ignore[arg-type]
    assert len(inspect.getsourcelines(method.forward)[0]) <= 40
