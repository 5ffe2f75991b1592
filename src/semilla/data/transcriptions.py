"""Labels that are text: kept as they are written, but for what nobody sees."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import replace

from semilla.data.manifest import Manifest
from semilla.errors import DataError
from semilla.text import clean, many

_CONTROL = {"Cc", "Cs", "Zl", "Zp"}
"""Control characters, halves of surrogate pairs and line breaks: no line of text shows them."""


def transcription(text: str, where: str) -> str | None:
    """A label as it is learnt: NFC, without white space at its ends; None where nothing is left.

    Whatever else it is stays: ``None``, ``NA``, ``-1``, ``0012``, ``=1+1`` and two spaces in a row are real text.

    Raises:
        DataError: D166, a control character or a line break inside.
    """
    stripped = text.strip()
    if not stripped.isprintable():
        for place, character in enumerate(stripped):
            if unicodedata.category(character) in _CONTROL:
                message = f"{where}: character {place + 1} of {clean(stripped[:40])!r} is U+{ord(character):04X}"
                raise DataError("D166", message, "take control characters and line breaks out: one line for one label")
    return unicodedata.normalize("NFC", stripped) or None


def with_transcriptions(manifest: Manifest) -> Manifest:
    """The manifest with its labels as they are learnt, and a note of how many were changed.

    Raises:
        DataError: D166, as `transcription`.
    """
    labels = []
    composed = trimmed = 0
    for path, label in zip(manifest.paths, manifest.labels, strict=True):
        text = None if label is None else transcription(label, path)
        labels.append(text)
        if label is not None and text != label:
            trimmed += label != label.strip()
            composed += text is not None and text != label.strip()
    notes = [*manifest.notes]
    if composed:
        notes.append(f"{many(composed, 'transcription')} composed to NFC, one character for a letter with its marks")
    if trimmed:
        notes.append(f"{many(trimmed, 'transcription')} trimmed of white space at the ends")
    return replace(manifest, labels=tuple(labels), classes=(), notes=tuple(notes))


def texts_of(labels: Sequence[int], classes: Sequence[str]) -> list[str | None]:
    """The transcriptions behind positions in a data set's classes, None for −1: what a task encodes."""
    return [classes[number] if number >= 0 else None for number in labels]
