"""Nothing may cost more than its share when the pool, the classes or the pictures grow: the places that once did."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

import semilla
from semilla.data.arrays import from_arrays
from semilla.data.dataset import Dataset, split
from semilla.data.holdout import choose_test
from semilla.data.labels import choose_labels
from semilla.data.preparation import preparation
from semilla.evidence.scores import WHOLE_CLASSES, score
from semilla.exporting.card import _class_rows
from semilla.inference import outputs
from semilla.inference.calibration import calibrate
from semilla.randomness import permutation
from semilla.reporting.run_data import Part, read_run
from semilla.reporting.run_report import _counts

SCALING = Path(__file__).parents[1] / "benchmarks" / "scaling.py"
MIB = 2**20


def seconds(act):
    """The best of three, of the processor."""
    found = []
    for _ in range(3):
        began = time.process_time()
        act()
        found.append(time.process_time() - began)
    return min(found)


def most_memory(act):
    tracemalloc.start()
    try:
        act()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def names(count):
    return tuple(map(str, range(count)))


def draw_labels(classes):
    choose_labels(np.arange(100_000) % classes, names(classes), classes, 0)


def keep_back(classes):
    blank = [""] * 100_000
    choose_test(np.arange(100_000) % classes, names(classes), 0.2, blank, blank)


def keep_back_groups(groups):
    labels = [f"{row % groups}" for row in range(10_000)]
    choose_test(np.arange(10_000) % 2, names(2), 0.5, labels, [""] * 10_000)


def read_held_out(classes):
    rows = np.zeros((10_000, 1))
    labels = np.arange(10_000) % classes
    from_arrays({"x_train": rows, "y_train": labels, "x_test": rows, "y_test": labels}, "made")


def card_rows(classes):
    logits = np.zeros((1_000, classes))
    _class_rows(names(classes), None, Part(logits, labels=np.zeros(1_000, np.int64)))


@pytest.mark.parametrize(
    ("act", "few", "many", "most"),
    [
        (draw_labels, 10, 10_000, 5),  # a pass for each class took 17 times as long
        (keep_back, 10, 10_000, 5),  # 60 times
        (keep_back_groups, 10, 10_000, 5),  # 12 times
        (read_held_out, 2, 5_000, 8),  # 100 times
        (card_rows, 100, 1_000, 30),  # 60 times
    ],
)
def test_many_classes_and_groups_are_one_pass(act, few, many, most):
    assert seconds(lambda: act(many)) < most * seconds(lambda: act(few))


def test_a_permutation_takes_little_more_memory_than_itself():
    size = 400_000
    assert most_memory(lambda: permutation(0, "order", 0, size)) < 6 * 8 * size  # drawn at once 13 times


def test_the_scale_of_large_pictures_is_taken_a_few_at_a_time():
    pictures = np.random.default_rng(0).integers(0, 256, (150, 3, 96, 96), np.uint8)
    dataset = Dataset("made", "images", ("a", "b"), pictures, np.arange(150) % 2)
    parts = split(dataset, [0, 1])
    assert most_memory(lambda: preparation(dataset, parts)) < pictures.nbytes  # in float64 it is 8 times as large
    whole = pictures.astype(np.float64) / 255
    assert preparation(dataset, parts)["std"] == pytest.approx(whole.std((0, 2, 3)).tolist(), rel=1e-12)


def test_calibration_copies_the_logits_a_few_times_at_most():
    logits = np.random.default_rng(0).standard_normal((400, 2_000))
    labels = logits.argmax(1)
    assert most_memory(lambda: calibrate(logits, labels, "test")) < 4.5 * logits.nbytes  # it was 7.5 times


def test_the_scores_of_ten_thousand_classes_hold_no_table_of_all_pairs():
    logits, truth = np.zeros((20, 10_000), np.float32), np.arange(20)
    found = []
    assert most_memory(lambda: found.append(score(logits, truth, names(10_000)).summary())) < 100 * MIB
    assert found[0]["confusion"] is None
    assert found[0]["confusion_cells"] == [[row, 0, 1] for row in range(20)]
    few = score(np.zeros((20, WHOLE_CLASSES)), truth, names(WHOLE_CLASSES)).summary()
    assert few["confusion_cells"] is None
    assert np.array(few["confusion"]).sum() == 20


def test_labeled_outputs_are_sampled_where_they_are_many_and_all_labels_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(outputs, "SAMPLED_LOGITS", 30)  # 10 examples of 3 classes
    draw = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2, -1], [4, 6, 10, 20])
    data = {"x_train": draw.standard_normal((40, 5)), "y_train": labels}
    result = semilla.fit(data, method="fixmatch", steps=1, recipe=None, device="cpu", out=tmp_path)
    assert {name: len(value) for name, value in result.outputs.items() if name.startswith("labeled")} == {
        **dict.fromkeys(("labeled_logits", "labeled_features", "labeled_rows", "labeled_labels"), 10),
        "labeled_counts": 3,
    }
    assert result.outputs["labeled_labels"].tolist() == labels[result.outputs["labeled_rows"]].tolist()
    assert len(result.outputs["unlabeled_logits"]) == 10
    fit = read_run(tmp_path).model
    assert _counts(fit, "labeled").tolist() == [4, 6, 10]
    assert [row[1] for row in _class_rows(fit.classes, fit.parts["labeled"], None)] == ["4", "6", "10"]


@pytest.fixture(scope="module")
def scaling():
    sys.path.insert(0, str(SCALING.parent))
    try:
        spec = importlib.util.spec_from_file_location("scaling", SCALING)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(SCALING.parent))
    return module


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("constant", [0.0, 3.0])
def test_the_exponent_is_that_of_what_grows(scaling, power, constant):
    work = [10, 1_000, 100_000]
    found = scaling.growth(work, [constant + size**power for size in work])
    assert found == pytest.approx(power, abs=0.01 + 0.05 * (power < 1))
    assert scaling.growth(work, [1.0, 1.05, 1.09]) == 0


@pytest.mark.slow
def test_the_benchmark_runs(tmp_path):
    command = [sys.executable, str(SCALING), "--quick", "--only", "classes", "--out", str(tmp_path / "scaling.json")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "scaling.json").read_text())["rows"]
    assert [row["name"] for row in rows] == ["classes/fixmatch", "classes/fixmatch test"]
    assert set(rows[1]["measured"]) == {"start", "step", "finish", "evaluate", "report", "peak"}
