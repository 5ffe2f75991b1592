"""Three throwaway tasks that ask of the contract all that real ones will: classes, CTC strings, a string decoder.

They are as small as they can be and still have every trait that breaks an interface: variable lengths, blanks, empty
readings, a decoder that must be fed what it is to say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semilla.contract import Batch, Divergence, Guess, Info, Method, Net, Output, Run, View
from semilla.networks import MLP
from semilla.randomness import generator
from semilla.tasks import Classes

LETTERS = "abc"
BLANK = END = 0  # CTC's blank, the decoder's end-of-string; letters follow
LONGEST = 4


def _letters(row: Tensor) -> str:
    return "".join(LETTERS[symbol - 1] for symbol in row.tolist() if symbol > 0)


def _pad(rows: Sequence[Sequence[int]]) -> Tensor:
    padded = torch.full((len(rows), max([1, *map(len, rows)])), -1)
    for row, symbols in zip(padded, rows, strict=True):
        row[: len(symbols)] = torch.tensor(symbols, dtype=torch.int64)
    return padded


def _valid(output: Output) -> Tensor:
    """(B, T) 1.0 at positions that count."""
    positions = torch.arange(output.logits.shape[1], device=output.logits.device)
    lengths = output.lengths if output.lengths is not None else torch.full((len(output.logits),), len(positions))
    return (positions < lengths.to(positions.device)[:, None]).float()


def _exact(guess: list[str], truth: list[str]) -> dict[str, float]:
    return {"exact": float(np.mean([a == b for a, b in zip(guess, truth, strict=True)]))}


class _Strings:
    def decode(self, target: Tensor) -> list[str]:
        return [_letters(row) for row in target]

    def soft_loss(self, output: Output, q: Tensor, divergence: Divergence) -> Tensor:
        valid = _valid(output)
        return (divergence(output.logits, q) * valid).sum(1) / valid.sum(1).clamp_min(1)

    def metrics(self, guess: Tensor, truth: Tensor) -> dict[str, float]:
        return _exact(self.decode(guess), self.decode(truth))


@dataclass(frozen=True)
class ToyCTC(_Strings):
    name: str = "ctc"

    def encode(self, labels: Sequence[str]) -> Tensor:
        return _pad([[LETTERS.index(letter) + 1 for letter in label] for label in labels])

    def prefix(self, target: Tensor) -> None:
        return None

    def loss(self, output: Output, target: Tensor) -> Tensor:
        log_p = output.logits.float().log_softmax(-1).transpose(0, 1)
        frames = _valid(output).sum(1).long()
        lengths = (target > 0).sum(1)
        nll = F.ctc_loss(log_p, target.clamp_min(1), frames, lengths, BLANK, reduction="none", zero_infinity=True)
        return nll / lengths.clamp_min(1)

    @torch.no_grad()
    def guess(self, output: Output) -> Guess:
        p, best = output.logits.float().softmax(-1).max(-1)
        valid = _valid(output)
        rows = []
        for symbols, frames in zip(best, valid.sum(1).long().tolist(), strict=True):
            collapsed = torch.unique_consecutive(symbols[:frames])
            rows.append(collapsed[collapsed > BLANK].tolist())
        confidence = ((p.log() * valid).sum(1) / valid.sum(1).clamp_min(1)).exp()
        read = torch.tensor([len(row) > 0 for row in rows], device=p.device)
        return Guess(_pad(rows).to(p.device), confidence * read)


@dataclass(frozen=True)
class ToyAttention(_Strings):
    name: str = "attention"

    def encode(self, labels: Sequence[str]) -> Tensor:
        return _pad([[LETTERS.index(letter) + 1 for letter in label] + [END] for label in labels])

    def prefix(self, target: Tensor) -> Tensor:
        start = torch.zeros_like(target[:, :1])
        shifted = torch.cat([start, target[:, :-1]], 1)
        return torch.where(target < 0, -1, shifted)  # −1 marks positions after the end

    def loss(self, output: Output, target: Tensor) -> Tensor:
        logits = output.logits.float().flatten(0, 1)
        nll = F.cross_entropy(logits, target.flatten(), reduction="none", ignore_index=-1).view_as(target)
        return nll.sum(1) / (target >= 0).sum(1).clamp_min(1)

    @torch.no_grad()
    def guess(self, output: Output) -> Guess:
        p, best = output.logits.float().softmax(-1).max(-1)
        ended = (best == END).cumsum(1)
        kept = (ended == 0) | ((ended == 1) & (best == END))  # up to and with the first end
        confidence = ((p.log() * kept).sum(1) / kept.sum(1)).exp()
        empty = best[:, 0] == END
        return Guess(torch.where(kept, best, -1), confidence * ~empty)


class FramesNet(nn.Module):
    """(B, 1, 2, W) pictures → a distribution for each column that is not padding."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv1d(2, 8, 3, padding=1), nn.BatchNorm1d(8), nn.ReLU())
        self.classifier = nn.Linear(8, len(LETTERS) + 1)

    def forward(self, inputs: Tensor, width: Tensor | None = None) -> Output:
        features = self.body(inputs.flatten(1, 2)).transpose(1, 2)
        return Output(self.classifier(features), features, width)


