"""`semilla.train` from a start: whose weights they are, what is compared with what, and what the report says of it."""

import dataclasses
import json
import re

import numpy as np
import pytest
import safetensors.torch
import torch
from safetensors.numpy import load_file

import semilla
from semilla.data.dataset import UNKNOWN, Dataset, Examples
from semilla.errors import SemillaError
from semilla.evidence.intervals import paired_difference
from semilla.evidence.verdict import judge
from semilla.text import short
from test_runs import invoke, read, right, starts, stopped, weights

TINY = {
    **{"steps": 6, "labeled_batch": 10, "unlabeled_batch": 8, "threads": 1, "device": "cpu", "precision": "fp32"},
    **{"log_every": 2, "evaluate_every": 3, "save_every": 2},
}
NAMES = ["from_scratch-0", "supervised-0", "uda-0"]


@pytest.fixture(scope="module")
def bars():
    """Pictures of bars that stand or lie, some of them labeled, with a test and no development part."""
    draw = np.random.default_rng(0)
    labels = np.arange(80) % 2
    pixels = draw.integers(0, 120, (80, 1, 8, 8))
    for picture, label in zip(pixels, labels, strict=True):
        place = draw.integers(8)
        picture[0, place if label else slice(None), slice(None) if label else place] += 120
    pixels = pixels.astype(np.uint8)
    known = np.where(np.arange(50) < 16, labels[:50], UNKNOWN)
    return Dataset("bars", "images", ("lies", "stands"), pixels[:50], known, test=Examples(pixels[50:], labels[50:]))


@pytest.fixture(scope="module")
def start(bars, tmp_path_factory):
    """A pre-training of another width and network than would be taken by itself."""
    run = tmp_path_factory.mktemp("start.of.bars") / "v1.0-run"  # a folder may have a dot in its name
    semilla.pretrain(
        bars, out=run, network="whitened_cnn", width=5, hidden=8, steps=4, unlabeled_batch=8, device="cpu", threads=1
    )
    return run


def train(data, init, method="uda", **more):
    return semilla.train(data, method=method, init=init, **{**TINY, **more})


def failed(code, *arguments, **more):
    with pytest.raises(SemillaError) as caught:
        train(*arguments, **more)
    assert caught.value.code == code, caught.value
    return caught.value


def body(tensors):
    """What a start is taken from: all but heads and classifier, under the names of the network."""
    return {
        name.removeprefix("model."): np.asarray(value)
        for name, value in tensors.items()
        if not name.startswith("heads.") and "classifier" not in name
    }


def body_of(result):
    return body(result.model.net.state_dict())


def file_of(start):
    return start / "fits" / "simclr-0" / "model.safetensors"


# Whose weights they are


def test_the_weights_are_the_starts_and_the_network_is_its_too(bars, start):
    trained = train(bars, start, steps=1, learning_rate=1e-9, weight_decay=0.0)
    assert list(trained.fits) == NAMES
    wanted = body(load_file(file_of(start)))
    for name in NAMES:
        settings = trained.fits[name].settings
        assert (settings.network, settings.width) == ("whitened_cnn", 5), name
    for name in NAMES[1:]:
        own = body_of(trained.fits[name])
        assert own.keys() == wanted.keys()
        for key in own:
            if "running" not in key and "tracked" not in key:  # a step moves BatchNorm's statistics
                np.testing.assert_allclose(own[key], wanted[key], atol=1e-6, err_msg=key)
    fresh = body_of(trained.fits["from_scratch-0"])
    assert max(np.abs(fresh[key] - wanted[key]).max() for key in fresh if key.endswith("weight")) > 1e-3


def test_the_fit_from_scratch_is_supervised_training_as_it_is_without_a_start(bars, start):
    """The same bits as a run that knows of no start gives its baseline."""
    beside = train(bars, start).fits["from_scratch-0"]
    alone = semilla.train(bars, method="uda", network="whitened_cnn", width=5, **TINY).fits["supervised-0"]
    assert beside.settings == alone.settings
    left, right = (result.model.net.state_dict() for result in (beside, alone))
    assert all(torch.equal(left[name], right[name]) for name in left)


