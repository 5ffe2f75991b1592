"""The scan: what it finds, what it remembers, and that every way of decoding gives the same."""

import hashlib
import io
import os
import shutil
import subprocess
import sys
import threading
import time

import numpy as np
import pictures
import pytest

from semilla.data import decoding, store
from semilla.data import scan as scanning
from semilla.data.blobs import Files, InMemory
from semilla.data.decoding import StreamingPool, Workers, decode
from semilla.data.images import Form, read_picture
from semilla.data.scan import scan
from semilla.errors import DataError, ResourceError, UsageError

FORM = Form(3, 16, 20)
NAMES = [*pictures.GOOD, *pictures.BAD]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("awkward")
    for name in NAMES:
        (root / name).write_bytes(pictures.make(name))
    return root


@pytest.fixture
def own(folder, tmp_path):
    """A copy that a test may change; its files look an hour old, for a stamp of just now is not trusted."""
    shutil.copytree(folder, tmp_path / "own")
    for path in (tmp_path / "own").iterdir():
        os.utime(path, (time.time() - 3600,) * 2)
    return tmp_path / "own"


@pytest.fixture
def decoded(monkeypatch):
    """The rows that were decoded, in the process of the test."""
    rows = []

    def record(blobs, group, *rest):
        rows.extend(group.tolist())
        return decode(blobs, group, *rest)

    monkeypatch.setattr(decoding, "decode", record)
    return rows


def files(root, names=NAMES):
    return Files.below(root, names)


def small(count, seed=0):
    rng = np.random.default_rng(seed)
    return [pictures.encode(image, "PNG") for image in rng.integers(0, 256, (count, 8, 9, 3), np.uint8)]


def assert_same(one, other):
    assert (one.form, one.facts, one.problems, one.digests) == (other.form, other.facts, other.problems, other.digests)
    np.testing.assert_array_equal(one.sizes, other.sizes)
    np.testing.assert_array_equal(one.hashes, other.hashes)
    np.testing.assert_array_equal(one.pixels[:], other.pixels[:])
    np.testing.assert_array_equal(one.pixels.sums, other.pixels.sums)
    np.testing.assert_array_equal(one.pixels.digests, other.pixels.digests)


# What it finds


def test_all_problems_are_found_at_once(folder):
    found = scan(files(folder), "awkward", FORM)
    wrong = {NAMES[row]: reason for row, reason in found.problems.items()}
    assert list(wrong) == list(pictures.BAD)
    for name, reason in wrong.items():
        assert pictures.BAD[name][1] in reason
    for row, name in enumerate(NAMES):
        assert (found.facts[row] is None) == (name in wrong)
        assert found.sizes[row] == len(pictures.make(name))
        if name in pictures.GOOD:
            np.testing.assert_array_equal(found.pixels[np.array([row])][0], read_picture(pictures.make(name), FORM)[0])
        else:
            assert not found.pixels[row : row + 1].any()
            assert found.hashes[row] == 0


def test_digests_sums_and_hashes_by_their_definitions(folder):
    found = scan(files(folder), "awkward", FORM)
    assert found.digests == tuple(hashlib.sha256(pictures.make(name)).hexdigest() for name in NAMES)
    pixels = found.pixels[:].astype(int).reshape(len(NAMES), 3, -1)
    np.testing.assert_array_equal(found.pixels.sums, np.stack([pixels.sum(2), (pixels**2).sum(2)], axis=2))
    np.testing.assert_array_equal(found.pixels.digests, store.pixel_digests(found.pixels[:]))
    plain, same = NAMES.index("plain.png"), NAMES.index("plain.webp")
    assert found.hashes[plain] == found.hashes[same]
    assert (found.pixels.digests[plain] == found.pixels.digests[same]).all()


def test_files_that_cannot_be_opened(own, tmp_path):
    os.mkfifo(own / "pipe.jpg")
    (own / "out.png").symlink_to("/etc/hostname")
    (own / "loop.png").symlink_to("loop.png")
    (own / "inside.png").symlink_to("plain.png")
    (own / "folder.png").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.png").write_bytes(pictures.make("plain.png"))
    (own / "linked").symlink_to(tmp_path / "elsewhere")
    names = [
        "pipe.jpg",
        "out.png",
        "loop.png",
        "inside.png",
        "folder.png",
        "linked/a.png",
        "../elsewhere/a.png",
        "no.png",
    ]
    start = time.monotonic()
    found = scan(files(own, names), "links", FORM)
    assert time.monotonic() - start < 5
    assert {names[row]: reason for row, reason in found.problems.items()} == {
        "pipe.jpg": "is not a regular file",
        "out.png": "is a link out of the data folder",
        "loop.png": "is a link out of the data folder",
        "folder.png": "is not a regular file",
        "linked/a.png": "leads out of the data folder",
        "../elsewhere/a.png": "leads out of the data folder",
        "no.png": "cannot be read: No such file or directory",
    }
    assert [bool(digest) for digest in found.digests] == [name == "inside.png" for name in names]


