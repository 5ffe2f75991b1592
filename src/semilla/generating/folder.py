"""Generated lines as a folder: pictures, ``labels.csv``, a sheet to look at, and what is needed to make it again.

```text
lines/generate.json     settings, digests of fonts and corpus, versions
lines/labels.csv        path,text,font,seed,index
lines/preview.png       the first 40 lines, each with its text below
lines/000/0000000.png   a thousand pictures to a folder
```

A run that was stopped goes on where it was; what a folder holds already is never overwritten.
"""

from __future__ import annotations

import csv
import io
import os
import struct
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from PIL import Image, ImageDraw

from semilla.data.progress import Bar
from semilla.errors import UsageError
from semilla.files import lock, make_folder, read_json, remove_stale, resource_errors, write_atomic, write_json
from semilla.generating.fonts import load
from semilla.generating.lines import blocks
from semilla.generating.render import MOST_INDEX, Renderer
from semilla.generating.render import renderer as make_renderer
from semilla.text import clean

SETTINGS, LABELS, PREVIEW = "generate.json", "labels.csv", "preview.png"
COLUMNS = ("path", "text", "font", "seed", "index")
SHOWN = 40
"""Lines on the sheet."""

_FORMAT = 1
_TO_A_FOLDER = 1000
_END = b"IEND\xaeB`\x82"
_OURS = {SETTINGS, LABELS, PREVIEW, ".lock"}


def generate_text(
    corpus: str | os.PathLike[str] | Sequence[str] = "vietnamese",
    out: str | os.PathLike[str] = "generated",
    *,
    count: int = 1000,
    height: int = 32,
    fonts: Sequence[str | os.PathLike[str]] = (),
    mode: str = "lines",
    words: tuple[int, int] | None = None,
    max_length: int = 70,
    case: str = "keep",
    balance: float = 0.0,
    look: str = "all",
    text_column: str | None = None,
    seed: int = 0,
    workers: int | None = None,
    progress: TextIO | None = None,
    say: Callable[..., None] = lambda *text: None,
) -> dict[str, Any]:
    """Draw labeled lines into a folder.

    Args:
        corpus: ``vietnamese``, ``english``, ``digits``, a file of texts (a line each, or a column of .csv or .jsonl),
            or a list of texts.
        out: the folder; a new one, an empty one, or one of the same settings, which is gone on with.
        count: how many lines; a finished folder grows when it is asked for more.
        height: of the pictures, in pixels; they are as wide as they need to be.
        fonts: files, folders, ``system``, ``bundled``; the fonts that matplotlib brings unless given.
        mode: ``lines`` or ``words``.
        words: fewest and most words of a text; 1 to 12 in lines, 1 in words.
        max_length: most characters of a text.
        case: ``keep``, ``mixed``, ``lower``, ``upper``, ``title``.
        balance: from 0, texts as they come, to 1, those with rare characters far more often.
        look: ``plain``, ``print``, ``scene``, ``handwriting``, ``all``.
        text_column: the column of texts.
        seed: same seed, same lines.
        workers: processes; 0 draws in this one, None chooses.
        progress: where to show how far it is.
        say: called with lines for people.

    Returns:
        What was made: folder, lines, characters, fonts, left_out, missing.

    Raises:
        UsageError: U130 to U139: fonts, options, or a folder that holds something else.
        DataError: D001, D150 to D154: the corpus or a font cannot be used.
        ResourceError: R001, the disk is full; R004, a process died.
        StateError: C004, another process writes to the folder; C005, its generate.json is damaged.
    """
    if not 1 <= count <= MOST_INDEX:
        raise UsageError("U133", f"count {count} is not possible", "1 to 2³²")
    folder = Path(out)
    _check_folder(folder)
    renderer = make_renderer(
        corpus, fonts=fonts, height=height, look=look, mode=mode, words=words, max_length=max_length, case=case,
        balance=balance, text_column=text_column, seed=seed,
    )  # fmt: skip
    for line in renderer.warnings():
        say(line)
    with resource_errors("cannot make the folder", folder, 0):
        make_folder(folder)
    with lock(folder):
        done = _begin(folder, renderer, count)
        texts = _write_pictures(folder, renderer, count, workers, progress)
        write_atomic(folder / PREVIEW, _sheet(folder, renderer, texts[:SHOWN]))
        write_atomic(folder / LABELS, _table(renderer, texts))
        write_json(folder / SETTINGS, {**_about(renderer), "count": count, "complete": True})
    characters = sorted(set().union(*(text for text, _ in texts)))
    say(f"{count:,} lines in {clean(folder)}, {count - done:,} of them new; look at {PREVIEW}")
    return {
        "folder": str(folder),
        "lines": count,
        "new": count - done,
        "characters": len(characters),
        "fonts": [font.name for font in renderer.fonts],
        "left_out": dict(renderer.left_out),
        "missing": renderer.missing,
    }


def path_of(index: int) -> str:
    """Where the picture at an index lies in the folder."""
    return f"{index // _TO_A_FOLDER:03d}/{index:07d}.png"


def _about(renderer: Renderer) -> dict[str, Any]:
    versions = {name: metadata.version(name) for name in ("semilla", "pillow", "numpy", "fonttools")}
    return {"format": _FORMAT, "settings": renderer.about(), "versions": versions}


