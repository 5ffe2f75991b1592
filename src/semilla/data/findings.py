"""What a look at pictures finds out about each of them, as columns; and how that is kept for the next look."""

from __future__ import annotations

import io
import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from semilla.data.images import Facts, Form, LineForm
from semilla.data.labels import IntArray
from semilla.files import write_atomic

_COLUMNS = ("sizes", "contents", "hashes", "sums", "digests")


@dataclass(eq=False, slots=True)
class Findings:
    """N pictures, decoded to a form of C channels.

    Attributes:
        sizes: int64 (N,) bytes of each file.
        contents: uint8 (N, 32) SHA-256 of each file's bytes, zero where they cannot be had.
        hashes: uint64 (N,) `semilla.data.images.difference_hashes`.
        sums: float64 (N, C, 2) sum and sum of squares of the values of each channel.
        digests: uint8 (N, 16) BLAKE2b of each picture's pixels.
        facts: (N,) what each file was, None where it is unreadable.
        problems: for each unreadable row the reason.
    """

    sizes: IntArray
    contents: npt.NDArray[np.uint8]
    hashes: npt.NDArray[np.uint64]
    sums: npt.NDArray[np.float64]
    digests: npt.NDArray[np.uint8]
    facts: list[Facts | None]
    problems: dict[int, str]

    @classmethod
    def blank(cls, rows: int, channels: int) -> Findings:
        """Nothing known yet of some rows."""
        return cls(
            sizes=np.zeros(rows, np.int64),
            contents=np.zeros((rows, 32), np.uint8),
            hashes=np.zeros(rows, np.uint64),
            sums=np.zeros((rows, channels, 2)),
            digests=np.zeros((rows, 16), np.uint8),
            facts=[None] * rows,
            problems={},
        )

    def __len__(self) -> int:
        return len(self.facts)

    @property
    def readable(self) -> npt.NDArray[np.bool_]:
        """(N,) whether there are pixels."""
        result = np.ones(len(self), bool)
        result[list(self.problems)] = False
        return result

    @property
    def opened(self) -> npt.NDArray[np.bool_]:
        """(N,) whether the file's bytes could be had at all."""
        result: npt.NDArray[np.bool_] = self.contents.max(axis=1) > 0
        return result

    def put(self, rows: IntArray, other: Findings, chosen: IntArray | None = None) -> None:
        """Take over what others are: its ``chosen`` rows, or all, become the given rows here."""
        chosen = np.arange(len(other)) if chosen is None else chosen
        for name in _COLUMNS:
            getattr(self, name)[rows] = getattr(other, name)[chosen]
        for row, place in zip(rows.tolist(), chosen.tolist(), strict=True):
            self.facts[row] = other.facts[place]
            if place in other.problems:
                self.problems[row] = other.problems[place]


@dataclass(frozen=True, eq=False, slots=True)
class Record:
    """What the last look at a collection found.

    Attributes:
        form: to what the pictures were brought.
        keys: uint8 (N, 16) what tells that a row's content is unchanged; zero where nothing does.
        findings: of each row.
        pool: the key of their pixels in the store, "" where they are not kept.
    """

    form: Form | LineForm
    keys: npt.NDArray[np.uint8]
    findings: Findings
    pool: str

    def save(self, path: Path) -> None:
        """Write it; raises ResourceError or OSError where that is impossible."""
        kinds: dict[Facts | None, int] = {}
        found = self.findings
        numbers = np.array([kinds.setdefault(facts, len(kinds)) for facts in found.facts], np.int32)
        told = {
            "form": asdict(self.form),
            "pool": self.pool,
            "problems": sorted(found.problems.items()),
            "kinds": [facts and asdict(facts) for facts in kinds],
        }
        columns = {name: getattr(found, name) for name in _COLUMNS}
        text = np.frombuffer(json.dumps(told).encode(), np.uint8)
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, keys=self.keys, numbers=numbers, told=text, **columns)
        write_atomic(path, buffer.getvalue())

    @classmethod
    def read(cls, path: Path) -> Record | None:
        """The inverse of `save`; None where there is no such file or it is not one of ours."""
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
                return cls._from(stored)
        except FileNotFoundError:
            return None
        except Exception:  # a damaged archive raises whatever its readers stumble over; the record is made again
            return None

    @classmethod
    def _from(cls, stored: Any) -> Record:
        told = json.loads(stored["told"].tobytes())
        form = (LineForm if "widest" in told["form"] else Form)(**told["form"])
        kinds = [facts and Facts(**facts) for facts in told["kinds"]]
        numbers = stored["numbers"]
        findings = Findings(
            **{name: stored[name] for name in _COLUMNS},
            facts=[kinds[number] for number in numbers.tolist()],
            problems={int(row): str(reason) for row, reason in told["problems"]},
        )
        blank = Findings.blank(len(numbers), form.channels)
        for field in fields(Findings)[: len(_COLUMNS)]:
            was, due = getattr(findings, field.name), getattr(blank, field.name)
            if was.dtype != due.dtype or was.shape != due.shape:
                raise ValueError(f"column {field.name} is {was.dtype} {was.shape}")
        keys = stored["keys"]
        if keys.dtype != np.uint8 or keys.shape != (len(numbers), 16):
            raise ValueError(f"keys are {keys.dtype} {keys.shape}")
        return cls(form, keys, findings, str(told["pool"]))
