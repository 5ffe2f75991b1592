"""The contract between the rooms: what data, network, task, method and training loop know of one another.

Everything a method may use is on this page. A method never sees files, the loop never sees an equation, and a batch
has no field that could hold the label of an unlabeled example.

Shapes: B examples, C classes (or symbols), T positions of a sequence, D features.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Protocol, TypeAlias

import numpy as np
from torch import Tensor, nn

Losses: TypeAlias = dict[str, Tensor]
"""Loss terms by name, each a scalar, already weighted: the training loss is their sum."""

Logs: TypeAlias = dict[str, Tensor]
"""What a method reports of a step, detached. Names with a meaning of their own: ``used``, the share of the unlabeled
examples that entered the loss; ``prediction``, (C,) the mean predicted distribution over them."""

Divergence: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""(logits, target distribution), both (…, C) → (…): one of `semilla.parts.losses`."""


@dataclass(frozen=True, slots=True)
class Info:
    """All that a method may know before training starts.

    Attributes:
        classes: number of classes, or symbols of the alphabet.
        labeled: number of labeled examples.
        unlabeled: number of unlabeled examples.
        prior: share of each class among the labeled examples, (classes,) summing to 1; empty for strings.
    """

    classes: int
    labeled: int
    unlabeled: int
    prior: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class View:
    """One augmented version of a batch of examples.

    Attributes:
        inputs: float32 (B, channels, height, width) images or (B, D) vectors, normalised.
        geometry: (B, 2, 3) affine maps from output pixels to the input pixels they came from, or None where nothing
            moved. Coordinates (x, y) count pixel centres, the first at 0.5.
        width: (B,) valid columns where the batch is padded to a common width, or None.
    """

    inputs: Tensor
    geometry: Tensor | None = None
    width: Tensor | None = None

    def __len__(self) -> int:
        return len(self.inputs)

    def split(self, sizes: list[int]) -> list[View]:
        """Cut the batch into consecutive parts of the given sizes; the parts share its memory."""
        parts = (part.split(sizes) if part is not None else [None] * len(sizes) for part in (self.geometry, self.width))
        return [View(*part) for part in zip(self.inputs.split(sizes), *parts, strict=True)]


@dataclass(frozen=True, slots=True)
class Batch:
    """One step's examples.

    Attributes:
        x: the labeled examples, once for each of the method's `labeled_views`.
        y: their targets as the task encodes them, (B,) or (B, L).
        u: the unlabeled examples, once for each of the method's `unlabeled_views`.
        x_index: (B,) position of each labeled example in the labeled set.
        u_index: (B',) position of each unlabeled example in the unlabeled set.
    """

    x: tuple[View, ...]
    y: Tensor
    u: tuple[View, ...]
    x_index: Tensor
    u_index: Tensor


class Output(NamedTuple):
    """What a network says about a view. A plain ``(logits, features)`` pair is accepted wherever it stands.

    Attributes:
        logits: (B, C), or (B, T, C) for sequences.
        features: (B, D), or (B, T, D): what the classifier read.
        lengths: (B,) valid positions of T, or None where all are.
    """

    logits: Tensor
    features: Tensor
    lengths: Tensor | None = None


class Net(nn.Module):
    """A network and the extra heads a method asked for, so that the EMA and the checkpoint hold both.

    Args:
        model: any module whose ``forward(inputs)`` returns ``(logits, features)`` or an `Output`. It is passed
            ``prefix=`` only by a task whose decoder is teacher-forced, and ``width=`` only by views that pad.
        heads: modules over the features, by name.
    """

    def __init__(self, model: nn.Module, heads: Mapping[str, nn.Module] | None = None) -> None:
        super().__init__()
        self.model = model
        self.heads = nn.ModuleDict(heads or {})

    def forward(self, view: View, prefix: Tensor | None = None) -> Output:
        """Predict for every example of a view.

        A decoder that was fed has as many valid positions as the fed string has symbols, and one for its end: they are
        counted here, since the padding of a prefix (0, see `Task.prefix`) is the same for every decoder.
        """
        extras = {"prefix": prefix, "width": view.width}
        output = self.model(view.inputs, **{name: value for name, value in extras.items() if value is not None})
        if not isinstance(output, tuple) or len(output) < 2:
            kind = type(self.model).__name__
            raise TypeError(f"{kind}.forward must return (logits, features), not {type(output).__name__}")
        said = Output(*output)
        return said if prefix is None else said._replace(lengths=(prefix > 0).sum(1) + 1)


