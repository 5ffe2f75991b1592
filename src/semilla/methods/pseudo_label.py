"""Pseudo-label: the network's confident predictions are its labels.

Lee, "Pseudo-Label: the simple and efficient semi-supervised learning method", ICML workshop 2013.

    L = mean over x of CE(y, p(x)) + λ·w(t) · mean over u of 1[max p(u) > τ] · CE(argmax p(u), p(u))

Defaults and deviations:

* ``threshold`` 0.95 follows Oliver et al. 2018 and every later reference. The paper has none: ``threshold=0`` with
  ``ramp_start=0.17, ramp=1.0, weight=3.0`` is its schedule (α = 0 until T1 = 100 of 600 epochs, then linear to 3).
* The mean is over all unlabeled examples, used or not, as in every reference. Each example is kept or dropped by its
  own confidence; in Google's two repositories the mask's shape lets it only scale the batch's mean.
* Target and gradient come from one pass over one weak view, with BatchNorm's running statistics from the labeled pass
  only (``frozen_bn``), as in the MixMatch repository, TorchSSL and USB.
* ``align`` and ``relative`` are off, as in the paper; with few steps they keep the guesses spread over the classes
  (ReMixMatch, arXiv 1911.09785) and in use while the network is still unsure (AdaMatch, arXiv 2106.04732). Both need
  classes: on strings they are refused.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import final

from semilla.contract import Batch, Info, Logs, Losses, Method, Net, Run
from semilla.errors import UsageError
from semilla.parts.alignment import alignment_of
from semilla.parts.forward import frozen_bn
from semilla.parts.monitors import usage
from semilla.parts.ramps import Ramp, ramp
from semilla.parts.targets import probs
from semilla.parts.weights import above


@final
class PseudoLabel(Method):
    """Cross-entropy to one's own confident predictions.

    Args:
        info: the data set's facts.
        threshold: τ, the confidence above which a prediction becomes a label.
        weight: λ of the pseudo-label loss.
        ramp_start: share of the run before which λ is 0.
        ramp: share of the run at which λ is reached.
        ramp_shape: ``linear`` or ``sigmoid``.
        view: the unlabeled and the labeled examples' view.
        update_bn: let the unlabeled pass move BatchNorm's running statistics.
        align: shift the guesses until their mean is the labels' distribution (`semilla.parts.alignment`).
        relative: τ is a share of the mean confidence in the labeled examples of the batch.
    """

    def __init__(
        self,
        info: Info,
        *,
        threshold: float = 0.95,
        weight: float = 1.0,
        ramp_start: float = 0.0,
        ramp: float = 0.4,
        ramp_shape: Ramp = "linear",
        view: str = "weak",
        update_bn: bool = False,
        align: bool = False,
        relative: bool = False,
    ) -> None:
        super().__init__()
        if ramp_start > ramp:
            raise UsageError("U006", f"ramp_start = {ramp_start} is after ramp = {ramp}", "let it start before it ends")
        self.threshold, self.weight = threshold, weight
        self.ramp_start, self.ramp, self.ramp_shape = ramp_start, ramp, ramp_shape
        self.update_bn, self.relative = update_bn, relative
        self.alignment = alignment_of(info, align, relative)
        self.labeled_views = self.unlabeled_views = (view,)

    def forward(self, net: Net, batch: Batch, run: Run) -> tuple[Losses, Logs]:
        """Supervised loss, then the loss against the guesses that are confident enough."""
        task = run.task
        labeled = net(batch.x[0], task.prefix(batch.y))

        with nullcontext() if self.update_bn else frozen_bn(net):
            unlabeled = net(batch.u[0])
        aligned = unlabeled
        if self.alignment is not None:
            aligned = unlabeled._replace(logits=self.alignment(unlabeled.logits))
        target, confidence = task.guess(aligned)
        share = task.guess(labeled).confidence.mean() if self.relative else 1.0
        mask = above(confidence, share * self.threshold)

        weight = self.weight * ramp(run.progress, self.ramp, self.ramp_shape, self.ramp_start)
        losses = {
            "supervised": task.loss(labeled, batch.y).mean(),
            "consistency": weight * (mask * task.loss(unlabeled, target)).mean(),
        }
        return losses, usage(probs(unlabeled.logits), mask)
