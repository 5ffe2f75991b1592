"""Where the time of a step goes, and that looking at it changes nothing."""

from __future__ import annotations

import json

import pytest
import torch
from small import go, make_fit

from semilla.training import profile, trial


def test_the_parts_are_told_apart_in_the_order_of_a_step(monkeypatch):
    fit = make_fit("fixmatch")
    with trial.trial(fit) as (state, batches, steps):
        watch = profile.Stopwatch(state, batches)
        laps = []
        monkeypatch.setattr(watch, "_now", lambda: float(len(laps)))
        watch.reset()
        inner = watch.lap

        def lap(part):
            laps.append(part)
            inner(part)

        monkeypatch.setattr(watch, "lap", lap)
        steps(2)
    assert laps == ["other", "views", "forward", "backward", "optimizer", "ema"] * 2
    assert watch.steps == 2
    assert watch.seconds == dict.fromkeys(profile.PARTS, 2.0)


def test_a_stopped_watch_is_taken_off_everything():
    with trial.trial(make_fit("fixmatch")) as (state, batches, steps):
        watch = profile.Stopwatch(state, batches)
        steps(1)
        watch.stop()
        watch.reset()
        steps(2)
        assert watch.steps == 0
        assert not any(watch.seconds.values())


def test_watching_changes_no_bit():
    def watched(state):
        profile.Stopwatch(state, batches)

    fit = make_fit("mean_teacher")
    state, _ = fit.build()
    batches = fit.batches(state)
    assert go(make_fit("mean_teacher"), change_state=watched).digest == go(make_fit("mean_teacher")).digest


@pytest.mark.parametrize("method", ["supervised", "mixmatch"])
def test_the_lines_and_the_trace(tmp_path, method):
    generator = torch.get_rng_state()
    lines = trial.profile(make_fit(method), tmp_path / "run", least=0.05)
    assert torch.equal(torch.get_rng_state(), generator)
    shares = {words[0]: float(words[-2]) for words in (line.split() for line in lines[1:-1])}
    assert list(shares) == list(profile.PARTS)
    assert sum(shares.values()) == pytest.approx(100, abs=0.5)
    assert all(share > 0 for share in shares.values())
    trace = json.loads((tmp_path / "run" / trial.TRACE).read_text())
    assert any("conv" in event.get("name", "") for event in trace["traceEvents"])