def test_a_file_larger_than_is_read(own, monkeypatch):
    from semilla.data import blobs

    monkeypatch.setattr(blobs, "MAX_BYTES", 1000)
    assert scan(files(own, ["plain.bmp"]), "large", FORM).problems[0].endswith("bytes exceed the limit of 1,000")


def test_strange_names(tmp_path):
    names = ["caf\udce9.png", "🌱.png", "-dash.png", "a b.png", "'\".png", "x" * 251 + ".png", "line\nbreak.png"]
    for number, name in enumerate(names):
        path = os.path.join(os.fsencode(tmp_path), os.fsencode(name))
        with open(path, "wb") as file:
            file.write(small(7)[number])
    cold = scan(files(tmp_path, names), "caf\udce9 🌱", FORM)
    assert cold.problems == {}
    assert_same(scan(files(tmp_path, names), "caf\udce9 🌱", FORM), cold)


def test_nothing_at_all():
    found = scan(InMemory([]), "nothing")
    assert (found.pixels.shape, found.digests, found.problems) == ((0, 3, 32, 32), (), {})


def test_nothing_of_the_users_is_changed(own):
    def state():
        return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in own.iterdir()}

    before = state()
    scan(files(own), "awkward")
    assert state() == before


# The form


@pytest.mark.parametrize(
    ("sizes", "form"),
    [
        ([(12, 10)] * 5, Form(3, 12, 10)),
        ([(12, 10)] * 4 + [(10, 12)], Form(3, 10, 10)),
        ([(5, 70)], Form(3, 8, 8)),
        ([(100, 300), (20, 30), (40, 50)], Form(3, 40, 40)),
        ([(500, 500)], Form(3, 64, 64)),
        ([(1, 1)], Form(3, 8, 8)),
    ],
)
def test_the_form_by_the_sizes(sizes, form):
    blobs = InMemory([pictures.encode(np.full((*size, 3), 9, np.uint8), "PNG") for size in sizes])
    assert scan(blobs, "sizes").form == form


def test_a_turned_picture_counts_as_it_is_seen():
    blobs = InMemory([pictures.make(f"turned{number}.jpg") for number in range(1, 9)])
    assert scan(blobs, "turned").form == Form(3, 24, 32)


def test_grey_stays_grey_until_a_color_is_met(own_cache, monkeypatch):
    grey = [pictures.make(name) for name in ("grey.png", "bilevel.png", "grey_alpha.png")]
    assert scan(InMemory(grey), "grey").form == Form(1, 24, 32)
    monkeypatch.setattr(scanning, "_SAMPLE", 3)
    mixed = InMemory([*grey, pictures.make("plain.png"), *grey * 3])
    found = scan(mixed, "mixed")
    assert found.form == Form(3, 24, 32)
    assert_same(scan(mixed, "mixed"), found)  # remembered, not chosen anew
    assert not [path for path in (own_cache / "pixels").iterdir() if path.name.startswith(".tmp")]


def test_nothing_readable_has_a_form_all_the_same():
    found = scan(InMemory([b"", b"hello"]), "bad")
    assert (found.form, len(found.problems)) == (Form(3, 32, 32), 2)


# What it remembers


def test_the_second_look_decodes_nothing(own, decoded):
    first = scan(files(own), "awkward", FORM)
    assert sorted(decoded) == list(range(len(NAMES)))
    decoded.clear()
    second = scan(files(own), "awkward", FORM)
    assert decoded == []
    assert isinstance(second.pixels.pixels, np.memmap)
    assert_same(second, first)


def test_only_what_changed_is_decoded_again(own, decoded):
    scan(files(own), "awkward", FORM)
    decoded.clear()
    (own / "plain.png").write_bytes(pictures.make("one.png"))
    (own / "new.png").write_bytes(pictures.make("plain.png"))
    (own / "empty.png").write_bytes(pictures.make("grey.png"))
    names = ["new.png", *NAMES[5:], *NAMES[:4]]
    found = scan(files(own, names), "awkward", FORM)
    assert [names[row] for row in decoded] == ["new.png", "empty.png", "plain.png"]
    assert names.index("empty.png") not in found.problems
    assert_same(found, scan(InMemory([(own / name).read_bytes() for name in names]), "again", FORM))


