"""Lists of pictures: CSV, TSV and JSON Lines files that name each picture, its label, its part and its group."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from semilla.data import roles
from semilla.data.csvfiles import LINES, read_rows, suffix
from semilla.data.roles import listed
from semilla.data.transcriptions import transcription
from semilla.data.walk import SUFFIXES, Walk, check_file
from semilla.errors import DataError

ONE_HOT = "_classes.csv"
"""The list that Roboflow writes: ``filename``, then a column of 0 and 1 for each class."""

ENDINGS = (".csv", ".tsv", *LINES)
_PEEKED = 100
_OUT = "it leads out of the folder"


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns that the user named; None where the usual names are looked for.

    Attributes:
        text: whether labels are transcriptions, which may be anything, and not classes.
    """

    path: str | None = None
    label: str | None = None
    group: str | None = None
    text: bool = False

    @property
    def labels(self) -> Sequence[str]:
        """The usual names of the column of labels."""
        return roles.TEXT if self.text else roles.LABEL


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


class Entry(NamedTuple):
    """What a line of a list says of a picture, which it calls ``name``."""

    line: int
    name: str
    label: str | None
    part: str
    group: str


class Look(NamedTuple):
    """What the beginning of a list shows.

    Attributes:
        names: of its columns.
        path: the column that names pictures; None where none does, or it is not clear which.
        reason: why there is none.
        labeled: whether it has a column of labels.
        spare: columns of an unknown meaning, which may hold labels.
    """

    names: Sequence[str]
    path: str | None
    reason: str
    labeled: bool
    spare: bool


def could_be_list(name: str) -> bool:
    """Whether a file's name ends like a list's."""
    return suffix(Path(name)) in ENDINGS


def is_list(file: str, columns: Columns) -> bool:
    """Whether a file names pictures: it has a column of paths, and one of its first names ends like a picture's.

    Raises:
        DataError: D071, its first line is a picture's name already; and those of `read_rows`.
    """
    names, rows = read_rows(file, ())
    wanted = roles.column(names, roles.PATH, columns.path, "--path-column", os.path.basename(file))
    if wanted is None:
        if any(_is_picture(name) for name in names):
            fix = "begin the file with a line such as path,label"
            raise DataError("D071", f"{os.path.basename(file)}, line 1: no names of columns, but a picture", fix)
        return False
    place = names.index(wanted)
    first = [cells[place] for _, cells in islice(rows, _PEEKED)]
    return columns.path is not None or not any(first) or any(map(_is_picture, first))


def look_at(file: str, columns: Columns, pictures: Pictures, base: str) -> Look:
    """Look at a list that lies beside pictures.

    Args:
        file: a CSV, TSV or JSON Lines file.
        columns: names of columns, if they are not the usual ones.
        pictures: all that there are.
        base: the list's folder below theirs, with "/" at the end, or "".

    Raises:
        DataError: those of `is_list`.
    """
    names, _ = read_rows(file)
    if columns.path is not None and columns.path not in names:
        return Look(names, None, f"it has no column {columns.path!r}, only {listed(names)}", False, False)
    path, reason = None, ""
    if is_list(file, columns):
        path = roles.column(names, roles.PATH, columns.path, "", file)
    else:
        path, reason = _by_content(file, pictures, base)
    rest = [name for name in names if name != path]
    label = columns.label in rest or roles.column(rest, columns.labels, None, "", file) is not None
    others = {name.strip().casefold() for name in rest} - {*roles.PART, *roles.GROUP, *roles.PATH, *roles.NEVER_LABEL}
    one_hot = os.path.basename(file).casefold() == ONE_HOT
    return Look(names, path, reason, label or one_hot, bool(others))


def _by_content(file: str, pictures: Pictures, base: str) -> tuple[str | None, str]:
    """The one column whose first cells name pictures that are there, or why there is none.

    More than half of the cells must name different ones; among several such columns, the one with endings counts.
    """
    names, rows = read_rows(file, ())
    try:
        first = [cells for _, cells in islice(rows, _PEEKED)]
    except DataError as error:
        return None, error.message
    found, with_ending = [], []
    for place, name in enumerate(names):
        cells = [cells[place].strip() for cells in first if cells[place].strip()]
        named = [cell for cell in {*cells} if pictures.has(base, cell)]
        if 2 * len(named) > len(cells):
            found.append(name)
            with_ending += [name] if any(map(_is_picture, named)) else []
    for likely in (with_ending, found):
        if len(likely) == 1:
            return likely[0], ""
    if found:
        return None, f"the columns {listed(found)} all name pictures"
    return None, f"none of its columns {listed(names)} names pictures that are here"


