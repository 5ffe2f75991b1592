"""Tables of features: which column is what, and the data set they make.

A table is read in parts of some thousand rows, twice for training: once to learn how its columns are to be read, once
to read them so. Only the numbers of the training rows are held meanwhile.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from semilla.config import nearest
from semilla.data.csvfiles import suffix
from semilla.data.dataset import UNKNOWN, Dataset, Examples
from semilla.data.holdout import choose_test
from semilla.data.labels import IntArray
from semilla.data.lists import Columns, is_list
from semilla.data.manifest import Manifest
from semilla.data.reading import Column, TableReading, listed
from semilla.data.roles import GROUP, PART, is_unlabeled, label_notes, part_named
from semilla.data.roles import column as find_column
from semilla.data.source import Source
from semilla.data.table_files import PARQUET, TEXT, Chunk, Table, has_pictures, is_frame, open_table
from semilla.errors import DataError, UsageError
from semilla.text import clean

__all__ = ["is_frame", "is_table", "open_table", "read_features", "read_table"]

LABELS = ("label", "class", "target", "y")
"""Names that make a column the labels'."""
IDS = ("id",)
"""Names that make a column say who a row is: not a feature, and each value is there once."""

_WHOLE = re.compile(r"[+-]?[0-9]{1,18}(\.0*)?")
_CHUNK = 4096
_LEFT_OUT = "left out"
_MEASUREMENTS = 20

Floats32: TypeAlias = npt.NDArray[np.float32]


def is_table(path: Path, source: Source) -> bool:
    """Whether a file is a table of features, and not a list or collection of pictures.

    Raises:
        DataError: D007, a Parquet file and no pyarrow; those of a file that is damaged.
    """
    if source.path_column is not None:
        return False
    if suffix(path) in TEXT:
        return not is_list(str(path), Columns())
    return path.suffix.lower() == PARQUET and not has_pictures(path)


def read_table(data: Any, source: Source) -> Dataset:
    """Make a data set of a table.

    Args:
        data: a path or a DataFrame: a column of labels (``label``, ``class``, ``target`` or ``y``, or the one that
            ``source`` names), where an empty cell, or −1 among whole numbers, says that the class is not known; if
            wanted ``split`` or ``part`` with the words train, development, test; ``group``; ``id``. All other columns
            are features.
        source: more unlabeled rows, test rows and how to read the columns; see `Source`.

    Raises:
        DataError: D001 to D007 and D071 to D074, files that cannot be read; D052, a held-out label that the training
            pool does not have; D056, labels that are measurements; D080, a cell that is missing or not finite; D081,
            no labels; D083, a column is missing; D084, a column mixes numbers and text; D086, no column is left.
        UsageError: U005, an option names no column or an unknown word.
    """
    main = open_table(data)
    roles = _Roles.of(main, source)
    tables = [_Part(main, roles, "")]
    for part, given in (("unlabeled", source.unlabeled), ("test", source.test)):
        if given is not None:
            tables.append(_Part(open_table(given), roles, part))
    roles.check(tables)
    for table in tables:
        table.look()
    kept_back = _keep_back(tables, source.holdout) if source.holdout is not None else ()
    pool = [table for table in tables if table.role != "test"]  # spares a look at rows that teach nothing
    categorical = {*source.categorical, *main.declared}
    reading = TableReading.fit(_columns(pool, roles.features), sorted(categorical), source.impute, roles.others)
    dataset = _dataset(tables, reading)
    return replace(dataset, notes=(*dataset.notes, *kept_back))


def read_features(
    path: Any, reading: Mapping[str, Any], chunk: int = _CHUNK, say: Callable[[str], object] = lambda line: None
) -> Iterator[tuple[npt.NDArray[np.int64], Floats32]]:
    """Read the rows of a table as a model's training read its own, in bounded memory.

    Args:
        path: a file or a DataFrame with the columns of training, in any order; others are not read.
        reading: what `Dataset.reading` was.
        chunk: rows at a time.
        say: called with each line that the user should know, such as ``print``.

    Yields:
        int64 (n,) row numbers counted from 0, and float32 (n, D) features.

    Raises:
        DataError: D080, a cell that is missing or not finite; D083, a column is missing.
        StateError: C022, ``reading`` is not a table's.
    """
    how, table = TableReading.from_json(reading), open_table(path)
    extra = _check_columns(table, how.columns, {*how.ignored, *LABELS, *PART, *GROUP, *IDS})
    if extra:
        say(extra)
    unseen: Counter[str] = Counter()
    for rows in table.chunks(chunk):
        cells = {name: rows.cells(name) for name in how.columns}
        unseen += how.unseen(cells)
        yield np.arange(rows.first, rows.first + rows.rows), how.transform(cells, rows.place)
    if unseen:
        say(_unseen(table.name, unseen))


