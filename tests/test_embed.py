"""Frozen features as a data set: what is written, that it can be trained on, and the graph method on vectors."""

import dataclasses
import hashlib
import io
import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import safetensors.torch
import torch
from click.testing import CliRunner
from PIL import Image

from semilla.cli import cli
from semilla.contract import Net
from semilla.data.arrays import from_arrays
from semilla.data.dataset import split
from semilla.data.labels import choose_labels
from semilla.data.source import Source
from semilla.data.sources import load
from semilla.embedding import embed
from semilla.errors import DataError, SafetyError, StateError, UsageError
from semilla.evidence.graph import label_spreading
from semilla.fitting import fit
from semilla.inference.files import predict
from semilla.inference.model import save_model
from semilla.networks import SmallCNN
from semilla.networks.timm_backbone import TimmBackbone, pretraining

SMALL = {"width": 4, "labeled_batch": 12, "unlabeled_batch": 8, "threads": 1, "device": "cpu", "recipe": None}


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SEMILLA_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def digits():
    return load("digits")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Digits through a small network with random weights, as both kinds of file."""
    folder = tmp_path_factory.mktemp("written")
    said = []
    about = {
        suffix: embed("digits", folder / f"e.{suffix}", network="test_resnet", device="cpu", say=said.append)
        for suffix in ("npz", "parquet")
    }
    return folder, about, said


def read(path):
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


# What is written


def test_every_example_of_every_part_is_there(written, digits):
    arrays = read(written[0] / "e.npz")
    for part, count in (("train", 897), ("development", 400), ("test", 500)):
        assert (arrays[f"x_{part}"].shape, arrays[f"x_{part}"].dtype) == ((count, 96), np.float32)
        assert arrays[f"path_{part}"][3] == f"x_{part}#3"
    assert arrays["y_test"].tolist() == [digits.classes[label] for label in digits.test.labels]
    assert arrays["classes"].tolist() == list(digits.classes)


def test_the_features_are_what_the_classifier_reads_through_the_plain_view(written, digits):
    torch.manual_seed(0)
    network = TimmBackbone("test_resnet", 1, (8, 8), 10).eval()
    pool = digits.inputs.astype(np.float64)
    pixels = torch.from_numpy(((digits.test.inputs[:20] - pool.mean()) / pool.std()).astype(np.float32))
    with torch.no_grad():
        expected = network(pixels).features.numpy()
    np.testing.assert_allclose(read(written[0] / "e.npz")["x_test"][:20], expected, rtol=1e-4, atol=1e-5)


def test_the_file_is_a_data_set_of_vectors(written, digits):
    found = load(written[0] / "e.npz")
    assert (found.kind, found.classes, found.inputs.shape) == ("vectors", digits.classes, (897, 96))
    np.testing.assert_array_equal(found.labels, digits.labels)
    np.testing.assert_array_equal(found.test.labels, digits.test.labels)
    result = fit(found, labels=40, method="fixmatch", steps=5, **SMALL)
    assert result.settings.network == "mlp"
    assert 0 <= result.scores["test/accuracy"] <= 1


def test_the_table_says_the_same(written):
    arrays, table = read(written[0] / "e.npz"), pq.read_table(written[0] / "e.parquet")
    assert table.column_names == ["id", "split", "label", "embedding"]
    rows = table.filter(np.array(table["split"].to_pylist()) == "test")
    np.testing.assert_array_equal(np.stack(rows["embedding"].to_pylist()).astype(np.float32), arrays["x_test"])
    assert rows["label"].to_pylist() == arrays["y_test"].tolist()
    assert rows["id"].to_pylist() == arrays["path_test"].tolist()


def test_the_table_is_a_data_set_of_vectors_too(written):
    table, arrays = load(written[0] / "e.parquet"), load(written[0] / "e.npz")
    assert (table.kind, table.classes) == ("vectors", arrays.classes)
    np.testing.assert_array_equal(table.labels, arrays.labels)
    scale = arrays.inputs.std(0)  # a table's columns are standardised
    expected = (arrays.inputs - arrays.inputs.mean(0)) / np.where(scale > 1e-6, scale, np.inf)
    varied = scale > 1e-3
    np.testing.assert_allclose(table.inputs[:][:, varied], expected[:, varied], rtol=1e-3, atol=1e-3)
    assert len(table.test) == 500


def test_it_is_said_where_the_features_come_from(written):
    folder, about, said = written
    saved = json.loads((folder / "e.npz.json").read_text())
    assert saved == about["npz"]
    assert saved["sha256"] == hashlib.sha256((folder / "e.npz").read_bytes()).hexdigest()
    assert saved["network"]["name"] == "timm/test_resnet"
    assert saved["weights"] == {"random": True, "seed": 0}
    assert saved["data"]["examples"] == {"train": 897, "development": 400, "test": 500}
    assert (saved["data"]["source"]["data"], saved["width"]) == ("digits", 96)
    assert any("random" in line and "baseline" in line for line in said)


def test_the_same_words_give_the_same_file(written, tmp_path):
    embed("digits", tmp_path / "e.npz", network="timm/test_resnet", device="cpu")
    first, second = read(written[0] / "e.npz"), read(tmp_path / "e.npz")
    assert all(np.array_equal(first[name], second[name]) for name in first)
    embed("digits", tmp_path / "other.npz", network="test_resnet", seed=1, device="cpu")
    assert not np.array_equal(read(tmp_path / "other.npz")["x_test"], first["x_test"])


def test_labels_that_are_not_known_stay_unknown(tmp_path):
    draw = np.random.default_rng(0)
    x = draw.integers(0, 256, (30, 16, 16, 3), dtype=np.uint8)
    y = np.array(["ä", "b", ""] * 10)
    data = {"x_train": x, "y_train": y, "x_unlabeled": x[:7]}
    for name in ("e.npz", "e.parquet"):
        embed(data, tmp_path / name, network="small_cnn", device="cpu")
    arrays, found = read(tmp_path / "e.npz"), load(tmp_path / "e.npz")
    assert arrays["y_train"].tolist() == y.tolist()
    assert arrays["x_unlabeled"].shape == (7, arrays["x_train"].shape[1])
    assert "y_unlabeled" not in arrays
    assert (found.classes, len(found.unlabeled), int((found.labels < 0).sum())) == (("b", "ä"), 7, 10)
    table = pq.read_table(tmp_path / "e.parquet")
    assert table["label"].to_pylist() == [label or None for label in y] + [None] * 7
    assert set(table["split"].to_pylist()) == {"train"}


def test_pictures_keep_their_names(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / "data" / name).mkdir(parents=True)
        for number in range(6):
            pixels = np.full((20, 24, 3), 20 * number + (name == "cat"), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "data" / name / f"{number}.png")
    about = embed(tmp_path / "data", tmp_path / "e.npz", network="test_resnet", device="cpu")
    arrays = read(tmp_path / "e.npz")
    named = dict(zip(arrays["path_train"].tolist(), arrays["y_train"].tolist(), strict=True))
    assert named == {f"{name}/{number}.png": name for name in ("cat", "dog") for number in range(6)}
    assert about["network"]["size"] == [20, 24]


def test_features_of_a_finished_run(tmp_path, digits):
    run = tmp_path / "run"
    done = fit("digits", labels=40, method="supervised", steps=5, out=run, **SMALL)
    about = embed("digits", tmp_path / "e.npz", run=run, device="cpu")
    arrays = read(tmp_path / "e.npz")
    np.testing.assert_allclose(arrays["x_test"], done.model.embed(digits.test.inputs), rtol=1e-5, atol=1e-6)
    assert about["weights"]["run"].endswith("supervised-0")
    assert len(about["weights"]["sha256"]) == 64
    assert about["network"]["name"] == "small_cnn"


def save_colored(folder, count=8):
    """Color pictures of several sizes in two classes, and a test part."""
    draw = np.random.default_rng(0)
    for number in range(count):
        for place in ("cat", "dog", "test/cat"):
            (folder / place).mkdir(parents=True, exist_ok=True)
            pixels = draw.integers(0, 256, (20 + number, 24, 3), np.uint8)
            Image.fromarray(pixels).save(folder / place / f"{number}.png")
    return folder


@pytest.mark.parametrize(
    ("shape", "resize"), [([1, 8, 8], "squash"), ([1, 8, 12], "pad"), ([3, 8, 12], "crop")], ids=str
)
def test_pictures_of_files_are_read_as_semilla_predict_reads_them(tmp_path, shape, resize):
    """Whatever their colors and sizes are: by a grey model, and one that is not square."""
    reading = {"resize": resize}
    inputs = {"kind": "images", "shape": shape, "mean": [0.4] * shape[0], "std": [0.2] * shape[0], "flip": False}
    spec = {"name": "small_cnn", "channels": shape[0], "size": shape[1:], "classes": 2, "width": 4}
    net = Net(SmallCNN(shape[0], tuple(shape[1:]), 2, 4)).eval()
    run = tmp_path / "run"
    run.mkdir()
    save_model(run, net, {"network": spec, "classes": ["x", "y"], "inputs": {**inputs, "reading": reading}})
    folder = save_colored(tmp_path / "data")
    about = embed(folder, tmp_path / "e.npz", run=run, device="cpu")
    assert about["data"]["examples"] == {"train": 16, "test": 8}
    assert about["data"]["classes"] == ["cat", "dog"]
    arrays = read(tmp_path / "e.npz")
    assert arrays["y_train"].tolist() == [path.split("/")[0] for path in arrays["path_train"].tolist()]
    for part in ("train", "test"):
        names = [str(folder / path) for path in arrays[f"path_{part}"].tolist()]
        predict(run, names, tmp_path / f"{part}.csv", embeddings=tmp_path / f"{part}.npy", device="cpu", workers=0)
        np.testing.assert_allclose(arrays[f"x_{part}"], np.load(tmp_path / f"{part}.npy"), atol=1e-6)


def test_pictures_that_cannot_be_read_are_told_or_left_out(tmp_path):
    run, folder = tmp_path / "run", save_colored(tmp_path / "data")
    fit("digits", labels=40, method="supervised", steps=2, out=run, **SMALL)
    (folder / "cat" / "bad.png").write_bytes(b"no")
    with pytest.raises(DataError, match=r"1 of 25 pictures cannot be read; first: cat/bad\.png") as caught:
        embed(folder, tmp_path / "e.npz", run=run, device="cpu")
    assert caught.value.code == "D014"
    said = []
    skip = Source(str(folder), on_bad_file="skip", holdout=None)
    assert embed(skip, tmp_path / "e.npz", run=run, device="cpu", say=said.append)["data"]["examples"]["train"] == 16
    assert "left out: 1 of 25" in said[0]
    assert "cat/bad.png" not in read(tmp_path / "e.npz")["path_train"].tolist()


def test_a_table_is_read_as_the_run_read_its_own(tmp_path):
    def table(name, scale):
        draw = np.random.default_rng(0).normal(size=(60, 3)) * scale
        rows = [",".join([*(f"{cell:.5f}" for cell in row), "ab"[k % 2]]) for k, row in enumerate(draw)]
        (tmp_path / name).write_text("\n".join(["u,v,w,label", *rows]) + "\n")
        return tmp_path / name

    fit(table("own.csv", 1.0), labels=20, method="fixmatch", steps=3, out=tmp_path / "run", **SMALL)
    about = embed(tmp_path / "own.csv", tmp_path / "e.npz", run=tmp_path / "run", device="cpu")
    assert about["width"] == 4
    with pytest.raises(StateError) as caught:
        embed(table("other.csv", 100.0), tmp_path / "f.npz", run=tmp_path / "run", device="cpu")
    assert caught.value.code == "C020"


def test_pretrained_weights_bring_their_own_scale(tmp_path):
    path = tmp_path / "w.safetensors"
    torch.manual_seed(5)
    safetensors.torch.save_file(TimmBackbone("test_resnet", 3, (32, 32), 1000).model.state_dict(), path)
    said = []
    about = embed("digits", tmp_path / "e.npz", network="test_resnet", weights=str(path), device="cpu", say=said.append)
    known = pretraining("test_resnet")
    assert about["inputs"]["mean"] == [pytest.approx(sum(known["mean"]) / 3)]
    assert about["weights"] == {"file": "w.safetensors", "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    assert not any("random" in line for line in said)


# What is asked wrongly


@pytest.mark.parametrize(
    ("out", "words"),
    [
        ("e.npz", {}),
        ("e.npz", {"network": "resnet18", "run": "somewhere"}),
        ("e.npz", {"run": "somewhere", "weights": "hub"}),
        ("e.csv", {"network": "resnet18"}),
        ("none/e.npz", {"network": "resnet18"}),
        ("there.npz", {"network": "resnet18"}),
    ],
)
def test_a_request_that_contradicts_itself_is_told_before_anything_is_read(tmp_path, out, words):
    (tmp_path / "there.npz").write_bytes(b"precious")
    with pytest.raises(UsageError) as caught:
        embed("no such data", tmp_path / out, **words)
    assert caught.value.code == "U064"
    assert (tmp_path / "there.npz").read_bytes() == b"precious"


def test_an_error_leaves_no_file_behind(tmp_path, monkeypatch):
    (tmp_path / "w.pt").write_bytes(b"\x80\x02}q\x00.")
    with pytest.raises(SafetyError):
        embed("digits", tmp_path / "e.npz", network="test_resnet", weights=str(tmp_path / "w.pt"))
    with pytest.raises(UsageError, match="cannot read pictures of 8 × 8"):
        embed("digits", tmp_path / "e.npz", network="test_convnext")
    monkeypatch.setattr("semilla.embedding._write_texts", lambda *_: (_ for _ in ()).throw(ZeroDivisionError))
    with pytest.raises(ZeroDivisionError):
        embed("digits", tmp_path / "e.npz", network="small_cnn", device="cpu")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["w.pt"]


def test_the_command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runner = CliRunner()
    done = runner.invoke(cli, ["embed", "digits", "--network", "test_resnet", "-o", "e.npz", "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert (told["ok"], told["width"]) == (True, 96)
    again = runner.invoke(cli, ["embed", "digits", "--network", "test_resnet", "-o", "e.npz", "--device", "cpu"])
    assert again.exception.code == "U064"
    assert (
        runner.invoke(cli, ["embed", "digits", "--network", "small_cnn", "-o", "e.npz", "--overwrite"]).exit_code == 0
    )
    assert runner.invoke(cli, ["embed", "digits", "--network", "mlp"]).exception.code == "D112"
    wrong = runner.invoke(cli, ["embed", "digits", "--network", "resnet1234567"])
    assert wrong.exception.code == "U005"


def test_the_help_does_not_promise_too_much():
    text = " ".join(CliRunner().invoke(cli, ["embed", "--help"]).output.split())
    assert "only a baseline to hold others against, not useful features" in text
    assert "Nothing is downloaded unless --weights hub asks for it" in text


def test_progress_shows_the_time_left(tmp_path):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    stream = Terminal()
    embed("digits", tmp_path / "e.npz", network="small_cnn", device="cpu", progress=stream)
    assert "embedding digits" in stream.getvalue()
    assert "examples" in stream.getvalue()


def test_a_source_says_to_what_size(tmp_path):
    with pytest.raises(DataError) as caught:
        embed(Source("digits", size=32), tmp_path / "e.npz", network="test_resnet")
    assert caught.value.code == "D113"


# The graph


def test_labels_spread_on_digits(digits):
    accuracies, majorities = [], []
    for seed in range(3):
        parts = split(digits, choose_labels(digits.labels, digits.classes, 40, seed))
        accuracy, predicted = label_spreading(digits, parts)
        assert predicted.shape == (500,)
        assert accuracy == (predicted == digits.test.labels).mean()
        accuracies.append(accuracy)
        nearest = np.square(
            digits.test.inputs.reshape(500, 1, -1).astype(float) - parts.labeled.inputs.reshape(1, 40, -1)
        ).sum(2)
        majorities.append((parts.labeled.labels[nearest.argmin(1)] == digits.test.labels).mean())
    assert np.mean(accuracies) > 0.9
    assert np.mean(accuracies) > np.mean(majorities) + 0.02  # better than the nearest labeled example


def test_the_test_part_is_not_in_the_graph(digits):
    parts = split(digits, choose_labels(digits.labels, digits.classes, 40, 0))
    whole = label_spreading(digits, parts)[1]
    half = type(digits.test)(digits.test.inputs[::2], digits.test.labels[::2])
    assert np.array_equal(label_spreading(dataclasses.replace(digits, test=half), parts)[1], whole[::2])


def moons(scale, test=True):
    draw = np.random.default_rng(0)
    turn = draw.uniform(0, np.pi, 300)
    side = np.arange(300) % 2
    x = np.stack([np.cos(turn) * (1 - 2 * side) + side, scale * (np.sin(turn) * (1 - 2 * side) + 0.5 * side)], 1)
    x += draw.normal(scale=[0.05, 0.05 * scale], size=x.shape)
    y = np.where(np.arange(300) < 8, side, -1)
    arrays = {"x_train": x[:200], "y_train": y[:200]}
    return from_arrays(arrays | ({"x_test": x[200:], "y_test": side[200:]} if test else {}), "moons"), side


def test_vectors_are_standardised_first():
    for scale in (1.0, 1e-4, 1e4):
        data, _ = moons(scale)
        assert label_spreading(data, split(data))[0] > 0.95


def test_without_a_test_part_the_unlabeled_examples_are_told():
    data, side = moons(1.0, test=False)
    accuracy, predicted = label_spreading(data, split(data))
    assert accuracy is None
    assert (predicted == side[8:200]).mean() > 0.95


def test_an_island_without_a_label_gets_the_most_frequent_class():
    far = np.concatenate([np.random.default_rng(0).normal(size=(40, 2)), 1e4 + np.arange(40).reshape(20, 2)])
    y = np.full(60, -1)
    y[:6] = [0, 0, 0, 0, 1, 1]
    data = from_arrays({"x_train": far, "y_train": y, "x_test": far[-4:], "y_test": [0] * 4}, "islands")
    assert label_spreading(data, split(data))[1].tolist() == [0] * 4


def test_too_few_examples_are_refused():
    data = from_arrays({"x_train": np.eye(8), "y_train": [0, 1, 0, 1, -1, -1, -1, -1]}, "few")
    with pytest.raises(DataError) as caught:
        label_spreading(data, split(data))
    assert caught.value.code == "D114"
