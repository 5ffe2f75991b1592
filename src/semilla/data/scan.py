"""The scan: every picture of a collection decoded once. Facts, hashes and problems are kept, pixels go to the store."""

from __future__ import annotations

import hashlib
import os
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TextIO

import numpy as np
import numpy.typing as npt
import PIL

from semilla.data.blobs import Blobs
from semilla.data.decoding import StreamingPool, Workers, cores, fitting_kind
from semilla.data.findings import Findings, Record
from semilla.data.images import MAX_PIXELS, Facts, Form, Images, LineForm, Unreadable, header, is_grey
from semilla.data.labels import IntArray
from semilla.data.lines import Lines
from semilla.data.progress import Bar
from semilla.data.store import Draft, Pool, cache_limit, fits_in_memory, open_pool, pixel_digests, scan_file
from semilla.errors import DataError, ResourceError
from semilla.files import make_folder

_VERSION = f"scan 1, Pillow {PIL.__version__}\n"  # raise the number when decoding changes
_SAMPLE, _WEIGHED = 500, 8
_SMALLEST, _LARGEST = 8, 64
_GROUP, _GROUP_PIXELS, _GROUP_BYTES = 256, 4_000_000, 2_000_000  # of one task: pictures, decoded and encoded bytes
_PATIENCE = 2.0  # seconds before a bar is shown
_FRESH = 50_000_000  # ns: a file changed so shortly ago may change again without its stamp telling


@dataclass(frozen=True, eq=False)
class Scan:
    """What a look at every picture found. N pictures.

    Attributes:
        form: the size and mode to which all were brought.
        facts: (N,) what each file was, None where it is unreadable; of lines, where its header is.
        problems: for each unreadable row the reason.
        sizes: int64 (N,) bytes of each file.
        digests: (N,) SHA-256 of each file's bytes in hexadecimal, "" where it could not be read at all.
        hashes: uint64 (N,) `semilla.data.images.difference_hashes`; 0 where the picture is unreadable, and of lines.
        pixels: uint8 (N, C, H, W), all zero where the picture is unreadable; of lines a pool of `Lines`.
        notes: what the user should know, a sentence each.
    """

    form: Form | LineForm
    facts: tuple[Facts | None, ...]
    problems: dict[int, str]
    sizes: IntArray
    digests: tuple[str, ...]
    hashes: npt.NDArray[np.uint64]
    pixels: Pool
    notes: tuple[str, ...] = ()


def scan(
    blobs: Blobs,
    name: str,
    form: Form | None = None,
    progress: TextIO | None = sys.stderr,
    max_pixels: int = MAX_PIXELS,
    size: int | None = None,
    resize: str = "squash",
) -> Scan:
    """Decode every picture, or take over from the last scan what did not change.

    Args:
        blobs: the encoded pictures.
        name: of the collection, for messages.
        form: to which size and mode they are brought; None chooses: the size all have if its sides are 8 to 64
            pixels, else a square of the median shorter side within these bounds; grey if every picture is.
        progress: where the remaining time is shown, on a terminal after two seconds; None shows nothing.
        max_pixels: largest picture that is decoded.
        size: pixels of each side where the form is chosen here; None chooses them, too.
        resize: likewise, how pictures of another shape are brought there.

    Raises:
        ResourceError: R004, a worker process died.
        UsageError: U030, ``SEMILLA_CACHE_LIMIT`` cannot be understood.
    """
    keys, fresh = _keys(blobs)
    where = f"{_VERSION}{blobs.describe() or name}\n{form}\n{max_pixels}\n{size}\n{resize}"
    path = scan_file(name, hashlib.sha256(where.encode(errors="surrogatepass")).hexdigest()[:16])
    record = Record.read(path)
    was = _matches(keys, record.keys) if record else np.full(len(blobs), -1)
    chosen = form or _choose(blobs, record, was, max_pixels, size, resize)
    task = _Task(blobs, name, chosen, max_pixels, progress, only_grey=form is None and chosen.channels == 1)
    try:
        found, pool, note = _look(task, record, was)
    except _Colored:
        task = replace(task, form=replace(chosen, channels=3), only_grey=False)
        found, pool, note = _look(task, record, was)
    if isinstance(pool, StreamingPool) or not note:  # where pixels cannot be kept, neither can this
        keys[fresh | ~found.opened] = 0  # may change unnoticed, or could not be opened: looked at again
        if not (record and record.form == task.form and np.array_equal(keys, record.keys)):
            _keep(Record(task.form, keys, found, _pool_key(task.form, found)), path)
        with suppress(OSError):
            os.utime(path)  # the time of its last use
    return _told(task.form, found, pool, (note,) if note else ())


