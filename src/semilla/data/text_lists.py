"""``labels.txt``: in each line the path of a picture, a tab or a space, and then its transcription."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from semilla.data import roles
from semilla.data.blobs import Files
from semilla.data.csvfiles import read_lines
from semilla.data.gathered import Gathered
from semilla.data.joined import Found, below
from semilla.data.lists import Entry, Pictures, could_be_list, find_entries
from semilla.data.manifest import Manifest
from semilla.data.roles import listed
from semilla.data.transcriptions import transcription
from semilla.data.walk import SUFFIXES, Walk
from semilla.errors import DataError

_USUAL = ("labels.txt", "label.txt", "gt.txt")
_OTHERS = ("labels", "metadata", "annotations")
_ENDING = ".txt"


def text_list(place: str) -> list[str]:
    """The text lists that a path stands for: itself, or those in a folder; none where there are none.

    In a folder they are ``labels.txt``, ``label.txt`` and ``gt.txt``, or one for each part with its name in theirs,
    such as ``train.txt`` and ``gt_test.txt``, whose first line names a picture.

    Raises:
        DataError: D078, several that may be meant.
    """
    if not os.path.isdir(place):
        return [place] if place.lower().endswith(_ENDING) else []
    names = [name for name in sorted(os.listdir(place)) if os.path.isfile(os.path.join(place, name))]
    usual = [name for name in names if name.lower() in _USUAL]
    others = [name for name in names if could_be_list(name) and name.lower().partition(".")[0] in _OTHERS]
    if len(usual) > 1 or (usual and others):
        message = f"several lists say what the labels are: {listed([*usual, *others])}"
        raise DataError("D078", message, "give one of them as DATA")
    if others:
        return []
    ending = [name for name in names if name.lower().endswith(_ENDING) and roles.part_in(Path(name).stem)]
    parts = [name for name in ending if not usual and _names_a_picture(os.path.join(place, name))]
    return [os.path.join(place, name) for name in usual or parts]


def read_text_list(place: str, follow_links: bool = False, elsewhere: Sequence[str] = ()) -> Found:
    """Read the text lists of a path. Of a folder, the pictures that no list names count as unlabeled.

    A path is looked for as `semilla.data.lists.read_list` does. Where a line has a tab, the first one ends the path,
    else the first space does. A line without text says that there is no transcription.

    Args:
        place: a list, or a folder with some.
        follow_links: whether a path may leave the folder through a link.
        elsewhere: other sources, which are left out where they lie below.

    Raises:
        DataError: D070, a name that no file or more than one file has; D073, a line that is not UTF-8; D075, a file
            named twice; D076, a path that leaves the folder; D166, a control character in a transcription.
    """
    lists, folder = text_list(place), os.path.isdir(place)
    root = place if folder else os.path.dirname(place) or "."
    walk = Walk(root, follow_links, [*below(root, elsewhere), *map(os.path.basename, lists)])
    pictures = Pictures(root, [*walk] if folder else None, follow_links)
    paths: dict[str, tuple[str | None, str]] = {}
    notes = walk.notes() if folder else []
    for file in lists:
        where = os.path.basename(file)
        said = roles.part_in(Path(where).stem) if folder or where.lower() not in _USUAL else ""
        entries, found, again = find_entries(where, _entries(file, said), pictures, "")
        if twice := paths.keys() & {*found}:
            message = f"{where} names {min(twice)!r}, and so does another list"
            raise DataError("D075", message, "name each picture once")
        paths |= {path: (entry.label, entry.part) for path, entry in zip(found, entries, strict=True)}
        notes.append(f"{where}: {len(found):,} lines" + (f", {again:,} more of them word for word" if again else ""))
    if folder and (rest := [path for path in walk if path not in paths]):
        paths |= dict.fromkeys(rest, (None, "train"))
        notes.append(f"{len(rest):,} pictures that no list names count as unlabeled")
    names = tuple(sorted(paths, key=os.fsencode))
    labels, parts = tuple(paths[name][0] for name in names), tuple(paths[name][1] for name in names)
    manifest = Manifest(_name(place), names, labels, parts, ("",) * len(names), notes=tuple(notes))
    return Found(manifest, Gathered.of(Files.below(root, names), range(len(names)), names))


def _entries(file: str, part: str) -> list[Entry]:
    where, entries = os.path.basename(file), []
    for number, line in read_lines(Path(file)):
        path, text = _cut(line)
        if path:
            label = transcription(text, f"{where}, line {number}") if part != "unlabeled" else None
            entries.append(Entry(number, path, label, "train" if part in ("", "unlabeled") else part, ""))
    return entries


def _cut(line: str) -> tuple[str, str]:
    """Path and text of a line."""
    path, _, text = line.rstrip("\r\n").partition("\t" if "\t" in line else " ")
    return path.strip(), text


def _names_a_picture(file: str) -> bool:
    with_text = (line for _, line in read_lines(Path(file)) if line.strip())
    return _cut(next(with_text, ""))[0].rpartition(".")[2].lower() in SUFFIXES


def _name(place: str) -> str:
    real = os.path.realpath(place)
    return os.path.basename(real if os.path.isdir(real) else os.path.dirname(real)) or "data"
