"""Predictions on their way to a file: CSV, JSON lines, Parquet, and features as ``.npy``.

Every format can be continued after an interruption: what was written last is found out, a torn end is cut off, and the
rows that remain are held against what they should be.
"""

from __future__ import annotations

import io
import json
import os
import sys
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
import numpy.typing as npt

from semilla import files
from semilla.errors import DataError, StateError, UsageError
from semilla.text import csv_safe

SUFFIXES = (".csv", ".jsonl", ".parquet")

_GROUP_BYTES = 2**24


@dataclass(frozen=True, slots=True)
class Layout:
    """Which columns there are.

    Attributes:
        classes: the model's classes; none where it reads text.
        probabilities: whether each class has a column.
        accepted: whether there is a column that says which predictions keep the wanted precision.
        features: numbers in the column ``embedding``; 0 for none, which only Parquet has.
        csv_safe: whether text that a spreadsheet would take for a formula is made harmless.
        answer: the name of the column that says what was predicted: ``label`` or ``text``.
    """

    classes: tuple[str, ...]
    probabilities: bool = True
    accepted: bool = False
    features: int = 0
    csv_safe: bool = True
    answer: str = "label"


@dataclass(frozen=True, slots=True)
class Rows:
    """A block of n predictions.

    Attributes:
        paths: names, as `escape_path` writes them.
        answers: the predicted classes, or the texts that were read.
        confidence: float32 (n,).
        probabilities: float32 (n, C).
        accepted: (n,) whether the confidence reaches the threshold.
        features: float32 (n, D).
        errors: why an example has no prediction, by position.
    """

    paths: list[str]
    answers: list[str]
    confidence: npt.NDArray[np.float32]
    probabilities: npt.NDArray[np.float32]
    accepted: npt.NDArray[np.bool_]
    features: npt.NDArray[np.float32]
    errors: dict[int, str]

    def __len__(self) -> int:
        return len(self.paths)


class Output(Protocol):
    """Where predictions go.

    Attributes:
        rows: how many whole rows are there.
    """

    rows: int

    def continue_at(self, row: int) -> None:
        """Forget what is there from a row on; to be called once, before anything is written."""

    def write(self, rows: Rows, known: int) -> None:
        """Append a block whose first ``known`` rows are there already and must be the same.

        Raises:
            StateError: C031, they are not.
        """

    def finish(self) -> None:
        """Make the file whole and wait until it is on the disk."""

    def close(self) -> None:
        """Let go of the file, finished or not."""


# Text


def csv_lines(layout: Layout, rows: Rows) -> list[bytes]:
    """A line of CSV for each prediction."""
    paths, answers = (
        [_quoted(csv_safe(cell) if layout.csv_safe else cell) for cell in cells] for cells in (rows.paths, rows.answers)
    )
    numbers, sure = (values.astype(str) for values in (rows.probabilities, rows.confidence))  # the shortest exact text
    lines = []
    for row, (path, answer) in enumerate(zip(paths, answers, strict=True)):
        shown = numbers[row] if layout.probabilities else ()
        if row in rows.errors:
            error = rows.errors[row]
            cells = [path, "", "", *("" for _ in shown), *(["false"] if layout.accepted else ())]
            cells.append(_quoted(csv_safe(error) if layout.csv_safe else error))
        else:
            cells = [path, answer, sure[row], *shown]
            cells += [*([_word(rows.accepted[row])] if layout.accepted else ()), ""]
        lines.append(",".join(cells).encode() + b"\n")
    return lines


def csv_header(layout: Layout) -> bytes:
    """The names of the columns."""
    return ",".join(_quoted(name) for name in _columns(layout)).encode() + b"\n"


def json_lines(layout: Layout, rows: Rows) -> list[bytes]:
    """A JSON object for each prediction, a line each."""
    return [json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in objects(layout, rows)]


def objects(layout: Layout, rows: Rows) -> Iterator[dict[str, Any]]:
    """Each prediction as plain values."""
    numbers = [[float(text) for text in line] for line in rows.probabilities.astype(str)]
    sure = [float(text) for text in rows.confidence.astype(str)]
    for row, path in enumerate(rows.paths):
        error = rows.errors.get(row)
        known = error is None
        value: dict[str, Any] = {"path": path, layout.answer: rows.answers[row] if known else None}
        value["confidence"] = sure[row] if known else None
        if layout.probabilities:
            value["probabilities"] = dict(zip(layout.classes, numbers[row], strict=True)) if known else None
        if layout.accepted:
            value["accepted"] = bool(rows.accepted[row]) and known
        yield {**value, "error": error}


