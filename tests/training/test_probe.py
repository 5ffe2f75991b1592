"""Which precision is chosen by measuring: the winner, remembered, only among what was left open."""

from __future__ import annotations

import builtins

import numpy as np
import pytest
import torch
from small import train

from semilla import fitting
from semilla.config import settings
from semilla.data.arrays import from_arrays
from semilla.data.dataset import split
from semilla.data.store import entries, probe_file
from semilla.errors import Interrupted, ResourceError
from semilla.networks import SmallCNN
from semilla.training import plan, probe

SPEC = {"name": "small_cnn", "width": 4}
PLAIN, BF16, CONTIGUOUS, _ = probe.WAYS


@pytest.fixture
def times(monkeypatch, tmp_path):
    """Races with a known outcome, counted."""
    monkeypatch.setenv("SEMILLA_CACHE", str(tmp_path / "cache"))
    seconds, asked = {PLAIN: 1.0, BF16: 0.5, CONTIGUOUS: 0.9}, []

    def race(net, shape, ways):
        asked.append(ways)
        return [seconds.get(way, 2.0) for way in ways]

    monkeypatch.setattr(probe, "race", race)
    monkeypatch.setattr(probe, "busy", lambda: False)
    return seconds, asked


def fastest(**changes):
    return probe.fastest(SmallCNN(3, (32, 32), 2, 4), SPEC | changes, (3, 32, 32), probe.WAYS)


def pictures(side):
    draw = np.random.default_rng(0)
    x = draw.integers(0, 256, (40, side, side, 3), dtype=np.uint8)
    return from_arrays({"x_train": x, "y_train": np.where(np.arange(40) < 12, np.arange(40) % 2, -1)}, "toys")


def complete(side=32, own_network=False, **changes):
    data = pictures(side)
    return plan.complete(settings("fixmatch", {}, {"device": "cpu", **changes}), data, split(data), own_network)


def test_the_winner_is_taken_and_remembered(times):
    seconds, asked = times
    way, why = fastest()
    assert way == BF16
    assert "2.0 times" in why
    seconds[BF16] = 5.0
    assert fastest()[0] == BF16, "the first outcome holds on this machine"
    assert len(asked) == 1
    assert fastest(width=8)[0] == PLAIN, "another network is another race"
    assert len(asked) == 2
    assert [entry.kind for entry in entries()] == ["probes", "probes"]


def test_what_was_measured_beside_other_work_is_not_kept(times, monkeypatch):
    monkeypatch.setattr(probe, "busy", lambda: True)
    times[0][BF16] = 5.0
    assert fastest()[0] == PLAIN
    monkeypatch.setattr(probe, "busy", lambda: False)
    times[0][BF16] = 0.5
    assert [fastest()[0], fastest()[0]] == [BF16, BF16]
    assert len(times[1]) == 2


def test_a_race_goes_on_until_each_way_was_as_fast_twice(monkeypatch):
    clock, passes = [0.0], []

    class Slow(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = torch.nn.Parameter(torch.ones(1))

        def forward(self, inputs):
            passes.append(None)
            clock[0] += {1: 1.0, 2: 9.0, 3: 8.0, 4: 2.0}.get(len(passes) - 1, 1.0)  # the first is not counted
            return (inputs.flatten(1) * self.scale,)

    monkeypatch.setattr(probe.time, "perf_counter", lambda: clock[0])
    assert probe.race(Slow(), (1, 2, 2), [PLAIN]) == [1.0]
    assert len(passes) == 6, "1, 9, 8 are not steady, nor is 2; another 1 is"


def test_a_little_faster_is_not_enough(times):
    times[0][BF16] = 1 / probe.MARGIN + 0.01
    assert fastest()[0] == PLAIN


@pytest.mark.parametrize("content", [b"", b"[1.0]", b"{}", b'["a", "b", "c", "d"]'])
def test_a_damaged_record_is_measured_again(times, content):
    fastest()
    (path,) = probe_file("x", "y").parent.iterdir()
    path.write_bytes(content)
    assert fastest()[0] == BF16
    assert len(times[1]) == 2


def test_a_cache_that_cannot_be_written_only_costs_time(times, monkeypatch):
    def refuse(*_):
        raise ResourceError("R001", "full", "clear it")

    monkeypatch.setattr(probe.files, "write_json", refuse)
    assert fastest()[0] == fastest()[0] == BF16
    assert len(times[1]) == 2


def test_only_what_was_left_open_is_measured(times):
    seconds, asked = times
    chosen, reasons = complete()
    assert (chosen.precision, chosen.memory_format) == BF16
    assert reasons["precision"] == reasons["memory_format"]
    assert complete(precision="fp32")[0].memory_format == "channels_last"
    assert {way.precision for way in asked[-1]} == {"fp32"}
    seconds[CONTIGUOUS] = 0.1
    assert complete(memory_format="channels_last")[0].precision == "bf16"
    assert {way.memory_format for way in asked[-1]} == {"channels_last"}
    before = len(asked)
    chosen, reasons = complete(precision="fp32", memory_format="contiguous")
    assert (chosen.precision, chosen.memory_format) == CONTIGUOUS
    assert not {"precision", "memory_format"} & set(reasons)
    assert len(asked) == before


@pytest.mark.parametrize("case", [{"side": 16}, {"own_network": True}])
def test_tiny_pictures_and_networks_of_the_users_are_not_measured(times, case):
    chosen, _ = complete(**case)
    assert (chosen.precision, chosen.memory_format) == PLAIN
    assert not times[1]


def test_a_race_times_every_way_and_leaves_nothing_behind():
    net = SmallCNN(3, (16, 16), 2, 4)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    generator = torch.get_rng_state()
    seconds = probe.race(net, (3, 16, 16), probe.WAYS)
    assert len(seconds) == 4
    assert all(0 < own < 60 for own in seconds)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert all(weight.grad is None for weight in net.parameters())
    assert torch.equal(torch.get_rng_state(), generator)


def test_a_resumed_run_computes_as_it_began(times, tmp_path, monkeypatch):
    data = pictures(32)
    common = {"data": data, "method": "supervised", "labels": None, "out": tmp_path / "run", "precision": None}
    with monkeypatch.context() as patch:
        patch.setattr(fitting, "train_loop", lambda *_: (_ for _ in ()).throw(Interrupted(2, saved=True)))
        with pytest.raises(Interrupted):
            train(**common)
    monkeypatch.setenv("SEMILLA_CACHE", str(tmp_path / "another"))  # and now fp32 would win
    times[0][BF16] = 9.0
    assert train(**common, resume=True).settings.precision == "bf16"


@pytest.mark.parametrize(("running", "cores", "expected"), [(1, 2, False), (2, 2, True), (2, 4, False), (3, 4, True)])
def test_busy_is_a_machine_whose_other_programs_use_half_of_it(running, cores, expected, monkeypatch, tmp_path):
    """One of those that run is this program."""
    path = tmp_path / "loadavg"
    path.write_text(f"9.00 9.00 9.00 {running}/345 678\n")
    monkeypatch.setattr(
        builtins, "open", lambda name, **_: path.open() if name == "/proc/loadavg" else pytest.fail(name)
    )
    monkeypatch.setattr(probe, "available_cores", lambda: cores)
    assert probe.busy() == expected
