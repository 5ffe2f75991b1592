"""Files that survive a crash: the order of operations, faults at each of them, strict JSON, the lock."""

import errno
import json
import os
import signal
import subprocess
import sys
from contextlib import nullcontext

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semilla import files
from semilla.errors import ResourceError, StateError, UsageError

OPERATIONS = ("create", "write", "fsync", "fsync_dir", "mkdir", "rename", "unlink", "rmdir")


class Meddler(files.Disk):
    """Counts the disk operations by name, makes one fail, or lets writes take a few bytes only."""

    def __init__(self, fail_at=None, code=errno.ENOSPC, most=None):
        self.seen, self.fail_at, self.code, self.most = [], fail_at, code, most

    def __getattribute__(self, name):
        if name in OPERATIONS:
            self.seen.append(name)
            if self.fail_at == len(self.seen):
                raise OSError(self.code, os.strerror(self.code))
        return super().__getattribute__(name)

    def write(self, descriptor, data):
        return super().write(descriptor, data[: self.most])


def run_python(code, *arguments, fault=""):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "SEMILLA_FAULT": fault}
    return subprocess.run([sys.executable, "-c", code, *arguments], env=environment, capture_output=True, text=True)


def test_importing_files_does_not_import_torch():
    assert run_python("import sys, semilla.files; print('torch' in sys.modules)").stdout == "False\n"


# Writing


def test_write_atomic_flushes_the_file_before_the_rename_and_the_folder_after_it(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "disk", disk := Meddler())
    files.write_atomic(tmp_path / "run.json", b"new")
    assert disk.seen == ["create", "write", "fsync", "rename", "fsync_dir"]
    assert (tmp_path / "run.json").read_bytes() == b"new"
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EMFILE])
def test_a_failing_disk_leaves_the_old_or_the_new_file_and_no_temporary_one(tmp_path, monkeypatch, code):
    path = tmp_path / "run.json"
    for index in range(1, 7):
        path.write_bytes(b"old")
        monkeypatch.setattr(files, "disk", disk := Meddler(index, code))
        fails = pytest.raises(ResourceError, match=r"(?s)R001.* MB free in ") if index <= 5 else nullcontext()
        with fails:
            files.write_atomic(path, b"new")
        assert path.read_bytes() == (b"old" if index <= 4 else b"new")
        assert [entry.name for entry in tmp_path.iterdir()] == ["run.json"]
    assert len(disk.seen) == 5


def test_other_errors_are_not_taken_for_a_full_disk(tmp_path):
    with pytest.raises(FileNotFoundError):
        files.write_atomic(tmp_path / "absent" / "run.json", b"")


@given(data=st.binary(max_size=50), most=st.integers(1, 7))
def test_short_writes_are_continued(tmp_path_factory, data, most):
    path = tmp_path_factory.getbasetemp() / "short"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "disk", Meddler(most=most))
        files.write_atomic(path, data)
    assert path.read_bytes() == data


def test_a_link_at_the_destination_is_replaced_and_its_target_untouched(tmp_path):
    (tmp_path / "elsewhere").write_bytes(b"mine")
    (tmp_path / "run.json").symlink_to(tmp_path / "elsewhere")
    files.write_atomic(tmp_path / "run.json", b"new")
    assert (tmp_path / "elsewhere").read_bytes() == b"mine"
    assert not (tmp_path / "run.json").is_symlink()


def test_a_link_planted_at_the_temporary_name_is_not_followed(tmp_path):
    (tmp_path / "elsewhere").write_bytes(b"mine")
    (tmp_path / f".tmp-{os.getpid()}-run.json").symlink_to(tmp_path / "elsewhere")
    files.write_atomic(tmp_path / "run.json", b"new")
    assert (tmp_path / "elsewhere").read_bytes() == b"mine"
    (tmp_path / "link").symlink_to(tmp_path / "dangling")
    with pytest.raises(FileExistsError):
        files.write_new(tmp_path / "link", b"new")
    assert not (tmp_path / "dangling").exists()


