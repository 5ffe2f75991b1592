"""`semilla.train`: the method, the baseline beside it, the verdict, and the run folder they share."""

import contextlib
import dataclasses
import io
import json
import os
import signal
import sys

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

import semilla
from semilla.cli import main
from semilla.data.sources import load
from semilla.errors import Interrupted, SemillaError
from semilla.evidence.comparison import share_used
from semilla.evidence.verdict import Verdict, judge
from semilla.training.monitor import Monitor

TINY = {
    "steps": 6,
    "width": 4,
    "labeled_batch": 10,
    "unlabeled_batch": 8,
    "threads": 1,
    "device": "cpu",
    "precision": "fp32",
    "log_every": 2,
    "evaluate_every": 3,
    "save_every": 2,
}


@pytest.fixture(scope="module")
def arrays():
    """Dark and bright pictures of 8 × 8, noisy enough that a few steps do not get all right."""
    draw = np.random.default_rng(0)

    def part(count):
        labels = np.arange(count) % 2
        pixels = draw.integers(0, 200, (count, 8, 8)) + 30 * labels[:, None, None]
        return pixels.astype(np.uint8), labels

    x, y = part(120)
    x_test, y_test = part(60)
    return {"x_train": x, "y_train": np.where(np.arange(120) < 20, y, -1), "x_test": x_test, "y_test": y_test}


@pytest.fixture(scope="module")
def untested(arrays):
    return {name: array for name, array in arrays.items() if "test" not in name}


@pytest.fixture
def pictures(tmp_path, monkeypatch):
    """A folder of pictures of two classes, with more without a class."""
    monkeypatch.setenv("SEMILLA_CACHE", str(tmp_path / "cache"))
    draw = np.random.default_rng(1)
    for name, count, level in (("dark", 5, 0), ("bright", 5, 150), ("unlabeled", 12, 70)):
        folder = tmp_path / "pictures" / name
        folder.mkdir(parents=True)
        for number in range(count):
            picture(folder / f"{number}.png", draw, level)
    return tmp_path / "pictures"


def picture(path, draw, level):
    Image.fromarray((draw.integers(0, 100, (8, 8)) + level).astype(np.uint8)).save(path)


def train(data, method="uda", **more):
    return semilla.train(data, method=method, **{**TINY, **more})


def invoke(*words):
    """Run a command: exit code, stdout, stderr."""
    out, err, argv = io.StringIO(), io.StringIO(), sys.argv
    sys.argv = ["semilla", *map(str, words)]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as stop:
            main()
    finally:
        sys.argv = argv
    return int(stop.value.code or 0), out.getvalue(), err.getvalue()


def weights(run, fit):
    """The tensors of a finished fit as bytes."""
    return {name: array.tobytes() for name, array in load_file(run / "fits" / fit / "model.safetensors").items()}


def read(path):
    return json.loads(path.read_text())


def starts(run, fit):
    """How often a fit was begun."""
    return (run / "fits" / fit / "events.jsonl").read_text().count('"started"')


def failed(code, *arguments, **more):
    with pytest.raises(SemillaError) as caught:
        train(*arguments, **more)
    assert caught.value.code == code, caught.value
    return caught.value


def right(outputs, part="test"):
    return outputs[f"{part}_logits"].argmax(1) == outputs[f"{part}_labels"]


# The two fits


def test_the_baseline_has_everything_but_the_method_in_common(arrays):
    trained = train(arrays, seed=7, optimizer="adamw")
    assert list(trained.fits) == ["supervised-7", "uda-7"]
    base, main = (result.settings for result in trained.fits.values())
    for name in ("network", "width", "steps", "labeled_batch", "seed", "optimizer", "device", "precision", "threads"):
        assert getattr(base, name) == getattr(main, name) is not None, name
    assert (base.network, base.steps, base.seed, base.optimizer) == ("small_cnn", 6, 7, "adamw")
    assert base.hyperparameters == {"views": ("weak", "strong")}  # what strong augmentation gives is the baseline's too
    rows = [result.outputs["labeled_rows"] for result in trained.fits.values()]
    assert np.array_equal(*rows)


