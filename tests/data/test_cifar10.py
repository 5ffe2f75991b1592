import io

import numpy as np
import pytest
from PIL import Image

from semilla.data import cifar10, load, store
from semilla.errors import DataError

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

RNG = np.random.default_rng(5)
IMAGES = RNG.integers(0, 256, (50, 32, 32, 3), np.uint8)
NAMES = ",".join(cifar10.CLASSES)
LABELS = np.arange(50) % 10


def encoded(image, form="WEBP"):
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, form, **({"lossless": True} if form == "WEBP" else {}))
    return buffer.getvalue()


def write_parquet(path, rows, exact=None, classes=NAMES, **replaced):
    columns = {
        "image": pa.array([encoded(IMAGES[row]) for row in rows], pa.binary()),
        "label": pa.array(LABELS[rows], pa.uint8()),
        "index": pa.array(rows, pa.int32()),
    }
    if exact is not None:
        columns["exact"] = pa.array(exact)
    columns |= replaced
    table = pa.table({name: column for name, column in columns.items() if column is not None})
    pq.write_table(table.replace_schema_metadata({"classes": classes} if classes else None), path, row_group_size=7)


def write_binary(folder, images=IMAGES, labels=LABELS):
    records = np.concatenate([labels[:, None], images.transpose(0, 3, 1, 2).reshape(len(images), -1)], axis=1)
    names = [*cifar10._BATCHES, "test_batch.bin"]
    for name, part in zip(names, np.array_split(records.astype(np.uint8), 6), strict=True):
        part.tofile(folder / name)


@pytest.fixture
def parquet(tmp_path):
    write_parquet(tmp_path / "train-0.parquet", [13, 2, 7, 0, 1, 12, 3])
    write_parquet(tmp_path / "train-1.parquet", [4, 11, 6, 5, 10, 9, 8])
    write_parquet(tmp_path / "test.parquet", [3, 2, 0, 1], exact=[True, False, True, True])
    return tmp_path


def test_parquet(parquet):
    data = load(parquet)
    assert (data.name, data.kind, data.flip, data.classes) == ("cifar10", "images", True, cifar10.CLASSES)
    np.testing.assert_array_equal(data.inputs, IMAGES[:14].transpose(0, 3, 1, 2))
    np.testing.assert_array_equal(data.labels, LABELS[:14])
    np.testing.assert_array_equal(data.test.inputs, IMAGES[[0, 1, 3]].transpose(0, 3, 1, 2))
    assert data.test.labels.tolist() == [0, 1, 3]
    assert data.notes == (f"{parquet.name}: 1 test pictures that are not exact copies are left out",)


def test_inexact_test_pictures_on_request(parquet):
    data = cifar10.read_folder(parquet, inexact=True)
    assert data.test.labels.tolist() == [0, 1, 2, 3]
    assert data.notes == ()


def test_without_a_test_file(parquet):
    (parquet / "test.parquet").unlink()
    data = load(parquet)
    assert data.test is None
    assert "no test.parquet" in data.notes[0]


def test_pictures_are_decoded_once(parquet, own_cache, monkeypatch):
    first = load(parquet)
    assert len(list(own_cache.iterdir())) == 2
    monkeypatch.setattr(store, "decode", lambda *_: pytest.fail("decoded again"))
    again = load(parquet)
    assert isinstance(again.inputs, np.memmap)
    assert not again.inputs.flags.writeable
    np.testing.assert_array_equal(again.inputs, first.inputs)


def test_changed_files_are_decoded_again(parquet, own_cache):
    load(parquet)
    write_parquet(parquet / "train-1.parquet", [4, 11, 6, 5, 10, 9, 8],
                  image=pa.array([encoded(IMAGES[40])] * 7, pa.binary()))  # fmt: skip
    np.testing.assert_array_equal(load(parquet).inputs[11], IMAGES[40].transpose(2, 0, 1))
    assert len(list(own_cache.iterdir())) == 3


