"""Small networks and batches for every task: classes, CTC strings, a string decoder.

They are as small as they can be and still have every trait that breaks an interface: variable lengths, blanks, empty
readings, views that moved, a decoder that must be fed what it is to say.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from semilla.contract import Batch, Info, Method, Net, Output, Run, View
from semilla.networks import MLP
from semilla.randomness import generator
from semilla.tasks import CTC, Alphabet, Attention, Classes

LETTERS = Alphabet("abc")
END = 0
LONGEST = 4


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
    """A GRU over symbols, started from the picture: fed with a prefix, else with what it said without gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Linear(2, 8)
        self.embedding = nn.Embedding(len(LETTERS) + 1, 8)
        self.cell = nn.GRUCell(8, 8)
        self.classifier = nn.Linear(8, len(LETTERS) + 1)

    def forward(self, inputs: Tensor, prefix: Tensor | None = None, width: Tensor | None = None) -> Output:
        fed = prefix is not None
        if prefix is None:
            with torch.no_grad():
                prefix = self.read(inputs)
        state = torch.tanh(self.encoder(inputs.mean(-1).flatten(1)))
        features = []
        for symbol in prefix.T:
            state = self.cell(self.embedding(symbol).to(state.dtype), state)
            features.append(state)
        logits = [self.classifier(state) for state in features]
        return Output(torch.stack(logits, 1), torch.stack(features, 1), None if fed else (prefix > END).sum(1) + 1)

    def read(self, inputs: Tensor) -> Tensor:
        """The prefix that this network says by itself."""
        state = torch.tanh(self.encoder(inputs.mean(-1).flatten(1)))
        symbols = [torch.full((len(inputs),), END, device=inputs.device)]
        ended = torch.zeros_like(symbols[0], dtype=torch.bool)
        for _ in range(LONGEST):
            state = self.cell(self.embedding(symbols[-1]).to(state.dtype), state)
            best = self.classifier(state).argmax(-1)
            ended |= best == END
            symbols.append(best.masked_fill(ended, END))
        prefix = torch.stack(symbols, 1)
        return prefix[:, : int((prefix > END).sum(1).max()) + 1]


@dataclass(frozen=True)
class Toy:
    """A task with everything a method needs to take a step on it."""

    task: Classes | CTC | Attention

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
            if self.task.name != "ctc":
                return tuple(View(inputs, width=width) for inputs in noisy)
            moved = torch.eye(2, 3).repeat(size, 1, 1)
            moved[:, 0, 2] = torch.rand(size, generator=draw) * 2 - 1  # columns, each view its own
            return tuple(
                View(inputs, moved * scale, width) for inputs, scale in zip(noisy, (1, 0.97, 1.02), strict=False)
            )

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


TOYS = {toy.task.name: toy for toy in (Toy(Classes(("hen", "owl", "jay"))), Toy(CTC(LETTERS)), Toy(Attention(LETTERS)))}
