"""Test examples that were also trained on, in arrays and tables; pictures of files are told by their bytes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from semilla.data.dataset import Dataset, Inputs
from semilla.errors import DataError
from semilla.text import many

_CHUNK = 4096


def check_leaks(dataset: Dataset, allowed: bool) -> tuple[str, ...]:
    """Look for test examples that equal one of the training pool.

    Equal pictures are one picture. Equal rows of a table may be two things that happen to be alike, so that they are
    only pointed out.

    Returns:
        What the user should know.

    Raises:
        DataError: D030, pictures are on both sides and ``allowed`` is False.
    """
    if dataset.test is None:
        return ()
    pools = [pool for pool in (dataset.inputs, dataset.unlabeled) if pool is not None]
    trained = np.concatenate([row_hashes(pool) for pool in pools])
    shared = int(np.isin(row_hashes(dataset.test.inputs), trained).sum())
    if not shared:
        return ()
    if dataset.kind == "vectors":
        what = f"{shared:,} of {many(len(dataset.test), 'test row')} equal rows that are trained on"
        return (f"warn[D030]: {what}: where they are the same thing, the scores are too good",)
    message = f"{shared:,} of {many(len(dataset.test), 'test picture')} also among those trained on"
    if not allowed:
        raise DataError("D030", message, "remove them from one side, or pass --allow-leak, which the report will say")
    return (f"warn[D030]: {message}; the scores are too good",)


def row_hashes(inputs: Inputs) -> npt.NDArray[np.uint64]:
    """(N,) a number for each example; two that differ have the same one in 1 of 2⁶⁴ cases.

    It is the sum of the example's 8-byte words times fixed random odd numbers.
    """
    size = int(np.prod(inputs.shape[1:], dtype=np.int64)) * inputs.dtype.itemsize
    words = -(-size // 8)
    factors = np.random.default_rng(0).integers(0, 2**64, words, np.uint64) | np.uint64(1)
    hashes = np.empty(len(inputs), np.uint64)
    for start in range(0, len(inputs), _CHUNK):
        part = np.ascontiguousarray(inputs[start : start + _CHUNK])
        padded = np.zeros((len(part), 8 * words), np.uint8)
        padded[:, :size] = part.reshape(len(part), -1).view(np.uint8)
        hashes[start : start + len(part)] = (padded.view(np.uint64) * factors).sum(1, dtype=np.uint64)
    return hashes
