"""Cases T15 to T48 of the reliability list: data of every kind, from folder or file to a model."""

from __future__ import annotations

import csv
import json
import os
import shutil
import time
from urllib.parse import unquote_to_bytes

import fixtures
import numpy as np
import pytest
from fixtures import encoded, folder, listed, listing, one_list, pictures, put, table, tables
from watched import Place, weights

import semilla
from semilla.training import batches, checkpoint


def predicted(path):
    """The rows of a prediction file."""
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def probabilities(row):
    """The probabilities of a row."""
    return np.array([float(value) for name, value in row.items() if name.startswith("p:")])


# classes and labels


def test_t15_one_class(place):
    folder(place.data, classes=("cat",))
    place.train(place.data, code=3, says=["D051", "cat"])


def test_t16_a_class_without_a_labeled_example(place):
    folder(place.data)
    (place.data / "train" / "zebra").mkdir()
    place.train(place.data, code=3, says=["D050", "zebra"])


def test_t17_one_label_for_each_of_five_classes(place):
    folder(place.data, labeled=1, classes=("a1", "a2", "a3", "a4", "a5"))
    place.train(place.data, says=["warn[D053]"])


def test_t18_a_held_out_label_that_training_does_not_know(place):
    folder(place.data)
    put(place.data / "test" / "wolf" / "0.png", encoded(1, 5000))
    place.train(place.data, code=3, says=["D052", "wolf"])


def test_t18_in_a_list(place):
    path = one_list(place.data, test_labels=("cat", "dog", "wolf"))
    place.train(path, code=3, says=["D052", "all/t002.png of the test part has the label 'wolf', which no training"])


def test_t19_no_unlabeled_example(place):
    folder(place.data, unlabeled=0)
    place.train(place.data, code=3, says=["D040"])


@pytest.mark.parametrize("count", [1, 7, 18], ids=["one", "a batch less one", "as many as labeled"])
def test_t19_fewer_unlabeled_examples_than_a_batch(place, count):
    folder(place.data, labeled=6, unlabeled=count)
    called = place.train(place.data, "--set", "unlabeled_batch=64", says=[f"{count}"])
    called.said("warn[D041]")


def test_t19_the_unlabeled_are_the_labeled_again(place):
    folder(place.data, unlabeled=0)
    for number, path in enumerate(sorted((place.data / "train").rglob("*.png"))):
        put(place.data / "unlabeled" / f"{number}.png", path.read_bytes())
    place.train(place.data, says=["18"])


# files that cannot be read


