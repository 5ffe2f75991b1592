"""Font files, and which characters a picture drawn with one of them really shows.

A character table is not enough to know that: a font may map a letter to an empty glyph, to the box that stands for a
missing one, or to the glyph of another letter (capitals for small letters, a bare letter for an accented one). So each
character that a text needs is looked up in the font's table and drawn once, and a font that fails counts as one
without it: a label never says what its picture does not show.
"""

from __future__ import annotations

import functools
import hashlib
import os
import sys
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PIL import ImageFont, features

from semilla.errors import DataError, UsageError
from semilla.text import clean

ENDINGS = (".ttf", ".otf", ".ttc", ".otc")
SYSTEM = (
    "/usr/share/fonts",
    "/usr/local/share/fonts",
    "~/.local/share/fonts",
    "~/.fonts",
    "/System/Library/Fonts",
    "/Library/Fonts",
    "~/Library/Fonts",
)
"""Where ``system`` looks, on Linux and macOS."""

DEBIAN = ("fonts-dejavu-extra", "fonts-noto-core", "fonts-liberation2", "fonts-lato", "fonts-inter", "fonts-texgyre")
"""Some Debian packages whose fonts have every Vietnamese letter; docs/text.md lists more."""

_BUNDLED = ("DejaVuSans", "DejaVuSerif")  # of matplotlib; its other fonts are for formulas
_PROBE = 48  # pixels a character is drawn at to see what it shows
_TOLD = 12


@dataclass(frozen=True, order=True)
class Font:
    """A font file.

    Attributes:
        name: the file's name, unlike that of any other font in use.
        path: where it lies; left out of comparisons.
        digest: the first 16 hexadecimal digits of its SHA-256.
    """

    name: str
    digest: str
    path: str = field(compare=False)


def find_fonts(places: Sequence[str | os.PathLike[str]] = ()) -> tuple[list[Font], list[str]]:
    """The fonts of files and folders, sorted by name.

    Args:
        places: font files, folders (searched through), ``system`` or ``bundled``; the fonts that matplotlib brings
            are taken where nothing is named.

    Returns:
        The fonts, and the files in folders that look like fonts and cannot be used, with the reason.

    Raises:
        UsageError: U130, fontTools is missing; U131, no font in any of the places; U135, Pillow without raqm.
        DataError: D154, a file that was named by itself is no usable font.
    """
    _check_tools()
    found: dict[str, Font] = {}
    passed: list[str] = []
    for place in places or ("bundled",):
        files, named = _files(place)
        for path in files:
            reason = _unusable(str(path))
            if reason and named:
                message = f"{clean(path)} cannot be used as a font: {reason}"
                raise DataError("D154", message, "give TrueType or OpenType files with outlines: .ttf, .otf, .ttc")
            if reason:
                passed.append(f"{path.name}: {reason}")
                continue
            digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
            found.setdefault(digest, Font(path.name, digest, str(path)))  # a copy of a font is no other font
    if not found:
        told = ", ".join(clean(place) for place in places)
        fix = "name font files or folders; 'bundled' takes those of matplotlib, 'system' those that are installed"
        raise UsageError("U131", f"no usable font in {told}", fix)
    names = [font.name for font in found.values()]
    return sorted(
        Font(f"{font.digest[:6]}-{font.name}", font.digest, font.path) if names.count(font.name) > 1 else font
        for font in found.values()
    ), sorted(passed)


def _check_tools() -> None:
    try:
        import fontTools  # noqa: F401  only whether it is there: `_table` imports what it reads with
    except ImportError as error:
        message = "reading the character tables of fonts needs fontTools"
        raise UsageError("U130", message, "pip install 'semilla[text]'") from error
    if not features.check("raqm"):
        message = "this Pillow has no raqm, without which accents and scripts may be laid out wrongly"
        raise UsageError("U135", message, "pip install --force-reinstall pillow: the packages on PyPI have it")


def _files(place: str | os.PathLike[str]) -> tuple[list[Path], bool]:
    """Font files of one place, and whether it is one file that was named."""
    if place == "bundled":
        import matplotlib

        folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
        return sorted(path for path in folder.glob("*.ttf") if _is_text_face(path.stem)), False
    folders = [Path(name).expanduser() for name in SYSTEM] if place == "system" else [Path(place).expanduser()]
    if place != "system" and folders[0].is_file():
        return folders, True
    if place != "system" and not folders[0].is_dir():
        raise UsageError("U131", f"no font file or folder {clean(place)!r}", "check the path")
    paths = {path for folder in folders for path in folder.rglob("*") if path.name.lower().endswith(ENDINGS)}
    return sorted(path for path in paths if path.is_file()), False


def _is_text_face(stem: str) -> bool:
    family = stem.partition("-")[0]
    return family.removesuffix("Mono") in _BUNDLED


@functools.lru_cache(maxsize=4096)
def _unusable(path: str) -> str:
    """Why a file cannot be drawn with, or ""."""
    try:
        load(path, _PROBE).getmask("x")
        table = _table(path)
    except Exception as error:  # a damaged font makes its readers fail in any way
        return str(error)[:100] or type(error).__name__
    if table is None:
        return "it shows a placeholder for every character"
    return "" if table else "it has no table of Unicode characters"


