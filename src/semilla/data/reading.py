"""How the columns of a table become the features of a network: learnt from training rows, kept as plain JSON values.

Numbers are standardised and categories become one feature each, by scikit-learn's transformers. What these learn is a
few numbers and words for each column; a `TableReading` holds them and builds the transformers from them, so that a
saved model needs no pickle.

Shapes: N rows, D features: first the numbers, then the categories, both in the order of the table.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from semilla.errors import DataError, StateError, UsageError
from semilla.text import clean

if TYPE_CHECKING:  # a second to import, which workers that decode pictures would spend for nothing
    from sklearn.impute import SimpleImputer
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

Floats: TypeAlias = npt.NDArray[np.float64]
Cells: TypeAlias = Sequence[str] | Floats
"""A column's cells: text as it is written, empty where there is nothing, or numbers, NaN where there is none."""
Place: TypeAlias = Callable[[int], str]
"""Says where a row is, for messages."""

IMPUTE = ("median", "mean", "most_frequent")
CATEGORIES = 1000
"""More different words in a column are no categories to learn from: a name, an address, an identifier."""
WORDS = 50
"""A column that mixes numbers and words may have so many different cells and still be categories, such as sizes."""
CLIP = 1e6
"""Largest feature, in standard deviations: what lies beyond would not be finite after a few products in float32."""

_ROWS_TOLD, _OWN_WORDS = 50, 0.9  # rows from which a share of different words tells an identity

_MISSING = {"", "na", "n/a", "nan", "null", "none", "?"}
_DECIMAL_COMMA = re.compile(r"\s*[+-]?\d*,\d+([eE][+-]?\d+)?\s*")
_LEADING_ZERO = re.compile(r"0\d+")
_HUGE, _TINY, _FLOAT32 = 1e150, 1e-150, 1e38


def as_numbers(cells: Cells) -> tuple[Floats, npt.NDArray[np.int64]]:
    """Read cells as numbers.

    Returns:
        float64 (N,), NaN where there is no finite number; and the rows that hold some other text. Empty cells, ``NA``,
        ``nan``, ``null``, ``none``, ``?`` and infinities are no number and no text.
    """
    if isinstance(cells, np.ndarray):
        return np.where(np.isfinite(cells), cells, np.nan), np.empty(0, np.int64)
    try:
        values = np.array(list(map(float, cells)), dtype=np.float64)
        odd = [row for row, cell in enumerate(cells) if "_" in cell] if any("_" in cell for cell in cells) else []
    except ValueError:
        read = [_number(cell) for cell in cells]
        odd = [row for row, value in enumerate(read) if value is None]
        values = np.array([math.nan if value is None else value for value in read], dtype=np.float64)
    values[~np.isfinite(values)] = np.nan
    values[odd] = np.nan
    return values, np.array(odd, dtype=np.int64)


def _number(cell: str) -> float | None:
    try:
        return float(cell) if "_" not in cell else None  # Python reads 1_000 as a number
    except ValueError:
        return math.nan if cell.strip().lower() in _MISSING else None


def as_words(cells: Cells) -> list[str]:
    """Read cells as categories: text as it is, a whole number without a point, ``""`` where there is nothing."""
    if isinstance(cells, np.ndarray):
        return [_word(value) for value in cells.tolist()]
    return [cell if cell.strip() else "" for cell in cells]


def _word(value: float) -> str:
    if math.isnan(value):
        return ""
    return str(int(value)) if math.isfinite(value) and value == int(value) else repr(value)


