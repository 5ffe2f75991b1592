"""The settings a user left open, filled in from the data and the machine, each with its reason."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import torch
from torch import nn

from semilla import files
from semilla.config import OWN_NETWORKS, RECOGNISERS, TIMM, Settings, timm_models
from semilla.data.dataset import Dataset, Split
from semilla.errors import DataError, UsageError
from semilla.networks import CRNN, MLP, AttentionReader, ConvTransformer, SmallCNN, WhitenedCNN, WideResNet
from semilla.networks import weights as weight_files
from semilla.networks.timm_backbone import TimmBackbone, download, pretraining
from semilla.networks.weights import HUB, Weights
from semilla.training import devices, probe, strings
from semilla.training.devices import choose_device, choose_precision, usual_threads

RATES = {"sgd": 0.03, "adamw": 2e-3}
FINE_TUNING_RATES = {"sgd": 3e-3, "adamw": 3e-4}
TEXT_RATES = {"sgd": 1e-2, "adamw": 1e-3}
STEPS_CPU, STEPS_GPU = 600, 30_000
FINE_TUNING = 4
"""Pretrained networks get one step in so many."""
PRETRAINING_EPOCHS = {"cpu": 20, "cuda": 200, "mps": 100}
LEAST_PRETRAINING, PRETRAINING_BATCH = 200, 256
"""Steps at least, and examples in each: methods that compare views want many to compare with."""
LAYER_DECAY = 0.75
DEFAULT_PRETRAINED = f"{TIMM}resnet18"
SMALL_SIDE = 64
"""Pixels up to which the networks of the papers are meant, and their batches."""
WIDTHS = {"small_cnn": 32, "whitened_cnn": 64, "wide_resnet": 2, "mlp": 128}
WIDTHS |= {"crnn": 32, "conv_transformer": 32, "attention_reader": 32}
TEXT_STEPS_CPU, TEXT_BATCH = 1_500, 32
TEXT_CLIP = {"ctc": 1.0, "attention": 5.0}
"""Largest gradient norm: from trials on rendered words, which no committed benchmark shows yet."""
PROBED_ASPECT = 10
"""Width by height of the line on which ways to compute are measured."""


def choose_size(settings: Settings) -> tuple[int | None, str]:
    """To how many pixels a side the pictures of files are to be brought, before any is decoded, and why.

    Args:
        settings: as asked for.

    Returns:
        The pixels, or None where the pictures themselves are to decide; and the reason.

    Raises:
        UsageError: the weights asked for contradict the network, or are not there.
        SafetyError: S021, the weights are a pickle.
    """
    check_weights(settings)
    if settings.size is not None:
        return settings.size, "as asked"
    network = settings.network or DEFAULT_PRETRAINED
    if settings.weights is None or not network.startswith(TIMM):
        return None, "as the pictures are"
    known = pretraining(network)
    if choose_device(settings.device)[0] == "cpu" and not known["fixed"]:
        return known["size"] // 2, f"half of pretraining's {known['size']}, at a quarter of the time: there is no GPU"
    return known["size"], "the size of pretraining"


def check_weights(settings: Settings) -> None:
    """Whether the weights can be read and the network can take them; nothing is downloaded.

    Raises:
        UsageError: U062, there is no such file; U063, weights and network contradict each other.
        SafetyError: S021, the weights are a pickle.
    """
    if settings.weights is None:
        return
    if settings.weights == HUB:
        if settings.network in OWN_NETWORKS:
            message = f"weights=hub is for timm's models, and {settings.network} is none"
            raise UsageError("U063", message, "set network to a timm model, such as resnet18")
        return
    weight_files.find(settings.weights)
    if settings.network is None:
        raise UsageError("U063", f"weights {settings.weights!r} of which network?", "set network as well")


def check_size(settings: Settings, dataset: Dataset) -> None:
    """Refuse a size that was asked for and did not come about.

    Raises:
        DataError: D113.
    """
    shape = tuple(dataset.inputs.shape[2:])
    if settings.size is not None and shape != (settings.size, settings.size):
        found = f"pictures of {shape[0]} × {shape[1]} pixels in arrays" if shape else "feature vectors"
        fix = "give pictures as files, bring the arrays to that size yourself, or leave size out"
        raise DataError("D113", f"size={settings.size}, but {dataset.name} has {found}, which are not resized", fix)


def normalisation(settings: Settings, channels: int) -> tuple[list[float], list[float]] | None:
    """Mean and deviation of each channel that pretrained weights expect, in [0, 1] units; None to take the data's.

    Args:
        settings: filled in.
        channels: of the pictures. Grey ones get the average of what is meant for three channels.
    """
    if settings.weights is None or settings.network == "mlp":
        return None
    card = Path(settings.weights).with_name("model.json")
    if settings.weights != HUB and card.is_file():  # a model of semilla's: as it was trained
        inputs = files.read_json(card).get("inputs", {})
        if len(inputs.get("mean", ())) == channels:
            return list(inputs["mean"]), list(inputs["std"])
    if not (settings.network or "").startswith(TIMM):
        return None
    known = pretraining(settings.network or "")
    mean, std = known["mean"], known["std"]
    return (mean, std) if channels == len(mean) else ([sum(mean) / len(mean)], [sum(std) / len(std)])


def complete(
    settings: Settings, dataset: Dataset, split: Split, own_network: bool = False
) -> tuple[Settings, dict[str, str]]:
    """Fill in every open setting.

    Args:
        settings: as asked for.
        dataset: whose form and size matter.
        split: likewise.
        own_network: whether the user brings a network, which is not measured.

    Returns:
        The settings without a None that matters, and for each one filled in the reason.

    Raises:
        DataError: D113, a size was asked for that these data do not have and cannot be brought to.
        UsageError: as `check_weights`; U006, a pre-training has batches of one example.
    """
    check_weights(settings)
    chosen: dict[str, Any] = {}
    reasons: dict[str, str] = {}

    def fill(name: str, value: Any, reason: str) -> Any:
        given = getattr(settings, name)
        if given is None:
            chosen[name], reasons[name] = value, reason
        return chosen.get(name, given)

    device = fill("device", *choose_device(settings.device))
    chosen["device"] = device
    small = dataset.kind == "vectors" or _side(dataset) <= 16
    text = dataset.kind == "text"
    cores = (1, "several would wait for one another on so little work"), (usual_threads(), "the cores it may use")
    fill("threads", *cores[0 if small else 1])
    network, tuned = fill("network", *_network(settings, dataset, device)), settings.weights is not None
    if network.startswith(TIMM):
        chosen["width"] = None  # such a network has its own
    else:
        fill("width", WIDTHS[network], network)
    _size(settings, dataset, fill)
    labeled, unlabeled = len(split.labeled.labels), len(split.unlabeled)
    if labeled:
        steps = fill("steps", *_steps(device, tuned, text))
        batch = fill("labeled_batch", *_labeled_batch(dataset, device, labeled))
        fill("unlabeled_batch", max(2, min(2 * batch, unlabeled)), "twice the labeled batch")  # BatchNorm needs 2
        optimizer = fill("optimizer", *_optimizer(tuned, text))
    else:
        chosen["labeled_batch"] = 0
        most, reason = (2 * TEXT_BATCH, "lines") if text else (PRETRAINING_BATCH, "many to compare with")
        batch = fill("unlabeled_batch", max(2, min(most, unlabeled)), f"{reason}, all at most")
        _check_company(batch)
        steps = fill("steps", *_pretraining_steps(device, unlabeled, batch))
        optimizer = fill("optimizer", "adamw", "for pre-training")
    _rates(fill, optimizer, tuned, RECOGNISERS.get(network))
    if tuned and not text:
        reasons["weights"] = _classifier(settings, network, len(dataset.classes))
    horizon = max(2, min(1000, steps // 10))
    fill("ema_decay", 1 - 1 / horizon, f"averages about the last {horizon} steps: a tenth of the run, 1,000 at most")
    fill("evaluate_every", max(1, steps // 20), "20 times in a run")
    fill("save_every", max(1, steps // 10), "10 times in a run")
    fill("log_every", max(1, min(50, steps // 20)), "20 times in a run, every 50 steps at least")
    measured = device == "cpu" and not (small or own_network)
    way, reason = _way(dataclasses.replace(settings, **chosen), dataset, split, measured)
    fill("precision", way.precision, reason)
    if dataset.kind != "vectors":
        fill("memory_format", way.memory_format, reason if measured else "convolutions are usually faster so")
    return dataclasses.replace(settings, **chosen), reasons


def _rates(fill: Any, optimizer: str, tuned: bool, task: str | None) -> None:
    """How fast to learn; ``task`` is a recogniser's, None for other networks."""
    text = task is not None
    if tuned:
        rates = TEXT_RATES if text else FINE_TUNING_RATES
        fill("learning_rate", rates[optimizer], f"{optimizer}, to refine pretrained weights")
    else:
        fill("learning_rate", RATES[optimizer], optimizer)
    if task is not None:
        fill("clip", TEXT_CLIP[task], "the gradient through a whole line may be large")
    elif (
        tuned
    ):  # for text: what was learnt on generated lines is as far from real ones in the first layer as in the last
        fill("layer_decay", LAYER_DECAY, "pretrained layers near the input are general and change least")


