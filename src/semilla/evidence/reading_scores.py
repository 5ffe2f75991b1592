"""How well a recogniser reads held-out lines: rates, intervals over writers, and the protocol they are by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from semilla import files
from semilla.data.dataset import UNKNOWN, Dataset, Inputs, held_out_fingerprint, take
from semilla.data.labels import IntArray
from semilla.data.source import Source
from semilla.data.sources import load as load_data
from semilla.errors import DataError, StateError, UsageError
from semilla.evidence.held_out import check_leak
from semilla.evidence.intervals import Interval
from semilla.evidence.reading import Edits, cer_interval, exact_interval
from semilla.inference.reader import Reader
from semilla.tasks.spelling import Protocol, letter_errors, scores
from semilla.text import clean, csv_safe, escape_path


@dataclass(frozen=True, eq=False)
class ReadingScores:
    """How a recogniser does on held-out lines.

    Attributes:
        fit: the fit's name.
        part: the held-out part.
        protocol: what was taken for the same.
        count: lines.
        groups: groups of lines, such as writers, that the intervals are over.
        cer: edits of grapheme clusters by clusters of the truth.
        wer: the same of words.
        accuracy: lines without any error.
        ned: mean over lines of 1 − edits by the longer of reading and truth.
        letters: what is wrong with the letters, see `semilla.tasks.spelling.letter_errors`.
        rows: path, truth, reading, confidence and edits of each line.
    """

    fit: str
    part: str
    protocol: Protocol
    count: int
    groups: int
    cer: Interval
    wer: float
    accuracy: Interval
    ned: float
    letters: dict[str, int]
    rows: list[tuple[str, str, str, float, int]]

    def lines(self) -> list[str]:
        """As text."""
        over = f"{self.groups:,} groups" if self.groups < self.count else "lines"
        counted = {key: value for key, value in self.letters.items() if key != "letters"}
        return [
            f"{clean(self.fit)}: CER {_percent(self.cer)} on {self.count:,} {self.part} lines",
            f"exact lines {_percent(self.accuracy)}, WER {100 * self.wer:.1f} %, 1 − NED {100 * self.ned:.1f} %",
            f"in brackets: 95 % intervals over the choice of the {over}",
            f"compared: {_told(self.protocol)}",
            "",
            f"errors in {self.letters['letters']:,} characters: "
            + ", ".join(f"{value:,} {key}" for key, value in counted.items()),
        ]

    def summary(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "fit": self.fit,
            "part": self.part,
            "n": self.count,
            "groups": self.groups,
            "cer": self.cer._asdict(),
            "wer": self.wer,
            "accuracy": self.accuracy._asdict(),
            "1-ned": self.ned,
            "letters": self.letters,
            "protocol": self.protocol.plain(),
        }

    def write_predictions(self, path: Path) -> None:
        """Write a CSV with path, truth, text, confidence and edits of each line."""

        def cell(text: str) -> str:
            text = csv_safe(text)
            return '"' + text.replace('"', '""') + '"' if any(mark in text for mark in ',"\n\r') else text

        lines = ["path,truth,text,confidence,edits\n"]
        for name, truth, text, confidence, edits in self.rows:
            lines.append(f"{cell(escape_path(name))},{cell(truth)},{cell(text)},{confidence:.6g},{edits}\n")
        files.write_atomic(path, "".join(lines).encode())


def evaluate_reading(
    folder: Path,
    reader: Reader,
    data: Any = None,
    part: str = "test",
    allow_leak: bool = False,
    protocol: str = "exact",
    progress: TextIO | None = None,
) -> ReadingScores:
    """Score a recogniser on the held-out part of its own data, or of other data.

    Args:
        folder: of the fit.
        reader: its model.
        data: other data; without such a part all its transcribed lines are scored.
        part: ``test`` or ``development``.
        allow_leak: whether lines that were trained on are accepted.
        protocol: ``exact`` or ``english36``, see `semilla.tasks.spelling.Protocol`.
        progress: where the progress of decoding goes.

    Raises:
        UsageError: U009, the run does not say where its data came from; U121, no such protocol.
        DataError: D030, some were trained on; D061, there are no such lines; those of the reader of the data.
        StateError: C026, the run's own held-out lines have changed.
    """
    rule = Protocol.preset(protocol)
    dataset = _own(folder, progress) if data is None else _other(reader, data, progress)
    inputs, truths, names, groups, places = _held_out(dataset, part, whole=data is not None)
    digests = () if dataset.manifest is None else dataset.manifest.digests
    if data is not None and digests and not allow_leak:
        check_leak(folder, {digests[place]: name for place, name in zip(places.tolist(), names, strict=True)})
    if getattr(dataset, part) is None:
        part = "transcribed"
    found = reader.read(inputs)
    counted = scores(found.texts, truths, rule)
    rates, exact = counted.rates(), counted.exact
    rows = list(zip(names, truths, found.texts, found.confidence.tolist(), counted.edits.tolist(), strict=True))
    return ReadingScores(
        fit=folder.name,
        part=part,
        protocol=rule,
        count=len(truths),
        groups=len(np.unique(groups)),
        cer=cer_interval(Edits(counted.edits, counted.length, groups)),
        wer=rates["wer"],
        accuracy=exact_interval(exact, groups),
        ned=rates["1-ned"],
        letters=letter_errors(found.texts, truths, rule),
        rows=rows,
    )


def _own(folder: Path, progress: TextIO | None) -> Dataset:
    saved = files.read_json(folder / "fit.json")
    source = saved.get("source")
    if not isinstance(source, Mapping):
        raise UsageError("U009", f"{folder.name} was trained on arrays in memory", "name the data: --data PATH")
    dataset = load_data(Source.from_plain(source), progress)
    if held_out_fingerprint(dataset) != saved["fit"]["data"].get("held_out"):
        message = f"what {dataset.name} holds for testing is not what it was when {folder.name} was trained"
        raise StateError("C026", message, "give the data back as they were, or name others: --data PATH")
    return dataset


def _other(reader: Reader, data: Any, progress: TextIO | None) -> Dataset:
    if isinstance(data, Dataset):
        return data
    source = data if isinstance(data, Source) else Source(data)
    return load_data(replace(source, task="text", height=reader.height), progress)


def _held_out(dataset: Dataset, part: str, whole: bool) -> tuple[Inputs, list[str], list[str], IntArray, IntArray]:
    """Lines, truths, names, group numbers, and rows in the manifest, of a part."""
    held, first = getattr(dataset, part), len(dataset.labels)
    if held is not None:
        first += len(dataset.development or ()) if part == "test" else 0
        inputs, labels, places = held.inputs, held.labels, first + np.arange(len(held))
    elif whole:
        places = np.flatnonzero(dataset.labels != UNKNOWN)
        inputs, labels = take(dataset.inputs, places), dataset.labels[places]
    else:
        raise DataError("D061", f"{dataset.name} has no {part} part", "name data that have transcriptions: --data PATH")
    if not len(labels):
        raise DataError("D061", f"{dataset.name} has no transcribed line", "name data that have some: --data PATH")
    truths = [dataset.classes[label] for label in labels]
    manifest = dataset.manifest
    if manifest is None:
        return inputs, truths, [f"line {place}" for place in places], places, places
    groups = [manifest.groups[place] or f"\0{place}" for place in places]
    numbers = np.unique(groups, return_inverse=True)[1].astype(np.int64)
    return inputs, truths, [manifest.paths[place] for place in places], numbers, places


def _percent(share: Interval) -> str:
    return f"{100 * share.mean:.1f} % ({100 * share.low:.1f} … {100 * share.high:.1f})"


def _told(protocol: Protocol) -> str:
    case = "case counts" if protocol.case else "case does not count"
    marks = "punctuation counts" if protocol.punctuation else "punctuation does not count"
    return f"{case}, {marks}" if protocol.symbols is None else f"{case}; only {clean(protocol.symbols)} count"
