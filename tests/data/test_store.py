import io

import numpy as np
import pytest
from PIL import Image

from semilla.data import store
from semilla.errors import DataError

RNG = np.random.default_rng(5)
IMAGES = RNG.integers(0, 256, (2, 32, 32, 3), np.uint8)


def encoded(image, form="WEBP"):
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, form, **({"lossless": True} if form == "WEBP" else {}))
    return buffer.getvalue()


GOOD = encoded(IMAGES[0])
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 32 32\n%%EndComments\n"


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b"", "no bytes"),
        (b"hello", "cannot identify"),
        (GOOD[: len(GOOD) // 2], ""),
        (EPS, "cannot identify"),
        (encoded(IMAGES[0][:16]), "16 × 32 pixels"),
        (encoded(IMAGES[0, :, :, 0], "PNG"), "of L"),
        (encoded(np.zeros((32, 32, 4), np.uint8), "PNG"), "of RGBA"),
    ],
)
def test_pictures_that_cannot_be_decoded(bad, reason, capsys):
    with pytest.raises(DataError) as caught:
        store.decode([GOOD, GOOD, bad, GOOD, bad], "toy")
    assert caught.value.code == "D014"
    assert "2 of the toy pictures" in caught.value.message
    assert "row 2" in caught.value.message
    assert reason in caught.value.message
    with pytest.raises(DataError, match=r"1 of the toy pictures .* row 0"):
        store.decode([b"", GOOD], "toy")
    assert "decoding toy" in capsys.readouterr().err


def test_grey_pictures_and_many_of_them():
    grey = RNG.integers(0, 256, (600, 5, 4), np.uint8)
    np.testing.assert_array_equal(store.decode([encoded(image, "PNG") for image in grey], "grey"), grey[:, None])


def test_every_picture_that_cannot_be_decoded_is_counted():
    blobs = [GOOD] * 600
    blobs[3] = blobs[300] = blobs[599] = b"hello"
    with pytest.raises(DataError, match=r"3 of the toy pictures .* row 3"):
        store.decode(blobs, "toy")


def test_where_the_store_is(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert str(store.cache_folder()) != "/xdg/semilla"
    monkeypatch.delenv("SEMILLA_CACHE")
    assert str(store.cache_folder()) == "/xdg/semilla"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert store.cache_folder() == tmp_path / ".cache" / "semilla"
