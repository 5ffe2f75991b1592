"""Any timm model as a network: its contract, its sizes, its weights, and that nothing is downloaded unasked."""

import copy
import json
import os
import pickle
import socket
import subprocess
import sys

import huggingface_hub
import pytest
import safetensors.torch
import timm
import torch

from semilla import config
from semilla.contract import Net, Output, View
from semilla.errors import ResourceError, SafetyError, StateError, UsageError
from semilla.networks import SmallCNN, timm_backbone, weights
from semilla.networks.timm_backbone import TimmBackbone

MODELS = {
    "test_resnet": 8,
    "resnet18": 32,
    "test_vit": 32,
    "test_convnext": 32,
    "test_efficientnet": 32,
    "mobilenetv3_small_050": 32,
    "test_byobnet": 32,
    "test_nfnet": 32,
}
CLASSES = 5


def build(name, channels=3, size=None, classes=CLASSES, seed=0, given=None):
    torch.manual_seed(seed)
    side = size or MODELS[name]
    return TimmBackbone(name, channels, side if isinstance(side, tuple) else (side, side), classes, given)


def pictures(channels, size, count=2):
    torch.manual_seed(7)
    return torch.randn(count, channels, size, size)


def same(left, right):
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def save(tensors, path):
    safetensors.torch.save_file({name: value.contiguous().clone() for name, value in tensors.items()}, path)
    return path


@pytest.fixture
def offline(monkeypatch):
    """Whoever opens a connection or asks for a name is noted and refused."""
    tried = []

    def refuse(*arguments, **options):
        tried.append(arguments)
        raise OSError("there is no network in this test")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    return tried


# The contract of a network


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", MODELS)
def test_logits_are_timms_own_and_come_from_the_features(name, channels):
    network = build(name, channels).eval()
    inputs = pictures(channels, MODELS[name])
    output = network(inputs)
    classifier = network.model.get_classifier()
    assert isinstance(output, Output)
    assert output.logits.shape == (2, CLASSES)
    assert output.features.shape == (2, classifier.in_features)
    torch.testing.assert_close(output.logits, network.model(inputs))
    torch.testing.assert_close(output.logits, classifier(output.features))
    assert not torch.allclose(output.features[0], output.features[1])


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_convnext"])
def test_it_trains_inside_a_net_and_can_be_copied(name):
    net = Net(build(name))
    twin = copy.deepcopy(net)
    output = net(View(pictures(3, MODELS[name], 4)))
    output.logits.square().mean().backward()
    assert all(weight.grad is not None for weight in net.parameters())
    assert all(weight.grad is None for weight in twin.parameters())
    assert all(key.startswith("model.model.") for key in net.state_dict())


def test_the_name_may_have_a_prefix_and_a_tag():
    plain = build("test_resnet").state_dict()
    for name in ("timm/test_resnet", "timm/test_resnet.r160_in1k"):
        assert same(build(name, size=8).state_dict(), plain)
    assert not same(build("test_resnet", seed=1).state_dict(), plain)


