"""What the folders around pictures mean: classes, parts, or that no label is known."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from semilla.data import roles
from semilla.data.lists import Row
from semilla.data.roles import listed
from semilla.errors import DataError

_LARGE = 2
"""How many times as large as the largest class a folder such as ``misc`` is taken for one that was not looked at."""


class Layout:
    """What the folders at the top mean.

    ``labeled`` is passed through where there are folders in it, and so is the one folder in a part that has the part's
    own name. Parts are called ``train``, ``test`` and so on; where that says nothing of training or of a held-out part,
    a word is enough (``seg_train``, ``test_set``), provided that one class folder at least lies in both.

    Args:
        pictures: all of them, relative to the root.
        folders: number of files below each folder of the first two levels.
    """

    def __init__(self, pictures: Sequence[str], folders: dict[str, int]) -> None:
        self._counts = Counter(path.rpartition("/")[0] for path in pictures)
        self._pictures, self._folders = pictures, folders
        self._inner: defaultdict[str, set[str]] = defaultdict(set)  # folders in a folder, of those with pictures
        for folder in self._counts:
            while folder:
                folder, _, name = folder.rpartition("/")
                self._inner[folder].add(name)
        ways = [way for way in map(self._through, filter(None, self._counts)) if way]
        holding = {way[0] for way in ways}
        deep = {way[0] for way in ways if len(way) > 1}
        self._worded = _worded(ways)
        train = {name for name in holding if self.part_of(name) == "train"}
        rest = [name for name in holding if not self.part_of(name) and not roles.is_unlabeled(name)]
        self.parted = bool(train) and (bool(train & deep) or not rest)  # else "train" is a class, such as of vehicles
        self.places = {folder: self._place(folder) for folder in self._counts}
        self.classes = {label for label, _ in self.places.values() if label is not None}

    def part_of(self, name: str) -> str:
        """The part that a folder at the top is, or ""."""
        return roles.part_named(name) or self._worded.get(name, "")

    def _through(self, folder: str) -> list[str]:
        """The names on the way to a folder that mean something: without those that are passed through."""
        kept: list[str] = []
        way = ""
        for name in folder.split("/"):
            around, way = way, f"{way}/{name}" if way else name
            again = kept[-1:] == [name] and bool(roles.part_in(name)) and len(self._inner[around]) == 1
            outside = not kept or (len(kept) == 1 and bool(roles.part_in(kept[0])))  # of any class folder
            if not (outside and (again or roles.is_labeled(name)) and self._inner.get(way)):
                kept.append(name)
        return kept

    def _place(self, folder: str) -> tuple[str | None, str]:
        """Label and part of a folder's pictures; no part where they are left out."""
        names = self._through(folder) if folder else []
        part = "train"
        if names:
            said = self.part_of(names[0])
            if roles.is_unlabeled(names[0]):
                return None, "train"
            if self.parted or said in ("development", "test"):
                part, names = said, names[1:]
        elif self.parted:
            return None, ""
        if not names or roles.is_unlabeled(names[0]):
            return None, part
        return (names[0], part) if part else (None, "")

    def _is_part(self, folder: str) -> bool:
        """Whether a folder below a class folder is named like a part."""
        names = folder.split("/")
        return len(names) > 1 and bool(roles.part_named(names[-1])) and not self.part_of(names[0])

    def read(self) -> tuple[list[Row], tuple[str, ...], list[str]]:
        """The examples, the classes that have a folder, and what was understood."""
        rows = []
        unlabeled_held_out = {folder for folder, (label, part) in self.places.items() if not label and part != "train"}
        for path in self._pictures:
            folder = path.rpartition("/")[0]
            if folder not in unlabeled_held_out:
                rows.append(Row(path, *self.places[folder]))
        if not any(row.part == "train" for row in rows):
            names = sorted({folder.split("/")[0] for folder in self._counts})
            raise DataError(
                "D081", f"only held-out pictures, below {listed(names)}", "put the others into a folder train"
            )
        classes, notes = self._declared()
        return rows, classes, [*self._notes(unlabeled_held_out), *notes]

    def _notes(self, left_out: set[str]) -> list[str]:
        pools, loose, held_out, beside = (Counter[str]() for _ in range(4))
        for folder, count in self._counts.items():
            label, part = self.places[folder]
            if label is not None:
                continue
            names = folder.split("/")
            named = next((place for place in range(len(names)) if roles.is_unlabeled(names[place])), None)
            if folder in left_out:
                (held_out if part else beside)[names[0]] += count
            elif named is not None:
                pools["/".join(names[: named + 1])] += count
            else:
                loose[folder] += count
        notes = [f"folder {name!r} is no class: its {count:,} pictures have no label" for name, count in pools.items()]
        if loose:
            what = "beside the class folders" if self.classes else "in the folder, which has no class folders,"
            notes.append(f"{loose.total():,} pictures {what} have no label")
        if held_out:
            what = f"{held_out.total():,} pictures of {listed(held_out)} are in no class folder"
            notes.append(f"warn[D081]: {what}: without labels nothing can be tested on them, so they are left out")
        if beside:
            notes.append(
                f"warn[D059]: {beside.total():,} pictures beside the folder train are left out: {listed(beside)}"
            )
        inner = sorted({name for name in self._counts if self.places[name][0] and self._is_part(name)})
        if inner:
            notes.append(f"warn[D059]: {listed(inner)} count as training pictures: put train and test at the top")
        return [*notes, *self._passed(), *self._dumps()]

    def _passed(self) -> list[str]:
        """What is said of names that are no classes and no usual parts."""
        passed = {name for folder in self._counts for name in {*folder.split("/")} - {*self._through(folder)}}
        labeled = {name for name in passed if roles.is_labeled(name)}
        notes = [f"the folders in {listed(sorted(labeled))} are the classes"] if labeled else []
        if self._worded:
            told = ", ".join(f"{name!r} is the {part} part" for name, part in sorted(self._worded.items()))
            notes.append(f"by the words in their names {told}")
        return notes

    def _dumps(self) -> list[str]:
        """Class folders whose names and sizes say that they may hold what was not looked at yet."""
        sizes: Counter[str] = Counter()
        for folder, count in self._counts.items():
            label, part = self.places[folder]
            if label is not None and part == "train":
                sizes[label] += count
        dumps = sorted(name for name in sizes if roles.is_dump(name))
        most = max((count for name, count in sizes.items() if name not in dumps), default=0)
        large = [name for name in dumps if sizes[name] > _LARGE * most > 0]
        if not large:
            return []
        said = ", ".join(f"{name!r} with {sizes[name]:,} pictures" for name in large)
        fix = "if it holds what has no label yet, rename it to 'unlabeled'"
        return [f"warn[D059]: {said} counts as a class, the largest other one has {most:,}: {fix}"]

    def _declared(self) -> tuple[tuple[str, ...], list[str]]:
        """Classes whose folder is empty, if there are class folders at all; and folders that hold something else."""
        if not self.classes:
            return (), []
        with_pictures = {label for label, part in self.places.values() if part == "train" and label is not None}
        empty: list[str] = []
        other: list[str] = []
        for folder, files in self._folders.items():
            names = self._through(folder)
            part = self.part_of(names[0]) if names else ""
            if self.parted:
                name = names[1] if part == "train" and len(names) == 2 else ""
            else:
                name = names[0] if len(names) == 1 and part not in ("development", "test") else ""
            if not name or name in with_pictures or roles.is_unlabeled(name):
                continue
            (other if files else empty).append(name)
        notes = [f"warn[D059]: folders without pictures are no classes: {listed(other)}"] if other else []
        return tuple(sorted(empty, key=os.fsencode)), notes


def _worded(ways: Iterable[Sequence[str]]) -> dict[str, str]:
    """Folders at the top that are parts by a word of their names, and not by the whole of it."""
    inner: defaultdict[str, set[str]] = defaultdict(set)
    for top, *below in ways:
        inner[top].update(below[:1])
    parts = {top: part for top in inner if (part := roles.part_in(top)) not in ("", "unlabeled")}
    train = {name for top, part in parts.items() if part == "train" for name in inner[top]}
    held_out = {name for top, part in parts.items() if part != "train" for name in inner[top]}
    if not train & held_out:
        return {}
    whole = set(map(roles.part_named, parts))
    return {top: part for top, part in parts.items() if part not in whole}
