"""A trained model on inputs of any arrangement, in batches of any size, and networks of the user's own."""

import dataclasses
import json

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image
from torch import nn

from semilla.contract import Net
from semilla.errors import DataError, SemillaError, StateError
from semilla.fitting import fit
from semilla.inference import forward
from semilla.inference.model import CARD, FORMAT, WEIGHTS, Model, arrange, load, make_views, read_run, save_model
from semilla.networks import MLP, SmallCNN

GREY = {"kind": "images", "shape": [1, 8, 9], "mean": [0.3], "std": [0.4], "flip": False}
COLOUR = {"kind": "images", "shape": [3, 8, 9], "mean": [0.3, 0.4, 0.5], "std": [0.4] * 3, "flip": True}
VECTORS = {"kind": "vectors", "shape": [5], "mean": [0.0] * 5, "std": [1.0, 2.0, 3.0, 4.0, 5.0], "flip": False}
CLASSES = ("a", "b", "c")


def model_of(inputs):
    torch.manual_seed(0)
    if inputs["kind"] == "vectors":
        spec = {"name": "mlp", "inputs": 5, "classes": 3, "width": 8}
        network = MLP(5, 3, 8)
    else:
        spec = {"name": "small_cnn", "channels": inputs["shape"][0], "size": [8, 9], "classes": 3, "width": 4}
        network = SmallCNN(inputs["shape"][0], (8, 9), 3, 4)
    net = Net(network)
    with torch.no_grad():
        for name, buffer in net.named_buffers():
            if "running" in name:
                buffer.uniform_(0.5, 1.5)  # as after some training, so that a network left in training mode shows
    return Model(net.eval(), CLASSES, {"inputs": inputs, "classes": list(CLASSES), "network": spec}, make_views(inputs))


def examples(inputs, count, seed=0):
    draw = np.random.default_rng(seed)
    if inputs["kind"] == "vectors":
        return draw.normal(size=(count, 5)).astype(np.float32)
    return draw.integers(0, 256, (count, *inputs["shape"]), dtype=np.uint8)


@pytest.mark.parametrize("inputs", [GREY, COLOUR, VECTORS], ids=["grey", "colour", "vectors"])
def test_probabilities_and_names(inputs):
    model, x = model_of(inputs), examples(inputs, 7)
    p = model.predict_proba(x)
    assert (p.shape, p.dtype) == ((7, 3), np.float32)
    np.testing.assert_allclose(p.sum(1), 1, atol=1e-6)
    assert model.predict(x) == [CLASSES[index] for index in p.argmax(1)]
    np.testing.assert_array_equal(model(x), p)


@pytest.mark.parametrize("inputs", [GREY, COLOUR, VECTORS], ids=["grey", "colour", "vectors"])
def test_the_size_of_a_batch_does_not_matter(inputs, monkeypatch):
    model, x = model_of(inputs), examples(inputs, 30)
    found = []
    for size in (1, 8, 512):
        monkeypatch.setattr(forward, "PICTURES", size)
        monkeypatch.setattr(forward, "VECTORS", size)
        found.append(model.predict_proba(x))
    np.testing.assert_allclose(found[0], found[2], atol=1e-6)
    np.testing.assert_allclose(found[1], found[2], atol=1e-6)
    np.testing.assert_allclose(model.predict_proba(x[::-1])[::-1], found[2], atol=1e-6)


def test_probabilities_are_calibrated_and_names_stay():
    model, x = model_of(COLOUR), examples(COLOUR, 9)
    warm = dataclasses.replace(model, card={**model.card, "calibration": {"temperature": 2.5, "n": 100}})
    scaled = model.logits(x).astype(np.float64) / 2.5
    expected = np.exp(scaled) / np.exp(scaled).sum(1, keepdims=True)
    np.testing.assert_allclose(warm.predict_proba(x), expected, rtol=1e-6)
    np.testing.assert_array_equal(warm.logits(x), model.logits(x))
    assert warm.predict(x) == model.predict(x)
    assert np.abs(warm.predict_proba(x) - model.predict_proba(x)).max() > 0.01


def test_features_are_what_the_classifier_reads():
    model, x = model_of(VECTORS), examples(VECTORS, 6)
    classifier = model.net.model.classifier
    found = torch.from_numpy(model.embed(x)) @ classifier.weight.T + classifier.bias
    np.testing.assert_allclose(found.detach().numpy(), model.logits(x), atol=1e-5)


def test_pictures_by_name(tmp_path):
    model, x = model_of(COLOUR), examples(COLOUR, 3)
    names = [tmp_path / f"{row}.png" for row in range(3)]
    for name, pixels in zip(names, x, strict=True):
        Image.fromarray(pixels.transpose(1, 2, 0)).save(name)
    np.testing.assert_array_equal(model.predict_proba(names), model.predict_proba(x))
    assert model.predict(str(names[1])) == model.predict(x)[1:2]
    names[2].write_bytes(b"none")
    with pytest.raises(DataError, match=r"2\.png.*not an image") as caught:
        model(names)
    assert caught.value.code == "D014"
    with pytest.raises(StateError, match="vectors"):
        model_of(VECTORS).predict(names)


