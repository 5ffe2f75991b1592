"""Character consistency: the student reads the strong view along with the teacher's string, symbol by symbol.

Zheng et al., "Pushing the performance limit of scene text recognizer without human annotation", CVPR 2022, arXiv
2204.07714; Qu et al., "Boosting semi-supervised scene text recognition via viewing and summarizing", arXiv 2411.15585.

    s = the string that the teacher θ′ reads, greedily, on u_w;  q_t = sharpen(p_θ′(· | u_w, s_<t), T)
    L = mean over x of CE(y, p_θ(x)) + λ · mean over u of 1[conf(s) > τ] · mean over t of KL(q_t ‖ p_θ(· | u_s, s_<t))

Both networks are fed the same symbols, so position t is the same character in both, wherever it stands in the pictures:
the strong view may move them. No gradient reaches the teacher, its string or q; t runs over the symbols and the end.

Defaults and deviations:

* ``threshold`` 0.5, ``temperature`` 0.4: the second paper's code. Its confidence is the product of the largest
  probabilities, which falls with the length; here it is per symbol, so that τ is the same for words and long lines.
* The KL is a mean over each string's positions, then over all examples, kept or not. The second paper's code takes the
  mean over the kept characters, times the share kept: there, long strings weigh more.
* An empty reading has confidence 0 and is never kept, nor is one that was stopped before its end.
* The teacher runs in evaluation mode, as in the second paper's code. ``decay`` is 0.999 there; None takes the training
  setting. The first paper's projection layer in the student and its domain loss are left out, and the second's
  contrastive loss and clean renderings.
* The student's strong pass moves BatchNorm's running statistics, as in FixMatch.
* CTC is refused: frames are not characters. There `uda` and `mean_teacher` compare frames, along the views' maps.
"""

from __future__ import annotations

from typing import ClassVar, final

import torch

from semilla.contract import Batch, Info, Logs, Losses, Method, Net, Run
from semilla.parts.forward import training_mode
from semilla.parts.losses import kl_divergence
from semilla.parts.monitors import usage
from semilla.parts.targets import probs, sharpen
from semilla.parts.weights import above


@final
class CharacterConsistency(Method):
    """KL divergence from the teacher's sharpened characters, along the teacher's string.

    Args:
        info: the data set's facts.
        threshold: τ, the confidence in the string above which it is used.
        temperature: T of the targets' sharpening.
        weight: λ of the consistency loss.
        views: the unlabeled examples' views: the teacher's, the student's.
        labeled_view: the labeled examples' view.
        decay: the teacher's α in the long run, or None for the training setting.
    """

    tasks: ClassVar[frozenset[str]] = frozenset({"attention"})

    def __init__(
        self,
        info: Info,
        *,
        threshold: float = 0.5,
        temperature: float = 0.4,
        weight: float = 1.0,
        views: tuple[str, str] = ("weak", "strong"),
        labeled_view: str = "weak",
        decay: float | None = None,
    ) -> None:
        super().__init__()
        self.threshold, self.temperature, self.weight = threshold, temperature, weight
        self.labeled_views, self.unlabeled_views = (labeled_view,), tuple(views)
        self.ema_decay = decay

    def forward(self, net: Net, batch: Batch, run: Run) -> tuple[Losses, Logs]:
        """Supervised loss, then the divergence along the confident strings of the teacher."""
        task = run.task
        labeled = net(batch.x[0], task.prefix(batch.y))

        with torch.no_grad(), training_mode(run.ema, False):
            teacher = run.ema(batch.u[0])
        string, confidence = task.guess(teacher)
        student = net(batch.u[1], task.prefix(string))

        mask = above(confidence, self.threshold)
        p = probs(teacher.logits)
        divergence = task.soft_loss(student, sharpen(p, self.temperature), kl_divergence)
        losses = {
            "supervised": task.loss(labeled, batch.y).mean(),
            "consistency": self.weight * (mask * divergence).mean(),
        }
        return losses, usage(p, mask)
