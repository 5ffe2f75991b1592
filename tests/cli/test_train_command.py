"""Train, evaluate, load: what a user does with the command line and with the same words in Python."""

import json
import os
import shlex
import signal
import unicodedata

import numpy as np
import pytest

import semilla
from conftest import SHORT, invoke, short_train
from semilla.data.sources import load as load_data
from semilla.training.monitor import Monitor

ESCAPES = ("\x1b[31mred", "two\nlines", "\u202etfel", "bell\x07", "tab\t", "caf\u00e9")


def fit_of(run, name="uda-0"):
    return run / "fits" / name


def test_training_says_what_was_understood_and_what_came_of_it(finished):
    run, done = finished
    assert done.code == 0, done.err
    assert "digits: images, 8 × 8 pixels, grey" in done.out
    table = {words[0]: words[1:] for line in done.out.splitlines() if line.startswith("  ") and (words := line.split())}
    assert table["all"] == ["40", "400", "500"]
    assert table["unlabeled"] == ["857"]
    for text in ("plan: 12 steps of supervised", "on 500 test labels", "verdict: ", "shipped: "):
        assert text in done.out
    assert {"fit.json", "metrics.jsonl", "events.jsonl", "model.safetensors", "model.json", "result.json"} <= {
        path.name for path in fit_of(run).iterdir()
    }
    steps = [json.loads(line)["step"] for line in (fit_of(run) / "metrics.jsonl").read_text().splitlines()]
    assert steps == [5, 6, 10, 12]


def test_evaluate_repeats_the_recorded_accuracy_to_the_last_digit(call, finished):
    run, _ = finished
    recorded = json.loads((fit_of(run) / "result.json").read_text())["scores"]["test/accuracy"]
    answer = call("evaluate", run, "--json").json()
    assert answer["accuracy"]["mean"] == recorded
    assert (answer["n"], answer["fit"], answer["part"]) == (500, "uda-0", "test")
    assert answer["accuracy"]["low"] < recorded < answer["accuracy"]["high"]
    assert sum(row["n"] for row in answer["classes"]) == 500
    text = call("evaluate", run).out
    assert f"{100 * recorded:.1f} %" in text
    assert len([line for line in text.splitlines() if line.startswith("  ")]) == 11
    assert call("evaluate", fit_of(run), "--json").json()["accuracy"]["mean"] == recorded  # the fit's own folder


def test_the_development_part_and_other_data_can_be_scored(call, finished, save_arrays):
    run, _ = finished
    assert call("evaluate", run, "--part", "development", "--json").json()["n"] == 400
    digits = load_data("digits")
    x, y = digits.test.inputs[:50, 0], digits.test.labels[:50]
    path = save_arrays("other.npz", x_train=255 - x, y_train=y, x_test=x, y_test=y)
    assert call("evaluate", run, "--data", path, "--json").json()["n"] == 50
    wrong = call("evaluate", run, "--data", save_arrays())
    assert wrong.code == 3
    assert "knows no class 'bright'" in wrong.err


def test_a_loaded_run_predicts_as_it_was_scored(finished):
    run, _ = finished
    model, test = semilla.load(run), load_data("digits").test
    names = model.predict(test.inputs)
    assert set(names) <= set(model.classes) == set("0123456789")
    recorded = json.loads((fit_of(run) / "result.json").read_text())["scores"]["test/accuracy"]
    assert np.mean([int(name) == label for name, label in zip(names, test.labels, strict=True)]) == recorded


def test_the_same_words_in_python_give_the_same_model(finished):
    run, _ = finished
    options = {"steps": 12, "device": "cpu", "precision": "fp32", "recipe": None, **SHORT}
    result = semilla.train("digits", labels=40, method="uda", **options)
    images = load_data("digits").test.inputs[:64]
    np.testing.assert_allclose(result.model.predict_proba(images), semilla.load(run).predict_proba(images), atol=1e-6)


def test_train_prints_one_json_object(call, tmp_path):
    done = call(*short_train("digits", tmp_path / "run", "--json"))
    answer = done.json()
    assert answer["ok"] is True
    recorded = json.loads((fit_of(tmp_path / "run") / "result.json").read_text())
    assert answer["scores"] == recorded["scores"]
    assert answer["settings"]["steps"] == 12
    assert answer["folder"] == str(fit_of(tmp_path / "run"))


def test_the_commands_it_ends_with(finished):
    _, done = finished
    following = [line.strip() for line in done.out.split("Next:")[1].splitlines() if line.strip()]
    commands = [shlex.split(line.split("  ")[0]) for line in following]
    assert [words[:2] for words in commands] == [
        ["semilla", "report"],
        ["semilla", "evaluate"],
        ["semilla", "predict"],
        ["semilla", "export"],
    ]
    assert invoke(commands[1][1:]).code == 0  # the others have tests of their own


