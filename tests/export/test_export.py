"""A run's folder of exported files: what is in it, what never is, and what stays when it cannot be written."""

from __future__ import annotations

import json
import os
import re
from hashlib import sha256
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import safetensors.torch
from click.testing import CliRunner
from PIL import Image

from export.runs import GREY, NAMES, VECTORS, Own, examples, write_run, write_verdict
from semilla.cli import cli
from semilla.errors import DataError, ResourceError, SemillaError, StateError, UsageError
from semilla.exporting import export, folder
from semilla.inference.model import load

FILES = {
    "onnx": ["README.md", "model.onnx"],
    "safetensors": ["README.md", "config.json", "model.json", "model.safetensors"],
    "all": ["README.md", "config.json", "model.json", "model.onnx", "model.safetensors"],
}


def names(path):
    return sorted(entry.name for entry in path.iterdir())


def leftovers(path):
    return [entry for entry in path.rglob("*") if entry.name.startswith(".tmp")]


@pytest.mark.parametrize("format", FILES)
def test_the_files_of_each_format(quick, tmp_path, format):
    run = write_run(tmp_path / "run")
    done = export(run, format=format, out=tmp_path / "out")
    assert names(tmp_path / "out") == FILES[format] == sorted(done.sizes)
    assert all((tmp_path / "out" / name).stat().st_size == size for name, size in done.sizes.items())
    assert (done.agreement is None) == (format == "safetensors")
    assert not leftovers(tmp_path)


def test_the_default_folder_lies_in_the_run(tmp_path):
    run = write_run(tmp_path / "run")
    assert export(str(run), format="safetensors").folder == run / "export"
    assert (run / "export" / "README.md").is_file()


def test_the_metadata_say_all_that_a_program_needs(tmp_path):
    hostile = ('a"b', "cat, dog", "<script>\n{{x}}\u202e")
    calibration = {"temperature": 1.5, "fitted_on": "test", "n": 60}
    run = write_run(tmp_path / "run", "mlp", classes=hostile, calibration=calibration)
    export(run, format="onnx")
    session = onnxruntime.InferenceSession(run / "export" / "model.onnx", providers=["CPUExecutionProvider"])
    said = session.get_modelmeta().custom_metadata_map
    assert json.loads(said["classes"]) == list(hostile)
    assert (said["method"], said["task"]) == ("fixmatch", "tabular-classification")
    inputs = json.loads(said["input"])
    assert (inputs["name"], inputs["type"], inputs["shape"]) == ("inputs", "float32", ["batch", 5])
    assert inputs["normalized_inside"]["mean"] == VECTORS["mean"]
    assert json.loads(said["calibration"]) == calibration
    training = json.loads(said["training"])
    assert training["data"]["labeled"] == 9
    assert training["settings"]["hyperparameters"] == {"threshold": 0.9}
    assert "arXiv 2001.07685" in training["paper"]
    versions = json.loads(said["versions"])
    assert {"semilla", "torch", "onnx", "onnxruntime"} <= set(versions["exported"])


def test_the_metadata_describe_how_a_picture_is_prepared(tmp_path):
    from semilla.exporting.facts import describe_input

    said = describe_input({**GREY, "reading": {"resize": "pad"}})
    assert (said["layout"], said["colors"], said["range"], said["resize"]) == ("NCHW", "gray", [0, 255], "pad")
    assert "EXIF" in said["preparation"]
    assert "the rest black" in said["preparation"]
    assert describe_input({**GREY, "shape": [3, 8, 8]})["colors"] == "RGB"


def test_the_weights_come_as_they_are_and_load_in_two_lines(tmp_path):
    run = write_run(tmp_path / "run", calibration={"temperature": 1.5})
    export(run, format="safetensors", out=tmp_path / "out")
    fit = run / "fits" / "fixmatch-0"
    weights = (tmp_path / "out" / "model.safetensors").read_bytes()
    assert weights == (fit / "model.safetensors").read_bytes()
    card = json.loads((tmp_path / "out" / "model.json").read_text())
    assert card["weights_sha256"] == sha256(weights).hexdigest()
    inputs = examples(GREY, 5)
    np.testing.assert_array_equal(load(tmp_path / "out").predict_proba(inputs), load(run).predict_proba(inputs))
    by_hand = safetensors.torch.load_file(tmp_path / "out" / "model.safetensors")
    assert all(name.startswith("model.") for name in by_hand)
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["settings"]["method"] == "fixmatch"
    assert config["versions"]["torch"]


