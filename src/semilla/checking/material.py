"""What a check looks at: the rows of a source and, where there are pictures, what the scan found out about them."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from semilla.data.dataset import UNKNOWN, Dataset
from semilla.data.images import Facts
from semilla.data.manifest import Manifest
from semilla.data.rows import Pool
from semilla.data.scan import Scan

ROLES = ("labeled", "unlabeled", "development", "test")

Rows: TypeAlias = list[int]


@dataclass(frozen=True, eq=False)
class Material:
    """A source, its contents looked at once.

    Attributes:
        manifest: one row for each example.
        roles: (N,) of `ROLES`: the part, where the training part is told apart by whether there is a label.
        digests: (N,) hash of each content, "" where it could not be read.
        facts: (N,) what each file was, None where it is unreadable; empty for arrays and tables.
        problems: why a row is unreadable.
        pixels: uint8 (N, C, H, W), or None where there are no pictures.
        text: whether labels are transcriptions of lines, and no classes.
        height: pixels that lines are brought to; None for the usual.
    """

    manifest: Manifest
    roles: tuple[str, ...]
    digests: tuple[str, ...]
    facts: tuple[Facts | None, ...] = ()
    problems: dict[int, str] | None = None
    pixels: Pool | None = None
    text: bool = False
    height: int | None = None

    def __len__(self) -> int:
        return len(self.roles)

    def where(self, *roles: str) -> Rows:
        """The rows of some roles."""
        return [row for row, role in enumerate(self.roles) if role in roles]

    def copies(self) -> list[Rows]:
        """The groups of rows that have one content."""
        groups: dict[str, Rows] = defaultdict(list)
        for row, digest in enumerate(self.digests):
            if digest:
                groups[digest].append(row)
        return [rows for rows in groups.values() if len(rows) > 1]

    def counts(self) -> dict[str, dict[str, int]]:
        """For each class, sorted by name, the number of its examples by role; declared classes may have none.

        Text has no classes.
        """
        if self.text:
            return {}
        names = {*self.manifest.classes, *(label for label in self.manifest.labels if label is not None)}
        counts = {name: dict.fromkeys(ROLES, 0) for name in sorted(names)}
        for label, role in zip(self.manifest.labels, self.roles, strict=True):
            if label is not None:
                counts[label][role] += 1
        return counts


def of_pictures(manifest: Manifest, found: Scan, text: bool = False) -> Material:
    """Pictures and their scan."""
    manifest = replace(manifest, notes=(*manifest.notes, *found.notes))
    return Material(manifest, _roles(manifest), found.digests, found.facts, dict(found.problems), found.pixels, text)


def of_dataset(dataset: Dataset) -> Material:
    """Arrays or a table: each row's content is its values."""
    named = [("train", dataset.inputs, dataset.labels)]
    for part, examples in (("development", dataset.development), ("test", dataset.test)):
        if examples is not None:
            named.append((part, examples.inputs, examples.labels))
    if dataset.unlabeled is not None:
        named.append(("unlabeled", dataset.unlabeled, np.full(len(dataset.unlabeled), UNKNOWN)))
    paths = [f"x_{part}#{row}" for part, inputs, _ in named for row in range(len(inputs))]
    labels = [dataset.classes[label] if label != UNKNOWN else None for *_, own in named for label in own.tolist()]
    parts = ["train" if part == "unlabeled" else part for part, inputs, _ in named for _ in range(len(inputs))]
    classes = () if dataset.kind == "text" else dataset.classes
    manifest = dataset.manifest if dataset.unlabeled is None else None
    if manifest is None or len(manifest) != len(paths):
        manifest = Manifest(
            dataset.name, tuple(paths), tuple(labels), tuple(parts), ("",) * len(paths), classes, dataset.notes
        )
    digests = tuple(_content(row) for _, inputs, _ in named for row in _each(inputs))
    pictures = np.concatenate([inputs[:] for _, inputs, _ in named]) if dataset.kind == "images" else None
    text = dataset.kind == "text"
    return Material(manifest, _roles(manifest), digests, pixels=pictures, text=text)


def _roles(manifest: Manifest) -> tuple[str, ...]:
    return tuple(
        ("unlabeled" if label is None else "labeled") if part == "train" else part
        for label, part in zip(manifest.labels, manifest.parts, strict=True)
    )


def _each(inputs: Any) -> Iterable[npt.NDArray[Any]]:
    for start in range(0, len(inputs), 4096):
        yield from inputs[start : start + 4096]


def _content(row: npt.NDArray[Any]) -> str:
    return hashlib.blake2b(np.ascontiguousarray(row).data, digest_size=16).hexdigest()