def _way(settings: Settings, dataset: Dataset, split: Split, measured: bool) -> tuple[probe.Way, str]:
    """How to compute, among the ways that the user left open, and why."""
    precision, reason = choose_precision(settings.precision, settings.device or "cpu")
    if not measured or None not in (settings.precision, settings.memory_format):
        return probe.Way(precision, settings.memory_format or "channels_last"), reason
    wanted = settings.precision, settings.memory_format
    ways = [way for way in probe.WAYS if all(one in (None, own) for one, own in zip(wanted, way, strict=True))]
    spec = _spec(settings, dataset, outputs(settings, dataset, split))
    shape = tuple(dataset.inputs.shape[1:])
    if dataset.kind == "text":
        shape = (*shape[:2], PROBED_ASPECT * shape[1])
    with torch.random.fork_rng([]), devices.threads(settings.threads or 1):
        return probe.fastest(network_from(spec), spec, shape, ways)


def outputs(settings: Settings, dataset: Dataset, split: Split) -> int:
    """How many logits the network has: one for each class; for text the special symbol and the alphabet."""
    if dataset.kind == "text":
        return 1 + len(strings.alphabet(settings, split).symbols)
    return max(1, len(dataset.classes))  # pre-training has none


def build_network(settings: Settings, dataset: Dataset, split: Split) -> tuple[nn.Module, dict[str, Any]]:
    """The network and the arguments that build it again, with the weights it starts from if it does not start anew.

    Raises:
        DataError: D112, the network does not take this kind of data.
        UsageError: U060 or U061, it is one of timm's and cannot be built, or not for pictures of this size.
        StateError: C060 or C061, the weights are damaged or are another network's.
        ResourceError: R060, weights cannot be downloaded.
    """
    spec = _spec(settings, dataset, outputs(settings, dataset, split))
    weights = None
    if settings.weights is not None:
        weights = download(spec["name"]) if settings.weights == HUB else weight_files.read(settings.weights)
    if weights is not None and dataset.kind == "text":
        weights = strings.grown(weights, settings, split)
    net = network_from(spec, weights)
    if isinstance(net, TimmBackbone):
        net.probe(dataset.inputs.shape[1:])
    if weights is not None:
        spec["weights"] = {"file": weights.name, "sha256": weights.sha256}
    return net, spec


