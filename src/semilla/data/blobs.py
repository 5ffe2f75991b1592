"""Where encoded pictures come from: something small that can be sent to worker processes, which read by themselves."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from semilla.data.images import MAX_BYTES
from semilla.errors import DataError

Stamp = tuple[int, int]
"""Bytes and time of the last change in ns: a content with an unchanged stamp is taken to be unchanged."""


class Blobs(Protocol):
    """Encoded pictures by row. Picklable, and cheap to pickle unless it is `InMemory`."""

    def __len__(self) -> int: ...

    def read(self, row: int) -> bytes:
        """The encoded picture; raises DataError or OSError where it cannot be had."""

    def stamp(self, row: int) -> Stamp | None:
        """What tells that the content is unchanged, without reading it; None where nothing does."""

    def name(self, row: int) -> str:
        """For messages, and together with `describe` and `stamp` the identity of the row from start to start."""

    def describe(self) -> str:
        """Where the collection lies, such as the absolute path of its folder; "" where there is no such place."""


@dataclass(frozen=True, eq=False)
class Files:
    """Plain files below some folders.

    A link is followed only if it leads to a regular file below the same folder; pipes, sockets and devices are never
    opened.

    Attributes:
        roots: the folders.
        root_of: int (N,) which of them each file lies in.
        paths: relative to it, with "/", as `os.fsdecode` gives them.
    """

    roots: tuple[str, ...]
    root_of: npt.NDArray[np.integer[Any]]
    paths: tuple[str, ...]
    _inside: dict[str, bool] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        if len(self.root_of) != len(self.paths):
            raise ValueError(f"{len(self.paths)} paths in {len(self.root_of)} roots")

    @classmethod
    def below(cls, root: str | os.PathLike[str], paths: Sequence[str]) -> Files:
        """Files below one folder."""
        return cls((os.fspath(root),), np.zeros(len(paths), np.int64), tuple(paths))

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, row: int) -> bytes:
        """The content of a file.

        Raises:
            DataError: D014, it is a link or lies behind one that leads elsewhere, it is no regular file, or it is
                larger than is read.
            OSError: it is missing or forbidden.
        """
        path = self._path(row)
        self._check_folder(row, os.path.dirname(path))
        try:
            descriptor = _open(path)
        except OSError as error:
            if error.errno != errno.ELOOP:
                raise
            descriptor = _open(self._target(row, path))
        try:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise DataError("D014", f"{self.paths[row]} is not a regular file", "remove it")
            if found.st_size > MAX_BYTES:
                message = f"{self.paths[row]}: {found.st_size:,} bytes exceed the limit of {MAX_BYTES:,}"
                raise DataError("D014", message, "store it smaller")
            return _read_all(descriptor, found.st_size)
        finally:
            os.close(descriptor)

    def stamp(self, row: int) -> Stamp | None:
        """Size and time of the last change."""
        try:
            found = os.stat(self._path(row))
        except OSError:
            return None
        return (found.st_size, found.st_mtime_ns) if stat.S_ISREG(found.st_mode) else None

    def name(self, row: int) -> str:
        """The relative path."""
        return self.paths[row]

    def describe(self) -> str:
        """The absolute paths of the folders."""
        return "\n".join(map(os.path.abspath, self.roots))

    def _path(self, row: int) -> str:
        return f"{self.roots[self.root_of[row]]}/{self.paths[row]}"

    def _check_folder(self, row: int, folder: str) -> None:
        """Refuse what lies behind a link to a folder elsewhere, or above the root; each folder is looked at once."""
        if folder not in self._inside:
            self._inside[folder] = self._is_inside(row, os.path.realpath(folder))
        if not self._inside[folder]:
            raise DataError("D014", f"{self.paths[row]} leads out of the data folder", "copy the file into it")

    def _is_inside(self, row: int, real: str) -> bool:
        root = os.path.realpath(self.roots[self.root_of[row]])
        return real == root or real.startswith(root.rstrip("/") + "/")

    def _target(self, row: int, path: str) -> str:
        """Where a link leads, if that is inside."""
        real = os.path.realpath(path)
        if os.path.islink(real) or not self._is_inside(row, real):  # a loop stays a link
            raise DataError("D014", f"{self.paths[row]} is a link out of the data folder", "copy the file into it")
        return real


@dataclass(frozen=True, eq=False)
class InMemory:
    """Encoded pictures that the caller holds.

    Attributes:
        blobs: the pictures.
    """

    blobs: Sequence[bytes]

    def __len__(self) -> int:
        return len(self.blobs)

    def read(self, row: int) -> bytes:
        """The encoded picture."""
        return self.blobs[row]

    def stamp(self, row: int) -> Stamp | None:
        """None: the content must be looked at."""
        return None

    def name(self, row: int) -> str:
        """The number of the row."""
        return f"row {row}"

    def describe(self) -> str:
        """Nothing: such a collection lies nowhere."""
        return ""


def _open(path: str) -> int:
    return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe must not be waited for


def _read_all(descriptor: int, size: int) -> bytes:
    data = os.read(descriptor, size)
    while len(data) < size and (more := os.read(descriptor, size - len(data))):  # one call may give less
        data += more
    return data
