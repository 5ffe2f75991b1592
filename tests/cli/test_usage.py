"""What is asked wrongly is answered at once: the exit code, the nearest right word, no traceback, no PyTorch."""

import json
import os
import subprocess
import sys

import click
import numpy as np
import pytest

import semilla
from conftest import invoke, short_train
from semilla import cli, files
from semilla.cli import COMMANDS
from semilla.methods import METHODS

WRONG = [
    ("tran digits", "'train'"),
    ("evalute RUN", "'evaluate'"),
    (
        "xyzzy",
        "demo, check, generate, train, pretrain, compare, evaluate, report, predict, export, embed, show, methods, "
        "cache, "
        "doctor",
    ),
    ("train digits --lables 40", "--labels"),
    ("train digits --metod uda", "--method"),
    ("train digits --method fixmach", "'fixmatch'"),
    ("train digits --method uda --set treshold=0.9", "'threshold'"),
    ("train digits --method uda --set learning-rat=0.1", "'learning_rate'"),
    ("train digits --method uda --set threshold=high", "threshold must be|a number"),
    ("train digits --method uda --set threshold=-1", "threshold must be 0.0 or more"),
    ("train digits --set learning_rate=nan", "learning_rate must be between 0.0 and 100.0"),
    ("train digits --set learning_rate=-1", "learning_rate must be between 0.0 and 100.0"),
    ("train digits --method pi_model --set ramp_shape=liner", "'linear'"),
    ("train digits --set optimizer=adam", "'adamw'"),
    ("train digits --set pool=rset", "'rest'"),
    ("train digits --set nonsense", "key=value"),
    ("train digits --set network=wideresnet", "'wide_resnet'"),
    ("train digits --device gpu", "cpu"),
    ("train digits --precision fp16", "'bf16'|'fp32'"),
    ("train digits --steps 0", "steps must be 1 or more"),
    ("train digits --steps ten", "ten"),
    ("train digits --seed -1", "seed must be between"),
    ("train digits --labels 0", "--labels"),
    ("train", "DATA"),
    ("demo --method fixmach", "'fixmatch'"),
    ("demo --draws 0", "--draws"),
    ("methods mixmach", "'mixmatch'"),
    ("evaluate RUN --part tets", "test"),
]

PROBE = """
import contextlib, io, json, sys
from semilla.cli import main
for words in json.loads(sys.argv[1]):
    err, out = io.StringIO(), io.StringIO()
    with contextlib.redirect_stderr(err), contextlib.redirect_stdout(out):
        try:
            main(words)
        except SystemExit as stop:
            code = stop.code
    heavy = sorted({"torch", "torchvision", "sklearn", "matplotlib"} & set(sys.modules))
    print(json.dumps([code, out.getvalue(), err.getvalue(), heavy]))
"""


def probe(commands):
    """Call several commands in one fresh interpreter: for each the code, its streams, the heavy imports so far."""
    words = [sys.executable, "-c", PROBE, json.dumps(commands)]
    done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=120)
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def answers():
    return dict(zip((text for text, _ in WRONG), probe([text.split() for text, _ in WRONG]), strict=True))


@pytest.mark.parametrize(("text", "hint"), WRONG, ids=[text for text, _ in WRONG])
def test_a_wrong_word_is_a_short_error_that_names_the_nearest_before_torch_is_imported(answers, text, hint):
    code, out, err, heavy = answers[text]
    assert (code, out) == (2, "")
    assert any(word in err for word in hint.split("|")), err
    assert "Traceback" not in err
    assert len(err.splitlines()) <= 12
    assert heavy == []


def test_help_and_the_list_of_methods_need_no_heavy_import():
    commands = [["--help"], ["--version"], *([name, "--help"] for name in COMMANDS), ["methods"], ["methods", "uda"]]
    for command, (code, out, err, heavy) in zip(commands, probe(commands), strict=True):
        assert (code, err, heavy) == (0, "", []), command
        assert out


