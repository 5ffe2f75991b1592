"""CPU threads where nobody says how many."""

import pytest

from semilla.training import devices


@pytest.mark.parametrize(
    ("asked", "threads"), [(None, 8), ("", 8), ("3", 3), ("64", 8), ("2,1", 2), ("0", 8), ("x", 8)]
)
def test_threads_are_the_cores_or_what_openmp_was_told_if_that_is_fewer(
    asked: str | None, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "available_cores", lambda: 8)
    if asked is None:
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    else:
        monkeypatch.setenv("OMP_NUM_THREADS", asked)
    assert devices.usual_threads() == threads
