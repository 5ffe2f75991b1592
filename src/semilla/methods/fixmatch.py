"""FixMatch: a confident guess on the weak view is the label of the strong one.

Sohn et al., "FixMatch: simplifying semi-supervised learning with consistency and confidence", NeurIPS 2020,
arXiv 2001.07685 (equations 3 and 4).

    L = mean over x of CE(y, p(x_w)) + λ · mean over u of 1[max p(u_w) > τ] · CE(argmax p(u_w), p(u_s))

Defaults and deviations:

* ``threshold`` 0.95, ``weight`` 1: the paper's. The mean is over all unlabeled examples, used or not. The paper keeps
  max p ≥ τ; the two differ only where they are equal.
* ``joint=False``: separate passes, no gradient on the weak view, which saves its backward pass. The references run
  one pass over everything, which normalises by the statistics of all views together: ``joint=True``.
* ``align`` and ``relative`` are off, as in the paper; with few steps they keep the guesses spread over the classes
  (ReMixMatch, arXiv 1911.09785) and in use while the network is still unsure (AdaMatch, arXiv 2106.04732). Both need
  classes: on strings they are refused.
"""

from __future__ import annotations

from typing import final

import torch

from semilla.contract import Batch, Info, Logs, Losses, Method, Net, Output, Run
from semilla.parts.alignment import alignment_of
from semilla.parts.forward import together
from semilla.parts.monitors import usage
from semilla.parts.targets import probs
from semilla.parts.weights import above


@final
class FixMatch(Method):
    """Cross-entropy on the strong view to the confident guess on the weak one.

    Args:
        info: the data set's facts.
        threshold: τ, the confidence above which a guess is used.
        weight: λ of the unlabeled loss.
        views: the unlabeled examples' views: the guess's, the student's.
        labeled_view: the labeled examples' view.
        joint: one pass over all views with common BatchNorm statistics.
        align: shift the guesses until their mean is the labels' distribution (`semilla.parts.alignment`).
        relative: τ is a share of the mean confidence in the labeled examples of the batch.
    """

    def __init__(
        self,
        info: Info,
        *,
        threshold: float = 0.95,
        weight: float = 1.0,
        views: tuple[str, str] = ("weak", "strong"),
        labeled_view: str = "weak",
        joint: bool = False,
        align: bool = False,
        relative: bool = False,
    ) -> None:
        super().__init__()
        self.threshold, self.weight = threshold, weight
        self.labeled_views, self.unlabeled_views = (labeled_view,), tuple(views)
        self.joint, self.relative = joint, relative
        self.alignment = alignment_of(info, align, relative)

    def forward(self, net: Net, batch: Batch, run: Run) -> tuple[Losses, Logs]:
        """Supervised loss, then the strong view's loss against the confident guesses."""
        task = run.task
        if self.joint:
            labeled, weak, strong = together(net, batch.x[0], *batch.u, prefix=task.prefix(batch.y))
            target, confidence = task.guess(self._aligned(weak))
        else:
            labeled = net(batch.x[0], task.prefix(batch.y))
            with torch.no_grad():
                weak = net(batch.u[0])
            target, confidence = task.guess(self._aligned(weak))
            strong = net(batch.u[1], task.prefix(target))

        share = task.guess(labeled).confidence.mean() if self.relative else 1.0
        mask = above(confidence, share * self.threshold)
        losses = {
            "supervised": task.loss(labeled, batch.y).mean(),
            "consistency": self.weight * (mask * task.loss(strong, target)).mean(),
        }
        return losses, usage(probs(weak.logits), mask)

    def _aligned(self, weak: Output) -> Output:
        return weak if self.alignment is None else weak._replace(logits=self.alignment(weak.logits))
