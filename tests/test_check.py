"""`semilla check`: everything planted is found, nothing else is, and nothing of the user's changes."""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from semilla.checking import check, examine, look, near
from semilla.checking.findings import smallest_difference
from semilla.checking.material import Material, _roles
from semilla.checking.near import near_copies
from semilla.checking.page import page, to_json
from semilla.cli import cli
from semilla.data.images import Facts
from semilla.data.manifest import Manifest
from semilla.data.source import Source
from semilla.errors import UsageError

SMALL = Path(__file__).parents[2] / "shared" / "data" / "small"
PLAIN = Facts("PNG", "RGB", 32, 32)


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("SEMILLA_CACHE", str(tmp_path_factory.mktemp("cache")))


def random_pictures(count, side=32, channels=3, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, channels), dtype=np.uint8)


def smooth_pictures(count, side=48, seed=0):
    coarse = np.random.default_rng(seed).integers(0, 256, (count, 6, 6, 3), dtype=np.uint8)
    return [Image.fromarray(array).resize((side, side), Image.Resampling.BICUBIC) for array in coarse]


def encoded(picture, kind="JPEG", **options):
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def decoded(data, size=None):
    with Image.open(io.BytesIO(data)) as picture:
        picture = picture.resize(size, Image.Resampling.BILINEAR) if size else picture
        array = np.asarray(picture)
    return array[None] if array.ndim == 2 else np.moveaxis(array, -1, 0)


def save(path, array, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)


def by_code(checked):
    return {finding.code: finding for finding in checked.findings}


def names(checked, code):
    """The paths of each item of a finding."""
    paths = checked.material.manifest.paths
    return {frozenset(paths[row] for row in item.rows) for item in by_code(checked)[code].items}


def snapshot(folder):
    return {
        str(path): (path.lstat().st_mtime_ns, path.lstat().st_size, path.read_bytes() if path.is_file() else None)
        for path in sorted(folder.rglob("*"))
    }


def material(
    labels, parts=None, paths=None, classes=(), facts=None, pixels=None, notes=(), problems=None, digests=None
):
    """A source without files."""
    count = len(labels)
    paths = tuple(paths or (f"{row}.png" for row in range(count)))
    parts = tuple(parts or ["train"] * count)
    manifest = Manifest("made up", paths, tuple(labels), parts, ("",) * count, tuple(classes), tuple(notes))
    facts = (PLAIN,) * count if facts is None else tuple(facts)
    return Material(manifest, _roles(manifest), tuple(digests or map(str, range(count))), facts, problems or {}, pixels)


def balanced(*more, each=5):
    """Labels of two healthy classes and then others."""
    return ["a", "b"] * each + list(more)


# Copies


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """500 random pictures; 3 test pictures are also unlabeled, 2 are there re-encoded, 1 content has two labels."""
    root = tmp_path_factory.mktemp("planted")
    pictures = random_pictures(500)
    for row, picture in enumerate(pictures):
        part = "unlabeled" if row < 300 else f"{'train' if row < 400 else 'test'}/{'ab'[row % 2]}"
        save(root / part / f"{row:03}.png", picture)
    for row in (400, 402, 404):
        (root / "unlabeled" / f"copy{row}.png").write_bytes((root / "test/a" / f"{row}.png").read_bytes())
    for row, quality in ((410, 72), (412, 90)):
        save(root / "unlabeled" / f"again{row}.jpg", pictures[row], quality=quality)
    (root / "train/b/conflict.png").write_bytes((root / "train/a/300.png").read_bytes())
    return root


def test_planted_copies_are_all_found_and_nothing_else(planted, tmp_path):
    before = snapshot(planted)
    checked = check(Source(str(planted)), tmp_path / "out", None)
    assert names(checked, "D030") == {
        frozenset({f"test/a/{row}.png", f"unlabeled/copy{row}.png"}) for row in (400, 402, 404)
    }
    assert by_code(checked)["D030"].count == 3
    assert names(checked, "D031") == {frozenset({"train/a/300.png", "train/b/conflict.png"})}
    assert names(checked, "D032") == {
        frozenset({f"test/a/{row}.png", f"unlabeled/again{row}.jpg"}) for row in (410, 412)
    }
    assert "2 reach into a held-out part" in by_code(checked)["D032"].title
    assert by_code(checked)["D034"].count == 1
    assert [finding.severity for finding in checked.findings if finding.code in ("D030", "D031")] == ["error"] * 2
    assert snapshot(planted) == before
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["check.html", "check.json"]


