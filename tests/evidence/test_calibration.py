"""Temperatures, calibration errors and thresholds that keep a promised precision."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from semilla.inference.calibration import (
    BINS,
    SHARES,
    acceptance,
    calibrate,
    calibrate_readings,
    calibrated,
    calibration_error,
    cross_fitted,
    cross_fitted_readings,
    fit_power,
    fit_temperature,
    softmax,
    threshold,
)


def drawn(count, temperature, seed=0, classes=4):
    """Logits whose labels are drawn at that temperature: dividing by it makes them come true."""
    draw = np.random.default_rng(seed)
    logits = draw.normal(size=(count, classes)) * 3
    p = softmax(logits, temperature)
    return logits, (p.cumsum(1) > draw.uniform(size=(count, 1))).argmax(1)


def likelihood(logits, labels, temperature):
    """Negative log-likelihood with one label in N + 2 spread over all classes."""
    logp, soft = np.log(softmax(logits, temperature)), 1 / (len(labels) + 2)
    return -((1 - soft) * logp[np.arange(len(labels)), labels] + soft * logp.mean(1)).mean()


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_the_temperature_of_the_labels_is_found(temperature):
    logits, labels = drawn(20_000, temperature)
    assert fit_temperature(logits, labels) == pytest.approx(temperature, rel=0.05)


@pytest.mark.parametrize("seed", range(3))
def test_no_other_temperature_is_likelier(seed):
    logits, labels = drawn(200, 1.7, seed)
    best = fit_temperature(logits, labels)
    found = likelihood(logits, labels, best)
    assert all(found < likelihood(logits, labels, best * factor) for factor in (0.9, 0.999, 1.001, 1.1))


def test_answers_that_are_all_right_do_not_become_certain():
    logits, labels = drawn(100, 1.0)
    labels = logits.argmax(1)
    sure = softmax(logits, fit_temperature(logits, labels)).max(1)
    assert 0.9 < sure.mean() < 0.9999


def test_answers_that_are_all_wrong_stay_in_range():
    logits, _ = drawn(100, 1.0)
    assert fit_temperature(logits, logits.argmin(1)) == pytest.approx(20)


def test_large_logits_are_no_trouble():
    logits, labels = drawn(100, 1.0)
    assert fit_temperature(logits * 1e4, labels) == 20
    assert np.isfinite(softmax(logits * 1e4)).all()


def test_calibration_changes_no_answer_and_lowers_the_error():
    logits, labels = drawn(4000, 3.0)
    said = calibrate(logits, labels, "development")
    assert (said["fitted_on"], said["n"]) == ("development", 4000)
    assert said["error"][1] < 0.25 * said["error"][0]
    np.testing.assert_array_equal(softmax(logits, said["temperature"]).argmax(1), logits.argmax(1))
    assert calibrate(logits, labels, "test") == {**said, "fitted_on": "test"}  # nothing is drawn at random


def test_few_labels_calibrate_nothing():
    logits, labels = drawn(60, 2.0)
    assert calibrate(logits[:49], labels[:49], "test") is None
    assert calibrate(logits[:50], labels[:50], "test")["n"] == 50


def test_no_example_calibrates_itself():
    logits, labels = drawn(101, 2.0)
    before = cross_fitted(logits, labels)
    changed = labels.copy()
    changed[7] = (labels[7] + 1) % 4  # a label decides the temperature of the other half only …
    same = np.isclose(cross_fitted(logits, changed), before, rtol=0, atol=1e-15).all(1)
    first = np.zeros(101, bool)
    first[np.argsort(labels, kind="stable")[::2]] = True
    halves = [{round(t, 9) for t in temperatures(logits, before)[half]} for half in (first, ~first)]
    assert [len(half) for half in halves] == [1, 1]
    assert halves[0] == {round(fit_temperature(logits[~first], labels[~first]), 9)}
    assert halves[1] == {round(fit_temperature(logits[first], labels[first]), 9)}
    assert not same.all()


def temperatures(logits, p):
    """The temperature behind each row of probabilities."""
    order = np.argsort(logits, 1)
    row = np.arange(len(logits))
    top, low = order[:, -1], order[:, 0]
    return (logits[row, top] - logits[row, low]) / np.log(p[row, top] / p[row, low])


def test_the_error_by_hand():
    confidence = np.array([0.9, 0.9, 0.3, 0.3])
    assert calibration_error(confidence, [1, 0, 0, 0]) == pytest.approx((2 * 0.4 + 2 * 0.3) / 4)
    assert calibration_error([1.0], [1]) == 0
    edges = np.arange(1, BINS + 1) / BINS
    assert calibration_error(edges, np.ones(BINS)) == pytest.approx((1 - edges).mean())  # one in each bin


# Accepting


def test_a_threshold_accepts_as_many_as_the_bound_allows():
    confidence = np.linspace(0.999, 0.5, 1000)
    right = np.arange(1000) < 700  # sure ones are right, all others wrong
    table = acceptance(confidence, right)
    least = threshold(table, 0.95)
    accepted = confidence.astype(np.float32) >= np.float32(least)
    assert accepted.sum() == 700  # 750 would hold 93 % right ones
    assert table[0][1:] == [1000, 700]
    assert [row[1] for row in table] == [round(share * 1000) for share in SHARES]


def test_what_cannot_be_promised_accepts_nothing():
    assert threshold(acceptance(np.linspace(0.5, 1, 200), np.arange(200) % 2), 0.9) is None
    assert threshold((), 0.9) is None
    few = acceptance(
        np.linspace(0.5, 1, 50), np.ones(50)
    )  # 50 right ones of 50 do not prove 95 %: 0.0025^(1/50) = 0.887
    assert threshold(few, 0.95) is None
    assert threshold(few, 0.85) is not None


def test_the_bound_is_clopper_pearsons_for_as_many_tries_as_there_are_thresholds():
    table = [[0.9, 300, 297], [0.99, 200, 200]]
    bounds = [stats.binomtest(right, n).proportion_ci(1 - 2 * 0.025, "exact").low for _, n, right in table]
    assert threshold(table, bounds[0] - 1e-9) == 0.9
    assert threshold(table, bounds[0] + 1e-9) == 0.99
    assert threshold(table, bounds[1] + 1e-9) is None


def test_equal_confidences_are_accepted_together():
    table = acceptance(np.full(100, 0.75), np.arange(100) < 90)
    assert table == [[0.75, 100, 90]]


def test_an_example_at_the_threshold_is_accepted_whichever_way_it_is_rounded():
    for confidence in (0.7000000001, 0.7999999999):  # the nearest float32 lies below the one, above the other
        ((least, accepted, right),) = acceptance([confidence], [1])
        assert least == np.float32(confidence)
        assert (accepted, right) == (1, 1)


def test_the_promise_is_kept():
    """On fresh examples of the same kind the accepted ones are right as often as promised, but for 5 % of the tries."""
    broken = 0
    for seed in range(100):
        logits, labels = drawn(400, 0.7, seed)
        least = threshold(acceptance(softmax(logits, 0.7).max(1), logits.argmax(1) == labels), 0.9)
        logits, labels = drawn(5000, 0.7, 1000 + seed)
        accepted = softmax(logits, 0.7).max(1) >= (2 if least is None else least)
        if accepted.any():
            broken += (logits.argmax(1) == labels)[accepted].mean() < 0.9
    assert broken <= 8


@given(st.lists(st.tuples(st.floats(0.01, 1), st.booleans()), min_size=1, max_size=60))
def test_a_table_counts_what_its_thresholds_accept(examples):
    confidence, right = map(np.array, zip(*examples, strict=True))
    for least, accepted, good in acceptance(confidence, right):
        chosen = confidence.astype(np.float32) >= np.float32(least)
        assert (accepted, good) == (chosen.sum(), (chosen & right).sum())


# Readings of text


def _readings(count=4000, power=0.5, seed=0):
    """Confidences that are too low: their root is the share of characters that is right."""
    random = np.random.default_rng(seed)
    true = random.uniform(0.3, 0.999, count)
    lengths = random.integers(5, 60, count)
    sure = np.asarray(true ** (1 / power), np.float32)
    return sure, random.binomial(lengths, true) / lengths, lengths.astype(float), np.arange(count)


def test_the_temperature_of_readings_makes_confidence_the_share_of_right_characters():
    readings = _readings()
    card = calibrate_readings(*readings, "development")
    assert card["temperature"] == pytest.approx(2.0, rel=0.03)
    before, after = card["error"]
    assert before > 0.1
    assert after < 0.01
    assert card["n"] == 4000
    accepted = [row[1] for row in card["acceptance"]]
    assert accepted == sorted(accepted, reverse=True)
    sure = calibrated(readings[0], card["temperature"])
    assert all((sure >= least).sum() == count for least, count, _ in card["acceptance"]), "as predict will count them"


def test_the_lines_of_a_writer_stay_on_one_side_when_a_temperature_is_tried():
    confidence, right, lengths, _ = _readings(400)
    writers = np.repeat(np.arange(4), 100)
    right[writers % 2 == 1] = 0.0
    after = cross_fitted_readings(confidence, right, lengths, writers)
    for odd in (0, 1):
        other = writers % 2 != odd
        wanted = calibrated(confidence[~other], fit_power(confidence[other], right[other], lengths[other]))
        np.testing.assert_array_equal(after[~other], wanted)
    alone = cross_fitted_readings(confidence, right, lengths, np.zeros(400, int))
    assert np.isfinite(alone).all(), "one writer is halved"


def test_few_readings_are_not_calibrated_and_perfect_ones_do_not_break_it():
    assert calibrate_readings(*_readings(20), "test") is None
    lengths, each = np.full(60, 9.0), np.arange(60)
    card = calibrate_readings(np.full(60, 0.9, np.float32), np.ones(60), lengths, each, "test")
    assert 0 < card["temperature"] < 1.5 * 20
    card = calibrate_readings(np.zeros(60, np.float32), np.zeros(60), lengths, each, "test")
    assert np.isfinite(card["temperature"])