def test_a_run_finds_its_own_folder(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = short_train("digits", "unused", steps=2)
    place = words.index("--out")
    del words[place : place + 2]
    for number in (1, 2):
        assert call(*words).code == 0
        assert (tmp_path / "runs" / f"digits-{number}" / "fits" / "uda-0" / "model.safetensors").is_file()


def test_one_run_holds_several_fits(call, tmp_path):
    names = {"supervised-0", "uda-0", "mean_teacher-0", "supervised-1", "uda-1"}
    for method, seed in (("uda", 0), ("mean_teacher", 0), ("uda", 1)):
        done = call(*short_train("digits", tmp_path, "--seed", seed, method=method, steps=2))
        assert done.code == 0, done.err
    assert {path.name for path in (tmp_path / "fits").iterdir()} == names
    baseline = (tmp_path / "fits" / "supervised-0" / "events.jsonl").read_text()
    assert baseline.count('"started"') == 1  # the second command took it as it was
    shipped = json.loads((tmp_path / "run.json").read_text())["shipped"]
    assert call("evaluate", tmp_path, "--json").json()["fit"] == shipped
    assert call("evaluate", tmp_path, "--fit", "uda-1", "--json").json()["fit"] == "uda-1"
    (tmp_path / "run.json").unlink()
    done = call("evaluate", tmp_path)
    assert done.code == 4
    assert "supervised-0" in done.err
    assert "uda-1" in done.err


def test_a_label_list_is_used(call, tmp_path):
    labels = load_data("digits").labels
    rows = np.concatenate([np.flatnonzero(labels == label)[:3] for label in range(10)])
    (tmp_path / "rows.txt").write_text("\n".join(map(str, rows)))
    words = short_train("digits", tmp_path / "run", "--labels-file", tmp_path / "rows.txt", labels=None)
    done = call(*words)
    assert done.code == 0
    assert "unlabeled          867" in done.out
    both = call(*words, "--labels", 40)
    assert both.code == 2
    assert "labels_file" in both.err


def test_a_stopped_command_says_how_to_go_on(call, tmp_path, monkeypatch):
    add, log = Monitor.add, fit_of(tmp_path / "a run") / "metrics.jsonl"

    def interrupting(self, *arguments):
        if log.exists():
            os.kill(os.getpid(), signal.SIGTERM)
        return add(self, *arguments)

    words = short_train("digits", tmp_path / "a run", "--json", "--overwrite")
    with monkeypatch.context() as patch:
        patch.setattr(Monitor, "add", interrupting)
        done = call(*words)
    assert done.code == 143
    assert done.json() == {
        "ok": False,
        "exit_code": 143,
        "error": {"code": "interrupted", "message": "stopped by signal 15"},
    }
    (line,) = [line for line in done.err.splitlines() if line.startswith("  semilla ")]
    resumed = call(*shlex.split(line)[1:])
    assert resumed.code == 0
    assert resumed.json()["ok"] is True


# The user's own data


def test_arrays_with_a_test_part(call, tmp_path, save_arrays):
    path = save_arrays(x_unlabeled=np.zeros((20, 8, 8), np.uint8))
    done = call(*short_train(path, tmp_path / "run", labels=8, steps=30))
    assert done.code == 0, done.err
    assert "mine: images, 8 × 8 pixels, grey" in done.out
    assert [line.split()[0] for line in done.out.splitlines()[3:7]] == ["bright", "dark", "all", "unlabeled"]
    assert done.out.splitlines()[6].split()[1] == "72"
    assert call("evaluate", tmp_path / "run", "--json").json()["n"] == 30


def test_arrays_without_a_test_part_claim_nothing(call, tmp_path, save_arrays):
    path = save_arrays(test=False)
    done = call(*short_train(path, tmp_path / "run", labels=8))
    assert done.code == 0, done.err
    assert "nothing is claimed" in done.out
    assert "accuracy" not in done.out.split("nothing is claimed")[0]
    scored = call("evaluate", tmp_path / "run")
    assert scored.code == 3
    assert "no test part" in scored.err
    assert call(*short_train(path, tmp_path / "json", "--json", labels=8)).json()["scores"] == {}


def test_vectors_are_trained_with_an_mlp(call, tmp_path, save_arrays):
    draw = np.random.default_rng(1)
    x = draw.normal(size=(60, 5))
    y = (x[:, 0] > 0).astype(np.int64)
    path = save_arrays("table.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    done = call(*short_train(path, tmp_path / "run", "--json", labels=10, method="pi_model"))
    assert done.code == 0, done.err
    assert done.json()["settings"]["network"] == "mlp"
    named = call(*short_train(path, tmp_path / "mlp", "--set", "network=mlp", labels=10, method="pi_model"))
    assert named.code == 0, named.err
    wrong = call(*short_train(path, tmp_path / "cnn", "--set", "network=small_cnn", labels=10))
    assert wrong.code == 3
    assert "network=mlp" in wrong.err


@pytest.mark.parametrize("name", ESCAPES)
def test_names_from_the_data_cannot_steer_the_terminal(call, tmp_path, save_arrays, name):
    path = save_arrays(classes=(name, "plain"))
    run = tmp_path / "run"
    done = call(*short_train(path, run, labels=8, steps=2))
    assert done.code == 0, done.err
    scored = call("evaluate", run)
    assert scored.code == 0
    for text in (done.out, done.err, scored.out, scored.err):
        control = {letter for letter in text if unicodedata.category(letter)[0] == "C"}
        assert control <= {"\n"}
    assert len(scored.out.splitlines()) == 14
    answer = call("evaluate", run, "--json")
    assert answer.out.isascii()
    assert sorted(row["name"] for row in answer.json()["classes"]) == sorted((name, "plain"))  # data keep their bytes
    assert set(semilla.load(run).classes) == {name, "plain"}


def test_a_hostile_label_in_an_error_is_escaped_too(call, tmp_path, save_arrays):
    path = save_arrays(y_test=np.array(["\x1b[31mred"] * 30))
    done = call(*short_train(path, tmp_path / "run", labels=8))
    assert done.code == 3
    assert "\x1b" not in done.err


def test_a_hostile_file_name_is_escaped_too(call, tmp_path, save_arrays):
    done = call(*short_train(save_arrays("\x1b[31mred.npz"), tmp_path / "run", labels=8, steps=2))
    assert done.code == 0
    assert "\x1b" not in done.out + done.err
    missing = call(*short_train(tmp_path / "\x1b[2Jgone.npz", tmp_path / "other"))
    assert missing.code == 3
    assert "\x1b" not in missing.err
