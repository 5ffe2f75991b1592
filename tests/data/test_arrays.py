import math
import re

import numpy as np
import pytest

from semilla.data import load, split
from semilla.errors import DataError

GREY = np.arange(4 * 6 * 5, dtype=np.uint8).reshape(4, 6, 5)
COLOUR = np.arange(4 * 6 * 5 * 3).astype(np.uint8).reshape(4, 6, 5, 3)
TABLE = np.arange(8.0).reshape(4, 2)
Y = [0, 1, 0, 1]


@pytest.mark.parametrize(
    ("x", "kind", "expected"),
    [
        (GREY, "images", GREY[:, None]),
        (GREY[..., None], "images", GREY[:, None]),
        (GREY[:, None], "images", GREY[:, None]),
        (COLOUR, "images", COLOUR.transpose(0, 3, 1, 2)),
        (COLOUR.transpose(0, 3, 1, 2), "images", COLOUR.transpose(0, 3, 1, 2)),
        (TABLE, "vectors", TABLE.astype(np.float32)),
        (TABLE.astype(np.float16), "vectors", TABLE.astype(np.float32)),
        (TABLE.astype(np.uint8), "vectors", TABLE.astype(np.float32)),
        (TABLE.tolist(), "vectors", TABLE.astype(np.float32)),
        (TABLE > 3, "vectors", (TABLE > 3).astype(np.float32)),
    ],
)
def test_inputs(x, kind, expected):
    data = load((x, Y))
    assert data.kind == kind
    assert data.inputs.dtype == expected.dtype
    assert data.inputs.flags.c_contiguous
    assert data.flip is False
    np.testing.assert_array_equal(data.inputs, expected)


@pytest.mark.parametrize(
    ("y", "classes", "labels"),
    [
        ([10, 9, -1, 10], ("9", "10"), [1, 0, -1, 1]),
        (np.array([3, 0, 3, 0], np.uint8), ("0", "3"), [1, 0, 1, 0]),
        ([1.0, math.nan, 0.0, -1.0], ("0", "1"), [1, -1, 0, -1]),
        (np.array([1, np.nan, 0, 1], np.float32), ("0", "1"), [1, -1, 0, 1]),
        (["10", "9", "", "9"], ("10", "9"), [0, 1, -1, 1]),
        (["b", None, math.nan, "a"], ("a", "b"), [1, -1, -1, 0]),
        (["nan", math.nan, "a", "a"], ("a", "nan"), [1, -1, 0, 0]),
        (np.array(["b ", "", "B", "b "]), ("B", "b "), [1, -1, 0, 1]),
        (np.array([2, None, np.int64(1), np.float64("nan")], object), ("1", "2"), [1, -1, 0, -1]),
        ([True, False, None, True], ("False", "True"), [1, 0, -1, 1]),
        (np.array([True, False, True, True]), ("False", "True"), [1, 0, 1, 1]),
        (["chó", "mèo", "-1", "chó"], ("-1", "chó", "mèo"), [1, 2, 0, 1]),
    ],
)
def test_labels(y, classes, labels):
    data = load((TABLE, y))
    assert data.classes == classes
    assert all(type(name) is str for name in data.classes)
    assert data.labels.dtype == np.int64
    assert data.labels.tolist() == labels


def test_every_array_of_a_mapping():
    arrays = {"x_train": GREY, "y_train": ["b", "a", "", ""], "x_test": 255 - GREY[:2, ..., None], "y_test": ["a", "b"]}
    arrays |= {"x_development": GREY[:1], "y_development": ["b"], "x_unlabelled": GREY[:, None], "typo\n": 3}
    data = load(arrays)
    assert data.test.labels.tolist() == [0, 1]
    assert data.test.inputs.shape == (2, 1, 6, 5)
    assert data.development.labels.tolist() == [1]
    assert data.unlabeled.shape == (4, 1, 6, 5)
    assert data.notes == (r"arrays: not read: 'typo\n'",)


BASE = {"x_train": TABLE, "y_train": Y}
NAN = TABLE.copy()
NAN[2, 1] = np.nan
HUGE = TABLE.copy()
HUGE[3, 0] = -1e300


