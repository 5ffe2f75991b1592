"""Supervised training on the labeled examples alone: what every other method has to beat.

    L = mean over x of CE(y, p(view(x)))

Views. ``views`` are averaged: ``("weak",)`` is the papers' supervised row, ``("strong",)`` trains on the strong view,
``("weak", "strong")`` on both. A fair baseline is the best of them: the strong view alone is worth points that a
comparison against the weak one would credit to the unlabeled data (Oliver et al. 2018, §4.1).
"""

from __future__ import annotations

from typing import final

import torch

from semilla.contract import Batch, Info, Logs, Losses, Method, Net, Run


@final
class Supervised(Method):
    """Cross-entropy on the labeled examples.

    Args:
        info: the data set's facts.
        views: names of the labeled views; their losses are averaged.
    """

    def __init__(self, info: Info, *, views: tuple[str, ...] = ("weak",)) -> None:
        super().__init__()
        self.labeled_views = tuple(views)

    def forward(self, net: Net, batch: Batch, run: Run) -> tuple[Losses, Logs]:
        """The mean loss over the labeled views; every view is its own pass."""
        task, prefix = run.task, run.task.prefix(batch.y)
        losses = [task.loss(net(view, prefix), batch.y).mean() for view in batch.x]
        return {"supervised": torch.stack(losses).mean()}, {}
