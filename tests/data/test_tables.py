"""Tables of features: cases T36 to T43 of the reliability list, and equality with scikit-learn's own pipeline."""

import gzip
import json
import subprocess
import sys
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from semilla.data.dataset import split
from semilla.data.reading import CLIP, Column, TableReading, as_numbers
from semilla.data.source import Source
from semilla.data.table_files import open_table
from semilla.data.tables import is_table, read_features, read_table
from semilla.errors import DataError, StateError, UsageError

ROWS = ["red,1.5,10,cat", "blue,2.5,20,dog", "red,,,", "green,-3,1e2,cat"]
HEADER = "color,size,weight,label"


def write(folder, lines, name="t.csv"):
    path = folder / name
    path.write_text("\n".join(lines) + "\n")
    return path


def load(path, **options):
    return read_table(path, Source(path, **options))


def features(path, dataset, **options):
    """All features of a file, and what was said of it."""
    said = []
    parts = list(read_features(path, json.loads(json.dumps(dataset.reading)), say=said.append, **options))
    return np.concatenate([part for _, part in parts]), said


def refused(path, **options):
    with pytest.raises(DataError) as caught:
        load(path, **options)
    assert caught.value.exit_code == 3
    return caught.value


def numbers(*rows):
    """Lines of a table with columns a, b and label."""
    return ["a,b,label", *rows]


SMALL = numbers("1,5,x", "2,6,y", "3,7,x", "4,9,")


def test_a_table_becomes_a_data_set(tmp_path):
    dataset = load(write(tmp_path, SMALL))
    assert (dataset.name, dataset.kind, dataset.classes) == ("t", "vectors", ("x", "y"))
    assert dataset.labels.tolist() == [0, 1, 0, -1]
    assert dataset.inputs.dtype == np.float32
    np.testing.assert_allclose(dataset.inputs.mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(dataset.inputs.std(0), 1, atol=1e-6)
    assert dataset.manifest.paths == ("t.csv#0", "t.csv#1", "t.csv#2", "t.csv#3")
    assert dataset.manifest.labels == ("x", "y", "x", None)
    parts = split(dataset)
    assert parts.unlabeled_index.tolist() == [3]


@pytest.mark.parametrize("cell", ["nan", "", "inf", "-inf", "NA", " ", "1e999"])
def test_t36_a_cell_that_is_not_a_finite_number(tmp_path, cell):
    path = write(tmp_path, [*SMALL, f"5,{cell},x"])
    error = refused(path)
    assert error.code == "D080"
    assert "t.csv, row 4 (line 6), column 'b'" in error.message
    assert ("is empty" if not cell.strip() else cell) in error.message
    filled = load(path, impute="median")
    np.testing.assert_allclose(filled.inputs[4, 1], (6.5 - 6.7) / np.std([5, 6, 7, 9, 6.5]), rtol=1e-5)


@pytest.mark.parametrize("how", ["median", "mean", "most_frequent"])
def test_filling_uses_training_rows_only(tmp_path, how):
    lines = ["a,c,label,split", "1,u,x,train", "1,v,y,", "7,v,x,train", ",,x,unlabeled", "100,w,x,test", ",,y,test"]
    dataset = load(write(tmp_path, lines), impute=how)
    fill = {"median": 1.0, "mean": 3.0, "most_frequent": 1.0}[how]
    column = dataset.reading["columns"][0]
    assert column["fill"] == fill
    pool = np.array([1, 1, 7, fill])
    np.testing.assert_allclose([column["offset"], column["scale"]], [pool.mean(), pool.std()])
    assert dataset.reading["columns"][1] == {"kind": "category", "name": "c", "categories": ["u", "v"], "fill": "v"}
    np.testing.assert_allclose(dataset.test.inputs[1], [(fill - pool.mean()) / pool.std(), 0, 1], rtol=1e-6)
    np.testing.assert_array_equal(dataset.test.inputs[0, 1:], [0, 0])  # w is not in the training rows


def test_an_empty_category_is_refused_or_filled(tmp_path):
    path = write(tmp_path, ["c,label", "u,x", "v,y", "v,x", ",y"])
    assert "row 3 (line 5), column 'c' is empty" in refused(path).message
    np.testing.assert_array_equal(load(path, impute="mean").inputs[3], [0, 1])


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["a,b,label", "1,2,x", "1,2,y,3"], "line 3"),
        (["a,b,label", '1,"2,x', "1,2,y"], "line 2"),
        (["a,a,label", "1,2,x"], "line 1"),
        (["id,a,label", "7,2,x", "8,2,y", "7,1,x"], "row 2 (line 4): id '7' is already in t.csv, row 0 (line 2)"),
    ],
)
def test_t37_broken_rows_name_the_line(tmp_path, lines, said):
    assert said in refused(write(tmp_path, lines)).message


