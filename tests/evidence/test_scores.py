"""Scores of a finished model on held-out labels."""

import csv
import dataclasses
import json

import numpy as np
import pytest
from PIL import Image
from sklearn import metrics

import semilla
from semilla.data.sources import load as load_data
from semilla.errors import DataError, StateError, UsageError
from semilla.evidence.intervals import macro_f1, mean_recall
from semilla.evidence.scores import FEWEST, SHOWN_CLASSES, evaluate, score
from semilla.fitting import fit
from semilla.inference.calibration import calibration_error, cross_fitted, softmax
from semilla.inference.model import CARD

OPTIONS = {"labels": 40, "recipe": None, "steps": 8, "width": 4, "labeled_batch": 12, "threads": 1, "device": "cpu"}
NAMES = [f"class {number}" for number in range(5)]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scored")
    fit("digits", method="supervised", out=folder, **OPTIONS)
    return folder


def drawn(count=300, seed=0, classes=5):
    draw = np.random.default_rng(seed)
    truth = draw.integers(0, classes, count)
    logits = draw.normal(size=(count, classes))
    logits[np.arange(count), truth] += 1.5
    return logits, truth


# The scores themselves


def test_scores_are_those_of_scikit_learn():
    logits, truth = drawn()
    guess, p = logits.argmax(1), softmax(logits, 0.8)
    found = score(logits, truth, NAMES, temperature=0.8)
    assert found.accuracy.mean == metrics.accuracy_score(truth, guess)
    assert found.balanced_accuracy.mean == pytest.approx(metrics.balanced_accuracy_score(truth, guess))
    assert found.macro_f1.mean == pytest.approx(metrics.f1_score(truth, guess, average="macro"))
    assert found.nll.mean == pytest.approx(metrics.log_loss(truth, p))
    assert found.brier.mean == pytest.approx(((p - np.eye(5)[truth]) ** 2).sum(1).mean())
    assert found.calibration_error.mean == pytest.approx(calibration_error(p.max(1), guess == truth))
    np.testing.assert_array_equal(found.confusion, metrics.confusion_matrix(truth, guess))
    precision, recall, f1, count = metrics.precision_recall_fscore_support(truth, guess)
    for number, row in enumerate(found.classes):
        assert (row.name, row.count) == (NAMES[number], count[number])
        means = (row.precision.mean, row.recall.mean, row.f1.mean)
        assert means == pytest.approx((precision[number], recall[number], f1[number]))


def test_classes_that_do_not_occur_are_left_out_of_the_means():
    logits, truth = drawn(100, classes=5)
    logits, truth = logits[truth < 3], truth[truth < 3]
    logits[:, 4] = -100  # never said, never true
    found = score(logits, truth, NAMES)
    guess = logits.argmax(1)
    assert 3 in guess
    with pytest.warns(UserWarning, match="not in y_true"):
        assert found.balanced_accuracy.mean == pytest.approx(metrics.balanced_accuracy_score(truth, guess))
    assert found.macro_f1.mean == pytest.approx(metrics.f1_score(truth, guess, average="macro"))
    assert np.isnan(found.classes[4].recall.mean)
    assert "class 4       0  –" in "\n".join(found.lines())


def test_intervals_are_those_of_a_plain_bootstrap():
    logits, truth = drawn()
    found = score(logits, truth, NAMES, temperature=0.5)
    draw, tries = np.random.default_rng(5), []
    p, guess = softmax(logits, 0.5), logits.argmax(1)
    for _ in range(800):
        rows = draw.integers(0, len(truth), len(truth))
        error = calibration_error(p[rows].max(1), guess[rows] == truth[rows])
        brier = ((p[rows] - np.eye(5)[truth[rows]]) ** 2).sum(1).mean()
        tries.append((2 * found.calibration_error.mean - error, brier, metrics.log_loss(truth[rows], p[rows])))
    low, high = np.quantile(tries, (0.025, 0.975), axis=0)
    for name, start, end in zip(("calibration_error", "brier", "nll"), low, high, strict=True):
        interval = getattr(found, name)
        assert (interval.low, interval.high) == pytest.approx((start, end), abs=0.15 * (end - start)), name
        assert interval.low <= interval.mean <= interval.high
    assert found.balanced_accuracy == mean_recall(found.cells)
    assert found.macro_f1 == macro_f1(found.cells)