class Guess(NamedTuple):
    """A task's reading of a prediction, without gradient.

    Attributes:
        target: (B,) or (B, L), in the form `Task.loss` takes.
        confidence: (B,) in [0, 1], 0 for an empty reading.
    """

    target: Tensor
    confidence: Tensor


class Task(Protocol):
    """What a label is. Outputs are passed whole: a probability that lost its lengths is a bug waiting."""

    @property
    def name(self) -> str:
        """``classes``, ``ctc`` or ``attention``: what `Method.tasks` lists."""

    def encode(self, labels: Sequence[Any]) -> Tensor:
        """Labels as the user wrote them → (B,) or (B, L) targets, padded with −1."""

    def decode(self, target: Tensor) -> list[Any]:
        """The labels behind targets: the inverse of `encode`."""

    def prefix(self, target: Tensor) -> Tensor | None:
        """What a teacher-forced decoder reads before it predicts ``target``; None for every other network.

        (B, L + 1): 0, the symbols, all above 0, and 0 again after them.
        """

    def loss(self, output: Output, target: Tensor) -> Tensor:
        """(B,) negative log-likelihood of the targets, in float32, per symbol for strings."""

    def guess(self, output: Output) -> Guess:
        """The most likely target of each example and the confidence in it."""

    def soft_loss(self, output: Output, q: Tensor, divergence: Divergence) -> Tensor:
        """(B,) divergence from the distributions ``q`` (B, …, C), averaged over each example's valid positions."""

    def align(self, output: Output, seen: View, wanted: View) -> Output:
        """What was predicted of the view ``seen``, at the positions of another view of the same examples.

        The output itself where a prediction has no place in the picture; where it has one, as each frame of a line,
        both views' geometry says which position is which.
        """

    def metrics(self, guess: Tensor, truth: Tensor) -> dict[str, float]:
        """Scores of guessed targets against true ones; the first is the headline."""


@dataclass(frozen=True, slots=True)
class Run:
    """All that a method may ask of the run.

    Attributes:
        task: what a label is.
        ema: the averaged network, the teacher of methods that have one; its parameters need no gradient.
        step: steps already made.
        steps: steps of the whole run.
        generator: draws that belong to this step, a function of (seed, step).
    """

    task: Task
    ema: Net
    step: int
    steps: int
    generator: np.random.Generator

    @property
    def progress(self) -> float:
        """Share of the run already made, in [0, 1)."""
        return self.step / self.steps


class Method(nn.Module):
    """One algorithm. Subclasses are final: nothing overrides a concrete method, shared code is a function in `parts`.

    All memory lives in persistent buffers, so that ``state_dict()`` is complete. The constructor takes `Info` and the
    paper's hyperparameters as keywords, and may set the view attributes from them.
    """

    tasks: ClassVar[frozenset[str]] = frozenset({"classes", "ctc", "attention"})
    """The kinds of task the method is defined for."""
    labeled_views: tuple[str, ...] = ("weak",)
    unlabeled_views: tuple[str, ...] = ()
    ema_decay: float | None = None
    """The teacher's decay where it is part of the method; None leaves it to the training settings."""

    def heads(self, width: int) -> dict[str, nn.Module]:
        """Extra heads over ``width`` features; they become `Net.heads`."""
        return {}

    @abstractmethod
    def forward(self, net: Net, batch: Batch, run: Run) -> tuple[Losses, Logs]:
        """The losses of one step."""
        raise NotImplementedError
