import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semilla.data import choose_labels, read_index_file
from semilla.errors import DataError, SafetyError

ABC = ("a", "b", "c")
GOLDEN = [3, 4, 5, 18, 16, 20]


@st.composite
def pools(draw):
    """Labels of three classes, 8 or more of each, some unknown, in any order; and two numbers per class."""
    counts = [draw(st.integers(8, 30)) for _ in ABC]
    labels = np.repeat([0, 1, 2, -1], [*counts, draw(st.integers(0, 20))])
    labels = labels[np.argsort(draw(st.lists(st.integers(), min_size=len(labels), max_size=len(labels))))]
    small, large = sorted(draw(st.tuples(st.integers(1, 8), st.integers(1, 8))))
    return labels, small, large


@settings(max_examples=50, deadline=None)
@given(pool=pools(), seed=st.integers(0, 2**64 - 1))
def test_choices_are_balanced_distinct_and_nested(pool, seed):
    labels, small, large = pool
    many = choose_labels(labels, ABC, 3 * large, seed)
    assert many.dtype == np.int64
    assert len(set(many.tolist())) == len(many) == 3 * large
    assert labels[many].tolist() == [0, 1, 2] * large
    np.testing.assert_array_equal(choose_labels(labels, ABC, 3 * small, seed), many[: 3 * small])
    np.testing.assert_array_equal(choose_labels(labels.copy(), ABC, 3 * large, seed), many)


def test_a_golden_choice_and_another_seed():
    labels = np.arange(30) % 3
    assert choose_labels(labels, ABC, 6, 0).tolist() == GOLDEN
    assert choose_labels(labels, ABC, 6, 1).tolist() != GOLDEN


def test_every_example_of_a_class_is_as_likely():
    labels = np.repeat(np.arange(3), 5)
    counts = np.bincount(np.concatenate([choose_labels(labels, ABC, 3, seed) for seed in range(1000)]), minlength=15)
    assert np.abs(counts - 200).max() < 60  # more than four standard deviations


@pytest.mark.parametrize(
    ("count", "fix"),
    [
        (7, "6 or 9; at most 12"),
        (0, "valid: 3; at most 12"),
        (-5, "valid: 3; at most 12"),
        (2, "valid: 3; at most 12"),
        (11, "9 or 12; at most 12"),
        (13, "valid: 12; at most 12"),
        (15, "valid: 12; at most 12"),
        (300, "valid: 12; at most 12"),
    ],
)
def test_a_count_that_cannot_be_had_names_the_nearest(count, fix):
    labels = np.repeat([0, 1, 2, -1], [9, 4, 9, 9])
    with pytest.raises(DataError) as caught:
        choose_labels(labels, ABC, count, 0)
    assert caught.value.code == "D054"
    assert str(count) in caught.value.message
    assert fix in caught.value.fix
    if count > 12:
        assert "class 'b' has only 4" in caught.value.message


def test_a_class_without_labels_is_named():
    with pytest.raises(DataError, match="class 'b' has no labeled example") as caught:
        choose_labels(np.array([0, 0, 2, 2]), ABC, 3, 0)
    assert caught.value.code == "D050"


def write(tmp_path, name, content):
    path = tmp_path / name
    if isinstance(content, dict):
        np.savez(path, **content)
    elif isinstance(content, np.ndarray):
        np.save(path, content)
    else:
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


TABLE = np.array([[5, 1, 3], [2, 0, 4]], np.int32)


@pytest.mark.parametrize(
    ("name", "content", "address", "expected"),
    [
        ("a.txt", "5\n1\n\n 3 \n", "", [5, 1, 3]),
        ("bom.txt", b"\xef\xbb\xbf5\r\n1\r\n", "", [5, 1]),
        ("a.json", "[5, 1, 3]", "", [5, 1, 3]),
        ("a.npy", TABLE[0], "", [5, 1, 3]),
        ("unsigned.npy", TABLE[0].astype(np.uint8), "", [5, 1, 3]),
        ("two.npy", TABLE, "#1", [2, 0, 4]),
        ("one.npz", {"only": TABLE[0]}, "", [5, 1, 3]),
        ("rows.npz", {"x": TABLE[0], "y": TABLE}, "#x", [5, 1, 3]),
        ("rows.npz", {"x": TABLE[0], "y": TABLE}, "#y#1", [2, 0, 4]),
        ("name#with.txt", "4", "", [4]),
    ],
)
def test_index_files(tmp_path, name, content, address, expected):
    index = read_index_file(f"{write(tmp_path, name, content)}{address}", 6)
    assert index.dtype == np.int64
    assert index.tolist() == expected


