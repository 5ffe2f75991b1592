"""The decoded store: pictures are decompressed once and mapped into memory afterwards.

An entry is a folder ``pixels/KEY`` of the cache: ``pixels.npy`` uint8 (N, C, H, W), ``sums.npy`` float64 (N, C, 2),
``digests.npy`` uint8 (N, 16), and ``entry.json``, whose time of change is the time of its last use. The key is a hash
of what was decoded and how, so that runs share an entry and none is ever changed. An entry is prepared under a
temporary name and renamed when it is whole: of two processes that make the same one, the second finds it there.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeGuard

import numpy as np
import numpy.typing as npt

from semilla.data.images import Images
from semilla.errors import ResourceError, UsageError
from semilla.files import make_folder, remove, write_new

PIXELS, SCANS, PROBES = "pixels", "scans", "probes"
"""The folders of the cache that belong to the store. Nothing else in it is ever touched."""

_GIGABYTE = 1_000_000_000
_LIMIT, _SHARE = 20 * _GIGABYTE, 4
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_PROBES = 16
_HOUR = 3600.0
_TEMPORARY = re.compile(r"\.tmp-(\d{1,9})-")
_ARRAYS = ("pixels", "sums", "digests")


class Pool(Protocol):
    """Decoded pictures that are gathered by row."""

    sums: npt.NDArray[np.float64]
    """(N, C, 2): for each picture and channel the sum of its values and of their squares."""
    digests: npt.NDArray[np.uint8]
    """(N, 16): BLAKE2b of each picture's pixels."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, C, H, W)."""

    @property
    def dtype(self) -> np.dtype[np.uint8]:
        """Of a value: uint8."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Any, /) -> Images: ...


def is_stored(pool: object) -> TypeGuard[Pool]:
    """Whether a pool, such as those of `semilla.data.rows`, is one that knows sums and digests of its pictures."""
    return hasattr(pool, "sums") and hasattr(pool, "digests")


class ArrayPool:
    """A pool in memory, or in a file that is mapped read-only.

    Args:
        pixels: uint8 (N, C, H, W).
        sums: float64 (N, C, 2), see `Pool`.
        digests: uint8 (N, 16), see `Pool`.
    """

    def __init__(self, pixels: Images, sums: npt.NDArray[np.float64], digests: npt.NDArray[np.uint8]) -> None:
        self.pixels, self.sums, self.digests = pixels, sums, digests

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, C, H, W)."""
        return self.pixels.shape

    @property
    def dtype(self) -> np.dtype[np.uint8]:
        """Of a value: uint8."""
        return self.pixels.dtype

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, rows: Any, /) -> Images:
        """The pictures of some rows: of a slice a view, else a copy."""
        return np.asarray(self.pixels[rows])


@dataclass(frozen=True, slots=True)
class Entry:
    """Something in the cache.

    Attributes:
        path: the file or folder.
        kind: ``pixels``; ``scans``, what the last look at a collection found; ``probes``, how fast a network is.
        name: of the collection.
        pictures: how many.
        size: bytes on the disk.
        used: time of its last use, in seconds since 1970.
        place: where the collection lay when it was decoded; "" where that is not known.
    """

    path: Path
    kind: str
    name: str
    pictures: int
    size: int
    used: float
    place: str = ""

    @property
    def key(self) -> str:
        """A few characters that tell it from others of its name."""
        return self.path.stem.rpartition("-")[2][:6]


