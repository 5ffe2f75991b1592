"""One ONNX file for each kind of network: PyTorch's exporter takes seconds, so that tests share what it wrote."""

from __future__ import annotations

from functools import cache

import pytest

from export.runs import write_run
from semilla.exporting import export
from semilla.exporting.onnx import write_onnx
from semilla.inference.model import load

CALIBRATED = {"temperature": 2.5, "fitted_on": "test", "n": 60, "error": [0.08, 0.02]}


@pytest.fixture(scope="session")
def written(tmp_path_factory):
    """``written(kind)``: a model, calibrated unless told otherwise, and its ONNX file."""

    @cache
    def write(kind, calibrated=True):
        run = write_run(tmp_path_factory.mktemp("runs") / kind, kind, calibration=CALIBRATED if calibrated else None)
        model = load(run)
        return model, write_onnx(model, {"classes": "[]"})

    return write


@pytest.fixture
def quick(written, monkeypatch):
    """Exports of the small network take the file that is there already; what is checked of it is checked as ever."""
    from semilla.exporting import folder

    monkeypatch.setattr(folder, "write_onnx", lambda model, metadata, progress=None: written("small_cnn", False)[1])


@pytest.fixture(scope="session")
def exported_run(tmp_path_factory):
    """A run whose ONNX file lies in its folder, metadata and all."""
    run = write_run(tmp_path_factory.mktemp("exported") / "run")
    export(run, format="onnx")
    return run
