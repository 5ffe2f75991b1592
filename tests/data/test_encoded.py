import io
import json
import pickle
import subprocess
import sys
import threading

import numpy as np
import pytest
from PIL import Image

from semilla.data import encoded
from semilla.data.encoded import ParquetColumn, is_dataset, read_dataset
from semilla.data.folders import read_pictures
from semilla.data.lists import Columns
from semilla.errors import DataError

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")


def picture(number):
    buffer = io.BytesIO()
    Image.fromarray(np.full((8, 8, 3), number, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


BLOBS = [picture(number) for number in range(20)]


def write(path, numbers, labels=None, struct=False, metadata=None, group_size=3, **more):
    path.parent.mkdir(exist_ok=True, parents=True)
    cells = [BLOBS[number] if number is not None else None for number in numbers]
    if struct:
        cells = [{"bytes": cell, "path": f"{number}.png"} for cell, number in zip(cells, numbers, strict=True)]
    columns = {"image": cells} | ({"label": labels} if labels is not None else {}) | more
    table = pa.table(
        {name: column if isinstance(column, pa.Array) else pa.array(column) for name, column in columns.items()}
    )
    pq.write_table(table.replace_schema_metadata(metadata), path, row_group_size=group_size)
    return path


def class_label(names, column="label"):
    features = {column: {"names": names, "_type": "ClassLabel"}, "image": {"_type": "Image"}}
    return {"huggingface": json.dumps({"info": {"features": features}})}


def rows(manifest):
    return list(zip(manifest.paths, manifest.labels, manifest.parts, strict=True))


def told(manifest, *words):
    return any(all(word in note for word in words) for note in manifest.notes)


def failure(place, **options):
    with pytest.raises(DataError) as caught:
        read_pictures(place, **options)
    return caught.value


@pytest.mark.parametrize("struct", [False, True])
def test_hugging_face_files(tmp_path, struct):
    about = class_label(["cat", "dog"])
    write(tmp_path / "data/train-00000-of-00002.parquet", range(5), [0, 1, 1, 0, 1], struct, about)
    write(tmp_path / "data/train-00001-of-00002.parquet", range(5, 9), [0, None, -1, 1], struct, about)
    write(tmp_path / "data/test-00000-of-00001.parquet", [9, 10], [1, 0], struct, about)
    write(tmp_path / "data/validation-00000-of-00001.parquet", [11], [1], struct, about)
    manifest, blobs = read_pictures(tmp_path)
    assert manifest.paths[0] == "data/test-00000-of-00001.parquet#0"
    assert manifest.parts == ("test",) * 2 + ("train",) * 9 + ("development",)
    names = ["dog", "cat", "cat", "dog", "dog", "cat", "dog", "cat", None, None, "dog", "dog"]
    assert list(manifest.labels) == names
    assert manifest.classes == ("cat", "dog")
    assert [blobs.read(row) for row in range(12)] == [BLOBS[number] for number in [9, 10, *range(9), 11]]
    assert [blobs.name(row) for row in range(12)] == list(manifest.paths)
    assert blobs.stamp(0)[0] == (tmp_path / "data/test-00000-of-00001.parquet").stat().st_size
    assert str(tmp_path / "data/train-00001-of-00002.parquet") in blobs.describe()


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["a", "", None, "007"], ["a", None, None, "007"]),
        ([3, -1, None, 10], ["3", None, None, "10"]),
        ([3.0, -1.0, None, float("nan")], ["3", None, None, None]),
        ([True, False, None, True], ["True", "False", None, "True"]),
        (pa.array(["a", "b", None, "a"]).dictionary_encode(), ["a", "b", None, "a"]),
        (pa.nulls(4), [None] * 4),
        (None, [None] * 4),
    ],
)
def test_kinds_of_labels(tmp_path, labels, expected):
    path = write(tmp_path / "set.parquet", range(4), labels)
    manifest, _ = read_pictures(path)
    assert list(manifest.labels) == expected
    assert manifest.paths == tuple(f"set.parquet#{row}" for row in range(4))


@pytest.mark.parametrize(
    ("labels", "about", "code", "parts"),
    [
        ([0, 2], class_label(["cat", "dog"]), "D006", ["row 1", "label 2", "2 classes"]),
        ([0, 1], {"classes": "cat"}, "D006", ["label 1"]),
        ([0, 1], {"classes": "[1,"}, "D006", ["metadata"]),
        ([0, 1], {"huggingface": "[1]"}, "D006", ["metadata"]),
        ([0.5, 1], None, "D056", ["row 0", "0.5"]),
        ([["a"], ["b"]], None, "D056", ["row 0", "list"]),
    ],
)
def test_labels_that_are_wrong(tmp_path, labels, about, code, parts):
    error = failure(write(tmp_path / "set.parquet", range(2), labels, metadata=about))
    assert error.code == code
    assert all(part in error.message for part in parts), error


