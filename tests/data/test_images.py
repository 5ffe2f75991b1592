"""Opening pictures: every awkward one, by itself and mutated."""

import io
import os
import resource
import subprocess
import sys
import threading
import time
import warnings
import zlib

import numpy as np
import pictures
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from semilla.data import images
from semilla.data.images import Form, Unreadable, header, open_picture, read_picture, to_array

SQUARE = Form(3, 32, 32)


def opened(name, **options):
    return open_picture(pictures.make(name), **options)


def pixels(name, **options):
    return np.asarray(opened(name, **options)[0]).astype(int)


@pytest.mark.parametrize("name", pictures.GOOD)
def test_what_is_odd_but_sound_can_be_read(name):
    image, facts = opened(name)
    assert image.mode in ("L", "RGB")
    assert facts.format in images.FORMATS
    assert facts == header(pictures.make(name))
    for resize in ("squash", "pad", "crop"):
        for channels in (1, 3):
            array, _ = read_picture(pictures.make(name), Form(channels, 20, 28, resize))
            assert (array.shape, array.dtype) == ((channels, 20, 28), np.uint8)


@pytest.mark.parametrize("name", pictures.BAD)
def test_what_cannot_be_used_says_why(name):
    with pytest.raises(Unreadable) as caught:
        opened(name)
    assert pictures.BAD[name][1] in caught.value.reason
    assert len(caught.value.reason) < 160


def test_a_reason_crosses_processes():
    import pickle

    assert pickle.loads(pickle.dumps(Unreadable("empty file"))).reason == "empty file"


