"""The network over blocks of examples, so that the same rows always meet the same arithmetic.

Sums in convolutions and matrix products depend in their last bits on how many rows a batch has, where in it a row
stands and how many threads share it. Here the rows are cut into blocks of one size by their position in the whole list,
and each block is computed by one thread; threads work on blocks side by side. What comes out is then the same bits
whatever the number of threads, decoding workers and shards, and wherever a run was interrupted. It is no slower:
threads that never wait for each other within a layer use the cores better.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from semilla.contract import Net, View
from semilla.inference.calibration import softmax
from semilla.parts.forward import training_mode
from semilla.training import devices
from semilla.training.batches import Views

VECTORS, PICTURES, PIXELS = 1024, 128, 128 * 64 * 64
"""Rows in a block: of vectors, of small pictures, and the pixels that bound it for large ones. Changing them changes
results in their last bits."""

Item = TypeVar("Item")
Made = TypeVar("Made")


class Answer(NamedTuple):
    """What a model says of a block of n examples.

    Attributes:
        logits: float32 (n, C).
        probabilities: float32 (n, C), calibrated.
        features: float32 (n, D): what the classifier read.
    """

    logits: npt.NDArray[np.float32]
    probabilities: npt.NDArray[np.float32]
    features: npt.NDArray[np.float32]


def block_rows(shape: Sequence[int]) -> int:
    """How many inputs of a shape, (D,) or (C, H, W), make a block: a power of two."""
    if len(shape) == 1:
        return VECTORS
    return min(PICTURES, 1 << max(0, (PIXELS // (shape[1] * shape[2])).bit_length() - 1))


def answers(
    net: Net, views: Views, blocks: Iterable[npt.NDArray[np.generic]], temperature: float = 1.0, workers: int = 0
) -> Iterator[Answer]:
    """The network's answer to each block, in order; a few blocks ahead of the reader and no more.

    Args:
        net: is in evaluation mode meanwhile.
        views: prepares the inputs.
        blocks: uint8 (n, C, H, W) or float32 (n, D), each computed by itself.
        temperature: by which logits are divided before the softmax.
        workers: threads; 0 stands for one for each core, or one on a GPU.
    """
    device = next(net.parameters()).device
    workers = workers or (devices.usual_threads() if device.type == "cpu" else 1)

    @torch.inference_mode()
    def answer(block: npt.NDArray[np.generic]) -> Answer:
        rows = torch.from_numpy(np.ascontiguousarray(block)).to(device)
        view = views("none", rows, torch.zeros(len(rows), 0))
        output = net(View(_channels_last(view.inputs)))
        logits = output.logits.float().cpu().numpy()
        return Answer(logits, softmax(logits, temperature).astype(np.float32), output.features.float().cpu().numpy())

    with training_mode(net, False), devices.threads(1):
        yield from in_order(answer, blocks, workers, workers + 1)


def in_order(function: Callable[[Item], Made], items: Iterable[Item], workers: int, ahead: int) -> Iterator[Made]:
    """``map`` in threads: results in the order of the items, at most ``ahead`` of them begun and not yet read."""
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[Future[Made]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _channels_last(inputs: Tensor) -> Tensor:
    return inputs.contiguous(memory_format=torch.channels_last) if inputs.dim() == 4 else inputs
