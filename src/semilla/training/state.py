"""Everything a run carries from one step to the next, and its way into a checkpoint and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from semilla.contract import Info, Method, Net
from semilla.training import checkpoint
from semilla.training.ema import EMA
from semilla.training.monitor import Monitor

PARTS = ("net", "ema", "method", "optimizer", "monitor", "generators")


@dataclass
class State:
    """The whole of a run between two steps. The order of the data has no state: it is a function of (seed, step).

    Attributes:
        net: the network that is trained.
        ema: its average.
        method: with its memory in its buffers.
        optimizer: over the network's parameters.
        monitor: sums since the last line of the log.
        step: optimizer steps made.
    """

    net: Net
    ema: EMA
    method: Method
    optimizer: torch.optim.Optimizer
    monitor: Monitor
    step: int = 0

    @property
    def info(self) -> Info:
        """The data set's facts."""
        return self.monitor.info

    def capture(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors and plain values that `restore` needs, the optimizer's state by parameter name."""
        generators, generator_state = checkpoint.capture_generators()
        sums, monitor_state = self.monitor.state()
        tensors = {
            **{f"net.{name}": value for name, value in self.net.state_dict().items()},
            **{f"ema.{name}": value for name, value in self.ema.net.state_dict().items()},
            **{f"method.{name}": value for name, value in self.method.state_dict().items()},
            **self._optimizer_tensors(),
            **{f"monitor.{name}": value for name, value in sums.items()},
            **generators,
        }
        state = {
            "step": self.step,
            "ema_decay": self.ema.decay,
            "monitor": monitor_state,
            "generators": generator_state,
            "optimizer": self._optimizer_keys(),
        }
        return tensors, state

    def restore(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        """Become the run that `capture` described.

        Raises:
            StateError: C013, an entry is missing or does not fit this network, method or optimizer.
        """
        checkpoint.require(state, ("step", "ema_decay", "monitor", "generators", "optimizer"))
        parts = {part: _under(tensors, part) for part in PARTS}
        for part, module in (("net", self.net), ("ema", self.ema.net), ("method", self.method)):
            checkpoint.require_tensors(parts[part], module.state_dict())
            module.load_state_dict(parts[part])
        self._load_optimizer(parts["optimizer"], state["optimizer"])
        device = next(self.net.parameters()).device
        sums = {name: value.to(device) for name, value in parts["monitor"].items()}
        self.monitor.load(sums, state["monitor"])
        self.step, self.ema.decay = state["step"], state["ema_decay"]
        checkpoint.restore_generators(tensors, state["generators"])

    def _optimizer_keys(self) -> dict[str, list[str]]:
        """The tensors kept for each weight; a weight that never got a gradient has none."""
        state = {name: self.optimizer.state.get(weight, {}) for name, weight in self.net.named_parameters()}
        return {
            name: sorted(key for key, value in own.items() if isinstance(value, Tensor)) for name, own in state.items()
        }

    def _optimizer_tensors(self) -> dict[str, Tensor]:
        return {
            f"optimizer.{name}.{key}": value
            for name, parameter in self.net.named_parameters()
            for key, value in self.optimizer.state.get(parameter, {}).items()
            if isinstance(value, Tensor)
        }

    def _load_optimizer(self, tensors: dict[str, Tensor], keys: dict[str, list[str]]) -> None:
        for name, parameter in self.net.named_parameters():
            own = _under(tensors, name)
            checkpoint.require(keys, (name,))
            checkpoint.require(own, keys[name])
            if own:
                self.optimizer.state[parameter] = {key: _laid_out(value, parameter) for key, value in own.items()}


def _laid_out(value: Tensor, parameter: Tensor) -> Tensor:
    """A value in its parameter's order of memory: the fused optimizers go through both as they lie there."""
    if value.shape != parameter.shape:
        return value.to(parameter.device)
    return torch.empty_like(parameter, dtype=value.dtype, requires_grad=False).copy_(value)


def _under(tensors: dict[str, Tensor], part: str) -> dict[str, Tensor]:
    """The entries below ``part.``, without that prefix."""
    return {name[len(part) + 1 :]: value for name, value in tensors.items() if name.startswith(part + ".")}
