"""What speaks against a set of examples, one finding each: what, how many, which, and what mends it."""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

from semilla.checking.material import Material, Rows
from semilla.checking.near import NearCopies
from semilla.data.images import Facts
from semilla.data.labels import IMBALANCE
from semilla.text import many

Severity: TypeAlias = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")

EXAMPLES = 20
BAD_SHARE = 0.05
"""Largest share of unlabeled pictures that may be unreadable."""
FEW_LABELS, FEW_TESTS = 4, 100
"""Fewer labels of a class, and fewer test labels, are told."""

_DISAGREE = 0.1  # the share of examples on which two decent models differ, assumed where it is not known yet
_SMALL, _NARROW, _LARGE = 8, 8.0, 16_000_000
_MISSING = {"", "na", "n/a", "nan", "none", "null", "nil", "?", "-", "-1", "unknown", "undefined", "unlabeled"}
_ENDINGS = {
    "JPEG": {"jpg", "jpeg", "jpe", "jfif"},
    "TIFF": {"tif", "tiff"},
    "BMP": {"bmp", "dib"},
}
_NOTE = re.compile(r"warn\[(\w+)\]: ")


class Item(NamedTuple):
    """One thing that was found: a row, or rows that belong together, and what is to be said of it.

    Attributes:
        rows: of the manifest; empty where it is about a class.
        note: such as why a file is unreadable.
    """

    rows: tuple[int, ...]
    note: str = ""


@dataclass(frozen=True, eq=False)
class Finding:
    """One kind of thing that was found.

    Attributes:
        code: stable identifier, listed in the documentation.
        severity: ``error``: training stops at it; ``warning``: look at it; ``note``: good to know.
        title: one sentence.
        count: how many there are.
        items: all of them.
        fix: what mends it, or "".
    """

    code: str
    severity: Severity
    title: str
    count: int
    items: Sequence[Item] = ()
    fix: str = ""


def all_findings(material: Material, near: NearCopies) -> list[Finding]:
    """Everything that was found, errors first."""
    looks = [_unreadable, _exact_copies, *([] if material.text else [_classes, _labels]), _held_out, _forms, _names]
    found = [finding for look in looks for finding in look(material)] + _near_copies(material, near)
    said = {finding.code for finding in found}
    found += [told for told in _told(material.manifest.notes) if told.code not in said]  # the lists here say more
    return sorted(found, key=lambda finding: SEVERITIES.index(finding.severity))


# Files


def _unreadable(material: Material) -> list[Finding]:
    problems = material.problems or {}
    rows = {"D014": material.where("labeled", "development", "test"), "D015": material.where("unlabeled")}
    words = {"D014": "labeled", "D015": "unlabeled"}
    findings = []
    for code, own in rows.items():
        bad = [row for row in own if row in problems]
        if bad:
            share = len(bad) / len(own)
            stops = code == "D014" or share > BAD_SHARE
            limit = f" ({share:.1%}; training stops above {BAD_SHARE:.0%})" if code == "D015" else ""
            title = f"{len(bad):,} of {len(own):,} {words[code]} pictures cannot be read{limit}"
            fix = "remove or replace them" + (", or train with --on-bad-file skip" if code == "D014" else "")
            items = [Item((row,), problems[row]) for row in bad]
            findings.append(Finding(code, "error" if stops else "warning", title, len(bad), items, fix))
    return findings


_Test: TypeAlias = Callable[[Facts], bool]
_FORMS: tuple[tuple[str, Severity, _Test, str, str], ...] = (
    ("D022", "warning", lambda own: own.frames > 1, "more than one frame or page", "only the first is used"),
    ("D120", "note", lambda own: own.bits > 8, "more than 8 bits a sample", "they are scaled to 8 bits"),
    ("D121", "note", lambda own: own.mode == "CMYK", "the colors of print (CMYK)", "they are converted to RGB"),
    ("D122", "note", lambda own: own.alpha, "transparency", "they are put on a white ground"),
    ("D123", "note", lambda own: own.mode == "P", "a palette", "they are converted to RGB"),
    ("D124", "note", lambda own: own.orientation != 1, "an EXIF orientation", "they are turned upright"),
    (
        "D125",
        "warning",
        lambda own: min(own.width, own.height) < _SMALL or _aspect(own) > _NARROW,
        f"a side below {_SMALL} pixels, or one more than {_NARROW:g} times the other",
        "look whether they are what they should be",
    ),
    (
        "D126",
        "note",
        lambda own: own.width * own.height > _LARGE,
        f"more than {_LARGE / 1e6:g} million pixels",
        "smaller copies would be read faster",
    ),
)


