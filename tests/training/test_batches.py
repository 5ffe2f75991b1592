"""Where the pool lies that batches are gathered from."""

from __future__ import annotations

import numpy as np
import torch
from small import CPU, go, make_fit

from semilla.data import dataset
from semilla.data.rows import Rows
from semilla.training import batches


def batches_of(fit):
    return batches.Batches(fit.parts, fit.build()[0].method, fit.views, fit.settings, CPU)


def test_rows_of_a_large_array_are_trained_on_where_they_lie(monkeypatch):
    """Memory holds them once, and the run is the same to the bit."""
    copied = go(make_fit("fixmatch")).digest
    monkeypatch.setattr(dataset, "LARGE", 0)
    fit = make_fit("fixmatch")
    assert isinstance(fit.parts.unlabeled, Rows)
    assert fit.parts.unlabeled.pool is fit.dataset.inputs
    assert batches_of(fit)._unlabeled._pool.data_ptr() == fit.dataset.inputs.ctypes.data
    assert go(fit).digest == copied


def test_an_array_that_must_not_be_written_to_is_copied(monkeypatch):
    """PyTorch has no tensors that cannot be written to."""
    pool = np.arange(12, dtype=np.float32).reshape(4, 3)
    pool.flags.writeable = False
    placed = batches._placed(Rows(pool, np.array([2, 0])), CPU)
    found = placed.gather(np.array([1]), torch.tensor([1]), 0)
    assert found.tolist() == [[0.0, 1.0, 2.0]]
    assert placed._pool.data_ptr() != pool.ctypes.data
