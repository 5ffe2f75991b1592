"""Cases T63 to T69 of the reliability list: hostile names and files, no network, folders that cannot be written."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from html.parser import HTMLParser

import fixtures
import pytest
from fixtures import folder, hostile, payload, payload_file, put
from watched import ROOT, TINY, Place, snapshot, weights

# T63 and T64: names


class Elements(HTMLParser):
    """The elements of a page, with the names of their attributes, and every address in it."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.addresses, self.policy = set(), [], ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.elements.add((tag, frozenset(name for name, _ in attributes)))
        values = dict(attributes)
        self.addresses += [values[name] for name in ("src", "href", "srcset", "action", "data") if name in values]
        if values.get("http-equiv", "").lower() == "content-security-policy":
            self.policy = values["content"]


def assert_harmless(page, tame):
    """Check that names from the data became neither elements nor attributes nor addresses."""
    found, plain = Elements(page.read_text()), Elements(tame.read_text())
    assert found.elements <= plain.elements | {("li", frozenset()), ("tr", frozenset())}
    assert "script" not in {tag for tag, _ in found.elements}
    assert not any(name.startswith("on") for _, names in found.elements for name in names)
    assert "default-src 'none'" in found.policy
    assert all(address.startswith(("data:", "#", "figures/")) for address in found.addresses)


@pytest.fixture(scope="session")
def hostile_once(tmp_path_factory):
    with pytest.MonkeyPatch.context() as environment:
        place = Place(tmp_path_factory.mktemp("hostile"), environment)
        hostile(place.data / "names")
        folder(place.data / "tame")
        for data in ("names", "tame"):
            place.train(place.data / data, "--flip", baseline=True, out=f"out-{data}")
    return place


@pytest.fixture
def hostiles(hostile_once, place):
    shutil.copytree(hostile_once.root, place.root, dirs_exist_ok=True)
    return place


def test_t63_hostile_names_in_the_check(hostiles):
    put(hostiles.data / "names" / "train" / "-1+1" / "<b>bad</b>.png", b"<script>alert(1)</script>")
    put(hostiles.data / "tame" / "train" / "cat" / "bad.png", b"no picture")
    for data in ("names", "tame"):
        hostiles.call("check", hostiles.data / data, "-o", f"out-check-{data}")
    assert_harmless(hostiles.run("out-check-names") / "check.html", hostiles.run("out-check-tame") / "check.html")
    json.loads((hostiles.run("out-check-names") / "check.json").read_text())


def test_t63_hostile_names_on_the_terminal(place):
    hostile(place.data)
    bad = place.data / "train" / "\x1b[2J" / "\u202egnp.\n\x07.png"
    put(bad, b"\x1b]0;title\x07 no picture")
    called = place.train(place.data, code=3, says=["D014", r"\x1b[2J", r"\u202egnp"])
    checked = place.call("check", place.data, "-o", "out-check", says=[r"\x1b[2J", r"\u202egnp"])
    bad.unlink()
    trained = place.train(place.data, "--flip", says=[r"\x1b[2J"])
    for text in (*called[1:], *checked[1:], *trained[1:]):
        assert not any(ord(letter) < 32 and letter not in "\n\t\r" for letter in text), "the terminal is steered"
        assert "\u202e" not in text


@pytest.mark.slow
def test_t63_hostile_names_in_report_and_card(hostiles):
    for data in ("names", "tame"):
        hostiles.call("report", f"out-{data}")
        hostiles.call("export", f"out-{data}", "--format", "safetensors")
    assert_harmless(hostiles.run("out-names") / "report.html", hostiles.run("out-tame") / "report.html")
    card = (hostiles.run("out-names") / "export" / "README.md").read_text()
    assert "<img" not in card
    assert "<script" not in card
    for path in (hostiles.run("out-names") / "figures").glob("*.csv"):
        rows = csv.reader(path.read_text(encoding="utf-8").splitlines(keepends=True))
        assert not any(cell.startswith(("=", "@", "\t", "\r")) for row in rows for cell in row)


def test_t64_formulas_in_predictions(hostiles):
    hostiles.call("predict", "out-names", hostiles.data / "names", "-o", "out.csv", "--workers", "0")
    hostiles.call("predict", "out-names", hostiles.data / "names", "-o", "out.jsonl", "--workers", "0")
    with (hostiles.work / "out.csv").open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    numbers = [place for place, name in enumerate(header) if name.startswith(("p:", "confidence"))]
    lines = [json.loads(line) for line in (hostiles.work / "out.jsonl").read_text().splitlines()]
    assert len(rows) == len(lines) == 60
    for cells in (header, *rows):
        for place, cell in enumerate(cells):
            if place not in numbers or cells is header:
                assert not cell.startswith(("=", "+", "-", "@", "\t", "\r")), cell
    for row in rows:
        assert all(0 <= float(row[place]) <= 1 for place in numbers)
    label = header.index("label")
    assert [row[label].removeprefix("'") for row in rows] == [line["label"] for line in lines]
    assert {line["label"] for line in lines} <= set(fixtures.CLASS_NAMES)