def network_from(spec: dict[str, Any], weights: Weights | None = None) -> nn.Module:
    """A network from what `build_network` wrote down.

    Args:
        spec: its name and arguments.
        weights: what to start from instead of random weights.
    """
    kinds: dict[str, type[nn.Module]]
    kinds = {"mlp": MLP, "small_cnn": SmallCNN, "whitened_cnn": WhitenedCNN, "wide_resnet": WideResNet}
    kinds |= {"crnn": CRNN, "conv_transformer": ConvTransformer, "attention_reader": AttentionReader}
    arguments: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in spec.items()}
    arguments.pop("weights", None)
    if spec["name"].startswith(TIMM):
        return TimmBackbone(**arguments, weights=weights)
    name: str = arguments.pop("name")
    net = kinds[name](**arguments)
    if weights is not None:
        weight_files.load(net, weights, "classifier")
    return net


def placed(net: nn.Module, device: str, memory_format: str = "channels_last") -> nn.Module:
    """The network on its device, its kernels in an order of memory."""
    net = net.to(device)
    if any(isinstance(module, nn.Conv2d) for module in net.modules()):
        net = net.to(memory_format=probe.FORMATS[memory_format])
    return net


def _spec(settings: Settings, dataset: Dataset, classes: int) -> dict[str, Any]:
    """The network's name and arguments as JSON values."""
    assert settings.network is not None
    if (settings.network in RECOGNISERS) != (dataset.kind == "text"):
        fix = f"network={' or '.join(RECOGNISERS)}" if dataset.kind == "text" else "--task text, or another network"
        raise DataError("D112", f"network {settings.network} does not read {dataset.kind}", f"set {fix}")
    if (settings.network == "mlp") != (dataset.kind == "vectors"):
        fix = (
            "network=mlp"
            if dataset.kind == "vectors"
            else "network=small_cnn, whitened_cnn or wide_resnet, or a timm model"
        )
        raise DataError("D112", f"network {settings.network} does not read {dataset.kind}", f"set {fix}")
    spec: dict[str, Any] = {"name": settings.network, "classes": classes}
    channels, *size = dataset.inputs.shape[1:]
    if settings.network == "mlp":
        return spec | {"inputs": channels, "width": settings.width}
    if settings.network in RECOGNISERS:
        return spec | {"channels": channels, "height": size[0], "width": settings.width}
    if settings.network == "wide_resnet":
        return spec | {"channels": channels, "widen": settings.width}
    if settings.network in ("small_cnn", "whitened_cnn"):
        return spec | {"channels": channels, "size": size, "width": settings.width}
    return spec | {"channels": channels, "size": size}


