"""UDA: the prediction on a strong view follows the sharpened prediction on a weak one.

Xie et al., "Unsupervised data augmentation for consistency training", NeurIPS 2020, arXiv 1904.12848 (equation 1,
§2.3).

    L = CE_TSA(x) + λ · mean over u of 1[max p(u_w) > τ] · KL(sharpen(p(u_w), T) ‖ p(u_s)) + ε · mean H(p(u_s))

The confidence mask reads the prediction *before* sharpening, and no gradient enters the target. Training-signal
annealing (TSA) leaves out labeled examples whose true class is already more probable than η(t), and takes the mean over
those that remain.

Defaults and deviations:

* ``threshold`` 0.8 and ``temperature`` 0.4 are the authors' CIFAR and SVHN settings, λ = 1 throughout.
* ``annealing=None``: both Google repositories switch TSA off for images. TorchSSL and USB compare the *largest*
  probability with η and divide by all labeled examples; here it is p(true class) and a masked mean, as the authors do.
* ``entropy`` 0: the authors' optional entropy minimisation (0.1 for 500 to 2,000 labels). Theirs is taken on the weak
  view; here that pass has no gradient, so the term stands on the strong one.
* ``joint=False``: separate passes, no gradient on the weak view, which saves its backward pass. The references run
  one pass over everything, which normalises by the statistics of all views together: ``joint=True``.
* ``align`` and ``relative`` are off, as in the paper; with few steps they keep the guesses spread over the classes
  (ReMixMatch, arXiv 1911.09785) and in use while the network is still unsure (AdaMatch, arXiv 2106.04732). Both need
  classes: on strings they are refused.
"""

from __future__ import annotations

from typing import final

import torch

from semilla.contract import Batch, Info, Logs, Losses, Method, Net, Run
from semilla.parts.alignment import alignment_of
from semilla.parts.forward import together
from semilla.parts.losses import entropy, kl_divergence
from semilla.parts.monitors import usage
from semilla.parts.targets import probs, sharpen
from semilla.parts.weights import Annealing, above, annealing_threshold, masked_mean


@final
class UDA(Method):
    """KL divergence from the sharpened prediction on the weak view.

    Args:
        info: the data set's facts.
        threshold: τ of the confidence mask.
        temperature: T of the target's sharpening.
        weight: λ of the consistency loss.
        annealing: training-signal annealing: None, ``linear``, ``exp`` or ``log``.
        entropy: ε of the entropy minimisation.
        views: the unlabeled examples' views: target's, student's.
        labeled_view: the labeled examples' view.
        joint: one pass over all views with common BatchNorm statistics.
        align: shift the guesses until their mean is the labels' distribution (`semilla.parts.alignment`).
        relative: τ is a share of the mean confidence in the labeled examples of the batch.
    """

    def __init__(
        self,
        info: Info,
        *,
        threshold: float = 0.8,
        temperature: float = 0.4,
        weight: float = 1.0,
        annealing: Annealing | None = None,
        entropy: float = 0.0,
        views: tuple[str, str] = ("weak", "strong"),
        labeled_view: str = "weak",
        joint: bool = False,
        align: bool = False,
        relative: bool = False,
    ) -> None:
        super().__init__()
        self.classes, self.annealing = info.classes, annealing
        self.threshold, self.temperature, self.weight, self.entropy = threshold, temperature, weight, entropy
        self.labeled_views, self.unlabeled_views = (labeled_view,), tuple(views)
        self.joint, self.relative = joint, relative
        self.alignment = alignment_of(info, align, relative)

    def forward(self, net: Net, batch: Batch, run: Run) -> tuple[Losses, Logs]:
        """Annealed supervised loss, then the masked divergence of the strong view."""
        task = run.task
        if self.joint:
            labeled, weak, strong = together(net, batch.x[0], *batch.u, prefix=task.prefix(batch.y))
        else:
            labeled = net(batch.x[0], task.prefix(batch.y))
            with torch.no_grad():
                weak = net(batch.u[0])
            strong = net(batch.u[1], task.prefix(task.guess(weak).target))

        if self.alignment is not None:
            weak = weak._replace(logits=self.alignment(weak.logits))
        p = probs(task.align(weak, batch.u[0], batch.u[1]).logits).detach()
        share = task.guess(labeled).confidence.mean() if self.relative else 1.0
        mask = above(task.guess(weak).confidence, share * self.threshold)
        divergence = task.soft_loss(strong, sharpen(p, self.temperature), kl_divergence)

        supervised = task.loss(labeled, batch.y)
        keep = torch.ones_like(supervised)
        if self.annealing is not None:  # exp(−CE) is p(true class)
            eta = annealing_threshold(run.progress, self.classes, self.annealing)
            keep = 1 - above(torch.exp(-supervised.detach()), eta)

        losses = {
            "supervised": masked_mean(supervised, keep),
            "consistency": self.weight * (mask * divergence).mean(),
        }
        if self.entropy > 0:
            losses["entropy"] = self.entropy * task.soft_loss(strong, p, lambda logits, _: entropy(logits)).mean()
        return losses, usage(p, mask)