@pytest.mark.parametrize(
    ("change", "code", "parts"),
    [
        ({"x_train": NAN}, "D080", ["x_train has nan at row 2, column 1", "1 cells"]),
        ({"x_train": np.where(NAN == 6, np.inf, TABLE)}, "D080", ["inf at row 3, column 0"]),
        ({"x_train": HUGE}, "D080", ["-1e+300 at row 3, column 0"]),
        ({"x_test": NAN, "y_test": Y}, "D080", ["x_test has nan"]),
        ({"x_unlabeled": NAN}, "D080", ["x_unlabeled has nan"]),
        ({"x_train": GREY / 255}, "D020", ["images of float64", "uint8 from 0 to 255"]),
        ({"x_train": GREY.astype(np.int64)}, "D020", ["images of int64"]),
        ({"x_train": COLOUR.astype(np.float32)}, "D020", ["images of float32"]),
        ({"x_train": GREY[:, :, :, None].repeat(2, 3)}, "D020", ["(4, 6, 5, 2)", "neither"]),
        ({"x_train": COLOUR[:, :3]}, "D020", ["(4, 3, 5, 3)", "both"]),
        ({"x_train": TABLE[:, 0]}, "D020", ["shape (4,)"]),
        ({"x_train": [[1, 2], [3]]}, "D020", ["not one array"]),
        ({"x_train": TABLE[:0], "y_train": []}, "D020", ["no example"]),
        ({"x_train": TABLE[:, :0]}, "D020", ["no example"]),
        ({"x_train": TABLE.astype(str)}, "D020", ["not numbers"]),
        ({"x_train": TABLE.astype(object)}, "D020", ["holds object"]),
        ({"x_train": TABLE * 1j}, "D020", ["complex128"]),
        ({"x_train": None}, "D081", ["no array 'x_train'"]),
        ({"y_train": None}, "D081", ["no array 'y_train'", "x_train, "]),
        ({"x_test": TABLE}, "D081", ["no array 'y_test'"]),
        ({"y_test": Y}, "D081", ["no array 'x_test'"]),
        ({"x_test": TABLE, "y_test": [0, 1, -1, 0]}, "D081", ["no label at row 2"]),
        ({"x_test": TABLE, "y_test": [0, 1, 0, 2]}, "D052", ["y_test has 2 at row 3"]),
        ({"x_test": TABLE, "y_test": ["0", "1", "0", "1"]}, "D052", ["'0' at row 0"]),
        ({"x_development": TABLE, "y_development": [5, 0, 0, 0]}, "D052", ["y_development has 5"]),
        ({"y_train": [0, 1]}, "D082", ["4 examples", "2 labels"]),
        ({"x_test": TABLE, "y_test": [0]}, "D082", ["x_test has 4 examples, y_test 1"]),
        ({"x_test": TABLE[:, :1], "y_test": Y}, "D082", ["(1,)", "(2,)"]),
        ({"x_unlabeled": GREY}, "D082", ["images", "vectors"]),
        ({"y_train": np.eye(4)}, "D056", ["(4, 4)", "several labels"]),
        ({"y_train": [[0], [1], [0], [1]]}, "D056", ["(4, 1)"]),
        ({"y_train": [[0, 1], [1], [0], [1]]}, "D056", ["[0, 1] of type list at row 0"]),
        ({"y_train": [0.5, 1, 0, 1]}, "D056", ["0.5", "row 0", "regression"]),
        ({"y_train": [0, math.inf, 0, 1]}, "D056", ["inf", "row 1"]),
        ({"y_train": [0, 1, -2, 1]}, "D056", ["-2", "row 2"]),
        ({"y_train": ["a", 1, "a", 1]}, "D056", ["mixes text and numbers"]),
        ({"y_train": np.array([b"a", b"b", b"a", b"b"])}, "D056", ["bytes"]),
        ({"y_train": 3}, "D056", ["shape ()"]),
    ],
)
def test_arrays_that_are_wrong(change, code, parts):
    with pytest.raises(DataError) as caught:
        load(BASE | change)
    assert caught.value.code == code
    assert caught.value.fix
    assert len(str(caught.value)) < 500
    for part in parts:
        assert part in str(caught.value)


def test_one_class_beside_unknown_ones_is_refused_when_it_is_split():
    with pytest.raises(DataError, match=re.escape("only '1'")) as caught:
        split(load((TABLE, [1, -1, 1, -1])))
    assert caught.value.code == "D051"
    assert "−1" in caught.value.fix


def test_nothing_the_user_gave_is_changed():
    x, y = GREY.copy(), np.array(["a", "b", "", "a"])
    split(load((x, y)))
    np.testing.assert_array_equal(x, GREY)
    assert y.tolist() == ["a", "b", "", "a"]
