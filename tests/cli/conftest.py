"""Calling the command line inside the test process, and one finished run to ask things of."""

from __future__ import annotations

import contextlib
import io
import json
import sys
from typing import NamedTuple

import numpy as np
import pytest

from semilla.cli import main

SHORT = {"width": 4, "labeled_batch": 12, "unlabeled_batch": 8, "threads": 1, "log_every": 5, "evaluate_every": 6}


class Called(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str

    def json(self):
        """Its one JSON object on stdout."""
        assert self.out.endswith("\n")
        assert self.out.count("\n") == 1, self.out
        return json.loads(self.out, parse_constant=lambda text: pytest.fail(f"{text} is not JSON"))


def short_train(data, out, *more, method="uda", steps=12, labels=40):
    """The words of a training of a fraction of a second."""
    words = ["train", str(data), "--method", method, "--steps", str(steps), "--device", "cpu", "--precision", "fp32"]
    words += ["--recipe", "none", "--out", str(out), *(["--labels", str(labels)] if labels else [])]
    for key, value in SHORT.items():
        words += ["--set", f"{key}={value}"]
    return [*words, *map(str, more)]


def invoke(words):
    """Run a command in this process."""
    out, err = io.StringIO(), io.StringIO()
    argv, sys.argv = sys.argv, ["semilla", *map(str, words)]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as stop:
            main()
    finally:
        sys.argv = argv
    return Called(int(stop.value.code or 0), out.getvalue(), err.getvalue())


@pytest.fixture
def call():
    """``call("train", "digits", …)``: exit code, stdout, stderr."""
    return lambda *words: invoke(words)


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A finished run on digits and what its training printed."""
    run = tmp_path_factory.mktemp("finished") / "run"
    return run, invoke(short_train("digits", run))


@pytest.fixture
def save_arrays(tmp_path):
    """Write an ``.npz`` file of two kinds of pictures: dark ones and bright ones."""

    def write(name="mine.npz", classes=("dark", "bright"), test=True, **more):
        draw = np.random.default_rng(0)

        def part(count):
            labels = np.arange(count) % 2
            pixels = draw.integers(0, 100, (count, 8, 8)) + 150 * labels[:, None, None]
            return pixels.astype(np.uint8), np.array(classes)[labels]

        x, y = part(60)
        arrays = {"x_train": x, "y_train": y}
        if test:
            arrays |= dict(zip(("x_test", "y_test"), part(30), strict=True))
        path = tmp_path / name
        np.savez(path, **{**arrays, **more})
        return path

    return write