def cache_folder() -> Path:
    """Where decoded data are kept: ``SEMILLA_CACHE``, else ``semilla`` in ``XDG_CACHE_HOME`` or in ``~/.cache``."""
    if own := os.environ.get("SEMILLA_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "semilla"


def cache_limit() -> int:
    """Bytes the store may take: ``SEMILLA_CACHE_LIMIT`` such as ``500MB``, else the smaller of 20 GB and a quarter of
    what would be free without it.

    Raises:
        UsageError: U030, the variable cannot be understood.
    """
    if text := os.environ.get("SEMILLA_CACHE_LIMIT"):
        match = re.fullmatch(r"(\d+(?:\.\d+)?) ?([KMGT]?)B?", text.strip().upper())
        if match is None:
            raise UsageError("U030", f"SEMILLA_CACHE_LIMIT is {text!r}", "write a number of bytes, or such as 5GB")
        return int(float(match[1]) * _UNITS[match[2]])
    folder = cache_folder().absolute()
    existing = next(place for place in (folder, *folder.parents) if place.is_dir())
    return min(_LIMIT, (shutil.disk_usage(existing).free + sum(entry.size for entry in entries())) // _SHARE)


def entries() -> list[Entry]:
    """What is in the cache, the most recently used first."""
    found = []
    for kind in (PIXELS, SCANS, PROBES):
        with suppress(OSError):
            found += [_entry(path, kind) for path in sorted((cache_folder() / kind).iterdir()) if path.name[0] != "."]
    return sorted(found, key=lambda entry: -entry.used)


def sets(found: Iterable[Entry]) -> list[list[Entry]]:
    """Entries put together: of one collection pixels and looks, of one network what was measured; in their order."""
    found = list(found)
    pools = {entry.path.name: entry for entry in found if entry.kind == PIXELS}
    together: dict[tuple[bool, str, str], list[Entry]] = {}
    for entry in found:
        own = pools.get(_pool_of(entry.path), entry) if entry.kind == SCANS else entry
        identity = "" if own.kind == PROBES else own.place or own.key
        together.setdefault((own.kind == PROBES, own.name, identity), []).append(entry)
    return list(together.values())


def clear(older_than: float = 0.0) -> list[Entry]:
    """Remove entries, and what dead processes left half made.

    Args:
        older_than: days since the last use; younger entries stay.

    Returns:
        What was removed.
    """
    for kind in (PIXELS, SCANS, PROBES):
        _remove_stale(cache_folder() / kind, 0)
    before = time.time() - older_than * 86_400
    return [entry for entry in entries() if entry.used <= before and _removed(entry.path)]


def open_pool(key: str, shape: tuple[int, ...], starts: npt.NDArray[np.int64] | None = None) -> ArrayPool | None:
    """The pool of a key if it is in the store and whole, else None.

    Args:
        key: what `Draft.finish` got.
        shape: (N, C, H, W) it must have; (K, H) of lines.
        starts: of lines, where each begins: `semilla.data.lines.Starts`.
    """
    folder = cache_folder() / PIXELS / key
    if not folder.is_dir():
        return None
    try:
        pool = _load(folder, shape, starts)
    except (OSError, ValueError, EOFError, KeyError, TypeError):
        pool = None
    if pool is None:
        _removed(folder)
        return None
    with suppress(OSError):  # a cache that others own
        os.utime(folder / "entry.json")
    return pool


class Draft:
    """A pool in the making: in the store if it can be written there, else in memory.

    Args:
        name: of the collection.
        shape: (N, C, H, W), N at least 1; (K, H) for the columns of lines, K at least 1.
        place: where it lies, to tell it from others of its name.
        starts: where each line begins, see `open_pool`.

    Attributes:
        pixels: uint8 (N, C, H, W), zero at first, to be filled.
        note: why it is not in the store, or "".
    """

    def __init__(
        self, name: str, shape: tuple[int, ...], place: str = "", starts: npt.NDArray[np.int64] | None = None
    ) -> None:
        self.name, self.shape, self.place, self.note, self.starts = name, shape, place, "", starts
        self._folder: Path | None = None
        try:
            self.pixels: Images = self._prepare()
        except (OSError, ResourceError) as error:
            self.discard()
            self._folder = None
            self._give_up(error)
            self.pixels = np.zeros(shape, np.uint8)
        except BaseException:  # a signal: whoever asked has no draft yet that it could discard
            self.discard()
            raise

    def finish(self, key: str, sums: npt.NDArray[np.float64], digests: npt.NDArray[np.uint8]) -> ArrayPool:
        """The pool, read-only from now on.

        Args:
            key: its name in the store, a hash of what was decoded and how.
            sums: float64 (N, C, 2), see `Pool`.
            digests: uint8 (N, 16), see `Pool`.
        """
        if self._folder is not None:
            try:
                return self._publish(self._folder, key, sums, digests)
            except (OSError, ResourceError) as error:  # what is mapped stays readable when its name is gone
                self._give_up(error)
            finally:
                self.discard()
        self.pixels.flags.writeable = False
        return ArrayPool(self.pixels, sums, digests)

    def discard(self) -> None:
        """Remove what is half made; nothing happens after `finish`."""
        if self._folder is not None and self._folder.is_dir():
            with suppress(OSError):
                remove(self._folder)

    def _prepare(self) -> Images:
        """A file of the full size, its place on the disk reserved: a full disk shows now, as an error."""
        parent = cache_folder().absolute() / PIXELS
        _make_shared(parent)
        _remove_stale(parent, _HOUR)
        size = int(np.prod(self.shape, dtype=np.int64))
        if size > cache_limit():
            raise OSError(f"{size / 1e9:.1f} GB exceed the cache's limit (SEMILLA_CACHE_LIMIT)")
        _make_room(size)
        # Named before it is made, so that a signal between the two leaves nothing that nobody knows.
        self._folder = parent / f".tmp-{os.getpid()}-{secrets.token_hex(8)}"
        self._folder.mkdir(mode=0o700)
        with (self._folder / "pixels.npy").open("xb") as file:
            np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": self.shape})
            file.flush()
            os.posix_fallocate(file.fileno(), file.tell(), size)
        pixels: Images = np.lib.format.open_memmap(self._folder / "pixels.npy", "r+")
        return pixels

    def _publish(
        self, folder: Path, key: str, sums: npt.NDArray[np.float64], digests: npt.NDArray[np.uint8]
    ) -> ArrayPool:
        assert isinstance(self.pixels, np.memmap)
        self.pixels.flush()
        for name, array in (("sums.npy", sums), ("digests.npy", digests)):
            buffer = io.BytesIO()
            np.save(buffer, array, allow_pickle=False)
            write_new(folder / name, buffer.getvalue())
        about = {"name": self.name, "place": self.place, "pictures": len(digests)}
        about["columns"] = _checksum(sums, digests)
        write_new(folder / "entry.json", json.dumps(about).encode())
        for _ in range(2):
            with suppress(OSError):  # not empty: another process was faster
                os.rename(folder, folder.with_name(key))
            pool = open_pool(key, self.shape, self.starts)  # removes what is damaged, so that the second try succeeds
            if pool is not None:
                return pool
        raise OSError(f"{folder.with_name(key)} cannot be replaced")

    def _give_up(self, error: Exception) -> None:
        reason = error.message if isinstance(error, ResourceError) else str(error)
        self.note = f"{self.name}: the decoded pictures could not be kept for the next time: {reason}"


def scan_file(name: str, key: str) -> Path:
    """Where the record of a collection's last scan lies."""
    return cache_folder() / SCANS / f"{re.sub(r'[^A-Za-z0-9.-]', '_', name)[:40]}-{key}.npz"


def probe_file(name: str, key: str) -> Path:
    """Where the record of what was measured of a network lies."""
    return cache_folder() / PROBES / f"{re.sub(r'[^A-Za-z0-9.-]', '_', name)[:40]}-{key}.json"


def fits_in_memory(size: int) -> bool:
    """Whether some bytes are at most half of the machine's memory."""
    return size <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2


def _load(folder: Path, shape: tuple[int, ...], starts: npt.NDArray[np.int64] | None) -> ArrayPool | None:
    """An entry, or None where it is not what it should be: the arrays' forms, the columns' checksum, and the digests of
    a few pictures: to look at all pixels at every start would cost what the store saves.
    """
    pixels, sums, digests = (
        np.load(folder / f"{name}.npy", mmap_mode="r" if name == "pixels" else None, allow_pickle=False)
        for name in _ARRAYS
    )
    rows, channels = shape[:2] if starts is None else (len(starts) - 1, 1)
    forms = [(array.dtype.str, array.shape) for array in (pixels, sums, digests)]
    if forms != [("|u1", shape), ("<f8", (rows, channels, 2)), ("|u1", (rows, 16))]:
        return None
    if json.loads((folder / "entry.json").read_text("ascii"))["columns"] != _checksum(sums, digests):
        return None
    probes = np.unique(np.linspace(0, rows - 1, min(rows, _PROBES)).astype(np.int64))
    looked = pixels[probes] if starts is None else [pixels[starts[row] : starts[row + 1]] for row in probes]
    told = pixel_digests(looked)
    if not np.array_equal(told, digests[probes]):
        return None
    return ArrayPool(pixels, sums, digests)


def pixel_digests(pixels: Iterable[Images]) -> npt.NDArray[np.uint8]:
    """The digest of each picture, uint8 (N, 16)."""
    joined = b"".join(hashlib.blake2b(picture.tobytes(), digest_size=16).digest() for picture in pixels)
    return np.frombuffer(joined, np.uint8).reshape(-1, 16)


def _checksum(sums: npt.NDArray[np.float64], digests: npt.NDArray[np.uint8]) -> str:
    return hashlib.sha256(sums.tobytes() + digests.tobytes()).hexdigest()


def _entry(path: Path, kind: str) -> Entry:
    """What a path of the cache is; unreadable ones count as nothing, used long ago."""
    name, pictures, size, used, place = path.stem, 0, 0, 0.0, ""
    with suppress(OSError, ValueError, TypeError, KeyError, AttributeError):
        if kind == PIXELS:
            size = sum(child.stat().st_size for child in path.iterdir())
            used = (path / "entry.json").stat().st_mtime
            told = json.loads((path / "entry.json").read_text("ascii"))
            name, pictures, place = str(told["name"]), int(told["pictures"]), str(told.get("place", ""))
        else:
            size, used, name = path.stat().st_size, path.stat().st_mtime, path.stem.rsplit("-", 1)[0]
    return Entry(path, kind, name, pictures, size, used, place)


def _pool_of(path: Path) -> str:
    """The key of the pixels that a look left behind; "" where that cannot be told."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            return str(json.loads(stored["told"].tobytes())["pool"])
    except Exception:  # a damaged archive raises whatever its readers stumble over
        return ""


def _make_shared(path: Path) -> None:
    """Make a folder that another process may be making at the same time."""
    with suppress(FileExistsError):
        make_folder(path)
    path.mkdir(parents=True, exist_ok=True)


def _make_room(size: int) -> None:
    """Remove the entries used longest ago until some bytes more stay below the limit."""
    found = entries()
    excess = sum(entry.size for entry in found) + size - cache_limit()
    for entry in reversed(found):
        if excess <= 0:
            return
        if _removed(entry.path):
            excess -= entry.size


def _removed(path: Path) -> bool:
    """Remove an entry. It is renamed first, so that nobody finds half of it."""
    doomed = path.with_name(f".tmp-{os.getpid()}-{path.name}")
    try:
        remove(doomed)
        os.rename(path, doomed)
        remove(doomed)
    except OSError:
        return False
    return True


def _remove_stale(folder: Path, seconds: float) -> None:
    """Remove what was left half made by processes that seem dead and did not touch it for some time.

    The time is for processes in other containers, whose numbers mean nothing here.
    """
    for path in folder.glob(".tmp-*"):
        owner = _TEMPORARY.match(path.name)
        with suppress(OSError):
            if owner and not _alive(int(owner[1])) and path.stat().st_mtime < time.time() - seconds:
                remove(path)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError as error:
        return isinstance(error, PermissionError)
    return True
