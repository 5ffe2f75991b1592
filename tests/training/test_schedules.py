"""Optimizers, learning rates and budgets: functions of progress, with the papers' values."""

import dataclasses
import json
import math
import time

import numpy as np
import pytest
import torch
from small import NAMES, go, make_fit, train

from semilla import fitting
from semilla.config import Settings
from semilla.contract import Run
from semilla.errors import UsageError
from semilla.parts.ramps import ramp
from semilla.randomness import generator
from semilla.training.batches import Batches
from semilla.training.optimizers import build_optimizer, learning_rate_factor, set_learning_rate

SGD = Settings(learning_rate=0.03)
ADAMW = Settings(learning_rate=0.002, optimizer="adamw", weight_decay=0.04)


@pytest.mark.parametrize("settings", [SGD, ADAMW], ids=["sgd", "adamw"])
def test_only_kernels_are_decayed_and_every_weight_is_in_one_group(settings):
    net = make_fit().build()[0].net
    decayed, free = build_optimizer(net, settings).param_groups
    assert (decayed["weight_decay"], free["weight_decay"]) == (settings.weight_decay, 0.0)
    assert all(weight.dim() > 1 for weight in decayed["params"])
    assert all(weight.dim() <= 1 for weight in free["params"])
    assert len(free["params"]) > 0
    in_groups = [id(weight) for group in (decayed, free) for weight in group["params"]]
    assert sorted(in_groups) == sorted(map(id, net.parameters()))


def test_frozen_weights_are_left_out():
    net = make_fit().build()[0].net
    net.model.classifier.requires_grad_(False)
    groups = build_optimizer(net, SGD).param_groups
    assert net.model.classifier.weight not in {*groups[0]["params"]}


def test_sgd_has_nesterov_momentum_and_adamw_its_defaults():
    net = make_fit().build()[0].net
    sgd = build_optimizer(net, SGD)
    assert isinstance(sgd, torch.optim.SGD)
    assert (sgd.defaults["momentum"], sgd.defaults["nesterov"], sgd.defaults["dampening"]) == (0.9, True, 0)
    plain = build_optimizer(net, dataclasses.replace(SGD, momentum=0.0))
    assert plain.defaults["nesterov"] is False
    adamw = build_optimizer(net, ADAMW)
    assert isinstance(adamw, torch.optim.AdamW)
    assert adamw.defaults["betas"] == (0.9, 0.999)


@pytest.mark.parametrize(
    ("progress", "factor"),
    [(0.0, 1.0), (0.5, math.cos(7 * math.pi / 32)), (1.0, 0.19509032201612825), (0.25, 0.9415440651830208)],
)
def test_the_cosine_falls_by_seven_sixteenths_of_pi(progress, factor):
    assert learning_rate_factor(progress, SGD) == pytest.approx(factor, abs=1e-12)


def test_a_constant_schedule_and_a_linear_warm_up():
    assert learning_rate_factor(0.7, dataclasses.replace(SGD, schedule="constant")) == 1.0
    slow = dataclasses.replace(SGD, warmup=0.2)
    assert learning_rate_factor(0.0, slow) == 0.0
    assert learning_rate_factor(0.1, slow) == pytest.approx(0.5 * math.cos(0.7 * math.pi / 16))
    assert learning_rate_factor(0.6, slow) == learning_rate_factor(0.6, SGD)


def test_the_rate_reaches_both_groups():
    optimizer = build_optimizer(make_fit().build()[0].net, SGD)
    set_learning_rate(optimizer, SGD, 1.0)
    assert [group["lr"] for group in optimizer.param_groups] == [pytest.approx(0.03 * 0.19509032201612825)] * 2


def test_the_log_says_the_rate_each_step_was_made_with():
    result = train("supervised", steps=10, log_every=1, warmup=0.3, learning_rate=0.02)
    settings = Settings(learning_rate=0.02, warmup=0.3)
    expected = [0.02 * learning_rate_factor(step / 10, settings) for step in range(10)]
    assert [line["learning_rate"] for line in result.history] == pytest.approx(expected)
    assert expected[0] == 0.0


@pytest.mark.parametrize("changes", [{}, {"warmup": 0.25}, {"optimizer": "adamw"}], ids=str)
def test_twice_the_steps_have_the_same_rate_at_the_same_progress(changes):
    short, long = (train("supervised", steps=steps, log_every=1, **changes).history for steps in (10, 20))
    assert [line["learning_rate"] for line in short] == pytest.approx([line["learning_rate"] for line in long[::2]])


WITH_RAMPS = {"uda": {"annealing": "exp", "threshold": 0.11}, "pseudo_label": {"threshold": 0.11, "ramp_start": 0.1}}


