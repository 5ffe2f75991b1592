"""What commands say of folders, files and exit codes, in their help and at the end."""

from __future__ import annotations

from pathlib import Path

import pytest

from semilla.exporting.folder import Exported
from semilla.exporting.onnx import Agreement
from semilla.exporting.samples import RANDOM


def test_a_run_that_is_not_there_is_told_with_the_nearest(call, finished):
    run, _ = finished
    wrong = run.with_name("runn")
    for words in (["predict", wrong, "x.png"], ["evaluate", wrong], ["report", wrong], ["show", wrong]):
        done = call(*words)
        assert done.code == 4
        assert f"there is no folder '{wrong}'" in done.err
        assert f"did you mean '{run}'?" in done.err


@pytest.mark.parametrize("words", [["report"], ["predict", "x.png"], ["show"], ["evaluate"]], ids=" ".join)
def test_a_folder_of_runs_is_told_with_their_names(call, finished, words):
    run, _ = finished
    done = call(words[0], run.parent, *words[1:])
    assert done.code == 4
    assert "is no run; it holds one: run" in done.err
    assert f"name one, as in '{run}'" in done.err


@pytest.mark.parametrize(
    ("command", "text"),
    [
        ("check", "exit code is 0 whatever is found; with --strict it is 3"),
        ("compare", "interrupted comparison is not gone on with: the same command starts anew in the next free folder"),
        ("predict", "--shard 0/4 writes preds.part-0-of-4.csv"),
        ("predict", "--output, --out"),
    ],
)
def test_the_help_says_what_is_not_obvious(call, command, text):
    assert text in " ".join(call(command, "--help").out.split())


@pytest.mark.parametrize(("samples", "told"), [(RANDOM, True), ("test examples", False)])
def test_an_export_compared_on_random_inputs_says_how_to_do_better(samples, told):
    lines = Exported(Path("export"), {"model.onnx": 1}, Agreement(samples, 64, 0.0, 0.0)).lines()
    assert any("--samples PATH" in line and samples in line for line in lines) == told
