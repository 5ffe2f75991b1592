"""Text as ink: set as a printer does, by raqm, or letter by letter as a hand does."""

from __future__ import annotations

import functools
import unicodedata
from typing import NamedTuple, Protocol

from PIL import Image, ImageDraw

from semilla.generating.draws import Draws
from semilla.generating.fonts import load

EDGE = 2
"""Empty pixels around the ink, so that resampling at its border mixes it with nothing else."""


class Letters(Protocol):
    """Laid out text: ``width`` and ``height`` in pixels of a box that holds all ink."""

    @property
    def width(self) -> int:
        """Of the box."""
        ...

    @property
    def height(self) -> int:
        """Of the box."""
        ...

    def draw(self) -> Image.Image:
        """Coverage by ink as a picture of mode L, `EDGE` pixels larger than the box on each side."""
        ...


class Printed:
    """A text set in one piece, with kerning, marks and whatever its script needs."""

    def __init__(self, text: str, path: str, size: int) -> None:
        self._text, self._font = text, load(path, size)
        left, top, right, bottom = map(int, self._font.getbbox(text))
        self._origin = EDGE - left, EDGE - top
        self.width, self.height = max(1, right - left), max(1, bottom - top)

    def draw(self) -> Image.Image:
        """As `Letters.draw`."""
        image = Image.new("L", (self.width + 2 * EDGE, self.height + 2 * EDGE))
        ImageDraw.Draw(image).text(self._origin, self._text, fill=255, font=self._font)
        return image


class _Glyph(NamedTuple):
    """A letter: its ink (None for a space), where that lies from the pen, and how far the pen moves."""

    mask: Image.Image | None
    left: int
    top: int
    width: int
    height: int
    advance: float


class Written:
    """A text set letter by letter: sizes, base line and gaps waver.

    Only for scripts in which a letter looks the same beside any other; `stands_alone` tells.
    """

    def __init__(self, text: str, path: str, size: int, draws: Draws) -> None:
        pen, rise, placed = 0.0, 0.0, []
        tight, unsteady = draws.between(0.86, 1.08), 0.045 * size * draws.one()
        gap = size * draws.between(0.2, 0.6)
        for character in text:
            if character == " ":
                pen += gap * draws.between(0.7, 1.5)
                continue
            glyph = _glyph(path, max(6, size + draws.whole(-1, 1)), character)
            rise = 0.6 * rise + draws.around(unsteady)
            placed.append((glyph, round(pen) + glyph.left, round(rise) + glyph.top))
            pen += max(2.0, glyph.advance * tight + draws.around(0.05 * size))
        left, top = min(x for _, x, _ in placed), min(y for _, _, y in placed)
        self._placed = [(glyph, x - left + EDGE, y - top + EDGE) for glyph, x, y in placed]
        self.width = max(x + glyph.width for glyph, x, _ in self._placed) - EDGE
        self.height = max(y + glyph.height for glyph, _, y in self._placed) - EDGE

    def draw(self) -> Image.Image:
        """As `Letters.draw`."""
        image = Image.new("L", (self.width + 2 * EDGE, self.height + 2 * EDGE))
        for glyph, x, y in self._placed:
            if glyph.mask is not None:
                image.paste(255, (x, y), glyph.mask)
        return image


def stands_alone(text: str) -> bool:
    """Whether each character can be drawn by itself: Latin, Greek, Cyrillic, Armenian, without combining marks."""
    return all(
        (code < 0x590 or 0x1E00 <= code < 0x2E80) and not unicodedata.combining(one)
        for one, code in zip(text, map(ord, text), strict=True)
    )


@functools.lru_cache(maxsize=1 << 15)
def _glyph(path: str, size: int, character: str) -> _Glyph:
    font = load(path, size)
    left, top, right, bottom = map(int, font.getbbox(character, anchor="ls"))
    image = Image.new("L", (max(1, right - left), max(1, bottom - top)))
    ImageDraw.Draw(image).text((-left, -top), character, fill=255, font=font, anchor="ls")
    box = image.getbbox()
    if box is None:
        return _Glyph(None, left, top, 1, 1, font.getlength(character))
    return _Glyph(
        image.crop(box), left + box[0], top + box[1], box[2] - box[0], box[3] - box[1], font.getlength(character)
    )
