"""Weights to start from: safetensors files of timm's layout, of semilla's own networks, or of a finished model.

Pickles (``.pth``, ``.pt``, ``.bin``) are never opened. Nothing is downloaded unless the weights are called ``hub``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TypeVar

import safetensors
import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor, nn

from semilla import files
from semilla.errors import SafetyError, StateError, UsageError

T = TypeVar("T")

HUB = "hub"
"""What stands for "download those of the network's name"."""

_PICKLES = frozenset({".pth", ".pt", ".bin", ".ckpt", ".pkl", ".pickle", ".tar", ".th"})
_PICKLE, _ARCHIVE = b"\x80", b"PK"
_LARGEST = 2**36


@dataclass(frozen=True, slots=True)
class Weights:
    """The content of a weights file.

    Attributes:
        tensors: by name, without the prefixes a finished model puts before them and without its extra heads.
        name: the file's name.
        sha256: of the file.
    """

    tensors: dict[str, Tensor]
    name: str
    sha256: str


def find(path: str | Path) -> Path:
    """The weights file behind a path, links followed.

    Raises:
        UsageError: U062, there is no such file.
        SafetyError: S021, it is a pickle, whatever it is called; it was not opened as one.
        StateError: C060, it is none of safetensors.
    """
    path = Path(path)
    if not path.is_file():
        raise UsageError("U062", f"no weights file {str(path)!r}", f"give a .safetensors file, or {HUB!r}")
    with path.open("rb") as file:
        start = file.read(9)
    # Eight bytes of length, then JSON. The length may begin with a pickle's first byte, 1 file in 256: JSON decides.
    written = len(start) == 9 and start[8:] == b"{" and int.from_bytes(start[:8], "little") < path.stat().st_size
    if path.suffix.lower() in _PICKLES or (start.startswith((_PICKLE, _ARCHIVE)) and not written):
        fix = "only .safetensors files are read; safetensors.torch.save_file writes one from weights that you trust"
        raise SafetyError("S021", f"weights {path.name!r} are a pickle, which could run code when read: refused", fix)
    if not written:
        raise StateError("C060", f"{path.name!r} is not a safetensors file", "give a .safetensors file")
    return path.resolve()


def read(path: str | Path) -> Weights:
    """Read a weights file.

    Raises:
        StateError: C060, it is damaged; and what `find` raises.
    """
    found = find(path)
    content = files.read_bytes(found, _LARGEST)
    try:
        tensors = safetensors.torch.load(content)
    except (SafetensorError, ValueError, RuntimeError) as error:
        raise _damaged(path, error) from error
    return Weights(_bare(tensors), Path(path).name, sha256(content).hexdigest())


def shapes(path: str | Path) -> dict[str, tuple[int, ...]]:
    """The shape of each tensor, from the file's header alone; the names are those of `read`."""
    try:
        with safetensors.safe_open(find(path), "pt") as file:
            return _bare({name: tuple(file.get_slice(name).get_shape()) for name in list(file.keys())})
    except (SafetensorError, ValueError, RuntimeError) as error:
        raise _damaged(path, error) from error


def load(net: nn.Module, weights: Weights, classifier: str) -> None:
    """Put weights into a network; its classifier stays as it is where theirs has another shape.

    Args:
        net: the network, changed in place.
        weights: by the names of its state.
        classifier: the name of its last layer.

    Raises:
        StateError: C061, entries are missing, left over or of another shape.
    """
    own = net.state_dict()
    given = with_classifier(weights.tensors, own, classifier)
    missing, left = sorted(own.keys() - given.keys()), sorted(given.keys() - own.keys())
    unfit = [name for name in own.keys() & given.keys() if own[name].shape != given[name].shape]
    if missing or left or unfit:
        told = {
            "missing": missing,
            "not in the network": left,
            "of another shape": [
                f"{name} {tuple(given[name].shape)} → {tuple(own[name].shape)}" for name in sorted(unfit)
            ],
        }
        reasons = [f"{len(names)} {what}: {_first(names)}" for what, names in told.items() if names]
        raise misfit(weights, [*_channels(own, given, unfit), *reasons])
    net.load_state_dict(given)


def with_classifier(given: Mapping[str, Tensor], own: Mapping[str, Tensor], classifier: str) -> dict[str, Tensor]:
    """The tensors given, with the network's own classifier where theirs is missing or of another shape."""
    last = [name for name in own if name.startswith(f"{classifier}.")]
    fits = all(name in given and given[name].shape == own[name].shape for name in last)
    return {**given, **({} if fits else {name: own[name] for name in last})}


def classes_of(shapes: Mapping[str, Sequence[int]], classifier: str) -> int:
    """The classes that a file's classifier tells apart; 0 where it has none.

    Args:
        shapes: of the tensors, by name.
        classifier: the name of the last layer.
    """
    shape = shapes.get(f"{classifier}.weight", ())
    return shape[0] if shape else 0


def misfit(weights: Weights, reasons: list[str]) -> StateError:
    """The error for weights of another network."""
    told = "".join(f"\n  {reason}" for reason in reasons)
    fix = "set network, width and size as they were where the weights were made, or take another start"
    return StateError("C061", f"weights {weights.name!r} do not fit the network:{told}", fix)


def _channels(own: Mapping[str, Tensor], given: Mapping[str, Tensor], unfit: list[str]) -> list[str]:
    """Whether grey and colour pictures are all that keeps weights from fitting: the commonest case, told in words."""
    kernels = [(given[name].shape, own[name].shape) for name in unfit if own[name].dim() == given[name].dim() == 4]
    pairs = {(before[1], now[1]) for before, now in kernels if {before[1], now[1]} == {1, 3}}
    return [f"they are for pictures of {before} channels, and these have {now}" for before, now in sorted(pairs)]


def _bare(tensors: Mapping[str, T]) -> dict[str, T]:
    """Names without the prefixes of a finished model (`Net`, then the timm wrapper) and without its extra heads."""
    bare = {name: value for name, value in tensors.items() if not name.startswith("heads.")}
    while bare and all(name.startswith("model.") for name in bare):
        bare = {name.removeprefix("model."): value for name, value in bare.items()}
    return bare


def _first(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")


def _damaged(path: str | Path, error: Exception) -> StateError:
    return StateError("C060", f"weights {Path(path).name!r} are damaged: {str(error)[:120]}", "copy the file again")
