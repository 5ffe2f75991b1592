"""Batches: which examples a step sees and how they look, as a function of (seed, step)."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Protocol, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import pad

from semilla.config import Settings
from semilla.contract import Batch, Method, View
from semilla.data.dataset import Inputs, Split
from semilla.data.lines import Lines, is_lines, widths_of
from semilla.data.order import Order, WidthOrder
from semilla.data.rows import Rows, drawn
from semilla.randomness import stream_word, uniform
from semilla.transfer import send

RESIDENT = 4 * 2**30
"""Bytes of a pool that is kept on the device as a whole; a larger one is gathered batch by batch."""

_STEP = 16  # lines are padded to a multiple of so many columns


class Views(Protocol):
    """Makes named views of a batch: `semilla.augment.ImageViews`, `VectorViews` or, for lines of text, `LineViews`."""

    def draws(self, name: str) -> int:
        """Uniform draws the view needs for each example."""

    def __call__(self, name: str, inputs: Tensor, draws: Tensor, /) -> View:
        """One view of a batch. Those of lines take a fourth argument, the width: int64 (B,) valid columns."""


def view_of(views: Views, name: str, inputs: Tensor, draws: Tensor, width: Tensor | None) -> View:
    """One view of a batch, which is of lines where it has a width."""
    if width is None:
        return views(name, inputs, draws)
    made: View = cast(Any, views)(name, inputs, draws, width)
    return made


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A view to be made of some rows of a pool."""

    name: str
    stream: str
    epoch: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int64]
    inputs: Tensor
    widths: npt.NDArray[np.int64] | None


