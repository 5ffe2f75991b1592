"""CIFAR-10 and sets stored like it: the official binary files, or Parquet files of encoded pictures."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from semilla.data.dataset import Dataset, Examples
from semilla.data.labels import IntArray
from semilla.data.store import Images, cache_folder, decoded
from semilla.errors import DataError

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

_PICTURE = (3, 32, 32)
_RECORD = 1 + 3 * 32 * 32  # label, then the red, green and blue planes
_BATCHES = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
_COLUMNS = ("image", "label", "index")
_FOLDERS = ("cifar10", "cifar-10-batches-bin")


class _Part(NamedTuple):
    images: Images
    labels: IntArray
    exact: npt.NDArray[np.bool_]
    classes: tuple[str, ...]
    note: str = ""


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
    """Whether a folder holds files that `read_folder` reads."""
    return any((folder / name).is_file() for name in _BATCHES) or any(folder.glob("train-*.parquet"))


def read_folder(folder: Path, inexact: bool = False) -> Dataset:
    """Read a folder of binary or Parquet files; the training pool keeps the official order.

    Args:
        folder: holds ``data_batch_1.bin`` … ``data_batch_5.bin`` and perhaps ``test_batch.bin`` and
            ``batches.meta.txt``; or ``train-*.parquet`` and perhaps ``test.parquet``, with the columns ``image``
            (encoded), ``label``, ``index`` and perhaps ``exact``, and the names ``classes`` in the schema's metadata.
        inexact: whether to keep test pictures marked as not exactly the original.

    Raises:
        DataError: D006, files are missing or damaged; D007, Parquet files and no pyarrow; D014, pictures that cannot
            be decoded.
    """
    train_files = [folder / name for name in _BATCHES]
    if any(path.is_file() for path in train_files):
        read, test_path = _read_binary, folder / "test_batch.bin"
        missing = [path.name for path in train_files if not path.is_file()]
        if missing:
            raise DataError("D006", f"{folder} lacks {', '.join(missing)}", "copy all five training files")
    else:
        read, test_path = _read_parquet, folder / "test.parquet"
        train_files = sorted(folder.glob("train-*.parquet"))
    train = read(train_files)
    test = read([test_path]) if test_path.is_file() else None
    notes = [train.note]
    if test is None:
        notes.append(f"{folder.name}: no {test_path.name}, so nothing is held out for testing")
    elif test.classes != train.classes or test.images.shape[1:] != train.images.shape[1:]:
        raise DataError("D006", f"{test_path}: other classes or sizes than the training files", "copy them again")
    else:
        keep = test.exact | inexact
        if not keep.all():
            notes.append(f"{folder.name}: {(~keep).sum()} test pictures that are not exact copies are left out")
        notes.append(test.note)
    return Dataset(
        name="cifar10" if train.classes == CLASSES else folder.name,
        kind="images",
        classes=train.classes,
        inputs=train.images,
        labels=train.labels,
        test=Examples(test.images[keep], test.labels[keep]) if test else None,
        flip=True,
        notes=tuple(note for note in notes if note),
    )


def _read_binary(paths: Sequence[Path]) -> _Part:
    meta = paths[0].parent / "batches.meta.txt"
    classes = tuple(meta.read_text(encoding="utf-8").split()) if meta.is_file() else CLASSES
    records = []
    for path in paths:
        size = path.stat().st_size
        if size == 0 or size % _RECORD:
            message = f"{path} has {size} bytes, not a whole number of {_RECORD}-byte records"
            raise DataError("D006", message, "copy or unpack the file again")
        records.append(np.fromfile(path, np.uint8).reshape(-1, _RECORD))
        _check_labels(records[-1][:, 0], classes, path)
    images = np.concatenate([part[:, 1:] for part in records]).reshape(-1, *_PICTURE)
    labels = np.concatenate([part[:, 0] for part in records]).astype(np.int64)
    return _Part(images, labels, np.ones(len(labels), bool), classes)


def _read_parquet(paths: Sequence[Path]) -> _Part:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        fix = "pip install 'semilla[parquet]', or give the official binary files"
        raise DataError("D007", f"reading {paths[0].name} needs pyarrow", fix) from error
    try:
        files = [pq.ParquetFile(path) for path in paths]
        for path, file in zip(paths, files, strict=True):
            _check_schema(path, file.schema_arrow, pa.types)
        columns = [_columns(path, file) for path, file in zip(paths, files, strict=True)]
        labels, index, exact = (np.concatenate(column) for column in zip(*columns, strict=True))
        classes = _class_names(paths, files)
        _check_labels(labels, classes, paths[0].parent)
        order = np.argsort(index, kind="stable")
        _check_numbering(index[order], paths[0].parent)

        def encoded() -> list[bytes]:
            blobs = [blob for file in files for blob in file.read(["image"])["image"].to_pylist()]
            return [blobs[row] for row in order]

        name = "test" if paths[0].stem == "test" else "train"
        images, note = decoded(paths, len(order), encoded, name)
    except pa.ArrowException as error:
        fix = "copy the file again"
        raise DataError("D006", f"{paths[0].parent}: damaged Parquet ({str(error)[:100]})", fix) from error
    return _Part(images, labels[order], exact[order], classes, note)


def _check_schema(path: Path, schema: Any, types: Any) -> None:
    wanted = {"image": types.is_binary, "label": types.is_integer, "index": types.is_integer, "exact": types.is_boolean}
    for name, check in wanted.items():
        if name not in schema.names and name in _COLUMNS:
            raise DataError("D006", f"{path} has no column {name!r}, only {', '.join(schema.names)}", "add it")
        if name in schema.names and not check(schema.field(name).type):
            raise DataError("D006", f"{path}: column {name!r} is {schema.field(name).type}", "write it as documented")


def _columns(path: Path, file: Any) -> tuple[IntArray, IntArray, npt.NDArray[np.bool_]]:
    """Label, index and exactness of a file's rows."""
    table = file.read([name for name in ("label", "index", "exact") if name in file.schema_arrow.names])
    for name in table.column_names:
        if table[name].null_count:
            raise DataError("D006", f"{path}: column {name!r} has {table[name].null_count} empty cells", "fill them")
    exact = table["exact"].to_numpy() if "exact" in table.column_names else np.ones(len(table), bool)
    return table["label"].to_numpy().astype(np.int64), table["index"].to_numpy().astype(np.int64), exact


def _class_names(paths: Sequence[Path], files: Sequence[Any]) -> tuple[str, ...]:
    texts = [(file.schema_arrow.metadata or {}).get(b"classes", b"").decode() for file in files]
    for path, text in zip(paths, texts, strict=True):
        if not text or text != texts[0]:
            problem = "names other classes than the first file" if text else "does not name its classes"
            raise DataError("D006", f"{path} {problem}", "write them, with commas, as 'classes' in the schema metadata")
    return tuple(texts[0].split(","))


def _check_labels(labels: npt.NDArray[Any], classes: Sequence[str], place: Path) -> None:
    wrong = np.flatnonzero((labels < 0) | (labels >= len(classes)))
    if len(wrong):
        message = f"{place}: label {labels[wrong[0]]} at row {wrong[0]}, but {len(classes)} classes"
        raise DataError("D006", message, "copy or write the file again")


def _check_numbering(index: IntArray, folder: Path) -> None:
    wrong = np.flatnonzero(index != np.arange(len(index)))
    if len(wrong):
        message = f"{folder}: the rows' indexes are not 0 … {len(index) - 1}, each once: {wrong[0]} is missing"
        raise DataError("D006", message, "put all parts of the set into the folder, each once")
