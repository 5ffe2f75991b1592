"""How fast are views alone? Batches of 448 pictures of 32 pixels, on one core, against the usual ways to make them.

    python benchmarks/views.py                        writes results/views.json
    python benchmarks/views.py --turns 3 --out x.json short, somewhere else

The contenders take turns (A B A B …) of a fifth of a second in one process with one thread, because a machine may be
busy with other things; time is that of the processor, for the same reason. Given are the medians of images a second,
and of the ratios within a turn. All start from uint8 pixels and end with a normalised float32 batch:

* semilla: ``weak``, ``strong`` (FixMatch), ``lecture`` and ``contrastive`` (SimCLR), each example with draws of its
  own, which are included.
* Pillow, image by image, as public repositories do it: flip, a crop from reflected edges, two operations by
  ImageOps, ImageEnhance and Image.transform from the same pool and ranges, torchvision's ToTensor and Normalize, cutout
  or random erasing. Pillow has no reflected edges: NumPy pads, as in torchvision. SimCLR's crop and colours are
  torchvision's on Pillow images, as its repositories have them.
* Pillow, lean: the same with a few lines of PyTorch in place of ToTensor and Normalize.
* torchvision.transforms.v2 on tensors with its own RandAugment, image by image, and on the whole batch, where one draw
  serves all images: less than what is asked for.
* Kornia on the whole batch with draws for each image, its own RandAugment: other operations and float32 arithmetic.

A peer that is not installed is named as skipped. Kornia brings no dependency that is needed here:
pip install --no-deps kornia kornia_rs
"""

from __future__ import annotations

import argparse
import importlib
import json
import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageEnhance, ImageOps
from torch import Tensor

from machine import provenance
from semilla.augment import ImageViews
from semilla.augment.contrastive import GREYED, HUE, JITTER, RECOLOURED
from semilla.augment.images import VIEWS, find
from semilla.augment.operations import Operation
from semilla.randomness import uniform

CIFAR = Path(__file__).parents[2] / "shared" / "data" / "small" / "cifar10_1000_500.npz"
RESULTS = Path(__file__).parent / "results" / "views.json"
MEAN, STD = (0.491, 0.482, 0.447), (0.247, 0.243, 0.262)
MEANS, STDS = torch.tensor(MEAN).view(3, 1, 1), torch.tensor(STD).view(3, 1, 1)
SIDE, PAD = 32, 4
TURN = 0.2
Way = Callable[[], object]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=448)
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    pictures, kind = load(arguments.images)
    found: dict[str, Any] = {"images": len(pictures), "pictures": kind, "turns": arguments.turns, "threads": 1}
    packages, skipped = ["torch", "numpy", "pillow"], {}
    for name, command in (("torchvision", "pip install torchvision"), ("kornia", KORNIA)):
        try:
            importlib.import_module(name)
            packages.append(name)
        except ImportError as error:
            skipped[name] = f"{error}; {command}"
            print(f"skipped: {name} ({skipped[name]})")
    found["skipped"] = skipped
    found["views"] = {
        name: race(ways(name, pictures, packages), len(pictures), arguments.turns)
        for name in ("weak", "strong", "lecture", "contrastive")
    }
    found["provenance"] = provenance(*packages)
    for name, rows in found["views"].items():
        print(f"\n{name:<34}images/s   semilla is faster by")
        for way, row in rows.items():
            print(f"  {way:<30}{row['images a second']:>10,}" + (f"{row['ratio']:>12.1f} ×" if "ratio" in row else ""))
    arguments.out.parent.mkdir(exist_ok=True)
    arguments.out.write_text(json.dumps(found, indent=1) + "\n")


KORNIA = "pip install --no-deps kornia kornia_rs"


def load(count: int) -> tuple[np.ndarray, str]:
    """(N, 32, 32, 3) uint8: photographs where they lie at hand, or blurred noise."""
    if CIFAR.exists():
        with np.load(CIFAR) as arrays:
            return np.ascontiguousarray(np.resize(arrays["x_train"], (count, SIDE, SIDE, 3))), "CIFAR-10"
    coarse = np.random.default_rng(0).integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)
    bicubic = Image.Resampling.BICUBIC
    return np.stack([np.asarray(Image.fromarray(one).resize((SIDE, SIDE), bicubic)) for one in coarse]), "smooth noise"