def test_the_baseline_on_vectors_sees_the_weak_view():
    x = np.random.default_rng(0).normal(size=(40, 3))
    y = np.where(np.arange(40) < 12, x[:, 0] > 0, -1).astype(int)
    trained = train((x, y), width=8)
    assert trained.fits["supervised-0"].settings.hyperparameters == {"views": ("weak",)}
    assert trained.fits["supervised-0"].settings.network == "mlp"


def test_a_recipe_of_the_set_is_the_baselines_too():
    trained = train("digits", labels=40, method="uda")
    base, main = (result.settings for result in trained.fits.values())
    assert base.hyperparameters == {"views": ("weak", "strong")}
    assert base.learning_rate == main.learning_rate == 0.3
    assert (base.width, base.steps) == (4, 6)  # what was said is said for both


def test_the_budget_in_a_recipe_is_the_baselines_too(arrays, tmp_path):
    recipe = tmp_path / "own.toml"
    recipe.write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in {**TINY, "seed": 4}.items()))
    trained = semilla.train(arrays, method="uda", recipe=recipe)
    base, main = (result.settings for result in trained.fits.values())
    for name in ("steps", "width", "labeled_batch", "seed", "evaluate_every"):
        assert getattr(base, name) == getattr(main, name) == {**TINY, "seed": 4}[name], name


def test_the_budget_of_a_method_in_minutes_is_the_baselines(arrays, monkeypatch):
    monkeypatch.setattr("semilla.fitting.step_seconds", lambda *_, **__: 10.0)
    trained = train(arrays, steps=None, minutes=1.0)
    assert [result.settings.steps for result in trained.fits.values()] == [6, 6]


def test_without_a_baseline(arrays, tmp_path):
    said = []
    trained = train(arrays, baseline=False, out=tmp_path / "run", say=said.append)
    assert list(trained.fits) == ["uda-0"]
    assert trained.verdict is None
    assert (trained.shipped, trained.why) == ("uda-0", "it is the only fit")
    assert "without a baseline no verdict" in said[-1]
    assert [path.name for path in (tmp_path / "run" / "fits").iterdir()] == ["uda-0"]
    assert read(tmp_path / "run" / "run.json")["verdict"] is None


def test_supervised_training_has_no_other_baseline(arrays):
    trained = train(arrays, method="supervised")
    assert list(trained.fits) == ["supervised-0"]
    assert trained.verdict is None


def test_a_fit_beside_a_baseline_is_the_fit_alone(arrays):
    beside = train(arrays).fits["uda-0"].outputs
    alone = train(arrays, baseline=False).result.outputs
    assert np.array_equal(beside["test_logits"], alone["test_logits"])


# The verdict


def test_the_verdict_is_the_judgement_of_the_saved_outputs(arrays, tmp_path):
    run, said = tmp_path / "run", []
    trained = train(arrays, out=run, say=said.append)
    saved = {name: load_file(run / "fits" / name / "outputs.safetensors") for name in ("supervised-0", "uda-0")}
    used = trained.verdict.used
    again = judge("uda", right(saved["uda-0"]), "supervised", right(saved["supervised-0"]), used)
    assert used == pytest.approx(share_used(trained.fits["uda-0"].history))
    assert trained.verdict == again
    assert Verdict.from_plain(read(run / "run.json")["verdict"]) == again
    assert f"verdict: {again.sentence()}" in said[-1]
    for name, outputs in saved.items():
        recorded = read(run / "fits" / name / "result.json")["scores"]["test/accuracy"]
        assert right(outputs).mean() == pytest.approx(recorded)
        assert np.array_equal(outputs["test_labels"], arrays["y_test"])


def test_nothing_is_claimed_without_a_test_part(untested, tmp_path):
    said = []
    trained = train(untested, out=tmp_path / "run", say=said.append)
    assert trained.verdict is None
    assert trained.scores == {}
    assert trained.shipped == "uda-0"
    assert "nothing is claimed" in said[-1]
    assert "verdict" not in said[-1]
    assert "accuracy" not in said[-1]
    assert "--holdout" in said[0]
    assert read(tmp_path / "run" / "run.json")["verdict"] is None


def test_labels_kept_back_are_a_test_part(untested):
    trained = train(untested, holdout=0.4)
    assert trained.verdict.n == 8
    assert len(trained.result.outputs["labeled_labels"]) == 12


