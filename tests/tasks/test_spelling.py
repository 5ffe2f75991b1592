"""Scores of readings: by hand, against jiwer, and on text that is hard to count."""

import unicodedata

import jiwer
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from semilla.errors import UsageError
from semilla.tasks import spelling
from semilla.tasks.spelling import Protocol, graphemes, letter_errors, scores

EXACT, ENGLISH = Protocol.preset("exact"), Protocol.preset("english36")


def test_rates_by_hand():
    """Edits 1, 3, 0, 2 of lengths 3, 0, 2, 2; of the longer 4, 3, 2, 2."""
    found = scores(["abcd", "xyz", "ab", ""], ["abc", "", "ab", "cd"])
    assert found.edits.tolist() == [1, 3, 0, 2]
    assert found.length.tolist() == [3, 0, 2, 2]
    assert found.exact.tolist() == [False, False, True, False]
    np.testing.assert_allclose(found.similarity, [0.75, 0, 1, 0])
    assert found.rates() == {"cer": 6 / 7, "wer": (1 + 1 + 0 + 1) / 3, "accuracy": 0.25, "1-ned": 0.4375}
    assert next(iter(found.rates())) == "cer"


def test_empty_strings_and_no_strings():
    assert scores([""], [""]).rates() == {"cer": 0, "wer": 0, "accuracy": 1, "1-ned": 1}
    assert scores(["ab"], [""]).rates() == {"cer": 2, "wer": 1, "accuracy": 0, "1-ned": 0}
    assert scores([""], ["a b"]).rates() == {"cer": 1, "wer": 1, "accuracy": 0, "1-ned": 0}
    assert all(np.isnan(rate) for rate in scores([], []).rates().values())
    with pytest.raises(ValueError, match="shorter"):
        scores(["a"], [])


def test_what_a_reader_takes_for_one_character_is_one_edit():
    flag, family = "\U0001f1fb\U0001f1f3", "\U0001f468\u200d\U0001f469\u200d\U0001f467"
    assert graphemes(f"x\u0301{flag}{family}각") == ["x\u0301", flag, family, "각"]
    assert scores([f"a{family}"], ["ax"]).edits.tolist() == [1]
    assert scores(["x\u0301\u0323"], ["x"]).edits.tolist() == [1]


WORDS = ["Đường", "Nguyễn", "thị", "Nam", "x", "123", "quận"]


@given(st.lists(st.tuples(st.lists(st.sampled_from(WORDS), max_size=6), st.lists(st.sampled_from(WORDS), min_size=1))))
def test_rates_are_those_of_jiwer(pairs):
    readings, truths = ([" ".join(words) for words in side] for side in zip(*pairs, strict=True)) if pairs else ([], [])
    if not pairs:
        return
    found = scores(readings, truths).rates()
    assert found["cer"] == pytest.approx(jiwer.cer(truths, readings))
    assert found["wer"] == pytest.approx(jiwer.wer(truths, readings))


@given(st.lists(st.tuples(st.text(max_size=8), st.text(max_size=8)), min_size=1, max_size=4))
@example([("\u202eabc", "שָׁלוֹם"), ("\u0301", "")])
def test_any_text_has_a_score(pairs):
    readings, truths = ([*side] for side in zip(*pairs, strict=True))
    found = scores(readings, truths)
    assert ((found.edits >= abs(found.longer - found.length)) & (found.edits <= found.longer)).all()
    assert ((found.similarity >= 0) & (found.similarity <= 1)).all()
    parted = scores([unicodedata.normalize("NFD", text) for text in readings], truths)
    assert (parted.edits == found.edits).all()
    assert scores(truths, truths).exact.all()
    assert all("".join(graphemes(text)) == text for text in readings)
    told = letter_errors(readings, truths)
    assert told["insertions"] + told["deletions"] + told["substitutions"] == found.edits.sum()


@pytest.mark.parametrize(
    ("reading", "truth", "expected"),
    [
        ("d", "đ", {"diacritic": 1}),
        ("D", "Đ", {"diacritic": 1}),
        ("â", "ă", {"diacritic": 1}),
        ("ơ", "ô", {"diacritic": 1}),
        ("a", "á", {"tone": 1}),
        ("ẳ", "ẵ", {"tone": 1}),
        ("a", "ấ", {"diacritic": 1, "tone": 1}),
        ("Ấ", "ờ", {"base": 1}),
        ("ờ", "Ờ", {"case": 1}),
        ("A", "á", {"tone": 1}),
        ("ä", "a", {"other": 1}),
        ("1", "l", {"base": 1}),
    ],
)
def test_the_parts_of_a_vietnamese_letter(reading, truth, expected):
    found = letter_errors([f"x{reading}y"], [f"x{truth}y"])
    parts = {name: found[name] for name in ("base", "diacritic", "tone", "case", "other") if found[name]}
    assert parts == expected
    assert found["substitutions"] == 1
    assert found["letters"] == 3


def test_letters_too_many_and_too_few():
    found = letter_errors(["Viêt Nam", "a"], ["Việt Na", "abc"])
    assert (found["tone"], found["insertions"], found["deletions"], found["substitutions"]) == (1, 1, 2, 1)


def test_protocols():
    assert ENGLISH.apply("It's 5 O'Clock, é!") == "its5oclock"
    assert Protocol(case=False).apply("ĐƯỜNG") == "đường"
    assert Protocol(punctuation=False).apply("Q.3 - ($5)") == "Q3 5"
    assert EXACT.apply("e\u0301") == "é"
    found = scores(["THE-END"], ["the end"], ENGLISH)
    assert (found.exact.all(), found.protocol) == (True, ENGLISH)
    assert not scores(["THE-END"], ["the end"]).exact.any()
    with pytest.raises(UsageError) as caught:
        Protocol.preset("english62")
    assert caught.value.code == "U121"


def test_a_missing_package_is_named(monkeypatch):
    def missing(name):
        raise ModuleNotFoundError(f"No module named {name!r}")

    monkeypatch.setattr(spelling, "import_module", missing)
    with pytest.raises(UsageError) as caught:
        scores(["a"], ["a"])
    assert (caught.value.code, caught.value.fix) == ("U122", "pip install 'semilla[text]'")
