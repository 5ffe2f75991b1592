"""The one page that opens pictures: which formats, how large, and what becomes of depth, color space and alpha.

A picture comes from anyone, so nothing is believed before it is checked: the format is told by the first bytes and
must be in `FORMATS`, the size is read from the header before a pixel is decoded, and every pixel is decoded before the
picture counts as readable. Whatever is wrong with a picture ends as `Unreadable`, whose reason is a phrase for people.
"""

from __future__ import annotations

import io
import struct
import threading
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms, ImageFile

Images = npt.NDArray[np.uint8]

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
"""The formats that are opened, whatever a file calls itself: Pillow has parsers for far more."""

MAX_PIXELS = 64_000_000
"""Largest picture that is decoded, unless the caller says otherwise: 256 MB as Pillow holds it."""

MAX_BYTES = 64_000_000
"""Largest file that is read."""

NARROWEST = 8
"""Columns of the narrowest line: a picture of less is stretched, for a network has to see something."""

_RESIZES = ("squash", "pad", "crop")
_MAX_PROFILE, _MAX_SCANS, _COUNTED_BYTES = 4_000_000, 100, 1_000_000
_ORIENTATION = 274  # the EXIF tag
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_DESCRIBED = ("exif", "xmp", "XML:com.adobe.xmp", "Raw profile type exif")  # where an orientation may stand
_ALPHA = {"LA", "La", "PA", "RGBA", "RGBa"}
_STARTS = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"BM", "BMP"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    *((start, "TIFF") for start in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")),
)


@dataclass(frozen=True, slots=True)
class Form:
    """The size and mode to which every picture of a model is brought.

    Attributes:
        channels: 1 for grey, 3 for red, green and blue.
        height: pixels.
        width: pixels.
        resize: ``squash`` stretches to the size; ``pad`` keeps the proportions and fills with black; ``crop`` keeps
            them and cuts what sticks out, at both ends alike.
    """

    channels: int
    height: int
    width: int
    resize: str = "squash"

    def __post_init__(self) -> None:
        if self.channels not in (1, 3) or min(self.height, self.width) < 1 or self.resize not in _RESIZES:
            raise ValueError(f"{self} is not a form: channels 1 or 3, sizes from 1, resize {', '.join(_RESIZES)}")

    @property
    def side(self) -> int:
        """Pixels of the longer side."""
        return max(self.height, self.width)


@dataclass(frozen=True, slots=True)
class LineForm:
    """The height and mode to which every line of text is brought: grey, and as wide as its proportions make it.

    Attributes:
        height: pixels.
        widest: the widest that is read, in pixels at that height: nothing is squeezed to fit.
    """

    height: int
    widest: int

    def __post_init__(self) -> None:
        if self.height < 1 or self.widest < NARROWEST:
            raise ValueError(f"{self} is not a form: height from 1, widest from {NARROWEST}")

    @property
    def channels(self) -> int:
        """1: grey."""
        return 1

    @property
    def side(self) -> int:
        """Pixels that must be kept of either side when a JPEG is decoded smaller than it is."""
        return self.height

    def width_of(self, facts: Facts) -> int:
        """Pixels of a picture's width at the height, at least `NARROWEST`; more than ``widest`` is not read."""
        width, height = (facts.width, facts.height)[:: -1 if facts.orientation > 4 else 1]
        return max(NARROWEST, round(width * self.height / height))


@dataclass(frozen=True, slots=True)
class Facts:
    """What a file was before it was brought to a form.

    Attributes:
        format: one of `FORMATS`.
        mode: Pillow's word, such as ``RGB``, ``P`` or ``I;16``.
        width: pixels, as stored: before the EXIF orientation turned it.
        height: pixels.
        frames: frames or pages; 2 stands for "several" where counting would take long.
        bits: bits for each sample.
        orientation: EXIF's number, 1 to 8.
        alpha: whether some pixels may be transparent.
    """

    format: str
    mode: str
    width: int
    height: int
    frames: int = 1
    bits: int = 8
    orientation: int = 1
    alpha: bool = False


def is_grey(facts: Facts) -> bool:
    """Whether a picture has no color, by its mode."""
    return facts.mode[0] in "1LIF" and facts.mode != "LAB"


