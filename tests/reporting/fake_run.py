"""Run folders as training leaves them, made up: their numbers are known, and nothing has to be trained."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

NAMES = ("apple", "bird", "cat", "dog", "eel", "fox", "goat", "hen", "ibis", "jay")
CLOCK = 1_780_000_000.0


@dataclass
class FakeRun:
    """What to make up; `write` makes it.

    Attributes:
        classes: their names.
        sizes: examples of each part; no ``test`` makes a run without a test part.
        accuracy: of the method, over the held-out parts.
        word: the verdict's.
        kept: whether the log says how right confident predictions are.
        baseline: whether the supervised fit is there.
        pixels: side of the pictures that `data` makes.
        paths: makes an example's path of its number.
    """

    classes: tuple[str, ...] = NAMES
    sizes: dict[str, int] = field(default_factory=lambda: {"labeled": 40, "unlabeled": 300, "test": 200})
    accuracy: float = 0.9
    word: str = "helped"
    kept: bool = True
    baseline: bool = True
    pixels: int = 12
    paths: Any = "pool/{}.png".format
    source: Any = None
    calibrated: bool = True
    changes: dict[str, Any] = field(default_factory=dict)

    def write(self, run: Path) -> Path:
        """Make the run folder."""
        run.mkdir(parents=True, exist_ok=True)
        fits = {"fixmatch-0": self.accuracy} | ({"supervised-0": self.accuracy - 0.15} if self.baseline else {})
        for number, (name, accuracy) in enumerate(fits.items()):
            self._fit(run / "fits" / name, accuracy, number)
        self._manifest(run / "manifest.jsonl")
        summary = {
            "format": 1,
            "command": "semilla train /places/somebody/photos --labels 40 --out=/places/somebody/runs/one",
            "fits": sorted(fits),
            "verdict": self.verdict(),
            "shipped": "fixmatch-0",
            "why": "the whole interval lies above zero",
        }
        (run / "run.json").write_text(json.dumps({**summary, **self.changes}))
        return run

    def verdict(self):
        if "test" not in self.sizes or not self.baseline:
            return None
        low, high = {"helped": (0.09, 0.21), "hurt": (-0.2, -0.02), "cannot tell": (-0.01, 0.31)}[self.word]
        return {
            "word": self.word,
            "method": "fixmatch",
            "baseline": "supervised",
            "n": self.sizes["test"],
            "accuracy": [self.accuracy, self.accuracy - 0.03, self.accuracy + 0.03],
            "baseline_accuracy": [self.accuracy - 0.15, self.accuracy - 0.2, self.accuracy - 0.1],
            "difference": [(low + high) / 2, low, high],
            "needed": 812 if self.word == "cannot tell" else None,
            "level": 0.95,
        }

    def _fit(self, folder: Path, accuracy: float, number: int) -> None:
        folder.mkdir(parents=True)
        method = folder.name.rsplit("-", 1)[0]
        data = {"name": "photos", "fingerprint": "ab" * 32}
        data |= {part: self.sizes[part] for part in ("labeled", "unlabeled")}
        settings = {"method": method, "seed": 0, "steps": 100, "device": "cpu", "precision": "fp32"}
        settings |= {"hyperparameters": {"threshold": 0.95}, "weights": "/places/somebody/weights.safetensors"}
        described = {
            "fit": {
                "settings": settings,
                "network": {"name": "small_cnn", "classes": len(self.classes), "size": [12, 12]},
                "classes": list(self.classes),
                "data": data,
                "evaluate_on": "test",
            },
            "versions": {"semilla": "0.1.0", "torch": "2.10"},
            "reasons": {"steps": "a guess"},
            "source": self.source and {"data": self.source, "allow_leak": True},
            "notes": ["warn[D053]: 1 of 10 classes has fewer than 4 labels", "read from /places/somebody/photos"],
        }
        card = {
            "format": 1,
            "classes": list(self.classes),
            "inputs": {
                "kind": "images",
                "shape": [1, self.pixels, self.pixels],
                "mean": [0.4],
                "std": [0.3],
                "flip": True,
            },
            "weights_sha256": "cd" * 32,
        }
        if self.calibrated and "test" in self.sizes:
            card["calibration"] = {"temperature": 1.7, "fitted_on": "test", "n": self.sizes["test"]}
        result = {"scores": {}, "seconds": 12.5, "warnings": [["T102", "the mask is stuck"]], "step": 100}
        events = [{"event": "started", "clock": CLOCK}, {"event": "finished", "clock": CLOCK + 12}]
        for name, value in (("fit.json", described), ("model.json", card), ("result.json", result)):
            (folder / name).write_text(json.dumps(value))
        for name, lines in (("metrics.jsonl", self._metrics(accuracy, method)), ("events.jsonl", events)):
            (folder / name).write_text("".join(f"{json.dumps(line)}\n" for line in lines))
        (folder / "outputs.safetensors").write_bytes(safetensors.numpy.save(self.outputs(accuracy, number)))

    def _metrics(self, accuracy: float, method: str):
        for step in range(10, 101, 10):
            line = {"step": step, "loss": 1 / step}
            if method != "supervised":
                line["used"] = step / 120
            if "test" in self.sizes:
                line["test/accuracy"] = accuracy * (1 - 0.5 * 0.9 ** (step / 3))
                if self.kept and method != "supervised":
                    line |= {"test/kept": step / 125, "test/kept_accuracy": 0.9 + step / 1200}
            yield line

    def labels(self, part: str):
        return np.arange(self.sizes[part], dtype=np.int64) % len(self.classes)

    def outputs(self, accuracy: float, number: int) -> dict[str, np.ndarray]:
        """Logits whose argmax is right for exactly the wanted share of every part."""
        draw = np.random.default_rng(number)
        count = len(self.classes)
        centres = draw.normal(0, 3, (count, 16))
        tensors, first = {}, 0
        for part in ("labeled", "unlabeled", "development", "test"):
            if part not in self.sizes:
                continue
            size = self.sizes[part]
            labels = self.labels(part)
            said = labels.copy()
            wrong = draw.permutation(size)[: round((1 - accuracy) * size)] if part != "labeled" else []
            said[wrong] = (said[wrong] + 1) % count
            logits = draw.normal(0, 1, (size, count))
            logits[np.arange(size), said] = logits.max(1) + draw.exponential(3, size) + 0.01
            tensors |= {
                f"{part}_logits": logits.astype(np.float32),
                f"{part}_features": (centres[said] + draw.normal(0, 1, (size, 16))).astype(np.float32),
                f"{part}_rows": first + np.arange(size),
            }
            if part != "unlabeled":
                tensors[f"{part}_labels"] = labels
            first += size
        return tensors

    def _manifest(self, path: Path) -> None:
        lines, number = [], 0
        for part in ("labeled", "unlabeled", "development", "test"):
            for _ in range(self.sizes.get(part, 0)):
                row = {"path": self.paths(number), "part": "train" if part in ("labeled", "unlabeled") else part}
                lines.append(json.dumps(row))
                number += 1
        path.write_text("".join(f"{line}\n" for line in lines))

    def arrays(self, path: Path) -> Path:
        """The data behind the run, as an ``.npz`` file: give its path as ``source``."""
        draw = np.random.default_rng(0)
        side, names = self.pixels, np.array(self.classes)
        patterns = draw.integers(0, 256, (len(names), side, side))

        def part(name):
            labels = self.labels(name)
            noise = draw.normal(0, 25, (len(labels), side, side))
            return np.clip(patterns[labels] + noise, 0, 255).astype(np.uint8), names[labels].astype(object)

        (x, y), (u, _), (x_test, y_test) = (part(name) for name in ("labeled", "unlabeled", "test"))
        x_test[3] = x[3]  # one picture twice
        y = np.concatenate([y, [""] * len(u)]).astype(str)
        np.savez(path, x_train=np.concatenate([x, u]), y_train=y, x_test=x_test, y_test=y_test.astype(str))
        return path
