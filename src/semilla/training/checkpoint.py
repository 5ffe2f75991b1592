"""Checkpoints that survive kill -9, a power cut and a full disk, and that never run code when they are read.

A checkpoint is a folder ``step-00000020`` with two files: ``tensors.safetensors`` holds every tensor under a flat name
with dots, ``state.json`` everything else, with the length and SHA-256 of the other file and its own SHA-256. Nothing is
pickled. The hashes prove that a checkpoint is whole, not who made it.

The order of writing is what makes a crash harmless: both files go into a temporary folder and are flushed, that folder
is flushed, renamed, and its parent flushed; only then are older checkpoints removed, and two valid ones always stay.
"""

from __future__ import annotations

import hashlib
import itertools
import logging
import random
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from semilla import files
from semilla.errors import SafetyError, StateError
from semilla.files import JSON

FORMAT_VERSION = 1
TENSORS, STATE = "tensors.safetensors", "state.json"

_FOLDER = re.compile(r"step-(\d{8,})(\.old)?")
_TENSOR_BYTES = 64 * 2**30
_ARCHIVE = re.compile(rb"PK\x03\x04")  # .pt, .ckpt, .npz
# How pickles of protocols 2 to 5, and of 0 and 1, begin. None of it can begin a safetensors file whose header has less
# than 2 MiB, so that plain damage is not taken for a pickle.
_PICKLE = re.compile(rb"\x80[\x02-\x05][^\x00-\x1f]|(c|\(i)[\w.]+\n[\w.]+\n|\([dl]p\d|[\]}]q")
_UNREADABLE = (SafetensorError, KeyError, ValueError, TypeError, RuntimeError, AssertionError)
_LOG = logging.getLogger("semilla")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What was saved at one step.

    Attributes:
        step: steps already made.
        tensors: every tensor by its dotted name, on the CPU.
        state: everything else.
        path: the folder it was read from.
    """

    step: int
    tensors: dict[str, Tensor]
    state: dict[str, JSON]
    path: Path


def save(folder: Path, step: int, tensors: Mapping[str, Tensor], state: Mapping[str, JSON], keep: int = 2) -> Path:
    """Save a step so that a crash at any moment leaves this checkpoint or the one before it, whole.

    Costs one copy of the tensors in memory, a second for the bytes, and reading back ``keep − 1`` older checkpoints.

    Args:
        folder: the folder of checkpoints; made if there is none.
        step: steps already made, from 0. A checkpoint of the same step is replaced.
        tensors: tensors of any device and layout; shared memory is saved once for each name.
        state: strict JSON with string keys.
        keep: how many valid checkpoints stay, at least 2.

    Returns:
        The folder of the new checkpoint.

    Raises:
        ResourceError: R001, the disk is full or fails; the older checkpoints are intact.
    """
    if keep < 2 or step < 0:
        raise ValueError(f"keep is {keep}, at least 2 needed; step is {step}, at least 0 needed")
    payload, document = _encode(step, tensors, state)
    size, target = len(payload) + len(document), folder / f"step-{step:08d}"
    with files.resource_errors(f"cannot save step {step}", folder, size):
        files.fault("checkpoint.begin")
        files.make_folder(folder)
        if files.disk.free(folder) < 2 * size:
            raise files.out_of_disk(f"no room to save step {step}", folder, 2 * size)
        with files.fresh_temporary(target) as temporary:
            _write(temporary, payload, document)
            _make_way(target)
            files.fault("checkpoint.rename")
            files.disk.rename(temporary, target)
            files.fault("checkpoint.renamed")
            files.fsync_dir(folder)
        files.fault("checkpoint.prune")
        _prune(target, keep)
    return target


def load_latest(folder: Path) -> Checkpoint | None:
    """The newest checkpoint whose hashes match, after removing what dead processes left half written.

    Damaged ones are reported as ``warn[C010]`` to the logger ``semilla`` and passed over.

    Returns:
        The checkpoint, or None where there is none at all.

    Raises:
        StateError: C011, checkpoints exist but none is whole; C012, the newest was made by a newer version.
        SafetyError: S020, a file of a checkpoint is a pickle or an archive.
    """
    files.remove_stale(folder)
    damaged = []
    for path in _checkpoints(folder):
        try:
            return load(path)
        except StateError as error:
            if error.code == "C012":
                raise
            damaged.append(error.message)
            _LOG.warning("warn[C010]: %s; trying the checkpoint before it", error.message)
    if damaged:
        tried = "".join(f"\n  {message}" for message in damaged[:8])
        fix = "restore the folder from a copy, or start a new run; nothing was deleted"
        raise StateError("C011", f"none of {len(damaged)} checkpoints in {folder.name} is whole:{tried}", fix)
    return None


def load(path: Path) -> Checkpoint:
    """Read one checkpoint folder and verify it.

    Raises:
        StateError: C010, it is missing or damaged; C012, it was made by a newer version.
        SafetyError: S020, it is, or holds, a pickle or an archive.
        ResourceError: R002, a file cannot be opened.
    """
    if not path.is_dir():
        _refuse_pickle(path)
        raise StateError("C010", f"{path.name} is not a checkpoint", _accepted())
    try:
        return _read(path)
    except StateError as error:
        _refuse_pickle(path / TENSORS)
        _refuse_pickle(path / STATE)
        if error.code == "C012":
            raise
        raise StateError("C010", f"{path.name} is damaged: {error.message}") from error


def require(state: Mapping[str, Any], keys: Iterable[str]) -> None:
    """Refuse a checkpoint that lacks an entry: a default in its place would resume another run.

    Raises:
        StateError: C013, naming every missing entry.
    """
    missing = sorted(set(keys) - set(state))
    if missing:
        raise StateError("C013", f"the checkpoint lacks {', '.join(missing)}", "resume with the version that made it")


def require_tensors(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Refuse tensors that differ in name, dtype or shape from those the run's own configuration builds.

    Raises:
        StateError: C013, naming the first few that differ.
    """
    found, wanted = _signatures(tensors), _signatures(expected)
    names = sorted(name for name in found.keys() | wanted.keys() if found.get(name) != wanted.get(name))
    if names:
        lines = (f"\n  {name}: {found.get(name, 'absent')} → {wanted.get(name, 'absent')}" for name in names[:6])
        raise StateError("C013", f"{len(names)} tensors of the checkpoint do not fit this run:{''.join(lines)}")


