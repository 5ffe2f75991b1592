"""What speaks against transcribed lines: characters, groups, and pictures too narrow for what they are said to show."""

from __future__ import annotations

from collections import defaultdict

from semilla.checking.findings import Finding, Item
from semilla.checking.material import Material
from semilla.data.text import line_form
from semilla.tasks.alphabet import RARE, Character, characters, described, frames_needed
from semilla.text import many

FRAME = 4
"""Columns of a recogniser's frame."""


def of_text(material: Material) -> list[Finding]:
    """Everything that is about the texts."""
    return [
        *_none(material),
        *_odd(material),
        *_rare(material),
        *_beyond(material),
        *_torn(material),
        *_narrow(material),
    ]


def characters_of(material: Material, *roles: str) -> list[Character]:
    """The characters in the transcriptions of some roles, the most frequent first, each with files it is in."""
    rows = [row for row in material.where(*roles) if material.manifest.labels[row]]
    texts = [material.manifest.labels[row] or "" for row in rows]
    return characters(texts, [material.manifest.paths[row] for row in rows])


def _none(material: Material) -> list[Finding]:
    if any(material.manifest.labels[row] for row in material.where("labeled")):
        alone = not material.where("unlabeled")
        fix = "add some with --unlabeled, or use only some of the labels with --labels"
        return [Finding("D040", "note", "there are no untranscribed lines", 1, (), fix)] if alone else []
    fix = "transcribe some; if they are in a column of an unusual name, name it with --text-column"
    return [Finding("D167", "error", "no line of the training part has a transcription", 1, (), fix)]


def _told(one: Character) -> Item:
    return Item((), f"{described(one.character)} {one.count}×, in {', '.join(one.names)}")


def _odd(material: Material) -> list[Finding]:
    odd = [one for one in characters_of(material, "labeled", "development", "test") if one.combining or one.control]
    if not odd:
        return []
    title = f"{many(len(odd), 'character')} that join others or cannot be seen"
    fix = "look at the files that are named, and write them composed (NFC) or take them out"
    return [Finding("D190", "warning", title, len(odd), [_told(one) for one in odd], fix)]


def _rare(material: Material) -> list[Finding]:
    rare = [one for one in characters_of(material, "labeled") if one.count < RARE]
    if not rare:
        return []
    stand = "stands" if len(rare) == 1 else "stand"
    title = f"{many(len(rare), 'character')} {stand} in the labels fewer than {RARE} times"
    fix = "a start from generated lines (--pretrain generated) shows the recogniser more of them"
    return [Finding("D193", "note", title, len(rare), [_told(one) for one in rare], fix)]


def _beyond(material: Material) -> list[Finding]:
    known = {one.character for one in characters_of(material, "labeled")}
    beyond = [one for one in characters_of(material, "development", "test") if one.character not in known]
    if not beyond or not known:
        return []
    title = f"{many(len(beyond), 'character')} of the held-out lines that no label has"
    fix = "label lines that have them, or give --set alphabet=vietnamese"
    return [Finding("D191", "warning", title, len(beyond), [_told(one) for one in beyond], fix)]


def _torn(material: Material) -> list[Finding]:
    """Groups, such as writers, on both sides of a split."""
    parts: dict[str, dict[str, int]] = defaultdict(dict)
    for row, (group, part) in enumerate(zip(material.manifest.groups, material.manifest.parts, strict=True)):
        if group:
            parts[group].setdefault(part, row)
    torn = [Item(tuple(own.values()), f"{group}: {' and '.join(own)}") for group, own in parts.items() if len(own) > 1]
    if not torn:
        return []
    title = f"{many(len(torn), 'group')} on both sides of a split"
    fix = "keep a group in one part: the scores would be too good for writers or documents that are new"
    return [Finding("D169", "error", title, len(torn), torn, fix)]


def _narrow(material: Material) -> list[Finding]:
    """Lines with fewer frames than their text needs: one for each character, and one between two equal ones."""
    items = []
    for row, (facts, label) in enumerate(zip(material.facts, material.manifest.labels, strict=False)):
        if facts is None or not label:
            continue
        if frames_needed(label) > -(-line_form(material.height).width_of(facts) // FRAME):
            note = f"{facts.width} × {facts.height} px for {many(len(label), 'character')}: {label[:60]}"
            items.append(Item((row,), note))
    if not items:
        return []
    title = f"{many(len(items), 'line is', 'lines are')} too narrow for the text to be read frame by frame"
    fix = "look whether picture and text belong together; several lines in one picture have to be cut apart"
    return [Finding("D192", "warning", title, len(items), items, fix)]
