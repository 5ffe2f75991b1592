"""Decoding many pictures: rows in, pixels and findings out, here, in threads or in processes, always with one result.

Worker processes are started afresh (spawn), not forked: a fork would copy the locks of whatever threads PyTorch runs.
They import this page and nothing of the user's program, and end when their parent does.
"""

from __future__ import annotations

import hashlib
import os
import signal
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection, get_context, parent_process
from typing import Any

import numpy as np
from PIL import Image

from semilla.data.blobs import Blobs, InMemory
from semilla.data.findings import Findings
from semilla.data.images import (
    MAX_PIXELS,
    Facts,
    Form,
    Images,
    LineForm,
    Unreadable,
    difference_hashes,
    open_picture,
    quiet,
    to_array,
    to_line,
)
from semilla.data.labels import IntArray
from semilla.data.store import pixel_digests
from semilla.errors import DataError, ResourceError
from semilla.workers import without_main

_MANY = 4000  # pictures from which two processes, which take 0.4 s to start, are worth their while
_HEAVY = 30_000  # bytes of a file from which decoding leaves Python alone long enough for threads to pay
_MOST_WORKERS, _AHEAD = 16, 3


def decode(
    blobs: Blobs, rows: IntArray, form: Form | LineForm, max_pixels: int = MAX_PIXELS
) -> tuple[Images, Findings]:
    """Decode some rows, and say what was found out.

    Returns:
        The pixels, uint8 (n, C, H, W), zero where a picture is unreadable; of lines uint8 (K, H), the columns of one
        readable line after the other. And the findings.
    """
    if isinstance(form, LineForm):
        return _decode_lines(blobs, rows, form, max_pixels)
    found = Findings.blank(len(rows), form.channels)
    pixels = np.zeros((len(rows), form.channels, form.height, form.width), np.uint8)
    for place, image, _ in _opened(blobs, rows, form, max_pixels, found):
        pixels[place] = to_array(image, form)
    found.digests[:] = pixel_digests(pixels)
    values = pixels.astype(np.float64)
    found.hashes[:] = difference_hashes(values)
    flat = values.reshape(*values.shape[:2], -1)
    # As products of matrices, which take a fifth of the time of sums; exact, for all are whole numbers.
    found.sums[:, :, 0] = flat @ np.ones(flat.shape[2])
    found.sums[:, :, 1] = (flat[:, :, None, :] @ flat[:, :, :, None])[:, :, 0, 0]
    return pixels, found


def _decode_lines(blobs: Blobs, rows: IntArray, form: LineForm, max_pixels: int) -> tuple[Images, Findings]:
    found = Findings.blank(len(rows), form.channels)
    lines = [np.empty((0, form.height), np.uint8)]
    for place, image, facts in _opened(blobs, rows, form, max_pixels, found):
        if (width := form.width_of(facts)) > form.widest:
            found.problems[place] = f"{width:,} pixels wide at a height of {form.height}; the limit is {form.widest:,}"
            continue
        lines.append(line := to_line(image, width, form.height))
        found.digests[place] = pixel_digests([line])[0]
        values = line.reshape(-1).astype(np.float64)
        found.sums[place, 0] = values.sum(), values @ values
    return np.concatenate(lines), found


def _opened(
    blobs: Blobs, rows: IntArray, form: Form | LineForm, max_pixels: int, found: Findings
) -> Iterator[tuple[int, Image.Image, Facts]]:
    """Place, picture and facts of each readable row; what else is found out goes into ``found``."""
    contents = bytearray(32 * len(rows))
    with quiet():
        for place, row in enumerate(rows.tolist()):
            try:
                blob = blobs.read(row)
                found.sizes[place] = len(blob)
                contents[32 * place : 32 * (place + 1)] = hashlib.sha256(blob).digest()
                image, found.facts[place] = open_picture(blob, max_pixels, form)
            except (Unreadable, DataError, OSError) as error:
                found.problems[place] = _reason(error, blobs.name(row))
                continue
            facts = found.facts[place]
            assert facts is not None
            yield place, image, facts
    found.contents[:] = np.frombuffer(contents, np.uint8).reshape(-1, 32)