@pytest.mark.parametrize("size", [16, 32, 80, (32, 48)])
def test_a_transformer_is_made_for_the_size_of_the_pictures(size):
    height, width = size if isinstance(size, tuple) else (size, size)
    network = build("test_vit", 3, size).eval()
    network.probe((3, height, width))
    assert network.model.patch_embed.num_patches == (height // 16) * (width // 16)
    assert network(torch.zeros(1, 3, height, width)).logits.shape == (1, CLASSES)


@pytest.mark.parametrize(("name", "size"), [("test_vit", 20), ("test_convnext", 8)])
def test_a_size_that_does_not_fit_is_told_in_words(name, size):
    with pytest.raises(UsageError) as caught:
        build(name, size=size).probe((3, size, size))
    assert caught.value.code == "U061"
    assert f"{size} × {size} pixels" in caught.value.message
    assert "size=" in caught.value.fix


def test_trying_a_picture_changes_nothing():
    network = build("test_resnet").train()
    before, drawn = copy.deepcopy(network.state_dict()), torch.get_rng_state()
    network.probe((3, 8, 8))
    assert network.training
    assert same(network.state_dict(), before)
    assert torch.equal(torch.get_rng_state(), drawn)


def test_a_model_with_two_classifiers_is_refused():
    with pytest.raises(UsageError, match="one linear classifier") as caught:
        build("levit_128s", size=32)
    assert caught.value.code == "U061"


def test_a_model_that_is_more_than_features_and_classifier_is_refused(monkeypatch):
    network = build("test_resnet")
    whole = network.model.forward
    monkeypatch.setattr(network.model, "forward", lambda inputs: 2 * whole(inputs) + 1)
    with pytest.raises(UsageError, match="more than features"):
        network.probe((3, 8, 8))


# Names


def test_the_names_read_from_timms_files_are_those_timm_lists():
    assert config.timm_models() == set(timm.list_models())


@pytest.mark.parametrize("word", ["resnet18", "timm/resnet18", "resnet18.a1_in1k"])
def test_a_timm_name_is_resolved(word):
    assert config.network_name(word) == f"timm/{word.removeprefix('timm/')}"
    assert config.settings("uda", {}, {"network": word}).network == config.network_name(word)


@pytest.mark.parametrize("word", config.OWN_NETWORKS)
def test_networks_of_semillas_own_come_first(word, monkeypatch):
    monkeypatch.setattr(config, "timm_models", lambda: pytest.fail("timm was asked"))
    assert config.network_name(word) == word


@pytest.mark.parametrize(
    ("word", "near"),
    [("wideresnet", "'wide_resnet'"), ("resnet1", "'resnet18'"), ("convnext_ato", "'convnext_atto'"), ("vit", "'vit_")],
)
def test_an_unknown_name_is_told_with_the_nearest(word, near):
    with pytest.raises(UsageError) as caught:
        config.settings("uda", {}, {"network": word})
    assert caught.value.code == "U005"
    assert repr(word) in caught.value.message
    assert near in caught.value.fix


@pytest.mark.parametrize("word", ["hf_hub:timm/resnet18", "local-dir:places/x", "timm/", "", "timm/../resnet18"])
def test_names_that_would_lead_elsewhere_are_unknown(word):
    with pytest.raises(UsageError, match="is not one of"):
        config.network_name(word)


@pytest.fixture
def without_timm(monkeypatch):
    config.timm_models.cache_clear()
    monkeypatch.setattr(config, "find_spec", lambda name: None)
    monkeypatch.setitem(sys.modules, "timm", None)
    yield
    config.timm_models.cache_clear()


@pytest.mark.parametrize(("word", "hint"), [("resnet18", "pip install"), ("smallcnn", "'small_cnn'")])
def test_without_timm_the_command_that_installs_it_is_told(without_timm, word, hint):
    with pytest.raises(UsageError) as caught:
        config.network_name(word)
    assert "timm" in caught.value.message
    assert hint in caught.value.fix
    assert "pip install 'semilla[timm]'" in caught.value.fix


def test_a_saved_model_of_timm_without_timm_says_what_is_missing(without_timm):
    with pytest.raises(UsageError) as caught:
        build("test_resnet")
    assert caught.value.code == "U060"
    assert caught.value.fix == "pip install 'semilla[timm]'"


def test_own_networks_need_neither_timm_nor_its_import():
    code = "import sys, semilla.training.plan, semilla.training.optimizers; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", f"import json; {code}"], capture_output=True, text=True, check=True, env={**os.environ}
    )
    assert not {"timm", "torchvision", "huggingface_hub"} & set(json.loads(done.stdout))


