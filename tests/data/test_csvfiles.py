"""The strict reader of rows: every file is read exactly, or refused with the line."""

import csv
import gzip
import io
import json
import os
import tracemalloc
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from semilla.data import csvfiles
from semilla.data.csvfiles import read_rows
from semilla.errors import DataError


def write(folder, content, name="t.csv"):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def refused(path):
    """The error of a file, whether its header or a later line raises it."""
    with pytest.raises(DataError) as caught:
        read_all(path)
    return caught.value


def read_all(path):
    columns, rows = read_rows(path)
    return columns, list(rows)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_separators_line_ends_and_byte_order_mark(tmp_path, end, separator, mark):  # T38
    lines = [separator.join(row) for row in (("a", "b c"), ("1.5", " x"), ("", "é"))]
    path = write(tmp_path, mark + end.join([*lines, "", " ", ""]))
    columns, rows = read_rows(path)
    assert columns == ["a", "b c"]
    assert list(rows) == [(2, ["1.5", " x"]), (3, ["", "é"])]


def test_decimal_commas_do_not_mislead_the_choice_of_separator(tmp_path):
    columns, rows = read_rows(write(tmp_path, "a;b;c\n1,5;2,5;3,5\n"))
    assert columns == ["a", "b", "c"]
    assert list(rows) == [(2, ["1,5", "2,5", "3,5"])]


def test_a_header_with_two_separators_is_decided_by_the_first_row(tmp_path):
    assert read_rows(write(tmp_path, "price, net;size;kind\n1;2;3\n"))[0] == ["price, net", "size", "kind"]


def test_quoted_cells_hold_anything_and_count_lines(tmp_path):
    columns, rows = read_rows(write(tmp_path, '"a\nb","c,""d"""\n"1\n\n2",3\n4,5\n'))
    assert columns == ["a\nb", 'c,"d"']
    assert list(rows) == [(3, ["1\n\n2", "3"]), (6, ["4", "5"])]


@pytest.mark.parametrize(
    ("content", "code", "said"),
    [
        ("a,b\n1,2\n1,2,3\n", "D071", "line 3: 3 cells, but 2 columns"),
        ("a;b\n1;2\n1\n", "D071", "line 3: 1 cells, but 2 columns"),
        ('a,b\n1,2\n1,"2\n3,4\n', "D071", "line 3: a quote is opened there and never closed"),
        ('a,b\n1,"2"x\n', "D071", "line 2: a quote is closed inside a cell"),
        ("a,b\n1,2\n\n3,4\n", "D071", "line 3 is blank, and rows follow"),
        ("a,b,a\n1,2,3\n", "D072", "two columns are called 'a', numbers 1 and 3"),
        ("a,b, a\n1,2,3\n", "D072", "two columns are called 'a'"),
        ("a,\n0,1\n", "D072", "column 2 of 2 has no name"),
        (",a,\n0,1,2\n", "D072", "column 3 of 3 has no name"),
        (",a,b\n0,1\n", "D071", "line 2: 2 cells, but 3 columns"),
        ("", "D072", "no column names"),
        ("\n\n", "D072", "no column names"),
        (b"a,b\n1,\xe9\n", "D073", "line 2: byte 0xe9 at character 3"),
        ("a,b\n1,2\n".encode("utf-16")[:-1], "D073", "begins as UTF-16 and is not"),
        (b"\xff\xfea\0,\0\x00\xd8\n\0", "D073", "begins as UTF-16 and is not"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(tmp_path, content, code, said):  # T37
    error = refused(write(tmp_path, content))
    assert error.code == code
    assert said in error.message
    assert "t.csv" in error.message
    assert error.exit_code == 3


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("ending", ["csv", "csv.gz"])
def test_utf_16_with_its_mark(tmp_path, encoding, ending):
    content = "\ufeffname;größe\r\nnaïve;日本\r\n".encode(encoding)
    path = write(tmp_path, gzip.compress(content) if ending == "csv.gz" else content, f"t.{ending}")
    assert read_all(path) == (["name", "größe"], [(2, ["naïve", "日本"])])


def test_how_to_save_as_utf_8_is_said(tmp_path):
    fix = refused(write(tmp_path, "a,b\n1,ñ\n".encode("latin-1"))).fix
    assert "Excel" in fix
    assert "iconv" in fix


@pytest.mark.parametrize("header", [",a,b", '"","a","b"', " ,a,b"])
def test_an_index_that_pandas_wrote_is_left_out(tmp_path, header):
    assert read_all(write(tmp_path, f"{header}\n0,1,x\n17,2,y\n")) == (["a", "b"], [(2, ["1", "x"]), (3, ["2", "y"])])


def test_a_ragged_row_names_the_separator_found(tmp_path):
    assert "semicolon" in refused(write(tmp_path, "a;b\n1;2\n1;2;3\n")).fix


def test_an_endless_quote_is_stopped_at_the_cell_limit(tmp_path):
    error = refused(write(tmp_path, 'a,b\n1,"' + "x,\n" * 100_000))
    assert error.code == "D071"
    assert "line 2" in error.message


def test_an_endless_line_and_an_endless_archive_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(csvfiles, "LINE_CHARACTERS", 100)
    assert refused(write(tmp_path, "a,b\n1," + "2" * 200)).code == "D074"
    monkeypatch.setattr(csvfiles, "UNPACKED_CHARACTERS", 1000)
    packed = gzip.compress(b"a,b\n" + b"1,2\n" * 1000)
    assert "unpacks to more" in refused(write(tmp_path, packed, "t.csv.gz")).message
    assert (
        len(list(read_rows(write(tmp_path, b"a,b\n" + b"1,2\n" * 1000))[1])) == 1000
    )  # a plain file has no such limit


def test_gzip(tmp_path):
    packed = gzip.compress("\ufeffa,b\n1,2\n".encode())
    assert read_all(write(tmp_path, packed, "T.CSV.GZ")) == (["a", "b"], [(2, ["1", "2"])])
    assert refused(write(tmp_path, packed[:-9], "t.csv.gz")).code == "D006"
    assert refused(write(tmp_path, b"a,b\n1,2\n", "t.csv.gz")).code == "D006"


def test_only_regular_files_are_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.csv")
    assert refused(tmp_path / "pipe.csv").code == "D003"
    assert refused(tmp_path).code == "D003"
    assert refused(tmp_path / "none.csv").code == "D001"


def test_json_lines_keep_numbers_as_they_are_written(tmp_path):
    content = '{"a": 1.50, "b": null}\n{"c": true, "a": 12345678901234567890}\n{"a": NaN, "b": "é\\udce9"}\n\n'
    columns, rows = read_rows(write(tmp_path, content, "t.jsonl"))
    assert columns == ["a", "b", "c"]
    assert [cells for _, cells in rows] == [
        ["1.50", "", ""],
        ["12345678901234567890", "", "true"],
        ["NaN", "é\udce9", ""],
    ]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"a": 1}\n{"a": 1, "a": 2}\n', "line 2: the key 'a' is there twice"),
        ('{"a": 1}\n[1]\n', "line 2: not an object"),
        ('{"a": 1}\n{"a": 1\n', "line 2: not JSON"),
        ('{"a": 1}\n{"a": [1]}\n', "line 2: 'a' is a list"),
        ('{"a": 1}\n\n{"a": 1}\n', "line 2 is blank"),
        ('{"a": ' + "[" * 200_000 + "\n", "line 1: not JSON"),
    ],
)
def test_json_lines_that_are_wrong(tmp_path, content, said):
    error = refused(write(tmp_path, content, "t.jsonl"))
    assert error.code == "D071"
    assert said in error.message


