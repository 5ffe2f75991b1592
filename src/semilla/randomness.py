"""Randomness as a function: every draw is computed from (seed, stream, epoch or step, sample), never from a state.

A counter-based generator has no history to save, to share between workers or to disturb: the draw for sample 17 in
epoch 4 is the same whatever was evaluated, logged or saved before, on every device and for every batch size.

Per-sample draws use Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"), written out
here because NumPy's Philox cannot take one counter per sample. Per-step draws, which need distributions, use NumPy's
own Philox with the step in its counter.

A *stream* is a short name such as ``"labeled view 0"``; draws of different streams are independent.
"""

from __future__ import annotations

import zlib
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Words: TypeAlias = npt.NDArray[np.uint32]

_MULTIPLIER_0, _MULTIPLIER_1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_WEYL_0, _WEYL_1 = 0x9E3779B9, 0xBB67AE85
_LOW, _HALF = np.uint64(0xFFFFFFFF), np.uint64(32)
_ROUNDS = 10
_AT_ONCE = 65536


def philox(counter: tuple[Words, Words, Words, Words], key: tuple[int, int]) -> tuple[Words, Words, Words, Words]:
    """Philox4x32-10: four random words for each counter.

    Args:
        counter: four uint32 arrays of one shape (or shapes that broadcast).
        key: two 32-bit integers.

    Returns:
        Four uint32 arrays of the broadcast shape.
    """
    c0, c1, c2, c3 = (np.asarray(word, dtype=np.uint64) for word in counter)
    k0, k1 = key
    for _ in range(_ROUNDS):
        product0, product1 = c0 * _MULTIPLIER_0, c2 * _MULTIPLIER_1  # 32 × 32 bits fit in 64
        c0, c1 = (product1 >> _HALF) ^ c1 ^ np.uint64(k0), product1 & _LOW
        c2, c3 = (product0 >> _HALF) ^ c3 ^ np.uint64(k1), product0 & _LOW
        k0, k1 = (k0 + _WEYL_0) & 0xFFFFFFFF, (k1 + _WEYL_1) & 0xFFFFFFFF
    w0, w1, w2, w3 = np.broadcast_arrays(c0, c1, c2, c3)
    return w0.astype(np.uint32), w1.astype(np.uint32), w2.astype(np.uint32), w3.astype(np.uint32)


def stream_word(stream: str) -> np.uint32:
    """The 32-bit word that stands for a stream's name in the counter."""
    return np.uint32(zlib.crc32(stream.encode()))


def words(seed: int, stream: str | Words, epoch: npt.ArrayLike, sample: npt.ArrayLike, count: int) -> Words:
    """Random 32-bit words for each (epoch, sample) pair.

    Args:
        seed: the run's seed, 0 ≤ seed < 2⁶⁴.
        stream: what the draws are for: a name, or (B,) stream words where the rows serve different purposes.
        epoch: (B,) pass over the data, below 2³².
        sample: (B,) position of the sample in its pool, below 2³².
        count: words wanted for each pair; asking for fewer gives the first of them.

    Returns:
        uint32 (B, count).
    """
    purpose = np.atleast_1d(stream_word(stream) if isinstance(stream, str) else stream)
    epoch, sample = np.atleast_1d(epoch), np.atleast_1d(sample)
    blocks = -(-count // 4)
    slot = np.arange(blocks, dtype=np.uint32)[None, :]
    drawn = philox((slot, purpose[:, None], sample[:, None], epoch[:, None]), _key(seed))
    return np.stack(drawn, axis=-1).reshape(len(sample), 4 * blocks)[:, :count]


def uniform(
    seed: int, stream: str | Words, epoch: npt.ArrayLike, sample: npt.ArrayLike, count: int
) -> npt.NDArray[np.float32]:
    """Uniform draws in [0, 1) for each (epoch, sample) pair: float32 (B, count), each a multiple of 2⁻²⁴.

    The arguments are those of `words`.
    """
    bits = words(seed, stream, epoch, sample, count) >> np.uint32(8)
    return bits.astype(np.float32) * np.float32(2.0**-24)


def permutation(seed: int, stream: str, epoch: int, size: int) -> npt.NDArray[np.int64]:
    """The order of ``size`` samples in one epoch: the samples sorted by 64 random bits of their own."""
    keys = np.empty(size, np.uint64)
    for start in range(0, size, _AT_ONCE):
        samples = np.arange(start, min(start + _AT_ONCE, size))
        high, low = words(seed, stream, np.full(len(samples), epoch), samples, 2).T.astype(np.uint64)
        keys[start : start + len(samples)] = (high << _HALF) | low
    return np.argsort(keys, kind="stable")


def generator(seed: int, stream: str, step: int) -> np.random.Generator:
    """A NumPy generator that belongs to one step: for what a method draws once for a whole batch."""
    counter = np.array([0, 0, 0, step], dtype=np.uint64)  # the low words count the draws within the step
    _key(seed)
    key = np.array([seed, stream_word(stream)], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(counter=counter, key=key))


def torch_seed(seed: int, step: int) -> int:
    """The seed PyTorch's global generator gets before a step, so that dropout too is a function of (seed, step)."""
    high, low = words(seed, "torch", step, 0, 2)[0]
    return (int(high) << 32 | int(low)) >> 1  # torch takes seeds below 2⁶³ on every device


def _key(seed: int) -> tuple[int, int]:
    if not 0 <= seed < 2**64:
        raise ValueError(f"seed {seed} is outside 0 … 2⁶⁴ − 1")
    return seed & 0xFFFFFFFF, seed >> 32
