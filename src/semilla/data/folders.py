"""Pictures of the user's own, in the layouts in which people keep them, understood without a setting.

Class folders; ``train``, ``validation`` and ``test`` with class folders in each; a list beside the pictures; Parquet
files that hold them; and one more folder or file with unlabeled examples, or with those to be tested on. Nothing is
written there, and nothing that is left out is left out without a note.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
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
from semilla.data.lists import (
    ENDINGS,
    ONE_HOT,
    Columns,
    Look,
    Pictures,
    Row,
    could_be_list,
    is_list,
    look_at,
    read_list,
)
from semilla.data.manifest import Manifest
from semilla.data.roles import listed
from semilla.data.walk import CLUTTER, CONVERT, SUFFIXES, Walk, is_below, kind_of
from semilla.errors import DataError

_LISTS = ("labels", "metadata", "annotations")
_SHOWN = 5
_OTHER_KIND = f"what is read are {', '.join(ENDINGS)}"
_BY_HAND = "name its columns with --path-column and --label-column"


class _Settings(NamedTuple):
    columns: Columns
    follow_links: bool
    classes: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class _Lists:
    """What there is to read in a folder.

    Attributes:
        chosen: the lists that are read, each with the part that its place or name says.
        columns: of each of them.
        notes: what is said of the others.
        unread: why others of them are not read.
    """

    chosen: dict[str, str]
    columns: dict[str, Columns]
    notes: list[str]
    unread: str


def read_pictures(
    data: Path,
    *,
    unlabeled: Path | None = None,
    test: Path | None = None,
    path_column: str | None = None,
    label_column: str | None = None,
    group_column: str | None = None,
    follow_links: bool = False,
    text: bool = False,
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
        text: whether labels are transcriptions: folders are no classes then.

    Returns:
        The examples and their bytes, or None if there are no pictures in ``data``.

    Raises:
        DataError: D001, no such path; D003, a file or folder of another kind; D004, an empty folder; D040, no
            unlabeled example in ``unlabeled``; D051, fewer than two classes beside a list that could not be read; D052,
            a class folder of a held-out part that training lacks; D075, a picture that is both tested on and trained
            on; D078, several lists; D081, no labels; and those of `semilla.data.lists.read_list` and
            `semilla.data.encoded.read_parquet`.
    """
    settings = _Settings(Columns(path_column, label_column, group_column, text), follow_links)
    root = os.fspath(data)
    others = {part: os.fspath(place) for part, place in (("unlabeled", unlabeled), ("test", test)) if place is not None}
    for place in (root, *others.values()):
        kind_of(place)
    first = _read(root, settings, [*others.values()])
    if first is None:
        return None
    if first.lacks:
        _check_swapped(first, root, others.get("unlabeled"), settings)
    if first.unread and not text:
        _check_two_classes(first)
    settings = settings._replace(classes=frozenset(filter(None, first.manifest.labels)))
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
    inner, beside = _wrapped(place, settings, elsewhere)
    if not inner:
        return _read_folder(place, settings, elsewhere)
    found = _read(os.path.join(place, inner), settings, elsewhere)
    if found is None:
        return None
    found = with_prefix(found, f"{inner}/")
    note = f"all pictures are in the folder {inner!r}, which is read in place of {_name(place)!r}"
    if beside:
        note += f"; what is beside it is left out: {listed(beside)}"
    return found._replace(manifest=replace(found.manifest, name=_name(place), notes=(note, *found.manifest.notes)))


def _wrapped(root: str, settings: _Settings, elsewhere: Sequence[str]) -> tuple[str, list[str]]:
    """The one folder in a folder, as archives often have it, and the files beside it; "" if it means something itself.

    It is not looked through where pictures or lists lie beside it, where its name says a part, a class or that there
    are no labels, and where it holds pictures itself, and no list of them.
    """
    apart = {path.split("/")[0] for path in below(root, elsewhere)}
    folders, beside = [], []
    for name in _visible(root):
        if os.path.isdir(os.path.join(root, name)):
            folders += [name] if name not in apart else []
        else:
            beside.append(name)
    lists = any(_counts(name) or _is_usual(name) for name in beside)
    if len(folders) != 1 or lists or os.path.islink(os.path.join(root, folders[0])):
        return "", []
    name = folders[0]
    said = roles.part_named(name) or roles.is_labeled(name) or roles.part_in(name) not in ("", "train")
    if said or name in settings.classes:
        return "", []
    inside = _visible(os.path.join(root, name))
    if any(map(_is_picture, inside)) and not any(map(could_be_list, inside)):
        return "", []
    return name, beside


