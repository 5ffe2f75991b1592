"""What to read and how, in one value that is saved with a run."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from semilla.errors import UsageError

_SETTINGS = ("size", "resize")

DIGIT_STRINGS = "digit_strings"
"""The name of a data set that is text without being called so."""


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
        task: ``text`` where the pictures are lines of text and their labels transcriptions; None for all else.
        height: pixels of height that lines of text are brought to; None stands for 32.
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
    task: str | None = None
    height: int | None = None

    def __post_init__(self) -> None:
        if self.task is None and isinstance(self.data, str) and self.data == DIGIT_STRINGS:
            object.__setattr__(self, "task", "text")

    def plain(self) -> dict[str, Any] | None:
        """As JSON values; None where the data are only in memory."""
        if not isinstance(self.data, str | os.PathLike):
            return None
        places = {name: os.path.abspath(place) for name, place in self._places().items() if os.path.exists(place)}
        values = {**asdict(replace(self, data=os.fspath(self.data))), "categorical": list(self.categorical)}
        return {**values, "places": places}

    def refuse_inside(self, out: str | os.PathLike[str]) -> None:
        """Refuse to write into the data: a second look would take what was written for more of them.

        Raises:
            UsageError: U022.
        """
        real = os.path.realpath(out)
        for place in self._places().values():
            folder = os.path.realpath(place)
            if os.path.isdir(folder) and os.path.commonpath([real, folder]) == folder:
                message = f"the folder to write to, {os.fspath(out)!r}, lies in the data folder {place!r}"
                raise UsageError("U022", message, "name one elsewhere: --out")

    def _places(self) -> dict[str, str]:
        """The paths, by the name of what they say."""
        given = {"data": self.data, "unlabeled": self.unlabeled, "test": self.test}
        return {name: os.fspath(place) for name, place in given.items() if isinstance(place, str | os.PathLike)}

    @classmethod
    def of(cls, data: Any, words: Mapping[str, Any]) -> tuple[Source, dict[str, Any]]:
        """The source of some data, with what belongs to it taken out of further keywords, and the rest of those.

        The size of pictures stays among them as well: it is also a setting of training.
        """
        names = {item.name for item in fields(cls)} - {"data"}
        own = {name: value for name, value in words.items() if name in names and value is not None}
        rest = {name: value for name, value in words.items() if name not in names or name in _SETTINGS}
        return replace(data if isinstance(data, Source) else cls(data), **own), rest

    @classmethod
    def from_plain(cls, values: Mapping[str, Any]) -> Source:
        """The inverse of `plain`; what is not there as it was named is looked for where it lay then."""
        words = {name: value for name, value in values.items() if name != "places"}
        for name, place in values.get("places", {}).items():
            if not os.path.exists(words[name]) and os.path.exists(place):
                words[name] = place
        return cls(**{**words, "categorical": tuple(words.get("categorical", ()))})
