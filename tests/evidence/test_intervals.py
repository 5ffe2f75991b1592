"""Intervals against SciPy's and against published values."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize, stats

from semilla.evidence.intervals import NEEDED_CAP, labels_needed, paired_difference, paired_gain, wilson


@pytest.mark.parametrize("level", [0.8, 0.95, 0.99])
@pytest.mark.parametrize("draws", [2, 3, 10, 20])
def test_the_paired_gain_is_students_interval(draws, level):
    draw = np.random.default_rng(draws)
    ours, baseline = draw.uniform(0.5, 1, draws), draw.uniform(0.4, 0.9, draws)
    expected = stats.ttest_rel(ours, baseline).confidence_interval(level)
    found = paired_gain(ours.tolist(), baseline.tolist(), level)
    assert found.mean == pytest.approx((ours - baseline).mean())
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


def test_three_draws_leave_it_wide():
    # by hand: mean 0.02, deviation 0.01, t(0.975, 2) = 4.302653
    found = paired_gain([0.91, 0.92, 0.93], [0.90] * 3)
    assert found.high - found.mean == pytest.approx(4.302653 * 0.01 / math.sqrt(3), rel=1e-6)


def test_one_draw_leaves_it_open_and_equal_gains_close_it():
    one = paired_gain([0.9], [0.8])
    assert one.mean == pytest.approx(0.1)
    assert math.isnan(one.low)
    assert math.isnan(one.high)
    assert paired_gain([0.75, 0.5], [0.5, 0.25]) == (0.25, 0.25, 0.25)


def test_pairs_of_unequal_number_are_refused():
    with pytest.raises(ValueError, match="shape"):
        paired_gain([0.9, 0.8, 0.7], [0.5, 0.6])


@pytest.mark.parametrize(
    ("right", "count", "low", "high"),
    [  # Newcombe 1998, Statistics in Medicine 17, table I, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_equals_published_values(right, count, low, high):
    found = wilson(right, count)
    assert found.mean == right / count
    assert (found.low, found.high) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(1, 10_000).flatmap(lambda count: st.tuples(st.integers(0, count), st.just(count))))
def test_wilson_equals_scipys_and_stays_between_0_and_1(pair):
    right, count = pair
    found, expected = wilson(right, count), stats.binomtest(right, count).proportion_ci(method="wilson")
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-9)
    assert 0 <= found.low <= found.mean <= found.high <= 1


def test_nothing_counted_says_nothing():
    assert all(math.isnan(value) for value in wilson(0, 0))


# Two models on the same examples


def answers(only_a, only_b, count):
    """Right or wrong of two models that differ on so many examples."""
    a, b = np.zeros(count, bool), np.zeros(count, bool)
    a[:only_a] = b[only_a : only_a + only_b] = True
    a[only_a + only_b :: 2] = b[only_a + only_b :: 2] = True  # the rest: both right or both wrong
    return a, b


def score_by_search(difference, only_a, only_b, count):
    """The score statistic with the constrained estimate found by maximising the likelihood, not by its formula."""

    def loss(share_b):
        cells = (difference + share_b, share_b, 1 - difference - 2 * share_b)
        counts = (only_a, only_b, count - only_a - only_b)
        return -sum(n * math.log(max(p, 1e-300)) for n, p in zip(counts, cells, strict=True) if n)

    low, high = max(0.0, -difference), (1 - difference) / 2
    grid = np.linspace(low, high, 2001)
    best = grid[np.argmin([loss(share) for share in grid])]
    step = (high - low) / 2000
    ends = (max(low, best - step), min(high, best + step))
    share_b = optimize.minimize_scalar(loss, bounds=ends, method="bounded", options={"xatol": 1e-12}).x
    share_b = min((best, share_b, *ends), key=loss)
    variance = (difference + 2 * share_b - difference**2) / count
    return ((only_a - only_b) / count - difference) / math.sqrt(variance)


@pytest.mark.parametrize(
    ("only_a", "only_b", "count", "low", "high"),
    [(1, 7, 21, -0.517, -0.026)],  # airway reactivity, Fagerland, Lydersen & Laake 2014, Statistics in Medicine 33
)
def test_the_paired_difference_equals_published_values(only_a, only_b, count, low, high):
    found = paired_difference(*answers(only_a, only_b, count))
    assert found.mean == pytest.approx((only_a - only_b) / count)
    assert (found.low, found.high) == pytest.approx((low, high), abs=5e-4)


@pytest.mark.parametrize("level", [0.9, 0.95])
@pytest.mark.parametrize(
    ("only_a", "only_b", "count"),
    [(12, 2, 50), (6, 16, 161), (1, 0, 44), (3, 3, 100), (5, 0, 20), (0, 9, 30), (40, 20, 160)],
)
def test_the_ends_are_where_the_score_test_begins_to_reject(only_a, only_b, count, level):
    found = paired_difference(*answers(only_a, only_b, count), level)
    z = stats.norm.ppf((1 + level) / 2)
    assert score_by_search(found.low, only_a, only_b, count) == pytest.approx(z, abs=1e-4)
    assert score_by_search(found.high, only_a, only_b, count) == pytest.approx(-z, abs=1e-4)


@pytest.mark.parametrize("count", [1, 7, 50, 1000])
def test_models_that_never_differ_are_not_known_to_be_equal(count):
    # by hand: the score is −Δ √(n / (Δ (1 − Δ))), which is −z at Δ = z² / (n + z²)
    z2 = stats.norm.ppf(0.975) ** 2
    found = paired_difference(*answers(0, 0, count))
    assert found.mean == 0
    assert (found.low, found.high) == pytest.approx((-z2 / (count + z2), z2 / (count + z2)), abs=1e-12)


COUNTS = st.tuples(st.integers(0, 30), st.integers(0, 30), st.integers(0, 200)).filter(lambda some: sum(some) > 0)


@given(COUNTS)
def test_exchanged_models_exchange_the_interval(counts):
    only_a, only_b, rest = counts
    a, b = answers(only_a, only_b, only_a + only_b + rest)
    found, turned = paired_difference(a, b), paired_difference(b, a)
    assert -1 <= found.low <= found.mean <= found.high <= 1
    assert (turned.low, turned.high) == pytest.approx((-found.high, -found.low), abs=1e-12)


@given(COUNTS)
def test_the_labels_needed_are_the_fewest_that_settle_it(counts):
    only_a, only_b, rest = counts
    a, b = answers(only_a, only_b, only_a + only_b + rest)
    needed = labels_needed(a, b)
    if only_a == only_b:
        assert needed is None
        return
    settled = not paired_difference(a, b).low <= 0 <= paired_difference(a, b).high
    assert settled == (needed <= len(a))
    for times in (2, 5):  # as many times the same answers
        low, _, high = sorted(paired_difference(np.tile(a, times), np.tile(b, times)))
        assert (not low <= 0 <= high) == (needed <= times * len(a))


def test_labels_needed_by_hand():
    # 1.959964² · 21 · 8 / 6² = 17.93 and 1.959964² · 50 · 14 / 10² = 26.89: the next whole numbers
    assert (labels_needed(*answers(1, 7, 21)), labels_needed(*answers(12, 2, 50))) == (18, 27)


def test_a_difference_that_is_hardly_there_asks_for_the_cap():
    assert labels_needed(*answers(5001, 5000, 20_000)) == NEEDED_CAP
    assert labels_needed(*answers(0, 0, 10)) is None


def test_the_interval_covers_the_difference():
    draw, hits = np.random.default_rng(1), 0
    for _ in range(400):
        kinds = draw.choice(4, size=60, p=[0.1, 0.03, 0.6, 0.27])  # the difference is 0.07
        found = paired_difference((kinds == 0) | (kinds == 2), (kinds == 1) | (kinds == 2))
        hits += found.low <= 0.07 <= found.high
    assert 0.92 <= hits / 400 <= 0.98


def test_answers_that_do_not_pair_are_refused():
    with pytest.raises(ValueError, match="shapes"):
        paired_difference([True], [True, False])
    assert all(math.isnan(value) for value in paired_difference([], []))