@dataclass(frozen=True, slots=True)
class _Roles:
    """Which column is what."""

    label: str
    part: str | None
    group: str | None
    identity: str | None
    features: tuple[str, ...]

    @classmethod
    def of(cls, table: Table, source: Source) -> _Roles:
        label = _label_column(table, source)
        group = find_column(table.columns, GROUP, source.group_column, "--group-column", table.name)
        part, identity = _part_column(table), _named(table, IDS)
        special = {label, part, group, identity}
        features = tuple(name for name in table.columns if name not in special)
        for name in source.categorical:
            if name not in features:
                message = f"{table.name} has no feature column {name!r} that could be categorical"
                raise UsageError("U005", message, nearest(name, features) if features else "")
        return cls(label or "", part, group, identity, features)

    @property
    def others(self) -> tuple[str, ...]:
        """The columns that are no features."""
        return tuple(name for name in (self.label, self.part, self.group, self.identity) if name)

    def described(self) -> str:
        """The other columns with a meaning, for a sentence."""
        pairs = (("part", self.part), ("group", self.group), ("identity", self.identity))
        return "".join(f", {what} from {name!r}" for what, name in pairs if name)

    def check(self, tables: Sequence[_Part]) -> None:
        """Refuse files that lack a column; tell swapped files from others."""
        main, *more = tables
        if self.label not in main.table:
            swapped = [other for other in more if other.role == "unlabeled" and self._label_in(other.table)]
            raise _no_labels(main.table, swapped[0].table if swapped else None)
        for table in more:
            extra = _check_columns(table.table, self.features, set(self.others))
            table.notes += [extra] if extra else []
            if table.role == "test" and self.label not in table.table:
                fix = "the test rows need their labels"
                raise DataError("D081", f"no column {self.label!r} in {table.table.name}", fix)

    def _label_in(self, table: Table) -> bool:
        return self.label in table if self.label else _named(table, LABELS) is not None


def _label_column(table: Table, source: Source) -> str | None:
    if source.label_column is not None:
        return source.label_column
    found = [name for name in table.columns if name.lower() in LABELS]
    if len(found) > 1:
        message = f"{table.name} has {len(found)} columns that may hold the labels: {listed(found)}"
        raise DataError("D081", message, "name one: --label-column")
    return found[0] if found else None


def _no_labels(table: Table, other: Table | None) -> DataError:
    if other is not None:
        message = f"no column of labels in {table.name}; found one in {other.name}: swapped?"
        return DataError("D081", message, "give the labeled file first and the other as --unlabeled")
    message = f"no column of labels in {table.name}; its columns are {listed(table.columns, 20)}"
    return DataError("D081", message, f"name it {LABELS[0]!r}, or say which it is: --label-column")


def _named(table: Table, names: Sequence[str]) -> str | None:
    return next((name for name in table.columns if name.lower() in names), None)


def _part_column(table: Table) -> str | None:
    """A column called so, if the words in its first rows are those of parts."""
    name = _named(table, PART)
    if name is None:
        return None
    head = next(table.chunks(_CHUNK), None)
    words = set(head.texts(name)) if head is not None else set()
    return name if all(map(_part, words)) and any(map(str.strip, words)) else None


def _part(word: str) -> str:
    """The part that a cell says, "" if it says none; an empty cell is a row to train on."""
    return "train" if not word.strip() or is_unlabeled(word) else part_named(word)


def _check_columns(table: Table, wanted: Sequence[str], known: set[str]) -> str:
    """A warning of columns that are not used; an error if one is missing."""
    missing = [name for name in wanted if name not in table]
    if missing:
        message = f"{table.name} has no column {listed(missing)}; its columns are {listed(table.columns, 20)}"
        raise DataError("D083", message, "columns are found by name, in any order; add what is missing")
    extra = [name for name in table.columns if name not in {*wanted, *known} and name.lower() not in known]
    return f"warn[D085]: {table.name}: columns not used: {listed(extra)}" if extra else ""


