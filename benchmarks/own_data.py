"""The way from a folder to a model: the check of 50,000 pictures, a second start, and two commands on MNIST pictures.

    python benchmarks/own_data.py                  all; writes results/own_data.json
    python benchmarks/own_data.py --only check     one of check, start, folder

check: CIFAR-10's 50,000 training pictures as PNG files in class folders: every file decoded, hashed and compared, the
page written; first with an empty cache, then again. start: from the name cifar10 to the end of the first FixMatch step,
the pictures being in the store, PyTorch being imported. folder: 2,000 MNIST pictures, 40 labeled, and 1,000 test
pictures, through `semilla train`, `semilla report` and `semilla export` as a user types them, without configuration.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from machine import provenance

DATA = Path(__file__).parents[2] / "shared" / "data"
RESULTS = Path(__file__).parent / "results"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=list(TASKS))
    chosen = parser.parse_args().only
    path = RESULTS / "own_data.json"
    found = json.loads(path.read_text()) if path.exists() else {}
    for name in [chosen] if chosen else TASKS:
        with tempfile.TemporaryDirectory() as place:
            found[name] = TASKS[name](Path(place))
        found["provenance"] = provenance("torch", "numpy", "pillow")
        print(json.dumps({name: found[name]}, indent=1))
        path.write_text(json.dumps(found, indent=1) + "\n")


def check_pictures(place: Path) -> dict[str, Any]:
    """Seconds of the whole check, cold and warm."""
    from semilla import check
    from semilla.data.sources import load

    os.environ["SEMILLA_CACHE"] = str(place / "cache")
    cifar = load("cifar10", None)
    pixels = cifar.inputs[:]
    for number, (picture, label) in enumerate(zip(pixels, cifar.labels, strict=True)):
        folder = place / "pictures" / cifar.classes[label]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture.transpose(1, 2, 0)).save(folder / f"{number:05d}.png")
    times = {}
    for name in ("cold", "warm"):
        began, busy = time.monotonic(), processor_seconds()
        checked = check(str(place / "pictures"), place / name, None)
        times[f"{name}_seconds"] = round(time.monotonic() - began, 2)
        times[f"{name}_processor_seconds"] = round(processor_seconds() - busy, 2)
    return {"pictures": len(pixels), **times, "findings": len(checked.findings)}


def second_start(place: Path) -> dict[str, Any]:
    """Seconds from the name to the end of the first step, the store being warm."""
    import torch

    from semilla.data.source import Source
    from semilla.data.sources import load
    from semilla.fitting import plan_fit
    from semilla.training import devices
    from semilla.training.batches import Batches
    from semilla.training.loop import train_loop
    from semilla.training.progress import Progress
    from semilla.training.recorder import Recorder

    os.environ["SEMILLA_CACHE"] = str(place / "cache")
    load("cifar10", None)
    torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)  # the first optimizer imports more of PyTorch
    times = []
    for _ in range(3):
        began = time.monotonic()
        dataset = load("cifar10", None)
        loaded = time.monotonic() - began
        fit, _ = plan_fit(dataset, labels=250, steps=1, network="small_cnn", source=Source("cifar10"))
        ready = time.monotonic() - began
        with devices.threads(fit.settings.threads or 1):
            state, _ = fit.build()
            device = torch.device(fit.settings.device or "cpu")
            batches = Batches(fit.parts, state.method, fit.views, fit.settings, device)
            train_loop(state, fit.task, batches, fit.settings, None, Recorder(None, {}, Progress("", 1, None)))
        times.append([round(value, 2) for value in (loaded, ready, time.monotonic() - began)])
    return {"seconds_loaded_planned_stepped": times}


def folder_to_model(place: Path) -> dict[str, Any]:
    """What the commands print and take."""
    mnist_folders(place / "mnist")
    found: dict[str, Any] = {}
    for words in (["train", "mnist", "-o", "run"], ["report", "run"], ["export", "run"]):
        began = time.monotonic()
        subprocess.run([sys.executable, "-m", "semilla", *words], cwd=place, check=True, capture_output=True)
        found[f"{words[0]}_seconds"] = round(time.monotonic() - began, 1)
    found["verdict"] = json.loads((place / "run" / "run.json").read_text())["verdict"]
    found["report_bytes"] = (place / "run" / "report.html").stat().st_size
    return found


def mnist_folders(place: Path) -> None:
    """2,000 pictures, of which the first four of each class are labeled, and 1,000 test pictures, as PNG files."""
    arrays = np.load(DATA / "small" / "mnist_2000_1000.npz")
    x, y = arrays["x_train"], arrays["y_train"]
    known = np.concatenate([np.flatnonzero(y == digit)[:4] for digit in range(10)])
    for number, (picture, label) in enumerate(zip(x, y, strict=True)):
        save(picture, place / (str(label) if number in known else "unlabeled"), number)
    for number, (picture, label) in enumerate(zip(arrays["x_test"], arrays["y_test"], strict=True)):
        save(picture, place / "test" / str(label), number)


def save(picture: np.ndarray[Any, Any], folder: Path, number: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(folder / f"{number:05d}.png")


def processor_seconds() -> float:
    """Of this process and its finished children."""
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system


TASKS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "check": check_pictures,
    "start": second_start,
    "folder": folder_to_model,
}

if __name__ == "__main__":
    main()