@pytest.mark.parametrize(
    ("name", "content", "address", "code", "parts"),
    [
        ("a.txt", "", "", "D055", ["a.txt", "no position"]),
        ("a.txt", "1\n\n6\n", "", "D055", ["a.txt, line 3", "6 is outside the 6", "0 to 5"]),
        ("a.txt", "1\n-1\n", "", "D055", ["line 2", "-1 is outside"]),
        ("a.txt", "1\n2.0\n", "", "D055", ["line 2", "'2.0' is not a whole number"]),
        ("a.txt", "1_0\n", "", "D055", ["'1_0' is not a whole number"]),
        ("a.txt", "٣\n", "", "D055", ["not a whole number"]),
        ("a.txt", "9" * 5000, "", "D055", ["line 1", "not a whole number"]),
        ("a.txt", "3\n1\n3\n", "", "D055", ["line 3", "3 is already at line 1", "each example once"]),
        ("a.txt", b"1\n\xff\n", "", "D055", ["not UTF-8"]),
        ("a.txt", "1", "#0", "D055", ["no parts to choose"]),
        ("a.json", "[]", "", "D055", ["no position"]),
        ("a.json", "[1, 2", "", "D055", ["not JSON"]),
        ("a.json", "[" * 100_000, "", "D055", ["not JSON"]),
        ("a.json", '{"a": 1}', "", "D055", ["dict instead of a list"]),
        ("a.json", "[1, true]", "", "D055", ["entry 2", "True is not a whole number"]),
        ("a.json", "[1, 2.0]", "", "D055", ["entry 2", "2.0 is not"]),
        ("a.json", '[1, "2"]', "", "D055", ["'2' is not"]),
        ("a.json", "[[1], 2]", "", "D055", ["[1] is not"]),
        ("a.npy", TABLE, "", "D055", ["2 lists of 3", "a.npy#0"]),
        ("a.npy", TABLE, "#2", "D055", ["no row '2'", "0 to 1"]),
        ("a.npy", TABLE, "#-1", "D055", ["no row '-1'"]),
        ("a.npy", TABLE[0], "#0", "D055", ["#0 does not fit"]),
        ("a.npy", np.array(3), "", "D055", ["is not a list"]),
        ("a.npy", TABLE[0] / 2, "", "D055", ["entry 1", "2.5 is not a whole number"]),
        ("a.npz", {"x": TABLE, "y": TABLE}, "", "D055", ["no array ''", "x, y", "a.npz#x"]),
        ("a.npz", {"x": TABLE}, "#z", "D055", ["no array 'z'"]),
        ("a.npy", b"no array", "", "D006", ["not a NumPy file"]),
        ("a.npz", b"PK\x03\x04broken", "", "D006", ["a.npz cannot be read"]),
        ("a.csv", "1", "", "D003", ["a.csv", "not a label list"]),
        ("a.txt", None, "", "D001", ["no file"]),
    ],
)
def test_index_files_that_are_wrong(tmp_path, name, content, address, code, parts):
    path = tmp_path / name if content is None else write(tmp_path, name, content)
    with pytest.raises(DataError) as caught:
        read_index_file(f"{path}{address}", 6)
    assert caught.value.code == code
    assert caught.value.fix
    for part in parts:
        assert part in str(caught.value)


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_index_files_with_python_objects_are_refused(tmp_path, suffix):
    array, path = np.array([1, None]), tmp_path / f"a{suffix}"
    np.save(path, array) if suffix == ".npy" else np.savez(path, a=array)
    with pytest.raises(SafetyError, match="pickle"):
        read_index_file(path, 6)


def test_real_label_lists(shared):
    path = shared / "splits" / "label_indexes.npz"
    index = read_index_file(f"{path}#cifar10_usb_40#2", 50_000)
    with np.load(path, allow_pickle=False) as arrays:
        np.testing.assert_array_equal(index, arrays["cifar10_usb_40"][2])
        for name in arrays:
            if name.startswith("cifar10_") and arrays[name].shape[1] <= 1000:
                for row in range(len(arrays[name])):
                    assert len(read_index_file(f"{path}#{name}#{row}", 50_000)) == arrays[name].shape[1]


def test_a_choice_survives_a_file(tmp_path):
    index = choose_labels(np.arange(30) % 3, ABC, 6, 0)
    (tmp_path / "index.json").write_text(json.dumps(index.tolist()))
    np.testing.assert_array_equal(read_index_file(tmp_path / "index.json", 30), index)