def test_what_dead_processes_left_is_removed_and_the_rest_kept(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    (tmp_path / f".tmp-{dead.pid}-folder").mkdir()
    (tmp_path / f".tmp-{dead.pid}-folder" / "part").touch()
    (tmp_path / f".tmp-{dead.pid}-run.json").touch()
    (tmp_path / f".tmp-{os.getpid()}-run.json").touch()
    (tmp_path / f".tmp-{dead.pid}-link").symlink_to(tmp_path / "kept")
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").touch()
    alive = {f".tmp-{os.getppid()}-run.json", ".tmp-mine"}
    for name in alive:
        (tmp_path / name).touch()
    files.remove_stale(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == alive | {"kept"}
    assert (tmp_path / "kept" / "file").exists()


def test_make_folder_flushes_every_parent_it_adds_to(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "disk", disk := Meddler())
    files.make_folder(tmp_path / "run" / "checkpoints")
    files.make_folder(tmp_path / "run")
    assert disk.seen == ["mkdir", "fsync_dir", "mkdir", "fsync_dir"]


# JSON

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(), children, max_size=4),
    max_leaves=12,
)


@settings(deadline=None)
@given(value=VALUES)
def test_json_round_trip_is_exact(tmp_path_factory, value):
    path = tmp_path_factory.getbasetemp() / "value.json"
    files.write_json(path, value)
    assert repr(files.read_json(path)) == repr(_sorted(value))  # repr tells −0.0 from 0.0 and 1 from True
    json.loads(path.read_text(encoding="utf-8"), parse_constant=pytest.fail)


def _sorted(value):
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return [_sorted(item) for item in value] if isinstance(value, list) else value


def test_equal_values_give_equal_bytes():
    assert (
        files.to_json({"b": [1], "a": "é"})
        == files.to_json({"a": "é", "b": [1]})
        == '{\n "a": "é",\n "b": [\n  1\n ]\n}\n'.encode()
    )


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (float("nan"), ValueError),
        ({"x": [float("inf")]}, ValueError),
        ("\ud800", ValueError),
        ({1: "one"}, TypeError),
        ({"a": {None: 0}}, TypeError),
        ([b"bytes"], TypeError),
    ],
)
def test_what_json_cannot_hold_is_refused_before_anything_is_written(tmp_path, value, error):
    with pytest.raises(error):
        files.write_json(tmp_path / "value.json", value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "text",
    [
        b'{"a": 1, "a": 1}',
        b'[{"b": {"a": 1, "a": 2}}]',
        b"NaN",
        b'{"a": -Infinity}',
        b"[1e999]",
        b'{"a": 1',
        b"",
        b'"\xff"',
        b'["\\ud800"]',
        b'{"\\uDFFF": 1}',
        b"[" * 100_000,
        b"1" * 5000,
        b"\x00" * 40,
        b"\xef\xbb\xbf{}",
    ],
)
def test_json_that_is_not_strict_is_refused(tmp_path, text):
    path = tmp_path / "value.json"
    path.write_bytes(text)
    with pytest.raises(StateError, match=r"value\.json") as caught:
        files.read_json(path)
    assert caught.value.code == "C005"
    assert len(str(caught.value)) < 400


def test_a_pair_of_surrogates_is_a_character(tmp_path):
    (tmp_path / "value.json").write_bytes(b'"\\ud83c\\udf31"')
    assert files.read_json(tmp_path / "value.json") == "\N{SEEDLING}"


def test_json_depth_and_size_limits_are_the_same_for_both_directions(tmp_path):
    path = tmp_path / "value.json"
    deepest = json.loads("[" * 50 + "]" * 50)
    files.write_json(path, deepest)
    assert files.read_json(path) == deepest
    with pytest.raises(ValueError, match="50 deep"):
        files.write_json(path, [deepest])
    path.write_bytes(b"[" * 51 + b"]" * 51)
    with pytest.raises(StateError, match="50 deep"):
        files.read_json(path)
    path.write_bytes(b"[1234]")
    assert files.read_json(path, limit=6) == [1234]
    with pytest.raises(StateError, match="6 bytes"):
        files.read_json(path, limit=5)


def test_only_regular_files_are_read(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "real").write_bytes(b"[]")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    for name in ("fifo", "link", "absent", ".", "real/below"):
        with pytest.raises(StateError) as caught:
            files.read_json(tmp_path / name)
        assert caught.value.code == "C005"