def test_t38_forms_of_text_files(tmp_path):
    expected = load(write(tmp_path, SMALL)).inputs
    text = "\ufeff" + "\r\n".join(line.replace(",", ";") for line in SMALL) + "\r\n\r\n\r\n"
    (tmp_path / "semicolon.csv").write_bytes(text.encode())
    (tmp_path / "tab.tsv.gz").write_bytes(gzip.compress("\n".join(SMALL).replace(",", "\t").encode()))
    objects = [dict(zip(("a", "b", "label"), line.split(","), strict=True)) for line in SMALL[1:]]
    objects = [{"a": int(row["a"]), "b": float(row["b"]), "label": row["label"] or None} for row in objects]
    (tmp_path / "objects.jsonl").write_text("\n".join(map(json.dumps, objects)))
    for name in ("semicolon.csv", "tab.tsv.gz", "objects.jsonl"):
        dataset = load(tmp_path / name)
        np.testing.assert_array_equal(dataset.inputs, expected)
        assert dataset.labels.tolist() == [0, 1, 0, -1]


def test_t39_columns_with_nothing_in_them(tmp_path):
    lines = ["const,void,huge,tiny,word,a,label"]
    lines += [
        f"3,,{huge},{tiny},same,{row},{'xy'[row % 2]}"
        for row, (huge, tiny) in enumerate(
            [("1e308", "1e-300"), ("-1.7e308", "3e-300"), ("0", "0"), ("1.7e308", "2e-300")]
        )
    ]
    path = write(tmp_path, lines)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dataset = load(path)
        again, said = features(path, dataset)
    assert np.isfinite(dataset.inputs).all()
    assert np.abs(dataset.inputs).max() < 3
    np.testing.assert_allclose(dataset.inputs[:, 1].std(), 1, rtol=1e-6)
    np.testing.assert_allclose(dataset.inputs[:, 2].std(), 1, rtol=1e-6)
    np.testing.assert_array_equal(dataset.inputs[:, 0], 0)
    np.testing.assert_array_equal(again, dataset.inputs)
    notes = "\n".join(dataset.notes)
    assert "warn[D086]: 2 columns the same in every training row: 'const', 'word'" in notes
    assert "empty in every training row, left out: 'void'" in notes
    assert "beyond 1e38, which leave the others of the column no room: 'huge'" in notes
    assert not said  # the empty column is known, and not an extra one


def test_a_value_far_from_training_stays_finite(tmp_path):
    dataset = load(write(tmp_path, SMALL))
    far, _ = features(write(tmp_path, ["b,a", "1e308,-1e308", "5,1"], "far.csv"), dataset)
    np.testing.assert_array_equal(far[0], [-CLIP, CLIP])
    np.testing.assert_array_equal(far[1], dataset.inputs[0])


def test_t40_columns_in_another_order_and_one_more(tmp_path):
    dataset = load(write(tmp_path, [HEADER, *ROWS]), impute="median")
    lines = ["weight,note,color,size,label", "10,hello,red,1.5,cat", "20,,blue,2.5,dog"]
    found, said = features(write(tmp_path, lines, "new.csv"), dataset)
    np.testing.assert_array_equal(found, dataset.inputs[:2])
    assert said == ["warn[D085]: new.csv: columns not used: 'note'"]


def test_t41_a_column_is_missing(tmp_path):
    dataset = load(write(tmp_path, SMALL))
    path = write(tmp_path, ["a,c", "1,2"], "new.csv")
    with pytest.raises(DataError, match="no column 'b'") as caught:
        features(path, dataset)
    assert caught.value.code == "D083"
    for option in ("unlabeled", "test"):
        error = refused(write(tmp_path, SMALL), **{option: str(path)})
        assert error.code == "D083"
        assert "new.csv has no column 'b'" in error.message