def test_rows_are_gathered_a_block_at_a_time():
    class Pool:
        shape, dtype, largest = (40, 1, 8, 9), np.dtype(np.uint8), 0

        def __len__(self):
            return 40

        def __getitem__(self, rows):
            picked = examples(GREY, 40)[rows]
            Pool.largest = max(Pool.largest, len(picked))
            return picked

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(forward, "PICTURES", 16)
        np.testing.assert_allclose(model_of(GREY)(Pool()), model_of(GREY)(examples(GREY, 40)), atol=1e-7)
    assert Pool.largest == 16


def test_predicting_leaves_the_model_as_it_was():
    model = model_of(GREY)
    model.net.train()
    before = {name: value.clone() for name, value in model.net.state_dict().items()}
    model.predict_proba(examples(GREY, 5))
    assert model.net.training
    assert all(torch.equal(value, before[name]) for name, value in model.net.state_dict().items())


def test_no_example_gives_no_row():
    assert model_of(GREY).predict_proba(np.zeros((0, 8, 9), np.uint8)).shape == (0, 3)
    assert model_of(VECTORS).predict(np.zeros((0, 5))) == []


def test_grey_pictures_in_any_arrangement():
    x = examples(GREY, 4)
    for given in (x, x[:, 0], np.moveaxis(x, 1, 3), x.tolist()):
        given = np.asarray(given, dtype=np.uint8)
        np.testing.assert_array_equal(arrange(given, GREY), x)


def test_colour_pictures_in_any_arrangement():
    x = examples(COLOUR, 4)
    np.testing.assert_array_equal(arrange(x, COLOUR), x)
    np.testing.assert_array_equal(arrange(np.moveaxis(x, 1, 3), COLOUR), x)
    model = model_of(COLOUR)
    np.testing.assert_array_equal(model.predict_proba(x), model.predict_proba(np.moveaxis(x, 1, 3)))


def test_vectors_of_any_number_type():
    whole = np.arange(10).reshape(2, 5)
    assert arrange(whole, VECTORS).dtype == np.float32
    np.testing.assert_array_equal(arrange(whole.astype(np.float64), VECTORS), whole)


@pytest.mark.parametrize(
    ("inputs", "given"),
    [
        (GREY, np.zeros((2, 9, 8), np.uint8)),
        (GREY, np.zeros((8, 9), np.uint8)),
        (GREY, np.zeros((2, 3, 8, 9), np.uint8)),
        (GREY, np.zeros((2, 8, 9), np.float32)),
        (COLOUR, np.zeros((2, 8, 9), np.uint8)),
        (COLOUR, np.zeros((8, 9, 3), np.uint8)),
        (VECTORS, np.zeros((2, 6))),
        (VECTORS, np.zeros(5)),
    ],
)
def test_other_shapes_and_types_are_refused_with_both_named(inputs, given):
    with pytest.raises(StateError) as caught:
        arrange(given, inputs)
    assert caught.value.code == "C020"
    assert str(given.shape) in caught.value.message
    assert str(given.dtype) in caught.value.message
    assert f"(N, {', '.join(map(str, inputs['shape']))})" in caught.value.message


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_vector_that_is_not_finite_is_refused(value):
    x = examples(VECTORS, 3)
    x[1, 2] = value
    with pytest.raises(SemillaError, match="row 1"):
        model_of(VECTORS).predict_proba(x)


def test_vectors_of_text_are_refused():
    with pytest.raises(SemillaError):
        model_of(VECTORS).predict_proba(np.array([["a"] * 5]))


# To the disk and back


@pytest.mark.parametrize("inputs", [GREY, COLOUR, VECTORS], ids=["grey", "colour", "vectors"])
def test_a_saved_model_predicts_the_same(tmp_path, inputs):
    model, x = model_of(inputs), examples(inputs, 9)
    save_model(tmp_path, model.net, model.card)
    again = load(tmp_path)
    assert again.classes == CLASSES
    np.testing.assert_array_equal(again.predict_proba(x), model.predict_proba(x))
    assert not again.net.training
    assert not any(weight.requires_grad for weight in again.net.parameters())


def test_heads_of_training_are_left_behind(tmp_path):
    model = model_of(GREY)
    save_model(tmp_path, Net(model.net.model, {"rotation": nn.Linear(16, 4)}), model.card)
    assert "heads.rotation.weight" in safetensors.torch.load_file(tmp_path / WEIGHTS)
    assert load(tmp_path).predict(examples(GREY, 2)) == model.predict(examples(GREY, 2))


def test_files_that_do_not_fit_together_are_refused(tmp_path):
    model = model_of(GREY)
    save_model(tmp_path, model.net, model.card)
    card = json.loads((tmp_path / CARD).read_text())
    card["network"]["width"] = 8
    (tmp_path / CARD).write_text(json.dumps(card))
    with pytest.raises(StateError, match="does not fit") as caught:
        load(tmp_path)
    assert caught.value.code == "C022"


