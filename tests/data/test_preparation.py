"""Mean and deviation of the training pixels: of all pools together, whether they are read or their sums are known."""

import numpy as np

from semilla.data.dataset import Dataset, split
from semilla.data.preparation import preparation
from semilla.data.rows import Rows
from semilla.data.store import ArrayPool, pixel_digests


def test_known_sums_say_what_the_pixels_say():
    draw = np.random.default_rng(0)
    pixels = draw.integers(0, 256, (60, 3, 8, 8), dtype=np.uint8)
    pixels[:20] //= 4  # the labeled ones are darker: no part stands for the whole
    labels = np.where(np.arange(60) < 20, np.arange(60) % 2, -1).astype(np.int64)
    values = pixels.astype(np.float64)
    sums = np.stack([values.sum((2, 3)), (values**2).sum((2, 3))], axis=2)
    pool = ArrayPool(pixels, sums, pixel_digests(pixels))
    found = []
    for inputs in (pixels, Rows(pool, np.arange(60))):
        dataset = Dataset("toys", "images", ("a", "b"), inputs, labels)
        found.append(preparation(dataset, split(dataset)))
    np.testing.assert_allclose(found[1]["mean"], found[0]["mean"], rtol=1e-12)
    np.testing.assert_allclose(found[1]["std"], found[0]["std"], rtol=1e-12)
    np.testing.assert_allclose(found[1]["mean"], values.mean((0, 2, 3)) / 255, rtol=1e-12)
    np.testing.assert_allclose(found[1]["std"], values.std((0, 2, 3)) / 255, rtol=1e-9)
