"""Which precision and which order of memory are fastest here: a race of a few passes, run once on a machine.

The winner is kept in the cache, so that the same command gives the same bits a second time, and it is written into the
run, so that a resumed one computes as it began. What was measured beside other work is not kept.
"""

from __future__ import annotations

import copy
import hashlib
import json
import math
import os
import platform
import statistics
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from semilla import files
from semilla.data.store import probe_file
from semilla.errors import ResourceError, StateError
from semilla.training.devices import available_cores

FORMATS = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}
"""Orders of the memory of pictures and kernels, by the setting's word."""

EXAMPLES, ROUNDS, MOST_ROUNDS = 32, 3, 12
STEADY = 1.1
"""How far apart the two best rounds of each way may be for the race to end before `MOST_ROUNDS`."""
MARGIN = 1.2
"""How many times as fast as the first way another one must be to be taken."""
LOOKS = 5
"""How often is looked at what else runs."""


class Way(NamedTuple):
    """How to compute."""

    precision: str
    memory_format: str


WAYS = (
    Way("fp32", "channels_last"),
    Way("bf16", "channels_last"),
    Way("fp32", "contiguous"),
    Way("bf16", "contiguous"),
)


def fastest(net: nn.Module, spec: dict[str, Any], shape: tuple[int, ...], ways: Sequence[Way]) -> tuple[Way, str]:
    """The fastest way to a network's gradient on this CPU with the threads that are set, and why.

    Args:
        net: the network; copies of it run.
        spec: its name and arguments, by which the outcome is remembered.
        shape: of one example.
        ways: to choose from, the plain one first.
    """
    asked = [spec, shape, ways, processor(), torch.get_num_threads(), torch.__version__, EXAMPLES, ROUNDS]
    key = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:24]
    path = probe_file(str(spec["name"]), key)
    seconds = _remembered(path, ways)
    if seconds is None:
        seconds = race(net, shape, ways)
        if not busy():
            with suppress(OSError, ResourceError):  # a cache that cannot be written only costs time
                files.make_folder(path.parent)
                files.write_json(path, [round(own, 6) for own in seconds])
    best = min(range(len(ways)), key=seconds.__getitem__)
    gain = seconds[0] / seconds[best]
    if gain < MARGIN:
        return ways[0], "measured here: nothing else is much faster"
    return ways[best], f"measured here: {gain:.1f} times as fast as {ways[0].precision} in {ways[0].memory_format}"


def race(net: nn.Module, shape: tuple[int, ...], ways: Sequence[Way]) -> list[float]:
    """Seconds of one forward and backward pass for each way; in turns, the best of each once it was met twice."""
    inputs, found = torch.zeros(EXAMPLES, *shape), [[math.inf] * 2 for _ in ways]
    nets = [copy.deepcopy(net).to(memory_format=FORMATS[way.memory_format]).train() for way in ways]
    for turn in range(MOST_ROUNDS + 1):
        if turn > ROUNDS and all(second <= STEADY * first for first, second in found):
            break
        for number, way in enumerate(ways):
            began = time.perf_counter()
            with torch.autocast("cpu", torch.bfloat16, enabled=way.precision == "bf16"):
                logits = nets[number](inputs)[0]
            logits.float().logsumexp(-1).sum().backward()
            if turn:  # the first is slower
                found[number] = sorted([*found[number], time.perf_counter() - began])[:2]
    return [first for first, _ in found]


def busy() -> bool:
    """Whether other programs use half of this machine or more: threads that wait for one another would decide.

    Linux says what runs at this moment; elsewhere it is the last minute's load, which this program may have made.
    """
    with suppress(OSError), open("/proc/loadavg", encoding="ascii") as line:
        running = []
        for _ in range(LOOKS):
            time.sleep(0.02)  # own threads have gone to sleep by then
            line.seek(0)
            running.append(int(line.read().split()[3].partition("/")[0]) - 1)
        return statistics.median(running) >= available_cores() / 2
    with suppress(AttributeError, OSError):  # Windows does not say
        return os.getloadavg()[0] > available_cores() / 2
    return False


def processor() -> str:
    """What kind of CPU this is."""
    with suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as lines:
        found = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
        return " ".join(found.get(key, "") for key in ("model name", "cpu family", "model", "stepping", "flags"))
    return f"{platform.machine()} {platform.processor()}"


def _remembered(path: Path, ways: Sequence[Way]) -> list[float] | None:
    with suppress(OSError, StateError):
        found = files.read_json(path)
        if isinstance(found, list) and len(found) == len(ways) and all(isinstance(own, float) for own in found):
            return [own for own in found if isinstance(own, float)]
    return None
