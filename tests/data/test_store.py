"""The store by itself: entries, damage, limits, two at once, places that cannot be written."""

import multiprocessing
import os
import pathlib
import stat
import time

import numpy as np
import pytest

from semilla.data import store
from semilla.data.store import Draft, cache_limit, clear, entries, open_pool
from semilla.errors import Interrupted, UsageError

SHAPE = (10, 3, 4, 5)


def content(seed=0, shape=SHAPE):
    pixels = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    flat = pixels.reshape(*shape[:2], -1).astype(float)
    return pixels, np.stack([flat.sum(2), (flat**2).sum(2)], axis=2), store.pixel_digests(pixels)


def kept(key, seed=0, shape=SHAPE, name="toy"):
    pixels, sums, digests = content(seed, shape)
    draft = Draft(name, shape)
    draft.pixels[:] = pixels
    return draft, draft.finish(key, sums, digests)


def names(folder):
    return sorted(path.name for path in (folder / "pixels").iterdir())


def test_what_is_kept_comes_back_mapped_and_read_only(own_cache):
    draft, pool = kept("aa")
    assert draft.note == ""
    pixels, sums, digests = content()
    for found in (pool, open_pool("aa", SHAPE)):
        assert isinstance(found.pixels, np.memmap)
        assert not found.pixels.flags.writeable
        assert (found.shape, found.dtype, len(found)) == (SHAPE, np.uint8, 10)
        np.testing.assert_array_equal(found[:], pixels)
        np.testing.assert_array_equal(found[np.array([3, 1, 3])], pixels[[3, 1, 3]])
        np.testing.assert_array_equal(found.sums, sums)
        np.testing.assert_array_equal(found.digests, digests)
    assert names(own_cache) == ["aa"]
    assert sorted(path.name for path in (own_cache / "pixels/aa").iterdir()) == [
        *("digests.npy", "entry.json", "pixels.npy", "sums.npy")
    ]
    assert open_pool("bb", SHAPE) is None


