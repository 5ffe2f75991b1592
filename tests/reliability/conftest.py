"""A place of its own for every case, and two runs to ask things of."""

from __future__ import annotations

import json

import fixtures
import pytest
from watched import Place, copied


@pytest.fixture
def place(tmp_path, monkeypatch):
    """An empty place."""
    folder = tmp_path / "place"
    folder.mkdir()
    return Place(folder, monkeypatch)


def _made(factory, name, *more, **wanted):
    with pytest.MonkeyPatch.context() as environment:
        place = Place(factory.mktemp(name), environment)
        fixtures.folder(place.data, form="JPEG")
        if "fault" in wanted:
            environment.setenv("SEMILLA_FAULT", wanted.pop("fault"))
        called = place.train(place.data, *more, **wanted)
    return place, called


@pytest.fixture(scope="session")
def finished_once(tmp_path_factory):
    """A run that ended well, with its baseline."""
    place, called = _made(tmp_path_factory, "finished", baseline=True)
    summary = place.run() / "run.json"  # which of two hardly trained models is better is chance: the cases speak of one
    summary.write_text(json.dumps({**json.loads(summary.read_text()), "shipped": "fixmatch-0"}))
    return place, called


@pytest.fixture(scope="session")
def stopped_once(tmp_path_factory):
    """A run that was stopped after its second checkpoint of three, at step 4 of 6."""
    more = ["--steps", "6"]
    return _made(tmp_path_factory, "stopped", *more, code=6, fault="checkpoint.begin:3:enospc")


@pytest.fixture
def finished(finished_once, place):
    """A place with a copy of a finished run and its data."""
    return copied(finished_once[0], place)


@pytest.fixture
def stopped(stopped_once, place):
    """A place with a copy of a run that was stopped, and its data."""
    return copied(stopped_once[0], place)
