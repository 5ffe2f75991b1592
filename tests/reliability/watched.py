"""A place in which each command is watched.

Whatever a command does, it may end only with a documented exit code and without a traceback, write only what it was
asked to write and into its cache, leave the data as they were to the nanosecond, run no payload and open no connection.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
import os
import re
import shutil
import socket
import stat
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import pytest

from semilla.cli import main

ROOT = Path(__file__).parents[2]
_SECTION = (ROOT / "docs" / "errors.md").read_text().split("## Exit codes")[1].split("\n## ")[0]
EXIT_CODES = {int(code) for code in re.findall(r"^\| (\d+) \|", _SECTION, re.MULTILINE)}

TINY = ["--steps", "4", "--device", "cpu", "--precision", "fp32", "--recipe", "none"]
for _setting in ("width=8", "threads=1", "labeled_batch=8", "unlabeled_batch=8", "save_every=2", "evaluate_every=4"):
    TINY += ["--set", _setting]


class Called(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str

    def said(self, *words):
        """Check that each of the words was printed."""
        for word in words:
            assert str(word) in self.out + self.err, f"{word!r} is not in\n{self.out}{self.err}"
        return self


def invoke(words):
    """Run a command in this process."""
    out, err = io.StringIO(), io.StringIO()
    argv, sys.argv = sys.argv, ["semilla", *map(str, words)]
    log = logging.StreamHandler(err)  # what the console shows of a log where nobody else listens
    logging.getLogger("semilla").addHandler(log)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as stop:
            main()
    finally:
        sys.argv = argv
        logging.getLogger("semilla").removeHandler(log)
    return Called(int(stop.value.code or 0), out.getvalue(), err.getvalue())


def snapshot(root):
    """Everything below a folder: kind, size, time, and content or target, by name in bytes."""
    found = {}
    for folder, folders, files in os.walk(os.fsencode(root)):
        for name in [*folders, *files]:
            path = os.path.join(folder, name)
            about = os.lstat(path)
            what = b""
            if stat.S_ISLNK(about.st_mode):
                what = os.readlink(path)
            elif stat.S_ISREG(about.st_mode):
                with open(path, "rb") as file:
                    what = hashlib.file_digest(file, "sha256").digest()
            size = 0 if stat.S_ISDIR(about.st_mode) else about.st_size
            found[path] = (about.st_mode, size, about.st_mtime_ns, what)
    return found


class Place:
    """Folders for data, work, home, temporary files and cache, and the commands that are run there.

    A command may write only below ``cache`` and, in ``work``, to names that begin with ``out``.
    """

    def __init__(self, root, environment):
        self.root = Path(root)
        self.data, self.work, self.cache = (self.root / name for name in ("data", "work", "cache"))
        self.canary = self.root / "canary"
        for name in ("data", "work", "cache", "home", "tmp"):
            (self.root / name).mkdir()
        for name in ("SEMILLA_DATA", "SEMILLA_CACHE_LIMIT", "SEMILLA_FAULT", "XDG_CACHE_HOME"):
            environment.delenv(name, raising=False)
        environment.setenv("SEMILLA_CACHE", str(self.cache))
        environment.setenv("HOME", str(self.root / "home"))
        environment.setenv("TMPDIR", str(self.root / "tmp"))
        environment.setattr(tempfile, "tempdir", None)
        environment.setattr(socket.socket, "connect", _no_connection)
        environment.setattr(
            "semilla.runs.step_seconds", lambda *_, **__: 0.0, raising=False
        )  # half a second for each fit
        environment.chdir(self.work)

    def call(self, *words, code=0, says=()):
        """Run a command, watch it, and check its exit code and words."""
        before = snapshot(self.root)
        called = invoke(words)
        text = called.out + called.err
        assert called.code == code, f"exit code {called.code}, not {code}:\n{text}"
        assert called.code in EXIT_CODES
        assert "Traceback" not in text
        assert not self.canary.exists(), "a payload was run"
        old, new = self._elsewhere(before), self._elsewhere(snapshot(self.root))
        changed = sorted(path for path in old.keys() | new.keys() if old.get(path) != new.get(path))
        assert not changed, f"something else was written or changed: {changed}"
        if code:
            told = called.out if words[0] == "check" and "--strict" in words else called.err  # findings are its result
            assert re.search(r"^(error\[|Error:|Usage:)", told, re.MULTILINE), text
        return called.said(*says)

    def train(self, data, *more, code=0, says=(), out="out", baseline=False):
        """A training of a fraction of a second."""
        words = ["train", data, *TINY, "--out", out, *([] if baseline else ["--no-baseline"]), *more]
        return self.call(*words, code=code, says=says)

    def run(self, name="out"):
        """A run folder by name."""
        return self.work / name

    def _elsewhere(self, found):
        own = [os.fsencode(self.cache), os.path.join(os.fsencode(self.work), b"out")]
        own.append(os.fsencode(self.root / "tmp" / "torchinductor_"))  # empty; PyTorch makes it when it is imported
        unstable = {os.fsencode(path) for path in (self.work, self.root, self.root / "tmp")}  # their times
        return {path: what for path, what in found.items() if path not in unstable and not path.startswith(tuple(own))}


def _no_connection(*arguments):
    raise AssertionError(f"a connection was opened: {arguments[1:]}")


def weights(run, fit="fixmatch-0"):
    """The tensors of a finished fit as bytes, by name."""
    from safetensors.numpy import load_file

    return {name: array.tobytes() for name, array in load_file(Path(run) / "fits" / fit / "model.safetensors").items()}


def copied(model, place):
    """A place with data, cache and runs of another."""
    for name in ("data", "cache", "work"):
        shutil.copytree(model.root / name, place.root / name, dirs_exist_ok=True)
    return place