def test_every_fit_gets_the_same_steps_labels_and_batches(bars, start, monkeypatch):
    trained = train(bars, start, seed=3)
    assert list(trained.fits) == ["from_scratch-3", "supervised-3", "uda-3"]
    for name in ("steps", "labeled_batch", "seed", "device", "precision", "threads", "pool"):
        assert len({getattr(result.settings, name) for result in trained.fits.values()}) == 1, name
    assert {result.history[-1]["step"] for result in trained.fits.values()} == {6}
    rows = [result.outputs["labeled_rows"] for result in trained.fits.values()]
    assert all(np.array_equal(rows[0], other) for other in rows)
    monkeypatch.setattr("semilla.fitting.step_seconds", lambda *_, **__: 10.0)
    timed = train(bars, start, steps=None, minutes=1.5)
    assert {result.settings.steps for result in timed.fits.values()} == {9}


def test_a_start_is_refined_slowly_and_from_scratch_is_not(bars, start):
    fits = train(bars, start).fits
    assert [(fit.settings.optimizer, fit.settings.learning_rate) for fit in fits.values()] == [
        ("sgd", 0.03),
        ("adamw", 3e-4),
        ("adamw", 3e-4),
    ]
    assert [fit.settings.layer_decay for fit in fits.values()] == [None, 0.75, 0.75]


def test_a_learning_rate_found_for_random_weights_is_not_that_of_a_start(tmp_path):
    """The recipe of digits says 0.3, which is for SGD from scratch: it is kept there, and a start is refined."""
    words = {"steps": 1, "unlabeled_batch": 8, "device": "cpu", "threads": 1}
    semilla.pretrain("digits", out=tmp_path / "s", width=4, hidden=4, readout=False, **words)
    fits = semilla.train("digits", labels=40, method="fixmatch", init=tmp_path / "s", **words).fits
    assert [fit.settings.learning_rate for fit in fits.values()] == [0.3, 3e-4, 3e-4]
    assert [fit.settings.hyperparameters.get("threshold") for fit in fits.values()] == [None, None, 0.8]
    asked = semilla.train("digits", labels=40, method="fixmatch", init=tmp_path / "s", learning_rate=1e-3, **words)
    assert [fit.settings.learning_rate for fit in asked.fits.values()] == [0.3, 1e-3, 1e-3]
    named = semilla.train(
        "digits", labels=40, method="fixmatch", init=tmp_path / "s", recipe="digits/fixmatch", **words
    )
    assert named.fits["fixmatch-0"].settings.learning_rate == 0.3, "a recipe that is named is meant"


# What to start from


def test_a_run_a_fit_and_its_file_are_the_same_start(bars, start):
    from_run = train(bars, start, baseline=False)
    from_fit = train(bars, start / "fits" / "simclr-0", baseline=False)
    from_file = train(bars, file_of(start), network="whitened_cnn", width=5, baseline=False)
    wanted = from_run.result.model.net.state_dict()
    for other in (from_fit, from_file):
        found = other.result.model.net.state_dict()
        assert all(torch.equal(found[name], wanted[name]) for name in wanted)


def test_a_trained_run_is_a_start_too_classifier_and_all(bars, start, tmp_path):
    train(bars, start, out=tmp_path / "first", baseline=False)
    again = train(bars, tmp_path / "first", steps=1, learning_rate=1e-9, weight_decay=0.0, baseline=False)
    saved = load_file(tmp_path / "first" / "fits" / "uda-0" / "model.safetensors")
    np.testing.assert_allclose(
        again.result.model.net.state_dict()["model.classifier.weight"], saved["model.classifier.weight"], atol=1e-6
    )
    assert "the classifier's too, of 2 classes" in again.result.reasons["weights"]


def test_the_name_of_the_network_may_be_said_again(bars, start):
    trained = train(bars, start, network="whitened_cnn", width=5, steps=1, baseline=False)
    assert trained.result.settings.network == "whitened_cnn"


def test_a_timm_model_may_be_said_by_its_short_name(bars, tmp_path):
    pytest.importorskip("timm")
    words = {"unlabeled_batch": 4, "device": "cpu", "threads": 1}
    semilla.pretrain(bars, out=tmp_path / "s", network="test_resnet", hidden=4, steps=1, **words)
    trained = train(bars, tmp_path / "s", network="test_resnet", steps=1, baseline=False)
    assert trained.result.settings.network == "timm/test_resnet"


