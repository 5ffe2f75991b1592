"""Alphabets: what they hold, what they refuse, how they grow; and the report of characters."""

import string
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from semilla.errors import DataError, UsageError
from semilla.tasks import Alphabet
from semilla.tasks.alphabet import PRESETS, VIETNAMESE, characters

FAMILY = "\U0001f468\u200d\U0001f469\u200d\U0001f467"
HARD = [
    "",
    " ",
    "ệ",
    "e\u0323\u0302",
    "שָׁלוֹם",
    "\u202eabc",
    FAMILY,
    "\U0001f1fb\U0001f1f3",
    "각",
    "ﬁ",
    "\u212b",
    "\u0344",
]


def nfc(text):
    return unicodedata.normalize("NFC", text)


def test_vietnamese_is_complete():
    """The letters written out once more, by hand, and not made from marks."""
    tones = "àáãảạ ằắẵẳặ ầấẫẩậ èéẽẻẹ ềếễểệ ìíĩỉị òóõỏọ ồốỗổộ ờớỡởợ ùúũủụ ừứữửự ỳýỹỷỵ".replace(" ", "") + "ăâđêôơư"
    assert len(tones) == 67
    assert set(VIETNAMESE) == set(tones + tones.upper())
    assert len(VIETNAMESE) == 134
    known = Alphabet.preset("vietnamese")
    assert set(known.symbols) == set(VIETNAMESE + string.ascii_letters + string.digits + string.punctuation + " ")
    assert len(known) == 229
    assert known.decode(known.encode(["Đường Nguyễn Thị Minh Khai, Q.3"])) == ["Đường Nguyễn Thị Minh Khai, Q.3"]


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_sorted_and_composed(name):
    symbols = Alphabet.preset(name).symbols
    assert list(symbols) == sorted(set(symbols))
    assert nfc(symbols) == symbols
    assert len(Alphabet.preset("english36")) == 36


def test_an_alphabet_of_labels_is_the_same_in_any_order_and_form():
    labels = ["Việt", "Nam", ""]
    made = Alphabet.of(labels)
    assert made == Alphabet.of([unicodedata.normalize("NFD", label) for label in reversed(labels)])
    assert made.symbols == "NVaimtệ"


def test_targets():
    assert Alphabet("ab").encode(["ba", "", "a"]).tolist() == [[2, 1], [-1, -1], [1, -1]]
    assert Alphabet("ab").encode([""]).tolist() == [[-1]]
    assert Alphabet("ab").encode([]).shape == (0, 1)
    assert Alphabet("ab").decode(Alphabet("ab").encode(["ba", ""])) == ["ba", ""]


@pytest.mark.parametrize(
    ("symbols", "text", "said", "fix"),
    [
        ("ae", "aé", "U+00E9 LATIN SMALL LETTER E WITH ACUTE", "(U+0065 "),
        ("a'", "a’", "U+2019 RIGHT SINGLE QUOTATION MARK", "(U+0027 "),
        ("ab", "aB", "U+0042 LATIN CAPITAL LETTER B", "(U+0062 "),
        ("fi", "ﬁ", "U+FB01 LATIN SMALL LIGATURE FI", "'f' (U+0066 LATIN SMALL LETTER F) 'i'"),
        ("Đ", "Ð", "U+00D0 LATIN CAPITAL LETTER ETH", "(U+0110 "),
        ("a", "a\u202e", r"'\u202e' (U+202E RIGHT-TO-LEFT OVERRIDE)", "grow by them"),
        ("a", "\ue000", "U+E000 no name", "grow by them"),
    ],
)
def test_an_unknown_character_is_named(symbols, text, said, fix):
    with pytest.raises(DataError) as caught:
        Alphabet(symbols).encode(["a" if "a" in symbols else "", text])
    assert caught.value.code == "D140"
    assert said in caught.value.message
    assert fix in caught.value.fix
    assert "\u202e" not in str(caught.value)


@pytest.mark.parametrize("symbols", ["aba", "\u212b", "a\u0344"])
def test_doubled_or_uncomposed_symbols_are_refused(symbols):
    with pytest.raises(DataError) as caught:
        Alphabet(symbols)
    assert caught.value.code == "D141"


def test_an_unknown_preset_is_refused():
    with pytest.raises(UsageError) as caught:
        Alphabet.preset("klingon")
    assert caught.value.code == "U120"


def test_growth_keeps_every_place():
    old = Alphabet.of(["cab"])
    new = old.grown(["bad", "Ab"])
    assert new.symbols == "abcAd"
    assert (new.encode(["cab"]) == old.encode(["cab"])).all()
    assert new.grown(["dab"]) == new


@given(st.lists(st.text(), max_size=5), st.lists(st.text(), max_size=3))
@example(HARD, HARD[::-1])
def test_whatever_is_written_comes_back_composed(texts, more):
    made = Alphabet.of(texts)
    assert made.decode(made.encode(texts)) == [nfc(text) for text in texts]
    assert made.encode(texts).equal(made.encode([unicodedata.normalize("NFD", text) for text in texts]))
    grown = made.grown(more)
    assert grown.symbols.startswith(made.symbols)
    assert grown.encode(texts).equal(made.encode(texts))
    assert grown.decode(grown.encode(more)) == [nfc(text) for text in more]
    rows = characters(texts, [str(i) for i in range(len(texts))])
    assert sum(row.count for row in rows) == sum(len(nfc(text)) for text in texts)
    assert {row.character for row in rows} == set(made.symbols)


def test_the_report_of_characters():
    texts, names = ["ba\u0300a", "a\tb", "x\u0301\u200d", "ab", "b"], ["1.png", "2.png", "3.png", "4.png", "5.png"]
    rows = {row.character: row for row in characters(texts, names, Alphabet("abx"))}
    assert [*rows] == ["b", "a", "\t", "x", "à", "\u0301", "\u200d"]  # most frequent first, then by code point
    assert (rows["b"].count, rows["b"].names, rows["b"].unknown) == (4, ("1.png", "2.png", "4.png"), False)
    assert (rows["à"].code_point, rows["à"].name) == ("U+00E0", "LATIN SMALL LETTER A WITH GRAVE")
    assert [row.character for row in rows.values() if row.combining] == ["\u0301"]
    assert [row.character for row in rows.values() if row.control] == ["\t", "\u200d"]
    assert [row.character for row in rows.values() if row.unknown] == ["\t", "à", "\u0301", "\u200d"]
    assert not any(row.unknown for row in characters(texts, names))