class TextOutput:
    """Lines appended to a file, each block in one write, so that an interruption tears at most one of them.

    Args:
        file: opened for reading and writing bytes, or standard output.
        layout: the columns.
        render: makes the lines of a block.
        header: the first line, or nothing.
        block: rows in a block.
        resume: whether to go on behind what is there.

    Raises:
        StateError: C031, the file to go on with has other columns.
    """

    def __init__(
        self,
        file: BinaryIO,
        layout: Layout,
        render: Callable[[Layout, Rows], list[bytes]],
        header: bytes,
        block: int,
        resume: bool,
    ) -> None:
        self._file, self._layout, self._render = file, layout, render
        self._header, self._block, self._resume = header, block, resume
        self._tail: list[bytes] = []
        self.rows = self._look(None)[0] if resume else 0
        if not resume:
            file.write(header)

    def continue_at(self, row: int) -> None:
        """Cut the file behind that many rows."""
        if self._resume:
            self.rows, end, self._tail = self._look(row)
            self._file.truncate(end)
            self._file.seek(end)
            if end == 0:
                self._file.write(self._header)

    def write(self, rows: Rows, known: int) -> None:
        """Append the lines of a block."""
        lines = self._render(self._layout, rows)
        if known and lines[:known] != self._tail[-known:]:
            raise _other_rows()
        self._file.write(b"".join(lines[known:]))
        self._file.flush()
        self.rows += len(lines) - known

    def finish(self) -> None:
        """Flush the file to the disk, where it is one."""
        self._file.flush()
        if self._file.seekable():
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def _look(self, most: int | None) -> tuple[int, int, list[bytes]]:
        """Whole rows in the file, where they end, and the last of them; at most ``most`` rows."""
        self._file.seek(0)
        rows = _records(self._file, quoted=self._render is csv_lines)
        if self._header:
            first = next(rows, b"")
            if first != self._header:
                if first or os.fstat(self._file.fileno()).st_size >= len(self._header):
                    raise StateError("C031", "the output to go on with has other columns", "choose another --output")
                return 0, 0, []
        end, count = len(self._header), 0
        tail: deque[bytes] = deque(maxlen=self._block)
        for line in rows:
            if count == most:
                break
            count, end = count + 1, end + len(line)
            tail.append(line)
        return count, end, list(tail)


def _records(file: BinaryIO, quoted: bool) -> Iterator[bytes]:
    """The whole rows of a text file; where cells are quoted, a line break within one ends no row."""
    row = b""
    for line in file:
        row += line
        if line.endswith(b"\n") and not (quoted and row.count(b'"') % 2):
            yield row
            row = b""


def _columns(layout: Layout) -> list[str]:
    shown = [f"p:{name}" for name in layout.classes] if layout.probabilities else []
    return ["path", layout.answer, "confidence", *shown, *(["accepted"] if layout.accepted else ()), "error"]


def _quoted(cell: str) -> str:
    return '"' + cell.replace('"', '""') + '"' if any(mark in cell for mark in ',"\n\r') else cell


def _word(value: object) -> str:
    return "true" if value else "false"


def _other_rows() -> StateError:
    message = "the rows in the output are not those of this model, these files and these options"
    return StateError("C031", message, "give the arguments it was begun with, or --overwrite it")


# Features and Parquet


class FeaturesOutput:
    """Features as a ``.npy`` file, float32 (N, D), NaN for examples that have none.

    Args:
        path: of the file.
        width: D.
        resume: whether to go on behind what is there.

    Raises:
        StateError: C031, the file to go on with is no such array.
    """

    _HEADER = 128

    def __init__(self, path: Path, width: int, resume: bool) -> None:
        self._width = width
        self._file = _open(path, resume)
        size = os.fstat(self._file.fileno()).st_size
        start, own = (text.partition(b"'shape'")[0] for text in (self._file.read(self._HEADER), self._head(0)))
        if resume and size and start != own:
            self._file.close()
            raise StateError("C031", f"{path.name} is not the array to go on with", "choose another --embeddings")
        self.rows = max(0, size - self._HEADER) // (4 * width)

    def continue_at(self, row: int) -> None:
        """Cut the file behind that many rows."""
        self._file.seek(0)
        self._file.write(self._head(0))
        self._file.truncate(self._HEADER + 4 * self._width * row)
        self._file.seek(0, os.SEEK_END)
        self.rows = row

    def write(self, rows: Rows, known: int) -> None:
        """Append a block; the rows known already are told apart by the table."""
        features = rows.features.astype("<f4")
        features[list(rows.errors)] = np.nan
        self._file.write(features[known:].tobytes())
        self._file.flush()
        self.rows += len(rows) - known

    def finish(self) -> None:
        """Write the number of rows and flush the file to the disk."""
        self._file.seek(0)
        self._file.write(self._head(self.rows))
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def _head(self, rows: int) -> bytes:
        """NumPy's header of format 1.0, padded to a length that no number of rows changes."""
        text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {self._width}), }}"
        length = self._HEADER - 10
        return b"\x93NUMPY\x01\x00" + length.to_bytes(2, "little") + f"{text:<{length - 1}}\n".encode()


