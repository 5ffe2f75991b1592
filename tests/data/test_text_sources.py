"""Lines of text from every source, what is refused in each, and how they are split."""

import json
import time
import unicodedata
from dataclasses import replace

import numpy as np
import pictures
import pytest

from semilla.data import load, split
from semilla.data.dataset import choose, fingerprint, held_out_fingerprint, pool_only
from semilla.data.labels import choose_lines
from semilla.data.preparation import preparation
from semilla.data.source import Source
from semilla.data.sources import load_manifest
from semilla.data.transcriptions import transcription
from semilla.errors import DataError, SemillaError

TEXTS = ["None", "nan", "NA", "-1", "0012", "a  b", "=1+1", "Đường Nguyễn Huệ", "null", "?"]


def line(number, width=40):
    return np.random.default_rng((number, width)).integers(0, 256, (16, width), np.uint8)


def blob(number):
    return pictures.encode(line(number, 40 + number), "PNG")


def draw(folder, count=10):
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        (folder / f"{number}.png").write_bytes(blob(number))
    return folder


def read(data, **options):
    return load(Source(data, task="text", height=16, **options), None)


def texts(dataset):
    return [dataset.classes[number] if number >= 0 else None for number in dataset.labels.tolist()]


def by_path(dataset):
    names = dataset.manifest.paths[: len(dataset.labels)]
    return dict(zip(names, texts(dataset), strict=True))


def failure(data, **options):
    with pytest.raises(SemillaError) as caught:
        read(data, **options)
    return caught.value


def write_csv(folder, rows, header="path,text"):
    (folder / "labels.csv").write_text("\n".join([header, *rows]) + "\n", "utf-8")
    return folder


def write_lmdb(folder, labels, count=None, without=(), subdir=True):
    lmdb = pytest.importorskip("lmdb")
    environment = lmdb.open(str(folder), map_size=2**20, subdir=subdir)
    with environment.begin(write=True) as transaction:
        for number, label in enumerate(labels, 1):
            entries = {f"image-{number:09d}": blob(number - 1)}
            if label is not None:
                entries[f"label-{number:09d}"] = label if isinstance(label, bytes) else label.encode()
            for key, value in entries.items():
                if key not in without:
                    transaction.put(key.encode(), value)
        if count != "":
            transaction.put(b"num-samples", str(count or len(labels)).encode())
    environment.close()
    for lock in folder.glob("lock.mdb") if subdir else folder.parent.glob("*-lock"):
        lock.unlink()
    return folder


# Every source says the same


def as_csv(tmp_path):
    return write_csv(draw(tmp_path / "set"), [f'{number}.png,"{text}"' for number, text in enumerate(TEXTS)])


def as_tsv(tmp_path):
    folder = draw(tmp_path / "set")
    rows = [f"{number}.png\t{text}" for number, text in enumerate(TEXTS)]
    (folder / "labels.tsv").write_text("\n".join(["path\ttranscription", *rows]), "utf-8")
    return folder


def as_jsonl(tmp_path):
    folder = draw(tmp_path / "set")
    rows = [json.dumps({"file_name": f"{number}.png", "text": text}) for number, text in enumerate(TEXTS)]
    (folder / "metadata.jsonl").write_text("\n".join(rows), "utf-8")
    return folder


def as_txt(tmp_path):
    folder = draw(tmp_path / "set")
    rows = [f"{number}.png{' ' if number % 2 else chr(9)}{text}" for number, text in enumerate(TEXTS)]
    (folder / "labels.txt").write_text("\r\n".join(rows) + "\r\n\r\n", "utf-8")
    return folder


def as_txt_file(tmp_path):
    return as_txt(tmp_path) / "labels.txt"


def as_parquet(tmp_path):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    numbers = range(len(TEXTS))
    columns = {"image": [blob(number) for number in numbers], "text": TEXTS, "label": list(numbers)}
    pq.write_table(pa.table(columns), tmp_path / "set.parquet")
    return tmp_path / "set.parquet"


def as_datasets(tmp_path):
    datasets = pytest.importorskip("datasets")
    cells = {"image": [{"bytes": blob(number), "path": None} for number in range(len(TEXTS))], "text": TEXTS}
    features = datasets.Features({"image": datasets.Image(), "text": datasets.Value("string")})
    return datasets.Dataset.from_dict(cells, features=features)


def as_lmdb(tmp_path):
    return write_lmdb(tmp_path / "set", TEXTS)


def as_lmdb_file(tmp_path):
    return write_lmdb(tmp_path / "set.lmdb", TEXTS, subdir=False)