def test_a_wrong_word_is_told_without_pytorch():
    code = """
import sys
from semilla.config import settings
from semilla.errors import UsageError
for word in ("resnet18", "resnet1234567"):
    try:
        settings("uda", {}, {"network": word})
    except UsageError:
        print("refused")
assert not {"torch", "timm"} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["refused"]


# Weights


@pytest.mark.parametrize("name", ["resnet18", "test_vit", "test_convnext", "test_efficientnet"])
def test_saved_weights_come_back_equal(name, tmp_path, offline):
    saved = build(name, seed=1)
    path = save(saved.model.state_dict(), tmp_path / "weights.safetensors")
    loaded = build(name, given=weights.read(path))
    assert same(loaded.state_dict(), saved.state_dict())
    assert "state_dict" not in {key for key, value in loaded.model.pretrained_cfg.items() if value is not None}
    assert offline == []


def test_a_finished_model_can_be_started_from(tmp_path):
    net = Net(build("test_resnet", seed=1), {"rotation": torch.nn.Linear(96, 4)})
    path = save(net.state_dict(), tmp_path / "model.safetensors")
    assert same(build("test_resnet", given=weights.read(path)).state_dict(), net.model.state_dict())
    own = Net(SmallCNN(1, (8, 8), 3, 4), {"rotation": torch.nn.Linear(16, 4)})
    fresh = SmallCNN(1, (8, 8), 3, 4)
    weights.load(fresh, weights.read(save(own.state_dict(), tmp_path / "own.safetensors")), "classifier")
    assert same(fresh.state_dict(), own.model.state_dict())


@pytest.mark.parametrize("name", ["test_resnet", "test_vit"])
def test_only_a_classifier_of_other_classes_starts_anew(name, tmp_path):
    saved = build(name, classes=7, seed=1)
    path = save(saved.model.state_dict(), tmp_path / "w.safetensors")
    assert weights.classes_of(weights.shapes(path), timm_backbone.pretraining(name)["classifier"]) == 7
    loaded, fresh = build(name, given=weights.read(path)).state_dict(), saved.state_dict()
    different = {key for key in loaded if loaded[key].shape != fresh[key].shape or not loaded[key].equal(fresh[key])}
    last = f"model.{timm_backbone.pretraining(name)['classifier']}"
    assert different == {f"{last}.weight", f"{last}.bias"}


def test_colour_weights_serve_grey_pictures(tmp_path):
    saved = build("resnet18", seed=1)
    path = save(saved.model.state_dict(), tmp_path / "w.safetensors")
    grey = build("resnet18", 1, given=weights.read(path)).eval()
    torch.testing.assert_close(grey.model.conv1.weight, saved.model.conv1.weight.sum(1, keepdim=True))
    inputs = pictures(1, 32)
    torch.testing.assert_close(grey(inputs).logits, saved.eval()(inputs.expand(-1, 3, -1, -1)).logits)


def test_positions_are_resampled_for_another_size(tmp_path):
    saved = build("test_vit", size=64, seed=1)
    path = save(saved.model.state_dict(), tmp_path / "w.safetensors")
    loaded = build("test_vit", size=32, given=weights.read(path))
    assert loaded.model.pos_embed.shape[1] < saved.model.pos_embed.shape[1]
    assert torch.equal(loaded.model.patch_embed.proj.weight, saved.model.patch_embed.proj.weight)


def test_weights_of_another_network_are_refused_by_name(tmp_path):
    tensors = build("test_resnet", seed=1).model.state_dict()
    missing = {name: value for name, value in tensors.items() if name != "layer2.0.conv1.weight"}
    extra = {**tensors, "surplus.weight": torch.zeros(2)}
    shaped = {**tensors, "layer2.0.conv1.weight": torch.zeros(1, 2, 3, 3)}
    for number, (given, told) in enumerate(
        [(missing, "layer2.0.conv1.weight"), (extra, "surplus.weight"), (shaped, "layer2.0.conv1.weight")]
    ):
        path = save(given, tmp_path / f"{number}.safetensors")
        with pytest.raises(StateError) as caught:
            build("test_resnet", given=weights.read(path))
        assert caught.value.code == "C061"
        assert told in caught.value.message
        assert len(caught.value.message) < 1200
    other = weights.read(save(tensors, tmp_path / "other.safetensors"))
    with pytest.raises(StateError) as caught:
        weights.load(SmallCNN(1, (8, 8), 3, 4), other, "classifier")
    assert caught.value.code == "C061"
    assert "body.0.weight" in caught.value.message
    assert "bn1.bias" in caught.value.message


class Trap:
    def __reduce__(self):
        return pytest.fail, ("the pickle was executed",)


@pytest.mark.parametrize("name", ["w.pth", "w.pt", "w.bin", "w.ckpt", "W.PTH", "disguised.safetensors"])
def test_pickles_are_refused_and_never_opened(name, tmp_path):
    path = tmp_path / name
    path.write_bytes(pickle.dumps(Trap()))
    for reader in (weights.find, weights.read, weights.shapes):
        with pytest.raises(SafetyError) as caught:
            reader(path)
        assert (caught.value.code, caught.value.exit_code) == ("S021", 7)
        assert ".safetensors" in caught.value.fix


def header_of(first):
    """A whole safetensors file of one tensor whose header's length begins with the given byte."""
    for extra in range(1024):
        metadata = {"note": "x" * extra}
        written = safetensors.torch.save({"a": torch.arange(8.0)}, metadata)
        if written[0] == first:
            return written
    raise AssertionError(f"no header's length begins with {first:#x}")


