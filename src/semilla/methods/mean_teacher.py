"""Mean Teacher: the student agrees with the average of its own past weights.

Tarvainen & Valpola, "Mean teachers are better role models", NeurIPS 2017, arXiv 1703.01780 (equations 1 to 3).

    L = mean over x of CE(y, p_θ(x)) + λ·w(t) · mean over u, classes of (p_θ(u₂) − p_θ′(u₁))²
    θ′ₜ = α θ′ₜ₋₁ + (1 − α) θₜ,   α = min(1 − 1/(step + 1), decay), after the optimizer's step

Defaults and deviations:

* ``weight`` 50 and a linear ramp over the first 40 % follow the MixMatch repository and TorchSSL; the authors' PyTorch
  code uses 100 with the sigmoid ramp over 5 of 180 epochs.
* ``decay`` 0.999 in every CIFAR reference after the authors' (0.97 to 0.99 with few labels); None takes the training
  setting, which scales with the number of steps. The warm-up of α exists in the authors' code alone and is kept.
* ``teacher_bn="batch"``: the teacher normalises with the statistics of its batch, as the authors', the MixMatch and the
  TorchSSL code do; ``"running"`` uses its averaged running statistics and no dropout. Its buffers stay untouched either
  way: they are averages of the student's (see `semilla.training.ema`).
* ``update_bn``: as in `semilla.methods.pi_model`. With ``decay=0`` the teacher is the student and the method is the
  Π-model. ``consistency_on="all"``: the student's labeled pass serves both losses, the teacher sees a second view.
* ``teacher_view`` and ``labeled_view`` are ours: with ``teacher_view="weak"`` and ``view="strong"`` the teacher sees
  the clearer picture, as in later work. None keeps the paper's way, in which all views are of one kind.
* On strings the target is expressed at the positions of the student's view (`Task.align`); a decoder is fed the
  teacher's string, so that both speak of the same symbol. The squares are summed over the symbols (`squares`), and the
  ramp begins where the teacher begins to read (`Onset`).
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Literal, final

import torch

from semilla.contract import Batch, Info, Logs, Losses, Method, Net, Run
from semilla.parts.forward import frozen_bn, training_mode
from semilla.parts.losses import squares
from semilla.parts.monitors import usage
from semilla.parts.ramps import Onset, Ramp, ramp
from semilla.parts.targets import probs


@final
class MeanTeacher(Method):
    """Mean squared error to the prediction of an averaged teacher.

    Args:
        info: the data set's facts.
        weight: λ of the consistency loss.
        ramp: share of the run over which λ grows from 0.
        ramp_shape: ``linear`` or the paper's ``sigmoid``.
        view: the random view drawn for the teacher and, separately, for the student.
        teacher_view: another one for the teacher, or None.
        labeled_view: another one for the labeled examples, or None.
        decay: the teacher's α in the long run, or None for the training setting.
        teacher_bn: ``batch`` or ``running`` statistics in the teacher's pass.
        consistency_on: ``unlabeled`` examples or ``all``.
        update_bn: let the student's unlabeled pass move BatchNorm's running statistics.
    """

    def __init__(
        self,
        info: Info,
        *,
        weight: float = 50.0,
        ramp: float = 0.4,
        ramp_shape: Ramp = "linear",
        view: str = "weak",
        teacher_view: str | None = None,
        labeled_view: str | None = None,
        decay: float | None = None,
        teacher_bn: Literal["batch", "running"] = "batch",
        consistency_on: Literal["unlabeled", "all"] = "unlabeled",
        update_bn: bool = False,
    ) -> None:
        super().__init__()
        self.weight, self.ramp, self.ramp_shape = weight, ramp, ramp_shape
        self.ema_decay, self.teacher_bn, self.update_bn = decay, teacher_bn, update_bn
        own, teacher = labeled_view or view, teacher_view or view
        self.labeled_views = (own, teacher) if consistency_on == "all" else (own,)
        self.unlabeled_views = (teacher, view)
        self.onset = Onset()

    def forward(self, net: Net, batch: Batch, run: Run) -> tuple[Losses, Logs]:
        """Supervised loss, then the student's squared distance from the teacher."""
        task, bn = run.task, nullcontext if self.update_bn else frozen_bn
        square = squares(task)
        prefix = task.prefix(batch.y)
        labeled = net(batch.x[0], prefix)

        with torch.no_grad(), training_mode(run.ema, self.teacher_bn == "batch"), frozen_bn(run.ema):
            teacher = run.ema(batch.u[0])
        guess = task.guess(teacher)
        with bn(net):
            student = net(batch.u[1], task.prefix(guess.target))
        target = task.align(teacher, batch.u[0], batch.u[1])
        difference = task.soft_loss(student, probs(target.logits), square)

        if len(batch.x) == 2:  # the labeled examples follow the teacher too
            with torch.no_grad(), training_mode(run.ema, self.teacher_bn == "batch"), frozen_bn(run.ema):
                again = run.ema(batch.x[1], prefix)
            target = task.align(again, batch.x[1], batch.x[0])
            difference = torch.cat([difference, task.soft_loss(labeled, probs(target.logits), square)])

        weight = self.weight * ramp(self.onset.progress(run, guess), self.ramp, self.ramp_shape)
        losses = {"supervised": task.loss(labeled, batch.y).mean(), "consistency": weight * difference.mean()}
        return losses, usage(probs(teacher.logits))
