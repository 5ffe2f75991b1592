"""``semilla cache``."""

import json
import os
import time

import numpy as np
import pytest
from click.testing import CliRunner

from semilla.cli.cache import command
from semilla.data.store import Draft, pixel_digests


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SEMILLA_CACHE", str(tmp_path))
    monkeypatch.setenv("SEMILLA_CACHE_LIMIT", "5GB")
    return tmp_path


def run(*words):
    result = CliRunner().invoke(command, words, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def keep(folder, key, name, days):
    draft = Draft(name, (1000, 3, 8, 8))
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
    assert first.split() == ["256.5", "kB", "5", "hours", "ago", "1,000", "pictures", "letters"]
    assert second.split() == ["256.5", "kB", "40", "days", "ago", "1,000", "pictures", "flowers\\x1b[31m"]


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
    assert run("clear").startswith("1 entries removed")
    assert list((cache / "pixels").iterdir()) == []


def test_a_negative_age_is_refused():
    result = CliRunner().invoke(command, ["clear", "--older-than", "-1"])
    assert result.exit_code == 2