@pytest.mark.parametrize("code", [errno.EACCES, errno.EMFILE])
def test_a_file_that_cannot_be_opened_is_not_taken_for_a_damaged_one(tmp_path, monkeypatch, code):
    def refuse(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(files.os, "open", refuse)
    with pytest.raises(ResourceError, match="R002"):
        files.read_json(tmp_path / "value.json")


# Lock

HOLD = """
import sys
from pathlib import Path
from semilla import files
with files.lock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_one_process_at_a_time_holds_a_folder(tmp_path):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "env": environment}
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], **pipes) as holder:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(StateError, match="in use") as caught, files.lock(tmp_path):
            pytest.fail("two processes hold the folder")
        assert (caught.value.code, caught.value.exit_code) == ("C004", 4)
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    with files.lock(tmp_path), pytest.raises(StateError), files.lock(tmp_path):  # the system released the first
        pytest.fail("the folder is held twice")
    with files.lock(tmp_path):
        pass


OUTLIVE = """
import os, signal, sys, time
from pathlib import Path
from semilla import files
with files.lock(Path(sys.argv[1])):
    worker = os.fork()
    if not worker:
        time.sleep(60)
try:
    with files.lock(Path(sys.argv[1])):
        print("held again")
finally:
    os.kill(worker, signal.SIGKILL)
"""


def test_a_worker_that_outlives_the_run_does_not_keep_the_folder(tmp_path):
    assert run_python(OUTLIVE, str(tmp_path)).stdout == "held again\n"


def test_a_link_in_place_of_the_lock_is_refused(tmp_path):
    (tmp_path / ".lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="links"), files.lock(tmp_path):
        pytest.fail("the link was followed")
    assert not (tmp_path / "elsewhere").exists()


# Faults

REACH = """
import sys
from pathlib import Path
from semilla import files
for n in range(3):
    files.fault("metrics.append")
    files.write_json(Path(sys.argv[1]) / "run.json", n)
    print(n, flush=True)
"""


def test_faults_are_inert_unless_ordered(tmp_path):
    done = run_python(REACH, str(tmp_path))
    assert (done.returncode, done.stdout, done.stderr) == (0, "0\n1\n2\n", "")


@pytest.mark.parametrize(
    ("order", "code", "printed"),
    [
        ("metrics.append:2:kill", -signal.SIGKILL, "0\n"),
        ("run.json:3:kill", -signal.SIGKILL, "0\n1\n"),
        ("other:1:kill, metrics.append:3:raise", 1, "0\n1\n"),
    ],
)
def test_ordered_faults_strike_at_their_time_with_one_warning(tmp_path, order, code, printed):
    done = run_python(REACH, str(tmp_path), fault=order)
    assert (done.returncode, done.stdout) == (code, printed)
    assert done.stderr.count("warning: faults are ordered") == 1
    assert files.read_json(tmp_path / "run.json") == printed.count("\n") - 1


def test_full_disk_and_sleep_faults(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SEMILLA_FAULT", "run.json:1:enospc,run.json:2:sleep")
    slept = []
    monkeypatch.setattr(files.time, "sleep", slept.append)
    with pytest.raises(ResourceError, match=r"cannot write run\.json \(No space left"):
        files.write_json(tmp_path / "run.json", 1)
    assert not list(tmp_path.iterdir())
    files.write_json(tmp_path / "run.json", 2)
    assert slept == [5.0]
    assert capsys.readouterr().err.count("warning") == 1


@pytest.mark.parametrize("order", ["rename", "rename:0:kill", "rename:1:explode", "rename:1:kill,,", "a b:1:kill"])
def test_an_order_that_cannot_be_understood_is_a_usage_error(monkeypatch, order):
    monkeypatch.setenv("SEMILLA_FAULT", order)
    with pytest.raises(UsageError, match="SEMILLA_FAULT"):
        files.fault("anywhere")


def test_a_folder_that_another_process_makes_at_the_same_moment_is_taken_as_it_is(tmp_path, monkeypatch):
    whole, made = files.disk.mkdir, []

    def beaten(path):
        whole(path)
        made.append(path)
        whole(path)  # the other was there first

    monkeypatch.setattr(files.disk, "mkdir", beaten)
    files.make_folder(tmp_path / "run" / "fits")
    assert made == [tmp_path / "run", tmp_path / "run" / "fits"]
    monkeypatch.undo()
    (tmp_path / "file").write_text("")
    with pytest.raises(FileExistsError):
        files.make_folder(tmp_path / "file")
