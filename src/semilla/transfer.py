"""Small arrays that were made on the CPU, to where they are needed, without waiting for that device."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor


def send(values: npt.NDArray[Any] | Tensor, device: torch.device) -> Tensor:
    """To the device; pageable memory is staged at once, so that the copy need not be waited for."""
    tensor = values if isinstance(values, Tensor) else torch.from_numpy(values)
    return tensor.to(device, non_blocking=device.type == "cuda")
