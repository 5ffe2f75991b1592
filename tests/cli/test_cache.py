"""``semilla cache``."""

import json
import os
import time

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from semilla.cli.cache import _ago, command
from semilla.data.blobs import Files
from semilla.data.scan import scan
from semilla.data.store import Draft, pixel_digests, probe_file, scan_file


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SEMILLA_CACHE", str(tmp_path))
    monkeypatch.setenv("SEMILLA_CACHE_LIMIT", "5GB")
    return tmp_path


def run(*words):
    result = CliRunner().invoke(command, words, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def keep(folder, key, name, days, place=""):
    draft = Draft(name, (1000, 3, 8, 8), place)
    draft.finish(key, np.zeros((1000, 3, 2)), pixel_digests(draft.pixels))
    then = time.time() - days * 86_400
    os.utime(folder / "pixels" / key / "entry.json", (then, then))


def test_an_empty_cache(cache):
    assert run() == f"{cache}: 0 entries, 0 B of at most 5.0 GB\n"
    assert run("clear") == "0 entries removed, 0 B free again\n"


def test_what_is_in_it(cache):
    keep(cache, "aa", "flowers\x1b[31m", 40)
    keep(cache, "bb", "letters", 0.2)
    head, first, second = run().splitlines()
    assert "2 entries, 513.0 kB of at most 5.0 GB" in head
    assert first.split() == ["256.5", "kB", "5", "hours", "ago", "1,000", "pictures", "letters", "[bb]"]
    assert second.split() == ["256.5", "kB", "40", "days", "ago", "1,000", "pictures", "flowers\\x1b[31m", "[aa]"]


def test_a_set_is_one_line_and_two_of_a_name_can_be_told_apart(cache):
    for number, (place, size) in enumerate([("one", None), ("one", 9), ("other", None)]):
        folder = cache / "data" / place / "labels"
        folder.mkdir(parents=True, exist_ok=True)
        for row in range(3):
            Image.new("RGB", (8, 8), (row, len(place), 0)).save(folder / f"{row}.png")
        scan(Files.below(folder, ["0.png", "1.png", "2.png"]), "labels", size=size)
        for path in [*(cache / "scans").iterdir(), *(cache / "pixels").glob("*/entry.json")]:
            os.utime(path, (time.time() - 6000 + number,) * 2)
    for key in ("ab", "cd"):
        path = probe_file("resnet18", key)
        path.parent.mkdir(exist_ok=True)
        path.write_text("[1]")
    head, network, *sets = run().splitlines()
    assert "8 entries" in head
    assert network.split() == ["6", "B", "0", "minutes", "ago", "speed", "of", "a", "network", "resnet18"]
    told = {line.split("labels  ")[1]: " ".join(line.split("  labels")[0].split()[2:]) for line in sets}
    assert told == {
        str(cache / "data" / "one" / "labels"): "2 hours ago 3 pictures in 2 versions, 2 last looks",
        str(cache / "data" / "other" / "labels"): "2 hours ago 3 pictures, last look",
    }


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 minutes"),
        (70, "1 minute"),
        (3700, "62 minutes"),
        (6000, "2 hours"),
        (170_000, "47 hours"),
        (2e5, "2 days"),
    ],
)
def test_how_long_ago(seconds, words):
    assert _ago(seconds) == f"{words} ago"


def test_a_damaged_look_stands_by_itself(cache):
    path = scan_file("labels", "12345678")
    path.parent.mkdir()
    path.write_bytes(b"no archive")
    assert run().splitlines()[1].split()[-4:] == ["last", "look", "labels", "[123456]"]


def test_clear_by_age_and_json(cache):
    keep(cache, "aa", "flowers", 40)
    keep(cache, "bb", "letters", 1)
    told = json.loads(run("--json"))
    assert [(entry["name"], entry["kind"], entry["pictures"]) for entry in told["entries"]] == [
        ("letters", "pixels", 1000),
        ("flowers", "pixels", 1000),
    ]
    assert (told["limit"], told["folder"]) == (5 * 10**9, str(cache))
    assert told["bytes"] == sum(entry["bytes"] for entry in told["entries"])
    removed = json.loads(run("clear", "--older-than", "30", "--json"))
    assert [entry["name"] for entry in removed["removed"]] == ["flowers"]
    assert run("clear").startswith("1 entry removed")
    assert list((cache / "pixels").iterdir()) == []


def test_a_negative_age_is_refused():
    result = CliRunner().invoke(command, ["clear", "--older-than", "-1"])
    assert result.exit_code == 2
