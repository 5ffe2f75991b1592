"""A trained recogniser: pictures of words or lines in, texts and the confidence in them out."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from semilla.contract import Task
from semilla.data.lines import Lines, is_lines
from semilla.data.rows import Rows
from semilla.errors import StateError
from semilla.inference.calibration import calibrated
from semilla.inference.forward import Answer
from semilla.inference.lines import lines_of
from semilla.inference.model import Model
from semilla.tasks.alphabet import Alphabet
from semilla.training import strings
from semilla.training.evaluate import read


@dataclass(frozen=True)
class Readings:
    """What a recogniser read.

    Attributes:
        texts: of each line, in NFC.
        confidence: float32 (N,), calibrated where the card has a temperature: about the share of right characters.
    """

    texts: list[str]
    confidence: npt.NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.texts)


@dataclass(frozen=True)
class Reader(Model):
    """What a fit on text ends with: ``reader.read(pictures)`` gives texts and confidences, ``predict`` texts alone.

    Pictures are files, arrays uint8 (H, W) or (H, W, 3) of any size, or a pool of lines.
    """

    @property
    def task(self) -> Task:
        """How outputs are read."""
        return strings.of_network(self.card["network"]["name"], Alphabet("".join(self.card["alphabet"])))

    @property
    def height(self) -> int:
        """Pixels to which lines are brought."""
        return int(self.card["inputs"]["shape"][1])

    def read(self, inputs: Any) -> Readings:
        """Read lines, in their order.

        Raises:
            DataError: D014, a file cannot be read as a picture.
        """
        lines = inputs
        if isinstance(inputs, Lines):
            lines = Rows(inputs, np.arange(len(inputs)))
        elif not is_lines(inputs):
            lines = lines_of([inputs] if isinstance(inputs, str | os.PathLike) else inputs, self.height)
        target, confidence = read(self.net, self.task, self.views, lines, next(self.net.parameters()).device)
        return Readings(self.task.decode(target), calibrated(confidence.numpy(), self.temperature))

    def predict(self, inputs: Any) -> list[str]:
        """The text of each line; raises as `read` does."""
        return self.read(inputs).texts

    __call__ = read  # type: ignore[assignment]

    def predict_proba(self, inputs: Any) -> NoReturn:
        """There is no table of classes to give probabilities of."""
        self._refuse("probabilities of classes")

    def logits(self, inputs: Any) -> NoReturn:
        """As `predict_proba`."""
        self._refuse("logits of classes")

    def embed(self, inputs: Any) -> NoReturn:
        """A line has features for each frame, and none as a whole."""
        self._refuse("features of examples")

    def answers(self, blocks: Iterable[npt.NDArray[Any]], workers: int = 0) -> Iterator[Answer]:
        """As `predict_proba`."""
        self._refuse("answers about classes")

    def _refuse(self, what: str) -> NoReturn:
        raise StateError("C028", f"the model reads text and gives no {what}", "read() gives texts and confidences")


def refuse_reader(model: Model, what: str) -> None:
    """Refuse a model that reads text where only class labels are served yet.

    Raises:
        StateError: C028.
    """
    if model.card.get("alphabet") is not None:
        fix = "semilla predict, evaluate and report serve it; its weights are model.safetensors in the fit's folder"
        raise StateError("C028", f"the model reads text, and {what} is for models of classes", fix)
