"""Strict rows out of CSV, TSV and JSON Lines files: whatever is not certain is an error that names the line.

The cells stay text, character by character as they are written; the caller decides what they mean. Files are UTF-8,
with or without a byte order mark, or UTF-16 with one, and may be compressed with gzip (``.gz``). They are read as a
stream, so that a file may be larger than memory.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
import os
import zlib
from collections.abc import Container, Generator, Iterable, Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

from semilla.errors import DataError

SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "vertical bar"}
LINES = (".jsonl", ".ndjson")
"""Endings of files with one JSON object a line; all others are read as separated values."""

LINE_CHARACTERS = 2**24
UNPACKED_CHARACTERS = 2**32
"""What a compressed file may unpack to: a small file can hold endless zeros."""

_KINDS: dict[type[Any], str] = {list: "a list", dict: "an object"}
_DAMAGE = (OSError, EOFError, zlib.error)


def read_rows(
    path: str | os.PathLike[str], used: Container[str] | None = None
) -> tuple[list[str], Iterator[tuple[int, list[str]]]]:
    """Read the rows of a table.

    A CSV file begins with the names of its columns; comma, semicolon, tab or vertical bar separates the cells,
    whichever the first line shows. A first column without a name is a row index, as pandas writes it, and is left out.
    Blank lines may stand at the end only. A JSON Lines file has an object in each line; its columns are all the keys
    there are, and a key that is missing or null gives an empty cell.

    Args:
        path: a regular file.
        used: the columns in which a list or an object of JSON is an error, and not an empty cell; all unless given.

    Returns:
        The names of the columns, and an iterator over (line number counted from 1, the cells, one for each column).

    Raises:
        DataError: D001, no such file; D003, not a regular file; D006, unreadable or damaged; D071, a line that does
            not fit the columns, a quote that is not closed, JSON that is none; D072, column names that are missing
            or there twice; D073, text in another encoding; D074, a line or an unpacked file that is too long. The
            iterator raises them too, when it comes to the line.
    """
    file = Path(path)
    if not file.exists():
        raise DataError("D001", f"no file {str(file)!r}", "check the path")
    if not file.is_file():
        raise DataError("D003", f"{str(file)!r} is not a regular file", "give a CSV, TSV or JSON Lines file")
    if suffix(file) in LINES:
        columns = _keys(file)
        return columns, _objects(file, columns, used)
    columns, separator, index = _header(file)
    return columns, _records(file, len(columns), separator, index)


def suffix(path: Path) -> str:
    """The ending that says how a file is written, without ``.gz``: ``.csv`` of ``Table.CSV.gz``."""
    name = path.name.lower().removesuffix(".gz")
    return os.path.splitext(name)[1]


def read_lines(path: Path) -> Generator[tuple[int, str]]:
    """(number counted from 1, line with its end), each line checked before the next is read; errors as `read_rows`."""
    total, most = 0, UNPACKED_CHARACTERS if path.name.lower().endswith(".gz") else None
    try:
        with _open(path) as file:
            for number, line in enumerate(iter(lambda: file.readline(LINE_CHARACTERS), ""), 1):
                total += len(line)
                if len(line) == LINE_CHARACTERS or (most is not None and total > most):
                    what = f"line {number} is longer than {LINE_CHARACTERS} characters"
                    found = what if len(line) == LINE_CHARACTERS else f"it unpacks to more than {most} characters"
                    raise DataError("D074", f"{path.name}: {found}", "is this a table? If so, cut it into parts")
                if not line.isascii():
                    _check_text(path, number, line)
                yield number, line
    except UnicodeDecodeError as error:  # of UTF-16, the only one that is read strictly
        message = f"{path.name}: it begins as UTF-16 and is not, or its end is missing"
        raise DataError("D073", message, "save the file as UTF-8") from error
    except _DAMAGE as error:
        reason = str(getattr(error, "strerror", None) or error)[:100]
        raise DataError("D006", f"{path.name} cannot be read: {reason}", "check the file, or write it again") from error


def _open(path: Path) -> TextIO:
    with _unpacked(path) as file:
        start = file.read(2)
    if start in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        return io.TextIOWrapper(_unpacked(path), encoding="utf-16", newline="")
    return io.TextIOWrapper(_unpacked(path), encoding="utf-8-sig", errors="surrogateescape", newline="")


def _unpacked(path: Path) -> gzip.GzipFile | io.BufferedReader:
    return gzip.open(path) if path.name.lower().endswith(".gz") else path.open("rb")


def _check_text(path: Path, number: int, line: str) -> None:
    try:
        line.encode()
    except UnicodeEncodeError as error:  # bytes that are not UTF-8 were read as surrogates
        byte = ord(line[error.start]) & 0xFF
        message = f"{path.name}, line {number}: byte 0x{byte:02x} at character {error.start + 1} is not UTF-8"
        fix = 'save the file as UTF-8 (Excel: "CSV UTF-8"; shell: iconv -f WINDOWS-1252 -t UTF-8 OLD > NEW)'
        raise DataError("D073", message, fix) from error


def _header(path: Path) -> tuple[list[str], str, bool]:
    """Names of columns, the separator, and whether a column without a name comes first, which is left out."""
    separator = _separator(path)
    with closing(_parsed(path, separator)) as records:
        names = [name.strip() for name in next(records, (0, []))[1]]
    if not any(names):
        raise DataError("D072", f"{path.name}: no column names in its first line", "write the names there")
    if "" in names[1:]:
        message = f"{path.name}, line 1: column {names.index('', 1) + 1} of {len(names)} has no name"
        raise DataError("D072", message, "name it or drop it")
    _check_distinct(names, f"{path.name}, line 1")
    index = not names[0]
    return names[index:], separator, index


def _check_distinct(names: list[str], where: str) -> None:
    seen: dict[str, int] = {}
    for place, name in enumerate(names, 1):
        if name in seen:
            message = f"{where}: two columns are called {name!r}, numbers {seen[name]} and {place}"
            raise DataError("D072", message, "give every column a name of its own")
        seen[name] = place


def _separator(path: Path) -> str:
    """The separator that cuts the names and the first row into equally many cells, the most if several do."""
    widths = {separator: _widths(path, separator) for separator in SEPARATORS}
    agreed = {separator: first for separator, (first, second) in widths.items() if first == second and first > 1}
    found = agreed or {separator: first for separator, (first, _) in widths.items()}
    return max(found, key=lambda separator: found[separator])


def _widths(path: Path, separator: str) -> tuple[int, int]:
    """Cells in the first record and in the second; in the first again if there is no second, 0 if it is broken."""
    widths: list[int] = []
    with closing(_parsed(path, separator)) as records:
        try:
            for _, cells in islice(records, 2):
                widths.append(len(cells))
        except DataError as error:
            if error.code != "D071":
                raise
            widths.append(0)  # what stands in quotes for one separator may be broken for another
    first = widths[0] if widths else 0
    return first, widths[1] if len(widths) > 1 else first


def _parsed(path: Path, separator: str) -> Generator[tuple[int, list[str]]]:
    """(first line, cells) of every record; a quoted cell may reach over several lines."""
    with closing(read_lines(path)) as numbered:
        reader = csv.reader((line for _, line in numbered), delimiter=separator, strict=True)
        first = 1
        while True:
            try:
                cells = next(reader, None)
            except csv.Error as error:
                message = f"{path.name}, line {first}: {_reason(error)}"
                raise DataError("D071", message, "close the quotes, and write a quote inside one as two") from error
            if cells is None:
                return
            yield first, cells
            first = reader.line_num + 1


def _reason(error: csv.Error) -> str:
    if "unexpected end" in str(error):
        return "a quote is opened there and never closed"
    if "field larger" in str(error):
        return f"a cell of more than {csv.field_size_limit()} characters begins there: is a quote left open?"
    if "expected after" in str(error):
        return "a quote is closed inside a cell"
    return str(error)


def _records(path: Path, columns: int, separator: str, index: bool) -> Iterator[tuple[int, list[str]]]:
    width, blank = columns + index, 0
    for line, cells in islice(_parsed(path, separator), 1, None):
        if len(cells) < 2 and not "".join(cells).strip() and (width > 1 or not cells):
            blank = blank or line
            continue
        if blank:
            raise DataError("D071", f"{path.name}: line {blank} is blank, and rows follow", "take the line out")
        if len(cells) != width:
            message = f"{path.name}, line {line}: {len(cells)} cells, but {width} columns"
            fix = f"the separator found is the {SEPARATORS[separator]}; put cells that contain one in quotes"
            raise DataError("D071", message, fix)
        yield line, cells[index:]


def _keys(path: Path) -> list[str]:
    columns: dict[str, None] = {}
    for _, values in _parsed_objects(path):
        columns.update(dict.fromkeys(values))
    if not columns:
        raise DataError("D072", f"{path.name}: no object with a key", 'write one a line: {"name": value, …}')
    return list(columns)


def _objects(path: Path, columns: list[str], used: Container[str] | None) -> Iterator[tuple[int, list[str]]]:
    for line, values in _parsed_objects(path):
        yield line, [_cell(values.get(name), path, line, name, used) for name in columns]


def _parsed_objects(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    blank = 0
    for number, line in read_lines(path):
        if not line.strip():
            blank = blank or number
            continue
        if blank:
            raise DataError("D071", f"{path.name}: line {blank} is blank, and rows follow", "take the line out")
        yield number, _object(path, number, line)


def _object(path: Path, number: int, line: str) -> dict[str, Any]:
    where = f"{path.name}, line {number}"
    try:  # numbers stay the text they are
        value = json.loads(line, parse_int=str, parse_float=str, parse_constant=str, object_pairs_hook=_pairs)
    except KeyError as error:
        raise DataError("D071", f"{where}: the key {error} is there twice", "give every value its own key") from None
    except (ValueError, RecursionError) as error:
        raise DataError("D071", f"{where}: not JSON ({str(error)[:80]})", "write one object a line") from error
    if not isinstance(value, dict):
        raise DataError("D071", f"{where}: not an object", 'write one a line: {"name": value, …}')
    return value


def _pairs(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key, value in pairs:
        if key in values:
            raise KeyError(key)
        values[key] = value
    return values


def _cell(value: Any, path: Path, line: int, name: str, used: Container[str] | None) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"  # as it is written
    if isinstance(value, str):
        return value
    if used is not None and name not in used:
        return ""
    message = f"{path.name}, line {line}: {name!r} is {_KINDS[type(value)]}, not a text or a number"
    one = f"write one text or number as {name!r}: several for one picture are not supported"
    raise DataError("D071", message, "give every value a key of its own" if used is None else one)