def as_arrays(tmp_path):
    return {"x_train": [line(number, 40 + number) for number in range(len(TEXTS))], "y_train": TEXTS}


def as_tuple(tmp_path):
    return tuple(as_arrays(tmp_path).values())


SOURCES = [as_csv, as_tsv, as_jsonl, as_txt, as_txt_file, as_parquet, as_datasets]
SOURCES += [as_lmdb, as_lmdb_file, as_arrays, as_tuple]


@pytest.mark.parametrize("source", SOURCES)
def test_texts_and_pictures_are_those_that_were_written(tmp_path, source):
    dataset = read(source(tmp_path))
    assert dataset.kind == "text"
    assert texts(dataset) == TEXTS
    assert dataset.classes == tuple(sorted(TEXTS))
    for row in range(len(TEXTS)):
        np.testing.assert_array_equal(dataset.inputs[row][0], line(row, 40 + row))
    assert not any("D057" in note or "D058" in note for note in dataset.notes)
    assert dataset.reading == {"height": 16, "widest": 1600}


@pytest.mark.parametrize("source", SOURCES[:7])
def test_the_manifest_is_had_without_decoding(tmp_path, source):
    manifest, blobs = load_manifest(Source(source(tmp_path), task="text"))
    assert list(manifest.labels) == TEXTS
    assert [blobs.read(row) for row in range(3)] == [blob(row) for row in range(3)]


# Texts


@pytest.mark.parametrize("text", [*TEXTS, "−1", "N/A", "true", "'quoted'", '"', "a\u200db"])
def test_what_is_written_stays(text):
    assert transcription(text, "here") == text


def test_composition_and_trimming_are_told(tmp_path):
    decomposed = unicodedata.normalize("NFD", "Nguyễn")
    folder = write_csv(draw(tmp_path / "set", 3), [f"0.png,{decomposed}", "1.png,  Huệ ", "2.png, "])
    dataset = read(folder)
    assert texts(dataset) == ["Nguyễn", "Huệ", None]
    assert "1 transcription composed to NFC, one character for a letter with its marks" in dataset.notes
    assert "1 transcription trimmed of white space at the ends" in dataset.notes


@pytest.mark.parametrize("character", ["\x00", "\x07", "\t", "\n", "\r", "\x85", "\u2028", "\u2029"])
def test_control_characters_are_refused(character):
    with pytest.raises(DataError, match=f"here: character 2 of .* is U\\+{ord(character):04X}") as caught:
        transcription(f"a{character}b", "here")
    assert caught.value.code == "D166"


def test_control_characters_name_file_and_row(tmp_path):
    folder = write_csv(draw(tmp_path / "set", 3), ["0.png,one", '1.png,"two\nlines"', "2.png,three"])
    error = failure(folder)
    assert (error.code, "labels.csv, line 3" in error.message) == ("D166", True)
    error = failure({"x_train": [line(0), line(1)], "y_train": ["a", "b\x01c"]})
    assert (error.code, "x_train#1" in error.message) == ("D166", True)


def test_an_empty_cell_is_unlabeled(tmp_path):
    folder = write_csv(draw(tmp_path / "set", 4), ["0.png,one", "1.png,", "2.png,two"])
    assert by_path(read(folder)) == {"0.png": "one", "1.png": None, "2.png": "two", "3.png": None}


def test_whole_numbers_of_a_parquet_column_are_text(tmp_path):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    pq.write_table(pa.table({"image": [blob(n) for n in range(3)], "text": [-1, 7, None]}), tmp_path / "set.parquet")
    assert texts(read(tmp_path / "set.parquet")) == ["-1", "7", None]


def test_other_columns_by_name(tmp_path):
    folder = write_csv(draw(tmp_path / "set", 2), ["0.png,one,A", "1.png,two,B"], "path,what,who")
    dataset = read(folder, label_column="what", group_column="who")
    assert texts(dataset) == ["one", "two"]
    assert dataset.manifest.groups == ("A", "B")
    assert failure(folder, label_column="which").code == "D081"


# Bad input


def test_a_missing_picture_is_named(tmp_path):
    folder = draw(tmp_path / "set", 2)
    for name, text in (("labels.csv", "path,text\n0.png,a\n7.png,b\n"), ("labels.txt", "0.png a\n7.png b\n")):
        (folder / name).write_text(text)
        error = failure(folder)
        assert error.code == "D070"
        assert "'7.png'" in error.message
        assert f"{name}, line {3 if name == 'labels.csv' else 2}" in error.message
        (folder / name).unlink()


