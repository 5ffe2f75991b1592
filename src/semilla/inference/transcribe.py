"""``semilla.predict`` for a recogniser: files of words or lines in, texts with their confidence out."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from semilla import files
from semilla.data.lines import Lines
from semilla.data.progress import Bar
from semilla.data.rows import Rows
from semilla.errors import DataError, Interrupted, UsageError
from semilla.inference import calibration
from semilla.inference.lines import open_lines
from semilla.inference.listing import arguments, blocks, count, files_below
from semilla.inference.reader import Reader
from semilla.text import clean, csv_safe, escape_path
from semilla.training.signals import StopRequest

BLOCK = 256
"""Lines that are read at a time."""


def transcribe(
    reader: Reader,
    inputs: Any,
    precision: float | None = None,
    follow_links: bool = False,
    max_pixels: int = 64_000_000,
    progress: TextIO | None = None,
    say: Callable[[str], object] = lambda line: None,
) -> Iterator[list[dict[str, Any]]]:
    """Rows of readings, block after block.

    Args:
        reader: who reads.
        inputs: as for `semilla.predict`.
        precision: the share of lines without any error that is wanted among those accepted.
        follow_links: whether links that leave a folder are followed.
        max_pixels: the largest picture that is opened.
        progress: where the progress goes.
        say: called with what the user should know.
    """
    least = threshold(reader, precision, say)
    total = None if progress is None else count(inputs, False, follow_links)
    listed = blocks(files_below(arguments(inputs), follow_links, say), BLOCK)
    with ExitStack() as stack:
        stop = stack.enter_context(StopRequest())
        bar = stack.enter_context(Bar("reading", total, "files", progress, delay=1, keep=True))
        for block in listed:
            lines, problems = open_lines(block.names, reader.height, max_pixels)
            found = reader.read(Rows(Lines.of(lines, reader.height), np.arange(len(lines))))
            yield [
                _row(
                    name, found.texts[place], float(found.confidence[place]), least, precision, problems.get(place, "")
                )
                for place, name in enumerate(block.names)
            ]
            bar.update(len(block.names))
            if stop.signal is not None:
                raise Interrupted(stop.signal, saved=False)


def threshold(reader: Reader, precision: float | None, say: Callable[[str], object]) -> float | None:
    """The confidence from which readings are accepted; None where none is wanted, infinity if none can be promised."""
    if precision is None:
        return None
    fitted = reader.card.get("calibration") or {}
    least = calibration.threshold(fitted.get("acceptance", ()), precision)
    if least is None:
        why = f"{fitted['n']} lines of its {fitted['fitted_on']} part do not show it" if fitted else "too few lines"
        say(f"warn[D063]: nothing is accepted: {100 * precision:g} % without error cannot be promised ({why})")
        return float("inf")
    say(f"accepted from a confidence of {least:.4g} on: {100 * precision:g} % of these lines are without any error")
    return least


def write(
    rows: Iterator[list[dict[str, Any]]], output: str | Path, accepted: bool, safe: bool
) -> tuple[int, list[tuple[str, str]]]:
    """Write readings as CSV, or as JSON lines where the name ends so; ``-`` is standard output.

    Returns:
        How many there were, and (path, reason) of those that could not be read.

    Raises:
        UsageError: U031, another format.
    """
    names = ["path", "text", "confidence", *(["accepted"] if accepted else []), "error"]
    path = None if output == "-" else Path(output)
    if path is not None and path.suffix.lower() not in (".csv", ".jsonl"):
        raise UsageError("U031", f"{path.name!r} does not say which format", "end it with .csv or .jsonl")
    lines = path is not None and path.suffix.lower() == ".jsonl"
    text, total, bad = io.StringIO(), 0, []
    writer = csv.DictWriter(text, names, lineterminator="\n")
    if not lines:
        writer.writeheader()
    for some in rows:
        total += len(some)
        bad += [(row["path"], row["error"]) for row in some if row["error"]]
        for row in some:
            if lines:
                text.write(json.dumps({name: row[name] for name in names}, ensure_ascii=False) + "\n")
            else:
                writer.writerow({name: _cell(row[name], safe) for name in names})
        if path is None:
            sys.stdout.write(text.getvalue())
            sys.stdout.flush()
            text.seek(0)
            text.truncate()
    if path is not None:
        with files.resource_errors("cannot write the readings", path.parent, text.tell()):
            files.write_atomic(path, text.getvalue().encode("utf-8", "backslashreplace"))
    return total, bad


def refuse_other_words(words: Sequence[str]) -> None:
    """Refuse what only predictions of classes have.

    Raises:
        UsageError: U033.
    """
    if words:
        named = ", ".join(words)
        raise UsageError("U033", f"{named}: not for a model that reads text", "leave it out")


def told_bad(bad: Sequence[tuple[str, str]]) -> DataError:
    """The error that ends a reading in which files could not be read."""
    shown = "".join(f"\n  {clean(escape_path(os.fspath(name)))}: {clean(reason)}" for name, reason in bad[:10])
    more = f"\n  … and {len(bad) - 10} more" if len(bad) > 10 else ""
    return DataError("D014", f"{len(bad)} files could not be read:{shown}{more}", "see the column error")


def _row(
    name: str, text: str, confidence: float, least: float | None, precision: float | None, error: str
) -> dict[str, Any]:
    row: dict[str, Any] = {"path": escape_path(name), "text": "" if error else text}
    row["confidence"] = None if error else round(confidence, 6)
    if precision is not None:
        row["accepted"] = bool(not error and least is not None and np.float32(confidence) >= np.float32(least))
    return {**row, "error": error}


def _cell(value: Any, safe: bool) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return ""
    return csv_safe(value) if safe and isinstance(value, str) else value