def _visible(folder: str) -> list[str]:
    try:
        names = sorted(os.listdir(folder), key=os.fsencode)
    except OSError as error:
        message = f"folder {folder!r} cannot be read: {error.strerror or error}"
        raise DataError("D006", message, "check its permissions") from error
    return [name for name in names if name[:1] != "." and os.fsencode(name.lower()) not in CLUTTER]


def _counts(name: str) -> bool:
    return _is_picture(name) or could_be_list(name)


def _is_picture(name: str) -> bool:
    return name.rpartition(".")[2].lower() in SUFFIXES


def _read_file(file: str, settings: _Settings) -> Found | None:
    root, name = os.path.split(file)
    if name.lower().endswith(".parquet"):
        if not has_pictures(file, settings.columns):
            return None
        return _without_unlabeled_parts(
            Found(*read_parquet(Path(name).stem, root, [(name, "train")], settings.columns))
        )
    if _is_picture(name):
        fix = "give the folder that holds the pictures, with a folder for each class or with a list of labels"
        raise DataError("D003", f"{file!r} is a single picture", fix)
    if not could_be_list(name) or not is_list(file, settings.columns):
        return None
    listing = read_list(file, settings.columns, follow_links=settings.follow_links)
    rows, dropped = _with_parts(listing.rows, _parted_by(row.path for row in listing.rows))
    notes = [*listing.notes, *dropped]
    if rows and all(row.label is not None for row in rows):
        notes.append(
            f"only pictures that {name} names are used; give the folder to learn from the others in it as well"
        )
    found = _set(Path(name).stem, root or ".", rows, listing.classes, notes, settings)
    return found if listing.labeled else found._replace(lacks=_no_column(file, name, settings.columns))


def _no_column(file: str, name: str, columns: Columns) -> str:
    names, _ = read_rows(file)
    return f"no column {columns.label or roles.LABEL[0]!r} in {name} (there are {listed(names)})"


def _read_folder(root: str, settings: _Settings, elsewhere: Sequence[str]) -> Found | None:
    lists = _find_lists(root)
    walk = Walk(root, settings.follow_links, [*lists, *below(root, elsewhere)])
    pictures = list(walk)
    if not pictures and not walk.others and not walk.unread and not lists:
        links = f"; {walk.notes()[0]}" if walk.notes() else ""
        raise DataError("D004", f"folder {root!r} is empty{links}", "put pictures there, a folder for each class")
    layout = Layout(pictures, walk.folders)
    there = Pictures(root, pictures, settings.follow_links)
    found_lists = _choose_lists(root, lists, layout, there, settings.columns)
    notes = [*walk.notes(), *found_lists.notes]
    if not found_lists.chosen:
        if walk.unread and not pictures:
            raise DataError("D003", f"folder {root!r}: {walk.unread_pictures()}", CONVERT)
        if not pictures:
            return None
        if settings.columns.text:
            raise _no_transcriptions(root, found_lists.unread)
        rows, classes, said = layout.read()
        found = _set(_name(root), root, rows, classes, [*said, *notes], settings)
        _check_held_out_folders(found.manifest)
        return found._replace(unread=found_lists.unread)
    rows, classes, said, labeled = _read_lists(root, found_lists, there, settings)
    rows, more = _with_unlisted(rows, pictures, layout)
    found = _set(_name(root), root, rows, classes, [*said, *more, *notes], settings)
    first = next(iter(found_lists.chosen))
    lacks = "" if labeled else _no_column(os.path.join(root, first), first, settings.columns)
    return found._replace(lacks=lacks or found.lacks, unread=found_lists.unread)


def _no_transcriptions(root: str, unread: str) -> DataError:
    message = f"folder {root!r} has no list of transcriptions" + (f"; {unread}" if unread else "")
    fix = "write labels.csv with the columns path and text, or labels.txt with a path and its text in each line"
    return DataError("D165", message, f"{fix}; give pictures without any as --unlabeled")


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