def digest(tensors: Mapping[str, Tensor], state: Mapping[str, JSON], ignore: Collection[str] = ("clock",)) -> str:
    """A fingerprint of a whole training state: equal digests mean equal bits.

    Args:
        tensors: hashed by name, dtype, shape and bytes, in the order of their names.
        state: hashed as canonical JSON.
        ignore: keys of ``state`` to leave out at any depth: what was read from the clock.

    Returns:
        SHA-256 in hexadecimal.
    """
    result = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        result.update(repr((name, str(tensor.dtype), tuple(tensor.shape))).encode())
        result.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    result.update(files.to_json(_without(dict(state), frozenset(ignore))))
    return result.hexdigest()


def capture_generators() -> tuple[dict[str, Tensor], dict[str, JSON]]:
    """The global generators of PyTorch (CPU, and CUDA devices in use), NumPy and Python, exactly.

    Returns:
        Tensors under ``generators.…`` and the scalars beside them, for `restore_generators`.
    """
    legacy = np.random.get_state(legacy=False)
    if legacy["bit_generator"] != "MT19937":
        raise TypeError(f"NumPy's global generator is {legacy['bit_generator']}; only its own MT19937 can be saved")
    version, words, python_gauss = random.getstate()
    tensors = {
        "generators.torch": torch.get_rng_state(),
        "generators.numpy": torch.from_numpy(legacy["state"]["key"].astype(np.int64)),
        "generators.python": torch.tensor(words, dtype=torch.int64),
    }
    if torch.cuda.is_initialized():  # a run on the CPU must not open a context on every GPU
        tensors |= {f"generators.cuda.{i}": value for i, value in enumerate(torch.cuda.get_rng_state_all())}
    state = {
        "numpy": {
            "position": int(legacy["state"]["pos"]),
            "has_gauss": int(legacy["has_gauss"]),
            "gauss": float(legacy["gauss"]).hex(),
        },
        "python": {"version": version, "gauss": None if python_gauss is None else python_gauss.hex()},
    }
    return tensors, state


