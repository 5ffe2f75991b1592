"""What goes wrong while a run trains is seen and said; what goes well is left in peace."""

import json
import math

import pytest
import torch
from small import digits, last_checkpoint, make_fit, same, train, weights
from torch import nn

from semilla.contract import Info
from semilla.errors import TrainingError
from semilla.networks import SmallCNN
from semilla.training.monitor import Monitor, effective_classes

INFO = Info(4, 8, 100, (0.25,) * 4)
EVEN, ONE_SIDED = [0.25] * 4, [0.97, 0.01, 0.01, 0.01]


class Biased(nn.Module):
    """A network that sees one class everywhere."""

    def __init__(self, bias=30.0):
        super().__init__()
        self.inner = SmallCNN(1, (8, 8), 10, width=4)
        self.register_buffer("bias", torch.tensor([0.0, bias] + [0.0] * 8))

    def forward(self, inputs):
        logits, features, *_ = self.inner(inputs)
        return logits + self.bias, features


class BreaksAt(nn.Module):
    """A network whose logits are not numbers from its n-th pass in training on."""

    def __init__(self, passes):
        super().__init__()
        self.inner, self.left = SmallCNN(1, (8, 8), 10, width=4), passes

    def forward(self, inputs):
        logits, features, *_ = self.inner(inputs)
        self.left -= self.training
        return (logits if self.left >= 0 else logits * math.nan), features


def codes(result):
    return [code for code, _ in result.warnings]


# The rules, without training


def said(monitor, means, progress=0.5):
    return [code for code, _ in monitor.warnings(means, progress)]


def test_effective_classes_count_what_is_used():
    assert effective_classes(EVEN) == pytest.approx(4)
    assert effective_classes([1.0, 0.0, 0.0, 0.0]) == 1
    assert effective_classes([0.5, 0.5, 0.0]) == pytest.approx(2)


@pytest.mark.parametrize(("means", "code"), [({"prediction": ONE_SIDED}, "T101"), ({"used": 0.005}, "T102")])
def test_a_condition_is_said_once_after_three_windows_in_a_row(means, code):
    monitor = Monitor(INFO)
    assert [said(monitor, means) for _ in range(5)] == [[], [], [code], [], []]


def test_a_healthy_window_starts_the_count_anew():
    monitor, bad = Monitor(INFO), {"prediction": ONE_SIDED}
    windows = [bad, bad, {"prediction": EVEN}, bad, bad, bad]
    assert [said(monitor, means) for means in windows] == [[], [], [], [], [], ["T101"]]


def test_nothing_is_suspected_in_the_first_fifth():
    monitor = Monitor(INFO)
    assert not any(said(monitor, {"prediction": ONE_SIDED, "used": 0.0}, progress=0.19) for _ in range(9))
    assert [said(monitor, {"used": 0.0}, progress=0.2) for _ in range(3)][-1] == ["T102"]


@pytest.mark.parametrize(
    ("prediction", "prior", "suspected"),
    [
        (ONE_SIDED, (0.25,) * 4, True),
        ([0.5, 0.5, 0.0, 0.0], (0.25,) * 4, False),  # half of the classes: the limit itself is healthy
        ([0.49, 0.49, 0.02, 0.0], (0.25,) * 4, False),
        ([0.94, 0.02, 0.02, 0.02], (0.91, 0.03, 0.03, 0.03), False),  # few classes in use, but so are the labels
        (EVEN, (0.7, 0.1, 0.1, 0.1), False),
        ([0.6, 0.4 / 3, 0.4 / 3, 0.4 / 3], (0.1, 0.3, 0.3, 0.3), False),  # below 0.9
    ],
)
def test_where_collapse_begins(prediction, prior, suspected):
    monitor = Monitor(Info(4, 8, 100, prior))
    assert (["T101"] in [said(monitor, {"prediction": prediction}) for _ in range(3)]) is suspected


def test_strings_have_no_prior_and_supervised_no_predictions():
    strings = Monitor(Info(4, 8, 100))
    assert not any(said(strings, {"prediction": ONE_SIDED}) for _ in range(5))
    assert not any(said(Monitor(INFO), {"loss": 1.0}) for _ in range(5))


def test_a_window_is_the_mean_of_its_steps():
    monitor = Monitor(INFO)
    for loss in (1.0, 2.0, 6.0):
        total = torch.tensor(loss, requires_grad=True)
        monitor.add({"supervised": total * 0.5}, {"used": torch.tensor(loss / 10)}, total)
    means = monitor.window()
    assert means == {"loss": 3.0, "loss/supervised": 1.5, "used": pytest.approx(0.3)}
    assert monitor.window() == {}


