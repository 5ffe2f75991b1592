"""Tables in files and in memory, read in parts: CSV, TSV, JSON Lines, Parquet, and DataFrames of pandas."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from semilla.data.csvfiles import LINES, read_rows, suffix
from semilla.data.reading import Cells
from semilla.errors import DataError

TEXT, PARQUET = (".csv", ".tsv", *LINES), ".parquet"
"""Endings of the files that are read; those of text also with ``.gz``."""


@dataclass(frozen=True, slots=True, eq=False)
class Chunk:
    """Consecutive rows of a table.

    Attributes:
        name: of the table.
        first: number of the first row, counted from 0.
        columns: the cells by column, as the file has them: text, a Parquet array, or a Series.
        rows: how many.
        lines: the line of each row in a text file, else empty.
    """

    name: str
    first: int
    columns: Mapping[str, Any]
    rows: int
    lines: Sequence[int] = ()

    def cells(self, name: str) -> Cells:
        """A column's cells as features: numbers where the column has that type, else text."""
        return _cells(self.columns[name])

    def texts(self, name: str) -> list[str]:
        """A column's cells as text, ``""`` where there is nothing."""
        return _texts(self.columns[name])

    def place(self, row: int) -> str:
        """Where a row of the chunk is, for messages."""
        line = f" (line {self.lines[row]})" if self.lines else ""
        return f"{self.name}, row {self.first + row}{line}"


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """A table that can be read again and again.

    Attributes:
        name: for messages and the manifest.
        columns: names, each there once.
        chunks: its rows, so many at a time.
        declared: columns whose type says that they are categories.
        folder: where the file is; "" for a DataFrame.
    """

    name: str
    columns: tuple[str, ...]
    chunks: Callable[[int], Iterator[Chunk]]
    declared: tuple[str, ...] = ()
    folder: str = ""

    def __contains__(self, name: str) -> bool:
        return name in self.columns


def is_frame(data: Any) -> bool:
    """Whether something is a DataFrame of pandas, or looks like one."""
    return all(hasattr(data, name) for name in ("columns", "iloc", "dtypes"))


def open_table(data: Any) -> Table:
    """A table behind a path or a DataFrame.

    Raises:
        DataError: D001, no such file; D003, a file of another kind; D007, a Parquet file and no pyarrow; D072, column
            names that are empty or there twice; those of the file's own kind.
    """
    if is_frame(data):
        return _open_frame(data)
    path = Path(os.fspath(data))
    if not path.exists():
        raise DataError("D001", f"no file {str(path)!r}", "check the path")
    if path.is_file() and path.suffix.lower() == PARQUET:
        return _open_parquet(path)
    if path.is_file() and suffix(path) in TEXT:
        return _open_text(path)
    fix = "give .csv, .tsv, .jsonl (also with .gz) or .parquet"
    raise DataError("D003", f"{str(path)!r} is not a table", fix)


def _open_text(path: Path) -> Table:
    columns, _ = read_rows(path)

    def chunks(size: int) -> Iterator[Chunk]:
        first, (_, rows) = 0, read_rows(path)
        while batch := list(islice(rows, size)):
            lines, records = zip(*batch, strict=True)
            yield Chunk(
                path.name, first, dict(zip(columns, zip(*records, strict=True), strict=True)), len(lines), lines
            )
            first += len(lines)

    return Table(path.name, tuple(columns), chunks, (), _folder(path))


def _open_frame(frame: Any) -> Table:
    columns = [str(name) for name in frame.columns]
    _check_names(columns, "the DataFrame")
    kinds = dict(zip(columns, frame.dtypes, strict=True))

    def chunks(size: int) -> Iterator[Chunk]:
        for first in range(0, len(frame), size):
            part = frame.iloc[first : first + size]
            series = {name: part.iloc[:, place] for place, name in enumerate(columns)}
            yield Chunk("frame", first, series, len(part))

    return Table("frame", tuple(columns), chunks, tuple(name for name in columns if str(kinds[name]) == "category"))


