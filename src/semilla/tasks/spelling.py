"""How far readings are from the truth: edits of grapheme clusters, what a reader takes for one character.

Counts are kept for each example, so that rates can be resampled by writer or document. ``cer`` stands first among the
scores, for words and lines alike: exact match is 0 for long lines until almost everything is right, and tells nothing
of the way there.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from semilla.errors import UsageError

Counts = npt.NDArray[np.int64]

_TONES: Final = frozenset("\u0300\u0301\u0303\u0309\u0323")
_DIACRITICS: Final = frozenset("\u0302\u0306\u031b")
"""Marks that make another letter of the same base: circumflex, breve and horn. The stroke of đ is not a mark."""


@dataclass(frozen=True)
class Protocol:
    """What is the same when readings are compared; it belongs to every score.

    Applied to truth and reading alike: NFC, then small letters, then what may stay.

    Args:
        case: tell capital from small letters.
        punctuation: compare punctuation and signs (Unicode's P and S); where they are dropped, spaces in a row are one.
        symbols: keep these characters alone, or None for all.
    """

    case: bool = True
    punctuation: bool = True
    symbols: str | None = None

    @classmethod
    def preset(cls, name: str) -> Protocol:
        """A known protocol: ``exact``, or ``english36`` for published word accuracies.

        The latter is the rule of Baek et al., "What is wrong with scene text recognition model comparisons?", ICCV
        2019, arXiv 1904.01906, and of those who compare with it: small letters, then digits and a to z alone, the rest
        deleted. Nothing is folded before: é counts as nothing, in one piece or in two, which are the same text here.

        Raises:
            UsageError: U121, there is none of that name.
        """
        known = {"exact": cls(), "english36": cls(case=False, symbols="0123456789abcdefghijklmnopqrstuvwxyz")}
        if name not in known:
            raise UsageError("U121", f"no protocol {name!r} of comparison", f"one of {', '.join(known)}")
        return known[name]

    def plain(self) -> dict[str, Any]:
        """As JSON values: it stands beside every score."""
        return {"case": self.case, "punctuation": self.punctuation, "symbols": self.symbols}

    def apply(self, text: str) -> str:
        """The text as it is compared."""
        text = unicodedata.normalize("NFC", text)
        if not self.case:
            text = unicodedata.normalize("NFC", text.lower())
        if not self.punctuation:
            text = " ".join("".join(each for each in text if unicodedata.category(each)[0] not in "PS").split())
        return text if self.symbols is None else "".join(each for each in text if each in self.symbols)


@dataclass(frozen=True)
class Scores:
    """Counts of N readings against their truths. Rates are of sums; those of an example with no truth divide by 1.

    Attributes:
        edits: (N,) clusters to insert, delete or replace.
        length: (N,) clusters of the truth.
        longer: (N,) clusters of the longer of the two.
        word_edits: (N,) the same of words, between white space.
        words: (N,) words of the truth.
        protocol: what was taken for the same.
    """

    edits: Counts
    length: Counts
    longer: Counts
    word_edits: Counts
    words: Counts
    protocol: Protocol

    @property
    def exact(self) -> npt.NDArray[np.bool_]:
        """(N,) nothing is wrong."""
        exact: npt.NDArray[np.bool_] = self.edits == 0
        return exact

    @property
    def similarity(self) -> npt.NDArray[np.float64]:
        """(N,) 1 − edits / the longer length; 1 where both are empty."""
        return 1 - self.edits / np.maximum(self.longer, 1)

    def rates(self) -> dict[str, float]:
        """``cer`` and ``wer`` in [0, ∞), ``accuracy`` (exact match) and ``1-ned`` in [0, 1]; of no example, NaN."""
        if not len(self.edits):
            return dict.fromkeys(("cer", "wer", "accuracy", "1-ned"), float("nan"))
        return {
            "cer": float(self.edits.sum() / max(self.length.sum(), 1)),
            "wer": float(self.word_edits.sum() / max(self.words.sum(), 1)),
            "accuracy": float(self.exact.mean()),
            "1-ned": float(self.similarity.mean()),
        }


def scores(readings: Sequence[str], truths: Sequence[str], protocol: Protocol | None = None) -> Scores:
    """Compare each reading with its truth.

    Raises:
        UsageError: U122, the packages for strings are not installed.
    """
    protocol = protocol or Protocol()
    distance = _needed("rapidfuzz.distance").Levenshtein.distance
    read, true = ([protocol.apply(text) for text in texts] for texts in (readings, truths))
    clusters = list(zip(map(graphemes, read), map(graphemes, true), strict=True))
    words = [(a.split(), b.split()) for a, b in zip(read, true, strict=True)]
    return Scores(
        edits=_counts(clusters, distance),
        length=_counts(clusters, lambda _, truth: len(truth)),
        longer=_counts(clusters, lambda reading, truth: max(len(reading), len(truth))),
        word_edits=_counts(words, distance),
        words=_counts(words, lambda _, truth: len(truth)),
        protocol=protocol,
    )


def letter_errors(readings: Sequence[str], truths: Sequence[str], protocol: Protocol | None = None) -> dict[str, int]:
    """What is wrong with the letters of Vietnamese, over all examples.

    Along one shortest way of edits: ``insertions``, ``deletions`` and ``substitutions`` of clusters, and of the
    substitutions those of another ``base`` letter, and where it is the same, of another ``diacritic`` (of ă â ê ô ơ ư
    and đ) and of another ``tone``; one substitution may count for both. ``case`` are those that differ in nothing else,
    ``other`` those with marks that Vietnamese does not have. ``letters`` are the clusters of the truth.
    """
    protocol = protocol or Protocol()
    editops = _needed("rapidfuzz.distance").Levenshtein.editops
    found: Counter[str] = Counter()
    for reading, truth in zip(readings, truths, strict=True):
        read, true = graphemes(protocol.apply(reading)), graphemes(protocol.apply(truth))
        found["letters"] += len(true)
        for kind, at, to in editops(read, true):
            found[{"replace": "substitutions", "insert": "deletions", "delete": "insertions"}[kind]] += 1
            if kind == "replace":
                found.update(_difference(read[at], true[to]))
    names = ("letters", "insertions", "deletions", "substitutions", "base", "diacritic", "tone", "case", "other")
    return {name: found[name] for name in names}


def graphemes(text: str) -> list[str]:
    r"""Extended grapheme clusters (Unicode's annex 29, ``\X``): a letter and its marks, a flag, an emoji of several."""
    clusters: list[str] = _needed("regex").findall(r"\X", text)
    return clusters


def _difference(reading: str, truth: str) -> list[str]:
    """Which parts of two unequal clusters differ."""
    (base, mark, tone, rest), (true_base, true_mark, true_tone, true_rest) = _parts(reading), _parts(truth)
    if base.lower() != true_base.lower():
        return ["base"]
    pairs = (("diacritic", mark != true_mark), ("tone", tone != true_tone), ("other", rest != true_rest))
    return [name for name, differs in pairs if differs] or ["case"]


def _parts(cluster: str) -> tuple[str, frozenset[str], frozenset[str], str]:
    """Base letter, diacritic, tone, and what else there is."""
    base, *marks = list(unicodedata.normalize("NFD", cluster))
    stroke = {"đ": "d", "Đ": "D"}.get(base)
    diacritic = (_DIACRITICS & set(marks)) | (frozenset(["đ"]) if stroke else frozenset())
    rest = "".join(mark for mark in marks if mark not in _DIACRITICS | _TONES)
    return stroke or base, diacritic, _TONES & set(marks), rest


def _counts(pairs: Sequence[tuple[Sequence[Hashable], Sequence[Hashable]]], count: Callable[..., int]) -> Counts:
    return np.array([count(*pair) for pair in pairs], dtype=np.int64)


def _needed(module: str) -> ModuleType:
    try:
        return import_module(module)
    except ImportError as error:
        raise UsageError(
            "U122", f"comparing strings needs a package: {error}", "pip install 'semilla[text]'"
        ) from error