class ParquetOutput:
    """A Parquet file, gathered as an Arrow stream beside it, which unlike Parquet can be gone on with.

    Args:
        path: of the file; ``.partial`` is added until it is finished.
        layout: the columns.
        resume: whether to go on behind what is there.
    """

    def __init__(self, path: Path, layout: Layout, resume: bool) -> None:
        self._path, self._partial, self._layout = path, _partial(path), layout
        self._schema = _schema(layout)
        self._last: Any = None
        self._stream: Any = None
        self._resume = resume and self._partial.exists()
        self.rows = sum(map(len, self._batches())) if self._resume else 0

    def continue_at(self, row: int) -> None:
        """Copy so many rows, whole blocks, into a fresh stream."""
        import pyarrow as arrow

        with files.fresh_temporary(self._partial) as fresh:
            self._stream = arrow.ipc.new_stream(str(fresh), self._schema)
            self.rows = 0
            for batch in self._batches() if self._resume else ():
                if self.rows >= row:
                    break
                self._stream.write_batch(batch)
                self._last, self.rows = batch, self.rows + len(batch)
            os.replace(fresh, self._partial)

    def write(self, rows: Rows, known: int) -> None:
        """Append a block as one batch."""
        batch = _batch(rows, self._layout, self._schema)
        if known and not batch.slice(0, known).equals(self._last):
            raise _other_rows()
        if known < len(batch):
            self._stream.write_batch(batch.slice(known))
        self.rows += len(batch) - known

    def finish(self) -> None:
        """Turn the stream into Parquet, some megabytes at a time, and remove it."""
        import pyarrow as arrow
        from pyarrow import parquet

        self._stream.close()
        rows, group = 0, max(1, _GROUP_BYTES // (4 * (len(self._layout.classes) + self._layout.features) + 64))
        with files.fresh_temporary(self._path) as temporary:
            with parquet.ParquetWriter(str(temporary), self._schema, compression="zstd") as writer:
                waiting: list[Any] = []
                for batch in self._batches():
                    waiting.append(batch)
                    rows += len(batch)
                    if rows >= group:
                        writer.write_table(arrow.Table.from_batches(waiting), row_group_size=rows)
                        waiting, rows = [], 0
                if waiting:
                    writer.write_table(arrow.Table.from_batches(waiting), row_group_size=rows)
            descriptor = os.open(temporary, os.O_RDONLY)
            os.fsync(descriptor)
            os.close(descriptor)
            os.replace(temporary, self._path)
        files.fsync_dir(self._path.parent)
        files.remove(self._partial)

    def close(self) -> None:
        """Let go of the stream."""
        if self._stream is not None:
            self._stream.close()

    def _batches(self) -> Iterator[Any]:
        """The whole batches of the stream; a torn one ends it."""
        import pyarrow as arrow

        with arrow.OSFile(str(self._partial)) as file:
            try:
                reader = arrow.ipc.open_stream(file)
                if reader.schema != self._schema:
                    raise StateError("C031", "the output to go on with has other columns", "choose another --output")
                yield from reader
            except (arrow.ArrowInvalid, OSError):
                return


def _schema(layout: Layout) -> Any:
    try:
        import pyarrow as arrow
    except ImportError:
        raise DataError("D007", "writing Parquet needs pyarrow", "install semilla[parquet]") from None
    kinds = dict.fromkeys(("path", layout.answer, "error"), arrow.string()) | {"accepted": arrow.bool_()}
    fields = [arrow.field(name, kinds.get(name, arrow.float32())) for name in _columns(layout)]
    if layout.features:
        fields.insert(-1, arrow.field("embedding", arrow.list_(arrow.float32(), layout.features)))
    return arrow.schema(fields)


def _batch(rows: Rows, layout: Layout, schema: Any) -> Any:
    import pyarrow as arrow

    missing = np.isin(np.arange(len(rows)), list(rows.errors))
    columns = [
        arrow.array(rows.paths),
        arrow.array(rows.answers, arrow.string(), mask=missing),
        arrow.array(rows.confidence, mask=missing),
    ]
    if layout.probabilities:
        columns += [arrow.array(column, mask=missing) for column in np.ascontiguousarray(rows.probabilities.T)]
    if layout.accepted:
        columns.append(arrow.array(rows.accepted & ~missing))
    if layout.features:
        flat = arrow.array(np.ascontiguousarray(rows.features).ravel())
        mask = arrow.array(missing)
        columns.append(arrow.FixedSizeListArray.from_arrays(flat, layout.features, mask=mask))
    columns.append(arrow.array([rows.errors.get(row) for row in range(len(rows))], arrow.string()))
    return arrow.record_batch(columns, schema=schema)


# Which output


class Collected:
    """Predictions kept in memory as plain values."""

    def __init__(self, layout: Layout, kept: list[dict[str, Any]]) -> None:
        self._layout, self._kept, self.rows = layout, kept, 0

    def continue_at(self, row: int) -> None:
        """Nothing is there."""

    def write(self, rows: Rows, known: int) -> None:
        """Keep a block."""
        self._kept += objects(self._layout, rows)
        self.rows = len(self._kept)

    def finish(self) -> None:
        """Nothing is left to do."""

    def close(self) -> None:
        """Nothing is open."""


class _Standard(io.RawIOBase):
    """Standard output as bytes, also where a program put a stream of text in its place."""

    def write(self, data: Any) -> int:
        buffer = getattr(sys.stdout, "buffer", None)
        buffer.write(data) if buffer is not None else sys.stdout.write(bytes(data).decode())
        return len(data)

    def flush(self) -> None:
        sys.stdout.flush()


def check_path(path: Path, resume: bool, overwrite: bool) -> None:
    """Whether predictions may be written there.

    Raises:
        UsageError: U031, the name does not say which format; U014, its folder does not exist, or it is a folder.
        StateError: C030, there is something already.
    """
    if path.suffix.lower() not in (*SUFFIXES, ".npy"):
        raise UsageError("U031", f"{path.name!r} does not say which format", f"end it with {' or '.join(SUFFIXES)}")
    if not path.parent.is_dir():
        raise UsageError("U014", f"there is no folder {str(path.parent)!r}", "make it, or choose another --output")
    there = next((place for place in (path, _partial(path)) if os.path.lexists(place)), None)
    if there is not None and there.is_dir() and not there.is_symlink():
        raise UsageError("U014", f"{str(there)!r} is a folder", "name a file with --output")
    if there is not None and not overwrite and not resume:
        fix = "go on with --resume, --overwrite it, or choose another --output"
        raise StateError("C030", f"{there.name} exists already", fix)


def clear(path: Path) -> None:
    """Remove what is to be overwritten, which nothing may fail before that can be told without."""
    for place in (path, _partial(path)):
        if os.path.lexists(place):
            os.unlink(place)


def _partial(path: Path) -> Path:
    """Where an unfinished Parquet file is gathered."""
    return path.with_name(f"{path.name}.partial")


def open_output(path: Path | None, layout: Layout, block: int, resume: bool) -> Output:
    """The output that a name's ending stands for; None for standard output.

    Raises:
        StateError: C031, what is to be gone on with has other columns.
        DataError: D007, Parquet without pyarrow.
    """
    if path is None:
        standard: Any = _Standard()
        return TextOutput(standard, layout, csv_lines, csv_header(layout), block, False)
    if path.suffix.lower() == ".parquet":
        return ParquetOutput(path, layout, resume)
    lines = path.suffix.lower() == ".jsonl"
    render, header = (json_lines, b"") if lines else (csv_lines, csv_header(layout))
    file = _open(path, resume)
    try:
        return TextOutput(file, layout, render, header, block, resume)
    except BaseException:
        file.close()
        raise


def _open(path: Path, resume: bool) -> BinaryIO:
    """A regular file for reading and writing; a link is not followed."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | (0 if resume else os.O_EXCL)
    with files.resource_errors(f"cannot write {path.name}", path.parent, 0):
        return os.fdopen(os.open(path, flags, 0o666), "r+b")
