"""`semilla.pretrain`: no label takes part, a run resumes to its bits, and what has no classes says so."""

import dataclasses
import json
import os
import random
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import load_file

import semilla
from semilla.contract import Method
from semilla.data.dataset import UNKNOWN, Dataset, Examples, pool_only
from semilla.errors import Interrupted, SemillaError
from semilla.methods import METHODS, PRETRAINING
from semilla.training.monitor import Monitor
from test_runs import invoke, read, weights

TINY = {
    **{"steps": 6, "width": 4, "unlabeled_batch": 8, "threads": 1, "device": "cpu", "precision": "fp32"},
    **{"log_every": 2, "save_every": 2},
}
HEAD = {"rotation": {}, "simclr": {"hidden": 8, "dimension": 4}, "vicreg": {"hidden": 8, "dimension": 4}}
WORDS = [word for key, value in {**TINY, **HEAD["simclr"]}.items() for word in ("--set", f"{key}={value}")]


def pretrain(data, method="simclr", **more):
    return semilla.pretrain(data, method=method, **{**TINY, **HEAD.get(method, {}), **more})


def tensors(pretrained):
    return {name: value.numpy().tobytes() for name, value in pretrained.model.net.state_dict().items()}


def failed(code, *arguments, **more):
    with pytest.raises(SemillaError) as caught:
        pretrain(*arguments, **more)
    assert caught.value.code == code, caught.value
    return caught.value


