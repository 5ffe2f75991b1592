"""What the command line does with what no command foresees: a full disk, a closed pipe, SIGTERM, a forbidden place."""

import errno
import os
import signal
import subprocess
import sys
import time

import pytest

from semilla.cli import main


def raised(monkeypatch, error):
    def command(*_, **__):
        raise error

    monkeypatch.setattr("semilla.cli.cli.main", command)


@pytest.mark.parametrize(
    ("number", "code", "said"),
    [
        (errno.ENOSPC, 6, "R001"),
        (errno.EIO, 6, "R001"),
        (errno.ENOENT, 2, "U014"),
        (errno.EACCES, 2, "U014"),
        (errno.EROFS, 2, "U014"),
    ],
)
def test_what_the_system_refuses_is_no_bug(monkeypatch, capsys, number, code, said):
    raised(monkeypatch, OSError(number, os.strerror(number), "some/where\n"))
    with pytest.raises(SystemExit) as stop:
        main(["doctor"])
    assert stop.value.code == code
    err = capsys.readouterr().err
    assert f"error[{said}]" in err
    assert r"'some/where\n'" in err
    assert "bug" not in err


def semilla(*words, **more):
    return subprocess.Popen([sys.executable, "-m", "semilla", *words], text=True, stderr=subprocess.PIPE, **more)


def test_a_reader_that_has_enough_is_no_error():
    process = semilla("methods", "mixmatch", stdout=subprocess.PIPE)
    process.stdout.close()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert err == ""


def test_sigterm_ends_a_check_in_words_and_leaves_nothing_half_made(tmp_path):
    from PIL import Image

    folder = tmp_path / "pictures" / "a"
    folder.mkdir(parents=True)
    Image.effect_noise((1200, 1200), 60).save(folder / "0.png")
    for number in range(1, 400):
        os.link(folder / "0.png", folder / f"{number}.png")
    cache = tmp_path / "cache"
    process = semilla(
        "check", "pictures", stdout=subprocess.PIPE, cwd=tmp_path, env={**os.environ, "SEMILLA_CACHE": str(cache)}
    )
    deadline = time.monotonic() + 60
    while not list(cache.glob("pixels/.tmp-*")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 143, err
    assert "stopped by signal 15" in err
    assert not list(cache.glob("pixels/.tmp-*"))


def test_sigterm_is_told_as_such_whatever_it_broke_into(monkeypatch, capsys):
    """Python's code for threads turns an exception that arrives in the middle of a start into a KeyError."""

    def command(*_, **__):
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5)
        except Exception:  # as Python's own code does, which does not know what arrived
            raise KeyError("a thread that is not there") from None

    monkeypatch.setattr("semilla.cli.cli.main", command)
    with pytest.raises(SystemExit) as stop:
        main(["doctor"])
    assert stop.value.code == 143
    err = capsys.readouterr().err
    assert "stopped by signal 15" in err
    assert "bug" not in err