def test_t42_unseen_categories_are_nothing_and_counted(tmp_path):
    dataset = load(write(tmp_path, [HEADER, *ROWS]), impute="median")
    lines = ["color,size,weight", "pink,1.5,10", "red,1.5,10", "grey,1.5,10", ",1.5,10"]
    found, said = features(write(tmp_path, lines, "new.csv"), dataset, chunk=2)
    np.testing.assert_array_equal(found[:, 2:], [[0, 0, 0], [0, 0, 1], [0, 0, 0], [0, 0, 1]])
    assert said == [
        "warn[D087]: new.csv: cells with a category that training did not see, read as none of them: 'color' 2"
    ]


@pytest.mark.parametrize("option", [{}, {"label_column": "label"}])
def test_t43_swapped_files(tmp_path, option):
    labeled = write(tmp_path, SMALL, "labeled.csv")
    unlabeled = write(tmp_path, ["a,b", "1,2", "3,4"], "unlabeled.csv")
    error = refused(unlabeled, unlabeled=str(labeled), **option)
    assert error.code == "D081"
    assert "labels in unlabeled.csv; found one in labeled.csv: swapped?" in error.message
    assert load(labeled, unlabeled=str(unlabeled), **option).labels.tolist() == [0, 1, 0, -1, -1, -1]


def test_no_label_column_lists_the_columns(tmp_path):
    error = refused(write(tmp_path, ["a,b", "1,2"]))
    assert error.code == "D081"
    assert "'a', 'b'" in error.message
    assert "'class', 'label'" in refused(write(tmp_path, ["a,class,label", "1,2,3"])).message
    assert refused(write(tmp_path, ["a,b", "1,2"]), label_column="z").code == "D081"


@pytest.mark.parametrize("name", ["label", "class", "target", "y", "Class"])
def test_names_of_the_label_column(tmp_path, name):
    assert load(write(tmp_path, [f"a,{name}", "1,u", "2,v"])).classes == ("u", "v")


def test_more_files(tmp_path):
    main = write(tmp_path, ["split,a,label", "train,0,x", "train,2,y", "dev,1,x", "test,1,y"])
    for folder in ("more", "held"):
        (tmp_path / folder).mkdir()
    more = write(tmp_path / "more", ["label,a,extra", "y,4,1", "x,6,1"], "t.csv")
    held = write(tmp_path / "held", ["a,label", "3,x"], "t.csv")
    dataset = load(main, unlabeled=str(more), test=str(held))
    assert dataset.labels.tolist() == [0, 1, -1, -1]  # the labels of rows given as unlabeled are not read
    np.testing.assert_allclose(dataset.inputs[:, 0], (np.array([0, 2, 4, 6]) - 3) / np.sqrt(5), rtol=1e-6)
    np.testing.assert_allclose(dataset.development.inputs, [[-2 / np.sqrt(5)]], rtol=1e-6)
    np.testing.assert_allclose(dataset.test.inputs, [[-2 / np.sqrt(5)], [0]], rtol=1e-6)
    assert dataset.test.labels.tolist() == [1, 0]
    train = [row for row, part in enumerate(dataset.manifest.parts) if part == "train"]
    assert dataset.manifest.select(train).paths == ("t.csv#0", "t.csv#1", "more/t.csv#0", "more/t.csv#1")
    assert any(note.startswith("warn[D085]: t.csv: columns not used: 'extra'") for note in dataset.notes)
    assert any("2 labels of rows given as unlabeled were not read" in note for note in dataset.notes)


def test_labels_of_unlabeled_rows_change_nothing(tmp_path):
    lines = ["split,a,label", "train,0,x", "train,2,y", "unlabeled,1,x", "unlabeled,1,y"]
    one = load(write(tmp_path, lines))
    two = load(write(tmp_path, [line.replace("unlabeled,1,x", "unlabeled,1,!!") for line in lines]))
    assert one.labels.tolist() == two.labels.tolist() == [0, 1, -1, -1]
    assert one.classes == two.classes == ("x", "y")
    np.testing.assert_array_equal(one.inputs, two.inputs)
    assert one.manifest.labels == two.manifest.labels


def test_test_rows_change_nothing_of_training(tmp_path):
    lines = ["split,a,c,label", "train,0,u,x", "train,2,v,y"]
    one = load(write(tmp_path, [*lines, "test,1,u,x"]))
    two = load(write(tmp_path, [*lines, "test,1e9,w,x"]))
    assert one.reading == two.reading
    np.testing.assert_array_equal(one.inputs, two.inputs)