# In a run


def test_a_collapse_is_said_within_three_windows_of_the_warm_up(tmp_path):
    result = train("pi_model", network=Biased(), steps=20, log_every=2, out=tmp_path)
    assert codes(result) == ["T101"]
    message = result.warnings[0][1]
    assert "class 1" in message
    assert "10 %" in message or "10%" in message  # its share among the labels
    events = [json.loads(line) for line in (result.folder / "events.jsonl").read_text().splitlines()]
    (warning,) = [event for event in events if event["event"] == "warning"]
    assert (warning["code"], warning["step"]) == ("T101", 8)  # windows end at 4, 6 and 8; 2 is within the warm-up
    assert json.loads((result.folder / "result.json").read_text())["warnings"][0][0] == "T101"


def test_a_collapse_ends_a_strict_run_and_keeps_its_checkpoint(tmp_path):
    with pytest.raises(TrainingError) as caught:
        train("pi_model", network=Biased(), steps=20, log_every=2, save_every=3, out=tmp_path, strict=True)
    assert (caught.value.code, caught.value.exit_code) == ("T101", 5)
    assert 0 < last_checkpoint(tmp_path).step <= 8


@pytest.mark.parametrize("method", ["fixmatch", "uda", "pseudo_label"])
def test_a_mask_stuck_at_zero_is_said_once_and_trains_as_without_the_unlabeled_loss(method):
    stuck = train(method, threshold=1.01, steps=15, log_every=2)
    assert codes(stuck) == ["T102"]
    assert "0.00%" in stuck.warnings[0][1]
    assert all(line["used"] == 0 and math.isfinite(line["loss"]) for line in stuck.history)
    without = train(method, weight=0.0, threshold=0.0, steps=15, log_every=2)
    assert all(line["used"] == 1 for line in without.history)
    assert same(weights(stuck), weights(without))


@pytest.mark.parametrize("method", ["mean_teacher", "mixmatch", "fixmatch"])
def test_a_loss_that_is_not_finite_stops_before_the_step_and_names_its_terms(tmp_path, method):
    passes = {"mean_teacher": 2, "mixmatch": 9, "fixmatch": 3}[method]  # at least one in a step: breaks before step 12
    with pytest.raises(TrainingError) as caught:
        train(method, network=BreaksAt(passes * 4), save_every=2, threads=1, steps=40, out=tmp_path)
    error = caught.value
    assert (error.code, error.exit_code) == ("T001", 5)
    assert "supervised nan" in error.message
    assert "consistency nan" in error.message
    kept = last_checkpoint(tmp_path)
    assert kept.step > 0
    assert all(value.isfinite().all() for value in kept.tensors.values() if value.is_floating_point())


def test_the_step_that_failed_is_named_and_left_no_trace():
    fit = make_fit("supervised", network=BreaksAt(3))
    with pytest.raises(TrainingError, match="at step 3:"):
        fit.run(None)


def test_a_network_that_cannot_learn_is_refused():
    frozen = SmallCNN(1, (8, 8), 10, width=4).requires_grad_(False)
    with pytest.raises(TrainingError) as caught:
        train("supervised", network=frozen)
    assert caught.value.code == "B001"


@pytest.mark.parametrize("seed", range(5))
def test_healthy_runs_are_left_in_peace(seed):
    learning = {"optimizer": "adamw", "learning_rate": 0.01, "labeled_batch": 40, "unlabeled_batch": 24}
    for method, options in (
        ("mean_teacher", {"steps": 20, "log_every": 2}),
        ("fixmatch", {"steps": 40, "log_every": 4, "threshold": 0.5}),
    ):
        result = train(method, seed=seed, width=6, **learning, **options)
        assert result.warnings == [], method


def test_the_first_lines_of_a_run_already_hold_its_numbers():
    result = train("fixmatch", steps=6, log_every=2)
    assert [line["step"] for line in result.history] == [2, 4, 6]
    for line in result.history:
        assert {"loss", "loss/supervised", "loss/consistency", "used", "prediction", "learning_rate"} <= line.keys()
        assert len(line["prediction"]) == len(digits().classes)
        assert line["loss"] == pytest.approx(line["loss/supervised"] + line["loss/consistency"], abs=1e-5)
