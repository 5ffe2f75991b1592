"""``check.html``: what was found, with the pictures it is about."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from semilla.checking.findings import Finding
from semilla.checking.material import ROLES, Material
from semilla.data.lines import Lines
from semilla.reporting.page import render, thumbnail

if TYPE_CHECKING:
    from semilla.checking import Checked

_ITEMS, _PICTURED, _SIDE_BY_SIDE = 20, 12, 4
_CLASSES, _PER_CLASS, _CLASS_PICTURES = 200, 8, 160
_OPEN = {"classes": 25, "galleries": 10}
"""Classes that stand open; the others are folded."""
_LINES = 10
_FACTS = 12
_TONES = {"error": "bad", "warning": "warn", "note": "plain"}
_WITHOUT_PICTURES = {"D014", "D015", "D132"}


def page(checked: Checked) -> str:
    """The page as text."""
    overview, material = checked.overview(), checked.material
    examples = _class_examples(material)
    shown = _pictures(material, [row for rows in examples.values() for row in rows] + _finding_rows(checked.findings))
    counts = overview["classes"]
    largest = max((roles["labeled"] for roles in counts.values()), default=0) or 1
    classes = [
        {"name": name, "counts": [roles[role] for role in ROLES], "share": roles["labeled"] / largest}
        for name, roles in list(counts.items())[:_CLASSES]
    ]
    return render(
        "check.html",
        name=checked.name,
        total=len(material),
        examples=overview["examples"],
        numbers={tone: checked.number(severity) for severity, tone in _TONES.items()},
        findings=[_shown(finding, material, shown) for finding in checked.findings],
        roles=[role for role in ROLES if role != "unlabeled"],
        columns=[place for place, role in enumerate(ROLES) if role != "unlabeled"],
        open=_OPEN,
        classes=classes,
        classes_left=max(0, len(counts) - _CLASSES),
        characters=overview.get("characters"),
        galleries=[(name, [shown[row] for row in rows]) for name, rows in examples.items()],
        tables=[_table(title, overview[key]) for title, key in _TABLES if overview[key]],
    )


def to_json(values: dict[str, Any]) -> bytes:
    """Strict JSON in ASCII: names that are not UTF-8 come back as they were."""
    return json.dumps(values, ensure_ascii=True, allow_nan=False, indent=1).encode() + b"\n"


_TABLES = (("Formats", "formats"), ("Modes", "modes"), ("Sizes", "sizes"))


def _table(title: str, counts: dict[str, int]) -> dict[str, Any]:
    total = sum(counts.values())
    rows = [(name, count, count / total) for name, count in list(counts.items())[:_FACTS]]
    return {"title": title, "rows": rows, "left": max(0, len(counts) - _FACTS)}


def _shown(finding: Finding, material: Material, pictures: dict[int, str]) -> dict[str, Any]:
    paths = material.manifest.paths
    items = [
        {
            "names": [paths[row] for row in item.rows[:_SIDE_BY_SIDE]],
            "left": max(0, len(item.rows) - _SIDE_BY_SIDE),
            "note": item.note,
            "pictures": [pictures[row] for row in _item_rows(finding, place) if row in pictures],
        }
        for place, item in enumerate(finding.items[:_ITEMS])
    ]
    return {
        "code": finding.code,
        "severity": finding.severity,
        "tone": _TONES[finding.severity],
        "title": finding.title,
        "fix": finding.fix,
        "entries": items,
        "left": max(0, len(finding.items) - _ITEMS),
    }


def _finding_rows(findings: Iterable[Finding]) -> list[int]:
    return [row for finding in findings for place in range(len(finding.items)) for row in _item_rows(finding, place)]


def _item_rows(finding: Finding, place: int) -> tuple[int, ...]:
    """The rows of an item whose pictures are shown."""
    if place >= _PICTURED or finding.code in _WITHOUT_PICTURES:
        return ()
    return finding.items[place].rows[:_SIDE_BY_SIDE]


def _class_examples(material: Material) -> dict[str, list[int]]:
    """A few labeled rows of each class, as many as the page can carry."""
    examples: dict[str, list[int]] = {name: [] for name in material.counts()}
    most = max(1, min(_PER_CLASS, _CLASS_PICTURES // max(1, len(examples))))
    if material.pixels is None:
        return {}
    if material.text:
        return _some_lines(material)
    for row in material.where("labeled"):
        own = examples[material.manifest.labels[row] or ""]
        if len(own) < most and row not in (material.problems or {}):
            own.append(row)
    return {name: rows for name, rows in list(examples.items())[:_CLASS_PICTURES] if rows}


def _some_lines(material: Material) -> dict[str, list[int]]:
    """A few labeled lines from all over the data, by their transcription."""
    rows = [row for row in material.where("labeled") if row not in (material.problems or {})]
    return {material.manifest.labels[row] or "": [row] for row in rows[:: max(1, len(rows) // _LINES)][:_LINES]}


def _pictures(material: Material, rows: list[int]) -> dict[int, str]:
    """Data URIs by row, of the rows that have pixels."""
    if material.pixels is None:
        return {}
    wanted = sorted(set(rows) - set(material.problems or {}))
    if isinstance(material.pixels, Lines):  # each as wide as it is
        return {row: thumbnail(material.pixels.line(row)[None]) for row in wanted}
    pixels = material.pixels[np.array(wanted, np.int64)]
    return {row: thumbnail(picture) for row, picture in zip(wanted, pixels, strict=True)}