def test_the_calibration_error_of_a_calibrated_model_may_be_0():
    begins_at_0 = 0
    for seed in range(40):
        logits, _ = drawn(400, seed)
        draw = np.random.default_rng(100 + seed)
        truth = (softmax(logits).cumsum(1) > draw.uniform(size=(400, 1))).argmax(1)
        error = score(logits, truth, NAMES).calibration_error
        assert 0 < error.mean <= error.high
        begins_at_0 += error.low == 0
        assert score(logits, truth, NAMES, temperature=0.3).calibration_error.low > 0.05
    assert begins_at_0 >= 36  # 97.5 % are expected to


def test_without_errors_nothing_is_said_of_what_they_cost():
    truth = np.arange(100) % 5
    for wrong, shown in ((0, False), (FEWEST - 1, False), (FEWEST, True), (100 - FEWEST, True), (95, False)):
        guess = np.where(np.arange(100) < wrong, (truth + 1) % 5, truth)
        found = score(4 * np.eye(5)[guess], truth, NAMES)
        for interval in (found.calibration_error, found.brier, found.nll):
            assert np.isfinite(interval.mean)
            assert np.isfinite([interval.low, interval.high]).tolist() == [shown, shown]
        text = "\n".join(found.lines())
        assert text.count("(no interval)") == (0 if shown else 3)
        assert any("no interval" in note for note in found.notes) == (not shown)
    perfect = score(4 * np.eye(5)[truth[:20]], truth[:20], NAMES).lines()
    assert perfect[1] == "balanced accuracy 100.0 % (83.9 – 100.0), macro-F1 100.0 % (83.9 – 100.0)"


def test_the_intervals_repeat_to_the_last_digit():
    logits, truth = drawn()
    assert score(logits, truth, NAMES).summary() == score(logits, truth, NAMES).summary()


def test_without_a_temperature_each_half_calibrates_the_other():
    logits, truth = drawn()
    p = cross_fitted(logits, truth)
    assert score(logits, truth, NAMES, temperature=None).nll.mean == pytest.approx(metrics.log_loss(truth, p))


def test_the_confusion_matrix_is_printed_where_it_can_be_read():
    logits, truth = drawn(classes=SHOWN_CLASSES)
    assert "predicted as:" in score(logits, truth, [f"c{k}" for k in range(SHOWN_CLASSES)]).lines()
    logits, truth = drawn(classes=SHOWN_CLASSES + 1)
    assert "predicted as:" not in score(logits, truth, [f"c{k}" for k in range(SHOWN_CLASSES + 1)]).lines()


def test_predictions_as_csv(tmp_path):
    logits, truth = np.array([[0.0, 2.0], [3.0, 0.0], [0.0, 1.0]]), np.array([0, 0, 1])
    names = ["a,b.png", "caf\udce9.png", "=1+1.png"]
    score(logits, truth, ['say "x"', "-y"], names=names).write_predictions(tmp_path / "p.csv")
    rows = list(csv.DictReader((tmp_path / "p.csv").read_text("utf-8").splitlines()))
    assert [row["path"] for row in rows] == ["a,b.png", "caf%E9.png", "'=1+1.png"]
    assert [row["truth"] for row in rows] == ['say "x"', 'say "x"', "'-y"]
    assert [row["label"] for row in rows] == ["'-y", 'say "x"', "'-y"]
    assert [row["right"] for row in rows] == ["false", "true", "true"]
    assert float(rows[0]["confidence"]) == pytest.approx(1 / (1 + np.exp(-2)))


# Of a run


