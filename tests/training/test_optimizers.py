"""Groups of parameters: each in one of them, the layers' share of the learning rate, and a resume that stays exact."""

import dataclasses

import pytest
import timm
import torch
from named_fits import fit_with
from small import digits, go, make_fit, same
from timm.optim import param_groups_layer_decay
from torch import nn

from semilla.config import Settings
from semilla.contract import Net, Output
from semilla.networks import MLP, SmallCNN, WideResNet
from semilla.networks.timm_backbone import TimmBackbone
from semilla.training.optimizers import build_optimizer, layer_depths, parameter_groups, set_learning_rate

PLAIN = Settings(learning_rate=0.5, optimizer="sgd", weight_decay=0.04)
LAYERED = dataclasses.replace(PLAIN, layer_decay=0.7)
TIMM = {"test_resnet": 8, "test_vit": 32, "test_convnext": 32, "test_efficientnet": 32, "convnext_atto": 32}
OWN = {
    "small_cnn": lambda: SmallCNN(1, (8, 8), 3, 4),
    "wide_resnet": lambda: WideResNet(1, 3, 10, 1),
    "mlp": lambda: MLP(5, 3, 8),
}


class Turned(nn.Module):
    """A network of a user's own that registers its classifier first."""

    def __init__(self):
        super().__init__()
        self.classifier, self.body = nn.Linear(4, 3), nn.Sequential(nn.Linear(5, 6), nn.Linear(6, 4))

    def forward(self, inputs):
        features = self.body(inputs)
        return Output(self.classifier(features), features)


def network(name):
    if name == "turned":
        return Turned()
    return TimmBackbone(name, 1, (TIMM[name],) * 2, 3) if name in TIMM else OWN[name]()


def scales(net, settings):
    """The share of the learning rate and the weight decay of each parameter, each found exactly once."""
    names = {id(weight): name for name, weight in net.named_parameters()}
    groups = parameter_groups(net, settings)
    placed = [names[id(weight)] for group in groups for weight in group["params"]]
    assert sorted(placed) == sorted(names.values())
    return {
        names[id(weight)]: (group["lr_scale"], group["weight_decay"]) for group in groups for weight in group["params"]
    }


@pytest.mark.parametrize("settings", [PLAIN, LAYERED], ids=["plain", "layered"])
@pytest.mark.parametrize("name", [*TIMM, *OWN, "turned"])
def test_every_parameter_stands_in_exactly_one_group(name, settings):
    net = Net(network(name), {"rotation": nn.Linear(4, 4)})
    found = scales(net, settings)
    for key, weight in net.named_parameters():
        assert weight.dim() > 1 or found[key][1] == 0.0
    assert {decay for _, decay in found.values()} == {0.0, settings.weight_decay}


@pytest.mark.parametrize("name", TIMM)
def test_timm_models_get_the_groups_of_timm(name):
    net = Net(network(name))
    inner = net.model.model
    undecayed = inner.no_weight_decay() if hasattr(inner, "no_weight_decay") else ()
    theirs = {
        id(weight): (group["lr_scale"], group["weight_decay"])
        for group in param_groups_layer_decay(
            inner, weight_decay=0.04, no_weight_decay_list=undecayed, layer_decay=LAYERED.layer_decay
        )
        for weight in group["params"]
    }
    ours = scales(net, LAYERED)
    for key, weight in net.named_parameters():
        assert theirs[id(weight)] == pytest.approx(ours[key]), key
    assert len({scale for scale, _ in ours.values()}) > 4


@pytest.mark.parametrize("name", [*TIMM, *OWN, "turned"])
def test_classifier_and_heads_learn_at_the_full_rate_and_the_input_slowest(name):
    net = Net(network(name), {"rotation": nn.Linear(4, 4)})
    found = {key: scale for key, (scale, _) in scales(net, LAYERED).items()}
    last = net.model.model.get_classifier() if name in TIMM else net.model.classifier
    full = {id(weight) for weight in [*last.parameters(), *net.heads.parameters()]}
    for key, weight in net.named_parameters():
        assert (found[key] == 1.0) == (id(weight) in full or "head.norm" in key), key
    first = next(key for key in found if "classifier" not in key)
    assert found[first] == min(found.values()) == pytest.approx(0.7 ** max(layer_depths(net).values()))


def test_a_layer_is_a_kernel_with_what_follows_it():
    net = Net(MLP(5, 3, 8, depth=2))
    named = {
        "model.body.0.weight": 0,
        "model.body.1.weight": 0,
        "model.body.1.bias": 0,
        "model.body.3.weight": 1,
        "model.body.4.weight": 1,
        "model.body.4.bias": 1,
        "model.classifier.weight": 2,
        "model.classifier.bias": 2,
    }
    assert layer_depths(net) == named
    found = scales(net, LAYERED)
    assert {key: scale for key, (scale, _) in found.items()} == {
        key: 0.7 ** (2 - depth) for key, depth in named.items()
    }