def test_a_network_of_the_users_own_must_be_given(tmp_path):
    run = write_run(tmp_path / "run", spec={"name": "custom"}, inputs=GREY, network=Own())
    with pytest.raises(StateError, match="C021"):
        export(run)
    done = export(run, network=Own(), out=tmp_path / "out")
    assert done.agreement.probabilities <= 1e-4
    assert not (run / "export").exists()


# Privacy


def test_no_file_holds_an_absolute_path(tmp_path):
    home = tmp_path / "home of jane"
    run = write_run(
        home / "secret place" / "run",
        "mlp",
        data="pets",
        source={"data": str(home / "pictures")},
        settings={"weights": str(home / "secret place" / "start.safetensors"), "labels_file": "~jane/labels.txt"},
        notes=[f"read {tmp_path}/folder/list.csv", f"3 files left out:\n  {home}/a.png"],
    )
    write_verdict(run, why=f"see {tmp_path}/folder/why.txt")
    export(run, out=tmp_path / "out")
    for name in names(tmp_path / "out"):
        data = (tmp_path / "out" / name).read_bytes()
        for secret in (str(tmp_path), "jane", "secret place", os.path.expanduser("~/"), os.getcwd()):
            assert secret.encode() not in data, (name, secret)
    assert "start.safetensors" in (tmp_path / "out" / "README.md").read_text()


def test_a_class_may_be_called_like_a_path(tmp_path):
    classes = ("/etc/passwd", "~root", "C:\\x\\y")
    export(write_run(tmp_path / "run", classes=classes), format="safetensors")
    assert load(tmp_path / "run" / "export").classes == classes


# What cannot be exported


def test_a_tampered_run_is_refused_and_leaves_nothing(tmp_path):
    run = write_run(tmp_path / "run")
    weights = run / "fits" / "fixmatch-0" / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(StateError, match="C022"):
        export(run, format="safetensors")
    assert names(run) == ["fits"]


def test_a_damaged_verdict_is_refused(tmp_path):
    run = write_run(tmp_path / "run")
    write_verdict(run, word="perhaps")
    with pytest.raises(StateError, match=r"run\.json holds no verdict"):
        export(run, format="safetensors")
    assert not (run / "export").exists()


def test_an_onnx_file_that_disagrees_is_not_left_behind(quick, tmp_path):
    run = write_run(tmp_path / "run", test=0)
    other = load(run)
    with_other_weights = write_run(tmp_path / "other")
    net = load(with_other_weights).net
    for weight in net.parameters():
        weight.add_(0.05)
    from semilla.inference.model import save_model

    fit = run / "fits" / "fixmatch-0"
    save_model(fit, net, {key: value for key, value in other.card.items() if key not in ("format", "weights_sha256")})
    with pytest.raises(StateError, match="C050"):
        export(run)
    assert names(run) == ["fits"]


def test_missing_packages_are_told_before_the_run_is_read(monkeypatch, tmp_path):
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(UsageError, match="U050"):
        export(tmp_path / "there is no run")
    run = write_run(tmp_path / "run")
    assert export(run, format="safetensors").agreement is None  # which needs none of them


def test_an_unknown_format_is_refused(tmp_path):
    with pytest.raises(UsageError, match="U054"):
        export(tmp_path, format="torchscript")


def test_one_of_several_fits_must_be_named(tmp_path):
    run = write_run(tmp_path / "run")
    write_run(tmp_path / "run", method="uda")
    with pytest.raises(StateError, match="C024"):
        export(run, format="safetensors")
    export(run, fit="uda-0", format="safetensors")
    assert json.loads((run / "export" / "config.json").read_text())["settings"]["method"] == "uda"


def test_the_shipped_fit_is_taken_and_a_fits_folder_knows_the_verdict(tmp_path):
    run = write_run(tmp_path / "run")
    write_run(tmp_path / "run", method="uda")
    write_verdict(run)
    export(run, format="safetensors")
    assert json.loads((run / "export" / "config.json").read_text())["settings"]["method"] == "fixmatch"
    fit = run / "fits" / "fixmatch-0"
    export(fit, format="safetensors")
    assert "In this run the unlabeled examples helped." in (fit / "export" / "README.md").read_text()