def test_clean_random_pictures_raise_no_alarm(tmp_path):
    for row, picture in enumerate(random_pictures(500, seed=3)):
        save(tmp_path / ("test" if row % 5 == 0 else "train") / "ab"[row % 2] / f"{row}.png", picture)
    checked = examine(look(Source(str(tmp_path)), None), None)
    assert not {"D030", "D031", "D032", "D033", "D034"} & set(by_code(checked))


@pytest.mark.parametrize("quality", [70, 80, 90])
@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_digits_saved_as_jpeg_are_found_among_lookalikes(name, quality):
    path = SMALL / f"{name}_2000_1000.npz"
    if not path.exists():
        pytest.skip(f"{path.name} is not there")
    with np.load(path, allow_pickle=False) as stored:
        pictures = stored["x_train"].reshape(-1, 1, 28, 28)
    copies = np.stack([decoded(encoded(Image.fromarray(one[0]), quality=quality)) for one in pictures[:60]])
    found = near_copies(np.concatenate([pictures, copies]), np.arange(len(pictures) + 60))
    assert {pair[:2] for pair in found.pairs} == {(row, len(pictures) + row) for row in range(60)}
    assert found.complete


def variants(picture):
    width, height = picture.size
    yield encoded(picture, quality=70)
    yield encoded(picture, "WEBP", quality=80)
    yield encoded(picture.resize((round(0.9 * width), round(0.9 * height)), Image.Resampling.LANCZOS), quality=85)
    yield encoded(picture.resize((round(1.3 * width), round(1.3 * height)), Image.Resampling.BICUBIC), "PNG")


def test_photographs_encoded_and_resized_anew_are_found():
    path = SMALL / "cifar10_1000_500.npz"
    if not path.exists():
        pytest.skip(f"{path.name} is not there")
    with np.load(path, allow_pickle=False) as stored:
        array = stored["x_train"]
    array = array if array.shape[1] == 3 else np.moveaxis(array, -1, 1)
    copies = [
        [decoded(data, (32, 32)) for data in variants(Image.fromarray(np.moveaxis(one, 0, -1)))] for one in array[:50]
    ]
    for kind in range(4):
        pictures = np.concatenate([array, np.stack([copy[kind] for copy in copies])])
        found = near_copies(pictures, np.arange(len(pictures)))
        assert {pair[:2] for pair in found.pairs} == {(row, len(array) + row) for row in range(50)}


def test_smooth_pictures_resized_are_found_and_the_rows_are_those_of_the_pool():
    pictures = smooth_pictures(200)
    copies = [decoded(data, (48, 48)) for data in variants(pictures[7])]
    pool = np.stack([np.moveaxis(np.asarray(one), -1, 0) for one in pictures] + copies)
    rows = np.array([7, 30, 31, 32, 33, 34, 35, 200, 203])
    assert {pair[:2] for pair in near_copies(pool, rows).pairs} == {(7, 200), (7, 203), (200, 203)}


def test_another_color_of_the_same_brightness_is_another_picture():
    red = np.zeros((60, 3, 32, 32), np.uint8)
    red[:, 0] = random_pictures(60, 4, 1)[..., 0].repeat(8, 1).repeat(8, 2)
    blue = red[:1, [2, 1, 0]]
    pool = np.concatenate([red, blue, red[:1]])
    assert {pair[:2] for pair in near_copies(pool, np.arange(62)).pairs} == {(0, 61)}


def test_empty_pictures_are_not_copies_of_one_another():
    pool = np.concatenate([np.full((20, 1, 16, 16), 255, np.uint8), np.full((20, 1, 16, 16), 253, np.uint8)])
    assert near_copies(pool, np.arange(40)) == ([], True)
    assert near_copies(pool[:0], np.arange(0)) == ([], True)
    assert near_copies(pool[:1], np.arange(1)) == ([], True)


