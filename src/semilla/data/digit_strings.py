"""Strings of real handwritten digits: each picture of scikit-learn's digits once, a few side by side.

No picture stands in two strings, so nothing of a string that is labeled or tested is in any other.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

from semilla.data.dataset import Dataset, Examples
from semilla.data.images import Images
from semilla.data.labels import IntArray
from semilla.data.lines import Lines
from semilla.data.rows import Rows
from semilla.data.source import DIGIT_STRINGS
from semilla.data.text import WIDEST
from semilla.randomness import uniform

HEIGHT = 32
SHORTEST, LONGEST = 3, 6
"""Digits of a string."""
TALL, WIDE, GAP, MARGIN = (18, 28), (0.6, 0.85), (-2, 4), 4
"""Pixels of a digit's height, its width in heights, pixels between two (below 0 they overlap) and at either end."""

_SEED = 1797  # fixed for ever: figures on these strings are compared across versions
_PAPER, _INK = 235, 35


def digit_strings(digits: Dataset) -> Dataset:
    """Lines of text from pictures of digits; each part of theirs makes the same part of these.

    Args:
        digits: uint8 (N, 1, 8, 8) pictures, white on black, and all three parts.
    """
    parts = {"train": (digits.inputs, digits.labels)}
    parts |= {name: (held.inputs, held.labels) for name in ("development", "test") if (held := getattr(digits, name))}
    made = {name: _strings(name, inputs[:, 0], labels) for name, (inputs, labels) in parts.items()}
    classes = tuple(sorted({text for _, texts in made.values() for text in texts}))
    numbers = {text: number for number, text in enumerate(classes)}

    def examples(name: str) -> Examples:
        lines, texts = made[name]
        pool = Lines.of(lines, HEIGHT)
        return Examples(Rows(pool, np.arange(len(pool))), np.array([numbers[text] for text in texts], np.int64))

    train = examples("train")
    return Dataset(
        name=DIGIT_STRINGS,
        kind="text",
        classes=classes,
        inputs=train.inputs,
        labels=train.labels,
        development=examples("development"),
        test=examples("test"),
        reading={"height": HEIGHT, "widest": WIDEST * HEIGHT},
    )


def _strings(part: str, pictures: Images, labels: IntArray) -> tuple[list[Images], list[str]]:
    """All pictures of a part, in their order, as strings of a few."""
    lines: list[Images] = []
    texts: list[str] = []
    start = 0
    while len(labels) - start >= SHORTEST:
        draw = float(uniform(_SEED, f"digit strings {part}", 0, len(lines), 1)[0, 0])
        stop = min(start + SHORTEST + int(draw * (LONGEST - SHORTEST + 1)), len(labels))
        places = np.arange(start, stop)
        lines.append(_line(pictures[places], uniform(_SEED, f"digits of {part}", 0, places, 4)))
        texts.append("".join(str(label) for label in labels[places]))
        start = stop
    return lines, texts


def _line(pictures: Images, draws: npt.NDArray[np.float32]) -> Images:
    """Dark digits on light paper: height, width, gap and place of each are drawn."""
    placed, left = [], MARGIN
    for picture, (tall, wide, gap, down) in zip(pictures, draws.astype(np.float64), strict=True):
        height = TALL[0] + int(tall * (TALL[1] - TALL[0] + 1))
        width = round(height * (WIDE[0] + wide * (WIDE[1] - WIDE[0])))
        ink = np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.BICUBIC), np.float64) / 255
        top = int(down * (HEIGHT - height + 1))
        placed.append((ink, top, left))
        left += width + GAP[0] + int(gap * (GAP[1] - GAP[0] + 1))
    line = np.zeros((HEIGHT, max(x + ink.shape[1] for ink, _, x in placed) + MARGIN))
    for ink, top, x in placed:
        part = line[top : top + ink.shape[0], x : x + ink.shape[1]]
        np.maximum(part, ink, out=part)
    levels: Images = np.rint(_PAPER - (_PAPER - _INK) * line).astype(np.uint8)
    return levels
