"""What the tasks on strings share: valid positions, and symbols packed to the left."""

from __future__ import annotations

import torch
from torch import Tensor

from semilla.contract import Output


def lengths_of(output: Output) -> Tensor:
    """(B,) int64 valid positions of an output, all of them where it does not say."""
    logits = output.logits
    if output.lengths is None:
        return torch.full((len(logits),), logits.shape[1], device=logits.device)
    return output.lengths.to(logits.device, torch.int64)


def valid(lengths: Tensor, positions: int) -> Tensor:
    """(B,) lengths → (B, positions) bool, true at the first of each row."""
    return torch.arange(positions, device=lengths.device) < lengths[:, None]


def packed(symbols: Tensor, keep: Tensor) -> Tensor:
    """(B, T) symbols and which to keep → (B, L) those, in order, padded with −1; L is the most of a row, at least 1."""
    place = (keep.cumsum(1) - 1).masked_fill(~keep, symbols.shape[1])  # what is not kept goes to a column of its own
    rows = torch.full((len(symbols), symbols.shape[1] + 1), -1, dtype=torch.int64, device=symbols.device)
    longest = int(keep.sum(1).max()) if keep.numel() else 0
    return rows.scatter(1, place, symbols)[:, : max(1, longest)]
