"""Near copies: the same picture encoded, resized or retouched anew, found among a million without comparing all pairs.

Each picture is reduced to a signature, the grey means of 16 × 16 areas. Two pictures are near copies if their
signatures differ little (`LIMIT`) and far less than those of other pictures do (`RATIO`, the ratio test of Lowe 2004):
digits of one hand look alike too, but then many do. Candidates come from a k-d tree over the principal directions of
the 8 × 8 means, where distances only shrink; the colors are compared last.

A difference hash of 64 bits was tried first. It finds 2 % of MNIST pictures saved as JPEG at quality 70 within a
Hamming distance of 3, because the bits of even areas are noise; these signatures find all of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from semilla.data.labels import IntArray
from semilla.data.rows import Pool

Floats: TypeAlias = npt.NDArray[np.float32]

SIDE = 16
LIMIT, SURE, RATIO = 10.0, 2.5, 0.38
"""Grey levels (root mean square) up to which two signatures may, and do in any case, belong to near copies; and the
largest share of the distance to the fifth nearest other picture. Measured: re-encodings at quality 70 and resizes by
10 % stay within 7 levels and 0.13 on CIFAR-10, where distinct pictures begin at 14 and 0.6; JPEG copies of MNIST
within 4 and 0.16, where distinct ones begin at 7 and 0.34."""

FEW = 500
"""Below so many pictures the fifth nearest is no measure of what is common, and only those within `SURE` are told."""

_COARSE_LIMIT, _MANY, _TINY = (5.0, 3.5), 200_000, 0.01
"""On 8 × 8 means; the second where there are so many pictures that the first would take minutes. Copies stay within
3.2 levels on CIFAR-10, JPEG copies of MNIST within 3; only resized pictures of sharp lines may lie beyond."""
_COLOR_LIMIT = 20.0  # on those of each channel, which JPEG keeps less exactly
_FLAT = 4.0  # levels of contrast below which a picture says nothing about where it came from
_SAMPLE, _CHUNK, _NEIGHBOR = 10_000, 4096, 5
_DIRECTIONS = (4, 5, 7, 10, 14)  # a tree of few is faster, and finds too much in large or noisy sets
_MOST_PAIRS, _MOST_EXAMINED = 4_000_000, 20_000

Pair: TypeAlias = tuple[int, int, float]
"""Two rows, the smaller first, and the levels by which their signatures differ."""


class NearCopies(NamedTuple):
    """What was found.

    Attributes:
        pairs: sorted by difference.
        complete: False where so many pictures are alike that only the closest pairs were examined.
    """

    pairs: list[Pair]
    complete: bool


def near_copies(pool: Pool, rows: IntArray, tick: Callable[[int], object] = lambda done: None) -> NearCopies:
    """Find the pairs of near copies.

    Args:
        pool: uint8 (N, C, H, W) pictures.
        rows: int64, the rows to compare, each distinct picture once.
        tick: told the number of pictures that were read since the last call.
    """
    signatures = np.empty((len(rows), SIDE * SIDE), np.uint8)
    for start in range(0, len(rows), _CHUNK):
        pictures = pool[rows[start : start + _CHUNK]]
        grey = pictures.sum(1, keepdims=True, dtype=np.uint16)
        means = _means(grey, SIDE) / pictures.shape[1]
        signatures[start : start + _CHUNK] = np.rint(means).reshape(len(pictures), -1)
        tick(len(pictures))
    kept = np.flatnonzero(np.concatenate([part.std(1) >= _FLAT for part in _chunks(signatures)] or [np.zeros(0)]))
    rows, signatures = rows[kept], signatures[kept]
    first, twins = _distinct(signatures)
    pairs, difference, complete = _near(signatures[first])
    pairs = np.concatenate([twins, first[pairs]])
    difference = np.concatenate([_differences(signatures, twins), difference])
    same = _same_colors(pool, rows[pairs])
    found = np.sort(rows[pairs[same]], axis=1).tolist()
    rated = sorted(zip(difference[same].tolist(), found, strict=True))
    return NearCopies([(one, other, round(levels, 2)) for levels, (one, other) in rated], complete)


def _distinct(signatures: npt.NDArray[np.uint8]) -> tuple[IntArray, IntArray]:
    """The first position of each signature, and pairs of it with the others where it stands again.

    They are told apart by a hash of 64 bits, the sum of their words times fixed random numbers.
    """
    factors = np.random.default_rng(0).integers(0, 2**64, SIDE * SIDE // 8, np.uint64) | np.uint64(1)
    hashes = [(part.view(np.uint64) * factors).sum(1) for part in _chunks(signatures)]
    _, first, group = np.unique(
        np.concatenate([np.zeros(0, np.uint64), *hashes]), return_index=True, return_inverse=True
    )
    leader = first[group]
    again = np.flatnonzero(leader != np.arange(len(leader)))
    return np.sort(first), np.stack([leader[again], again], axis=1)


def _near(signatures: npt.NDArray[np.uint8]) -> tuple[IntArray, Floats, bool]:
    """Positions of the pairs among distinct signatures, how much they differ, and whether these are all."""
    if len(signatures) < 2:
        return np.empty((0, 2), np.int64), np.empty(0, np.float32), True
    pairs, complete = _candidates(signatures)
    difference = _differences(signatures, pairs)
    order = np.argsort(difference, kind="stable")
    order = order[difference[order] <= LIMIT]
    complete &= len(order) <= _MOST_EXAMINED
    pairs, difference = pairs[order[:_MOST_EXAMINED]], difference[order[:_MOST_EXAMINED]]
    close = difference <= SURE
    if len(signatures) >= FEW:
        close |= difference <= RATIO * _surroundings(signatures, pairs)
    return pairs[close], difference[close], complete


def _chunks(array: npt.NDArray[Any]) -> Iterator[npt.NDArray[Any]]:
    return (array[start : start + _CHUNK] for start in range(0, len(array), _CHUNK))


def _means(pictures: npt.NDArray[Any], side: int) -> Floats:
    """The means of side × side areas that cover a picture, (N, C, side, side)."""
    height, width = (_areas(length, side) for length in pictures.shape[2:])
    means: Floats = height @ pictures.astype(np.float32) @ width.T
    return means


def _areas(length: int, side: int) -> Floats:
    """(side, length) weights of the pixels in each area; a pixel on a border counts for both by its share."""
    edges = np.linspace(0, length, side + 1)
    pixels = np.arange(length)
    weights = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    return (weights.clip(0) * (side / length)).astype(np.float32)


def _candidates(signatures: npt.NDArray[np.uint8]) -> tuple[IntArray, bool]:
    """(P, 2) positions of pairs whose coarse signatures are near, and whether these are all."""
    from scipy.spatial import cKDTree

    half = SIDE // 2
    grid = signatures.reshape(-1, SIDE, SIDE)
    rows = grid[:, ::2].astype(np.uint16) + grid[:, 1::2]
    coarse = (rows[:, :, ::2] + rows[:, :, 1::2]).reshape(-1, half * half).astype(np.float32) / 4
    sample = coarse[:: math.ceil(len(coarse) / _SAMPLE)]
    _, directions = np.linalg.eigh(np.cov(sample.T))
    radius = _COARSE_LIMIT[len(coarse) > _MANY] * half
    for count in _DIRECTIONS:
        tree = cKDTree(coarse @ directions[:, -count:].astype(np.float32), leafsize=16)
        if _pairs_within(tree, radius) <= _MOST_PAIRS:
            return tree.query_pairs(radius, output_type="ndarray").astype(np.int64), True
    while _pairs_within(tree, radius) > _MOST_PAIRS:
        radius /= 2
        if radius < _TINY:
            return np.empty((0, 2), np.int64), False
    return tree.query_pairs(radius, output_type="ndarray").astype(np.int64), False


def _pairs_within(tree: Any, radius: float) -> float:
    """About how many pairs of points are within a radius: asked before they are listed, which may take all memory."""
    asked = tree.data[:: math.ceil(len(tree.data) / 1000)]
    return float(tree.query_ball_point(asked, radius, return_length=True).mean() - 1) * len(tree.data) / 2


def _differences(signatures: npt.NDArray[np.uint8], pairs: IntArray) -> Floats:
    """(P,) root mean square difference of the signatures in each pair."""
    squares = [
        ((signatures[part[:, 0]].astype(np.float32) - signatures[part[:, 1]]) ** 2).mean(1) for part in _chunks(pairs)
    ]
    result: Floats = np.sqrt(np.concatenate([np.zeros(0, np.float32), *squares]))
    return result


def _surroundings(signatures: npt.NDArray[np.uint8], pairs: IntArray) -> Floats:
    """(P,) how near the fifth nearest other picture is to a pair, the smaller of the two distances.

    Of very many pictures a sample is asked, in which a nearer neighbor stands for the fifth.
    """
    step = math.ceil(len(signatures) / _SAMPLE)
    others = signatures[::step].astype(np.float32)
    place = min(math.ceil(_NEIGHBOR / step), len(others) - 1)
    lengths = (others**2).sum(1)
    members, position = np.unique(pairs, return_inverse=True)
    nearest = np.empty(len(members), np.float32)
    for start in range(0, len(members), 512):
        own = signatures[members[start : start + 512]].astype(np.float32)
        squares = lengths - 2 * own @ others.T + (own**2).sum(1, keepdims=True)
        squares[(members[start : start + 512, None] == np.arange(0, len(signatures), step))] = np.inf
        nearest[start : start + 512] = np.partition(squares, place - 1, axis=1)[:, place - 1]
    distances = np.sqrt(nearest.clip(0) / signatures.shape[1])
    around: Floats = distances[position.reshape(-1, 2)].min(1)
    return around


def _same_colors(pool: Pool, pairs: IntArray) -> npt.NDArray[np.bool_]:
    """Whether the 8 × 8 means of every channel agree as well."""
    agree = [
        (np.sqrt(((_means(pool[part[:, 0]], 8) - _means(pool[part[:, 1]], 8)) ** 2).mean((2, 3))) <= _COLOR_LIMIT).all(
            1
        )
        for part in _chunks(pairs)
    ]
    return np.concatenate([np.zeros(0, np.bool_), *agree])