def _keep(record: Record, path: Path) -> None:
    with suppress(OSError, ResourceError):  # without it, the next look decodes again
        make_folder(path.parent.absolute())
        record.save(path)


def _told(form: Form | LineForm, found: Findings, pool: Pool, notes: tuple[str, ...]) -> Scan:
    text, opened = found.contents.tobytes().hex(), found.opened
    digests = tuple(text[64 * row : 64 * row + 64] if opened[row] else "" for row in range(len(found)))
    problems = dict(sorted(found.problems.items()))
    return Scan(form, tuple(found.facts), problems, found.sizes, digests, found.hashes, pool, notes)


@dataclass(frozen=True, eq=False, slots=True)
class _Task:
    """What is to be decoded, and to what."""

    blobs: Blobs
    name: str
    form: Form
    max_pixels: int
    progress: TextIO | None
    only_grey: bool

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return len(self.blobs), self.form.channels, self.form.height, self.form.width


class _Colored(Exception):
    """A picture has color, though those looked at when the form was chosen had none."""


def _look(task: _Task, record: Record | None, was: IntArray) -> tuple[Findings, Pool, str]:
    """Findings, pixels and a note, from the record and the store as far as they go.

    Args:
        task: what is to be decoded.
        record: of the last look, or None.
        was: (N,) the row each picture had there, −1 where it is new.
    """
    found, known = Findings.blank(len(was), task.form.channels), np.zeros(len(was), bool)
    if record and record.form == task.form:
        known = was >= 0
        found.put(np.flatnonzero(known), record.findings, was[known])
        if known.all() and (pool := open_pool(_pool_key(task.form, found), task.shape)):
            return found, pool, ""
    draft, note = _draft(task)
    if draft is None:
        _decode(task, np.flatnonzero(~known), found, None)
        return found, StreamingPool(task.blobs, task.form, task.max_pixels, found), note
    try:
        if known.any() and not (record and _copied(record, was, known, draft.pixels)):
            known[:] = False
        _decode(task, np.flatnonzero(~known), found, draft.pixels)
        pool = draft.finish(_pool_key(task.form, found), found.sums, found.digests)
        return found, pool, draft.note
    finally:
        draft.discard()


def _draft(task: _Task) -> tuple[Draft | None, str]:
    """Where the pixels go; None and the reason where they are too many to keep."""
    size, limit = int(np.prod(task.shape, dtype=np.int64)), cache_limit()
    told = f"{task.name}: {size / 1e9:.1f} GB of decoded pictures"
    if size > limit:
        return None, (
            f"{told} exceed the cache's limit of {limit / 1e9:.1f} GB (SEMILLA_CACHE_LIMIT), so they are decoded "
            "whenever they are needed"
        )
    draft = Draft(task.name, task.shape, task.blobs.describe())
    if draft.note and not fits_in_memory(size):
        return None, f"{told} are too many for the memory and are decoded whenever they are needed ({draft.note})"
    return draft, ""


