"""Room for more symbols: a trained network's weights, for the same network with a larger alphabet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from semilla.errors import DataError
from semilla.randomness import generator

NOISE = 0.01
"""Of new rows, in units of the old rows' spread: enough to tell them apart."""


def grown(state: Mapping[str, Tensor], names: Sequence[str], symbols: int, seed: int = 0) -> dict[str, Tensor]:
    """The state with more rows in the named tensors: classifiers' weights and biases, embeddings.

    Old rows are kept bit for bit. A new one is the mean of the old symbols' rows, and noise: to the network it is as
    likely as its symbols are on average, which no reading changes for, and learns from there.

    Args:
        state: of the trained network; row 0 of the named tensors is the blank or end, and enters no mean.
        names: entries whose first dimension is the symbols.
        symbols: rows wanted, symbol 0 among them.
        seed: of the noise.

    Raises:
        DataError: D142, the larger alphabet is smaller, or a name is not in the state.
    """
    larger = dict(state)
    for name in names:
        if name not in state or len(state[name]) > symbols:
            there = f"has {len(state[name])} symbols" if name in state else "is not there"
            raise DataError(
                "D142", f"{name} cannot grow to {symbols} symbols: it {there}", "keep the old ones, in order"
            )
        old = state[name]
        of_symbols = old[1:] if len(old) > 1 else old
        shape = (symbols - len(old), *old.shape[1:])
        draws = torch.from_numpy(generator(seed, f"grow {name}", 0).standard_normal(shape)).to(old)
        spread = of_symbols.std(0, correction=0) if old.dim() > 1 else torch.zeros_like(old[0])  # a bias gets none
        larger[name] = torch.cat([old, of_symbols.mean(0) + NOISE * spread * draws])
    return larger