def test_a_test_cell_is_not_a_number_where_training_has_numbers(tmp_path):
    error = refused(write(tmp_path, ["split,a,label", "train,0,x", "train,2,y", "test,abc,x"]), impute="mean")
    assert error.code == "D080"
    assert "row 2 (line 4), column 'a': 'abc' is not a finite number" in error.message


@pytest.mark.parametrize(
    ("labels", "classes", "numbers"),
    [
        (["10", "9", "2"], ("2", "9", "10"), [2, 1, 0]),
        (["1", "-1", "0", ""], ("0", "1"), [1, -1, 0, -1]),
        (["-1", "a", "b"], ("-1", "a", "b"), [0, 1, 2]),
        (["1.0", "-1.0", "0.0"], ("0.0", "1.0"), [1, -1, 0]),
        (["01", "1", "NA"], ("01", "1", "NA"), [0, 1, 2]),
        ([" a", "a", '"=1+1"'], (" a", "=1+1", "a"), [0, 2, 1]),
    ],
)
def test_labels_are_verbatim(tmp_path, labels, classes, numbers):
    dataset = load(write(tmp_path, ["a,label", *(f"{row},{label}" for row, label in enumerate(labels))]))
    assert dataset.classes == classes
    assert dataset.labels.tolist() == numbers


@pytest.mark.parametrize(
    ("lines", "code", "said"),
    [
        (["a,label", "1,0", "2,-2", "3,1"], "D056", "-2"),
        (["a,label", *(f"{k},{k / 7}" for k in range(30))], "D056", "different numbers as labels"),
        (["a,label,split", "1,x,", "2,y,", "3,,test"], "D081", "t.csv#2, a row of the test part, has no label"),
        (["a,label,split", "1,x,", "2,y,", "3,z,test"], "D052", "t.csv#2: 'z'"),
        (["a,label", "1,x", '"1,5",y', '"2,5",x'], "D084", "row 1 (line 3), column 'a': '1,5' has a decimal comma"),
        (["a,label", *(f"{k},x" for k in range(60)), "6o,y"], "D084", "column 'a': '6o' is not a number"),
        (["a,label", ",x", ",y"], "D086", "no column"),
        (["label", "x", "y"], "D086", "no column"),
        (["a,label"], "D020", "no rows"),
    ],
)
def test_what_is_refused(tmp_path, lines, code, said):
    error = refused(write(tmp_path, lines))
    assert error.code == code
    assert said in error.message


def test_an_unknown_part_late_in_the_file(tmp_path):
    lines = ["a,label,split", *(f"{k},{'xy'[k % 2]},train" for k in range(4096)), "1,x,holdout"]
    error = refused(write(tmp_path, lines))
    assert error.code == "D077"
    assert "row 4096 (line 4098), column 'split': unknown part 'holdout'" in error.message


def test_a_feature_called_part_stays_one(tmp_path):
    dataset = load(write(tmp_path, ["part,label", "wheel,x", "door,y"]))
    assert [column["name"] for column in dataset.reading["columns"]] == ["part"]


def test_groups_and_identities_are_no_features(tmp_path):
    dataset = load(write(tmp_path, ["id,who,a,label", "7,ann,1,x", "8,bob,2,y"]), group_column="who")
    assert dataset.manifest.groups == ("ann", "bob")
    assert [column["name"] for column in dataset.reading["columns"]] == ["a"]
    assert refused(write(tmp_path, SMALL), group_column="who").code == "D081"


def test_numbers_can_be_declared_categories(tmp_path):
    path = write(tmp_path, ["zip,a,label", "01234,1,x", "99999,2,y", "01234,3,x"])
    assert any("begin with 0" in note for note in load(path).notes)
    dataset = load(path, categorical=("zip",))
    assert dataset.reading["columns"][1]["categories"] == ["01234", "99999"]
    np.testing.assert_array_equal(dataset.inputs[:, 1:], [[1, 0], [0, 1], [1, 0]])
    with pytest.raises(UsageError, match="zap"):
        load(path, categorical=("zap",))
    with pytest.raises(UsageError, match="modus"):
        load(path, impute="modus")


