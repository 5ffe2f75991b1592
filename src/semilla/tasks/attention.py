"""Strings read symbol by symbol: a decoder says the next symbol from the picture and the symbols before it.

Symbol 0 ends a string in what the decoder says, and begins one in what it is fed.
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
from semilla.tasks.positions import lengths_of, packed, valid
from semilla.tasks.spelling import Protocol, scores

END = 0


@dataclass(frozen=True)
class Attention:
    """The task of reading a line by a decoder that attends to it.

    Args:
        alphabet: the characters; the one at position i is symbol i + 1.
        protocol: what the metrics take for the same.
    """

    alphabet: Alphabet
    protocol: Protocol = field(default_factory=Protocol)
    name: ClassVar[str] = "attention"

    def encode(self, labels: Sequence[str]) -> Tensor:
        """Texts → (B, L) int64 symbols padded with −1 (see `Alphabet.encode`)."""
        return self.alphabet.encode(labels)

    def decode(self, target: Tensor) -> list[str]:
        """(B, L) symbols → texts."""
        return self.alphabet.decode(target)

    def prefix(self, target: Tensor) -> Tensor:
        """(B, L) → (B, L + 1): the begin, then the symbols; 0 after them, so that a row's symbols can be counted."""
        return F.pad(target.clamp_min(0), (1, 0), value=END)

    def loss(self, output: Output, target: Tensor) -> Tensor:
        """(B,) mean of −log p over the symbols and the end, in float32.

        A decoder that ran by itself and was stopped before it came to an end gives no position for it: what is there
        counts.
        """
        symbols = (target > 0).sum(1)
        wanted = F.pad(target, (0, 1), value=-1).scatter(1, symbols[:, None], END)
        positions = min(wanted.shape[1], output.logits.shape[1])
        logits = output.logits[:, :positions].float().transpose(1, 2)
        nll = F.cross_entropy(logits, wanted[:, :positions], ignore_index=-1, reduction="none")
        return nll.sum(1) / (symbols + 1)

    @torch.no_grad()
    def guess(self, output: Output) -> Guess:
        """The symbols before the first end, with (their probabilities' product, the end's among them)^(1/symbols).

        A reading without an end has no probability as a string: its confidence is 0, as that of an empty one.
        """
        log_p, best = output.logits.float().log_softmax(-1).max(-1)
        there = valid(lengths_of(output), best.shape[1])
        ended = ((best == END) | ~there).cumsum(1)
        keep, end = ended == 0, (ended == 1) & (best == END) & there
        symbols = keep.sum(1)
        probability = ((log_p * (keep | end)).sum(1) / symbols.clamp_min(1)).exp()
        return Guess(packed(best, keep), probability * (end.any(1) & (symbols > 0)))

    def soft_loss(self, output: Output, q: Tensor, divergence: Divergence) -> Tensor:
        """(B,) mean divergence from q (B, T, C) over the positions of each string, its end among them.

        Position t must mean the same symbol on both sides: the student was fed the string that q was read along with.
        Where that string is empty the loss is 0. Positions that one side lacks are left out.
        """
        positions = min(output.logits.shape[1], q.shape[1])
        lengths = lengths_of(output)
        counts = (valid(lengths, positions) & (lengths > 1)[:, None]).float()
        divergences = divergence(output.logits[:, :positions], q[:, :positions])
        return (divergences * counts).sum(1) / counts.sum(1).clamp_min(1.0)

    def align(self, output: Output, seen: View, wanted: View) -> Output:
        """A symbol's position is in the string, not in the picture."""
        return output

    def metrics(self, guess: Tensor, truth: Tensor) -> dict[str, float]:
        """``cer``, ``wer``, ``accuracy`` and ``1-ned`` (see `semilla.tasks.spelling`)."""
        return scores(self.decode(guess), self.decode(truth), self.protocol).rates()