def restore_generators(tensors: Mapping[str, Tensor], state: Mapping[str, JSON]) -> None:
    """Put the global generators back where `capture_generators` found them.

    A CUDA device takes its state back where both the checkpoint and this machine have it.

    Args:
        tensors: the checkpoint's tensors, those of other parts included.
        state: the scalars `capture_generators` returned.

    Raises:
        StateError: C013, an entry is missing or does not fit.
    """
    require(tensors, ("generators.torch", "generators.numpy", "generators.python"))
    require(state, ("numpy", "python"))
    legacy, python = state["numpy"], state["python"]
    try:
        torch.set_rng_state(tensors["generators.torch"])
        key = tensors["generators.numpy"].numpy().astype(np.uint32)
        if len(key) != 624 or not 0 <= legacy["position"] <= 624:  # NumPy would read beyond its array
            raise ValueError("NumPy's has 624 words and a position among them")
        gauss = float.fromhex(legacy["gauss"])
        np.random.set_state(("MT19937", key, legacy["position"], legacy["has_gauss"], gauss))
        python_gauss = None if python["gauss"] is None else float.fromhex(python["gauss"])
        random.setstate((python["version"], tuple(tensors["generators.python"].tolist()), python_gauss))
        for i in range(torch.cuda.device_count() if torch.cuda.is_initialized() else 0):
            if f"generators.cuda.{i}" in tensors:
                torch.cuda.set_rng_state(tensors[f"generators.cuda.{i}"], i)
    except (LookupError, ValueError, TypeError, RuntimeError, OverflowError) as error:
        raise StateError("C013", f"the checkpoint's generator states do not fit: {error}") from error


def _encode(step: int, tensors: Mapping[str, Tensor], state: Mapping[str, JSON]) -> tuple[bytes, bytes]:
    """The bytes of both files."""
    if "__metadata__" in tensors:  # safetensors keeps this name for itself
        raise ValueError("a tensor cannot be named __metadata__")
    # Cloned, because safetensors takes neither views nor shared memory. No metadata: with two keys or more the bytes
    # would differ from run to run.
    own = {name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()}
    payload = safetensors.torch.save(own)
    document = {
        "format_version": FORMAT_VERSION,
        "step": step,
        "state": dict(state),
        "files": {TENSORS: {"bytes": len(payload), "sha256": hashlib.sha256(payload).hexdigest()}},
    }
    return payload, files.to_json({**document, "sha256": _seal(document)})


def _seal(document: Mapping[str, JSON]) -> str:
    """The hash of ``state.json`` itself, its own entry left out; every future format must keep it."""
    return hashlib.sha256(files.to_json({key: document[key] for key in document if key != "sha256"})).hexdigest()


def _write(temporary: Path, payload: bytes, document: bytes) -> None:
    files.disk.mkdir(temporary)
    files.fault("checkpoint.tensors")
    files.write_new(temporary / TENSORS, payload)
    files.fault("checkpoint.state")
    files.write_new(temporary / STATE, document)
    files.fsync_dir(temporary)


def _make_way(target: Path) -> None:
    """Set an earlier checkpoint of the same step aside, under a name `load_latest` still finds."""
    if _is_valid(target):
        old = target.with_name(f"{target.name}.old")
        files.remove(old)
        files.disk.rename(target, old)
    else:
        files.remove(target)


