"""A training that makes its own start: `--pretrain`, a recipe's table, what is compared with what, and resumption."""

import contextlib
import io
import json
import re

import numpy as np
import pytest
from safetensors.numpy import load_file

import semilla
from semilla import pretraining
from semilla.cli import main
from semilla.errors import SemillaError, UsageError
from semilla.starting import SHARE, first_stage

TINY = {
    "steps": 6,
    "width": 4,
    "labeled_batch": 10,
    "unlabeled_batch": 8,
    "threads": 1,
    "device": "cpu",
    "precision": "fp32",
    "evaluate_every": 3,
}
ALIKE = {name: value for name, value in TINY.items() if name not in ("steps", "evaluate_every")}
RECIPE = """steps = 4
width = 4
labeled_batch = 10
unlabeled_batch = 8
[pretrain]
method = "vicreg"
steps = 3
share = 0.25
dimension = 16
[baseline]
views = ["weak"]
"""


@pytest.fixture(scope="module")
def arrays():
    draw = np.random.default_rng(0)

    def part(count):
        labels = np.arange(count) % 2
        pixels = draw.integers(0, 200, (count, 8, 8)) + 30 * labels[:, None, None]
        return pixels.astype(np.uint8), labels

    (x, y), (x_test, y_test) = part(120), part(60)
    return {"x_train": x, "y_train": np.where(np.arange(120) < 20, y, -1), "x_test": x_test, "y_test": y_test}


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "own.toml"
    path.write_text(RECIPE)
    return path


# What is to be done first


def test_nothing_is_done_first_unless_it_is_asked_for(recipe):
    assert first_stage(None, None, None) is None
    assert first_stage(None, "digits/fixmatch", None) is None
    assert first_stage("none", recipe, None) is None
    assert first_stage(None, recipe, "RUN") is None


def test_a_recipe_says_what_is_done_first_and_shares_its_network(recipe):
    stage = first_stage(None, recipe, None)
    assert stage == {"method": "vicreg", "share": 0.25, "steps": 3, "dimension": 16, "width": 4}


def test_a_word_of_the_user_overrules_the_recipe_and_drops_what_was_for_another_method(recipe):
    assert first_stage("rotation", recipe, None) == {"method": "rotation", "share": 0.25, "width": 4}
    assert first_stage("vicreg", recipe, None)["dimension"] == 16
    assert first_stage("simclr", None, None) == {"method": "simclr", "share": SHARE}


@pytest.mark.parametrize("share", ["0.0", "1.0", "2", '"half"', "true"])
def test_a_share_is_between_0_and_1(tmp_path, share):
    path = tmp_path / "own.toml"
    path.write_text(f"[pretrain]\nshare = {share}\n")
    with pytest.raises(UsageError) as caught:
        first_stage(None, path, None)
    assert caught.value.code == "U006"


def test_two_starts_contradict_each_other(arrays, tmp_path):
    with pytest.raises(UsageError) as caught:
        semilla.train(arrays, init=tmp_path, pretraining="simclr", out=tmp_path / "run")
    assert caught.value.code == "U008"


def test_a_start_needs_a_folder_to_lie_in(arrays):
    with pytest.raises(UsageError) as caught:
        semilla.train(arrays, pretraining="simclr", **TINY)
    assert caught.value.code == "U073"


# The run


@pytest.fixture(scope="module")
def run(arrays, tmp_path_factory):
    folder = tmp_path_factory.mktemp("starting") / "run"
    return semilla.train(arrays, method="uda", pretraining="simclr", out=folder, **TINY)


def test_a_start_of_all_examples_is_their_doing_though_the_training_used_none(arrays, tmp_path):
    words = {"method": "fixmatch", "pretraining": "simclr", "threshold": 0.999999, "steps": 2}
    trained = semilla.train(arrays, out=tmp_path / "run", **{**TINY, **words})
    assert {line["used"] for line in trained.fits["fixmatch-0"].history} == {0.0}
    assert not trained.verdict.idle
    assert "no unlabeled example was used" not in trained.verdict.sentence()


