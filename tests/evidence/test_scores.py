"""Scores of a finished model on held-out labels."""

import dataclasses

import numpy as np
import pytest

import semilla
from semilla.data.sources import load as load_data
from semilla.errors import DataError, StateError, UsageError
from semilla.evidence.scores import evaluate

OPTIONS = {"labels": 40, "recipe": None, "steps": 8, "width": 4, "labeled_batch": 12, "threads": 1, "device": "cpu"}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scored")
    semilla.train("digits", method="supervised", out=folder, **OPTIONS)
    return folder


def test_right_answers_are_counted_over_all_and_in_each_class(run):
    scores, model, test = evaluate(run), semilla.load(run), load_data("digits").test
    right = np.array(model.predict(test.inputs)) == test.labels.astype(str)
    assert scores.accuracy.mean == right.mean()
    assert [name for name, *_ in scores.classes] == list("0123456789")
    for name, count, share in scores.classes:
        own = right[test.labels == int(name)]
        assert (count, share.mean) == (len(own), own.mean())
    summary = scores.summary()
    assert summary["n"] == sum(row["n"] for row in summary["classes"]) == 500


def test_classes_are_matched_by_name_and_not_by_number(run):
    test = load_data("digits").test
    some = np.isin(test.labels, (3, 7, 9))
    x, y = test.inputs[some][:, 0], test.labels[some]
    part = {"x_train": x, "y_train": y, "x_test": x, "y_test": y}  # its class 0 is the model's class 3
    scores = evaluate(run, data=part)
    whole = {name: (count, share) for name, count, share in evaluate(run).classes}
    for name, count, share in scores.classes:
        assert (count, share) == whole[name] if name in "379" else count == 0


def test_what_cannot_be_scored(run, tmp_path):
    digits = load_data("digits")
    with pytest.raises(DataError, match="no test part"):
        evaluate(run, data=dataclasses.replace(digits, test=None))
    with pytest.raises(StateError, match="no finished model"):
        evaluate(tmp_path)
    semilla.train(digits, method="supervised", out=tmp_path, **OPTIONS)
    with pytest.raises(UsageError, match="arrays in memory"):
        evaluate(tmp_path)
    assert evaluate(tmp_path, data="digits").count == 500
