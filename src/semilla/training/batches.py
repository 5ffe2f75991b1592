"""Batches: which examples a step sees and how they look, as a function of (seed, step)."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from semilla.config import Settings
from semilla.contract import Batch, Method, View
from semilla.data.dataset import Inputs, Split
from semilla.data.order import Order
from semilla.data.rows import Rows
from semilla.randomness import stream_word, uniform

RESIDENT = 4 * 2**30
"""Bytes of a pool that is kept on the device as a whole; a larger one is gathered batch by batch."""


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

    A batch is gathered by index and augmented as a whole on the device. A pool of up to `RESIDENT` bytes lies there
    from the beginning; of a larger one the next step's rows are read while this step is computed. Example s in its
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
        self._labeled, self._unlabeled = _placed(split.labeled.inputs, device), _placed(split.unlabeled, device)
        self._targets = torch.from_numpy(split.labeled.labels).to(device)
        self._labeled_order = Order(self._seed, "labeled order", max(1, len(split.labeled)))
        self._unlabeled_order = Order(self._seed, "unlabeled order", max(1, len(split.unlabeled)))
        self._sizes = (
            settings.labeled_batch if method.labeled_views else 0,
            settings.unlabeled_batch if method.unlabeled_views else 0,
        )
        self._names = method.labeled_views, method.unlabeled_views

    def at(self, step: int) -> Batch:
        """The batch of a step, counted from 0."""
        x_views, u_views = self._names
        x_epoch, x_rows, u_epoch, u_rows = self._rows(step)
        x_index, u_index = (torch.from_numpy(rows).to(self._targets.device) for rows in (x_rows, u_rows))
        x_inputs, u_inputs = self._labeled.gather(x_rows, x_index), self._unlabeled.gather(u_rows, u_index)
        if isinstance(self._labeled, _Streamed) or isinstance(self._unlabeled, _Streamed):
            _, x_next, _, u_next = self._rows(step + 1)
            self._labeled.expect(x_next)
            self._unlabeled.expect(u_next)
        x = [_Wanted(name, f"labeled view {k}", x_epoch, x_rows, x_inputs) for k, name in enumerate(x_views)]
        u = [_Wanted(name, f"unlabeled view {k}", u_epoch, u_rows, u_inputs) for k, name in enumerate(u_views)]
        made = self._make([*x, *u])
        return Batch(tuple(made[: len(x)]), self._targets[x_index], tuple(made[len(x) :]), x_index, u_index)

    def _rows(self, step: int) -> tuple[npt.NDArray[np.int64], ...]:
        """Epoch and row of each labeled, then of each unlabeled example of a step."""
        x_size, u_size = self._sizes
        labeled = self._labeled_order.rows(step * x_size, x_size)
        return *labeled, *self._unlabeled_order.rows(step * u_size, u_size)

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


class _Resident:
    """A pool that lies on the device."""

    def __init__(self, inputs: Inputs, device: torch.device) -> None:
        self._pool = torch.from_numpy(np.ascontiguousarray(inputs[:])).to(device)

    def gather(self, rows: npt.NDArray[np.int64], index: Tensor) -> Tensor:
        return self._pool[index]

    def expect(self, rows: npt.NDArray[np.int64]) -> None:
        """There is nothing to prepare."""


class _Streamed:
    """A pool that is read batch by batch, one batch ahead in a thread of its own."""

    def __init__(self, inputs: Inputs, device: torch.device) -> None:
        self._inputs, self._device = inputs, device
        self._reader = ThreadPoolExecutor(1)
        self._coming: tuple[bytes, Future[npt.NDArray[Any]]] | None = None

    def gather(self, rows: npt.NDArray[np.int64], index: Tensor) -> Tensor:
        expected, self._coming = self._coming, None
        found = expected[1].result() if expected and expected[0] == rows.tobytes() else self._inputs[rows]
        return torch.from_numpy(np.ascontiguousarray(found)).to(self._device)

    def expect(self, rows: npt.NDArray[np.int64]) -> None:
        self._coming = rows.tobytes(), self._reader.submit(self._inputs.__getitem__, rows)


def _placed(inputs: Inputs, device: torch.device) -> _Resident | _Streamed:
    large = isinstance(inputs, Rows) and inputs.nbytes > RESIDENT
    return (_Streamed if large else _Resident)(inputs, device)