def test_lists_and_objects_matter_only_in_columns_that_are_used(tmp_path):
    path = write(tmp_path, '{"a": 1, "b": {"c": [2]}}\n{"a": [3], "b": 4}\n', "t.jsonl")
    assert list(read_rows(path, ())[1]) == [(1, ["1", ""]), (2, ["", "4"])]
    rows = read_rows(path, ("a",))[1]
    assert next(rows) == (1, ["1", ""])
    with pytest.raises(DataError, match=r"line 2: 'a' is a list.*\n.*one text or number as 'a'"):
        next(rows)
    assert "'b' is an object" in refused(path).message


def test_rows_are_streamed(tmp_path):
    path = write(tmp_path, "a,b\n" + "12345678,abcdefgh\n" * 200_000)
    tracemalloc.start()
    count = sum(1 for _ in read_rows(path)[1])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 200_000
    assert peak < 2**20


NAMES = st.lists(st.text("abc é;,|\t\"'\n", min_size=1, max_size=6).map(str.strip), min_size=2, max_size=5, unique=True)


@given(NAMES, st.lists(st.lists(st.text(max_size=8), min_size=5, max_size=5), max_size=8), st.sampled_from(",;\t|"))
def test_what_a_writer_wrote_is_read_back(tmp_path_factory, names, rows, separator):
    names = [name or f"n{k}" for k, name in enumerate(names)]
    names = [name.replace("\r", " ") for name in names]
    rows = [[cell.replace("\0", " ") for cell in row[: len(names)]] for row in rows]
    if any("\ud800" <= character <= "\udfff" for row in rows for cell in row for character in cell):
        return
    text = io.StringIO()
    writer = csv.writer(text, delimiter=separator, quoting=csv.QUOTE_ALL)
    writer.writerows([names, *rows])
    path = write(tmp_path_factory.mktemp("csv"), text.getvalue())
    columns, found = read_rows(path)
    assert columns == names
    assert [cells for _, cells in found] == rows


@given(
    st.binary(max_size=200) | st.text('a1,;\t"\n\r{}[]:\\ é', max_size=80).map(str.encode),
    st.sampled_from(["csv", "jsonl", "csv.gz"]),
)
def test_any_bytes_are_read_or_refused(tmp_path_factory, content, ending):  # T70
    path = write(tmp_path_factory.mktemp("csv"), content, f"t.{ending}")
    with suppress(DataError):
        columns, rows = read_all(path)
        assert all(line >= 1 and len(cells) == len(columns) for line, cells in rows)


@given(
    st.lists(st.dictionaries(st.text(max_size=3), st.none() | st.booleans() | st.integers() | st.text(), max_size=3))
)
def test_any_flat_objects_are_read_back(tmp_path_factory, objects):
    path = write(tmp_path_factory.mktemp("json"), "".join(json.dumps(row) + "\n" for row in objects), "t.jsonl")
    if not any(objects):
        assert refused(path).code == "D072"
        return
    columns, rows = read_rows(path)

    def cell(value):
        return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)

    expected = [[cell(row.get(name)) for name in columns] for row in objects]
    assert [cells for _, cells in rows] == expected
