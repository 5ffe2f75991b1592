"""Strings of digits: every picture once, read from left to right, the same for ever."""

import hashlib

import numpy as np
import pytest

from semilla.data.digit_strings import HEIGHT, LONGEST, MARGIN, SHORTEST
from semilla.data.source import Source
from semilla.data.sources import load, load_manifest
from semilla.errors import DataError, UsageError


@pytest.fixture(scope="module")
def strings():
    return load("digit_strings", None)


@pytest.fixture(scope="module")
def digits():
    return load("digits", None)


def parts_of(dataset):
    yield dataset.inputs, dataset.labels
    for held in (dataset.development, dataset.test):
        yield held.inputs, held.labels


def test_each_digit_stands_in_one_string_in_its_order(strings, digits):
    for (_, labels), (_, own) in zip(parts_of(strings), parts_of(digits), strict=True):
        texts = [strings.classes[label] for label in labels]
        assert all(SHORTEST <= len(text) <= LONGEST for text in texts)
        joined = "".join(texts)
        assert joined == "".join(map(str, own))[: len(joined)]
        assert len(own) - len(joined) < SHORTEST


def test_lines_are_dark_on_light_and_the_digits_do_not_lie_on_one_another(strings):
    for inputs, labels in parts_of(strings):
        for row, label in zip(inputs.index, labels, strict=True):
            line = inputs.pool.line(row)
            assert line.shape[0] == HEIGHT
            assert line.dtype == np.uint8
            assert (line[:, :MARGIN] > 200).all()
            assert (line[:, -MARGIN:] > 200).all()
            assert line.min() < 100
            assert 10 * len(strings.classes[label]) < line.shape[1] < 30 * len(strings.classes[label])


def test_they_are_the_same_for_ever(strings):
    """Figures on them are compared across versions: texts to the letter, pixels to a level (Pillow may round anew)."""
    texts = "|".join(strings.classes[label] for _, labels in parts_of(strings) for label in labels)
    assert hashlib.sha256(texts.encode()).hexdigest()[:16] == "41bf2442969786a2"
    means = [inputs.pool[0].mean() for inputs, _ in parts_of(strings)]
    assert means == pytest.approx([194.58, 200.85, 198.47], abs=0.5)


def test_the_name_alone_says_that_it_is_text():
    assert Source("digit_strings").task == "text"
    assert Source("digits").task is None
    assert load("digit_strings", None).kind == "text"
    assert load_manifest("digit_strings") is None
    assert Source.from_plain(Source("digit_strings").plain()) == Source("digit_strings")


def test_single_digits_are_no_lines():
    with pytest.raises(DataError, match="digit_strings") as refused:
        load(Source("digits", task="text"), None)
    assert refused.value.code == "D003"
    with pytest.raises(UsageError, match="words"):
        load(Source("digits", task="words"), None)
