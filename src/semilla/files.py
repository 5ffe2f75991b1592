"""Files that survive a crash: every byte semilla must not lose goes through this page.

A file is written beside its final place under a temporary name, flushed to the disk, renamed, and the folder is flushed
as well: after a crash or a power cut either the old file is there or the new one. One process writes to a run folder
at a time. Links are never followed when a file is made. POSIX only.

For tests the disk can be replaced (`disk`) and faults can be ordered through the environment:
``SEMILLA_FAULT="checkpoint.rename:3:kill"`` acts the third time that point is reached. Points: ``checkpoint.begin``,
``.tensors``, ``.state``, ``.rename``, ``.renamed``, ``.prune``, ``metrics.append``, and the name of every file written
by `write_atomic`, such as ``run.json``.
"""

from __future__ import annotations

import errno
import fcntl
import functools
import json
import math
import os
import re
import shutil
import signal
import stat
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, NoReturn, TypeAlias

from semilla.errors import ResourceError, StateError, UsageError

JSON: TypeAlias = Any
"""None, bool, int, float, str, or lists and dicts of these; the keys of a dict are strings."""

JSON_BYTES, JSON_DEPTH = 64 * 2**20, 50

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_DAMAGE = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENXIO, errno.EIO}
_EXHAUSTED = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG, errno.EMFILE, errno.ENFILE}
_EXHAUSTED |= {errno.EROFS, errno.EACCES, errno.EPERM}
_TEMPORARY = re.compile(r"\.tmp-(\d{1,9})-")
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_SLEEP_SECONDS = 5.0


class Disk:
    """The disk operations of a save, one method each: what a test replaces to record them or to make one fail."""

    def create(self, path: Path) -> int:
        """Make a new file and return its descriptor; an existing file or link is an error."""
        return os.open(path, _CREATE, 0o666)

    def write(self, descriptor: int, data: memoryview) -> int:
        """Write what the system takes at once and return how many bytes that was."""
        return os.write(descriptor, data)

    def fsync(self, descriptor: int) -> None:
        """Wait until the file's bytes are on the disk."""
        os.fsync(descriptor)

    def fsync_dir(self, path: Path) -> None:
        """Wait until the folder's entries are on the disk."""
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        except OSError as error:
            if error.errno != errno.EINVAL:  # some network file systems cannot flush a folder
                raise
        finally:
            os.close(descriptor)

    def mkdir(self, path: Path) -> None:
        """Make a folder; an existing one is an error."""
        os.mkdir(path)

    def rename(self, old: Path, new: Path) -> None:
        """Give an entry another name, replacing what has that name, in one step."""
        os.rename(old, new)

    def unlink(self, path: Path) -> None:
        """Remove a file or a link."""
        os.unlink(path)

    def rmdir(self, path: Path) -> None:
        """Remove an empty folder."""
        os.rmdir(path)

    def free(self, path: Path) -> int:
        """Bytes free on the disk that holds ``path``."""
        return shutil.disk_usage(path).free


disk = Disk()
"""The disk in use."""


def write_new(path: Path, data: bytes) -> None:
    """Write a file that does not exist yet and wait until its bytes are on the disk."""
    descriptor = disk.create(path)
    try:
        rest = memoryview(data)
        while rest:  # one call may take less than it was given
            rest = rest[disk.write(descriptor, rest) :]
        disk.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_atomic(path: Path, data: bytes) -> None:
    """Write a file so that a crash leaves the old one or the new one, whole.

    Raises:
        ResourceError: R001, the disk is full or fails; the old file is untouched.
    """
    with resource_errors(f"cannot write {path.name}", path.parent, len(data)), fresh_temporary(path) as temporary:
        write_new(temporary, data)
        fault(path.name)
        disk.rename(temporary, path)
        disk.fsync_dir(path.parent)


def fsync_dir(path: Path) -> None:
    """Wait until the entries of a folder are on the disk."""
    disk.fsync_dir(path)