@dataclass(slots=True, eq=False)
class _Part:
    """One of the files of a data set: the main one (role ``""``), the unlabeled one or the test one."""

    table: Table
    roles: _Roles
    role: str
    labels: list[str | None] = field(default_factory=list)
    parts: list[str] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def look(self) -> None:
        """Read labels, parts and groups of all rows; every identity is there once."""
        seen: dict[str, str] = {}
        dropped = 0
        for chunk in self.table.chunks(_CHUNK):
            labels = self._column(chunk, self.roles.label)
            words = self._column(chunk, self.roles.part)
            hidden = [self.role == "unlabeled" or is_unlabeled(word) for word in words]
            dropped += sum(hide and bool(label.strip()) for label, hide in zip(labels, hidden, strict=True))
            self.labels += [
                label if label.strip() and not hide else None for label, hide in zip(labels, hidden, strict=True)
            ]
            self.parts += self._parts(chunk, words)
            self.groups += self._column(chunk, self.roles.group)
            self._check_identity(chunk, seen)
        if not self.labels:
            raise DataError("D020", f"{self.table.name} has no rows", "give at least one")
        if dropped:
            self.notes.append(f"{self.table.name}: {dropped} labels of rows given as unlabeled were not read")

    def _column(self, chunk: Chunk, name: str | None) -> list[str]:
        return chunk.texts(name) if name and name in self.table else [""] * chunk.rows

    def _parts(self, chunk: Chunk, words: list[str]) -> list[str]:
        if self.role:
            return ["test" if self.role == "test" else "train"] * chunk.rows
        parts = [_part(word) for word in words]
        if "" in parts:
            row = parts.index("")
            message = f"{chunk.place(row)}, column {self.roles.part!r}: unknown part {clean(words[row][:40])!r}"
            raise DataError("D077", message, "write train, validation, test or unlabeled")
        return parts

    def _check_identity(self, chunk: Chunk, seen: dict[str, str]) -> None:
        name = self.roles.identity
        if name is None or name not in self.table:
            return
        for row, value in enumerate(chunk.texts(name)):
            if value and value in seen:
                message = f"{chunk.place(row)}: {name} {clean(value[:40])!r} is already in {seen[value]}"
                raise DataError("D071", message, "give every row an id of its own")
            seen[value] = chunk.place(row)

    def where(self, part: str) -> list[int]:
        """The rows of a part."""
        return [row for row, own in enumerate(self.parts) if own == part]

    def features(self, reading: TableReading) -> Floats32:
        """float32 (N, D) of all rows."""
        rows = np.empty((len(self.labels), reading.width), np.float32)
        unseen: Counter[str] = Counter()
        for chunk in self.table.chunks(_CHUNK):
            cells = {name: chunk.cells(name) for name in reading.columns}
            unseen += reading.unseen(cells)
            rows[chunk.first : chunk.first + chunk.rows] = reading.transform(cells, chunk.place)
        if unseen:
            self.notes.append(_unseen(self.table.name, unseen))
        return rows


def _keep_back(tables: Sequence[_Part], holdout: float) -> tuple[str, ...]:
    """Give labeled rows to the test part before anything is learnt from the rows; returns what is to be said.

    Raises:
        UsageError: U017, there is a test part already; U018; and D062 of `choose_test`.
    """
    rows = [(table, row) for part in ("train", "development") for table in tables for row in table.where(part)]
    if any(part == "test" for table in tables for part in table.parts):
        raise UsageError("U017", f"{tables[0].table.name} has a test part already", "leave --holdout out")
    pool = [row for row, (table, place) in enumerate(rows) if table.parts[place] == "train"]
    known = _known([table.labels[place] for table, place in rows])
    classes = sorted({known[row] for row in pool} - {None}, key=str)
    numbers: dict[str | None, int] = {name: number for number, name in enumerate(classes)}
    labels = np.array([numbers.get(known[row], UNKNOWN) for row in pool], np.int64)
    groups = [table.groups[place] for table, place in rows]
    chosen = choose_test(labels, [str(name) for name in classes], holdout, groups, [""] * len(rows))
    for positions, part in ((chosen.test, "test"), (chosen.fellows, _LEFT_OUT)):
        for row in positions.tolist():
            table, place = rows[row]
            table.parts[place] = part
    return chosen.notes


def _known(labels: Sequence[str | None]) -> list[str | None]:
    """The labels; −1 among whole numbers is none."""
    if all(label is None or _WHOLE.fullmatch(label) for label in labels):
        return [None if label is not None and float(label) == UNKNOWN else label for label in labels]
    return list(labels)


def _columns(tables: Sequence[_Part], names: Sequence[str]) -> list[Column]:
    """What the training rows say of every feature column."""
    columns = [Column(name) for name in names]
    for table in tables:
        for chunk in table.table.chunks(_CHUNK):
            parts = table.parts[chunk.first : chunk.first + chunk.rows]
            rows = [row for row, part in enumerate(parts) if part == "train"]
            place = _PlaceOf(chunk, rows)
            for column in columns:
                cells = chunk.cells(column.name)
                if len(rows) < chunk.rows:
                    cells = cells[rows] if isinstance(cells, np.ndarray) else [cells[row] for row in rows]
                column.add(cells, place)
    return columns


@dataclass(frozen=True, slots=True)
class _PlaceOf:
    """Says where some rows of a chunk are."""

    chunk: Chunk
    rows: Sequence[int]

    def __call__(self, row: int) -> str:
        return self.chunk.place(self.rows[row])