@pytest.mark.parametrize("name", ["plain.png", "plain.webp", "plain.bmp", "plain.tif", "lzw.tif"])
def test_lossless_formats_give_what_was_written(name):
    np.testing.assert_array_equal(pixels(name), pictures.scene())
    assert opened(name)[1] == images.Facts(opened(name)[1].format, "RGB", 32, 24)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_a_picture_cut_anywhere_is_never_taken_for_whole(form):
    blob = pictures.encode(pictures.noise(), form)
    for size in {*range(1, len(blob) - 2, max(1, len(blob) // 40)), len(blob) - 2}:
        try:
            image, _ = open_picture(blob[:size])
        except Unreadable:
            continue
        assert form in ("GIF", "TIFF")  # their last bytes only end the file or describe it
        np.testing.assert_array_equal(np.asarray(image), np.asarray(open_picture(blob)[0]))


def test_one_flipped_bit_anywhere_in_a_png_is_seen():
    blob = pictures.encode(pictures.noise(), "PNG")
    for place in [*range(60), *range(60, len(blob), 97), len(blob) - 1]:
        with pytest.raises(Unreadable):
            open_picture(pictures.flipped(blob, place))


@pytest.mark.parametrize("name", ["eps.jpg", "svg.jpg", "pdf.jpg"])
def test_no_program_is_started(name, tmp_path, monkeypatch):
    fake = tmp_path / "gs"
    fake.write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(Unreadable):
        opened(name)
    assert not (tmp_path / "started").exists()


@pytest.mark.parametrize("name", ["grey16.png", "grey16.tif", "grey32.tif", "float.tif"])
def test_sixteen_bits_keep_their_levels(name):
    grey = pixels(name)
    assert len(np.unique(grey)) >= 250
    assert np.abs(grey - pictures.ramp16() / 257).max() <= 1
    assert opened(name)[1].bits == (32 if name in ("grey32.tif", "float.tif") else 16)
    if "16" in name:
        np.testing.assert_array_equal(grey, pictures.ramp16() >> 8)


def test_sixteen_bits_of_color_keep_the_upper_byte():
    values = np.arange(0, 65536, 64, dtype=np.uint16).astype(">u2")
    rows = b"".join(b"\0" + np.repeat(row[:, None], 3, 1).tobytes() for row in values.reshape(32, 32))
    image, facts = open_picture(pictures.png(32, 32, zlib.compress(rows), depth=16, color=2))
    assert (image.mode, facts.bits) == ("RGB", 16)
    np.testing.assert_array_equal(np.asarray(image)[..., 1], values.reshape(32, 32) >> 8)


@pytest.mark.parametrize("name", ["cmyk.jpg", "cmyk_wrong_profile.jpg", "cmyk_broken_profile.jpg"])
def test_cmyk_looks_like_its_twin(name):
    assert opened(name)[1].mode == "CMYK"
    assert np.abs(pixels(name) - pictures.scene()).mean() < 10


def test_a_cmyk_profile_is_used(monkeypatch):
    opened("cmyk_wrong_profile.jpg")  # made with what is replaced below
    asked = []

    def convert(image, own, target, outputMode):
        asked.append(outputMode)
        return Image.new("RGB", image.size, (1, 2, 3))

    monkeypatch.setattr(images.ImageCms, "ImageCmsProfile", lambda file: file.read())
    monkeypatch.setattr(images.ImageCms, "profileToProfile", convert)
    assert pixels("cmyk_wrong_profile.jpg")[0, 0].tolist() == [1, 2, 3]
    assert asked == ["RGB"]
    opened("cmyk.jpg")
    assert asked == ["RGB"]


def test_what_is_transparent_shows_white():
    assert (pixels("alpha.png") == 255).all()
    assert (pixels("keyed.png") == 255).all()
    grey, facts = opened("grey_alpha.png")
    assert (grey.mode, facts.alpha) == ("L", True)
    np.testing.assert_array_equal(np.asarray(grey)[0], [255] * 16 + [40] * 16)
    half = np.zeros((4, 4, 4), np.uint8)
    half[..., 3] = 128
    assert np.asarray(open_picture(pictures.encode(half, "PNG"))[0])[0, 0].tolist() == [127] * 3


@pytest.mark.parametrize("name", ["palette.png", "palette_one.png", "bilevel.png", "grey_alpha.png"])
def test_three_channels_and_no_warning(name):
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        array, _ = read_picture(pictures.make(name), SQUARE)
    assert array.shape == (3, 32, 32)
    assert not seen


def test_a_palette_is_blended_by_its_alpha():
    image = Image.open(io.BytesIO(pictures.make("palette.png")), formats=["PNG"]).convert("RGBA")
    values, alpha = np.asarray(image)[..., :3] / 255, np.asarray(image)[..., 3:] / 255
    np.testing.assert_allclose(pixels("palette.png"), 255 * (values * alpha + 1 - alpha), atol=1.01)


@pytest.mark.parametrize(("form", "tolerance"), [("png", 0), ("tif", 0), ("jpg", 3)])
def test_orientations_give_one_picture(form, tolerance):
    for number in range(1, 9):
        image, facts = opened(f"turned{number}.{form}")
        assert facts.orientation == number
        assert np.abs(np.asarray(image).astype(int) - pixels(f"turned1.{form}")).max() <= tolerance
        assert np.abs(np.asarray(image).astype(int) - pictures.scene()).max() <= 2 * tolerance
        assert (facts.width, facts.height) == ((24, 32) if number > 4 else (32, 24))


@pytest.mark.parametrize("name", ["animated.gif", "animated.webp", "pages.tif"])
def test_the_first_frame_and_how_many_there_are(name):
    image, facts = opened(name)
    assert facts.frames == 3
    assert np.abs(np.asarray(image.convert("L")).astype(int) - 200).max() <= 1


def test_frames_of_a_large_file_are_not_counted(monkeypatch):
    monkeypatch.setattr(images, "_COUNTED_BYTES", 10)
    assert header(pictures.make("animated.gif")).frames == 2
    assert header(pictures.encode(pictures.scene(), "GIF")).frames == 1


ALONE = r"""
import re, sys, time
from semilla.data.images import Unreadable, open_picture
blob = sys.stdin.buffer.read()
start = time.process_time()
try:
    print(open_picture(blob, int(sys.argv[1]))[0].size)
except Unreadable as error:
    print(error.reason)
print(re.search(r'VmHWM:\s+(\d+)', open('/proc/self/status').read())[1], time.process_time() - start)
"""


def alone(blob, max_pixels):
    """What one picture costs a process of its own: what was said, MB, seconds."""
    command = [sys.executable, "-W", "error", "-c", ALONE, str(max_pixels)]
    done = subprocess.run(command, input=blob, capture_output=True, check=True)
    said, numbers = done.stdout.decode().splitlines()
    memory, seconds = map(float, numbers.split())
    return said, memory / 1024, seconds


def test_a_header_that_promises_too_much_costs_nothing():
    said, memory, seconds = alone(pictures.make("huge.png"), images.MAX_PIXELS)
    assert said == "60000 × 60000 pixels exceed the limit of 64 million"
    assert memory < 400
    assert seconds < 2


def test_ninety_megapixels_only_on_request():
    blob = pictures.ninety_megapixels()
    said, memory, _ = alone(blob, images.MAX_PIXELS)
    assert "9000 × 10000 pixels exceed the limit of 64 million" in said
    assert memory < 400
    said, memory, _ = alone(blob, 100_000_000)
    assert said == "(9000, 10000)"
    assert memory < 600


def test_a_file_that_is_too_large(monkeypatch):
    monkeypatch.setattr(images, "MAX_BYTES", 100)
    with pytest.raises(Unreadable, match="exceed the limit of 100"):
        opened("plain.png")


def test_a_large_jpeg_is_decoded_at_a_fraction_and_looks_the_same():
    blob = pictures.encode(pictures.scene(1200, 1600), "JPEG", quality=95)
    draft, facts = open_picture(blob, form=SQUARE)
    assert (draft.size, facts.width, facts.height) == ((200, 150), 1600, 1200)
    whole = to_array(open_picture(blob)[0], SQUARE)
    assert np.abs(whole.astype(int) - read_picture(blob, SQUARE)[0]).max() <= 4
    with pytest.raises(Unreadable, match="truncated"):
        open_picture(blob[: len(blob) // 2], form=SQUARE)


@pytest.mark.parametrize("name", ["one.png", "line.png", "column.png", "three.png"])
@pytest.mark.parametrize("resize", ["squash", "crop"])
def test_extreme_shapes_keep_their_color(name, resize):
    assert (read_picture(pictures.make(name), Form(3, 8, 64, resize))[0] == 77).all()


@pytest.mark.parametrize("name", ["one.png", "line.png", "column.png", "three.png"])
def test_padding_keeps_at_least_one_line(name):
    array, _ = read_picture(pictures.make(name), Form(3, 8, 64, "pad"))
    assert set(np.unique(array)) <= {0, 77}
    assert (array == 77).any()


def test_what_the_resizes_do():
    wide = np.zeros((10, 30, 3), np.uint8)
    wide[:, 10:20] = 200
    blob = pictures.encode(wide, "PNG")
    assert (read_picture(blob, Form(1, 10, 10, "crop"))[0] == 200).all()
    padded = read_picture(blob, Form(1, 30, 30, "pad"))[0][0]
    assert (padded[10:20, 11:19] == 200).all()
    assert not padded[:10].any()
    assert not padded[20:].any()
    squashed = read_picture(blob, Form(1, 10, 10))[0][0]
    assert squashed[5, 5] == 200
    assert squashed[5, 0] == 0


def test_a_form_that_is_none():
    for bad in [(2, 8, 8), (3, 0, 8), (3, 8, 8, "stretch")]:
        with pytest.raises(ValueError, match="not a form"):
            Form(*bad)


def hashes(*arrays):
    return images.difference_hashes(np.stack(arrays).astype(np.float64))


def test_hashes_of_like_pictures_are_near():
    scene = np.moveaxis(pictures.scene(32, 32), 2, 0)
    darker, turned, flat = (scene * 0.8).astype(np.uint8), scene[:, ::-1, ::-1], np.full_like(scene, 9)
    near, far = hashes(darker, turned) ^ hashes(scene)
    assert int(near).bit_count() <= 4
    assert int(far).bit_count() >= 16
    assert hashes(flat)[0] == 0


def test_the_hash_by_its_definition():
    grey = np.random.default_rng(1).integers(0, 256, (1, 16, 18), np.uint8)
    cells = grey[0].reshape(8, 2, 9, 2).astype(int).sum((1, 3))
    bits = "".join(str(int(row[x + 1] > row[x])) for row in cells for x in range(8))
    assert hashes(grey)[0] == int(bits, 2)


def test_warnings_are_as_before_after_threads():
    before = list(warnings.filters)
    threads = [threading.Thread(target=lambda: [opened("pages.tif") for _ in range(20)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(warnings.filters) == before


# Any bytes at all


def only_unreadable(blob):
    start = time.process_time()
    try:
        image, _ = open_picture(blob, max_pixels=1_000_000, form=SQUARE)
        assert to_array(image, SQUARE).shape == (3, 32, 32)
        assert image.width * image.height <= 1_000_000
    except Unreadable:
        pass
    assert time.process_time() - start < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 3 * 2**20


@settings(max_examples=200)
@given(st.binary(max_size=200), st.sampled_from([start for start, _ in images._STARTS] + [b"RIFF0000WEBPVP8X", b""]))
def test_arbitrary_bytes_are_only_unreadable(tail, start):
    only_unreadable(start + tail)


SEEDS = sorted(name for name in {*pictures.GOOD, *pictures.BAD} if not name.startswith("turned"))


@settings(max_examples=600, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_mutated_pictures_are_only_unreadable(data):
    blob = bytearray(pictures.make(data.draw(st.sampled_from(SEEDS))))
    assume(blob)
    places = st.integers(0, min(len(blob) - 1, 600)) | st.integers(0, len(blob) - 1)
    for _ in range(data.draw(st.integers(1, 6))):
        blob[data.draw(places)] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        place, size = data.draw(places), data.draw(st.integers(1, 40))
        blob[place : place + size] = data.draw(st.binary(max_size=40))
    if blob.startswith(b"\x89PNG") and data.draw(st.booleans()):
        blob = rechecked(bytes(blob))
    only_unreadable(bytes(blob))


def rechecked(blob):
    """A PNG whose checksums are right again, so that the mutation gets further."""
    result, place = blob[:8], 8
    while place + 12 <= len(blob) and place + 12 + int.from_bytes(blob[place : place + 4], "big") <= len(blob):
        size = int.from_bytes(blob[place : place + 4], "big")
        result += pictures.chunk(blob[place + 4 : place + 8], blob[place + 8 : place + 8 + size])
        place += 12 + size
    return result + blob[place:]
