"""A line at an index: which text, in which font, how it lies in the picture, and the picture.

Everything is a function of (settings, seed, index), the same in any order and any process on one machine.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from PIL import Image

from semilla.errors import DataError, UsageError
from semilla.generating.corpus import Choice, Corpus, Texts, corpus_of, read_corpus, told
from semilla.generating.draws import Draws
from semilla.generating.fonts import Coverage, Font, advice, find_fonts, in_words, positions
from semilla.generating.letters import Letters, Printed, Written, stands_alone
from semilla.generating.looks import Look, find
from semilla.generating.mesh import Mesh, frames_needed, place, warp
from semilla.generating.paint import Grey, paint
from semilla.text import clean

HEIGHTS = (16, 128)
MOST_INDEX = 2**32
_LARGEST = 1.1  # heights a font's size may have
_AGAIN = 1.2  # how much too tall a text may be before it is set anew and smaller
_HEAVY = re.compile("bold|black|heavy", re.IGNORECASE)  # faces that no pen writes
_TRIES = 20  # texts drawn until one is covered; all of a corpus's items are, but not every way to join them


@dataclass(frozen=True)
class Settings:
    """What lines are made of and look like.

    Attributes:
        height: of the pictures, in pixels.
        look: ``plain``, ``print``, ``scene``, ``handwriting`` or ``all``.
        choice: which texts.
        seed: 0 ≤ seed < 2⁶⁴.
    """

    height: int = 32
    look: str = "all"
    choice: Choice = field(default_factory=Choice)
    seed: int = 0


class Plan(NamedTuple):
    """A line that is laid out and not yet drawn.

    Attributes:
        text: NFC; what the picture shows, and nothing else.
        font: position of the font.
        look: how it looks.
        letters: the text as ink.
        mesh: how it lies in the picture.
    """

    text: str
    font: int
    look: Look
    letters: Letters
    mesh: Mesh

    @property
    def width(self) -> int:
        """Of the picture, in pixels."""
        return self.mesh.width


class Renderer:
    """Draws lines. It holds no state that a line depends on, and can be sent to other processes.

    Args:
        corpus: what there is to write.
        fonts: the fonts to write it in.
        settings: what is wanted.

    Attributes:
        left_out: texts of the corpus that are never drawn, by reason.
        missing: characters of the corpus that no font has.

    Raises:
        UsageError: U133, a setting out of its range.
        DataError: D153, no font covers any text.
    """

    def __init__(self, corpus: Corpus, fonts: Sequence[Font], settings: Settings) -> None:
        low, high = HEIGHTS
        if not low <= settings.height <= high:
            raise UsageError("U133", f"height {settings.height} is not possible", f"{low} to {high}; 32 or 48 is usual")
        if not 0 <= settings.seed < 2**64:
            raise UsageError("U133", f"seed {settings.seed} is not possible", "0 to 2⁶⁴ − 1")
        self.fonts, self.settings, self._looks = tuple(fonts), settings, find(settings.look)
        self._coverage = Coverage(fonts, Texts(corpus, settings.choice).characters())
        kept = tuple(item for item in corpus.items if self._coverage.mask(item))
        used = sorted(set().union(*corpus.items))
        self.missing = [one for one in self._coverage.missing() if one in used]
        if not kept:
            message = f"no font has all characters of any text of {clean(corpus.name)}"
            message += f": missing are {in_words(self.missing)}" if self.missing else ""
            raise DataError("D153", message, advice(self.missing))
        left = len(corpus.items) - len(kept)
        self.left_out = (*corpus.left_out, *((("no font has all their characters", left),) if left else ()))
        self.corpus = Corpus(corpus.name, kept, self.left_out, corpus.built_in)
        self._texts = Texts(self.corpus, settings.choice)
        self._light = sum(1 << place for place, font in enumerate(fonts) if not _HEAVY.search(font.name))

    def warnings(self) -> list[str]:
        """What a person should know before many lines are made."""
        if not self.left_out:
            return []
        named = f"; no font has {in_words(self.missing)}" if self.missing else ""
        fix = advice(self.missing) if self.missing else "remove the characters from the texts"
        return [f"warn[D155]: {clean(self.corpus.name)}: left out {told(self.left_out)}{named}\n  fix: {fix}"]

    def about(self) -> dict[str, Any]:
        """The settings as JSON, with the fonts and the corpus by their digests."""
        return {
            **asdict(self.settings),
            "choice": {**asdict(self.settings.choice), "words": list(self.settings.choice.words)},
            "corpus": {"name": self.corpus.name, "items": len(self.corpus.items), "digest": self.corpus.digest},
            "fonts": [{"name": font.name, "sha256": font.digest} for font in self.fonts],
        }

    def text(self, index: int) -> tuple[str, int]:
        """The text at an index, and the position of the font it is drawn in."""
        text, font, _, _ = self._chosen(index)
        return text, font

    def _chosen(self, index: int) -> tuple[str, int, Look, Draws]:
        if not 0 <= index < MOST_INDEX:
            raise IndexError(f"line {index} is outside 0 … 2³² − 1")
        draws = Draws(self.settings.seed, "generated text", index)
        look = draws.pick(self._looks)
        for _ in range(_TRIES):
            text = self._texts.draw(draws)
            mask = self._coverage.mask(text) if text else 0
            if mask:
                break
        else:
            text = draws.pick(self._texts.shown)
            mask = self._coverage.mask(text)
        if look.written and mask & self._light:
            mask &= self._light
        return text, draws.pick(positions(mask)), look, draws

    def plan(self, index: int) -> Plan:
        """Lay a line out: this takes a fifth of the time of drawing it, and tells its width."""
        text, font, look, draws = self._chosen(index)
        height, path = self.settings.height, self.fonts[font].path
        size = height * draws.between(*look.size)
        if draws.chance(look.tight):
            size *= draws.between(0.6, 0.88) * height / max(1, Printed(text, path, round(size)).height)
        size = max(6, round(min(size, _LARGEST * height)))
        letters = _letters(text, path, size, look, draws)
        if letters.height > _AGAIN * 0.9 * height:
            letters = _letters(text, path, max(6, int(size * 0.9 * height / letters.height)), look, draws)
        extra = height * draws.between(0.2, 2.0) if look.boxed and draws.chance(0.6 * look.boxed) else 0.0
        mesh = place(letters.width, letters.height, height, look, draws, frames_needed(text), extra)
        return Plan(text, font, look, letters, mesh)

    def ink(self, index: int, border: int = 0) -> Image.Image:
        """The ink alone as it lies in the picture, or in a larger one; mode L, 255 is full coverage."""
        plan = self.plan(index)
        return warp(plan.letters.draw(), plan.mesh, border)

    def draw(self, plan: Plan, index: int) -> Grey:
        """The picture of a plan: uint8 (H, W)."""
        draws = Draws(self.settings.seed, "generated paint", index)
        return paint(warp(plan.letters.draw(), plan.mesh), plan.look, plan.mesh.free, draws)

    def render(self, index: int) -> tuple[Grey, str]:
        """The picture at an index, uint8 (H, W), and its text."""
        plan = self.plan(index)
        return self.draw(plan, index), plan.text

    def __call__(self, index: int) -> tuple[Grey, str]:
        """As `render`."""
        return self.render(index)


def _letters(text: str, path: str, size: int, look: Look, draws: Draws) -> Letters:
    return Written(text, path, size, draws) if look.written and stands_alone(text) else Printed(text, path, size)


def renderer(
    corpus: str | os.PathLike[str] | Sequence[str] = "vietnamese",
    *,
    fonts: Sequence[str | os.PathLike[str]] = (),
    height: int = 32,
    look: str = "all",
    mode: str = "lines",
    words: tuple[int, int] | None = None,
    max_length: int = 70,
    case: str = "keep",
    balance: float = 0.0,
    text_column: str | None = None,
    seed: int = 0,
) -> Renderer:
    """A renderer from words: `semilla.generating.generate_text` says what they mean."""
    words = ((1, 1) if mode == "words" else (1, 12)) if words is None else words
    choice = Choice(mode, (int(words[0]), int(words[1])), max_length, case, float(balance))
    found, _ = find_fonts(fonts)
    read = read_corpus(corpus, text_column) if isinstance(corpus, str | os.PathLike) else corpus_of(corpus)
    return Renderer(read, found, Settings(height, look, choice, seed))
