"""The settings a user left open, filled in from the data and the machine, each with its reason."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import nn

from semilla.config import Settings
from semilla.data.dataset import Dataset, Split
from semilla.errors import DataError
from semilla.networks import MLP, SmallCNN, WideResNet
from semilla.training.devices import available_cores, choose_device, choose_precision

SGD_RATE, ADAMW_RATE = 0.03, 2e-3
STEPS_CPU, STEPS_GPU = 2_000, 30_000


def complete(settings: Settings, dataset: Dataset, split: Split) -> tuple[Settings, dict[str, str]]:
    """Fill in every open setting.

    Returns:
        The settings without a None that matters, and for each one filled in the reason.
    """
    chosen: dict[str, Any] = {}
    reasons: dict[str, str] = {}

    def fill(name: str, value: Any, reason: str) -> Any:
        given = getattr(settings, name)
        if given is None:
            chosen[name], reasons[name] = value, reason
        return chosen.get(name, given)

    device = fill("device", *choose_device(settings.device))
    chosen["device"] = device
    fill("precision", *choose_precision(settings.precision, device))
    fill("threads", available_cores(), "the cores this process may use")
    network = fill("network", *_network(dataset, device))
    fill("width", {"small_cnn": 32, "wide_resnet": 2, "mlp": 128}[network], network)
    steps = fill("steps", STEPS_CPU if device == "cpu" else STEPS_GPU, f"default budget on {device}")
    labeled, unlabeled = len(split.labeled.labels), len(split.unlabeled)
    batch = fill("labeled_batch", min(64, labeled), f"64, or all {labeled} labeled examples")
    fill("unlabeled_batch", max(1, min(2 * batch, unlabeled)), "twice the labeled batch")
    fill("learning_rate", ADAMW_RATE if settings.optimizer == "adamw" else SGD_RATE, settings.optimizer)
    horizon = max(2, min(1000, steps // 10))
    fill("ema_decay", 1 - 1 / horizon, f"averages about the last {horizon} steps: a tenth of the run, 1,000 at most")
    fill("evaluate_every", max(1, steps // 20), "20 times in a run")
    fill("save_every", max(1, steps // 10), "10 times in a run")
    fill("log_every", max(1, min(50, steps // 20)), "20 times in a run, every 50 steps at least")
    return dataclasses.replace(settings, **chosen), reasons


def build_network(settings: Settings, dataset: Dataset) -> tuple[nn.Module, dict[str, Any]]:
    """The network and the arguments that build it again.

    Raises:
        DataError: D112, the network does not take this kind of data.
    """
    arguments: dict[str, Any] = {"classes": len(dataset.classes)}
    if (settings.network == "mlp") != (dataset.kind == "vectors"):
        fix = "network=mlp" if dataset.kind == "vectors" else "network=small_cnn or wide_resnet"
        raise DataError("D112", f"network {settings.network} does not read {dataset.kind}", f"set {fix}")
    if settings.network == "mlp":
        arguments |= {"inputs": dataset.inputs.shape[1], "width": settings.width}
    elif settings.network == "wide_resnet":
        arguments |= {"channels": dataset.inputs.shape[1], "widen": settings.width}
    else:
        arguments |= {
            "channels": dataset.inputs.shape[1],
            "size": list(dataset.inputs.shape[2:]),
            "width": settings.width,
        }
    spec = {"name": settings.network, **arguments}
    return network_from(spec), spec


def network_from(spec: dict[str, Any]) -> nn.Module:
    """A network from what `build_network` wrote down."""
    kinds: dict[str, type[nn.Module]] = {"mlp": MLP, "small_cnn": SmallCNN, "wide_resnet": WideResNet}
    arguments: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in spec.items()}
    name: str = arguments.pop("name")
    return kinds[name](**arguments)


def memory_format(net: nn.Module, device: str) -> nn.Module:
    """Convolutions in channels-last order: the same numbers, faster on CPUs and on tensor cores."""
    net = net.to(device)
    if any(isinstance(module, nn.Conv2d) for module in net.modules()):
        net = net.to(memory_format=torch.channels_last)
    return net


def _network(dataset: Dataset, device: str) -> tuple[str, str]:
    if dataset.kind == "vectors":
        return "mlp", "feature vectors"
    if device == "cpu" or _side(dataset) <= 16:
        return "small_cnn", f"{_side(dataset)}-pixel pictures on {device}"
    return "wide_resnet", "the papers' network, on a GPU"


def _side(dataset: Dataset) -> int:
    return min(dataset.inputs.shape[2:]) if dataset.kind == "images" else 0
