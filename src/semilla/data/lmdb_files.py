"""LMDB as text-recognition projects keep their sets: ``num-samples``, ``image-000000001`` …, ``label-000000001`` ….

It is opened read-only and without a lock file. The library reads a file by mapping it into memory, where a file that is
shorter than it says would end the process: that is looked at before anything is read.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from semilla.data.blobs import Stamp
from semilla.data.gathered import Gathered
from semilla.data.joined import Found
from semilla.data.labels import IntArray
from semilla.data.manifest import Manifest
from semilla.errors import DataError
from semilla.text import many

_DATA = "data.mdb"
_MOST = 999_999_999  # numbers have nine digits


def lmdb_file(place: str) -> str | None:
    """The data file of an LMDB, given its folder or the file itself; None where there is none."""
    if os.path.isdir(place):
        file = os.path.join(place, _DATA)
        return file if os.path.isfile(file) else None
    return place if place.lower().endswith((".mdb", ".lmdb")) else None


@dataclass(frozen=True, eq=False)
class LmdbPictures:
    """The encoded pictures of an LMDB.

    Attributes:
        file: its data file.
        numbers: int64 (N,) the number in each picture's key.
        status: size and time of the last change of the file when it was first looked at.
    """

    file: str
    numbers: IntArray
    status: Stamp

    def __len__(self) -> int:
        return len(self.numbers)

    def read(self, row: int) -> bytes:
        """The encoded picture.

        Raises:
            DataError: D006, the file is damaged or not what it was.
        """
        with _reading(self.file) as transaction:
            return bytes(transaction.get(_key("image", int(self.numbers[row])), b""))

    def stamp(self, row: int) -> Stamp | None:
        """Size and time of the last change of the file."""
        return self.status

    def name(self, row: int) -> str:
        """File and key."""
        return f"{os.path.basename(self.file)}#{_key('image', int(self.numbers[row])).decode()}"

    def describe(self) -> str:
        """The absolute path of the file."""
        return os.path.abspath(self.file)


def read_lmdb(place: str) -> Found:
    """Read the labels of an LMDB; its pictures stay where they are.

    Args:
        place: its folder, or its data file.

    Raises:
        DataError: D006, the file is damaged; D007, the library is missing; D073, a label that is not UTF-8; D170, no
            number of samples; D171, a picture that should be there is not.
    """
    file = lmdb_file(place)
    assert file is not None
    name = _name(place)
    found = os.stat(file)
    with _reading(file) as transaction:
        count = _count(transaction, name)
        missing = [number for number in range(1, count + 1) if not _has(transaction, number)]
        if missing:
            key, more = _key("image", missing[0]).decode(), f" ({len(missing):,} in all)" if len(missing) > 1 else ""
            message = f"{name}: it says {count:,} samples, and {key} is not there{more}"
            raise DataError("D171", message, "write the LMDB again")
        labels = [_label(transaction, number, name) for number in range(1, count + 1)]
    pictures = LmdbPictures(file, np.arange(1, count + 1), (found.st_size, found.st_mtime_ns))
    paths = tuple(pictures.name(row) for row in range(count))
    known = sum(label is not None for label in labels)
    note = f"{many(count, 'picture')} of the LMDB {name!r}, {known:,} with a label"
    blank = ("",) * count
    manifest = Manifest(name, paths, tuple(labels), ("train",) * count, blank, notes=(note,))
    return Found(manifest, Gathered.of(pictures, range(count), paths))


def _name(place: str) -> str:
    path = Path(place)
    return path.stem if path.is_file() and path.name != _DATA else Path(os.path.realpath(place)).name or "data"


def _key(kind: str, number: int) -> bytes:
    return f"{kind}-{number:09d}".encode()


def _count(transaction: Any, name: str) -> int:
    value = transaction.get(b"num-samples")
    text = bytes(value or b"").decode("ascii", "replace").strip()
    if not text.isascii() or not text.isdecimal() or not 0 < int(text) <= _MOST:
        what = "there is no key num-samples" if value is None else f"num-samples is {text[:20]!r}"
        fix = "what is read has the keys num-samples, image-000000001 … and label-000000001 …"
        raise DataError("D170", f"{name}: {what}", fix)
    return int(text)


def _has(transaction: Any, number: int) -> bool:
    return transaction.get(_key("image", number)) is not None


def _label(transaction: Any, number: int, name: str) -> str | None:
    key = _key("label", number)
    try:
        return bytes(transaction.get(key, b"")).decode() or None
    except UnicodeDecodeError as error:
        message = f"{name}: {key.decode()} is not UTF-8 (byte {error.start + 1})"
        raise DataError("D073", message, "write the label as UTF-8") from error


# A process may open a file once only, whatever reads it.

_open_files: dict[str, tuple[tuple[int, ...], Any]] = {}
_opening = threading.Lock()


@contextmanager
def _reading(file: str) -> Iterator[Any]:
    """A transaction that reads without copying."""
    lmdb = _library(file)
    try:
        with _environment(lmdb, file).begin(buffers=True) as transaction:
            yield transaction
    except lmdb.Error as error:
        raise _damaged(file, str(error)) from error


def _library(file: str) -> Any:
    try:
        import lmdb
    except ImportError as error:
        fix = "pip install 'semilla[text]'"
        raise DataError("D007", f"reading {os.path.basename(file)} needs the package lmdb", fix) from error
    return lmdb


def _environment(lmdb: Any, file: str) -> Any:
    real = os.path.realpath(file)
    found = os.stat(real)
    status = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
    with _opening:
        known = _open_files.get(real)
        if known is not None and known[0] == status:
            return known[1]
        if known is not None:
            _open_files.pop(real)[1].close()
        opened = lmdb.open(real, subdir=False, readonly=True, lock=False, create=False, readahead=False)
        pages, size = opened.info()["last_pgno"] + 1, opened.stat()["psize"]
        if pages * size > found.st_size:
            opened.close()
            raise _damaged(file, f"{found.st_size:,} bytes of {pages * size:,}")
        _open_files[real] = status, opened
        return opened


def _damaged(file: str, reason: str) -> DataError:
    name = os.path.join(*Path(file).parts[-2:])
    return DataError("D006", f"{name}: damaged LMDB ({reason[:100]})", "copy or write it again")
