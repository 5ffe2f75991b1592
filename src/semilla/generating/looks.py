"""What lines look like: clean, printed and scanned, photographed, written by hand. Lengths are shares of the height."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from semilla.errors import UsageError

Range: TypeAlias = tuple[float, float]


@dataclass(frozen=True)
class Look:
    """Ranges from which each line draws, and probabilities of the effects.

    Attributes:
        name: of the look.
        written: whether letters are set one by one, as a hand does.
        size: of the font.
        tight: probability that the ink fills the height, as in crops of a detector.
        margin: left and right of the ink.
        stretch: width against that of the font.
        slant: pixels sideways for each upwards.
        drift: most that the base line rises or falls over the line.
        perspective: most by which one end is larger than the other.
        elastic: most that a node of the mesh moves.
        wave: most that the base line swings.
        weight: of strokes: below 0 thinner than the font's, above 0 thicker.
        paper: grey level of the ground.
        ink: grey level of the ink.
        contrast: fewest grey levels between the two.
        inverted: probability that light ink stands on a dark ground.
        pressure: most by which the ink fades in places.
        bleed: probability that ink runs into the paper.
        gradient: probability of uneven light.
        texture: probability of grain or fibres in the ground.
        coarse: most grey levels of the grain.
        ruled: probability of a ruled line.
        boxed: probability of a form's box with what lies beside it.
        neighbors: probability of traces of the lines above and below.
        shadow: probability of a shadow beside the letters.
        outline: probability of a contour around them.
        coarsened: probability that the picture was smaller before.
        blur: probability of a blur.
        motion: probability of a smear along the line.
        noise: probability of sensor noise.
        jpeg: probability of compression.
        quality: of the compression.
    """

    name: str
    written: bool = False
    size: Range = (0.6, 0.6)
    tight: float = 0.0
    margin: Range = (0.15, 0.15)
    stretch: Range = (1.0, 1.0)
    slant: Range = (0.0, 0.0)
    drift: float = 0.0
    perspective: float = 0.0
    elastic: float = 0.0
    wave: float = 0.0
    weight: Range = (0.0, 0.0)
    paper: Range = (255.0, 255.0)
    ink: Range = (0.0, 0.0)
    contrast: float = 60.0
    inverted: float = 0.0
    pressure: float = 0.0
    bleed: float = 0.0
    gradient: float = 0.0
    texture: float = 0.0
    coarse: float = 0.0
    ruled: float = 0.0
    boxed: float = 0.0
    neighbors: float = 0.0
    shadow: float = 0.0
    outline: float = 0.0
    coarsened: float = 0.0
    blur: float = 0.0
    motion: float = 0.0
    noise: float = 0.0
    jpeg: float = 0.0
    quality: Range = (35.0, 90.0)


PLAIN = Look("plain")

PRINT = Look(
    "print",
    size=(0.45, 0.72),
    tight=0.35,
    margin=(0.05, 0.8),
    stretch=(0.85, 1.2),
    slant=(-0.06, 0.06),
    drift=0.08,
    perspective=0.05,
    elastic=0.015,
    wave=0.03,
    weight=(-0.6, 0.7),
    paper=(190, 255),
    ink=(0, 110),
    inverted=0.03,
    pressure=0.3,
    bleed=0.1,
    gradient=0.4,
    texture=0.5,
    coarse=7,
    ruled=0.12,
    boxed=0.06,
    neighbors=0.1,
    coarsened=0.2,
    blur=0.4,
    motion=0.05,
    noise=0.5,
    jpeg=0.3,
)

SCENE = Look(
    "scene",
    size=(0.5, 0.8),
    tight=0.75,
    margin=(0.03, 0.4),
    stretch=(0.75, 1.4),
    slant=(-0.25, 0.3),
    drift=0.22,
    perspective=0.2,
    elastic=0.025,
    wave=0.06,
    weight=(-0.5, 1.0),
    paper=(70, 255),
    ink=(0, 190),
    contrast=65,
    inverted=0.4,
    pressure=0.25,
    gradient=0.7,
    texture=0.7,
    coarse=16,
    neighbors=0.1,
    boxed=0.05,
    shadow=0.25,
    outline=0.15,
    coarsened=0.35,
    blur=0.5,
    motion=0.15,
    noise=0.6,
    jpeg=0.45,
    quality=(25, 85),
)

HANDWRITING = Look(
    "handwriting",
    written=True,
    size=(0.4, 0.62),
    tight=0.15,
    margin=(0.05, 0.7),
    stretch=(0.75, 1.2),
    slant=(-0.12, 0.6),
    drift=0.14,
    perspective=0.1,
    elastic=0.04,
    wave=0.08,
    weight=(-0.9, 0.4),
    paper=(165, 253),
    ink=(5, 140),
    contrast=80,
    pressure=0.5,
    bleed=0.3,
    gradient=0.5,
    texture=0.4,
    coarse=5,
    ruled=0.2,
    boxed=0.5,
    neighbors=0.2,
    coarsened=0.25,
    blur=0.35,
    noise=0.4,
    jpeg=0.35,
)

ALL = (PRINT, SCENE, HANDWRITING)
LOOKS = {look.name: (look,) for look in (PLAIN, *ALL)} | {"all": ALL}
"""By the name they are asked for; ``all`` draws one of three for each line."""


def find(name: str) -> tuple[Look, ...]:
    """The looks that a name stands for.

    Raises:
        UsageError: U133, there is none of that name.
    """
    if name not in LOOKS:
        raise UsageError("U133", f"look {name!r} is not possible", f"one of {', '.join(LOOKS)}")
    return LOOKS[name]