@functools.lru_cache(maxsize=512)
def load(path: str, size: int) -> ImageFont.FreeTypeFont:
    """A font at a size in pixels, kept, because opening one takes as long as drawing a line."""
    return ImageFont.truetype(path, size, layout_engine=ImageFont.Layout.RAQM)


@functools.lru_cache(maxsize=256)
def _table(path: str) -> dict[int, str] | None:
    """Glyph names by code point; None for a font of last resort (format 13 maps whole blocks to one glyph)."""
    from fontTools.ttLib import TTFont

    with TTFont(path, fontNumber=0, lazy=True) as font:
        if any(table.format == 13 for table in font["cmap"].tables):
            return None
        best: dict[int, str] = font.getBestCmap() or {}
        first = font.getGlyphOrder()[0]  # glyph 0, the one for missing characters
        return {code: name for code, name in best.items() if name != first}


def covered(font: Font, characters: Iterable[str]) -> frozenset[str]:
    """Those of some characters that the font shows, each as itself. A space is always shown, as a gap."""
    return frozenset(one for one in set(characters) if one == " " or _shows(font.path, one))


@functools.lru_cache(maxsize=1 << 20)
def _shows(path: str, character: str) -> bool:
    table = _table(path)
    if table is None or ord(character) not in table:
        return False
    if unicodedata.combining(character):  # it has ink only on a letter
        return ord("o") not in table or _bitmap(path, f"o{character}") != _bitmap(path, "o")
    drawn = _bitmap(path, character)
    if drawn is None or drawn == _missing(path):
        return False
    return all(drawn != _bitmap(path, other) for other in _plainer(character) if ord(other) in table)


_STROKED = {"đ": "d", "Đ": "D", "ø": "o", "Ø": "O", "ł": "l", "Ł": "L", "ħ": "h", "Ħ": "H", "ŧ": "t", "Ŧ": "T"}
"""Letters with a stroke that Unicode does not take apart, and those a poor font draws in their place."""


@functools.lru_cache(maxsize=1 << 16)
def _bitmap(path: str, character: str) -> bytes | None:
    """How the font draws a character, or None where that leaves no ink."""
    mask = load(path, _PROBE).getmask(character)
    if not mask.size[0] or mask.getbbox() is None:
        return None
    return repr(mask.size).encode() + bytes(mask)


@functools.lru_cache(maxsize=1024)
def _missing(path: str) -> bytes | None:
    table = _table(path) or {}
    return _bitmap(path, chr(next(code for code in range(0x10FFFD, 0, -1) if code not in table)))


def _plainer(character: str) -> set[str]:
    """What a poor font may draw instead: the capital of a small letter, a letter with fewer of its accents."""
    parts = unicodedata.normalize("NFD", character)
    fewer = {unicodedata.normalize("NFC", parts[:end]) for end in range(1, len(parts))}
    if len(parts) == 3:
        fewer.add(unicodedata.normalize("NFC", parts[0] + parts[2]))
    upper = character.upper() if character != character.upper() else ""
    return {other for other in {*fewer, upper, _STROKED.get(character, "")} if len(other) == 1}


class Coverage:
    """Which fonts show which texts.

    Args:
        fonts: at most a few thousand.
        characters: all that texts may hold.
    """

    def __init__(self, fonts: Sequence[Font], characters: Iterable[str]) -> None:
        self._every = (1 << len(fonts)) - 1
        self._masks = dict.fromkeys(characters, 0)
        for place, font in enumerate(fonts):
            for character in covered(font, self._masks):
                self._masks[character] |= 1 << place

    def mask(self, text: str) -> int:
        """The fonts that show all of a text, as the bits of a number."""
        mask = self._every
        for character in text:
            mask &= self._masks.get(character, 0)
        return mask

    def missing(self) -> list[str]:
        """Characters that no font shows."""
        return sorted(character for character, mask in self._masks.items() if not mask)


@functools.lru_cache(maxsize=4096)
def positions(mask: int) -> list[int]:
    """The places of a number's bits."""
    return [place for place in range(mask.bit_length()) if mask >> place & 1]


def in_words(characters: Sequence[str]) -> str:
    """Characters with their code points, the first dozen: ``'ế' U+1EBF``."""
    told = [f"{clean(one)!r} U+{ord(one):04X}" if unicodedata.category(one)[0] != "C" else f"U+{ord(one):04X}"
            for one in characters[:_TOLD]]  # fmt: skip
    more = len(characters) - len(told)
    return ", ".join(told) + (f" and {more:,} more" if more else "")


def advice(characters: Iterable[str]) -> str:
    """What mends it that no font has some characters."""
    packages = " ".join(DEBIAN)
    installed = "then --fonts system" if sys.platform != "win32" else "then name their folder"
    if all("LATIN" in unicodedata.name(one, "") for one in characters):
        return f"name more fonts with --fonts; for Vietnamese, on Debian: apt install {packages}, {installed}"
    return "name fonts that have them with --fonts, or take the characters out of the texts"
