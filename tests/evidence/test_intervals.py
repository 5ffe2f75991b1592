"""Intervals against SciPy's and against published values."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from semilla.evidence.intervals import paired_gain, wilson


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