def made(monkeypatch, ours, theirs):
    """Fits whose answers are made up: for each part, how many of 20 the method and the baseline get right."""
    from semilla.fitting import Fit

    finish = Fit._finish

    def answered(self, *arguments):
        result = finish(self, *arguments)
        for part, count in (theirs if self.settings.method == "supervised" else ours).items():
            truth = np.arange(20) % 2
            guess = np.where(np.arange(20) < count, truth, 1 - truth)
            result.outputs[f"{part}_logits"] = np.eye(2, dtype=np.float32)[guess]
            result.outputs[f"{part}_labels"] = truth
        return result

    monkeypatch.setattr(Fit, "_finish", answered)


@pytest.mark.parametrize(
    ("ours", "theirs", "shipped", "why"),
    [
        ({"test": 15}, {"test": 10}, "uda-0", "25.0 points better than supervised on the test labels"),
        ({"test": 10}, {"test": 15}, "supervised-0", "not better on the test labels (-25.0 points)"),
        ({"test": 12}, {"test": 12}, "supervised-0", "+0.0 points"),
        (
            {"test": 10, "development": 18},
            {"test": 15, "development": 16},
            "uda-0",
            "10.0 points better than supervised on the development labels",
        ),
        (
            {"test": 15, "development": 16},
            {"test": 10, "development": 18},
            "supervised-0",
            "not better on the development labels (-10.0 points)",
        ),
    ],
)
def test_the_better_one_is_shipped(arrays, monkeypatch, ours, theirs, shipped, why):
    made(monkeypatch, ours, theirs)
    said = []
    trained = train(arrays, steps=1, say=said.append)
    assert trained.shipped == shipped
    assert why in trained.why
    assert trained.result is trained.fits[shipped]
    assert trained.model is trained.fits[shipped].model
    assert trained.verdict.difference.mean == pytest.approx((ours["test"] - theirs["test"]) / 20)
    assert said[-1].splitlines()[-1].startswith(f"shipped: {shipped}, because ")


def test_development_labels_choose_without_a_test_part(monkeypatch):
    data = dataclasses.replace(load("digits"), test=None)
    made(monkeypatch, {"development": 10}, {"development": 15})
    trained = train(data, labels=20, steps=1)
    assert trained.verdict is None
    assert trained.shipped == "supervised-0"


def test_a_recipe_file_says_the_same_as_keywords(arrays, tmp_path):
    said = {"learning_rate": 0.5, "clip": 0.1, "schedule": "constant"}
    recipe = tmp_path / "own.toml"
    recipe.write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in {**TINY, **said}.items()))
    bases = [
        trained.fits["supervised-0"].settings
        for trained in (train(arrays, **said), semilla.train(arrays, method="uda", recipe=recipe))
    ]
    assert bases[0] == bases[1]


# What is written


def test_a_dry_run_does_nothing(arrays, tmp_path, monkeypatch):
    monkeypatch.setattr("semilla.runs.step_seconds", lambda *_, **__: 0.25)
    monkeypatch.setattr("semilla.fitting.Fit.run", lambda *_, **__: pytest.fail("it trains"))
    said = []
    assert train(arrays, out=tmp_path / "run", dry_run=True, say=said.append) is None
    assert list(tmp_path.iterdir()) == []
    understood, plan = said
    assert "unlabeled" in understood
    assert "plan: 6 steps of supervised and uda with small_cnn on cpu\n" in plan, "so few are not timed"
    assert train(arrays, steps=60, out=tmp_path / "run", dry_run=True, say=said.append) is None
    assert "plan: 60 steps of supervised (15 s) and uda (15 s) with small_cnn on cpu, about 30 s in all" in said[-1]
    assert list(tmp_path.iterdir()) == []


