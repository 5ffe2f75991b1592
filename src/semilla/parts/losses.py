"""Divergences of a prediction from a target distribution: (logits, q), both (…, C) → (…), in float32.

Gradient flows through ``logits``, and through ``q`` if the caller did not detach it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from semilla.contract import Divergence, Task


def squared_error(logits: Tensor, q: Tensor) -> Tensor:
    """Mean over the classes of (softmax(logits) − q)²: the consistency loss of Π-model, Mean Teacher and MixMatch."""
    return (logits.float().softmax(-1) - q.float()).square().mean(-1)


def squared_distance(logits: Tensor, q: Tensor) -> Tensor:
    """Sum over the symbols of (softmax(logits) − q)²: `squared_error` for strings.

    Alphabets have 11 symbols or 230: a mean over them would be worth the less the larger the alphabet is.
    """
    return (logits.float().softmax(-1) - q.float()).square().sum(-1)


def squares(task: Task) -> Divergence:
    """The square that consistency is measured by where a label is what the task says."""
    return squared_error if task.name == "classes" else squared_distance


def cross_entropy(logits: Tensor, q: Tensor) -> Tensor:
    """−Σ q log softmax(logits), for any distribution q, hard or soft."""
    return -(q.float() * logits.float().log_softmax(-1)).sum(-1)


def kl_divergence(logits: Tensor, q: Tensor) -> Tensor:
    """KL(q ‖ softmax(logits)) = cross-entropy minus the entropy of q; 0 log 0 counts as 0."""
    negative_entropy: Tensor = torch.special.xlogy(q.float(), q.float()).sum(-1)
    return negative_entropy + cross_entropy(logits, q)


def entropy(logits: Tensor) -> Tensor:
    """−Σ p log p of p = softmax(logits)."""
    log_p = logits.float().log_softmax(-1)
    return -(log_p.exp() * log_p).sum(-1)
