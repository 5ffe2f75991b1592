"""A manifest of pictures, decoded, made a data set; or all that speaks against it, told at once."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TextIO

import numpy as np

from semilla.data.blobs import Blobs
from semilla.data.dataset import UNKNOWN, Dataset, Examples
from semilla.data.images import Form, Unreadable, open_picture
from semilla.data.labels import IntArray
from semilla.data.manifest import Manifest
from semilla.data.rows import Rows
from semilla.data.scan import Scan, scan
from semilla.data.source import Source
from semilla.errors import DataError
from semilla.text import clean, many

BAD_SHARE = 0.05
"""Largest share of unlabeled pictures that may be unreadable."""

_SHOWN = 10


def dataset_of(manifest: Manifest, blobs: Blobs, source: Source, progress: TextIO | None) -> Dataset:
    """Decode the pictures and put them together.

    Raises:
        DataError: D014, labeled or held-out pictures cannot be read; D015, too many unlabeled ones cannot; D030, a test
            picture is also trained on; D031, one content has two labels; D052, a held-out class that training lacks.
    """
    manifest = replace(
        manifest,
        labels=tuple(map(printable, manifest.labels)),
        classes=tuple(filter(None, map(printable, manifest.classes))),
    )
    check_held_out(manifest)
    found = scan(blobs, manifest.name, None, progress, source.max_pixels, source.size, source.resize)
    assert isinstance(found.form, Form)
    manifest = replace(manifest, sizes=tuple(map(int, found.sizes)), digests=found.digests)
    keep, notes = readable_rows(manifest, found, source.on_bad_file == "skip")
    notes += picture_leaks(
        manifest, picture_contents(manifest, found, blobs, keep, source.max_pixels), keep, source.allow_leak
    )
    classes = tuple(sorted({*filter(None, manifest.labels), *manifest.classes}, key=str.encode))
    flip = mirrors_mean_the_same(classes) if source.flip is None else source.flip
    numbers = {name: number for number, name in enumerate(classes)}
    parts = {
        part: np.array([row for row in keep if manifest.parts[row] == part], np.int64)
        for part in ("train", "development", "test")
    }
    kept = manifest.select([row for part in parts.values() for row in part.tolist()])

    def labels(rows: IntArray) -> IntArray:
        return np.array([numbers.get(manifest.labels[row] or "", UNKNOWN) for row in rows.tolist()], np.int64)

    def held_out(part: str) -> Examples | None:
        rows = parts[part]
        return Examples(Rows(found.pixels, rows), labels(rows)) if len(rows) else None

    return Dataset(
        name=manifest.name,
        kind="images",
        classes=classes,
        inputs=Rows(found.pixels, parts["train"]),
        labels=labels(parts["train"]),
        development=held_out("development"),
        test=held_out("test"),
        flip=flip,
        notes=(
            *manifest.notes,
            *found.notes,
            *notes,
            *several_frames(found),
            *_mirroring(flip, source.flip is None),
            *_resized(found, found.form),
        ),
        manifest=kept,
        reading={"resize": found.form.resize},
    )


def printable(label: str | None) -> str | None:
    """A label with bytes that are not UTF-8 (a folder's name) written as escapes: text that every file can hold."""
    return None if label is None else os.fsencode(label).decode(errors="backslashreplace")


def mirrors_mean_the_same(classes: Sequence[str]) -> bool:
    """Whether a mirrored picture stays in its class: not where the names look like characters or sides."""
    sides = {"left", "right", "l", "r"}
    return not any(len(name) == 1 or name.isdecimal() or name.lower() in sides for name in classes)


def _mirroring(flip: bool, guessed: bool) -> tuple[str, ...]:
    if not guessed:
        return ()
    if flip:
        return ("views mirror pictures left to right; add --no-flip if a mirrored picture means something else",)
    return ("views do not mirror pictures, because of the class names; add --flip if a mirrored one means the same",)


def several_frames(found: Scan) -> tuple[str, ...]:
    """A note of pictures of which more than the first frame is there."""
    count = sum(facts is not None and facts.frames > 1 for facts in found.facts)
    return (f"warn[D022]: {count:,} pictures have several frames or pages; the first is used",) if count else ()


def _resized(found: Scan, form: Form) -> tuple[str, ...]:
    other = sum(facts is not None and (facts.height, facts.width) != (form.height, form.width) for facts in found.facts)
    if not other:
        return ()
    return (f"{other:,} pictures of another size were brought to {form.width} × {form.height} pixels ({form.resize})",)


def readable_rows(manifest: Manifest, found: Scan, skip: bool) -> tuple[list[int], list[str]]:
    """The rows that can be used, and what is said of the others."""
    wanted = [row for row in found.problems if manifest.labels[row] is not None or manifest.parts[row] != "train"]
    hopeless = [row for row in found.problems if manifest.labels[row] is None and manifest.parts[row] == "train"]
    pool = sum(label is None and part == "train" for label, part in zip(manifest.labels, manifest.parts, strict=True))
    if wanted and not skip:
        count = sum(
            label is not None or part != "train" for label, part in zip(manifest.labels, manifest.parts, strict=True)
        )
        known = many(count, "labeled or test picture")
        message = f"{len(wanted)} of {known} cannot be read{_listed(manifest, found, wanted)}"
        raise DataError("D014", message, "remove or replace them, or pass --on-bad-file skip; semilla check lists all")
    if len(hopeless) > BAD_SHARE * max(1, pool):
        share = (
            f"{len(hopeless)} of {pool:,} unlabeled pictures ({len(hopeless) / pool:.0%}, the limit is {BAD_SHARE:.0%})"
        )
        message = f"{share} cannot be read{_listed(manifest, found, hopeless)}"
        raise DataError("D015", message, "remove them, or find out what went wrong; semilla check lists all")
    notes = [
        f"{many(len(rows), f'{kind} picture')} cannot be read: left out{_listed(manifest, found, rows)}"
        for kind, rows in (("labeled", wanted), ("unlabeled", hopeless))
        if rows
    ]
    return [row for row in range(len(manifest)) if row not in found.problems], notes


def _listed(manifest: Manifest, found: Scan, rows: list[int]) -> str:
    lines = [f"\n  {clean(manifest.paths[row])}: {clean(found.problems[row])}" for row in rows[:_SHOWN]]
    return ":" + "".join(lines) + (f"\n  … and {len(rows) - _SHOWN} more" if len(rows) > _SHOWN else "")


def check_held_out(manifest: Manifest) -> None:
    """Held-out labels must be classes of training, and there must be labels at all."""
    rows = list(zip(manifest.paths, manifest.labels, manifest.parts, strict=True))
    known = {label for _, label, part in rows if part == "train" and label is not None} | set(manifest.classes)
    for path, label, part in rows:
        if part == "train":
            continue
        if label is None:
            raise DataError(
                "D081", f"{clean(path)} of the {part} part has no label", "every held-out example needs one"
            )
        if label not in known:
            message = f"{clean(path)} of the {part} part has the label {label!r}, which no training example has"
            raise DataError("D052", message, "correct the label, leave the file out, or give training examples of it")


def picture_contents(
    manifest: Manifest, found: Scan, blobs: Blobs, keep: Sequence[int], max_pixels: int
) -> dict[int, str]:
    """What tells equal pictures of the kept rows: the bytes of the file or, where another file has the same pixels at
    the size of training and stands elsewhere, all of its pixels.
    """
    alike: dict[bytes, list[int]] = defaultdict(list)
    for row in keep:
        alike[found.pixels.digests[row].tobytes()].append(row)
    contents = {row: manifest.digests[row] for row in keep}
    for rows in alike.values():
        files = {manifest.digests[row]: row for row in rows}
        sides = {(manifest.parts[row] == "test", manifest.labels[row]) for row in rows}
        if len(files) > 1 and len(sides) > 1:
            pixels = {digest: _pixels(blobs.read(row), max_pixels) or digest for digest, row in files.items()}
            contents |= {row: pixels[manifest.digests[row]] for row in rows}
    return contents


def _pixels(blob: bytes, max_pixels: int) -> str:
    """A hash of a picture's pixels at their full size; "" where it cannot be read any more."""
    try:
        image, _ = open_picture(blob, max_pixels)
    except Unreadable:
        return ""
    return hashlib.sha256(f"{image.mode} {image.size} ".encode() + image.tobytes()).hexdigest()


def picture_leaks(manifest: Manifest, contents: Mapping[int, str], keep: Iterable[int], allowed: bool) -> list[str]:
    """Equal pictures on both sides of the split, or under two labels."""
    same: dict[str, list[int]] = defaultdict(list)
    for row in keep:
        same[contents[row]].append(row)
    groups = [rows for rows in same.values() if len(rows) > 1]
    torn = [rows for rows in groups if len({manifest.labels[row] for row in rows} - {None}) > 1]
    if torn:
        message = f"{many(len(torn), 'picture')} under two labels{_pairs(manifest, torn, with_labels=True)}"
        raise DataError("D031", message, "keep the right one of each")
    leaked = [rows for rows in groups if len({manifest.parts[row] == "test" for row in rows}) > 1]
    if leaked and not allowed:
        message = f"{many(len(leaked), 'test picture')} also among those trained on{_pairs(manifest, leaked)}"
        raise DataError("D030", message, "remove them from one side, or pass --allow-leak, which the report will say")
    notes = []
    if leaked:
        notes.append(
            f"warn[D030]: {many(len(leaked), 'test picture')} also among those trained on; the scores are too good"
        )
    twice = len(groups) - len(leaked)
    if twice:
        notes.append(f"{twice} pictures are there more than once (semilla check lists them)")
    return notes


def _pairs(manifest: Manifest, groups: list[list[int]], with_labels: bool = False) -> str:
    def told(row: int) -> str:
        return clean(manifest.paths[row]) + (f" ({clean(manifest.labels[row])})" if with_labels else "")

    lines = [f"\n  {' = '.join(told(row) for row in rows[:4])}" for rows in groups[:_SHOWN]]
    return ":" + "".join(lines) + (f"\n  … and {len(groups) - _SHOWN} more" if len(groups) > _SHOWN else "")