@pytest.fixture(scope="module")
def bars():
    """Pictures of bars that stand or lie, a third of them labeled, with a test part."""
    draw = np.random.default_rng(0)
    labels = np.arange(72) % 2
    pixels = draw.integers(0, 90, (72, 1, 8, 8))
    for picture, label in zip(pixels, labels, strict=True):
        place = draw.integers(8)
        picture[0, place if label else slice(None), slice(None) if label else place] += 150
    pixels = pixels.astype(np.uint8)
    known = np.where(np.arange(48) < 16, labels[:48], UNKNOWN)
    test = Examples(pixels[48:], labels[48:])
    return Dataset("bars", "images", ("stands", "lies"), pixels[:48], known, test=test)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A pre-training of digits by the command line, and what it printed."""
    run = tmp_path_factory.mktemp("finished") / "start"
    return run, invoke("pretrain", "digits", "--out", run, *WORDS, "--json")


# No label takes part


def test_nothing_that_is_trained_on_knows_a_label_or_a_held_out_part(bars):
    extra = dataclasses.replace(bars, unlabeled=bars.inputs[:5], development=bars.test)
    bare, parts = pool_only(extra)
    assert (bare.classes, bare.test, bare.development) == ((), None, None)
    assert (bare.labels == UNKNOWN).all()
    assert (parts.classes, len(parts.labeled), len(parts.labeled_index)) == ((), 0, 0)
    assert np.array_equal(parts.unlabeled, np.concatenate([bars.inputs, bars.inputs[:5]]))
    assert np.array_equal(parts.unlabeled_index, np.arange(53))
    assert np.array_equal(extra.labels, bars.labels), "the data set itself stays as it was"


def versions_of(data):
    """The same pictures, otherwise labeled, tested, or not at all."""
    labels = data.labels
    return {
        "swapped": dataclasses.replace(data, labels=np.where(labels >= 0, 1 - labels, labels)),
        "other rows": dataclasses.replace(data, labels=np.roll(labels, 7)),
        "other names": dataclasses.replace(data, classes=("a", "b")),
        "no labels": dataclasses.replace(data, labels=np.full_like(labels, UNKNOWN)),
        "no classes": dataclasses.replace(data, labels=np.full_like(labels, UNKNOWN), classes=(), test=None),
        "no test part": dataclasses.replace(data, test=None),
        "another test part": dataclasses.replace(data, test=Examples(data.test.inputs[:9], data.test.labels[:9])),
        "a development part": dataclasses.replace(data, development=data.test),
    }


@pytest.mark.parametrize("method", PRETRAINING)
def test_labels_and_held_out_parts_do_not_change_a_bit(bars, method):
    expected = pretrain(bars, method, steps=3, readout=False)
    assert tensors(expected) != tensors(pretrain(bars, method, steps=3, readout=False, seed=1))
    for name, other in versions_of(bars).items():
        found = pretrain(other, method, steps=3, readout=False)
        assert tensors(found) == tensors(expected), name
        assert found.result.history == expected.result.history, name


def test_a_run_takes_up_where_it_stopped_although_the_labels_have_changed(bars, tmp_path):
    """Of the data a pre-training remembers the pictures alone."""
    first = pretrain(bars, out=tmp_path)
    again = pretrain(versions_of(bars)["no classes"], out=tmp_path, resume=True)
    assert tensors(again) == tensors(first)
    darker = dataclasses.replace(bars, inputs=bars.inputs // 2)
    assert "data.fingerprint" in failed("C003", darker, out=tmp_path, resume=True).message


def test_what_is_written_has_no_class(finished):
    run, _ = finished
    fit = run / "fits" / "simclr-0"
    assert read(fit / "model.json")["task"] == "pretraining"
    assert read(fit / "model.json")["classes"] == read(run / "run.json")["data"]["classes"] == []
    assert read(fit / "fit.json")["fit"]["data"]["labeled"] == 0
    held = load_file(fit / "outputs.safetensors")
    assert not any(name.startswith(("test", "development")) for name in held)
    assert len(held["labeled_labels"]) == 0
    assert read(run / "run.json")["verdict"] is None


# The run


def interrupt_at(patch, step, when=None):
    """SIGTERM arrives while that step is made, of those since a file is there."""
    add, seen = Monitor.add, iter(range(1, 10**6))

    def interrupting(self, *values):
        if (when is None or when.exists()) and next(seen) == step:
            os.kill(os.getpid(), signal.SIGTERM)
        return add(self, *values)

    patch.setattr(Monitor, "add", interrupting)


def stopped(monkeypatch, step, *arguments, **more):
    """A pre-training that is interrupted."""
    with monkeypatch.context() as patch:
        interrupt_at(patch, step)
        with pytest.raises(Interrupted) as caught:
            pretrain(*arguments, **more)
    assert caught.value.saved


@pytest.mark.parametrize("method", PRETRAINING)
def test_an_interrupted_run_ends_as_an_undisturbed_one(bars, tmp_path, monkeypatch, method):
    whole = pretrain(bars, method, out=tmp_path / "whole")
    stopped(monkeypatch, 3, bars, method, out=tmp_path / "broken")
    assert not (tmp_path / "broken" / "run.json").exists()
    again = pretrain(bars, method, out=tmp_path / "broken", resume=True)
    assert tensors(again) == tensors(whole)
    assert again.result.history == whole.result.history
    assert again.readout == whole.readout
    for name in (f"{method}-0",):
        assert weights(tmp_path / "broken", name) == weights(tmp_path / "whole", name)


def test_a_killed_command_resumes_to_the_same_weights(bars, tmp_path):
    """Killed with -9 inside a save, and taken up by the command it would have printed."""
    np.savez(tmp_path / "bars.npz", x_train=bars.inputs, y_train=np.where(bars.labels < 0, "", bars.labels.astype(str)))
    words = ["pretrain", str(tmp_path / "bars.npz"), *WORDS]
    assert invoke(*words, "--out", tmp_path / "whole")[0] == 0
    environment = {**os.environ, "SEMILLA_FAULT": "checkpoint.state:2:kill", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "semilla", *words, "--out", str(tmp_path / "broken")]
    killed = subprocess.run(command, env=environment, capture_output=True, timeout=120, check=False)
    assert killed.returncode == -signal.SIGKILL
    code, _, err = invoke(*words, "--out", tmp_path / "broken", "--resume")
    assert code == 0, err
    assert weights(tmp_path / "broken", "simclr-0") == weights(tmp_path / "whole", "simclr-0")


def test_a_stopped_command_prints_the_one_that_continues(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["pretrain", "digits", *WORDS]
    with monkeypatch.context() as patch:
        interrupt_at(patch, 3, Path("runs/digits-1/fits/simclr-0/metrics.jsonl"))  # not while a step is timed
        code, _, err = invoke(*words)
    assert code == 143
    (line,) = [line for line in err.splitlines() if line.strip().startswith("semilla pretrain")]
    assert shlex.split(line)[1:] == [*words, "--out", "runs/digits-1", "--resume"]
    assert invoke(*shlex.split(line)[1:])[0] == 0


def test_a_run_is_not_overwritten_unasked(bars, tmp_path):
    first = pretrain(bars, out=tmp_path)
    failed("C001", bars, out=tmp_path)
    again = pretrain(bars, out=tmp_path, overwrite=True)
    assert tensors(again) == tensors(first)


def test_a_budget_in_minutes_is_measured_once_and_replayed(bars, tmp_path, monkeypatch):
    monkeypatch.setattr("semilla.fitting.step_seconds", lambda *_, **__: 10.0)
    more = {"steps": None, "minutes": 1.0, "out": tmp_path}
    stopped(monkeypatch, 3, bars, **more)
    monkeypatch.setattr("semilla.fitting.step_seconds", lambda *_, **__: 5.0)
    assert pretrain(bars, resume=True, **more).result.settings.steps == 6
    assert pretrain(bars, steps=None, minutes=1.0).result.settings.steps == 12
    failed("U006", bars, steps=None, minutes=0.0)


def test_by_default_the_whole_pool_is_gone_through_so_many_times(bars):
    said = []
    pretrain(bars, steps=None, unlabeled_batch=None, dry_run=True, say=said.append)
    assert "plan: 200 steps of simclr with small_cnn" in said[0]
    assert "20 times through 48 examples, 200 steps at least" in said[0]
    assert "unlabeled_batch 48 " in said[0]


def test_a_dry_run_leaves_nothing_and_trains_nothing(bars, tmp_path, monkeypatch):
    monkeypatch.setattr("semilla.fitting.Fit.run", lambda *_, **__: pytest.fail("it trains"))
    said = []
    assert pretrain(bars, out=tmp_path / "run", dry_run=True, say=said.append) is None
    assert list(tmp_path.iterdir()) == []
    assert "48 images of 8 × 8 pixels, no label is looked at" in said[0]
    code, out, _ = invoke("pretrain", "digits", "--dry-run", "--json", *WORDS)
    assert code == 0
    assert json.loads(out)["dry_run"]


def test_the_callers_generators_and_threads_are_given_back(bars):
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    pretrain(bars, network="whitened_cnn")
    assert random.getstate() == states[0]
    assert np.random.get_state()[1].tolist() == states[1]
    assert torch.equal(torch.get_rng_state(), states[2])


# What is asked wrongly


@pytest.mark.parametrize("method", METHODS)
def test_a_method_that_needs_labels_does_not_pretrain(bars, method):
    assert f"train DATA --method {method}" in failed("U071", bars, method).fix


@pytest.mark.parametrize("method", PRETRAINING)
def test_a_method_without_labels_does_not_train(method, monkeypatch):
    """Told before any data are read, and by every way in."""
    monkeypatch.setattr("semilla.runs.load_data", lambda *_: pytest.fail("the data are read"))
    for call in (semilla.train, semilla.fit):
        with pytest.raises(SemillaError) as caught:
            call("nowhere" if call is semilla.train else "digits", method=method, steps=1)
        assert caught.value.code == "U071"
        assert f"semilla pretrain DATA --method {method}" in caught.value.fix
    code, _, err = invoke("train", "nowhere", "--method", method)
    assert code == 2
    assert "U071" in err


def test_wrong_words(bars, tmp_path):
    assert "'simclr'" in failed("U001", bars, "simcl").fix
    assert "'temperature'" in failed("U002", bars, temprature=1.0).fix
    failed("U006", bars, temperature=0.0)
    failed("U008", bars, resume=True, overwrite=True, out=tmp_path)
    failed("U016", bars, resume=True)
    failed("C002", bars, resume=True, out=tmp_path / "none")
    assert "nothing to compare" in failed("U006", bars, unlabeled_batch=1).message
    code, _, err = invoke("pretrain", "digits", "--steps", 3, "--minutes", 1)
    assert (code, "U008" in err) == (2, True)


def test_wrong_words_are_told_before_any_data_are_read(monkeypatch):
    monkeypatch.setattr("semilla.pretraining.load_data", lambda *_: pytest.fail("the data are read"))
    failed("U002", "nowhere", label_col="x")
    failed("U071", "nowhere", "fixmatch")


def test_labels_that_cannot_be_shared_are_told_before_training(bars, monkeypatch):
    monkeypatch.setattr("semilla.fitting.Fit.run", lambda *_, **__: pytest.fail("it trains"))
    failed("D054", bars, labels=5)


def test_vectors_cannot_be_turned_and_are_compared_instead(tmp_path):
    x = np.random.default_rng(0).normal(size=(40, 5)).astype(np.float32)
    data = Dataset("rows", "vectors", (), x, np.full(40, UNKNOWN))
    assert "simclr" in failed("U070", data, "rotation").fix
    for method in ("simclr", "vicreg"):
        made = pretrain(data, method, out=tmp_path / method)
        assert made.model.embed(x[:3]).shape == (3, 4)


def test_bad_data_are_told(tmp_path):
    failed("D001", tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    failed("D004", tmp_path / "empty")
    nothing = Dataset("none", "images", (), np.zeros((0, 1, 8, 8), np.uint8), np.zeros(0, np.int64))
    failed("D040", nothing)
    code, _, err = invoke("pretrain", tmp_path / "nowhere")
    assert code == 3
    assert "Traceback" not in err


def test_a_folder_in_which_nothing_is_labeled_will_do(tmp_path, monkeypatch):
    monkeypatch.setenv("SEMILLA_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "photos"
    folder.mkdir()
    draw = np.random.default_rng(1)
    for number in range(10):
        Image.fromarray(draw.integers(0, 256, (12, 10, 3)).astype(np.uint8)).save(folder / f"{number}.png")
    said = []
    made = pretrain(folder, out=tmp_path / "run", say=said.append)
    assert made.readout is None
    assert "no read-out" in said[-1]
    assert failed("U022", folder, out=folder / "run").fix
    features = tmp_path / "features.npz"
    code, _, err = invoke("embed", folder, "--run", tmp_path / "run", "-o", features)
    assert code == 0, err
    with np.load(features) as arrays:
        assert next(array for array in arrays.values() if array.dtype == np.float32).shape == (10, 16)


class Quiet(Method):
    """A method of one's own without labels: features of unit length, far from one another."""

    labeled_views = ()
    unlabeled_views = ("weak",)

    def __init__(self, info):
        super().__init__()

    def forward(self, net, batch, run):
        z = torch.nn.functional.normalize(net(batch.u[0]).features, dim=1)
        return {"apart": (z @ z.T).square().mean()}, {}