@pytest.mark.parametrize("share", [0.0, 0.02, 0.3, 0.75])
@pytest.mark.parametrize("method", NAMES)
def test_the_losses_of_a_method_depend_on_progress_and_not_on_the_number_of_steps(method, share):
    fit = make_fit(method, **WITH_RAMPS.get(method, {}))
    found = []
    for steps in (200, 400):
        state, _ = fit.build()
        batch = Batches(fit.parts, state.method, fit.views, fit.settings, torch.device("cpu")).at(3)
        run = Run(fit.task, state.ema.net, round(share * steps), steps, generator(0, "method", 1))
        losses, _ = state.method(state.net, batch, run)
        found.append({name: loss.item() for name, loss in losses.items()})
    assert found[0] == found[1]


@pytest.mark.parametrize("method", ["pi_model", "mean_teacher", "pseudo_label", "mixmatch"])
def test_a_ramped_weight_grows_with_progress(method):
    fit = make_fit(method, **({"threshold": 0.0} if method == "pseudo_label" else {}))
    found = []
    for step in (0, 2, 199):
        state, _ = fit.build()
        batch = Batches(fit.parts, state.method, fit.views, fit.settings, torch.device("cpu")).at(3)
        losses, _ = state.method(state.net, batch, Run(fit.task, state.ema.net, step, 200, generator(0, "method", 1)))
        found.append(losses["consistency"].item())
    assert found[0] == 0 < found[1] < found[2]


def test_the_ramps_end_at_one():
    assert [ramp(progress, 0.4, "linear") for progress in (0.0, 0.2, 0.4, 0.9)] == [0.0, 0.5, 1.0, 1.0]
    assert ramp(0.2, 0.4, "sigmoid") == pytest.approx(math.exp(-5 * 0.25))


# Budgets


def test_minutes_become_steps_once_and_are_recorded(tmp_path, monkeypatch):
    measured = []

    def step_seconds(fit):
        measured.append(fit.settings.method)
        return 0.0625

    monkeypatch.setattr(fitting, "step_seconds", step_seconds)
    result = train("supervised", minutes=0.0125, steps=None, log_every=None, save_every=None, out=tmp_path)
    assert measured == ["supervised"]
    assert result.settings.steps == result.history[-1]["step"] == 12
    assert "0.0125 minutes" in result.reasons["steps"]
    saved = json.loads((result.folder / "fit.json").read_text())
    assert saved["fit"]["settings"]["steps"] == 12
    same_steps = train("supervised", steps=12)
    assert result.history[-1]["loss/supervised"] == pytest.approx(same_steps.history[-1]["loss/supervised"], rel=0.5)
    assert torch.equal(result.model.net.model.classifier.weight, same_steps.model.net.model.classifier.weight)


def test_minutes_leave_what_was_asked_for_as_it_is(monkeypatch):
    monkeypatch.setattr(fitting, "step_seconds", lambda fit: 0.03)
    result = train("supervised", minutes=0.01, steps=None, log_every=4, evaluate_every=10)
    assert [line["step"] for line in result.history if "test/accuracy" not in line] == [4, 8, 12, 16]


@pytest.mark.parametrize("minutes", [0.0, -1.0, math.nan])
def test_no_time_is_refused(minutes):
    with pytest.raises(UsageError, match="minutes"):
        train(minutes=minutes)


def test_the_trial_measures_a_step_and_leaves_nothing_behind():
    fit = make_fit("supervised")
    torch.manual_seed(5)
    before = torch.get_rng_state()
    seconds = fitting.step_seconds(fit, least=0.02)
    assert 1e-5 < seconds < 1
    assert torch.equal(torch.get_rng_state(), before)
    assert go(fit).digest == go(make_fit("supervised")).digest


def test_a_first_step_that_is_compiled_counts_for_nothing(monkeypatch):
    seconds = iter([0.5])

    def loop(state, task, batches, settings, evaluate, recorder):
        time.sleep(next(seconds, 0.002 * (settings.steps - state.step)))
        state.step = settings.steps

    monkeypatch.setattr("semilla.training.trial.train_loop", loop)
    assert 0.001 < fitting.step_seconds(make_fit("supervised"), least=0.05) < 0.05


def test_defaults_follow_the_number_of_steps():
    short, long = (train("supervised", steps=steps, **dict.fromkeys(("log_every", "save_every"))) for steps in (20, 40))
    assert (short.settings.ema_decay, long.settings.ema_decay) == (1 - 1 / 2, 1 - 1 / 4)
    assert (short.settings.save_every, long.settings.save_every) == (2, 4)
    assert np.isclose(long.settings.learning_rate, 0.03)
