"""semilla's side of `benchmarks/peers.py`: its own loop over a fit as `plan_fit` makes it."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from semilla.data.cifar10 import CLASSES
from semilla.data.dataset import Dataset
from semilla.fitting import plan_fit
from semilla.training.profile import Stopwatch
from semilla.training.trial import trial
from sides.protocol import Turns, serve


def run(turns: Turns, order: dict[str, Any]) -> None:
    with np.load(order["pixels"]) as arrays:
        dataset = Dataset("cifar10", "images", CLASSES, arrays["images"], arrays["labels"], flip=True)
    batch = {"labeled_batch": order["labeled"], "unlabeled_batch": order["unlabeled"]}
    network = {"network": "wide_resnet", "width": 2, "ema_decay": 0.999}
    own = {"method": order["method"], "recipe": None, "steps": order["steps"], "device": "cpu", "pool": "all"}
    fit, _ = plan_fit(dataset, labels=order["labels"], **own, **batch, **network, **order["changes"])
    chosen = {name: getattr(fit.settings, name) for name in ("precision", "memory_format", "threads")}
    why = {name: fit.reasons[name] for name in chosen if name in fit.reasons}
    with trial(fit) as (state, batches, go):

        def profile(order: dict[str, Any]) -> dict[str, Any]:
            """Seconds of each part of a step; the stopwatch stays in, so nothing is timed afterwards."""
            watch = Stopwatch(state, batches)
            go(1)
            watch.reset()
            began = time.monotonic()
            while watch.steps < 2 or time.monotonic() - began < order["seconds"]:
                go(1)
            return {"steps": watch.steps, "parts": {name: own / watch.steps for name, own in watch.seconds.items()}}

        turns.extra["profile"] = profile
        turns.ready([state.net.model, state.ema.net.model], "semilla", chosen=chosen, why=why, patches=[])
        while True:
            steps = turns.wait()
            go(steps)
            turns.stepped(steps)


if __name__ == "__main__":
    serve(run)
