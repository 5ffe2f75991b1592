"""Distribution alignment: guesses are shifted until their mean is that of the labels."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from semilla.contract import Info
from semilla.errors import UsageError

SMALLEST = 1e-6
"""Shares of classes, of labels and of guesses, are taken to be at least so much."""


class Alignment(nn.Module):
    """p̃ ∝ p · prior / mean(p) (Berthelot et al. 2020, "ReMixMatch", arXiv 1911.09785, §3.1).

    The mean is a moving average over the unlabeled examples of the last steps, kept in a buffer; it starts uniform.

    Args:
        info: whose prior is aligned to.
        decay: of the average; ReMixMatch keeps the last 128 batches.

    Raises:
        UsageError: U074, the labels are strings: there is no distribution of classes.
    """

    mean: Tensor
    log_prior: Tensor

    def __init__(self, info: Info, decay: float = 0.99) -> None:
        super().__init__()
        if not info.prior:
            raise UsageError("U074", "strings have no distribution of classes to align", "leave align out")
        self.decay = decay
        prior = torch.tensor(info.prior).clamp_min(SMALLEST)
        self.register_buffer("log_prior", prior.log())
        self.register_buffer("mean", torch.full_like(prior, 1 / len(prior)))

    @torch.no_grad()
    def forward(self, logits: Tensor) -> Tensor:
        """(B, C) logits of the unlabeled examples → logits of the aligned distributions, without gradient."""
        log_p = logits.float().log_softmax(-1)
        self.mean.lerp_(log_p.exp().mean(0), 1 - self.decay)
        return log_p + self.log_prior - self.mean.clamp_min(SMALLEST).log()


def alignment_of(info: Info, align: bool, relative: bool) -> Alignment | None:
    """The alignment of a method with these two options, or None.

    Raises:
        UsageError: U074, either was asked for strings. Confidence in labeled strings gives no threshold: a decoder is
            fed the very label there.
    """
    if relative and not info.prior:
        raise UsageError("U074", "a threshold relative to labeled confidence needs classes", "leave relative out")
    return Alignment(info) if align else None
