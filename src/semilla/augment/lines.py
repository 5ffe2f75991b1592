"""Views of lines of text: pictures of one height and many widths, padded to a common one.

A view is a row of `LINE_VIEWS`. Its decisions come from uniform draws handed in, one column for each, so a view is a
function of its draws: for every line the same, whatever else is in the batch and however much padding there is. A row
says whether it keeps the time axis: whether what stood in a column stands there still. Where it does not, the view's
geometry says where each pixel came from, so that a prediction for one view can be told in the columns of another.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from semilla.augment.resampling import send
from semilla.contract import View
from semilla.errors import DataError, UsageError
from semilla.randomness import generator

Vector: TypeAlias = npt.NDArray[np.float64]
Columns: TypeAlias = Iterator[Vector]
"""The draws, (B,) for each decision, in the order in which the decisions are made."""

BOXES = 3
"""Boxes that may be erased."""
STRETCH, SLANT, TALLER, RISE = (0.8, 1.25), 0.35, (0.85, 1.1), 0.06
"""Width by width; columns a row of difference in height; height by height; shift by height, up or down."""
TILT, STEEPEST = 0.08, 0.05
"""How far a line's ends rise by turning, by height; and the sine of the largest angle, for short ones."""
_SHEET = 4096
"""Columns of the noise that all lines share; each enters it at a place of its own."""
_LOOK = 7 + 4 * BOXES
_MOVE = 5


@dataclass(frozen=True, slots=True)
class LineView:
    """A row of `LINE_VIEWS`.

    Attributes:
        name: as methods ask for it.
        tone: brightness and contrast changed, by up to this share; 2 draws.
        look: also gamma, sharpness, the thickness of the ink, noise, erased boxes; 17 draws.
        move: stretched, slanted, turned, made taller or lower, moved up or down, resampled once; 5 draws.
    """

    name: str
    tone: float = 0.0
    look: bool = False
    move: bool = False

    @property
    def draws(self) -> int:
        """Uniform draws for each line."""
        return 2 * (self.tone > 0) + (_LOOK - 2) * self.look + _MOVE * self.move

    @property
    def keeps_time(self) -> bool:
        """Whether what stood in a column stands there still."""
        return not self.move


LINE_VIEWS = {
    view.name: view
    for view in (
        LineView("none"),
        LineView("weak", tone=0.1),
        LineView("photometric", tone=0.4, look=True),
        LineView("strong", tone=0.4, look=True, move=True),
    )
}


class LineViews:
    """Makes named views of uint8 lines of one height.

    Args:
        height: pixels.
        mean: of the grey levels, in [0, 1] units; of several channels their mean counts.
        std: likewise; at least one grey level is used.
    """

    def __init__(self, height: int, mean: Sequence[float], std: Sequence[float]) -> None:
        self.height = height
        self.mean, self.std = float(np.mean(mean)), max(1 / 255, float(np.mean(std)))
        noise = generator(0, "noise of lines", 0).standard_normal((height, _SHEET))
        self._noise = torch.from_numpy(noise.astype(np.float32))

    def draws(self, name: str) -> int:
        """Uniform draws that the named view takes for each line.

        Raises:
            UsageError: U140 for an unknown name.
        """
        return find(name).draws

    def __call__(self, name: str, lines: Tensor, draws: Tensor, width: Tensor) -> View:
        """Make one view of a batch; the lines are left as they are.

        Args:
            name: a key of `LINE_VIEWS`.
            lines: uint8 (B, 1, height, W), on the device where the view is wanted.
            draws: float32 (B, ``draws(name)``) in [0, 1), on the CPU (anywhere else they have to be fetched).
            width: int64 (B,) valid columns of each line, from 1 to W.

        Returns:
            The view, 0 beyond each line's width.

        Raises:
            UsageError: U140 for an unknown name, U141 for draws or widths of the wrong shape.
            DataError: D160 for lines of another type or height.
        """
        spec = find(name)
        self._check(spec, lines, draws, width)
        columns = iter(draws.detach().cpu().numpy().astype(np.float64).T)
        x, geometry, grey = _edged(lines, width).float().mul_(1 / 255), None, _mean(lines, width)
        if spec.move:
            x, width, geometry = _moved(x, width, columns)
        if spec.tone:
            x = _toned(x, grey, spec.tone, columns)
        if spec.look:
            x = self._looked(x, width, columns)
        inside = torch.arange(x.shape[3], device=x.device) < width[:, None]
        return View(x.sub_(self.mean).div_(self.std).mul_(inside[:, None, None]), geometry, width)

    def _check(self, spec: LineView, lines: Tensor, draws: Tensor, width: Tensor) -> None:
        if lines.dtype != torch.uint8 or lines.ndim != 4 or tuple(lines.shape[1:3]) != (1, self.height):
            found = f"{lines.dtype} lines of shape {tuple(lines.shape)}"
            raise DataError("D160", found, f"pass torch.uint8 lines of shape (B, 1, {self.height}, W)")
        wanted = len(lines), spec.draws
        if not draws.is_floating_point() or tuple(draws.shape) != wanted or tuple(width.shape) != (len(lines),):
            found = f"draws of shape {tuple(draws.shape)} and widths of shape {tuple(width.shape)} for '{spec.name}'"
            raise UsageError("U141", found, f"pass float draws of shape {wanted} and {len(lines)} widths")

    def _looked(self, x: Tensor, width: Tensor, columns: Columns) -> Tensor:
        """Gamma, thickness of the ink, sharpness, noise, boxes: (B, 1, H, W) in about [0, 1], changed in place."""
        gamma = _sent(np.exp(0.5 * _signed(next(columns))), x)
        x = x.clamp_(1e-3, 1).pow_(gamma)
        ink, soft = _signed(next(columns)), _signed(next(columns))
        x = _inked(x, _sent(np.clip(2 * np.abs(ink) - 1, 0, 1) * np.sign(ink), x))
        x = _edged(x, width)  # the padding saw other neighbours than the line's end
        x = _softened(x, _sent(np.where(soft > 0, 0.3 * soft, 0.1 * soft), x))
        amount, place = next(columns), next(columns)
        sheet = self._noise.to(x.device)
        start = send(np.floor(place * _SHEET).astype(np.int64), x.device)
        found = (torch.arange(x.shape[3], device=x.device) + start[:, None]) % _SHEET
        noise = sheet[:, found].transpose(0, 1)[:, None]
        x = torch.addcmul(x, noise, _sent(0.1 * np.maximum(0, 2 * amount - 1), x))
        return _erased(x, width, columns)