def test_the_module_is_the_program_and_starts_in_under_a_second_of_work():
    before = os.times()
    done = subprocess.run([sys.executable, "-m", "semilla", "--help"], capture_output=True, text=True, check=False)
    after = os.times()
    assert done.returncode == 0
    assert all(name in done.stdout and text.split(":")[0][:40] in done.stdout for name, text in COMMANDS.items())
    assert "143" in done.stdout  # the exit codes
    assert (after.children_user - before.children_user) + (after.children_system - before.children_system) < 1


def test_without_arguments_the_help_is_shown_as_an_error(call):
    done = call()
    assert done.code == 2
    assert 0 < len((done.out + done.err).splitlines()) <= 36
    assert "Traceback" not in done.err


@pytest.mark.parametrize("name", [name if name != "generate" else "generate text" for name in COMMANDS])
def test_every_command_has_help_with_examples_or_options(call, name):
    for flag in ("-h", "--help"):
        done = call(*name.split(), flag)
        assert done.code == 0
        assert done.out.startswith(f"Usage: semilla {name}")
        assert "--json" in done.out


def test_version(call):
    assert call("--version").out == f"semilla, version {semilla.__version__}\n"


# Data, folders and the other exit codes


def test_missing_data_is_named_with_exit_code_3(call, tmp_path):
    done = call(*short_train(tmp_path / "nowhere" / "mine.npz", tmp_path / "run"))
    assert done.code == 3
    assert "nowhere/mine.npz" in done.err
    assert "fix: " in done.err
    assert call(*short_train("digit", tmp_path / "run")).err.count("'digits'") == 1