def race(ways: dict[str, Way], count: int, turns: int) -> dict[str, dict[str, Any]]:
    """Images a second of each way, and by how much the first is faster, turn by turn."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(turns + 1):
        for name, way in ways.items():
            began, calls = time.process_time(), 0
            while time.process_time() < began + TURN or not calls:
                way()
                calls += 1
            if turn:  # the first warms up
                times[name].append((time.process_time() - began) / calls)
    ours, *_ = times.values()
    rows: dict[str, dict[str, Any]] = {}
    for place, (name, spent) in enumerate(times.items()):
        rows[name] = {"images a second": round(count / statistics.median(spent))}
        if place:
            ratios = [theirs / own for theirs, own in zip(spent, ours, strict=True)]
            low, middle, high = np.quantile(ratios, (0.25, 0.5, 0.75))
            rows[name] |= {"ratio": round(middle, 2), "quartiles": [round(low, 2), round(high, 2)]}
    return rows


def ways(name: str, pictures: np.ndarray, packages: list[str]) -> dict[str, Way]:
    """Ours first."""
    batch = torch.from_numpy(np.ascontiguousarray(pictures.transpose(0, 3, 1, 2)))
    views, epoch = ImageViews((3, SIDE, SIDE), MEAN, STD), iter(range(1 << 30))

    def semilla() -> Tensor:
        draws = uniform(0, "benchmark", next(epoch), np.arange(len(batch)), views.draws(name))
        return views(name, batch, torch.from_numpy(draws)).inputs

    found: dict[str, Way] = {"semilla": semilla}
    if "torchvision" in packages:
        finish = to_tensor_and_normalize()
        found["Pillow, each image"] = lambda: by_pillow(name, pictures, finish)
    if "torchvision" in packages or not VIEWS[name].crop:
        found["Pillow, each image, lean"] = lambda: by_pillow(name, pictures, lean)
    if "torchvision" in packages:
        change = torchvision_view(name)
        found["torchvision v2, each image"] = lambda: torch.stack([change(one) for one in batch])
        found["torchvision v2, one draw"] = lambda: change(batch)
    if "kornia" in packages:
        augment = kornia_view(name)
        found["Kornia, each image its draw"] = lambda: augment(batch.float().div_(255))
    return found


# Pillow.


def by_pillow(name: str, pictures: np.ndarray, finish: Callable[[Image.Image], Tensor]) -> Tensor:
    spec = find(name)
    erase = {"": None, "square": cutout, "rectangle": random_erasing}[spec.erasing]
    recolour = torchvision_crop_and_colours(spec.crop) if spec.crop else None
    made = []
    for pixels in pictures:
        image = Image.fromarray(pixels)
        if random.random() < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        if spec.shift:
            padded = Image.fromarray(np.pad(np.asarray(image), ((PAD, PAD), (PAD, PAD), (0, 0)), mode="reflect"))
            x, y = random.randint(0, 2 * PAD), random.randint(0, 2 * PAD)
            image = padded.crop((x, y, x + SIDE, y + SIDE))
        if recolour:
            image = recolour(image)
        for _ in range(spec.count):
            operation = random.choice(spec.pool)
            if random.random() < spec.probability:
                image = apply(operation, image, spec.level)
        tensor = finish(image)
        if erase:
            erase(tensor)
        made.append(tensor)
    return torch.stack(made)


def to_tensor_and_normalize() -> Callable[[Image.Image], Tensor]:
    from torchvision import transforms

    return transforms.Compose([transforms.ToTensor(), transforms.Normalize(MEAN, STD)])


def lean(image: Image.Image) -> Tensor:
    tensor = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous().to(torch.float32).div_(255)
    return tensor.sub_(MEANS).div_(STDS)


def apply(operation: Operation, image: Image.Image, level: float | None) -> Image.Image:
    share = random.random() if level is None else level
    magnitude = operation.low + (operation.high - operation.low) * share
    if operation.signed and random.random() < 0.5:
        magnitude = -magnitude
    return PILLOW[operation.name](image, magnitude)


def affine(*matrix: float) -> dict[str, Any]:
    bilinear, grey = Image.Resampling.BILINEAR, (128, 128, 128)
    return {"method": Image.Transform.AFFINE, "data": matrix, "resample": bilinear, "fillcolor": grey}


PILLOW: dict[str, Callable[[Image.Image, float], Image.Image]] = {
    "Identity": lambda image, _: image,
    "AutoContrast": lambda image, _: ImageOps.autocontrast(image),
    "Equalize": lambda image, _: ImageOps.equalize(image),
    "Posterize": lambda image, bits: ImageOps.posterize(image, int(bits)),
    "Solarize": ImageOps.solarize,
    "Brightness": lambda image, factor: ImageEnhance.Brightness(image).enhance(factor),
    "Contrast": lambda image, factor: ImageEnhance.Contrast(image).enhance(factor),
    "Color": lambda image, factor: ImageEnhance.Color(image).enhance(factor),
    "Sharpness": lambda image, factor: ImageEnhance.Sharpness(image).enhance(factor),
    "ShearX": lambda image, slope: image.transform(image.size, **affine(1, slope, 0, 0, 1, 0)),
    "ShearY": lambda image, slope: image.transform(image.size, **affine(1, 0, 0, slope, 1, 0)),
    "TranslateX": lambda image, share: image.transform(image.size, **affine(1, 0, share * SIDE, 0, 1, 0)),
    "TranslateY": lambda image, share: image.transform(image.size, **affine(1, 0, 0, 0, 1, share * SIDE)),
    "Rotate": lambda image, degrees: image.rotate(degrees, Image.Resampling.BILINEAR, fillcolor=(128, 128, 128)),
}


def cutout(tensor: Tensor) -> None:
    side = random.randint(0, SIDE // 2)
    top, left = (random.randrange(SIDE) - side // 2 for _ in range(2))
    tensor[:, max(top, 0) : max(top + side, 0), max(left, 0) : max(left + side, 0)] = 0


def random_erasing(tensor: Tensor) -> None:
    if random.random() < 0.25:
        area = random.uniform(0.02, 0.33) * SIDE * SIDE
        ratio = 3.3 ** random.uniform(-1, 1)
        tall, wide = (min(round(side), SIDE - 1) for side in ((area * ratio) ** 0.5, (area / ratio) ** 0.5))
        top, left = random.randint(0, SIDE - tall), random.randint(0, SIDE - wide)
        tensor[:, top : top + tall, left : left + wide] = 0


# The others: what they have that comes nearest.


def torchvision_view(name: str) -> Callable[[Tensor], Tensor]:
    from torchvision.transforms import v2

    spec = VIEWS[name]
    steps: list[Any] = [v2.RandomHorizontalFlip()]
    if spec.shift:
        steps.append(v2.RandomCrop(SIDE, PAD, padding_mode="reflect"))
    if spec.crop:
        steps.append(torchvision_crop_and_colours(spec.crop))
    if spec.count:
        bilinear = v2.InterpolationMode.BILINEAR
        steps.append(v2.RandAugment(spec.count, magnitude=15, interpolation=bilinear, fill=128))
    steps += [v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]
    if spec.erasing:
        steps.append(v2.RandomErasing(1.0 if spec.erasing == "square" else 0.25))
    return v2.Compose(steps)


def torchvision_crop_and_colours(smallest: float) -> Callable[[Any], Any]:
    """For Pillow's images as for tensors."""
    from torchvision.transforms import v2

    crop = v2.RandomResizedCrop(SIDE, (smallest, 1.0), antialias=False)
    colours = v2.RandomApply([v2.ColorJitter(JITTER, JITTER, JITTER, HUE)], RECOLOURED)
    return v2.Compose([crop, colours, v2.RandomGrayscale(GREYED)])


def kornia_view(name: str) -> Callable[[Tensor], Tensor]:
    import kornia.augmentation as K
    from kornia.augmentation import auto

    spec = VIEWS[name]
    steps: list[Any] = [K.RandomHorizontalFlip()]
    if spec.shift:
        steps.append(K.RandomCrop((SIDE, SIDE), PAD, padding_mode="reflect"))
    if spec.crop:
        steps.append(K.RandomResizedCrop((SIDE, SIDE), scale=(spec.crop, 1.0)))
        steps += [K.ColorJitter(JITTER, JITTER, JITTER, HUE, p=RECOLOURED), K.RandomGrayscale(p=GREYED)]
    if spec.count:
        steps.append(auto.RandAugment(spec.count, m=15))
    steps.append(K.Normalize(MEAN, STD))
    if spec.erasing:
        steps.append(K.RandomErasing(p=1.0 if spec.erasing == "square" else 0.25))
    return K.AugmentationSequential(*steps, data_keys=["input"])


if __name__ == "__main__":
    main()
