"""Sets that hold their pictures as encoded bytes: Parquet files, and data sets of the library ``datasets``."""

from __future__ import annotations

import bisect
import itertools
import json
import os
import stat
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from semilla.data import roles
from semilla.data.blobs import Blobs, Stamp
from semilla.data.gathered import Gathered
from semilla.data.labels import IntArray
from semilla.data.lists import Columns
from semilla.data.manifest import Manifest
from semilla.data.roles import listed
from semilla.errors import DataError, SafetyError

_BATCH_BYTES = 32 * 2**20
_STARTS = (b"\xff\xd8\xff", b"\x89PNG", b"RIFF", b"BM", b"GIF8", b"II*\0", b"MM\0*")
_PEEKED = 8
_PICTURE = ("image", "img", "picture", "photo")


class ParquetColumn:
    """The encoded pictures in a column of Parquet files.

    Reading goes forward through a file, one batch of at most about 32 MB at a time, whatever its row groups are;
    reading backwards starts the row group again. Every thread and every process has a place of its own.

    Args:
        files: paths of the files.
        column: its path in the schema, such as ``image`` or ``image.bytes``.
    """

    def __init__(self, files: Sequence[str | os.PathLike[str]], column: str) -> None:
        self.files, self.column = tuple(os.fspath(file) for file in files), column
        self._starts: list[int] = [
            0,
            *itertools.accumulate(opened.metadata.num_rows for opened in open_parquet(self.files)),
        ]
        found = [os.stat(file) for file in self.files]
        self._stamps = [(status.st_size, status.st_mtime_ns) for status in found]
        self._here = threading.local()

    def __len__(self) -> int:
        return self._starts[-1]

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_here"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _here=threading.local())

    def read(self, row: int) -> bytes:
        """The encoded picture; no bytes for an empty cell.

        Raises:
            DataError: D006, the file is damaged.
        """
        number = self._file(row)
        cursor: _Cursor | None = getattr(self._here, "cursor", None)
        if cursor is None or cursor.number != number:
            cursor = self._here.cursor = _Cursor(number, open_parquet([self.files[number]])[0], self.column)
        with parquet_errors(self.files[number]):
            return cursor.read(row - self._starts[number])

    def stamp(self, row: int) -> Stamp | None:
        """Size and time of the last change of the file, as they were when the collection was made."""
        return self._stamps[self._file(row)]

    def name(self, row: int) -> str:
        """File and row, counted from 0."""
        number = self._file(row)
        return f"{os.path.basename(self.files[number])}#{row - self._starts[number]}"

    def describe(self) -> str:
        """The absolute paths of the files, and the column."""
        return "\n".join([*map(os.path.abspath, self.files), self.column])

    def _file(self, row: int) -> int:
        if not 0 <= row < len(self):
            raise IndexError(f"row {row} of {len(self)}")
        return bisect.bisect_right(self._starts, row) - 1


