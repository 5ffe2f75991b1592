"""A trained model: the averaged weights, the class names, and the preparation its inputs need."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeAlias, cast

import numpy as np
import numpy.typing as npt
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import nn

from semilla import files
from semilla.augment import ImageViews, LineViews, VectorViews
from semilla.config import nearest
from semilla.contract import Net
from semilla.data.images import Form
from semilla.errors import DataError, SafetyError, StateError
from semilla.inference.decode import decode
from semilla.inference.forward import Answer, answers, block_rows
from semilla.text import clean
from semilla.training import plan
from semilla.training.batches import Views

WEIGHTS, CARD, RUN = "model.safetensors", "model.json", "run.json"
FORMAT = 1

_SHOWN = 12

Inputs: TypeAlias = npt.NDArray[Any] | Sequence[str | os.PathLike[str]] | str | os.PathLike[str]
"""Arrays, or names of picture files."""


@dataclass(frozen=True)
class Model:
    """What a fit ends with, ready to use: ``model(images)`` gives probabilities, ``model.predict(images)`` names.

    Inputs are arrays (uint8 images (N, H, W), (N, H, W, C) or (N, C, H, W); vectors (N, D)) or a list of picture files.

    Attributes:
        net: the network with the averaged weights, in evaluation mode.
        classes: names, in the order of the logits.
        card: how inputs are prepared and how the network was built, trained and calibrated.
        views: the preparation.
    """

    net: Net
    classes: tuple[str, ...]
    card: dict[str, Any]
    views: Views

    @property
    def temperature(self) -> float:
        """By which logits are divided to make confidences come true; 1 where nothing was fitted."""
        return float((self.card.get("calibration") or {}).get("temperature", 1.0))

    @property
    def form(self) -> Form:
        """The size to which pictures are brought.

        Raises:
            StateError: C020, the model reads vectors.
        """
        wanted = self.card["inputs"]
        if wanted["kind"] != "images":
            message = f"the model reads vectors of {wanted['shape'][0]} features, not pictures"
            raise StateError("C020", message, "give a table with the columns of training")
        return Form(*wanted["shape"], **{"resize": "squash"} | wanted.get("reading", {}))

    def predict_proba(self, inputs: Inputs) -> npt.NDArray[np.float32]:
        """Probabilities (N, classes), calibrated where the card has a temperature.

        Raises:
            StateError: C020, the inputs are not of the form the model reads.
            DataError: D014, a file cannot be read as a picture; D080, a vector is not finite.
        """
        return self._gather(inputs, "probabilities", len(self.classes))

    def predict(self, inputs: Inputs) -> list[str]:
        """The most probable class of each input; raises as `predict_proba` does."""
        return [self.classes[index] for index in self._gather(inputs, "logits", len(self.classes)).argmax(1)]

    def embed(self, inputs: Inputs) -> npt.NDArray[np.float32]:
        """Features (N, D), what the classifier read; raises as `predict_proba` does."""
        return self._gather(inputs, "features", 0)

    def logits(self, inputs: Inputs) -> npt.NDArray[np.float32]:
        """Logits (N, classes), before calibration; raises as `predict_proba` does."""
        return self._gather(inputs, "logits", len(self.classes))

    def answers(self, blocks: Iterable[npt.NDArray[Any]], workers: int = 0) -> Iterator[Answer]:
        """Answers to blocks of arranged inputs, in order; see `semilla.inference.forward.answers`."""
        return answers(self.net, self.views, blocks, self.temperature, workers)

    __call__ = predict_proba

    def _gather(self, inputs: Inputs, field: str, width: int) -> npt.NDArray[np.float32]:
        parts = [getattr(answer, field) for answer in self.answers(self._blocks(inputs))]
        return np.concatenate(parts) if parts else np.zeros((0, width), np.float32)

    def _blocks(self, inputs: Inputs) -> Iterator[npt.NDArray[Any]]:
        size = block_rows(self.card["inputs"]["shape"])
        if isinstance(inputs, str | os.PathLike):
            inputs = [inputs]
        if isinstance(inputs, list | tuple) and inputs and all(isinstance(item, str | os.PathLike) for item in inputs):
            names = [os.fspath(item) for item in inputs]
            for start in range(0, len(names), size):
                yield _decoded(names[start : start + size], self.form)
            return
        array: Any = inputs if hasattr(inputs, "shape") and hasattr(inputs, "dtype") else np.asarray(inputs)
        if len(array) == 0:
            arrange(array[:0], self.card["inputs"])
        for start in range(0, len(array), size):
            yield arrange(array[start : start + size], self.card["inputs"], start)


def _decoded(names: list[str], form: Form) -> npt.NDArray[np.uint8]:
    pixels, problems = decode(names, form)
    if problems:
        row, reason = min(problems.items())
        raise DataError("D014", f"{clean(names[row])}: {clean(reason)}", "remove it, or use semilla.predict")
    return pixels


def arrange(inputs: npt.NDArray[Any], wanted: dict[str, Any], first: int = 0) -> npt.NDArray[Any]:
    """Inputs in the shape and type the model was trained on; ``first`` is the number of their first row.

    Raises:
        StateError: C020, the shape or type does not fit the model.
    """
    inputs, shape = np.asarray(inputs), tuple(wanted["shape"])
    given = f"{inputs.dtype} of shape {inputs.shape}"
    if wanted["kind"] == "images" and inputs.dtype == np.uint8:
        if inputs.ndim == 3 and shape[0] == 1:
            inputs = inputs[:, None]
        elif inputs.ndim == 4 and inputs.shape[1:] != shape and (*inputs.shape[3:], *inputs.shape[1:3]) == shape:
            inputs = inputs.transpose(0, 3, 1, 2)
        if inputs.shape[1:] == shape:
            return inputs
    elif wanted["kind"] == "vectors" and inputs.dtype.kind in "fiub" and inputs.shape[1:] == shape:
        unfit = np.flatnonzero(~np.isfinite(inputs).all(1))
        if len(unfit):
            raise DataError("D080", f"row {first + unfit[0]} is not finite", "fill in or drop what is missing")
        return inputs.astype(np.float32)
    kind = "uint8 images" if wanted["kind"] == "images" else "vectors"
    raise StateError(
        "C020",
        f"the model reads {kind} of shape (N, {', '.join(map(str, shape))}), not {given}",
        "prepare the inputs as those of training",
    )


def make_views(prepared: dict[str, Any]) -> Views:
    """The preparation a card describes, with its augmentations."""
    mean, std = prepared["mean"], prepared["std"]
    if prepared["kind"] == "text":
        return cast(Views, LineViews(prepared["shape"][1], mean, std))  # they take a width too: `view_of` passes it
    if prepared["kind"] == "vectors":
        reference = np.array(prepared["reference"], np.float32) if "reference" in prepared else None
        return VectorViews(np.array(mean, np.float32), np.array(std, np.float32), prepared.get("blocks"), reference)
    channels, height, width = prepared["shape"]
    return ImageViews((channels, height, width), mean, std, flip=prepared["flip"])


def save_model(folder: Path, net: Net, card: dict[str, Any]) -> None:
    """Write ``model.safetensors`` and ``model.json``."""
    tensors = {
        name: value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, value in net.state_dict().items()
    }
    weights = safetensors.torch.save(tensors)
    files.write_atomic(folder / WEIGHTS, weights)
    files.write_json(folder / CARD, {"format": FORMAT, "weights_sha256": sha256(weights).hexdigest(), **card})


def load(run: str | Path, fit: str | None = None, network: nn.Module | None = None, pretrained: bool = False) -> Model:
    """The model of a finished run: ``semilla.load("RUN").predict(images)``.

    Args:
        run: a run folder, or the folder of one of its fits.
        fit: which fit, where the run has several.
        network: the module the run was trained with, where that was one of your own.
        pretrained: whether a network that was only pre-trained will do: it has features, and no classes.

    Raises:
        StateError: C027, the network was only pre-trained; no model there, several to choose from, or files that do
            not fit together.
    """
    folder = find_fit(Path(run), fit)
    card = files.read_json(folder / CARD)
    if card.get("format") != FORMAT:
        message = f"{folder.name}/{CARD} has format {card.get('format')}, made by a newer or foreign version"
        raise StateError("C012", message, f"this version reads format {FORMAT}")
    missing = [key for key in ("network", "classes", "inputs") if key not in card]
    if missing:
        raise StateError("C022", f"{folder.name}/{CARD} lacks {', '.join(missing)}", "restore it from a copy")
    if not pretrained:
        refuse_pretrained(card, folder)
    if card["network"].get("name") == "custom" and network is None:
        raise StateError("C021", f"{folder.name} was trained with a network of your own", "pass it as network=")
    try:
        net = Net(network if network is not None else plan.network_from(card["network"]))
    except (KeyError, TypeError, ValueError) as error:
        raise StateError("C022", f"{folder.name}/{CARD} describes no network of semilla: {error}") from None
    try:
        weights = files.read_bytes(folder / WEIGHTS, 2**36)
        tensors = safetensors.torch.load(weights)  # safetensors: no code runs, whatever the file holds
    except SafetensorError as error:
        raise StateError("C022", f"{folder.name}/{WEIGHTS} is damaged: {error}", "restore it, or train again") from None
    if sha256(weights).hexdigest() != card.get("weights_sha256"):
        raise StateError("C022", f"{folder.name}/{WEIGHTS} is not the file that {CARD} describes", "restore both")
    heads = [name for name in tensors if name.startswith("heads.")]  # training's extra heads play no part here
    try:
        net.load_state_dict({name: value for name, value in tensors.items() if name not in heads})
    except RuntimeError as error:
        raise StateError("C022", f"{folder.name}/{WEIGHTS} does not fit {CARD}: {error}") from None
    kind = Model
    if card.get("alphabet"):
        from semilla.inference.reader import Reader as kind  # it is a Model itself, so that page imports this one
    return kind(net.eval().requires_grad_(False), tuple(card["classes"]), card, make_views(card["inputs"]))


def refuse_pretrained(card: dict[str, Any], folder: Path) -> None:
    """Refuse a network that was only pre-trained, where classes are asked for.

    Raises:
        StateError: C027.
    """
    if card.get("task") == "pretraining":
        run = folder.parent.parent if folder.parent.name == "fits" else folder
        message = f"{folder.name} was pre-trained without labels: it has features, but no classes"
        fix = f"semilla train DATA --init {shlex.quote(str(run))}, or semilla embed DATA --run for its features"
        raise StateError("C027", message, fix)


def read_run(run: Path) -> dict[str, Any]:
    """What ``run.json`` says; nothing where there is none.

    Raises:
        StateError: C012, a newer version made it; C005, it is damaged; C023, there is no such folder, or it holds runs.
        SafetyError: S020, ``run`` is a file.
    """
    refuse_file(run)
    if not (run / RUN).is_file():
        _refuse_other_folder(run)
        return {}
    described: dict[str, Any] = files.read_json(run / RUN)
    if described.get("format", 1) != FORMAT:
        message = f"{RUN} has format {described['format']}, made by a newer or foreign version"
        raise StateError("C012", message, f"this version reads format {FORMAT}")
    return described


def refuse_file(run: Path) -> None:
    """Refuse a file where a run folder is meant: it might be a pickle, and none is ever opened.

    Raises:
        SafetyError: S020.
    """
    if run.is_file():
        message = f"{run.name} is a file, not a run folder"
        raise SafetyError("S020", message, "name the folder that semilla train made: safetensors and JSON are read")


def _refuse_other_folder(run: Path) -> None:
    """Refuse what is no folder, naming the nearest run beside it, and a folder that holds runs, naming them.

    Raises:
        StateError: C023.
    """
    if not run.is_dir():
        beside = _runs_in(run.parent)
        near = get_close_matches(run.name, beside, n=1, cutoff=0.5)
        fix = f"runs in {str(run.parent)!r}: {_listed(beside)}" if beside else "name a folder that semilla train made"
        if near:
            fix = f"did you mean {str(run.with_name(near[0]))!r}?"
        raise StateError("C023", f"there is no folder {str(run)!r}", fix)
    runs = [] if _is_run(run) else _runs_in(run)
    if runs:
        message = f"{str(run)!r} is no run; it holds {'one' if len(runs) == 1 else len(runs)}: {_listed(runs)}"
        raise StateError("C023", message, f"name one, as in {str(run / runs[0])!r}")


def _listed(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")


def _runs_in(folder: Path) -> list[str]:
    try:
        return sorted(place.name for place in folder.iterdir() if _is_run(place))
    except OSError:
        return []


def _is_run(folder: Path) -> bool:
    """Whether training made it, finished or not, or export did."""
    return any((folder / name).exists() for name in (RUN, CARD, "fits"))


def find_fit(run: Path, fit: str | None = None) -> Path:
    """The folder of a run's fit that has a model: the one named, or the only one, or the one the run stands for.

    Raises:
        StateError: C023, there is none, or no such folder; C024, there are several.
        SafetyError: S020, ``run`` is a file.
    """
    refuse_file(run)
    if (run / CARD).is_file():
        return run
    fits = sorted(path.parent for path in (run / "fits").glob(f"*/{CARD}"))
    names = [path.name for path in fits]
    if fit is not None and fits:
        if fit not in names:
            raise StateError("C023", f"{str(run)!r} has no fit {fit!r}", nearest(fit, names))
        return run / "fits" / fit
    if len(fits) == 1:
        return fits[0]
    if not fits:
        _refuse_other_folder(run)
        raise StateError("C023", f"no finished model in {str(run)!r}", "train first, or resume the run with --resume")
    shipped = read_run(run).get("shipped")
    if shipped in names:
        return fits[names.index(shipped)]
    message = f"{str(run)!r} holds {len(fits)} models: {_listed(names)}"
    raise StateError("C024", message, f"name one, as in {run / 'fits' / fits[0].name}")