def test_a_picture_named_twice(tmp_path):
    folder = draw(tmp_path / "set", 2)
    (folder / "labels.txt").write_text("0.png a\n1.png b\n0.png c\n")
    error = failure(folder)
    assert (error.code, "line 3" in error.message, "line 1" in error.message) == ("D075", True, True)
    (folder / "labels.txt").write_text("0.png a\n1.png b\n0.png a\n")
    assert texts(read(folder)) == ["a", "b"]


def test_a_list_that_is_not_utf8_names_the_line(tmp_path):
    folder = draw(tmp_path / "set", 2)
    (folder / "labels.txt").write_bytes(b"0.png a\n1.png b\xe9\n")
    error = failure(folder)
    assert (error.code, "labels.txt, line 2: byte 0xe9" in error.message) == ("D073", True)


def test_a_list_may_not_lead_out(tmp_path):
    folder = draw(tmp_path / "set", 2)
    (folder / "labels.txt").write_text("0.png a\n../1.png b\n")
    assert failure(folder).code == "D076"


def test_several_lists(tmp_path):
    folder = as_csv(tmp_path)
    (folder / "labels.txt").write_text("0.png a\n")
    assert failure(folder).code == "D078"


def test_a_folder_without_a_list(tmp_path):
    draw(tmp_path / "set/writer1", 2)
    draw(tmp_path / "set/writer2", 2)
    error = failure(tmp_path / "set")
    assert (error.code, "labels.txt" in error.fix) == ("D165", True)


def test_no_text_at_all(tmp_path):
    folder = write_csv(draw(tmp_path / "set", 2), ["0.png,", "1.png,"])
    with pytest.raises(DataError, match="no line of the training part") as caught:
        split(read(folder))
    assert caught.value.code == "D167"


def test_unreadable_labeled_pictures_stop_the_run_unless_left_out(tmp_path):
    folder = as_csv(tmp_path)
    (folder / "4.png").write_bytes(b"hello world")
    error = failure(folder)
    assert (error.code, "4.png: not an image" in error.message) == ("D014", True)
    assert len(read(folder, on_bad_file="skip").labels) == len(TEXTS) - 1


def test_a_line_too_wide_is_named(tmp_path):
    folder = as_csv(tmp_path)
    (folder / "4.png").write_bytes(pictures.encode(np.zeros((4, 500), np.uint8), "PNG"))
    error = failure(folder)
    assert (error.code, "4.png: 2,000 pixels wide at a height of 16" in error.message) == ("D014", True)


def test_kinds_and_heights_that_are_not_read(tmp_path):
    with pytest.raises(SemillaError) as caught:
        load(Source(as_csv(tmp_path), task="txet"), None)
    assert caught.value.code == "U146"
    with pytest.raises(SemillaError) as caught:
        load(Source(tmp_path / "set", task="text", height=2), None)
    assert caught.value.code == "U145"
    assert failure(3).code == "D003"
    assert failure("no-such-set").code == "D005"


@pytest.mark.parametrize(
    ("changes", "code", "part"),
    [
        ({"y_train": ["a"]}, "D082", "y_train 1 values"),
        ({"y_train": ["a", 7]}, "D056", "y_train[1] is '7' of type int"),
        ({"y_train": None}, "D081", "'y_train'"),
        ({"x_train": [line(0), line(1) / 255.0]}, "D020", "x_train[1] is float64"),
        ({"x_train": [], "y_train": []}, "D020", "holds no picture"),
        ({"x_train": [line(0), np.zeros((2, 900), np.uint8)]}, "D020", "7,200 pixels wide"),
        ({"x_test": [line(5)], "y_test": [None]}, "D081", "x_test#0"),
        ({"x_test": [line(0)], "y_test": ["a"]}, "D030", "x_test#0"),
        ({"group_train": ["A"]}, "D082", "group_train 1 values"),
        ({"x_test": [line(5)], "y_test": ["a"], "group_train": ["A", "B"], "group_test": ["A"]}, "D169", "'A' has"),
    ],
)
def test_arrays_that_are_wrong(changes, code, part):
    error = failure({"x_train": [line(0), line(1)], "y_train": ["a", None]} | changes)
    assert error.code == code
    assert part in error.message


def test_all_parts_of_arrays():
    arrays = {"x_train": [line(10)], "x_test": [line(20)]}
    arrays |= {"y_train": ["a"], "y_test": ["b"], "x_unlabeled": [line(5, 9), np.zeros((32, 64, 3), np.uint8)]}
    dataset = read(arrays)
    assert texts(dataset) == ["a", None, None]
    assert [dataset.classes[number] for number in dataset.test.labels] == ["b"]  # a text that training does not have
    assert dataset.inputs.pool.widths[dataset.inputs.index].tolist() == [40, 9, 32]


