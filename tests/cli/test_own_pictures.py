"""The whole way as a user walks it, on real pictures in folders: no setting, each command a process of its own."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
MNIST = ROOT.parent / "shared" / "data" / "small" / "mnist_2000_1000.npz"


def save(pictures, folder_of):
    """Write pictures as PNG files into the folders they are for."""
    for number, picture in enumerate(pictures):
        folder = folder_of(number)
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(folder / f"{number:04}.png")


@pytest.mark.slow
@pytest.mark.skipif(not MNIST.is_file(), reason="no ../shared/data")
def test_from_a_folder_to_a_model_in_use(tmp_path):
    arrays = np.load(MNIST)
    truth, tested = arrays["y_train"], arrays["y_test"]
    known = {number for digit in range(10) for number in np.flatnonzero(truth == digit)[:4].tolist()}
    place = tmp_path / "digits of hand"
    save(arrays["x_train"], lambda number: place / (str(truth[number]) if number in known else "unlabeled"))
    save(arrays["x_test"], lambda number: place / "test" / str(tested[number]))
    environment = {**os.environ, "SEMILLA_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "2"}

    def semilla(*words):
        done = subprocess.run(
            [sys.executable, "-m", "semilla", *words], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done

    assert "0 errors" in semilla("check", place.name).stdout
    trained = semilla("train", place.name)
    assert "verdict: the unlabeled data helped" in trained.stdout + trained.stderr
    run = "runs/digits of hand-1"
    verdict = json.loads((tmp_path / run / "run.json").read_text())["verdict"]
    assert verdict["n"] == 1000
    assert verdict["difference"][1] > 0, "the lower end of the interval"
    accuracy = verdict["accuracy"][0]

    scores = json.loads(semilla("evaluate", run, "--json").stdout)
    assert scores["accuracy"]["mean"] == pytest.approx(accuracy)

    semilla("predict", run, f"{place.name}/test", "-o", "labels.csv")
    with (tmp_path / "labels.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 1000
    right = [row["label"] == Path(row["path"]).parent.name for row in rows]
    assert np.mean(right) == pytest.approx(accuracy, abs=0.002), "one rounding may tip a picture or two"

    semilla("report", run)
    assert (tmp_path / run / "report.html").stat().st_size < 3_000_000
    semilla("export", run)

    import onnxruntime

    session = onnxruntime.InferenceSession(tmp_path / run / "export" / "model.onnx")
    about = session.get_modelmeta().custom_metadata_map
    shares, _ = session.run(None, {"inputs": arrays["x_test"][:, None]})
    named = np.array(json.loads(about["classes"]))[shares.argmax(1)]
    assert np.mean(named == tested.astype(str)) == pytest.approx(accuracy, abs=0.002)