def test_empty_folder_file_of_another_kind_and_too_many_labels(call, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("hello")
    messages = set()
    for data, labels in (("empty", 40), ("notes.txt", 40), ("gone", 40)):
        done = call(*short_train(tmp_path / data, tmp_path / "run", labels=labels))
        assert done.code == 3
        messages.add(done.err.splitlines()[0].split(":")[0])
    assert len(messages) == 3
    done = call(*short_train("digits", tmp_path / "run", labels=41))
    assert done.code == 3
    assert "40 or 50" in done.err


def test_pickled_data_are_refused_with_exit_code_7(call, tmp_path):
    np.savez(tmp_path / "evil.npz", x_train=np.array([{}], dtype=object), y_train=np.zeros(1))
    assert call(*short_train(tmp_path / "evil.npz", tmp_path / "run")).code == 7


def test_a_run_that_exists_needs_resume_or_overwrite(call, finished):
    run, _ = finished
    before = (run / "fits" / "uda-0" / "model.safetensors").read_bytes()
    done = call(*short_train("digits", run))
    assert done.code == 4
    assert "--resume, --overwrite or another --out" in done.err
    assert (run / "fits" / "uda-0" / "model.safetensors").read_bytes() == before
    assert call(*short_train("digits", run, "--resume")).code == 0
    assert call(*short_train("digits", run, "--overwrite")).code == 0
    assert (run / "fits" / "uda-0" / "model.safetensors").read_bytes() == before


def test_a_run_folder_in_use_is_left_alone(call, finished):
    run, _ = finished
    with files.lock(run / "fits" / "uda-0"):
        done = call(*short_train("digits", run, "--resume"))
    assert done.code == 4
    assert "in use" in done.err


def test_resume_without_a_run_names_what_to_check(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = call(*short_train("digits", tmp_path / "none", "--resume"))
    assert done.code == 4
    assert "no run to resume" in done.err


def test_a_loss_that_is_not_finite_ends_with_exit_code_5(call, tmp_path):
    done = call(*short_train("digits", tmp_path / "run", "--set", "weight=1e39", method="mixmatch"))
    assert done.code == 5
    assert "T001" in done.err
    assert "consistency" in done.err


def test_a_full_disk_ends_with_exit_code_6(call, tmp_path, monkeypatch):
    monkeypatch.setenv("SEMILLA_FAULT", "checkpoint.tensors:1:enospc")
    done = call(*short_train("digits", tmp_path / "run"))
    assert done.code == 6
    assert "R001" in done.err


def test_a_bug_is_exit_code_1_and_shows_its_traceback_only_when_asked(monkeypatch):
    @click.command("methods")
    @click.option("--json", "as_json", is_flag=True)
    def broken(as_json):
        raise ZeroDivisionError("the bug")

    monkeypatch.setattr("semilla.cli.methods.command", broken)
    done = invoke(["methods"])
    assert done.code == 1
    assert done.err.startswith("error[internal]: ZeroDivisionError: the bug")
    assert "Traceback" not in done.err
    for words in (["--debug", "methods"], ["methods", "--debug"]):
        asked = invoke(words)
        assert asked.code == 1
        assert "Traceback" in asked.err
    assert invoke(["methods", "--json"]).json() == {
        "ok": False,
        "exit_code": 1,
        "error": {"code": "internal", "message": "the bug"},
    }


def test_a_wrong_view_is_a_usage_error(call, tmp_path):
    done = call(*short_train("digits", tmp_path / "run", "--set", "views=weak,stong"))
    assert done.code == 2, done.err
    assert "'strong'" in done.err


def test_one_view_where_two_are_needed_is_a_usage_error(call, tmp_path):
    done = call(*short_train("digits", tmp_path / "run", "--set", "views=weak"))
    assert done.code == 2, done.err


# JSON


@pytest.mark.parametrize(
    ("words", "code", "name"),
    [
        (["train", "digits", "--method", "fixmach"], 2, "U001"),
        (["train", "digits", "--set", "treshold=1"], 2, "U002"),
        (["train", "nowhere.npz"], 3, "D001"),
        (["evaluate", "nowhere"], 4, "C023"),
        (["methods", "mixmach"], 2, "U001"),
        (["demo", "--method", "fixmach"], 2, "U001"),
        (["doctor", "--what"], 2, "usage"),
        (["tran"], 2, "usage"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_an_error_too_is_one_json_object(call, tmp_path, monkeypatch, words, code, name):
    monkeypatch.chdir(tmp_path)
    done = call(*words, "--json")
    assert done.code == code
    answer = done.json()
    assert (answer["ok"], answer["exit_code"], answer["error"]["code"]) == (False, code, name)
    assert answer["error"]["message"]


def test_methods_as_a_list_and_one_by_one(call):
    done = call("methods")
    assert [line.split()[0] for line in done.out.splitlines()[: len(METHODS)]] == list(METHODS)
    answer = call("methods", "--json").json()
    assert answer["ok"] is True
    assert [entry["name"] for entry in answer["methods"]] == list(METHODS)


@pytest.mark.parametrize("name", METHODS)
def test_one_method_is_shown_whole(call, tmp_path, name):
    entry, done = METHODS[name], call("methods", name)
    assert done.code == 0
    for text in (entry.paper, entry.views, entry.memory, entry.file, *entry.equations, *entry.hyperparameters):
        assert text in done.out
    shown = call("methods", name, "--json").json()["method"]
    assert {key: row["ours"] for key, row in shown["hyperparameters"].items()} == {
        key: list(row.ours) if isinstance(row.ours, tuple) else row.ours for key, row in entry.hyperparameters.items()
    }
    *_, command = done.out.splitlines()
    words = command.split()[1:]  # the example at its end can be run
    if "classes" in entry.tasks:
        assert invoke([*words, *short_train("digits", tmp_path / "run", method=name, steps=2)[2:]]).code == 0


def test_the_group_forgets_nothing(call):
    context = click.Context(cli.cli)
    assert cli.cli.list_commands(context) == list(COMMANDS)
    assert all(cli.cli.get_command(context, name).name == name for name in COMMANDS)
    assert cli.cli.get_command(context, "other") is None