def test_a_file_that_was_just_written_is_looked_at_again(own, decoded):
    (own / "plain.png").write_bytes(pictures.make("plain.png"))
    now = time.time_ns()
    os.utime(own / "plain.png", ns=(now, now))
    scan(files(own), "awkward", FORM)
    decoded.clear()
    os.utime(own / "plain.png", ns=(now, now))
    scan(files(own), "awkward", FORM)
    assert [NAMES[row] for row in decoded] == ["plain.png"]


def test_what_could_not_be_opened_is_tried_again(own, decoded, monkeypatch):
    def refuse(self, row):
        if self.paths[row] == "plain.png":
            raise PermissionError(13, "Permission denied")
        return read(self, row)

    read = Files.read
    with monkeypatch.context() as patch:
        patch.setattr(Files, "read", refuse)
        found = scan(files(own), "awkward", FORM)
        assert found.problems[NAMES.index("plain.png")] == "cannot be read: Permission denied"
    decoded.clear()
    assert NAMES.index("plain.png") not in scan(files(own), "awkward", FORM).problems
    assert [NAMES[row] for row in decoded] == ["plain.png"]


def test_another_form_or_limit_is_another_look(own, decoded):
    scan(files(own), "awkward", FORM)
    decoded.clear()
    assert scan(files(own), "awkward", Form(1, 16, 20)).pixels.shape[1] == 1
    assert scan(files(own), "awkward", FORM, max_pixels=700).problems.keys() > {NAMES.index("plain.png")}
    assert len(decoded) == 2 * len(NAMES)


def test_contents_in_memory_are_known_by_themselves(decoded):
    blobs = small(30)
    first = scan(InMemory(blobs), "memory", FORM)
    decoded.clear()
    assert_same(scan(InMemory(list(blobs)), "memory", FORM), first)
    assert decoded == []
    assert (scan(InMemory(blobs[::-1]), "memory", FORM).pixels[:] == first.pixels[:][::-1]).all()
    assert decoded == []


@pytest.mark.parametrize("what", ["record", "pixels", "both", "pool gone"])
def test_a_damaged_memory_is_made_again(own, own_cache, what):
    first = scan(files(own), "awkward", FORM)
    (record,), (pixels,) = (own_cache / "scans").iterdir(), (own_cache / "pixels").glob("*/pixels.npy")
    if what in ("record", "both"):
        record.write_bytes(record.read_bytes()[:-300])
    if what in ("pixels", "both"):
        pixels.write_bytes(pixels.read_bytes()[:-300])
    if what == "pool gone":
        shutil.rmtree(pixels.parent)
    assert_same(scan(files(own), "awkward", FORM), first)
    assert pixels.stat().st_size > 300


def test_a_record_of_the_wrong_shape_is_not_believed(own, own_cache):
    first = scan(files(own), "awkward", FORM)
    (record,) = (own_cache / "scans").iterdir()
    with np.load(record, allow_pickle=False) as stored:
        columns = dict(stored)
    changes = [
        {"sizes": columns["sizes"][:3]},
        {"hashes": columns["hashes"].astype(float)},
        {"keys": columns["keys"][:3]},
        {"told": np.frombuffer(b"[]", np.uint8)},
    ]
    for change in changes:
        np.savez(record, allow_pickle=False, **{**columns, **change})
        assert_same(scan(files(own), "awkward", FORM), first)


# Every way of decoding gives the same


@pytest.mark.parametrize("kind", ["here", "threads", "processes"])
@pytest.mark.parametrize("source", ["files", "memory"])
def test_every_kind_of_worker_finds_the_same(folder, kind, source):
    blobs = files(folder) if source == "files" else InMemory([pictures.make(name) for name in NAMES])
    groups = np.array_split(np.arange(len(NAMES)), 9)
    pixels, found = decode(blobs, np.arange(len(NAMES)), FORM)
    with Workers(blobs, FORM, 64_000_000, kind, 2) as workers:
        results = list(workers.run(groups))
    assert [rows.tolist() for rows, _, _ in results] == [rows.tolist() for rows in groups]
    np.testing.assert_array_equal(np.concatenate([part for _, part, _ in results]), pixels)
    for column in ("sizes", "contents", "hashes", "sums", "digests"):
        parts = [getattr(part, column) for _, _, part in results]
        np.testing.assert_array_equal(np.concatenate(parts), getattr(found, column))
    assert [facts for _, _, part in results for facts in part.facts] == found.facts
    said = {int(rows[place]): reason for rows, _, part in results for place, reason in part.problems.items()}
    assert said == found.problems


