"""The demonstration: its table, its files, and that what it recommends can be done."""

import json
import shlex
import subprocess
import sys
from dataclasses import replace

import pytest

from conftest import SHORT, invoke
from semilla import comparing, demo, generated_start
from semilla.evidence import comparison

SMALL = {"recipe": None, "steps": 6, "device": "cpu", "precision": "fp32", **SHORT, "evaluate_every": 3}
del SMALL["threads"]  # every job has one
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def small(monkeypatch, tmp_path):
    """The demonstration in this process, with tiny fits; gives the jobs that were asked for."""
    asked = []

    def compare(jobs, workers=None, progress=None, **options):
        asked.extend(jobs)
        tiny = [replace(job, options={**job.options, **SMALL}) for job in jobs]
        return [
            comparison.Outcome(job, *list(vars(comparison.run_job(own)).values())[1:])
            for job, own in zip(jobs, tiny, strict=True)
        ]

    monkeypatch.setattr(comparing, "run_jobs", compare)
    monkeypatch.chdir(tmp_path)
    return asked


def rows_of(text):
    lines = text.splitlines()
    (start,) = [place for place, line in enumerate(lines) if line.startswith("method ")]
    return lines[start], lines[start + 1 : lines.index("", start)]


def test_the_table_the_files_and_the_commands_it_ends_with(small, call, tmp_path):
    done = call("demo", "--draws", 2, "--method", "uda")
    assert done.code == 0, done.err
    head, rows = rows_of(done.out)
    assert head.split("  ")[0] == "method"
    assert all(word in head for word in ("test accuracy", "gain over supervised (95 %)", "data used", "seconds"))
    assert [row.split()[0] for row in rows] == ["supervised", "uda"]
    assert "…" in rows[1]
    assert "±" in rows[0]
    assert {(job.method, job.seed) for job in small} == {
        (name, seed) for name in ("supervised", "uda") for seed in (0, 1)
    }

    folder = tmp_path / "semilla-demo"
    assert (folder / "accuracy.png").read_bytes()[:8] == PNG
    assert {path.name for path in (folder / "fits").iterdir()} == {"supervised-0", "supervised-1", "uda-0", "uda-1"}
    saved = json.loads((folder / "compare.json").read_text())
    assert [row["method"] for row in saved["rows"]] == ["supervised", "uda"]
    assert len(saved["rows"][1]["scores"]) == 2
    assert saved["rows"][1]["gain"]["low"] <= saved["rows"][1]["gain"]["mean"]

    following = [line for line in done.out.split("Next:")[1].splitlines() if line.strip()]
    assert [line.split()[1] for line in following] == ["demo", "evaluate", "train"]
    words = [shlex.split(line.strip().split("  ")[0])[1:] for line in following]
    assert invoke([*words[0], "--draws", 1]).code == 0
    assert invoke(words[1]).code == 0
    assert invoke([*words[2], "--steps", 2, "--set", "width=4"]).code == 0


@pytest.fixture
def small_start(small, monkeypatch):
    """The start of the recognisers, tiny too; gives the jobs that were asked for."""
    tiny = {**demo._DRAWN, "steps": 2, "width": 4, "threads": 1}
    monkeypatch.setattr(demo, "_DRAWN", tiny)
    monkeypatch.setattr(demo, "_TEXTS", 40)
    monkeypatch.setattr(generated_start, "HELD_OUT", 20)
    return small


def test_text_is_compared_by_its_error_rate(small_start, call, tmp_path):
    done = call("demo", "text", "--draws", 2)
    assert done.code == 0, done.err
    head, rows = rows_of(done.out)
    assert all(word in head for word in ("test CER", "change of supervised's (95 %)"))
    assert [row.split()[0] for row in rows] == ["from_scratch", "supervised", "mean_teacher", "fixmatch"]
    assert (tmp_path / "semilla-demo" / "cer.png").read_bytes()[:8] == PNG
    began = {job.row: "weights" in job.options for job in small_start}
    assert began == {"from_scratch": False, "supervised": True, "mean_teacher": True, "fixmatch": True}
    assert {job.options["width"] for job in small_start} == {4}
    assert (tmp_path / "semilla-demo" / "fits" / "from_scratch-1").is_dir()
    following = [line for line in done.out.split("Next:")[1].splitlines() if line.strip()]
    words = [shlex.split(line.strip().split("  ")[0])[1:] for line in following]
    assert words[0][:2] == ["demo", "text"]
    assert words[0][-1] != "from_scratch"
    assert invoke([*words[0], "--draws", 1]).code == 0
    assert invoke(words[1]).code == 0
    assert invoke([*words[2], "--steps", 2, "--set", "width=4"]).code == 0


def test_all_methods_take_part_unless_some_are_named(small, call, tmp_path):
    done = call("demo", "--draws", 1, "--json", "--out", tmp_path / "mine")
    answer = done.json()
    names = [row["method"] for row in answer["rows"]]
    assert names == ["supervised", "pi_model", "mean_teacher", "uda", "pseudo_label", "mixmatch", "fixmatch"]
    assert answer["rows"][0]["gain"] is None
    assert answer["rows"][1]["gain"]["low"] is None  # one draw leaves the interval open
    assert (tmp_path / "mine" / "accuracy.png").stat().st_size > 10_000


def test_a_second_demonstration_takes_another_folder(small, call, tmp_path):
    for _ in range(2):
        assert call("demo", "--draws", 1, "--method", "supervised").code == 0
    assert {path.name for path in tmp_path.iterdir()} == {"semilla-demo", "semilla-demo-2"}


def test_a_demonstration_does_not_overwrite_a_run_of_the_users(small, call, tmp_path):
    fit = tmp_path / "mine" / "fits" / "supervised-0"
    fit.mkdir(parents=True)
    (fit / "fit.json").write_text("{}")
    (fit / "model.safetensors").write_bytes(b"hours of work")
    done = call("demo", "--draws", 1, "--method", "supervised", "--out", tmp_path / "mine")
    assert done.code == 4
    assert (fit / "model.safetensors").read_bytes() == b"hours of work"


def test_one_draw_has_no_spread_and_no_interval(small, call):
    _, rows = rows_of(call("demo", "--draws", 1, "--method", "uda").out)
    assert "±" not in rows[0]
    assert "one draw: no interval" in rows[1]


@pytest.mark.slow
def test_the_real_demonstration(tmp_path):
    words = [sys.executable, "-m", "semilla", "demo", "--draws", "2", "--method", "uda", "--out", str(tmp_path / "d")]
    done = subprocess.run([*words, "--json"], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    supervised, uda = answer["rows"]
    assert supervised["mean"] > 0.7
    assert uda["mean"] > supervised["mean"]
    assert (tmp_path / "d" / "accuracy.png").read_bytes()[:8] == PNG


@pytest.mark.slow
def test_a_demonstration_that_cannot_work_says_why_in_its_own_words(tmp_path):
    words = [sys.executable, "-m", "semilla", "demo", "--labels", "41", "--draws", "1", "--method", "supervised"]
    done = subprocess.run(
        [*words, "--out", str(tmp_path / "d")], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 3, done.stderr
    assert "D054" in done.stderr


@pytest.mark.slow
def test_the_real_demonstration_of_text(tmp_path):
    words = [sys.executable, "-m", "semilla", "demo", "text", "--draws", "2", "--method", "fixmatch"]
    done = subprocess.run(
        [*words, "--out", str(tmp_path / "d"), "--json"], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    scratch, supervised, fixmatch = (row["mean"] for row in json.loads(done.stdout)["rows"])
    assert fixmatch < supervised < 0.4 < scratch
