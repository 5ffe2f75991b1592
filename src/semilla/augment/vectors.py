"""Views of feature vectors: noise, and for the strong view features set to their mean."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from semilla.config import nearest
from semilla.contract import View
from semilla.errors import UsageError

NOISE = {"none": 0.0, "weak": 0.1, "strong": 0.2}
"""Standard deviation of the added noise, in standard deviations of the feature."""
DROPPED = {"none": 0.0, "weak": 0.0, "strong": 0.2}
"""Share of the features set to their mean."""


class VectorViews:
    """Makes named views of float32 vectors of one length.

    Args:
        mean: (D,) of each feature over the training pool.
        std: (D,) likewise; constant features must come with 1.
    """

    def __init__(self, mean: npt.NDArray[np.float32], std: npt.NDArray[np.float32]) -> None:
        self.mean, self.std = torch.from_numpy(mean), torch.from_numpy(std)

    def draws(self, name: str) -> int:
        """Uniform draws that the named view takes for each example: two for each feature."""
        if name not in NOISE:
            raise UsageError("U110", f"there is no view {name!r} of feature vectors", nearest(name, NOISE))
        return 0 if name == "none" else 2 * len(self.mean)

    def __call__(self, name: str, vectors: Tensor, draws: Tensor) -> View:
        """Make one view of a batch.

        Args:
            name: ``none``, ``weak`` or ``strong``.
            vectors: float32 (B, D), on the device where the view is wanted.
            draws: float32 (B, ``draws(name)``) in [0, 1), on the CPU.
        """
        device = vectors.device
        inputs = (vectors - self.mean.to(device)) / self.std.to(device)
        if self.draws(name):
            noise, kept = draws[:, : len(self.mean)], draws[:, len(self.mean) :] >= DROPPED[name]
            normal = torch.special.ndtri(noise.double() + 2.0**-25).float()  # on the CPU, so all devices add the same
            inputs = (inputs + NOISE[name] * normal.to(device)) * kept.to(device)
        return View(inputs)