@pytest.mark.parametrize("many", [10, 10_000])
def test_streaming_gives_what_the_store_gives(folder, monkeypatch, many):
    stored = scan(files(folder), "awkward", FORM)
    monkeypatch.setattr(decoding, "_MANY", many)  # processes, or threads
    pixels = stored.pixels[:]
    store.clear()
    monkeypatch.setenv("SEMILLA_CACHE_LIMIT", "1kB")
    found = scan(files(folder), "awkward", FORM)
    assert isinstance(found.pixels, StreamingPool)
    assert "exceed the cache's limit" in found.notes[0]
    assert_same(found, stored)
    some = np.arange(len(NAMES)) % 7 == 0
    for rows in (np.array([5, 3, 3, 0]), slice(2, 9, 3), np.arange(6).reshape(2, 3), 4, some, np.zeros(0, np.int64)):
        np.testing.assert_array_equal(found.pixels[rows], pixels[rows])
    assert (found.pixels.shape, found.pixels.dtype, len(found.pixels)) == (pixels.shape, np.uint8, len(pixels))


def test_a_streaming_scan_is_remembered(own, decoded, monkeypatch):
    monkeypatch.setenv("SEMILLA_CACHE_LIMIT", "10kB")
    first = scan(files(own), "awkward", FORM)
    decoded.clear()
    second = scan(files(own), "awkward", FORM)
    assert decoded == []
    assert_same(second, first)


@pytest.mark.parametrize("change", ["content", "damage", "gone"])
def test_a_file_that_changed_since_the_scan_stops_a_stream(own, monkeypatch, change):
    monkeypatch.setenv("SEMILLA_CACHE_LIMIT", "1kB")
    found = scan(files(own), "awkward", FORM)
    row, path = NAMES.index("plain.png"), own / "plain.png"
    before = path.stat()
    blob = path.read_bytes()
    if change == "gone":
        path.unlink()
    else:
        path.write_bytes(blob[:-1] + b"x" if change == "damage" else pictures.make("one.png"))
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    found.pixels[np.array([row + 1])]
    with pytest.raises(DataError, match=r"1 pictures changed .*: plain\.png") as caught:
        found.pixels[np.array([row, row + 1])]
    assert caught.value.code == "D045"
    path.write_bytes(blob)
    assert found.pixels[np.array([row])].any()


def test_many_pictures_go_through_processes_small_sets_do_not(tmp_path, monkeypatch):
    kinds = []

    class Spy(Workers):
        def __init__(self, blobs, form, max_pixels, kind, count):
            kinds.append(kind)
            super().__init__(blobs, form, max_pixels, kind, count)

    monkeypatch.setattr(scanning, "Workers", Spy)
    monkeypatch.setattr(decoding, "cores", lambda: 2)
    blobs = InMemory(small(40) * 120)
    here = decode(blobs, np.arange(4800), FORM)
    many = scan(blobs, "many", FORM)
    np.testing.assert_array_equal(many.pixels[:], here[0])
    np.testing.assert_array_equal(many.hashes, here[1].hashes)
    scan(InMemory(small(40)), "few", FORM)
    scan(
        InMemory([pictures.encode(np.random.default_rng(1).integers(0, 256, (200, 200, 3), np.uint8), "PNG")]), "heavy"
    )
    assert kinds == ["processes", "here", "threads"]
    monkeypatch.setattr(decoding, "cores", lambda: 1)
    scan(InMemory(small(41)[40:] * 5000), "one core", Form(1, 8, 8))
    assert kinds[-1] == "here"


WITHOUT_GUARD = """
print("started", flush=True)
from semilla.data.blobs import InMemory
from semilla.data import decoding
from semilla.data.images import Form
import numpy as np
with decoding.Workers(InMemory([b""] * 20), Form(3, 8, 8), 1000, "processes", 2) as workers:
    found = list(workers.run(np.arange(20).reshape(4, 5)))
print(sum(len(part.problems) for _, _, part in found))
"""


