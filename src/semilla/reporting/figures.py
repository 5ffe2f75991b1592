"""Figures that stand in a page of either colour scheme, and beside it as PNG, SVG and CSV.

In the page a figure is inline SVG whose ink is the page's own text colour; data are drawn in middle tones that show on
light and on dark ground and that colour-blind readers tell apart. Text in figures may come from data: it is cleaned,
and never read as mathematics.
"""

from __future__ import annotations

import csv
import io
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias
from xml.etree import ElementTree

import matplotlib
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from semilla import files
from semilla.text import clean, csv_safe

INK = "#1d2421"
"""Text and axes. In the page it becomes ``currentColor``, so no data are drawn in it."""
GROUND = "#fcfbf9"
"""Behind text that lies on data; in the page its own ground."""
OWN, OTHER, WARM, COOL = "#2a9070", "#8b8f94", "#d4752c", "#3f86c6"
"""The method, what it is compared with, and two more; at least 3 : 1 against both grounds."""

Cell: TypeAlias = str | int | float | None

_STYLE: Any = {
    "svg.fonttype": "none",  # text stays text: small, searchable, in the reader's own fonts
    "text.parse_math": False,
    "text.usetex": False,
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.facecolor": "none",
    "axes.axisbelow": True,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": INK,
    "grid.alpha": 0.14,
    "grid.linewidth": 0.7,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "figure.facecolor": "none",
}
_SVG, _XLINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}"
_FONT = re.compile(r"'DejaVu Sans'[^;]*")
_REFERENCE = re.compile(r"url\(#([^)]*)\)")


@dataclass(frozen=True, eq=False)
class Chart:
    """A figure and the numbers behind it.

    Attributes:
        name: of its files.
        caption: what to see in it, a sentence or two.
        alt: for whoever does not see it.
        svg: the picture as it stands in the file.
        png: likewise.
        header: the columns of its numbers.
        rows: the numbers.
    """

    name: str
    caption: str
    alt: str
    svg: bytes
    png: bytes
    header: tuple[str, ...]
    rows: list[tuple[Cell, ...]]

    def save(self, folder: Path) -> None:
        """Write ``<name>.svg``, ``.png`` and ``.csv``."""
        files.write_atomic(folder / f"{self.name}.svg", self.svg)
        files.write_atomic(folder / f"{self.name}.png", self.png)
        files.write_atomic(folder / f"{self.name}.csv", table(self.header, self.rows))

    def inline(self) -> Markup:
        """The picture as an element of the page."""
        return Markup(inline_svg(self.svg, self.name, self.alt))  # text in it was escaped by the SVG's writer


def draw(
    name: str,
    size: tuple[float, float],
    paint: Callable[[Axes], object],
    *,
    caption: str,
    alt: str,
    header: Sequence[str],
    rows: Sequence[tuple[Cell, ...]],
) -> Chart:
    """Make a chart of one panel.

    Args:
        name: of its files.
        size: inches; 4.6 wide fills a column of the page and can be read on a phone.
        paint: draws on the axes.
        caption: see `Chart`.
        alt: see `Chart`.
        header: see `Chart`.
        rows: see `Chart`.
    """
    with _style(name):
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        paint(figure.add_subplot())
        svg, png = io.BytesIO(), io.BytesIO()
        figure.savefig(png, format="png", dpi=160, facecolor="white", metadata={"Software": None})
        figure.set_layout_engine("none")  # stay as laid out for the first file
        figure.savefig(svg, format="svg", dpi=160, facecolor="white", metadata=dict.fromkeys(("Date", "Creator")))
    return Chart(name, caption, alt, svg.getvalue(), png.getvalue(), tuple(header), list(rows))


@contextmanager
def _style(name: str) -> Iterator[None]:
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": name}), warnings.catch_warnings():
        # A class name may be in a script the font of the PNG lacks; the page shows it in the reader's fonts.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        warnings.filterwarnings("ignore", message="Matplotlib currently does not support")
        yield


def label(text: object, longest: int = 16) -> str:
    """A name from data as text of a figure: cleaned, and cut where it is long."""
    shown = clean(text)
    return shown if len(shown) <= longest else f"{shown[: longest - 1]}…"


def percent(share: float) -> str:
    """A share as people read it, ``93.1 %``, on one line."""
    return f"{100 * share:.1f}\u00a0%"


def inline_svg(svg: bytes, name: str, alt: str) -> str:
    """A figure's SVG as an element for a page: the page's colours, no name space, no style sheet, ids of its own."""
    root = ElementTree.fromstring(svg)
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in (f"{_SVG}metadata", f"{_SVG}style"):
                parent.remove(child)
    ground = root.find(f".//{_SVG}g[@id='patch_1']")
    if ground is not None:
        ground.clear()  # the white ground of the file
    used = {match for element in root.iter() for value in element.attrib.values() for match in _references(value)}
    for element in root.iter():
        element.tag = element.tag.removeprefix(_SVG)
        element.attrib = dict(_attributes(element.attrib, used, name))
        element.tail = None
        if element.tag != "text" and element.tag != "tspan":
            element.text = None
    for side in ("width", "height", "version"):
        root.attrib.pop(side, None)
    width = float(root.get("viewBox", "0 0 331 200").split()[2])
    style = f"display:block;width:100%;max-width:{1.75 * width:.0f}px;height:auto;stroke-linejoin:round"
    root.attrib |= {"role": "img", "aria-label": clean(alt), "style": style}
    return ElementTree.tostring(root, encoding="unicode")


def _attributes(attributes: dict[str, str], used: set[str], name: str) -> Iterator[tuple[str, str]]:
    for key, value in attributes.items():
        key = key.removeprefix(_XLINK)
        if key == "id":
            if value in used:
                yield key, f"{name}-{value}"
        elif key == "href" and value.startswith("#"):
            yield key, f"#{name}-{value[1:]}"
        elif key in ("style", "clip-path", "fill", "stroke"):
            value = value.replace(INK, "currentColor").replace(GROUND, "var(--ground)")
            value = _FONT.sub("system-ui, sans-serif", value)
            yield key, _REFERENCE.sub(rf"url(#{name}-\1)", value)
        else:
            yield key, value


def _references(value: str) -> list[str]:
    return [value[1:]] if value.startswith("#") else _REFERENCE.findall(value)


def table(header: Sequence[str], rows: Sequence[Sequence[Cell]]) -> bytes:
    """CSV that a spreadsheet takes for nothing but data; `semilla.text.csv_original` gives the text of a cell back."""
    text = io.StringIO()
    writer = csv.writer(text)  # ends lines with CR LF (RFC 4180), so that both characters are quoted inside cells
    writer.writerows([[_written(cell) for cell in row] for row in (header, *rows)])
    return text.getvalue().encode("utf-8", "backslashreplace")


def _written(cell: Cell) -> Cell:
    if isinstance(cell, float):
        return f"{cell:.6g}" if cell == cell else ""  # NaN: not known
    return csv_safe(cell) if isinstance(cell, str) else cell
