"""Rotation prediction: to tell how far a picture was turned, a network has to see what is in it.

Gidaris, Singh & Komodakis, "Unsupervised representation learning by predicting image rotations", ICLR 2018,
arXiv 1803.07728 (equations 2 and 3).

    L = mean over u and r of CE(r, rotation(f(turn(u, 90° · r)))),  r = 0, 1, 2, 3

Every picture is seen in all its positions in the same step, as in the paper (§3.1), and no label is used.

Defaults and deviations:

* The paper augments with crops and mirror images; ``view`` is ours to choose and is ``weak``.
* Pictures that are not square, such as lines of text, are turned by 0 and 180 degrees alone: the batch keeps one shape.
  A line is turned within its own width, and what is asked about it is the mean of its frames' features.
* A pretext task of the network's features alone: the classifier is left as it is.
"""

from __future__ import annotations

from typing import ClassVar, final

import torch
from torch import nn

from semilla.contract import Batch, Info, Logs, Losses, Method, Net, Run, View
from semilla.errors import UsageError
from semilla.parts.forward import pooled


@final
class Rotation(Method):
    """Cross-entropy of the quarter turns that were made.

    Args:
        info: the data set's facts.
        view: the view of every picture, before it is turned.

    Raises:
        UsageError: U070, in the first step: the examples are not pictures.
    """

    tasks: ClassVar[frozenset[str]] = frozenset({"classes", "ctc"})
    labeled_views = ()

    def __init__(self, info: Info, *, view: str = "weak") -> None:
        super().__init__()
        self.unlabeled_views = (view,)

    def heads(self, width: int) -> dict[str, nn.Module]:
        """A linear layer over the features that tells four positions apart."""
        return {"rotation": nn.Linear(width, 4)}

    def forward(self, net: Net, batch: Batch, run: Run) -> tuple[Losses, Logs]:
        """Turn every picture, and tell the turns apart."""
        view = batch.u[0]
        if view.inputs.dim() != 4:
            raise UsageError("U070", "feature vectors cannot be turned", "take --method simclr or vicreg")
        square = view.inputs.shape[2] == view.inputs.shape[3] and view.width is None
        turns = (0, 1, 2, 3) if square else (0, 2)
        turned = torch.cat([_turned(view, turn) for turn in turns])
        target = torch.arange(0, 4, 4 // len(turns), device=turned.device).repeat_interleave(len(view))
        width = None if view.width is None else view.width.repeat(len(turns))

        logits = net.heads["rotation"](pooled(net(View(turned, width=width)))).float()
        right = (logits.detach().argmax(1) == target).float().mean()
        return {"rotation": nn.functional.cross_entropy(logits, target)}, {"right": right}


def _turned(view: View, turn: int) -> torch.Tensor:
    """The inputs turned counterclockwise; of a padded line what is valid alone, so that its padding stays behind it."""
    turned = torch.rot90(view.inputs, turn, (2, 3))
    if view.width is None or turn == 0:
        return turned
    columns = turned.shape[3]
    # Turned as a whole, a line lies at the right: each is moved to the left by its own padding, which comes round.
    place = (torch.arange(columns, device=turned.device) + columns - view.width[:, None]) % columns
    return turned.gather(3, place[:, None, None].expand_as(turned))