def _network(settings: Settings, dataset: Dataset, device: str) -> tuple[str, str]:
    if dataset.kind == "vectors":
        return "mlp", "feature vectors"
    if dataset.kind == "text":
        return "crnn", "reads lines of any width, and is the fastest of its kind"
    side = _side(dataset)
    if settings.weights is not None:
        return DEFAULT_PRETRAINED, "has published weights and is small"
    if device == "cpu" or side <= 16:
        return "small_cnn", f"{side}-pixel pictures on {device}"
    if side > SMALL_SIDE and timm_models():
        return f"{TIMM}resnet18", f"{side}-pixel pictures on a GPU"
    return "wide_resnet", "the papers' network, on a GPU"


def _size(settings: Settings, dataset: Dataset, fill: Any) -> None:
    """Keep the size that was chosen for files, where it came about."""
    check_size(settings, dataset)
    size, reason = choose_size(settings)
    if size is not None and dataset.inputs.shape[2:] == (size, size):
        fill("size", size, reason)


def usual_steps(settings: Settings) -> int:
    """The steps of a run that does not say how many."""
    return _steps(settings.device or "cpu", settings.weights is not None, settings.network in RECOGNISERS)[0]


def _optimizer(tuned: bool, text: bool) -> tuple[str, str]:
    if text:
        return "adamw", "recurrent and attention layers learn slowly without it"
    return ("adamw", "pretrained weights") if tuned else ("sgd", "as in the papers")


def _steps(device: str, tuned: bool, text: bool) -> tuple[int, str]:
    steps = STEPS_GPU if device != "cpu" else TEXT_STEPS_CPU if text else STEPS_CPU
    if tuned and text:
        return steps, f"default budget on {device}"
    if tuned:
        return steps // FINE_TUNING, f"default budget on {device} from pretrained weights"
    return steps, f"default budget on {device}"


def _pretraining_steps(device: str, pool: int, batch: int) -> tuple[int, str]:
    epochs = PRETRAINING_EPOCHS[device]
    steps = math.ceil(epochs * pool / batch)
    return max(
        LEAST_PRETRAINING, steps
    ), f"{epochs} times through {pool:,} examples, {LEAST_PRETRAINING} steps at least"


def _check_company(batch: int) -> None:
    """Refuse batches in which an example is alone; BatchNorm needs 2 as well."""
    if batch < 2:
        message = f"unlabeled_batch = {batch} leaves nothing to compare an example with"
        raise UsageError("U006", message, "give 2 or more, better 64")


def _labeled_batch(dataset: Dataset, device: str, labeled: int) -> tuple[int, str]:
    if dataset.kind == "text":
        return min(TEXT_BATCH, labeled), f"{TEXT_BATCH}, or all {labeled} labeled lines"
    side = _side(dataset)
    if side <= SMALL_SIDE:
        return min(64, labeled), f"64, or all {labeled} labeled examples"
    most = 8 if device == "cpu" else 32
    return min(most, labeled), f"{side}-pixel pictures on {device}: fewer at a time need less memory"


def _classifier(settings: Settings, network: str, classes: int) -> str:
    """Whether the classifier starts from the weights too."""
    if settings.weights == HUB:
        there = pretraining(network)["classes"]
    else:
        name = pretraining(network)["classifier"] if network.startswith(TIMM) else "classifier"
        there = weight_files.classes_of(weight_files.shapes(settings.weights or ""), str(name))
    if there == classes:
        return f"the classifier's too, of {classes} classes"
    if classes == 0:
        return "all but the classifier, which pre-training leaves alone"
    return f"but the classifier starts anew: {classes} classes here, {there if there > 1 else 'none'} in the weights"


def _side(dataset: Dataset) -> int:
    if dataset.kind == "text":  # of any width
        return int(dataset.inputs.shape[2])
    return min(dataset.inputs.shape[2:]) if dataset.kind == "images" else 0