@pytest.mark.parametrize("damage", ["cut", "text", "other", "shorter"])
def test_a_damaged_store_is_made_again(parquet, own_cache, damage):
    first = load(parquet)
    (path,) = own_cache.glob("train-*.npy")
    if damage in ("other", "shorter"):
        np.save(path, np.zeros(14, np.uint8) if damage == "other" else first.inputs[:13])
    else:
        path.write_bytes(path.read_bytes()[:1000] if damage == "cut" else b"hello")
    np.testing.assert_array_equal(load(parquet).inputs, first.inputs)
    assert np.load(path, allow_pickle=False).shape == (14, 3, 32, 32)


def test_a_store_that_cannot_be_written_is_a_note(parquet, own_cache, monkeypatch):
    (own_cache / "file").write_text("")
    monkeypatch.setenv("SEMILLA_CACHE", str(own_cache / "file" / "below"))
    data = load(parquet)
    assert len(data.inputs) == 14
    assert sum("could not be kept" in note for note in data.notes) == 2


NULLS = pa.array([1, None, 3, 4, 5, 6, 7], pa.uint8())


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ({"label": None}, ["no column 'label'", "image, index"]),
        ({"label": NULLS}, ["'label' has 1 empty cells"]),
        ({"label": pa.array([0, 1, 2, 3, 4, 5, 10])}, ["label 10", "10 classes"]),
        ({"label": pa.array(["a"] * 7)}, ["'label' is string"]),
        ({"image": pa.array([1] * 7)}, ["'image' is int64"]),
        ({"index": pa.array([0] * 7)}, ["1 is missing"]),
        ({"classes": None}, ["does not name its classes"]),
        ({"classes": "a,b"}, ["other classes than the first file"]),
    ],
)
def test_parquet_that_is_wrong(parquet, change, parts):
    write_parquet(parquet / "train-1.parquet", [4, 11, 6, 5, 10, 9, 8], **change)
    with pytest.raises(DataError) as caught:
        load(parquet)
    assert caught.value.code == "D006"
    for part in parts:
        assert part in str(caught.value)


def test_a_part_that_is_missing(parquet):
    (parquet / "train-0.parquet").unlink()
    with pytest.raises(DataError, match="0 is missing"):
        load(parquet)


@pytest.mark.parametrize("content", [b"", b"PAR1hello", None])
def test_damaged_parquet(parquet, content):
    path = parquet / "train-1.parquet"
    path.write_bytes(path.read_bytes()[:-100] if content is None else content)
    with pytest.raises(DataError) as caught:
        load(parquet)
    assert caught.value.code == "D006"


def test_binary(tmp_path):
    write_binary(tmp_path)
    (tmp_path / "batches.meta.txt").write_text("\n".join(cifar10.CLASSES) + "\n\n")
    data = load(tmp_path)
    assert (data.name, data.flip, data.classes, data.notes) == ("cifar10", True, cifar10.CLASSES, ())
    np.testing.assert_array_equal(np.concatenate([data.inputs, data.test.inputs]), IMAGES.transpose(0, 3, 1, 2))
    np.testing.assert_array_equal(np.concatenate([data.labels, data.test.labels]), LABELS)


def test_other_names_in_the_binary_files(tmp_path):
    write_binary(tmp_path)
    (tmp_path / "batches.meta.txt").write_text(" ".join("zyxwvutsrq"))
    data = load(tmp_path)
    assert data.classes == tuple("zyxwvutsrq")
    assert data.name == tmp_path.name


@pytest.mark.parametrize(
    ("file", "content", "part"),
    [
        ("data_batch_2.bin", b"", "0 bytes"),
        ("data_batch_2.bin", bytes(3074), "3074 bytes"),
        ("data_batch_2.bin", bytes(3073) + b"\x0a" + bytes(3072), "label 10 at row 1"),
        ("data_batch_2.bin", None, "lacks data_batch_2.bin"),
        ("test_batch.bin", bytes(100), "100 bytes"),
    ],
)
def test_binary_that_is_wrong(tmp_path, file, content, part):
    write_binary(tmp_path)
    (tmp_path / file).unlink() if content is None else (tmp_path / file).write_bytes(content)
    with pytest.raises(DataError) as caught:
        load(tmp_path)
    assert caught.value.code == "D006"
    assert part in caught.value.message