class Unreadable(Exception):
    """A picture that cannot be used.

    Args:
        reason: why, as a phrase such as ``empty file``.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def open_picture(
    blob: bytes, max_pixels: int = MAX_PIXELS, form: Form | LineForm | None = None
) -> tuple[Image.Image, Facts]:
    """Decode the first frame of a picture completely.

    Args:
        blob: the encoded picture.
        max_pixels: largest width × height.
        form: to what it will be brought. A JPEG much larger than that is decoded at a half, quarter or eighth of its
            size; it must be the same wherever pixels are to be equal.

    Returns:
        The picture, upright, of mode ``L`` or ``RGB``: 16-bit samples lose their lower byte, CMYK is converted by its
        ICC profile if it has one, transparency shows white. And what the file was.

    Raises:
        Unreadable: for whatever reason.
    """
    with _reasons(blob):
        opened, facts = _opened(blob, max_pixels)
        if form is not None and facts.format == "JPEG":
            side = 2 * form.side  # twice what is wanted: the rest is resampled properly
            opened.draft(None, (side, side))
        opened.load()
        turn = _TURNS.get(facts.orientation if facts.format != "TIFF" else 1)  # Pillow turns TIFF itself
        image = _eight_bits(opened)
        return (image.transpose(turn) if turn is not None else image), facts


def header(blob: bytes, max_pixels: int = MAX_PIXELS) -> Facts:
    """What a file says it is; nothing is decoded. Raises as `open_picture` does."""
    with _reasons(blob):
        return _opened(blob, max_pixels)[1]


def to_array(image: Image.Image, form: Form) -> Images:
    """Bring a picture of mode ``L`` or ``RGB`` to a form, with antialiasing: uint8 (C, H, W)."""
    mode = "L" if form.channels == 1 else "RGB"
    if image.mode != mode:
        image = image.convert(mode)
    size = (form.width, form.height)
    if image.size != size:
        image = _RESIZERS[form.resize](image, size)
    array = np.frombuffer(image.tobytes(), np.uint8)
    if form.channels == 1:
        return array.reshape(1, form.height, form.width)
    return array.reshape(form.height, form.width, 3).transpose(2, 0, 1)


def to_line(image: Image.Image, width: int, height: int) -> Images:
    """Bring a picture of mode ``L`` or ``RGB`` to grey and a size, with antialiasing: uint8 (W, H), by columns."""
    if image.mode != "L":
        image = image.convert("L")
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    return np.ascontiguousarray(np.asarray(image).T)


def read_picture(blob: bytes, form: Form, max_pixels: int = MAX_PIXELS) -> tuple[Images, Facts]:
    """A picture as training sees it, uint8 (C, H, W), and what it was: `open_picture` and `to_array` in one."""
    image, facts = open_picture(blob, max_pixels, form)
    return to_array(image, form), facts


def difference_hashes(values: npt.NDArray[np.float64]) -> npt.NDArray[np.uint64]:
    """The dHash of N. Krawetz (2013, "Kind of like that"): 64 bits that say where a picture gets brighter to the right.

    Grey values are averaged over 8 rows of 9 cells, in whole numbers, so that cells of one even color stay equal.

    Args:
        values: pixels 0 … 255 as float64, (N, C, H, W).

    Returns:
        uint64 (N,). Few different bits mean that two pictures look alike.
    """
    grey = values[:, 0]
    if values.shape[1] == 3:
        grey = 77 * grey + 150 * values[:, 1] + 29 * values[:, 2]  # the luma weights of ITU-R BT.601, times 256
    cells = _areas(8, values.shape[2]) @ grey @ _areas(9, values.shape[3]).T
    bits = cells[:, :, 1:] > cells[:, :, :-1]
    return np.packbits(bits.reshape(-1, 64), axis=1).view(">u8")[:, 0].astype(np.uint64)


@cache
def _areas(cells: int, pixels: int) -> npt.NDArray[np.float64]:
    """How much of each pixel lies in each of the cells that divide a line evenly, counted in cells-ths of a pixel."""
    edges, borders = np.arange(cells + 1)[:, None] * pixels, np.arange(pixels + 1) * cells
    overlap = np.minimum(edges[1:], borders[1:]) - np.maximum(edges[:-1], borders[:-1])
    areas: npt.NDArray[np.float64] = np.maximum(overlap, 0).astype(np.float64)
    return areas


# Opening


def _opened(blob: bytes, max_pixels: int) -> tuple[ImageFile.ImageFile, Facts]:
    """A picture whose header is known and within the limits; nothing is decoded yet."""
    if not blob:
        raise Unreadable("empty file")
    if len(blob) > MAX_BYTES:
        raise Unreadable(f"{len(blob):,} bytes exceed the limit of {MAX_BYTES:,}")
    name = _format(blob)
    _check_pixels(_early_size(blob, name), max_pixels)
    if name == "PNG":
        _check_png(blob)
    if name == "JPEG" and (scans := blob.count(b"\xff\xda")) > _MAX_SCANS:
        raise Unreadable(f"{scans} scans exceed the limit of {_MAX_SCANS}")  # each costs a pass over all pixels
    # The decoders are called by name: Image.open would also accept what is registered for a format later, and its own
    # limit on pixels cannot be raised without changing it for the whole program.
    image = _decoders()[name](io.BytesIO(blob))
    _check_pixels(image.size, max_pixels)
    frames = _frames(image, name, len(blob))
    described = name == "TIFF" or any(key in image.info for key in _DESCRIBED)
    orientation = image.getexif().get(_ORIENTATION, 1) if described else 1
    size = image.size[::-1] if name == "TIFF" and orientation > 4 else image.size  # Pillow tells it turned
    facts = Facts(
        name,
        image.mode,
        *size,
        frames=frames,
        bits=_bits(image, name, blob),
        orientation=orientation if orientation in _TURNS else 1,
        alpha=image.mode in _ALPHA or "transparency" in image.info,
    )
    return image, facts


def _format(blob: bytes) -> str:
    for start, name in _STARTS:
        if blob.startswith(start):
            return name
    if blob[:4] == b"RIFF" and blob[8:12] == b"WEBP":
        return "WEBP"
    shown = blob[:16].decode("ascii", "backslashreplace")
    raise Unreadable(f"not an image (starts with {shown!r})")


@cache
def _decoders() -> dict[str, Callable[[io.BytesIO], ImageFile.ImageFile]]:
    from PIL import BmpImagePlugin, GifImagePlugin, JpegImagePlugin, PngImagePlugin, TiffImagePlugin, WebPImagePlugin

    return {
        "JPEG": JpegImagePlugin.JpegImageFile,
        "PNG": PngImagePlugin.PngImageFile,
        "WEBP": WebPImagePlugin.WebPImageFile,
        "BMP": BmpImagePlugin.BmpImageFile,
        "GIF": GifImagePlugin.GifImageFile,
        "TIFF": TiffImagePlugin.TiffImageFile,
    }


def _early_size(blob: bytes, name: str) -> tuple[int, int]:
    """Width and height of the formats whose decoder makes room for all pixels before it tells them; else (0, 0)."""
    if name == "GIF" and len(blob) >= 10:
        width, height = struct.unpack_from("<HH", blob, 6)
        return width, height
    if name == "WEBP" and blob[12:16] == b"VP8X" and len(blob) >= 30:
        return 1 + int.from_bytes(blob[24:27], "little"), 1 + int.from_bytes(blob[27:30], "little")
    return 0, 0


def _check_pixels(size: tuple[int, int], max_pixels: int) -> None:
    if size[0] * size[1] > max_pixels:
        raise Unreadable(f"{size[0]} × {size[1]} pixels exceed the limit of {max_pixels / 1e6:g} million")


def _check_png(blob: bytes) -> None:
    """Compare the checksum of every chunk: Pillow lets a changed byte pass in some of them."""
    place = 8
    while place + 12 <= len(blob):
        size = int.from_bytes(blob[place : place + 4], "big")
        end = place + 8 + size
        if end + 4 > len(blob):
            break
        if zlib.crc32(blob[place + 4 : end]) != int.from_bytes(blob[end : end + 4], "big"):
            raise Unreadable("damaged PNG: a checksum is wrong")
        if blob[place + 4 : place + 8] == b"IEND":
            return
        place = end + 4
    raise Unreadable("truncated PNG")


def _frames(image: ImageFile.ImageFile, name: str, size: int) -> int:
    if name == "GIF" and size > _COUNTED_BYTES:
        return 2 if getattr(image, "is_animated", False) else 1
    return int(getattr(image, "n_frames", 1)) if name != "JPEG" else 1


def _bits(image: ImageFile.ImageFile, name: str, blob: bytes) -> int:
    if name == "PNG":
        return blob[24]
    if image.mode == "1":
        return 1
    if name == "TIFF":
        declared = image.tag_v2.get(258, (1,))  # type: ignore[attr-defined]  # a TIFF's image has it, others have not
        return max(map(int, declared)) if isinstance(declared, tuple) else int(declared)
    return 8


# To eight bits and one or three channels


def _eight_bits(image: Image.Image) -> Image.Image:
    if image.mode in _ALPHA or "transparency" in image.info:
        return _on_white(image)
    if image.mode in ("L", "RGB"):
        return image
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        return Image.fromarray(_scaled(np.asarray(image)))
    if image.mode == "CMYK":
        return _from_cmyk(image)
    return image.convert("L" if image.mode == "1" else "RGB")


def _on_white(image: Image.Image) -> Image.Image:
    grey = image.mode in ("1", "L", "LA", "La")
    if image.mode == "La":  # premultiplied: Pillow converts it only to LA
        image = image.convert("LA")
    image = image.convert("RGBA")
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image).convert("L" if grey else "RGB")


def _scaled(values: npt.NDArray[Any]) -> Images:
    """32-bit samples as bytes. Their range is nowhere declared: whole numbers count as 16 bits, fractions as 0 … 1."""
    low, high = values.min(), values.max()
    if not (low >= 0 and high <= 65535):  # NaN comes here too
        raise Unreadable(f"32-bit samples from {low:g} to {high:g}, of which nobody says what is white")
    if values.dtype.kind != "f":
        return (values >> 8).astype(np.uint8)
    factor = 255 if high <= 1 else 1 if high <= 255 else 255 / 65535
    return np.rint(values * factor).astype(np.uint8)


def _from_cmyk(image: Image.Image) -> Image.Image:
    profile = image.info.get("icc_profile") or b""
    if 0 < len(profile) <= _MAX_PROFILE:
        try:
            own = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            converted = ImageCms.profileToProfile(image, own, ImageCms.createProfile("sRGB"), outputMode="RGB")
            if converted is not None:
                return converted
        except (ImageCms.PyCMSError, OSError, ValueError):
            pass  # a profile that is damaged or of another color space: as if there were none
    return image.convert("RGB")


# To the size of a form


def _squash(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    return image.resize(size, Image.Resampling.BILINEAR)


def _pad(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    scale = min(size[0] / image.width, size[1] / image.height)
    inner = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    result = Image.new(image.mode, size)
    result.paste(_squash(image, inner), ((size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2))
    return result


def _crop(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Cut before resizing: a line of a thousand pixels never becomes a thousand times larger."""
    scale = min(image.width / size[0], image.height / size[1])
    width, height = size[0] * scale, size[1] * scale
    left, top = (image.width - width) / 2, (image.height - height) / 2
    box = (left, top, min(left + width, image.width), min(top + height, image.height))
    return image.resize(size, Image.Resampling.BILINEAR, box=box)