def test_class_names_as_json(tmp_path):
    write(tmp_path / "set.parquet", range(2), [0, 1], metadata={"classes": '["a, b", "c"]'})
    assert read_pictures(tmp_path)[0].labels == ("a, b", "c")


def test_parts_groups_and_other_names(tmp_path):
    columns = {"split": ["train", "test", None, "unlabeled"], "who": [1, 2, None, 3], "y": list("abcd")}
    path = write(tmp_path / "set.parquet", range(4), list("xxxx"), **columns)
    manifest, _ = read_pictures(path, label_column="y", group_column="who")
    assert manifest.parts == ("train", "test", "train", "train")
    assert manifest.labels == ("a", "b", "c", None)
    assert manifest.groups == ("1", "2", "", "3")
    assert told(manifest, "'image', 'y', 'split', 'who'")
    for option in ("label_column", "group_column", "path_column"):
        assert failure(path, **{option: "nothing"}).code == "D081"
    write(tmp_path / "set.parquet", range(4), split=["train", "tset", None, None])
    assert failure(path).code == "D077"


def test_an_unlabeled_file_and_a_test_file_without_labels(tmp_path):
    write(tmp_path / "lines_train.parquet", range(3), list("aba"))
    write(tmp_path / "lines_unlabeled.parquet", range(3, 5))
    write(tmp_path / "lines_test.parquet", range(5, 8), [None] * 3)
    manifest, blobs = read_pictures(tmp_path, label_column="label")
    assert [label for _, label, _ in rows(manifest)] == ["a", "b", "a", None, None]
    assert told(manifest, "3 held-out examples", "left out")
    assert [blobs.read(row) for row in range(5)] == BLOBS[:5]


def test_what_is_no_set_of_pictures(tmp_path):
    pq.write_table(pa.table({"a": [1, 2], "hash": [b"x", b"y"], "label": [0, 1]}), tmp_path / "table.parquet")
    assert read_pictures(tmp_path / "table.parquet") is None
    assert read_pictures(tmp_path) is None
    assert failure(write(tmp_path / "x" / "a.parquet", [0], ["a"]).parent, path_column="no").code == "D081"


def test_files_that_do_not_belong_together(tmp_path):
    write(tmp_path / "train-0.parquet", range(2), [0, 1], metadata=class_label(["a", "b"]))
    write(tmp_path / "train-1.parquet", range(2), [0, 1], metadata=class_label(["a", "c"]))
    assert "names other classes" in failure(tmp_path).message
    write(tmp_path / "train-1.parquet", range(2), [0, 1], True, metadata=class_label(["a", "b"]))
    assert "other columns" in failure(tmp_path).message


@pytest.mark.parametrize("content", [b"", b"PAR1hello", None])
def test_damaged_files(tmp_path, content):
    path = write(tmp_path / "train.parquet", range(9), list("abcabcabc"))
    path.write_bytes(path.read_bytes()[:-50] if content is None else content)
    assert failure(tmp_path).code == "D006"
    assert failure(path).code == "D006"


def test_damage_inside_is_found_when_it_is_read(tmp_path):
    path = write(tmp_path / "train.parquet", range(9), group_size=9)
    _, blobs = read_pictures(path)
    content = bytearray(path.read_bytes())
    content[4:40] = b"\xff" * 36
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        blobs.read(5)
    assert caught.value.code == "D006"


def test_without_pyarrow(tmp_path):
    write(tmp_path / "train.parquet", range(2), ["a", "b"])
    code = f"""
import sys
sys.modules["pyarrow"] = sys.modules["pyarrow.parquet"] = None
from pathlib import Path
from semilla.data.folders import read_pictures
from semilla.errors import DataError
try:
    read_pictures(Path({str(tmp_path)!r}))
except DataError as error:
    print(error.code)
"""
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "D007\n"


@pytest.mark.parametrize("batch_bytes", [1, 200, 2**20])
@pytest.mark.parametrize("group_size", [1, 4, 100])
def test_reading_in_any_order(tmp_path, monkeypatch, batch_bytes, group_size):
    monkeypatch.setattr(encoded, "_BATCH_BYTES", batch_bytes)
    files = [write(tmp_path / "a.parquet", range(11), group_size=group_size)]
    files.append(write(tmp_path / "b.parquet", [11, None, 13], group_size=group_size))
    blobs = ParquetColumn(files, "image")
    expected = [*BLOBS[:12], b"", BLOBS[13]]
    order = np.random.default_rng(1).permutation(np.tile(np.arange(14), 3))
    for row in [*range(14), *reversed(range(14)), *order.tolist()]:
        assert blobs.read(row) == expected[row]
    assert [blobs.name(row) for row in (0, 10, 11)] == ["a.parquet#0", "a.parquet#10", "b.parquet#0"]
    for row in (-1, 14):
        with pytest.raises(IndexError):
            blobs.read(row)
    again = pickle.loads(pickle.dumps(blobs))
    assert again.read(13) == BLOBS[13]
    assert (again.stamp(13), again.describe()) == (blobs.stamp(13), blobs.describe())


