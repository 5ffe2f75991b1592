"""MixMatch: guess by averaging augmentations, sharpen, then mix labeled and unlabeled examples alike.

Berthelot et al., "MixMatch: a holistic approach to semi-supervised learning", NeurIPS 2019, arXiv 1905.02249
(Algorithm 1, equations 2 to 9).

    q    = sharpen((1/K) Σₖ p(uₖ), T)
    W    = shuffle(X̂ ∪ Û),  X′ = MixUp(X̂, W first part),  U′ = MixUp(Û, W rest),  λ′ = max(λ, 1 − λ), λ ~ Beta(α, α)
    L    = mean over X′ of CE(y′, p(x′)) + λ_U·w(t) · mean over U′, classes of (p(u′) − q′)²

Rows stand in the order x, u₁ … u_K; a step draws the permutation of all rows, then one λ for each row. The guesses are
made with batch statistics, by the live weights, without gradient, and leave BatchNorm's running statistics alone; the
mixed pass is interleaved, so that every sub-batch has one mixture.

Defaults and deviations:

* K = 2, T = 0.5, α = 0.75 as published; ``weight`` 75 is the paper's for CIFAR-10 (250 for SVHN).
* ``ramp`` 1/64: the paper's 16 k of 2²⁰ steps. YU1ut's port ramps over the whole run, TorchSSL over 0.4.
* ``one_weight=True`` draws one λ for the batch, as YU1ut, TorchSSL and USB do; the authors' graph draws one for each
  example.
* ``interleave=False`` runs the mixed examples as one batch with common statistics.
* Strings are refused. Half of it is defined there: pictures of lines can be mixed, the loss of a mixture is
  λ·CTC(y₁) + (1 − λ)·CTC(y₂), and frames have soft targets. But where two lines lie over one another a frame holds two
  symbols and a path can say one; views that moved have no common frames to average; a decoder is fed one history, not
  two. It was not tried here.
"""

from __future__ import annotations

from typing import ClassVar, final

import torch

from semilla.contract import Batch, Info, Logs, Losses, Method, Net, Run
from semilla.parts.forward import frozen_bn, interleaved
from semilla.parts.losses import cross_entropy, squared_error
from semilla.parts.mixing import mix, mixing_weights
from semilla.parts.monitors import usage
from semilla.parts.ramps import ramp
from semilla.parts.targets import one_hot, probs, sharpen
from semilla.transfer import send


@final
class MixMatch(Method):
    """MixUp over the shuffled union of labeled examples and sharpened guesses.

    Args:
        info: the data set's facts.
        augmentations: K, the views averaged for a guess.
        temperature: T of the sharpening.
        alpha: α of MixUp's Beta distribution; 0 mixes nothing.
        weight: λ_U of the squared error on U′.
        ramp: share of the run over which λ_U grows from 0.
        view: the view of every example.
        one_weight: draw one λ for the batch instead of one for each example.
        interleave: mixed sub-batches of equal mixture, the first of which moves BatchNorm's running statistics.
    """

    tasks: ClassVar[frozenset[str]] = frozenset({"classes"})

    def __init__(
        self,
        info: Info,
        *,
        augmentations: int = 2,
        temperature: float = 0.5,
        alpha: float = 0.75,
        weight: float = 75.0,
        ramp: float = 1 / 64,
        view: str = "weak",
        one_weight: bool = False,
        interleave: bool = True,
    ) -> None:
        super().__init__()
        self.classes, self.temperature, self.alpha = info.classes, temperature, alpha
        self.weight, self.ramp, self.one_weight, self.interleave = weight, ramp, one_weight, interleave
        self.labeled_views, self.unlabeled_views = (view,), (view,) * augmentations

    def forward(self, net: Net, batch: Batch, run: Run) -> tuple[Losses, Logs]:
        """Algorithm 1: guess, sharpen, shuffle, mix; then cross-entropy on X′ and squared error on U′."""
        with torch.no_grad(), frozen_bn(net):
            p = torch.stack([probs(net(view).logits) for view in batch.u]).mean(0)
        q = sharpen(p, self.temperature)

        inputs = torch.cat([batch.x[0].inputs, *(view.inputs for view in batch.u)])
        targets = torch.cat([one_hot(batch.y, self.classes), *(q for _ in batch.u)])
        shuffle = send(run.generator.permutation(len(inputs)), inputs.device)
        draws = 1 if self.one_weight else len(inputs)
        weight = mixing_weights(run.generator, self.alpha, draws, inputs.device).expand(len(inputs))
        inputs, targets = mix(inputs, inputs[shuffle], weight), mix(targets, targets[shuffle], weight)

        labeled = len(batch.y)
        logits = interleaved(net, inputs, labeled if self.interleave else len(inputs))
        growth = ramp(run.progress, self.ramp)
        losses = {
            "supervised": cross_entropy(logits[:labeled], targets[:labeled]).mean(),
            "consistency": self.weight * growth * squared_error(logits[labeled:], targets[labeled:]).mean(),
        }
        return losses, usage(p)