_RESIZERS = {"squash": _squash, "pad": _pad, "crop": _crop}


# Errors and warnings


@contextmanager
def _reasons(blob: bytes) -> Iterator[None]:
    """Whatever a decoder raises, as `Unreadable`."""
    try:
        with quiet():
            yield
    except Unreadable:
        raise
    except MemoryError as error:
        raise Unreadable("decoding it needs more memory than there is") from error
    except Exception as error:  # decoders raise whatever a damaged file makes them stumble over
        text = str(error) or type(error).__name__
        word = "truncated" if "truncated" in text.lower() or isinstance(error, EOFError) else "damaged"
        raise Unreadable(f"{word} {_format(blob)}: {text[:100]}") from error


_QUIET = threading.Lock()
_quiet_depth = 0
_quiet_filters: Any = None


@contextmanager
def quiet() -> Iterator[None]:
    """Silence Pillow's warnings about odd pictures: what matters of them is in `Facts`.

    ``warnings.catch_warnings`` by itself is not safe in threads: here the first to enter opens it and the last to
    leave closes it.
    """
    global _quiet_depth, _quiet_filters
    with _QUIET:
        _quiet_depth += 1
        if _quiet_depth == 1:
            _quiet_filters = warnings.catch_warnings()
            _quiet_filters.__enter__()
            warnings.filterwarnings("ignore", module=r"PIL\b")
            warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
    try:
        yield
    finally:
        with _QUIET:
            _quiet_depth -= 1
            if _quiet_depth == 0:
                _quiet_filters.__exit__(None, None, None)
