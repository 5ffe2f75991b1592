"""Picture files to pixels, in worker processes that do nothing else. Without PyTorch, so that they start at once."""

from __future__ import annotations

import multiprocessing
import os
import signal
import stat
from collections.abc import Sequence
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from queue import SimpleQueue
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from semilla.data.images import MAX_BYTES, MAX_PIXELS, Form, Unreadable, quiet, read_picture
from semilla.errors import ResourceError
from semilla.text import clean
from semilla.workers import without_main


class Decoded(NamedTuple):
    """The pictures of a block.

    Attributes:
        pixels: uint8 (n, C, H, W); zeros where a file could not be read.
        problems: why, by position in the block.
    """

    pixels: npt.NDArray[np.uint8]
    problems: dict[int, str]


def decode(names: Sequence[str], form: Form, max_pixels: int = MAX_PIXELS) -> Decoded:
    """Read, decode and resize some files in this process."""
    pixels = np.zeros((len(names), form.channels, form.height, form.width), np.uint8)
    problems: dict[int, str] = {}
    with quiet():  # once for all, not once for each
        for row, name in enumerate(names):
            try:
                pixels[row] = read_picture(read_file(name), form, max_pixels)[0]
            except Unreadable as problem:
                problems[row] = clean(problem.reason)
            except (OSError, ValueError) as error:  # ValueError: a NUL in a name from a list
                problems[row] = getattr(error, "strerror", None) or clean(error)
    return Decoded(pixels, problems)


class Decoders:
    """Worker processes that decode blocks of files.

    The workers ignore SIGINT and end when this process does, however it ends.

    Args:
        count: processes; 0 decodes in this one.
        form: the size to which pictures are brought.
        max_pixels: the largest picture that is opened.
    """

    def __init__(self, count: int, form: Form, max_pixels: int = MAX_PIXELS) -> None:
        self._form, self._count, self._max_pixels = form, count, max_pixels
        self._idle: SimpleQueue[tuple[SpawnProcess, Connection]] = SimpleQueue()
        self._all: list[tuple[SpawnProcess, Connection]] = []

    def __enter__(self) -> Decoders:
        context = multiprocessing.get_context("spawn")  # a fork would copy the locks of the threads
        with without_main():
            for _ in range(self._count):
                ours, theirs = context.Pipe()
                process = context.Process(target=_serve, args=(theirs, self._form, self._max_pixels), daemon=True)
                process.start()
                theirs.close()
                self._all.append((process, ours))
                self._idle.put((process, ours))
        return self

    def __exit__(self, *exception: object) -> None:
        for process, ours in self._all:
            ours.close()
            process.terminate()
            process.join()

    def __call__(self, names: Sequence[str]) -> Decoded:
        """Decode a block in an idle worker; to be called from as many threads as there are workers.

        Raises:
            ResourceError: R004, the worker died.
        """
        if not self._count:
            return decode(names, self._form, self._max_pixels)
        process, ours = worker = self._idle.get()
        try:
            ours.send(list(names))
            problems = ours.recv()
            pixels = np.empty((len(names), self._form.channels, self._form.height, self._form.width), np.uint8)
            ours.recv_bytes_into(pixels.data.cast("B"))
        except (EOFError, OSError) as error:
            process.join(1)
            message = f"a decoding worker ended (exit code {process.exitcode}) between {clean(names[0])}"
            fix = "give the rest with --resume; if it happens again at these files, look for the one that does it"
            raise ResourceError("R004", f"{message} and {clean(names[-1])}", fix) from error
        finally:
            self._idle.put(worker)
        return Decoded(pixels, problems)


def _serve(connection: Connection, form: Form, max_pixels: int) -> None:
    """Answer blocks of names until the other end is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        while True:
            decoded = decode(connection.recv(), form, max_pixels)
            connection.send(decoded.problems)
            connection.send_bytes(decoded.pixels.data.cast("B"))
    except (EOFError, OSError):
        return


def read_file(name: str) -> bytes:
    """The bytes of a regular file; a FIFO or device is never waited for.

    Raises:
        Unreadable: it is not one.
        OSError: it cannot be opened or read.
    """
    if not stat.S_ISREG(os.stat(name).st_mode):
        raise Unreadable("not a regular file")
    with open(name, "rb", opener=lambda path, flags: os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)) as file:
        return file.read(MAX_BYTES + 1)  # what is longer is refused where pictures are opened
