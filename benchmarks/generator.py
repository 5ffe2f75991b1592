"""How fast are lines generated, and does each show its label, all of it, and nothing cut off?

    python benchmarks/generator.py                             writes results/generator.json
    python benchmarks/generator.py --lines 2000 --out x.json   short, somewhere else

Speed: lines a second of processor time on one core, one process, after a warm-up of as many lines as are timed; the
median of turns, in which the looks follow each other. Texts are semilla's own Vietnamese lines and, to be compared with
other programs, lines of 37 characters on average, as long as handwritten addresses are. Fonts are those of matplotlib.

Checks, on --lines lines of every effect, shared out among the cores, by ways that did not choose the texts or fonts:

* glyphs: every character of every label is looked up in its font by FreeType (the filter reads the table with fontTools
  and compares bitmaps by Pillow): none may be glyph 0 or have no outline; and no label may hold a combining mark or a
  character that is not NFC.
* empty: the strongest coverage by ink of the finished geometry is at least 100 of 255, and the grey levels of the
  finished picture span at least 25.
* clipped: drawn on a canvas 16 pixels larger on each side, on which the same map goes on, the ink is the same to the
  last bit, and there is none outside.
* narrow: the picture has as many frames of 4 pixels as CTC needs for the label.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
import unicodedata
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.ft2font import FT2Font

from machine import provenance
from semilla.data.decoding import cores
from semilla.generating import Renderer, renderer

RESULTS = Path(__file__).parent / "results" / "generator.json"
LOOKS = ("plain", "print", "scene", "handwriting", "all")
HEIGHTS = (32, 48)
ADDRESS = 37
BORDER = 16
PART = 500


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=100_000, help="lines that are checked")
    parser.add_argument("--timed", type=int, default=1000, help="lines in a turn")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--fonts", action="append", help="as in semilla generate text")
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    fonts = tuple(arguments.fonts or ("bundled",))
    found: dict[str, Any] = {"fonts": fonts, "speed": speeds(fonts, arguments.timed, arguments.turns)}
    found["checks"] = checks(fonts, arguments.lines)
    found["provenance"] = provenance("pillow", "numpy", "fonttools", "matplotlib")
    arguments.out.parent.mkdir(exist_ok=True)
    arguments.out.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", "utf-8")


def speeds(fonts: tuple[str, ...], count: int, turns: int) -> list[dict[str, Any]]:
    """A row for each corpus, height and look."""
    rows = []
    for name, corpus in (("built-in lines", "vietnamese"), (f"lines of {ADDRESS}", long_lines())):
        for height in HEIGHTS:
            ways = {look: renderer(corpus, fonts=fonts, look=look, height=height) for look in LOOKS}
            seconds: dict[str, list[float]] = {look: [] for look in LOOKS}
            for turn in range(turns + 1):
                for look, draw in ways.items():
                    began = time.process_time()
                    for index in range(turn * count, (turn + 1) * count):
                        draw.render(index)
                    if turn:  # the first warms up
                        seconds[look].append(time.process_time() - began)
            for look, spent in seconds.items():
                texts = [ways[look].text(index)[0] for index in range(count)]
                row = {
                    "texts": name,
                    "height": height,
                    "look": look,
                    "lines a second and core": round(count / statistics.median(spent)),
                    "slowest turn": round(count / max(spent)),
                    "characters": round(statistics.mean(map(len, texts)), 1),
                }
                print(f"{name:<18}{height:>4} {look:<12}{row['lines a second and core']:>7,} lines/s")
                rows.append(row)
    return rows


def long_lines() -> list[str]:
    """2,000 built-in lines of 31 to 43 characters, the mean near `ADDRESS`."""
    draw, found, index = renderer("vietnamese"), [], 0
    while len(found) < 2000:
        text, _ = draw.text(index)
        found += [text] if abs(len(text) - ADDRESS) <= 6 else []
        index += 1
    return found


def checks(fonts: tuple[str, ...], lines: int) -> dict[str, Any]:
    """Counts of what may not occur, over both heights."""
    total: Counter[str] = Counter()
    jobs = [(fonts, HEIGHTS[part % 2], start) for part, start in enumerate(range(0, lines, PART))]
    began = time.monotonic()
    with ProcessPoolExecutor(cores(), mp_context=get_context("spawn")) as executor:
        for done, counts in enumerate(executor.map(check, *zip(*jobs, strict=True)), 1):
            total.update(counts)
            if not done % 20:
                print(f"checked {done * PART:,} lines, {time.monotonic() - began:.0f} s", flush=True)
    keys = ("lines", "characters", "missing glyphs", "glyphs without outline", "not NFC or combining")
    found = {key: total[key] for key in (*keys, "empty", "flat", "clipped", "outside", "narrow")}
    print(found)
    return found


@cache
def drawing(fonts: tuple[str, ...], height: int) -> tuple[Renderer, list[FT2Font]]:
    made = renderer("vietnamese", fonts=fonts, height=height, look="all", balance=0.3, case="mixed", seed=1)
    return made, [FT2Font(font.path) for font in made.fonts]


def check(fonts: tuple[str, ...], height: int, start: int) -> Counter[str]:
    draw, faces = drawing(fonts, height)
    found: Counter[str] = Counter()
    for index in range(start, start + PART):
        plan = draw.plan(index)
        ink, wider = np.asarray(draw.ink(index)), np.asarray(draw.ink(index, BORDER))
        picture = draw.draw(plan, index)
        inner = wider[BORDER:-BORDER, BORDER:-BORDER]
        found["lines"] += 1
        found["characters"] += len(plan.text)
        found["empty"] += int(ink.max() < 100)
        found["flat"] += int(np.ptp(picture.astype(int)) < 25)
        found["clipped"] += not np.array_equal(inner, ink)
        found["outside"] += int(wider.sum(dtype=np.int64) != inner.sum(dtype=np.int64))
        repeats = sum(one == other for one, other in pairwise(plan.text))
        found["narrow"] += plan.width < 4 * (len(plan.text) + repeats)
        found["not NFC or combining"] += plan.text != unicodedata.normalize("NFC", plan.text) or any(
            map(unicodedata.combining, plan.text)
        )
        for one in set(plan.text) - {" "}:
            glyph, outlined = looked_up(faces[plan.font], one)
            found["missing glyphs"] += not glyph
            found["glyphs without outline"] += not outlined
    return found


@cache
def looked_up(face: FT2Font, character: str) -> tuple[int, bool]:
    glyph = face.get_char_index(ord(character))
    face.load_glyph(glyph)
    return glyph, len(face.get_path()[0]) > 0


if __name__ == "__main__":
    main()
