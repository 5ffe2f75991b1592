"""Generated lines as a folder: labels that read back, runs that go on, folders of others left alone."""

import csv
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from semilla.cli import cli
from semilla.data.csvfiles import read_rows
from semilla.errors import UsageError
from semilla.generating import generate_text, renderer
from semilla.generating.folder import path_of


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_folder_has_what_was_drawn(tmp_path):
    texts = ['a, "b"', "=SUM(A1)", "'x", "-1", "con cua", "@đ", "two\nlines", "  spaced   out "]
    made = generate_text(texts, tmp_path / "o", count=40, words=(1, 9), workers=0)
    drawer = renderer(texts, words=(1, 9))
    names, rows = read_rows(tmp_path / "o" / "labels.csv")
    assert names == ["path", "text", "font", "seed", "index"]
    cells = [dict(zip(names, row, strict=True)) for _, row in rows]
    with (tmp_path / "o" / "labels.csv").open(newline="", encoding="utf-8") as file:
        assert list(csv.DictReader(file)) == cells
    assert made["lines"] == len(cells) == 40
    assert {cell["text"] for cell in cells} >= {'a, "b"', "=SUM(A1)", "'x", "two lines", "spaced out"}
    for index, cell in enumerate(cells):
        picture, text = drawer.render(index)
        assert cell["text"] == text
        assert "\n" not in text
        assert cell["font"] == drawer.fonts[drawer.text(index)[1]].name
        assert (cell["path"], cell["seed"], cell["index"]) == (path_of(index), "0", str(index))
        with Image.open(tmp_path / "o" / cell["path"]) as image:
            assert image.mode == "L"
            assert np.array_equal(np.asarray(image), picture)
    with Image.open(tmp_path / "o" / "preview.png") as sheet:
        assert sheet.height > 20 * 32
    about = json.loads((tmp_path / "o" / "generate.json").read_text("utf-8"))
    assert about["complete"] is True
    assert about["settings"]["look"] == "all"
    assert set(about["versions"]) == {"semilla", "pillow", "numpy", "fonttools"}


def test_a_folder_grows_to_what_it_would_have_been(tmp_path):
    generate_text("english", tmp_path / "one", count=30, mode="words", workers=0)
    before = contents(tmp_path / "one")
    made = generate_text("english", tmp_path / "one", count=50, mode="words", workers=0)
    assert made["new"] == 20
    generate_text("english", tmp_path / "two", count=50, mode="words", workers=0)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert all(contents(tmp_path / "one")[name] == data for name, data in before.items() if name.startswith("000/"))
    assert generate_text("english", tmp_path / "two", count=50, mode="words", workers=0)["new"] == 0
    for options in ({"count": 20}, {"seed": 1}, {"look": "plain"}, {"height": 48}, {"fonts": [_one_font()]}):
        with pytest.raises(UsageError) as caught:
            generate_text("english", tmp_path / "two", **({"count": 50, "mode": "words", "workers": 0} | options))
        assert caught.value.code == "U136"


def test_a_run_that_was_killed_goes_on(tmp_path):
    words = ["-m", "semilla", "generate", "text", "--count", "3000", "--look", "print", "--workers", "0"]
    run = subprocess.Popen([sys.executable, *words, "--out", str(tmp_path / "one")], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while len(list((tmp_path / "one").rglob("0*.png"))) < 70 and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    there = sorted((tmp_path / "one").rglob("0*.png"))
    assert 70 <= len(there) < 3000
    assert not (tmp_path / "one" / "labels.csv").exists()
    times = {path: path.stat().st_mtime_ns for path in there[1:]}
    there[0].write_bytes(there[0].read_bytes()[:-5])  # as a power cut leaves it
    about = json.loads((tmp_path / "one" / "generate.json").read_text("utf-8"))
    assert about["complete"] is False
    about["count"] = 200  # fewer are quicker to finish; the lines are the same
    (tmp_path / "one" / "generate.json").write_text(json.dumps(about), "utf-8")
    count = max(200, len(there))
    generate_text("vietnamese", tmp_path / "one", count=count, look="print", workers=0)
    generate_text("vietnamese", tmp_path / "two", count=count, look="print", workers=0)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert {path: path.stat().st_mtime_ns for path in there[1:]} == times


def test_other_folders_are_left_alone(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "a\u202eb.txt").write_text("x")
    (tmp_path / "file").write_text("x")
    for name in ("mine", "file"):
        with pytest.raises(UsageError) as caught:
            generate_text("english", tmp_path / name, count=5, workers=0)
        assert caught.value.code == "U134"
        assert "\u202e" not in str(caught.value)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["a\u202eb.txt"]
    (tmp_path / "empty").mkdir()
    generate_text("english", tmp_path / "empty", count=5, workers=0)


def test_the_command_says_what_it_did(tmp_path):
    corpus = tmp_path / "texts.txt"
    corpus.write_text("con cua\nmèo 猫\n", "utf-8")
    words = ["generate", "text", str(corpus), "--count", "5", "--workers", "0", "--out", str(tmp_path / "o")]
    told = CliRunner().invoke(cli, words, catch_exceptions=False).output
    assert "warn[D155]: texts.txt: left out 1 text" in told
    assert "5 lines" in told
    told = CliRunner().invoke(cli, [*words, "--json"], catch_exceptions=False).output
    assert json.loads(told.splitlines()[-1])["missing"] == ["猫"]


def _one_font():
    from semilla.generating.fonts import find_fonts

    return find_fonts()[0][0].path