def test_names_and_other_endless_words_are_left_out(tmp_path):
    lines = ["name,a,label", *(f"n{k},{k},{'xy'[k % 2]}" for k in range(1001))]
    dataset = load(write(tmp_path, lines))
    assert dataset.inputs.shape == (1001, 1)
    assert any("more than 1000 different words, left out: 'name'" in note for note in dataset.notes)
    lines = ["name,a,label", *(f"n{k % 1000},{k},{'xy'[k % 2]}" for k in range(1200))]
    assert load(write(tmp_path, lines)).inputs.shape == (1200, 1001)
    lines = ["name,a,label", *(f"n{k % 46},{k},{'xy'[k % 2]}" for k in range(50))]
    few = load(write(tmp_path, lines))
    assert few.inputs.shape == (50, 1), "nearly every row has another word"
    assert any("another word in each row, left out: 'name'" in note for note in few.notes)


def sklearn_features(table, number_names, category_names, impute, fitted_on):
    """What scikit-learn's own pipeline makes of the same columns."""
    columns = [np.array(table[name], dtype=object) for name in (*number_names, *category_names)]
    matrix = np.stack(columns, axis=1)
    for k in range(len(number_names)):
        matrix[:, k] = [float(cell) if cell else np.nan for cell in matrix[:, k]]
    count = len(number_names)
    pipeline = ColumnTransformer(
        [
            ("numbers", make_pipeline(SimpleImputer(strategy=impute), StandardScaler()), list(range(count))),
            (
                "words",
                make_pipeline(
                    SimpleImputer(missing_values="", strategy="most_frequent"),
                    OneHotEncoder(handle_unknown="ignore", sparse_output=False),
                ),
                list(range(count, matrix.shape[1])),
            ),
        ]
    )
    return pipeline.fit(matrix[fitted_on]).transform(matrix)


@settings(max_examples=30)
@given(
    st.lists(
        st.tuples(
            st.integers(-(10**6), 10**6).map(lambda value: str(value / 128)) | st.just(""),
            st.integers(-5, 5).map(str) | st.just(""),
            st.sampled_from(["", "u", "v", "w", "ä,b"]),
            st.sampled_from(["", "yes", "no"]),
        ),
        min_size=2,
        max_size=12,
    ),
    st.sampled_from(["median", "mean", "most_frequent"]),
)
def test_the_same_as_scikit_learn(rows, impute):
    table = dict(zip("abcd", zip(*rows, strict=True), strict=True))
    train = list(range(max(2, len(rows) // 2)))
    if any(not any(table[name][row] for row in train) for name in table):
        return  # a column without anything in it is left out here
    columns = [Column(name) for name in table]
    for column in columns:
        column.add([table[column.name][row] for row in train])
    reading = TableReading.fit(columns, impute=impute)
    reading = TableReading.from_json(json.loads(json.dumps(reading.to_json())))
    expected = sklearn_features(table, "ab", "cd", impute, train)
    np.testing.assert_allclose(reading.transform(table), np.clip(expected, -CLIP, CLIP), rtol=1e-6, atol=1e-6)


def test_the_reading_survives_json(tmp_path):
    dataset = load(write(tmp_path, [HEADER, *ROWS]), impute="mean")
    reading = TableReading.from_json(json.loads(json.dumps(dataset.reading)))
    assert reading.to_json() == dataset.reading
    assert reading.blocks == (1, 1, 3)
    assert reading.width == dataset.inputs.shape[1] == 5
    again, said = features(tmp_path / "t.csv", dataset)
    np.testing.assert_array_equal(again, dataset.inputs)
    assert said == []


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"columns": [], "ignored": []},
        {"columns": [{"kind": "other"}], "ignored": []},
        {"columns": [{"kind": "number", "name": "a", "offset": 0, "scale": 0, "fill": None}], "ignored": []},
        {"columns": [{"kind": "number", "name": "a", "offset": 0, "scale": "nan", "fill": None}], "ignored": []},
        {"columns": [{"kind": "category", "name": "a", "categories": ["v", "u"], "fill": None}], "ignored": []},
    ],
)
def test_a_card_that_is_not_one(values):
    with pytest.raises(StateError) as caught:
        TableReading.from_json(values)
    assert caught.value.code == "C022"


def test_any_chunk_gives_the_same_features(tmp_path):
    rng = np.random.default_rng(0)
    lines = ["a,c,label", *(f"{rng.normal()},{'uvw'[rng.integers(3)]},{'xy'[k % 2]}" for k in range(100))]
    path = write(tmp_path, lines)
    dataset = load(path)
    for chunk in (1, 7, 100, 1000):
        found, _ = features(path, dataset, chunk=chunk)
        np.testing.assert_array_equal(found, dataset.inputs)
    rows = np.concatenate([rows for rows, _ in read_features(path, dataset.reading, chunk=7)])
    np.testing.assert_array_equal(rows, np.arange(100))


