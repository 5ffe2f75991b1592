"""Many lines: a pool that draws them when they are asked for, and blocks of them made by several processes."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import threading
from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import connection, get_context, parent_process
from typing import Any, TextIO, TypeAlias

import numpy as np
import numpy.typing as npt

from semilla.data.decoding import cores
from semilla.data.progress import Bar
from semilla.errors import ResourceError
from semilla.generating.render import Renderer
from semilla.workers import without_main

Bytes: TypeAlias = npt.NDArray[np.uint8]
IntArray: TypeAlias = npt.NDArray[np.int64]

BLOCK = 64
"""Lines that are drawn at a time by one process."""

_WORTH = 2000  # lines from which processes, which take half a second to start, are worth their while
_AHEAD = 3
_KEPT = 4096  # lines that a pool keeps at first: the batches of a few steps


@dataclass(frozen=True)
class Block:
    """Lines side by side in one buffer.

    Attributes:
        flat: uint8, one line after the other, row by row.
        widths: (n,) of each, in pixels.
        texts: of each.
        fonts: positions of their fonts.
        height: of all.
    """

    flat: Bytes
    widths: IntArray
    texts: list[str]
    fonts: list[int]
    height: int

    def __len__(self) -> int:
        return len(self.widths)

    def __iter__(self) -> Iterator[Bytes]:
        """The pictures, uint8 (H, W)."""
        ends = np.cumsum(self.widths) * self.height
        for width, end in zip(self.widths.tolist(), ends.tolist(), strict=True):
            yield self.flat[end - width * self.height : end].reshape(self.height, width)


def block(renderer: Renderer, indexes: Iterable[int]) -> Block:
    """Draw the lines at some indexes, here."""
    pictures, texts, fonts = [], [], []
    for index in indexes:
        plan = renderer.plan(index)
        pictures.append(renderer.draw(plan, index))
        texts.append(plan.text)
        fonts.append(plan.font)
    flat = np.concatenate([picture.reshape(-1) for picture in pictures]) if pictures else np.zeros(0, np.uint8)
    widths = np.array([picture.shape[1] for picture in pictures], np.int64)
    return Block(flat, widths, texts, fonts, renderer.settings.height)


def blocks(renderer: Renderer, indexes: IntArray, workers: int | None = None) -> Iterator[tuple[IntArray, Block]]:
    """Draw the lines at some indexes, `BLOCK` at a time and in order.

    Args:
        renderer: what they look like.
        indexes: which.
        workers: processes; 0 draws here, None chooses.

    Raises:
        ResourceError: R004, a worker process died.
    """
    groups = [indexes[start : start + BLOCK] for start in range(0, len(indexes), BLOCK)]
    count = (cores() if len(indexes) >= _WORTH and cores() > 1 else 0) if workers is None else workers
    if not count:
        for group in groups:
            yield group, block(renderer, group.tolist())
        return
    context = get_context("spawn")  # as in semilla.data.decoding: a fork would copy the locks of PyTorch's threads
    with ProcessPoolExecutor(count, mp_context=context, initializer=_begin, initargs=(renderer,)) as executor:
        try:
            yield from _in_order(executor, groups, _AHEAD * count)
        except BrokenProcessPool as error:
            raise ResourceError("R004", "a process that draws lines died", "look whether memory ran out") from error
        finally:
            executor.shutdown(wait=True, cancel_futures=True)


def _in_order(executor: ProcessPoolExecutor, groups: list[IntArray], ahead: int) -> Iterator[tuple[IntArray, Block]]:
    waiting: deque[tuple[IntArray, Future[Block]]] = deque()
    for group in groups:
        with without_main():
            waiting.append((group, executor.submit(_work, group.tolist())))
        if len(waiting) >= ahead:
            done, future = waiting.popleft()
            yield done, future.result()
    while waiting:
        done, future = waiting.popleft()
        yield done, future.result()


def generate(
    renderer: Renderer, count: int, start: int = 0, *, workers: int | None = None, progress: TextIO | None = None
) -> Block:
    """Draw ``count`` lines from index ``start`` on, the same in any number of processes."""
    made = []
    with Bar("drawing lines", count, "lines", progress) as bar:
        for group, one in blocks(renderer, np.arange(start, start + count), workers):
            made.append(one)
            bar.update(len(group))
    return Block(
        np.concatenate([one.flat for one in made]) if made else np.zeros(0, np.uint8),
        np.concatenate([one.widths for one in made]) if made else np.zeros(0, np.int64),
        [text for one in made for text in one.texts],
        [font for one in made for font in one.fonts],
        renderer.settings.height,
    )


class Generated:
    """A pool of generated lines that are drawn when they are asked for.

    Row i is the line at index ``start + i``. Widths and texts are known without drawing: lines are laid out once, which
    takes a fifth of the time.

    Args:
        renderer: what they look like.
        count: how many there are.
        start: index of the first.
        kept: lines kept after they were drawn.

    Attributes:
        renderer: as given.
        shape: (N, 1, H, widest).
        widths: (N,) int64, in pixels.
        texts: their labels, NFC.
        digests: uint8 (N, 16) of what each line is made from, which tells two pools apart without drawing them.
    """

    dtype, drawn = np.dtype(np.uint8), True

    def __init__(self, renderer: Renderer, count: int, start: int = 0, kept: int = _KEPT) -> None:
        self.renderer, self._start, self._limit = renderer, start, kept
        self.widths = np.zeros(count, np.int64)
        self.texts: list[str] = []
        for row in range(count):
            plan = renderer.plan(start + row)
            self.widths[row] = plan.width
            self.texts.append(plan.text)
        self.shape = (count, 1, renderer.settings.height, int(self.widths.max(initial=0)))
        whole = hashlib.blake2b(json.dumps(renderer.about(), sort_keys=True).encode(), digest_size=16)
        self.digests = np.tile(np.frombuffer(whole.digest(), np.uint8), (count, 1))
        self.digests[:, :8] ^= (start + np.arange(count, dtype=np.uint64)).view(np.uint8).reshape(count, 8)
        self._kept: OrderedDict[int, Bytes] = OrderedDict()
        self._all = np.arange(count)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any, /) -> Bytes:
        """Some rows: uint8 (…, 1, H, W), W the width of the widest of them; the others are 0 to their right."""
        index = self._all[rows]
        wanted = index.reshape(-1).tolist()
        height, widest = self.shape[2], int(self.widths[index].max(initial=0))
        pixels = np.zeros((len(wanted), 1, height, widest), np.uint8)
        for place, row in enumerate(wanted):
            pixels[place, 0, :, : self.widths[row]] = self.line(row)
        return pixels.reshape(*index.shape, 1, height, widest)

    def line(self, row: int) -> Bytes:
        """One line, without padding: uint8 (H, W)."""
        found = self._kept.pop(row, None)
        if found is None:
            found, _ = self.renderer.render(self._start + row)
        self._kept[row] = found
        if len(self._kept) > self._limit:
            self._kept.popitem(last=False)
        return found


# In a worker process

_renderer: Renderer | None = None


def _begin(renderer: Renderer) -> None:
    global _renderer
    _renderer = renderer
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group: the parent decides
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


def _work(indexes: list[int]) -> Block:
    assert _renderer is not None
    return block(_renderer, indexes)
