"""What is filled in for whom, the size of pictures before they are decoded, and networks that start from weights."""

import dataclasses
import json

import numpy as np
import pytest
import safetensors.torch
import torch
from named_fits import fit_with
from small import digits, go

from semilla.config import Settings, settings
from semilla.data.arrays import from_arrays
from semilla.data.dataset import split
from semilla.errors import DataError, SafetyError, StateError, UsageError
from semilla.networks import SmallCNN
from semilla.networks.timm_backbone import TimmBackbone, pretraining
from semilla.training import plan


def built(settings, dataset):
    """The network on a split in which every label is used."""
    return plan.build_network(settings, dataset, split(dataset, needed=False))


def pictures(side, channels=3, count=40):
    draw = np.random.default_rng(0)
    x = draw.integers(0, 256, (count, side, side, channels), dtype=np.uint8)
    return from_arrays({"x_train": x, "y_train": np.where(np.arange(count) < 12, np.arange(count) % 2, -1)}, "toys")


def vectors():
    return from_arrays({"x_train": np.eye(20, 6), "y_train": np.where(np.arange(20) < 8, np.arange(20) % 2, -1)}, "v")


def complete(data, **changes):
    chosen, reasons = plan.complete(settings("fixmatch", {}, changes), data, split(data))
    assert all(reasons.values())
    assert all(hasattr(chosen, name) for name in reasons)
    return chosen, reasons


@pytest.fixture
def gpu(monkeypatch):
    """A machine with a GPU, as far as choices go."""
    monkeypatch.setattr(plan, "choose_device", lambda wanted: (wanted or "cuda", "the fastest device found"))
    monkeypatch.setattr(plan, "choose_precision", lambda wanted, device: (wanted or "bf16", "told so"))


@pytest.fixture
def saved(tmp_path):
    """Weights of a small timm model with seven classes."""
    path = tmp_path / "weights.safetensors"
    torch.manual_seed(1)
    tensors = TimmBackbone("test_resnet", 3, (32, 32), 7).model.state_dict()
    safetensors.torch.save_file(tensors, path)
    return path


# Defaults


def test_the_defaults_for_digits_are_what_they_were():
    data = digits()
    chosen, reasons = plan.complete(Settings(device="cpu"), data, split(data, np.arange(40)))
    found = {name: getattr(chosen, name) for name in ("network", "width", "steps", "labeled_batch", "unlabeled_batch")}
    assert found == {"network": "small_cnn", "width": 32, "steps": 600, "labeled_batch": 40, "unlabeled_batch": 80}
    assert (chosen.optimizer, chosen.learning_rate, chosen.layer_decay, chosen.size) == ("sgd", 0.03, None, None)
    assert (chosen.ema_decay, chosen.evaluate_every, chosen.log_every) == (1 - 1 / 60, 30, 30)
    assert reasons["network"] == "8-pixel pictures on cpu"
    assert "weights" not in reasons


@pytest.mark.parametrize(
    ("side", "device", "network", "batch"),
    [
        (32, "cpu", "small_cnn", 12),
        (64, "cpu", "small_cnn", 12),
        (96, "cpu", "small_cnn", 8),
        (16, "cuda", "small_cnn", 12),
        (32, "cuda", "wide_resnet", 12),
        (64, "cuda", "wide_resnet", 12),
        (96, "cuda", "timm/resnet18", 12),
    ],
)
def test_the_network_and_batch_follow_from_size_and_machine(gpu, side, device, network, batch):
    chosen, reasons = complete(pictures(side), device=device)
    assert (chosen.network, chosen.labeled_batch) == (network, batch)
    assert f"{side}-pixel" in reasons["network"] or network == "wide_resnet"
    assert (chosen.width is None) == network.startswith("timm/")
    assert chosen.steps == (600 if device == "cpu" else 30_000)


def test_large_batches_of_large_pictures_are_halved_on_a_gpu_too(gpu):
    data = pictures(96, count=200)
    many = dataclasses.replace(data, labels=np.arange(200) % 2)
    chosen, _ = plan.complete(Settings(), many, split(many, np.arange(100)))
    assert (chosen.labeled_batch, chosen.unlabeled_batch) == (32, 64)


def test_without_timm_large_pictures_get_the_papers_network(gpu, monkeypatch):
    monkeypatch.setattr(plan, "timm_models", frozenset)
    assert complete(pictures(96))[0].network == "wide_resnet"


def test_the_width_of_own_networks_is_not_that_of_timms():
    assert complete(pictures(32), network="resnet18", width=7, device="cpu")[0].width is None
    assert complete(pictures(32), network="wide_resnet", device="cpu")[0].width == 2


