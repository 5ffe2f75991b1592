"""The decoded store: pictures are decompressed once and mapped into memory afterwards."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt

from semilla.errors import DataError, ResourceError
from semilla.files import make_folder, write_atomic

Images = npt.NDArray[np.uint8]

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
"""The formats that are opened, whatever a file calls itself: Pillow has parsers for far more."""

_PIXELS = 64_000_000
_CHANNELS = {"L": 1, "RGB": 3}
_VERSION = b"pixels 1\n"  # raise it when decoding changes
_CHUNK = 256


def cache_folder() -> Path:
    """Where decoded data are kept: ``SEMILLA_CACHE``, else ``semilla`` in ``XDG_CACHE_HOME`` or in ``~/.cache``."""
    if own := os.environ.get("SEMILLA_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "semilla"


def decoded(files: Sequence[Path], rows: int, read: Callable[[], list[bytes]], name: str) -> tuple[Images, str]:
    """The pictures of some files: from the store, or decoded and then stored.

    Args:
        files: what the pictures come from; the store is addressed by the SHA-256 of their contents.
        rows: pictures there must be.
        read: gives their encoded bytes; called only if they are not in the store.
        name: for messages and the store's file name.

    Returns:
        uint8 (N, C, H, W), mapped read-only if it is in the store, and a note if it could not be stored, else "".

    Raises:
        DataError: D014, pictures that cannot be decoded.
    """
    path = cache_folder() / f"{name}-{_content(files)}.npy"
    if path.is_file():
        try:
            stored = np.load(path, mmap_mode="r", allow_pickle=False)
            if stored.dtype == np.uint8 and stored.ndim == 4 and len(stored) == rows:
                return stored, ""
        except (OSError, ValueError, EOFError):
            pass  # damaged: made again below
    images = decode(read(), name)
    try:
        make_folder(path.parent.absolute())
        buffer = io.BytesIO()
        np.save(buffer, images, allow_pickle=False)
        write_atomic(path, buffer.getvalue())
    except (OSError, ResourceError) as error:
        return images, f"{name}: the decoded pictures could not be kept for the next time: {error}"
    return images, ""


def decode(blobs: Sequence[bytes], name: str) -> Images:
    """Decode pictures of one size, grey or RGB.

    Args:
        blobs: encoded pictures, at least one.
        name: for messages.

    Returns:
        uint8 (N, C, H, W).

    Raises:
        DataError: D014, with the number of pictures that cannot be decoded and the first of them.
    """
    from tqdm import tqdm

    first = _attempt(blobs[0], None)
    if isinstance(first, str):
        raise _undecodable({0: first}, name)
    images = np.empty((len(blobs), *first.shape), np.uint8)

    def fill(start: int) -> dict[int, str]:
        problems = {}
        for row in range(start, min(start + _CHUNK, len(blobs))):
            image = _attempt(blobs[row], first.shape)
            if isinstance(image, str):
                problems[row] = image
            else:
                images[row] = image
        return problems

    problems: dict[int, str] = {}
    bar = tqdm(total=len(blobs), desc=f"decoding {name}, once", unit=" pictures", leave=False)
    with bar, ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for found in pool.map(fill, range(0, len(blobs), _CHUNK)):
            problems |= found
            bar.update(min(_CHUNK, len(blobs) - bar.n))
    if problems:
        raise _undecodable(problems, name)
    return images


def _attempt(blob: bytes, shape: tuple[int, ...] | None) -> Images | str:
    """The pixels (C, H, W) of a picture, of the shape expected if there is one; or why there are none."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(blob), formats=FORMATS) as image:
            found = (_CHANNELS.get(image.mode, 0), image.height, image.width)  # from the header, before decoding
            if not found[0] or image.height * image.width > _PIXELS or found != (shape or found):
                return f"{image.height} × {image.width} pixels of {image.mode}, not like the others, grey or RGB"
            array = np.asarray(image)
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        return (str(error) or type(error).__name__) if blob else "no bytes"
    return array[None] if array.ndim == 2 else np.moveaxis(array, 2, 0)


def _undecodable(problems: dict[int, str], name: str) -> DataError:
    row, reason = next(iter(problems.items()))
    message = f"{len(problems)} of the {name} pictures cannot be decoded; first: row {row} ({reason[:100]!r})"
    return DataError("D014", message, "copy or write the file again")


def _content(files: Sequence[Path]) -> str:
    digest = hashlib.sha256(_VERSION)
    for path in files:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:32]
