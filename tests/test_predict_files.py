"""Prediction over files: every row once, in order, the same bytes however the work is cut up or interrupted."""

import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.ipc
import pyarrow.parquet
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import semilla
from semilla.cli import main
from semilla.cli.console import progress_stream
from semilla.contract import Net, View
from semilla.data import progress
from semilla.data.images import Form
from semilla.data.source import Source
from semilla.data.tables import read_table
from semilla.errors import DataError, ResourceError, StateError, UsageError
from semilla.inference import calibration, decode, files, forward, listing, output
from semilla.inference.model import CARD, load, save_model
from semilla.networks import MLP, SmallCNN, WideResNet
from semilla.text import csv_original, csv_safe, escape_path, unescape_path

CLASSES = ("cat", "=dog", "-1", 'a "b",\nc')
BLOCK = 8


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Blocks of 8, so that few files make several."""
    monkeypatch.setattr(forward, "PICTURES", BLOCK)
    monkeypatch.setattr(forward, "VECTORS", BLOCK)


def save(folder, build, spec, inputs, **card):
    torch.manual_seed(0)
    folder.mkdir(parents=True, exist_ok=True)
    spec = {**spec, "classes": len(CLASSES)}
    net = Net(build())
    shape = inputs["shape"]
    with torch.no_grad():  # BatchNorm's statistics as after some training, so that answers differ
        for _ in range(20):
            net(View(torch.randn(64, shape[0], *(1 for _ in shape[1:])) + 0.3 * torch.randn(64, *shape)))
    save_model(folder, net.eval(), {"network": spec, "classes": list(CLASSES), "inputs": inputs, **card})
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    inputs = {"kind": "images", "shape": [3, 12, 12], "mean": [0.4] * 3, "std": [0.2] * 3, "flip": True}
    spec = {"name": "small_cnn", "channels": 3, "size": [12, 12], "width": 8}
    calibration = {"temperature": 0.2, "fitted_on": "development", "n": 900, "acceptance": [[0.4, 800, 800]]}
    folder = tmp_path_factory.mktemp("run")
    return save(folder, lambda: SmallCNN(3, (12, 12), len(CLASSES), 8), spec, inputs, calibration=calibration)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """43 pictures in three folders: five blocks and three more."""
    root, draw = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for number in range(43):
        folder = root / ("", "a", "b/c")[number % 3]
        folder.mkdir(parents=True, exist_ok=True)
        noise, color = draw.integers(0, 64, (12, 12, 3)), draw.integers(0, 192, 3)
        picture = Image.fromarray((noise + color).astype(np.uint8))
        picture.save(folder / f"{number:02}.png")
    return root


def whole(run, pictures, suffix, tmp_path, **more):
    path = tmp_path / f"whole{suffix}"
    files.predict(run, pictures, path, workers=0, **more)
    return path.read_bytes()


def rows_of(path):
    return list(csv.DictReader(io.StringIO(path.read_text("utf-8"), newline="")))


def command(*words):
    """``semilla`` in a process of its own."""
    return [sys.executable, "-m", "semilla", *map(str, words)]


# What is in a row


def test_rows_hold_what_the_model_says(run, pictures, tmp_path):
    done = files.predict(run, pictures, tmp_path / "p.csv", workers=0)
    model, rows = load(run), rows_of(tmp_path / "p.csv")
    names = sorted((str(path) for path in pictures.rglob("*.png")), key=os.fsencode)
    assert [row["path"] for row in rows] == names
    assert done.count == 43
    p = model.predict_proba(names)
    assert [csv_original(row["label"]) for row in rows] == model.predict(names)
    found = np.array([[row[f"p:{name}"] for name in CLASSES] for row in rows]).astype(np.float32)
    np.testing.assert_array_equal(found, p)
    np.testing.assert_array_equal(np.array([row["confidence"] for row in rows]).astype(np.float32), p.max(1))
    assert {row["error"] for row in rows} == {""}
    assert list(rows[0]) == ["path", "label", "confidence", *(f"p:{name}" for name in CLASSES), "error"]


def test_all_formats_say_the_same(run, pictures, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"no")
    inputs = [pictures, tmp_path / "bad.png"]
    for suffix in (".csv", ".jsonl", ".parquet"):
        done = files.predict(run, inputs, tmp_path / f"p{suffix}", precision=0.9, workers=0, on_bad_file="skip")
    kept = files.predict(run, inputs, precision=0.9, workers=0).rows
    lines = [json.loads(line) for line in (tmp_path / "p.jsonl").read_text("utf-8").splitlines()]
    assert lines == kept
    assert done.accepted == sum(line["accepted"] for line in lines)
    table = pyarrow.parquet.read_table(tmp_path / "p.parquet").to_pylist()
    for row, cells, columns in zip(lines, rows_of(tmp_path / "p.csv"), table, strict=True):
        assert row["path"] == csv_original(cells["path"]) == columns["path"]
        assert (row["label"] or "") == csv_original(cells["label"]) == (columns["label"] or "")
        assert row["accepted"] == (cells["accepted"] == "true") == columns["accepted"]
        assert (row["error"] or "") == cells["error"] == (columns["error"] or "")
        for name in CLASSES:
            value = None if row["probabilities"] is None else row["probabilities"][name]
            assert value == (float(cells[f"p:{name}"]) if cells[f"p:{name}"] else None)
            assert columns[f"p:{name}"] == (None if value is None else np.float32(value))


def test_probabilities_can_be_left_out(run, pictures, tmp_path):
    files.predict(run, pictures, tmp_path / "p.csv", probabilities=False, workers=0)
    assert list(rows_of(tmp_path / "p.csv")[0]) == ["path", "label", "confidence", "error"]


def test_embeddings_beside_and_inside(run, pictures, tmp_path):
    (tmp_path / "0.png").write_bytes(b"")
    inputs = [tmp_path / "0.png", pictures]
    files.predict(run, inputs, tmp_path / "p.csv", embeddings=tmp_path / "e.npy", workers=0, on_bad_file="skip")
    files.predict(run, inputs, tmp_path / "p.parquet", embeddings="column", workers=0, on_bad_file="skip")
    found = np.load(tmp_path / "e.npy", allow_pickle=False)
    assert np.isnan(found[0]).all()
    names = [csv_original(row["path"]) for row in rows_of(tmp_path / "p.csv")][1:]
    np.testing.assert_allclose(found[1:], load(run).embed(names), atol=1e-6)  # there each is one row further
    column = pyarrow.parquet.read_table(tmp_path / "p.parquet")["embedding"].to_pylist()
    assert column[0] is None
    np.testing.assert_array_equal(np.array(column[1:], np.float32), found[1:])


def test_accepted_are_those_above_the_threshold(run, pictures, tmp_path):
    done = files.predict(run, pictures, tmp_path / "p.csv", precision=0.95, workers=0)
    assert done.threshold == pytest.approx(0.4)
    rows = rows_of(tmp_path / "p.csv")
    assert [row["accepted"] == "true" for row in rows] == [float(row["confidence"]) >= 0.4 for row in rows]
    assert done.accepted == sum(row["accepted"] == "true" for row in rows)
    assert 0 < done.accepted < 43


def test_what_cannot_be_promised_is_said_and_accepts_nothing(run, pictures, tmp_path):
    said = []
    done = files.predict(run, pictures, tmp_path / "p.csv", precision=0.9999, workers=0, say=said.append)
    assert "warn[D063]" in said[0]
    assert (done.threshold, done.notes) == (None, said)
    assert {row["accepted"] for row in rows_of(tmp_path / "p.csv")} == {"false"}


def test_what_can_be_promised_instead_is_said(run, pictures):
    model, said = load(run), []
    table = [[0.3, 1000, 850], [0.5, 600, 560], [0.9, 100, 95]]
    model.card["calibration"] = {"temperature": 0.2, "fitted_on": "test", "n": 1000, "acceptance": table}
    files.predict(model, pictures, precision=0.99, workers=0, say=said.append)
    best = float(re.search(r"the highest that can is ([\d.]+) %, for 60 % of the examples: --precision", said[0])[1])
    share = float(said[0].rpartition(" ")[2])
    assert share == pytest.approx(best / 100)
    assert calibration.threshold(table, share) == 0.5
    assert calibration.threshold(table, share + 0.001) is None
    assert 0 < files.predict(model, pictures, precision=share, workers=0).accepted < 43
    model.card["calibration"] = {**model.card["calibration"], "acceptance": [[0.3, 1000, 0]]}
    files.predict(model, pictures, precision=0.99, workers=0, say=said.append)
    assert "highest" not in said[1]


# The same bytes


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_workers_do_not_matter(run, pictures, tmp_path, suffix):
    expected = whole(run, pictures, suffix, tmp_path)
    files.predict(run, pictures, tmp_path / f"two{suffix}", workers=2)
    assert (tmp_path / f"two{suffix}").read_bytes() == expected


def test_shares_are_the_whole(run, pictures, tmp_path):
    expected = whole(run, pictures, ".jsonl", tmp_path, embeddings=tmp_path / "e.npy").splitlines()
    found, features = {}, {}
    for place in range(3):
        files.predict(run, pictures, tmp_path / "p.jsonl", workers=0, shard=f"{place}/3", embeddings=tmp_path / "f.npy")
        rows = (tmp_path / f"p.part-{place}-of-3.jsonl").read_bytes().splitlines()
        vectors = np.load(tmp_path / f"f.part-{place}-of-3.npy", allow_pickle=False)
        for row, vector in zip(rows, vectors, strict=True):
            assert row not in found
            found[row], features[row] = place, vector
    assert sorted(found) == sorted(expected)
    assert [found[row] for row in expected] == [number // BLOCK % 3 for number in range(43)]
    kept = np.load(tmp_path / "e.npy", allow_pickle=False)
    np.testing.assert_array_equal([features[row] for row in expected], kept)


def test_more_shares_than_blocks_leave_some_empty(run, pictures, tmp_path):
    done = files.predict(run, pictures, tmp_path / "p.csv", workers=0, shard=(7, 9))
    assert done.count == 0
    assert rows_of(tmp_path / "p.part-7-of-9.csv") == []


def test_torchrun_gives_each_process_its_share(run, pictures, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    done = files.predict(run, pictures, tmp_path / "p.csv", workers=0)
    assert done.output == tmp_path / "p.part-1-of-2.csv"
    assert done.count == 8 + 8 + 3


THREADS = """
import sys, torch
from semilla.inference import forward
from semilla.inference.files import predict
forward.PICTURES = 8
torch.set_num_threads(int(sys.argv[1]))
predict(sys.argv[2], sys.argv[3], sys.argv[4], workers=int(sys.argv[5]))
"""


@pytest.mark.parametrize("threads", [1, 3])
def test_threads_do_not_matter(tmp_path, pictures, threads):
    """Of a network whose sums depend on how threads share them; the script has no main guard and needs none."""
    inputs = {"kind": "images", "shape": [3, 12, 12], "mean": [0.4] * 3, "std": [0.2] * 3, "flip": True}
    spec = {"name": "wide_resnet", "channels": 3, "depth": 10, "widen": 2}
    wide = save(tmp_path / "wide", lambda: WideResNet(3, len(CLASSES), 10), spec, inputs)
    expected = whole(wide, pictures, ".csv", tmp_path)
    script = tmp_path / "script.py"
    script.write_text(THREADS)
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    words = [sys.executable, script, str(threads), wide, pictures, tmp_path / "p.csv", "1"]
    subprocess.run(words, env=environment, check=True)
    assert (tmp_path / "p.csv").read_bytes() == expected


def test_a_block_is_computed_by_one_thread(run, pictures):
    """Whatever number of threads PyTorch was told to use, which it uses again afterwards."""
    model, seen = load(run), []
    model.net.register_forward_hook(lambda *_: seen.append(torch.get_num_threads()))
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        files.predict(model, pictures, workers=0)
        assert (seen, torch.get_num_threads()) == ([1] * 6, 3)
    finally:
        torch.set_num_threads(before)


def test_a_block_is_computed_by_itself(run, pictures):
    """What a row says depends on its own block, not on what comes before or after."""
    names = sorted((str(path) for path in pictures.rglob("*.png")), key=os.fsencode)
    p = load(run).predict_proba(names)
    np.testing.assert_array_equal(load(run).predict_proba(names[BLOCK : 3 * BLOCK]), p[BLOCK : 3 * BLOCK])


def test_large_pictures_come_in_smaller_blocks(monkeypatch):
    monkeypatch.undo()
    assert [forward.block_rows(shape) for shape in ((7,), (3, 32, 32), (3, 64, 64))] == [1024, 128, 128]
    assert forward.block_rows((3, 224, 224)) == 8
    assert forward.block_rows((3, 4096, 4096)) == 1


# Interrupted


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_resuming_after_any_byte_gives_the_same_file(run, pictures, tmp_path, suffix):
    expected = whole(run, pictures, suffix, tmp_path)
    path = tmp_path / f"p{suffix}"
    ends = [0, 5, expected.index(b"\n") + 1, expected.rindex(b"\n"), len(expected) - 1, len(expected)]
    ends += np.random.default_rng(0).integers(0, len(expected), 12).tolist()
    for end in ends:
        path.write_bytes(expected[:end])
        files.predict(run, pictures, path, workers=0, resume=True)
        assert path.read_bytes() == expected, end


def test_resuming_parquet_gives_the_same_file(run, pictures, tmp_path, monkeypatch):
    expected = whole(run, pictures, ".parquet", tmp_path, embeddings="column")
    path = tmp_path / "p.parquet"
    partial = tmp_path / "p.parquet.partial"
    monkeypatch.setattr(output.ParquetOutput, "finish", lambda self: None)
    files.predict(run, pictures, path, workers=0, embeddings="column")
    stream = partial.read_bytes()
    monkeypatch.undo()
    monkeypatch.setattr(forward, "PICTURES", BLOCK)
    for end in [0, 10, len(stream) // 2, len(stream) - 1, len(stream), *range(0, len(stream), len(stream) // 7)]:
        partial.write_bytes(stream[:end])
        path.unlink(missing_ok=True)
        files.predict(run, pictures, path, workers=0, embeddings="column", resume=True)
        assert path.read_bytes() == expected, end
        assert not partial.exists()


@pytest.mark.parametrize("ahead", ["table", "features"])
def test_resuming_two_files_of_which_one_is_ahead(run, pictures, tmp_path, ahead):
    expected = whole(run, pictures, ".csv", tmp_path, embeddings=tmp_path / "e.npy")
    table, features = tmp_path / "p.csv", tmp_path / "p.npy"
    lines, array = list(output._records(io.BytesIO(expected), True)), (tmp_path / "e.npy").read_bytes()
    row = (len(array) - 128) // 43
    rows = {"table": (30, 11), "features": (19, 40)}[ahead]
    table.write_bytes(b"".join(lines[: 1 + rows[0]]))
    features.write_bytes(array[: 128 + row * rows[1] + 3])
    files.predict(run, pictures, table, workers=0, embeddings=features, resume=True)
    assert table.read_bytes() == expected
    assert features.read_bytes() == array


def test_resuming_parquet_beside_features_that_are_behind(run, pictures, tmp_path, monkeypatch):
    features, path = tmp_path / "p.npy", tmp_path / "p.parquet"
    expected = whole(run, pictures, ".parquet", tmp_path, embeddings=tmp_path / "e.npy")
    monkeypatch.setattr(output.ParquetOutput, "finish", lambda self: None)
    files.predict(run, pictures, path, workers=0, embeddings=features)
    monkeypatch.undo()
    monkeypatch.setattr(forward, "PICTURES", BLOCK)
    array = features.read_bytes()
    features.write_bytes(array[: 128 + (len(array) - 128) // 43 * 11])
    files.predict(run, pictures, path, workers=0, embeddings=features, resume=True)
    assert path.read_bytes() == expected
    assert features.read_bytes() == array


def test_resuming_in_a_share(run, pictures, tmp_path):
    files.predict(run, pictures, tmp_path / "p.csv", workers=0, shard="1/2")
    path = tmp_path / "p.part-1-of-2.csv"
    expected = path.read_bytes()
    path.write_bytes(expected[:-200])
    files.predict(run, pictures, tmp_path / "p.csv", workers=0, shard="1/2", resume=True)
    assert path.read_bytes() == expected


def test_resuming_what_another_began_is_refused(run, pictures, tmp_path):
    path = tmp_path / "p.csv"
    expected = whole(run, pictures, ".csv", tmp_path)
    half = expected[: len(expected) // 2]

    def refused(model, inputs, **more):
        path.write_bytes(half)
        with pytest.raises(StateError) as caught:
            files.predict(model, inputs, path, workers=0, resume=True, **more)
        assert caught.value.code == "C031"
        assert path.read_bytes() == half or half.startswith(path.read_bytes())

    refused(run, pictures, precision=0.9)  # other columns
    other = tmp_path / "other"
    other.mkdir()
    for name in ("model.safetensors", CARD):
        (other / name).write_bytes((run / name).read_bytes())
    card = json.loads((other / CARD).read_text())
    card["calibration"]["temperature"] = 0.3
    (other / CARD).write_text(json.dumps(card))
    refused(other, pictures)  # another model
    refused(run, [pictures / "a", pictures])  # other files
    refused(run, pictures / "b")  # fewer files


def test_a_signal_ends_it_between_rows_and_resuming_completes_it(run, pictures, tmp_path, monkeypatch):
    monkeypatch.undo()  # the process that is stopped has blocks of the usual size
    many = tmp_path / "many"
    many.mkdir()
    for number in range(3000):
        os.link(pictures / "00.png", many / f"{number:04}.png")
    path = tmp_path / "p.csv"
    process = subprocess.Popen(
        command("predict", run, many, "-o", path, "--device", "cpu"), stderr=subprocess.PIPE, text=True
    )
    while process.poll() is None and (not path.exists() or path.stat().st_size < 2000):
        time.sleep(0.005)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate()
    if process.returncode == 0:
        pytest.fail("it was done before the signal arrived")
    assert process.returncode == 143, err
    assert "--resume" in err
    assert 0 < len(rows_of(path)) < 3000
    files.predict(run, many, path, resume=True, workers=0, device="cpu")
    assert len(rows_of(path)) == 3000
    assert len({row["confidence"] for row in rows_of(path)}) == 1


def test_what_exists_is_not_overwritten_unless_asked(run, pictures, tmp_path):
    path = tmp_path / "p.csv"
    path.write_text("mine\n")
    with pytest.raises(StateError) as caught:
        files.predict(run, pictures, path, workers=0)
    assert caught.value.code == "C030"
    assert path.read_text() == "mine\n"
    files.predict(run, pictures, path, workers=0, overwrite=True)
    assert len(rows_of(path)) == 43
    path.unlink()
    path.symlink_to(tmp_path / "elsewhere.csv")
    with pytest.raises(StateError):
        files.predict(run, pictures, path, workers=0)
    assert not (tmp_path / "elsewhere.csv").exists()


# What cannot be read


@pytest.mark.parametrize("workers", [0, 2])
def test_bad_files_have_a_row_and_cost_nothing_else(run, pictures, tmp_path, workers):
    bad = {"empty.png": b"", "text.png": b"hello there", "cut.png": (pictures / "00.png").read_bytes()[:-20]}
    folder = tmp_path / "mixed"
    folder.mkdir()
    for name, content in bad.items():
        (folder / name).write_bytes(content)
    for number in range(20):
        os.link(pictures / "00.png", folder / f"{number:02}.png")
    os.mkfifo(folder / "pipe.jpg")
    names = [folder, folder / "pipe.jpg"]
    with pytest.raises(DataError, match="3 of 23") as caught:
        files.predict(run, folder, tmp_path / "p.csv", workers=workers)
    assert caught.value.code == "D014"
    rows = {Path(row["path"]).name: row for row in rows_of(tmp_path / "p.csv")}
    assert {name for name, row in rows.items() if row["error"]} == set(bad)
    assert rows["empty.png"]["error"] == "empty file"
    assert "hello" in rows["text.png"]["error"]
    assert {row["label"] for name, row in rows.items() if name in bad} == {""}
    good = [row["confidence"] for name, row in rows.items() if name not in bad]
    assert np.ptp(np.array(good, float)) < 1e-6
    done = files.predict(run, folder, tmp_path / "q.csv", workers=workers, on_bad_file="skip")
    assert done.bad_count == 3
    assert done.bad[0][1] == rows["cut.png"]["error"]
    with pytest.raises(DataError, match="pipe"):
        files.predict(run, names, tmp_path / "r.csv", workers=workers)


def test_a_bad_file_changes_no_other_row(run, pictures, tmp_path):
    """Its place in the block is kept, so that mending it later changes that row alone."""
    names = sorted((str(path) for path in pictures.rglob("*.png")), key=os.fsencode)
    before = files.predict(run, names, workers=0).rows
    (tmp_path / "bad.png").write_bytes(b"no")
    names[3] = str(tmp_path / "bad.png")
    after = files.predict(run, names, workers=0).rows
    assert [row for row in after if row["path"] != names[3]] == [row for row in before if row != before[3]]


def test_names_in_a_list_that_are_not_there_have_a_row(run, pictures, tmp_path):
    (tmp_path / "list").write_text(f"{pictures / '00.png'}\n{tmp_path / 'gone.png'}\r\n\n{pictures / 'a'}")
    done = files.predict(run, f"@{tmp_path / 'list'}", workers=0)
    assert [Path(row["path"]).name for row in done.rows[:2]] == ["00.png", "gone.png"]
    assert done.rows[1]["error"] == "No such file or directory"
    assert len(done.rows) == 2 + len(list((pictures / "a").iterdir()))


def test_an_answer_that_is_no_number_has_a_row_that_says_so(run, pictures, tmp_path):
    model = load(run)
    with torch.no_grad():
        model.net.model.classifier.bias.fill_(float("nan"))
    rows = files.predict(model, pictures / "00.png", workers=0).rows
    assert "not finite" in rows[0]["error"]


def test_a_worker_that_dies_is_an_error_that_names_files(pictures):
    names = [str(pictures / "00.png")] * 3
    with decode.Decoders(1, Form(3, 12, 12)) as decoders:
        assert decoders(names).problems == {}
        decoders._all[0][0].kill()
        decoders._all[0][0].join()
        with pytest.raises(ResourceError, match=r"00\.png") as caught:
            decoders(names)
    assert caught.value.code == "R004"


# Names


HOSTILE = [b"caf\xe9.png", "ünï😀.png".encode(), b"-1+1.png", b"@SUM(1).png", b"=x.png", b"'q.png", b"\tt.png"]
HOSTILE += [b"a b,c.png", b'say "x".png', b"100%.png", b"%41.png", b"line\nbreak.png", b"x" * 251 + b".png"]


def test_every_name_comes_back_to_the_byte(run, pictures, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    content = (pictures / "00.png").read_bytes()
    for name in HOSTILE:
        (tmp_path / os.fsdecode(name)).write_bytes(content)
    names = sorted(HOSTILE)
    given = [os.fsdecode(name) for name in names]
    (tmp_path / "list").write_bytes(b"\0".join(names) + b"\0")
    files.predict(run, "@list", "p.csv", workers=1, on_bad_file="skip")
    files.predict(run, "@list", "p.jsonl", workers=0)
    rows = rows_of(tmp_path / "p.csv")
    assert [os.fsencode(unescape_path(csv_original(row["path"]))) for row in rows] == names
    assert not any(row["path"].startswith(("=", "+", "-", "@", "\t", "\r")) for row in rows)
    lines = [json.loads(line) for line in (tmp_path / "p.jsonl").read_text("utf-8").splitlines()]
    assert [unescape_path(line["path"]) for line in lines] == given
    assert b"line%0Abreak.png" in (tmp_path / "p.csv").read_bytes()
    files.predict(run, "@list", "plain.csv", workers=0, csv_safe=False)
    plain = [unescape_path(row["path"]) for row in rows_of(tmp_path / "plain.csv")]
    assert plain == given
    expected = (tmp_path / "p.csv").read_bytes()
    for end in np.random.default_rng(1).integers(0, len(expected), 8):
        (tmp_path / "p.csv").write_bytes(expected[:end])
        files.predict(run, "@list", "p.csv", workers=0, resume=True)
        assert (tmp_path / "p.csv").read_bytes() == expected


def test_labels_are_safe_and_numbers_stay_numbers(run, pictures, tmp_path):
    files.predict(run, pictures, tmp_path / "p.csv", workers=0)
    rows = rows_of(tmp_path / "p.csv")
    assert {row["label"] for row in rows} <= {"cat", "'=dog", "'-1", 'a "b",\nc'}
    for row in rows:
        [float(row[f"p:{name}"]) for name in CLASSES]


@given(st.text(alphabet=st.characters(blacklist_categories=("Cs",))) | st.binary().map(os.fsdecode))
def test_escapes_are_undone(text):
    escaped = escape_path(text)
    assert unescape_path(escaped) == text
    escaped.encode()
    assert not set("\r\n\t\0\u2028\x85") & set(escaped)
    safe = csv_safe(text)
    assert csv_original(safe) == text
    assert not safe.startswith(("=", "+", "-", "@", "\t", "\r", "\0"))


# Progress


def test_files_are_counted_before_they_are_read(pictures, tmp_path):
    (tmp_path / "list").write_bytes(b"\n".join([bytes(pictures / "00.png"), bytes(pictures / "a"), b"gone.png"]))
    count = len(list((pictures / "a").iterdir()))
    assert listing.count(pictures, False, False) == 43
    assert listing.count([str(pictures), pictures / "00.png"], False, False) == 44
    assert listing.count(f"@{tmp_path / 'list'}", False, False) == 2 + count
    assert listing.count([pictures, "-"], False, False) is None
    assert listing.count(iter([pictures]), False, False) is None
    assert listing.count([pictures, tmp_path / "gone"], False, False) is None


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_rows_of_tables_are_counted(tmp_path, suffix):
    path = tmp_path / f"t{suffix}"
    if suffix == ".csv":
        path.write_text('a,b\n1,"x\ny"\n2,z\n')  # a line break in a cell ends no row
    else:
        pyarrow.parquet.write_table(pyarrow.table({"a": [1, 2]}), path)
    assert listing.count([path, path], True, False) == 4
    path.write_text("")
    assert listing.count([path], True, False) is None


@pytest.mark.parametrize("total", [0, 1, 7, 8, 9, 43, 48])
def test_shares_add_up(total):
    sizes = [size for size in [BLOCK] * (total // BLOCK) + [total % BLOCK] if size]
    for parts in (1, 2, 3, 9):
        found = [listing.share_of(total, BLOCK, place, parts) for place in range(parts)]
        assert found == [sum(sizes[place::parts]) for place in range(parts)]


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_terminal_shows_which_share_is_done(run, pictures, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "Bar", lambda *words, **more: progress.Bar(*words, **{**more, "delay": 0}))
    shown = Terminal()
    files.predict(run, pictures, tmp_path / "p.csv", workers=0, progress=shown, shard="1/2")
    assert "19/19" in shown.getvalue()
    path = tmp_path / "p.part-1-of-2.csv"
    path.write_bytes(path.read_bytes()[:-200])
    shown = Terminal()
    files.predict(run, pictures, tmp_path / "p.csv", workers=0, progress=shown, shard="1/2", resume=True)
    assert "16/19" in shown.getvalue()  # what an earlier start did counts as done
    assert "19/19" in shown.getvalue()


def test_a_log_has_lines_with_the_total_and_the_time_left(run, pictures, monkeypatch):
    monkeypatch.setattr(progress, "QUIET_SECONDS", 0)
    shown = io.StringIO()
    files.predict(run, pictures, workers=0, progress=shown)
    lines = shown.getvalue().splitlines()
    assert len(lines) == 6
    assert re.fullmatch(r"predicting: 8 of 43 files, \d+ s left", lines[0])
    assert lines[-1] == "predicting: 43 of 43 files, 0 s left"


@pytest.mark.parametrize(
    ("rows", "out", "err", "shown"),
    [
        (False, False, False, True),
        (False, True, True, True),
        (True, False, True, True),
        (True, True, True, False),  # rows and bar on one screen
        (True, False, False, False),  # perhaps one file for both
        (True, True, False, False),
    ],
)
def test_no_progress_among_the_rows(monkeypatch, rows, out, err, shown):
    monkeypatch.setattr(sys, "stdout", Terminal() if out else io.StringIO())
    monkeypatch.setattr(sys, "stderr", Terminal() if err else io.StringIO())
    assert progress_stream(rows) is (sys.stderr if shown else None)


@pytest.mark.parametrize("end", [b"\n", b"\0", b"\r\n"])
def test_lists_of_any_length_are_read(tmp_path, end):
    names = [b"n%d" % number for number in range(30_000)]
    (tmp_path / "list").write_bytes(end.join(names))
    assert list(listing.arguments(f"@{tmp_path / 'list'}")) == [name.decode() for name in names]


def test_names_on_standard_input(run, pictures, tmp_path, monkeypatch):
    text = io.TextIOWrapper(io.BytesIO(os.fsencode(pictures / "00.png") + b"\0" + os.fsencode(pictures / "a") + b"\0"))
    monkeypatch.setattr(sys, "stdin", text)
    assert len(files.predict(run, "-", workers=0).rows) == 1 + len(list((pictures / "a").iterdir()))


# Tables


@pytest.fixture
def table(tmp_path):
    """A model of a table of two numbers and a category, and that table."""
    draw, path = np.random.default_rng(0), tmp_path / "train.csv"
    cells = [f"{draw.normal():.4f},{draw.choice(['red', 'blue'])},{draw.normal():.4f},{row % 2}" for row in range(40)]
    path.write_text("\n".join(["height,colour,weight,label", *cells]) + "\n")
    dataset = read_table(path, Source(path))
    width = dataset.inputs.shape[1]
    inputs = {"kind": "vectors", "shape": [width], "mean": [0.0] * width, "std": [1.0] * width, "flip": False}
    inputs["reading"] = dataset.reading
    spec = {"name": "mlp", "inputs": width, "width": 8}
    return save(tmp_path / "run", lambda: MLP(width, len(CLASSES), 8), spec, inputs), path


def test_rows_of_tables(table, tmp_path):
    run, path = table
    rows = files.predict(run, path).rows
    assert [row["path"] for row in rows] == [f"{path}#{number}" for number in range(40)]
    model, dataset = load(run), read_table(path, Source(path))
    p = model.predict_proba(dataset.inputs[:])
    np.testing.assert_array_equal(np.array([list(row["probabilities"].values()) for row in rows], np.float32), p)


def test_columns_go_by_name_and_others_are_told(table, tmp_path):
    run, path = table
    header, *lines = (line.split(",") for line in path.read_text().splitlines())
    order = [2, 0, 1]
    shuffled = tmp_path / "shuffled.csv"
    shuffled.write_text(
        "\n".join(
            ",".join([*(line[k] for k in order), extra])
            for line, extra in [(header, "more"), *((x, "7") for x in lines)]
        )
    )
    said = []
    found = files.predict(run, shuffled, say=said.append).rows
    expected = files.predict(run, path).rows
    assert [row["probabilities"] for row in found] == [row["probabilities"] for row in expected]
    assert any("more" in line for line in said)


def test_a_missing_column_is_named(table, tmp_path):
    run, _ = table
    (tmp_path / "less.csv").write_text("height,colour\n1,red\n")
    with pytest.raises(DataError, match="weight") as caught:
        files.predict(run, tmp_path / "less.csv")
    assert caught.value.exit_code == 3


def test_an_unseen_category_is_counted(table, tmp_path):
    run, _ = table
    (tmp_path / "new.csv").write_text("height,colour,weight\n1,green,2\n1,green,3\n1,red,3\n")
    said = []
    assert len(files.predict(run, tmp_path / "new.csv", say=said.append).rows) == 3
    assert any("'colour' 2" in line for line in said), said


def test_tables_are_cut_into_blocks_across_files(table, tmp_path):
    run, path = table
    lines = path.read_text().splitlines()
    (tmp_path / "1.csv").write_text("\n".join(lines[:14]) + "\n")
    (tmp_path / "2.csv").write_text("\n".join([lines[0], *lines[14:]]) + "\n")
    parts = files.predict(run, [tmp_path / "1.csv", tmp_path / "2.csv"]).rows
    expected = files.predict(run, path).rows
    assert [row["probabilities"] for row in parts] == [row["probabilities"] for row in expected]
    assert parts[13]["path"].endswith("2.csv#0")


def test_a_model_of_arrays_reads_no_table(tmp_path):
    inputs = {"kind": "vectors", "shape": [2], "mean": [0.0] * 2, "std": [1.0] * 2, "flip": False}
    run = save(tmp_path / "run", lambda: MLP(2, len(CLASSES), 8), {"name": "mlp", "inputs": 2, "width": 8}, inputs)
    (tmp_path / "t.csv").write_text("a,b\n1,2\n")
    with pytest.raises(StateError, match="arrays"):
        files.predict(run, tmp_path / "t.csv")


# Options and the command


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"output": "p.txt"}, "U031"),
        ({"output": "p.csv", "shard": "3/3"}, "U032"),
        ({"output": "p.csv", "shard": "half"}, "U032"),
        ({"output": "p.csv", "resume": True, "overwrite": True}, "U008"),
        ({"output": "-", "resume": True}, "U016"),
        ({"output": "p.csv", "embeddings": "column"}, "U008"),
        ({"output": "p.csv", "embeddings": "e.txt"}, "U031"),
        ({"output": "p.csv", "precision": 1.5}, "U006"),
        ({"output": "no/such/folder/p.csv"}, "U014"),
        ({"output": "p.csv", "on_bad_file": "maybe"}, "U005"),
    ],
)
def test_options_that_make_no_sense_are_refused(run, pictures, tmp_path, monkeypatch, options, code):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError) as caught:
        files.predict(run, pictures, workers=0, **options)
    assert caught.value.code == code
    assert list(tmp_path.iterdir()) == []


def test_nothing_to_predict(run, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError) as caught:
        files.predict(run, tmp_path / "empty", tmp_path / "p.csv", workers=0)
    assert caught.value.code == "D004"
    assert not (tmp_path / "p.csv").exists()
    with pytest.raises(DataError) as caught:
        files.predict(run, tmp_path / "gone.png", tmp_path / "p.csv", workers=0)
    assert caught.value.code == "D001"


def test_a_run_with_a_shipped_fit_is_taken_at_its_word(run, tmp_path):
    for name in ("supervised-0", "uda-0"):
        (tmp_path / "fits" / name).mkdir(parents=True)
        for file in ("model.safetensors", CARD):
            (tmp_path / "fits" / name / file).write_bytes((run / file).read_bytes())
    with pytest.raises(StateError, match="holds 2 models"):
        load(tmp_path)
    (tmp_path / "run.json").write_text(json.dumps({"shipped": "uda-0"}))
    assert load(tmp_path).classes == CLASSES


def call(*words):
    out, err = io.StringIO(), io.StringIO()
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = out, err
    try:
        with pytest.raises(SystemExit) as stop:
            main(list(map(str, words)))
    finally:
        sys.stdout, sys.stderr = before
    return int(stop.value.code or 0), out.getvalue(), err.getvalue()


def test_the_command_writes_csv_on_standard_output(run, pictures, tmp_path):
    code, out, _ = call("predict", run, pictures, "--workers", 0)
    assert code == 0
    assert out.encode() == whole(run, pictures, ".csv", tmp_path)


@pytest.mark.parametrize("option", ["-o", "--out", "--output"])
def test_the_command_ends_with_the_name_of_the_file(run, pictures, tmp_path, option):
    code, _, err = call("predict", run, pictures, "--workers", 0, option, tmp_path / "p.csv")
    assert (code, err) == (0, f"43 predictions: {tmp_path}/p.csv\n")
    code, _, err = call("predict", run, pictures / "00.png", option, tmp_path / "q.csv", "--shard", "0/2")
    assert code == 0
    assert err == f"1 prediction: {tmp_path}/q.part-0-of-2.csv (each share has a file of its own)\n"


def test_the_command_exits_with_3_after_all_rows_are_written(run, pictures, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"no")
    words = ["predict", run, pictures, tmp_path / "bad.png", "--workers", 0]
    code, _, err = call(*words, "-o", tmp_path / "p.csv")
    assert (code, len(rows_of(tmp_path / "p.csv"))) == (3, 44)
    assert "error[D014]: 1 of 44" in err
    code, out, _ = call(*words, "-o", tmp_path / "q.csv", "--on-bad-file", "skip", "--json")
    told = json.loads(out)
    assert (code, told["count"], told["unreadable"]) == (0, 44, 1)
    assert call(*words, "--json")[0] == 2


def test_semilla_predict_is_the_function():
    assert semilla.predict is files.predict
    assert semilla.Predictions is files.Predictions
    assert semilla.load is load


# Memory

MEMORY = """
import re, sys
from pathlib import Path
from semilla.inference.files import predict
predict(*sys.argv[1:], workers=1, progress=sys.stderr)
print(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
"""


def peak(run, folder, output):
    """Largest resident memory in MB. (``ru_maxrss`` would be that of the parent where it is larger.)"""
    words = [sys.executable, "-c", MEMORY, run, folder, output]
    return int(subprocess.run(words, capture_output=True, text=True, check=True).stdout) / 1024


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc to read the memory from")
def test_memory_does_not_grow_with_the_number_of_files(run, pictures, tmp_path):
    peaks = []
    for count in (2_000, 200_000):
        folder = tmp_path / str(count)
        folder.mkdir()
        for number in range(count):
            first = folder / f"{number // 20_000 * 20_000:06}.png"  # some ten thousand links to one file are allowed
            if number % 20_000:
                os.link(first, folder / f"{number:06}.png")
            else:
                first.write_bytes((pictures / "00.png").read_bytes())
        peaks.append(peak(run, folder, tmp_path / f"{count}.csv"))
    assert peaks[1] - peaks[0] <= 50, peaks