def test_the_run_remembers_what_it_started_from(run):
    start = json.loads((run.folder / "run.json").read_text())["start"]
    read = start.pop("readout")
    assert start == {"name": "pretrain", "method": "simclr", "steps": start["steps"], "data": "arrays"}
    assert (read["labels"], read["n"]) == (20, 60), "by the labels that the training has, no others"


def test_labels_that_the_training_hides_are_hidden_from_the_read_out_too(arrays, tmp_path):
    all_labeled = {**arrays, "y_train": np.arange(120) % 2}
    semilla.train(all_labeled, labels=10, pretraining="simclr", out=tmp_path / "run", **TINY)
    assert json.loads((tmp_path / "run" / "run.json").read_text())["start"]["readout"]["labels"] == 10


def test_the_test_part_is_not_read_while_another_part_is_scored(arrays, tmp_path):
    words = {"method": "uda", "pretraining": "simclr", "evaluate_on": "development"}
    parts = {"x_development": arrays["x_test"], "y_development": arrays["y_test"]}
    semilla.train({**arrays, **parts}, out=tmp_path / "run", **{**TINY, **words})
    assert json.loads((tmp_path / "run" / "run.json").read_text())["start"]["readout"] is None


def test_a_dry_run_does_not_read_out(arrays, monkeypatch):
    monkeypatch.setattr(pretraining, "read_out", lambda *_: pytest.fail("the test part was read"))
    semilla.train(arrays, method="uda", pretraining="simclr", dry_run=True, **TINY)


def test_an_unknown_pre_training_is_told_what_there_is(arrays, tmp_path):
    with pytest.raises(UsageError) as caught:
        semilla.train(arrays, pretraining="bogus", out=tmp_path / "run", **TINY)
    assert caught.value.code == "U001"
    assert "rotation" in str(caught.value.fix)
    assert "uda" not in str(caught.value.fix)


def test_three_fits_are_made_and_the_verdict_is_against_labels_alone_from_scratch(run):
    assert list(run.fits) == ["from_scratch-0", "supervised-0", "uda-0"]
    assert (run.verdict.method, run.verdict.baseline) == ("uda", "from_scratch")
    assert (run.folder / "pretrain" / "fits" / "simclr-0" / "model.safetensors").is_file()


def test_the_two_later_fits_start_from_the_pre_training_and_the_first_does_not(run):
    place = str(run.folder / "pretrain" / "fits" / "simclr-0" / "model.safetensors")
    assert [fit.settings.weights for fit in run.fits.values()] == [None, place, place]
    assert len({fit.settings.steps for fit in run.fits.values()}) == 1
    assert [fit.settings.layer_decay for fit in run.fits.values()] == [None, 0.75, 0.75]


def test_the_best_of_the_three_is_shipped(run):
    scores = {name: fit.scores["test/accuracy"] for name, fit in run.fits.items()}
    assert scores[run.shipped] == max(scores.values())


def test_the_report_tells_what_each_step_brought(run):
    page = semilla.report(run.folder, pictures=False).read_text("utf-8")
    assert "Step by step: from scratch the labels alone reach" in page
    rows = (run.folder / "figures" / "learning_curves.csv").read_text().splitlines()[1:]
    assert {row.split(",")[0] for row in rows} == {"uda-0", "supervised-0", "from_scratch-0"}


def test_the_labels_take_no_part_in_the_start(arrays, run, tmp_path):
    others = {**arrays, "y_train": np.where(np.arange(120) >= 100, np.arange(120) % 2, -1)}
    again = semilla.train(others, method="uda", pretraining="simclr", out=tmp_path / "run", **TINY)
    one, two = (load_file(each.folder / "pretrain/fits/simclr-0/model.safetensors") for each in (run, again))
    assert all(np.array_equal(one[name], two[name]) for name in one)


def test_a_run_that_was_finished_is_taken_up_again_to_the_same_weights(arrays, run):
    before = load_file(run.folder / "fits/uda-0/model.safetensors")
    again = semilla.train(arrays, method="uda", pretraining="simclr", out=run.folder, resume=True, **TINY)
    after = load_file(run.folder / "fits/uda-0/model.safetensors")
    assert again.scores == run.scores
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_a_dry_run_says_both_plans_and_writes_nothing(arrays, tmp_path):
    said = []
    semilla.train(arrays, pretraining="rotation", out=tmp_path / "run", dry_run=True, say=said.append, **TINY)
    told = "\n".join(said)
    assert "steps of rotation with small_cnn" in told
    assert "steps of from_scratch and supervised and fixmatch" in told
    assert not (tmp_path / "run").exists()