class Loud(Quiet):
    labeled_views = ("weak",)


def test_a_method_of_ones_own_without_labels_pretrains(bars, tmp_path):
    made = pretrain(bars, Quiet, out=tmp_path)
    assert [path.name for path in (tmp_path / "fits").iterdir()] == ["quiet-0"]
    assert made.readout is not None
    failed("U071", bars, Loud)


# The read-out


def test_the_read_out_is_what_a_linear_classifier_gets(bars):
    said = []
    made = pretrain(bars, steps=40, say=said.append)
    assert (made.readout.labels, made.readout.n) == (16, 24)
    assert made.readout.accuracy.low <= made.readout.accuracy.mean <= made.readout.accuracy.high
    assert said[-1] == made.readout.line()
    assert made.readout.line().startswith("a linear classifier on 16 labels: ")
    assert pretrain(bars, labels=4).readout.labels == 4
    again = pretrain(bars, steps=40)
    assert again.readout == made.readout
    assert pretrain(bars, steps=1).readout.untrained == made.readout.untrained, "it is the network of step 0"


def test_features_that_tell_all_read_out_as_all(bars, monkeypatch):
    """A network that has the answer in its features is read out as right, and one that has nothing as a guess."""
    told = {pixels.tobytes(): label for pixels, label in zip(bars.test.inputs, bars.test.labels, strict=True)}
    told |= {pixels.tobytes(): label for pixels, label in zip(bars.inputs[:16], bars.labels[:16], strict=True)}
    calls = iter([1.0, 1.0, 0.0, 0.0])  # labeled and test examples of the trained, then of the untrained network

    asked = []

    def embed(self, inputs):
        asked.append({name: value.clone() for name, value in self.net.state_dict().items()})
        strength = next(calls)
        return np.array([[strength * told[pixels.tobytes()], 1.0] for pixels in inputs], np.float32)

    monkeypatch.setattr("semilla.inference.model.Model.embed", embed)
    made = pretrain(bars, steps=1)
    assert made.readout.accuracy.mean == 1.0
    assert made.readout.untrained.mean == 0.5
    trained, untrained = asked[0], asked[2]
    still = pretrain(bars, steps=1, learning_rate=0.0, readout=False).model.net.state_dict()
    weight = next(iter(still))
    assert torch.equal(untrained[weight], still[weight]), "as it was before the first step"
    assert torch.equal(trained[weight], made.model.net.state_dict()[weight])
    assert not torch.equal(trained[weight], untrained[weight])


