"""Device and precision, chosen with a reason; threads and generators that a fit uses and gives back."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from semilla.errors import UsageError


def choose_device(wanted: str | None) -> tuple[str, str]:
    """The device's name and why: CUDA before MPS before the CPU.

    Raises:
        UsageError: the wanted device is not there.
    """
    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if wanted is None:
        name = next(name for name, there in present.items() if there)
        return name, "the fastest device found"
    if not present[wanted]:
        there = ", ".join(name for name, found in present.items() if found)
        raise UsageError("U020", f"device {wanted!r} is not available to PyTorch here", f"available: {there}")
    return wanted, "as asked"


def choose_precision(wanted: str | None, device: str) -> tuple[str, str]:
    """``fp32`` or ``bf16`` and why, where nothing is measured (`semilla.training.probe`)."""
    if wanted is not None:
        return wanted, "as asked"
    if device == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False):
        return "bf16", "the GPU computes in bf16"
    return "fp32", "safe everywhere, and bf16 pays on networks of some size only"


def check_compiler(device: str) -> None:
    """Whether PyTorch finds what it compiles for a CPU with.

    Raises:
        UsageError: U075, it does not.
    """
    if device == "cpu" and not any(shutil.which(name) for name in (os.environ.get("CXX"), "g++", "clang++") if name):
        raise UsageError("U075", "compile needs a C++ compiler on a CPU, and there is none", "install g++, or leave it")


def available_cores() -> int:
    """CPU cores this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS
        return os.cpu_count() or 1


def usual_threads() -> int:
    """CPU threads where nobody says how many: one for each core, or OMP_NUM_THREADS if that is fewer.

    Two programs that each take all cores wait for one another; so who runs two can say how many each may have.
    """
    asked = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return min(available_cores(), int(asked)) if asked.isdecimal() and int(asked) else available_cores()


@contextmanager
def computing(device: str | None, count: int | None) -> Iterator[None]:
    """All that a training takes of the process and gives back: generators and threads (None is 1)."""
    with own_generators(device), threads(count or 1):
        yield


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Compute with that many CPU threads: the number changes the order of sums, so it belongs to a run's settings."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def own_generators(device: str | None = None) -> Iterator[None]:
    """Give the caller's global generators back as they were: the CPU's and those of the device in use."""
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng([torch.cuda.current_device()] if device == "cuda" else []):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)
