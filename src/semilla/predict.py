"""A trained model: the averaged weights, the class names, and the preparation its inputs need."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import nn

from semilla import files
from semilla.augment import ImageViews, VectorViews
from semilla.config import nearest
from semilla.contract import Net
from semilla.errors import DataError, StateError
from semilla.parts.targets import probs
from semilla.training.batches import Views
from semilla.training.evaluate import outputs
from semilla.training.plan import network_from

WEIGHTS, CARD = "model.safetensors", "model.json"
FORMAT = 1


@dataclass(frozen=True)
class Model:
    """What a fit ends with, ready to use.

    Attributes:
        net: the network with the averaged weights, in evaluation mode.
        classes: names, in the order of the logits.
        card: how inputs are prepared and how the network was built and trained.
        views: the preparation.
    """

    net: Net
    classes: tuple[str, ...]
    card: dict[str, Any]
    views: Views

    def predict_proba(self, inputs: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Probabilities (N, classes) of uint8 images (N, H, W), (N, H, W, C) or (N, C, H, W), or of vectors (N, D)."""
        arranged = arrange(inputs, self.card["inputs"])
        device = next(self.net.parameters()).device
        parts = [probs(output.logits).cpu() for output in outputs(self.net, self.views, arranged, device)]
        return torch.cat(parts).numpy() if parts else np.zeros((0, len(self.classes)), np.float32)

    def predict(self, inputs: npt.NDArray[Any]) -> list[str]:
        """The most probable class of each input."""
        return [self.classes[index] for index in self.predict_proba(inputs).argmax(1)]

    __call__ = predict_proba


def arrange(inputs: npt.NDArray[Any], wanted: dict[str, Any]) -> npt.NDArray[Any]:
    """Inputs in the shape and type the model was trained on.

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
            raise DataError("D080", f"row {unfit[0]} is not finite", "fill in or drop what is missing")
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
    if prepared["kind"] == "vectors":
        return VectorViews(np.array(mean, np.float32), np.array(std, np.float32))
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


def load(run: str | Path, fit: str | None = None, network: nn.Module | None = None) -> Model:
    """The model of a finished run: ``semilla.load("RUN").predict(images)``.

    Args:
        run: a run folder, or the folder of one of its fits.
        fit: which fit, where the run has several.
        network: the module the run was trained with, where that was one of your own.

    Raises:
        StateError: no model there, several to choose from, or files that do not fit together.
    """
    folder = find_fit(Path(run), fit)
    card = files.read_json(folder / CARD)
    if card.get("format") != FORMAT:
        message = f"{folder.name}/{CARD} has format {card.get('format')}, made by a newer or foreign version"
        raise StateError("C012", message, f"this version reads format {FORMAT}")
    missing = [key for key in ("network", "classes", "inputs") if key not in card]
    if missing:
        raise StateError("C022", f"{folder.name}/{CARD} lacks {', '.join(missing)}", "restore it from a copy")
    if card["network"].get("name") == "custom" and network is None:
        raise StateError("C021", f"{folder.name} was trained with a network of your own", "pass it as network=")
    try:
        net = Net(network if network is not None else network_from(card["network"]))
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
    return Model(net.eval().requires_grad_(False), tuple(card["classes"]), card, make_views(card["inputs"]))


def find_fit(run: Path, fit: str | None = None) -> Path:
    """The folder of a run's fit that has a model."""
    if (run / CARD).is_file():
        return run
    fits = sorted(path.parent for path in (run / "fits").glob(f"*/{CARD}"))
    if fit is not None and fits:
        if fit not in [path.name for path in fits]:
            raise StateError("C023", f"{str(run)!r} has no fit {fit!r}", nearest(fit, [path.name for path in fits]))
        return run / "fits" / fit
    if len(fits) == 1:
        return fits[0]
    if not fits:
        raise StateError("C023", f"no finished model in {str(run)!r}", "train first, or resume the run with --resume")
    names = ", ".join(path.name for path in fits[:12])
    raise StateError(
        "C024", f"{str(run)!r} holds {len(fits)} models: {names}", f"name one, as in {run / 'fits' / fits[0].name}"
    )