def test_what_run_json_says(arrays, tmp_path):
    path = tmp_path / "mine.npz"
    np.savez(path, **arrays)
    trained = train(path, out=tmp_path / "run", command="semilla train mine.npz")
    said = read(tmp_path / "run" / "run.json")
    assert said["command"] == "semilla train mine.npz"
    assert said["fits"] == ["supervised-0", "uda-0"]
    assert said["shipped"] == trained.shipped in said["fits"]
    assert said["why"] == trained.why
    assert said["verdict"] == trained.verdict.plain()
    assert {name: said["data"][name] for name in ("name", "kind", "classes")} == {
        "name": "mine",
        "kind": "images",
        "classes": ["0", "1"],
    }
    assert said["data"]["source"]["data"] == str(path)
    assert {"semilla", "torch", "numpy"} <= set(said["versions"])
    assert said["format"] == 1
    assert semilla.load(tmp_path / "run").classes == trained.model.classes


def test_arrays_in_memory_have_no_source(arrays, tmp_path):
    train(arrays, out=tmp_path / "run", baseline=False)
    assert read(tmp_path / "run" / "run.json")["data"]["source"] is None


@pytest.mark.parametrize(
    ("code", "more"),
    [
        ("U008", {"resume": True, "overwrite": True, "out": "run"}),
        ("U016", {"resume": True}),
        ("U015", {"evaluate_on": "train"}),
        ("C002", {"resume": True, "out": "run"}),
    ],
)
def test_what_cannot_be_asked_for(arrays, tmp_path, monkeypatch, code, more):
    monkeypatch.chdir(tmp_path)
    failed(code, arrays, **more)
    assert not (tmp_path / "run" / "fits").exists()


# Several commands in one folder


def test_a_second_method_finds_the_baseline_finished(arrays, tmp_path):
    first = train(arrays, out=tmp_path)
    second = train(arrays, method="pi_model", out=tmp_path)
    assert starts(tmp_path, "supervised-0") == 1
    assert starts(tmp_path, "pi_model-0") == 1
    base, again = (trained.fits["supervised-0"] for trained in (first, second))
    assert again.scores == base.scores
    assert again.history == base.history
    for name, array in base.outputs.items():
        assert np.array_equal(again.outputs[name], array), name
    assert second.verdict == judge(
        "pi_model", right(second.fits["pi_model-0"].outputs), "supervised", right(base.outputs), second.verdict.used
    )
    x = arrays["x_test"][:, None]
    # A loaded network lies in memory in another order, so that sums round otherwise.
    np.testing.assert_allclose(again.model.predict_proba(x), base.model.predict_proba(x), atol=1e-6)
    assert read(tmp_path / "run.json")["fits"] == ["pi_model-0", "supervised-0", "uda-0"]


@pytest.mark.parametrize("changes", [{"steps": 8}, {"width": 5}, {"labeled_batch": 9}, {"learning_rate": 0.01}])
def test_a_baseline_of_another_kind_is_not_taken(arrays, tmp_path, changes):
    train(arrays, out=tmp_path)
    before = weights(tmp_path, "supervised-0")
    error = failed("C001", arrays, method="pi_model", out=tmp_path, **changes)
    assert "supervised-0" in error.message
    assert "--overwrite" in error.fix
    assert not (tmp_path / "fits" / "pi_model-0").exists()
    assert weights(tmp_path, "supervised-0") == before


def test_other_data_need_another_baseline(arrays, tmp_path):
    train(arrays, out=tmp_path)
    other = {**arrays, "x_train": 255 - arrays["x_train"]}
    failed("C001", other, method="pi_model", out=tmp_path)


def test_the_method_itself_is_never_taken_for_finished(arrays, tmp_path):
    train(arrays, out=tmp_path)
    assert "uda-0" in failed("C001", arrays, out=tmp_path).message
    train(arrays, out=tmp_path, overwrite=True, steps=3)
    assert read(tmp_path / "fits" / "supervised-0" / "fit.json")["fit"]["settings"]["steps"] == 3


# Taking up again


def stopped(monkeypatch, when, *arguments, **more):
    """A training that gets a signal as soon as the file ``when`` is there."""
    add = Monitor.add

    def interrupting(self, *values):
        if when.exists():
            os.kill(os.getpid(), signal.SIGTERM)
        return add(self, *values)

    with monkeypatch.context() as patch:
        patch.setattr(Monitor, "add", interrupting)
        with pytest.raises(Interrupted) as caught:
            train(*arguments, **more)
    assert caught.value.saved