def read_list(
    file: str,
    columns: Columns,
    root: str = "",
    part: str = "",
    pictures: Pictures | None = None,
    follow_links: bool = False,
) -> Listing:
    r"""Read a list of pictures.

    A path is looked for below the list's folder, also without the picture's ending and with "\" for "/"; a mere file
    name is also found in the folders below, if only one picture has it. Labels are the cells' text as it is written; an
    empty cell says that the label is not known. A row that is there again, the same in all that is read, counts once.

    Args:
        file: a CSV, TSV or JSON Lines file.
        columns: names of columns, if they are not the usual ones.
        root: the source's folder, in or below which the list lies; the list's own folder unless given.
        part: the part of rows for which the list does not say one.
        pictures: those of the root, if they are known.
        follow_links: whether a path may leave the folder through a link.

    Raises:
        DataError: D056, several classes in one row; D070, a name that no file or more than one file has; D075, a file
            named twice; D076, a path that leaves the folder; D077, an unknown part; D081, a column is missing; and
            those of `read_rows`.
    """
    where = os.path.basename(file)
    root = root or os.path.dirname(file) or "."
    base = os.path.relpath(os.path.dirname(file) or ".", root)
    reader = _one_hot if where.casefold() == ONE_HOT and not columns.text else _separate
    entries, classes, notes, labeled = reader(file, columns, part)
    pictures = pictures or Pictures(root, None, follow_links)
    entries, paths, again = find_entries(where, entries, pictures, "" if base == "." else base + "/")
    rows = [Row(path, entry.label, entry.part, entry.group) for path, entry in zip(paths, entries, strict=True)]
    notes = [*notes, f"{where}: {again:,} rows are there again, word for word, and count once"] if again else notes
    notes = [*notes, *([] if columns.text else roles.label_notes(row.label for row in rows))]
    return Listing(rows, classes, notes, labeled)


def _separate(file: str, columns: Columns, part: str) -> tuple[list[Entry], tuple[str, ...], list[str], bool]:
    """Entries of a list with one column of labels."""
    where = os.path.basename(file)
    names, _ = read_rows(file)
    path = _path_column(names, columns, where)
    rest = [name for name in names if name != path]
    label = roles.column(rest, columns.labels, columns.label, "--label-column", where)
    split = roles.column(rest, roles.PART, None, "", where)
    group = roles.column(rest, roles.GROUP, columns.group, "--group-column", where)
    used = [name for name in (path, label, split, group) if name is not None]
    _, rows = read_rows(file, used)
    places = [names.index(name) if name is not None else -1 for name in (path, label, split, group)]
    entries = []
    for line, cells in rows:
        if not any(cells):
            continue  # as spreadsheets write below the last row
        name, text, said, in_group = (cells[place] if place >= 0 else "" for place in places)
        found = _part(said, part, f"{where}, line {line}")
        known = text if text.strip() and found != "unlabeled" else None
        _check_text((text, in_group), f"{where}, line {line}")
        if columns.text and known is not None:
            transcription(known, f"{where}, line {line}")
        entries.append(Entry(line, name, known, "train" if found == "unlabeled" else found, in_group))
    notes = [f"{where}: {len(entries):,} rows, read from the columns {', '.join(map(repr, used))}"]
    return entries, (), notes, label is not None


def _one_hot(file: str, columns: Columns, part: str) -> tuple[list[Entry], tuple[str, ...], list[str], bool]:
    """Entries of a list with one column of 0 and 1 for each class; a row of zeros has no label."""
    where = os.path.basename(file)
    names, rows = read_rows(file)
    path = _path_column(names, columns, where)
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
        entries.append(Entry(line, cells[place].strip(), chosen[0] if chosen else None, part or "train", ""))
    return entries, classes, [f"{where}: {len(entries):,} rows, one column for each of {len(classes)} classes"], True


def _path_column(names: Sequence[str], columns: Columns, where: str) -> str:
    path = roles.column(names, roles.PATH, columns.path, "--path-column", where)
    if path is None:
        raise DataError("D081", f"no column of paths in {where}, only {listed(names)}", "name it with --path-column")
    return path


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