@pytest.mark.parametrize("without", ["test", "labels", "a second class"])
def test_there_is_none_without_labels_or_test_part(bars, without):
    data = {
        "test": dataclasses.replace(bars, test=None),
        "labels": dataclasses.replace(bars, labels=np.full_like(bars.labels, UNKNOWN)),
        "a second class": dataclasses.replace(bars, labels=np.where(bars.labels == 0, 0, UNKNOWN)),
    }[without]
    said = []
    assert pretrain(data, say=said.append).readout is None
    assert "no read-out: it needs labels of two classes and a test part" in said[-1]
    said.clear()
    assert pretrain(data, say=said.append, readout=False).readout is None
    assert "read-out" not in said[-1]


def test_one_label_of_each_class_is_enough_to_read_out(bars):
    labels = np.where(np.arange(48) < 2, np.arange(48) % 2, UNKNOWN)
    assert pretrain(dataclasses.replace(bars, labels=labels)).readout.labels == 2


def test_reading_out_changes_nothing_of_the_model(bars, tmp_path):
    with_one, without = (pretrain(bars, out=tmp_path / str(read), readout=read) for read in (True, False))
    assert tensors(with_one) == tensors(without)
    assert weights(tmp_path / "True", "simclr-0") == weights(tmp_path / "False", "simclr-0")
    assert with_one.model.net.training == without.model.net.training


