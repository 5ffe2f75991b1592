"""Intervals against SciPy's and against published values."""

import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize, stats

from semilla.evidence.confusion import Confusion
from semilla.evidence.intervals import (
    NEEDED_CAP,
    PRIOR,
    labels_needed,
    macro_f1,
    mean_recall,
    paired_difference,
    paired_gain,
    wilson,
)


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


# Means over classes


def drawn(counts, recalls, draw):
    """A confusion matrix and the one expected; errors fall on the other classes with unequal chances."""
    classes = len(counts)
    chances = draw.dirichlet(np.full(classes, 0.5), classes) + 1e-6
    np.fill_diagonal(chances, 0)
    chances *= ((1 - np.asarray(recalls)) / chances.sum(1))[:, None]
    np.fill_diagonal(chances, recalls)
    return np.stack([draw.multinomial(*row) for row in zip(counts, chances, strict=True)]), chances * np.c_[counts]


def mean_f1(table):
    return (2 * table.diagonal() / (table.sum(0) + table.sum(1))).mean()


@pytest.mark.parametrize("interval", [mean_recall, macro_f1])
@pytest.mark.parametrize("counts", [[5] * 4, [50, 50], [100] * 10])
def test_answers_that_are_all_right_leave_as_much_open_as_wilson_does(interval, counts):
    total = sum(counts)
    found = interval(Confusion.of_table(np.diag(counts)))
    assert found == pytest.approx(wilson(total, total), abs=1e-9)
    assert found.high == 1


@pytest.mark.parametrize("right", [0, 3, 7])
def test_the_mean_recall_of_one_class_is_its_recall(right):
    assert mean_recall(Confusion.of_table([[right, 7 - right], [0, 0]])) == pytest.approx(wilson(right, 7), abs=1e-12)


def test_a_mean_recall_by_hand():
    # 97 + 3 examples, 5 + 0 errors: the common rate is 7 / 104, and those of the classes are drawn to it by 4 examples
    rates = [(5 + PRIOR * 7 / 104) / 101, PRIOR * 7 / 104 / 7]
    variance = sum(rate * (1 - rate) / n for rate, n in zip(rates, (97, 3), strict=True)) / 4
    error = sum(rates) / 2
    count = error * (1 - error) / variance
    found = mean_recall(Confusion.of_table([[92, 5], [0, 3]]))
    assert found.mean == pytest.approx((92 / 97 + 1) / 2)
    assert found == pytest.approx(wilson(found.mean * count, count))
    assert 10 < count < 20  # three examples of a class, and not a hundred, decide


@pytest.mark.parametrize("seed", range(4))
def test_the_variance_of_macro_f1_is_that_of_small_changes(seed):
    draw = np.random.default_rng(seed)
    table, _ = drawn([30, 8, 3, 12], [0.9, 0.7, 0.6, 1.0], draw)
    wrong = table - np.diag(table.diagonal())
    rate = (wrong.sum() + PRIOR / 2) / (table.sum() + PRIOR)
    count = np.c_[table.sum(1)]
    stray = PRIOR * rate * (1 - np.eye(4)) / 3
    smooth = (wrong + stray) * count / (count + PRIOR)
    smooth += np.diag(count[:, 0] - smooth.sum(1))
    variance = 0.0
    for cell in np.ndindex(4, 4):
        change = np.zeros((4, 4))
        change[cell] = 1e-5
        slope = (mean_f1(smooth + change) - mean_f1(smooth - change)) / 2e-5
        variance += smooth[cell] * slope**2
    effective = mean_f1(smooth) * (1 - mean_f1(smooth)) / variance
    found = macro_f1(Confusion.of_table(table))
    assert found.mean == pytest.approx(mean_f1(table))
    assert found == pytest.approx(wilson(found.mean * effective, effective), rel=1e-6)


CASES = {
    "97 + 3": ([97, 3], lambda draw: [0.95, 0.7]),
    "10 × 5": ([5] * 10, lambda draw: draw.beta(9, 1, 10)),
    "10 × 10": ([10] * 10, lambda draw: draw.beta(9, 1, 10)),
    "10 × 100": ([100] * 10, lambda draw: draw.beta(9, 1, 10)),
    "100 × 10": ([10] * 100, lambda draw: np.full(100, 0.97)),
    "long tail": ([200, 120, 70, 40, 25, 15, 9, 5, 3, 2], lambda draw: draw.beta(9, 1, 10)),
}


@pytest.mark.parametrize("name", CASES)
def test_the_intervals_of_the_means_cover(name):
    counts, recalls = CASES[name]
    draw, tries, hits = np.random.default_rng(1), 1000, np.zeros(2)
    for _ in range(tries):
        wanted = recalls(draw)
        table, expected = drawn(counts, wanted, draw)
        truths = np.mean(wanted), mean_f1(expected)
        cells = Confusion.of_table(table)
        found = mean_recall(cells), macro_f1(cells)
        hits += [one.low <= truth <= one.high for one, truth in zip(found, truths, strict=True)]
    assert (hits / tries >= 0.93).all(), hits / tries  # 95 % nominal; the standard error of a share is 0.007
    assert (hits / tries <= 0.99).all(), hits / tries


TABLES = st.integers(1, 6).flatmap(
    lambda size: st.lists(
        st.lists(st.integers(0, 30), min_size=size, max_size=size), min_size=size, max_size=size
    ).filter(lambda rows: sum(map(sum, rows)) > 0)
)


@given(TABLES, st.randoms(use_true_random=False))
def test_the_names_of_classes_do_not_matter_and_the_means_stay_inside(rows, random):
    table = np.array(rows)
    order = random.sample(range(len(table)), len(table))
    for interval in (mean_recall, macro_f1):
        found = interval(Confusion.of_table(table))
        assert -1e-12 <= found.low <= found.mean + 1e-12 <= found.high + 2e-12 <= 1 + 3e-12
        assert interval(Confusion.of_table(table[np.ix_(order, order)])) == pytest.approx(found, abs=1e-9)


def test_ten_thousand_classes_take_little_memory():
    truth, guess = np.random.default_rng(0).integers(0, 10_000, (2, 20_000))
    tracemalloc.start()
    try:
        confusion = Confusion.of(truth, guess, 10_000)
        mean_recall(confusion), macro_f1(confusion)
        assert tracemalloc.get_traced_memory()[1] < 10 * 2**20  # the whole matrix has 763 MiB
    finally:
        tracemalloc.stop()


@given(TABLES)
def test_a_confusion_matrix_is_its_cells(rows):
    table = np.array(rows)
    found = Confusion.of_table(table)
    np.testing.assert_array_equal(found.table(), table)
    for sums, expected in (
        (found.of_class(), table.sum(1)),
        (found.said_class(), table.sum(0)),
        (found.right(), table.diagonal()),
    ):
        np.testing.assert_array_equal(sums, expected)
    true, said = (column.repeat(found.times) for column in found[:2])
    for one, other in zip(Confusion.of(true[::-1], said[::-1], len(table)), found, strict=True):
        np.testing.assert_array_equal(one, other)


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
