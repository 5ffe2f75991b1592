"""Pictures of lines for a recogniser: files and arrays of any size, brought to its height."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from semilla.data.images import MAX_PIXELS, LineForm, Unreadable, open_picture, quiet, to_line
from semilla.data.lines import Lines
from semilla.data.rows import Rows
from semilla.data.text import line_form
from semilla.errors import DataError
from semilla.inference.decode import read_file
from semilla.text import clean


class Opened(NamedTuple):
    """Some lines, and why others could not be read.

    Attributes:
        lines: uint8 (H, W) each; one blank column stands for what could not be read.
        problems: why, by position.
    """

    lines: list[npt.NDArray[np.uint8]]
    problems: dict[int, str]


def lines_of(inputs: Sequence[Any], height: int) -> Rows:
    """Files or arrays as rows of a pool of lines.

    Args:
        inputs: names of picture files, or arrays uint8 (H, W), (H, W, 3) or (1, H, W).
        height: pixels.

    Raises:
        DataError: D014, a file cannot be read as a picture; D020, an array is no picture.
    """
    if all(isinstance(one, str | os.PathLike) for one in inputs):
        names = [os.fspath(one) for one in inputs]
        lines, problems = open_lines(names, height)
        if problems:
            row, reason = min(problems.items())
            raise DataError("D014", f"{clean(names[row])}: {clean(reason)}", "remove it, or use semilla.predict")
    else:
        form = line_form(height)
        lines = [_from_array(one, form, row) for row, one in enumerate(inputs)]
    return Rows(Lines.of(lines, height), np.arange(len(lines)))


def open_lines(names: Sequence[str], height: int, max_pixels: int = MAX_PIXELS) -> Opened:
    """Read, decode and resize some files in this process; what cannot be read is told."""
    form = line_form(height)
    lines: list[npt.NDArray[np.uint8]] = []
    problems: dict[int, str] = {}
    with quiet():
        for row, name in enumerate(names):
            lines.append(np.zeros((height, 1), np.uint8))
            try:
                image, facts = open_picture(read_file(name), max_pixels, form)
                if (width := form.width_of(facts)) > form.widest:
                    problems[row] = f"{width:,} pixels wide at a height of {height}; the limit is {form.widest:,}"
                else:
                    lines[row] = to_line(image, width, height).T
            except Unreadable as problem:
                problems[row] = clean(problem.reason)
            except (OSError, ValueError) as error:
                problems[row] = getattr(error, "strerror", None) or clean(error)
    return Opened(lines, problems)


def _from_array(picture: Any, form: LineForm, row: int) -> npt.NDArray[np.uint8]:
    array = np.asarray(picture)
    if array.ndim == 3 and array.shape[0] == 1:
        array = array[0]
    if array.dtype != np.uint8 or not array.size or not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] == 3)):
        message = f"line {row} is {array.dtype} of shape {array.shape}"
        raise DataError("D020", message, "give uint8 pictures (H, W) or (H, W, 3), or names of files")
    width = max(1, round(array.shape[1] * form.height / array.shape[0]))
    return to_line(Image.fromarray(np.ascontiguousarray(array)), width, form.height).T
