"""Progress: a bar on a terminal, a plain line now and then elsewhere, nothing where nobody looks."""

from __future__ import annotations

import io

import pytest

from semilla.data import progress
from semilla.data.progress import Bar, in_words


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test moves."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_without_a_terminal_there_is_a_line_every_ten_seconds(clock):
    stream = io.StringIO()
    with Bar("reading pets", 5000, "pictures", stream, done=1000) as bar:
        for _ in range(30):
            clock[0] += 1
            bar.update(100, "cats")
    lines = stream.getvalue().splitlines()
    assert lines == [
        "reading pets: 2,000 of 5,000 pictures, 30 s left  cats",
        "reading pets: 3,000 of 5,000 pictures, 20 s left  cats",
        "reading pets: 4,000 of 5,000 pictures, 10 s left  cats",
    ]
    assert "\r" not in stream.getvalue()


def test_what_is_soon_done_says_nothing(clock):
    stream = io.StringIO()
    with Bar("reading pets", 50, "pictures", stream) as bar:
        for _ in range(50):
            clock[0] += 0.19
            bar.update()
    assert stream.getvalue() == ""


def test_an_unknown_total_promises_no_end(clock):
    stream = io.StringIO()
    bar = Bar("predicting", None, "files", stream)
    clock[0] += 11
    bar.update(7)
    assert stream.getvalue() == "predicting: 7 files\n"


def test_more_than_was_counted_leaves_no_time(clock):
    stream = io.StringIO()
    bar = Bar("predicting", 5, "files", stream)
    clock[0] += 11
    bar.update(7)
    assert stream.getvalue() == "predicting: 7 of 5 files, 0 s left\n"


def test_a_terminal_has_a_bar_with_the_time_left():
    stream = Terminal()
    with Bar("reading pets", 8, "pictures", stream, done=4) as bar:
        bar.update(2, "cats")
        bar._bar.refresh()
    assert "reading pets:  75%" in stream.getvalue()
    assert "6/8 [00:00<00:00" in stream.getvalue()
    assert "cats" in stream.getvalue()


def test_nobody_who_looks():
    with Bar("reading", 8, "pictures", None) as bar:
        bar.update(3)
    assert bar.done == 3


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.4, "0 s"), (89, "89 s"), (91, "2 min"), (5399, "90 min"), (9000, "2.5 h")]
)
def test_times_in_words(seconds, words):
    assert in_words(seconds) == words