def test_what_contradicts_the_start(bars, start, tmp_path):
    failed("U063", bars, start, network="small_cnn")
    assert "5 wide, not 8" in failed("U063", bars, start, width=8).message
    failed("U063", bars, file_of(start))  # weights of which network?
    failed("C061", bars, file_of(start), network="whitened_cnn", width=6, out=tmp_path / "never")
    assert not (tmp_path / "never").exists(), "it is told before the baseline is trained"
    grey = np.repeat(bars.inputs, 3, 1)
    coloured = dataclasses.replace(
        bars, inputs=grey, test=Examples(np.repeat(bars.test.inputs, 3, 1), bars.test.labels)
    )
    assert "they are for pictures of 1 channels, and these have 3" in failed("C061", coloured, start).message
    failed("U008", bars, start, weights=str(file_of(start)))
    failed("U062", bars, tmp_path / "none.safetensors", network="whitened_cnn")
    failed("C023", bars, tmp_path / "none")
    failed("U063", bars, start, network=torch.nn.Linear(1, 1))
    (tmp_path / "unfinished" / "fits" / "simclr-0").mkdir(parents=True)
    failed("C023", bars, tmp_path / "unfinished")


def test_a_run_with_a_network_of_ones_own_is_no_start(bars, tmp_path):
    class Own(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.head = torch.nn.Linear(64, 2)

        def forward(self, inputs):
            return self.head(inputs.flatten(1)), inputs.flatten(1)

    semilla.train(bars, method="uda", network=Own(), baseline=False, out=tmp_path / "own", **TINY)
    assert "your own module" in failed("U072", bars, tmp_path / "own").fix


def test_what_is_wrong_with_a_start_is_told_before_any_data_are_read(start, tmp_path, monkeypatch):
    monkeypatch.setattr("semilla.runs.load_data", lambda *_: pytest.fail("the data are read"))
    failed("U063", "nowhere", start, network="small_cnn")
    failed("C023", "nowhere", tmp_path / "none")
    code, _, err = invoke("train", "nowhere", "--init", tmp_path / "none")
    assert (code, "C023" in err) == (4, True)


# What is compared, and what is shipped


def answers(monkeypatch, scratch, base, main, part="test"):
    """Fits whose answers are made up: how many of 20 each gets right."""
    from semilla.fitting import Fit

    finish = Fit._finish
    right_of = {"from_scratch": scratch, "supervised": base}

    def answered(self, *arguments):
        result = finish(self, *arguments)
        truth = np.arange(20) % 2
        guess = np.where(np.arange(20) < right_of.get(self.name.rsplit("-", 1)[0], main), truth, 1 - truth)
        result.outputs[f"{part}_logits"] = np.eye(2, dtype=np.float32)[guess]
        result.outputs[f"{part}_labels"] = truth
        return result

    monkeypatch.setattr(Fit, "_finish", answered)


@pytest.mark.parametrize(
    ("scratch", "base", "main", "shipped", "why"),
    [
        (8, 12, 16, "uda-0", "20.0 points better than supervised on the test labels"),
        (8, 16, 12, "supervised-0", "not better on the test labels (-20.0 points)"),
        (18, 12, 16, "from_scratch-0", "no other fit of this run is better on the test labels"),
        (18, 16, 12, "from_scratch-0", "no other fit"),
        (16, 12, 16, "uda-0", "20.0 points better"),
        (12, 12, 12, "supervised-0", "+0.0 points"),
    ],
)
def test_the_best_of_three_is_shipped_and_the_verdict_is_against_the_fine_tuned(
    bars, start, monkeypatch, scratch, base, main, shipped, why
):
    answers(monkeypatch, scratch, base, main)
    said = []
    trained = train(bars, start, steps=1, say=said.append)
    assert (trained.shipped, why in trained.why) == (shipped, True), trained.why
    assert (trained.verdict.method, trained.verdict.baseline) == ("uda", "supervised")
    assert trained.verdict.difference.mean == pytest.approx((main - base) / 20)
    assert f"from scratch, labels alone: {5 * scratch:.1f} %" in said[-1]
    assert f"from the start, labels alone: {5 * base:.1f} % ({5 * (base - scratch):+.1f} points, " in said[-1]
    assert f"from the start, with the unlabeled data: {5 * main:.1f} %" in said[-1]
    assert ("the start is worse than none" in said[-1]) == (scratch - base >= 4), "2 of 20 cannot tell"


def test_development_labels_decide_where_there_are_some(bars, start, monkeypatch):
    development = dataclasses.replace(bars, development=bars.test)
    answers(monkeypatch, 18, 12, 10, "development")
    trained = train(development, start, steps=1)
    assert trained.shipped == "from_scratch-0"
    assert "on the development labels" in trained.why


def test_the_verdict_is_the_judgement_of_the_saved_outputs(bars, start, tmp_path):
    trained = train(bars, start, out=tmp_path)
    saved = [load_file(tmp_path / "fits" / name / "outputs.safetensors") for name in NAMES[1:]]
    again = judge("uda", right(saved[1]), "supervised", right(saved[0]), trained.verdict.used)
    assert trained.verdict == again
    assert read(tmp_path / "run.json")["fits"] == NAMES
    scores = {name: result.scores["test/accuracy"] for name, result in trained.fits.items()}
    assert scores[trained.shipped] == max(scores.values())
    summary = json.loads(json.dumps(trained.summary()))
    assert list(summary["fits"]) == NAMES
    assert summary["shipped"] == trained.shipped


def test_without_a_baseline_there_is_one_fit_from_the_start(bars, start):
    said = []
    trained = train(bars, start, baseline=False, say=said.append)
    assert list(trained.fits) == ["uda-0"]
    assert trained.verdict is None
    assert "without a baseline no verdict" in said[-1]
    assert "from scratch" not in said[-1]


def test_without_a_test_part_nothing_is_claimed(bars, start):
    said = []
    trained = train(dataclasses.replace(bars, test=None), start, say=said.append)
    assert (trained.verdict, trained.shipped) == (None, "uda-0")
    assert "nothing is claimed" in said[-1]
    assert "from the start" not in said[-1]


@pytest.mark.parametrize(("scratch", "base", "shipped"), [(8, 16, "supervised-0"), (16, 8, "from_scratch-0")])
def test_supervised_training_from_a_start_has_no_verdict_on_unlabeled_data(
    bars, start, monkeypatch, scratch, base, shipped
):
    """The two differ in the start alone, of which no one knows what it was made of."""
    answers(monkeypatch, scratch, base, 0)
    said = []
    trained = train(bars, start, "supervised", steps=1, say=said.append)
    assert list(trained.fits) == NAMES[:2]
    assert (trained.verdict, trained.shipped) == (None, shipped)
    assert f"from scratch, labels alone: {5 * scratch:.1f} %" in said[-1]
    assert f"from the start, labels alone: {5 * base:.1f} %" in said[-1]
    assert "verdict" not in said[-1]
    assert "unlabeled data" not in said[-1]


def test_supervised_training_from_scratch_sees_the_same_views(bars, start):
    fits = train(bars, start, "supervised", views=("weak",), steps=1).fits
    assert [fit.settings.hyperparameters["views"] for fit in fits.values()] == [("weak",), ("weak",)]


# The folder


@pytest.mark.parametrize("where", NAMES)
def test_an_interrupted_run_ends_as_an_undisturbed_one(bars, start, tmp_path, monkeypatch, where):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    undisturbed = train(bars, start, out=whole)
    stopped(monkeypatch, broken / "fits" / where / "metrics.jsonl", bars, **TINY, width=None, init=start, out=broken)
    again = train(bars, start, out=broken, resume=True)
    assert list(again.fits) == NAMES
    for name in NAMES:
        assert weights(broken, name) == weights(whole, name), name
    assert again.verdict == undisturbed.verdict
    assert read(broken / "run.json")["shipped"] == undisturbed.shipped


def test_a_second_method_finds_both_baselines_finished(bars, start, tmp_path):
    train(bars, start, out=tmp_path)
    second = train(bars, start, "pi_model", out=tmp_path)
    assert list(second.fits) == ["from_scratch-0", "supervised-0", "pi_model-0"]
    assert starts(tmp_path, "from_scratch-0") == starts(tmp_path, "supervised-0") == 1


def test_a_resumed_run_is_not_taken_up_from_another_start(bars, start, tmp_path):
    train(bars, start, out=tmp_path / "run")
    semilla.pretrain(
        bars,
        out=tmp_path / "other",
        network="whitened_cnn",
        width=5,
        hidden=8,
        steps=2,
        unlabeled_batch=8,
        device="cpu",
    )
    error = failed("C003", bars, tmp_path / "other", out=tmp_path / "run", resume=True)
    assert "weights" in error.message


def test_a_dry_run_says_what_would_be_done(bars, start, tmp_path, monkeypatch):
    monkeypatch.setattr("semilla.fitting.Fit.run", lambda *_, **__: pytest.fail("it trains"))
    said = []
    assert train(bars, start, out=tmp_path / "run", dry_run=True, say=said.append) is None
    assert list(tmp_path.iterdir()) == []
    assert "plan: 6 steps of from_scratch and supervised and uda with whitened_cnn on cpu" in said[-1]
    (line,) = [line for line in said[-1].splitlines() if line.startswith("  weights ")]
    assert line.split("  ")[1] == "weights"
    assert "simclr-0/model.safetensors but the classifier starts anew: 2 classes here, none in the weights" in line
    assert str(start) not in line


def test_a_path_is_shown_by_its_last_two_parts():
    assert short("/a/b/c/model.safetensors") == "c/model.safetensors"
    assert short("timm/resnet18") == "timm/resnet18"
    assert short("hub") == "hub"
    assert short(0.123456) == "0.1235"
    assert short(7) == "7"


def test_show_takes_the_method_for_the_recipe_and_not_the_fit_from_scratch(bars, start, tmp_path, monkeypatch):
    answers(monkeypatch, 20, 8, 8)
    assert train(bars, start, out=tmp_path, steps=1).shipped == "from_scratch-0"
    text = invoke("show", tmp_path, "--recipe")[1]
    assert text.startswith("# semilla train DATA --method uda ")
    assert "fit       from_scratch-0, shipped" in invoke("show", tmp_path)[1]


def test_the_command_line_says_the_same(bars, start, tmp_path):
    known = np.where(bars.labels < 0, "", bars.labels.astype(str))
    arrays = {"x_train": bars.inputs, "y_train": known, "x_test": bars.test.inputs}
    np.savez(tmp_path / "bars.npz", **arrays, y_test=bars.test.labels.astype(str))
    words = [word for key, value in TINY.items() for word in ("--set", f"{key}={value}")]
    command = ["train", tmp_path / "bars.npz", "--method", "uda", "--init", start, "--out", tmp_path / "run", *words]
    code, out, err = invoke(*command, "--json")
    assert code in (0, 8), err
    said = json.loads(out)
    assert list(said["fits"]) == NAMES
    assert said["verdict"]["baseline"] == "supervised"
    assert read(tmp_path / "run" / "run.json")["command"].count("--init") == 1
    code, _, err = invoke(*command, "--network", "small_cnn", "--overwrite")
    assert (code, "U063" in err) == (2, True)


# A start that is made first

STAGED = {**TINY, "width": 4, "pretraining": "simclr", "recipe": None}


def staged(patch):
    """A pre-training of four steps before the training."""
    patch.setattr("semilla.training.plan._pretraining_steps", lambda *_: (4, "few"))


def test_a_run_interrupted_while_its_start_is_made_ends_as_an_undisturbed_one(bars, tmp_path, monkeypatch):
    """The command that is printed then finds no fit yet but the start's, and goes on."""
    staged(monkeypatch)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    undisturbed = semilla.train(bars, method="uda", out=whole, **STAGED)
    when = broken / "pretrain" / "fits" / "simclr-0" / "metrics.jsonl"
    stopped(monkeypatch, when, bars, **STAGED, out=broken)
    assert not (broken / "fits").exists()
    again = semilla.train(bars, method="uda", out=broken, resume=True, **STAGED)
    assert list(again.fits) == NAMES
    assert weights(broken / "pretrain", "simclr-0") == weights(whole / "pretrain", "simclr-0")
    for name in NAMES:
        left, right = (result.fits[name].model.net.state_dict() for result in (undisturbed, again))
        assert all(torch.equal(left[key], right[key]) for key in left), name
    assert read(broken / "pretrain" / "fits" / "simclr-0" / "model.json")["network"]["width"] == 4


def test_resuming_where_nothing_was_begun_makes_no_start(bars, tmp_path, monkeypatch):
    staged(monkeypatch)
    with pytest.raises(SemillaError, match="no run to resume") as caught:
        semilla.train(bars, method="uda", out=tmp_path / "run", resume=True, **STAGED)
    assert caught.value.code == "C002"
    assert list(tmp_path.iterdir()) == []


# The report


@pytest.fixture(scope="module")
def reported(bars, start, tmp_path_factory):
    """A run of three fits, and its page."""
    run = tmp_path_factory.mktemp("reported") / "run"
    named = dataclasses.replace(bars, classes=("<b>lies", "stands"))
    trained = train(named, start, out=run)
    return trained, semilla.report(run).read_text(encoding="utf-8")


def test_the_page_says_what_each_step_brought(reported):
    trained, page = reported
    scores = [f"{100 * result.scores['test/accuracy']:.1f}" for result in trained.fits.values()]
    text = re.sub(r"<[^>]+>", "", page).replace("\N{NO-BREAK SPACE}", " ").replace("\N{NARROW NO-BREAK SPACE}", " ")
    found = re.search(
        r"Step by step: from scratch the labels alone reach ([\d.]+) ?%; fine-tuned from the pre-trained start they "
        r"reach ([\d.]+) ?% \((\S+) points, 95 % interval (\S+) to (\S+)\); fine-tuned and with the unlabeled data, "
        r"([\d.]+) ?%",
        text,
    )
    assert found is not None
    assert [found[1], found[2], found[6]] == scores
    worth = paired_difference(*(right(trained.fits[name].outputs) for name in (NAMES[1], NAMES[0])))
    wanted = [f"{100 * value:+.1f}".replace("-", "\N{MINUS SIGN}") for value in worth]
    assert [found[3], found[4], found[5]] == wanted
    assert "The start is 4 steps of simclr on bars; a linear classifier on its features was right in" in text
    assert "trained on the labels alone from the same start, is right" in text


def test_the_learning_chart_has_three_curves_with_names_of_their_own(reported):
    trained, page = reported
    ends = [f"{100 * result.history[-1]['test/accuracy']:.1f}" for result in trained.fits.values()]
    for title, end in zip(("supervised from scratch", "supervised", "uda"), ends, strict=True):
        assert re.search(rf"\b{title} ends at {re.escape(end)}", page), title
    assert "<b>lies" not in page
    assert "&lt;b&gt;lies" in page


def test_a_report_of_any_of_the_three_can_be_made(reported, bars, start, tmp_path, monkeypatch):
    answers(monkeypatch, 20, 8, 8)
    assert train(bars, start, out=tmp_path, steps=1).shipped == "from_scratch-0"
    monkeypatch.undo()
    assert "supervised from scratch ends at" in semilla.report(tmp_path).read_text(encoding="utf-8")


def test_a_run_without_a_start_says_nothing_of_one(bars, tmp_path):
    semilla.train(bars, method="uda", out=tmp_path, **TINY, width=4)
    page = semilla.report(tmp_path).read_text(encoding="utf-8")
    assert "Step by step" not in page
    assert "from scratch" not in page


def test_supervised_training_from_a_start_has_a_page(bars, start, tmp_path):
    train(bars, start, "supervised", out=tmp_path)
    page = semilla.report(tmp_path).read_text(encoding="utf-8")
    assert "supervised from scratch ends at" in page


def test_files_and_fits_that_are_no_start_leave_the_folder_alone(bars, tmp_path):
    (tmp_path / "a.safetensors").write_bytes(safetensors.torch.save({"x": torch.zeros(2)}))
    failed("C061", bars, tmp_path / "a.safetensors", network="small_cnn", out=tmp_path / "run")
