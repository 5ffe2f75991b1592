"""What a step frees serves the next one, and goes back to the system when the training is over."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import torch

from semilla.training import devices

YOUNG = """
import ctypes, json, resource, torch
from semilla.training.devices import glibc, kept_memory

PAGE = resource.getpagesize()

def cleared(megabytes, blocks=8):
    # Of so many blocks that live one after the other, how many the system had to clear.
    for turn in range(2):  # in the first there may still be room that is a little too small
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(blocks):
            torch.zeros(megabytes * 2**18)
    return round((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) * PAGE / (megabytes * 2**20))

def resident():
    with open("/proc/self/statm") as numbers:
        return int(numbers.read().split()[1]) * PAGE / 2**20

"""
"""What both of the following begin with."""

LARGE = """
found = {"large before": cleared(96)}
with kept_memory("cpu"):
    with kept_memory("cpu"):
        pass
    found["large within"] = cleared(96)
    held = resident()
found["given back at the end"] = held - resident()
found["small afterwards"] = cleared(24)
found["large afterwards"] = cleared(192)
print(json.dumps(found))
"""

SMALL = """
with kept_memory("cpu"):
    pass
c, size = glibc(), 24 << 20
c.malloc.restype, c.malloc.argtypes, c.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
blocks = [ctypes.memset(c.malloc(size), 0, size) for _ in range(8)]  # by hand: nothing small lies between them
held = resident()
while blocks:
    c.free(blocks.pop())
print(json.dumps({"given back by itself": held - resident()}))
"""


@pytest.fixture(scope="module")
def young() -> dict[str, float]:
    """Numbers of processes that have freed no large block yet."""
    if devices.glibc() is None:
        pytest.skip("nothing is done without glibc")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    environment |= {"OMP_NUM_THREADS": "1"}
    found: dict[str, float] = {}
    for script in (YOUNG + LARGE, YOUNG + SMALL):
        words = [sys.executable, "-c", script]
        done = subprocess.run(words, env=environment, capture_output=True, check=True, text=True)
        found |= json.loads(done.stdout)
    return found


def test_a_large_block_that_was_freed_is_not_cleared_again(young: dict[str, float]) -> None:
    assert (young["large before"], young["large within"]) == (8, 0)


def test_all_of_it_goes_back_at_the_end(young: dict[str, float]) -> None:
    assert young["given back at the end"] > 48


def test_afterwards_glibc_does_what_it_does_by_itself(young: dict[str, float]) -> None:
    assert young["large afterwards"] == 8, "blocks above 32 MB are mapped by themselves"
    assert young["small afterwards"] == 0, "others are kept"
    assert young["given back by itself"] > 48, "but not more than 64 MB of them"


@pytest.mark.parametrize("words", [{"MALLOC_TRIM_THRESHOLD_": "1"}, {"GLIBC_TUNABLES": "glibc.malloc.arena_max=1"}])
def test_what_the_environment_says_of_memory_stands(words: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in words.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(devices, "glibc", lambda: pytest.fail("asked for the C library"))
    with devices.kept_memory("cpu"):
        torch.zeros(1)


def test_a_gpu_leaves_the_memory_of_the_process_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "glibc", lambda: pytest.fail("asked for the C library"))
    with devices.kept_memory("cuda"):
        torch.zeros(1)


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "glibc", lambda: None)
    with devices.kept_memory("cpu"):
        torch.zeros(1)
