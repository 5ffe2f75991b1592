import dataclasses
import gc

import numpy as np
import pytest

from semilla.data import Dataset, Examples, Split, fingerprint, split
from semilla.errors import DataError

GOLDEN = "c6c3dcf4d74e1eefbb2cb104efaed9e968cf05a94ecf92b3d83e33a9976614f0"
LABELED = [5, 0, 3, 2]


def make(labels=(0, 1, 1, 1, 0, 0, 1, 0), **changes):
    rng = np.random.default_rng(0)
    labels = np.array(labels, np.int64)
    inputs = rng.integers(0, 256, (len(labels), 1, 4, 4), np.uint8)
    return Dataset("toy", "images", ("no", "yes"), inputs, labels, **changes)


def test_split_takes_the_chosen_rows_and_the_rest():
    data = make()
    result = split(data, LABELED)
    assert result.labeled_index.tolist() == LABELED
    assert result.labeled.labels.tolist() == [0, 0, 1, 1]
    np.testing.assert_array_equal(result.labeled.inputs, data.inputs[LABELED])
    assert result.unlabeled_index.tolist() == [1, 4, 6, 7]
    np.testing.assert_array_equal(result.unlabeled, data.inputs[[1, 4, 6, 7]])
    assert result.classes == ("no", "yes")


def test_all_keeps_the_labeled_rows_among_the_unlabeled():
    data = make()
    result = split(data, LABELED, "all")
    assert result.unlabeled_index.tolist() == list(range(8))
    np.testing.assert_array_equal(result.unlabeled, data.inputs)


def test_without_an_index_every_known_label_is_used():
    result = split(make([0, -1, 1, -1]))
    assert result.labeled_index.tolist() == [0, 2]
    assert result.unlabeled_index.tolist() == [1, 3]


@pytest.mark.parametrize(("which", "expected"), [("rest", [1, 3, 4, 5]), ("all", [0, 1, 2, 3, 4, 5])])
def test_a_pool_of_its_own_is_added(which, expected):
    own = np.full((2, 1, 4, 4), 7, np.uint8)
    result = split(make([0, -1, 1, -1], unlabeled=own), None, which)
    assert result.unlabeled_index.tolist() == expected
    assert (result.unlabeled[-2:] == 7).all()


def test_a_pool_of_its_own_is_enough():
    assert len(split(make([0, 1], unlabeled=np.zeros((3, 1, 4, 4), np.uint8))).unlabeled) == 3


@pytest.mark.parametrize(
    ("labels", "index", "code", "parts"),
    [
        ((0, 1, 0, 1), None, "D040", ["all 4 examples of toy are labeled", "pool=all"]),
        ((0, 0, 1, 1), [0, 1], "D050", ["1 of 2 classes", "'yes'"]),
        ((0, 1, -1, -1), [0, 1, 2], "D055", ["names 2", "not known"]),
        ((0, 1, 0, 1), [0, 4], "D055", ["entry 2: 4 is outside the 4"]),
        ((0, 1, 0, 1), [0, 1, 0], "D055", ["0 is already at entry 1"]),
        ((0, 1, 0, 1), np.array([True, True, False, False]), "D055", ["True is not a whole number"]),
        ((0, 1, 0, 1), [], "D055", ["no position"]),
        ((0, 1, 0, 1), 1, "D055", ["no position"]),
        ((-1, -1), None, "D050", ["2 of 2 classes"]),
    ],
)
@pytest.mark.parametrize("which", ["rest", "all"])
def test_splits_that_cannot_be(labels, index, code, parts, which):
    if (code, which) == ("D040", "all"):
        assert len(split(make(labels), index, which).unlabeled) == 4
        return
    with pytest.raises(DataError) as caught:
        split(make(labels), index, which)
    assert caught.value.code == code
    for part in parts:
        assert part in str(caught.value)


def test_a_split_without_unlabeled_examples_on_request():
    result = split(make([0, 1, 0, 1]), needed=False)
    assert result.unlabeled.shape == (0, 1, 4, 4)
    assert result.unlabeled_index.shape == (0,)