class Pictures:
    """The pictures of a folder, to be found by what lists call them.

    Args:
        root: the folder.
        paths: of all pictures below it; None where they are looked for once they are needed.
        follow_links: whether a path may leave the folder through a link.
    """

    def __init__(self, root: str, paths: Sequence[str] | None, follow_links: bool = False) -> None:
        self.root, self._follow = root, follow_links
        self._paths = paths
        self._known: set[str] = set(paths or ())
        self._real: dict[str, str] = {}
        self._roots = [os.path.abspath(root).rstrip("/") + "/", os.path.realpath(root).rstrip("/") + "/"]

    def find(self, base: str, name: str) -> tuple[str, str]:
        """The path below the root of what a list in the folder ``base`` calls ``name``, and why it cannot be read."""
        path, problem = self._find(base, name)
        if problem and "\\" in name:
            other, still = self._find(base, name.replace("\\", "/"))
            return (path, problem) if still else (other, "")
        return path, problem

    def has(self, base: str, name: str) -> bool:
        """Whether one of the pictures, or several, are called so; no file is looked at."""
        for said in (name, name.replace("\\", "/")):
            path = self._below(base, said)
            if path and (path in self._known or self._alike(base, said, path)):
                return True
        return False

    def near(self, path: str) -> str:
        """The path of a picture that differs in upper and lower case only, or ""."""
        return next((own for own in self._all if own.casefold() == path.casefold()), "")

    def _find(self, base: str, name: str) -> tuple[str, str]:
        path = self._below(base, name)
        if path is None:
            return "", _OUT
        if path in self._known:
            return path, ""
        problem = check_file(self.root, path, self._follow, self._real)
        if problem == "no such file":
            same = self._alike(base, name, path)
            if len(same) == 1:
                return same[0], ""
            if same:
                return "", f"two files have that name, {same[0]!r} and {same[1]!r}"
        return path, problem

    def _below(self, base: str, name: str) -> str | None:
        """A path below the root without needless parts, None where it may lead out."""
        if "\0" in name or ".." in name.split("/"):
            return None
        if name[:1] == "/":
            ways = (name, self._real_folder(name.rpartition("/")[0]) + name[name.rindex("/") :])
            found = ((way, root) for way in ways for root in self._roots if way.startswith(root))
            way, root = next(found, ("", ""))
            if not root:
                return None
            base, name = "", way[len(root) :]
        return base + "/".join(part for part in name.split("/") if part not in ("", "."))

    def _real_folder(self, folder: str) -> str:
        """Where an absolute folder really lies, looked up once."""
        if folder not in self._real:
            try:
                self._real[folder] = os.path.realpath(folder or "/").rstrip("/")
            except ValueError:  # no possible name
                self._real[folder] = folder
        return self._real[folder]

    def _alike(self, base: str, name: str, path: str) -> list[str]:
        """Pictures of that file name, else those of that name before their ending; anywhere below for a mere name."""
        folder, _, file = path.rpartition("/")
        mere = name[:1] != "/" and folder == base[:-1]
        stem = file.rpartition(".")[0] if _is_picture(file) else file
        same = self._by_stem.get(stem, ())
        same = [own for own in same if (own.startswith(base) if mere else own.rpartition("/")[0] == folder)]
        return [own for own in same if own.rpartition("/")[2] == file] or ([] if _is_picture(file) else [*same])

    @cached_property
    def _all(self) -> Sequence[str]:
        return [*Walk(self.root)] if self._paths is None else self._paths

    @cached_property
    def _by_stem(self) -> dict[str, list[str]]:
        """Pictures by their file's name without its ending."""
        found: dict[str, list[str]] = {}
        for path in self._all:
            found.setdefault(path.rpartition("/")[2].rpartition(".")[0], []).append(path)
        return found


def find_entries(where: str, entries: list[Entry], pictures: Pictures, base: str) -> tuple[list[Entry], list[str], int]:
    """The entries with the path of each, and how many are left out as repeated.

    The first that has no file is an error, which counts the others.
    """
    kept: dict[str, Entry] = {}
    again = 0
    missing: list[tuple[Entry, str]] = []
    for entry in entries:
        if not entry.name.strip("./"):
            raise DataError("D070", f"{where}, line {entry.line}: no path", "name a picture, or take the row out")
        path, problem = pictures.find(base, entry.name)
        if problem:
            missing.append((entry, problem))
        elif path not in kept:
            kept[path] = entry
        elif entry[1:] == kept[path][1:]:
            again += 1
        else:
            raise _twice(where, path, kept[path], entry)
    if missing:
        raise _missing(where, missing, pictures, base)
    return [*kept.values()], [*kept], again


def _twice(where: str, path: str, first: Entry, second: Entry) -> DataError:
    labels = f", with the label {first.label!r} and not {second.label!r}" if first.label != second.label else ""
    message = f"{where}, line {second.line}: {path!r} is already at line {first.line}{labels}"
    return DataError("D075", message, "name each picture once")


def _missing(where: str, missing: list[tuple[Entry, str]], pictures: Pictures, base: str) -> DataError:
    entry, problem = missing[0]
    more = f" (and {len(missing) - 1:,} more rows)" if len(missing) > 1 else ""
    message = f"{where}, line {entry.line}: {entry.name!r}: {problem}{more}"
    if problem == _OUT:
        return DataError("D076", message, "write paths relative to the list's folder, without ..")
    if "link" in problem:
        return DataError("D076", message, "copy the file there, or allow it with --follow-links")
    fix = f"paths are looked for below {os.path.join(pictures.root, base)!r}"
    if "two files" in problem:
        fix = "write the path, with its folders"
    elif "\\" in entry.name:
        fix += ", with / between folders"
    elif near := pictures.near(base + entry.name):
        fix += f"; there is {near!r}"
    return DataError("D070", message, fix)


def _is_picture(name: str) -> bool:
    return name.rpartition(".")[2].strip().lower() in SUFFIXES
