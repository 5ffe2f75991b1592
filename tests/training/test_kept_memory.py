"""What a step frees serves the next one, and goes back to the system when the training is over."""

import resource

import pytest
import torch

from semilla.training import devices

LARGE, SMALL, PAGE = 48, 24, resource.getpagesize()
"""Megabytes of blocks that glibc maps by themselves, and of blocks that it does not once it has seen one freed."""
YOUNG = 128 << 10
"""Bytes from which a process that has freed no large block yet maps blocks by themselves."""


def faults(blocks: int, megabytes: int) -> float:
    """How many blocks' pages the system had to clear for blocks that live one after the other."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(blocks):
        torch.zeros(megabytes * 2**18)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) * PAGE / (megabytes * 2**20)


def resident() -> int:
    with open("/proc/self/statm", encoding="ascii") as numbers:
        return int(numbers.read().split()[1]) * PAGE


@pytest.mark.skipif(devices.glibc() is None, reason="nothing is done without glibc")
def test_smaller_blocks_are_kept_afterwards_too_as_glibc_does_by_itself() -> None:
    devices.glibc().mallopt(devices._MMAP_THRESHOLD, YOUNG)
    with devices.kept_memory("cpu"):
        pass
    faults(8, SMALL)
    assert faults(8, SMALL) < 1


@pytest.mark.skipif(devices.glibc() is None, reason="nothing is done without glibc")
def test_a_block_that_was_freed_is_not_fetched_from_the_system_again_until_the_end() -> None:
    with devices.kept_memory("cpu"):
        faults(8, LARGE)  # the first few may still find room that is a little too small
        held = resident()
        assert faults(8, LARGE) < 1, "eight blocks more take no new pages"
    assert held - resident() > LARGE * 2**19, "the block goes back"


def test_a_gpu_leaves_the_memory_of_the_process_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "glibc", lambda: pytest.fail("asked for the C library"))
    with devices.kept_memory("cuda"):
        pass


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "glibc", lambda: None)
    with devices.kept_memory("cpu"):
        torch.zeros(1)
