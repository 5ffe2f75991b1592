"""Awkward pictures, made by code: ``make(name)`` gives the bytes, ``python pictures.py FOLDER`` writes them all."""

from __future__ import annotations

import io
import struct
import sys
import zlib
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms


def scene(height=24, width=32):
    """A smooth colored picture without any symmetry, uint8 (H, W, 3)."""
    y, x = np.mgrid[0:height, 0:width]
    planes = [255 * x / max(width - 1, 1), 255 * y / max(height - 1, 1), 128 + 100 * np.sin(0.3 * x + 0.2 * y)]
    return np.stack(planes, axis=2).astype(np.uint8)


def encode(image, form, **options):
    """A picture (an array or one of Pillow's) as bytes."""
    image = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def png(width, height, rows, depth=8, color=0, extra=b""):
    """A PNG from its raw rows (filter bytes included), for what Pillow does not write."""
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def chunk(name, content):
    checksum = zlib.crc32(name + content)
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", checksum)


def ramp16():
    """All levels of 16 bits: 256 × 256."""
    return np.arange(65536, dtype=np.uint16).reshape(256, 256)


def noise():
    """Colors at random, which no format makes small."""
    return np.random.default_rng(33).integers(0, 256, (24, 32, 3), np.uint8)


def turned(orientation, form, **options):
    """The scene stored so that the orientation brings it back."""
    back = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    image = Image.fromarray(scene())
    exif = Image.Exif()
    exif[274] = orientation
    stored = image.transpose(back[orientation]) if orientation > 1 else image
    return encode(stored, form, exif=exif.tobytes(), **options)


def frames(form, **options):
    images = [Image.fromarray(np.full((20, 30, 3), level, np.uint8)) for level in (200, 100, 50)]
    return encode(images[0], form, save_all=True, append_images=images[1:], **options)


def flipped(blob, place):
    return blob[:place] + bytes([blob[place] ^ 0x10]) + blob[place + 1 :]


def palette(transparency):
    image = Image.fromarray(scene()).quantize(8)
    return encode(image, "PNG", transparency=transparency)


def bilevel():
    return encode(Image.fromarray(scene()).convert("1"), "PNG")


def grey_alpha():
    grey = np.full((24, 32, 2), 40, np.uint8)
    grey[:, :16, 1] = 0
    grey[:, 16:, 1] = 255
    return encode(grey, "PNG")


def hidden_color():
    image = np.zeros((24, 32, 4), np.uint8)
    image[..., 0] = 255
    return encode(image, "PNG")


def cmyk(profile=None):
    image = Image.fromarray(scene()).convert("CMYK")
    return encode(image, "JPEG", quality=95, **({"icc_profile": profile} if profile else {}))


def rgb_profile():
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def huge_header():
    return png(60_000, 60_000, zlib.compress(bytes(100)))


def ninety_megapixels():
    packer = zlib.compressobj(1)
    rows = b"".join(packer.compress(bytes(9_001)) for _ in range(10_000)) + packer.flush()
    return png(9_000, 10_000, rows)


def many_scans():
    start = encode(scene(), "JPEG", progressive=True)
    scan = start[start.index(b"\xff\xda") : start.index(b"\xff\xda") + 40]
    return start[:-2] + 200 * scan + b"\xff\xd9"


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 32 32\n%%EndComments\nshowpage\n"
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="32" height="32"><rect width="32" height="32"/></svg>'
PDF = b"%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n"

FINE = {"quality": 98, "subsampling": 0}

