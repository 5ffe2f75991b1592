"""Lists of pictures: CSV, TSV and JSON Lines files that name each picture, its label, its part and its group."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from semilla.data import roles
from semilla.data.csvfiles import LINES, read_rows, suffix
from semilla.data.roles import listed
from semilla.data.walk import SUFFIXES, Walk, check_file
from semilla.errors import DataError

ONE_HOT = "_classes.csv"
"""The list that Roboflow writes: ``filename``, then a column of 0 and 1 for each class."""

_ENDINGS = (".csv", ".tsv", *LINES)
_PEEKED = 100


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns that the user named; None where the usual names are looked for."""

    path: str | None = None
    label: str | None = None
    group: str | None = None


class Row(NamedTuple):
    """A picture: where it lies below the source's folder, and what is said of it."""

    path: str
    label: str | None
    part: str
    group: str = ""


class Listing(NamedTuple):
    """What a list says. ``labeled``: whether it has a column of labels at all."""

    rows: list[Row]
    classes: tuple[str, ...]
    notes: list[str]
    labeled: bool


class _Entry(NamedTuple):
    line: int
    name: str
    label: str | None
    part: str
    group: str


def could_be_list(name: str) -> bool:
    """Whether a file's name ends like a list's."""
    return suffix(Path(name)) in _ENDINGS


def is_list(file: str, columns: Columns) -> bool:
    """Whether a file names pictures: it has a column of paths, and one of its first names ends like a picture's.

    Raises:
        DataError: D071, its first line is a picture's name already; and those of `read_rows`.
    """
    names, rows = read_rows(file)
    wanted = roles.column(names, roles.PATH, columns.path, "--path-column", os.path.basename(file))
    if wanted is None:
        if any(_is_picture(name) for name in names):
            fix = "begin the file with a line such as path,label"
            raise DataError("D071", f"{os.path.basename(file)}, line 1: no names of columns, but a picture", fix)
        return False
    place = names.index(wanted)
    first = [cells[place] for _, (_, cells) in zip(range(_PEEKED), rows, strict=False)]
    return columns.path is not None or not any(first) or any(map(_is_picture, first))


def read_list(
    file: str,
    columns: Columns,
    root: str = "",
    part: str = "",
    pictures: Sequence[str] | None = None,
    follow_links: bool = False,
) -> Listing:
    """Read a list of pictures.

    A path is looked for below the list's folder; a mere file name is also found in the folders below, if only one
    picture has it. Labels are the cells' text as it is written; an empty cell says that the label is not known.

    Args:
        file: a CSV, TSV or JSON Lines file.
        columns: names of columns, if they are not the usual ones.
        root: the source's folder, in or below which the list lies; the list's own folder unless given.
        part: the part of rows for which the list does not say one.
        pictures: all below the list's folder, relative to the root, if they are known.
        follow_links: whether a path may leave the folder through a link.

    Raises:
        DataError: D056, several classes in one row; D070, a name that no file or more than one file has; D075, a file
            named twice; D076, a path that leaves the folder; D077, an unknown part; D081, a column is missing; and
            those of `read_rows`.
    """
    where = os.path.basename(file)
    root = root or os.path.dirname(file) or "."
    base = os.path.relpath(os.path.dirname(file) or ".", root)
    reader = _one_hot if where.casefold() == ONE_HOT else _separate
    entries, classes, notes, labeled = reader(file, columns, part)
    paths = _Finder(root, "" if base == "." else base + "/", pictures, follow_links).find(where, entries)
    rows = [Row(path, entry.label, entry.part, entry.group) for path, entry in zip(paths, entries, strict=True)]
    return Listing(rows, classes, [*notes, *roles.label_notes(row.label for row in rows)], labeled)


def _separate(file: str, columns: Columns, part: str) -> tuple[list[_Entry], tuple[str, ...], list[str], bool]:
    """Entries of a list with one column of labels."""
    where = os.path.basename(file)
    names, rows = read_rows(file)
    path = roles.column(names, roles.PATH, columns.path, "--path-column", where)
    if path is None:
        raise DataError("D081", f"no column of paths in {where}, only {listed(names)}", "name it with --path-column")
    rest = [name for name in names if name != path]
    label = roles.column(rest, roles.LABEL, columns.label, "--label-column", where)
    split = roles.column(rest, roles.PART, None, "", where)
    group = roles.column(rest, roles.GROUP, columns.group, "--group-column", where)
    used = [name for name in (path, label, split, group) if name is not None]
    places = [names.index(name) if name is not None else -1 for name in (path, label, split, group)]
    entries = []
    for line, cells in rows:
        if not any(cells):
            continue  # as spreadsheets write below the last row
        name, text, said, in_group = (cells[place] if place >= 0 else "" for place in places)
        found = _part(said, part, f"{where}, line {line}")
        known = text if text.strip() and found != "unlabeled" else None
        _check_text((text, in_group), f"{where}, line {line}")
        entries.append(_Entry(line, name, known, "train" if found == "unlabeled" else found, in_group))
    notes = [f"{where}: {len(entries):,} rows, read from the columns {', '.join(map(repr, used))}"]
    return entries, (), notes, label is not None


