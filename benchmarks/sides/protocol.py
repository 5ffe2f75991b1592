"""What all sides of `benchmarks/peers.py` have in common: a process that trains, and waits for leave to make each step.

A side runs its own training loop. Between two steps the loop comes by `Turns.stepped`, which lets it go on until the
steps asked for are made, answers with their seconds, and then waits for the next order. So a turn of n steps is n times
all that the loop does: reading and augmenting a batch, the method, the gradient, optimizer, average, log.

Orders and answers are lines of JSON on stdin and stdout; what a library prints goes to stderr.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterable
from importlib import metadata
from pathlib import Path
from typing import Any, TextIO

import torch
from torch import Tensor, nn


class Turns:
    """Orders for a training loop.

    Args:
        answers: where to write them.
        extra: orders of the side's own: each takes the order and returns the answer.
    """

    def __init__(self, answers: TextIO, extra: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] | None = None):
        self._answers, self.extra = answers, extra or {}
        self._left, self._count, self._began = 0, 0, (0.0, 0.0)
        self._passes: Passes | None = None
        self.networks: list[nn.Module] = []

    def ready(self, networks: Iterable[nn.Module], package: str, **facts: Any) -> None:
        """Say what is going to run; to be called once, before the loop.

        Args:
            networks: all that a step may run, the trained one first.
            package: whose version counts.
            **facts: what else the reader of the table should know.
        """
        self.networks = list(networks)
        parameters = sum(weight.numel() for weight in self.networks[0].parameters())
        said = {
            "package": f"{package} {metadata.version(package)}",
            "parameters": parameters,
            "flop_per_image": flop_per_image(self.networks[0]),
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
            "resident_before_bytes": status("VmRSS"),
        }
        self._answer(said | facts)

    def wait(self) -> int:
        """The steps that may be made now; returns when there are any."""
        while self._left == 0:
            line = sys.stdin.readline()
            if not line:
                raise SystemExit
            order = json.loads(line)
            if order["do"] in self.extra:
                self._answer(self.extra[order["do"]](order))
                continue
            self._left = self._count = order["steps"]
            if order["do"] == "passes":
                self._passes = Passes(self.networks)
            self._began = time.perf_counter(), processor_seconds()  # of the turn, whose later steps wait for nothing
        return self._left

    def stepped(self, steps: int = 1) -> None:
        """So many steps are made: go on, or answer and wait."""
        self._left -= steps
        if self._left > 0:
            return
        wall, busy = time.perf_counter() - self._began[0], processor_seconds() - self._began[1]
        if self._passes is not None:
            self._answer(self._passes.close(self._count))
            self._passes = None
        else:
            each = {"seconds": wall / self._count, "processor_seconds": busy / self._count}
            self._answer(each | {"peak_bytes": status("VmHWM"), "loaders": loaders()})

    def _answer(self, value: dict[str, Any]) -> None:
        self._answers.write(json.dumps(value) + "\n")
        self._answers.flush()


class Passes:
    """Counts the images that go through networks, with and without a way back, and those whose gradient comes back."""

    def __init__(self, networks: Iterable[nn.Module]) -> None:
        self._counts = {"forward": 0, "recorded": 0, "backward": 0}
        self._hooks = [network.register_forward_hook(self._seen) for network in networks]

    def close(self, steps: int) -> dict[str, Any]:
        """The counts of one step."""
        for hook in self._hooks:
            hook.remove()
        return {name: count / steps for name, count in self._counts.items()}

    def _seen(self, network: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        logits = first_tensor(output)
        self._counts["forward"] += len(logits)
        if logits.requires_grad:
            self._counts["recorded"] += len(logits)
            logits.register_hook(self._returned)

    def _returned(self, gradient: Tensor) -> None:
        self._counts["backward"] += len(gradient)


def serve(run: Callable[[Turns, dict[str, Any]], None]) -> None:
    """Run a side: its arguments are the JSON object on the command line."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a library prints
    run(Turns(answers), json.loads(sys.argv[1]))


def first_tensor(output: Any) -> Tensor:
    """The logits among what a network returns."""
    if isinstance(output, dict):
        output = output["logits"]
    found = output[0] if isinstance(output, (tuple, list)) else output
    assert isinstance(found, Tensor)
    return found


def flop_per_image(network: nn.Module) -> int:
    """Additions and multiplications of convolutions and linear layers in one forward pass of a 32 × 32 image."""
    total = 0

    def seen(layer: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        nonlocal total
        weight = layer.weight
        assert isinstance(weight, Tensor)
        places = output[0].numel() // weight.shape[0]
        total += 2 * weight.numel() * places

    layers = [layer for layer in network.modules() if isinstance(layer, (nn.Conv2d, nn.Linear))]
    hooks = [layer.register_forward_hook(seen) for layer in layers]
    training = network.training
    network.eval()
    with torch.no_grad():
        network(torch.zeros(1, 3, 32, 32))
    network.train(training)
    for hook in hooks:
        hook.remove()
    return total


def status(name: str) -> int:
    """A size of this process in bytes: VmRSS, what is resident now, or VmHWM, the most that ever was."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return 1024 * int(line.split()[1])
    raise KeyError(name)


def loaders() -> dict[str, int]:
    """The processes that load data for this one, and their memory in bytes, shared pages in proportion."""
    children = [
        child for task in Path("/proc/self/task").iterdir() for child in (task / "children").read_text().split()
    ]
    total = 0
    for child in children:
        with contextlib.suppress(OSError):
            lines = Path(f"/proc/{child}/smaps_rollup").read_text().splitlines()
            total += sum(1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return {"processes": len(children), "bytes": total}


def processor_seconds() -> float:
    """Of this process, all threads together; those that load data for it are not in it."""
    spent = os.times()
    return spent.user + spent.system
