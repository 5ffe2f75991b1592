"""Pictures below a folder, in an order that is the same on every machine; links, devices and clutter stay out."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import AnyStr

from semilla.errors import DataError

SUFFIXES = frozenset({"jpg", "jpeg", "jpe", "jfif", "png", "webp", "bmp", "dib", "gif", "tif", "tiff"})
"""Endings of picture files, in any case, without the dot."""

UNREAD = frozenset(
    {
        *("heic", "heif", "avif", "jp2", "j2k", "jxl", "svg", "psd", "tga", "ppm", "pgm", "pnm"),
        *("raw", "cr2", "cr3", "nef", "arw", "dng", "orf", "rw2"),
    }
)
"""Endings of picture files that are not read."""

CONVERT = "convert them to JPEG or PNG"
"""What to do about such files."""

_SUFFIXES = frozenset(suffix.encode() for suffix in SUFFIXES)
CLUTTER = {b"thumbs.db", b"desktop.ini", b"__macosx"}  # what systems put beside pictures; other such files are hidden
_SHOWN, _FOLDERS = 5, 20


@dataclass(slots=True)
class Tally:
    """How many there are, and the first few by name, whatever order they come in."""

    count: int = 0
    names: list[str] = field(default_factory=list)

    def add(self, name: str) -> None:
        """Count one."""
        self.count += 1
        if len(self.names) < _SHOWN or os.fsencode(name) < os.fsencode(self.names[-1]):
            self.names = sorted([*self.names, name], key=os.fsencode)[:_SHOWN]

    def __bool__(self) -> bool:
        return self.count > 0

    def __str__(self) -> str:
        return ", ".join(map(repr, self.names)) + (", …" if self.count > len(self.names) else "")


class Walk:
    """The pictures below a folder: iterating yields their paths, relative to it, in byte order.

    A folder's entries are held while it is walked through, about 60 bytes each, and nothing else: millions of files
    are no problem, as long as they are not all in one folder. Hidden files are passed over. Links to files count where
    the target lies below the root; those to folders below the root do not, since the folder is walked through anyway.
    What is neither file, folder nor link is never opened.

    Args:
        root: an existing folder.
        follow_links: whether links that leave the root are followed. Each folder is entered once, so no loop closes.
        exclude: relative paths of folders and files to leave out.

    Attributes:
        folders: number of visible files of any kind below each folder of the first two levels.
        others: visible files that are no pictures.
        unread: number of pictures of formats that are not read, by folder, of the first two levels.
        outside, inside, broken, special: links and special files that were left out.
        followed: links that leave the root and were followed.
    """

    def __init__(self, root: str, follow_links: bool = False, exclude: Iterable[str] = ()) -> None:
        self.root, self.follow_links = root, follow_links
        self.folders: dict[str, int] = {}
        self.others, self.outside, self.inside = Tally(), Tally(), Tally()
        self.broken, self.special, self.followed = Tally(), Tally(), Tally()
        self.unread: Counter[str] = Counter()
        self._formats: set[str] = set()
        self._start = os.fsencode(root)
        self._real = os.path.realpath(self._start)
        self._exclude = {os.fsencode(path) for path in exclude}
        if os.path.isfile(os.path.join(root, "generate.json")):  # of `semilla generate`: a sheet of many lines
            self._exclude.add(b"preview.png")
        self._entered: set[tuple[int, int]] = set()

    def __iter__(self) -> Iterator[str]:
        stack = [(b"", self._entries(b""))]  # (relative path ending in "/", entries in falling order)
        while stack:
            prefix, entries = stack[-1]
            if not entries:
                stack.pop()
                continue
            path = prefix + entries.pop()
            if path.endswith(b"/"):
                stack.append((path, self._entries(path)))
            else:
                yield os.fsdecode(path)

    def notes(self) -> list[str]:
        """What was left out, a sentence each; complete once the iteration is."""
        fix = "follow them with --follow-links if you trust where they lead"
        reasons = [
            (self.outside, "warn[S010]: {} links that leave the folder are not followed: {}; " + fix),
            (self.followed, "{} links that leave the folder are followed: {}"),
            (self.inside, "{} links lead to folders that are counted where they lie: {}"),
            (self.broken, "{} links lead nowhere: {}"),
            (self.special, "{} pipes, sockets or devices are left out: {}"),
            (self.others, "{} files that are no pictures are left out: {}"),
        ]
        told = [text.format(f"{tally.count:,}", tally) for tally, text in reasons if tally]
        return told + ([f"warn[D059]: {self.unread_pictures()}; to use them, {CONVERT}"] if self.unread else [])

    def unread_pictures(self) -> str:
        """How many pictures are of formats that are not read, of which, and in which folders."""
        counts = [f"{folder or '.'!r} {count:,}" for folder, count in sorted(self.unread.items())[:_FOLDERS]]
        where = ", ".join(counts) + (", …" if len(self.unread) > _FOLDERS else "")
        kinds = ", ".join(f".{kind}" for kind in sorted(self._formats))
        return f"{self.unread.total():,} pictures are of a format that is not read ({kinds}): {where}"

    def _entries(self, prefix: bytes) -> list[bytes]:
        """Names of pictures, and of folders with "/" behind them, which also makes paths sort as whole texts do."""
        found: list[bytes] = []
        files = 0
        try:
            if self.follow_links and not self._enter(prefix):
                return found
            with os.scandir(os.path.join(self._start, prefix)) as entries:
                for entry in entries:
                    name = entry.name
                    if name[:1] == b"." or name.lower() in CLUTTER or prefix + name in self._exclude:
                        continue
                    kind = self._kind(entry, prefix + name)
                    if kind == "folder":
                        found.append(name + b"/")
                    elif kind == "file":
                        files += 1
                        if name.rpartition(b".")[2].lower() in _SUFFIXES:
                            found.append(name)
                        else:
                            self._pass_over(os.fsdecode(prefix + name))
        except OSError as error:
            where = os.fsdecode(os.path.join(self._start, prefix))
            message = f"folder {where!r} cannot be read: {error.strerror or error}"
            raise DataError("D006", message, "check its permissions") from error
        self._count(prefix, files)
        found.sort(reverse=True)
        return found

    def _pass_over(self, path: str) -> None:
        ending = path.rpartition(".")[2].lower()
        if ending not in UNREAD:
            self.others.add(path)
            return
        self.unread["/".join(path.split("/")[:-1][:2])] += 1
        self._formats.add(ending)

    def _kind(self, entry: os.DirEntry[bytes], path: bytes) -> str:
        if entry.is_file(follow_symlinks=False):  # known from the listing: no look at the file itself
            return "file"
        if entry.is_dir(follow_symlinks=False):
            return "folder"
        if entry.is_symlink():
            return self._link(os.path.realpath(entry.path), os.fsdecode(path))
        self.special.add(os.fsdecode(path))
        return ""

    def _link(self, target: bytes, path: str) -> str:
        try:
            mode = os.stat(target).st_mode
        except OSError:
            self.broken.add(path)
            return ""
        within = is_below(target, self._real)
        if stat.S_ISDIR(mode) and within:
            self.inside.add(path)
            return ""
        if not stat.S_ISDIR(mode) and not stat.S_ISREG(mode):
            self.special.add(path)
            return ""
        if not within:
            (self.followed if self.follow_links else self.outside).add(path)
            if not self.follow_links:
                return ""
        return "folder" if stat.S_ISDIR(mode) else "file"

    def _enter(self, prefix: bytes) -> bool:
        """Whether the folder was not entered before, by whatever way."""
        found = os.stat(os.path.join(self._start, prefix))
        identity = found.st_dev, found.st_ino
        new = identity not in self._entered
        self._entered.add(identity)
        return new

    def _count(self, prefix: bytes, files: int) -> None:
        names = os.fsdecode(prefix).split("/")[:-1]
        for depth in range(1, min(2, len(names)) + 1):
            folder = "/".join(names[:depth])
            self.folders[folder] = self.folders.get(folder, 0) + files


def list_pictures(
    paths: Iterable[str], follow_links: bool = False, tell: Callable[[str], object] | None = None
) -> Iterator[tuple[str, str]]:
    """The pictures that some paths stand for, one by one: files by themselves, folders with all below them.

    Args:
        paths: files and folders; a file that is named counts, whatever it is called.
        follow_links: whether links that leave a folder are followed.
        tell: called with each note on what was left out, after the folder it is about.

    Yields:
        (root, path): a folder that was given, or a file's, and the path below it, with "/".

    Raises:
        DataError: D001, no such path; D003, neither a file nor a folder; D006, a folder that cannot be read.
    """
    for path in paths:
        if kind_of(path) == "file":
            yield os.path.split(path)
            continue
        walk = Walk(path, follow_links)
        for below in walk:
            yield path, below
        if tell is not None:
            for note in walk.notes():
                tell(f"{path}: {note}")


def kind_of(path: str) -> str:
    """``file`` or ``folder``; a link counts as what it leads to.

    Raises:
        DataError: D001, there is no such path; D003, it is a pipe, a socket or a device; D006, it cannot be looked at.
    """
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:
        raise DataError("D001", f"no file or folder {path!r}", "check the path") from error
    except OSError as error:
        raise DataError("D006", f"{path!r} cannot be read: {error.strerror}", "check its permissions") from error
    if stat.S_ISDIR(mode):
        return "folder"
    if stat.S_ISREG(mode):
        return "file"
    raise DataError("D003", f"{path!r} is a pipe, a socket or a device", "give a file or a folder")


def check_file(root: str, path: str, follow_links: bool, real: dict[str, str]) -> str:
    """Why a path below a folder cannot be read as a file there, or "".

    Args:
        root: the folder.
        path: below it, without ``..``.
        follow_links: whether it may leave the folder through a link.
        real: what links lead to, by folder; filled here, so that many files of one folder cost one look each.
    """
    folder, _, name = path.rpartition("/")
    try:
        for key in ("", folder):
            if key not in real:
                real[key] = os.path.realpath(os.path.join(root, key)).rstrip("/")
        place = real[folder] + "/" + name
        mode = os.lstat(place).st_mode
        if stat.S_ISLNK(mode):
            place = os.path.realpath(place)
            mode = os.stat(place).st_mode
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and not isinstance(error, FileNotFoundError | NotADirectoryError):
            return f"it cannot be read ({error.strerror})"
        return "no such file"  # or no possible name: ValueError
    if not follow_links and not is_below(place, real[""]):
        return "it leaves the folder through a link"
    return "" if stat.S_ISREG(mode) else "not a regular file"


def is_below(path: AnyStr, folder: AnyStr) -> bool:
    """Whether a real path is a real folder or lies below it."""
    separator = b"/" if isinstance(folder, bytes) else "/"
    return path == folder or path.startswith(folder.rstrip(separator) + separator)