def _one_hot(file: str, columns: Columns, part: str) -> tuple[list[_Entry], tuple[str, ...], list[str], bool]:
    """Entries of a list with one column of 0 and 1 for each class; a row of zeros has no label."""
    where = os.path.basename(file)
    names, rows = read_rows(file)
    path = roles.column(names, roles.PATH, columns.path, "--path-column", where)
    if path is None:
        raise DataError("D081", f"no column of paths in {where}, only {listed(names)}", "name it with --path-column")
    place = names.index(path)
    classes = tuple(name for name in names if name != path)
    entries = []
    for line, cells in rows:
        marks = [cell.strip() for number, cell in enumerate(cells) if number != place]
        if not set(marks) <= {"0", "1"}:
            wrong = next(mark for mark in marks if mark not in ("0", "1"))
            raise DataError("D071", f"{where}, line {line}: {wrong!r} is neither 0 nor 1", "mark the one class with 1")
        chosen = [name for name, mark in zip(classes, marks, strict=True) if mark == "1"]
        if len(chosen) > 1:
            message = f"{where}, line {line}: {len(chosen)} classes at once, {listed(chosen)}"
            raise DataError("D056", message, "keep one; several labels for one picture are not supported")
        entries.append(_Entry(line, cells[place].strip(), chosen[0] if chosen else None, part or "train", ""))
    return entries, classes, [f"{where}: {len(entries):,} rows, one column for each of {len(classes)} classes"], True


def _part(said: str, default: str, where: str) -> str:
    if not said.strip():
        return default
    if roles.is_unlabeled(said):
        return "unlabeled"
    if part := roles.part_named(said):
        return part
    raise DataError("D077", f"{where}: unknown part {said!r}", "write train, validation, test or unlabeled")


def _check_text(texts: Iterable[str], where: str) -> None:
    for text in texts:
        try:
            text.encode()
        except UnicodeEncodeError as error:  # half of a pair of escapes such as \ud83d
            raise DataError("D073", f"{where}: {text!r} is not valid Unicode", "write it in UTF-8") from error


class _Finder:
    """Finds the pictures that a list names."""

    def __init__(self, root: str, base: str, pictures: Sequence[str] | None, follow_links: bool) -> None:
        self._root, self._base, self._follow = root, base, follow_links
        self._pictures = pictures
        self._real: dict[str, str] = {}
        self._known: set[str] = set(pictures or ())
        self._by_name: dict[str, list[str]] | None = None

    def find(self, where: str, entries: list[_Entry]) -> list[str]:
        """The path of each entry below the root; the first that has none is an error, which counts the others."""
        paths, seen = [], dict[str, int]()
        missing: list[tuple[_Entry, str]] = []
        for entry in entries:
            path, problem = self._path(_inside(entry, where))
            if problem:
                missing.append((entry, problem))
                continue
            if path in seen:
                message = f"{where}, line {entry.line}: {path!r} is already at line {seen[path]}"
                raise DataError("D075", message, "name each picture once")
            seen[path] = entry.line
            paths.append(path)
        if missing:
            raise self._missing(where, missing)
        return paths

    def _path(self, name: str) -> tuple[str, str]:
        path = self._base + name
        if path in self._known:
            return path, ""
        problem = check_file(self._root, path, self._follow, self._real)
        if problem == "no such file" and "/" not in name:
            same = self._named().get(name, [])
            if len(same) == 1:
                return same[0], ""
            if same:
                return "", f"two files have that name, {same[0]!r} and {same[1]!r}"
        return path, problem

    def _named(self) -> dict[str, list[str]]:
        """Pictures in the list's folder and below, by file name."""
        if self._by_name is None:
            if self._pictures is None:
                self._pictures = [self._base + path for path in Walk(os.path.join(self._root, self._base))]
            self._by_name = {}
            for path in self._pictures:
                if path.startswith(self._base):
                    self._by_name.setdefault(path.rpartition("/")[2], []).append(path)
        return self._by_name

    def _missing(self, where: str, missing: list[tuple[_Entry, str]]) -> DataError:
        entry, problem = missing[0]
        more = f" (and {len(missing) - 1:,} more rows)" if len(missing) > 1 else ""
        message = f"{where}, line {entry.line}: {entry.name!r}: {problem}{more}"
        if "link" in problem:
            return DataError("D076", message, "copy the file there, or allow it with --follow-links")
        fix = f"paths are looked for below {os.path.join(self._root, self._base)!r}"
        if "two files" in problem:
            fix = "write the path, with its folders"
        elif "\\" in entry.name:
            fix += ", with / between folders"
        else:
            self._named()
            near = [path for path in self._pictures or () if path.casefold() == (self._base + entry.name).casefold()]
            fix += f"; there is {near[0]!r}" if near else ""
        return DataError("D070", message, fix)


def _inside(entry: _Entry, where: str) -> str:
    """The path without needless parts."""
    parts = [part for part in entry.name.split("/") if part not in ("", ".")]
    if ".." in parts or entry.name[:1] == "/" or "\0" in entry.name:
        message = f"{where}, line {entry.line}: {entry.name!r} leads out of the folder"
        raise DataError("D076", message, "write paths relative to the list's folder, without ..")
    if not parts:
        raise DataError("D070", f"{where}, line {entry.line}: no path", "name a picture, or take the row out")
    return "/".join(parts)


def _is_picture(name: str) -> bool:
    return name.rpartition(".")[2].strip().lower() in SUFFIXES
