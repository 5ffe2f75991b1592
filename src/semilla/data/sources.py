"""Whatever names data, made a data set: a built-in name, a folder of pictures, a list, a table, arrays."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from semilla.data import cifar10, encoded, folders, tables
from semilla.data.arrays import NAMES, from_arrays
from semilla.data.blobs import Blobs
from semilla.data.dataset import Dataset, Examples
from semilla.data.digit_strings import digit_strings
from semilla.data.holdout import hold_out
from semilla.data.labels import IntArray, choose_labels
from semilla.data.leaks import check_leaks
from semilla.data.lists import Columns
from semilla.data.manifest import Manifest
from semilla.data.numpy_files import looks_pickled, pickle_refused, read_numpy
from semilla.data.pictures import dataset_of
from semilla.data.source import DIGIT_STRINGS, Source
from semilla.data.text import load_text, read_text
from semilla.errors import DataError, SafetyError, UsageError

BUILT_IN = ("digits", DIGIT_STRINGS, "cifar10")
"""Data sets that have a name; a folder of that name is given as ``./digits``."""

_EMBEDDED = ("digits", DIGIT_STRINGS)

_READ = (
    "a folder of pictures, a list of pictures and labels (.csv, .tsv, .jsonl), a table of features (.csv, .parquet), "
    "Parquet files of pictures, or an .npz file with x_train and y_train"
)
_PICKLES = {".pkl", ".pickle", ".pt", ".pth", ".joblib"}
_PICKLED_BATCH = re.compile(r"data_batch_\d|test_batch|batches\.meta")

_DIGITS_CLASSES = tuple("0123456789")
_DIGITS_SEED = 1797  # fixed for ever: figures on these parts are compared across versions
_DIGITS_DEVELOPMENT, _DIGITS_TEST = 400, 500


def load(data: Any, progress: TextIO | None = sys.stderr) -> Dataset:
    """Load a data set.

    Args:
        data: a `Source`; or ``"digits"``, ``"digit_strings"``, ``"cifar10"``, the path of a folder or file, a tuple
            ``(x, y)``, a mapping of arrays as `semilla.data.arrays.from_arrays` takes it, a DataFrame, a
            ``datasets.Dataset``, or a `Dataset`, which is passed through.
        progress: where the progress of decoding goes.

    Raises:
        DataError: D001, no such path; D002, CIFAR-10 is not found; D003, a kind of data that is not read; D004, an
            empty folder; D005, an unknown name; D006, a damaged file; and those of the reader of that kind.
        SafetyError: S001, the data are pickled.
    """
    source = data if isinstance(data, Source) else Source(data)
    try:
        return _load(source, progress)
    except OSError as error:
        where = os.fsdecode(error.filename) if error.filename else source.data
        raise DataError(
            "D006", f"{where} cannot be read: {error.strerror or error}", "check its permissions"
        ) from error


def load_manifest(data: Any) -> tuple[Manifest, Blobs] | None:
    """What a source of pictures names, before anything is decoded; None where there are no encoded pictures.

    Raises:
        DataError: as `load`.
    """
    source = data if isinstance(data, Source) else Source(data)
    if isinstance(source.data, str) and source.data in _EMBEDDED:
        return None
    if source.task == "text":
        return None if isinstance(source.data, Dataset | Mapping | tuple) else read_text(_with_places(source))
    if encoded.is_dataset(source.data):
        columns = Columns(source.path_column, source.label_column, source.group_column)
        return encoded.read_dataset(source.data, columns)
    if not isinstance(source.data, str | os.PathLike):
        return None
    path = cifar10.find() if source.data == "cifar10" else _existing(os.fspath(source.data))
    if path.is_dir() and cifar10.is_numbered(path):
        return cifar10.read_parquet(path)
    return folders.read_pictures(
        path,
        unlabeled=_path(source.unlabeled),
        test=_path(source.test),
        path_column=source.path_column,
        label_column=source.label_column,
        group_column=source.group_column,
        follow_links=source.follow_links,
    )


def _load(source: Source, progress: TextIO | None) -> Dataset:
    data = source.data
    if isinstance(data, Dataset):
        return _kept_back(data, source)
    if source.task not in (None, "text"):
        raise UsageError("U146", f"task = {source.task!r} is not known", "give 'text', or leave it out")
    if isinstance(data, str) and data in _EMBEDDED:
        return _embedded(data, source)
    if source.task == "text":
        return _kept_back(load_text(_with_places(source), progress), source)
    if isinstance(data, Mapping) and not encoded.is_dataset(data):
        return _arrays(data, "arrays", source)
    if isinstance(data, tuple) and len(data) == 2:
        return _arrays({"x_train": data[0], "y_train": data[1]}, "arrays", source)
    if tables.is_frame(data) or (data := encoded.table_of(source.data)) is not None:
        return _table(data, source)
    data = source.data
    if not isinstance(data, str | os.PathLike) and not encoded.is_dataset(data):
        message = f"data of type {type(data).__name__} are not read"
        raise DataError("D003", message, "give a name, a path, (x, y), or a mapping with x_train and y_train")
    if isinstance(data, str | os.PathLike) and (found := _load_file(source)) is not None:
        return found
    pictures = load_manifest(source)
    if pictures is None:
        raise _nothing(Path(data))
    return _kept_back(dataset_of(*pictures, source, progress), source)


def _embedded(name: str, source: Source) -> Dataset:
    """What a library brings along."""
    dataset = _digits()
    if name == DIGIT_STRINGS:
        dataset = digit_strings(dataset)
    elif source.task == "text":
        message = f"{name} are pictures of single digits, not lines of text"
        raise DataError("D003", message, f"take {DIGIT_STRINGS}, or leave out --task text")
    here = (f"the built-in set of that name; the folder beside you is ./{name}",) if os.path.isdir(name) else ()
    return _kept_back(replace(dataset, notes=here), source)


def _with_places(source: Source) -> Source:
    """The source, once all paths it names are there."""
    given = (source.data, source.unlabeled, source.test)
    for place in given:
        if isinstance(place, str | os.PathLike):
            _existing(os.fspath(place))
    return source


def _kept_back(dataset: Dataset, source: Source) -> Dataset:
    return dataset if source.holdout is None else hold_out(dataset, source.holdout)


def _arrays(arrays: Mapping[str, Any], name: str, source: Source) -> Dataset:
    return _without_leaks(_kept_back(from_arrays(arrays, name), source), source)


def _table(data: Any, source: Source) -> Dataset:
    """A table keeps rows back itself, before it learns from the others how its columns are to be read."""
    return _without_leaks(tables.read_table(data, source), source)


def _without_leaks(dataset: Dataset, source: Source) -> Dataset:
    return replace(dataset, notes=(*dataset.notes, *check_leaks(dataset, source.allow_leak)))


def _load_file(source: Source) -> Dataset | None:
    """What is not a collection of pictures: arrays, tables, CIFAR-10's own layout; None for all else."""
    path = cifar10.find() if source.data == "cifar10" else _existing(os.fspath(source.data))
    if path.is_dir():
        if (path / "run.json").is_file():
            fix = f"semilla report, evaluate or predict {path} …; to train again, name the data"
            raise DataError("D003", f"{str(path)!r} is a run, not data", fix)
        if cifar10.is_binary(path):
            return _kept_back(cifar10.read_binary(path), source)
        for entry in sorted(os.listdir(path)):
            if _PICKLED_BATCH.fullmatch(entry):
                raise _pickled(path / entry)
        return None
    if not path.is_file():
        raise DataError("D003", f"{str(path)!r} is neither a file nor a folder", f"give {_READ}")
    if path.suffix.lower() == ".npz":
        return _arrays(read_numpy(path, NAMES), path.stem, source)
    with path.open("rb") as file:
        start = file.read(8)
    if path.suffix.lower() in _PICKLES or _PICKLED_BATCH.fullmatch(path.name) or looks_pickled(start):
        raise _pickled(path)
    return _table(path, source) if tables.is_table(path, source) else None