@pytest.mark.parametrize(("classes", "found"), [((), "no label at all"), (("cat",), "only 'cat'")])
def test_two_classes_are_needed(classes, found):
    data = dataclasses.replace(make([-1, -1]), classes=classes)
    with pytest.raises(DataError, match=found) as caught:
        split(data)
    assert caught.value.code == "D051"


def test_fewer_than_four_labels_are_noted():
    (note,) = split(make(), [0, 1, 2, 3, 6]).notes
    assert note.startswith("warn[D053]: 1 of 2 classes")
    assert "'no' (1)" in note
    assert split(make([0, 1] * 4 + [-1])).notes == ()


def test_names_from_the_data_cannot_write_to_the_terminal():
    data = dataclasses.replace(make(), classes=("no", "\x1b[2J\n\u202e"))
    assert "\x1b" not in split(data, LABELED).notes[0]
    assert "\u202e" not in split(data, LABELED).notes[0]


def test_no_way_leads_from_a_split_to_hidden_labels():
    assert {field.name for field in dataclasses.fields(Split)} == {
        "classes", "labeled", "unlabeled", "labeled_index", "unlabeled_index", "notes",
    }  # fmt: skip
    data = make()
    result = split(data, LABELED, "all")
    seen, todo = set(), [result]
    while todo:  # everything a split holds, and the arrays its arrays are views of
        item = todo.pop()
        if id(item) not in seen and not isinstance(item, type):
            seen.add(id(item))
            todo += gc.get_referents(item)
            if isinstance(item, np.ndarray):
                todo.append(item.base)
                assert item is not data.labels
                assert not np.shares_memory(item, data.labels)
                assert not np.shares_memory(item, data.inputs)
    assert not hasattr(result, "__dict__")


def test_fingerprint_ignores_hidden_labels():
    data = make()
    hidden = np.setdiff1d(np.arange(8), LABELED)
    base = fingerprint(split(data, LABELED))
    assert len(base) == 64
    for value in (0, 1, -1):
        labels = data.labels.copy()
        labels[hidden] = value
        assert fingerprint(split(dataclasses.replace(data, labels=labels), LABELED)) == base


@pytest.mark.parametrize("change", ["label", "labeled pixel", "unlabeled pixel", "class", "order", "which", "shape"])
def test_fingerprint_sees_every_change(change):
    data = make()
    labels, inputs, classes, index, which = data.labels.copy(), data.inputs.copy(), data.classes, LABELED, "rest"
    if change == "label":
        labels[3] = 0
    elif change == "labeled pixel":
        inputs[0, 0, 3, 3] ^= 1
    elif change == "unlabeled pixel":
        inputs[7, 0, 0, 0] ^= 1
    elif change == "class":
        classes = ("no", "yes!")
    elif change == "order":
        index = LABELED[::-1]
    elif change == "which":
        which = "all"
    else:
        inputs = inputs.reshape(8, 1, 2, 8)
    other = dataclasses.replace(data, labels=labels, inputs=inputs, classes=classes)
    assert fingerprint(split(other, index, which)) != fingerprint(split(data, LABELED))


def test_fingerprint_reads_beyond_its_first_block():
    labels = np.full(9000, -1)
    labels[:2] = 0, 1
    data = Dataset("long", "vectors", ("a", "b"), np.zeros((9000, 1), np.float32), labels)
    base = fingerprint(split(data))
    data.inputs[-1] = 1
    assert fingerprint(split(data)) != base


def test_a_golden_fingerprint():
    assert fingerprint(split(make(), LABELED)) == GOLDEN


@pytest.mark.parametrize(
    ("inputs", "labels"),
    [
        (np.zeros((2, 3)), np.zeros(2, np.int64)),
        (np.zeros((2, 3), np.float32), np.zeros(2, np.int32)),
        (np.zeros((2, 3), np.float32), np.zeros(3, np.int64)),
    ],
)
def test_examples_of_a_wrong_form(inputs, labels):
    with pytest.raises(ValueError, match="labels"):
        Examples(inputs, labels)


def test_a_label_beyond_the_classes():
    with pytest.raises(ValueError, match="label 2 of 2 classes"):
        make([0, 1, 2])


def test_an_unknown_choice_of_the_unlabeled():
    with pytest.raises(ValueError, match="'some'"):
        split(make(), LABELED, "some")
