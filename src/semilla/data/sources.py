"""Whatever names data, made a data set: a built-in name, a path, arrays."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from semilla.data import cifar10
from semilla.data.arrays import NAMES, from_arrays
from semilla.data.dataset import Dataset, Examples
from semilla.data.labels import IntArray, choose_labels
from semilla.data.numpy_files import looks_pickled, pickle_refused, read_numpy
from semilla.errors import DataError, SafetyError

BUILT_IN = ("digits", "cifar10")
"""Data sets that have a name; a folder of that name is given as ``./digits``."""

_READ = "a folder with CIFAR-10 binary or Parquet files, or an .npz file with x_train and y_train"
_PICKLES = {".pkl", ".pickle", ".pt", ".pth", ".joblib"}
_PICKLED_BATCH = re.compile(r"data_batch_\d|test_batch|batches\.meta")

_DIGITS_CLASSES = tuple("0123456789")
_DIGITS_SEED = 1797  # fixed for ever: figures on these parts are compared across versions
_DIGITS_DEVELOPMENT, _DIGITS_TEST = 400, 500


def load(data: Any) -> Dataset:
    """Load a data set.

    Args:
        data: ``"digits"``, ``"cifar10"``, the path of a folder or an ``.npz`` file, a tuple ``(x, y)``, a mapping of
            arrays as `semilla.data.arrays.from_arrays` takes it, or a `Dataset`, which is passed through.

    Raises:
        DataError: D001, no such path; D002, CIFAR-10 is not found; D003, a kind of data that is not read; D004, an
            empty folder; D005, an unknown name; D006, a damaged file; and those of the reader of that kind.
        SafetyError: S001, the data are pickled.
    """
    if isinstance(data, Dataset):
        return data
    if isinstance(data, Mapping):
        return from_arrays(data, "arrays")
    if isinstance(data, tuple) and len(data) == 2:
        return from_arrays({"x_train": data[0], "y_train": data[1]}, "arrays")
    if not isinstance(data, str | os.PathLike):
        message = f"data of type {type(data).__name__} are not read"
        raise DataError("D003", message, "give a name, a path, (x, y), or a mapping with x_train and y_train")
    if data == "digits":
        return _digits()
    text = os.fspath(data)
    try:
        return _load_path(cifar10.find() if text == "cifar10" else _existing(text))
    except OSError as error:
        message = f"{error.filename or text} cannot be read: {error.strerror or error}"
        raise DataError("D006", message, "check the file and its permissions") from error


def _existing(text: str) -> Path:
    if os.path.exists(text):
        return Path(text)
    near = difflib.get_close_matches(text.lower(), BUILT_IN, n=1, cutoff=0.5)
    if os.path.dirname(text) or os.path.splitext(text)[1]:
        parents = (parent for parent in Path(text).absolute().parents if parent.is_dir())
        raise DataError("D001", f"no file or folder {text!r}", f"the path exists up to {next(parents)}")
    suggestion = f"did you mean {near[0]!r}? " if near else ""
    fix = f"{suggestion}names are {' and '.join(BUILT_IN)}; anything else is a path"
    raise DataError("D005", f"unknown data set {text!r}, and no file or folder has that name", fix)


def _load_path(path: Path) -> Dataset:
    if path.is_dir():
        return _load_folder(path)
    if path.suffix.lower() == ".npz":
        return from_arrays(read_numpy(path, NAMES), path.stem)
    if not path.is_file():
        raise DataError("D003", f"{str(path)!r} is neither a file nor a folder", f"give {_READ}")
    with path.open("rb") as file:
        start = file.read(8)
    if path.suffix.lower() in _PICKLES or _PICKLED_BATCH.fullmatch(path.name) or looks_pickled(start):
        raise _pickled(path)
    inside = "give the folder it lies in; " if path.suffix.lower() in (".bin", ".parquet") else ""
    raise DataError("D003", f"{str(path)!r} is a file of a kind that is not read", f"{inside}what is read: {_READ}")


def _load_folder(folder: Path) -> Dataset:
    names = sorted(entry.name for entry in folder.iterdir())
    if not names:
        raise DataError("D004", f"folder {str(folder)!r} is empty", f"put data there, or give {_READ}")
    if cifar10.is_folder_of(folder):
        return cifar10.read_folder(folder)
    for name in names:
        if _PICKLED_BATCH.fullmatch(name):
            raise _pickled(folder / name)
    listed = ", ".join(map(repr, names[:4])) + (", …" if len(names) > 4 else "")
    raise DataError("D003", f"folder {str(folder)!r} holds nothing that is read: {listed}", f"give {_READ}")


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