def _path(text: str | None) -> Path | None:
    return None if text is None else _existing(text)


def _existing(text: str) -> Path:
    if os.path.exists(text):
        return Path(text)
    if os.path.dirname(text) or os.path.splitext(text)[1]:
        parents = (parent for parent in Path(text).absolute().parents if parent.is_dir())
        raise DataError("D001", f"no file or folder {text!r}", f"the path exists up to {next(parents)}")
    near = get_close_matches(text.lower(), BUILT_IN, n=1, cutoff=0.5)
    suggestion = f"did you mean {near[0]!r}? " if near else ""
    fix = f"{suggestion}names are {', '.join(BUILT_IN[:-1])} and {BUILT_IN[-1]}; anything else is a path"
    raise DataError("D005", f"unknown data set {text!r}, and no file or folder has that name", fix)


def _nothing(path: Path) -> DataError:
    if not path.is_dir():
        inside = "give the folder it lies in; " if path.suffix.lower() == ".bin" else ""
        message = f"{str(path)!r} is a file of a kind that is not read"
        return DataError("D003", message, f"{inside}what is read: {_READ}")
    names = sorted(os.listdir(path))
    if not names:
        return DataError("D004", f"folder {str(path)!r} is empty", f"put data there, or give {_READ}")
    listed = ", ".join(map(repr, names[:4])) + (", …" if len(names) > 4 else "")
    return DataError("D003", f"folder {str(path)!r} holds nothing that is read: {listed}", f"give {_READ}")


def _pickled(path: Path) -> SafetyError:
    return pickle_refused(path, "CIFAR-10's binary version (data_batch_1.bin …) and Parquet files are read, and .npz")


def _digits() -> Dataset:
    """Scikit-learn's 1,797 pictures of digits, 8 × 8, with 400 held out for development and 500 for testing."""
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    images = np.rint(pixels * (255 / 16)).astype(np.uint8).reshape(-1, 1, 8, 8)
    labels = labels.astype(np.int64)
    pool, development, test = _digits_parts(labels)
    return Dataset(
        name="digits",
        kind="images",
        classes=_DIGITS_CLASSES,
        inputs=images[pool],
        labels=labels[pool],
        development=Examples(images[development], labels[development]),
        test=Examples(images[test], labels[test]),
    )


def _digits_parts(labels: IntArray) -> tuple[IntArray, IntArray, IntArray]:
    """Rows of the training pool, the development part and the test part, each in order; the last two balanced."""
    held_out = choose_labels(
        labels, _DIGITS_CLASSES, _DIGITS_DEVELOPMENT + _DIGITS_TEST, _DIGITS_SEED, stream="digits parts"
    )
    pool = np.setdiff1d(np.arange(len(labels)), held_out)
    return pool, np.sort(held_out[:_DIGITS_DEVELOPMENT]), np.sort(held_out[_DIGITS_DEVELOPMENT:])
