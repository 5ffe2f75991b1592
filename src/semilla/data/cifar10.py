"""CIFAR-10 and sets stored like it: the official binary files, or Parquet files of numbered encoded pictures."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from semilla.data import encoded
from semilla.data.blobs import Blobs
from semilla.data.dataset import Dataset, Examples
from semilla.data.encoded import open_parquet
from semilla.data.gathered import Gathered
from semilla.data.labels import IntArray
from semilla.data.lists import Columns
from semilla.data.manifest import Manifest
from semilla.data.store import cache_folder
from semilla.errors import DataError

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

_PICTURE = (3, 32, 32)
_RECORD = 1 + 3 * 32 * 32  # label, then the red, green and blue planes
_BATCHES = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
_COLUMNS = ("image", "label", "index")
_FOLDERS = ("cifar10", "cifar-10-batches-bin")


def find() -> Path:
    """The folder with CIFAR-10: in ``SEMILLA_DATA``, ``data``, ``../shared/data`` or the cache, whichever comes first.

    Raises:
        DataError: D002, naming every folder tried.
    """
    named = os.environ.get("SEMILLA_DATA")
    places = [Path("data"), Path("..", "shared", "data"), cache_folder()]
    tried = [Path(named)] if named else []
    for place in [*tried, *places]:
        tried += [place / folder for folder in _FOLDERS]
    for folder in tried:
        if is_folder_of(folder):
            return folder
    fix = f"give the folder with {_BATCHES[0]} … or train-0.parquet …, or set SEMILLA_DATA to it"
    raise DataError("D002", f"cifar10 is in none of {', '.join(map(str, tried))}", fix)


def is_folder_of(folder: Path) -> bool:
    """Whether a folder holds files that `read_binary` or `read_parquet` reads."""
    return is_binary(folder) or is_numbered(folder)


def is_binary(folder: Path) -> bool:
    """Whether a folder holds one of the official binary files."""
    return any((folder / name).is_file() for name in _BATCHES)


def is_numbered(folder: Path) -> bool:
    """Whether a folder holds Parquet files ``train-*`` whose rows are numbered.

    Raises:
        DataError: D006, one is damaged; D007, pyarrow is not installed.
    """
    files = sorted(map(str, folder.glob("train-*.parquet")))
    return bool(files) and {*_COLUMNS} <= {*open_parquet(files[:1])[0].schema_arrow.names}


def read_binary(folder: Path) -> Dataset:
    """Read the official binary files, in their order.

    Args:
        folder: holds ``data_batch_1.bin`` … ``data_batch_5.bin`` and perhaps ``test_batch.bin`` and
            ``batches.meta.txt``.

    Raises:
        DataError: D006, files are missing or damaged.
    """
    train_files, test_file = [folder / name for name in _BATCHES], folder / "test_batch.bin"
    missing = [path.name for path in train_files if not path.is_file()]
    if missing:
        raise DataError("D006", f"{folder} lacks {', '.join(missing)}", "copy all five training files")
    meta = folder / "batches.meta.txt"
    classes = tuple(meta.read_text(encoding="utf-8").split()) if meta.is_file() else CLASSES
    train = _examples(train_files, classes)
    test = _examples([test_file], classes) if test_file.is_file() else None
    return Dataset(
        name="cifar10" if classes == CLASSES else folder.name,
        kind="images",
        classes=classes,
        inputs=train.inputs,
        labels=train.labels,
        test=test,
        flip=True,
        notes=() if test else (_no_test(folder, test_file),),
    )


def _examples(paths: Sequence[Path], classes: Sequence[str]) -> Examples:
    records = []
    for path in paths:
        size = path.stat().st_size
        if size == 0 or size % _RECORD:
            message = f"{path} has {size} bytes, not a whole number of {_RECORD}-byte records"
            raise DataError("D006", message, "copy or unpack the file again")
        records.append(np.fromfile(path, np.uint8).reshape(-1, _RECORD))
        _check_labels(records[-1][:, 0], classes, path)
    images = np.concatenate([part[:, 1:] for part in records]).reshape(-1, *_PICTURE)
    return Examples(images, np.concatenate([part[:, 0] for part in records]).astype(np.int64))


def read_parquet(folder: Path, inexact: bool = False) -> tuple[Manifest, Blobs]:
    """Read Parquet files; both parts are in the order of their numbers, the official one.

    Args:
        folder: holds ``train-*.parquet`` and perhaps ``test.parquet``, with the columns ``image`` (encoded), ``label``,
            ``index`` and perhaps ``exact``, and the names of the classes, with commas, as ``classes`` in the schema's
            metadata.
        inexact: whether to keep test pictures marked as not exactly the original.

    Raises:
        DataError: D006, files are missing or damaged; D007, pyarrow is not installed; and those of
            `semilla.data.encoded.read_parquet`.
    """
    files = sorted(path.name for path in folder.glob("train-*.parquet"))
    test = folder / "test.parquet"
    parts = [(name, "train") for name in files] + ([(test.name, "test")] if test.is_file() else [])
    manifest, blobs = encoded.read_parquet(folder.resolve().name, str(folder), parts, Columns("image", "label"))
    index, exact = (
        np.concatenate(column) for column in zip(*(_numbers(folder / name) for name, _ in parts), strict=True)
    )
    held_out = np.array([part == "test" for part in manifest.parts])
    order = np.lexsort((index, held_out))
    _check_numbering(index[order[: (~held_out).sum()]], folder)
    _check_numbering(index[order[(~held_out).sum() :]], test)
    keep = order[exact[order] | ~held_out[order] | inexact]
    notes = [*manifest.notes] + ([] if held_out.any() else [_no_test(folder, test)])
    if len(keep) < len(order):
        left = len(order) - len(keep)
        notes.append(f"{folder.name}: {left} test pictures that are not exact copies are left out")
    name = "cifar10" if manifest.classes == CLASSES else manifest.name
    kept = replace(manifest.select(keep.tolist()), name=name, notes=tuple(notes))
    return kept, Gathered.of(blobs, keep, kept.paths)


def _numbers(path: Path) -> tuple[IntArray, npt.NDArray[np.bool_]]:
    """Number and exactness of a file's rows."""
    import pyarrow as pa

    (file,) = open_parquet([path])
    schema = file.schema_arrow
    wanted = {"index": pa.types.is_integer, "exact": pa.types.is_boolean}
    for name, check in wanted.items():
        if name not in schema.names and name in _COLUMNS:
            raise DataError("D006", f"{path} has no column {name!r}, only {', '.join(schema.names)}", "add it")
        if name in schema.names and not check(schema.field(name).type):
            raise DataError("D006", f"{path}: column {name!r} is {schema.field(name).type}", "write it as documented")
    with encoded.parquet_errors(str(path)):
        table = file.read([name for name in wanted if name in schema.names])
    for name in table.column_names:
        if table[name].null_count:
            raise DataError("D006", f"{path}: column {name!r} has {table[name].null_count} empty cells", "fill them")
    exact = table["exact"].to_numpy() if "exact" in table.column_names else np.ones(len(table), bool)
    return table["index"].to_numpy().astype(np.int64), exact


def _no_test(folder: Path, test: Path) -> str:
    return f"{folder.name}: no {test.name}, so nothing is held out for testing"


def _check_labels(labels: npt.NDArray[Any], classes: Sequence[str], place: Path) -> None:
    wrong = np.flatnonzero((labels < 0) | (labels >= len(classes)))
    if len(wrong):
        message = f"{place}: label {labels[wrong[0]]} at row {wrong[0]}, but {len(classes)} classes"
        raise DataError("D006", message, "copy or write the file again")


def _check_numbering(index: IntArray, place: Path) -> None:
    wrong = np.flatnonzero(index != np.arange(len(index)))
    if len(wrong):
        message = f"{place}: the rows' indexes are not 0 … {len(index) - 1}, each once: {wrong[0]} is missing"
        raise DataError("D006", message, "put all parts of the set there, each once")