GOOD = {
    "plain.png": lambda: encode(scene(), "PNG"),
    "plain.jpg": lambda: encode(scene(), "JPEG", quality=95),
    "plain.webp": lambda: encode(scene(), "WEBP", lossless=True),
    "plain.bmp": lambda: encode(scene(), "BMP"),
    "plain.tif": lambda: encode(scene(), "TIFF"),
    "lzw.tif": lambda: encode(scene(), "TIFF", compression="tiff_lzw"),
    "grey.png": lambda: encode(scene()[..., 0], "PNG"),
    "grey16.png": lambda: encode(ramp16(), "PNG"),
    "grey16.tif": lambda: encode(Image.frombytes("I;16B", (256, 256), ramp16().astype(">u2").tobytes()), "TIFF"),
    "grey32.tif": lambda: encode(Image.fromarray(ramp16().astype(np.int32)), "TIFF"),
    "float.tif": lambda: encode(Image.fromarray((ramp16() / 65535).astype(np.float32)), "TIFF"),
    "cmyk.jpg": cmyk,
    "cmyk_wrong_profile.jpg": lambda: cmyk(rgb_profile()),
    "cmyk_broken_profile.jpg": lambda: cmyk(b"not a profile"),
    "alpha.png": hidden_color,
    "palette.png": lambda: palette(bytes(range(0, 256, 32))),
    "palette_one.png": lambda: palette(3),
    "bilevel.png": bilevel,
    "grey_alpha.png": grey_alpha,
    "keyed.png": lambda: encode(np.zeros((24, 32, 3), np.uint8), "PNG", transparency=(0, 0, 0)),
    **{f"turned{number}.png": lambda number=number: turned(number, "PNG") for number in range(1, 9)},
    **{f"turned{number}.jpg": lambda number=number: turned(number, "JPEG", **FINE) for number in range(1, 9)},
    **{f"turned{number}.tif": lambda number=number: turned(number, "TIFF") for number in range(1, 9)},
    "animated.gif": lambda: frames("GIF"),
    "animated.webp": lambda: frames("WEBP", lossless=True),
    "pages.tif": lambda: frames("TIFF"),
    "one.png": lambda: encode(np.full((1, 1, 3), 77, np.uint8), "PNG"),
    "line.png": lambda: encode(np.full((1, 2000, 3), 77, np.uint8), "PNG"),
    "column.png": lambda: encode(np.full((2000, 1, 3), 77, np.uint8), "PNG"),
    "three.png": lambda: encode(np.full((3, 3, 3), 77, np.uint8), "PNG"),
}
"""What can be read, however odd."""

BAD = {
    "cut.jpg": (lambda: cut(encode(scene(), "JPEG"), 0.5), "truncated JPEG"),
    "cut_end.jpg": (lambda: encode(scene(), "JPEG")[:-2], "truncated JPEG"),
    "cut.png": (lambda: cut(encode(noise(), "PNG"), 0.5), "truncated PNG"),
    "cut_end.png": (lambda: encode(scene(), "PNG")[:-2], "truncated PNG"),
    "cut.webp": (lambda: cut(encode(noise(), "WEBP"), 0.5), "WEBP"),
    "cut.gif": (lambda: cut(encode(noise(), "GIF"), 0.5), "GIF"),
    "cut.tif": (lambda: cut(encode(noise(), "TIFF"), 0.5), "TIFF"),
    "cut.bmp": (lambda: cut(encode(noise(), "BMP"), 0.5), "truncated BMP"),
    "flipped.png": (lambda: flipped(encode(noise(), "PNG"), 900), "damaged PNG: a checksum is wrong"),
    "empty.png": (lambda: b"", "empty file"),
    "text.jpg": (lambda: b"hello world", "not an image (starts with 'hello world')"),
    "binary.jpg": (lambda: b"\x00\x01\xfe\xff" * 9, r"not an image (starts with '"),
    "eps.jpg": (lambda: EPS, "not an image (starts with '%!PS-Adobe-3.0 E')"),
    "svg.jpg": (lambda: SVG, "not an image (starts with '<svg xmlns=\"http')"),
    "pdf.jpg": (lambda: PDF, "not an image (starts with '%PDF-1.4"),
    "huge.png": (huge_header, "60000 × 60000 pixels exceed the limit of 64 million"),
    "huge.gif": (lambda: b"GIF89a" + struct.pack("<HH", 65535, 65535) + bytes(9), "65535 × 65535 pixels exceed"),
    "huge.webp": (
        lambda: b"RIFF" + struct.pack("<I", 22) + b"WEBPVP8X" + struct.pack("<I", 10) + bytes(4) + b"\xff" * 6,
        "16777216 × 16777216 pixels exceed",
    ),
    "scans.jpg": (many_scans, "scans exceed the limit of 100"),
    "negative.tif": (lambda: encode(Image.fromarray(np.full((9, 9), -1, np.int32)), "TIFF"), "32-bit samples from -1"),
    "nan.tif": (lambda: encode(Image.fromarray(np.full((9, 9), np.nan, np.float32)), "TIFF"), "32-bit samples"),
}
"""What cannot be used, and how the reason starts or what is in it."""


def cut(blob, share):
    return blob[: int(len(blob) * share)]


@cache
def make(name):
    """The bytes of a picture."""
    return GOOD[name]() if name in GOOD else BAD[name][0]()


def write(folder):
    """Write all of them."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name in [*GOOD, *BAD]:
        (folder / name).write_bytes(make(name))
    (folder / "ninety_megapixels.png").write_bytes(ninety_megapixels())


if __name__ == "__main__":
    write(sys.argv[1])
