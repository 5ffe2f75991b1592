"""What a step frees serves the next one, and goes back to the system when the training is over."""

import platform
import resource

import pytest
import torch

from semilla.training import devices

MEGABYTES, PAGE = 48, resource.getpagesize()
WHOLE = MEGABYTES * 2**20 // PAGE
"""Pages of one block; the kernel may hand them out in larger pieces, but never without being asked."""


def faults(blocks: int) -> int:
    """Pages that the system had to clear for blocks which live one after the other."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(blocks):
        torch.zeros(MEGABYTES * 2**18)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def resident() -> int:
    with open("/proc/self/statm", encoding="ascii") as numbers:
        return int(numbers.read().split()[1]) * PAGE


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="nothing is done without glibc")
def test_a_block_that_was_freed_is_not_fetched_from_the_system_again_until_the_end() -> None:
    with devices.kept_memory("cpu"):
        faults(8)  # the first few may still find room that is a little too small
        held = resident()
        assert faults(8) < WHOLE, "eight blocks more take no new pages"
    assert held - resident() > MEGABYTES * 2**19, "the block goes back"
    if faults(8) < WHOLE:
        pytest.skip("this system does not count the pages it clears")


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="nothing is done without glibc")
def test_a_gpu_leaves_the_memory_of_the_process_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices.ctypes, "CDLL", lambda name: pytest.fail("asked for the C library"))
    with devices.kept_memory("cuda"):
        pass
