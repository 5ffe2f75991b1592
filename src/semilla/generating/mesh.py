"""All geometry of a line as one resampling: where each node of a mesh over the picture looks in the drawn text.

Slant, drift, perspective, stretch and elastic distortion add up in the nodes; between them the map is bilinear, so that
Pillow draws each cell with one call. The border of the picture is made of cell edges, which are straight lines in the
text's pixels. It follows that no ink is cut off if every node of the upper edge lies above the ink, every node of the
lower edge below it, and so on: `place` scales the nodes so that this holds, before anything is drawn.
"""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from semilla.generating.draws import Draws
from semilla.generating.letters import EDGE
from semilla.generating.looks import Look

FloatArray: TypeAlias = npt.NDArray[np.float64]
IntArray: TypeAlias = npt.NDArray[np.int64]

INSIDE = 1.5
"""Pixels of the picture that the box of the ink keeps from its border: bilinear resampling reaches 1."""

_PITCH, _FINE = 0.75, 0.45  # heights from node to node, printed and written
_STEEPEST = 0.08  # of the base line
_FRAME = 4  # pixels of a frame of the recognizers: a line must have as many as CTC needs


class Mesh(NamedTuple):
    """A grid over the picture, and where its nodes lie in the text.

    Attributes:
        columns: (n + 1,) pixel columns of the nodes, the first 0, the last the picture's width.
        rows: (3,) pixel rows of the nodes.
        x: (3, n + 1) columns in the text, from the left end of the ink's box.
        y: (3, n + 1) rows in the text, from its upper end.
        free: pixel columns at the right end in which there is no ink.
    """

    columns: IntArray
    rows: IntArray
    x: FloatArray
    y: FloatArray
    free: int

    @property
    def width(self) -> int:
        """Of the picture."""
        return int(self.columns[-1])


def place(width: int, height: int, picture: int, look: Look, draws: Draws, least: int, extra: float) -> Mesh:
    """A mesh that holds a box of ink.

    Args:
        width: of the box.
        height: of the box.
        picture: height of the picture.
        look: ranges of the distortions.
        draws: what is drawn from.
        least: pixels that the picture must be wide.
        extra: empty pixels of the picture at the right, beside the margin.
    """
    expected = width * min(1.0, (picture - 2 * INSIDE) / height)
    cells = max(1, math.ceil(expected / ((_FINE if look.written else _PITCH) * picture)))
    dx, dy = _displacements(cells, picture, expected, look, draws)
    down = picture - float(dy[0].max() - dy[2].min())  # rows left between the two edges
    scale = max(1.0, height / (down - 2 * INSIDE))
    above = INSIDE * scale + max(0.0, down - height - 2 * INSIDE) * min(1.0, max(0.0, 0.5 + draws.around(0.45)))
    below = max(INSIDE * scale, down * scale - height - above)
    stretch = draws.between(*look.stretch)
    left, right = (max(INSIDE, picture * draws.between(*look.margin)) for _ in range(2))
    right += extra
    spread = float(dx[:, 0].max() - dx[:, -1].min())
    wide = max(least, math.ceil(width * stretch / scale + left + right + spread))
    columns = np.round(np.linspace(0, wide, cells + 1)).astype(np.int64)
    rows = np.array((0, picture // 2, picture))
    x, y = columns + dx, rows[:, None] + dy
    across = float(x[:, -1].min() - x[:, 0].max())
    x = (x - x[:, 0].max() - left) * (width / (across - left - right))
    y = (y - y[0].max()) * ((height + above + below) / float(y[2].min() - y[0].max())) - above
    end = max(float(np.interp(width, line, columns)) for line in x)
    return Mesh(columns, rows, x, y, max(0, wide - math.ceil(end) - 1))


def _displacements(
    cells: int, picture: int, expected: float, look: Look, draws: Draws
) -> tuple[FloatArray, FloatArray]:
    """How far the nodes look aside, (3, n + 1) pixels each."""
    along, up = np.linspace(-0.5, 0.5, cells + 1), np.array((0.5, 0.0, -0.5))[:, None]
    slant = draws.between(*look.slant)
    drift = draws.around(look.drift) * picture
    drift = math.copysign(min(abs(drift), _STEEPEST * expected), drift)
    keystone = draws.around(look.perspective) * picture
    wave = draws.around(look.wave) * picture
    turns, phase = draws.between(0.5, 2.5), draws.between(0, 2 * math.pi)
    # Seen from the picture: a text that leans to the right is found farther left the higher the row.
    dx = -slant * picture * up + draws.around(look.perspective) * picture * up * along
    dy = drift * along + 2 * keystone * up * along + wave * np.sin(2 * math.pi * turns * along + phase)
    if look.elastic:
        noise = draws.generator.random((2, 4, cells + 1)) - 0.5
        noise = noise[:, :3] + noise[:, 3:]  # a column's rows move together for the most part
        most = look.elastic * picture * draws.between(0.2, 1.0)
        dx, dy = dx + 2.0 * most * noise[0], dy + most * noise[1]
    return np.broadcast_to(dx, (3, cells + 1)), np.broadcast_to(dy, (3, cells + 1))


def frames_needed(text: str) -> int:
    """Pixels that a picture of a text must be wide, so that CTC with frames of 4 pixels can spell it."""
    repeats = sum(one == other for one, other in itertools.pairwise(text))
    return _FRAME * (len(text) + repeats)


def warp(ink: Image.Image, mesh: Mesh, border: int = 0) -> Image.Image:
    """Draw the ink through the mesh.

    Args:
        ink: mode L, with `EDGE` pixels around the box.
        mesh: from `place`.
        border: pixels to draw beyond each side of the picture, with the map carried on: a picture that cuts
            nothing off has no ink there.

    Returns:
        Mode L, of the picture's size and twice the border.
    """
    columns, rows, x, y = mesh.columns, mesh.rows, mesh.x + EDGE, mesh.y + EDGE
    if border:
        columns, x, y = _beyond(columns, x, y, border)
        rows, turned_x, turned_y = _beyond(rows, x.T, y.T, border)
        x, y = turned_x.T, turned_y.T
    corners = np.stack((x, y), -1)
    quads = np.concatenate((corners[:-1, :-1], corners[1:, :-1], corners[1:, 1:], corners[:-1, 1:]), -1)
    edges, levels = columns.tolist(), rows.tolist()
    cells = [
        ((edges[j], levels[i], edges[j + 1], levels[i + 1]), quad)
        for i, line in enumerate(quads.tolist())
        for j, quad in enumerate(line)
    ]
    size = edges[-1], levels[-1]
    return ink.transform(size, Image.Transform.MESH, cells, Image.Resampling.BILINEAR)


def _beyond(grid: IntArray, x: FloatArray, y: FloatArray, border: int) -> tuple[IntArray, FloatArray, FloatArray]:
    """One more node at each end of the last axis, where the map goes on as in the cell beside it."""
    wider = np.concatenate(([0], grid + border, [grid[-1] + 2 * border]))
    first, last = border / (grid[1] - grid[0]), border / (grid[-1] - grid[-2])

    def more(values: FloatArray) -> FloatArray:
        before = values[:, :1] - first * (values[:, 1:2] - values[:, :1])
        after = values[:, -1:] + last * (values[:, -1:] - values[:, -2:-1])
        return np.concatenate((before, values, after), 1)

    return wider, more(x), more(y)
