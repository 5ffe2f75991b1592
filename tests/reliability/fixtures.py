"""All data of these tests, made by code: blobs as pictures in class folders, lists, tables, hostile names, payloads.

``python fixtures.py FOLDER`` writes one of each.
"""

from __future__ import annotations

import contextlib
import csv
import importlib.util
import io
import json
import os
import pickle
import stat
import sys
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("cat", "dog", "owl")
COLUMNS = ("size", "weight", "color")

FILE_NAMES = (
    b"caf\xe9.png",  # not UTF-8
    "😀.png".encode(),
    b"x" * 251 + b".png",  # 255 bytes, as long as most file systems allow
    b"-rf.png",
    b"two  spaces .png",
    b"quote'\".png",
    b"100%.png",
    b"%41.png",
    b"line\nbreak.png",
    b"tab\there.png",
    b"=cmd|'x'!A1.png",
    b"@SUM(1).png",
    b"-1+1.png",
    b"'apostrophe.png",
    b"<img src=x onerror=alert(1)>.png",
    "\u202egnp.exe.png".encode(),  # right to left
    b"\x1b[31mred.png",
    b"comma,semicolon;.png",
)
"""What file names may be."""

CLASS_NAMES = (
    "<img src=x onerror=alert(1)>",
    '"><script>alert(1)<',
    '=HYPERLINK("http:x")',
    "@SUM(1)",
    "-1+1",
    "{{ 7 * 7 }}",
    "\x1b[2J",
)
"""What class folders may be called; a slash cannot be in a folder's name."""


