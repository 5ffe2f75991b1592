"""A report of a made-up run, written once for all that look at it."""

from __future__ import annotations

import pytest
from fake_run import FakeRun

from semilla.reporting.run_report import report


@pytest.fixture(scope="session")
def reported(tmp_path_factory):
    """The folder of a made-up run with everything in it, and its page."""
    folder = tmp_path_factory.mktemp("reported")
    fake = FakeRun()
    fake.source = str(fake.arrays(folder / "photos.npz"))
    run = fake.write(folder / "run")
    return run, report(run).read_text(encoding="utf-8")
