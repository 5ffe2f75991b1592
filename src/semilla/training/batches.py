"""Batches: which examples a step sees and how they look, as a function of (seed, step)."""

from __future__ import annotations

from typing import Protocol

import numpy as np
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
        labeled, unlabeled = self._sizes
        x_epoch, x_rows = self._labeled_order.rows(step * labeled, labeled)
        u_epoch, u_rows = self._unlabeled_order.rows(step * unlabeled, unlabeled)
        x_views, u_views = self._names

        # One call for the draws of all views: the generator's cost is in the calls.
        purposes = [(f"labeled view {view}", x_epoch, x_rows, name) for view, name in enumerate(x_views)]
        purposes += [(f"unlabeled view {view}", u_epoch, u_rows, name) for view, name in enumerate(u_views)]
        streams = np.concatenate([np.full(len(rows), stream_word(purpose)) for purpose, _, rows, _ in purposes])
        epochs, samples = (np.concatenate([row[column] for row in purposes]) for column in (1, 2))
        counts = [self._views.draws(name) for *_, name in purposes]
        draws = torch.from_numpy(uniform(self._seed, streams, epochs, samples, max(1, *counts)))

        x_index, u_index = (torch.from_numpy(rows).to(self._targets.device) for rows in (x_rows, u_rows))
        pools = [self._labeled[x_index]] * len(x_views) + [self._unlabeled[u_index]] * len(u_views)
        drawn = draws.split([len(rows) for _, _, rows, _ in purposes])
        made = [
            self._views(name, pool, own[:, :count])
            for (*_, name), pool, own, count in zip(purposes, pools, drawn, counts, strict=True)
        ]
        return Batch(
            x=tuple(made[: len(x_views)]),
            y=self._targets[x_index],
            u=tuple(made[len(x_views) :]),
            x_index=x_index,
            u_index=u_index,
        )
