"""The doctor: what it shows, and the one command that mends torch and torchvision."""

import pytest

from semilla import doctor


@pytest.mark.parametrize(
    ("torch", "vision", "wanted"),
    [
        ("2.10.0", "0.25.0", "2.10.0"),
        ("2.10.0+cpu", "0.25.0+cpu", "2.10.0"),
        ("2.10.0", None, None),
        (None, "0.25.0", "2.10.0"),
        ("2.10.0", "0.25.0", None),  # it does not say
    ],
)
def test_pairs_that_belong_together(torch, vision, wanted):
    assert doctor.mismatch(torch, vision, wanted) == {}


@pytest.mark.parametrize(
    ("torch", "vision", "wanted", "fix"),
    [
        ("2.11.0", "0.25.0", "2.10.0", "torch==2.10.0 torchvision==0.25.0"),
        ("2.10.0", "0.25.0+cpu", "2.10.0", "torch==2.10.0 torchvision==0.25.0"),
        ("2.10.0+cpu", "0.25.0", "2.10.0", "torch==2.10.0 torchvision==0.25.0"),
    ],
)
def test_pairs_that_do_not_belong_together(torch, vision, wanted, fix):
    ((problem, command),) = doctor.mismatch(torch, vision, wanted).items()
    assert torch in problem
    assert vision in problem
    assert command.startswith("python -m pip install --force-reinstall ")
    assert command.endswith(fix)


def test_torchvision_says_which_torch_it_wants(monkeypatch):
    monkeypatch.setattr(doctor.metadata, "requires", lambda name: ["numpy", "torch==2.10.0; python_version > '3'"])
    assert doctor._wanted_torch() == "2.10.0"
    monkeypatch.setattr(doctor.metadata, "requires", lambda name: ["numpy"])
    assert doctor._wanted_torch() is None


def healthy(monkeypatch, tmp_path):
    """A machine without torchvision and with a cache of its own."""
    version = doctor._version
    monkeypatch.setattr(doctor, "_version", lambda name: None if name == "torchvision" else version(name))
    monkeypatch.setenv("SEMILLA_CACHE", str(tmp_path))


def test_a_healthy_machine_is_ready(call, monkeypatch, tmp_path):
    healthy(monkeypatch, tmp_path)
    done = call("doctor")
    assert done.code == 0, done.out
    for word in ("semilla", "python", "torch", "device", "precision", "threads", "cache", "ready"):
        assert word in done.out
    assert str(tmp_path) in done.out
    answer = call("doctor", "--json").json()
    assert (answer["ok"], answer["healthy"], answer["problems"]) == (True, True, {})
    assert {"torch", "device", "threads", "cache", "numpy"} <= answer.keys()


def test_a_mismatch_is_shown_with_its_mend_and_exit_code_2(call, monkeypatch, tmp_path):
    healthy(monkeypatch, tmp_path)
    versions = {"torch": "2.11.0", "torchvision": "0.25.0"}
    monkeypatch.setattr(doctor, "_version", lambda name: versions.get(name, "1.0"))
    monkeypatch.setattr(doctor, "_wanted_torch", lambda: "2.10.0")
    done = call("doctor")
    assert done.code == 2
    assert "problem: torch 2.11.0 and torchvision 0.25.0" in done.out
    assert "pip install --force-reinstall torch==2.10.0 torchvision==0.25.0" in done.out
    assert "ready" not in done.out
    answer = call("doctor", "--json").json()
    assert answer["healthy"] is False
    assert len(answer["problems"]) == 1


def test_a_cache_that_cannot_be_written_is_a_problem(call, monkeypatch, tmp_path):
    healthy(monkeypatch, tmp_path)
    monkeypatch.setattr(doctor.os, "access", lambda path, mode: False)
    done = call("doctor")
    assert done.code == 2
    assert "SEMILLA_CACHE" in done.out


def test_a_torch_that_cannot_be_imported_is_a_problem(call, monkeypatch, tmp_path):
    healthy(monkeypatch, tmp_path)
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    done = call("doctor")
    assert done.code == 2
    assert "torch cannot be imported" in done.out