def _pictures():
    spec = importlib.util.spec_from_file_location("pictures", Path(__file__).parents[1] / "data" / "pictures.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


pictures = _pictures()
"""Awkward pictures, as bytes: ``pictures.make("cut.jpg")``."""


def blob(kind, number, size=16):
    """A noisy blob, whose color and place say its kind: uint8 (size, size, 3)."""
    draw = np.random.default_rng([kind, number, size])
    y, x = np.mgrid[0:size, 0:size] / size
    place = 0.5 + 0.25 * np.array([np.cos(2.1 * kind), np.sin(2.1 * kind)])
    bump = np.exp(-((x - place[0]) ** 2 + (y - place[1]) ** 2) / 0.05)
    color = np.roll(np.array([1.0, 0.4, 0.1]), kind)
    return np.clip(180 * bump[..., None] * color + draw.integers(0, 60, (size, size, 3)), 0, 255).astype(np.uint8)


def encoded(kind, number, size=16, form="PNG", **options):
    """A blob as bytes."""
    buffer = io.BytesIO()
    Image.fromarray(blob(kind, number, size)).save(buffer, form, **options)
    return buffer.getvalue()


def animated(count):
    """A GIF of so many frames."""
    first, *rest = (Image.fromarray(blob(number % 3, 4000 + number)) for number in range(count))
    buffer = io.BytesIO()
    first.save(buffer, "GIF", save_all=True, append_images=rest)
    return buffer.getvalue()


def put(path, content):
    """Write a file and the folders above it."""
    os.makedirs(os.path.dirname(os.fspath(path)), exist_ok=True)
    with open(path, "wb") as file:
        file.write(content if isinstance(content, bytes) else content.encode("utf-8", "surrogateescape"))
    return path


def folder(root, labeled=6, unlabeled=24, test=4, classes=CLASSES, form="PNG", size=16):
    """``train/<class>``, ``test/<class>`` and ``unlabeled``; no picture is there twice."""
    ending = form.lower()
    for kind, name in enumerate(classes):
        for part, count, start in (("train", labeled, 0), ("test", test, 1000)):
            for number in range(count):
                put(Path(root, part, name, f"{number}.{ending}"), encoded(kind, start + number, size, form))
    for number in range(unlabeled):
        put(Path(root, "unlabeled", f"{number}.{ending}"), encoded(number % len(classes), 2000 + number, size, form))
    return Path(root)


def listing(path, rows, header=("path", "label")):
    """A CSV file."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([header, *rows])
    return put(path, text.getvalue())


def listed(root, labels=CLASSES, unlabeled_labels=None, labeled=6, unlabeled=24):
    """Pictures in one folder and two lists of them, ``labeled.csv`` and ``more.csv``; gives both lists' paths.

    ``unlabeled_labels`` gives a label for the number of an unlabeled picture; None leaves the column out.
    """
    rows, more = [], []
    for number in range(labeled * len(labels)):
        kind = number % len(labels)
        put(Path(root, "all", f"l{number:03}.png"), encoded(kind, number))
        rows.append((f"all/l{number:03}.png", labels[kind]))
    for number in range(unlabeled):
        put(Path(root, "all", f"u{number:03}.png"), encoded(number % len(labels), 2000 + number))
        row = (f"all/u{number:03}.png",)
        more.append(row if unlabeled_labels is None else (*row, unlabeled_labels(number)))
    header = ("path",) if unlabeled_labels is None else ("path", "label")
    return listing(Path(root, "labeled.csv"), rows), listing(Path(root, "more.csv"), more, header)


def one_list(root, unlabeled_labels=lambda number: "", test_labels=CLASSES):
    """Pictures in one folder and one list of them all with a column ``split``; gives its path.

    ``unlabeled_labels`` gives the label that is written for the number of an unlabeled picture.
    """
    rows = [(f"all/l{number:03}.png", CLASSES[number % 3], "train") for number in range(18)]
    rows += [(f"all/u{number:03}.png", unlabeled_labels(number), "unlabeled") for number in range(24)]
    rows += [(f"all/t{number:03}.png", label, "test") for number, label in enumerate(test_labels)]
    for number, (path, _, _) in enumerate(rows):
        put(Path(root, path), encoded(number % 3, number))
    return listing(Path(root, "list.csv"), rows, ("path", "label", "split"))


def cells(count, start=0, labeled=True):
    """Rows of a table of two numbers and a category, with or without the label."""
    rows = []
    for number in range(start, start + count):
        draw = np.random.default_rng([7, number])
        kind = number % 2
        row = [f"{2 * kind + draw.normal(0, 0.3):.4f}", f"{draw.normal(10, 3):.3f}", ("red", "blue")[kind]]
        rows.append([*row, *((CLASSES[kind],) if labeled else ())])
    return rows


def table(path, rows, header=(*COLUMNS, "label")):
    """A table as CSV."""
    return listing(path, rows, header)


def tables(root, labeled=24, unlabeled=40):
    """``labeled.csv`` and ``unlabeled.csv`` of one form."""
    first = table(Path(root, "labeled.csv"), cells(labeled))
    return first, table(Path(root, "unlabeled.csv"), cells(unlabeled, 1000, labeled=False), COLUMNS)


def special(root):
    """A healthy folder with links out of it, a loop, a FIFO and a device."""
    root = folder(root)
    os.symlink("/etc/hostname", root / "train" / "cat" / "host.png")
    os.symlink("/etc", root / "train" / "dog" / "etc")
    os.symlink("..", root / "train" / "owl" / "up")
    os.symlink("loop.png", root / "unlabeled" / "loop.png")
    os.mkfifo(root / "train" / "cat" / "pipe.jpg")
    os.mkfifo(root / "unlabeled" / "pipe.png")
    with contextlib.suppress(PermissionError):  # only root can make a device
        os.mknod(root / "unlabeled" / "zero.png", 0o666 | stat.S_IFCHR, os.makedev(1, 5))
    return root


class Payload:
    """Runs a command when it is unpickled."""

    def __init__(self, canary):
        self.canary = os.fspath(canary)

    def __reduce__(self):
        return os.system, (f"touch '{self.canary}'",)


def payload(canary):
    """A pickle that touches ``canary`` when it is read."""
    return pickle.dumps(Payload(canary))


def payload_file(path, canary):
    """The payload in the wrapping that the file's ending promises."""
    content = payload(canary)
    ending = Path(path).suffix
    if ending == ".npz":
        buffer = io.BytesIO()
        arrays = {"x_train": np.zeros((4, 3), np.float32), "y_train": np.array([Payload(canary)] * 4, dtype=object)}
        np.savez(buffer, **arrays)
        content = buffer.getvalue()
    elif ending == ".pt":
        import torch

        buffer = io.BytesIO()
        torch.save({"model": Payload(canary)}, buffer)
        content = buffer.getvalue()
    return put(path, content)


def hostile(root):
    """Class folders and files of awkward names; gives the names of the files as bytes."""
    for kind, name in enumerate(CLASS_NAMES):
        for number in range(3):
            put(Path(root, "train", name, f"{number}.png"), encoded(kind, number))
            put(Path(root, "test", name, f"{number}.png"), encoded(kind, 1000 + number))
    for number, name in enumerate(FILE_NAMES):
        put(os.path.join(os.fsencode(root), b"unlabeled", name), encoded(number % 3, 2000 + number))
    return Path(root)


def mutated(content, draw, words=()):
    """A few random changes: bits, bytes, pieces cut out, doubled, moved or replaced by one of ``words``."""
    result = bytearray(content)
    for _ in range(int(draw.integers(1, 4))):
        place = int(draw.integers(0, len(result) + 1))
        size = int(draw.integers(1, 1 + max(1, len(result) // int(draw.choice([4, 20, 200])))))
        choice = int(draw.integers(0, 7))
        if choice == 0 and result:
            result[place % len(result)] ^= 1 << int(draw.integers(0, 8))
        elif choice == 1:
            del result[place : place + size]
        elif choice == 2:
            result[place:place] = result[place : place + size] * int(draw.integers(1, 4))
        elif choice == 3:
            result[place:place] = draw.bytes(int(draw.integers(1, 9)))
        elif choice == 4:
            del result[place:]
        elif choice == 5 and words:
            result[place : place + int(draw.integers(0, 9))] = words[int(draw.integers(0, len(words)))]
        else:
            result[place : place + size] = bytes(len(result[place : place + size]))
    return bytes(result)


def write(root):
    """One of everything."""
    root = Path(root)
    pictures.write(root / "pictures")
    folder(root / "folder")
    listed(root / "list")
    tables(root / "table")
    special(root / "special")
    hostile(root / "hostile")
    put(root / "payloads" / "about.json", json.dumps({"canary": str(root / "canary")}))
    for name in ("p.pt", "p.ckpt", "p.safetensors", "p.npz", "p.json"):
        payload_file(root / "payloads" / name, root / "canary")


if __name__ == "__main__":
    write(sys.argv[1])