def _forms(material: Material) -> list[Finding]:
    """What pictures are that most are not. There are few different facts and many pictures: each is judged once."""
    rows: dict[Facts, Rows] = defaultdict(list)
    for row, facts in enumerate(material.facts):
        if facts is not None:
            rows[facts].append(row)
    findings = []
    for code, severity, test, what, fix in _FORMS:
        if material.text and code == "D125":  # lines are long, and their height is small
            continue
        items = [
            Item((row,), f"{own.format} {own.mode}, {own.width} × {own.height}")
            for own, all_rows in rows.items()
            if test(own)
            for row in all_rows
        ]
        if items:
            has = "has" if len(items) == 1 else "have"
            findings.append(
                Finding(code, severity, f"{many(len(items), 'picture')} {has} {what}", len(items), items, fix)
            )
    return findings + _misnamed(material)


def _aspect(facts: Facts) -> float:
    return max(facts.width, facts.height) / max(1, min(facts.width, facts.height))


def _misnamed(material: Material) -> list[Finding]:
    items = [
        Item((row,), f"holds {facts.format}")
        for row, facts in enumerate(material.facts)
        if facts is not None and not _ending_fits(material.manifest.paths[row], facts.format)
    ]
    if not items:
        return []
    title = f"{many(len(items), 'file')} of another format than the name says"
    return [
        Finding("D127", "note", title, len(items), items, "they are read by their content; rename them if you like")
    ]


def _ending_fits(path: str, kind: str) -> bool:
    stem, _, ending = path.rpartition(".")
    if not stem or "#" in ending:  # no ending, or a row of a file
        return True
    return ending.lower() in _ENDINGS.get(kind, {kind.lower()})


def _names(material: Material) -> list[Finding]:
    folded = defaultdict(list)
    for row, path in enumerate(material.manifest.paths):
        folded[unicodedata.normalize("NFC", path).casefold()].append(row)
    items = [Item(tuple(rows)) for rows in folded.values() if len(rows) > 1]
    if not items:
        return []
    groups = many(len(items), "group of file names differs", "groups of file names differ")
    title = f"{groups} only in case or in the form of their accents"
    fix = "rename one of each: on some systems they are one file"
    return [Finding("D132", "warning", title, len(items), items, fix)]


# Copies


def _exact_copies(material: Material) -> list[Finding]:
    leaks, conflicts, pools, inside = [], [], [], []
    for rows in material.copies():
        roles = {material.roles[row] for row in rows}
        item = _pair(material, rows)
        if len(roles & {"development", "test"}) and len(roles) > 1:
            leaks.append(item)
        elif roles == {"labeled", "unlabeled"}:
            pools.append(item)
        if max(Counter(material.roles[row] for row in rows).values()) > 1:
            inside.append(item)
        if len({material.manifest.labels[row] for row in rows} - {None}) > 1:
            conflicts.append(item)
    held_out = sum(material.roles[row] in ("development", "test") for item in leaks for row in item.rows)
    table: tuple[tuple[str, Severity, list[Item], int, str, str], ...] = (
        (
            "D030",
            "error",
            leaks,
            held_out,
            f"{many(held_out, 'held-out example is', 'held-out examples are')} also in another part",
            "take them out of one of the two: a test on what was trained on proves nothing",
        ),
        (
            "D031",
            "error",
            conflicts,
            len(conflicts),
            f"{many(len(conflicts), 'content stands', 'contents stand')} under more than one label",
            "keep the right label of each",
        ),
        (
            "D033",
            "note",
            pools,
            len(pools),
            f"{many(len(pools), 'labeled example is', 'labeled examples are')} also among the unlabeled ones",
            "nothing to do: usual, and it does no harm",
        ),
        (
            "D034",
            "note",
            inside,
            len(inside),
            f"{many(len(inside), 'content is', 'contents are')} there more than once within a part",
            "remove the copies, unless they are meant to count more",
        ),
    )
    return [
        Finding(code, severity, title, count, items, fix) for code, severity, items, count, title, fix in table if items
    ]