# What has no classes says so


def test_every_command_that_needs_classes_says_what_to_do(finished, tmp_path):
    run, _ = finished
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "a.png")
    for words in (
        ["predict", run, tmp_path / "a.png"],
        ["evaluate", run],
        ["evaluate", run, "--data", "digits"],
        ["report", run],
        ["export", run, "--format", "safetensors"],
        ["report", run / "fits" / "simclr-0"],
    ):
        code, out, err = invoke(*words)
        assert code == 4, words
        assert "error[C027]: simclr-0 was pre-trained without labels" in err, words
        assert f"fix: semilla train DATA --init {run}" in err, words
        assert out == ""
    with pytest.raises(SemillaError, match="features, but no classes"):
        semilla.load(run)
    assert sorted(path.name for path in run.iterdir()) == ["fits", "run.json"], "nothing was left behind"


def test_features_can_be_had(finished, tmp_path):
    run, _ = finished
    code, _, err = invoke("embed", "digits", "--run", run, "-o", tmp_path / "e.npz")
    assert code == 0, err
    with np.load(tmp_path / "e.npz") as arrays:
        assert arrays["x_test"].shape == (500, 16)


def test_show_prints_the_command_that_repeats_it(finished, tmp_path):
    run, _ = finished
    code, text, _ = invoke("show", run, "--recipe")
    assert code == 0
    assert text.splitlines()[0] == "# semilla pretrain DATA --method simclr --recipe THIS.toml"
    assert "hidden = 8" in text
    assert "width = 4" in text
    assert "temperature = 0.2" in text, "what was left at the method's default is a setting too"
    recipe = tmp_path / "shown.toml"
    recipe.write_text(text)
    code, _, err = invoke("pretrain", "digits", "--recipe", recipe, "--out", tmp_path / "again", "--no-readout")
    assert code == 0, err
    assert weights(tmp_path / "again", "simclr-0") == weights(run, "simclr-0")
    story = invoke("show", run)[1]
    assert "data      digits: 0 labeled, 897 unlabeled" in story
    assert "semilla train DATA" not in story


