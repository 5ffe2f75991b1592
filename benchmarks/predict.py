"""Prediction over files: throughput against the bare network, and peak memory.

    python benchmarks/predict.py                    both; writes results/predict.json
    python benchmarks/predict.py --files 2000       fewer pictures where the machine is slow

WRN-28-2 with random weights over CIFAR-like 32 px PNG files, on the CPU cores this process may use. The bare throughput
is the better of two ways to compute the same blocks from memory, without decoding or writing: all cores within each
layer, and one thread for each block. Bare and whole runs take turns, because the machine may be busy with other things;
the wall times of a turn and the processor times of all processes are both given. The whole run includes listing,
starting the decoding workers, decoding and writing CSV; loading PyTorch and the model is in neither.

Memory is the largest resident set of the process while it predicts 2,000 and 200,000 files, each in a fresh process.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from machine import provenance
from semilla.contract import Net
from semilla.inference.decode import decode
from semilla.inference.files import predict
from semilla.inference.forward import PICTURES
from semilla.inference.model import Model, load, save_model
from semilla.networks import SmallCNN, WideResNet
from semilla.training.devices import available_cores

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("torch", "numpy", "pillow")
CLASSES = [f"class {number}" for number in range(10)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=4000, help="pictures in a turn")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--only", choices=["speed", "memory"])
    parser.add_argument("--peak", nargs=3, metavar=("RUN", "FOLDER", "OUTPUT"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peak:
        predict(*arguments.peak, device="cpu")
        status = Path("/proc/self/status").read_text()  # ru_maxrss would be that of the parent where it is larger
        print(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")))
        return
    path = RESULTS / "predict.json"
    found = json.loads(path.read_text()) if path.exists() else {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if arguments.only != "memory":
            found["speed"] = {**speed(folder, arguments.files, arguments.turns), "provenance": provenance(*PACKAGES)}
        if arguments.only != "speed":
            found["memory"] = {**memory(folder), "provenance": provenance(*PACKAGES)}
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))


def speed(folder: Path, count: int, turns: int) -> dict[str, object]:
    """Files a second of the whole run and of the network alone, turn after turn."""
    model = load(save(folder / "wide", WideResNet(3, 10), {"name": "wide_resnet", "channels": 3, "widen": 2}))
    pictures = folder / "pictures"
    pictures.mkdir()
    draw = np.random.default_rng(0)
    for number in range(count):
        pixels = draw.normal(128, 40, (8, 8, 3)).clip(0, 255).astype(np.uint8)
        smooth = Image.fromarray(pixels).resize((32, 32), Image.Resampling.BICUBIC)  # compresses as photographs do
        smooth.save(pictures / f"{number:06}.png")
    names = sorted(str(path) for path in pictures.iterdir())
    loaded = decode(names, model.form).pixels
    blocks = [loaded[start : start + PICTURES] for start in range(0, count, PICTURES)]
    ways: dict[str, Callable[[], object]] = {
        "bare, cores within layers": lambda: within_layers(model, blocks),
        "bare, a thread a block": lambda: [None for _ in model.answers(blocks)],
        "files to CSV": lambda: predict(model, pictures, folder / "p.csv", overwrite=True, device="cpu"),
    }
    within_layers(model, blocks[:2])
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(turns):
        for name, way in ways.items():
            times[name].append(timed(way))
    rates = {name: [round(count / wall, 1) for wall, _ in pairs] for name, pairs in times.items()}
    busy = {name: [round(1000 * cpu / count, 3) for _, cpu in pairs] for name, pairs in times.items()}
    first, second, whole = times.values()
    wall = [min(a[0], b[0]) / c[0] for a, b, c in zip(first, second, whole, strict=True)]
    cpu = [min(a[1], b[1]) / c[1] for a, b, c in zip(first, second, whole, strict=True)]
    return {
        "files": count,
        "files a second": rates,
        "processor ms a file": busy,
        "share of the bare throughput, by wall time": round(float(np.median(wall)), 3),
        "share of the bare throughput, by processor time": round(float(np.median(cpu)), 3),
    }


def within_layers(model: Model, blocks: list[np.ndarray]) -> None:
    """The blocks one after the other, each with all cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(available_cores())
    with torch.inference_mode():
        for block in blocks:
            view = model.views("none", torch.from_numpy(block), torch.zeros(len(block), 0))
            model.net.model(view.inputs.contiguous(memory_format=torch.channels_last))
    torch.set_num_threads(before)


def timed(way: Callable[[], object]) -> tuple[float, float]:
    """Seconds by the clock, and of the processor in this process and those it started."""
    began, used = time.monotonic(), processor_seconds()
    way()
    return time.monotonic() - began, processor_seconds() - used


def processor_seconds() -> float:
    """Of this process and its children that ended."""
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(sum(resource.getrusage(kind)[:2]) for kind in kinds)


def memory(folder: Path) -> dict[str, object]:
    """Largest resident memory in MB over few and over many files; they are links to a few small pictures."""
    run = save(
        folder / "small",
        SmallCNN(3, (8, 8), 10, 4),
        {"name": "small_cnn", "channels": 3, "size": [8, 8], "width": 4},
        8,
    )
    peaks = {}
    for count in (2_000, 200_000):
        pictures = folder / f"links-{count}"
        pictures.mkdir()
        for number in range(count):
            path, first = pictures / f"{number:06}.png", pictures / f"{number // 20_000 * 20_000:06}.png"
            if path == first:  # file systems allow some ten thousand links to one file
                Image.new("RGB", (8, 8)).save(path)
            else:
                os.link(first, path)
        words = [sys.executable, __file__, "--peak", str(run), str(pictures), str(folder / f"{count}.csv")]
        done = subprocess.run(words, capture_output=True, text=True, check=True)
        peaks[count] = int(done.stdout) / 1024
    few, many = peaks.values()
    return {"peak MB": {str(count): round(peak, 1) for count, peak in peaks.items()}, "growth MB": round(many - few, 1)}


def save(folder: Path, network: torch.nn.Module, spec: dict[str, object], side: int = 32) -> Path:
    """A model with random weights."""
    torch.manual_seed(0)
    inputs = {"kind": "images", "shape": [3, side, side], "mean": [0.5] * 3, "std": [0.25] * 3, "flip": True}
    folder.mkdir()
    save_model(folder, Net(network).eval(), {"network": {**spec, "classes": 10}, "classes": CLASSES, "inputs": inputs})
    return folder


if __name__ == "__main__":
    main()