def test_of_very_many_alike_only_the_nearest_are_compared(monkeypatch):
    scene = np.moveaxis(np.asarray(smooth_pictures(1, 16)[0]), -1, 0).astype(np.int16)
    noise = np.random.default_rng(0).integers(-9, 10, (80, 3, 16, 16))
    noise[1] = noise[0]
    noise[1, :, 0, 0] += 8
    pool = (scene + noise).clip(0, 255).astype(np.uint8)
    listed = []

    def differences(signatures, pairs):
        listed.append(len(pairs))
        return np.zeros(len(pairs), np.float32)

    monkeypatch.setattr(near, "_differences", differences)
    assert near_copies(pool, np.arange(80)).complete
    assert max(listed) > 1000
    monkeypatch.setattr(near, "_MOST_PAIRS", 500)
    listed.clear()
    found = near_copies(pool, np.arange(80))
    assert not found.complete
    assert max(listed) <= 1000
    assert (0, 1) in {pair[:2] for pair in found.pairs}


@pytest.mark.parametrize(
    ("parts", "labels", "expected"),
    [
        (("test", "train"), ("a", "a"), {"D030"}),
        (("test", "train"), ("a", None), {"D030"}),
        (("test", "development"), ("a", "a"), {"D030"}),
        (("development", "train"), ("a", None), {"D030"}),
        (("test", "train"), ("a", "b"), {"D030", "D031"}),
        (("train", "train"), ("a", None), {"D033"}),
        (("train", "train"), ("a", "a"), {"D034"}),
        (("train", "train"), (None, None), {"D034"}),
        (("test", "test"), ("a", "b"), {"D034", "D031"}),
    ],
)
def test_what_a_copy_means_depends_on_where_the_two_stand(parts, labels, expected):
    rows = balanced()
    found = examine(
        material(
            [*rows, *labels],
            ["train"] * len(rows) + list(parts),
            digests=[*map(str, range(len(rows))), "same", "same"],
        ),
        None,
    )
    assert {code for code in by_code(found) if code.startswith("D03")} == expected


def test_rows_that_could_not_be_opened_are_no_copies_of_each_other():
    assert not {"D033", "D034"} & set(by_code(examine(material(balanced(None, None), digests=[*"0123456789", "", ""]))))


# Files


@pytest.mark.parametrize(
    ("change", "code", "severity"),
    [
        ({"frames": 3}, "D022", "warning"),
        ({"bits": 16, "mode": "I;16"}, "D120", "note"),
        ({"mode": "CMYK", "format": "JPEG"}, "D121", "note"),
        ({"mode": "RGBA", "alpha": True}, "D122", "note"),
        ({"mode": "P"}, "D123", "note"),
        ({"orientation": 6}, "D124", "note"),
        ({"width": 7}, "D125", "warning"),
        ({"width": 2000, "height": 200}, "D125", "warning"),
        ({"width": 5000, "height": 5000}, "D126", "note"),
        ({"format": "GIF"}, "D127", "note"),
    ],
)
def test_the_form_of_one_picture_is_told(change, code, severity):
    values = {name: getattr(PLAIN, name) for name in PLAIN.__slots__} | change
    facts = [PLAIN] * 9 + [Facts(**values)]
    checked = examine(material(balanced(), paths=[f"{row}.png" for row in range(9)] + ["9.PNG"], facts=facts), None)
    finding = by_code(checked)[code]
    assert (finding.severity, finding.count, [item.rows for item in finding.items]) == (severity, 1, [(9,)])
    plain = by_code(examine(material(balanced(), paths=[f"{row}.PnG" for row in range(10)]), None))
    assert code not in plain