def find(name: str) -> LineView:
    """The row of `LINE_VIEWS` with this name.

    Raises:
        UsageError: U140 for an unknown name; it names the nearest one.
    """
    if name not in LINE_VIEWS:
        near = difflib.get_close_matches(name, LINE_VIEWS, n=1, cutoff=0.0)[0]
        known = ", ".join(LINE_VIEWS)
        raise UsageError("U140", f"no view '{name}' of lines of text", f"did you mean '{near}'? There are: {known}")
    return LINE_VIEWS[name]


def _edged(lines: Tensor, width: Tensor) -> Tensor:
    """Padding filled with each line's last column, so that what looks sideways sees the line go on."""
    place = torch.arange(lines.shape[3], device=lines.device)
    beyond = place >= width[:, None]
    last = lines.gather(3, (width - 1).view(-1, 1, 1, 1).expand(-1, 1, lines.shape[2], 1))
    return torch.where(beyond[:, None, None], last, lines)


def _mean(lines: Tensor, width: Tensor) -> Tensor:
    """(B, 1, 1, 1) the mean of each line without its padding; of whole numbers, so that no order of adding matters."""
    inside = torch.arange(lines.shape[3], device=lines.device) < width[:, None]
    total = (lines * inside[:, None, None]).sum((1, 2, 3), dtype=torch.int64)
    return (total / (255 * lines.shape[2] * width)).float().view(-1, 1, 1, 1)


def _toned(x: Tensor, grey: Tensor, share: float, columns: Columns) -> Tensor:
    """Contrast about the line's own mean, then brightness."""
    bright, contrast = (_sent(share * _signed(next(columns)), x) for _ in range(2))
    return (x - grey).mul_(1 + contrast).add_(grey + 0.5 * bright)


def _inked(x: Tensor, amount: Tensor) -> Tensor:
    """Blended with the lightest (amount > 0) or the darkest of each 3 × 3 pixels: thinner or thicker dark ink."""
    lighter = darker = x
    for pads, axis in (((1, 1, 0, 0), 3), ((0, 0, 1, 1), 2)):  # a tenth of the time of PyTorch's pooling on a CPU
        size = x.shape[axis]
        lighter, darker = (
            choose(choose(around.narrow(axis, 0, size), own), around.narrow(axis, 2, size))
            for own, choose in ((lighter, torch.maximum), (darker, torch.minimum))
            for around in (F.pad(own, pads, mode="replicate"),)
        )
    return x + amount.clamp_min(0) * (lighter - x) - amount.clamp_max(0) * (darker - x)


def _softened(x: Tensor, amount: Tensor) -> Tensor:
    """Each pixel and its neighbours left and right, then up and down, mixed: blurred, or below 0 sharpened."""
    for pads, axis in (((1, 1, 0, 0), 3), ((0, 0, 1, 1), 2)):
        around = F.pad(x, pads, mode="replicate")
        size = x.shape[axis]
        x = x + amount * (around.narrow(axis, 0, size) + around.narrow(axis, 2, size) - 2 * x)
    return x


