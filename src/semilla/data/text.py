"""Pictures of lines of text with their transcriptions, from every source that pictures are read from and two more.

The two are what text-recognition projects write: ``labels.txt``, a path and its text in each line, and LMDB.
"""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from PIL import Image

from semilla.data import encoded, folders
from semilla.data.blobs import Blobs
from semilla.data.dataset import UNKNOWN, Dataset, Examples
from semilla.data.images import NARROWEST, Images, LineForm, to_line
from semilla.data.joined import Found, joined, prefixes, with_prefix
from semilla.data.labels import IntArray
from semilla.data.lines import Lines
from semilla.data.lists import Columns
from semilla.data.lmdb_files import lmdb_file, read_lmdb
from semilla.data.manifest import PARTS, Manifest
from semilla.data.pictures import check_held_out, picture_contents, picture_leaks, readable_rows, several_frames
from semilla.data.rows import Rows
from semilla.data.scan import scan_lines
from semilla.data.source import Source
from semilla.data.text_lists import read_text_list, text_list
from semilla.data.transcriptions import with_transcriptions
from semilla.data.walk import kind_of
from semilla.errors import DataError, UsageError
from semilla.text import clean, many

HEIGHT, WIDEST = 32, 100
"""Pixels of height unless another is asked for; and the widest line that is read, in heights: a line of 200 letters."""

_HEIGHTS = range(16, 129)
_NAMES = frozenset(f"{column}_{part}" for column in ("x", "y", "group") for part in PARTS) | {"x_unlabeled"}


def load_text(source: Source, progress: TextIO | None) -> Dataset:
    """Load pictures of lines.

    Args:
        source: its data are a path, a ``datasets.Dataset``, or arrays as `text_arrays` takes them.
        progress: where the progress of decoding goes.

    Raises:
        DataError: D003, data of another kind; D165, no list of transcriptions; D166, a control character in one; D169,
            a group on both sides of a split; those of `semilla.data.folders.read_pictures`, of `read_lmdb` and of
            `semilla.data.pictures`.
        UsageError: U145, a height that is not read.
    """
    form = line_form(source.height)
    data = source.data
    if isinstance(data, tuple) and len(data) == 2:
        data = {"x_train": data[0], "y_train": data[1]}
    if isinstance(data, Mapping) and not encoded.is_dataset(data):
        return text_arrays(data, form, source.allow_leak)
    return _dataset(*read_text(source), form, source, progress)


def line_form(height: int | None) -> LineForm:
    """To what lines are brought.

    Raises:
        UsageError: U145, a height that is not read.
    """
    if height is not None and height not in _HEIGHTS:
        fix = f"give pixels from {_HEIGHTS[0]} to {_HEIGHTS[-1]}; 32 and 48 are usual"
        raise UsageError("U145", f"height = {height} of lines of text", fix)
    return LineForm(height or HEIGHT, WIDEST * (height or HEIGHT))


def read_text(source: Source) -> tuple[Manifest, Blobs]:
    """What a source of lines names, before anything is decoded; labels are as they are written.

    Raises:
        DataError: as `load_text`.
    """
    columns = Columns(source.path_column, source.label_column, source.group_column, text=True)
    if encoded.is_dataset(source.data):
        return encoded.read_dataset(source.data, columns)
    if not isinstance(source.data, str | os.PathLike):
        message = f"data of type {type(source.data).__name__} are not read as lines of text"
        raise DataError("D003", message, "give a path, (x, y), or a mapping with x_train and y_train")
    root = os.fspath(source.data)
    given = {"unlabeled": source.unlabeled, "test": source.test}
    others = {part: place for part, place in given.items() if place is not None}
    for place in (root, *others.values()):
        kind_of(place)
    if not any(lmdb_file(place) or text_list(place) for place in (root, *others.values())):
        return _pictures(root, columns, source.follow_links, others)
    first = _found(root, columns, source.follow_links, [*others.values()])
    ways = prefixes(root, [*others.values()])
    more = [
        (part, with_prefix(_other(part, place, columns, source.follow_links, [root]), way))
        for (part, place), way in zip(others.items(), ways, strict=True)
    ]
    return joined(first, more)


def _pictures(root: str, columns: Columns, follow_links: bool, others: Mapping[str, str]) -> tuple[Manifest, Blobs]:
    """What is read as any pictures are."""
    read = folders.read_pictures(
        Path(root),
        unlabeled=Path(others["unlabeled"]) if "unlabeled" in others else None,
        test=Path(others["test"]) if "test" in others else None,
        path_column=columns.path,
        label_column=columns.label,
        group_column=columns.group,
        follow_links=follow_links,
        text=True,
    )
    if read is None:
        fix = "give a folder with labels.csv or labels.txt, Parquet files with pictures, an LMDB, or arrays"
        raise DataError("D003", f"{root!r} holds no pictures of lines", fix)
    return read


