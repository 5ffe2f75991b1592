"""What the names of folders, files and columns mean, the same words for every kind of source."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from semilla.errors import DataError

PATH = (
    *("path", "file_name", "image", "image_path", "filename"),
    *("filepath", "file_path", "img_path", "image_name", "image_file", "img", "file", "filenames", "image_id"),
)
LABEL = (
    *("label", "class", "target", "labels", "class_name", "classname", "category", "category_name", "species", "tag"),
    *("class_id", "category_id", "label_id", "text", "transcription", "y"),
)
TEXT = (
    *("text", "transcription", "transcript", "label", "words", "word", "labels", "ground_truth", "gt", "sentence"),
    *("caption", "target", "y"),
)
NEVER_LABEL = frozenset({"id", "index", "width", "height", "size", "bbox", "objects", "url", "license", "source"})
PART = ("split", "part")
GROUP = ("group",)
"""Names of columns by role, the preferred first, `TEXT` for labels that are transcriptions; upper and lower case are
one. ``y`` beside ``x`` is a place."""

_PARTS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("development", "dev", "val", "valid", "validation"), "development"),
    **dict.fromkeys(("test", "testing"), "test"),
}
_UNLABELED = ("unlab", "nolabel")  # the beginnings
_LABELED = {"labeled", "labelled"}
_DUMPS = {
    *("unsorted", "extra", "extras", "misc", "miscellaneous", "other", "others", "todo", "rest", "pool"),
    *("unclassified", "uncategorized", "unassigned", "unverified"),
}
_MISSING = {"na", "n/a", "nan", "none", "null", "nil", "-1", "?", "-", "unknown", "unlabeled", "unlabelled"}
_SHOWN = 5


def part_named(name: str) -> str:
    """``train``, ``development`` or ``test`` for a folder or a cell of that meaning, else ""."""
    return _PARTS.get(name.strip().casefold(), "")


def is_unlabeled(name: str) -> bool:
    """Whether a folder's name says that its examples have no label."""
    plain = _plain(name)
    return plain.startswith(_UNLABELED) or plain == "unknown"


def is_labeled(name: str) -> bool:
    """Whether a folder's name says that all in it has labels, and so is no class itself."""
    return _plain(name) in _LABELED


def is_dump(name: str) -> bool:
    """Whether a folder's name may be a class's, or that of a place for what was not looked at yet."""
    return _plain(name) in _DUMPS


def _plain(name: str) -> str:
    return re.sub(r"[-_\s]", "", name).casefold()


def part_in(stem: str) -> str:
    """The part that a word of a file's name says, ``unlabeled``, or "": ``train-00000-of-00002``, ``ic15_test``."""
    if is_unlabeled(stem):
        return "unlabeled"
    for word in re.split(r"[-_. ]", stem):
        if is_unlabeled(word):
            return "unlabeled"
        if part := part_named(word):
            return part
    return ""


def column(columns: Sequence[str], role: Sequence[str], wanted: str | None, option: str, where: str) -> str | None:
    """The column of a role.

    Args:
        columns: the names there are.
        role: `PATH`, `LABEL`, `TEXT`, `PART` or `GROUP`.
        wanted: the name that the user gave instead, or None.
        option: how the user gives it.
        where: the file, for messages.

    Raises:
        DataError: D081, there is no column of the name that the user gave.
    """
    if wanted is not None:
        if wanted not in columns:
            raise DataError("D081", f"no column {wanted!r} in {where}, only {listed(columns)}", f"correct {option}")
        return wanted
    by_name = {name.strip().casefold(): name for name in reversed(columns)}
    if role in (LABEL, TEXT) and "x" in by_name:
        by_name.pop("y", None)
    return next((by_name[name] for name in role if name in by_name), None)


def listed(names: Iterable[object]) -> str:
    """The first few names, quoted."""
    names = list(names)
    return ", ".join(repr(name) for name in names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")


def label_notes(labels: Iterable[str | None]) -> list[str]:
    """What looks odd about labels, which stay as they are written nevertheless."""
    counts = Counter(label for label in labels if label is not None)
    missing = [name for name in counts if name.strip().casefold() in _MISSING]
    notes = []
    if missing:
        total = sum(counts[name] for name in missing)
        what = f"{total:,} examples have the label {listed(missing)}, which counts as a class like any other"
        notes.append(f"warn[D057]: {what}: leave the cell empty where the class is not known")
    alike = defaultdict(list)
    for name in counts:
        alike[_alike(name)].append(name)
    for names in list(alike.values()) if len(alike) < len(counts) else ():
        if len(names) > 1:
            notes.append(f"warn[D058]: the labels {listed(sorted(names))} count as different classes")
    return notes[: _SHOWN + 1]


def _alike(name: str) -> str:
    text = " ".join(name.split()).casefold()
    if re.fullmatch(r"[+-]?[0-9]{1,15}(\.[0-9]{0,15})?", text):
        return repr(float(text))
    return text
