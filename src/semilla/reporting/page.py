"""The frame of every page semilla writes: one HTML file that works offline, runs no script and asks for nothing.

A page is a template in ``templates/`` that begins with ``{% extends "base.html" %}`` and fills the blocks ``title``,
``lead`` and ``content``; the comment at the top of ``base.html`` lists the classes to build with. Pictures go in as
data URIs, from `thumbnail` or `image`. Two filters help with text: ``| minus`` for a sentence with numbers, and
``| shortened`` for the name of a file beneath a picture.
"""

from __future__ import annotations

import base64
import io
import re
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image

from semilla import __version__
from semilla.text import clean

SHORT = 15
"""Characters of a file's name that fit beneath a small picture."""

_KINDS = {b"\x89PNG": "png", b"\xff\xd8\xff": "jpeg"}
_NEGATIVE = re.compile(r"(?<![\w.+-])-(?=\.?\d)")


def render(template: str, **values: Any) -> str:
    """A page as text, to be written as UTF-8.

    Whatever a template prints with ``{{ … }}`` is first cleaned (control characters, line breaks and direction marks
    become visible escapes, see `semilla.text.clean`) and then escaped, so that a name can be put anywhere in text or
    in a quoted attribute. Never use ``| safe``, and never build an address or a style from a name.

    Args:
        template: a file of ``templates/``, such as ``"check.html"``.
        values: the template's variables; one that is missing is an error, not an empty text.
    """
    return _environment().get_template(template).render(version=__version__, **values)


def thumbnail(picture: npt.NDArray[np.uint8], largest: int = 96) -> str:
    """A picture as a data URI for ``<img src>``: encoded anew, so that nothing of the user's file is in it.

    Args:
        picture: uint8 (C, H, W), C 1 or 3.
        largest: pixels of the longer side at most; smaller pictures stay as they are (let the page enlarge them).

    Returns:
        JPEG or PNG, whichever is shorter.
    """
    channels, height, width = picture.shape
    shown = Image.fromarray(np.ascontiguousarray(picture[0] if channels == 1 else np.moveaxis(picture, 0, -1)))
    scale = largest / max(height, width)
    if scale < 1:
        size = max(1, round(width * scale)), max(1, round(height * scale))
        shown = shown.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)
    encodings = (_encode(shown, "PNG", optimize=True), _encode(shown, "JPEG", quality=85, subsampling=0))
    return image(min(encodings, key=len))


def image(data: bytes) -> str:
    """The bytes of a PNG or JPEG file that semilla made, such as a figure, as a data URI.

    Raises:
        ValueError: they are neither.
    """
    kind = next((kind for start, kind in _KINDS.items() if data.startswith(start)), None)
    if kind is None:
        raise ValueError("neither PNG nor JPEG")
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def minus(text: str) -> str:
    """A sentence with a real minus sign before each negative number; ``fixmatch-0`` and ``--seed`` stay."""
    return _NEGATIVE.sub("−", text)


def shortened(name: str, longest: int = SHORT) -> str:
    """A name on one short line: cleaned, and cut in the middle, for its end tells more than its folder."""
    shown = clean(name)
    if len(shown) <= longest:
        return shown
    start = (longest - 1) // 3
    return f"{shown[:start]}…{shown[start + 1 - longest :]}"


def _encode(shown: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    shown.save(buffer, kind, **options)
    return buffer.getvalue()


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_printable,
    )
    environment.filters |= {"minus": minus, "shortened": shortened}
    return environment


def _printable(value: Any) -> Any:
    """What a template prints: text cleaned, markup of the templates' own macros as it is."""
    return clean(value) if isinstance(value, str) and not isinstance(value, Markup) else value