@pytest.mark.parametrize("where", ["supervised-0", "uda-0"])
def test_an_interrupted_run_ends_as_an_undisturbed_one(arrays, tmp_path, monkeypatch, where):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    undisturbed = train(arrays, out=whole)
    stopped(monkeypatch, broken / "fits" / where / "metrics.jsonl", arrays, out=broken)
    assert (broken / "fits" / "uda-0").exists() == (where == "uda-0")
    assert not (broken / "run.json").exists()
    resumed = train(arrays, out=broken, resume=True)
    assert starts(broken, where) == 2
    for name in ("supervised-0", "uda-0"):
        assert weights(broken, name) == weights(whole, name)
        metrics = [(run / "fits" / name / "metrics.jsonl").read_bytes() for run in (broken, whole)]
        assert metrics[0] == metrics[1]
    assert resumed.verdict == undisturbed.verdict
    assert resumed.shipped == undisturbed.shipped


def test_a_finished_run_resumed_stays_as_it_is(arrays, tmp_path):
    before = train(arrays, out=tmp_path)
    kept = {name: weights(tmp_path, name) for name in before.fits}
    after = train(arrays, out=tmp_path, resume=True)
    assert {name: weights(tmp_path, name) for name in after.fits} == kept
    assert after.verdict == before.verdict


def test_a_setting_changes_on_request_only(arrays, tmp_path):
    train(arrays, out=tmp_path)
    failed("C003", arrays, out=tmp_path, resume=True, clip=1.0)
    train(arrays, out=tmp_path, resume=True, clip=1.0, allow_change=("clip",))
    for name in ("supervised-0", "uda-0"):
        assert read(tmp_path / "fits" / name / "fit.json")["changed"] == [["settings.clip: None → 1.0"]]


# The data of a run


def test_changed_data_are_told(pictures, tmp_path):
    run = tmp_path / "run"
    train(pictures, out=run)
    manifest = (run / "manifest.jsonl").read_bytes()
    draw = np.random.default_rng(9)
    picture(pictures / "unlabeled" / "new.png", draw, 60)
    picture(pictures / "dark" / "0.png", draw, 10)
    (pictures / "unlabeled" / "3.png").unlink()
    (pictures / "dark" / "4.png").rename(pictures / "bright" / "moved.png")
    for more in ({}, {"resume": True}, {"method": "pi_model"}, {"allow_data_change": True}):
        error = failed("C026", pictures, out=run, **more)
        for line in ("added unlabeled/new.png", "changed dark/0.png", "removed unlabeled/3.png", "removed dark/4.png"):
            assert line in error.message, error
        assert "bright/moved.png" in error.message
        assert "5 rows" in error.message
        assert "--allow-data-change" in error.fix
    assert (run / "manifest.jsonl").read_bytes() == manifest
    assert not (run / "fits" / "pi_model-0").exists()
    trained = train(pictures, out=run, resume=True, allow_data_change=True)
    assert trained is not None
    assert b"unlabeled/new.png" in (run / "manifest.jsonl").read_bytes()
    changed = read(run / "fits" / "uda-0" / "fit.json")["changed"]
    assert any("data.fingerprint" in line for line in changed[0])


def test_a_relabeled_picture_is_told(tmp_path, pictures):
    rows = [f"pictures/{name}/{number}.png,{name}" for name in ("dark", "bright") for number in range(5)]
    rows += [f"pictures/unlabeled/{number}.png," for number in range(12)]
    table = tmp_path / "list.csv"
    table.write_text("\n".join(["path,label", *rows]))
    train(table, out=tmp_path / "run", baseline=False)
    table.write_text("\n".join(["path,label", rows[0].replace(",dark", ",bright"), *rows[1:]]))
    error = failed("C026", table, out=tmp_path / "run", resume=True, baseline=False)
    assert "1 rows" in error.message
    assert "relabeled" in error.message
    assert "dark → bright" in error.message


def test_many_changes_are_told_in_ten_lines(pictures, tmp_path):
    train(pictures, out=tmp_path / "run", baseline=False)
    draw = np.random.default_rng(9)
    for number in range(15):
        picture(pictures / "unlabeled" / f"new{number}.png", draw, 60)
    message = failed("C026", pictures, out=tmp_path / "run", resume=True, baseline=False).message
    assert message.count("added") == 10
    assert "and 5 more" in message