def test_a_program_without_a_guard_is_not_run_again_by_the_workers(tmp_path):
    """What spawn does by default: every worker runs the user's program from its start."""
    program = tmp_path / "program.py"
    program.write_text(WITHOUT_GUARD)
    done = subprocess.run([sys.executable, program], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["started", "20"]


def test_workers_load_what_decoding_needs_and_no_more():
    """Each of these takes a worker seconds to import."""
    heavy = {"torch", "sklearn", "scipy", "pandas", "pyarrow"}
    code = f"import sys, semilla.data.decoding; print(*{heavy} & {{*sys.modules}})"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "\n"


class Deadly(InMemory):
    def read(self, row):
        if row == 7:
            os.kill(os.getpid(), 9)
        return pictures.make("one.png")


class DeadlyFiles(Files):
    read = Deadly.read


def test_a_worker_that_dies_is_an_error(tmp_path):
    blobs = DeadlyFiles.below(tmp_path, [f"{row}.png" for row in range(20)])
    with (
        pytest.raises(ResourceError, match=r"died.* from 5\.png to 9\.png") as caught,
        Workers(blobs, FORM, 1000, "processes", 1) as workers,
    ):
        list(workers.run(np.arange(20).reshape(4, 5)))
    assert caught.value.code == "R004"


ORPHANS = """
import os, sys, numpy as np
from semilla.data.blobs import InMemory
from semilla.data.decoding import Workers
from semilla.data.images import Form
workers = Workers(InMemory([b""] * 4), Form(3, 8, 8), 1000, "processes", 2)
list(workers.run(np.arange(4).reshape(2, 2)))
print(*workers._executor._processes, flush=True)
os.kill(os.getpid(), 9)
"""


def test_workers_end_with_their_parent():
    done = subprocess.run([sys.executable, "-c", ORPHANS], capture_output=True, text=True, check=False, timeout=120)
    workers = [int(word) for word in done.stdout.split()]
    assert len(workers) == 2
    deadline = time.monotonic() + 20
    while any(map(alive, workers)):
        assert time.monotonic() < deadline, "workers outlive their parent"
        time.sleep(0.05)


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rsplit(b")", 1)[1].split()[0] != b"Z"
    except FileNotFoundError:
        return False


# The cache


def test_two_scans_at_once(own, own_cache):
    results, errors = [], []

    def look():
        try:
            results.append(scan(files(own), "awkward", FORM))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=look) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    for found in results:
        assert found.notes == ()
        assert_same(found, results[0])
    assert len(list((own_cache / "pixels").iterdir())) == 1


def test_the_limit_keeps_the_newest(own_cache, monkeypatch):
    monkeypatch.setenv("SEMILLA_CACHE_LIMIT", "100kB")
    for number in range(4):
        scan(InMemory(small(40, number)), f"set {number}", FORM)
    assert sum(entry.size for entry in store.entries() if entry.kind == "pixels") <= 110_000
    assert "set 3" in {entry.name for entry in store.entries()}


@pytest.mark.parametrize("memory", [True, False])
def test_a_cache_that_cannot_be_written(own, own_cache, monkeypatch, memory):
    (own_cache / "file").write_text("")
    first = scan(files(own), "awkward", FORM)
    monkeypatch.setenv("SEMILLA_CACHE", str(own_cache / "file" / "below"))
    if not memory:
        monkeypatch.setattr(scanning, "fits_in_memory", lambda size: False)
    found = scan(files(own), "awkward", FORM)
    assert isinstance(found.pixels, StreamingPool) is not memory
    assert len(found.notes) == 1
    assert ("could not be kept" if memory else "too many for the memory") in found.notes[0]
    assert_same(found, first)


def test_a_home_that_cannot_be_written(own, tmp_path, monkeypatch):
    monkeypatch.delenv("SEMILLA_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    (tmp_path / "home").write_text("")  # root may write anywhere, but not below a file
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert "could not be kept" in scan(files(own), "awkward", FORM).notes[0]


def test_a_limit_that_cannot_be_understood(own, monkeypatch):
    monkeypatch.setenv("SEMILLA_CACHE_LIMIT", "much")
    with pytest.raises(UsageError):
        scan(files(own), "awkward", FORM)


def test_an_interrupted_scan_leaves_nothing(own, own_cache, monkeypatch):
    monkeypatch.setattr(decoding, "decode", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        scan(files(own), "awkward", FORM)
    assert list((own_cache / "pixels").iterdir()) == []


def test_progress_shows_after_a_while(own, monkeypatch, capsys):
    shown = io.StringIO()
    monkeypatch.setattr(shown, "isatty", lambda: True, raising=False)
    scan(files(own), "awkward", FORM, progress=shown)
    assert shown.getvalue() == ""
    monkeypatch.setattr(scanning, "_PATIENCE", 0)
    scan(files(own), "awkward", Form(3, 8, 8), progress=shown)
    assert "reading awkward" in shown.getvalue()
    assert "<" in shown.getvalue()  # the time that is left
    scan(files(own), "awkward", Form(3, 9, 8), progress=None)
    assert capsys.readouterr() == ("", "")