# The folder


def test_an_export_is_never_overwritten_unasked(tmp_path):
    run = write_run(tmp_path / "run")
    export(run, format="safetensors")
    (run / "export" / "README.md").write_text("mine")
    with pytest.raises(UsageError, match="U051"):
        export(run, format="safetensors")
    assert (run / "export" / "README.md").read_text() == "mine"
    export(run, format="safetensors", overwrite=True)
    assert (run / "export" / "README.md").read_text() != "mine"
    assert not leftovers(run)


def test_another_format_leaves_nothing_of_the_one_before(quick, tmp_path):
    run = write_run(tmp_path / "run")
    export(run, format="safetensors")
    export(run, format="onnx", overwrite=True)
    assert names(run / "export") == FILES["onnx"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_with_anything_else_is_never_touched(tmp_path, overwrite):
    run = write_run(tmp_path / "run")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("years of work")
    with pytest.raises(UsageError, match="U052"):
        export(run, format="safetensors", out=tmp_path / "out", overwrite=overwrite)
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError, match="U052"):
        export(run, format="safetensors", out=tmp_path / "file", overwrite=overwrite)
    assert names(tmp_path / "out") == ["thesis.txt"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_link_is_not_followed(tmp_path, overwrite):
    run = write_run(tmp_path / "run")
    (tmp_path / "real").mkdir()
    (tmp_path / "out").symlink_to("real")
    with pytest.raises(UsageError, match="U052"):
        export(run, format="safetensors", out=tmp_path / "out", overwrite=overwrite)
    assert names(tmp_path / "real") == []


def test_an_empty_folder_and_missing_parents_will_do(tmp_path):
    run = write_run(tmp_path / "run")
    (tmp_path / "out").mkdir()
    export(run, format="safetensors", out=tmp_path / "out")
    export(run, format="safetensors", out=tmp_path / "a" / "b" / "c")
    assert names(tmp_path / "out") == names(tmp_path / "a" / "b" / "c") == FILES["safetensors"]


def test_a_parent_that_is_a_file_is_told(tmp_path):
    run = write_run(tmp_path / "run")
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError, match="U014"):
        export(run, format="safetensors", out=tmp_path / "file" / "out")


@pytest.mark.parametrize("action", ["raise", "enospc"])
def test_a_failure_while_writing_leaves_the_export_of_before(tmp_path, monkeypatch, action, capsys):
    run = write_run(tmp_path / "run")
    export(run, format="safetensors")
    before = {name: (run / "export" / name).read_bytes() for name in names(run / "export")}
    monkeypatch.setenv("SEMILLA_FAULT", f"export.rename:1:{action}")
    with pytest.raises((RuntimeError, ResourceError)):
        export(run, format="safetensors", overwrite=True)
    assert {name: (run / "export" / name).read_bytes() for name in names(run / "export")} == before
    assert not leftovers(run)
    capsys.readouterr()


def test_a_rename_that_fails_puts_the_old_folder_back(tmp_path, monkeypatch):
    run = write_run(tmp_path / "run")
    export(run, format="safetensors")
    before = (run / "export" / "README.md").read_bytes()
    rename, calls = folder.files.disk.rename, []

    def failing(old, new):
        calls.append(new)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        rename(old, new)

    monkeypatch.setattr(folder.files.disk, "rename", failing)
    with pytest.raises(ResourceError):
        export(run, format="safetensors", overwrite=True)
    assert (run / "export" / "README.md").read_bytes() == before
    assert not leftovers(run)


# Samples


def test_the_runs_own_test_examples_serve_where_they_are_at_hand(quick, tmp_path):
    agreement = export(write_run(tmp_path / "run", source={"data": "digits"})).agreement
    assert (agreement.samples, agreement.count) == ("test examples", 64)