def _near_copies(material: Material, near: NearCopies) -> list[Finding]:
    if not near.pairs:
        return []
    rated = [(_gravity(material, pair[:2]), pair) for pair in near.pairs]
    rated.sort(key=lambda entry: entry[0])  # stable: within a kind the nearest first
    items = [_pair(material, pair[:2], f"differ by {pair[2]:g} grey levels") for _, pair in rated]
    across = sum(_held_out_pair(material, pair[:2]) for _, pair in rated)
    labels = sum(_two_labels(material, pair[:2]) for _, pair in rated)
    details = [f"{across:,} {'reaches' if across == 1 else 'reach'} into a held-out part"] * bool(across)
    details += [f"{labels:,} {'has' if labels == 1 else 'have'} two labels"] * bool(labels)
    title = f"{many(len(items), 'pair')} of pictures that are nearly the same" + (
        f": {', '.join(details)}" if details else ""
    )
    if not near.complete:
        title += "; very many are alike, and only the most similar were compared"
    fix = "look at them; take near copies of held-out pictures out of training"
    return [Finding("D032", "warning", title, len(items), items, fix)]


def _gravity(material: Material, rows: Sequence[int]) -> int:
    return 0 if _held_out_pair(material, rows) else 1 if _two_labels(material, rows) else 2


def _held_out_pair(material: Material, rows: Sequence[int]) -> bool:
    roles = {material.roles[row] for row in rows}
    return len(roles) > 1 and not roles <= {"labeled", "unlabeled"}


def _two_labels(material: Material, rows: Sequence[int]) -> bool:
    return len({material.manifest.labels[row] for row in rows} - {None}) > 1


def _pair(material: Material, rows: Sequence[int], note: str = "") -> Item:
    kinds = ((material.manifest.labels[row], material.roles[row]) for row in rows)
    told = " = ".join(role if label is None else f"{label} ({role})" for label, role in kinds)
    return Item(tuple(rows), f"{told}; {note}" if note else told)


# Classes and labels


def _classes(material: Material) -> list[Finding]:
    counts = {name: roles["labeled"] for name, roles in material.counts().items()}
    trained = [name for name, count in counts.items() if count]
    held_out = {label for row, label in enumerate(material.manifest.labels) if material.roles[row] != "labeled"}
    findings = []
    empty = [name for name in material.manifest.classes if not counts[name]]
    if empty:
        title = f"{many(len(empty), 'class has', 'classes have')} no labeled example"
        fix = "label at least one example of each, better four"
        findings.append(Finding("D050", "error", title, len(empty), [Item((), name) for name in empty], fix))
    if len(trained) < 2:
        title = f"at least 2 classes with labels are needed, found {len(trained)}"
        findings.append(Finding("D051", "error", title, len(trained), [Item((), name) for name in trained]))
    unknown = [
        name for name in counts if name in held_out and not counts[name] and name not in material.manifest.classes
    ]
    if unknown:
        rows = [row for row, label in enumerate(material.manifest.labels) if label in set(unknown)]
        title = f"{many(len(unknown), 'held-out class is', 'held-out classes are')} unknown to training"
        items = [Item((row,), material.manifest.labels[row] or "") for row in rows]
        fix = "correct the labels, or add labeled training examples of these classes"
        findings.append(Finding("D052", "error", title, len(unknown), items, fix))
    return findings + _shares({name: counts[name] for name in trained}, not material.where("unlabeled"))


def _shares(counts: dict[str, int], alone: bool) -> list[Finding]:
    findings = []
    few = [name for name, count in counts.items() if count < FEW_LABELS]
    if few:
        title = f"{many(len(few), 'class has', 'classes have')} fewer than {FEW_LABELS} labels"
        items = [Item((), f"{name}: {counts[name]}") for name in few]
        fix = "label a few more: the result depends much on which examples these are"
        findings.append(Finding("D053", "warning", title, len(few), items, fix))
    least, most = min(counts.values(), default=1), max(counts.values(), default=1)
    if most > IMBALANCE * least:
        title = f"the classes are unbalanced: {most:,} labels of the largest, {least:,} of the smallest"
        ranked = sorted(counts, key=lambda name: -counts[name])
        items = [Item((), f"{name}: {counts[name]:,}") for name in ranked]
        findings.append(
            Finding("D130", "warning", title, 1, items, "look at the scores of each class, not only at the mean")
        )
    if alone and counts:
        title = "there are no unlabeled examples"
        fix = "add some with --unlabeled, or use only some of the labels with --labels"
        findings.append(Finding("D040", "note", title, 1, (), fix))
    return findings