def test_without_layer_decay_there_are_the_two_groups_of_before():
    for settings in (PLAIN, dataclasses.replace(PLAIN, layer_decay=1.0)):
        net = Net(SmallCNN(1, (8, 8), 3, 4))
        decayed, free = build_optimizer(net, settings).param_groups
        weights = list(net.parameters())
        assert all(a is b for a, b in zip(decayed["params"], [w for w in weights if w.dim() > 1], strict=True))
        assert all(a is b for a, b in zip(free["params"], [w for w in weights if w.dim() <= 1], strict=True))
        assert (decayed["weight_decay"], free["weight_decay"]) == (0.04, 0.0)


def test_positions_are_not_decayed():
    found = scales(Net(network("test_vit")), PLAIN)
    kept = {key for key, weight in Net(network("test_vit")).named_parameters() if weight.dim() > 1}
    assert {key for key in kept if found[key][1] == 0.0} >= {"model.model.pos_embed", "model.model.cls_token"}
    assert found["model.model.head.weight"][1] == 0.04


def test_frozen_parameters_are_left_out():
    net = Net(network("test_resnet"))
    net.model.model.layer1.requires_grad_(False)
    placed = {id(weight) for group in parameter_groups(net, LAYERED) for weight in group["params"]}
    assert placed == {id(weight) for weight in net.parameters() if weight.requires_grad}


def test_a_model_without_timms_grouping_is_grouped_by_its_kernels(monkeypatch):
    network = TimmBackbone("test_resnet", 1, (8, 8), 3)
    assert network.layers()
    monkeypatch.delattr(type(network.model), "group_matcher")
    assert network.layers() == {}
    found = {key: scale for key, (scale, _) in scales(Net(network), LAYERED).items()}
    assert found["model.model.fc.weight"] == found["model.model.fc.bias"] == 1.0
    assert found["model.model.conv1.0.weight"] == min(found.values()) < 0.1


@pytest.mark.parametrize("progress", [0.0, 0.05, 0.5, 1.0])
def test_every_group_keeps_its_share_of_the_falling_rate(progress):
    net = Net(network("test_convnext"))
    settings = dataclasses.replace(LAYERED, warmup=0.1)
    layered, plain = (
        build_optimizer(net, settings),
        build_optimizer(net, dataclasses.replace(settings, layer_decay=None)),
    )
    for optimizer, used in ((layered, settings), (plain, settings)):
        set_learning_rate(optimizer, used, progress)
    rate = plain.param_groups[0]["lr"]
    assert [group["lr"] for group in plain.param_groups] == [rate, rate]
    assert rate == (0.0 if progress == 0 else pytest.approx(rate))
    assert [group["lr"] for group in layered.param_groups] == [rate * g["lr_scale"] for g in layered.param_groups]
    assert len({group["lr_scale"] for group in layered.param_groups}) > 4


def test_one_step_moves_each_layer_by_its_share():
    torch.manual_seed(0)
    net = Net(MLP(5, 3, 8, batch_norm=False))
    settings = dataclasses.replace(LAYERED, momentum=0.0, weight_decay=0.0)
    optimizer, before = build_optimizer(net, settings), {key: value.clone() for key, value in net.named_parameters()}
    for weight in net.parameters():
        weight.grad = torch.ones_like(weight)
    set_learning_rate(optimizer, settings, 0.0)
    optimizer.step()
    for key, depth in layer_depths(net).items():
        moved = before[key] - net.get_parameter(key)
        torch.testing.assert_close(moved, torch.full_like(moved, 0.5 * 0.7 ** (2 - depth)))


@pytest.mark.parametrize(
    "changes",
    [
        {"layer_decay": 0.6, "optimizer": "adamw", "learning_rate": 0.01},
        {"layer_decay": 0.6, "network": "test_resnet", "optimizer": "adamw", "learning_rate": 0.01},
        {"network": "test_resnet", "optimizer": "sgd"},
    ],
    ids=["small_cnn", "timm layered", "timm"],
)
def test_a_resumed_run_is_the_same_run_bit_for_bit(changes):
    name, changes = changes.get("network", "small_cnn"), {k: v for k, v in changes.items() if k != "network"}
    whole = go(fit_with(name, digits(), **changes))
    again = go(fit_with(name, digits(), **changes), snapshot=whole.recorder.taken[7])
    assert again.digest == whole.digest


def test_layer_decay_changes_the_weights():
    plain, layered = (go(make_fit("supervised", layer_decay=decay)).state.net.state_dict() for decay in (None, 0.6))
    assert not same(plain, layered)


def test_timm_still_groups_as_this_file_expects():
    assert hasattr(timm.create_model("test_resnet"), "group_matcher")
