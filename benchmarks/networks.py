"""Which of semilla's networks for pictures gets furthest in the same minutes of one CPU core?

    python benchmarks/networks.py                    what is left; writes results/networks.json
    python benchmarks/networks.py --table            the table of the file

CIFAR-10's training pictures as in cifar10_search.py: 45,000 with all their labels, and 5,000 that stand for the test
part. Each network trains with each of two optimizers at its usual learning rate, from scratch on weak views, for two
minutes of one thread, which the schedule is cut to; the better optimizer speaks for it. Last averaged weights, scored
once, one seed: differences below two points decide nothing. On a machine whose cores are not all in use:
taskset -c 0 python benchmarks/networks.py
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
MINUTES = 2.0
NEVER = 10**9
"""Steps between evaluations: the last one is always made, and others would cost the large network minutes."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    found = cifar10.load(PATH)
    for network in () if options.table else NETWORKS:
        for optimizer in OPTIMIZERS:
            name = f"{network}, {optimizer}"
            if name not in found:
                found[name] = one(network, optimizer)
                cifar10.save(PATH, found)
                print(f"{name:<30}{100 * found[name]['accuracy']:.1f} %", flush=True)
    print("\n".join(table(found)))


def one(network: str, optimizer: str) -> dict[str, Any]:
    """One network with one optimizer."""
    data = replace(validation(), labels=load("cifar10").labels[:KEPT].copy())
    words: dict[str, Any] = {"network": network, "optimizer": optimizer, "labeled_batch": 128, "views": ("weak",)}
    way: dict[str, Any] = {"recipe": None, "device": "cpu", "threads": 1, "evaluate_every": NEVER}
    made = fit(data, method="supervised", minutes=MINUTES, **words, **way)
    settings, seconds = made.settings, round(made.seconds, 1)
    told = {"minutes": MINUTES, "steps": settings.steps, "training and scoring seconds": seconds}
    told |= {"precision": settings.precision, "memory format": settings.memory_format, "rate": settings.learning_rate}
    return {"accuracy": made.scores["test/accuracy"], "n": made.test_examples, **told, **provenance("torch")}


def table(found: dict[str, Any]) -> list[str]:
    """The better optimizer of each network first, as Markdown."""
    lines = [
        f"| network, {MINUTES:g} minutes of one core | accuracy | steps | with the other optimizer |",
        "|---" * 4 + "|",
    ]
    for network in NETWORKS:
        rows = {name: found[key] for name in OPTIMIZERS if (key := f"{network}, {name}") in found}
        if len(rows) == len(OPTIMIZERS):
            best, other = sorted(rows, key=lambda name, rows=rows: -float(rows[name]["accuracy"]))
            score, less = (100 * rows[name]["accuracy"] for name in (best, other))
            lines.append(f"| {network}, {best} | {score:.1f} % | {rows[best]['steps']:,} | {other}: {less:.1f} % |")
    return lines


if __name__ == "__main__":
    main()