def test_unchanged_data_are_the_same(pictures, tmp_path):
    train(pictures, out=tmp_path / "run")
    train(pictures, out=tmp_path / "run", method="pi_model")
    train(pictures, out=tmp_path / "run", resume=True)
    rows = [json.loads(line) for line in (tmp_path / "run" / "manifest.jsonl").read_text().splitlines()]
    assert len(rows) == len(load(str(pictures), None).labels) == 22


# The run again from what it shows


@pytest.mark.parametrize("method", ["uda", "supervised"])
def test_a_shown_recipe_gives_the_same_bits(tmp_path, method):
    plain = ["train", "digits", "--labels", 20, "--no-baseline", "--method", method]
    first, again = tmp_path / "first", tmp_path / "again"
    said = {**TINY, "seed": 3, "clip": 0.5, "weight_decay": 1e-3, "learning_rate": 0.0123, "ema_decay": 0.7}
    words = [word for key, value in said.items() for word in ("--set", f"{key}={value}")]
    code, _, err = invoke(*plain, *words, "--out", first)
    assert code == 0, err
    code, text, err = invoke("show", first, "--recipe")
    assert code == 0, err
    recipe = tmp_path / "shown.toml"
    recipe.write_text(text)
    code, _, err = invoke(*plain, "--recipe", recipe, "--out", again)
    assert code == 0, err
    fit = f"{method}-3"
    assert weights(again, fit) == weights(first, fit)
    settings = [read(run / "fits" / fit / "fit.json")["fit"] for run in (first, again)]
    assert settings[0] == settings[1]


def test_the_shown_recipe_of_a_run_with_a_baseline(tmp_path):
    train("digits", labels=20, out=tmp_path / "first", seed=2)
    for method in ("supervised", "uda"):
        _, text, _ = invoke("show", tmp_path / "first", "--recipe", "--fit", f"{method}-2")
        recipe, out = tmp_path / f"{method}.toml", tmp_path / method
        recipe.write_text(text)
        semilla.train("digits", labels=20, method=method, recipe=recipe, out=out, baseline=False)
        assert weights(out, f"{method}-2") == weights(tmp_path / "first", f"{method}-2")


def test_a_shown_recipe_gives_the_same_baseline_and_verdict(tmp_path):
    words = {"labels": 40, "method": "pseudo_label", **TINY}  # the recipe of digits gives each its own learning rate
    words = {key: value for key, value in words.items() if key != "width"}
    first = semilla.train("digits", out=tmp_path / "first", **words)
    code, text, _ = invoke("show", tmp_path / "first", "--recipe")
    assert code == 0
    assert "ramp = 0.4" in text, "what was left at the method's default is a setting too"
    recipe = tmp_path / "shown.toml"
    recipe.write_text(text)
    again = semilla.train("digits", labels=40, method="pseudo_label", recipe=recipe, out=tmp_path / "again")
    rates = {name: result.settings.learning_rate for name, result in first.fits.items()}
    assert len(set(rates.values())) == 2
    for fit in first.fits:
        assert weights(tmp_path / "again", fit) == weights(tmp_path / "first", fit)
    assert again.verdict == first.verdict


def test_a_recipe_that_speaks_of_no_baseline_is_the_baselines_too(tmp_path, arrays):
    recipe = tmp_path / "own.toml"
    recipe.write_text("learning_rate = 0.5\nmomentum = 0.5\n")
    assert train(arrays, recipe=recipe).fits["supervised-0"].settings.momentum == 0.5
    recipe.write_text("learning_rate = 0.5\nmomentum = 0.5\n[baseline]\nlearning_rate = 0.25\nviews = ['strong']\n")
    own = train(arrays, recipe=recipe).fits["supervised-0"].settings
    assert (own.learning_rate, own.momentum, own.hyperparameters) == (0.25, 0.9, {"views": ("strong",)})
    for wrong, code in (("baseline = 3\n", "U005"), ("[baseline]\nlearnin_rate = 1\n", "U002")):
        recipe.write_text(wrong)
        failed(code, arrays, recipe=recipe)


# What a run is scored on