def test_adamw_and_sgd_have_rates_of_their_own():
    assert complete(vectors(), optimizer="adamw")[0].learning_rate == 2e-3
    assert complete(vectors())[0].learning_rate == 0.03
    assert complete(vectors(), learning_rate=0.5)[0].learning_rate == 0.5


# Fine-tuning


@pytest.mark.parametrize(("optimizer", "rate"), [(None, 3e-4), ("adamw", 3e-4), ("sgd", 3e-3)])
def test_pretrained_weights_are_tuned_gently_and_it_is_said(saved, optimizer, rate):
    changes = {"network": "test_resnet", "weights": str(saved), "device": "cpu"}
    chosen, reasons = complete(pictures(32), **changes, **({"optimizer": optimizer} if optimizer else {}))
    assert (chosen.optimizer, chosen.learning_rate, chosen.layer_decay) == (optimizer or "adamw", rate, 0.75)
    assert chosen.steps == 150
    for name in ("learning_rate", "layer_decay", "steps"):
        assert "pretrained" in reasons[name]
    assert ("optimizer" in reasons) == (optimizer is None)
    assert "starts anew: 2 classes here, 7 in the weights" in reasons["weights"]


def test_what_is_said_stays_said(saved):
    given = {"learning_rate": 0.1, "layer_decay": 1.0, "steps": 9, "optimizer": "sgd"}
    chosen, reasons = complete(pictures(32), network="test_resnet", weights=str(saved), **given)
    assert {name: getattr(chosen, name) for name in given} == given
    assert not given.keys() & reasons.keys()


def test_weights_from_the_hub_default_to_a_small_network_and_download_nothing(gpu, monkeypatch):
    monkeypatch.setattr(plan, "download", lambda name: pytest.fail("downloaded"))
    chosen, reasons = complete(pictures(32), weights="hub")
    assert chosen.network == "timm/resnet18"
    assert "starts anew: 2 classes here, 1000 in the weights" in reasons["weights"]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"weights": "hub", "network": "small_cnn"}, "U063"),
        ({"weights": "PATH"}, "U063"),
        ({"weights": "none.safetensors", "network": "test_resnet"}, "U062"),
    ],
)
def test_weights_that_cannot_be_meant_are_told_before_any_picture_is_read(saved, changes, code):
    changes = {key: str(saved) if value == "PATH" else value for key, value in changes.items()}
    asked = settings("fixmatch", {}, changes)
    for check in (plan.check_weights, plan.choose_size):
        with pytest.raises(UsageError) as caught:
            check(asked)
        assert caught.value.code == code
    with pytest.raises(UsageError):
        complete(pictures(32), **changes)


def test_a_pickle_is_refused_before_any_picture_is_read(tmp_path):
    (tmp_path / "w.pth").write_bytes(b"\x80\x02}q\x00.")
    with pytest.raises(SafetyError) as caught:
        plan.choose_size(Settings(network="timm/test_resnet", weights=str(tmp_path / "w.pth")))
    assert caught.value.code == "S021"


# Sizes


def test_without_a_word_the_pictures_decide():
    assert plan.choose_size(Settings())[0] is None
    assert plan.choose_size(Settings(network="timm/resnet18"))[0] is None


def test_a_size_asked_for_is_the_size():
    assert plan.choose_size(Settings(size=48, network="timm/test_vit")) == (48, "as asked")


@pytest.mark.parametrize(
    ("network", "device", "size"),
    [("resnet18", "cuda", 224), ("resnet18", "cpu", 112), ("test_vit", "cpu", 160), ("test_vit", "cuda", 160)],
)
def test_pretrained_networks_see_pictures_as_they_are_used_to(gpu, network, device, size):
    asked = settings("fixmatch", {}, {"network": network, "weights": "hub", "device": device})
    found, reason = plan.choose_size(asked)
    assert found == size
    assert "pretraining" in reason
    assert plan.choose_size(dataclasses.replace(asked, size=64))[0] == 64


def test_the_size_that_came_about_is_recorded_with_its_reason(gpu):
    chosen, reasons = complete(pictures(160), network="test_vit", weights="hub")
    assert (chosen.size, reasons["size"]) == (160, "the size of pretraining")
    assert complete(pictures(32), network="test_vit", weights="hub")[0].size is None  # arrays are what they are


@pytest.mark.parametrize("data", [pictures(32), vectors()], ids=["pictures", "vectors"])
def test_a_size_that_did_not_come_about_is_refused(data):
    with pytest.raises(DataError) as caught:
        complete(data, size=48)
    assert caught.value.code == "D113"
    assert "size=48" in caught.value.message


def test_a_size_that_did_is_taken():
    assert complete(pictures(32), size=32)[0].size == 32


# Normalisation


