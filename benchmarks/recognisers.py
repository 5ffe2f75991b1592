"""What the benchmarks of text recognisers share: a start on generated lines, fits from it, relative error rates."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import cifar10
from machine import provenance
from semilla import fit
from semilla.data.dataset import Dataset
from semilla.generated_start import pretrain_generated

RESAMPLES = 4_000
WAY = {"precision": "bf16", "memory_format": "channels_last"}
"""How all fits of a benchmark compute: a race for each could choose differently, beside other work above all."""


def asked(doc: str | None, pieces: list[str], found: dict[str, Any], search: bool = False) -> argparse.Namespace | None:
    """What the command line asks for; None where it was to list the pieces, which is done.

    ``search``: there is one of settings.
    """
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action="store_true")
    if search:
        parser.add_argument("--search", action="store_true")
    parser.add_argument("--piece", choices=["start", *pieces])
    options = parser.parse_args()
    if options.list:
        print("\n".join(f"{name:<24}{'done' if name in found else ''}" for name in ["start", *pieces]))
        return None
    return options


def start(folder: Path, words: dict[str, Any]) -> dict[str, Any]:
    """Pre-train on generated lines; go on with what is there."""
    began = time.monotonic()
    resume = any(folder.glob("fits/*/fit.json"))
    result = pretrain_generated(folder, seed=0, resume=resume, say=print, **words)
    made = {"settings": words, "generated cer": result.scores["test/cer"], "training seconds": round(result.seconds, 1)}
    return made | {"wall seconds": round(time.monotonic() - began, 1), **provenance("torch", "pillow")}


def piece(
    folder: Path,
    begun: Path,
    dataset: Dataset,
    method: str,
    words: dict[str, Any],
    seed: int,
    steps: int,
    looks: int = 1,
) -> dict[str, Any]:
    """One fit from a start, scored once: edits and characters of each test group; go on with what is there.

    ``looks`` along the way are for a search alone, whose test part is made of labeled lines.
    """
    began, resume = time.monotonic(), any(folder.glob("fits/*/fit.json"))
    common: dict[str, Any] = {
        "recipe": None,
        "keep_checkpoints": False,
        "evaluate_every": max(1, steps // looks),
        **WAY,
    }
    result = fit(
        dataset,
        method=method,
        weights=str(cifar10.weights(begun)),
        steps=steps,
        seed=seed,
        out=folder,
        resume=resume,
        **common,
        **words,
    )
    outputs = result.outputs
    curve = [[line["step"], line["test/cer"]] for line in result.history if "test/cer" in line]
    scores = {key.removeprefix("test/"): value for key, value in result.scores.items()}
    start_digest = result.model.card["network"]["weights"]["sha256"]
    made = {"scores": scores, "curve": curve, "settings": words, "steps": steps, "start": start_digest}
    made["test"] = {name: outputs[f"test_{name}"].tolist() for name in ("edits", "lengths", "groups")}
    made["computed"] = {name: getattr(result.settings, name) for name in (*WAY, "threads")}
    made |= {"training seconds": round(result.seconds, 1), "wall seconds": round(time.monotonic() - began, 1)}
    return made | {"labeled": int((dataset.labels >= 0).sum()), **provenance("torch")}


def made(path: Path, found: dict[str, Any], name: str, make: Callable[[], dict[str, Any]], **asked: Any) -> None:
    """Make a piece and keep it, unless it is there: then it has to be of the ``settings`` and ``steps`` asked for."""
    for key, value in asked.items():
        if name in found and found[name].get(key) != json.loads(json.dumps(value)):
            sys.exit(f"{name} was made with other {key}: take it out of {path.name} to make it anew")
    if name not in found:
        row = make()
        found.update(cifar10.load(path) | {name: row})  # what was made beside this is kept
        cifar10.save(path, found)
        if "scores" in found[name]:
            print(f"{name:<36}CER {found[name]['scores']['cer']:.2%}  exact {found[name]['scores']['accuracy']:.1%}")


def by_group(row: dict[str, Any]) -> npt.NDArray[np.int64]:
    """(groups, 2): edits and characters of each test group, in the groups' order."""
    told = {name: np.array(values) for name, values in row["test"].items()}
    sums = [[told[name][told["groups"] == group].sum() for name in ("edits", "lengths")] for group in groups(row)]
    return np.array(sums)


def groups(row: dict[str, Any]) -> list[int]:
    """The test groups."""
    return sorted(set(row["test"]["groups"]))


def relative(own: list[dict[str, Any]], base: list[dict[str, Any]]) -> tuple[float, float, float]:
    """How far the error rate of some fits lies from that of others, pairs of a draw each, as a share of the latter.

    Returns:
        The change and its 95 % interval, by bootstrap over test groups and draws, both drawn anew together.
    """
    both = np.array([[by_group(row) for row in rows] for rows in (own, base)])  # side, draw, group, sum
    draws, count = both.shape[1:3]

    def change(rows: npt.NDArray[np.int64], chosen: npt.NDArray[np.int64]) -> float:
        sums = both[:, rows][:, :, chosen].sum(2)
        rates = (sums[..., 0] / sums[..., 1]).mean(1)
        return float(rates[0] / rates[1] - 1)

    random = np.random.default_rng(0)
    samples = [change(random.integers(0, draws, draws), random.integers(0, count, count)) for _ in range(RESAMPLES)]
    low, high = np.quantile(samples, [0.025, 0.975])
    return change(np.arange(draws), np.arange(count)), float(low), float(high)
