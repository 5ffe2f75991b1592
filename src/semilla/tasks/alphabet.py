"""The characters that strings are made of: NFC code points, each with a fixed place among the symbols of a network.

Symbol 0 belongs to the task, CTC's blank or the decoder's end; the character at position i is symbol i + 1.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from string import ascii_letters, ascii_lowercase, digits, punctuation
from typing import Final

import torch
from torch import Tensor

from semilla.errors import DataError, UsageError

_TONES = ("", "\u0300", "\u0301", "\u0303", "\u0309", "\u0323")
_ACCENTED = "".join(
    nfc
    for vowel in "aăâeêioôơuưy"
    for tone in _TONES
    if (nfc := unicodedata.normalize("NFC", vowel + tone)) not in ascii_letters
)
RARE = 3
"""Times a character stands in the labels below which it is told."""

VIETNAMESE: Final = _ACCENTED + "đ" + _ACCENTED.upper() + "Đ"
"""The 134 letters of Vietnamese that are not plain Latin ones."""

PRESETS: Final = {
    "ascii": ascii_letters + digits + punctuation + " ",
    "english36": digits + ascii_lowercase,
    "vietnamese": VIETNAMESE + ascii_letters + digits + punctuation + " ",
}
_NEAR = {"‘": "'", "’": "'", "“": '"', "”": '"', "–": "-", "—": "-", "−": "-", "\u00d0": "Đ", "ð": "đ", "Ɖ": "Đ"}
"""Characters taken for one another that no Unicode normalisation makes equal; Ð and Ɖ look like Đ and are not."""


@dataclass(frozen=True)
class Alphabet:
    """Characters in the order of a network's symbols.

    Args:
        symbols: single NFC code points, none twice. Sorted where the alphabet was made by `of` or `preset`; what
            `grown` adds follows, so that what a network learned of a symbol keeps its place.

    Raises:
        DataError: D141, a code point stands there twice or is not NFC.
    """

    symbols: str

    def __post_init__(self) -> None:
        if len(set(self.symbols)) < len(self.symbols):
            twice = next(symbol for symbol in self.symbols if self.symbols.count(symbol) > 1)
            raise DataError("D141", f"{described(twice)} stands twice in the alphabet", "give each character once")
        for symbol in self.symbols:
            if _nfc(symbol) != symbol:
                said = f"{described(symbol)} of the alphabet is not in Unicode's form NFC"
                raise DataError("D141", said, f"give {' '.join(map(described, _nfc(symbol)))} instead")

    def __len__(self) -> int:
        return len(self.symbols)

    @classmethod
    def of(cls, texts: Iterable[str]) -> Alphabet:
        """The characters of these texts, in the order of their code points."""
        return cls("".join(sorted({symbol for text in texts for symbol in _nfc(text)})))

    @classmethod
    def preset(cls, name: str) -> Alphabet:
        """A known alphabet: one of `PRESETS`.

        ``vietnamese`` has the 134 accented letters, the Latin ones, digits, ASCII punctuation and the space;
        ``english36`` the digits and small letters of the scene-text benchmarks; ``ascii`` what can be printed of it.

        Raises:
            UsageError: U120, there is none of that name.
        """
        if name not in PRESETS:
            raise UsageError("U120", f"no alphabet {name!r}", f"one of {', '.join(PRESETS)}, or build it from labels")
        return cls.of([PRESETS[name]])

    def grown(self, texts: Iterable[str]) -> Alphabet:
        """This alphabet, and after its symbols those of the texts it lacks, sorted."""
        return Alphabet(self.symbols + "".join(sorted(set(Alphabet.of(texts).symbols) - set(self.symbols))))

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Texts → (B, L) int64 symbols, padded with −1; an empty text is a row of −1. NFC is made here.

        Raises:
            DataError: D140, a character is not in the alphabet.
        """
        place = {symbol: index for index, symbol in enumerate(self.symbols, start=1)}
        rows = [[place.get(symbol, 0) for symbol in _nfc(text)] for text in texts]
        for text, row in zip(texts, rows, strict=True):
            if 0 in row:
                self._refuse(text, _nfc(text)[row.index(0)])
        longest = max([1, *map(len, rows)])
        return torch.tensor([row + [-1] * (longest - len(row)) for row in rows], dtype=torch.int64).view(-1, longest)

    def decode(self, target: Tensor) -> list[str]:
        """(B, L) symbols → texts in NFC; what is not above 0 is left out."""
        rows = target.tolist()
        return [_nfc("".join(self.symbols[symbol - 1] for symbol in row if symbol > 0)) for row in rows]

    def _refuse(self, text: str, symbol: str) -> None:
        plain = _NEAR.get(symbol, "")
        others = (plain, unicodedata.normalize("NFKC", symbol), symbol.lower(), symbol.upper(), _base(symbol))
        near = next((other for other in others if other and set(other) <= set(self.symbols)), "")
        said = f"text {text!r} has {described(symbol)}, not one of the {len(self)} characters of the alphabet"
        fix = "build the alphabet from the labels, or let it grow by them"
        raise DataError("D140", said, f"{fix}, or write {' '.join(map(described, near))}" if near else fix)


@dataclass(frozen=True, slots=True)
class Character:
    """What is known of one character of a set of texts.

    Attributes:
        character: the code point itself.
        count: how often it stands in the texts.
        name: its Unicode name, or ``no name``.
        combining: it is a mark that joins the character before it: no letter of NFC holds the two.
        control: it cannot be seen: control, format, private or unassigned characters and line separators.
        unknown: the given alphabet lacks it.
        names: the first of the texts it stands in, by name.
    """

    character: str
    count: int
    name: str
    combining: bool
    control: bool
    unknown: bool
    names: tuple[str, ...]

    @property
    def code_point(self) -> str:
        """As Unicode writes it: ``U+1EC7``."""
        return f"U+{ord(self.character):04X}"


def characters(
    texts: Sequence[str], names: Sequence[str], alphabet: Alphabet | None = None, first: int = 3
) -> list[Character]:
    """Every character of the texts, the most frequent first, then by code point.

    Args:
        texts: in any Unicode form; NFC is counted.
        names: of the texts, such as their files.
        alphabet: what may occur, or None for all.
        first: names to give for each character.
    """
    counts: dict[str, int] = {}
    where: dict[str, list[str]] = {}
    for text, name in zip(texts, names, strict=True):
        nfc = _nfc(text)
        for symbol in dict.fromkeys(nfc):
            counts[symbol] = counts.get(symbol, 0) + nfc.count(symbol)
            if len(held := where.setdefault(symbol, [])) < first:
                held.append(name)
    known = None if alphabet is None else set(alphabet.symbols)
    return [
        Character(
            character=symbol,
            count=count,
            name=unicodedata.name(symbol, "no name"),
            combining=unicodedata.category(symbol).startswith("M"),
            control=unicodedata.category(symbol) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs") and symbol != " ",
            unknown=known is not None and symbol not in known,
            names=tuple(where[symbol]),
        )
        for symbol, count in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    ]


def frames_needed(text: str) -> int:
    """Frames without which CTC cannot write a text: one for each symbol, and a blank between equal ones."""
    return len(text) + sum(one == other for one, other in pairwise(text))


def described(symbol: str) -> str:
    """A character for a sentence: itself, escaped where it cannot be seen, its code point and its name."""
    return f"{symbol!r} (U+{ord(symbol):04X} {unicodedata.name(symbol, 'no name')})"


def _nfc(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _base(symbol: str) -> str:
    """The letter under its marks."""
    return unicodedata.normalize("NFD", symbol)[0]