def _prune(newest: Path, keep: int) -> None:
    """Remove what is older than the ``keep`` newest valid checkpoints; with fewer valid ones, remove nothing."""
    older = [path for path in _checkpoints(newest.parent) if _rank(path)[0] < _rank(newest)[0]]
    # Reading checkpoints back is only worth it where something would go.
    kept = list(itertools.islice(filter(_is_valid, older), keep - 1)) if len(older) >= keep else []
    removed = [path for path in older if path not in kept] if len(kept) == keep - 1 else []
    twin = newest.with_name(f"{newest.name}.old")
    for path in [*removed, twin] if twin.is_dir() else removed:
        with files.fresh_temporary(path) as aside:  # a name that is never taken for a checkpoint
            files.disk.rename(path, aside)
            files.remove(aside)


def _checkpoints(folder: Path) -> list[Path]:
    """The checkpoint folders, newest first; links are not checkpoints."""
    if not folder.is_dir():
        return []
    found = [path for path in folder.iterdir() if _FOLDER.fullmatch(path.name)]
    return sorted((path for path in found if path.is_dir() and not path.is_symlink()), key=_rank, reverse=True)


def _rank(path: Path) -> tuple[int, bool]:
    match = _FOLDER.fullmatch(path.name)
    assert match is not None
    return int(match[1]), match[2] is None


def _read(path: Path) -> Checkpoint:
    document = _document(path)
    try:
        tensors = safetensors.torch.load(_payload(path, document))
    except _UNREADABLE as error:
        raise StateError("C010", f"{TENSORS} cannot be read: {str(error)[:200]}") from error
    return Checkpoint(document["step"], tensors, document["state"], path)


def _document(path: Path) -> dict[str, JSON]:
    """The content of ``state.json``: its seal verified first, then its version, then its form."""
    document = files.read_json(path / STATE)
    if not isinstance(document, dict) or document.get("sha256") != _seal(document):
        raise StateError("C010", f"{STATE} does not match its own hash")
    version = document.get("format_version")
    if isinstance(version, int) and version > FORMAT_VERSION:
        message = f"{path.name} was made by a newer version: format {version}, this version reads {FORMAT_VERSION}"
        raise StateError("C012", message, "update semilla")
    step, state = document.get("step"), document.get("state")
    if version != FORMAT_VERSION or type(step) is not int or step < 0 or not isinstance(state, dict):
        raise StateError("C010", f"{STATE} is not a checkpoint's")
    return document


def _payload(path: Path, document: Mapping[str, JSON]) -> bytes:
    """The bytes of ``tensors.safetensors``, which match the length and hash in ``state.json``."""
    try:
        expected = document["files"][TENSORS]
        length, sha256 = int(expected["bytes"]), expected["sha256"]
    except (KeyError, TypeError, ValueError) as error:
        raise StateError("C010", f"{STATE} lists no {TENSORS}") from error
    payload = files.read_bytes(path / TENSORS, min(length, _TENSOR_BYTES))
    if len(payload) != length:
        raise StateError("C010", f"{TENSORS} has {len(payload)} bytes, not {length}")
    if hashlib.sha256(payload).hexdigest() != sha256:
        raise StateError("C010", f"{TENSORS} does not match its hash")
    return payload


def _is_valid(path: Path) -> bool:
    try:
        _payload(path, _document(path))
    except StateError:
        return False
    return True


def _refuse_pickle(path: Path) -> None:
    """Name a pickle or an archive for what it is. Nothing would run it in any case: this only decides the error."""
    try:
        with files.open_regular(path) as file:
            head = file.read(256)
    except StateError:
        return
    if found := _ARCHIVE.match(head) or _PICKLE.match(head):
        kind = "an archive" if found.re is _ARCHIVE else "a pickle"
        raise SafetyError("S020", f"{path.name} is {kind}, which could run code when read: refused", _accepted())


def _accepted() -> str:
    return f"give a folder step-NNNNNNNN with {TENSORS} and {STATE}; no other format is read"


def _signatures(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    return {name: f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}" for name, value in tensors.items()}


def _without(value: JSON, ignore: frozenset[str]) -> JSON:
    """The value without the keys to ignore, at any depth."""
    if isinstance(value, dict):
        return {key: _without(item, ignore) for key, item in value.items() if key not in ignore}
    if isinstance(value, list | tuple):
        return [_without(item, ignore) for item in value]
    return value
