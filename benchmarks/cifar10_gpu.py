"""CIFAR-10 on one GPU: steps per second of six methods, then accuracy with 250 and 40 labels, in resumable pieces.

    python benchmarks/cifar10_gpu.py throughput             WRN-28-2, published batches; writes results/cifar10_gpu.json
    python benchmarks/cifar10_gpu.py 250 --draw 0           FixMatch from 250 labels; stops and saves after --minutes
    python benchmarks/cifar10_gpu.py 40 --draw 0            the same from 40 labels
    python benchmarks/cifar10_gpu.py throughput --smoke     two steps on whatever there is, to see that it works

Run an accuracy stage again until it says that it is done: each call goes on from the last checkpoint and ends by itself
within --minutes (9 by default). The recipe is the paper's (`--recipe paper`: WRN-28-2, 64 + 448 examples) with 2¹⁷
steps in place of 2²⁰. Printed are the error beside the published one, images per second, the share of the GPU's bf16
peak, measured in the same call on a named convolution and a named matrix product, and the arithmetic spent in PFLOP.
CIFAR-10 is looked for as `semilla train cifar10` does: SEMILLA_DATA names the folder that holds it.
"""

from __future__ import annotations

import argparse
import os
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

import cifar10
from machine import provenance
from semilla import train
from semilla.data.sources import load
from semilla.errors import Interrupted
from semilla.fitting import plan_fit
from semilla.training.trial import step_seconds

PATH = cifar10.RESULTS / "cifar10_gpu.json"
RUNS = cifar10.RESULTS.parents[1] / "runs" / "cifar10-gpu"
METHODS = ("fixmatch", "uda", "mixmatch", "pseudo_label", "mean_teacher", "pi_model")
STEPS = 2**17
FORWARD = 0.4286
"""GFLOP of one forward pass of WRN-28-2 over one picture: 214.3 M multiply-adds."""
PASSES = {"fixmatch": (3, 1, 3), "uda": (3, 1, 3), "mixmatch": (3, 2, 6), "pseudo_label": (3, 0, 3)}
"""Forward-equivalents: for a labeled example; for an unlabeled one without gradient, and with (backward is 2)."""
PUBLISHED = {250: "4.97 ± 0.05 (USB), 5.07 ± 0.65 (FixMatch)", 40: "8.33 ± 1.41 (USB), 13.81 ± 3.37 (FixMatch)"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=("throughput", "250", "40"))
    parser.add_argument("--draw", type=int, default=0, choices=(0, 1, 2))
    parser.add_argument("--minutes", type=float, default=9.0)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--smoke", action="store_true")
    options = parser.parse_args()
    found = cifar10.load(PATH)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if options.stage == "throughput":
        made = throughput(device, 2 if options.smoke else None)
        if not options.smoke:
            found["throughput"] = made
    else:
        made = accuracy(int(options.stage), options.draw, options.minutes, options.steps, device)
        if "accuracy" in made:
            found[f"fixmatch-{options.stage}-{options.draw}"] = made
    if not options.smoke:
        cifar10.save(PATH, found)


def throughput(device: str, steps: int | None) -> dict[str, Any]:
    """Steps and images per second of each method, and the share of the measured peaks."""
    peaks = {"convolution": conv_peak(device), "matrix product": matmul_peak(device)}
    print("; ".join(f"bf16 {name} {peak:,.1f} TFLOP/s" for name, peak in peaks.items()))
    dataset, rows = load("cifar10"), {}
    for method in METHODS:
        words: dict[str, Any] = {"device": device, "precision": "bf16", "steps": STEPS}
        words |= {"labeled_batch": 4, "unlabeled_batch": 4} if steps is not None else {}
        fit, _ = plan_fit(dataset, labels=250, method=method, recipe=f"paper/{method}", **words)
        second = step_seconds(fit, least=0.1 if steps is not None else 5.0)
        x, u = fit.settings.labeled_batch or 0, fit.settings.unlabeled_batch or 0
        labeled, still, moving = PASSES.get(method, (3, 1, 3))
        work = FORWARD * (labeled * x + (still + moving) * u) / 1000  # TFLOP
        rows[method] = {"steps/s": 1 / second, "images/s": (x + u) / second, "TFLOP/s": work / second}
        shares = ", ".join(f"{work / second / peak:.0%} of the {name}" for name, peak in peaks.items())
        print(f"{method:<14}{1 / second:>8.1f} steps/s{(x + u) / second:>12,.0f} images/s   {shares}")
    return {"peaks, TFLOP/s": peaks, "methods": rows, "provenance": {**provenance("torch"), "GPU": gpu(device)}}


def accuracy(labels: int, draw: int, minutes: float, steps: int, device: str) -> dict[str, Any]:
    """Go on with one run for so many minutes; the row once it is finished."""
    folder = RUNS / f"fixmatch-{labels}-{draw}"
    resume, began = any(folder.glob("fits/*/fit.json")), time.monotonic()
    stop = threading.Timer(60 * minutes, os.kill, (os.getpid(), signal.SIGTERM))
    stop.daemon = True
    stop.start()
    try:
        train(
            "cifar10",
            labels_file=cifar10.draw(labels, draw, RUNS / "labels"),
            recipe="paper",
            baseline=False,
            steps=steps,
            seed=draw,
            device=device,
            precision="bf16",
            save_every=2_000,
            out=folder,
            resume=resume,
            say=print,
        )
    except Interrupted:
        print(f"saved after {(time.monotonic() - began) / 60:.1f} minutes; run the same command again to go on")
        return {}
    finally:
        stop.cancel()
    row = cifar10.row(folder / "fits" / f"fixmatch-{draw}")
    spent = row["steps"] * FORWARD * (3 * 64 + 4 * 448) / 1e6  # PFLOP
    print(
        f"error {100 - 100 * row['accuracy']:.2f} % of {row['n']:,}; published {PUBLISHED[labels]}; {spent:.0f} PFLOP"
    )
    return {**row, "PFLOP": spent, "provenance": {**provenance("torch"), "GPU": gpu(device)}}


def conv_peak(device: str) -> float:
    """TFLOP/s of a 3×3 convolution from 128 to 128 channels over 512 maps of 32 × 32, bf16, channels last."""
    count = 512 if device == "cuda" else 8
    x = torch.randn(count, 128, 32, 32, device=device, dtype=torch.bfloat16).to(memory_format=torch.channels_last)
    layer = nn.Conv2d(128, 128, 3, padding=1, bias=False).to(device, torch.bfloat16)
    layer = layer.to(memory_format=torch.channels_last)
    return 2 * count * 128 * 128 * 9 * 32 * 32 / _seconds(lambda: layer(x), device) / 1e12


def matmul_peak(device: str) -> float:
    """TFLOP/s of a product of two matrices of 8,192 × 8,192 (1,024 without a GPU), bf16."""
    side = 8192 if device == "cuda" else 1024
    a, b = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    return float(2 * side**3 / _seconds(lambda: a @ b, device) / 1e12)


def _seconds(work: Callable[[], object], device: str, repeats: int = 20) -> float:
    """Of one call, the median of five measurements."""
    times = []
    with torch.no_grad():
        for _ in range(6):
            began = time.perf_counter()
            for _ in range(repeats):
                work()
            if device == "cuda":
                torch.cuda.synchronize()
            times.append((time.perf_counter() - began) / repeats)
    return sorted(times[1:])[2]


def gpu(device: str) -> str:
    """The GPU's name."""
    return torch.cuda.get_device_name() if device == "cuda" else "none"


if __name__ == "__main__":
    main()