def _copied(record: Record, was: IntArray, known: npt.NDArray[np.bool_], pixels: Images) -> bool:
    """Take the known pictures over from the last look's pool; False if the store has it no more."""
    old = open_pool(record.pool, (len(record.findings), *pixels.shape[1:])) if record.pool else None
    if old is None:
        return False
    for rows in np.array_split(np.flatnonzero(known), max(1, known.sum() // _GROUP)):
        pixels[rows] = old[was[rows]]
    return True


def _decode(task: _Task, rows: IntArray, found: Findings, pixels: Images | None) -> None:
    """Decode some rows into ``found``, and into ``pixels`` unless they are not kept."""
    if not len(rows):
        return
    mean = _mean_bytes(task.blobs, rows)
    size = min(_GROUP, max(1, _GROUP_PIXELS // int(np.prod(task.shape[1:]))), max(1, int(_GROUP_BYTES // (mean + 1))))
    groups = np.array_split(rows, -(-len(rows) // size))
    bar = Bar(f"reading {task.name}", len(rows), "pictures", task.progress, delay=_PATIENCE)
    with bar, Workers(task.blobs, task.form, task.max_pixels, fitting_kind(len(rows), mean), cores()) as workers:
        for group, decoded, part in workers.run(groups):
            if task.only_grey and any(facts is not None and not is_grey(facts) for facts in part.facts):
                raise _Colored
            found.put(group, part)
            if pixels is not None:
                pixels[group] = decoded
            bar.update(len(group))


# Lines of text


@dataclass(frozen=True, eq=False, slots=True)
class _LineTask:
    """Lines that are to be decoded, and to what."""

    blobs: Blobs
    name: str
    form: LineForm
    max_pixels: int
    progress: TextIO | None


def scan_lines(
    blobs: Blobs,
    name: str,
    form: LineForm,
    progress: TextIO | None = sys.stderr,
    max_pixels: int = MAX_PIXELS,
) -> Scan:
    """`scan` for pictures of lines of text, each of which keeps its width: ``pixels`` is a pool of `Lines`.

    How wide a line is follows from its header, so that its place is known before it is decoded. Unreadable lines take
    no place.

    Raises:
        DataError: D186, the decoded lines fit neither the cache nor the memory.
        ResourceError: R004, a worker process died.
        UsageError: U030, ``SEMILLA_CACHE_LIMIT`` cannot be understood.
    """
    keys, fresh = _keys(blobs)
    where = f"{_VERSION}{blobs.describe() or name}\n{form}\n{max_pixels}"
    path = scan_file(name, hashlib.sha256(where.encode(errors="surrogatepass")).hexdigest()[:16])
    record = Record.read(path)
    if record and record.form != form:
        record = None
    was = _matches(keys, record.keys) if record else np.full(len(blobs), -1)
    found, pool, note = _look_at_lines(_LineTask(blobs, name, form, max_pixels, progress), record, was)
    if not note:
        keys[fresh | ~found.opened] = 0
        if not (record and np.array_equal(keys, record.keys)):
            _keep(Record(form, keys, found, _pool_key(form, found)), path)
        with suppress(OSError):
            os.utime(path)
    return _told(form, found, pool, (note,) if note else ())


def _look_at_lines(task: _LineTask, record: Record | None, was: IntArray) -> tuple[Findings, Lines, str]:
    found, known = Findings.blank(len(was), 1), was >= 0
    if record:
        found.put(np.flatnonzero(known), record.findings, was[known])
    for row in np.flatnonzero(~known).tolist():
        found.facts[row] = _header(task.blobs, row, task.max_pixels)
    starts = _starts(task.form, found.facts)
    shape = (int(starts[-1]), task.form.height)
    if known.all() and shape[0] and (kept := open_pool(_pool_key(task.form, found), shape, starts)):
        return found, Lines(kept.pixels, starts, kept.sums, kept.digests), ""
    if not shape[0]:
        _decode_lines(task, np.flatnonzero(~known), found, starts, np.empty(shape, np.uint8))
        return found, Lines(np.empty(shape, np.uint8), starts, found.sums, found.digests), ""
    draft = _line_draft(task, shape, starts)
    try:
        if known.any() and not (record and _copied_lines(task.form, record, was, starts, draft.pixels)):
            known[:] = False
        _decode_lines(task, np.flatnonzero(~known), found, starts, draft.pixels)
        made = draft.finish(_pool_key(task.form, found), found.sums, found.digests)
        return found, Lines(made.pixels, starts, made.sums, made.digests), draft.note
    finally:
        draft.discard()


def _starts(form: LineForm, facts: Iterable[Facts | None]) -> IntArray:
    """Where each line begins; one that is not read takes no place."""
    widths = [form.width_of(told) if told is not None else 0 for told in facts]
    return np.concatenate([[0], np.cumsum([width if width <= form.widest else 0 for width in widths])]).astype(np.int64)


def _line_draft(task: _LineTask, shape: tuple[int, int], starts: IntArray) -> Draft:
    size = shape[0] * shape[1]
    if size > cache_limit() and not fits_in_memory(size):
        raise _too_many(task, size)
    draft = Draft(task.name, shape, task.blobs.describe(), starts)
    if draft.note and not fits_in_memory(size):
        raise _too_many(task, size)
    return draft


def _too_many(task: _LineTask, size: int) -> DataError:
    message = f"{task.name}: {size / 1e9:.1f} GB of decoded lines fit neither the cache nor the memory"
    return DataError("D186", message, "raise SEMILLA_CACHE_LIMIT, or give fewer or lower lines (--height)")


def _copied_lines(form: LineForm, record: Record, was: IntArray, starts: IntArray, columns: Images) -> bool:
    """Take the known lines over from the last look's pool; False if the store has it no more."""
    before = _starts(form, record.findings.facts)
    shape = (int(before[-1]), form.height)
    old = open_pool(record.pool, shape, before) if record.pool and shape[0] else None
    if old is None:
        return False
    for row, place in enumerate(was.tolist()):
        if place >= 0:
            columns[starts[row] : starts[row + 1]] = old.pixels[before[place] : before[place + 1]]
    return True


def _decode_lines(task: _LineTask, rows: IntArray, found: Findings, starts: IntArray, columns: Images) -> None:
    """Decode some rows into ``found`` and their places among the columns."""
    if not len(rows):
        return
    mean, widths = _mean_bytes(task.blobs, rows), np.diff(starts)
    pixels = max(1, int(widths[rows].mean()) * task.form.height)
    size = min(_GROUP, max(1, _GROUP_PIXELS // pixels), max(1, int(_GROUP_BYTES // (mean + 1))))
    groups = np.array_split(rows, -(-len(rows) // size))
    bar = Bar(f"reading {task.name}", len(rows), "pictures", task.progress, delay=_PATIENCE)
    with bar, Workers(task.blobs, task.form, task.max_pixels, fitting_kind(len(rows), mean), cores()) as workers:
        for group, decoded, part in workers.run(groups):
            headers = [found.facts[row] for row in group.tolist()]
            found.put(group, part)
            first = 0
            for place, row in enumerate(group.tolist()):
                if place in part.problems:
                    found.facts[row] = headers[place]  # its place stays as the header said, here and the next time
                    columns[starts[row] : starts[row + 1]] = 0
                    found.digests[row] = pixel_digests([columns[starts[row] : starts[row + 1]]])[0]
                    continue
                columns[starts[row] : starts[row + 1]] = decoded[first : first + widths[row]]
                first += int(widths[row])
            bar.update(len(group))


def _mean_bytes(blobs: Blobs, rows: IntArray) -> float:
    """About how large an encoded picture is."""
    sizes = [0]
    for row in _spread(len(rows), _WEIGHED):
        with suppress(OSError, DataError):
            sizes.append(len(blobs.read(int(rows[row]))))
    return sum(sizes) / len(sizes)


def _spread(size: int, count: int) -> list[int]:
    """At most ``count`` positions, evenly spread."""
    return sorted(set(np.linspace(0, size - 1, min(size, count)).astype(int).tolist()))


# The form


def _choose(blobs: Blobs, record: Record | None, was: IntArray, max_pixels: int, size: int | None, resize: str) -> Form:
    """The form that `scan` promises, from what is known and the headers of a sample."""
    old = record.findings.facts if record else []
    known = {row: facts for row, place in enumerate(was.tolist()) if place >= 0 and (facts := old[place])}
    sample = [known.get(row) or _header(blobs, row, max_pixels) for row in _spread(len(blobs), _SAMPLE)]
    seen = [facts for facts in sample if facts is not None]
    if not seen:
        return Form(3, size or 32, size or 32, resize)
    channels = 1 if all(map(is_grey, {*seen, *known.values()})) else 3
    if size is not None:
        return Form(channels, size, size, resize)
    sizes = {(facts.width, facts.height)[:: -1 if facts.orientation > 4 else 1] for facts in seen}
    if len(sizes) == 1:
        ((width, height),) = sizes
        if min(width, height) >= _SMALLEST and max(width, height) <= _LARGEST:
            return Form(channels, height, width, resize)
    middle = int(np.median([min(facts.width, facts.height) for facts in seen]))
    side = min(max(middle, _SMALLEST), _LARGEST)
    return Form(channels, side, side, resize)


def _header(blobs: Blobs, row: int, max_pixels: int) -> Facts | None:
    try:
        return header(blobs.read(row), max_pixels)
    except (Unreadable, DataError, OSError):
        return None


# What is unchanged


def _keys(blobs: Blobs) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
    """For each row a hash that changes with its content, (N, 16), zero where there is none; and whether it is too
    fresh to be trusted later.
    """
    keys, fresh, now = [], np.zeros(len(blobs), bool), time.time_ns()
    for row in range(len(blobs)):
        stamp = blobs.stamp(row)
        try:
            if stamp is None:
                content = blobs.read(row)
            else:
                content = f"{blobs.name(row)}\0{stamp}".encode(errors="surrogatepass")
                fresh[row] = -_FRESH < now - stamp[1] < _FRESH
            keys.append(hashlib.blake2b(content, digest_size=16).digest())
        except (OSError, DataError):
            keys.append(bytes(16))
    return np.frombuffer(b"".join(keys), np.uint8).reshape(-1, 16).copy(), fresh


def _matches(keys: npt.NDArray[np.uint8], old: npt.NDArray[np.uint8]) -> IntArray:
    """(N,) the position of each key among the old ones, −1 where it is not there or zero."""
    if np.array_equal(keys, old) and keys.any(axis=1).all():
        return np.arange(len(keys))
    places = {key: place for place, key in enumerate(old.view("V16").ravel().tolist())}
    places[bytes(16)] = -1
    return np.array([places.get(key, -1) for key in keys.view("V16").ravel().tolist()], np.int64)


def _pool_key(form: Form | LineForm, found: Findings) -> str:
    """The name of the pixels in the store: a hash of everything they follow from."""
    digest = hashlib.sha256(f"{_VERSION}{form} {len(found)}\n".encode())
    digest.update(found.contents.tobytes())
    digest.update(found.readable.tobytes())
    return digest.hexdigest()[:32]
