"""Batches: which examples a step sees and how they look, as a function of (seed, step)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from semilla.config import Settings
from semilla.contract import Batch, Method, View
from semilla.data.dataset import Split
from semilla.data.order import Order
from semilla.randomness import stream_word, uniform


class Views(Protocol):
    """Makes named views of a batch: `semilla.augment.ImageViews` or `VectorViews`."""

    def draws(self, name: str) -> int:
        """Uniform draws the view needs for each example."""

    def __call__(self, name: str, inputs: Tensor, draws: Tensor, /) -> View:
        """One view of a batch."""


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A view to be made of some rows of a pool."""

    name: str
    stream: str
    epoch: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int64]
    inputs: Tensor


class Batches:
    """The endless sequence of batches of a run.

    All examples lie on the device once; a batch is gathered there by index and augmented as a whole. Example s in its
    k-th pass over the pool gets the draws of (seed, view, k, s), so a view does not depend on the batch around it.

    Args:
        split: labeled and unlabeled examples.
        method: says which views of them it wants.
        views: makes the views.
        settings: seed and batch sizes.
        device: where the examples are to lie.
    """

    def __init__(self, split: Split, method: Method, views: Views, settings: Settings, device: torch.device) -> None:
        assert settings.labeled_batch is not None
        assert settings.unlabeled_batch is not None
        self._seed, self._views = settings.seed, views
        self._labeled = torch.from_numpy(np.ascontiguousarray(split.labeled.inputs)).to(device)
        self._targets = torch.from_numpy(split.labeled.labels).to(device)
        self._unlabeled = torch.from_numpy(np.ascontiguousarray(split.unlabeled)).to(device)
        self._labeled_order = Order(self._seed, "labeled order", len(self._labeled))
        self._unlabeled_order = Order(self._seed, "unlabeled order", max(1, len(self._unlabeled)))
        self._sizes = settings.labeled_batch, settings.unlabeled_batch if method.unlabeled_views else 0
        self._names = method.labeled_views, method.unlabeled_views

    def at(self, step: int) -> Batch:
        """The batch of a step, counted from 0."""
        (x_size, u_size), (x_views, u_views) = self._sizes, self._names
        x_epoch, x_rows = self._labeled_order.rows(step * x_size, x_size)
        u_epoch, u_rows = self._unlabeled_order.rows(step * u_size, u_size)
        x_index, u_index = (torch.from_numpy(rows).to(self._targets.device) for rows in (x_rows, u_rows))
        x_inputs, u_inputs = self._labeled[x_index], self._unlabeled[u_index]
        x = [_Wanted(name, f"labeled view {k}", x_epoch, x_rows, x_inputs) for k, name in enumerate(x_views)]
        u = [_Wanted(name, f"unlabeled view {k}", u_epoch, u_rows, u_inputs) for k, name in enumerate(u_views)]
        made = self._make([*x, *u])
        return Batch(tuple(made[: len(x)]), self._targets[x_index], tuple(made[len(x) :]), x_index, u_index)

    def _make(self, wanted: list[_Wanted]) -> list[View]:
        """All views, those of one name in one call: for small pictures the cost of a view is in the calls."""
        sizes = [len(want.rows) for want in wanted]
        streams = np.concatenate([np.full(len(want.rows), stream_word(want.stream)) for want in wanted])
        epochs = np.concatenate([want.epoch for want in wanted])
        samples = np.concatenate([want.rows for want in wanted])
        counts = {want.name: self._views.draws(want.name) for want in wanted}
        drawn = torch.from_numpy(uniform(self._seed, streams, epochs, samples, max(1, *counts.values()))).split(sizes)
        made: dict[int, View] = {}
        for name, count in counts.items():
            places = [place for place, want in enumerate(wanted) if want.name == name]
            inputs = torch.cat([wanted[place].inputs for place in places])
            draws = torch.cat([drawn[place][:, :count] for place in places])
            parts = self._views(name, inputs, draws).split([sizes[place] for place in places])
            made.update(zip(places, parts, strict=True))
        return [made[place] for place in range(len(wanted))]
