"""Strings read frame by frame: connectionist temporal classification (Graves et al., ICML 2006).

A path names one symbol for each frame; equal neighbours are one, then blanks are dropped. The probability of a string
is the sum over all its paths. Symbol 0 is the blank.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import numpy.typing as npt
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
        """(B,) −log P(string) / max(1, symbols) in float32; 0 and no gradient where no path leads (`unreachable`)."""
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


def unreachable(target: Tensor, lengths: Tensor) -> Tensor:
    """(B,) bool: no path of so many frames gives the target, which needs one for each symbol and between equal ones.

    Args:
        target: (B, L) symbols, padded with −1.
        lengths: (B,) frames.
    """
    repeated = (target[:, 1:] == target[:, :-1]) & (target[:, 1:] > 0)
    return (target > 0).sum(1) + repeated.sum(1) > lengths.to(target.device)


@torch.no_grad()
def beam_search(output: Output, size: int = 10) -> Guess:
    """The most probable string among the beams of a prefix search (Graves 2012; Hannun et al. 2014, arXiv 1408.2873).

    In plain Python, about a second for a line of 300 frames: for a look at what the best path misses, not for training.

    Args:
        output: logits (B, T, C).
        size: beams kept after each frame; so many symbols of a frame are tried. From C^T on the search is exact.
    """
    log_p = output.logits.float().log_softmax(-1).double().cpu().numpy()
    rows = [_beam(row[:frames], size) for row, frames in zip(log_p, lengths_of(output).tolist(), strict=True)]
    longest = max([1, *map(len, rows)])
    target = torch.tensor([[*row, *[-1] * (longest - len(row))] for row in rows]).view(-1, longest)
    return _guess(output, target.to(output.logits.device))


def _beam(log_p: npt.NDArray[np.float64], size: int) -> tuple[int, ...]:
    """(T, C) → the symbols of the best beam. A prefix holds log P of its paths that end in a blank, and in a symbol."""
    beams: dict[tuple[int, ...], tuple[float, float]] = {(): (0.0, -np.inf)}
    for frame in log_p:
        found: dict[tuple[int, ...], list[float]] = defaultdict(lambda: [-np.inf, -np.inf])
        tried = [int(symbol) for symbol in np.argsort(-frame, kind="stable")[: size + 1] if symbol != BLANK]
        for prefix, (ends_blank, ends_symbol) in beams.items():
            both = np.logaddexp(ends_blank, ends_symbol)
            own = found[prefix]
            own[0] = np.logaddexp(own[0], both + frame[BLANK])
            if prefix:
                own[1] = np.logaddexp(own[1], ends_symbol + frame[prefix[-1]])
            for symbol in tried:
                longer = found[(*prefix, symbol)]
                start = ends_blank if prefix and symbol == prefix[-1] else both  # equal neighbours need a blank between
                longer[1] = np.logaddexp(longer[1], start + frame[symbol])
        ranked = sorted(found.items(), key=lambda item: -np.logaddexp(item[1][0], item[1][1]))
        beams = {prefix: (blank, symbol) for prefix, (blank, symbol) in ranked[:size]}
    return next(iter(beams))


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