def _choose_lists(root: str, lists: Sequence[str], layout: Layout, pictures: Pictures, columns: Columns) -> _Lists:
    """The lists that are to be read.

    ``labels``, ``metadata`` and ``annotations`` and Roboflow's ``_classes.csv`` count always, if they name pictures
    and may have labels; lists of other names only where no class folders give labels, or where the user named a column:
    they might hold anything.
    """
    by_folders = len(layout.classes) > 1 and columns == Columns()
    looks = {name: _look(root, name, columns, pictures, by_folders) for name in lists}
    looks |= {name: Look((), None, _OTHER_KIND, False, False) for name in _like_lists(root)}
    named = [name for name, look in looks.items() if look.path is not None]
    if columns.path is not None and lists and not named:
        raise DataError("D081", _reasons({name: looks[name] for name in lists}), "correct --path-column")
    usual = [name for name in named if _is_usual(name)]
    chosen = {name: roles.part_named(name.rpartition("/")[0]) for name in usual if looks[name].labeled}
    if len({name.rpartition("/")[0] for name in chosen}) < len(chosen):
        fix = f"give the right one as DATA; if need be, {_BY_HAND}"
        raise DataError("D078", f"several lists say what the labels are: {listed(chosen)}", fix)
    if not chosen and not by_folders:
        chosen = _choose_others([name for name in named if name not in usual and "/" not in name])
    if not chosen:  # lists that lack labels, which stop the run, unless nothing in them could be a label
        chosen = {
            name: roles.part_named(name.rpartition("/")[0])
            for name in usual
            if looks[name].spare or len(layout.classes) < 2
        }
    used = {name: replace(columns, path=looks[name].path) for name in chosen}
    others = {name: look for name, look in looks.items() if name not in chosen}
    return _Lists(chosen, used, _unread(others, next(iter(chosen), "")), _reasons(others))


def _reasons(looks: dict[str, Look]) -> str:
    reasons = [f"{name!r} is not read: {look.reason}" for name, look in looks.items() if look.reason]
    return "; ".join(reasons[:_SHOWN]) + ("; …" if len(reasons) > _SHOWN else "")


def _like_lists(root: str) -> list[str]:
    """Files beside the pictures that have the name of a list, and an ending of another kind."""
    names = [name for name in _visible(root) if _is_usual(name) and not _counts(name)]
    return [name for name in names if os.path.isfile(os.path.join(root, name))]


def _is_usual(name: str) -> bool:
    file = name.rpartition("/")[2].lower()
    return file == ONE_HOT or file.removesuffix(".gz").rpartition(".")[0] in _LISTS


def _look(root: str, name: str, columns: Columns, pictures: Pictures, by_folders: bool) -> Look:
    folder = name.rpartition("/")[0]
    try:
        return look_at(os.path.join(root, name), columns, pictures, f"{folder}/" if folder else "")
    except DataError as error:
        if _is_usual(name) or not by_folders:
            raise
        return Look((), None, error.message, False, False)


def _choose_others(names: Sequence[str]) -> dict[str, str]:
    """A list of another name, or several for a part each."""
    if len(names) == 1:
        return {names[0]: ""}
    parts = {name: roles.part_in(name.rpartition(".")[0]) for name in names}
    if not all(parts.values()) or len(set(parts.values())) < len(parts):
        fix = f"give the right one as DATA; if need be, {_BY_HAND}"
        raise DataError("D078", f"several lists name pictures: {listed(names)}", fix)
    return parts


def _unread(looks: dict[str, Look], chosen: str) -> list[str]:
    """What is said of the lists that are not read; those that could have given labels are told apart."""
    notes, other = [], []
    for name, look in looks.items():
        if look.path is not None and look.labeled:
            why = f"since {chosen!r} is" if chosen else "the folders are the classes"
            notes.append(f"warn[D059]: {name!r} is not read, {why}; to use it, give it as DATA")
        elif look.path is None and (_is_usual(name) or not look.names):
            by_hand = f"; to use it, {_BY_HAND}" if look.names else ""
            notes.append(f"warn[D059]: {name!r} is not read: {look.reason}{by_hand}")
        else:
            other.append(name)
    return notes + ([f"not read: {listed(other)}"] if other else [])


def _read_lists(
    root: str, lists: _Lists, pictures: Pictures, settings: _Settings
) -> tuple[list[Row], tuple[str, ...], list[str], bool]:
    rows: list[Row] = []
    classes: set[str] = set()
    notes: list[str] = []
    labeled = False
    for name, part in lists.chosen.items():
        file = os.path.join(root, name)
        listing = read_list(file, lists.columns[name], root, part, pictures, settings.follow_links)
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
    rows, notes = _with_parts(rows, layout.parted or _parted_by(pictures), layout.part_of)
    known = {row.path for row in rows}
    rest = [path for path in pictures if path not in known]
    added = [Row(path, None, "train") for path in rest if layout.places[path.rpartition("/")[0]][1] == "train"]
    if added:
        notes.append(f"{len(added):,} pictures that no list names count as unlabeled")
    if left := len(rest) - len(added):
        notes.append(f"{left:,} pictures of held-out parts that no list names are left out")
    return sorted(rows + added, key=lambda row: os.fsencode(row.path)), notes


def _parted_by(paths: Iterable[str]) -> bool:
    """Whether the folders at the top are parts: training and another one."""
    tops = {path.partition("/")[0] for path in paths if "/" in path}
    parts = set(map(roles.part_named, tops))
    return "train" in parts and bool(parts & {"development", "test"})