def test_parquet(tmp_path):
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    table = pa.table(
        {
            "a": pa.array([1, 2, None, 4], pa.int64()),
            "f": pa.array([0.5, float("nan"), 2.5, 3.5], pa.float32()),
            "c": pa.array(["u", None, "v", "u"]).dictionary_encode(),
            "e": pa.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0], [7.0, 8.0]], pa.list_(pa.float32(), 2)),
            "y": pa.array([1, 0, None, -1], pa.int64()),
        }
    )
    path = tmp_path / "t.parquet"
    pq.write_table(table, path, row_group_size=3)
    assert is_table(path, Source(path))
    assert open_table(path).columns == ("e[0]", "e[1]", "a", "f", "c", "y")
    dataset = load(path, impute="mean")
    assert dataset.classes == ("0", "1")
    assert dataset.labels.tolist() == [1, 0, -1, -1]
    kinds = {column["name"]: column["kind"] for column in dataset.reading["columns"]}
    assert kinds == {"e[0]": "number", "e[1]": "number", "a": "number", "f": "number", "c": "category"}
    np.testing.assert_allclose(dataset.inputs[:, 0] * np.sqrt(5) + 4, [1, 3, 5, 7], rtol=1e-6)
    again, _ = features(path, dataset, chunk=3)
    np.testing.assert_array_equal(again, dataset.inputs)
    assert refused(path).message.startswith("t.parquet, row 2, column 'a': nan is not a finite number")
    path.write_bytes(path.read_bytes()[:-20])
    assert refused(path).code == "D006"


def test_parquet_with_pictures_is_no_table(tmp_path):
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"image": pa.array([{"bytes": b"1", "path": "x"}]), "label": [1]}), path)
    assert not is_table(path, Source(path))


def test_lists_of_pictures_are_no_tables(tmp_path):
    pictures = write(tmp_path, ["path,label", "a.png,x"], "list.csv")
    assert not is_table(pictures, Source(pictures))
    table = write(tmp_path, SMALL)
    assert is_table(table, Source(table))
    assert not is_table(table, Source(table, path_column="a"))
    assert not is_table(tmp_path / "x.txt", Source("x.txt"))


def test_data_frames(tmp_path):
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(
        {
            "color": ["red", "blue", "red", "green"],
            "size": [1.5, 2.5, np.nan, -3],
            "weight": pd.array([10, 20, None, 100], dtype="Int64"),
            "label": ["cat", "dog", None, "cat"],
        }
    )
    expected = load(write(tmp_path, [HEADER, *ROWS]), impute="median")
    dataset = read_table(frame, Source(frame, impute="median"))
    np.testing.assert_array_equal(dataset.inputs, expected.inputs)
    np.testing.assert_array_equal(dataset.labels, expected.labels)
    assert dataset.reading == expected.reading
    assert dataset.manifest.paths[1] == "frame#1"
    found, _ = features(frame[["weight", "color", "size"]], dataset)
    np.testing.assert_array_equal(found, dataset.inputs)
    with pytest.raises(DataError, match="'size'"):
        read_table(frame, Source(frame))
    codes = pd.DataFrame({"k": pd.Categorical([1, 2, 1]), "y": [0, 1, 0]})
    assert read_table(codes, Source(codes)).reading["columns"][0]["categories"] == ["1", "2"]
    floats = pd.DataFrame({"a": [1, 2, 3, 4], "y": [1.0, 0.0, np.nan, 2.0]})
    assert read_table(floats, Source(floats)).classes == ("0", "1", "2")
    twice = pd.DataFrame([[1, 2, 0]], columns=["a", "a", "y"])
    with pytest.raises(DataError, match="two columns are called 'a'"):
        read_table(twice, Source(twice))


@given(st.lists(st.text("0123456789.eE+-_, naifNA١", max_size=8), min_size=1, max_size=10))
def test_the_fast_way_to_numbers_is_the_slow_one(cells):
    together, odd = as_numbers(cells)
    for row, cell in enumerate(cells):
        alone, wrong = as_numbers([cell])
        np.testing.assert_array_equal(alone[0], together[row])
        assert (row in odd) == bool(len(wrong))
        assert np.isfinite(alone[0]) or np.isnan(alone[0])
        assert not len(wrong) or np.isnan(alone[0])


