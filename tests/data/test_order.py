import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semilla.data import Order
from semilla.data.order import WidthOrder
from semilla.randomness import permutation

sizes = st.sampled_from([1, 2, 3, 10, 64, 1000, 2049, 4096, 4097, 5000])


@settings(max_examples=40, deadline=None)
@given(size=sizes, epoch=st.integers(0, 10**6), seed=st.integers(0, 2**64 - 1))
def test_every_epoch_is_the_permutation_of_its_number(size, epoch, seed):
    epochs, samples = Order(seed, "order", size).rows(epoch * size, size)
    assert (epochs == epoch).all()
    np.testing.assert_array_equal(samples, permutation(seed, "order", epoch, size))
    np.testing.assert_array_equal(np.sort(samples), np.arange(size))


@settings(max_examples=40, deadline=None)
@given(size=sizes, start=st.integers(0, 10**5), counts=st.lists(st.integers(0, 3000), min_size=1, max_size=5))
def test_rows_do_not_depend_on_how_they_are_asked_for(size, start, counts):
    order = Order(3, "order", size)
    pieces, at = [], start
    for count in counts:
        pieces.append(order.rows(at, count))
        at += count
    whole = Order(3, "order", size).rows(start, sum(counts))
    for part in range(2):
        joined = np.concatenate([piece[part] for piece in pieces])
        assert joined.dtype == whole[part].dtype == np.int64
        np.testing.assert_array_equal(joined, whole[part])


def test_rows_before_those_already_asked_for_are_the_same():
    order = Order(0, "order", 5000)
    first = order.rows(0, 20000)
    order.rows(10**9, 64)
    np.testing.assert_array_equal(order.rows(4990, 64)[1], first[1][4990:5054])


def test_seed_stream_and_epoch_each_change_the_order():
    base = Order(0, "a", 50).rows(0, 50)[1]
    for other in (
        Order(1, "a", 50).rows(0, 50)[1],
        Order(0, "b", 50).rows(0, 50)[1],
        Order(0, "a", 50).rows(50, 50)[1],
    ):
        assert (base != other).any()


def test_a_golden_order():
    epochs, samples = Order(7, "order", 4).rows(2, 8)
    assert epochs.tolist() == [0, 0, 1, 1, 1, 1, 2, 2]
    assert samples.tolist() == [0, 2, 2, 0, 3, 1, 1, 0]


@pytest.mark.parametrize("size", [0, -1])
def test_an_empty_pool_has_no_order(size):
    with pytest.raises(ValueError, match="has no order"):
        Order(0, "order", size)


@pytest.mark.parametrize(("start", "count"), [(-1, 3), (0, -1)])
def test_rows_start_at_zero(start, count):
    with pytest.raises(ValueError, match="starts at 0"):
        Order(0, "order", 4).rows(start, count)


def test_a_batch_within_an_epoch_costs_microseconds():
    order = Order(0, "order", 50000)
    order.rows(0, 64)
    times = []
    for step in range(300):
        begin = time.perf_counter()
        order.rows(step * 64, 64)
        times.append(time.perf_counter() - begin)
    assert np.median(times) < 50e-6


# Lines of text

WIDTHS = np.random.default_rng(0).integers(8, 600, 5000)


@settings(max_examples=40, deadline=None)
@given(size=st.sampled_from([1, 2, 7, 31, 32, 33, 270, 1500]), batch=st.integers(1, 40), epoch=st.integers(0, 10**5))
def test_no_line_is_ever_left_out_of_an_epoch(size, batch, epoch):
    epochs, samples = WidthOrder(1, "order", WIDTHS[:size], batch).rows(epoch * size, size)
    assert (epochs == epoch).all()
    np.testing.assert_array_equal(np.sort(samples), np.arange(size))


@settings(max_examples=25, deadline=None)
@given(size=sizes, start=st.integers(0, 10**4), counts=st.lists(st.integers(0, 90), min_size=1, max_size=5))
def test_rows_of_lines_do_not_depend_on_how_they_are_asked_for(size, start, counts):
    order = WidthOrder(3, "order", WIDTHS[np.arange(size) % 5000], 32)
    pieces, at = [], start
    for count in counts:
        pieces.append(order.rows(at, count))
        at += count
    whole = WidthOrder(3, "order", WIDTHS[np.arange(size) % 5000], 32).rows(start, sum(counts))
    for part in range(2):
        joined = np.concatenate([piece[part] for piece in pieces])
        assert joined.dtype == whole[part].dtype == np.int64
        np.testing.assert_array_equal(joined, whole[part])


def padding(widths, batch, steps=200):
    """Columns that are seen, padding included, for each that is a line's."""
    order = WidthOrder(0, "order", widths, batch)
    batches = [widths[order.rows(step * batch, batch)[1]] for step in range(steps)]
    return sum(batch * own.max() for own in batches) / sum(own.sum() for own in batches)


@pytest.mark.parametrize(("size", "most"), [(270, 1.35), (5000, 1.15)])
def test_batches_hold_lines_of_similar_width(size, most):
    assert padding(WIDTHS[:size], 32) < most
    plain = Order(0, "order", size)
    batches = [WIDTHS[plain.rows(step * 32, 32)[1]] for step in range(100)]
    assert sum(32 * own.max() for own in batches) / sum(own.sum() for own in batches) > 1.7


def test_batches_of_lines_differ_from_epoch_to_epoch():
    order = WidthOrder(0, "order", WIDTHS[:320], 32)
    seen = [frozenset(order.rows(step * 32, 32)[1].tolist()) for step in range(100)]
    assert len({*seen}) == 100
    fellows = set().union(*(batch - {0} for batch in seen if 0 in batch))
    assert len(fellows) > 60  # in ten epochs, of at most 310


def test_widths_in_a_row_are_not_sorted():
    order = WidthOrder(0, "order", WIDTHS, 32)
    means = np.array([WIDTHS[order.rows(step * 32, 32)[1]].mean() for step in range(156)])
    assert abs(np.corrcoef(means[:-1], means[1:])[0, 1]) < 0.25


def test_seed_stream_and_epoch_each_change_the_order_of_lines():
    base = WidthOrder(0, "a", WIDTHS[:50], 8).rows(0, 50)[1]
    for order, start in (
        (WidthOrder(1, "a", WIDTHS[:50], 8), 0),
        (WidthOrder(0, "b", WIDTHS[:50], 8), 0),
        (WidthOrder(0, "a", WIDTHS[:50], 8), 50),
    ):
        assert (base != order.rows(start, 50)[1]).any()


def test_orders_of_lines_that_make_no_sense():
    with pytest.raises(ValueError, match="have no order"):
        WidthOrder(0, "order", WIDTHS[:0], 8)
    with pytest.raises(ValueError, match="have no order"):
        WidthOrder(0, "order", WIDTHS[:5], 0)
    with pytest.raises(ValueError, match="starts at 0"):
        WidthOrder(0, "order", WIDTHS[:5], 2).rows(-1, 3)
