"""CPU threads where nobody says how many."""

import numpy as np
import pytest
import torch

import semilla
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


@pytest.mark.parametrize("threads", [1, 2])
def test_a_fit_computes_with_the_threads_it_is_told_and_gives_the_caller_back_its_own(threads: int) -> None:
    data = {"x_train": np.eye(8, dtype=np.float32), "y_train": np.arange(8) % 2}
    seen: list[int] = []
    before = torch.get_num_threads()
    torch.set_num_threads(3 - threads)
    try:
        semilla.fit(
            data,
            labels=4,
            method="supervised",
            recipe=None,
            device="cpu",
            threads=threads,
            steps=2,
            progress=lambda *told: seen.append(torch.get_num_threads()),
        )
        assert set(seen) == {threads}
        assert torch.get_num_threads() == 3 - threads
    finally:
        torch.set_num_threads(before)