MUTATIONS = st.lists(st.tuples(st.integers(0, 200), st.sampled_from(list('",;\n\r\t0a.-é{}'))), min_size=1, max_size=5)


@given(MUTATIONS)
def test_t70_mutated_tables_are_read_or_refused(tmp_path_factory, mutations):
    content = list("\n".join([HEADER, *ROWS, "red,1,2,dog"] * 1))
    for place, character in mutations:
        content[place % len(content)] = character
    folder = tmp_path_factory.mktemp("mutated")
    path = write(folder, ["".join(content)])
    try:
        dataset = load(path, impute="median")
    except DataError as error:
        assert error.exit_code == 3  # noqa: PT017 - both ends are right, and which one is not known here
        return
    assert np.isfinite(dataset.inputs).all()
    np.testing.assert_array_equal(features(path, dataset)[0], dataset.inputs)


STREAM = """
import resource, sys, json
from semilla.data.tables import read_features
reading = json.loads(sys.argv[2])
rows = sum(len(part) for _, part in read_features(sys.argv[1], reading))
print(rows, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
def test_prediction_streams(tmp_path):
    small, large = tmp_path / "small.csv", tmp_path / "large.csv"
    lines = [f"{k % 97},{k * 0.5},{'xy'[k % 2]}" for k in range(300_000)]
    write(tmp_path, numbers(*lines[:2000]), "small.csv")
    write(tmp_path, numbers(*lines), "large.csv")
    reading = json.dumps(load(small).reading)
    peaks = []
    for path in (small, large):
        done = subprocess.run(
            [sys.executable, "-c", STREAM, str(path), reading], capture_output=True, text=True, check=True
        )
        peaks.append(int(done.stdout.split()[1]))
    assert peaks[1] - peaks[0] < 20 * 1024  # kB


def test_real_tables(shared):
    path = shared / "tabular" / "wine_quality_red.tsv.gz"
    dataset = load(path)
    assert dataset.inputs.shape == (1599, 11)
    assert dataset.classes == ("3", "4", "5", "6", "7", "8")
    assert dataset.name == "wine_quality_red"


# Rows kept back


def held_back(path, lines, **options):
    path.write_text("\n".join(["a,cat,label", *lines]))
    return read_table(path, Source(path, holdout=0.25, impute="median", **options))


def test_nothing_is_learnt_from_rows_that_are_kept_back(tmp_path):
    """Their numbers, empty cells and words may be anything."""
    draw = np.random.default_rng(0)
    lines = [f"{draw.normal():.4f},{'uvw'[row % 3]},{'xy'[row % 2]}" for row in range(60)]
    plain = held_back(tmp_path / "t.csv", lines)
    kept = _rows(plain, "test")
    assert len(kept) == len(plain.test) == 16
    strange = [f"1e6,never_seen,{line.rpartition(',')[2]}" if row in kept else line for row, line in enumerate(lines)]
    changed = held_back(tmp_path / "t.csv", strange)
    assert changed.reading == plain.reading
    np.testing.assert_array_equal(changed.inputs, plain.inputs)
    np.testing.assert_array_equal(changed.labels, plain.labels)
    assert changed.manifest.paths == plain.manifest.paths
    others = [f"9e5,{line.partition(',')[2]}" if row not in kept else line for row, line in enumerate(lines)]
    assert held_back(tmp_path / "t.csv", others).reading != plain.reading


def test_whole_groups_are_kept_back_with_their_unlabeled_rows(tmp_path):
    lines = [f"{row},{'xy'[row % 2] if row % 5 else ''},{row // 6}" for row in range(60)]
    path = write(tmp_path, ["a,label,group", *lines])
    cut = load(path, holdout=0.3)
    groups = {part: {row // 6 for row in _rows(cut, part)} for part in ("train", "test")}
    assert groups["test"]
    assert not groups["train"] & groups["test"]
    assert len(cut.labels) == len(_rows(cut, "train"))
    assert any("copies or fellows" in note for note in cut.notes)
    with pytest.raises(UsageError, match="has a test part already"):
        load(path, holdout=0.3, test=str(path))


def _rows(dataset, part):
    pairs = zip(dataset.manifest.paths, dataset.manifest.parts, strict=True)
    return [int(path.rpartition("#")[2]) for path, own in pairs if own == part]
