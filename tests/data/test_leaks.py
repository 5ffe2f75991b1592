"""Test examples that are trained on too, in arrays and tables."""

import numpy as np
import pytest

from semilla.data.leaks import row_hashes
from semilla.data.source import Source
from semilla.data.sources import load
from semilla.errors import DataError

DRAW = np.random.default_rng(0)
PICTURES = DRAW.integers(0, 256, (30, 9, 9), dtype=np.uint8)
Y = np.arange(20) % 2


def arrays(x, test):
    return {"x_train": x[:20], "y_train": Y, "x_test": test, "y_test": np.arange(len(test)) % 2}


def test_pictures_on_both_sides_are_refused_or_told():
    leaking = arrays(PICTURES, np.concatenate([PICTURES[20:], PICTURES[3:5]]))
    with pytest.raises(DataError, match=r"2 of 12 test pictures also") as caught:
        load(leaking)
    assert caught.value.code == "D030"
    assert "warn[D030]: 2 of 12" in load(Source(leaking, allow_leak=True)).notes[-1]
    assert not load(arrays(PICTURES, PICTURES[20:])).notes


def test_an_unlabeled_pool_counts():
    with pytest.raises(DataError, match="1 of 9"):
        load({**arrays(PICTURES, PICTURES[21:]), "x_unlabeled": PICTURES[29:]})


def test_equal_rows_of_a_table_are_pointed_out(tmp_path):
    rows = [f"{a},{b},{'xy'[a % 2]}" for a, b in DRAW.integers(0, 1000, (20, 2))]
    train, test = tmp_path / "train.csv", tmp_path / "test.csv"
    train.write_text("\n".join(["a,b,label", *rows[:15]]))
    test.write_text("\n".join(["a,b,label", *rows[15:], rows[2]]))
    notes = load(Source(train, test=str(test))).notes
    assert "warn[D030]: 1 of 6 test rows equal rows that are trained on" in notes[-1]


def test_held_back_rows_are_looked_at_too():
    x = np.repeat(np.arange(40.0).reshape(20, 2), 2, axis=0)  # every row twice
    dataset = load(Source((x, np.arange(40) // 2 % 2), holdout=0.25))
    assert "warn[D030]" in dataset.notes[-1]


@pytest.mark.parametrize("shape", [(5000, 3), (5000, 3, 9, 9), (5000, 4), (5000, 1)])
@pytest.mark.parametrize("kind", [np.float32, np.uint8])
def test_hashes_are_equal_where_the_rows_are(shape, kind):
    values = DRAW.integers(0, 200, shape).astype(kind)
    values[4500] = values[7]
    hashes = row_hashes(values)
    rows = values.reshape(len(values), -1)
    _, first = np.unique(rows, axis=0, return_inverse=True)
    assert len(np.unique(hashes)) == first.max() + 1
    assert hashes[4500] == hashes[7]
    assert np.array_equal(row_hashes(values[4000:]), hashes[4000:]), "whatever stands beside it"