def make_folder(path: Path) -> None:
    """Make a folder and the ones above it, each flushed to the disk; existing ones are left alone."""
    if path.is_dir():
        return
    make_folder(path.parent)
    try:
        disk.mkdir(path)
    except FileExistsError:
        if not path.is_dir():  # else another process was quicker, as where two fits begin in one new folder
            raise
    disk.fsync_dir(path.parent)


def remove(path: Path) -> None:
    """Remove a file, a link, or a folder of files; nothing happens if there is none."""
    if path.is_dir() and not path.is_symlink():
        for child in sorted(path.iterdir()):
            disk.unlink(child)
        disk.rmdir(path)
    elif os.path.lexists(path):
        disk.unlink(path)


@contextmanager
def fresh_temporary(path: Path) -> Iterator[Path]:
    """The unused name under which ``path`` is prepared: in the same folder, with this process's number.

    What is there when the block fails is removed, as far as the disk still allows it.
    """
    temporary = path.with_name(f".tmp-{os.getpid()}-{path.name}")
    remove(temporary)  # an earlier process may have had the same number
    try:
        yield temporary
    except BaseException:
        with suppress(OSError):
            remove(temporary)
        raise


def remove_stale(folder: Path) -> None:
    """Remove what processes that died, or this one, left half written in ``folder``. What cannot be removed stays."""
    for path in sorted(folder.glob(".tmp-*")):
        owner = _TEMPORARY.match(path.name)
        if owner and not _is_another_alive(int(owner[1])):
            with suppress(OSError):
                remove(path)


@contextmanager
def resource_errors(action: str, folder: Path, size: int) -> Iterator[None]:
    """Turn the errors of a full, failing or forbidden disk into a `ResourceError` R001.

    Args:
        action: what cannot be done, for the message.
        folder: where it was to be written.
        size: bytes it needs.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _EXHAUSTED:
            raise
        raise out_of_disk(f"{action} ({error.strerror})", folder, size) from error


def out_of_disk(action: str, folder: Path, size: int) -> ResourceError:
    """The error R001 that says how much space ``action`` needs and how much there is."""
    existing = next(place for place in (folder, *folder.absolute().parents) if place.is_dir())
    message = f"{action}: need {size / 1e6:.1f} MB, {disk.free(existing) / 1e6:.1f} MB free in {folder.name}"
    return ResourceError("R001", message, "free space or check the disk; what was saved before is intact")


@contextmanager
def open_regular(path: Path) -> Iterator[BinaryIO]:
    """Open a file for reading without following a link or waiting for a FIFO.

    Raises:
        StateError: C005, there is no such file, or it is not a regular one.
        ResourceError: R002, it cannot be opened or read.
    """
    try:
        with open(path, "rb", opener=_open_own) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise StateError("C005", f"{path.name} is not a regular file")
            yield file
    except OSError as error:
        message = f"{path.name} cannot be read: {error.strerror}"
        raise (StateError("C005", message) if error.errno in _DAMAGE else ResourceError("R002", message)) from error


def read_bytes(path: Path, limit: int) -> bytes:
    """Read a regular file of at most ``limit`` bytes; raises as `open_regular` does, and C005 if it is longer."""
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > limit:
            raise StateError("C005", f"{path.name} has {size} bytes, more than the {limit} allowed")
        return file.read(size)


def to_json(value: JSON) -> bytes:
    """The canonical JSON of a value: sorted keys, one entry a line, UTF-8. Equal values give equal bytes.

    Raises:
        ValueError: for NaN, infinity, a lone surrogate, or nesting that `read_json` would refuse.
        TypeError: for a key that is not a string, or a value JSON does not have.
    """
    for level, containers in enumerate(_levels(value), start=1):
        if level > JSON_DEPTH:
            raise ValueError(f"JSON nested more than {JSON_DEPTH} deep")
        for key in (key for container in containers if isinstance(container, dict) for key in container):
            if not isinstance(key, str):
                raise TypeError(f"JSON key {key!r} is not a string")
    text = json.dumps(value, allow_nan=False, sort_keys=True, indent=1, ensure_ascii=False)
    return f"{text}\n".encode()


def write_json(path: Path, value: JSON) -> None:
    """Write a value as canonical JSON with `write_atomic`; raises as that and `to_json` do."""
    write_atomic(path, to_json(value))


def read_json(path: Path, limit: int = JSON_BYTES) -> JSON:
    """Read strict JSON: no repeated keys, no NaN or infinity, at most ``limit`` bytes and `JSON_DEPTH` levels.

    Raises:
        StateError: C005, the file is missing or breaks one of these rules.
        ResourceError: R002, it cannot be opened or read.
    """
    data = read_bytes(path, limit)
    try:
        value = json.loads(
            data.decode(), object_pairs_hook=_distinct, parse_constant=_refuse_constant, parse_float=_finite
        )
        if _SURROGATE.search(data):
            to_json(value)  # half a character alone could never be written back
    except (ValueError, RecursionError) as error:
        reason = "nested too deep" if isinstance(error, RecursionError) else str(error)[:200]
        raise StateError("C005", f"{path.name} is not strict JSON: {reason}") from error
    if any(level > JSON_DEPTH for level, _ in enumerate(_levels(value), start=1)):
        raise StateError("C005", f"{path.name} is nested more than {JSON_DEPTH} deep")
    return value


@contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Hold a run folder: one process at a time writes there. The system lets go of it when the process dies.

    Raises:
        StateError: C004, another process holds it.
    """
    with resource_errors("cannot make a lock", folder, 0):
        descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            fix = "wait until the other run ends, or choose another folder"
            raise StateError("C004", f"run folder {folder.name} is in use by another process", fix) from error
        try:
            yield
        finally:
            fcntl.flock(descriptor, fcntl.LOCK_UN)  # worker processes inherit the lock, closing alone would leave it
    finally:
        os.close(descriptor)


