"""Encoded pictures of several collections, or some of one, in an order of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from semilla.data.blobs import Blobs, Stamp
from semilla.data.labels import IntArray


@dataclass(frozen=True, eq=False)
class Gathered:
    """Rows picked from collections.

    Attributes:
        parts: the collections.
        part_of: int64 (N,) which of them each row is in.
        row_of: int64 (N,) where it stands there.
        names: (N,) the paths of the manifest, each there once.
    """

    parts: tuple[Blobs, ...]
    part_of: IntArray
    row_of: IntArray
    names: tuple[str, ...]

    @classmethod
    def of(cls, blobs: Blobs, rows: Sequence[int] | IntArray, names: tuple[str, ...]) -> Gathered:
        """Some rows of one collection."""
        row_of = np.asarray(rows, np.int64)
        return cls((blobs,), np.zeros(len(row_of), np.int64), row_of, names)

    def __len__(self) -> int:
        return len(self.names)

    def read(self, row: int) -> bytes:
        """The encoded picture."""
        part: Blobs = self.parts[self.part_of[row]]
        return part.read(int(self.row_of[row]))

    def stamp(self, row: int) -> Stamp | None:
        """What tells that the content is unchanged."""
        part: Blobs = self.parts[self.part_of[row]]
        return part.stamp(int(self.row_of[row]))

    def name(self, row: int) -> str:
        """The path in the manifest."""
        return self.names[row]

    def describe(self) -> str:
        """Where the collections lie; "" if one of them lies nowhere."""
        places = [part.describe() for part in self.parts]
        return "\n".join(places) if all(places) else ""
