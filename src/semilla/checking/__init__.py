"""The whole look at a source without training: what would stop it, what would spoil it, and what is good to know."""

from __future__ import annotations

import os
import re
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from semilla.checking.findings import EXAMPLES, SEVERITIES, Finding, all_findings
from semilla.checking.material import ROLES, Material, of_dataset, of_pictures
from semilla.checking.near import NearCopies, near_copies
from semilla.checking.page import page, to_json
from semilla.data.progress import Bar
from semilla.data.scan import scan, scan_lines
from semilla.data.source import Source
from semilla.data.sources import load, load_manifest
from semilla.data.text import line_form
from semilla.data.transcriptions import with_transcriptions
from semilla.errors import UsageError
from semilla.files import make_folder, resource_errors, write_atomic
from semilla.text import many

__all__ = ["Checked", "Finding", "check", "examine", "look"]

_SHOWN = 5
_LONGEST_NAME = 60


@dataclass(frozen=True, eq=False)
class Checked:
    """The outcome of a check.

    Attributes:
        material: what was looked at.
        findings: errors first.
        folder: where ``check.html`` and ``check.json`` are, or None if they were not written.
    """

    material: Material
    findings: list[Finding]
    folder: Path | None = None

    @property
    def name(self) -> str:
        """Of the source."""
        return self.material.manifest.name

    def number(self, severity: str) -> int:
        """How many findings are of a severity."""
        return sum(finding.severity == severity for finding in self.findings)

    def overview(self) -> dict[str, Any]:
        """The counts: examples by role, classes by role, and for pictures their formats, modes and sizes."""
        roles = Counter(self.material.roles)
        facts = [own for own in self.material.facts if own is not None]
        return {
            "examples": {role: roles[role] for role in ROLES},
            "classes": self.material.counts(),
            **({"characters": self.characters()} if self.material.text else {}),
            "formats": _ranked(own.format for own in facts),
            "modes": _ranked(own.mode for own in facts),
            "sizes": _ranked(f"{own.width} × {own.height}" for own in facts),
        }

    def characters(self) -> list[dict[str, Any]]:
        """Of text: every character of the transcriptions with its name, how often it is there, and files it is in."""
        from semilla.checking.texts import characters_of  # imports PyTorch

        found = characters_of(self.material, "labeled", "development", "test")
        return [
            {
                "character": one.character,
                "code": one.code_point,
                "name": one.name,
                "count": one.count,
                "files": [*one.names],
            }
            for one in found
        ]

    def summary(self, full: bool = False) -> dict[str, Any]:
        """As JSON values; with all examples of each finding, or the first."""
        findings = [_plain(finding, self.material.manifest.paths, full) for finding in self.findings]
        counts = {f"{severity}s": self.number(severity) for severity in SEVERITIES}
        folder = {} if self.folder is None else {"folder": str(self.folder)}
        return {"version": 1, "name": self.name, **counts, "findings": findings, **self.overview(), **folder}

    def lines(self) -> list[str]:
        """For the terminal; the names in it are as they are, and the printer must clean them."""
        counts = self.overview()["examples"]
        kinds = (len(self.characters()), "different character") if self.material.text else None
        classes = many(*kinds) if kinds else many(len(self.material.counts()), "class", "classes")
        parts = " · ".join(f"{count:,} {role}" for role, count in counts.items() if count)
        lines = [f"{self.name}: {many(len(self.material), 'example')}, {classes} ({parts})"]
        for finding in self.findings:
            code = "" if finding.code == "note" else f"[{finding.code}]"
            lines.append(f"{finding.severity}{code}: {finding.title}")
            shown = () if finding.severity == "note" else finding.items[:_SHOWN]
            lines += [f"    {text}" for text in (describe(item, self.material.manifest.paths) for item in shown)]
            if shown and len(finding.items) > _SHOWN:
                lines.append(f"    … and {len(finding.items) - _SHOWN:,} more")
            if finding.fix and finding.severity != "note":
                lines.append(f"  fix: {finding.fix}")
        told = [many(self.number(severity), severity) for severity in SEVERITIES]
        return [*lines, f"{told[0]}, {told[1]}, {told[2]}"]