def _erased(x: Tensor, width: Tensor, columns: Columns) -> Tensor:
    """Boxes of up to 0.6 by 0.5 heights, each in half of the lines, filled as the line's last column is on average."""
    height, wide = x.shape[2], width.cpu().numpy().astype(np.float64)
    across, down = np.arange(x.shape[3]), np.arange(height)
    paper = x.gather(3, (width - 1).view(-1, 1, 1, 1).expand(-1, 1, height, 1)).mean(2, keepdim=True)
    for _ in range(BOXES):
        erased, place, size, level = (next(columns) for _ in range(4))
        left, top = place * wide, level * height
        columns_in = (across >= left[:, None]) & (across < (left + (0.15 + 0.45 * size) * height)[:, None])
        rows_in = (down >= (top - height / 4)[:, None]) & (down < (top + height / 4)[:, None])
        inside = send((columns_in & (erased < 0.5)[:, None])[:, None, :] & rows_in[:, :, None], x.device)
        x = torch.where(inside[:, None], paper, x)
    return x


def _moved(x: Tensor, width: Tensor, columns: Columns) -> tuple[Tensor, Tensor, Tensor]:
    """One affine resampling, onto a canvas as wide as the line has become: nothing is cut off at its ends.

    Returns:
        The lines, their widths, and (B, 2, 3) the maps from their pixels to those they came from.
    """
    height, wide = x.shape[2], width.cpu().numpy().astype(np.float64)
    low, high = np.log(STRETCH)
    stretch, slant = np.exp(low + (high - low) * next(columns)), SLANT * _signed(next(columns))
    sine = np.minimum(STEEPEST, 2 * TILT * height / wide) * _signed(next(columns))
    taller, rise = TALLER[0] + (TALLER[1] - TALLER[0]) * next(columns), RISE * height * _signed(next(columns))
    cosine = np.sqrt(1 - sine**2)
    turned = np.stack([np.stack([cosine, -sine], 1), np.stack([sine, cosine], 1)], 1)
    slanted = np.zeros((len(wide), 2, 2))
    slanted[:, 0, 0], slanted[:, 0, 1], slanted[:, 1, 1] = stretch, slant, taller
    forth = turned @ slanted  # from the line's pixels, about its middle, to those of the view
    wider = np.ceil(np.abs(forth[:, 0, 0]) * wide + np.abs(forth[:, 0, 1]) * height)
    back = np.linalg.inv(forth)
    middle, other = np.stack([wide / 2, np.full_like(wide, height / 2)], 1), np.stack([wider / 2, height / 2 + rise], 1)
    maps = np.concatenate([back, (middle - (back @ other[:, :, None])[:, :, 0])[:, :, None]], 2)
    geometry = send(maps.astype(np.float32), x.device)
    widths = send(wider.astype(np.int64), x.device)
    return _edged(_sampled(x, width, geometry, int(wider.max())), widths), widths, geometry


def _sampled(x: Tensor, width: Tensor, maps: Tensor, columns: int) -> Tensor:
    """Bilinear samples (B, 1, H, columns) at the places that maps give; beyond a line's edges its edge.

    Gathered by hand: PyTorch's own sampling takes places in shares of the padded width, and rounds as that is.
    """
    batch, _, height, padded = x.shape
    across = torch.arange(columns, device=x.device, dtype=torch.float32) + 0.5
    down = torch.arange(height, device=x.device, dtype=torch.float32) + 0.5
    place = [
        maps[:, axis, 0, None, None] * across
        + maps[:, axis, 1, None, None] * down[:, None]
        + maps[:, axis, 2, None, None]
        for axis in range(2)
    ]
    right = (width - 1).float().view(-1, 1, 1)
    column = torch.minimum(place[0].sub_(0.5).clamp_(min=0), right)
    row = place[1].sub_(0.5).clamp_(0, height - 1)
    left, top = column.floor(), row.floor()
    beside, below = (column - left).flatten(1), (row - top).flatten(1)
    next_left, next_top = torch.minimum(left + 1, right), (top + 1).clamp_max(height - 1)
    flat = x.flatten(1)

    def pick(rows: Tensor, cols: Tensor) -> Tensor:
        return flat.gather(1, (rows * padded + cols).flatten(1).long())

    upper = torch.lerp(pick(top, left), pick(top, next_left), beside)
    lower = torch.lerp(pick(next_top, left), pick(next_top, next_left), beside)
    return torch.lerp(upper, lower, below).view(batch, 1, height, columns)


def _signed(draws: Vector) -> Vector:
    """[0, 1) → [−1, 1)."""
    return 2 * draws - 1


def _sent(values: Vector, x: Tensor) -> Tensor:
    """(B,) numbers as (B, 1, 1, 1) beside a batch."""
    return send(values.astype(np.float32), x.device).view(-1, 1, 1, 1)
