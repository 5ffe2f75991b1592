"""USB's side of `benchmarks/peers.py`: the package's own training loop with its own loaders, hooks and settings.

The settings are those of its published configurations for CIFAR-10 with 250 labels (``config/classic_cv``). The loop is
``AlgorithmBase.train``; a hook of the lowest priority, after all of its own, gives and takes the turns. All that is
changed is in `patch`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from sides.protocol import Turns, serve
from sides.standins import stand_in

NAMES = {
    "pi_model": "pimodel",
    "mean_teacher": "meanteacher",
    "uda": "uda",
    "mixmatch": "mixmatch",
    "fixmatch": "fixmatch",
    "pseudo_label": "pseudolabel",
}
PUBLISHED: dict[str, dict[str, Any]] = {
    "pi_model": {"ulb_loss_ratio": 10, "unsup_warm_up": 0.4},
    "mean_teacher": {"ulb_loss_ratio": 50, "unsup_warm_up": 0.4},
    "uda": {"tsa_schedule": "none", "T": 0.4, "p_cutoff": 0.8},
    "mixmatch": {"mixup_alpha": 0.5, "T": 0.5, "ulb_loss_ratio": 100, "unsup_warm_up": 0.4},
    "fixmatch": {"hard_label": True, "T": 0.5, "p_cutoff": 0.95},
    "pseudo_label": {"p_cutoff": 0.95, "unsup_warm_up": 0.4},
}
COMMON = {
    "epoch": 1024, "num_train_iter": 2**20, "num_eval_iter": 5120, "num_log_iter": 256, "eval_batch_size": 256,
    "ema_m": 0.999, "crop_ratio": 0.875, "img_size": 32, "optim": "SGD", "lr": 0.03, "momentum": 0.9,
    "weight_decay": 5e-4, "layer_decay": 1.0, "amp": False, "use_cat": True, "net": "wrn_28_2", "dataset": "cifar10",
    "num_classes": 10, "num_workers": 1, "seed": 0, "gpu": None, "distributed": False, "resume": False,
}  # fmt: skip


class Event:
    """A clock that stands still: the hook that reads it only logs."""

    def __init__(self, *arguments: Any, **options: Any) -> None: ...

    def record(self) -> None:
        """Nothing waits for a device."""

    def elapsed_time(self, other: Event) -> float:
        """Milliseconds."""
        return 0.0


def patch(images: np.ndarray[Any, Any], labels: np.ndarray[Any, Any]) -> list[str]:
    """Make the package run on a CPU; returns what was changed, in words."""
    done = [stand_in("aim", "wandb", "transformers", "torchaudio", "timm", "skimage", "progress", "ruamel",
                     "torch.utils.tensorboard")]  # fmt: skip

    def here(self: Any, *arguments: Any, **options: Any) -> Any:
        return self

    torch.Tensor.cuda = here
    nn.Module.cuda = here
    done.append("Tensor.cuda and Module.cuda return the object itself")
    torch.cuda.Event = Event
    torch.cuda.synchronize = lambda *arguments: None
    done.append("torch.cuda.Event and torch.cuda.synchronize do nothing (its timing hook)")

    import torchvision

    class Pixels:
        """CIFAR-10 as torchvision would give it after a download."""

        def __init__(self, root: str, train: bool, **options: Any) -> None:
            rows = slice(None) if train else slice(0, 1000)
            self.data, self.targets = images[rows].transpose(0, 2, 3, 1).copy(), labels[rows].tolist()

    torchvision.datasets.CIFAR10 = Pixels
    done.append("torchvision's CIFAR10 gives the pixels in memory instead of downloading them")
    done.append("send_model_cuda of its train.py is left out: no DistributedDataParallel around the network")
    return done


def run(turns: Turns, order: dict[str, Any]) -> None:
    with np.load(order["pixels"]) as arrays:
        patches = patch(arrays["images"], arrays["labels"])
    from semilearn import get_algorithm, get_config, get_net_builder
    from semilearn.core.hooks import Hook

    sizes = {"batch_size": order["labeled"], "uratio": order["unlabeled"] // order["labeled"]}
    method = {"algorithm": NAMES[order["method"]], "num_labels": order["labels"], **PUBLISHED[order["method"]]}
    torch.manual_seed(0)
    np.random.seed(0)
    args = get_config({**COMMON, **sizes, **method, **order["changes"]})
    algorithm = get_algorithm(args, get_net_builder(args.net, args.net_from_name), None, None)

    class Turn(Hook):
        def after_train_step(self, algorithm: Any) -> None:
            turns.stepped()
            turns.wait()

    algorithm.register_hook(Turn(), None, "LOWEST")
    chosen = {"precision": "fp32", "memory_format": "contiguous", "use_cat": args.use_cat, "loaders": args.num_workers}
    turns.ready([algorithm.model], "semilearn", chosen=chosen, patches=patches)
    turns.wait()
    algorithm.train()


if __name__ == "__main__":
    serve(run)
