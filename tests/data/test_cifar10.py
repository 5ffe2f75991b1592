import io

import numpy as np
import pytest
from PIL import Image

from semilla.data import cifar10
from semilla.data.blobs import InMemory
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


def pixels(blobs):
    """(N, C, H, W)"""
    images = [np.asarray(Image.open(io.BytesIO(blobs.read(row)))) for row in range(len(blobs))]
    return np.stack(images).transpose(0, 3, 1, 2)


def part(found, name):
    """Pixels and labels of a part."""
    manifest, blobs = found
    rows = [row for row, said in enumerate(manifest.parts) if said == name]
    images = pixels(blobs)[rows]
    return images, [manifest.classes.index(manifest.labels[row]) for row in rows]


def test_parquet(parquet):
    manifest, blobs = found = cifar10.read_parquet(parquet)
    assert (manifest.name, manifest.classes) == ("cifar10", cifar10.CLASSES)
    assert manifest.parts == ("train",) * 14 + ("test",) * 3
    assert manifest.paths[:3] == ("train-0.parquet#3", "train-0.parquet#4", "train-0.parquet#1")
    assert [blobs.name(row) for row in range(17)] == list(manifest.paths)
    images, labels = part(found, "train")
    np.testing.assert_array_equal(images, IMAGES[:14].transpose(0, 3, 1, 2))
    np.testing.assert_array_equal(labels, LABELS[:14])
    images, labels = part(found, "test")
    np.testing.assert_array_equal(images, IMAGES[[0, 1, 3]].transpose(0, 3, 1, 2))
    assert labels == [0, 1, 3]
    assert manifest.notes[1:] == (f"{parquet.name}: 1 test pictures that are not exact copies are left out",)


def test_inexact_test_pictures_on_request(parquet):
    found = cifar10.read_parquet(parquet, inexact=True)
    assert part(found, "test")[1] == [0, 1, 2, 3]
    assert len(found[0].notes) == 1


def test_without_a_test_file(parquet):
    (parquet / "test.parquet").unlink()
    manifest, _ = cifar10.read_parquet(parquet)
    assert set(manifest.parts) == {"train"}
    assert "no test.parquet" in manifest.notes[1]


def test_which_folders_are_of_this_kind(parquet, tmp_path):
    assert cifar10.is_numbered(parquet)
    assert not cifar10.is_binary(parquet)
    other = tmp_path / "other"
    other.mkdir()
    assert not cifar10.is_folder_of(other)
    write_parquet(other / "train-0.parquet", [0, 1], index=None)
    assert not cifar10.is_folder_of(other)  # an ordinary set of pictures
    write_binary(other)
    assert cifar10.is_binary(other)


NULLS = pa.array([1, None, 3, 4, 5, 6, 7], pa.uint8())


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ({"label": None}, ["no column 'label'", "only 'index'"]),
        ({"label": pa.array([0, 1, 2, 3, 4, 5, 10])}, ["label 10", "10 classes"]),
        ({"label": pa.array([[0]] * 7)}, ["label is '[0]' of type list"]),
        ({"image": pa.array([1] * 7)}, ["no column of pictures"]),
        ({"index": None}, ["no column 'index'", "image, label"]),
        ({"index": pa.array([0] * 7)}, ["1 is missing"]),
        ({"index": pa.array(["0"] * 7)}, ["'index' is string"]),
        ({"index": NULLS}, ["'index' has 1 empty cells"]),
        ({"exact": pa.array([1] * 7)}, ["'exact' is int64"]),
        ({"classes": None}, ["names other classes"]),
        ({"classes": "a,b"}, ["names other classes"]),
    ],
)
def test_parquet_that_is_wrong(parquet, change, parts):
    write_parquet(parquet / "train-1.parquet", [4, 11, 6, 5, 10, 9, 8], **change)
    with pytest.raises(DataError) as caught:
        cifar10.read_parquet(parquet)
    assert caught.value.code in ("D006", "D056", "D081")
    for part in parts:
        assert part in str(caught.value)


def test_labels_that_are_not_known(parquet):
    write_parquet(parquet / "train-1.parquet", [4, 11, 6, 5, 10, 9, 8], label=NULLS)
    labels = cifar10.read_parquet(parquet)[0].labels
    assert (labels[4], labels[11], labels[6]) == ("automobile", None, "cat")


def test_a_part_that_is_missing(parquet):
    (parquet / "train-0.parquet").unlink()
    with pytest.raises(DataError, match="0 is missing"):
        cifar10.read_parquet(parquet)


