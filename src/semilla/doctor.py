"""What this machine has, and the one command that mends a torch and torchvision that do not belong together."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from importlib import metadata

from semilla import __version__

SHOWN = ("torch", "torchvision", "numpy", "scikit-learn", "pillow", "matplotlib", "safetensors", "click", "pyarrow")


@dataclass(frozen=True)
class Report:
    """Facts to show, and problems with the command that mends each."""

    facts: dict[str, str]
    problems: dict[str, str]


def examine() -> Report:
    """Look at versions first, then at what PyTorch finds."""
    found = {name: _version(name) for name in SHOWN}
    facts = {"semilla": __version__, "python": platform.python_version(), "system": platform.platform(terse=True)}
    facts |= {name: version for name, version in found.items() if version is not None}
    problems = mismatch(found["torch"], found["torchvision"], _wanted_torch())
    try:
        import torch

        from semilla.training.devices import available_cores, choose_device, choose_precision

        device, _ = choose_device(None)
        facts["device"] = torch.cuda.get_device_name(0) if device == "cuda" else device
        precision, why = choose_precision(None, device)
        facts["precision"] = f"{precision} ({why})"
        facts["threads"] = f"{torch.get_num_threads()} in use, {available_cores()} cores for this process"
    except (ImportError, OSError) as error:
        problems[f"torch cannot be imported: {error}"] = "python -m pip install --force-reinstall torch"
    from semilla.data.store import cache_folder

    folder = cache_folder()
    place = "there" if folder.is_dir() else "made when needed"
    facts["cache"] = f"{folder} ({place}, {'writable' if _writable(folder) else 'NOT writable'})"
    if not _writable(folder):
        problems[f"the cache {folder} cannot be written"] = "export SEMILLA_CACHE=/a/folder/of/yours"
    return Report(facts, problems)


def mismatch(torch: str | None, torchvision: str | None, wanted: str | None) -> dict[str, str]:
    """The problem and its mend, if the installed torchvision was built for another torch.

    Each torchvision asks for exactly one torch; and a build for CPUs (``+cpu``) does not load beside one for GPUs.

    Args:
        torch: its installed version, such as ``2.15.0+cpu``.
        torchvision: likewise.
        wanted: the torch version that torchvision asks for.
    """
    if torch is None or torchvision is None:
        return {}
    number, _, build = torch.partition("+")
    _, _, vision_build = torchvision.partition("+")
    if (wanted is None or number == wanted) and build == vision_build:
        return {}
    pair = f"torch=={wanted or number} torchvision=={torchvision.partition('+')[0]}"
    fix = f"python -m pip install --force-reinstall {pair}"
    return {f"torch {torch} and torchvision {torchvision} do not belong together": fix}


def _wanted_torch() -> str | None:
    try:
        needs = metadata.requires("torchvision") or []
    except metadata.PackageNotFoundError:
        return None
    exact = [need.partition("==")[2] for need in needs if need.replace(" ", "").startswith("torch==")]
    return exact[0].split(";")[0].strip() if exact else None


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _writable(folder: os.PathLike[str]) -> bool:
    path = os.path.abspath(folder)
    while not os.path.exists(path):
        path = os.path.dirname(path)
    return os.access(path, os.W_OK)