class Column:
    """What the training rows say of one column, collected a part of them at a time."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.odd: tuple[str, str] | None = None  # the first text that is no number, and where
        self.texts = 0
        self._values: list[Floats] = []
        self._words: Counter[str] | None = Counter()

    def add(self, cells: Cells, place: Place = "row {}".format) -> None:
        """Take in some cells."""
        values, odd = as_numbers(cells)
        self._values.append(values)
        self.texts += len(odd)
        if len(odd) and self.odd is None:
            row = int(odd[0])
            self.odd = str(cells[row]), place(row)
        if self._words is not None:
            self._words.update(as_words(cells))
            if len(self._words) > CATEGORIES + 1:  # one of them may be the empty cell
                self._words = None

    @cached_property
    def values(self) -> Floats:
        """float64 (N,) numbers, NaN where there is none."""
        return np.concatenate(self._values) if self._values else np.empty(0)

    @property
    def words(self) -> Counter[str] | None:
        """How often there is which word, or None if there are too many; an empty cell is none."""
        if self._words is None:
            return None
        words = Counter({word: count for word, count in self._words.items() if word})
        return words if len(words) <= CATEGORIES else None

    @property
    def empty(self) -> bool:
        """Whether no training row has anything here."""
        return not self.texts and not np.isfinite(self.values).any()


@dataclass(frozen=True, slots=True)
class NumberColumn:
    """A column of numbers: ``(x − offset) / scale``, with ``fill`` for a missing x, or None to refuse it."""

    name: str
    offset: float
    scale: float
    fill: float | None = None


@dataclass(frozen=True, slots=True)
class CategoryColumn:
    """A column of categories, one feature each, with ``fill`` for an empty cell, or None to refuse it."""

    name: str
    categories: tuple[str, ...]
    fill: str | None = None


@dataclass(frozen=True)
class TableReading:
    """The columns that are features, and how each is read.

    Attributes:
        numbers: columns of numbers.
        categories: columns of categories.
        ignored: columns known and not used, such as the label: a file may have them or not.
        notes: what the user should know about the columns; not saved.
    """

    numbers: tuple[NumberColumn, ...] = ()
    categories: tuple[CategoryColumn, ...] = ()
    ignored: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @classmethod
    def fit(
        cls,
        columns: Sequence[Column],
        categorical: Sequence[str] = (),
        impute: str | None = None,
        ignored: Sequence[str] = (),
    ) -> TableReading:
        """Learn from the training rows, labeled or not.

        Args:
            columns: what they say of each column that may be a feature.
            categorical: columns that are categories although their cells are numbers.
            impute: ``median``, ``mean`` or ``most_frequent`` of a column fills its missing cells (for categories it is
                always the most frequent one); None refuses missing cells.
            ignored: names of columns that are no features.

        Raises:
            DataError: D084, a column mixes numbers and text; D086, no column is left.
            UsageError: U005, another word for ``impute``.
        """
        if impute is not None and impute not in IMPUTE:
            raise UsageError("U005", f"impute = {impute!r} is not known", f"give one of {', '.join(IMPUTE)}")
        numbers, categories, notes, unused = [], [], _Odd(), list(ignored)
        for column in columns:
            if column.empty:
                notes.add("empty in every training row, left out", column.name)
            elif column.name in categorical or _is_words(column):
                if column.words is not None and not _is_identity(column, column.words):
                    categories.append(_fit_categories(column, column.words, impute, notes))
                    continue
                many = f"more than {CATEGORIES} different words, left out"
                notes.add(many if column.words is None else "with another word in each row, left out", column.name)
            else:
                numbers.append(_fit_numbers(column, impute, notes))
                continue
            unused.append(column.name)
        if not numbers and not categories:
            raise DataError("D086", "the table has no column to learn from", "give columns of numbers or categories")
        return cls(tuple(numbers), tuple(categories), tuple(unused), notes.sentences())

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that a file must have."""
        return (*(column.name for column in self.numbers), *(column.name for column in self.categories))

    @property
    def blocks(self) -> tuple[int, ...]:
        """How many neighbouring features belong together: 1 for a number, all of a column for categories."""
        return (1,) * len(self.numbers) + tuple(len(column.categories) for column in self.categories)

    @property
    def width(self) -> int:
        """Number of features D."""
        return sum(self.blocks)

    def transform(self, table: Mapping[str, Cells], place: Place = "row {}".format) -> npt.NDArray[np.float32]:
        """Make features of rows.

        Args:
            table: the cells (N,) of each of `columns`, by name.
            place: says where a row is.

        Returns:
            float32 (N, D), finite. A category that training did not see is 0 in all of its column's features.

        Raises:
            DataError: D080, a cell that is missing or not a finite number.
        """
        parts = []
        if self.numbers:
            parts.append(self._scaled(table, place))
        if self.categories:
            parts.append(self._encoded(table, place))
        return np.concatenate(parts, axis=1)

    def unseen(self, table: Mapping[str, Cells]) -> Counter[str]:
        """How many cells of each column of categories hold one that training did not see."""
        return Counter(
            {
                column.name: count
                for column in self.categories
                if (count := sum(word not in self._known[column.name] for word in as_words(table[column.name]) if word))
            }
        )

    def _scaled(self, table: Mapping[str, Cells], place: Place) -> npt.NDArray[np.float32]:
        columns = []
        for column in self.numbers:
            cells = table[column.name]
            values, odd = as_numbers(cells)
            wrong = np.flatnonzero(np.isnan(values)) if column.fill is None else odd
            if len(wrong):
                raise _not_a_number(column, cells, int(wrong[0]), place)
            columns.append(values)
        with np.errstate(over="ignore", invalid="ignore"):  # what is far from training may become infinite: cut below
            filled = self._number_fill.transform(np.stack(columns, axis=1))
            scaled = self._scaler.transform(filled / self._units)
        return np.asarray(np.clip(scaled, -CLIP, CLIP), dtype=np.float32)

    def _encoded(self, table: Mapping[str, Cells], place: Place) -> npt.NDArray[np.float32]:
        columns = []
        for column in self.categories:
            words = as_words(table[column.name])
            if column.fill is None and "" in words:
                raise _missing(f"{place(words.index(''))}, column {column.name!r} is empty")
            columns.append(np.array(words, dtype=object))
        encoded = self._encoder.transform(self._word_fill.transform(np.stack(columns, axis=1)))
        return np.asarray(encoded, dtype=np.float32)

    @cached_property
    def _number_fill(self) -> SimpleImputer:
        from sklearn.impute import SimpleImputer

        return SimpleImputer().fit([[column.fill or 0.0 for column in self.numbers]])  # the mean of one row

    @cached_property
    def _scaler(self) -> StandardScaler:
        from sklearn.preprocessing import StandardScaler

        scaler = StandardScaler(copy=False)
        scaler.mean_ = np.array([column.offset for column in self.numbers]) / self._units
        scaler.scale_ = np.array([column.scale for column in self.numbers]) / self._units
        scaler.n_features_in_ = len(self.numbers)
        return scaler

    @cached_property
    def _units(self) -> Floats:
        return np.array([_unit(column.scale) for column in self.numbers])

    @cached_property
    def _word_fill(self) -> SimpleImputer:
        from sklearn.impute import SimpleImputer

        first = [[column.fill or column.categories[0] for column in self.categories]]
        return SimpleImputer(missing_values="", strategy="most_frequent").fit(np.array(first, dtype=object))

    @cached_property
    def _encoder(self) -> OneHotEncoder:
        from sklearn.preprocessing import OneHotEncoder

        known = [np.array(column.categories, dtype=object) for column in self.categories]
        encoder = OneHotEncoder(categories=known, handle_unknown="ignore", sparse_output=False, dtype=np.float32)
        return encoder.fit(np.array([[words[0] for words in known]], dtype=object))

    @cached_property
    def _known(self) -> dict[str, frozenset[str]]:
        return {column.name: frozenset(column.categories) for column in self.categories}

    def to_json(self) -> dict[str, Any]:
        """As JSON values; `from_json` is the inverse."""
        numbers = [{"kind": "number", **asdict(column)} for column in self.numbers]
        categories = [
            {"kind": "category", **asdict(column), "categories": list(column.categories)} for column in self.categories
        ]
        return {"columns": [*numbers, *categories], "ignored": list(self.ignored)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> TableReading:
        """The reading that `to_json` described.

        Raises:
            StateError: C022, the values are not of that form.
        """
        try:
            columns = [({**column}, column["kind"]) for column in values["columns"]]
            numbers = tuple(_number_column(column) for column, kind in columns if kind == "number")
            categories = tuple(_category_column(column) for column, kind in columns if kind == "category")
            if len(numbers) + len(categories) != len(columns) or not columns:
                raise ValueError("a column is neither of numbers nor of categories")
            return cls(numbers, categories, tuple(map(str, values["ignored"])))
        except (KeyError, TypeError, ValueError) as error:
            message = f"the model's card does not say how its table is read: {str(error)[:100]}"
            raise StateError("C022", message, "restore it, or train again") from error


def _is_identity(column: Column, words: Counter[str]) -> bool:
    """Whether nearly every row has a word of its own, such as a name: nothing can be learnt from it."""
    rows = len(column.values)
    return rows >= _ROWS_TOLD and len(words) > _OWN_WORDS * rows


class _Odd:
    """Columns that the user should know about, by what is odd about them."""

    def __init__(self) -> None:
        self._names: dict[str, list[str]] = {}

    def add(self, what: str, name: str) -> None:
        self._names.setdefault(what, []).append(name)

    def sentences(self) -> tuple[str, ...]:
        return tuple(
            f"warn[D086]: {len(names)} column{'s' * (len(names) > 1)} {what}: {listed(names)}"
            for what, names in self._names.items()
        )


def listed(names: Sequence[str], most: int = 8) -> str:
    """Names for a sentence, the first few of many."""
    return ", ".join(repr(clean(name)) for name in names[:most]) + (", …" if len(names) > most else "")


def _is_words(column: Column) -> bool:
    """Whether a column holds categories; one of numbers with a slip of the pen in it is refused."""
    if column.odd is None:
        return False
    text, place = column.odd
    where = f"{place}, column {column.name!r}: {clean(text[:40])!r}"
    if _DECIMAL_COMMA.fullmatch(text):
        raise DataError("D084", f"{where} has a decimal comma", "write numbers with a point, as in 1.5")
    numbers = int(np.isfinite(column.values).sum())
    if numbers > column.texts and (column.words is None or len(column.words) > WORDS):
        fix = f"correct the cell; or say that the column holds categories: --categorical {column.name}"
        raise DataError("D084", f"{where} is not a number, and {numbers} other cells of the column are", fix)
    return True


def _fit_numbers(column: Column, impute: str | None, notes: _Odd) -> NumberColumn:
    """What scikit-learn's imputer and scaler learn of one column."""
    from sklearn.impute import SimpleImputer
    from sklearn.preprocessing import StandardScaler

    values = column.values
    largest = float(np.nanmax(np.abs(values)))
    unit = _unit(largest)
    rows = (values / unit)[:, None]
    fill = None
    if impute is not None:
        with np.errstate(over="ignore", invalid="ignore"):  # its look for what is not finite adds all up
            imputer = SimpleImputer(strategy=impute).fit(rows)
        rows, fill = imputer.transform(rows), float(imputer.statistics_[0]) * unit
    scaler = StandardScaler().fit(rows)
    if np.nanmin(values) == np.nanmax(values):
        notes.add("the same in every training row", column.name)
    if largest > _FLOAT32:
        notes.add("numbers beyond 1e38, which leave the others of the column no room", column.name)
    if column.words and any(map(_LEADING_ZERO.fullmatch, column.words)):
        notes.add("whole numbers that begin with 0, read as numbers (categories? --categorical)", column.name)
    return NumberColumn(column.name, float(scaler.mean_[0]) * unit, float(scaler.scale_[0]) * unit, fill)


def _unit(size: float) -> float:
    """A unit in which squares of values of this size are neither infinite nor 0."""
    return 1.0 if size == 0 or _TINY < size < _HUGE else size


def _fit_categories(column: Column, words: Counter[str], impute: str | None, notes: _Odd) -> CategoryColumn:
    known = tuple(sorted(words))
    if len(known) == 1:
        notes.add("the same in every training row", column.name)
    most = max(words.values())
    fill = None if impute is None else next(word for word in known if words[word] == most)
    return CategoryColumn(column.name, known, fill)


def _not_a_number(column: NumberColumn, cells: Cells, row: int, place: Place) -> DataError:
    cell = cells[row]
    where = f"{place(row)}, column {column.name!r}"
    if isinstance(cell, str) and not cell.strip():
        return _missing(f"{where} is empty")
    shown = repr(clean(cell[:40])) if isinstance(cell, str) else str(cell)
    if isinstance(cell, str) and _DECIMAL_COMMA.fullmatch(cell):
        return DataError("D080", f"{where}: {shown} has a decimal comma", "write numbers with a point, as in 1.5")
    return _missing(f"{where}: {shown} is not a finite number")


def _missing(message: str) -> DataError:
    fix = "fill it in, leave the row out, or train with --impute median"
    return DataError("D080", message, fix)


def _number_column(values: Mapping[str, Any]) -> NumberColumn:
    fill = values["fill"]
    column = NumberColumn(
        str(values["name"]), float(values["offset"]), float(values["scale"]), None if fill is None else float(fill)
    )
    if not (math.isfinite(column.offset) and math.isfinite(column.scale) and column.scale > 0):
        raise ValueError(f"offset {column.offset} and scale {column.scale} of {column.name!r}")
    return column


def _category_column(values: Mapping[str, Any]) -> CategoryColumn:
    fill, categories = values["fill"], tuple(map(str, values["categories"]))
    if not categories or list(categories) != sorted(set(categories)):
        raise ValueError(f"the categories of {values['name']!r}")
    return CategoryColumn(str(values["name"]), categories, None if fill is None else str(fill))
