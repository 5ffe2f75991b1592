"""Rotation prediction: to tell how far a picture was turned, a network has to see what is in it.

Gidaris, Singh & Komodakis, "Unsupervised representation learning by predicting image rotations", ICLR 2018,
arXiv 1803.07728 (equations 2 and 3).

    L = mean over u and r of CE(r, rotation(f(turn(u, 90° · r)))),  r = 0, 1, 2, 3

Every picture is seen in all its positions in the same step, as in the paper (§3.1), and no label is used.

Defaults and deviations:

* The paper augments with crops and mirror images; ``view`` is ours to choose and is ``weak``.
* Pictures that are not square, such as lines of text, are turned by 0 and 180 degrees alone: the batch keeps one shape.
* A pretext task of the network's features alone: the classifier is left as it is.
"""

from __future__ import annotations

from typing import final

import torch
from torch import nn

from semilla.contract import Batch, Info, Logs, Losses, Method, Net, Run, View
from semilla.errors import UsageError


@final
class Rotation(Method):
    """Cross-entropy of the quarter turns that were made.

    Args:
        info: the data set's facts.
        view: the view of every picture, before it is turned.

    Raises:
        UsageError: U070, in the first step: the examples are not pictures.
    """

    labeled_views = ()

    def __init__(self, info: Info, *, view: str = "weak") -> None:
        super().__init__()
        self.unlabeled_views = (view,)

    def heads(self, width: int) -> dict[str, nn.Module]:
        """A linear layer over the features that tells four positions apart."""
        return {"rotation": nn.Linear(width, 4)}

    def forward(self, net: Net, batch: Batch, run: Run) -> tuple[Losses, Logs]:
        """Turn every picture, and tell the turns apart."""
        inputs = batch.u[0].inputs
        if inputs.dim() != 4:
            raise UsageError("U070", "feature vectors cannot be turned", "take --method simclr or vicreg")
        turns = (0, 1, 2, 3) if inputs.shape[2] == inputs.shape[3] else (0, 2)
        turned = torch.cat([torch.rot90(inputs, turn, (2, 3)) for turn in turns])
        target = torch.tensor(turns, device=inputs.device).repeat_interleave(len(inputs))

        logits = net.heads["rotation"](net(View(turned)).features).float()
        right = (logits.detach().argmax(1) == target).float().mean()
        return {"rotation": nn.functional.cross_entropy(logits, target)}, {"right": right}
