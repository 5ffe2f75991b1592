"""Device and precision, chosen with a reason; threads and generators that a fit uses and gives back."""

from __future__ import annotations

import ctypes
import os
import platform
import random
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

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
    """All that a training takes of the process and gives back: generators, threads (None is 1), freed memory."""
    with own_generators(device), threads(count or 1), kept_memory(device):
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


_MMAP_MAX, _MMAP_THRESHOLD, _TRIM_THRESHOLD = -4, -3, -1
"""Of glibc's ``mallopt``: how many blocks may be mapped by themselves, from which size, and how much free memory at the
end of the heap is given back."""
_lock, _keeping = threading.Lock(), list[None]()
"""One entry for each training that keeps memory."""


@cache
def glibc() -> ctypes.CDLL | None:
    """The C library of this process if it is GNU's."""
    return ctypes.CDLL(None) if platform.libc_ver()[0] == "glibc" else None


@contextmanager
def kept_memory(device: str | None) -> Iterator[None]:
    """On a CPU, keep the memory that a step frees for the next one; all of it goes back at the end.

    glibc maps every block above 32 MB by itself, and the system clears all its pages again in every step. The maps of a
    wide layer for some hundred pictures are such blocks. Nothing happens elsewhere than with glibc, or where the
    environment says how its memory is to be handled. Several trainings at a time keep it until the last has ended.
    """
    c = glibc() if device == "cpu" and not _told() else None
    if c is None:
        yield
        return
    with _lock:
        _keeping.append(None)
        c.mallopt(_MMAP_MAX, 0)
        c.mallopt(_TRIM_THRESHOLD, -1)  # never
    try:
        yield
    finally:
        with _lock:
            _keeping.pop()
            if not _keeping:
                c.mallopt(_MMAP_MAX, 65_536)  # glibc's own number
                c.mallopt(_MMAP_THRESHOLD, 32 << 20)  # here it arrives by itself once such blocks were freed, and at
                c.mallopt(_TRIM_THRESHOLD, 64 << 20)  # twice as much
                c.malloc_trim(0)


def _told() -> bool:
    """Whether the environment says how glibc is to handle memory."""
    return any(name.startswith("MALLOC_") for name in os.environ) or "malloc" in os.environ.get("GLIBC_TUNABLES", "")


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