def with_test(arrays, seed, count=60):
    """The same data with other test pictures."""
    draw = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    pixels = draw.integers(0, 200, (count, 8, 8)) + 30 * labels[:, None, None]
    return {**arrays, "x_test": pixels.astype(np.uint8), "y_test": labels}


@pytest.mark.parametrize("count", [60, 40])
def test_a_baseline_of_another_test_part_is_not_paired_with_a_method(arrays, tmp_path, count):
    train(arrays, out=tmp_path / "run")
    assert failed("C026", with_test(arrays, 5, count), out=tmp_path / "run", method="pi_model").fix
    assert not (tmp_path / "run" / "fits" / "pi_model-0").exists()
    train(with_test(arrays, 5, count), out=tmp_path / "run", overwrite=True)
    assert read(tmp_path / "run" / "run.json")["verdict"]["n"] == count


def test_overwriting_leaves_no_fit_of_other_data_behind(arrays, tmp_path):
    train(arrays, out=tmp_path / "run", method="pi_model")
    error = failed("C026", with_test(arrays, 5), out=tmp_path / "run", overwrite=True)
    assert "pi_model-0" in error.message
    assert not (tmp_path / "run" / "fits" / "uda-0").exists()


def test_a_refused_resumption_leaves_the_manifest_as_it_was(pictures, tmp_path):
    run = tmp_path / "run"
    train(pictures, out=run)
    before = (run / "manifest.jsonl").read_bytes()
    picture(pictures / "unlabeled" / "new.png", np.random.default_rng(9), 60)
    failed("C003", pictures, out=run, resume=True, allow_data_change=True, threshold=0.5)
    assert (run / "manifest.jsonl").read_bytes() == before
    failed("C026", pictures, out=run, resume=True)


def test_a_run_of_changed_data_or_settings_is_of_another_lineage(pictures, tmp_path):
    run = tmp_path / "run"

    def lineages():
        return {path.parent.name: read(path)["lineage"] for path in run.glob("fits/*/fit.json")}

    train(pictures, out=run)
    first = lineages()
    assert len(set(first.values())) == 2
    assert all(len(own) == 16 for own in first.values())
    train(pictures, out=run, resume=True, log_every=1)
    assert lineages() == first, "what cannot change the weights does not count"
    train(pictures, out=run, resume=True, allow_change=["clip"], clip=1.0)
    second = lineages()
    picture(pictures / "unlabeled" / "new.png", np.random.default_rng(9), 60)
    train(pictures, out=run, resume=True, allow_change=["clip"], allow_data_change=True, clip=1.0)
    assert not {*lineages().values()} & {*first.values(), *second.values()}
    assert not {*second.values()} & {*first.values()}


def test_evaluate_refuses_a_test_part_that_was_drawn_anew(pictures, tmp_path):
    run = tmp_path / "run"
    train(pictures, out=run, holdout=0.4)
    code, _, err = invoke("evaluate", run)
    assert code == 0, err
    draw = np.random.default_rng(9)
    for number in range(10, 20):
        picture(pictures / "dark" / f"{number}.png", draw, 0)
    code, _, err = invoke("evaluate", run)
    assert code == 4
    assert "C026" in err
    assert "--data PATH" in err


def test_evaluate_tells_of_rows_that_were_trained_on(tmp_path):
    draw = np.random.default_rng(0)
    x = draw.normal(size=(60, 3)).round(4)
    lines = [f"{a},{b},{c},{'pos' if a > 0 else 'neg'}" for a, b, c in x]
    table, other = tmp_path / "t.csv", tmp_path / "o.csv"
    table.write_text("\n".join(["a,b,c,label", *lines[:40]]))
    other.write_text("\n".join(["a,b,c,label", *lines[40:]]))
    train(table, out=tmp_path / "run", baseline=False, pool="all")
    _, out, _ = invoke("evaluate", tmp_path / "run", "--data", table)
    assert "40 of 40 examples are equal to some that were trained on" in out
    _, out, _ = invoke("evaluate", tmp_path / "run", "--data", other)
    assert "trained on" not in out