def _open_parquet(path: Path) -> Table:
    pa, pq = _pyarrow(path)
    try:
        with pq.ParquetFile(path) as file:
            schema = file.schema_arrow
            first = next(file.iter_batches(1), None)
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path, error) from error
    _check_names(schema.names, path.name)
    widths = {field.name: _vector_width(pa, field.type, field.name, first) for field in schema}
    columns = [f"{name}[{k}]" for name, width in widths.items() if width for k in range(width)]
    columns += [name for name, width in widths.items() if not width]

    def chunks(size: int) -> Iterator[Chunk]:
        start = 0
        try:
            with pq.ParquetFile(path) as file:
                for batch in file.iter_batches(size):
                    yield Chunk(path.name, start, _unpacked(batch, widths, path.name, start), batch.num_rows)
                    start += batch.num_rows
        except (pa.ArrowException, OSError) as error:
            raise _damaged(path, error) from error

    declared = tuple(field.name for field in schema if pa.types.is_dictionary(field.type))
    return Table(path.name, tuple(columns), chunks, declared, _folder(path))


def _folder(path: Path) -> str:
    return str(path.absolute().parent)


def _pyarrow(path: Path) -> tuple[Any, Any]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        fix = "pip install 'semilla[parquet]', or give the table as CSV"
        raise DataError("D007", f"reading {path.name} needs pyarrow", fix) from error
    return pa, pq


def _damaged(path: Path, error: Exception) -> DataError:
    return DataError("D006", f"{path.name} cannot be read: {str(error)[:100]}", "copy or write the file again")


def has_pictures(path: Path) -> bool:
    """Whether a Parquet file has a column of bytes, by itself or within another, as pictures are kept."""
    pa, pq = _pyarrow(path)
    try:
        schema = pq.read_schema(path)
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path, error) from error
    types = [field.type for field in schema]
    inner = [part.type for kind in types if pa.types.is_struct(kind) for part in kind]
    return any(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) for kind in (*types, *inner))


def _vector_width(pa: Any, kind: Any, name: str, first: Any) -> int:
    """How many numbers each cell of a column of lists holds, by its first cell; 0 for all other columns."""
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)):
        return 0
    if first is None or first.num_rows == 0:
        return 0
    return len(first.column(name)[0].as_py() or ())


def _unpacked(batch: Any, widths: Mapping[str, int], table: str, start: int) -> dict[str, Any]:
    """The columns of a batch, those of lists of numbers taken apart."""
    import pyarrow.compute as pc

    columns: dict[str, Any] = {}
    for name, width in widths.items():
        column = batch.column(name)
        if not width:
            columns[name] = column
            continue
        lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False)
        if (lengths != width).any():
            row = int(np.flatnonzero(lengths != width)[0])
            message = f"{table}, row {start + row}, column {name!r}: {lengths[row]} numbers, but {width} in row 0"
            raise DataError("D020", message, "give every row as many")
        numbers = column.flatten().to_numpy(zero_copy_only=False).astype(np.float64).reshape(-1, width)
        columns |= {f"{name}[{k}]": numbers[:, k] for k in range(width)}
    return columns


def _check_names(names: Sequence[str], where: str) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice or not all(name.strip() for name in names) or not names:
        problem = f"two columns are called {twice[0]!r}" if twice else "a column has no name"
        raise DataError("D072", f"{where}: {problem}", "give every column a name of its own")


def _cells(column: Any) -> Cells:
    if isinstance(column, tuple):
        return column
    if isinstance(column, np.ndarray):
        return column
    if hasattr(column, "to_pylist"):
        if str(column.type).startswith(("int", "uint", "float", "double", "halffloat", "decimal")):
            return _floats(column.cast("float64", safe=False).to_numpy(zero_copy_only=False))
    elif getattr(column.dtype, "kind", "O") in "iuf":
        return _floats(column.to_numpy(dtype=np.float64, na_value=np.nan))
    return _texts(column)


def _floats(values: Any) -> npt.NDArray[np.float64]:
    return np.asarray(values, dtype=np.float64)


def _texts(column: Any) -> list[str]:
    if isinstance(column, tuple):
        return list(column)
    return [_text(value) for value in (column.to_pylist() if hasattr(column, "to_pylist") else column.tolist())]


def _text(value: Any) -> str:
    """A typed value as text: whole numbers without a point, as they are in columns that also hold NaN."""
    if isinstance(value, str):
        return value
    if value is None or type(value).__name__ in ("NAType", "NaTType") or value != value:
        return ""
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else repr(value)
    if isinstance(value, bytes | list | dict | np.ndarray):
        raise DataError("D020", f"a cell holds a {type(value).__name__}", "give numbers and text")
    return str(value)
