"""What is to be predicted: names as given, in lists, below folders and in tables, one block after another."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import islice
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt

from semilla.data.table_files import PARQUET, open_table
from semilla.data.tables import read_features
from semilla.data.walk import kind_of, list_pictures
from semilla.errors import DataError, SemillaError, StateError, UsageError
from semilla.text import clean

_CHUNK, _ROWS = 65_536, 1024  # of a list read at a time: bytes; of a table counted: rows


class Block(NamedTuple):
    """Examples whose place in the whole list puts them together.

    Attributes:
        number: of the block in the whole list.
        names: of its examples.
        features: float32 (n, D) of rows of a table; None for files that are still to be read.
    """

    number: int
    names: list[str]
    features: npt.NDArray[np.float32] | None = None


def arguments(inputs: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> Iterator[str]:
    """Names as given, those in lists filled in: ``-`` stands for standard input, ``@FILE`` for the lines of a file."""
    given = [inputs] if isinstance(inputs, str | os.PathLike) else inputs
    for name in (os.fspath(one) for one in given):
        if name == "-":
            yield from _lines(sys.stdin.buffer)
        elif name.startswith("@"):
            kind_of(name[1:])
            with open(name[1:], "rb") as file:
                yield from _lines(file)
        else:
            kind_of(name)
            yield name


def files_below(names: Iterable[str], follow_links: bool, say: Callable[[str], object]) -> Iterator[str]:
    """Files by themselves, folders with the pictures below them; what is listed but not there stays in the list."""
    for name in names:
        if not os.path.isdir(name):
            yield name
            continue
        for root, below in list_pictures([name], follow_links, say):
            yield os.path.join(root, below)


def count(inputs: Any, tables: bool, follow_links: bool) -> int | None:
    """How many files, or rows of tables, some inputs stand for; nothing is held, and of pictures only names are read.

    Returns:
        None where that cannot be known beforehand: of names on standard input, of an iterator, of what cannot be read.
    """
    given = [inputs] if isinstance(inputs, str | os.PathLike) else inputs
    if not isinstance(given, list | tuple) or "-" in map(os.fspath, given):
        return None
    with suppress(SemillaError, OSError, ValueError, ImportError):  # told where it is met
        names = arguments(given)
        return sum(map(_rows, names)) if tables else sum(1 for _ in files_below(names, follow_links, lambda line: None))
    return None


def share_of(total: int, size: int, place: int, parts: int) -> int:
    """How many examples are in the blocks of one share."""
    whole, rest = divmod(total, size)
    return len(range(place, whole, parts)) * size + (rest if whole % parts == place else 0)


def blocks(names: Iterable[str], size: int) -> Iterator[Block]:
    """The names in blocks of ``size``, the last one perhaps smaller."""
    names, number = iter(names), 0
    while some := list(islice(names, size)):
        yield Block(number, some)
        number += 1


def table_blocks(
    names: Iterable[str], reading: Mapping[str, Any], size: int, say: Callable[[str], object]
) -> Iterator[Block]:
    """The rows of tables in blocks of ``size``; a row is called ``table.csv#12``, counted from 0.

    Raises:
        StateError: C022, the model was not trained on a table; those of `read_features`.
        DataError: those of `read_features`.
    """
    if not reading:
        message = "the model was trained on arrays and knows no names of columns"
        raise StateError("C022", message, "use it from Python: semilla.load(run).predict(array)")
    labels: list[str] = []
    features: list[npt.NDArray[np.float32]] = []
    number = 0
    for name in names:
        for rows, values in read_features(name, reading, size, say):
            labels += [f"{name}#{row}" for row in rows]
            features.append(values)
            if len(labels) >= size:
                whole = np.concatenate(features)
                yield Block(number, labels[:size], whole[:size])
                labels, features, number = labels[size:], [whole[size:]], number + 1
    if labels:
        yield Block(number, labels, np.concatenate(features))


def share(shard: str | tuple[int, int] | None) -> tuple[int, int]:
    """Which share of how many: (0, 1) is all. Under torchrun each process takes its own.

    Raises:
        UsageError: U032, the words are not ``i/n`` with 0 ≤ i < n.
    """
    if shard is None:
        return int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", shard) if isinstance(shard, str) else None
    place, parts = (int(match[1]), int(match[2])) if match else shard if isinstance(shard, tuple) else (1, 0)
    if not 0 <= place < parts:
        raise UsageError("U032", f"{shard!r} is no share", "write i/n with i from 0 to n − 1, such as 0/4")
    return place, parts


def _rows(table: str) -> int:
    """Rows of a table; a Parquet file says it, in text they are counted."""
    if not table.lower().endswith(PARQUET):
        return sum(chunk.rows for chunk in open_table(table).chunks(_ROWS))
    from pyarrow import parquet

    return int(parquet.read_metadata(table).num_rows)


def _lines(file: BinaryIO) -> Iterator[str]:
    """Names in a list, read some at a time; they end with NUL where there is one in the first part, else with a line.

    Raises:
        DataError: D006, a line is longer than any name can be.
    """
    rest, mark = b"", b""
    while part := file.read1(_CHUNK) if hasattr(file, "read1") else file.read(_CHUNK):
        mark = mark or (b"\0" if b"\0" in part else b"\n")
        *whole, rest = (rest + part).split(mark)
        yield from (os.fsdecode(name.removesuffix(b"\r") if mark == b"\n" else name) for name in whole if name)
        if len(rest) > _CHUNK:
            message = f"the list of names has a line of more than {_CHUNK} bytes: {clean(rest[:40])}"
            raise DataError("D006", message, "write one name a line")
    if rest:
        yield os.fsdecode(rest)