def _check_folder(folder: Path) -> None:
    """Refuse what is not a folder of generated lines, before any work is done."""
    if folder.exists() and not folder.is_dir():
        raise UsageError("U134", f"{clean(folder)} is a file", "name a folder with --out")
    if folder.is_dir() and not (folder / SETTINGS).exists():
        others = sorted(path.name for path in folder.iterdir() if path.name != ".lock" and not _temporary(path))
        if others:
            message = f"{clean(folder)} holds other files, such as {clean(others[0])!r}"
            raise UsageError("U134", message, "name a new folder with --out: nothing is written among other files")


def _temporary(path: Path) -> bool:
    return path.name.startswith(".tmp-")


def _begin(folder: Path, renderer: Renderer, count: int) -> int:
    """Write down what is about to be made, or check that it is what was; how many lines were finished."""
    remove_stale(folder)
    about = _about(renderer)
    path = folder / SETTINGS
    if not path.exists():
        write_json(path, {**about, "count": count, "complete": False})
        return 0
    before = read_json(path)
    old = before.get("settings", {}) if isinstance(before, dict) else {}
    differing = sorted(name for name, value in about["settings"].items() if old.get(name) != value)
    if differing or before.get("format") != _FORMAT:
        message = f"{clean(folder)} was made with other settings: {', '.join(differing) or 'format'} differ"
        raise UsageError("U136", message, "give the same ones, or name a new folder with --out")
    versions = before.get("versions", {})
    changed = sorted(name for name, value in about["versions"].items() if versions.get(name) != value)
    if changed:
        told = ", ".join(f"{name} {versions.get(name)}" for name in changed)
        message = f"{clean(folder)} was begun with {told}, with which lines may look different"
        raise UsageError("U136", message, "name a new folder with --out, or install those versions")
    if before.get("count", 0) > count:
        message = f"{clean(folder)} has {before['count']:,} lines, more than the {count:,} asked for"
        raise UsageError("U136", message, "ask for as many or more, or name a new folder with --out")
    finished = int(before["count"]) if before.get("complete") else 0
    if finished < count:
        write_json(path, {**about, "count": count, "complete": False})
    return finished


def _write_pictures(
    folder: Path, renderer: Renderer, count: int, workers: int | None, progress: TextIO | None
) -> list[tuple[str, int]]:
    """Write those that are not there yet; text and font of each."""
    missing = np.array([index for index in range(count) if not _is_whole(folder / path_of(index))], np.int64)
    height = renderer.settings.height
    texts: dict[int, tuple[str, int]] = {}
    with (
        resource_errors("cannot write pictures", folder, len(missing) * height * 200),
        Bar("drawing lines", count, "lines", progress, done=count - len(missing)) as bar,
    ):
        for shard in sorted({path_of(int(index)).partition("/")[0] for index in missing}):
            make_folder(folder / shard)
            remove_stale(folder / shard)
        for group, made in blocks(renderer, missing, workers):
            for index, picture, text, font in zip(group.tolist(), made, made.texts, made.fonts, strict=True):
                _write_picture(folder / path_of(index), picture)
                texts[index] = text, font
            bar.update(len(group))
    return [texts.get(index) or renderer.text(index) for index in range(count)]


def _write_picture(path: Path, picture: Any) -> None:
    """Under another name first: a kill leaves no half of it. Not flushed, which would take longer than drawing."""
    temporary = path.with_name(f".tmp-{os.getpid()}-{path.name}")
    Image.fromarray(picture).save(temporary, "PNG", compress_level=3)
    os.replace(temporary, path)


def _is_whole(path: Path) -> bool:
    """Whether a PNG is there, from its first to its last bytes."""
    try:
        with path.open("rb") as file:
            head = file.read(24)
            file.seek(-len(_END), os.SEEK_END)
            return head[:8] == b"\x89PNG\r\n\x1a\n" and struct.unpack(">I", head[16:20])[0] > 0 and file.read() == _END
    except (OSError, struct.error):
        return False


def _table(renderer: Renderer, texts: Sequence[tuple[str, int]]) -> bytes:
    """``labels.csv``: cells as they are, because what reads them takes them literally."""
    file = io.StringIO(newline="")
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    seed = renderer.settings.seed
    for index, (text, font) in enumerate(texts):
        writer.writerow((path_of(index), text, renderer.fonts[font].name, seed, index))
    return file.getvalue().encode()


def _sheet(folder: Path, renderer: Renderer, texts: Sequence[tuple[str, int]]) -> bytes:
    """The first lines, each above its text, which is drawn in its own font: two columns of twenty, PNG."""
    pictures = [Image.open(folder / path_of(index), formats=("PNG",)).convert("L") for index in range(len(texts))]
    height, gap, note = renderer.settings.height, 6, 18
    rows = -(-len(pictures) // 2)
    wide = max(picture.width for picture in pictures)
    notes = [load(renderer.fonts[font].path, 12) for _, font in texts]
    wide = max(wide, *(int(font.getlength(text)) + 4 for font, (text, _) in zip(notes, texts, strict=True)))
    sheet = Image.new("L", (2 * (wide + gap) + gap, rows * (height + note + gap) + gap), 225)
    pen = ImageDraw.Draw(sheet)
    for place, (picture, font, (text, _)) in enumerate(zip(pictures, notes, texts, strict=True)):
        x, y = gap + (place // rows) * (wide + gap), gap + (place % rows) * (height + note + gap)
        sheet.paste(picture, (x, y))
        pen.text((x + 2, y + height + 1), text, fill=40, font=font)
    file = io.BytesIO()
    sheet.save(file, "PNG")
    return file.getvalue()
