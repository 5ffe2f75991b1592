"""Π-model: two random passes over the same example should agree.

Laine & Aila, "Temporal ensembling for semi-supervised learning", ICLR 2017, arXiv 1610.02242 (Algorithm 1).

    L = mean over x of CE(y, p(x)) + λ·w(t) · mean over u, classes of (p(u₂) − p(u₁))²

Defaults and deviations:

* ``weight`` 10 and a linear ramp over the first 40 % follow TorchSSL, USB and the MixMatch repository. The paper's
  λ = 100·N_labeled/N with the sigmoid ramp is ``weight=100 * share, ramp_shape="sigmoid"``.
* ``both_branches=False``: only the second pass gets a gradient, as in every later reference. The author's code
  differentiates both; with exchangeable views that is twice the gradient, so its λ are half as large in effect.
* ``consistency_on="unlabeled"``, as in the later references; the author's term covers ``"all"`` examples.
* On strings the target is expressed at the positions of the other view (`Task.align`), and strings without a symbol in
  it teach nothing. The squares are summed over the symbols (`squares`), and the ramp begins where the network begins
  to read (`Onset`).
* BatchNorm keeps running statistics of the labeled pass only (``frozen_bn``), as in the MixMatch repository, TorchSSL
  and USB; the author updates them in every pass (``update_bn=True``).
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Literal, final

import torch

from semilla.contract import Batch, Info, Logs, Losses, Method, Net, Run
from semilla.parts.forward import frozen_bn
from semilla.parts.losses import squares
from semilla.parts.monitors import usage
from semilla.parts.ramps import Onset, Ramp, ramp
from semilla.parts.targets import probs


@final
class PiModel(Method):
    """Mean squared error between two stochastic passes.

    Args:
        info: the data set's facts.
        weight: λ of the consistency loss.
        ramp: share of the run over which λ grows from 0.
        ramp_shape: ``linear`` or the paper's ``sigmoid``.
        view: the random view drawn for each of the two passes.
        both_branches: let the gradient through both passes.
        consistency_on: ``unlabeled`` examples or ``all``.
        update_bn: let the unlabeled passes move BatchNorm's running statistics.
    """

    def __init__(
        self,
        info: Info,
        *,
        weight: float = 10.0,
        ramp: float = 0.4,
        ramp_shape: Ramp = "linear",
        view: str = "weak",
        both_branches: bool = False,
        consistency_on: Literal["unlabeled", "all"] = "unlabeled",
        update_bn: bool = False,
    ) -> None:
        super().__init__()
        self.weight, self.ramp, self.ramp_shape = weight, ramp, ramp_shape
        self.both_branches, self.update_bn = both_branches, update_bn
        self.labeled_views = (view,) * (2 if consistency_on == "all" else 1)
        self.unlabeled_views = (view, view)
        self.onset = Onset()

    def forward(self, net: Net, batch: Batch, run: Run) -> tuple[Losses, Logs]:
        """Supervised loss, then the squared difference of two passes over the unlabeled (or all) examples."""
        task, bn = run.task, nullcontext if self.update_bn else frozen_bn
        square = squares(task)
        prefix = task.prefix(batch.y)
        labeled = net(batch.x[0], prefix)

        with torch.set_grad_enabled(self.both_branches), bn(net):
            first = net(batch.u[0])
        guess = task.guess(first)
        with bn(net):
            second = net(batch.u[1], task.prefix(guess.target))
        target = task.align(first, batch.u[0], batch.u[1])
        difference = task.soft_loss(second, probs(target.logits), square)

        if len(batch.x) == 2:  # the labeled examples agree with themselves too
            with bn(net):
                again = net(batch.x[1], prefix)
            p = probs(task.align(labeled, batch.x[0], batch.x[1]).logits)
            q = p if self.both_branches else p.detach()
            difference = torch.cat([difference, task.soft_loss(again, q, square)])

        weight = self.weight * ramp(self.onset.progress(run, guess), self.ramp, self.ramp_shape)
        losses = {"supervised": task.loss(labeled, batch.y).mean(), "consistency": weight * difference.mean()}
        return losses, usage(probs(first.logits))
