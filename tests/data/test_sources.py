import hashlib
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest

from semilla.data import load, sources
from semilla.errors import DataError, SafetyError

DIGITS = "c9ad2bdde56feba5484d474764db3be46aa8b9c74a74df3abfa3105125f8f27e"


def test_importing_and_using_the_room_leaves_torch_out():
    code = (
        "import sys, semilla.data as d; late = {'sklearn', 'pyarrow', 'tqdm', 'pandas'} & set(sys.modules);"
        "d.split(d.load(([[1.], [2], [3]], [0, 1, -1]))); print(late, 'torch' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "set() False"


def test_digits():
    from sklearn.datasets import load_digits

    data = load("digits")
    assert (data.kind, data.flip, data.classes) == ("images", False, tuple("0123456789"))
    assert [len(part) for part in (data.labels, data.development, data.test)] == [897, 400, 500]
    assert np.bincount(data.development.labels).tolist() == [40] * 10
    assert np.bincount(data.test.labels).tolist() == [50] * 10
    assert np.bincount(data.labels).min() >= 84
    bunch = load_digits()
    parts = sources._digits_parts(bunch.target.astype(np.int64))
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(1797))
    for index, inputs in zip(parts, (data.inputs, data.development.inputs, data.test.inputs), strict=True):
        assert inputs.shape == (len(index), 1, 8, 8)
        np.testing.assert_array_equal(inputs[:, 0], np.floor(bunch.images[index] * 255 / 16 + 0.5))


def test_the_parts_of_digits_never_move():
    from sklearn.datasets import load_digits

    parts = sources._digits_parts(load_digits().target.astype(np.int64))
    assert hashlib.sha256(np.concatenate(parts).astype("<i8").tobytes()).hexdigest() == DIGITS


def test_a_data_set_passes_through():
    data = load("digits")
    assert load(data) is data


def test_npz(tmp_path):
    arrays = {"x_train": np.zeros((3, 4, 4), np.uint8), "y_train": np.array(["a", "", "b"]), "extra": np.ones(2)}
    np.savez_compressed(tmp_path / "mine.npz", **arrays)
    data = load(tmp_path / "mine.npz")
    assert (data.name, data.classes, data.labels.tolist()) == ("mine", ("a", "b"), [0, -1, 1])
    assert data.notes == ("mine: not read: 'extra'",)
    assert load(str(tmp_path / "mine.npz")).classes == ("a", "b")


@pytest.mark.parametrize(
    ("name", "shape", "test"),
    [
        ("cifar10_1000_500", (1000, 3, 32, 32), 500),
        ("mnist_2000_1000", (2000, 1, 28, 28), 1000),
        ("fashion_mnist_2000_1000", (2000, 1, 28, 28), 1000),
    ],
)
def test_real_npz(shared, name, shape, test):
    path = shared / "small" / f"{name}.npz"
    data = load(path)
    assert data.inputs.shape == shape
    assert data.classes == tuple("0123456789")
    assert len(data.test) == test
    with np.load(path, allow_pickle=False) as arrays:
        np.testing.assert_array_equal(data.labels, arrays["y_train"])
        stored = arrays["x_train"]
        if stored.ndim == 4:
            np.testing.assert_array_equal(data.inputs[7, 2, 3], stored[7, 3, :, 2])


def caught(data, kind=DataError):
    with pytest.raises(kind) as error:
        load(data)
    assert error.value.fix
    return error.value


@pytest.mark.parametrize(
    ("data", "code", "parts"),
    [
        ("digit", "D005", ["did you mean 'digits'"]),
        ("CIFAR-10", "D005", ["did you mean 'cifar10'"]),
        ("quantum", "D005", ["names are digits, digit_strings and cifar10"]),
        ("", "D005", ["''"]),
        (" ", "D005", ["' '"]),
        ("no/such/folder", "D001", ["no file or folder 'no/such/folder'", "exists up to"]),
        ("mine.npz", "D001", ["'mine.npz'"]),
        ("a\0b/c", "D001", [r"'a\x00b/c'"]),
        (3, "D003", ["type int"]),
        (np.zeros((3, 2)), "D003", ["type ndarray"]),
        ((np.zeros((3, 2)),), "D003", ["type tuple"]),
        (None, "D003", ["NoneType"]),
    ],
)
def test_names_that_mean_nothing(data, code, parts, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    error = caught(data)
    assert error.code == code
    for part in parts:
        assert part in str(error)


def test_paths_that_hold_nothing_readable(tmp_path):
    assert caught(tmp_path).code == "D004"
    (tmp_path / "notes.txt").write_text("hello")
    error = caught(tmp_path)
    assert (error.code, "'notes.txt'" in error.message) == ("D003", True)
    error = caught(tmp_path / "notes.txt")
    assert (error.code, "kind that is not read" in error.message) == ("D003", True)
    (tmp_path / "train-0.csv").write_text("a")
    (tmp_path / "one.parquet").write_bytes(b"PAR1")
    assert caught(tmp_path / "one.parquet").code == "D006"
    os.mkfifo(tmp_path / "pipe")
    assert "neither a file nor a folder" in caught(tmp_path / "pipe").message


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no archive", b"hello", None])
def test_a_damaged_npz(tmp_path, content):
    path = tmp_path / "mine.npz"
    if content is None:  # cut short
        np.savez(path, x_train=np.zeros((50, 50)), y_train=np.zeros(50, int))
        content = path.read_bytes()[:-300]
    path.write_bytes(content)
    error = caught(path)
    assert error.code == "D006"
    assert "mine.npz" in error.message


def test_a_flipped_bit_in_an_npz(tmp_path):
    path = tmp_path / "mine.npz"
    np.savez_compressed(path, x_train=np.random.default_rng(0).random((50, 50)), y_train=np.zeros(50, int))
    content = bytearray(path.read_bytes())
    content[5000] ^= 1
    path.write_bytes(content)
    assert caught(path).code == "D006"


class Trap:
    """Unpickling it would leave a file behind."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("name", ["data_batch_1", "data.pkl", "data", "mine.npz", "object.npz", "folder"])
@pytest.mark.parametrize("protocol", [2, 5])
def test_pickles_are_refused_unread(tmp_path, name, protocol):
    sprung, path = tmp_path / "sprung", tmp_path / name
    if name == "object.npz":
        np.savez(path, x_train=np.array([Trap(sprung)], object), y_train=np.array([0]))
    else:
        inside = path
        if name == "folder":
            path.mkdir()
            inside = path / "data_batch_3"
        inside.write_bytes(pickle.dumps(Trap(sprung), protocol))
    error = caught(path, SafetyError)
    assert (error.code, error.exit_code) == ("S001", 7)
    assert "Python pickle" in error.message
    assert "array.astype(str)" in error.fix or "numpy.savez" in error.fix or "binary version" in error.fix
    assert not sprung.exists()
