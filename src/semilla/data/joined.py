"""Several sources made one: the main one, more unlabeled examples, and those to be tested on."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from semilla.data.blobs import Blobs
from semilla.data.gathered import Gathered
from semilla.data.manifest import Manifest
from semilla.data.walk import is_below
from semilla.errors import DataError


class Found(NamedTuple):
    """One source.

    Attributes:
        lacks: which labels are missing, if it has none that can be trained on.
        unread: which lists in it are not read, and why.
    """

    manifest: Manifest
    blobs: Blobs
    lacks: str = ""
    unread: str = ""


def _base(place: str) -> str:
    """The real folder of a source."""
    real = os.path.realpath(place)
    return real if os.path.isdir(real) else os.path.dirname(real)


def below(root: str, places: Iterable[str]) -> list[str]:
    """The paths of other sources that lie below a folder, relative to it."""
    real = os.path.realpath(root)
    found = [os.path.realpath(place) for place in places]
    return [os.path.relpath(place, real) for place in found if place != real and is_below(place, real)]


def prefixes(root: str, others: Sequence[str]) -> list[str]:
    """What is set before the paths of further sources: the way from the first one, or the source's own name."""
    base = _base(root)
    found: list[str] = []
    for place in others:
        folder = _base(place)
        if is_below(folder, base):
            way = os.path.relpath(folder, base)
            found.append("" if way == "." else f"{way}/")
            continue
        name, number = os.path.basename(folder) or "data", 1
        while f"{name}/" in found or os.path.lexists(os.path.join(base, name)):
            number += 1
            name = f"{os.path.basename(folder)}-{number}"
        found.append(f"{name}/")
    return found


def with_prefix(found: Found, prefix: str) -> Found:
    """A source whose paths begin with something else as well."""
    if not prefix:
        return found
    return found._replace(manifest=replace(found.manifest, paths=tuple(prefix + path for path in found.manifest.paths)))


def joined(main: Found, others: Sequence[tuple[str, Found]]) -> tuple[Manifest, Blobs]:
    """One manifest of all.

    Args:
        main: the main source.
        others: (``unlabeled`` or ``test``, the source), the paths of each below the main one or with a prefix.

    Raises:
        DataError: D075, a picture is both tested on and trained on.
    """
    if not others:
        return main.manifest, main.blobs
    notes: list[str] = []
    for part, found in sorted(others, key=lambda other: other[0]):  # test before unlabeled
        if part == "test":
            main = _without_test(main)
            _check_apart(main.manifest, found.manifest)
        else:
            found, twice = _without(found, {*main.manifest.paths})
            if twice:
                notes.append(
                    f"{twice:,} pictures of {found.manifest.name!r} are named elsewhere as well and count there"
                )
        notes += found.manifest.notes
        notes.append(f"{len(found.manifest):,} {part} examples from {found.manifest.name!r}")
        main = _concatenated(main, found)
    return replace(main.manifest, notes=(*main.manifest.notes, *notes)), main.blobs


def chosen(found: Found, rows: Sequence[int]) -> Found:
    """Some rows of a source."""
    manifest = found.manifest.select(rows)
    return found._replace(manifest=manifest, blobs=Gathered.of(found.blobs, rows, manifest.paths))


def _without_test(found: Found) -> Found:
    manifest = found.manifest
    rows = [row for row, part in enumerate(manifest.parts) if part != "test"]
    if len(rows) == len(manifest):
        return found
    note = f"{len(manifest) - len(rows):,} test examples of {manifest.name!r} give way to those given by themselves"
    kept = chosen(found, rows)
    return kept._replace(manifest=replace(kept.manifest, notes=(*manifest.notes, note)))


def _check_apart(main: Manifest, test: Manifest) -> None:
    twice = {*main.paths} & {*test.paths}
    if twice:
        message = f"{min(twice)!r} is both to be tested on and among the other examples"
        raise DataError("D075", message, "take it out of one of them")


def _without(found: Found, paths: set[str]) -> tuple[Found, int]:
    rows = [row for row, path in enumerate(found.manifest.paths) if path not in paths]
    twice = len(found.manifest) - len(rows)
    return (chosen(found, rows), twice) if twice else (found, 0)


def _concatenated(first: Found, second: Found) -> Found:
    one, two = first.manifest, second.manifest
    manifest = replace(
        one,
        paths=one.paths + two.paths,
        labels=one.labels + two.labels,
        parts=one.parts + two.parts,
        groups=one.groups + two.groups,
    )
    part_of = np.repeat(np.arange(2), [len(one), len(two)]).astype(np.int64)
    row_of = np.concatenate([np.arange(len(one)), np.arange(len(two))]).astype(np.int64)
    return Found(manifest, Gathered((first.blobs, second.blobs), part_of, row_of, manifest.paths))