def check(
    data: Any, out: str | os.PathLike[str] | None = None, progress: TextIO | None = sys.stderr, **options: Any
) -> Checked:
    """Look at a source and write ``check.html`` and ``check.json``. Nothing of the user's is changed.

    Args:
        data: as for `semilla.train`, or a `Source`.
        out: the folder to write to; None makes ``check-<name>`` in the working directory, or ``check-<name>-2`` and so
            on where that is taken.
        progress: where the remaining time is shown; None shows nothing.
        **options: what else `Source` takes, such as ``test="checked"``.

    Raises:
        DataError: the source cannot be read at all; what is wrong with single examples is a finding.
        UsageError: U022, the folder to write to lies in the data; U014, it cannot be made.
    """
    source = data if isinstance(data, Source) else Source(data, **options)
    if out is not None:
        source.refuse_inside(out)
    material = look(source, progress)
    folder = Path(out) if out is not None else _free(material.manifest.name)
    source.refuse_inside(folder)
    checked = replace(examine(material, progress), folder=folder)
    _write(checked, folder)
    return checked


def look(source: Source, progress: TextIO | None = sys.stderr) -> Material:
    """Read a source: pictures are all decoded, arrays and tables are loaded."""
    pictures = load_manifest(source)
    if pictures is None:
        return of_dataset(load(replace(source, allow_leak=True)))  # it is a finding
    manifest, blobs = pictures
    if source.task == "text":
        manifest = with_transcriptions(manifest)
        lines = scan_lines(blobs, manifest.name, line_form(source.height), progress, source.max_pixels)
        return replace(of_pictures(manifest, lines, text=True), height=source.height)
    found = scan(blobs, manifest.name, None, progress, source.max_pixels, source.size, source.resize)
    return of_pictures(manifest, found)


def examine(material: Material, progress: TextIO | None = sys.stderr) -> Checked:
    """Find out what speaks against the examples; nothing is written."""
    if material.text:  # lines look alike from afar: near copies are not looked for
        from semilla.checking.texts import of_text  # imports PyTorch

        found = [*all_findings(material, NearCopies([], True)), *of_text(material)]
        return Checked(material, sorted(found, key=lambda finding: SEVERITIES.index(finding.severity)))
    if material.pixels is None:
        return Checked(material, all_findings(material, NearCopies([], True)))
    known: dict[str, int] = {}
    for row, digest in enumerate(material.digests):
        if row not in (material.problems or {}):
            known.setdefault(digest or str(row), row)
    rows = np.array(list(known.values()), np.int64)
    with Bar("comparing", len(rows), "pictures", progress, delay=2) as bar:
        near = near_copies(material.pixels, rows, bar.update)
    return Checked(material, all_findings(material, near))


def describe(item: Any, paths: tuple[str, ...]) -> str:
    """One thing that was found, as a line."""
    names = " = ".join(paths[row] for row in item.rows[:_SHOWN])
    if len(item.rows) > _SHOWN:
        names += f" = … ({len(item.rows):,} in all)"
    return f"{names}: {item.note}" if names and item.note else names or item.note


def _plain(finding: Finding, paths: tuple[str, ...], full: bool) -> dict[str, Any]:
    examples = [paths[row] for item in finding.items[:EXAMPLES] for row in item.rows] or [
        item.note for item in finding.items[:EXAMPLES]
    ]
    values: dict[str, Any] = {
        "code": finding.code,
        "severity": finding.severity,
        "title": finding.title,
        "count": finding.count,
        "examples": examples[:EXAMPLES],
        "fix": finding.fix,
    }
    if full:
        values["all"] = [{"paths": [paths[row] for row in item.rows], "note": item.note} for item in finding.items]
    return values


def _ranked(values: Iterable[str]) -> dict[str, int]:
    return dict(Counter(values).most_common())


def _free(name: str) -> Path:
    """``check-<name>`` in the working directory, or the next name that is free."""
    plain = re.sub(r"[^\w.-]+", "-", name, flags=re.ASCII).strip("-.")[:_LONGEST_NAME] or "data"
    number = 1
    while os.path.lexists(path := Path(f"check-{plain}" if number == 1 else f"check-{plain}-{number}")):
        number += 1
    return path


def _write(checked: Checked, folder: Path) -> None:
    try:
        with resource_errors("cannot write the check", folder, 0):
            make_folder(folder.absolute())
    except (FileExistsError, NotADirectoryError) as error:
        raise UsageError("U014", f"{folder} cannot be made: {error.strerror}", "name another with -o") from error
    write_atomic(folder / "check.json", to_json(checked.summary(full=True)))
    write_atomic(folder / "check.html", page(checked).encode())