# LMDB


def test_an_lmdb_is_only_read(tmp_path):
    folder = as_lmdb(tmp_path)
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert [*before] == ["data.mdb"]
    read(folder)
    read(folder)
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before


@pytest.mark.parametrize(
    ("options", "code", "part"),
    [
        ({"count": ""}, "D170", "no key num-samples"),
        ({"count": "many"}, "D170", "num-samples is 'many'"),
        ({"count": 5}, "D171", "5 samples, and image-000000004 is not there (2 in all)"),
        ({"without": ("image-000000002",)}, "D171", "image-000000002 is not there"),
    ],
)
def test_lmdbs_that_lack_something(tmp_path, options, code, part):
    error = failure(write_lmdb(tmp_path / "set", ["a", "b", "c"], **options))
    assert error.code == code
    assert part in error.message


def test_an_lmdb_without_some_labels(tmp_path):
    assert texts(read(write_lmdb(tmp_path / "set", ["a", None, ""]))) == ["a", None, None]


def test_an_lmdb_with_a_label_that_is_not_utf8(tmp_path):
    error = failure(write_lmdb(tmp_path / "set", ["a", b"\xe9"]))
    assert (error.code, "label-000000002 is not UTF-8" in error.message) == ("D073", True)


@pytest.mark.parametrize("damage", ["cut", "overwritten", "empty"])
def test_a_damaged_lmdb(tmp_path, damage):
    file = as_lmdb(tmp_path) / "data.mdb"
    content = file.read_bytes()
    file.write_bytes({"cut": content[:-4096], "overwritten": b"hello" * 5000, "empty": b""}[damage])
    error = failure(file.parent)
    assert (error.code, "data.mdb" in error.message) == ("D006", True)


def test_an_lmdb_that_changed_is_read_again(tmp_path):
    assert texts(read(write_lmdb(tmp_path / "set", ["a", "b"]))) == ["a", "b"]
    (tmp_path / "set/data.mdb").unlink()
    assert texts(read(write_lmdb(tmp_path / "set", ["c", "d", "e"]))) == ["c", "d", "e"]


# Several sources, splits, groups


def test_more_sources(tmp_path):
    folder, more = as_csv(tmp_path), tmp_path / "more"
    test = str(write_lmdb(tmp_path / "test", TEXTS[:2]))
    more.mkdir()
    for number in range(2):
        (more / f"{number}.png").write_bytes(pictures.encode(line(50 + number), "PNG"))
    (more / "labels.txt").write_text("0.png hidden\n")
    assert failure(folder, test=test).code == "D030"  # the same pictures
    assert any("D030" in note for note in read(folder, test=test, allow_leak=True).notes)
    dataset = read(folder, unlabeled=str(more))
    assert texts(dataset) == [*TEXTS, None, None]
    assert "hidden" not in dataset.classes
    assert dataset.manifest.paths[-2:] == ("more/0.png", "more/1.png")


def test_a_test_lmdb_beside_a_folder(tmp_path):
    folder = draw(tmp_path / "set", 5)
    for number in (0, 1):
        (folder / f"{number}.png").unlink()
    write_csv(folder, ["2.png,c", "3.png,d"])
    dataset = read(folder, test=str(write_lmdb(tmp_path / "test", ["x", "y"])))
    assert texts(dataset) == ["c", "d", None]
    assert [dataset.classes[number] for number in dataset.test.labels] == ["x", "y"]


def test_lists_for_parts(tmp_path):
    folder = draw(tmp_path / "set", 4)
    (folder / "train.txt").write_text("0.png a\n1.png b\n")
    (folder / "gt_test.txt").write_text("2.png c\n")
    (folder / "train_notes.txt").write_text("how these were made\n")
    dataset = read(folder)
    assert by_path(dataset) == {"0.png": "a", "1.png": "b", "3.png": None}
    assert len(dataset.test) == 1


def grouped(**changes):
    groups = [f"writer {number % 5}" for number in range(20)]
    arrays = {"x_train": [line(number) for number in range(20)], "y_train": [f"line {number}" for number in range(20)]}
    return {**arrays, "group_train": groups, **changes}


def test_holdout_keeps_writers_apart():
    dataset = read(grouped(), holdout=0.3)
    groups = dataset.manifest.groups
    train, test = {*groups[: len(dataset.labels)]}, {*groups[len(dataset.labels) :]}
    assert len(test) in (1, 2)
    assert not train & test
    assert len(dataset.test) == 4 * len(test)
    assert not {*dataset.labels.tolist()} & {*dataset.test.labels.tolist()}


