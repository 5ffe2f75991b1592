"""Strings read frame by frame: connectionist temporal classification (Graves et al., ICML 2006).

A path names one symbol for each frame; equal neighbours are one, then blanks are dropped. The probability of a string
is the sum over all its paths. Symbol 0 is the blank.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from semilla.contract import Divergence, Guess, Output, View
from semilla.tasks.alphabet import Alphabet
from semilla.tasks.frames import aligned
from semilla.tasks.positions import lengths_of, packed, valid
from semilla.tasks.spelling import Protocol, scores

BLANK = 0


@dataclass(frozen=True)
class CTC:
    """The task of reading a line whose symbols stand in the picture from left to right.

    Args:
        alphabet: the characters; the one at position i is symbol i + 1.
        protocol: what the metrics take for the same.
    """

    alphabet: Alphabet
    protocol: Protocol = field(default_factory=Protocol)
    name: ClassVar[str] = "ctc"

    def encode(self, labels: Sequence[str]) -> Tensor:
        """Texts → (B, L) int64 symbols padded with −1 (see `Alphabet.encode`)."""
        return self.alphabet.encode(labels)

    def decode(self, target: Tensor) -> list[str]:
        """(B, L) symbols → texts."""
        return self.alphabet.decode(target)

    def prefix(self, target: Tensor) -> None:
        """Frames are read from the picture alone."""
        return None

    def loss(self, output: Output, target: Tensor) -> Tensor:
        """(B,) −log P(string) / max(1, symbols) in float32; 0 and no gradient where no path leads."""
        return _nll(output, target) / (target > 0).sum(1).clamp_min(1)

    @torch.no_grad()
    def guess(self, output: Output) -> Guess:
        """The best path's string, with P(string)^(1/symbols): all paths that lead to it count, not the best alone."""
        best = output.logits.argmax(-1)
        before = F.pad(best[:, :-1], (1, 0), value=BLANK)
        return _guess(output, packed(best, (best != BLANK) & (best != before) & _frames(output)))

    def soft_loss(self, output: Output, q: Tensor, divergence: Divergence) -> Tensor:
        """(B,) divergence from q (B, T, C), a mean over each line's valid frames in which blanks cannot drown the rest.

        A frame whose q is surest of a symbol weighs 1; those surest of the blank share as much as these have together,
        and weigh at most 1 each. Where q reads nothing at all, as on the plateau that CTC training starts with, the
        loss is 0: consistency begins when there is something to be consistent with.
        """
        frames = _frames(output)
        symbol = frames & (q.argmax(-1) != BLANK)
        blank = frames & ~symbol
        symbols, blanks = symbol.sum(1, keepdim=True), blank.sum(1, keepdim=True)
        weight = symbol.float() + blank * (symbols / blanks.clamp_min(1)).clamp_max(1.0)
        return (weight * divergence(output.logits, q)).sum(1) / weight.sum(1).clamp_min(1.0)

    def align(self, output: Output, seen: View, wanted: View) -> Output:
        """The frames of one view's prediction where they lie in another view (see `semilla.tasks.frames`)."""
        return aligned(output, seen, wanted, BLANK)

    def metrics(self, guess: Tensor, truth: Tensor) -> dict[str, float]:
        """``cer``, ``wer``, ``accuracy`` and ``1-ned`` (see `semilla.tasks.spelling`)."""
        return scores(self.decode(guess), self.decode(truth), self.protocol).rates()


def _frames(output: Output) -> Tensor:
    return valid(lengths_of(output), output.logits.shape[1])


def _nll(output: Output, target: Tensor) -> Tensor:
    """(B,) −log P(string) over all its paths, in float32 whatever the precision of the logits."""
    log_p = output.logits.float().log_softmax(-1).transpose(0, 1)
    symbols = (target > 0).sum(1)
    return F.ctc_loss(
        log_p, target.clamp_min(1), lengths_of(output), symbols, BLANK, reduction="none", zero_infinity=True
    )


def _guess(output: Output, target: Tensor) -> Guess:
    symbols = (target > 0).sum(1)
    probability = (-_nll(output, target) / symbols.clamp_min(1)).exp().clamp_max(1.0)
    return Guess(target, probability * (symbols > 0))
