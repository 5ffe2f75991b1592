"""The pool of lines and its decoding: widths kept, padding only where it is asked for, nothing decoded twice."""

import os
import pickle

import numpy as np
import pictures
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from semilla.data import decoding
from semilla.data.blobs import Files, InMemory
from semilla.data.decoding import Workers, decode
from semilla.data.images import LineForm, open_picture
from semilla.data.lines import Lines, is_lines, widths_of
from semilla.data.rows import Rows
from semilla.data.scan import scan_lines
from semilla.errors import DataError

FORM = LineForm(16, 320)


def noise(width, height=16, seed=0):
    return np.random.default_rng((seed, width)).integers(1, 256, (height, width), np.uint8)


@settings(max_examples=30, deadline=None)
@given(widths=st.lists(st.integers(1, 40), min_size=1, max_size=9), data=st.data())
def test_a_gathered_line_is_the_line_and_then_zeros(widths, data):
    own = [noise(width, 5, place) for place, width in enumerate(widths)]
    pool = Lines.of(own, 5)
    rows = np.array(data.draw(st.lists(st.integers(0, len(own) - 1), max_size=6)), np.int64)
    found = pool[rows]
    longest = max((widths[row] for row in rows), default=0)
    assert found.shape == (len(rows), 1, 5, longest)
    assert found.dtype == np.uint8
    for picture, row in zip(found, rows.tolist(), strict=True):
        np.testing.assert_array_equal(picture[0, :, : widths[row]], own[row])
        assert not picture[0, :, widths[row] :].any()
    assert pool.shape == (len(own), 1, 5, max(widths))
    assert pool.widths.tolist() == widths
    assert pool.nbytes == 5 * sum(widths)


def test_rows_of_lines():
    pool = Lines.of([noise(width) for width in (8, 20, 11)], 16)
    rows = Rows(pool, np.array([2, 1])).take(np.array([1, 1, 0]))
    assert is_lines(rows)
    assert widths_of(rows).tolist() == [20, 20, 11]
    assert rows.nbytes == 51 * 16
    np.testing.assert_array_equal(rows[:], pool[np.array([1, 1, 2])])
    np.testing.assert_array_equal(rows[2], pool.line(2)[None])
    assert widths_of(np.zeros((3, 1, 4, 4), np.uint8)) is None


def test_sums_and_digests_are_of_the_line_alone():
    wide = Lines.of([noise(8), noise(30)], 16)
    alone = Lines.of([noise(8)], 16)
    assert wide.sums[0].tolist() == alone.sums[0].tolist() == [[noise(8).sum(), (noise(8).astype(float) ** 2).sum()]]
    np.testing.assert_array_equal(wide.digests[0], alone.digests[0])
    assert (wide.digests[0] != wide.digests[1]).any()


@pytest.mark.parametrize("starts", [[0, 3], [1, 4], [0, 5, 4]])
def test_starts_that_do_not_fit(starts):
    with pytest.raises(ValueError, match=r"columns|a line ends"):
        Lines(np.zeros((4, 2), np.uint8), np.array(starts))


@pytest.mark.parametrize(
    ("size", "width"), [((50, 25), 32), ((16, 16), 16), ((3, 90), 8), ((100, 10), 160), ((7, 16), 8), ((640, 32), 320)]
)
def test_the_width_follows_the_proportions(size, width):
    blob = pictures.encode(Image.new("L", size, 9), "PNG")
    columns, found = decode(InMemory([blob]), np.arange(1), FORM)
    assert columns.shape == (width, 16)
    assert not found.problems


def test_a_line_too_wide_is_not_squeezed_but_named():
    blobs = [pictures.encode(Image.new("L", size, 9), "PNG") for size in ((16, 16), (321, 16), (40, 16))]
    found = scan_lines(InMemory(blobs), "set", FORM, None)
    assert found.problems == {1: "321 pixels wide at a height of 16; the limit is 320"}
    assert found.pixels.widths.tolist() == [16, 0, 40]


def test_a_picture_of_the_height_keeps_its_pixels():
    columns, _ = decode(InMemory([pictures.encode(noise(33), "PNG")]), np.arange(1), FORM)
    np.testing.assert_array_equal(columns.T, noise(33))


@pytest.mark.parametrize("kind", ["png", "jpg", "tif"])
def test_a_turned_line_is_as_wide_as_it_looks(kind):
    form = LineForm(24, 2400)
    for number in range(1, 9):
        columns, found = decode(InMemory([pictures.make(f"turned{number}.{kind}")]), np.arange(1), form)
        assert columns.shape == (32, 24)
        assert found.facts[0].orientation == number
        upright = np.asarray(Image.fromarray(pictures.scene()).convert("L")).astype(int)
        assert abs(columns.T.astype(int) - upright).mean() < 3


