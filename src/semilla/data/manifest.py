"""The manifest: one row for each example that a source named, before anything is decoded or learnt."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from semilla.errors import StateError
from semilla.files import read_bytes, write_atomic

PARTS = ("train", "development", "test")

_BYTES = 2**32


@dataclass(frozen=True, slots=True, eq=False)
class Manifest:
    """What a source holds, as columns of one length.

    Attributes:
        name: a short name for reports.
        paths: relative, with "/"; bytes that are not UTF-8 as surrogates (`os.fsdecode`); ``table.csv#12`` names a row
            inside a file, counted from 0. Each is there once.
        labels: verbatim text, None where the class is not known.
        parts: ``train``, ``development`` or ``test``; an unlabeled example is a row of ``train`` without a label.
        groups: what must not stand on both sides of a split, such as a writer; "" where there is none.
        classes: declared classes, whether a row has them or not.
        notes: what the user should know about how the data were read, a sentence each.
        sizes: bytes of each example, once they were looked at.
        digests: SHA-256 of each example's content in hexadecimal, once it was looked at.
    """

    name: str
    paths: tuple[str, ...]
    labels: tuple[str | None, ...]
    parts: tuple[str, ...]
    groups: tuple[str, ...]
    classes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    sizes: tuple[int, ...] = ()
    digests: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        columns = (self.labels, self.parts, self.groups, *filter(None, (self.sizes, self.digests)))
        if any(len(column) != len(self.paths) for column in columns):
            raise ValueError(f"columns of {[len(column) for column in columns]} rows beside {len(self.paths)} paths")

    def __len__(self) -> int:
        return len(self.paths)

    def select(self, rows: Iterable[int]) -> Manifest:
        """The manifest of some rows, in their order."""
        rows = list(rows)
        columns = ("paths", "labels", "parts", "groups", "sizes", "digests")
        picked = {name: tuple(column[row] for row in rows) for name in columns if (column := getattr(self, name))}
        return replace(self, **dict.fromkeys(columns, ()) | picked)

    def save(self, path: Path) -> None:
        """Write one JSON object a line; what is not UTF-8 in a path is escaped, so that it comes back whole."""
        write_atomic(path, "".join(f"{json.dumps(row, ensure_ascii=True)}\n" for row in self.rows()).encode())

    def rows(self) -> Iterable[dict[str, Any]]:
        """The rows as plain values; a label that is not known is left out."""
        for row, path in enumerate(self.paths):
            values: dict[str, Any] = {"path": path, "part": self.parts[row]}
            if self.labels[row] is not None:
                values["label"] = self.labels[row]
            if self.groups[row]:
                values["group"] = self.groups[row]
            if self.digests:
                values |= {"size": self.sizes[row], "sha256": self.digests[row]}
            yield values

    @classmethod
    def read(cls, path: Path) -> Manifest:
        """The inverse of `save`; the notes and declared classes are not in the file.

        Raises:
            StateError: C005, the file is missing or is not what `save` writes.
        """
        try:
            rows = [json.loads(line) for line in read_bytes(path, _BYTES).decode().splitlines()]
            return cls(
                name=path.stem,
                paths=tuple(row["path"] for row in rows),
                labels=tuple(row.get("label") for row in rows),
                parts=tuple(row["part"] for row in rows),
                groups=tuple(row.get("group", "") for row in rows),
                sizes=tuple(row["size"] for row in rows if "size" in row),
                digests=tuple(row["sha256"] for row in rows if "sha256" in row),
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise StateError("C005", f"{path.name} is not a manifest: {error}", "restore it from a copy") from error


def differences(old: Manifest, new: Manifest) -> list[str]:
    """What changed between two looks at one source: added, removed, changed, relabeled, moved to another part."""
    was, now = ({path: row for row, path in enumerate(manifest.paths)} for manifest in (old, new))
    said = [f"removed {path}" for path in old.paths if path not in now]
    for path, row in now.items():
        if path not in was:
            said.append(f"added {path}")
            continue
        before = was[path]
        if old.digests and new.digests and old.digests[before] != new.digests[row]:
            said.append(f"changed {path}")
        if old.labels[before] != new.labels[row]:
            said.append(f"relabeled {path}: {old.labels[before]} → {new.labels[row]}")
        if old.parts[before] != new.parts[row]:
            said.append(f"moved {path}: {old.parts[before]} → {new.parts[row]}")
    return said