@pytest.mark.parametrize("first", [0x80, ord("P")])
def test_a_file_whose_length_begins_like_a_pickle_or_an_archive_is_read(first, tmp_path):
    """One file in 256 begins with a pickle's first byte."""
    path = tmp_path / "w.safetensors"
    path.write_bytes(header_of(first))
    assert torch.equal(weights.read(path).tensors["a"], torch.arange(8.0))
    assert weights.shapes(path) == {"a": (8,)}


def test_a_length_of_pk_is_read_too(tmp_path):
    """Both letters of an archive's mark: a header of 19,280 bytes."""
    text = json.dumps({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).ljust(
        int.from_bytes(b"PK", "little")
    )
    path = tmp_path / "w.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text.encode() + bytes(8))
    assert path.read_bytes().startswith(b"PK")
    assert weights.read(path).tensors["a"].tolist() == [0, 0]


class Braced:
    """What a pickle would run, were it read."""

    def __reduce__(self):
        return pytest.fail, ("the pickle was executed",)


@pytest.mark.parametrize("name", ["w.safetensors", "w"])
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_pickle_with_a_brace_in_ninth_place_is_refused(protocol, name, tmp_path):
    """Read as a length, what stands before it is more than the file has."""
    content = pickle.dumps(Braced(), protocol)
    forged = content[:2] + b"U\x05abcd{0" + content[2:]  # a string that is dropped again puts the brace there
    assert forged[8:9] == b"{"
    with pytest.raises(BaseException, match="executed"):
        pickle.loads(forged)
    path = tmp_path / name
    path.write_bytes(forged)
    assert int.from_bytes(forged[:8], "little") > len(forged)
    for reader in (weights.find, weights.read, weights.shapes):
        with pytest.raises(SafetyError) as caught:
            reader(path)
        assert caught.value.code == "S021"


def test_an_archive_called_safetensors_is_refused_as_well(tmp_path):
    (tmp_path / "w.safetensors").write_bytes(b"PK\x03\x04" + bytes(100))
    with pytest.raises(SafetyError):
        weights.read(tmp_path / "w.safetensors")


def test_damaged_foreign_and_absent_files(tmp_path):
    whole = save({"a": torch.zeros(50)}, tmp_path / "w.safetensors").read_bytes()
    for content, code in ((whole[:-20], "C060"), (whole[:30], "C060"), (b"hello, hello", "C060"), (b"", "C060")):
        path = tmp_path / "cut.safetensors"
        path.write_bytes(content)
        for reader in (weights.read, weights.shapes):
            with pytest.raises(StateError) as caught:
                reader(path)
            assert caught.value.code == code
    for path in (tmp_path / "none.safetensors", tmp_path):
        with pytest.raises(UsageError) as caught:
            weights.read(path)
        assert caught.value.code == "U062"


def test_a_linked_file_is_read_where_it_lies(tmp_path):
    save({"a": torch.ones(2)}, tmp_path / "blob")
    (tmp_path / "w.safetensors").symlink_to("blob")
    assert torch.equal(weights.read(tmp_path / "w.safetensors").tensors["a"], torch.ones(2))


# The network is asked only when the user asks


def test_nothing_is_downloaded_unasked(offline):
    for name in ("resnet18", "test_vit"):
        build(name)
        assert timm_backbone.pretraining(name)["size"] >= 160
    assert offline == []


def test_weights_from_the_hub_without_a_network_say_what_to_do(offline, tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)  # or the client tries for half a minute
    with pytest.raises(ResourceError) as caught:
        timm_backbone.download("test_resnet")
    assert caught.value.code == "R060"
    assert "timm/test_resnet.r160_in1k" in caught.value.message
    assert "weights=PATH.safetensors" in caught.value.fix


def test_weights_from_the_hub_are_the_published_safetensors(tmp_path, monkeypatch):
    saved = build("test_resnet", seed=1)
    path = save(saved.model.state_dict(), tmp_path / "model.safetensors")
    asked = []
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda *words: asked.append(words) or str(path))
    loaded = build("test_resnet", given=timm_backbone.download("timm/test_resnet"))
    assert asked == [("timm/test_resnet.r160_in1k", "model.safetensors")]
    assert same(loaded.state_dict(), saved.state_dict())


def test_a_model_without_published_safetensors_is_told(offline):
    with pytest.raises(UsageError) as caught:
        timm_backbone.download("test_mambaout")
    assert caught.value.code == "U061"
    assert offline == []
