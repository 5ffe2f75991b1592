"""The verdict's three words, against McNemar's score worked out by hand; its sentences and its plain form."""

import dataclasses
import json
import math

import numpy as np
import pytest

from semilla.errors import StateError
from semilla.evidence.intervals import NEEDED_CAP, Interval, paired_difference, wilson
from semilla.evidence.verdict import Verdict, chosen_by_test, judge


def answers(ours, theirs, both=40, neither=10):
    """Right or wrong, of the method and of its baseline: so many that only the one, only the other, both, neither."""
    right = np.repeat([True, False, True, False], [ours, theirs, both, neither])
    baseline = np.repeat([False, True, True, False], [ours, theirs, both, neither])
    return right, baseline


def judged(*counts, **more):
    right, baseline = answers(*counts, **more)
    return judge("uda", right, "supervised", baseline)


# At a difference of 0 Tango's score is McNemar's (b − c) / √(b + c), whatever the number of examples: 1.96 decides.
BOUNDARY = [(3, 0), (20, 10), (131, 100)]


@pytest.mark.parametrize(("ours", "theirs"), BOUNDARY)
@pytest.mark.parametrize("both", [0, 40, 5000])
def test_one_more_example_decides_the_word(ours, theirs, both):
    short, enough = ((b - theirs) / math.sqrt(b + theirs) for b in (ours, ours + 1))
    words = {True: "helped", False: "cannot tell"}
    assert judged(ours, theirs, both=both).word == words[short > 1.959964]
    assert judged(ours + 1, theirs, both=both).word == words[enough > 1.959964]
    assert short < 1.959964 < enough or (ours, theirs) == (131, 100)
    assert judged(theirs, ours, both=both).word == words[short > 1.959964].replace("helped", "hurt")
    assert judged(theirs, ours + 1, both=both).word == words[enough > 1.959964].replace("helped", "hurt")


@pytest.mark.parametrize("counts", [(0, 0), (7, 7), (1, 0), (0, 1)])
def test_little_or_no_difference_cannot_be_told(counts):
    assert judged(*counts).word == "cannot tell"


def test_all_that_is_known_is_in_it():
    right, baseline = answers(12, 2, both=80, neither=6)
    found = judge("fixmatch", right, "supervised", baseline)
    assert (found.method, found.baseline, found.n, found.level) == ("fixmatch", "supervised", 100, 0.95)
    assert found.accuracy == wilson(92, 100)
    assert found.baseline_accuracy == wilson(82, 100)
    assert found.difference == paired_difference(right, baseline)
    assert found.difference.mean == pytest.approx(0.10)
    assert 0 < found.difference.low < 0.10 < found.difference.high


def test_needed_labels_by_hand():
    found = judged(3, 0, both=37, neither=10)
    assert found.needed == math.floor(1.959964**2 * 50 * 3 / 9) + 1 == 65
    times = math.ceil(found.needed / found.n)
    assert judged(3 * times, 0, both=37 * times, neither=10 * times).word == "helped"
    assert judged(5, 5).needed is None
    settled = judged(30, 0)
    assert settled.word == "helped"
    assert settled.needed <= settled.n


@pytest.mark.parametrize("counts", [(3, 0), (12, 2), (2, 12), (5, 5)])
def test_plain_and_back(counts):
    found = judged(*counts)
    through = json.loads(json.dumps(found.plain(), allow_nan=False))
    back = Verdict.from_plain(through)
    assert back == found
    assert isinstance(back.difference, Interval)
    assert through["difference"] == list(found.difference)
    assert back.lines() == found.lines()


def test_the_sentences():
    helped, hurt = judged(30, 2).sentence(), judged(2, 30).sentence()
    assert helped.startswith("the unlabeled data helped in this run: +34.1 points (")  # 28 of 82
    assert hurt.startswith("the unlabeled data hurt in this run: -34.1 points (")
    for said in (helped, hurt):
        assert "against supervised training on these test examples" in said
        assert said.endswith("(other label draws, weights, order: semilla compare)")
    open_end = judged(3, 0, both=37, neither=10).sentence()
    assert open_end.startswith("cannot tell with this many labels whether the unlabeled data helped in this run: ")
    assert open_end.endswith("about 65 test labels instead of 50 settle it")
    assert "no difference was seen" in judged(5, 5).sentence()


@pytest.mark.parametrize(
    ("needed", "said"),
    [(NEEDED_CAP - 1, "about 9,999,999 test labels"), (NEEDED_CAP, "more than 10,000,000 test labels")],
)
def test_the_cap_is_not_told_as_a_number_that_settles_it(needed, said):
    sentence = dataclasses.replace(judged(5, 4), needed=needed).sentence()
    assert said in sentence
    assert ("about" in sentence) == (needed < NEEDED_CAP)


def test_the_lines():
    lines = judged(1200, 100, both=0, neither=0).lines()
    assert lines[0] == "on 1,300 test labels, with 95 % intervals over their choice (over draws: semilla compare):"
    assert [line.split()[0] for line in lines[1:4]] == ["supervised", "uda", "difference"]
    assert "7.7 %" in lines[1]
    assert "92.3 %" in lines[2]
    assert "+84.6 points" in lines[3]
    assert lines[4] == f"verdict: {judged(1200, 100, both=0, neither=0).sentence()}"


def test_other_examples_cannot_be_compared():
    with pytest.raises(ValueError, match="shapes"):
        judge("uda", np.ones(3, bool), "supervised", np.ones(4, bool))


@pytest.mark.parametrize(
    ("used", "word", "said"),
    [
        (None, "helped", "helped in this run"),
        (0.5, "helped", "helped in this run"),
        (0.0005, "cannot tell", "cannot tell: hardly any unlabeled example was used"),
        (0.0, "cannot tell", "cannot tell: no unlabeled example was used"),
    ],
)
def test_what_used_nothing_cannot_have_helped(used, word, said):
    verdict = judge("fixmatch", np.arange(100) < 90, "supervised", np.arange(100) < 60, used)
    assert (verdict.word, verdict.idle) == (word, word != "helped")
    assert said in verdict.sentence()
    assert "test labels" not in verdict.sentence()  # no number of them would settle it
    assert Verdict.from_plain(verdict.plain()) == verdict


@pytest.mark.parametrize(
    "change", [{"word": "perhaps"}, {"difference": [0.1, 0.2]}, {"difference": None}, {"more": 1}, {"word": ()}]
)
def test_what_is_no_verdict_is_refused(change):
    with pytest.raises(StateError, match=r"run\.json") as caught:
        Verdict.from_plain({**judged(3, 0).plain(), **change})
    assert caught.value.code == "C005"
    for nothing in ({}, "helped"):
        with pytest.raises(StateError):
            Verdict.from_plain(nothing)


def test_test_labels_choose_only_what_is_shipped_without_development_labels():
    summary = {"shipped": "uda-0", "verdict": judged(30, 2).plain()}
    assert chosen_by_test(summary, "uda-0", {"test", "labeled"})
    assert not chosen_by_test(summary, "uda-0", {"test", "development"})
    assert not chosen_by_test(summary, "supervised-0", {"test"})
    assert not chosen_by_test({**summary, "verdict": None}, "uda-0", {"test"})