class Workers:
    """Decoders of one collection. Use it as a context, so that they end.

    Args:
        blobs: the encoded pictures.
        form: to what they are brought.
        max_pixels: largest picture that is decoded.
        kind: ``here``, ``threads`` or ``processes``; `fitting_kind` chooses.
        count: how many at once.
    """

    def __init__(self, blobs: Blobs, form: Form | LineForm, max_pixels: int, kind: str, count: int) -> None:
        self.blobs, self.form, self.max_pixels, self.count = blobs, form, max_pixels, count
        self._executor: Executor | None = None
        if kind == "processes":
            sent = None if isinstance(blobs, InMemory) else blobs
            try:
                self._executor = ProcessPoolExecutor(
                    count, mp_context=get_context("spawn"), initializer=_begin, initargs=(sent, form, max_pixels)
                )
            except (OSError, ImportError, NotImplementedError):  # a system without shared semaphores
                kind = "threads"
        if kind == "threads":
            self._executor = ThreadPoolExecutor(count)

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        if self._executor is not None:
            self._executor.shutdown(cancel_futures=True)

    def run(self, groups: Iterable[IntArray]) -> Iterator[tuple[IntArray, Images, Findings]]:
        """Decode groups of rows, in order, a few groups ahead of the caller.

        Raises:
            ResourceError: R004, a worker process died.
        """
        if self._executor is None:
            for rows in groups:
                yield rows, *decode(self.blobs, rows, self.form, self.max_pixels)
            return
        waiting: deque[tuple[IntArray, Future[tuple[Images, Findings]]]] = deque()
        for rows in groups:
            waiting.append((rows, self._submit(rows)))
            if len(waiting) >= _AHEAD * self.count:
                yield self._result(*waiting.popleft())
        while waiting:
            yield self._result(*waiting.popleft())

    def _submit(self, rows: IntArray) -> Future[tuple[Images, Findings]]:
        assert self._executor is not None
        if isinstance(self._executor, ThreadPoolExecutor):
            return self._executor.submit(decode, self.blobs, rows, self.form, self.max_pixels)
        sent = InMemory([self.blobs.read(row) for row in rows.tolist()]) if isinstance(self.blobs, InMemory) else None
        with without_main():  # this is where processes start
            try:
                return self._executor.submit(_work, rows, sent)
            except BrokenProcessPool as error:  # to be told in its turn: those submitted before may say where
                broken: Future[tuple[Images, Findings]] = Future()
                broken.set_exception(error)
                return broken

    def _result(self, rows: IntArray, future: Future[tuple[Images, Findings]]) -> tuple[IntArray, Images, Findings]:
        try:
            return rows, *future.result()
        except BrokenProcessPool as error:
            raise self._died(rows) from error

    def _died(self, rows: IntArray) -> ResourceError:
        first, last = self.blobs.name(int(rows[0])), self.blobs.name(int(rows[-1]))
        message = f"a process that decodes pictures died, at or after those from {first} to {last}"
        return ResourceError("R004", message, "look whether memory ran out; a damaged picture may be the cause as well")


class StreamingPool:
    """A pool that is too large to keep: its pictures are decoded when they are asked for.

    Args:
        blobs: the encoded pictures.
        form: to what they are brought.
        max_pixels: largest picture that is decoded.
        findings: of all rows, from the scan.
    """

    def __init__(self, blobs: Blobs, form: Form, max_pixels: int, findings: Findings) -> None:
        self.blobs, self.form, self.max_pixels = blobs, form, max_pixels
        self.sums, self.digests, self._contents = findings.sums, findings.digests, findings.contents
        self.shape = (len(findings), form.channels, form.height, form.width)
        self.dtype = np.dtype(np.uint8)
        self._readable, self._all = findings.readable, np.arange(len(findings))
        self._workers: Workers | None = None

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any, /) -> Images:
        """Some rows, as indexing an array gives them.

        Raises:
            DataError: D045, a picture changed since the scan.
            ResourceError: R004, a worker process died.
        """
        index = self._all[rows]
        wanted = index.reshape(-1)
        pixels = np.zeros((len(wanted), *self.shape[1:]), np.uint8)
        places = np.flatnonzero(self._readable[wanted])
        if len(places):
            groups = np.array_split(places, min(len(places), self._crew().count))
            rows_of = (wanted[group] for group in groups)
            for group, (_, decoded, found) in zip(groups, self._crew().run(rows_of), strict=True):
                self._check(wanted[group], found)
                pixels[group] = decoded
        return pixels.reshape(*index.shape, *self.shape[1:])

    def _crew(self) -> Workers:
        if self._workers is None:
            kind = "processes" if len(self) >= _MANY and cores() > 1 else "threads" if cores() > 1 else "here"
            self._workers = Workers(self.blobs, self.form, self.max_pixels, kind, cores())
        return self._workers

    def _check(self, rows: IntArray, found: Findings) -> None:
        changed = np.flatnonzero((found.contents != self._contents[rows]).any(1))
        if len(changed):
            names = ", ".join(self.blobs.name(int(row)) for row in rows[changed[:5]])
            message = f"{len(changed)} pictures changed since they were looked at: {names}"
            raise DataError("D045", message, "restore them, or start again with the data as they are now")


def cores() -> int:
    """Processors this process may use, within reason."""
    return min(_MOST_WORKERS, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def fitting_kind(pictures: int, mean_bytes: float) -> str:
    """Where so many pictures are best decoded, an argument of `Workers`."""
    if cores() == 1:
        return "here"
    if pictures >= _MANY:
        return "processes"
    return "threads" if mean_bytes >= _HEAVY else "here"


def _reason(error: Exception, name: str) -> str:
    if isinstance(error, Unreadable):
        return error.reason
    if isinstance(error, DataError):
        return error.message.removeprefix(name).lstrip(": ")
    return f"cannot be read: {getattr(error, 'strerror', None) or error}"


# In a worker process

_job: tuple[Blobs | None, Form | LineForm, int] | None = None


def _begin(blobs: Blobs | None, form: Form | LineForm, max_pixels: int) -> None:
    global _job
    _job = (blobs, form, max_pixels)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group: the parent decides
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


def _work(rows: IntArray, sent: InMemory | None) -> tuple[Images, Findings]:
    assert _job is not None
    blobs, form, max_pixels = _job
    if sent is not None:
        return decode(sent, np.arange(len(sent)), form, max_pixels)
    assert blobs is not None
    return decode(blobs, rows, form, max_pixels)
