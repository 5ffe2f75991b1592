"""Shares of characters: the cluster bootstrap, the change of an error rate, the verdict on text."""

import json

import numpy as np
import pytest

from semilla.evidence.intervals import NEEDED_CAP, wilson
from semilla.evidence.reading import MEASURE, Edits, cer_change, cer_interval, exact_interval, judge_reading
from semilla.evidence.verdict import Verdict


def edits(rates, groups, seed=0, length=30):
    """Lines of 30 characters whose numbers of errors are drawn by a rate for each line."""
    random = np.random.default_rng(seed)
    return Edits(random.binomial(length, rates), np.full(len(rates), length), np.asarray(groups))


def test_the_rate_is_of_all_characters_and_not_of_lines():
    own = Edits(np.array([1, 0, 9]), np.array([1, 9, 90]), np.arange(3))
    assert own.cer == pytest.approx(10 / 100)
    assert cer_interval(own).mean == pytest.approx(0.1)


def test_an_interval_over_writers_is_wider_than_one_over_their_lines():
    random = np.random.default_rng(1)
    writers = np.repeat(np.arange(20), 30)
    rates = np.repeat(random.uniform(0.02, 0.3, 20), 30)
    alone = cer_interval(edits(rates, np.arange(600)))
    together = cer_interval(edits(rates, writers))
    assert together.mean == alone.mean
    assert together.high - together.low > 2.5 * (alone.high - alone.low)


def test_intervals_over_writers_hold_the_true_rate_about_as_often_as_they_say():
    random, held = np.random.default_rng(2), 0
    for seed in range(200):
        rates = np.repeat(random.uniform(0.05, 0.15, 25), 8)
        interval = cer_interval(edits(rates, np.repeat(np.arange(25), 8), seed))
        held += interval.low <= 0.1 <= interval.high
    assert 180 <= held <= 199  # 95 % of 200, a little less for 25 writers


def test_exact_lines_of_few_writers_are_less_sure_than_as_many_independent_lines():
    exact, groups = np.repeat([True, False, True, False], 10), np.repeat(np.arange(4), 10)
    own, alone = exact_interval(exact, groups), wilson(20, 40)
    assert own.mean == 0.5
    assert own.low < alone.low - 0.05
    assert own.high > alone.high + 0.05
    assert exact_interval(np.zeros(40, bool), groups) == wilson(0, 40), "no draw of writers says how sure a 0 is"


def test_a_change_is_paired_and_relative_to_the_other():
    rates = np.random.default_rng(3).uniform(0.05, 0.5, 300)
    other = edits(rates, np.arange(300))
    own = Edits(np.maximum(other.edits - 1, 0), other.lengths, other.groups)
    difference, relative = cer_change(own, other)
    assert difference.mean == pytest.approx(own.cer - other.cer)
    assert relative.mean == pytest.approx(own.cer / other.cer - 1)
    assert difference.high < 0  # although the rates of the lines lie far apart
    assert relative.low < relative.mean < relative.high < 0


@pytest.mark.parametrize(("less", "word"), [(1, "helped"), (-1, "hurt"), (0, "cannot tell")])
def test_the_verdict_follows_the_interval(less, word):
    other = edits(np.full(200, 0.2), np.arange(200))
    own = Edits(np.maximum(other.edits - less, 0), other.lengths, other.groups)
    verdict = judge_reading("mean_teacher", own, "supervised", other)
    assert verdict.word == word
    assert verdict.measure == MEASURE
    assert verdict.accuracy.mean == pytest.approx(1 - own.cer)
    assert verdict.difference.mean == pytest.approx(other.cer - own.cer)
    assert Verdict.from_plain(verdict.plain()) == verdict
    assert (verdict.needed is None) == (less == 0)
    assert MEASURE in verdict.lines()[0]


def test_an_idle_method_cannot_have_helped():
    other = edits(np.full(200, 0.2), np.arange(200))
    own = Edits(np.zeros_like(other.edits), other.lengths, other.groups)
    assert judge_reading("fixmatch", own, "supervised", other, used=0.0).word == "cannot tell"


def test_lines_needed_grow_with_the_square_of_how_far_the_interval_reaches():
    other = edits(np.full(100, 0.2), np.arange(100))
    flipped = other.edits.copy()
    flipped[0] += 1
    verdict = judge_reading("a", Edits(flipped, other.lengths, other.groups), "b", other)
    assert verdict.word == "cannot tell"
    assert 100 < verdict.needed < NEEDED_CAP


def test_empty_truths_divide_by_nothing():
    own = Edits(np.array([2]), np.array([0]), np.array([0]))
    assert np.isfinite(cer_interval(own)).all()


@pytest.mark.parametrize("groups", [2, 3, 5, 10])
def test_two_equal_readers_are_seldom_told_apart_by_few_writers(groups):
    """A word is wrong in 5 % of such comparisons at most, and the bootstrap by itself gave one in 13 to 47 %."""
    random, wrong, tried = np.random.default_rng(groups), 0, 200
    for _ in range(tried):
        skill = random.normal(0, 0.03, (2, groups))
        rates = np.clip(0.15 + np.repeat(skill, 27, axis=1), 0.01, 0.9)
        writers = np.repeat(np.arange(groups), 27)
        own, other = (Edits(random.binomial(30, rate), np.full(len(rate), 30), writers) for rate in rates)
        wrong += judge_reading("a", own, "b", other).word != "cannot tell"
    assert wrong <= 0.08 * tried


def test_of_one_writer_nothing_is_concluded_about_others():
    other = edits(np.full(40, 0.5), np.zeros(40, int))
    own = Edits(np.zeros_like(other.edits), other.lengths, other.groups)
    verdict = judge_reading("a", own, "b", other)
    assert (verdict.word, verdict.groups) == ("cannot tell", 1)
    assert tuple(verdict.difference[1:]) == (-1.0, 1.0)
    assert "all test lines are of one group" in verdict.sentence()
    assert "40 test labels of 1 groups" in verdict.lines()[0]
    assert Verdict.from_plain(json.loads(json.dumps(verdict.plain()))) == verdict
