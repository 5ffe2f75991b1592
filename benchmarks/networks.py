"""Which of semilla's networks for pictures gets furthest in the same minutes of one CPU core?

    python benchmarks/networks.py                    what is left; writes results/networks.json
    python benchmarks/networks.py --network NAME     only one of them, so that each core can have its own
    python benchmarks/networks.py --table            the table of the file

CIFAR-10's training pictures as in cifar10_search.py: 45,000 are the pool and 5,000 stand for the test part. Each
network trains with each of two optimizers at its usual learning rate, from scratch, for so many minutes of one thread,
which the schedule is cut to: the labels of the whole pool (``supervised``, weak views), and 218 labels with the rest
unlabeled (``fixmatch`` with alignment and a relative threshold). The better optimizer speaks for a network. Last
averaged weights, scored once, one seed: differences below two points decide nothing. On a quiet machine, pinned to one
core each (taskset).
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import Any

import cifar10
from cifar10_search import KEPT, validation
from machine import provenance
from semilla import fit
from semilla.data.sources import load

PATH = cifar10.RESULTS / "networks.json"
NETWORKS = ("whitened_cnn", "small_cnn", "wide_resnet")
OPTIMIZERS = ("adamw", "sgd")
TASKS: dict[str, tuple[float, dict[str, Any]]] = {
    "supervised": (3.0, {"labeled_batch": 128, "views": ("weak",)}),
    "fixmatch": (4.0, {"labeled_batch": 64, "unlabeled_batch": 256, "align": True, "relative": True}),
}
"""Minutes of training, and what differs from the defaults."""

NEVER = 10**9
"""Steps between evaluations: the last one is always made, and others would cost the large network minutes."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=NETWORKS)
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    for method in () if options.table else TASKS:
        for network in NETWORKS if options.network is None else (options.network,):
            for optimizer in OPTIMIZERS:
                name = f"{method}, {network}, {optimizer}"
                if name not in cifar10.load(PATH):
                    row = one(method, network, optimizer)
                    cifar10.save(PATH, cifar10.load(PATH) | {name: row})  # others may be made beside this one
                    print(f"{name:<40}{100 * row['accuracy']:.1f} %", flush=True)
    print("\n".join(table(cifar10.load(PATH))))


def one(method: str, network: str, optimizer: str) -> dict[str, Any]:
    """One network with one optimizer, for the minutes of its task."""
    minutes, changes = TASKS[method]
    data = validation()
    if method == "supervised":
        data = replace(data, labels=load("cifar10").labels[:KEPT].copy())
    words = {"network": network, "optimizer": optimizer, "minutes": minutes, **changes}
    made = fit(data, method=method, recipe=None, device="cpu", threads=1, evaluate_every=NEVER, **words)
    told = {"steps": made.settings.steps, "training seconds": round(made.seconds)}
    way = {"precision": made.settings.precision, "memory format": made.settings.memory_format}
    return {"accuracy": made.scores["test/accuracy"], "asked": words, **told, **way, **provenance("torch")}


def table(found: dict[str, Any]) -> list[str]:
    """The better optimizer of each network, as Markdown."""
    heads = [f"{method}, {minutes:g} min" for method, (minutes, _) in TASKS.items()]
    lines = [f"| network | {' | '.join(heads)} |", "|---" * (1 + len(heads)) + "|"]
    for network in NETWORKS:
        cells = []
        for method in TASKS:
            rows = {name: found[key] for name in OPTIMIZERS if (key := f"{method}, {network}, {name}") in found}
            best = max(rows, key=lambda name, rows=rows: rows[name]["accuracy"], default=None)
            cells.append(
                "–" if best is None else f"{100 * rows[best]['accuracy']:.1f} % ({best}, {rows[best]['steps']:,} steps)"
            )
        lines.append(f"| {network} | {' | '.join(cells)} |")
    return lines


if __name__ == "__main__":
    main()