@pytest.mark.parametrize("source", [None, {"data": "/nowhere/at/all"}, {"data": "digits", "of_a_newer": "version"}])
def test_without_the_runs_data_random_inputs_serve_and_are_called_so(quick, tmp_path, source):
    done = export(write_run(tmp_path / "run", source=source))
    assert done.agreement.samples.startswith("random inputs")
    assert "random inputs" in "\n".join(done.lines())
    assert "random inputs" in (tmp_path / "run" / "export" / "README.md").read_text()


def test_pictures_that_the_user_names(quick, tmp_path):
    place = tmp_path / "pictures"
    (place / "below").mkdir(parents=True)
    for number in range(3):
        Image.fromarray(examples(GREY, 3)[number, 0]).resize((20, 12)).save(place / "below" / f"{number}.png")
    (place / "broken.png").write_bytes(b"no picture")
    run = write_run(tmp_path / "run")
    agreement = export(run, samples=place).agreement
    assert (agreement.samples, agreement.count) == ("samples of yours", 7)  # three, repeated for a batch of 7
    export(run, samples=place / "below" / "0.png", overwrite=True)
    with pytest.raises(DataError, match="D014"):
        export(run, samples=place / "broken.png", overwrite=True)
    with pytest.raises(DataError):
        export(run, samples=tmp_path / "missing.png", overwrite=True)


def test_arrays_that_the_user_names(quick, tmp_path):
    np.savez(tmp_path / "mine.npz", x_train=examples(GREY, 70), y_train=np.arange(70) % 3)
    run = write_run(tmp_path / "run")
    assert export(run, samples=tmp_path / "mine.npz").agreement.count == 64
    np.savez(tmp_path / "other.npz", x_train=np.zeros((5, 9, 9), np.uint8), y_train=np.arange(5) % 2)
    with pytest.raises(SemillaError, match="C020"):
        export(run, samples=tmp_path / "other.npz", overwrite=True)


# What the documents say


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_program_in_the_documents_answers_as_semilla_does(exported_run, tmp_path, monkeypatch, orientation):
    text = (Path(__file__).parents[2] / "docs" / "export.md").read_text("utf-8")
    (program,) = re.findall(r"^```python\n(import json.*?)^```$", text, re.DOTALL | re.MULTILINE)
    picture = Image.fromarray(examples({**GREY, "shape": [3, 12, 14]}, 1)[0].transpose(1, 2, 0))
    exif = Image.Exif()
    exif[274] = orientation
    picture.save(tmp_path / "cat.jpg", quality=95, exif=exif)
    monkeypatch.chdir(exported_run / "export")
    known = {}
    exec(compile(program.replace("cat.jpg", str(tmp_path / "cat.jpg")), "export.md", "exec"), known)
    wanted = load(exported_run).predict_proba([tmp_path / "cat.jpg"])
    np.testing.assert_allclose(known["probabilities"], wanted, atol=1e-4)


# The command


def test_the_command_says_what_it_wrote(quick, tmp_path):
    run = write_run(tmp_path / "run", classes=NAMES)
    told = CliRunner().invoke(cli, ["export", str(run)], catch_exceptions=False)
    assert told.exit_code == 0
    assert "model.onnx" in told.output
    assert "onnxruntime gives PyTorch's probabilities within" in told.output
    assert "choose a license" in told.output


def test_the_command_as_json(quick, tmp_path):
    run = write_run(tmp_path / "run")
    told = CliRunner().invoke(cli, ["export", str(run), "--json", "-o", str(tmp_path / "out")], catch_exceptions=False)
    said = json.loads(told.stdout)
    assert said["ok"]
    assert said["folder"] == str(tmp_path / "out")
    assert sorted(said["files"]) == FILES["all"]
    assert said["onnxruntime"]["probabilities"] <= 1e-4


def test_the_command_passes_its_options_on(tmp_path, monkeypatch):
    given = {}
    monkeypatch.setattr("semilla.exporting.export", lambda run, **options: given.update(options) or _done(tmp_path))
    words = ["x", "--fit", "uda-1", "--format", "onnx", "-o", "o", "--samples", "s", "--overwrite"]
    assert CliRunner().invoke(cli, ["export", *words], catch_exceptions=False).exit_code == 0
    assert given.pop("progress") is not None
    assert given == {"fit": "uda-1", "format": "onnx", "out": "o", "samples": "s", "overwrite": True}


def _done(path):
    return folder.Exported(path, {"model.onnx": 1}, None)
