"""Case T70: a thousand mutations of settings, lists, tables, pictures and runs end in documented ways, soon and small.

The first tenth of each kind is always run, the rest with ``-m slow``.
"""

from __future__ import annotations

import json
import re
import resource
import shutil
import time
from pathlib import Path

import fixtures
import numpy as np
import pytest
from fixtures import folder, listed, mutated, put, tables
from watched import EXIT_CODES, TINY, Place, invoke

import semilla

SECONDS, MEMORY = 10, 1_000_000  # of processor time for one command; KB more than before
TOML = [b'"', b"=", b"[", b"]]", b"{", b"-1", b"nan", b"1e999", b"'''", b"true", b"steps", b"\\u0000", b"\xff", b"\n"]
CELLS = [
    b",",
    b'"',
    b"\n",
    b"\r",
    b";",
    b"\t",
    b"nan",
    b"1e999",
    b"\0",
    b"\xef\xbb\xbf",
    b"../",
    b"/etc/passwd",
    b"label",
]
JSON = [b'"', b"{", b"}", b"[", b",", b"null", b"NaN", b"1e999", b"-1", b"\\ud800", b"true", b"9" * 30, b'"_target_"']

KINDS = {"recipe": 200, "list": 200, "table": 200, "json lines": 100, "picture": 150, "run": 150}
assert sum(KINDS.values()) == 1000


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Runs and data to mutate, each small."""
    with pytest.MonkeyPatch.context() as environment:
        place = Place(tmp_path_factory.mktemp("fuzz"), environment)
        folder(place.data / "folder", labeled=2, unlabeled=4, test=2, size=8)
        listed(place.data / "list", labeled=2, unlabeled=4)
        tables(place.data / "table", labeled=8, unlabeled=8)
        place.train(place.data / "folder", out="out-model")
        environment.setenv("SEMILLA_FAULT", "checkpoint.begin:2:enospc")
        place.train(place.data / "folder", out="out-stopped", code=6)
    return place


def recipe(models, place, draw):
    """Settings of a training of arrays."""
    text = b'threshold = 0.9\nlearning_rate = 0.03\noptimizer = "sgd"\nweight = 1.0\nema_decay = 0.99\nclip = 1.0\n'
    path = put(place.work / "recipe.toml", mutated(text, draw, TOML))
    x = np.random.default_rng(0).normal(size=(24, 3)).astype(np.float32)
    data = {"x_train": x, "y_train": np.array(["a", "b", "", ""] * 6)}
    sizes = {"steps": 1, "width": 4, "labeled_batch": 4, "unlabeled_batch": 4, "threads": 1, "network": "mlp"}
    try:
        semilla.train(data, recipe=path, baseline=False, device="cpu", **sizes)
    except semilla.SemillaError as error:
        return error.exit_code, str(error)
    return 0, ""


def _checked(place, data):
    called = invoke(["check", data, "--strict", "-o", place.work / "out-check"])
    shutil.rmtree(place.work / "out-check", ignore_errors=True)
    return called.code, called.out + called.err


def list_(models, place, draw):
    path = place.data / "list"
    if not path.exists():
        shutil.copytree(models.data / "list", path)
        (path / "more.csv").unlink()
    put(path / "labeled.csv", mutated((models.data / "list" / "labeled.csv").read_bytes(), draw, CELLS))
    return _checked(place, path / "labeled.csv")


def table(models, place, draw):
    content = (models.data / "table" / "labeled.csv").read_bytes()
    path = put(place.data / "t.csv", mutated(content, draw, CELLS))
    return _checked(place, path)


def json_lines(models, place, draw):
    root = place.data / "list"
    if not root.exists():
        shutil.copytree(models.data / "list", root)
    rows = (models.data / "list" / "labeled.csv").read_text().splitlines()[1:]
    pairs = [row.split(",") for row in rows]
    lines = "".join(json.dumps({"path": path, "label": label}) + "\n" for path, label in pairs)
    return _checked(place, put(root / "labels.jsonl", mutated(lines.encode(), draw, JSON)))


def picture(models, place, draw):
    path = place.data / "folder"
    if not path.exists():
        shutil.copytree(models.data / "folder", path)
    names = sorted(fixtures.pictures.GOOD)
    name = names[int(draw.integers(0, len(names)))]
    target = put(path / "train" / "cat" / name, mutated(fixtures.pictures.make(name), draw))
    try:
        return _checked(place, path)
    finally:
        target.unlink()


def run(models, place, draw):
    """One file of a run, and a command that reads it."""
    resume = ["train", models.data / "folder", *TINY, "--no-baseline", "--resume", "--out", "RUN"]
    predict = ["predict", "RUN", models.data / "folder" / "test", "-o", place.work / "out.csv"]
    kinds = [("out-model", predict), ("out-model", ["show", "RUN"]), ("out-model", ["evaluate", "RUN"])]
    kinds.append(("out-stopped", resume))
    name, command = kinds[int(draw.integers(0, len(kinds)))]
    target = place.work / "out-mutated"
    shutil.copytree(models.work / name, target)
    paths = sorted(path for path in target.rglob("*") if path.is_file() and path.stat().st_size)
    path = paths[int(draw.integers(0, len(paths)))]
    path.write_bytes(mutated(path.read_bytes(), draw, JSON))
    called = invoke([target if word == "RUN" else word for word in command])
    shutil.rmtree(target)
    Path(place.work / "out.csv").unlink(missing_ok=True)
    return called.code, f"{path.relative_to(target)} {command[0]}: {called.out}{called.err}"


ACT = {"recipe": recipe, "list": list_, "table": table, "json lines": json_lines, "picture": picture, "run": run}


def _fuzz(models, place, kind, numbers):
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    codes, wrong = set(), []
    for number in numbers:
        draw = np.random.default_rng([70, list(KINDS).index(kind), number])
        start = time.process_time()
        try:
            code, text = ACT[kind](models, place, draw)
        except Exception as error:  # of the Python API, whose errors do not pass the command line's net
            code, text = 1, f"{type(error).__name__}: {error}"
        seconds = time.process_time() - start
        codes.add(code)
        if code == 1 or code not in EXIT_CODES or "Traceback" in text or seconds > SECONDS:
            wrong.append((number, code, round(seconds, 1), text[-400:]))
        assert not re.search(r"\0", text)
    assert not wrong, f"{len(wrong)} of {len(numbers)}: {wrong}"
    assert codes > {0}, "either nothing was damaged or nothing was read"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < MEMORY


@pytest.mark.parametrize("kind", KINDS)
def test_t70_mutations(models, place, kind):
    _fuzz(models, place, kind, range(KINDS[kind] // 10))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_t70_many_mutations(models, place, kind):
    _fuzz(models, place, kind, range(KINDS[kind] // 10, KINDS[kind]))