def _found(place: str, columns: Columns, follow_links: bool, elsewhere: Sequence[str]) -> Found:
    if lmdb_file(place):
        return read_lmdb(place)
    if text_list(place):
        return read_text_list(place, follow_links, elsewhere)
    return Found(*_pictures(place, columns, follow_links, {}))


def _other(part: str, place: str, columns: Columns, follow_links: bool, elsewhere: Sequence[str]) -> Found:
    """The source of unlabeled or of test lines."""
    if part == "unlabeled" and not lmdb_file(place) and (os.path.isdir(place) or not text_list(place)):
        return folders.read_pool(place, columns, follow_links, elsewhere)
    found = _found(place, columns, follow_links, elsewhere)
    size = len(found.manifest)
    if part == "test":
        return found._replace(manifest=replace(found.manifest, parts=("test",) * size))
    return found._replace(manifest=replace(found.manifest, labels=(None,) * size, parts=("train",) * size))


def _dataset(manifest: Manifest, blobs: Blobs, form: LineForm, source: Source, progress: TextIO | None) -> Dataset:
    """Decode the lines and put them together; `semilla.data.pictures.dataset_of` for text."""
    manifest = with_transcriptions(manifest)
    check_held_out(replace(manifest, classes=tuple(filter(None, manifest.labels))))
    groups = _check_groups(manifest, source.allow_leak)
    found = scan_lines(blobs, manifest.name, form, progress, source.max_pixels)
    manifest = replace(manifest, sizes=tuple(map(int, found.sizes)), digests=found.digests)
    keep, notes = readable_rows(manifest, found, source.on_bad_file == "skip")
    contents = picture_contents(manifest, found, blobs, keep, source.max_pixels)
    notes += picture_leaks(manifest, contents, keep, source.allow_leak)
    assert isinstance(found.pixels, Lines)
    notes = [*manifest.notes, *found.notes, *notes, *groups, *several_frames(found)]
    return _parted(manifest, found.pixels, keep, tuple(notes))


def _parted(manifest: Manifest, lines: Lines, keep: Sequence[int], notes: tuple[str, ...]) -> Dataset:
    """The data set of some rows of a manifest and of its lines."""
    rows = {part: np.array([row for row in keep if manifest.parts[row] == part], np.int64) for part in PARTS}
    kept = manifest.select([row for own in rows.values() for row in own.tolist()])
    classes = tuple(sorted({*filter(None, kept.labels)}))
    numbers = {text: number for number, text in enumerate(classes)}

    def labels(own: IntArray) -> IntArray:
        return np.array([numbers.get(manifest.labels[row] or "", UNKNOWN) for row in own.tolist()], np.int64)

    def held_out(part: str) -> Examples | None:
        return Examples(Rows(lines, rows[part]), labels(rows[part])) if len(rows[part]) else None

    return Dataset(
        name=manifest.name,
        kind="text",
        classes=classes,
        inputs=Rows(lines, rows["train"]),
        labels=labels(rows["train"]),
        development=held_out("development"),
        test=held_out("test"),
        notes=notes,
        manifest=kept,
        reading={"height": lines.shape[2], "widest": WIDEST * lines.shape[2]},
    )


def _check_groups(manifest: Manifest, allowed: bool) -> list[str]:
    """Raise where a group, such as a writer, stands on both sides of a split."""
    parts: dict[str, dict[str, str]] = defaultdict(dict)
    for path, group, part in zip(manifest.paths, manifest.groups, manifest.parts, strict=True):
        if group:
            parts[group].setdefault(part, path)
    torn = [group for group, places in parts.items() if len(places) > 1]
    if not torn:
        return []
    places = " and ".join(f"{clean(path)} ({part})" for part, path in parts[torn[0]].items())
    message = f"{many(len(torn), 'group')} on both sides of a split: {clean(torn[0])!r} has {places}"
    if not allowed:
        raise DataError("D169", message, "keep a group in one part, or pass --allow-leak, which the report will say")
    return [f"warn[D169]: {message}; the scores are too good for writers or documents that are new"]


# Arrays in memory