class _Cursor:
    """A place in a Parquet file that moves forward batch by batch."""

    def __init__(self, number: int, file: Any, column: str) -> None:
        self.number, self._file, self._column = number, file, column
        groups = range(file.metadata.num_row_groups)
        self._starts = [0, *itertools.accumulate(file.metadata.row_group(group).num_rows for group in groups)]
        self._group, self._start, self._stop = -1, 0, 0
        self._values: Any = None
        self._batches: Iterator[Any] = iter(())

    def read(self, row: int) -> bytes:
        group = bisect.bisect_right(self._starts, row) - 1
        if group != self._group or row < self._start:
            self._group, self._start, self._stop = group, self._starts[group], self._starts[group]
            self._batches = self._file.iter_batches(
                self._size(group), row_groups=[group], columns=[self._column], use_threads=False
            )
        while row >= self._stop:
            batch = next(self._batches, None)
            if batch is None:
                raise OSError("fewer rows than the file says")
            self._values = batch.column(0)
            self._start, self._stop = self._stop, self._stop + len(self._values)
        value = self._values[row - self._start].as_py()
        return _bytes(value)

    def _size(self, group: int) -> int:
        """Rows of a batch."""
        about = self._file.metadata.row_group(group)
        columns = [about.column(number) for number in range(about.num_columns)]
        size = sum(int(column.total_uncompressed_size) for column in columns if column.path_in_schema == self._column)
        rows = int(about.num_rows)
        return max(1, min(rows, rows * _BATCH_BYTES // max(size, 1)))


def _bytes(value: Any) -> bytes:
    """A cell's picture: bytes, or a struct that holds them."""
    return (value.get("bytes") if isinstance(value, Mapping) else value) or b""


@contextmanager
def parquet_errors(where: str) -> Iterator[None]:
    """Arrow's errors as D006; what the system says about a file passes through."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, UnicodeDecodeError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        message = f"{os.path.basename(where)}: damaged Parquet ({str(error)[:100]})"
        raise DataError("D006", message, "copy or write the file again") from error


def open_parquet(files: Sequence[str | os.PathLike[str]]) -> list[Any]:
    """Open Parquet files as ``pyarrow.parquet.ParquetFile``.

    Raises:
        DataError: D006, a file is damaged or no Parquet; D007, pyarrow is not installed.
    """
    try:
        import pyarrow.parquet as pq
    except ImportError as error:
        fix = "pip install 'semilla[parquet]'"
        raise DataError("D007", f"reading {os.path.basename(files[0])} needs pyarrow", fix) from error
    opened = []
    for file in files:
        with parquet_errors(os.fspath(file)):
            opened.append(pq.ParquetFile(file))
    return opened


@dataclass(frozen=True, slots=True)
class _Table:
    """What the examples' columns are called, and the names behind whole-number labels."""

    picture: str
    leaf: str
    label: str | None
    split: str | None
    group: str | None
    classes: tuple[str, ...] = ()
    text: bool = False

    @property
    def used(self) -> list[str]:
        """The columns that are read."""
        return [name for name in (self.picture, self.label, self.split, self.group) if name is not None]


class _Rows(NamedTuple):
    labels: list[str | None]
    parts: list[str]
    groups: list[str]


def has_pictures(file: str, columns: Columns) -> bool:
    """Whether a Parquet file has a column of encoded pictures.

    Raises:
        DataError: D006, D007, D081, as `open_parquet` and `read_parquet`.
    """
    return _picture(file, open_parquet([file])[0], columns) is not None


def read_parquet(name: str, root: str, files: Sequence[tuple[str, str]], columns: Columns) -> tuple[Manifest, Blobs]:
    """Read Parquet files of encoded pictures; the pictures themselves stay where they are.

    Labels are text, kept as it is, or whole numbers, which become names where the schema gives any: a ``ClassLabel``
    in Hugging Face's metadata, or names with commas under the key ``classes``. An empty cell, and −1 among numbers,
    says that the label is not known.

    Args:
        name: of the set, for reports.
        root: the folder to which the files' names are relative.
        files: (name, part): the part, or ``unlabeled``, for rows where no column says one.
        columns: names of columns, if they are not the usual ones.

    Raises:
        DataError: D006, a file is damaged, or the files do not belong together; D007, pyarrow is missing; D056, labels
            of another type; D077, an unknown part; D081, a column is missing.
    """
    paths = [os.path.join(root, file) for file, _ in files]
    opened = open_parquet(paths)
    tables = [
        _table(path, file, replace(columns, label=None) if part == "unlabeled" else columns)
        for path, file, (_, part) in zip(paths, opened, files, strict=True)
    ]
    _check_alike([name for name, _ in files], tables)
    rows = [_rows(*named, *read) for named, *read in zip(files, opened, tables, strict=True)]
    labeled = next((table for table in tables if table.label is not None), tables[0])
    note = f"{len(files)} Parquet files, read from the columns {listed(labeled.used)}"
    manifest = _manifest(name, [name for name, _ in files], rows, labeled.classes, [note], columns.text)
    blobs = ParquetColumn(paths, tables[0].leaf)
    return manifest, Gathered.of(blobs, range(len(manifest)), manifest.paths)


def _manifest(
    name: str, sources: Sequence[str], rows: Sequence[_Rows], classes: Iterable[str], notes: list[str], text: bool
) -> Manifest:
    labels, parts, groups = (tuple(itertools.chain.from_iterable(column)) for column in zip(*rows, strict=True))
    counts = [len(found.labels) for found in rows]
    paths = (f"{source}#{row}" for source, count in zip(sources, counts, strict=True) for row in range(count))
    notes = [*notes, *([] if text else roles.label_notes(labels))]
    return Manifest(name, tuple(paths), labels, parts, groups, tuple(classes), tuple(notes))


def _check_alike(names: Sequence[str], tables: Sequence[_Table]) -> None:
    named = next((number for number, table in enumerate(tables) if table.label is not None), 0)
    for name, table in zip(names, tables, strict=True):
        other = table.label is not None and table.classes != tables[named].classes
        if other or table.leaf != tables[0].leaf:
            message = f"{name} {'names other classes' if other else 'has other columns'} than {names[named]}"
            raise DataError("D006", message, "give parts of one set")


def _table(path: str, file: Any, columns: Columns) -> _Table:
    where = os.path.basename(path)
    picture = _picture(path, file, columns)
    names = file.schema_arrow.names
    if picture is None:
        raise DataError("D081", f"no column of pictures in {where}, only {listed(names)}", "name it with --path-column")
    rest = [name for name in names if name != picture[0]]
    label = roles.column(rest, columns.labels, columns.label, "--label-column", where)
    split = roles.column(rest, roles.PART, None, "", where)
    group = roles.column(rest, roles.GROUP, columns.group, "--group-column", where)
    return _Table(*picture, label, split, group, _class_names(where, file, label), columns.text)


def _picture(path: str, file: Any, columns: Columns) -> tuple[str, str] | None:
    """The column whose first cells begin as pictures do, and the path of its bytes; `_PICTURE` are preferred."""
    import pyarrow as pa

    schema = file.schema_arrow
    if columns.path is not None and columns.path not in schema.names:
        where = os.path.basename(path)
        raise DataError("D081", f"no column {columns.path!r} in {where}", f"there are {listed(schema.names)}")
    found = {}
    for entry in schema:
        inner = entry.type.field("bytes").type if _has_bytes(pa, entry.type) else entry.type
        if pa.types.is_binary(inner) or pa.types.is_large_binary(inner):
            found[entry.name] = f"{entry.name}.bytes" if inner is not entry.type else entry.name
    wanted = [columns.path] if columns.path is not None else [*_PICTURE, *found]
    for name in wanted:
        if name in found and (columns.path is not None or _begins_as_picture(path, file, found[name])):
            return name, found[name]
    return None


def _has_bytes(pa: Any, kind: Any) -> bool:
    return bool(pa.types.is_struct(kind)) and kind.get_field_index("bytes") >= 0


def _begins_as_picture(path: str, file: Any, column: str) -> bool:
    if not file.metadata.num_rows:
        return False
    with parquet_errors(path):
        batch = next(file.iter_batches(_PEEKED, row_groups=[0], columns=[column], use_threads=False), None)
        return batch is not None and any(_bytes(value).startswith(_STARTS) for value in batch.column(0).to_pylist())


def _class_names(where: str, file: Any, label: str | None) -> tuple[str, ...]:
    """Names for whole-number labels, from the schema's metadata."""
    about = file.schema_arrow.metadata or {}
    try:
        if b"classes" in about:
            text = about[b"classes"].decode()
            return tuple(json.loads(text)) if text.startswith("[") else tuple(text.split(","))
        features = json.loads(about.get(b"huggingface", b"{}")).get("info", {}).get("features", {})
        names = (features.get(label) or {}).get("names")
        return tuple(map(str, names)) if isinstance(names, list) else ()
    except (ValueError, AttributeError, RecursionError) as error:
        fix = "write the file again"
        raise DataError("D006", f"{where}: the class names in its metadata cannot be read", fix) from error


def _rows(name: str, part: str, file: Any, table: _Table) -> _Rows:
    """Labels, parts and groups of a file's rows."""
    wanted = [column for column in (table.label, table.split, table.group) if column is not None]
    with parquet_errors(name):
        read = file.read(columns=wanted, use_threads=False) if wanted else None
        cells = {column: read[column].to_pylist() for column in wanted} if read is not None else {}
    return _read_cells(name, part, file.metadata.num_rows, cells, table)


def _read_cells(name: str, part: str, count: int, cells: Mapping[str, list[Any]], table: _Table) -> _Rows:
    """What the cells of some rows say; ``cells`` by column, each of length ``count``."""

    def column(wanted: str | None) -> list[Any]:
        return [None] * count if wanted is None else cells[wanted]

    labels = _labels(name, column(table.label), table.classes, table.text)
    parts = [_part(cell, part, f"{name}, row {row}") for row, cell in enumerate(column(table.split))]
    return _Rows(
        [None if part == "unlabeled" else label for label, part in zip(labels, parts, strict=True)],
        ["train" if part == "unlabeled" else part for part in parts],
        ["" if cell is None else str(cell) for cell in column(table.group)],
    )


def _labels(where: str, cells: list[Any], classes: tuple[str, ...], text: bool) -> list[str | None]:
    known: dict[Any, str | None] = {}  # a cell's type counts: True equals 1
    labels = []
    for row, cell in enumerate(cells):
        key = cell.__class__, cell
        try:
            if key not in known:
                known[key] = str(cell) if text and type(cell) is int and not classes else _label(cell, classes)
        except (TypeError, ValueError) as error:
            place, seen = f"{where}, row {row}", f"{str(cell)[:40]!r} of type {type(cell).__name__}"
            if isinstance(error, ValueError):
                message = f"{place}: label {cell}, but {len(classes)} classes"
                raise DataError("D006", message, "write the file again") from error
            fix = "labels are text or whole numbers; several labels for one and regression are not supported"
            raise DataError("D056", f"{place}: the label is {seen}", fix) from error
        labels.append(known[key])
    return labels


def _label(cell: Any, classes: tuple[str, ...]) -> str | None:
    """A cell's label. TypeError where it is none, ValueError where it is beyond the classes."""
    if cell is None or cell != cell:  # NaN
        return None
    if isinstance(cell, str):
        return cell if cell.strip() else None
    if isinstance(cell, bool):
        return str(cell)
    if isinstance(cell, float) and cell.is_integer():
        cell = int(cell)  # how a column of whole numbers with gaps is often stored
    if not isinstance(cell, int):
        raise TypeError
    if cell == -1:
        return None
    if not classes:
        return str(cell)
    if not 0 <= cell < len(classes):
        raise ValueError
    return classes[cell]


def _part(cell: Any, default: str, where: str) -> str:
    if cell is None or not str(cell).strip():
        return default
    part = "unlabeled" if roles.is_unlabeled(str(cell)) else roles.part_named(str(cell))
    if not part:
        raise DataError("D077", f"{where}: unknown part {str(cell)[:40]!r}", "write train, validation, test, unlabeled")
    return part


def find_parquet(root: str) -> list[tuple[str, str]]:
    """The Parquet files of a folder, in it, in ``data`` or in folders of parts, with the part that the names say.

    Returns:
        (path below the folder, part or ``unlabeled``), in byte order; a name that says nothing is ``train``.
    """
    folders = [""]
    for name in sorted(os.listdir(root)):
        if name == "data" or roles.part_named(name) or roles.is_unlabeled(name):
            folders += [f"{name}/"] if os.path.isdir(os.path.join(root, name)) else []
    found = []
    for folder in folders:
        part = roles.part_in(folder.rstrip("/"))
        for name in sorted(os.listdir(os.path.join(root, folder)), key=os.fsencode):
            parquet = name.lower().endswith(".parquet") and not name.startswith(".")
            if parquet and os.path.isfile(os.path.join(root, folder, name)):
                found.append((folder + name, roles.part_in(Path(name).stem) or part or "train"))
    return found


class DatasetColumn:
    """The encoded pictures of a ``datasets.Dataset``, which keeps them on the disk.

    Args:
        data: the data set, its ``column`` not decoded.
        column: of pictures.
    """

    def __init__(self, data: Any, column: str) -> None:
        self._data, self._column = data.select_columns([column]).with_format(None), column

    def __len__(self) -> int:
        return len(self._data)

    def read(self, row: int) -> bytes:
        """The encoded picture, from the set or from the file that it names.

        Raises:
            SafetyError: S010, what it names is not a regular file.
        """
        value = self._data[row][self._column] or {}
        if value.get("bytes") is not None or not value.get("path"):
            return value.get("bytes") or b""
        if not stat.S_ISREG(os.stat(value["path"]).st_mode):
            raise SafetyError("S010", f"{self.name(row)} is not a regular file", "remove it")
        return Path(value["path"]).read_bytes()

    def stamp(self, row: int) -> Stamp | None:
        """None: the content must be looked at."""
        return None

    def name(self, row: int) -> str:
        """The number of the row."""
        return f"row {row}"

    def describe(self) -> str:
        """Nothing: such a collection lies in memory or in a cache."""
        return ""


class _Split(NamedTuple):
    name: str
    part: str
    data: Any


def is_dataset(data: object) -> bool:
    """Whether something is a ``datasets.Dataset`` or ``DatasetDict``, without importing that library."""
    kinds = {"Dataset", "DatasetDict", "IterableDataset", "IterableDatasetDict"}
    return any(kind.__module__.startswith("datasets.") and kind.__name__ in kinds for kind in type(data).__mro__)


def table_of(data: Any) -> Any:
    """The DataFrame of a ``datasets.Dataset`` or ``DatasetDict`` without pictures, its parts told by a column
    ``split``; None where there are pictures, or nothing that could be a table.
    """
    if not is_dataset(data) or type(data).__name__.startswith("Iterable"):
        return None
    splits, _ = _splits(data)
    if any(type(feature).__name__ == "Image" for split in splits for feature in split.data.features.values()):
        return None
    plain = [split.data.with_format(None) for split in splits]
    if len(splits) == 1:
        return plain[0].to_pandas()
    from datasets import concatenate_datasets

    marked = [part.add_column("split", [split.part] * len(part)) for split, part in zip(splits, plain, strict=True)]
    return concatenate_datasets(marked).to_pandas()


def read_dataset(data: Any, columns: Columns | None = None) -> tuple[Manifest, Blobs]:
    """Read a ``datasets.Dataset``, which is all ``train``, or the parts of a ``DatasetDict``; nothing is decoded.

    Args:
        data: with one column of the type ``Image``.
        columns: names of columns, if they are not the usual ones; ``path`` is the pictures'.

    Raises:
        DataError: D003, a stream, or no column of pictures; D006, D056, D081, as `read_parquet`.
    """
    columns = columns or Columns()
    if type(data).__name__.startswith("Iterable"):
        raise DataError("D003", "a data set that is streamed cannot be trained on", "load it with streaming=False")
    splits, notes = _splits(data)
    tables = [_dataset_table(split, columns) for split in splits]
    names = [split.name for split in splits]
    _check_alike(names, tables)
    rows = [_dataset_rows(split, table) for split, table in zip(splits, tables, strict=True)]
    classes = next((table.classes for table in tables if table.label is not None), ())
    name = str(getattr(splits[0].data.info, "dataset_name", None) or "dataset")
    manifest = _manifest(name, names, rows, classes, notes, columns.text)
    blobs = tuple(_undecoded(split.data, table.picture) for split, table in zip(splits, tables, strict=True))
    counts = [len(split.data) for split in splits]
    part_of: IntArray = np.repeat(np.arange(len(splits)), counts).astype(np.int64)
    row_of: IntArray = np.concatenate([np.arange(count, dtype=np.int64) for count in counts])
    return manifest, Gathered(blobs, part_of, row_of, manifest.paths)


def _splits(data: Any) -> tuple[list[_Split], list[str]]:
    if not isinstance(data, Mapping):
        return [_Split("train", "train", data)], []
    splits, left_out = [], []
    for name, part in data.items():
        said = "unlabeled" if name == "unsupervised" else roles.part_in(str(name))
        splits += [_Split(str(name), said, part)] if said else []
        left_out += [] if said else [name]
    if not any(split.part == "train" for split in splits):
        raise DataError("D081", f"no part 'train' among {listed(data)}", "give one a name such as train")
    return splits, [f"parts of unknown meaning are left out: {listed(left_out)}"] if left_out else []


def _dataset_table(split: _Split, columns: Columns) -> _Table:
    features = split.data.features
    pictures = [name for name, feature in features.items() if type(feature).__name__ == "Image"]
    if columns.path is not None:
        pictures = [name for name in pictures if name == columns.path]
    if not pictures:
        what = f" {columns.path!r}" if columns.path is not None else ""
        message = f"{split.name} has no column{what} of the type Image, only {listed(features)}"
        raise DataError("D003", message, 'cast one: dataset.cast_column("image", datasets.Image())')
    names = [name for name in features if name not in pictures]
    label = roles.column(names, columns.labels, columns.label, "--label-column", split.name)
    part = None if split.part != "train" else roles.column(names, roles.PART, None, "", split.name)
    group = roles.column(names, roles.GROUP, columns.group, "--group-column", split.name)
    classes = tuple(getattr(features[label], "names", None) or ()) if label is not None else ()
    return _Table(pictures[0], pictures[0], label, part, group, classes, columns.text)


def _dataset_rows(split: _Split, table: _Table) -> _Rows:
    plain = split.data.with_format(None)
    cells = {name: list(plain[name]) for name in table.used[1:]}
    return _read_cells(split.name, split.part, len(split.data), cells, table)


def _undecoded(data: Any, column: str) -> DatasetColumn:
    from datasets import Image

    return DatasetColumn(data.cast_column(column, Image(decode=False)), column)
