"""What to read and how, in one value that is saved with a run."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class Source:
    """What to read and how: all that is needed to read it again.

    Attributes:
        data: a name, a path, arrays, a `Dataset`.
        unlabeled: a folder or file with more unlabeled examples.
        test: a folder or file with the examples to be tested on.
        holdout: labeled examples to keep back as the test part, where the data have none: a share below 1 or a count.
        path_column: the column of a list that names the pictures.
        label_column: the column of a list or table that holds the labels.
        group_column: the column that says what belongs together, such as a writer or a patient.
        categorical: columns of a table that are categories although they look like numbers.
        impute: what fills an empty cell of a table: ``median``, ``mean`` or ``most_frequent``; None refuses it.
        size: pixels of each side that pictures are brought to; None chooses from the pictures.
        resize: how a picture of another shape is brought there: ``squash``, ``pad`` or ``crop``.
        flip: whether a mirrored picture means the same; None decides by the class names.
        on_bad_file: ``error``, or ``skip`` to leave out labeled pictures that cannot be read.
        allow_leak: whether test examples may also be among those trained on.
        follow_links: whether links may lead out of the data folder.
        max_pixels: the largest picture that is opened.
    """

    data: Any
    unlabeled: str | None = None
    test: str | None = None
    holdout: float | None = None
    path_column: str | None = None
    label_column: str | None = None
    group_column: str | None = None
    categorical: tuple[str, ...] = ()
    impute: str | None = None
    size: int | None = None
    resize: str = "squash"
    flip: bool | None = None
    on_bad_file: str = "error"
    allow_leak: bool = False
    follow_links: bool = False
    max_pixels: int = 64_000_000

    def plain(self) -> dict[str, Any] | None:
        """As JSON values; None where the data are only in memory."""
        if not isinstance(self.data, str | os.PathLike):
            return None
        return {**asdict(replace(self, data=os.fspath(self.data))), "categorical": list(self.categorical)}

    @classmethod
    def from_plain(cls, values: Mapping[str, Any]) -> Source:
        """The inverse of `plain`."""
        return cls(**{**values, "categorical": tuple(values.get("categorical", ()))})