def text_arrays(arrays: Mapping[str, Any], form: LineForm, allow_leak: bool = False) -> Dataset:
    """Make a data set of lines in memory.

    Args:
        arrays: ``x_train``, a sequence of uint8 (H, W) or (H, W, 3) pictures of any size, and ``y_train``, as many
            texts, None or ``""`` where there is none; if wanted the same with ``_development`` and ``_test``,
            ``group_train`` … with a name for each picture, and ``x_unlabeled``.
        form: to what the pictures are brought.
        allow_leak: whether test lines may also be among those trained on.

    Raises:
        DataError: D020, a picture of a wrong form; D056, a label that is no text; D081, an array is missing; D082,
            arrays of different lengths; and those of `load_text`.
    """
    given = {"x_unlabeled" if key == "x_unlabelled" else str(key): value for key, value in arrays.items()}
    ignored = sorted(key for key in set(given) - _NAMES if not key.startswith("path_"))
    columns: dict[str, list[Any]] = defaultdict(list)
    for name in ("train", "unlabeled", "development", "test"):
        pictures = given.get(f"x_{name}")
        if pictures is None:
            if name == "train" or given.get(f"y_{name}") is not None:
                raise DataError("D081", f"arrays has no array 'x_{name}'", f"add x_{name}: a list of pictures")
            continue
        lines = [_line(picture, form, f"x_{name}[{row}]") for row, picture in enumerate(pictures)]
        columns["lines"] += lines
        columns["paths"] += [f"x_{name}#{row}" for row in range(len(lines))]
        columns["labels"] += [None] * len(lines) if name == "unlabeled" else _texts(given, name, len(lines))
        columns["groups"] += _groups(given, name, len(lines))
        columns["parts"] += ["train" if name == "unlabeled" else name] * len(lines)
    if not columns["lines"]:
        raise DataError("D020", "arrays: x_train holds no picture", "give at least one")
    notes = (f"arrays: not read: {', '.join(map(repr, ignored[:8]))}",) if ignored else ()
    pool = Lines.of([line for line, _ in columns["lines"]], form.height)
    paths, labels, parts, groups = (tuple(columns[name]) for name in ("paths", "labels", "parts", "groups"))
    manifest = with_transcriptions(Manifest("arrays", paths, labels, parts, groups, notes=notes))
    manifest = replace(manifest, digests=tuple(digest for _, digest in columns["lines"]))
    manifest = replace(manifest, sizes=(0,) * len(manifest))
    check_held_out(replace(manifest, classes=tuple(filter(None, manifest.labels))))
    said = _check_groups(manifest, allow_leak)
    keep = range(len(manifest))
    said += picture_leaks(manifest, dict(enumerate(manifest.digests)), keep, allow_leak)
    return _parted(manifest, pool, keep, (*manifest.notes, *said))


def _line(picture: Any, form: LineForm, where: str) -> tuple[Images, str]:
    """A picture at the form's height, uint8 (H, W), and the digest of what it was."""
    array = np.asarray(picture)
    colored = array.ndim == 3 and array.shape[2] == 3
    if array.dtype != np.uint8 or not (array.ndim == 2 or colored) or not array.size:
        message = f"arrays: {where} is {array.dtype} of shape {array.shape}"
        raise DataError("D020", message, "give uint8 pictures (H, W) or (H, W, 3), dark text on light or the reverse")
    width = max(NARROWEST, round(array.shape[1] * form.height / array.shape[0]))
    if width > form.widest:
        message = f"arrays: {where}: {width:,} pixels wide at a height of {form.height}; the limit is {form.widest:,}"
        raise DataError("D020", message, "cut the line into parts")
    digest = hashlib.sha256(f"{array.shape} ".encode() + np.ascontiguousarray(array).tobytes()).hexdigest()
    return to_line(Image.fromarray(np.ascontiguousarray(array)), width, form.height).T, digest


def _texts(given: Mapping[str, Any], part: str, count: int) -> list[str | None]:
    name = f"y_{part}"
    if given.get(name) is None:
        raise DataError("D081", f"arrays has no array {name!r}", f"add {name}: a text for each picture, None for none")
    texts: list[str | None] = []
    for row, cell in enumerate(_column(given, name, count)):
        if cell is None or (isinstance(cell, float) and cell != cell):
            texts.append(None)
        elif isinstance(cell, str):
            texts.append(str(cell) if cell.strip() else None)
        else:
            message = f"arrays: {name}[{row}] is {str(cell)[:40]!r} of type {type(cell).__name__}"
            raise DataError("D056", message, "transcriptions are text; None or empty text says that there is none")
    return texts


def _groups(given: Mapping[str, Any], part: str, count: int) -> list[str]:
    name = f"group_{part}"
    if given.get(name) is None:
        return [""] * count
    return ["" if cell is None else str(cell) for cell in _column(given, name, count)]


def _column(given: Mapping[str, Any], name: str, count: int) -> list[Any]:
    cells = list(given[name])
    if len(cells) != count:
        part = name.partition("_")[2]
        message = f"arrays: x_{part} has {count} pictures, {name} {len(cells)} values"
        raise DataError("D082", message, "give one value for each picture")
    return cells