def test_the_dry_run_plans_what_the_run_does(arrays, tmp_path):
    """The training starts from weights, and is planned so though there are none yet."""
    said = []
    semilla.train(arrays, pretraining="simclr", out=tmp_path / "run", dry_run=True, say=said.append, **ALIKE)
    planned = [line for line in "\n".join(said).splitlines() if "layer_decay" in line or line.startswith("plan:")]
    made = []
    begun = semilla.pretrain(arrays, steps=1, out=tmp_path / "begun", readout=False, **ALIKE)
    semilla.train(arrays, init=begun.folder, dry_run=True, say=made.append, **ALIKE)
    alike = [line for line in "\n".join(made).splitlines() if "layer_decay" in line or line.startswith("plan:")]
    assert len(planned) == 3, "of the start, and two of the training"
    assert [re.sub(r"\d+(\.\d+)? (s|min)", "", line) for line in planned[1:]] == [
        re.sub(r"\d+(\.\d+)? (s|min)", "", line) for line in alike
    ]


def test_labels_alone_from_scratch_get_the_usual_steps_where_a_start_needs_fewer(arrays, tmp_path):
    begun = semilla.pretrain(arrays, steps=1, out=tmp_path / "begun", readout=False, **ALIKE)
    told = {}
    for steps in (None, 150, 40):
        said = []
        asked = {} if steps is None else {"steps": steps}
        semilla.train(arrays, init=begun.folder, dry_run=True, say=said.append, **ALIKE, **asked)
        told[steps] = next(line for line in "\n".join(said).splitlines() if line.startswith("plan:"))
    assert "150 steps of from_scratch (600 steps," in told[None]
    assert "150 steps of from_scratch (" in told[150]
    assert "600 steps" not in told[150], "as asked"
    assert told[40].startswith("plan: 40 steps of from_scratch and supervised and fixmatch")


def test_a_recipe_makes_its_start(arrays, recipe, tmp_path):
    trained = semilla.train(arrays, method="uda", recipe=recipe, out=tmp_path / "run", width=4, threads=1)
    stage = json.loads((tmp_path / "run/pretrain/fits/vicreg-0/fit.json").read_text())["fit"]["settings"]
    assert (stage["steps"], stage["hyperparameters"]) == (3, {"dimension": 16})
    assert trained.fits["uda-0"].settings.steps == 4


def test_start_and_training_share_the_minutes(arrays, tmp_path, monkeypatch):
    monkeypatch.setattr("semilla.pretraining.step_seconds", lambda fit: 0.1)
    monkeypatch.setattr("semilla.fitting.step_seconds", lambda fit: 0.1)
    path = tmp_path / "own.toml"
    path.write_text('[pretrain]\nmethod = "vicreg"\nshare = 0.25\n')
    trained = semilla.train(arrays, method="uda", recipe=path, minutes=0.041, out=tmp_path / "run", **ALIKE)
    stage = json.loads((tmp_path / "run/pretrain/fits/vicreg-0/fit.json").read_text())["fit"]["settings"]
    assert (stage["steps"], trained.fits["uda-0"].settings.steps) == (6, 18)


def test_a_method_that_needs_labels_is_no_start(arrays, tmp_path):
    with pytest.raises(SemillaError) as caught:
        semilla.train(arrays, pretraining="fixmatch", out=tmp_path / "run", **TINY)
    assert caught.value.code == "U071"


def test_the_command_line_says_the_same_word(tmp_path):
    words = "train digits --labels 20 --pretrain rotation --steps 4 --set width=4 --no-baseline --out"
    with contextlib.redirect_stdout(io.StringIO()) as out, pytest.raises(SystemExit) as stop:
        main([*words.split(), str(tmp_path / "run")])
    assert stop.value.code == 0
    assert "steps of rotation" in out.getvalue()
    assert (tmp_path / "run/pretrain/run.json").is_file()
