"""Nothing in these tests may read or fill the user's cache."""

from pathlib import Path

import pytest

SHARED = Path(__file__).parents[3] / "shared" / "data"


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("SEMILLA_CACHE", str(folder))
    monkeypatch.delenv("SEMILLA_DATA", raising=False)
    return folder


@pytest.fixture
def shared():
    if not SHARED.is_dir():
        pytest.skip("no ../shared/data")
    return SHARED