def test_holdout_without_groups_takes_any_lines():
    arrays = grouped()
    del arrays["group_train"]
    assert len(read(arrays, holdout=5).test) == 5
    error = failure(grouped(group_train=["one"] * 20), holdout=0.3)
    assert error.code == "D062"


def test_a_group_on_both_sides_of_given_parts(tmp_path):
    rows = ["0.png,a,train,W", "1.png,b,test,W", "2.png,c,train,V"]
    folder = write_csv(draw(tmp_path / "set", 3), rows, "path,text,split,group")
    error = failure(folder)
    assert error.code == "D169"
    assert "0.png (train)" in error.message
    assert any("D169" in note for note in read(folder, allow_leak=True).notes)


def test_split_leaves_nothing_of_hidden_texts():
    dataset = read(grouped())
    rows = choose(dataset, 6, 3)
    parts = split(dataset, rows)
    assert [parts.classes[number] for number in parts.labeled.labels] == [f"line {row}" for row in rows]
    assert set(parts.classes) == {f"line {row}" for row in rows}
    assert len(parts.unlabeled) == 14
    hidden = grouped(y_train=[f"line {n}" if n in rows else f"other {n % 3}" for n in range(20)])
    other = read(hidden)
    assert other.classes != dataset.classes
    assert fingerprint(split(other, rows)) == fingerprint(parts)
    assert preparation(other, split(other, rows)) == preparation(dataset, parts)
    assert held_out_fingerprint(read(hidden)) == held_out_fingerprint(dataset)


def test_held_out_texts_change_their_fingerprint():
    one = grouped(x_test=[line(60)], y_test=["x"])
    assert held_out_fingerprint(read(one)) != held_out_fingerprint(read(one | {"y_test": ["y"]}))


def test_one_text_for_all_is_enough():
    dataset = read({"x_train": [line(0), line(1)], "y_train": ["a", None]})
    assert split(dataset).classes == ("a",)
    bare, parts = pool_only(dataset)
    assert (bare.classes, len(parts.unlabeled), len(parts.labeled)) == ((), 2, 0)


def test_drawn_lines_are_nested_and_known():
    labels = np.array([5, -1, 2, 2, -1, 0, 7, 1])
    long = choose_lines(labels, 6, 4)
    assert (labels[long] >= 0).all()
    assert len({*long.tolist()}) == 6
    np.testing.assert_array_equal(choose_lines(labels, 3, 4), long[:3])
    assert choose_lines(labels, 6, 5).tolist() != long.tolist()
    for count in (0, 7):
        with pytest.raises(DataError) as caught:
            choose_lines(labels, count, 0)
        assert caught.value.code == "D168"


def test_the_scale_is_that_of_the_lines_without_padding():
    dataset = read({"x_train": [np.full((16, 16), 200, np.uint8), np.full((16, 48), 100, np.uint8)], "y_train": "ab"})
    told = preparation(dataset, split(dataset, needed=False))
    np.testing.assert_allclose(np.array(told["mean"]) * 255, [125.0])
    np.testing.assert_allclose(np.array(told["std"]) * 255, [np.sqrt(0.25 * 75**2 + 0.75 * 25**2)])
    assert told["kind"] == "text"


def test_a_source_is_read_again_from_its_plain_values(tmp_path):
    source = Source(str(as_csv(tmp_path)), task="text", height=16)
    again = Source.from_plain(json.loads(json.dumps(source.plain())))
    assert again == replace(source, data=again.data)
    assert texts(load(again, None)) == TEXTS


# Real data


@pytest.mark.parametrize(
    ("folder", "lines", "labeled", "tested"), [("vietnamese_lines", 3240, 2700, 0), ("scene_text", 6725, 6725, 5724)]
)
def test_real_lines_load_and_then_load_quickly(shared, folder, lines, labeled, tested):
    if not (shared / folder).is_dir():
        pytest.skip(f"no ../shared/data/{folder}")
    source = Source(str(shared / folder), task="text")
    dataset = load(source, None)
    assert (len(dataset.labels), int((dataset.labels >= 0).sum())) == (lines, labeled)
    assert len(dataset.test or ()) == tested
    assert dataset.inputs.shape[1:3] == (1, 32)
    began = time.perf_counter()
    again = load(source, None)
    assert time.perf_counter() - began < 2
    rows = np.arange(0, lines, 97)
    np.testing.assert_array_equal(again.inputs[rows], dataset.inputs[rows])
