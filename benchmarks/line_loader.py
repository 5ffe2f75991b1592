"""How much faster is training on lines of text than with the same network fed picture by picture?

    python benchmarks/line_loader.py               writes results/line_loader.json
    python benchmarks/line_loader.py --rounds 2 --seconds 5 --out x.json

Both sides are the same steps of semilla's training loop: CRNN, CTC, AdamW, the average, one precision, batches of 32 of
the 2,700 Kalapa lines at 32 pixels. They differ in what feeds them. semilla: lines decoded once, batches of similar
width, the view ``strong`` of a whole batch at a time. The other: a ``torch.utils.data.DataLoader`` that opens each
JPEG with Pillow, brings it to the height, augments it with torchvision (affine map with shear, brightness, contrast,
blur, erasing), shuffles, and pads each batch to its widest line, as text-recognition projects do; with 0, 1 and 2
worker processes, of which the fastest counts. Sides take turns; the median over rounds of the ratio within a round is
told.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

import cifar10
from machine import provenance
from semilla.contract import Batch, View
from semilla.data.source import Source
from semilla.data.sources import load
from semilla.fitting import Fit, plan_fit
from semilla.training.loop import train_loop
from semilla.training.progress import Progress
from semilla.training.recorder import Recorder
from semilla.training.trial import trial

LINES = cifar10.DATA / "vietnamese_lines" / "kalapa_train.parquet"
RESULTS = cifar10.RESULTS / "line_loader.json"
HEIGHT, BATCH, WORKERS = 32, 32, (0, 1, 2)


class Pictures(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Encoded lines, each opened and augmented when it is asked for."""

    def __init__(self, blobs: list[bytes], targets: torch.Tensor, mean: float, std: float) -> None:
        self.blobs, self.targets = blobs, targets
        self.augment = v2.Compose(
            [
                v2.RandomAffine(degrees=3, translate=(0.02, 0.06), scale=(0.8, 1.05), shear=17),
                v2.ColorJitter(brightness=0.2, contrast=0.5),
                v2.RandomApply([v2.GaussianBlur(3, (0.1, 1.0))], 0.5),
                v2.ToImage(),
                v2.ToDtype(torch.float32, scale=True),
                v2.RandomErasing(0.5, (0.005, 0.02)),
                v2.Normalize([mean], [std]),
            ]
        )

    def __len__(self) -> int:
        return len(self.blobs)

    def __getitem__(self, row: int) -> tuple[torch.Tensor, torch.Tensor]:
        picture = Image.open(io.BytesIO(self.blobs[row])).convert("L")
        width = max(1, round(picture.width * HEIGHT / picture.height))
        stretched = round(width * float(torch.empty(1).uniform_(0.8, 1.25)))
        return self.augment(picture.resize((stretched, HEIGHT), Image.Resampling.BILINEAR)), self.targets[row]


def padded(rows: list[tuple[torch.Tensor, torch.Tensor]]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A batch, padded to its widest line."""
    widths = torch.tensor([picture.shape[2] for picture, _ in rows])
    inputs = torch.zeros(len(rows), 1, HEIGHT, int(widths.max()))
    for place, (picture, _) in enumerate(rows):
        inputs[place, :, :, : picture.shape[2]] = picture
    return inputs, widths, torch.stack([target for _, target in rows])


class Fed:
    """What `train_loop` asks for batches, fed by a loader."""

    def __init__(self, loader: DataLoader[Any]) -> None:
        self.loader, self.rows = loader, self._endless(loader)

    def _endless(self, loader: DataLoader[Any]) -> Iterator[Any]:
        while True:
            yield from loader

    def at(self, step: int) -> Batch:
        """The next batch, whatever the step."""
        inputs, widths, targets = next(self.rows)
        targets = targets[:, : int((targets >= 0).sum(1).max())]
        nothing = torch.zeros(0, dtype=torch.int64)
        return Batch((View(inputs, width=widths),), targets, (), nothing, nothing)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each side in a round")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    dataset = load(Source(LINES, task="text", height=HEIGHT))
    words: dict[str, Any] = {"views": ("strong",), "labeled_batch": BATCH, "steps": 100_000}
    fit, _ = plan_fit(dataset, method="supervised", recipe=None, network="crnn", **words)
    fit.settings = replace(fit.settings, log_every=None, save_every=None, evaluate_every=None)
    images = pyarrow.parquet.read_table(LINES, columns=["image"]).column("image").to_pylist()
    assert dataset.manifest is not None
    assert fit.targets is not None
    blobs = [images[int(path.rpartition("#")[2])] for path in dataset.manifest.paths[: len(dataset.labels)]]
    pictures = Pictures(blobs, fit.targets, fit.inputs["mean"][0], fit.inputs["std"][0])
    loaders = {
        f"loader, {workers} workers": Fed(
            DataLoader(
                pictures,
                BATCH,
                shuffle=True,
                num_workers=workers,
                collate_fn=padded,
                drop_last=True,
                persistent_workers=workers > 0,
            )
        )
        for workers in WORKERS
    }
    rates = raced(fit, loaders, options.rounds, options.seconds)
    best = max(loaders, key=lambda name: statistics.median(rates[name]))
    ratios = [own / other for own, other in zip(rates["semilla"], rates[best], strict=True)]
    found = {
        "lines a second": {name: [round(rate, 1) for rate in each] for name, each in rates.items()},
        "fastest loader": best,
        "ratio": round(statistics.median(ratios), 3),
        "ratios": [round(ratio, 3) for ratio in ratios],
        "precision": fit.settings.precision,
        "threads": fit.settings.threads,
        **provenance("torch", "torchvision", "pillow"),
    }
    options.out.parent.mkdir(exist_ok=True)
    options.out.write_text(json.dumps(found, indent=1) + "\n")
    for name, each in rates.items():
        print(f"{name:<20}{statistics.median(each):>8.1f} lines/s")
    print(f"{found['ratio']} × the fastest loader (rounds: {found['ratios']})")


def raced(fit: Fit, loaders: dict[str, Fed], rounds: int, seconds: float) -> dict[str, list[float]]:
    """Lines a second of each side in each round."""
    rates: dict[str, list[float]] = {name: [] for name in ("semilla", *loaders)}
    with trial(fit) as (state, own, _):
        sides: dict[str, Any] = {"semilla": own, **loaders}

        def go(feed: Any, steps: int) -> None:
            settings = replace(fit.settings, steps=state.step + steps)
            train_loop(state, fit.task, feed, settings, None, Recorder(None, {}, Progress("", 0, None)))

        for feed in sides.values():
            go(feed, 2)  # the first steps are slower than the rest
        for _ in range(rounds):
            for name, feed in sides.items():
                rates[name].append(BATCH * timed(lambda feed=feed: go(feed, 2), seconds))
    return rates


def timed(two_steps: Callable[[], None], seconds: float) -> float:
    """Steps a second."""
    began, steps = time.monotonic(), 0
    while (elapsed := time.monotonic() - began) < seconds:
        two_steps()
        steps += 2
    return steps / elapsed


if __name__ == "__main__":
    torch.manual_seed(0)
    np.random.seed(0)
    main()
