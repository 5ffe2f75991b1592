"""docs/reliability.md has a row for each case, and names only tests that there are."""

from __future__ import annotations

import re

import pytest
from watched import ROOT

TEXT = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
WANTED = [f"T{number:02}" for number in (*range(1, 49), *range(55, 60), *range(63, 71))]
ROWS = {match[1]: match[2] for match in re.finditer(r"^\| (T\d\d) \|(.*)\|$", TEXT, re.MULTILINE)}


def test_every_case_has_a_row():
    assert list(ROWS) == WANTED


@pytest.mark.parametrize("case", WANTED)
def test_every_row_names_tests_that_exist(case):
    named = re.findall(r"`([\w/]+\.py)::(\w+)`", ROWS[case])
    assert named
    assert ROWS[case].count("::") == len(named)
    for path, name in named:
        source = (ROOT / "tests" / path).read_text(encoding="utf-8")
        assert re.search(rf"^def {name}\(", source, re.MULTILINE), f"{path} has no {name}"


def test_no_test_of_a_case_is_left_out():
    for path in (ROOT / "tests" / "reliability").glob("test_*_cases.py"):
        for name in re.findall(r"^def (test_t\w+)\(", path.read_text(encoding="utf-8"), re.MULTILINE):
            assert f"`reliability/{path.name}::{name}`" in TEXT, name
