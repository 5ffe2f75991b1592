"""`semilla check --task text`: characters, groups, widths; no word of classes."""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from semilla.checking import check
from semilla.cli import cli
from semilla.data.source import Source

WIDE = 200


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("SEMILLA_CACHE", str(tmp_path_factory.mktemp("cache")))


def folder(path, texts, widths=None, groups=None):
    """Pictures of noise with a list; texts are never in them."""
    path.mkdir(parents=True)
    rows = ["path,text,group"]
    for number, text in enumerate(texts):
        width = (widths or {}).get(number, WIDE)
        pixels = np.random.default_rng([number, len(texts)]).integers(0, 256, (32, width), np.uint8)
        Image.fromarray(pixels).save(path / f"{number}.png")
        rows.append(f"{number}.png,{text},{(groups or {}).get(number, '')}")
    (path / "labels.csv").write_text("\n".join(rows) + "\n", "utf-8")
    return path


def codes(checked):
    return {finding.code: finding for finding in checked.findings if finding.code != "note"}


def test_a_sound_set_has_nothing_against_it(tmp_path):
    data = folder(tmp_path / "lines", ["Hà Nội", "Hà Nội", "Hà Nội", ""])
    checked = check(Source(data, task="text", test=str(folder(tmp_path / "test", ["Hà", "Nội"]))), tmp_path / "out")
    assert codes(checked) == {}
    first = checked.lines()[0]
    assert "6 different characters" in first
    assert "class" not in "\n".join(checked.lines())
    written = json.loads((tmp_path / "out" / "check.json").read_text())
    assert written["classes"] == {}
    told = {own["character"]: own for own in written["characters"]}
    assert told["ộ"]["code"] == "U+1ED9"
    assert told["ộ"]["count"] == 4
    assert told["ộ"]["name"] == "LATIN SMALL LETTER O WITH CIRCUMFLEX AND DOT BELOW"
    assert told["ộ"]["files"][0].endswith("0.png")
    page = (tmp_path / "out" / "check.html").read_text("utf-8")
    assert "latin small letter o with circumflex and dot below" in page
    assert "<h2>Classes</h2>" not in page
    assert page.count("data:image") == 1  # three lines of one text, one example of it


def test_what_is_planted_is_found_with_its_file(tmp_path):
    texts = ["abc abc", "abc abc", "abc\u200b", "aabb" * 20, "x"]
    data = folder(tmp_path / "lines", texts, widths={3: 150}, groups={0: "ann", 1: "bob"})
    test = folder(tmp_path / "test", ["abz"], groups={0: "ann"})
    found = codes(check(Source(data, task="text", test=str(test)), tmp_path / "out"))
    assert "U+200B" in found["D190"].items[0].note
    assert "2.png" in found["D190"].items[0].note
    assert "'z'" in found["D191"].items[0].note
    assert "ann" in found["D169"].items[0].note
    assert found["D169"].severity == "error"
    (narrow,) = found["D192"].items
    assert narrow.note.startswith("150 × 32 px for 80 characters")
    assert {item.note[:3] for item in found["D193"].items} >= {"'x'"}
    assert "D125" not in found
    assert "D053" not in found


def test_a_repeated_character_needs_a_frame_between(tmp_path):
    """Eight frames of 4 columns: enough for eight different characters, not for five that are the same."""
    data = folder(tmp_path / "lines", ["abcdefgh", "aaaaa"], widths={0: 32, 1: 32})
    (item,) = codes(check(Source(data, task="text"), tmp_path / "out"))["D192"].items
    assert item.rows == (1,)


def test_lines_without_any_transcription_are_an_error(tmp_path):
    data = folder(tmp_path / "lines", ["", ""])
    done = CliRunner().invoke(cli, ["check", str(data), "--task", "text", "--strict", "-o", str(tmp_path / "out")])
    assert done.exit_code == 3
    assert "error[D167]" in done.output


def test_the_built_in_strings_are_looked_at_as_text(tmp_path):
    checked = check("digit_strings", tmp_path / "out")
    assert "10 different characters" in checked.lines()[0]
    assert not checked.number("error")


def test_a_turned_picture_is_as_wide_as_it_is_seen(tmp_path):
    data = folder(tmp_path / "lines", ["abcdefghij" * 2, "abcdefghij"])
    for number, size in ((0, (400, 40)), (1, (40, 400))):  # stored upright, and seen 40 pixels wide at a height of 400
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.new("L", size[::-1], 200).save(data / f"{number}.png", exif=exif)
    (item,) = codes(check(Source(data, task="text"), tmp_path / "out"))["D192"].items
    assert item.rows == (1,)


def test_frames_are_counted_at_the_height_that_was_asked_for(tmp_path):
    data = folder(tmp_path / "lines", ["abcdefghijkl"], widths={0: 43})
    assert "D192" in codes(check(Source(data, task="text"), tmp_path / "low"))
    assert "D192" not in codes(check(Source(data, task="text", height=64), tmp_path / "high"))


def test_a_space_that_is_none_is_told(tmp_path):
    """U+00A0 looks like a space, and would be a symbol of its own."""
    data = folder(tmp_path / "lines", ["x\u00a0y"])
    assert "U+00A0" in codes(check(Source(data, task="text"), tmp_path / "out"))["D190"].items[0].note


def test_the_preview_of_generated_lines_is_no_line(tmp_path):
    from semilla.generating import generate_text

    generate_text(["abc", "def"], out=tmp_path / "lines", count=12, height=32)
    assert (tmp_path / "lines" / "preview.png").exists()
    checked = check(Source(tmp_path / "lines", task="text"), tmp_path / "out")
    assert len(checked.material) == 12
    assert "D040" in codes(checked)