def test_what_the_command_prints(finished):
    run, (code, out, err) = finished
    assert code == 0, err
    said = json.loads(out)
    assert said["readout"]["labels"] == 897
    assert said["readout"]["n"] == 500
    assert said["readout"] == read(run / "run.json")["readout"]
    assert said["folder"] == str(run)
    code, out, _ = invoke("methods")
    assert code == 0
    assert all(name in out for name in PRETRAINING)
    for name in PRETRAINING:
        text = invoke("methods", name)[1]
        assert f"semilla pretrain digits --method {name} --set " in text
    listed = json.loads(invoke("methods", "--json")[1])
    assert [entry["name"] for entry in listed["pretraining"]] == list(PRETRAINING)


def test_a_trainings_recipe_is_none_of_pre_training():
    code, _, err = invoke("pretrain", "digits", "--recipe", "paper", "--dry-run")
    assert (code, "U004" in err) == (2, True)
    assert "no recipe of pre-training called 'paper'" in err


def test_the_next_command_says_the_same_of_the_data(tmp_path):
    table = tmp_path / "flowers.csv"
    rows = [f"{number},{number % 7},{'ab'[number % 2] if number < 30 else ''}" for number in range(40)]
    table.write_text("\n".join(["x,y,species", *rows]) + "\n")
    words = ("--label-col", "species", "--holdout", "0.3", "--method", "vicreg", "--steps", "2", "--set", "hidden=4")
    code, out, err = invoke("pretrain", str(table), *words, "--out", str(tmp_path / "run"))
    assert code == 0, err
    command = next(line for line in out.splitlines() if "semilla train" in line).split("   ")[0]
    _, *following = shlex.split(command)
    code, out, err = invoke(*following, "--dry-run", "--steps", "2")
    assert code == 0, err


def test_where_nothing_is_labeled_the_next_step_is_to_label(bars, tmp_path):
    folder = tmp_path / "bare"
    folder.mkdir()
    for number, picture in enumerate(bars.inputs[:20]):
        Image.fromarray(picture[0]).save(folder / f"{number}.png")
    code, out, err = invoke("pretrain", folder, "--out", tmp_path / "run", *WORDS)
    assert code == 0, err
    assert "Next, once a few examples are labeled" in out


def test_where_the_time_of_a_step_goes(bars, tmp_path):
    said = []
    pretrain(bars, out=tmp_path / "run", steps=1, profiled=True, say=said.append)
    assert any("views" in lines and "backward" in lines for lines in said)
    assert (tmp_path / "run" / "trace.json").is_file()
