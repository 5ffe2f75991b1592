"""Any model of timm (https://github.com/huggingface/pytorch-image-models) as a network of semilla.

timm is optional: it is imported when a network of its own is wanted, and `library` says how to install it.
"""

from __future__ import annotations

import fnmatch
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from semilla.config import TIMM
from semilla.contract import Output
from semilla.errors import ResourceError, UsageError
from semilla.networks import weights as weight_files
from semilla.networks.weights import Weights

if TYPE_CHECKING:
    from types import ModuleType

_UNFIT = (RuntimeError, AssertionError, ValueError, TypeError, IndexError, KeyError, AttributeError, ZeroDivisionError)
_SAFETENSORS = "model.safetensors"


class TimmBackbone(nn.Module):
    """A timm model whose features and logits are both given out.

    The parameters lie below ``model.`` under timm's own names.

    Args:
        name: a timm model, with or without ``timm/`` before it and a tag such as ``.a1_in1k`` after it.
        channels: 1 for grey pictures, 3 for colour.
        size: height and width of the pictures.
        classes: number of classes.
        weights: what to start from instead of random weights.

    Raises:
        UsageError: U060, timm is not installed; U061, the model is not made for this, or not for pictures of this size.
        StateError: C061, the weights are not the model's.
    """

    def __init__(
        self, name: str, channels: int, size: tuple[int, int], classes: int, weights: Weights | None = None
    ) -> None:
        super().__init__()
        self.model: Any = _create(name.removeprefix(TIMM), channels, size, classes, weights)
        if not isinstance(self.model.get_classifier(), nn.Linear):
            raise UsageError("U061", f"network {name} does not end in one linear classifier", "take another model")

    def forward(self, inputs: Tensor) -> Output:
        """(B, channels, height, width) → logits (B, classes), features (B, D): what the classifier reads."""
        features = self.model.forward_head(self.model.forward_features(inputs), pre_logits=True)
        return Output(self.model.get_classifier()(features), features)

    def layers(self) -> dict[str, int]:
        """The depth of each parameter by timm's own grouping, 0 next to the input; the classifier is deepest.

        Empty for the few models that have no grouping.
        """
        if not hasattr(self.model, "group_matcher"):
            return {}
        depths = library().models.group_parameters(self.model, self.model.group_matcher(coarse=False), reverse=True)
        return {f"model.{name}": depth for name, depth in depths.items()}

    def undecayed(self) -> frozenset[str]:
        """Parameters that the model wants without weight decay whatever their shape, such as positions."""
        patterns = self.model.no_weight_decay() if hasattr(self.model, "no_weight_decay") else ()
        names = [name for name, _ in self.model.named_parameters()]
        return frozenset(f"model.{name}" for pattern in patterns for name in fnmatch.filter(names, pattern))

    @torch.no_grad()
    def probe(self, shape: tuple[int, ...]) -> None:
        """Try one picture (C, H, W), so that a size that does not fit is told in words.

        Raises:
            UsageError: U061.
        """
        picture = torch.linspace(-1, 1, shape[0] * shape[1] * shape[2]).view(1, *shape)
        mode, name = self.training, self.model.pretrained_cfg.get("architecture")
        try:
            output, plain = self.eval()(picture), self.model(picture)
        except _UNFIT as error:
            raise _wrong_size(str(name), shape[1:], error) from error
        finally:
            self.train(mode)
        if output.features.dim() != 2 or not torch.allclose(output.logits, plain, rtol=1e-3, atol=1e-4):
            raise UsageError("U061", f"network {name} is more than features and a classifier", "take another model")


def library() -> ModuleType:
    """The timm package.

    Raises:
        UsageError: U060, it is not installed.
    """
    try:
        import timm
        import timm.models
    except ImportError as error:
        raise UsageError("U060", f"this network needs timm: {error}", "pip install 'semilla[timm]'") from error
    return timm


def pretraining(name: str) -> dict[str, Any]:
    """What is known of a model's published weights, without asking the network.

    Returns:
        ``size`` in pixels, ``mean`` and ``std`` of three channels in [0, 1] units, ``classes``, ``classifier`` (the
        name of its last layer), ``fixed`` (whether it reads one size only), ``hub`` (repository and file, or None).
    """
    config = library().get_pretrained_cfg(name.removeprefix(TIMM))
    if config is None:
        raise UsageError("U061", f"timm knows no weights of {name}", "take another model, or leave weights out")
    file = config.hf_hub_filename or _SAFETENSORS
    return {
        "size": config.input_size[-1],
        "mean": list(config.mean),
        "std": list(config.std),
        "classes": config.num_classes,
        "classifier": config.classifier,
        "fixed": config.fixed_input_size,
        "hub": (config.hf_hub_id, file) if config.hf_hub_id and file.endswith(".safetensors") else None,
    }


def download(name: str) -> Weights:
    """The published weights of a model, from the Hugging Face hub or its cache on this machine.

    Raises:
        UsageError: U061, there are none as safetensors.
        ResourceError: R060, they could not be downloaded.
    """
    source = pretraining(name)["hub"]
    if source is None:
        raise UsageError("U061", f"there are no safetensors weights of {name} on the hub", "give a file: weights=PATH")
    from huggingface_hub import hf_hub_download

    repository, file = source
    try:
        path = hf_hub_download(repository, file)
    except (
        Exception
    ) as error:  # the client's own errors, those of its HTTP library and the system's have no common base
        fix = "connect to the network, or copy the file from a machine that is and give weights=PATH.safetensors"
        reason = str(error).split("\n")[0][:160]
        raise ResourceError("R060", f"{file} of {repository} cannot be downloaded: {reason}", fix) from error
    return weight_files.read(path)


def _create(name: str, channels: int, size: tuple[int, int], classes: int, weights: Weights | None) -> Any:
    timm = library()
    config = timm.get_pretrained_cfg(name)
    options: dict[str, Any] = {"num_classes": classes, "in_chans": channels}
    if config is not None and config.fixed_input_size:  # others take any size
        options["img_size"] = tuple(size)
    try:
        model: Any = timm.create_model(name, **options)
    except _UNFIT as error:
        raise _wrong_size(name, tuple(size), error) from error
    if weights is None:
        return model
    last = next(path for path, module in model.named_modules() if module is model.get_classifier())
    tensors = weight_files.with_classifier(weights.tensors, model.state_dict(), last)
    source = {"state_dict": tensors, "num_classes": classes}  # timm adapts positions and the number of channels
    try:
        model = timm.create_model(name, pretrained=True, pretrained_cfg_overlay=source, **options)
    except _UNFIT as error:
        lines = [line.strip() for line in str(error).splitlines()[1:]] or [str(error)]
        raise weight_files.misfit(weights, [line[:200] for line in lines[:4]]) from error
    model.pretrained_cfg.pop("state_dict", None)  # or the copy in the description would stay in memory
    return model


def _wrong_size(name: str, size: tuple[int, ...], error: Exception) -> UsageError:
    height, width = size
    message = f"network {name} cannot read pictures of {height} × {width} pixels: {str(error)[:120]}"
    return UsageError("U061", message, "set size=N to a larger one, or to a multiple of its patches")
