"""What a method reports of the unlabeled data, with the names the training loop understands."""

from __future__ import annotations

import torch
from torch import Tensor

from semilla.contract import Logs


def usage(p: Tensor, mask: Tensor | None = None) -> Logs:
    """The share of unlabeled examples used and, for class labels, the mean predicted distribution over them.

    Args:
        p: (B, C) or (B, T, C) predicted distributions, without sharpening.
        mask: (B,) weight of each example, or None where all are used.
    """
    used = torch.ones((), device=p.device) if mask is None else mask.detach().float().mean()
    return {"used": used, "prediction": p.detach().mean(0)} if p.dim() == 2 else {"used": used}