def test_a_damaged_model_file_is_refused(tmp_path):
    model = model_of(GREY)
    save_model(tmp_path, model.net, model.card)
    path = tmp_path / WEIGHTS
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(SemillaError):
        load(tmp_path)


def test_a_card_of_a_newer_format_is_refused(tmp_path):
    model = model_of(GREY)
    save_model(tmp_path, model.net, model.card)
    card = json.loads((tmp_path / CARD).read_text())
    (tmp_path / CARD).write_text(json.dumps({**card, "format": FORMAT + 1}))
    with pytest.raises(StateError, match="newer"):
        load(tmp_path)


def test_which_fit_is_meant(tmp_path):
    with pytest.raises(StateError) as caught:
        load(tmp_path)
    assert caught.value.code == "C023"
    model = model_of(GREY)
    for name in ("uda-0", "uda-1"):
        (tmp_path / "fits" / name).mkdir(parents=True)
        save_model(tmp_path / "fits" / name, model.net, model.card)
    with pytest.raises(StateError, match="uda-0, uda-1") as caught:
        load(tmp_path)
    assert caught.value.code == "C024"
    assert load(tmp_path, fit="uda-1").classes == CLASSES
    assert load(tmp_path / "fits" / "uda-0").classes == CLASSES


def test_a_folder_that_is_no_run_names_the_runs_there_are(tmp_path):
    model = model_of(GREY)
    for name in ("digits-1", "photos-1"):
        fit_folder = tmp_path / "runs" / name / "fits" / "uda-0"
        fit_folder.mkdir(parents=True)
        save_model(fit_folder, model.net, model.card)
    (tmp_path / "runs" / "notes").mkdir()

    def refused(path):
        told = []
        for ask in (load, read_run):
            with pytest.raises(StateError) as caught:
                ask(path)
            assert caught.value.code == "C023"
            told.append((caught.value.message, caught.value.fix))
        assert told[0] == told[1]
        return told[0]

    runs = tmp_path / "runs"
    assert refused(runs / "digits") == (f"there is no folder '{runs}/digits'", f"did you mean '{runs}/digits-1'?")
    assert refused(runs / "xyz")[1] == f"runs in '{runs}': digits-1, photos-1"
    assert refused(tmp_path / "none" / "xyz")[1] == "name a folder that semilla train made"
    assert refused(runs) == (
        f"'{runs}' is no run; it holds 2: digits-1, photos-1",
        f"name one, as in '{runs}/digits-1'",
    )
    with pytest.raises(StateError, match="no finished model"):
        load(runs / "notes")
    assert read_run(runs / "notes") == {}


# A network of the user's own


class Own(nn.Module):
    def __init__(self, answer="pair"):
        super().__init__()
        self.hidden, self.classifier, self.answer = nn.Linear(64, 12), nn.Linear(12, 10), answer

    def forward(self, inputs):
        features = self.hidden(inputs.flatten(1)).relu()
        logits = self.classifier(features)
        return {"pair": (logits, features), "tensor": logits, "one": (logits,), "list": [logits, features]}[self.answer]


OPTIONS = {"labels": 40, "recipe": None, "steps": 4, "labeled_batch": 8, "unlabeled_batch": 8, "threads": 1}


def test_a_network_of_ones_own_is_trained_saved_and_loaded(tmp_path):
    result = fit("digits", method="fixmatch", network=Own(), out=tmp_path, device="cpu", **OPTIONS)
    images = np.zeros((3, 8, 8), np.uint8)
    with pytest.raises(StateError, match="network=") as caught:
        load(tmp_path)
    assert caught.value.code == "C021"
    again = load(tmp_path, network=Own())
    np.testing.assert_array_equal(again.predict_proba(images), result.model.predict_proba(images))


@pytest.mark.parametrize("answer", ["tensor", "one"])
def test_a_forward_without_features_is_told_what_is_missing(answer):
    with pytest.raises(TypeError, match=r"Own\.forward must return \(logits, features\)"):
        fit("digits", method="supervised", network=Own(answer), device="cpu", **OPTIONS)


def test_a_network_with_another_number_of_classes_is_refused():
    class Narrow(Own):
        def __init__(self):
            super().__init__()
            self.classifier = nn.Linear(12, 4)

    with pytest.raises(SemillaError, match="10"):
        fit("digits", method="supervised", network=Narrow(), device="cpu", **OPTIONS)


def test_the_network_given_stays_as_it_is():
    own = Own().eval()
    start = own.classifier.weight.detach().clone()
    first, again = (fit("digits", method="supervised", network=own, device="cpu", **OPTIONS) for _ in range(2))
    assert torch.equal(own.classifier.weight, start)
    assert not own.training
    trained = first.model.net.model.classifier.weight
    assert not torch.equal(trained, start)
    assert torch.equal(trained, again.model.net.model.classifier.weight)