def _labels(material: Material) -> list[Finding]:
    counts = Counter(label for label in material.manifest.labels if label is not None)
    alike = defaultdict(list)
    for name in sorted(counts):
        alike[_folded(name)].append(name)
    groups = [names for names in alike.values() if len(names) > 1]
    missing = [name for name in sorted(counts) if name.strip().casefold() in _MISSING]
    zeros = [name for name in sorted(counts) if re.fullmatch(r"0[0-9]+", name)]
    findings = []
    if missing:
        title = f"{many(len(missing), 'label looks', 'labels look')} like a missing value, and would be a class"
        fix = "leave the cell empty where the class is not known"
        items = [Item((), f"{name!r}: {many(counts[name], 'example')}") for name in missing]
        findings.append(Finding("D057", "warning", title, len(missing), items, fix))
    if groups:
        title = f"{many(len(groups), 'label is', 'labels are')} written in several ways, each of which would be a class"
        items = [Item((), ", ".join(f"{name!r} ({counts[name]:,})" for name in names)) for names in groups]
        findings.append(Finding("D058", "warning", title, len(groups), items, "write each label in one way"))
    if zeros:
        title = f"{many(len(zeros), 'label is a number', 'labels are numbers')} with zeros in front"
        items = [Item((), f"{name!r}: {many(counts[name], 'example')}") for name in zeros]
        fix = "labels are text here and stay as they are; other programs may drop the zeros"
        findings.append(Finding("D131", "note", title, len(zeros), items, fix))
    return findings


def _folded(name: str) -> str:
    """What two labels have in common that differ only in case, spaces, form of accents or the way of a number."""
    text = " ".join(unicodedata.normalize("NFKC", name).split()).casefold()
    return repr(float(text)) if re.fullmatch(r"[+-]?[0-9]{1,15}(\.[0-9]{0,15})?", text) else text


def _held_out(material: Material) -> list[Finding]:
    rows = material.where("development", "test")
    bare = [Item((row,)) for row in rows if material.manifest.labels[row] is None]
    findings = []
    if bare:
        title = f"{many(len(bare), 'held-out example has', 'held-out examples have')} no label"
        findings.append(Finding("D081", "error", title, len(bare), bare, "label them, or leave them out"))
    count = sum(role == "test" for role in material.roles)
    if not count:
        title = "there is no test part, so nothing can be claimed about a model"
        fix = "give one with --test, or keep labels back with --holdout when you train"
        return [*findings, Finding("D061", "note", title, 1, (), fix)]
    if material.text:  # it depends on the characters and the groups of the lines, and on how often two readers differ
        return findings
    points = 100 * smallest_difference(count)
    title = (
        f"with {many(count, 'test label')}, differences between two models below about {points:.2g} points "
        "cannot be told from chance"
    )
    few = count < FEW_TESTS
    fix = "label more test examples" if few else ""
    return [*findings, Finding("D060", "warning" if few else "note", title, count, (), fix)]


def smallest_difference(count: int) -> float:
    """The smallest difference in accuracy between two models that ``count`` common test examples can show.

    By McNemar's test at 5 %: the normal approximation with models that disagree on one example in ten, and at least
    the 6 disagreements, all one way, without which the exact test cannot succeed.
    """
    return max(6 / count, 1.96 * math.sqrt(_DISAGREE / count))


def _told(notes: Iterable[str]) -> list[Finding]:
    """What the reader of the source noted."""
    findings = []
    for note in filter(None, notes):
        code = _NOTE.match(note)
        text = note[code.end() :] if code else note
        findings.append(Finding(code[1] if code else "note", "warning" if code else "note", text, 1))
    return findings