@pytest.mark.parametrize("content", [b"", b"PAR1hello", None])
def test_damaged_parquet(parquet, content):
    path = parquet / "train-1.parquet"
    path.write_bytes(path.read_bytes()[:-100] if content is None else content)
    with pytest.raises(DataError) as caught:
        cifar10.read_parquet(parquet)
    assert caught.value.code == "D006"


def test_binary(tmp_path):
    write_binary(tmp_path)
    (tmp_path / "batches.meta.txt").write_text("\n".join(cifar10.CLASSES) + "\n\n")
    data = cifar10.read_binary(tmp_path)
    assert (data.name, data.flip, data.classes, data.notes) == ("cifar10", True, cifar10.CLASSES, ())
    np.testing.assert_array_equal(np.concatenate([data.inputs, data.test.inputs]), IMAGES.transpose(0, 3, 1, 2))
    np.testing.assert_array_equal(np.concatenate([data.labels, data.test.labels]), LABELS)


def test_other_names_in_the_binary_files(tmp_path):
    write_binary(tmp_path)
    (tmp_path / "batches.meta.txt").write_text(" ".join("zyxwvutsrq"))
    data = cifar10.read_binary(tmp_path)
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
        cifar10.read_binary(tmp_path)
    assert caught.value.code == "D006"
    assert part in caught.value.message


def test_cifar10_is_looked_for_in_order(tmp_path, own_cache, monkeypatch):
    work = tmp_path / "project" / "work"
    work.mkdir(parents=True)
    monkeypatch.chdir(work)
    with pytest.raises(DataError) as caught:
        cifar10.find()
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
        assert cifar10.read_binary(cifar10.find()).inputs[0, 0, 0, 0] == number
    monkeypatch.setenv("SEMILLA_DATA", str(tmp_path / "project/shared/data"))
    assert cifar10.read_binary(cifar10.find()).inputs[0, 0, 0, 0] == 1


def test_real_parquet_rows_as_binary_records(shared, tmp_path):
    """The first rows of every real part, through both readers."""
    for number in range(5):
        table = pq.ParquetFile(shared / "cifar10" / f"train-{number}.parquet").read().slice(0, 20)
        images = pixels(InMemory(table["image"].to_pylist())).reshape(20, -1)
        records = np.concatenate([table["label"].to_numpy()[:, None], images], axis=1)
        records.astype(np.uint8).tofile(tmp_path / f"data_batch_{number + 1}.bin")
        index = pa.array(range(20 * number, 20 * number + 20), pa.int32())
        table = table.set_column(table.column_names.index("index"), "index", index)
        (tmp_path / "parquet").mkdir(exist_ok=True)
        pq.write_table(table, tmp_path / "parquet" / f"train-{number}.parquet")
    binary, parquet = cifar10.read_binary(tmp_path), cifar10.read_parquet(tmp_path / "parquet")
    images, labels = part(parquet, "train")
    np.testing.assert_array_equal(binary.inputs, images)
    np.testing.assert_array_equal(binary.labels, labels)
    assert binary.classes == parquet[0].classes == cifar10.CLASSES


def test_real_pictures_are_the_published_ones(shared):
    """The small set holds exact training pictures with their official positions."""
    with np.load(shared / "small" / "cifar10_1000_500.npz", allow_pickle=False) as small:
        index, x, y = small["i_train"], small["x_train"], small["y_train"]
    table = pq.ParquetFile(shared / "cifar10" / "train-0.parquet").read()
    rows = np.flatnonzero(index < 10_000)[:40]
    blobs = [table["image"][int(index[row])].as_py() for row in rows]
    np.testing.assert_array_equal(pixels(InMemory(blobs)), x[rows].transpose(0, 3, 1, 2))
    np.testing.assert_array_equal(table["label"].to_numpy()[index[rows]], y[rows])


@pytest.mark.slow
def test_the_whole_real_set(shared):
    manifest, blobs = cifar10.read_parquet(shared / "cifar10")
    assert len(manifest) == len(blobs) == 59_980
    assert manifest.parts == ("train",) * 50_000 + ("test",) * 9_980
    assert {manifest.labels[:50_000].count(name) for name in cifar10.CLASSES} == {5000}
    for row in (0, 9_999, 10_000, 49_999, 59_979):
        assert np.asarray(Image.open(io.BytesIO(blobs.read(row)))).shape == (32, 32, 3)
