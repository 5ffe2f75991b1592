"""One picture in two files: lossless formats tell the same pixels with other bytes."""

import numpy as np
import pytest
from PIL import Image

from semilla.data.source import Source
from semilla.data.sources import load
from semilla.errors import DataError

DRAW = np.random.default_rng(3)


@pytest.fixture
def photos(tmp_path):
    """Two classes of 12-pixel pictures, a pool, and a test part."""
    for folder, count in (("a", 5), ("b", 5), ("unlabeled", 9), ("test/a", 3), ("test/b", 3)):
        for number in range(count):
            save(tmp_path / "photos" / folder / f"{number}.png", DRAW.integers(0, 256, (12, 12, 3), dtype=np.uint8))
    return tmp_path / "photos"


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def again(path, copy):
    """Save a picture anew; the file is another one."""
    copy.parent.mkdir(parents=True, exist_ok=True)
    with Image.open(path) as image:
        image.save(copy)
    assert copy.read_bytes() != path.read_bytes()


@pytest.mark.parametrize("origin", ["a/2.png", "unlabeled/4.png"])
def test_a_test_picture_saved_anew_is_the_same_picture(photos, origin):
    assert load(photos).test is not None
    again(photos / origin, photos / "test" / "a" / "new.bmp")
    with pytest.raises(DataError, match="1 test picture also among") as caught:
        load(photos)
    assert caught.value.code == "D030"
    assert origin in caught.value.message
    assert "new.bmp" in caught.value.message
    assert any("D030" in note for note in load(Source(photos, allow_leak=True)).notes)


def test_one_picture_under_two_labels_in_two_formats(photos):
    again(photos / "a" / "1.png", photos / "b" / "other.tiff")
    with pytest.raises(DataError) as caught:
        load(photos)
    assert caught.value.code == "D031"


def test_pictures_that_only_look_alike_when_small_are_not_the_same(photos):
    """Their pixels are equal at the size of training, and not at their own."""
    large = DRAW.integers(0, 256, (24, 24, 3), dtype=np.uint8)
    twin = large.copy()
    twin[5, 7, 0] ^= 1
    save(photos / "a" / "large.png", large)
    save(photos / "test" / "b" / "large.png", twin)
    dataset = load(Source(photos, size=8))
    pools = [dataset.inputs[:], dataset.test.inputs[:]]
    assert any((one == other).all() for one in pools[0] for other in pools[1]), "they are alike as they are trained on"


def test_what_is_held_out_is_not_in_another_file_of_the_pool(photos):
    for number in range(5):
        again(photos / "a" / f"{number}.png", photos / "unlabeled" / f"again{number}.bmp")
    for name in ("a", "b"):
        for path in (photos / "test" / name).iterdir():
            path.unlink()
        (photos / "test" / name).rmdir()
    (photos / "test").rmdir()
    dataset = load(Source(photos, holdout=0.4))
    trained = {picture.tobytes() for picture in dataset.inputs[:]}
    assert not trained & {picture.tobytes() for picture in dataset.test.inputs[:]}
    assert any("copies or fellows" in note for note in dataset.notes)
