"""Texts to draw: from a file of lines, a column of a table, a word list, or from what is built in.

A text is NFC, its words are set apart by single spaces, and it holds nothing that cannot be seen. What is drawn at an
index is a function of (corpus, settings, seed, index).
"""

from __future__ import annotations

import bisect
import functools
import hashlib
import itertools
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from semilla.data.csvfiles import LINES, read_rows, suffix
from semilla.errors import DataError, UsageError
from semilla.generating import english, vietnamese
from semilla.generating.draws import Draws
from semilla.text import clean, many

BUILT_IN = ("vietnamese", "english", "digits")
MODES = ("lines", "words")
CASES = ("keep", "mixed", "lower", "upper", "title")
TEXT_COLUMNS = ("text", "transcription", "label", "sentence", "line", "word", "value")
TABLES = (".csv", ".tsv", *LINES)

MOST_BYTES = 2**30
_SLOT = re.compile(r"\{(\w+)\}")
_WORD_LIST = 1.5  # words an item has on average, below which a corpus is a list of words


@dataclass(frozen=True)
class Corpus:
    """Texts to draw from.

    Attributes:
        name: a built-in one's, or the file's.
        items: distinct lines or words, NFC; of a built-in corpus its words.
        left_out: how many texts were left out, by reason.
        digest: of name and items, in hexadecimal.
    """

    name: str
    items: tuple[str, ...]
    left_out: tuple[tuple[str, int], ...] = ()
    built_in: bool = False

    @functools.cached_property
    def digest(self) -> str:
        """The first 16 hexadecimal digits of the SHA-256 of all items."""
        return hashlib.sha256("\n".join((self.name, *self.items)).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Choice:
    """Which texts are made of a corpus.

    Attributes:
        mode: ``lines`` or ``words``.
        words: fewest and most words of a text.
        max_length: most characters of a text.
        case: ``keep``, ``lower``, ``upper``, ``title``, or ``mixed``, which draws among them.
        balance: 0 draws texts as they come; 1 draws those with rare characters as often as those without.
    """

    mode: str = "lines"
    words: tuple[int, int] = (1, 12)
    max_length: int = 70
    case: str = "keep"
    balance: float = 0.0


def tidy(text: str) -> str:
    """NFC, and every run of white space one space: a label can say no more of a gap than a picture shows."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def read_corpus(source: str | os.PathLike[str], column: str | None = None) -> Corpus:
    """The texts of a file, or a built-in corpus.

    Args:
        source: ``vietnamese``, ``english``, ``digits``, or a file: .csv, .tsv and .jsonl have a column of texts, any
            other is read as UTF-8 with a text a line.
        column: the column's name; ``text``, ``transcription``, ``label`` and the like are found by themselves.

    Raises:
        DataError: D001, no such file; D150, not text; D151, no text in it; D152, no such column; and what
            `semilla.data.csvfiles.read_rows` raises.
        UsageError: U132, a column named for what has none.
    """
    name = os.fspath(source)
    path = Path(name).expanduser()
    table = suffix(path) in TABLES
    if column is not None and (name in BUILT_IN or not table):
        raise UsageError("U132", f"{clean(name)} has no columns", "leave --text-column out, or give .csv or .jsonl")
    if name in BUILT_IN:
        return _built_in(name)
    if not path.is_file():
        near = f"built in are {', '.join(BUILT_IN)}"
        raise DataError("D001", f"no file {clean(name)!r}", f"check the path; {near}")
    return corpus_of(_column(path, column) if table else _lines(path), path.name)


def corpus_of(raw: Iterable[str], name: str = "texts") -> Corpus:
    """A corpus of given texts; those with characters that cannot be seen are left out.

    Raises:
        DataError: D151, nothing is left.
    """
    texts = {tidy(text) for text in raw} - {""}
    shown = sorted(text for text in texts if not any(map(invisible, text)))
    if not shown:
        message = f"{clean(name)}: no text can be seen" if texts else f"{clean(name)} has no text"
        raise DataError("D151", message, "give a word or a line of text in each line")
    hidden = len(texts) - len(shown)
    return Corpus(name, tuple(shown), (("characters that cannot be seen", hidden),) if hidden else ())


def invisible(character: str) -> bool:
    """Whether a character leaves nothing to see: control and format characters, private and unknown ones."""
    return unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")


def _built_in(name: str) -> Corpus:
    words = {"vietnamese": vietnamese.WORDS, "english": english.WORDS, "digits": list("0123456789")}[name]
    return Corpus(name, tuple(sorted({tidy(word) for word in words})), built_in=True)


def _column(path: Path, column: str | None) -> list[str]:
    names, rows = read_rows(path)
    if column is None:
        lower = {name.lower(): place for place, name in reversed(list(enumerate(names)))}
        place = next((lower[name] for name in TEXT_COLUMNS if name in lower), 0 if len(names) == 1 else -1)
    else:
        place = names.index(column) if column in names else -1
    if place < 0:
        wanted = f"column {clean(column)!r}" if column is not None else f"column called {', '.join(TEXT_COLUMNS[:3])}"
        message = f"{clean(path.name)} has no {wanted}; it has {', '.join(clean(name) for name in names[:20])}"
        raise DataError("D152", message, "name the one that holds the texts with --text-column")
    return [cells[place] for _, cells in rows]


def _lines(path: Path) -> list[str]:
    size = path.stat().st_size
    if size > MOST_BYTES:
        message = f"{clean(path.name)} has {size / 1e9:.1f} GB, more than {MOST_BYTES / 1e9:.1f}"
        raise DataError("D150", message, "cut it: a few million lines are plenty")
    data = path.read_bytes()
    try:
        text = data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        message = f"{clean(path.name)}, line {line}: this is not text in UTF-8"
        raise DataError("D150", message, "give a text file, and save it as UTF-8") from error
    if "\0" in text:
        raise DataError("D150", f"{clean(path.name)} is a binary file: it holds zero bytes", "give a text file")
    return text.split("\n")


class Texts:
    """Draws texts of a corpus.

    Args:
        corpus: what there is.
        choice: what is wanted.

    Attributes:
        shown: words of the corpus that are short enough.

    Raises:
        UsageError: U133, an option out of its range.
        DataError: D151, no text of the corpus is short enough.
    """

    def __init__(self, corpus: Corpus, choice: Choice) -> None:
        _check(choice)
        self.corpus, self.choice = corpus, choice
        words = {word for item in corpus.items for word in item.split(" ")}
        if corpus.built_in and choice.mode == "words":
            words |= {item for place in PLACES.get(corpus.name, ()) for item in place.split(" ")}
        short = sorted(word for word in words if len(word) <= choice.max_length)
        if not short:
            message = f"no text of {clean(corpus.name)} has {choice.max_length} characters or fewer"
            raise DataError("D151", message, "allow more with --max-length")
        self.shown = short
        listed = len(corpus.items) * _WORD_LIST > sum(item.count(" ") + 1 for item in corpus.items)
        self._joined = choice.mode == "words" or listed
        self._items = short if self._joined else list(corpus.items)
        self._weights = _cumulated(self._items, choice.balance) if choice.balance else None
        self._all = _syllables() if corpus.name == "vietnamese" and corpus.built_in else []
        self._rare = _cumulated(self._all, choice.balance) if choice.balance and self._all else None

    def characters(self) -> set[str]:
        """Every character that a text may hold."""
        found = set().union(*self._items, " ")
        if self.corpus.built_in:
            found |= set("0123456789")
        if self.corpus.built_in and self.corpus.name == "vietnamese":
            found |= set().union(*self._all, *(way for ways in vietnamese.GRAMMAR.values() for way in ways))
            found |= set().union(*PLACES["vietnamese"], "ABCDEGH")
        if self.choice.case != "keep" or self.corpus.built_in:
            found |= {
                other
                for one in found
                for word in (one.upper(), one.lower(), one.title())
                for other in tidy(word) or " "
            }
        return {one for one in found if not invisible(one) and one not in "{}_"} | set("".join(self._items))

    def draw(self, draws: Draws) -> str:
        """A text: one or more words, at most ``max_length`` characters."""
        if self.corpus.built_in:
            text = self._own(draws)
        elif self._joined:
            text = self._some(draws)
        else:
            text = self._item(draws)
        return self._cased(self._cut(text, draws), draws)

    def _own(self, draws: Draws) -> str:
        """A text of a built-in corpus."""
        name, words = self.corpus.name, self.choice.mode == "words"
        if name == "digits":
            low, high = self.choice.words
            groups = draws.whole(low, min(high, 1 if words else 4))
            return " ".join(str(draws.whole(0, 10 ** draws.whole(1, 6) - 1)) for _ in range(groups))
        if name == "english":
            return _number(draws) if draws.chance(0.06) else self._some(draws)
        if self._rare is not None and draws.chance(0.5 * self.choice.balance):
            return " ".join(self._syllable(draws) for _ in range(draws.whole(*self.choice.words) if words else 5))
        if not words:
            return fill("{line}", draws, self)
        if draws.chance(0.15):
            return draws.pick((self._syllable, _number, _number))(draws)
        return self._some(draws)

    def _some(self, draws: Draws) -> str:
        low, high = self.choice.words
        return " ".join(self._item(draws) for _ in range(draws.whole(low, high)))

    def _item(self, draws: Draws) -> str:
        if self._weights is None:
            return draws.pick(self._items)
        return self._items[bisect.bisect_right(self._weights, draws.one() * self._weights[-1])]

    def _syllable(self, draws: Draws) -> str:
        if self._rare is None:
            return draws.pick(self._all)
        return self._all[bisect.bisect_right(self._rare, draws.one() * self._rare[-1])]

    def word(self, name: str, draws: Draws) -> str:
        """What a slot of the grammar that is no rule stands for."""
        if name in ("word", "Word"):
            return _capital(draws.pick(self._items)) if name == "Word" else draws.pick(self._items)
        if name in ("syllable", "Syllable"):
            return _capital(self._syllable(draws)) if name == "Syllable" else self._syllable(draws)
        if name in _NUMBERS:
            return str(draws.whole(*_NUMBERS[name])).zfill(3 if name == "nnn" else 1)
        return draws.pick(_SLOTS[name])

    def _cut(self, text: str, draws: Draws) -> str:
        """Some words in a row where the text has too many, and as many as fit."""
        words = text.split(" ")
        most = self.choice.words[1]
        if len(words) > most or len(text) > self.choice.max_length:
            start = draws.whole(0, max(0, len(words) - most))
            words = words[start : start + most]
            lengths = list(itertools.accumulate(len(word) + 1 for word in words))
            fitting = bisect.bisect_right(lengths, self.choice.max_length + 1)
            if not fitting:  # one word that is too long for itself: the first that is not, or its beginning
                return (
                    next((word for word in text.split(" ") if len(word) <= self.choice.max_length), "")
                    or (words[0][: self.choice.max_length])
                )
            words = words[:fitting]
        return " ".join(words)

    def _cased(self, text: str, draws: Draws) -> str:
        case = self.choice.case
        if case == "mixed":
            case = draws.pick(("keep", "keep", "keep", "keep", "keep", "lower", "upper", "upper", "title", "title"))
        if case == "keep":
            return text
        changed = {"lower": str.lower, "upper": str.upper, "title": _titled}[case](text)
        changed = tidy(changed)
        return changed if len(changed) <= self.choice.max_length else text


PLACES = {"vietnamese": (*vietnamese.PROVINCES, *vietnamese.FAMILY, *vietnamese.MIDDLE, *vietnamese.GIVEN,
                         *vietnamese.PLACE, *vietnamese.STREETS, *vietnamese.UPLAND)}  # fmt: skip
_SLOTS = {
    "Province": vietnamese.PROVINCES,
    "Family": vietnamese.FAMILY,
    "Middle": vietnamese.MIDDLE,
    "Given": vietnamese.GIVEN,
    "place": vietnamese.PLACE,
    "Upland": vietnamese.UPLAND,
    "Street": vietnamese.STREETS,
    "letter": "ABCDEGH",
}
_NUMBERS = {"n": (1, 30), "nn": (10, 99), "nnn": (0, 999), "year": (1930, 2029)}


def fill(rule: str, draws: Draws, texts: Texts) -> str:
    """Fill the slots of a rule, and of the rules they stand for, until only text is left."""

    def one(slot: re.Match[str]) -> str:
        ways = vietnamese.GRAMMAR.get(slot[1])
        return texts.word(slot[1], draws) if ways is None else _SLOT.sub(one, draws.pick(ways))

    return _SLOT.sub(one, rule)


def _check(choice: Choice) -> None:
    low, high = choice.words
    problems = (
        (choice.mode not in MODES, f"mode {choice.mode!r}", f"one of {', '.join(MODES)}"),
        (choice.case not in CASES, f"case {choice.case!r}", f"one of {', '.join(CASES)}"),
        (not 1 <= low <= high, f"words {low} to {high}", "two numbers from 1 on, the smaller first"),
        (not 1 <= choice.max_length <= 1000, f"max_length {choice.max_length}", "1 to 1000"),
        (not 0 <= choice.balance <= 1, f"balance {choice.balance:g}", "0 to 1"),
    )
    for wrong, what, right in problems:
        if wrong:
            raise UsageError("U133", f"{what} is not possible", right)


def _cumulated(items: Sequence[str], balance: float) -> list[float]:
    """Running sums of weights: an item is drawn as often as its rarest character is rare, to the power ``balance``."""
    counts = Counter(itertools.chain.from_iterable(items))
    return list(itertools.accumulate(min(counts[one] for one in item) ** -balance for item in items))


def _number(draws: Draws) -> str:
    digits = str(draws.whole(0, 10 ** draws.whole(1, 5) - 1))
    return draws.pick(("{}", "{}", "{}", "{}%", "{},5", "{}.000", "No.{}", "{}A", "({})")).format(digits)


def _capital(word: str) -> str:
    return word[:1].upper() + word[1:]


def _titled(text: str) -> str:
    return " ".join(_capital(word.lower()) for word in text.split(" "))


@functools.cache
def _syllables() -> list[str]:
    return vietnamese.syllables()


def told(left_out: Sequence[tuple[str, int]]) -> str:
    """Texts left out, in words."""
    return ", ".join(f"{many(count, 'text')} ({reason})" for reason, count in left_out)
