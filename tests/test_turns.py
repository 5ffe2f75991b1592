"""The clock of `benchmarks/peers.py`: a turn of several steps is timed from its first, whoever asks between them."""

from __future__ import annotations

import io
import json
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
protocol = pytest.importorskip("sides.protocol")


def test_a_loop_that_asks_before_every_step_is_given_all_of_its_time(monkeypatch):
    answers = io.StringIO()
    monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps({"do": "steps", "steps": 2}) + "\n"))
    turns = protocol.Turns(answers)
    for _ in range(2):
        turns.wait()
        time.sleep(0.05)
        turns.stepped()
    assert json.loads(answers.getvalue())["seconds"] >= 0.05
