"""LAMDA-SSL's side of `benchmarks/peers.py`: ``fit`` of the package's own estimators, with their own defaults.

They are made with their default arguments, which are WRN-28-2, SGD with Nesterov momentum, the batch of 64 and the
loaders; only the sizes of the batches are set, to the same as on the other sides. The loop is
``DeepModelMixin.fit_batch_loop``; the end of its batch gives and takes the turns. All that is changed is in `patch`.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import torch

from sides.protocol import Turns, serve

NAMES = {
    "pi_model": "PiModel",
    "mean_teacher": "MeanTeacher",
    "uda": "UDA",
    "mixmatch": "MixMatch",
    "fixmatch": "FixMatch",
    "pseudo_label": "PseudoLabel",
}


def patch() -> list[str]:
    """Make the package run on the versions here; returns what was changed, in words."""
    import sklearn.base
    import sklearn.utils
    import sklearn.utils.extmath

    done = []
    if not hasattr(sklearn.base.ClassifierMixin, "_estimator_type"):
        sklearn.base.ClassifierMixin._estimator_type = "classifier"
        done.append("ClassifierMixin says again that it is a classifier, in the attribute scikit-learn dropped")
    if not hasattr(sklearn.utils, "_approximate_mode"):
        sklearn.utils._approximate_mode = sklearn.utils.extmath._approximate_mode
        done.append("sklearn.utils._approximate_mode points to where scikit-learn moved it")
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR

    class Schedule(schedule):
        def __init__(self, *arguments: Any, verbose: object = None, **options: Any) -> None:
            super().__init__(*arguments, **options)

    torch.optim.lr_scheduler.CosineAnnealingLR = Schedule
    done.append("CosineAnnealingLR takes the argument verbose, which PyTorch dropped")
    loader = torch.utils.data.dataloader.DataLoader

    class Loader(loader):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            if options.get("num_workers") == 0:
                options["prefetch_factor"] = None
            super().__init__(*arguments, **options)

    torch.utils.data.dataloader.DataLoader = Loader
    done.append("DataLoader forgets prefetch_factor where no processes load, which PyTorch refuses by now")
    return done


def run(turns: Turns, order: dict[str, Any]) -> None:
    patches = patch()
    name = NAMES[order["method"]]
    estimator = getattr(importlib.import_module(f"LAMDA_SSL.Algorithm.Classification.{name}"), name)

    class Waiting(estimator):
        def start_fit(self, *arguments: Any, **options: Any) -> None:
            super().start_fit(*arguments, **options)
            chosen = {"precision": "fp32", "memory_format": "contiguous", "loaders": 0}
            turns.ready([self._network], "LAMDA-SSL", chosen=chosen, patches=patches)
            turns.wait()

        def end_fit_batch(self, *arguments: Any, **options: Any) -> None:
            super().end_fit_batch(*arguments, **options)
            turns.stepped()
            turns.wait()

    torch.manual_seed(0)
    np.random.seed(0)
    with np.load(order["pixels"]) as arrays:
        images, labels = arrays["images"].transpose(0, 2, 3, 1).copy(), arrays["labels"]
    each = order["labels"] // 10
    known = np.concatenate([np.flatnonzero(labels == own)[:each] for own in range(10)])
    loader = importlib.import_module("LAMDA_SSL.Dataloader.LabeledDataloader").LabeledDataLoader
    labeled = loader(batch_size=order["labeled"], num_workers=0, drop_last=True)
    mu = order["unlabeled"] // order["labeled"]
    model = Waiting(mu=mu, labeled_dataloader=labeled, **order["changes"])
    model.fit(images[known], labels[known], images)


if __name__ == "__main__":
    serve(run)