def test_cifar10_is_looked_for_in_order(tmp_path, own_cache, monkeypatch):
    work = tmp_path / "project" / "work"
    work.mkdir(parents=True)
    monkeypatch.chdir(work)
    with pytest.raises(DataError) as caught:
        load("cifar10")
    assert caught.value.code == "D002"
    for place in ("data/cifar10", "data/cifar-10-batches-bin", "../shared/data/cifar10", str(own_cache / "cifar10")):
        assert place in caught.value.message
    assert "SEMILLA_DATA" in caught.value.fix

    places = [own_cache / "cifar10", tmp_path / "project/shared/data/cifar10", work / "data/cifar-10-batches-bin"]
    for number, place in enumerate([*places, tmp_path / "named"]):  # each comes before those made so far
        place.mkdir(parents=True)
        write_binary(place, np.full_like(IMAGES, number))
        if place.name == "named":
            monkeypatch.setenv("SEMILLA_DATA", str(place))
        assert load("cifar10").inputs[0, 0, 0, 0] == number
    monkeypatch.setenv("SEMILLA_DATA", str(tmp_path / "project/shared/data"))
    assert load("cifar10").inputs[0, 0, 0, 0] == 1


def test_real_parquet_rows_as_binary_records(shared, tmp_path):
    """The first rows of every real part, through both readers."""
    for number in range(5):
        table = pq.ParquetFile(shared / "cifar10" / f"train-{number}.parquet").read().slice(0, 20)
        images = store.decode(table["image"].to_pylist(), "real").reshape(20, -1)
        records = np.concatenate([table["label"].to_numpy()[:, None], images], axis=1)
        records.astype(np.uint8).tofile(tmp_path / f"data_batch_{number + 1}.bin")
        index = pa.array(range(20 * number, 20 * number + 20), pa.int32())
        table = table.set_column(table.column_names.index("index"), "index", index)
        (tmp_path / "parquet").mkdir(exist_ok=True)
        pq.write_table(table, tmp_path / "parquet" / f"train-{number}.parquet")
    binary, parquet = load(tmp_path), load(tmp_path / "parquet")
    np.testing.assert_array_equal(binary.inputs, parquet.inputs)
    np.testing.assert_array_equal(binary.labels, parquet.labels)
    assert binary.classes == parquet.classes == cifar10.CLASSES


def test_real_pictures_are_the_published_ones(shared):
    """The small set holds exact training pictures with their official positions."""
    with np.load(shared / "small" / "cifar10_1000_500.npz", allow_pickle=False) as small:
        index, x, y = small["i_train"], small["x_train"], small["y_train"]
    table = pq.ParquetFile(shared / "cifar10" / "train-0.parquet").read()
    rows = np.flatnonzero(index < 10_000)[:40]
    blobs = [table["image"][int(index[row])].as_py() for row in rows]
    np.testing.assert_array_equal(store.decode(blobs, "real"), x[rows].transpose(0, 3, 1, 2))
    np.testing.assert_array_equal(table["label"].to_numpy()[index[rows]], y[rows])


@pytest.mark.slow
def test_the_whole_real_set(shared, tmp_path):
    data = load(shared / "cifar10")
    assert data.inputs.shape == (50_000, 3, 32, 32)
    assert data.test.inputs.shape == (9_980, 3, 32, 32)
    assert np.bincount(data.labels).tolist() == [5000] * 10
    records = np.concatenate([data.labels[:, None].astype(np.uint8), data.inputs.reshape(50_000, -1)], axis=1)
    for number, name in enumerate(cifar10._BATCHES):
        records[number * 10_000 : (number + 1) * 10_000].tofile(tmp_path / name)
    binary = load(tmp_path)
    np.testing.assert_array_equal(binary.inputs, data.inputs)
    np.testing.assert_array_equal(binary.labels, data.labels)