@pytest.mark.parametrize("file", ["pixels.npy", "sums.npy", "digests.npy", "entry.json"])
@pytest.mark.parametrize("damage", ["cut", "text", "missing", "zeros"])
def test_a_damaged_entry_is_removed_and_can_be_made_again(own_cache, file, damage):
    kept("aa")
    path = own_cache / "pixels/aa" / file
    whole = path.read_bytes()
    if damage == "missing":
        path.unlink()
    elif damage == "zeros":
        path.write_bytes(whole[:128] + bytes(max(0, len(whole) - 128)) if file != "entry.json" else b"{}")
    else:
        path.write_bytes(whole[: len(whole) // 2] if damage == "cut" else b"hello")
    assert open_pool("aa", SHAPE) is None
    assert names(own_cache) == []
    _, pool = kept("aa")
    np.testing.assert_array_equal(pool[:], content()[0])


def test_an_entry_of_another_shape_is_not_taken():
    kept("aa")
    assert open_pool("aa", (10, 3, 5, 4)) is None


def test_a_damaged_entry_in_the_way_is_replaced(own_cache):
    kept("aa")
    pixels, sums, digests = content()
    draft = Draft("toy", SHAPE)
    draft.pixels[:] = pixels
    (own_cache / "pixels/aa/pixels.npy").write_bytes(b"hello")
    np.testing.assert_array_equal(draft.finish("aa", sums, digests)[:], pixels)
    assert draft.note == ""
    assert names(own_cache) == ["aa"]


def build(folder, barrier, results):
    os.environ["SEMILLA_CACHE"] = folder
    pixels, sums, digests = content()
    draft = Draft("toy", SHAPE)
    barrier.wait(60)
    draft.pixels[:] = pixels
    pool = draft.finish("aa", sums, digests)
    results.put((draft.note, bool(np.array_equal(pool[:], pixels)), isinstance(pool.pixels, np.memmap)))


def test_two_processes_may_make_the_same_entry(own_cache):
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(2), context.Queue()
    processes = [context.Process(target=build, args=(str(own_cache), barrier, results)) for _ in range(2)]
    for process in processes:
        process.start()
    told = [results.get(timeout=60) for _ in processes]
    for process in processes:
        process.join(60)
    assert told == [("", True, True)] * 2
    assert names(own_cache) == ["aa"]


def test_two_drafts_of_one_process_do_not_meet(own_cache):
    first, second = Draft("toy", SHAPE), Draft("toy", SHAPE)
    pixels, sums, digests = content()
    for draft in (first, second):
        draft.pixels[:] = pixels
    for draft in (first, second):
        np.testing.assert_array_equal(draft.finish("aa", sums, digests)[:], pixels)
    assert names(own_cache) == ["aa"]


def test_a_draft_that_is_discarded_leaves_nothing(own_cache):
    draft = Draft("toy", SHAPE)
    assert len(names(own_cache)) == 1
    draft.discard()
    draft.discard()
    assert names(own_cache) == []


@pytest.mark.parametrize("at", ["posix_fallocate", "open_memmap", "mkdir"])
@pytest.mark.parametrize("error", [Interrupted(15), OSError("no place")])
def test_a_draft_that_does_not_come_to_be_leaves_nothing(own_cache, monkeypatch, at, error):
    def stopped(*_, **__):
        raise error

    def made_and_stopped(path, *words, **more):
        make(path, *words, **more)
        if path.name.startswith(".tmp-"):
            raise error

    make = pathlib.Path.mkdir
    places = {"posix_fallocate": (os, stopped), "open_memmap": (np.lib.format, stopped)}
    place, does = places.get(at, (pathlib.Path, made_and_stopped))
    monkeypatch.setattr(place, at, does)
    if isinstance(error, OSError):
        assert "no place" in Draft("toy", SHAPE).note
    else:
        with pytest.raises(Interrupted):
            Draft("toy", SHAPE)
    assert names(own_cache) == []


def age(folder, key, days):
    then = time.time() - days * 86_400
    os.utime(folder / "pixels" / key / "entry.json", (then, then))


def test_the_limit_removes_what_was_used_longest_ago(own_cache, monkeypatch):
    shape = (1000, 3, 4, 5)
    for number, key in enumerate(["aa", "bb", "cc"]):
        kept(key, number, shape)
        age(own_cache, key, 10 - number)
    one = entries()[0].size
    assert open_pool("aa", shape) is not None  # used just now: bb is the oldest
    monkeypatch.setenv("SEMILLA_CACHE_LIMIT", str(int(3.2 * one)))
    old = open_pool("bb", shape)
    age(own_cache, "bb", 9)
    kept("dd", 3, shape)
    assert names(own_cache) == ["aa", "cc", "dd"]
    np.testing.assert_array_equal(old[:], content(1, shape)[0])  # what is mapped stays readable
    monkeypatch.setenv("SEMILLA_CACHE_LIMIT", str(int(1.2 * one)))
    kept("ee", 4, shape)
    assert names(own_cache) == ["ee"]


def test_scans_count_and_are_removed_too(own_cache, monkeypatch):
    path = store.scan_file("a/b ü", "12ab")
    path.parent.mkdir(parents=True)
    path.write_bytes(bytes(5000))
    os.utime(path, (1, 1))
    (entry,) = entries()
    assert (entry.kind, entry.name, entry.size, entry.used) == ("scans", "a_b__", 5000, 1)
    monkeypatch.setenv("SEMILLA_CACHE_LIMIT", "4kB")
    kept("aa")
    assert [entry.kind for entry in entries()] == ["pixels"]


def test_nothing_else_in_the_cache_is_touched(own_cache, monkeypatch):
    own = own_cache / "cifar10" / "data_batch_1.bin"
    own.parent.mkdir()
    own.write_bytes(bytes(10_000))
    monkeypatch.setenv("SEMILLA_CACHE_LIMIT", "1")
    kept("aa")
    clear()
    assert own.stat().st_size == 10_000
    assert entries() == []


def test_a_link_in_the_cache_is_removed_and_not_followed(own_cache, tmp_path):
    (tmp_path / "entry.json").write_text("{}")
    (own_cache / "pixels").mkdir()
    (own_cache / "pixels" / "aa").symlink_to(tmp_path)
    clear()
    assert names(own_cache) == []
    assert (tmp_path / "entry.json").exists()


@pytest.mark.parametrize(
    ("text", "limit"), [("5", 5), ("500MB", 5e8), ("1.5 GB", 1.5e9), ("2k", 2000), ("1tb", 1e12), (" 7M ", 7e6)]
)
def test_the_limit_in_words(monkeypatch, text, limit):
    monkeypatch.setenv("SEMILLA_CACHE_LIMIT", text)
    assert cache_limit() == limit


@pytest.mark.parametrize("text", ["much", "-5", "5 apples", "GB", "1e9"])
def test_a_limit_that_is_none(monkeypatch, text):
    monkeypatch.setenv("SEMILLA_CACHE_LIMIT", text)
    with pytest.raises(UsageError) as caught:
        cache_limit()
    assert caught.value.code == "U030"


def test_the_limit_by_the_disk(monkeypatch, own_cache):
    monkeypatch.delenv("SEMILLA_CACHE_LIMIT", raising=False)
    kept("aa")
    used = sum(entry.size for entry in entries())
    for free, limit in [(10**12, 20 * 10**9), (8 * 10**9, (8 * 10**9 + used) // 4)]:
        monkeypatch.setattr(store.shutil, "disk_usage", lambda path, free=free: _Usage(free))
        assert cache_limit() == limit


class _Usage:
    def __init__(self, free):
        self.free = free


def test_without_a_place_the_pool_is_in_memory(own_cache, monkeypatch):
    (own_cache / "file").write_text("")
    monkeypatch.setenv("SEMILLA_CACHE", str(own_cache / "file" / "below"))
    draft, pool = kept("aa")
    assert "toy: the decoded pictures could not be kept for the next time" in draft.note
    assert not isinstance(pool.pixels, np.memmap)
    assert not pool.pixels.flags.writeable
    np.testing.assert_array_equal(pool[:], content()[0])


def test_a_disk_that_fills_up(own_cache, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(store.os, "posix_fallocate", full)
        draft, pool = kept("aa")
    assert "No space left" in draft.note
    assert names(own_cache) == []
    np.testing.assert_array_equal(pool[:], content()[0])
    with monkeypatch.context() as patch:
        patch.setattr(store, "write_new", full)
        draft, pool = kept("aa")
    assert "No space left" in draft.note
    assert names(own_cache) == []
    np.testing.assert_array_equal(pool[:], content()[0])


def test_what_died_half_made_is_removed(own_cache):
    kept("aa")
    dead = own_cache / "pixels" / ".tmp-999999999-x"
    dead.mkdir()
    (dead / "pixels.npy").write_bytes(bytes(10))
    kept("bb")
    assert dead.exists()  # too young: perhaps of another container
    os.utime(dead, (1, 1))
    kept("cc")
    assert not dead.exists()
    own = Draft("toy", SHAPE)
    clear()
    assert len(names(own_cache)) == 1  # what this process is making stays
    own.discard()


def test_clear_by_age(own_cache):
    for key, days in [("aa", 40), ("bb", 20), ("cc", 0)]:
        kept(key)
        age(own_cache, key, days)
    assert [entry.path.name for entry in clear(30)] == ["aa"]
    assert names(own_cache) == ["bb", "cc"]
    assert len(clear()) == 2
    assert entries() == []


def test_entries_tell_what_they_are(own_cache):
    kept("aa", name="my flowers")
    (entry,) = entries()
    assert (entry.kind, entry.name, entry.pictures) == ("pixels", "my flowers", 10)
    assert entry.size == sum(path.stat().st_size for path in (own_cache / "pixels/aa").iterdir())
    assert abs(entry.used - time.time()) < 60


def test_a_cache_of_others_can_be_read(own_cache):
    kept("aa")
    for path in [*(own_cache / "pixels/aa").iterdir(), own_cache / "pixels/aa"]:
        path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    assert open_pool("aa", SHAPE) is not None
    (own_cache / "pixels/aa").chmod(0o700)


def test_where_the_store_is(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert str(store.cache_folder()) != "/xdg/semilla"
    monkeypatch.delenv("SEMILLA_CACHE")
    assert str(store.cache_folder()) == "/xdg/semilla"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert store.cache_folder() == tmp_path / ".cache" / "semilla"
