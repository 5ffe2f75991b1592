"""Arrays from ``.npy`` and ``.npz`` files, never Python objects."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Container
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from semilla.errors import DataError, SafetyError

_ARRAY, _ARCHIVE = b"\x93NUMPY", b"PK"
_DAMAGE = (OSError, ValueError, EOFError, KeyError, MemoryError, RuntimeError, zipfile.BadZipFile, zlib.error)


def read_numpy(path: Path, names: Container[str] | None = None) -> dict[str, npt.NDArray[Any]]:
    """Read a NumPy file.

    Args:
        path: an ``.npy`` file, or an ``.npz`` archive.
        names: arrays wanted of an archive; the others are not decompressed and come back empty.

    Returns:
        The arrays by name; the one of an ``.npy`` file has the name ``""``.

    Raises:
        DataError: D006, the file is damaged or none of NumPy's.
        SafetyError: S001, it holds Python objects, and reading those runs code.
    """
    try:
        with path.open("rb") as file:
            return _read(path, file, names)
    except _DAMAGE as error:
        if "Object arrays" in str(error):  # how NumPy refuses one
            fix = "save text with array.astype(str), missing labels as empty text"
            raise pickle_refused(path, fix) from error
        raise DataError("D006", f"{path} cannot be read: {str(error)[:100]}", "copy or write the file again") from error


def _read(path: Path, file: BinaryIO, names: Container[str] | None) -> dict[str, npt.NDArray[Any]]:
    start = file.read(len(_ARRAY))
    file.seek(0)
    if looks_pickled(start):
        raise pickle_refused(path, "save arrays of numbers or text with numpy.savez")
    if start != _ARRAY and not start.startswith(_ARCHIVE):
        raise DataError("D006", f"{path} is not a NumPy file", "write it with numpy.save or numpy.savez")
    loaded = np.load(file, allow_pickle=False)
    if isinstance(loaded, np.ndarray):
        return {"": loaded}
    return {name: np.asarray(loaded[name]) if names is None or name in names else np.empty(0) for name in loaded}


def looks_pickled(start: bytes) -> bool:
    """Whether a file's first bytes are those of a pickle of protocol 2 to 5."""
    return len(start) > 1 and start[0] == 0x80 and 2 <= start[1] <= 5


def pickle_refused(path: Path, fix: str) -> SafetyError:
    """The error for a file whose reading would run whatever code is in it."""
    return SafetyError("S001", f"{path} is a Python pickle: reading one runs code from the file", fix)