def test_threads_do_not_disturb_each_other(tmp_path):
    blobs = ParquetColumn([write(tmp_path / "a.parquet", range(20))], "image")
    wrong = []

    def read(seed):
        for row in np.random.default_rng(seed).integers(0, 20, 200).tolist():
            if blobs.read(row) != BLOBS[row]:
                wrong.append(row)

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_large_row_group_is_read_in_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr(encoded, "_BATCH_BYTES", 1000)
    blobs = ParquetColumn([write(tmp_path / "a.parquet", range(20), group_size=20)], "image")
    held = []
    for row in range(20):
        blobs.read(row)
        held.append(blobs._here.cursor._values.nbytes)
    assert max(held) < 2 * 1000


def test_a_folder_beside_a_file(tmp_path):
    write(tmp_path / "train.parquet", range(3), list("aba"))
    (tmp_path / "pool").mkdir()
    (tmp_path / "pool/x.png").write_bytes(BLOBS[7])
    manifest, blobs = read_pictures(tmp_path / "train.parquet", unlabeled=tmp_path / "pool")
    assert rows(manifest)[2:] == [("train.parquet#2", "a", "train"), ("pool/x.png", None, "train")]
    assert [blobs.read(row) for row in range(4)] == [*BLOBS[:3], BLOBS[7]]
    assert pickle.loads(pickle.dumps(blobs)).read(3) == BLOBS[7]


def test_text_lines(shared):
    manifest, blobs = read_pictures(shared / "scene_text" / "svt_train.parquet")
    assert len(manifest) == len(blobs) == 257
    assert all(manifest.labels)
    assert Image.open(io.BytesIO(blobs.read(200))).format == "JPEG"


datasets = pytest.importorskip("datasets")


def dataset(numbers, labels, names=("cat", "dog"), **more):
    features = {"image": datasets.Image(), "label": datasets.ClassLabel(names=list(names))}
    cells = {"image": [{"bytes": BLOBS[number], "path": None} for number in numbers], "label": labels}
    kinds = datasets.Features(features | {name: datasets.Value("string") for name in more})
    return datasets.Dataset.from_dict(cells | more, features=kinds)


def test_a_dataset(tmp_path):
    data = dataset(range(4), [1, 0, -1, 1], writer=list("abca"), split=["train", "test", "train", "train"])
    assert is_dataset(data)
    assert not is_dataset({"train": 1})
    manifest, blobs = read_dataset(data, Columns(group="writer"))
    assert manifest.labels == ("dog", "cat", None, "dog")
    assert manifest.parts == ("train", "test", "train", "train")
    assert manifest.groups == tuple("abca")
    assert manifest.classes == ("cat", "dog")
    assert [blobs.read(row) for row in range(4)] == BLOBS[:4]
    assert (blobs.stamp(0), blobs.describe()) == (None, "")
    assert pickle.loads(pickle.dumps(blobs)).read(2) == BLOBS[2]


def test_a_dataset_dict(tmp_path):
    (tmp_path / "x.png").write_bytes(BLOBS[9])
    test = datasets.Dataset.from_dict(
        {"image": [str(tmp_path / "x.png")], "label": [1]}, features=dataset([], []).features
    )
    parts = {"train": dataset([3, 4], [0, 1]).select([1, 0]), "test": test, "unsupervised": dataset([5], [-1])}
    data = datasets.DatasetDict(parts | {"extra": dataset([6], [0])})
    manifest, blobs = read_dataset(data)
    assert rows(manifest) == [
        ("train#0", "dog", "train"),
        ("train#1", "cat", "train"),
        ("test#0", "dog", "test"),
        ("unsupervised#0", None, "train"),
    ]
    assert [blobs.read(row) for row in range(4)] == [BLOBS[number] for number in (4, 3, 9, 5)]
    assert told(manifest, "'extra'", "left out")


def test_datasets_that_are_wrong(tmp_path):
    def failure(data, **columns):
        with pytest.raises(DataError) as caught:
            read_dataset(data, Columns(**columns))
        return caught.value.code

    data = dataset([1], [0])
    assert failure(data.remove_columns("image")) == "D003"
    assert failure(data.to_iterable_dataset()) == "D003"
    assert failure(data, path="label") == "D003"
    assert failure(data, label="nothing") == "D081"
    assert failure(datasets.DatasetDict({"test": data})) == "D081"
    other = dataset([1], [0], names=("cat", "emu"))
    assert failure(datasets.DatasetDict({"train": data, "test": other})) == "D006"
