"""What the folders around pictures mean: classes, parts, or that no label is known."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence

from semilla.data import roles
from semilla.data.lists import Row
from semilla.data.roles import listed
from semilla.errors import DataError


class Layout:
    """What the folders at the top mean.

    Args:
        pictures: all of them, relative to the root.
        folders: number of files below each folder of the first two levels.
    """

    def __init__(self, pictures: Sequence[str], folders: dict[str, int]) -> None:
        self._counts = Counter(path.rpartition("/")[0] for path in pictures)
        self._pictures, self._folders = pictures, folders
        holding = {folder.split("/", 1)[0] for folder in self._counts if folder}
        deep = {folder.split("/", 1)[0] for folder in self._counts if "/" in folder}
        train = {name for name in holding if roles.part_named(name) == "train"}
        rest = [name for name in holding if not roles.part_named(name) and not roles.is_unlabeled(name)]
        self.parted = bool(train) and (bool(train & deep) or not rest)  # else "train" is a class, such as of vehicles
        self.places = {folder: self._place(folder) for folder in self._counts}
        self.classes = {label for label, _ in self.places.values() if label is not None}

    def _place(self, folder: str) -> tuple[str | None, str]:
        """Label and part of a folder's pictures; no part where they are left out."""
        names = folder.split("/") if folder else []
        part = "train"
        if names:
            said = roles.part_named(names[0])
            if roles.is_unlabeled(names[0]):
                return None, "train"
            if self.parted or said in ("development", "test"):
                part, names = said, names[1:]
        elif self.parted:
            return None, ""
        if not names or roles.is_unlabeled(names[0]):
            return None, part
        return (names[0], part) if part else (None, "")

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
        inner = sorted({name for name in self._counts for label, _ in [self.places[name]] if label and _is_part(name)})
        if inner:
            notes.append(f"warn[D059]: {listed(inner)} count as training pictures: put train and test at the top")
        return notes

    def _declared(self) -> tuple[tuple[str, ...], list[str]]:
        """Classes whose folder is empty, if there are class folders at all; and folders that hold something else."""
        if not self.classes:
            return (), []
        with_pictures = {label for label, part in self.places.values() if part == "train" and label is not None}
        empty: list[str] = []
        other: list[str] = []
        for folder, files in self._folders.items():
            top, _, below = folder.partition("/")
            name = below if self.parted and roles.part_named(top) == "train" else "" if self.parted or below else top
            if not name or name in with_pictures or roles.is_unlabeled(name):
                continue
            if self.parted or roles.part_named(name) not in ("development", "test"):
                (other if files else empty).append(name)
        notes = [f"warn[D059]: folders without pictures are no classes: {listed(other)}"] if other else []
        return tuple(sorted(empty, key=os.fsencode)), notes


def _is_part(folder: str) -> bool:
    """Whether a folder below a class folder is named like a part."""
    names = folder.split("/")
    return len(names) > 1 and bool(roles.part_named(names[-1])) and not roles.part_named(names[0])