def fault(point: str) -> None:
    """A named point at which a test may order a fault; nothing happens unless ``SEMILLA_FAULT`` is set.

    Raises:
        UsageError: U010, the variable cannot be understood.
    """
    text = os.environ.get("SEMILLA_FAULT")
    if not text:
        return
    plan, reached = _fault_plan(text)
    reached[point] += 1
    action = plan.get((point, reached[point]))
    if action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif action == "raise":
        raise RuntimeError(f"fault ordered at {point}")
    elif action == "enospc":
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    elif action == "sleep":
        time.sleep(_SLEEP_SECONDS)


@functools.lru_cache(maxsize=1)
def _fault_plan(text: str) -> tuple[dict[tuple[str, int], str], Counter[str]]:
    """The actions by (point, time), and how often each point was reached so far."""
    plan = {}
    for order in text.split(","):
        match = re.fullmatch(r"([\w.-]+):([1-9]\d*):(kill|raise|enospc|sleep)", order.strip())
        if match is None:
            fix = "write point:time:action, the action one of kill, raise, enospc, sleep"
            raise UsageError("U010", f"SEMILLA_FAULT has {order!r}", fix)
        plan[match[1], int(match[2])] = match[3]
    print(f"warning: faults are ordered by SEMILLA_FAULT={text}", file=sys.stderr, flush=True)
    return plan, Counter()


def _open_own(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)  # without the last, a FIFO would wait for a writer


def _is_another_alive(pid: int) -> bool:
    if pid == os.getpid():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _levels(value: JSON) -> Iterator[list[JSON]]:
    """The lists and dicts of a value, one nesting level after the other, without recursion."""
    containers = [value]
    while containers := [item for item in containers if isinstance(item, dict | list | tuple)]:
        yield containers
        containers = [
            child
            for container in containers
            for child in (container.values() if isinstance(container, dict) else container)
        ]


def _distinct(pairs: list[tuple[str, JSON]]) -> dict[str, JSON]:
    result = dict(pairs)
    if len(result) < len(pairs):
        repeated = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise ValueError(f"key {repeated!r} is repeated")
    return result


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is too large for a number")
    return number