def test_forms_of_real_files(tmp_path):
    picture = random_pictures(1, 40)[0]
    image = Image.fromarray(picture)
    for row in range(8):
        save(tmp_path / "ab"[row % 2] / f"{row}.png", random_pictures(1, 40, seed=row)[0])
    pool = tmp_path / "unlabeled"
    save(pool / "deep.png", np.arange(1600, dtype=np.uint16).reshape(40, 40) * 40)
    image.convert("CMYK").save(pool / "print.jpg")
    image.convert("P").save(pool / "palette.png")
    image.convert("RGBA").save(pool / "alpha.png")
    image.save(pool / "moving.gif", save_all=True, append_images=[image.rotate(90)])
    exif = Image.Exif()
    exif[274] = 6
    image.save(pool / "turned.jpg", exif=exif)
    image.resize((300, 12)).save(pool / "thin.png")
    image.save(pool / "really-png.jpg", "PNG")
    os.mkfifo(pool / "pipe.jpg")
    os.symlink("/etc/hostname", pool / "link.jpg")
    checked = examine(look(Source(str(tmp_path)), None), None)
    told = {code: {name for group in names(checked, code) for name in group} for code in by_code(checked)}
    for code, name in {
        "D022": "moving.gif",
        "D120": "deep.png",
        "D121": "print.jpg",
        "D122": "alpha.png",
        "D124": "turned.jpg",
        "D125": "thin.png",
        "D127": "really-png.jpg",
    }.items():
        assert told[code] == {f"unlabeled/{name}"}, code
    assert "unlabeled/palette.png" in told["D123"]
    assert "link.jpg" in by_code(checked)["S010"].title


def test_unreadable_files_are_all_listed_with_their_reasons(tmp_path):
    for row in range(20):
        save(tmp_path / "ab"[row % 2] / f"{row}.png", random_pictures(1, 32, seed=row)[0])
        save(tmp_path / "unlabeled" / f"{row}.png", random_pictures(1, 32, seed=100 + row)[0])
    (tmp_path / "a" / "cut.jpg").write_bytes(encoded(Image.fromarray(random_pictures(1, 64)[0]))[:900])
    (tmp_path / "b" / "text.png").write_bytes(b"hello")
    (tmp_path / "unlabeled" / "empty.png").write_bytes(b"")
    checked = examine(look(Source(str(tmp_path)), None), None)
    labeled, pool = by_code(checked)["D014"], by_code(checked)["D015"]
    assert labeled.title == "2 of 22 labeled pictures cannot be read"
    reasons = {checked.material.manifest.paths[item.rows[0]]: item.note for item in labeled.items}
    assert set(reasons) == {"a/cut.jpg", "b/text.png"}
    assert "truncated" in reasons["a/cut.jpg"]
    assert "hello" in reasons["b/text.png"]
    assert (pool.severity, pool.count) == ("warning", 1)
    assert pool.title == "1 of 21 unlabeled pictures cannot be read (4.8%; training stops above 5%)"
    assert "empty" in pool.items[0].note
    (tmp_path / "unlabeled" / "more.png").write_bytes(b"?")
    assert by_code(examine(look(Source(str(tmp_path)), None), None))["D015"].severity == "error"


def test_names_that_some_systems_take_for_one():
    paths = ["a/x.png", "a/X.png", "b/x.png", "caf\u00e9.png", "cafe\u0301.png"]
    paths += [f"{n}.png" for n in range(5)]
    checked = examine(material(balanced(), paths=paths), None)
    assert by_code(checked)["D132"].title.startswith("2 groups of file names differ only in case")
    assert names(checked, "D132") == {frozenset({"a/x.png", "a/X.png"}), frozenset(paths[3:5])}


# Classes, labels and parts


@pytest.mark.parametrize(
    ("labels", "parts", "classes", "code", "severity", "count"),
    [
        (balanced(), None, ("a", "b", "empty", "bare"), "D050", "error", 2),
        (["a"] * 9, None, (), "D051", "error", 1),
        ([None] * 9, None, (), "D051", "error", 0),
        (balanced("c"), ["train"] * 10 + ["test"], (), "D052", "error", 1),
        (balanced("c", "c"), None, (), "D053", "warning", 1),
        (balanced(*["a"] * 46), None, (), "D130", "warning", 1),
        (balanced(), None, (), "D040", "note", 1),
        (balanced(), None, (), "D061", "note", 1),
        (balanced("a"), ["train"] * 10 + ["test"], (), "D060", "warning", 1),
        (balanced(*["a"] * 100), ["train"] * 10 + ["test"] * 100, (), "D060", "note", 100),
        (balanced(None), ["train"] * 10 + ["test"], (), "D081", "error", 1),
        (balanced("NA", "n/a ", "null", "None", " "), None, (), "D057", "warning", 5),
        (balanced("Cat", "cat", " cat", "ca\u0301t", "c\u00e1t", "07", "7.0"), None, (), "D058", "warning", 3),
        (balanced("007", "01", "10", "0"), None, (), "D131", "note", 2),
    ],
)
def test_what_is_odd_about_classes_and_labels(labels, parts, classes, code, severity, count):
    found = by_code(examine(material(labels, parts, classes=classes), None))[code]
    assert (found.severity, found.count) == (severity, count)


