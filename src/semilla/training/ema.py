"""The averaged network: the teacher of Mean Teacher, and the model every run ends with.

One policy for every entry of the state: floating-point parameters and buffers (BatchNorm's running statistics among
them) are averaged in their own precision, which is float32 here, integer buffers are copied. Called after the
optimizer's step.
"""

from __future__ import annotations

import copy

import torch
from torch.optim.swa_utils import get_ema_multi_avg_fn

from semilla.contract import Net


def ema_alpha(step: int, decay: float) -> float:
    """α = min(1 − 1/(step + 1), decay) after ``step`` optimizer steps: ½, ⅔, ¾ … (Tarvainen & Valpola 2017)."""
    return min(1 - 1 / (step + 1), decay)


class EMA:
    """θ′ₜ = α θ′ₜ₋₁ + (1 − α) θₜ over a network's whole state.

    Args:
        net: the network to follow; the average starts as a copy of it.
        decay: α in the long run, 0 ≤ decay ≤ 1.

    Attributes:
        net: the averaged network, in evaluation mode and without gradients.
    """

    def __init__(self, net: Net, decay: float) -> None:
        self.net = copy.deepcopy(net).eval().requires_grad_(False)
        self.decay = decay
        # References, not values: both networks keep their tensors for life and change them in place.
        shared = zip(self.net.state_dict().values(), net.state_dict().values(), strict=True)
        pairs = list({theirs.data_ptr(): (mine, theirs) for mine, theirs in shared}.values())  # tied weights once
        self._floating = [pair for pair in pairs if pair[0].is_floating_point()]
        self._integers = [pair for pair in pairs if not pair[0].is_floating_point()]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Follow the network after its ``step``-th optimizer step, counted from 1."""
        average = get_ema_multi_avg_fn(ema_alpha(step, self.decay))  # one fused call for all tensors
        average([mine for mine, _ in self._floating], [theirs for _, theirs in self._floating], step)
        for mine, theirs in self._integers:
            mine.copy_(theirs)
