"""How fast this processor convolves in bf16 and fp32: single shapes, and all layers of WRN-28-2 one by one.

A script of its own, so that ``ONEDNN_MAX_CPU_ISA`` of its environment decides which instructions count.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from semilla.networks import WideResNet

SHAPES = ((32, 32, True), (64, 16, True), (128, 8, True), (256, 16, False))
"""Channels in and out, pixels of a side, and whether the network has such a layer (3 × 3, stride 1)."""
KINDS = (torch.bfloat16, torch.float32)


def best(work: Callable[[], object], seconds: float) -> float:
    """Seconds of the fastest of many times."""
    found, began, times = float("inf"), time.perf_counter(), 0
    while times < 5 or time.perf_counter() - began < seconds:
        start = time.perf_counter()
        work()
        found, times = min(found, time.perf_counter() - start), times + 1
    return found


def rate(images: int, channels: int, side: int, kind: torch.dtype, seconds: float) -> float:
    """The most operations a second of any pass; an addition and a multiplication are two."""
    x = torch.randn(images, channels, side, side).to(kind, memory_format=torch.channels_last)
    kernel = torch.randn(channels, channels, 3, 3).to(kind, memory_format=torch.channels_last)
    work = 2 * images * channels**2 * 9 * side**2
    return work / best(lambda: functional.conv2d(x, kernel, padding=1), seconds)


def layers() -> Counter[tuple[int, int, int, int, int]]:
    """The network's convolutions: channels in and out, kernel, stride, pixels of a side that come in; and how many."""
    found: Counter[tuple[int, int, int, int, int]] = Counter()

    def note(conv: nn.Conv2d, inputs: tuple[torch.Tensor]) -> None:
        found[(conv.in_channels, conv.out_channels, conv.kernel_size[0], conv.stride[0], inputs[0].shape[-1])] += 1

    net = WideResNet(3, 10).eval()
    for part in net.modules():
        if isinstance(part, nn.Conv2d):
            part.register_forward_pre_hook(note)
    net(torch.zeros(1, 3, 32, 32))
    return found


def alone(images: int, kind: torch.dtype, seconds: float) -> dict[str, float]:
    """Seconds that the convolutions of one picture take by themselves, with nothing between them."""
    total = {"forward": 0.0, "backward": 0.0}
    for (inputs, outputs, size, stride, side), times in layers().items():
        x = torch.randn(images, inputs, side, side).to(kind, memory_format=torch.channels_last)
        kernel = torch.randn(outputs, inputs, size, size).to(kind, memory_format=torch.channels_last)
        geometry = ([stride] * 2, [size // 2] * 2, [1] * 2)
        gradient = torch.randn_like(functional.conv2d(x, kernel, None, *geometry))
        wanted = [inputs > 3, True, False]  # nothing asks for the pictures' own gradient

        def forward(x=x, kernel=kernel, geometry=geometry) -> object:
            return functional.conv2d(x, kernel, None, *geometry)

        def backward(x=x, kernel=kernel, geometry=geometry, gradient=gradient, wanted=wanted) -> object:
            rest = (False, [0, 0], 1)
            return torch.ops.aten.convolution_backward(gradient, x, kernel, None, *geometry, *rest, wanted)

        total["forward"] += times * best(forward, seconds) / images
        total["backward"] += times * best(backward, seconds) / images
    return total


def main() -> None:
    order = json.loads(sys.argv[1])
    torch.set_num_threads(order["threads"])
    images, seconds = order["images"], order["seconds"]
    rows: list[dict[str, Any]] = []
    with torch.no_grad():
        for channels, side, own in SHAPES:
            shape = f"{images} × {channels} × {side} × {side}, 3 × 3 kernels, {channels} channels out"
            row: dict[str, Any] = {"shape": shape, "in the network": own}
            row |= {name(kind): rate(images, channels, side, kind, seconds) for kind in KINDS}
            rows.append(row)
        by_themselves = {name(kind): alone(images, kind, seconds / 10) for kind in KINDS}
    isa = os.environ.get("ONEDNN_MAX_CPU_ISA", "the processor's own")
    told = {"instructions": isa, "capability": torch.backends.cpu.get_cpu_capability()}
    print(json.dumps({**told, "rows": rows, "seconds of a picture's convolutions": by_themselves}))


def name(kind: torch.dtype) -> str:
    return str(kind).removeprefix("torch.")


if __name__ == "__main__":
    main()
