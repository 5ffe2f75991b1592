"""Text that is safe to show: names come from data and may hold anything."""

from __future__ import annotations

import os
import re
import unicodedata
from pathlib import Path
from urllib.parse import unquote_to_bytes

_HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def clean(text: object) -> str:
    """A name for terminal and log: control characters, line breaks and direction marks shown as escapes."""
    return "".join(
        character.encode("unicode_escape").decode() if unicodedata.category(character) in _HIDDEN else character
        for character in str(text)
    )


# Names in tables. A file name may hold any byte but NUL and "/"; a label is any text.

_ESCAPED = re.compile("[%\\x00-\\x1f\\x7f-\\x9f\\u2028\\u2029\\udc80-\\udcff]")
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\0", "'")


def escape_path(path: str) -> str:
    """A file name as text that is always valid and always one line; `unescape_path` gives the exact bytes back.

    Bytes that are not UTF-8 (surrogates in Python's names), control characters, line separators and the percent sign
    become ``%`` and two hexadecimal digits for each byte, as in URLs; everything else stays.
    """
    return _ESCAPED.sub(lambda found: "".join(f"%{byte:02X}" for byte in _bytes(found[0])), path)


def unescape_path(text: str) -> str:
    """The inverse of `escape_path`: a name as Python's file functions take it (`os.fsencode` gives its bytes)."""
    return unquote_to_bytes(text).decode("utf-8", "surrogateescape")


def csv_safe(cell: str) -> str:
    """A text cell that no spreadsheet takes for a formula: ``'`` before one that starts with = + - @ ' TAB CR or NUL.

    Quoting does not prevent it (OWASP, "CSV injection"). An apostrophe is doubled too, so that `csv_original` can tell.
    Numbers are written as they are.
    """
    return f"'{cell}" if cell.startswith(_FORMULA) else cell


def csv_original(cell: str) -> str:
    """The inverse of `csv_safe`: without the apostrophe at the start, where there is one."""
    return cell.removeprefix("'")


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def many(count: int, one: str, more: str = "") -> str:
    """A number and its noun: ``1 file``, ``2,000 files``."""
    return f"{count:,} {one if count == 1 else more or one + 's'}"


def short(value: object) -> str:
    """A value in a column: four digits, and of a file's path the last two parts."""
    if isinstance(value, float):
        return f"{value:.4g}"
    return os.path.join(*Path(value).parts[-2:]) if isinstance(value, str) and os.sep in value else str(value)