class DecoderNet(nn.Module):
    """A GRU over symbols, started from the picture: teacher-forced with a prefix, greedy without."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Linear(2, 8)
        self.embedding = nn.Embedding(len(LETTERS) + 1, 8)
        self.cell = nn.GRUCell(8, 8)
        self.classifier = nn.Linear(8, len(LETTERS) + 1)

    def forward(self, inputs: Tensor, prefix: Tensor | None = None, width: Tensor | None = None) -> Output:
        state = torch.tanh(self.encoder(inputs.mean(-1).flatten(1)))
        symbol = torch.full((len(inputs),), END, device=inputs.device)
        features, logits = [], []
        for position in range(LONGEST + 1 if prefix is None else prefix.shape[1]):
            if prefix is not None:
                symbol = prefix[:, position].clamp_min(0)
            state = self.cell(self.embedding(symbol).to(inputs.dtype), state)
            features.append(state)
            logits.append(self.classifier(state))
            symbol = logits[-1].argmax(-1)
        lengths = None if prefix is None else (prefix >= 0).sum(1)
        return Output(torch.stack(logits, 1), torch.stack(features, 1), lengths)


@dataclass(frozen=True)
class Toy:
    """A task with everything a method needs to take a step on it."""

    task: Classes | ToyCTC | ToyAttention

    @property
    def info(self) -> Info:
        classes = 3 if self.task.name == "classes" else len(LETTERS) + 1
        return Info(classes, labeled=8, unlabeled=40, prior=(1 / 3,) * 3 if self.task.name == "classes" else ())

    def net(self, seed: int = 0, batch_norm: bool = True) -> Net:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            if self.task.name == "classes":
                return Net(MLP(6, 3, width=16, batch_norm=batch_norm))
            return Net(FramesNet() if self.task.name == "ctc" else DecoderNet())

    def batch(self, method: Method, labeled: int = 5, unlabeled: int = 12, seed: int = 0) -> Batch:
        draw = torch.Generator().manual_seed(seed)

        def views(names: tuple[str, ...], size: int) -> tuple[View, ...]:
            clean = torch.randn((size, *((6,) if self.task.name == "classes" else (1, 2, 9))), generator=draw)
            width = None if self.task.name == "classes" else torch.randint(6, 10, (size,), generator=draw)
            noisy = (clean + 0.3 * torch.randn(clean.shape, generator=draw) for _ in names)
            return tuple(View(inputs, width=width) for inputs in noisy)

        if self.task.name == "classes":
            labels: list[str] = [self.task.names[index % 3] for index in range(labeled)]  # type: ignore[union-attr]
        else:
            labels = [["ab", "c", "bca", "cc"][index % 4] for index in range(labeled)]
        return Batch(
            x=views(method.labeled_views, labeled),
            y=self.task.encode(labels),
            u=views(method.unlabeled_views, unlabeled),
            x_index=torch.arange(labeled),
            u_index=torch.arange(unlabeled),
        )

    def run(self, ema: Net, step: int = 60, steps: int = 100) -> Run:
        return Run(self.task, ema, step, steps, generator(0, "method", step))


TOYS = {toy.task.name: toy for toy in (Toy(Classes(("hen", "owl", "jay"))), Toy(ToyCTC()), Toy(ToyAttention()))}
