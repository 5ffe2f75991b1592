"""How fast this processor convolves in bf16 and fp32: the shapes of WRN-28-2 and a wider one, the best of many passes.

A script of its own, so that ``ONEDNN_MAX_CPU_ISA`` of its environment decides which instructions count.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

import torch
from torch.nn import functional

SHAPES = ((32, 32, True), (64, 16, True), (128, 8, True), (256, 16, False))
"""Channels in and out, pixels of a side, and whether the network has such a layer (3 × 3, stride 1)."""


def measure(images: int, channels: int, side: int, dtype: torch.dtype, seconds: float) -> float:
    """The most operations a second of any pass; an addition and a multiplication are two."""
    x = torch.randn(images, channels, side, side).to(dtype, memory_format=torch.channels_last)
    kernel = torch.randn(channels, channels, 3, 3).to(dtype, memory_format=torch.channels_last)
    work, best, began, passes = 2 * images * channels**2 * 9 * side**2, float("inf"), time.perf_counter(), 0
    while passes < 5 or time.perf_counter() - began < seconds:
        start = time.perf_counter()
        functional.conv2d(x, kernel, padding=1)
        best, passes = min(best, time.perf_counter() - start), passes + 1
    return work / best


def main() -> None:
    order = json.loads(sys.argv[1])
    torch.set_num_threads(order["threads"])
    rows: list[dict[str, Any]] = []
    with torch.no_grad():
        for channels, side, own in SHAPES:
            shape = f"{order['images']} × {channels} × {side} × {side}, 3 × 3 kernels, {channels} channels out"
            row: dict[str, Any] = {"shape": shape, "in the network": own}
            for dtype in (torch.bfloat16, torch.float32):
                row[str(dtype).removeprefix("torch.")] = measure(
                    order["images"], channels, side, dtype, order["seconds"]
                )
            rows.append(row)
    isa = os.environ.get("ONEDNN_MAX_CPU_ISA", "the processor's own")
    print(json.dumps({"instructions": isa, "capability": torch.backends.cpu.get_cpu_capability(), "rows": rows}))


if __name__ == "__main__":
    main()