def test_right_answers_are_counted_over_all_and_in_each_class(run):
    scores, model, test = evaluate(run), semilla.load(run), load_data("digits").test
    right = np.array(model.predict(test.inputs)) == test.labels.astype(str)
    assert scores.accuracy.mean == right.mean()
    assert [row.name for row in scores.classes] == list("0123456789")
    for row in scores.classes:
        own = right[test.labels == int(row.name)]
        assert (row.count, row.recall.mean) == (len(own), own.mean())
    summary = scores.summary()
    assert summary["n"] == sum(row["n"] for row in summary["classes"]) == 500
    json.dumps(summary)
    assert scores.predictions[3][0] == "x_test#3"


def test_classes_are_matched_by_name_and_not_by_number(run):
    test = load_data("digits").test
    some = np.isin(test.labels, (3, 7, 9))
    x, y = test.inputs[some][:, 0], test.labels[some]
    part = {"x_train": x[:, ::-1], "y_train": y, "x_test": x, "y_test": y}  # its class 0 is the model's class 3
    scores = evaluate(run, data=part)
    whole = {row.name: (row.count, row.recall) for row in evaluate(run).classes}
    for row in scores.classes:
        assert (row.count, row.recall) == whole[row.name] if row.name in "379" else row.count == 0


def test_a_test_part_alone_is_enough(run, tmp_path):
    test = load_data("digits").test
    arrays = {"x_test": test.inputs[:60, 0], "y_test": test.labels[:60]}
    np.savez(tmp_path / "test.npz", **arrays)
    found = evaluate(run, data=tmp_path / "test.npz")
    assert found.count == evaluate(run, data=arrays).count == 60
    right = np.array(semilla.load(run).predict(test.inputs[:60])) == test.labels[:60].astype(str)
    assert found.accuracy.mean == right.mean()


def test_a_folder_of_classes_is_scored_as_a_whole_in_the_form_of_the_model(run, tmp_path):
    test = load_data("digits").test
    for row in range(30):
        folder = tmp_path / "checked" / str(test.labels[row])
        folder.mkdir(parents=True, exist_ok=True)
        large = Image.fromarray(test.inputs[row, 0]).resize((24, 24), Image.Resampling.NEAREST)
        large.convert("RGB").save(folder / f"{row}.png")
    found = evaluate(run, data=tmp_path / "checked")
    assert found.count == 30
    assert "no test part" in found.notes[0]
    names, guessed = zip(*((path, label) for path, _, label, _ in found.predictions), strict=True)
    assert tuple(semilla.load(run).predict([tmp_path / "checked" / name for name in names])) == guessed
    (tmp_path / "checked" / "3" / "bad.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"bad\.png") as caught:
        evaluate(run, data=tmp_path / "checked")
    assert caught.value.code == "D014"


def test_the_part_that_chose_the_temperature_is_scored_by_halves(run, tmp_path):
    folder = run / "fits" / "supervised-0"
    logits, truth = semilla.load(run).logits(load_data("digits").test.inputs), load_data("digits").test.labels
    card = json.loads((folder / CARD).read_text())
    try:
        for fitted_on, expected in (("test", cross_fitted(logits, truth)), ("development", softmax(logits, 2.0))):
            calibration = {"temperature": 2.0, "fitted_on": fitted_on, "n": 500}
            (folder / CARD).write_text(json.dumps({**card, "calibration": calibration}))
            found = evaluate(run)
            assert found.nll.mean == pytest.approx(metrics.log_loss(truth, expected.astype(float)))
            assert ("each half" in found.notes[-1]) == (fitted_on == "test")
    finally:
        (folder / CARD).write_text(json.dumps(card))


def test_what_cannot_be_scored(run, tmp_path):
    digits = load_data("digits")
    with pytest.raises(DataError, match="no test part"):
        evaluate(run, data=dataclasses.replace(digits, test=None))
    with pytest.raises(StateError, match="no finished model"):
        evaluate(tmp_path)
    with pytest.raises(DataError, match="'cat'") as caught:
        evaluate(run, data={"x_test": digits.test.inputs[:2, 0], "y_test": ["cat", "3"]})
    assert caught.value.code == "D052"
    fit(digits, method="supervised", out=tmp_path, **OPTIONS)
    with pytest.raises(UsageError, match="arrays in memory"):
        evaluate(tmp_path)
    assert evaluate(tmp_path, data="digits").count == 500