def test_t64_formulas_in_right_and_wrong(hostiles):
    hostiles.call("evaluate", "out-names", "--predictions", "out.csv")
    with (hostiles.work / "out.csv").open(newline="", encoding="utf-8") as file:
        _, *rows = csv.reader(file)
    assert len(rows) == 21
    assert not any(cell.startswith(("=", "+", "@", "\t", "\r", "-1+1")) for row in rows for cell in row)


# T65 and T66: files that hold code

PAYLOADS = ("p.pt", "p.ckpt", "p.safetensors", "p.npz", "p.json")


@pytest.mark.parametrize("command", ["predict", "evaluate", "show", "report", "export", "weights"])
def test_t65_a_pickle_given_as_model(finished, command):
    for name in PAYLOADS:
        path = payload_file(finished.work / name, finished.canary)
        more = {
            "predict": [finished.data / "test", "-o", "out.csv"],
            "export": ["-o", "out-export"],
        }
        words = [command, path, *more.get(command, [])]
        if command == "weights":
            words = ["train", finished.data, *TINY, "--out", "out2", "--weights", path]
        finished.call(*words, code=7, says=["safetensors"])


def test_t65_a_pickle_given_as_run_to_resume(finished):
    for name in PAYLOADS:
        path = payload_file(finished.work / name, finished.canary)
        called = finished.call("train", finished.data, *TINY, "--no-baseline", "--resume", "--out", path, code=7)
        called.said("safetensors")


@pytest.mark.parametrize("name", ["x.npz", "x.npy", "x.pkl", "x.pt"])
def test_t65_pickled_data(place, name):
    path = payload_file(place.data / name, place.canary)
    place.train(path, code=7, says=["S001"])


@pytest.mark.parametrize(
    "name",
    ["fits/fixmatch-0/model.safetensors", "fits/fixmatch-0/model.json", "fits/fixmatch-0/fit.json", "run.json",
     "fits/fixmatch-0/outputs.safetensors", "fits/fixmatch-0/result.json", "manifest.jsonl"],
)  # fmt: skip
def test_t65_a_pickle_inside_a_run(finished, name):
    put(finished.run() / name, payload(finished.canary))
    short = name.rpartition("/")[2]
    if short in ("model.safetensors", "model.json"):
        finished.call("predict", "out", finished.data / "test", "-o", "out.csv", code=4, says=[short])
    elif short in ("fit.json", "run.json"):
        finished.call("show", "out", code=4, says=[short])
    else:
        finished.call("report", "out", "--no-pictures", code=4, says=[short])


def test_t65_a_pickle_inside_a_checkpoint(stopped):
    for path in (stopped.run() / "fits" / "fixmatch-0" / "checkpoints").glob("step-*/tensors.safetensors"):
        put(path, payload(stopped.canary))
    stopped.train(stopped.data, "--steps", "6", "--resume", code=7, says=["S020"])


CODE = {
    "a class of Python": {"name": "os.system", "arguments": {"command": "touch CANARY"}},
    "a target": {"_target_": "os.system", "command": "touch CANARY", "name": "small_cnn"},
    "a path": {"name": "..\\..\\evil"},
    "another path": {"name": "../../evil"},
    "a module": {"name": "timm.create_model:hf-hub:evil/model"},
    "a hub": {"name": "hf-hub:evil/model"},
    "an import": {"name": "__import__('os').system('touch CANARY')"},
    "a dunder": {"name": "__class__"},
}


@pytest.mark.parametrize("kind", CODE)
def test_t66_a_model_that_names_code(finished, kind):
    path = finished.run() / "fits" / "fixmatch-0" / "model.json"
    card = json.loads(path.read_text())
    assert isinstance(card["network"], dict)
    changed = json.loads(json.dumps(CODE[kind]).replace("CANARY", str(finished.canary)))
    old = {key: value for key, value in card["network"].items() if key not in changed}
    path.write_text(json.dumps({**card, "network": {**old, **changed}}))
    called = finished.call("predict", "out", finished.data / "test", "-o", "out.csv", code=4)
    assert "model" in called.err
    assert not (finished.work / "out.csv").exists()


@pytest.mark.parametrize("name", ["../../../etc", "/etc", "..", "a/../../b", "\0"])
def test_t66_a_run_that_ships_another_folder(finished, name):
    path = finished.run() / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "shipped": name}))
    finished.call("predict", "out", finished.data / "test", "-o", "out.csv", code=4)
    finished.call("show", "out", code=4)


@pytest.mark.parametrize("value", ["/etc/hostname", "../../../../etc/hostname", "http://localhost/x"])
def test_t66_a_manifest_with_paths_that_lead_elsewhere(finished, value):
    path = finished.run() / "manifest.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines[-1]["path"] = value
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    finished.train(finished.data, "--resume", baseline=True, code=4, says=["C026"])


# T68 and T69: no network, nowhere to write

