"""Views of feature vectors: noise, features that are left out, features taken from another example.

``strong`` is ``weak`` with more noise: it keeps the meaning of an example whatever the features are. ``drop`` and
``swap`` presume that each feature can be told from the others, which holds for spectra and embeddings and fails for
tables of a few columns that all matter; ask for them by name (``views = ["weak", "drop"]``). ``swap`` follows SCARF
(Bahri et al. 2022, "SCARF: Self-supervised contrastive learning using random feature corruption"): a feature's value
is replaced by one from its marginal distribution over the training pool; ``contrastive`` does so with the 60 % of the
features that SCARF found best for pre-training. Features that belong together, such as those
of one column of categories, are left out or replaced together.

Shapes: B examples, D features, G blocks of neighbouring features, R reference rows.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from semilla.config import nearest
from semilla.contract import View
from semilla.errors import UsageError
from semilla.transfer import send

NOISE = {"none": 0.0, "weak": 0.1, "strong": 0.2, "drop": 0.1, "swap": 0.1, "contrastive": 0.1}
"""Standard deviation of the noise added to single features, in standard deviations of the feature."""
DROPPED = {"none": 0.0, "weak": 0.0, "strong": 0.0, "drop": 0.2, "swap": 0.0, "contrastive": 0.0}
"""Share of the blocks set to their mean."""
SWAPPED = {"none": 0.0, "weak": 0.0, "strong": 0.0, "drop": 0.0, "swap": 0.3, "contrastive": 0.6}
"""Share of the blocks replaced by those of a reference row."""

REFERENCE_ROWS, _LOOKED_AT = 64, 4096


class VectorViews:
    """Makes named views of float32 vectors of one length.

    Args:
        mean: (D,) of each feature over the training pool.
        std: (D,) likewise; constant features must come with 1.
        blocks: sizes of the blocks, D in all; None stands for D blocks of one feature.
        reference: float32 (R, D), what blocks are replaced by, each on its own (see `reference_rows`); without it
            there is no view ``swap``.
    """

    def __init__(
        self,
        mean: npt.NDArray[np.float32],
        std: npt.NDArray[np.float32],
        blocks: Sequence[int] | None = None,
        reference: npt.NDArray[np.float32] | None = None,
    ) -> None:
        self.mean, self.std = torch.from_numpy(mean), torch.from_numpy(std)
        sizes = torch.ones(len(mean), dtype=torch.int64) if blocks is None else torch.tensor(list(blocks))
        if int(sizes.sum()) != len(mean) or (reference is not None and reference.shape[1:] != mean.shape):
            raise ValueError(f"blocks of {int(sizes.sum())} features, or a reference of others, for {len(mean)}")
        self._groups, self._block = len(sizes), torch.repeat_interleave(sizes)  # (D,) the block of each feature
        self._single = (sizes == 1)[self._block]
        self._reference = None if reference is None else torch.from_numpy(reference)

    def draws(self, name: str) -> int:
        """Uniform draws that the named view takes for each example: one for each feature, one for each block."""
        if name not in NOISE:
            raise UsageError("U110", f"there is no view {name!r} of feature vectors", nearest(name, NOISE))
        if SWAPPED[name] and self._reference is None:
            raise UsageError("U110", f"there is no view {name!r} without reference rows", "take strong or drop")
        return 0 if name == "none" else len(self.mean) + self._groups

    def __call__(self, name: str, vectors: Tensor, draws: Tensor) -> View:
        """Make one view of a batch.

        Args:
            name: a key of `NOISE`.
            vectors: float32 (B, D), on the device where the view is wanted.
            draws: float32 (B, ``draws(name)``) in [0, 1), on the CPU.
        """
        if not self.draws(name):
            return View(self._scaled(vectors))
        device = vectors.device
        noise, fate = draws[:, : len(self.mean)], draws[:, len(self.mean) :][:, self._block]
        normal = torch.special.ndtri(noise.double() + 2.0**-25).float()  # on the CPU, so all devices add the same
        kept = fate >= DROPPED[name]
        if SWAPPED[name]:
            vectors = self._swapped(vectors, fate, DROPPED[name], SWAPPED[name])
        inputs = self._scaled(vectors) + send(NOISE[name] * normal * self._single, device)
        return View(inputs * send(kept, device))

    def _scaled(self, vectors: Tensor) -> Tensor:
        return (vectors - send(self.mean, vectors.device)) / send(self.std, vectors.device)

    def _swapped(self, vectors: Tensor, fate: Tensor, low: float, share: float) -> Tensor:
        """The blocks whose draw is in [low, low + share) from the reference row that the place in there points to."""
        assert self._reference is not None
        rows = len(self._reference)
        place = ((fate.double() - low) / share * rows).floor().long()  # below 0 what is left out anyway
        other = self._reference.gather(0, place.clamp(0, rows - 1))
        return torch.where(send(place < rows, vectors.device), send(other, vectors.device), vectors)


def reference_rows(
    vectors: npt.NDArray[np.float32], blocks: Sequence[int] | None = None, count: int = REFERENCE_ROWS
) -> npt.NDArray[np.float32]:
    """Values that stand for each block's distribution: quantiles of single features, categories by their shares.

    Args:
        vectors: float32 (N, D), the training pool; of a large one some thousand rows spread over it are looked at.
        blocks: sizes of the blocks; None stands for blocks of one feature.
        count: rows wanted.

    Returns:
        float32 (``count``, D). A row is no example: each block is in an order of its own.
    """
    places = np.linspace(0, len(vectors) - 1, min(len(vectors), _LOOKED_AT)).astype(np.int64)
    rows = vectors[places]
    picked = ((np.arange(count) + 0.5) / count * len(rows)).astype(np.int64)
    chosen, start = np.empty((count, rows.shape[1]), np.float32), 0
    for size in [1] * rows.shape[1] if blocks is None else blocks:
        block = rows[:, start : start + size]
        chosen[:, start : start + size] = block[np.lexsort(block.T)[picked]]
        start += size
    return chosen
