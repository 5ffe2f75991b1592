"""Text that is safe to show: names come from data and may hold anything."""

from __future__ import annotations

import unicodedata

_HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def clean(text: object) -> str:
    """A name for terminal and log: control characters, line breaks and direction marks shown as escapes."""
    return "".join(
        character.encode("unicode_escape").decode() if unicodedata.category(character) in _HIDDEN else character
        for character in str(text)
    )