def test_compare_takes_the_words_of_the_data(tmp_path, untested):
    words = {**TINY, "draws": 1, "workers": 1}
    found = semilla.compare(untested, ["supervised"], holdout=0.5, **words)
    assert [len(row.scores) for row in found.rows] == [1]
    with pytest.raises(SemillaError) as caught:
        semilla.compare(untested, ["supervised"], **words)
    assert caught.value.code == "D061"


# What a run says of its data, and where it may write


def test_a_run_is_not_written_into_its_data(pictures, monkeypatch):
    before = sorted(pictures.rglob("*"))
    assert "lies in the data folder" in failed("U022", pictures, out=pictures / "runs" / "a").message
    monkeypatch.chdir(pictures)
    code, _, err = invoke("train", ".", "--steps", 2)
    assert code == 2
    assert "U022" in err
    with pytest.raises(SemillaError, match="lies in the data folder"):
        semilla.compare(pictures, ["uda"], out=pictures / "unlabeled" / "c", draws=1)
    assert sorted(pictures.rglob("*")) == before


def test_a_run_finds_its_data_from_elsewhere(pictures, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    train("pictures", out=tmp_path / "run", holdout=0.4)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    code, out, err = invoke("evaluate", tmp_path / "run", "--json")
    assert code == 0, err
    assert json.loads(out)["n"] == 4
    pictures.rename(tmp_path / "moved")
    code, _, err = invoke("evaluate", tmp_path / "run")
    assert code == 3
    assert "'pictures', are not where they were" in err
    assert "--data PATH" in err


def test_unbalanced_classes_are_told(arrays):
    labels = np.where(np.arange(120) < 60, (np.arange(120) < 4).astype(int), -1)
    said = []
    train({**arrays, "y_train": labels}, say=said.append)
    told = "\n".join(said)
    assert "warn[D130]: the classes are unbalanced: always saying '0' would be right for 93% of the labels" in told
    said.clear()
    train({**arrays, "x_test": arrays["x_test"][::2], "y_test": arrays["y_test"][::2]}, say=said.append)
    told = "\n".join(said)
    assert "D130" not in told
    assert "there is no test label of '1'" in told


def test_what_was_understood_is_said_before_what_is_wrong(arrays):
    said = []
    failed("D040", {**arrays, "y_train": np.arange(120) % 2}, say=said.append)
    assert "  all                120           60" in "\n".join(said)


def test_few_steps_are_pointed_out(arrays):
    said = []
    trained = train(arrays, say=said.append)
    assert "note: 6 steps are few (by default 600)" in said[-1]
    assert len(repr(trained)) < 300
    said.clear()
    train(arrays, steps=151, say=said.append)
    assert "steps are few" not in said[-1]
    train("digits", labels=20, steps=2, threads=1, say=said.append)
    assert "note: 2 steps are few (by default 500)" in said[-1], "those of the recipe"


def test_wrong_words_are_told_before_any_data_are_read(monkeypatch):
    monkeypatch.setattr("semilla.runs.load_data", lambda *_: pytest.fail("the data are read"))
    assert "label_column" not in failed("U002", "nowhere", label_col="x").message


def test_a_run_given_as_data_is_recognised(arrays, tmp_path):
    train(arrays, out=tmp_path / "run")
    assert "is a run, not data" in failed("D003", tmp_path / "run").message


def test_one_unlabeled_example_is_enough(tmp_path):
    table = tmp_path / "t.csv"
    table.write_text("a,b,label\n1,2,x\n3,4,y\n5,6,\n")
    trained = semilla.train(table, steps=2, device="cpu")
    assert trained.result.settings.unlabeled_batch == 2


def test_a_data_set_of_the_datasets_library_may_be_a_table():
    datasets = pytest.importorskip("datasets")
    draw = np.random.default_rng(0)
    columns = {"a": draw.normal(size=80).tolist(), "who": [f"name {row}" for row in range(80)]}
    columns["label"] = [("x", "y")[row % 2] if row < 30 else None for row in range(80)]
    whole = datasets.Dataset.from_dict(columns)
    said = []
    assert train(whole, holdout=0.3, width=8, say=said.append).verdict is not None
    assert "1 column with another word in each row, left out: 'who'" in said[0]
    parts = datasets.DatasetDict({"train": whole.select(range(10, 80)), "test": whole.select(range(10))})
    assert len(load(parts, None).test) == 10
