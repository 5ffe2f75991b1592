"""`compile`: the same training by kernels that PyTorch writes, within rounding; a clear word where it cannot."""

from __future__ import annotations

import shutil

import pytest
from small import train

from semilla.errors import UsageError
from semilla.training import devices

needs_compiler = pytest.mark.skipif(not (shutil.which("g++") or shutil.which("clang++")), reason="no C++ compiler")


@pytest.mark.slow
@needs_compiler
def test_a_compiled_network_learns_the_same_within_rounding():
    plain, compiled = train("fixmatch", steps=4), train("fixmatch", steps=4, compile=True)
    losses = [[line["loss"] for line in result.history] for result in (plain, compiled)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
    assert compiled.settings.compile
    assert compiled.scores.keys() == plain.scores.keys()


def test_without_a_compiler_it_is_told_before_the_first_step(monkeypatch):
    monkeypatch.setattr(devices.shutil, "which", lambda name: None)
    with pytest.raises(UsageError) as caught:
        train("fixmatch", steps=1, compile=True)
    assert caught.value.code == "U075"
