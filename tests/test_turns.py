"""`benchmarks/peers.py` and the pieces of `cifar10_cpu.py`: clocks, sides that end, pages of the committed files."""

from __future__ import annotations

import io
import json
import os
import signal
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
protocol = pytest.importorskip("sides.protocol")
peers = pytest.importorskip("peers")
cifar10_cpu = pytest.importorskip("cifar10_cpu")


def test_a_loop_that_asks_before_every_step_is_given_all_of_its_time(monkeypatch):
    answers = io.StringIO()
    monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps({"do": "steps", "steps": 2}) + "\n"))
    turns = protocol.Turns(answers)
    for _ in range(2):
        turns.wait()
        time.sleep(0.05)
        turns.stepped()
    assert json.loads(answers.getvalue())["seconds"] >= 0.05


def test_a_side_that_ended_while_it_waited_is_taken_out(monkeypatch, tmp_path):
    monkeypatch.setitem(peers.SIDES, "fake", {"program": "fake"})
    monkeypatch.setattr(peers, "python_of", lambda program: tmp_path / "python")
    script = 'echo "{}"; read order; echo "{}"; read order'
    (tmp_path / "python").write_text(f"#!/bin/sh\n{script}\n")
    (tmp_path / "python").chmod(0o755)
    with peers.Round(["fake"], {}, tmp_path) as sides:
        assert list(sides.able) == ["fake"]
        os.killpg(sides.able["fake"]._process.pid, signal.SIGKILL)
        sides.able["fake"]._process.wait()
        assert sides.ask("fake", do="steps", steps=1) == {}
        assert "killed" in sides.failed["fake"]


@pytest.mark.parametrize("path", sorted(peers.RESULTS.parent.glob("peers*.json")), ids=lambda path: path.stem)
def test_the_page_of_a_committed_file_is_what_the_file_says(path):
    assert path.with_suffix(".md").read_text() == peers.page(json.loads(path.read_text()))


def test_a_mean_over_draws_is_of_pieces_with_the_steps_of_today():
    piece = cifar10_cpu.PIECES[0]
    row = {"accuracy": 0.5, "steps": piece.goes, "pre-training": [*piece.begins], "resumed": True}
    other = {**row, "accuracy": 0.9, "steps": piece.goes + 1}
    begun = {**row, "accuracy": 0.9, "pre-training": [piece.begins[0], piece.begins[1] + 1]}
    drawn = {f"{piece.what}-{piece.labels}-{number}": another for number, another in ((1, other), (2, begun))}
    said = cifar10_cpu.table({piece.name: row, **drawn})
    assert said[-1] == f"{piece.name} and other draws: mean of 1 draws 50.0 %"
    assert len(said) == 3, "the others are not shown as if they were made"