CONFINED = """
import io, json, os, resource, subprocess, sys
from semilla.cli import main

def call(name, *words):
    out, err = io.StringIO(), io.StringIO()
    sys.stdout, sys.stderr = out, err
    try:
        main([str(word) for word in words])
    except SystemExit as stop:
        code = stop.code or 0
    finally:
        sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__
    told[name] = [int(code), out.getvalue(), err.getvalue()]

def mount(*words):
    subprocess.run(["mount", *words], check=True)

def read_only(folder):
    mount("--bind", folder, folder)
    mount("-o", "remount,ro,bind", folder)

told, tiny = {}, json.loads(sys.argv[2])
os.chdir(sys.argv[1])
interfaces = [line.split(":")[0].strip() for line in open("/proc/net/dev") if ":" in line]
told["interfaces"] = [interfaces, "", ""]
train = ["train", "../data", *tiny, "--no-baseline", "--out"]
read_only("../data")
read_only("../home")
try:
    open("../data/x", "w")
    told["data"] = [0, "writable", ""]
except OSError:
    told["data"] = [1, "", ""]
call("data and home read-only", *train, "out-ro")
call("predict", "predict", "out-ro", "../data/test", "-o", "out-ro.csv")
call("check", "check", "../data", "-o", "out-check")
read_only("../cache")
call("cache read-only", *train, "out-nocache")
os.environ["SEMILLA_CACHE"] = "/proc/nowhere"
call("cache impossible", *train, "out-nowhere")
os.makedirs("out-small")
mount("-t", "tmpfs", "-o", "size=64k", "tmpfs", "out-small")
call("run folder full", *train, "out-small/run")
told["left"] = [0, " ".join(p for _, _, names in os.walk("out-small") for p in names if p.startswith(".tmp")), ""]
mount("-t", "tmpfs", "-o", "size=4k", "tmpfs", "../tmp")
open("../tmp/fill", "wb").write(bytes(4096))
call("temporary folder full", *train, "out-tmp")
os.makedirs("out-ro-run")
read_only("out-ro-run")
call("run folder read-only", *train, "out-ro-run/run")
call("predictions nowhere", "predict", "out-ro", "../data/test", "-o", "out-ro-run/p.csv")
call("check nowhere", "check", "../data", "-o", "out-ro-run/check")
json.dump(told, open("out-told.json", "w"))
"""


def _can_confine():
    test = "mount -t tmpfs tmpfs /mnt"
    return subprocess.run(["unshare", "-rnm", "sh", "-c", test], capture_output=True).returncode == 0


@pytest.fixture(scope="session")
def confined(finished_once, tmp_path_factory):
    """What commands said in a process without network, with folders that are read-only or full."""
    if shutil.which("unshare") is None or not _can_confine():
        pytest.skip("this system does not allow user namespaces (unshare -rnm)")
    with pytest.MonkeyPatch.context() as environment:
        place = Place(tmp_path_factory.mktemp("confined"), environment)
        shutil.copytree(finished_once[0].data, place.data, dirs_exist_ok=True)

        before = snapshot(place.data)
        path = os.pathsep.join([str(ROOT / "src"), *sys.path])
        done = subprocess.run(
            ["unshare", "-rnm", sys.executable, "-c", CONFINED, str(place.work), json.dumps(TINY)],
            env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert snapshot(place.data) == before
        assert not list((place.root / "home").iterdir())
    return place, json.loads((place.work / "out-told.json").read_text())


def test_t68_without_a_network_the_bits_are_the_same(confined, finished_once):
    place, told = confined
    assert told["interfaces"][0] == ["lo"]
    assert told["data and home read-only"][0] == told["predict"][0] == told["check"][0] == 0
    assert weights(place.run("out-ro")) == weights(finished_once[0].run())


@pytest.mark.parametrize(
    "name",
    ["data and home read-only", "predict", "check", "cache read-only", "cache impossible", "temporary folder full"],
)
def test_t69_what_is_not_needed_may_be_read_only_or_full(confined, name):
    told = confined[1]
    assert told["data"][0] == 1
    code, out, err = told[name]
    assert code == 0, out + err
    assert "Traceback" not in err


@pytest.mark.parametrize("name", ["run folder full", "run folder read-only", "predictions nowhere", "check nowhere"])
def test_t69_what_is_needed_says_so(confined, name):
    code, out, err = confined[1][name]
    assert code in ((6,) if name == "run folder full" else (2, 6)), out + err
    assert "error[" in err
    assert "Traceback" not in err
    assert confined[1]["left"][1] == ""


@pytest.mark.parametrize("name", ["cache", "home"])
def test_t69_a_file_where_a_folder_is_expected(place, monkeypatch, name):
    folder(place.data)
    put(place.root / "file", "x")
    if name == "home":
        monkeypatch.setenv("HOME", str(place.root / "file"))
        monkeypatch.delenv("SEMILLA_CACHE")
    else:
        monkeypatch.setenv("SEMILLA_CACHE", str(place.root / "file"))
    place.train(place.data)
    place.call("train", place.data, *TINY, "--out", place.root / "file" / "run", code=2, says=["file"])