def _with_parts(
    rows: Iterable[Row], parted: bool, part_of: Callable[[str], str] = roles.part_named
) -> tuple[list[Row], list[str]]:
    """Rows whose list does not say a part get that of their folder; below an unlabeled one they lose their label."""
    tops: dict[str, tuple[bool, str]] = {"": (False, "train")}
    placed, dropped = [], 0
    for row in rows:
        top = row.path.partition("/")[0] if "/" in row.path else ""
        if top not in tops:
            tops[top] = roles.is_unlabeled(top), (part_of(top) if parted else "") or "train"
        unlabeled, part = tops[top]
        if unlabeled:
            dropped += row.label is not None
            row = row._replace(label=None, part="train")
        placed.append(row if row.part else row._replace(part=part))
    return placed, [f"{dropped:,} labels of pictures in unlabeled folders are not used"] if dropped else []


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
    manifest, blobs, lacks, _ = found
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


def _check_swapped(first: Found, data: str, unlabeled: str | None, settings: _Settings) -> None:
    """Raise where the labels are missing for good, or are where none are wanted."""
    if unlabeled is not None:
        columns = Columns(settings.columns.path, text=settings.columns.text)
        other = _read(unlabeled, settings._replace(columns=columns))
        if other is not None and not other.lacks:
            where = os.path.basename(os.path.normpath(unlabeled))
            found = "it" if "column" in first.lacks else "labels"
            message = f"{first.lacks}; found {found} in {where} — swapped?"
            raise DataError("D081", message, "give the examples with labels as DATA, the others as --unlabeled")
    if "column" in first.lacks:
        fix = "name the column of labels with --label-column, and that of the pictures with --path-column"
        if kind_of(data) == "folder":
            fix += "; if the folders are the classes, move the list elsewhere"
        raise DataError("D081", first.lacks, fix)


def _check_two_classes(first: Found) -> None:
    """Raise where it may well be a list that was not read that has the classes."""
    labels = sorted({*filter(None, first.manifest.labels), *first.manifest.classes})
    if len(labels) < 2:
        found = f"only {labels[0]!r}" if labels else "no label at all"
        message = f"need at least 2 classes, found {found}; {first.unread}"
        fix = "make a folder for each class, or write a list with the columns path and label"
        raise DataError("D051", message, f"{fix}; if there is one, {_BY_HAND}")


def _other(part: str, place: str, settings: _Settings, elsewhere: Sequence[str]) -> Found:
    """The source of unlabeled or of test examples."""
    if part == "unlabeled":
        return _pool(place, settings, elsewhere)
    found = _read(place, settings, elsewhere)
    if found is None:
        raise DataError("D003", f"{place!r} holds no pictures", "give pictures of the same kind as the others")
    manifest, _, lacks, _ = found
    if lacks and "test" not in manifest.parts:
        fix = "give it a folder for each class, or a list with labels"
        raise DataError("D081", f"{lacks}, which is to be tested on", fix)
    rows = [row for row, said in enumerate(manifest.parts) if said == "test"] or list(range(len(manifest)))
    kept = chosen(found, rows)
    return kept._replace(manifest=replace(kept.manifest, parts=("test",) * len(rows)))


def read_pool(place: str, columns: Columns, follow_links: bool, elsewhere: Sequence[str] = ()) -> Found:
    """All pictures of a source, as unlabeled ones; those of ``elsewhere`` below it are left out.

    Raises:
        DataError: as `read_pictures`.
    """
    return _pool(place, _Settings(columns, follow_links), elsewhere)


def _pool(place: str, settings: _Settings, elsewhere: Sequence[str]) -> Found:
    """All pictures of a source, without labels, whatever its folders are called."""
    is_folder = kind_of(place) == "folder"
    parquet = find_parquet(place) if is_folder else []
    if is_folder and not (parquet and has_pictures(os.path.join(place, parquet[0][0]), settings.columns)):
        walk = Walk(place, settings.follow_links, below(place, elsewhere))
        paths = tuple(walk)
        if not paths:
            fix = "put pictures there, or leave --unlabeled out"
            others = f"; {walk.unread_pictures()}" if walk.unread else ""
            raise DataError("D040", f"no unlabeled example: folder {place!r} holds no pictures{others}", fix)
        blank = ("",) * len(paths)
        notes = (*(f"{_name(place)}: {note}" for note in walk.notes()),)
        manifest = Manifest(_name(place), paths, (None,) * len(paths), ("train",) * len(paths), blank, notes=notes)
        return Found(manifest, _files(place, paths, settings.follow_links))
    found = _read(place, settings._replace(columns=replace(settings.columns, label=None, group=None)), elsewhere)
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
