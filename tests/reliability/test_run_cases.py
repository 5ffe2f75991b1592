"""Cases T01 to T14 and T55 to T59 of the reliability list: settings, runs, and taking them up again."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time

import fixtures
import pytest
from fixtures import encoded, folder, listed, put
from watched import TINY, Place, copied, weights

import semilla

# settings


def test_t01_train_without_arguments(tmp_path):
    program = "import sys\nfrom semilla.cli import main\n"
    program += "try:\n    main(['train'])\nfinally:\n    print('torch' in sys.modules)"
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=60
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1
    assert done.returncode == 2
    assert done.stdout == "False\n"
    assert done.stderr.startswith("Usage: semilla train")
    assert "DATA" in done.stderr
    assert done.stderr.count("\n") <= 20
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["train", "check"])
def test_t02_data_that_are_not_there(place, command):
    (place.data / "empty").mkdir()
    put(place.data / "file.txt", "hello")
    told = set()
    for name in ("nowhere", "file.txt", "empty"):
        path = place.data / name
        more = [*TINY, "--out", "out"] if command == "train" else ["-o", "out"]
        called = place.call(command, path, *more, code=3, says=[name])
        told.add(called.err.split("]")[0])
    assert len(told) == 3
    assert not place.run().exists() or not any(place.run().iterdir())


@pytest.mark.parametrize(
    ("recipe", "says"),
    [
        ("treshold = 0.9", ["treshold", "'threshold'"]),
        ("learning_rate = -1", ["learning_rate", "-1"]),
        ("learning_rate = nan", ["learning_rate", "nan"]),
        ("learning_rate = inf", ["learning_rate", "inf"]),
        ('steps = "ten"', ["steps", "ten"]),
        ("steps = true", ["steps", "True"]),
        ("steps = 0", ["steps", "0"]),
        ("unlabeled_batch = 1e3", ["unlabeled_batch"]),
        ("threads = 99999999999999999999", ["threads"]),
    ],
)
def test_t03_settings_that_cannot_be_meant(place, recipe, says):
    folder(place.data, labeled=2, test=0, unlabeled=4)
    path = put(place.work / "recipe.toml", recipe)
    words = ["--set", "width=8"] if "steps" in recipe else ["--steps", "4"]
    called = place.call("train", place.data, "--recipe", path, *words, "--out", "out", code=2, says=says)
    assert called.err.startswith("error[U")
    assert not list(place.work.glob("out/**/*.safetensors"))
    if "threads" not in recipe:
        key, value = (text.strip(' "') for text in recipe.split("="))
        place.call("train", place.data, "--set", f"{key}={value}", "--out", "out", code=2, says=says[:1])


def test_t04_code_in_a_recipe(place):
    folder(place.data, labeled=2, test=0, unlabeled=4)
    for number, text in enumerate(
        (
            f'!!python/object/apply:os.system ["touch {place.canary}"]',
            f'method: !!python/object/apply:os.system ["touch {place.canary}"]',
            f"network = \"__import__('os').system('touch {place.canary}')\"",
            f'network = "$(touch {place.canary})"',
            f'_target_ = "os.system"\ncommand = "touch {place.canary}"',
            f'weights = "|touch {place.canary}"',
        )
    ):
        path = put(place.work / f"recipe{number}.toml", text)
        called = place.call("train", place.data, "--recipe", path, "--steps", "4", "--out", f"out{number}", code=2)
        assert called.err.startswith("error[U")


BOMBS = {
    "50 MB": lambda: "a = 1\n" * 8_000_000,
    "deep array": lambda: "threshold = " + "[" * 400_000,
    "deep table": lambda: "threshold = " + "{a=" * 200_000,
    "dotted key": lambda: "a." * 400_000 + "a = 1",
    "dotted header": lambda: "[" + "a." * 400_000 + "a]",
    "many headers": lambda: "".join(f"[a{number}.b]\n" for number in range(60_000)),
    "long number": lambda: "threshold = " + "9" * 900_000,
    "long string": lambda: 'network = "' + "x" * 900_000 + '"',
    "billion laughs": lambda: 'a: &a ["x","x"]\n' + "".join(f"b{n}: &b{n} [*a,*a,*a]\n" for n in range(9)),
}


@contextlib.contextmanager
def ended_after(seconds):
    """Raise inside the block when it takes longer, in processor time."""

    def stop(*_):
        raise TimeoutError(f"longer than {seconds} s")

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


@pytest.mark.parametrize("name", BOMBS)
def test_t05_recipes_that_are_bombs(place, name):
    folder(place.data, labeled=2, test=0, unlabeled=4, classes=("a1", "b1"), size=8)
    path = put(place.work / "bomb.toml", BOMBS[name]())
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    with ended_after(3):
        called = place.call("train", place.data, "--recipe", path, "--steps", "4", "--out", "out", code=2)
    assert time.process_time() - start < 1.5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < 300_000
    assert len(called.err) < 2000, "the whole bomb is quoted"
    assert called.err.startswith("error[U")


def test_t06_a_finished_run_is_not_overwritten(finished):
    def contents():
        return {path: path.read_bytes() for path in finished.run().rglob("*") if path.is_file()}

    before = contents()
    finished.train(finished.data, baseline=True, code=4, says=["C001", "--resume", "--out"])
    assert contents() == before
    put(finished.data / "unlabeled" / "new.png", encoded(0, 9999))
    for more in ([], ["--allow-data-change"]):
        finished.train(finished.data, *more, baseline=True, code=4)
        assert contents() == before


# a healthy run


@pytest.fixture(scope="session")
def healthy_once(tmp_path_factory):
    """Five classes with eight labels each, 200 unlabeled pictures, 60 steps."""

    with pytest.MonkeyPatch.context() as environment:
        place = Place(tmp_path_factory.mktemp("healthy"), environment)
        folder(place.data, labeled=8, unlabeled=200, test=10, classes=("p1", "p2", "p3", "p4", "p5"))
        start = time.process_time()
        called = place.train(place.data, "--steps", "60", baseline=True)
        seconds = time.process_time() - start
    return place, called, seconds


def test_t07_a_healthy_set_becomes_a_model_with_all_that_belongs_to_it(healthy_once):
    place, called, seconds = healthy_once
    assert seconds < 30
    for name in ("run.json", "manifest.jsonl"):
        assert (place.run() / name).is_file()
    for fit in ("supervised-0", "fixmatch-0"):
        for name in ("fit.json", "metrics.jsonl", "events.jsonl", "model.safetensors", "model.json", "result.json"):
            assert (place.run() / "fits" / fit / name).is_file()
    assert "verdict:" in called.out
    loaded = semilla.load(place.run())
    assert sorted(loaded.classes) == ["p1", "p2", "p3", "p4", "p5"]
    results = json.loads((place.run() / "run.json").read_text())
    assert results["verdict"]["n"] == 50
    assert results["verdict"]["accuracy"][0] > 0.5, "chance is 0.2"


@pytest.mark.slow
def test_t07_its_report_and_export(healthy_once, place):
    shutil.copytree(healthy_once[0].root, place.root, dirs_exist_ok=True)
    place.call("report", "out")
    page = (place.run() / "report.html").read_text()
    assert page.startswith("<!")
    assert "p3" in page
    place.call("export", "out")


def test_t08_the_same_words_give_the_same_bits(finished):
    finished.train(finished.data, out="out2", baseline=True)
    for fit in ("fixmatch-0", "supervised-0"):
        assert weights(finished.run(), fit) == weights(finished.run("out2"), fit)
    finished.train(finished.data, "--seed", "1", out="out3")
    assert weights(finished.run("out3"), "fixmatch-1") != weights(finished.run())


def test_t10_watching_changes_nothing(finished):
    more = ["--set", "save_every=1", "--set", "evaluate_every=1", "--set", "log_every=1"]
    finished.train(finished.data, *more, out="out2")
    finished.train(finished.data, "--set", "save_every=4", "--json", out="out3")
    assert weights(finished.run()) == weights(finished.run("out2")) == weights(finished.run("out3"))


def test_t12_a_threshold_nobody_reaches_is_no_unlabeled_loss(finished):
    finished.train(finished.data, "--set", "weight=0", out="out2")
    finished.train(finished.data, "--set", "threshold=1", out="out3", says=["warn[T102]"])
    assert weights(finished.run("out2")) == weights(finished.run("out3"))


def test_t13_other_names_for_the_classes_change_no_bit(place):
    """Names in the same order; whatever the order, no method sees a name (`reference/test_identities.py`)."""
    found = []
    for number, names in enumerate((("cat", "dog", "owl"), ("north", "south", "west"))):
        labeled, more = listed(place.data / str(number) / "set", labels=names)
        place.train(labeled, "--unlabeled", more, "--no-flip", out=f"out{number}")
        pictures = sorted((place.data / str(number) / "set" / "all").glob("u*.png"))
        found.append(semilla.load(place.run(f"out{number}")).predict(pictures))
    assert weights(place.run("out0")) == weights(place.run("out1"))
    names = dict(zip(("cat", "dog", "owl"), ("north", "south", "west"), strict=True))
    assert [names[label] for label in found[0]] == list(found[1])


def test_t14_a_copy_of_the_data_elsewhere_gives_the_same_bits(finished):
    shutil.copytree(finished.data, finished.work / "else where" / "data")
    finished.train("else where/data", out="out2", baseline=True)
    assert weights(finished.run()) == weights(finished.run("out2"))
    own = [path for path in finished.run("out2").rglob("*") if path.is_file()]
    own = [
        path for path in own if "checkpoints" in path.parts or path.name.startswith(("model", "manifest", "outputs"))
    ]
    assert len(own) > 8
    assert not any(os.fsencode(finished.root) in path.read_bytes() for path in own)
    assert not any(b"else where" in path.read_bytes() for path in own)


# taking a run up again

MORE = ("--steps", "6", "--resume")


@pytest.fixture(scope="session")
def undisturbed(stopped_once, tmp_path_factory):
    """The weights of the run that was stopped, had it not been."""

    with pytest.MonkeyPatch.context() as environment:
        place = copied(stopped_once[0], Place(tmp_path_factory.mktemp("undisturbed"), environment))
        place.train(place.data, "--steps", "6", out="out2")
    return weights(place.run("out2"))


def newest(place):
    """The newest checkpoint."""
    return max((place.run() / "fits" / "fixmatch-0" / "checkpoints").glob("step-*"))


DAMAGE = {
    "nothing": lambda folder: None,
    "truncated": lambda folder: os.truncate(folder / "tensors.safetensors", 1000),
    "one bit": lambda folder: _flip(folder / "tensors.safetensors"),
    "a bit of the state": lambda folder: _flip(folder / "state.json"),
    "no json": lambda folder: (folder / "state.json").unlink(),
    "zeros": lambda folder: _zero(folder / "tensors.safetensors"),
    "an empty file": lambda folder: os.truncate(folder / "tensors.safetensors", 0),
}


def _flip(path):
    path.write_bytes(fixtures.pictures.flipped(path.read_bytes(), path.stat().st_size // 2))


def _zero(path):
    path.write_bytes(bytes(path.stat().st_size))


@pytest.mark.parametrize("damage", DAMAGE)
def test_t55_a_damaged_newest_checkpoint_is_passed_over(stopped, undisturbed, damage):
    DAMAGE[damage](newest(stopped))
    says = [] if damage == "nothing" else ["warn[C010]", newest(stopped).name]
    stopped.train(stopped.data, *MORE, says=says)
    assert weights(stopped.run()) == undisturbed


def test_t56_all_checkpoints_damaged(stopped):
    folders = sorted((stopped.run() / "fits" / "fixmatch-0" / "checkpoints").glob("step-*"))
    assert len(folders) == 2
    for path in folders:
        _flip(path / "tensors.safetensors")
    stopped.train(stopped.data, *MORE, code=4, says=["C011", *(path.name for path in folders)])
    assert all((path / "tensors.safetensors").is_file() for path in folders)


def test_t57_changed_data_are_told_and_need_a_word(stopped):
    (stopped.data / "train" / "cat" / "1.jpeg").rename(stopped.data / "train" / "dog" / "relabeled.jpeg")
    put(stopped.data / "unlabeled" / "new.png", encoded(0, 9999))
    (stopped.data / "unlabeled" / "2.jpeg").unlink()
    lineage = _lineage(stopped)
    said = ["C026", "added", "new.png", "removed", "2.jpeg", "relabeled.jpeg", "--allow-data-change"]
    stopped.train(stopped.data, *MORE, code=4, says=said)
    assert _lineage(stopped) == lineage
    stopped.train(stopped.data, *MORE, "--allow-data-change")
    assert _lineage(stopped) != lineage


def test_t57_a_label_that_changed_in_a_list(place, monkeypatch):
    labeled, more = listed(place.data)
    monkeypatch.setenv("SEMILLA_FAULT", "checkpoint.begin:2:enospc")
    place.train(labeled, "--unlabeled", more, code=6)
    monkeypatch.delenv("SEMILLA_FAULT")
    labeled.write_text(labeled.read_text().replace("l000.png,cat", "l000.png,owl"))
    place.train(labeled, "--unlabeled", more, "--resume", code=4, says=["C026", "l000.png", "cat", "owl"])


def _lineage(place):
    return json.loads((place.run() / "fits" / "fixmatch-0" / "fit.json").read_text())["lineage"]


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--network", "wide_resnet", "--set", "width=1"], ["small_cnn", "wide_resnet"]),
        (["--set", "width=4"], ["width", "8", "4"]),
        (["--set", "threshold=0.5"], ["threshold", "0.5"]),
        (["--set", "labeled_batch=4"], ["labeled_batch", "8", "4"]),
        (["--size", "8"], ["8"]),
    ],
    ids=["network", "width", "threshold", "batch", "size"],
)
def test_t58_other_settings_are_refused(stopped, more, says):
    stopped.train(stopped.data, *MORE, *more, code=4, says=says)


def test_t58_a_network_cannot_be_allowed_to_change(stopped):
    stopped.train(stopped.data, *MORE, "--allow-change", "network", "--set", "width=4", code=2, says=["network"])


def test_t58_a_batch_may_change_when_that_is_said(stopped, undisturbed):
    more = ["--set", "labeled_batch=4", "--allow-change", "labeled_batch"]
    stopped.train(stopped.data, *MORE, *more)
    assert weights(stopped.run()) != undisturbed
    saved = json.loads((stopped.run() / "fits" / "fixmatch-0" / "fit.json").read_text())
    assert saved["changed"] == [["settings.labeled_batch: 8 → 4"]]


def test_t58_what_is_logged_may_change(stopped, undisturbed):
    stopped.train(stopped.data, *MORE, "--set", "log_every=2", "--set", "evaluate_every=2", "--set", "save_every=3")
    assert weights(stopped.run()) == undisturbed


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("run.json", ["show", "out"]),
        ("run.json", ["report", "out"]),
        ("fits/fixmatch-0/model.json", ["predict", "out", "DATA", "-o", "out.csv"]),
        ("fits/fixmatch-0/model.json", ["evaluate", "out"]),
        ("fits/fixmatch-0/model.json", ["export", "out", "--format", "safetensors"]),
    ],
    ids=lambda value: " ".join(value[:1]) if isinstance(value, list) else value,
)
def test_t59_a_newer_format_is_named(finished, name, command):
    path = finished.run() / name
    saved = json.loads(path.read_text())
    assert saved["format"] == 1
    path.write_text(json.dumps({**saved, "format": 2}))
    words = [finished.data / "test" if word == "DATA" else word for word in command]
    finished.call(*words, code=4, says=["C012"])