def _dataset(tables: Sequence[_Part], reading: TableReading) -> Dataset:
    inputs = np.concatenate([table.features(reading) for table in tables])
    manifest = _manifest(tables, reading)
    if _LEFT_OUT in manifest.parts:
        rows = [row for row, part in enumerate(manifest.parts) if part != _LEFT_OUT]
        inputs, manifest = inputs[rows], manifest.select(rows)
    parts = np.array(manifest.parts)
    classes = _classes([label for label, part in zip(manifest.labels, parts, strict=True) if part == "train"], manifest)
    numbers = {name: number for number, name in enumerate(classes)}
    known: list[int] = []
    for row, label in enumerate(manifest.labels):
        if parts[row] != "train" and label not in numbers:
            raise _held_out_label(manifest, row)
        known.append(UNKNOWN if label is None else numbers[label])
    labels = np.array(known, dtype=np.int64)
    train = parts == "train"
    return Dataset(
        name=manifest.name,
        kind="vectors",
        classes=classes,
        inputs=inputs if train.all() else inputs[train],
        labels=labels[train],
        development=_held_out("development", parts, inputs, labels),
        test=_held_out("test", parts, inputs, labels),
        notes=manifest.notes,
        manifest=manifest,
        reading=reading.to_json(),
    )


def _held_out(part: str, parts: npt.NDArray[np.str_], inputs: Floats32, labels: IntArray) -> Examples | None:
    rows = parts == part
    return Examples(inputs[rows], labels[rows]) if rows.any() else None


def _manifest(tables: Sequence[_Part], reading: TableReading) -> Manifest:
    """Rows in the order of the files; −1 among whole numbers is no label."""
    labels = _known([label for table in tables for label in table.labels])
    main = tables[0]
    told = [note for table in tables for note in table.notes]
    role = f"{main.table.name}: labels from column {main.roles.label!r}, {len(main.roles.features)} other columns"
    return Manifest(
        name=re.sub(r"\.(csv|tsv|jsonl|ndjson|parquet)(\.gz)?$", "", main.table.name, flags=re.IGNORECASE),
        paths=tuple(
            f"{name}#{row}" for name, table in zip(_names(tables), tables, strict=True) for row in _rows(table)
        ),
        labels=tuple(labels),
        parts=tuple(part for table in tables for part in table.parts),
        groups=tuple(group for table in tables for group in table.groups),
        notes=(role + main.roles.described(), *told, *reading.notes, *label_notes(labels)),
    )


def _rows(table: _Part) -> range:
    return range(len(table.labels))


def _names(tables: Sequence[_Part]) -> list[str]:
    """What tells the files apart: their names, or their paths from where they part."""
    names = [table.table.name for table in tables]
    if len(set(names)) == len(names):
        return names
    folders = [table.table.folder for table in tables]
    if "" in folders or len(set(zip(folders, names, strict=True))) < len(names):
        return [f"{table.role or 'train'}/{table.table.name}" for table in tables]
    above = os.path.commonpath(folders)
    return [Path(os.path.relpath(folder, above), name).as_posix() for folder, name in zip(folders, names, strict=True)]


def _classes(labels: Sequence[str | None], manifest: Manifest) -> tuple[str, ...]:
    """The names, sorted; whole numbers in their order."""
    known = {label for label in labels if label is not None}
    if all(map(_WHOLE.fullmatch, known)):
        below = sorted(label for label in known if float(label) < 0)
        if below:
            fix = "labels are text or whole numbers from 0, −1 for not known"
            raise DataError("D056", f"{manifest.name}: the label {below[0]}", fix)
        return tuple(sorted(known, key=lambda label: (float(label), label)))
    if len(known) > _MEASUREMENTS and all(_is_number(label) for label in known):
        message = f"{manifest.name}: {len(known)} different numbers as labels, such as {sorted(known)[0]}"
        raise DataError("D056", message, "labels are classes; regression is not supported")
    return tuple(sorted(known))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _held_out_label(manifest: Manifest, row: int) -> DataError:
    label, where = manifest.labels[row], manifest.paths[row]
    if label is None:
        message = f"{where}, a row of the {manifest.parts[row]} part, has no label"
        return DataError("D081", message, "every held-out example needs its label")
    message = f"{where}: {clean(label[:40])!r} is a class that the training rows do not have"
    return DataError("D052", message, "correct the label, leave the row out, or give training examples of that class")


def _unseen(name: str, counts: Counter[str]) -> str:
    columns = ", ".join(f"{clean(column)!r} {count}" for column, count in counts.most_common(8))
    return f"warn[D087]: {name}: cells with a category that training did not see, read as none of them: {columns}"