def test_a_healthy_source_has_no_error_and_no_warning():
    rows = balanced(each=10)
    labels = [*rows, None, None, *["a", "b"] * 100]
    checked = examine(material(labels, ["train"] * 22 + ["test"] * 200, classes=("a", "b")), None)
    assert [finding.code for finding in checked.findings] == ["D060"]
    assert checked.number("note") == 1


def test_the_limits_are_where_the_documents_say():
    codes = by_code(examine(material(["a"] * 40 + ["b"] * 4), None))
    assert not {"D053", "D130"} & set(codes)
    codes = by_code(examine(material(["a"] * 41 + ["b"] * 4), None))
    assert "D130" in codes
    codes = by_code(examine(material(["a"] * 40 + ["b"] * 3), None))
    assert "D053" in codes


@pytest.mark.parametrize("count", [20, 60, 1000, 10_000])
def test_the_smallest_difference_is_the_one_mcnemars_test_shows(count):
    """The exact test needs six disagreements; the approximate one rejects just above the bound, not just below."""
    bound = smallest_difference(count)
    assert bound >= 6 / count
    assert 2 * 0.5**6 < 0.05 < 2 * 0.5**5
    if bound > 6 / count:
        disagreements = 0.1 * count
        assert abs(bound * count / math.sqrt(disagreements) - 1.96) < 1e-9


def test_notes_of_the_reader_are_passed_on_unless_the_check_says_more():
    notes = ("warn[S010]: 2 links are not followed", "read as a list", "warn[D057]: one label looks odd", "")
    checked = examine(material(balanced("NA"), notes=notes), None)
    told = [(finding.code, finding.severity, finding.title) for finding in checked.findings]
    assert ("S010", "warning", "2 links are not followed") in told
    assert ("note", "note", "read as a list") in told
    assert Counter(code for code, *_ in told)["D057"] == 1
    assert by_code(checked)["D057"].items


def test_errors_come_first():
    checked = examine(material(["a"] * 3 + ["NA"], facts=[PLAIN] * 3 + [Facts("PNG", "P", 5, 5)]), None)
    order = [finding.severity for finding in checked.findings]
    assert order == sorted(order, key=["error", "warning", "note"].index)
    assert set(order) == {"error", "warning", "note"} or "error" not in order


# Arrays and tables


def test_arrays_are_checked_as_far_as_it_applies(tmp_path):
    pictures = np.moveaxis(random_pictures(60, 16), -1, 1)
    test = np.concatenate([np.moveaxis(random_pictures(20, 16, seed=9), -1, 1), pictures[:2]])
    np.savez(
        tmp_path / "mine.npz",
        x_train=pictures,
        y_train=np.array([0, 1] * 20 + [-1] * 20),
        x_test=test,
        y_test=np.array([0, 1] * 11),
    )
    checked = check(Source(str(tmp_path / "mine.npz")), tmp_path / "out", None)
    assert by_code(checked)["D030"].count == 2
    assert names(checked, "D030") == {frozenset({f"x_train#{row}", f"x_test#{20 + row}"}) for row in range(2)}
    assert checked.overview()["examples"] == {"labeled": 40, "unlabeled": 20, "development": 0, "test": 22}
    assert (tmp_path / "out/check.html").read_text("utf-8").count("data:image") > 4