class Batches:
    """The endless sequence of batches of a run.

    Lines of text come in batches of similar width, as their views show them (`semilla.data.order.WidthOrder`), and each
    view is padded with 0 to its widest line. A line's draws are its own all the same.

    A batch is gathered by index and augmented as a whole on the device. A pool of up to `RESIDENT` bytes lies there
    from the beginning; of a larger one the next step's rows are read while this step is computed. Example s in its
    k-th pass over the pool gets the draws of (seed, view, k, s), so a view does not depend on the batch around it.

    Args:
        split: labeled and unlabeled examples.
        method: says which views of them it wants.
        views: makes the views.
        settings: seed and batch sizes.
        device: where the examples are to lie.
        targets: int64 (N, L) of the labeled examples, padded with −1, where a label is more than its class's number.
    """

    def __init__(
        self,
        split: Split,
        method: Method,
        views: Views,
        settings: Settings,
        device: torch.device,
        targets: Tensor | None = None,
    ) -> None:
        assert settings.labeled_batch is not None
        assert settings.unlabeled_batch is not None
        self._seed, self._views = settings.seed, views
        self._labeled, self._unlabeled = _placed(split.labeled.inputs, device), _placed(split.unlabeled, device)
        if targets is None:
            targets = torch.from_numpy(split.labeled.labels)
        self._targets = targets.to(device)
        self._lengths = (targets >= 0).sum(1).cpu().numpy() if targets.dim() == 2 else None
        self._names = method.labeled_views, method.unlabeled_views
        self._widths = widths_of(split.labeled.inputs), widths_of(split.unlabeled)
        self._sizes = (
            settings.labeled_batch if method.labeled_views else 0,
            settings.unlabeled_batch if method.unlabeled_views else 0,
        )
        self._labeled_order, self._unlabeled_order = (
            self._order(part, len(rows), widths, size, names)
            for part, rows, widths, size, names in zip(
                ("labeled", "unlabeled"),
                (split.labeled, split.unlabeled),
                self._widths,
                self._sizes,
                self._names,
                strict=True,
            )
        )

    def at(self, step: int) -> Batch:
        """The batch of a step, counted from 0."""
        x_views, u_views = self._names
        x_epoch, x_rows, u_epoch, u_rows = self._rows(step)
        x_index, u_index = (send(rows, self._targets.device) for rows in (x_rows, u_rows))
        columns = self._columns(x_rows, u_rows)
        x_inputs = self._labeled.gather(x_rows, x_index, columns)
        u_inputs = self._unlabeled.gather(u_rows, u_index, columns)
        if isinstance(self._labeled, _Streamed) or isinstance(self._unlabeled, _Streamed):
            _, x_next, _, u_next = self._rows(step + 1)
            self._labeled.expect(x_next)
            self._unlabeled.expect(u_next)
        widths = [None if own is None else own[rows] for own, rows in zip(self._widths, (x_rows, u_rows), strict=True)]
        x = [_Wanted(name, f"labeled view {k}", x_epoch, x_rows, x_inputs, widths[0]) for k, name in enumerate(x_views)]
        u = [
            _Wanted(name, f"unlabeled view {k}", u_epoch, u_rows, u_inputs, widths[1]) for k, name in enumerate(u_views)
        ]
        made = self._make([*x, *u])
        y = self._targets[x_index]
        if self._lengths is not None:  # known here: the device need not be waited for
            y = y[:, : max(1, int(self._lengths[x_rows].max(initial=0)))]
        return Batch(tuple(made[: len(x)]), y, tuple(made[len(x) :]), x_index, u_index)

    def _order(
        self, part: str, size: int, widths: npt.NDArray[np.int64] | None, batch: int, names: tuple[str, ...]
    ) -> Order | WidthOrder:
        if widths is None or not size or not batch:
            return Order(self._seed, f"{part} order", max(1, size))
        views, rows = cast(Any, self._views), np.arange(size)
        known = hasattr(views, "stretches")  # views of your own need not say it, and are sorted as the lines are
        stretched = [(name, f"{part} view {k}") for k, name in enumerate(names) if known and views.stretches(name)]

        def seen(epoch: int) -> npt.NDArray[np.int64]:
            """Each line's width in the widest of its views."""
            epochs = np.full(size, epoch)
            drawn = ((name, uniform(self._seed, stream, epochs, rows, views.draws(name))) for name, stream in stretched)
            return np.asarray(np.max([views.widths_in(name, draws, widths) for name, draws in drawn], axis=0), np.int64)

        return WidthOrder(self._seed, f"{part} order", widths, batch, seen if stretched else None)

    def _columns(self, x_rows: npt.NDArray[np.int64], u_rows: npt.NDArray[np.int64]) -> int:
        """The width to which the lines of a step are padded: few different ones, as libraries tune for each; else 0."""
        pairs = zip(self._widths, (x_rows, u_rows), strict=True)
        widest = max((int(widths[rows].max(initial=0)) for widths, rows in pairs if widths is not None), default=0)
        return -(-widest // _STEP) * _STEP

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
            own = [widths for place in places if (widths := wanted[place].widths) is not None]
            width = send(np.concatenate(own), inputs.device) if own else None
            parts = view_of(self._views, name, inputs, draws, width).split([sizes[place] for place in places])
            for place, part in zip(places, parts, strict=True):
                made[place] = self._fitted(part, wanted[place], drawn[place][:, :count])
        return [made[place] for place in range(len(wanted))]

    def _fitted(self, view: View, want: _Wanted, draws: Tensor) -> View:
        """Lines padded to the widest of them, and on to a multiple of `_STEP`: libraries tune for each width anew."""
        if want.widths is None or not hasattr(self._views, "widths_in"):
            return view
        widths = self._views.widths_in(want.name, draws.numpy(), want.widths)  # known here: nothing is waited for
        columns = -(-int(widths.max()) // _STEP) * _STEP
        return replace(view, inputs=pad(view.inputs, (0, columns - view.inputs.shape[3])))


class _Resident:
    """A pool that lies on the device. Rows of an array that is in the CPU's memory already are gathered from there."""

    def __init__(self, inputs: Inputs, device: torch.device) -> None:
        self._places: Tensor | None = None
        if device.type == "cpu" and isinstance(inputs, Rows) and (whole := _in_memory(inputs)) is not None:
            self._pool, self._places = torch.from_numpy(whole), torch.from_numpy(inputs.index)
        else:
            self._pool = torch.from_numpy(np.ascontiguousarray(inputs[:])).to(device)

    def gather(self, rows: npt.NDArray[np.int64], index: Tensor, columns: int) -> Tensor:
        return self._pool[index if self._places is None else self._places[index]]

    def expect(self, rows: npt.NDArray[np.int64]) -> None:
        """There is nothing to prepare."""


class _Streamed:
    """A pool that is read batch by batch, one batch ahead in a thread of its own."""

    def __init__(self, inputs: Inputs, device: torch.device) -> None:
        self._inputs, self._device = inputs, device
        self._reader = ThreadPoolExecutor(1)
        self._coming: tuple[bytes, Future[npt.NDArray[Any]]] | None = None

    def gather(self, rows: npt.NDArray[np.int64], index: Tensor, columns: int) -> Tensor:
        expected, self._coming = self._coming, None
        found = expected[1].result() if expected and expected[0] == rows.tobytes() else self._inputs[rows]
        gathered = send(np.ascontiguousarray(found), self._device)
        return pad(gathered, (0, columns - gathered.shape[-1])) if columns else gathered

    def expect(self, rows: npt.NDArray[np.int64]) -> None:
        self._coming = rows.tobytes(), self._reader.submit(self._inputs.__getitem__, rows)


class _ResidentLines:
    """A pool of lines that lies on the device as it does in memory: side by side, without padding."""

    def __init__(self, inputs: Rows, device: torch.device) -> None:
        lines = inputs.pool
        assert isinstance(lines, Lines)
        widths = lines.widths[inputs.index]
        parts = [lines.columns[lines.starts[row] : lines.starts[row + 1]] for row in inputs.index.tolist()]
        empty = np.zeros((1, lines.columns.shape[1]), np.uint8)  # what padding shows
        self._pool = torch.from_numpy(np.concatenate([*parts, empty])).to(device)
        self._starts = torch.from_numpy(np.cumsum(widths) - widths).to(device)
        self._widths = torch.from_numpy(widths).to(device)

    def gather(self, rows: npt.NDArray[np.int64], index: Tensor, columns: int) -> Tensor:
        place = torch.arange(columns, device=self._pool.device)
        inside = place < self._widths[index][:, None]
        found = torch.where(inside, self._starts[index][:, None] + place, len(self._pool) - 1)
        return self._pool[found].transpose(1, 2)[:, None].contiguous()

    def expect(self, rows: npt.NDArray[np.int64]) -> None:
        """There is nothing to prepare."""


def _in_memory(inputs: Rows) -> npt.NDArray[Any] | None:
    """The array whose rows they are, where PyTorch takes it as it is."""
    pool = inputs.pool
    plain = isinstance(pool, np.ndarray) and not isinstance(pool, np.memmap) and pool.flags.carray
    return cast("npt.NDArray[Any]", pool) if plain else None


def _placed(inputs: Inputs, device: torch.device) -> _Resident | _ResidentLines | _Streamed:
    here = device.type == "cpu" and isinstance(inputs, Rows) and _in_memory(inputs) is not None
    if isinstance(inputs, Rows) and not here and (drawn(inputs.pool) or inputs.nbytes > RESIDENT):
        return _Streamed(inputs, device)
    if is_lines(inputs):
        return _ResidentLines(inputs, device)
    return _Resident(inputs, device)