def test_a_large_jpeg_is_no_narrower_than_its_proportions():
    scene = pictures.encode(pictures.scene(150, 1001), "JPEG", quality=95)
    columns, _ = decode(InMemory([scene]), np.arange(1), FORM)
    whole, _ = open_picture(scene)
    assert columns.shape == (round(1001 * 16 / 150), 16)
    expected = np.asarray(whole.convert("L").resize(columns.shape, Image.Resampling.BILINEAR)).astype(int)
    assert abs(columns.T.astype(int) - expected).mean() < 2


def folder(tmp_path, count=6):
    for number in range(count):
        (tmp_path / f"{number}.png").write_bytes(pictures.encode(noise(20 + number, 16, number), "PNG"))
        os.utime(tmp_path / f"{number}.png", (1e9, 1e9))
    return Files.below(tmp_path, [f"{number}.png" for number in range(count)])


@pytest.fixture
def decoded(monkeypatch):
    rows = []

    def record(blobs, group, *rest):
        rows.extend(group.tolist())
        return decode(blobs, group, *rest)

    monkeypatch.setattr(decoding, "decode", record)
    return rows


def test_nothing_is_decoded_twice(tmp_path, decoded):
    first = scan_lines(folder(tmp_path), "set", FORM, None)
    assert sorted(decoded) == list(range(6))
    decoded.clear()
    second = scan_lines(Files.below(tmp_path, [f"{number}.png" for number in range(6)]), "set", FORM, None)
    assert decoded == []
    assert isinstance(second.pixels.columns, np.memmap)
    for row in range(6):
        np.testing.assert_array_equal(second.pixels.line(row), noise(20 + row, 16, row))
    np.testing.assert_array_equal(first.pixels.sums, second.pixels.sums)
    assert first.digests == second.digests


def test_only_what_changed_is_decoded_again(tmp_path, decoded):
    scan_lines(folder(tmp_path), "set", FORM, None)
    decoded.clear()
    (tmp_path / "3.png").write_bytes(pictures.encode(noise(50, 16, 99), "PNG"))
    os.utime(tmp_path / "3.png", (2e9, 2e9))
    found = scan_lines(Files.below(tmp_path, [f"{number}.png" for number in range(6)]), "set", FORM, None)
    assert decoded == [3]
    for row in range(6):
        expected = noise(50, 16, 99) if row == 3 else noise(20 + row, 16, row)
        np.testing.assert_array_equal(found.pixels.line(row), expected)


def test_damaged_pictures_take_part_in_the_second_start(tmp_path, decoded):
    files = folder(tmp_path, 4)
    whole = pictures.encode(noise(40), "JPEG")
    (tmp_path / "1.png").write_bytes(whole[:-40])  # its header says how wide it is
    (tmp_path / "2.png").write_bytes(b"hello world")
    for name in ("1.png", "2.png"):
        os.utime(tmp_path / name, (1e9, 1e9))
    for again in range(2):
        found = scan_lines(files, "set", FORM, None)
        assert sorted(found.problems) == [1, 2]
        np.testing.assert_array_equal(found.pixels.line(3), noise(23, 16, 3))
        assert len(decoded) == 4 * (1 - again)
        decoded.clear()


def test_a_damaged_store_is_made_again(tmp_path, own_cache, decoded):
    files = folder(tmp_path)
    scan_lines(files, "set", FORM, None)
    decoded.clear()
    (file,) = own_cache.glob("pixels/*/pixels.npy")
    data = bytearray(file.read_bytes())
    data[-300:] = bytes(300)
    file.write_bytes(data)
    found = scan_lines(files, "set", FORM, None)
    assert sorted(decoded) == list(range(6))
    np.testing.assert_array_equal(found.pixels.line(5), noise(25, 16, 5))


def test_a_small_cache_leaves_the_lines_in_memory(tmp_path, monkeypatch):
    monkeypatch.setenv("SEMILLA_CACHE_LIMIT", "100")
    found = scan_lines(folder(tmp_path), "set", FORM, None)
    assert "SEMILLA_CACHE_LIMIT" in found.notes[0]
    np.testing.assert_array_equal(found.pixels.line(2), noise(22, 16, 2))
    monkeypatch.setattr("semilla.data.scan.fits_in_memory", lambda size: False)
    with pytest.raises(DataError, match="fit neither") as caught:
        scan_lines(folder(tmp_path), "set", FORM, None)
    assert caught.value.code == "D186"


def test_every_way_of_decoding_gives_the_same(tmp_path):
    files = folder(tmp_path)
    expected, _ = decode(files, np.arange(6), FORM)
    for kind in ("here", "threads", "processes"):
        with Workers(files, FORM, 64_000_000, kind, 2) as workers:
            parts = [pixels for _, pixels, _ in workers.run([np.arange(4), np.arange(4, 6)])]
        np.testing.assert_array_equal(np.concatenate(parts), expected)


def test_a_form_crosses_to_a_process():
    assert pickle.loads(pickle.dumps(FORM)) == FORM
    with pytest.raises(ValueError, match="is not a form"):
        LineForm(0, 100)