def test_pretrained_networks_are_normalised_as_in_pretraining(tmp_path, saved):
    asked = Settings(network="timm/test_resnet", weights="hub")
    mean, std = plan.normalisation(asked, 3)
    assert (mean, std) == (pretraining("test_resnet")["mean"], pretraining("test_resnet")["std"])
    grey = plan.normalisation(asked, 1)
    assert grey == ([pytest.approx(sum(mean) / 3)], [pytest.approx(sum(std) / 3)])
    assert plan.normalisation(dataclasses.replace(asked, weights=str(saved)), 3) == (mean, std)


def test_the_weights_of_a_finished_model_keep_its_normalisation(saved):
    card = {"inputs": {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]}}
    saved.with_name("model.json").write_text(json.dumps(card))
    asked = Settings(network="timm/test_resnet", weights=str(saved))
    assert plan.normalisation(asked, 3) == ([0.1, 0.2, 0.3], [0.4, 0.5, 0.6])
    assert plan.normalisation(asked, 1) != ([0.1, 0.2, 0.3], [0.4, 0.5, 0.6])
    assert plan.normalisation(dataclasses.replace(asked, network="wide_resnet"), 3)[0] == [0.1, 0.2, 0.3]


def test_without_weights_the_data_are_asked():
    assert plan.normalisation(Settings(network="timm/test_resnet"), 3) is None
    assert plan.normalisation(Settings(network="small_cnn"), 1) is None


def test_own_weights_without_a_card_take_the_data(saved):
    assert plan.normalisation(Settings(network="small_cnn", weights=str(saved)), 3) is None


# Building


@pytest.mark.parametrize("network", ["small_cnn", "wide_resnet", "test_resnet", "test_convnext"])
def test_a_network_is_built_again_from_its_description(network):
    chosen, _ = complete(pictures(32), network=network, device="cpu")
    torch.manual_seed(3)
    net, spec = built(chosen, pictures(32))
    torch.manual_seed(3)
    again = plan.network_from(json.loads(json.dumps(spec)))
    assert net.state_dict().keys() == again.state_dict().keys()
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in net.state_dict().items())
    inputs = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(net.eval()(inputs).logits, again.eval()(inputs).logits)


def test_a_network_that_starts_from_weights_says_from_which(saved):
    data = pictures(32)
    chosen, _ = complete(data, network="test_resnet", weights=str(saved), device="cpu")
    net, spec = built(chosen, data)
    tensors = safetensors.torch.load_file(saved)
    assert torch.equal(net.model.conv1[0].weight, tensors["conv1.0.weight"])
    assert net.model.fc.weight.shape[0] == 2
    assert spec["weights"]["file"] == "weights.safetensors"
    assert len(spec["weights"]["sha256"]) == 64
    assert isinstance(plan.network_from(spec), TimmBackbone)  # needs no weights file


def test_own_networks_start_from_weights_too(tmp_path):
    path = tmp_path / "own.safetensors"
    torch.manual_seed(1)
    tensors = SmallCNN(3, (32, 32), 2, 32).state_dict()
    safetensors.torch.save_file(tensors, path)
    chosen, reasons = complete(pictures(32), network="small_cnn", weights=str(path), device="cpu")
    assert reasons["weights"] == "the classifier's too, of 2 classes"
    net, spec = built(chosen, pictures(32))
    assert all(torch.equal(value, tensors[key]) for key, value in net.state_dict().items())
    with pytest.raises(StateError) as caught:
        built(dataclasses.replace(chosen, width=8), pictures(32))
    assert caught.value.code == "C061"
    assert plan.network_from(spec).state_dict().keys() == tensors.keys()


@pytest.mark.parametrize(("network", "data"), [("resnet18", vectors()), ("mlp", pictures(32))], ids=["timm", "mlp"])
def test_a_network_for_other_data_is_refused(network, data):
    with pytest.raises(DataError) as caught:
        built(complete(data, network=network, device="cpu")[0], data)
    assert caught.value.code == "D112"


def test_a_network_too_deep_for_the_pictures_is_refused_in_words():
    chosen, _ = complete(pictures(8), network="test_convnext", device="cpu")
    with pytest.raises(UsageError, match="8 × 8 pixels"):
        built(chosen, pictures(8))


# Training


@pytest.mark.parametrize(("network", "side"), [("test_vit", 32), ("resnet18", 224)])
def test_two_steps_of_fixmatch_with_a_timm_model(network, side):
    few = {"steps": 2, "labeled_batch": 2, "unlabeled_batch": 2, "threshold": 0.0}
    done = go(fit_with(network, pictures(side, count=16), **few))
    assert done.state.step == 2
    assert np.isfinite(done.recorder.lines[-1]["loss"])
    assert isinstance(done.state.net.model, TimmBackbone)