def test_a_table_is_checked_as_far_as_it_applies(tmp_path):
    with (tmp_path / "flowers.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["length", "width", "label"])
        rows.writerows([row / 7, (row * row) % 11, "ab"[row % 2] if row < 20 else ""] for row in range(40))
        rows.writerows([[0 / 7, 0, "b"]])
    checked = check(Source(str(tmp_path / "flowers.csv")), tmp_path / "out", None)
    assert by_code(checked)["D031"].count == 1
    assert checked.overview()["examples"]["unlabeled"] == 20
    assert "Examples of each class" not in (tmp_path / "out/check.html").read_text("utf-8")


# The page, the file, the terminal

HOSTILE = [
    "<img src=x onerror=alert(1)>",
    '"><script>alert(1)<',
    "a\nb\u202egnp.exe\u2066\x1b[2J",
    "caf\udce9",
    "{{ 7 * 7 }}",
    "' onmouseover='alert(1)",
]


class Elements(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.links = Counter(), set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags[tag, tuple(sorted(name for name, _ in attrs))] += 1
        self.links |= {value.split(",")[0] for name, value in attrs if name in ("src", "href")}


def everything(word):
    """A source with findings of every kind, whose names, labels, reasons and notes hold a word."""
    labels = [f"{word}a", f"{word}b"] * 6 + [f"{word}c", None, None, f"{word}A", "NA", "007"]
    parts = ["train"] * 12 + ["test"] + ["train"] * 5
    facts = [PLAIN] * 10 + [Facts("GIF", "P", 3, 90, 2, 16, 6, True), PLAIN, None, *[PLAIN] * 5]
    digests = [*"0011", *map(str, range(100, 114))]
    pixels = np.moveaxis(random_pictures(18, 16), -1, 1).copy()
    pixels[13] = pixels[5]
    paths = [f"{word}/{word}{row}.png" for row in range(18)]
    return material(
        labels,
        parts,
        paths,
        (f"{word}d",),
        facts,
        pixels,
        (f"warn[S010]: {word}", f"{word} as well"),
        {12: f"starts with {word}"},
        digests,
    )


@pytest.mark.parametrize("word", HOSTILE)
def test_the_elements_of_the_page_do_not_depend_on_names(word):
    plain, hostile = Elements(page(examine(everything("plain"), None))), page(examine(everything(word), None))
    assert Elements(hostile).tags == plain.tags
    assert Elements(hostile).links <= {"data:", "data:image/png;base64", "data:image/jpeg;base64"}
    assert not set(hostile) & set("\u202e\u2066\x1b\udce9")
    hostile.encode()
    assert "alert(1)&gt;" in hostile or "alert" not in word or "&lt;" in hostile or "&#39;" in hostile


@pytest.mark.parametrize("word", HOSTILE)
def test_the_file_gives_names_back_and_the_terminal_shows_no_control_character(word):
    checked = examine(everything(word), None)
    values = json.loads(to_json(checked.summary(full=True)))
    assert to_json(checked.summary(full=True)).isascii()
    assert {path for finding in values["findings"] for item in finding["all"] for path in item["paths"]} <= set(
        checked.material.manifest.paths
    )
    assert f"{word}a" in values["classes"]
    assert values["version"] == 1


def test_the_file_lists_everything_and_the_summary_the_first_twenty():
    checked = examine(material(balanced(each=50), facts=[Facts("PNG", "P", 32, 32)] * 100), None)
    (full,) = (one for one in checked.summary(full=True)["findings"] if one["code"] == "D123")
    (short,) = (one for one in checked.summary()["findings"] if one["code"] == "D123")
    assert (full["count"], len(full["all"]), len(full["examples"])) == (100, 100, 20)
    assert set(short) == {"code", "severity", "title", "count", "examples", "fix"}


def test_the_page_shows_the_pictures_of_pairs_and_classes(planted, tmp_path):
    checked = check(Source(str(planted)), tmp_path / "out", None)
    text = (tmp_path / "out/check.html").read_text("utf-8")
    pairs = sum(len(names(checked, code)) for code in ("D030", "D031", "D032", "D034"))
    assert text.count("data:image") == 2 * pairs + 2 * 8
    assert len(text) < 3_000_000


def test_of_many_classes_the_first_stand_open_and_the_others_are_folded():
    labels = [f"class {number:03}" for number in range(210) for _ in range(2)]
    text = page(examine(material(labels), None))
    table = text.partition("<h2>Classes</h2>")[2]
    shown, _, folded = table.partition("<details>")
    assert (shown.count("<tr><td>"), folded.partition("</details>")[0].count("<tr><td>")) == (25, 175)
    assert "class 024" in shown
    assert "class 025" in folded
    assert "10 more classes" in folded
    few = page(examine(material(labels[:50]), None)).partition("<h2>Classes</h2>")[2]
    assert "<details" not in few


def test_of_many_classes_the_first_examples_are_shown_and_the_others_folded():
    pictures = np.moveaxis(random_pictures(24, 16), -1, 1).copy()
    text = page(examine(material([f"class {number:02}" for number in range(24)], pixels=pictures), None))
    shown, _, folded = text.partition("<h2>Examples of each class</h2>")[2].partition("<details>")
    assert (shown.count("<h3>"), folded.partition("</details>")[0].count("<h3>")) == (10, 14)
    assert shown.count("<img") == 10


# The command


def run(*words, cwd=None):
    return CliRunner().invoke(cli, ["check", *(str(word) for word in words)], catch_exceptions=True)


def test_the_command_writes_beside_the_data_and_never_over_what_is_there(planted, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = snapshot(planted)
    first, second = run(planted), run(planted)
    assert (first.exit_code, second.exit_code) == (0, 0), first.output
    name = f"check-{planted.name}"
    assert sorted(path.name for path in tmp_path.iterdir()) == [name, f"{name}-2"]
    assert f"written: {name}-2/check.html" in second.output
    assert "error[D030]: 3 held-out examples are also in another part" in first.output
    assert "test/a/400.png = unlabeled/copy400.png" in first.output
    assert snapshot(planted) == before


def test_strict_exits_with_3_only_if_there_is_an_error(planted, tmp_path):
    assert run(planted, "-o", tmp_path / "one", "--strict").exit_code == 3
    for row in range(8):
        save(tmp_path / "fine" / "ab"[row % 2] / f"{row}.png", random_pictures(1, 32, seed=row)[0])
    assert run(tmp_path / "fine", "-o", tmp_path / "two", "--strict").exit_code == 0


def test_json_prints_one_object(planted, tmp_path):
    result = run(planted, "-o", tmp_path / "out", "--json")
    values = json.loads(result.stdout)
    assert result.stdout.count("\n") == 1
    assert values["ok"] is True
    assert values["errors"] == 2
    assert values["examples"] == {"labeled": 101, "unlabeled": 305, "development": 0, "test": 100}
    assert json.loads((tmp_path / "out/check.json").read_bytes())["errors"] == 2


def test_hostile_names_reach_the_terminal_as_escapes(tmp_path):
    for row in range(8):
        save(tmp_path / "data" / "ab"[row % 2] / f"{row}.png", random_pictures(1, 32, seed=row)[0])
    (tmp_path / "data/a" / "x\x1b[2J\u202e\nerror.png").write_bytes(b"\x1b]0;title\x07")
    result = run(tmp_path / "data", "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert "x\\x1b[2J\\u202e\\nerror.png" in result.output
    assert not set("\x1b\u202e\x07") & set(result.output)


def test_nothing_is_written_into_the_data(planted, monkeypatch, tmp_path):
    before = snapshot(planted)
    os.symlink(planted, tmp_path / "alias")
    for place in (planted / "report", planted, tmp_path / "alias" / "report"):
        result = run(planted, "-o", place)
        assert isinstance(result.exception, UsageError)
        assert result.exception.code == "U022"
    monkeypatch.chdir(planted)
    assert run(".").exception.code == "U022"
    assert snapshot(planted) == before


def test_a_file_in_the_way_is_told(planted, tmp_path):
    (tmp_path / "out").write_text("mine")
    result = run(planted, "-o", tmp_path / "out")
    assert result.exception.code == "U014"
    assert (tmp_path / "out").read_text() == "mine"
