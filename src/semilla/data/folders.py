"""Pictures of the user's own, in the layouts in which people keep them, understood without a setting.

Class folders; ``train``, ``validation`` and ``test`` with class folders in each; a list beside the pictures; Parquet
files that hold them; and one more folder or file with unlabeled examples, or with those to be tested on. Nothing is
written there, and nothing that is left out is left out without a note.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from semilla.data import roles
from semilla.data.blobs import Blobs, Files
from semilla.data.csvfiles import read_rows
from semilla.data.encoded import find_parquet, has_pictures, read_parquet
from semilla.data.gathered import Gathered
from semilla.data.joined import Found, below, chosen, joined, prefixes, with_prefix
from semilla.data.layout import Layout
from semilla.data.lists import ONE_HOT, Columns, Row, could_be_list, is_list, read_list
from semilla.data.manifest import Manifest
from semilla.data.roles import listed
from semilla.data.walk import SUFFIXES, Walk, is_below, kind_of
from semilla.errors import DataError

_LISTS = ("labels", "metadata")


class _Settings(NamedTuple):
    columns: Columns
    follow_links: bool


def read_pictures(
    data: Path,
    *,
    unlabeled: Path | None = None,
    test: Path | None = None,
    path_column: str | None = None,
    label_column: str | None = None,
    group_column: str | None = None,
    follow_links: bool = False,
) -> tuple[Manifest, Blobs] | None:
    """Read a set of pictures; none of them is opened.

    Args:
        data: a folder, a list (CSV, TSV, JSON Lines) or a Parquet file.
        unlabeled: the same, with more examples, whose labels are dropped; a folder with all pictures below it.
        test: the same, with labels, to be tested on.
        path_column: the column of a list that names the pictures, or of a Parquet file that holds them.
        label_column: the column of labels.
        group_column: the column that says what belongs together.
        follow_links: whether links may lead out of the folders.

    Returns:
        The examples and their bytes, or None if there are no pictures in ``data``.

    Raises:
        DataError: D001, no such path; D003, a file or folder of another kind; D004, an empty folder; D040, no
            unlabeled example in ``unlabeled``; D052, a class folder of a held-out part that training lacks; D075, a
            picture that is both tested on and trained on; D078, several lists; D081, no labels; and those of
            `semilla.data.lists.read_list` and `semilla.data.encoded.read_parquet`.
    """
    settings = _Settings(Columns(path_column, label_column, group_column), follow_links)
    root = os.fspath(data)
    others = {part: os.fspath(place) for part, place in (("unlabeled", unlabeled), ("test", test)) if place is not None}
    for place in (root, *others.values()):
        kind_of(place)
    first = _read(root, settings, [*others.values()])
    if first is None:
        return None
    if first.lacks:
        _check_swapped(first, others.get("unlabeled"), settings)
    more = [(part, _other(part, place, settings, [root])) for part, place in others.items()]
    ways = prefixes(root, [*others.values()])
    return joined(first, [(part, with_prefix(found, way)) for (part, found), way in zip(more, ways, strict=True)])


def _read(place: str, settings: _Settings, elsewhere: Sequence[str] = ()) -> Found | None:
    """One source with its labels and parts; None where there are no pictures."""
    if kind_of(place) == "file":
        return _read_file(place, settings)
    parquet = find_parquet(place)
    if parquet and has_pictures(os.path.join(place, parquet[0][0]), settings.columns):
        return _without_unlabeled_parts(Found(*read_parquet(_name(place), place, parquet, settings.columns)))
    return _read_folder(place, settings, elsewhere)


def _read_file(file: str, settings: _Settings) -> Found | None:
    root, name = os.path.split(file)
    if name.lower().endswith(".parquet"):
        if not has_pictures(file, settings.columns):
            return None
        return _without_unlabeled_parts(
            Found(*read_parquet(Path(name).stem, root, [(name, "train")], settings.columns))
        )
    if name.rpartition(".")[2].lower() in SUFFIXES:
        fix = "give the folder that holds the pictures, with a folder for each class or with a list of labels"
        raise DataError("D003", f"{file!r} is a single picture", fix)
    if not could_be_list(name) or not is_list(file, settings.columns):
        return None
    listing = read_list(file, settings.columns, follow_links=settings.follow_links)
    rows = _with_parts(listing.rows, _parted_by(row.path for row in listing.rows))
    notes = listing.notes
    if rows and all(row.label is not None for row in rows):
        notes.append(
            f"only pictures that {name} names are used; give the folder to learn from the others in it as well"
        )
    found = _set(Path(name).stem, root or ".", rows, listing.classes, notes, settings)
    return found if listing.labeled else found._replace(lacks=_no_column(name, settings.columns))


def _no_column(name: str, columns: Columns) -> str:
    return f"no column {columns.label or roles.LABEL[0]!r} in {name}"


def _read_folder(root: str, settings: _Settings, elsewhere: Sequence[str]) -> Found | None:
    lists = _find_lists(root)
    walk = Walk(root, settings.follow_links, [*lists, *below(root, elsewhere)])
    pictures = list(walk)
    if not pictures and not walk.others and not lists:
        links = f"; {walk.notes()[0]}" if walk.notes() else ""
        raise DataError("D004", f"folder {root!r} is empty{links}", "put pictures there, a folder for each class")
    layout = Layout(pictures, walk.folders)
    chosen = _choose_lists(root, lists, layout, settings.columns)
    notes = walk.notes() + _unread(root, [name for name in lists if name not in chosen], settings.columns)
    if not chosen:
        if not pictures:
            return None
        rows, classes, said = layout.read()
        found = _set(_name(root), root, rows, classes, [*said, *notes], settings)
        _check_held_out_folders(found.manifest)
        return found
    rows, classes, said, labeled = _read_lists(root, chosen, pictures, settings)
    rows, more = _with_unlisted(rows, pictures, layout)
    found = _set(_name(root), root, rows, classes, [*said, *more, *notes], settings)
    return found if labeled else found._replace(lacks=_no_column(next(iter(chosen)), settings.columns))


def _find_lists(root: str) -> list[str]:
    """Files that end like lists, in the folder and in its folders of parts."""
    found = []
    for name in sorted(os.listdir(root), key=os.fsencode):
        path = os.path.join(root, name)
        if roles.part_named(name) and os.path.isdir(path) and not os.path.islink(path):
            inner = sorted(os.listdir(path), key=os.fsencode)
            found += [f"{name}/{file}" for file in inner if _is_list_file(os.path.join(path, file))]
        elif _is_list_file(path):
            found.append(name)
    return found


def _is_list_file(path: str) -> bool:
    name = os.path.basename(path)
    return could_be_list(name) and name[:1] != "." and os.path.isfile(path) and not os.path.islink(path)


def _choose_lists(root: str, lists: Sequence[str], layout: Layout, columns: Columns) -> dict[str, str]:
    """The lists that are to be read, each with the part that its place or its name says.

    ``labels`` and ``metadata`` and Roboflow's ``_classes.csv`` count always, if they have labels; lists of other names
    only where no class folders give labels, or where the user named a column: they might hold anything.
    """
    usual: dict[str, str] = {}
    without: dict[str, str] = {}
    for name in lists:
        folder, _, file = name.rpartition("/")
        stem = file.lower().removesuffix(".gz").rpartition(".")[0]
        if (file.lower() == ONE_HOT or stem in _LISTS) and is_list(os.path.join(root, name), columns):
            (usual if _has_labels(root, name, columns) else without)[name] = roles.part_named(folder)
    if len({name.rpartition("/")[0] for name in usual}) < len(usual):
        raise DataError("D078", f"several lists say what the labels are: {listed(usual)}", "give the right one as DATA")
    if usual or (len(layout.classes) > 1 and columns == Columns()):
        return usual
    rest = [name for name in lists if name not in without and "/" not in name]
    rest = [name for name in rest if is_list(os.path.join(root, name), columns)]
    if len(rest) == 1:
        return {rest[0]: ""}
    parts = {name: roles.part_in(name.rpartition(".")[0]) for name in rest}
    if not all(parts.values()) or len(set(parts.values())) < len(parts):
        raise DataError("D078", f"several lists name pictures: {listed(rest)}", "give the right one as DATA")
    return parts or ({} if len(layout.classes) > 1 else without)


def _unread(root: str, lists: Iterable[str], columns: Columns) -> list[str]:
    """What is said of the lists that are not read; those that could have given labels are told apart."""
    notes, other = [], []
    for name in lists:
        if is_list(os.path.join(root, name), columns) and _has_labels(root, name, columns):
            notes.append(f"warn[D059]: {name!r} is not read, the folders are the classes; to use it, give it as DATA")
        else:
            other.append(name)
    return notes + ([f"not read: {listed(other)}"] if other else [])


def _has_labels(root: str, name: str, columns: Columns) -> bool:
    names, _ = read_rows(os.path.join(root, name))
    if name.rpartition("/")[2].lower() == ONE_HOT:
        return True
    return columns.label in names or roles.column(names, roles.LABEL, None, "", name) is not None


def _read_lists(
    root: str, chosen: dict[str, str], pictures: Sequence[str], settings: _Settings
) -> tuple[list[Row], tuple[str, ...], list[str], bool]:
    rows: list[Row] = []
    classes: set[str] = set()
    notes: list[str] = []
    labeled = False
    for name, part in chosen.items():
        listing = read_list(os.path.join(root, name), settings.columns, root, part, pictures, settings.follow_links)
        twice = {row.path for row in rows} & {row.path for row in listing.rows}
        if twice:
            message = f"{name} names {min(twice)!r}, and so does another list"
            raise DataError("D075", message, "name each picture once")
        rows += listing.rows
        classes.update(listing.classes)
        notes += listing.notes
        labeled |= listing.labeled
    return rows, tuple(sorted(classes)), notes, labeled


def _with_unlisted(rows: list[Row], pictures: Sequence[str], layout: Layout) -> tuple[list[Row], list[str]]:
    """The rows of lists with their parts, and the other pictures: unlabeled ones, unless they are held out."""
    rows = _with_parts(rows, layout.parted or _parted_by(pictures))
    known = {row.path for row in rows}
    rest = [path for path in pictures if path not in known]
    added = [Row(path, None, "train") for path in rest if layout.places[path.rpartition("/")[0]][1] == "train"]
    notes = [f"{len(added):,} pictures that no list names count as unlabeled"] if added else []
    if left := len(rest) - len(added):
        notes.append(f"{left:,} pictures of held-out parts that no list names are left out")
    return sorted(rows + added, key=lambda row: os.fsencode(row.path)), notes


def _parted_by(paths: Iterable[str]) -> bool:
    """Whether the folders at the top are parts: training and another one."""
    tops = {path.partition("/")[0] for path in paths if "/" in path}
    parts = set(map(roles.part_named, tops))
    return "train" in parts and bool(parts & {"development", "test"})


def _with_parts(rows: Iterable[Row], parted: bool) -> list[Row]:
    """Rows whose list does not say a part get that of their folder; below an unlabeled one they lose their label."""
    tops: dict[str, tuple[bool, str]] = {"": (False, "train")}
    placed = []
    for row in rows:
        top = row.path.partition("/")[0] if "/" in row.path else ""
        if top not in tops:
            tops[top] = roles.is_unlabeled(top), (roles.part_named(top) if parted else "") or "train"
        unlabeled, part = tops[top]
        if unlabeled:
            row = row._replace(label=None, part="train")
        placed.append(row if row.part else row._replace(part=part))
    return placed


def _set(
    name: str, root: str, rows: list[Row], classes: Sequence[str], notes: Iterable[str], settings: _Settings
) -> Found:
    """A manifest of files below one folder."""
    paths, labels, parts, groups = (tuple(column) for column in zip(*rows, strict=True)) if rows else ((), (), (), ())
    manifest = Manifest(name, paths, labels, parts, groups, tuple(classes), tuple(notes))
    return _without_unlabeled_parts(Found(manifest, _files(root, paths, settings.follow_links)))


def _files(root: str, paths: tuple[str, ...], follow_links: bool) -> Blobs:
    """The files; those behind links that leave the folder are read where they really lie."""
    if not follow_links:
        return Files.below(root, paths)
    real = os.path.realpath(root)
    places = [os.path.realpath(os.path.join(root, path)) for path in paths]
    inside = [is_below(place, real) for place in places]
    split = [
        (root, path) if near else os.path.split(place) for path, place, near in zip(paths, places, inside, strict=True)
    ]
    roots = {folder: number for number, folder in enumerate(dict.fromkeys(folder for folder, _ in split))}
    root_of = np.array([roots[folder] for folder, _ in split], np.int64)
    files = Files(tuple(roots), root_of, tuple(name for _, name in split))
    return Gathered.of(files, range(len(paths)), paths)


def _without_unlabeled_parts(found: Found) -> Found:
    """Leave out a held-out part in which no example has a label, and say what the training part lacks."""
    manifest, blobs, lacks = found
    known = {part for part, label in zip(manifest.parts, manifest.labels, strict=True) if label is not None}
    if "train" not in known and not lacks:
        lacks = f"no label in {manifest.name!r}"
    rows = [row for row, part in enumerate(manifest.parts) if part == "train" or part in known]
    if len(rows) == len(manifest):
        return Found(manifest, blobs, lacks)
    left = len(manifest) - len(rows)
    note = f"warn[D081]: {left:,} held-out examples without any label are left out"
    kept = chosen(found, rows)
    return kept._replace(manifest=replace(kept.manifest, notes=(*manifest.notes, note)), lacks=lacks)


def _check_held_out_folders(manifest: Manifest) -> None:
    known = {label for label, part in zip(manifest.labels, manifest.parts, strict=True) if part == "train"}
    for part in ("development", "test"):
        own = {label for label, there in zip(manifest.labels, manifest.parts, strict=True) if there == part}
        _check_classes(part, own, known | {*manifest.classes})


def _check_classes(part: str, own: Iterable[str | None], known: set[str | None]) -> None:
    strange = sorted({label for label in own if label is not None} - known, key=str)
    if strange and known - {None}:
        message = f"the {part} part has classes that training does not have: {listed(strange)}"
        raise DataError("D052", message, "rename or remove their folders, or give training examples of them")


def _check_swapped(first: Found, unlabeled: str | None, settings: _Settings) -> None:
    """Raise where the labels are missing for good, or are where none are wanted."""
    if unlabeled is not None:
        columns = Columns(settings.columns.path)
        other = _read(unlabeled, settings._replace(columns=columns))
        if other is not None and not other.lacks:
            where = os.path.basename(os.path.normpath(unlabeled))
            found = "it" if "column" in first.lacks else "labels"
            message = f"{first.lacks}; found {found} in {where} — swapped?"
            raise DataError("D081", message, "give the examples with labels as DATA, the others as --unlabeled")
    if "column" in first.lacks:
        raise DataError("D081", first.lacks, "name the column of labels with --label-column")


def _other(part: str, place: str, settings: _Settings, elsewhere: Sequence[str]) -> Found:
    """The source of unlabeled or of test examples."""
    if part == "unlabeled":
        return _pool(place, settings, elsewhere)
    found = _read(place, settings, elsewhere)
    if found is None:
        raise DataError("D003", f"{place!r} holds no pictures", "give pictures of the same kind as the others")
    manifest, _, lacks = found
    if lacks and "test" not in manifest.parts:
        fix = "give it a folder for each class, or a list with labels"
        raise DataError("D081", f"{lacks}, which is to be tested on", fix)
    rows = [row for row, said in enumerate(manifest.parts) if said == "test"] or list(range(len(manifest)))
    kept = chosen(found, rows)
    return kept._replace(manifest=replace(kept.manifest, parts=("test",) * len(rows)))


def _pool(place: str, settings: _Settings, elsewhere: Sequence[str]) -> Found:
    """All pictures of a source, without labels, whatever its folders are called."""
    is_folder = kind_of(place) == "folder"
    parquet = find_parquet(place) if is_folder else []
    if is_folder and not (parquet and has_pictures(os.path.join(place, parquet[0][0]), settings.columns)):
        walk = Walk(place, settings.follow_links, below(place, elsewhere))
        paths = tuple(walk)
        if not paths:
            fix = "put pictures there, or leave --unlabeled out"
            raise DataError("D040", f"no unlabeled example: folder {place!r} holds no pictures", fix)
        blank = ("",) * len(paths)
        notes = (*(f"{_name(place)}: {note}" for note in walk.notes()),)
        manifest = Manifest(_name(place), paths, (None,) * len(paths), ("train",) * len(paths), blank, notes=notes)
        return Found(manifest, _files(place, paths, settings.follow_links))
    found = _read(place, settings._replace(columns=Columns(settings.columns.path)), elsewhere)
    if found is None:
        raise DataError("D003", f"{place!r} holds no pictures", "give pictures of the same kind as the others")
    manifest = found.manifest
    known = sum(label is not None for label in manifest.labels)
    note = [f"{_name(place)}: {known:,} examples have a label there, which is not used"] if known else []
    size = len(manifest)
    bare = replace(manifest, labels=(None,) * size, parts=("train",) * size, classes=(), notes=tuple(note))
    return Found(bare, found.blobs)


def _name(place: str) -> str:
    return os.path.basename(os.path.realpath(place)) or "data"