def test_t20_a_labeled_jpeg_cut_in_half(place):
    folder(place.data, form="JPEG", labeled=8, size=64)
    path = place.data / "train" / "cat" / "0.jpeg"
    content = encoded(0, 6000, 64, "JPEG", quality=95)
    assert content.index(b"\xff\xda") < len(content) // 4  # where the scan starts: it is pixels that are cut off
    path.write_bytes(content[: len(content) // 2])
    place.train(place.data, code=3, says=["D014", "truncated", "cat/0.jpeg"])
    called = place.train(place.data, "--on-bad-file", "skip", out="out2", says=["cat/0.jpeg", "truncated"])
    assert "Warning" not in called.err
    kept = [json.loads(line)["path"] for line in (place.run("out2") / "manifest.jsonl").read_text().splitlines()]
    assert len(kept) == 8 * 3 + 24 + 12 - 1
    assert not any(path.endswith("cat/0.jpeg") and "train" in path for path in kept)


def test_t20_what_was_left_out_stays_on_record(place):
    folder(place.data, form="JPEG")
    put(place.data / "train" / "cat" / "0.jpeg", b"")
    place.train(place.data, "--on-bad-file", "skip")
    run = [path.read_bytes() for path in place.run().rglob("*.json*") if path.is_file()]
    run += [path.read_bytes() for path in place.run().rglob("*.csv")]
    assert any(b"cat/0.jpeg" in content and b"empty file" in content for content in run)


def test_t21_two_bad_files_among_many_unlabeled(place):
    folder(place.data, unlabeled=60)
    put(place.data / "unlabeled" / "empty.png", b"")
    put(place.data / "unlabeled" / "text.jpg", b"hello, I am no picture")
    place.train(place.data, says=["empty.png", "empty file", "text.jpg", "not an image (starts with 'hello"])
    lines = (place.run() / "fits" / "fixmatch-0" / "metrics.jsonl").read_text().splitlines()
    assert json.loads(lines[-1])["step"] == 4


def test_t22_a_fifth_of_the_unlabeled_is_bad(place):
    folder(place.data, unlabeled=40)
    for number in range(10):
        put(place.data / "unlabeled" / f"bad{number}.png", b"no picture")
    place.train(place.data, code=3, says=["D015", "20%", "5%", "10 of 50"])


def test_t23_a_png_with_a_flipped_bit(place):
    folder(place.data)
    path = place.data / "train" / "dog" / "1.png"
    path.write_bytes(pictures.flipped(path.read_bytes(), path.stat().st_size // 2))
    place.train(place.data, code=3, says=["D014", "dog/1.png"])


def test_t23_a_jpeg_with_a_flipped_bit_is_seen_by_resume(finished):
    path = finished.data / "train" / "dog" / "1.jpeg"
    content = path.read_bytes()
    path.write_bytes(pictures.flipped(content, len(content) - 20))
    finished.train(finished.data, "--resume", baseline=True, code=4, says=["C026", "dog/1.jpeg", "changed"])


def test_t24_other_formats_behind_a_picture_name_start_nothing(place, monkeypatch):
    folder(place.data)
    called = place.root / "called"
    tools = place.root / "tools"
    tools.mkdir()
    for name in ("gs", "gswin64c", "convert", "magick", "inkscape", "rsvg-convert", "sh", "curl"):
        put(tools / name, f"#!/bin/sh\ntouch '{called}'\n")
        (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    for name, content in (("a.jpg", pictures.EPS), ("b.png", pictures.SVG), ("c.jpg", pictures.PDF)):
        put(place.data / "train" / "cat" / name, content)
    place.train(place.data, code=3, says=["D014", "a.jpg", "b.png", "c.jpg", "not an image"])
    assert not called.exists()


# odd but sound pictures


def test_t25_sixteen_bits_say_the_same_as_eight(finished):
    ramp = (np.add.outer(np.arange(16), np.arange(16)) * 2114).astype(np.uint16)
    put(finished.work / "deep.png", pictures.encode(ramp, "PNG"))
    put(finished.work / "deep.tif", _big_endian(ramp))
    put(finished.work / "flat.png", pictures.encode((ramp >> 8).astype(np.uint8), "PNG"))
    finished.call("predict", "out", "deep.png", "deep.tif", "flat.png", "-o", "out.csv", "--workers", "0")
    deep, other, flat = (probabilities(row) for row in predicted(finished.work / "out.csv"))
    np.testing.assert_allclose(deep, flat, atol=1e-2)
    np.testing.assert_allclose(other, flat, atol=1e-2)


def _big_endian(ramp):
    from PIL import Image

    return pictures.encode(Image.frombytes("I;16B", ramp.shape[::-1], ramp.astype(">u2").tobytes()), "TIFF")


def test_t26_to_t30_every_odd_picture_trains_and_predicts(place):
    """No Python warning leaks: here each of them would be an error."""
    folder(place.data)
    for name in pictures.GOOD:
        put(place.data / "unlabeled" / name, pictures.make(name))
    called = place.train(place.data, "--size", "16")
    assert "Warning" not in called.out + called.err
    place.call("predict", "out", place.data / "unlabeled", "-o", "out.csv", "--workers", "0")
    assert {row["error"] for row in predicted(place.work / "out.csv")} == {""}


def test_t29_a_turned_picture_is_the_same_picture(finished):
    names = [f"turned{number}.png" for number in range(1, 9)]
    for name in names:
        put(finished.work / name, pictures.make(name))
    finished.call("predict", "out", *names, "-o", "out.csv", "--workers", "0")
    rows = [{**row, "path": ""} for row in predicted(finished.work / "out.csv")]
    assert len(rows) == 8
    assert all(row == rows[0] for row in rows)


def test_t30_frames_are_counted(place):
    folder(place.data)
    for name in ("animated.gif", "animated.webp", "pages.tif"):
        put(place.data / "train" / "cat" / name, pictures.make(name))
    put(place.data / "train" / "cat" / "two.gif", fixtures.animated(2))
    says = ["warning[D022]: 4 pictures", "animated.gif", "pages.tif", "two.gif"]
    place.call("check", place.data, "-o", "out-check", says=says)
    place.train(place.data, "--size", "16", says=["warn[D022]: 4 pictures have several frames"])


def test_t31_a_header_that_promises_billions_of_pixels(place):
    folder(place.data)
    put(place.data / "train" / "cat" / "huge.png", pictures.huge_header())
    start = time.process_time()
    place.train(place.data, code=3, says=["D014", "huge.png", "60000 × 60000"])
    assert time.process_time() - start < 2


@pytest.mark.slow
def test_t32_ninety_megapixels_only_when_asked_for(place):
    folder(place.data)
    put(place.data / "train" / "cat" / "large.png", pictures.ninety_megapixels())
    place.train(place.data, code=3, says=["D014", "large.png"])
    place.train(place.data, "--max-pixels", "100000000", "--size", "16", out="out2")


def test_t33_tiny_and_extreme_pictures(place):
    folder(place.data)
    for name in ("one.png", "line.png", "column.png", "three.png"):
        put(place.data / "train" / "dog" / name, pictures.make(name))
    for resize in ("squash", "pad", "crop"):
        place.train(place.data, "--resize", resize, out=f"out-{resize}")
    place.call("check", place.data, "-o", "out-check", says=["warning"])
    text = (place.run("out-check") / "check.json").read_text()
    assert "line.png" in text
    assert "one.png" in text


# names


def test_t34_names_come_back_to_the_byte(place):
    fixtures.folder(place.data, unlabeled=0)
    expected = set()
    for number, name in enumerate(fixtures.FILE_NAMES):
        put(os.path.join(os.fsencode(place.data), b"unlabeled", name), encoded(number % 3, 3000 + number))
        expected.add(name)
    place.train(place.data)
    place.call("predict", "out", place.data / "unlabeled", "-o", "out.csv", "--workers", "0")
    paths = {unquote_to_bytes(row["path"].removeprefix("'")) for row in predicted(place.work / "out.csv")}
    assert {os.path.basename(path) for path in paths} == expected
    assert all(os.path.exists(path) for path in paths)
    manifest = [json.loads(line)["path"] for line in (place.run() / "manifest.jsonl").read_text("ascii").splitlines()]
    assert expected <= {os.path.basename(os.fsencode(path)) for path in manifest}


def test_t34_a_name_with_a_dash_is_no_option(finished):
    put(finished.work / "-rf.png", encoded(0, 9))
    finished.call("predict", "out", "-o", "out.csv", "--workers", "0", "--", "-rf.png")
    assert [row["path"] for row in predicted(finished.work / "out.csv")] == ["'-rf.png"]


def test_t35_a_name_that_two_files_have(place):
    for kind, name in enumerate(("a", "b")):
        put(place.data / name / "x.png", encoded(kind, 1))
        put(place.data / name / f"{name}.png", encoded(kind, 2))
    listing(place.data / "labels.csv", [("x.png", "cat"), ("a.png", "dog")])
    place.train(place.data, code=3, says=["D070", "a/x.png", "b/x.png"])


# tables


@pytest.mark.parametrize("bad", ["nan", "inf", "-inf", ""])
def test_t36_a_cell_that_is_no_number(place, bad):
    rows = fixtures.cells(24)
    rows[5][1] = bad
    path = table(place.data / "t.csv", rows)
    said = f": {bad!r} is not a finite number" if bad else " is empty"
    place.train(path, code=3, says=[f"error[D080]: t.csv, row 5 (line 7), column 'weight'{said}\n"])


@pytest.mark.parametrize(
    ("lines", "line"),
    [
        (["size,weight,color,label", "1,2,red,cat", "1,2,red,cat,5"], "3"),
        (["size,weight,color,label", "1,2,red,cat", '1,2,"red,cat'], "3"),
        (["size,size,color,label", "1,2,red,cat"], "size"),
    ],
    ids=["ragged", "quote", "header"],
)
def test_t37_broken_rows(place, lines, line):
    path = put(place.data / "t.csv", "\n".join(lines) + "\n")
    called = place.train(path, code=3, says=[line])
    assert called.err.startswith("error[D")


def test_t37_a_path_named_twice_with_two_labels(place):
    labeled, more = listed(place.data)
    with open(labeled, "a", encoding="utf-8") as file:
        file.write("all/l000.png,dog\n")
    place.train(labeled, "--unlabeled", more, code=3, says=["all/l000.png", "20"])


@pytest.mark.parametrize(
    "form",
    [lambda text: "\ufeff" + text, lambda text: text.replace(",", ";"), lambda text: text.replace("\n", "\r\n"),
     lambda text: text + "\n\n\n"],
    ids=["byte order mark", "semicolons", "crlf", "blank lines"],
)  # fmt: skip
def test_t38_forms_of_csv(place, form):
    plain = (table(place.data / "plain.csv", fixtures.cells(24)), tables(place.data)[1])
    put(place.data / "formed.csv", form(plain[0].read_text()))
    for name in ("plain", "formed"):
        place.train(place.data / f"{name}.csv", "--unlabeled", plain[1], out=f"out-{name}")
    assert weights(place.run("out-plain")) == weights(place.run("out-formed"))


def test_t39_columns_with_nothing_or_too_much_in_them(place):
    def wider(rows):
        draw = np.random.default_rng(5)
        return [[*row[:3], "5", "", f"{draw.normal() * 1e300:.3e}", *row[3:]] for row in rows]

    header = (*fixtures.COLUMNS, "same", "missing", "large")
    labeled = table(place.data / "labeled.csv", wider(fixtures.cells(24)), (*header, "label"))
    more = table(place.data / "more.csv", wider(fixtures.cells(40, 1000, labeled=False)), header)
    called = place.train(labeled, "--unlabeled", more, "--impute", "median", says=["same", "missing"])
    assert "warn" in called.out
    rows = [json.loads(line) for line in (place.run() / "fits/fixmatch-0/metrics.jsonl").read_text().splitlines()]
    losses = [value for row in rows for name, value in row.items() if "loss" in name and value is not None]
    assert losses
    assert np.isfinite(losses).all()


def test_t39_values_at_the_end_of_the_range(place):
    rows = fixtures.cells(24)
    for number, row in enumerate(rows):
        row[1] = "1e308" if number % 2 else "-1e308"
    labeled = table(place.data / "labeled.csv", rows)
    place.train(labeled, "--unlabeled", tables(place.data / "other")[1])


@pytest.fixture(scope="session")
def table_once(tmp_path_factory):

    with pytest.MonkeyPatch.context() as environment:
        place = Place(tmp_path_factory.mktemp("table"), environment)
        labeled, more = tables(place.data)
        place.train(labeled, "--unlabeled", more)
    return place


@pytest.fixture
def model_of_tables(table_once, place):
    shutil.copytree(table_once.root, place.root, dirs_exist_ok=True)
    return place


def test_t40_columns_in_another_order_and_one_more(model_of_tables):
    place = model_of_tables
    rows = fixtures.cells(9, 500, labeled=False)
    table(place.work / "plain.csv", rows, fixtures.COLUMNS)
    table(place.work / "other.csv", [(c, "x", a, b) for a, b, c in rows], ("color", "extra", "size", "weight"))
    place.call("predict", "out", "plain.csv", "-o", "out1.csv")
    place.call("predict", "out", "other.csv", "-o", "out2.csv", says=["extra"])
    first, second = predicted(place.work / "out1.csv"), predicted(place.work / "out2.csv")
    assert len(first) == 9
    assert [{**row, "path": ""} for row in first] == [{**row, "path": ""} for row in second]


def test_t41_a_column_is_missing(model_of_tables):
    place = model_of_tables
    table(place.work / "short.csv", [row[:2] for row in fixtures.cells(5, 500)], ("size", "weight"))
    place.call("predict", "out", "short.csv", "-o", "out1.csv", code=3, says=["color"])


def test_t42_a_category_never_seen(model_of_tables):
    place = model_of_tables
    rows = fixtures.cells(6, 500, labeled=False)
    rows[0][2] = rows[3][2] = "ultraviolet"
    table(place.work / "new.csv", rows, fixtures.COLUMNS)
    called = place.call("predict", "out", "new.csv", "-o", "out1.csv")
    line = next(line for line in called.err.splitlines() if "warn[D087]" in line)
    assert line.endswith(": cells with a category that training did not see, read as none of them: 'color' 2")
    assert len(predicted(place.work / "out1.csv")) == 6


def test_t43_labeled_and_unlabeled_swapped(place):
    labeled, more = tables(place.data)
    place.train(more, "--unlabeled", labeled, code=3, says=["D081", "label", "swapped?"])


def test_t43_lists_swapped(place):
    labeled, more = listed(place.data)
    place.train(more, "--unlabeled", labeled, code=3, says=["D081", "swapped?"])


# links, changes, hidden labels, copies


def test_t44_links_loops_and_pipes(place):
    start = time.monotonic()
    fixtures.special(place.data)
    called = place.train(place.data, says=["S010"])
    assert time.monotonic() - start < 30  # opening a pipe would wait for ever
    manifest = (place.run() / "manifest.jsonl").read_text()
    for name in ("host.png", "etc", "pipe", "zero", "loop", "up/"):
        assert name not in manifest
    assert "host.png" in called.out
    place.call("check", place.data, "-o", "out-check", says=["S010"])


def trained(place, data, out, **more):
    """Six steps with a checkpoint after each, on a set that is not held in memory."""
    words = {"steps": 6, "width": 8, "threads": 1, "unlabeled_batch": 8, "labeled_batch": 8, "device": "cpu"}
    return semilla.train(data, out=place.run(out), baseline=False, recipe=None, save_every=1, **words, **more)


def replaced(root):
    """Put other pictures in place of all unlabeled ones."""
    for number, path in enumerate(sorted((root / "unlabeled").glob("*.png"))):
        path.write_bytes(encoded(2, 7000 + number))


@pytest.fixture
def replace_at_step_2(place, monkeypatch):
    """Replace the unlabeled pictures once the second checkpoint is written; gives the steps that were saved."""
    save, steps = checkpoint.save, []

    def saved(folder, step, *words):
        save(folder, step, *words)
        steps.append(step)
        if steps == [1, 2]:
            replaced(place.data)

    monkeypatch.setattr(checkpoint, "save", saved)
    return steps


def test_t45_pictures_replaced_before_the_first_step(place):
    """The pixels in the store are those of the scan."""
    trained(place, folder(place.root / "twin"), "out-undisturbed")
    folder(place.data)
    before = (place.data / "unlabeled" / "0.png").read_bytes()
    trained(place, place.data, "out", say=lambda line: replaced(place.data))  # called when the data are read
    assert (place.data / "unlabeled" / "0.png").read_bytes() != before
    assert weights(place.run()) == weights(place.run("out-undisturbed"))


def test_t45_pictures_replaced_during_training(place, monkeypatch, replace_at_step_2):
    monkeypatch.setattr(batches, "RESIDENT", 0)
    folder(place.data)
    trained(place, place.data, "out")
    assert replace_at_step_2 == [1, 2, 3, 4, 5, 6]
    trained(place, folder(place.root / "twin"), "out-undisturbed")
    assert weights(place.run()) == weights(place.run("out-undisturbed"))


def test_t45_pictures_replaced_during_a_stream(place, monkeypatch, replace_at_step_2):
    """It stops with the path; what was saved is whole, and with the pictures back the run goes on as if undisturbed."""
    monkeypatch.setenv("SEMILLA_CACHE_LIMIT", "1000")
    monkeypatch.setattr(batches, "RESIDENT", 0)
    folder(place.data)
    with pytest.raises(semilla.SemillaError) as stop:
        trained(place, place.data, "out")
    assert (stop.value.code, stop.value.exit_code) == ("D045", 3)
    assert "unlabeled/" in stop.value.message
    found = checkpoint.load_latest(place.run() / "fits" / "fixmatch-0" / "checkpoints")
    assert found is not None
    assert found.step == replace_at_step_2[-1] < 6
    trained(place, folder(place.data), "out", resume=True)
    trained(place, folder(place.root / "twin"), "out-undisturbed")
    assert weights(place.run()) == weights(place.run("out-undisturbed"))


def test_t46_labels_of_unlabeled_rows_change_no_bit(place):
    digests = []
    kinds = {
        "absent": None,
        "empty": lambda number: "",
        "right": lambda number: fixtures.CLASSES[number % 3],
        "scrambled": lambda number: fixtures.CLASSES[number * 7 // 2 % 3],
        "foreign": lambda number: f"x{number}",
    }
    for name, labels in kinds.items():
        labeled, more = listed(place.data / name / "set", unlabeled_labels=labels)
        place.train(labeled, "--unlabeled", more, out=f"out-{name}")
        digests.append(weights(place.run(f"out-{name}")))
    assert all(digest == digests[0] for digest in digests)


def test_t46_labels_of_unlabeled_rows_in_a_list_change_no_bit(place):
    digests = []
    kinds = {
        "absent": lambda number: "",
        "right": lambda number: fixtures.CLASSES[number % 3],
        "scrambled": lambda number: fixtures.CLASSES[number * 7 // 2 % 3],
        "foreign": lambda number: f"x{number}",
    }
    for name, labels in kinds.items():
        place.train(one_list(place.data / name / "set", labels), out=f"out-{name}")
        digests.append(weights(place.run(f"out-{name}")))
    assert all(digest == digests[0] for digest in digests)


def test_t46_unlabeled_folders_named_by_the_truth_change_no_bit(place):
    digests = []
    for name in ("cat", "zebra"):
        root = folder(place.data / name / "set", unlabeled=0)
        for number in range(12):
            put(root / "unlabeled" / name / f"{number}.png", encoded(0, 2000 + number))
        place.train(root, out=f"out-{name}")
        digests.append(weights(place.run(f"out-{name}")))
    assert digests[0] == digests[1]


def test_t47_test_pictures_among_the_unlabeled(place):
    folder(place.data)
    for number, name in enumerate(fixtures.CLASSES):
        put(place.data / "unlabeled" / f"leak{number}.png", (place.data / "test" / name / "2.png").read_bytes())
    place.train(place.data, code=3, says=["D030", "3 test", "leak0.png", "leak1.png", "leak2.png", "cat/2.png"])
    place.train(place.data, "--allow-leak", out="out2", says=["warn[D030]"])
    record = [path.read_text() for path in place.run("out2").rglob("*.json")]
    assert any("D030" in text or '"allow_leak": true' in text for text in record)


def test_t48_one_picture_under_two_labels(place):
    folder(place.data)
    put(place.data / "train" / "dog" / "copy.png", (place.data / "train" / "cat" / "3.png").read_bytes())
    place.train(place.data, code=3, says=["D031", "dog/copy.png", "cat/3.png"])
    place.call("check", place.data, "-o", "out-check", "--strict", code=3, says=["D031"])
