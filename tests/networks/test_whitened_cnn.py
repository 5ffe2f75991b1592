"""The network whose first layer makes patches uncorrelated: what that layer does, and that nothing changes it later."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional as F

import semilla
from semilla import config
from semilla.data.dataset import Dataset, Examples, pool_only, split
from semilla.fitting import LOOKED_AT, Fit
from semilla.methods import find
from semilla.networks import WhitenedCNN
from semilla.training import plan
from semilla.training.optimizers import build_optimizer

TINY = {
    **{"steps": 4, "width": 4, "labeled_batch": 6, "unlabeled_batch": 8, "threads": 1, "device": "cpu"},
    **{"precision": "fp32", "log_every": 2, "evaluate_every": 2, "save_every": 2},
}


def pictures(channels=3, size=12, count=60, seed=0):
    """Smooth pictures, so that neighbouring pixels and channels have much in common."""
    draw = np.random.default_rng(seed)
    coarse = draw.normal(size=(count, channels, size // 2 + 1, size // 2 + 1))
    coarse[:, 1:] = 0.7 * coarse[:, :1] + 0.3 * coarse[:, 1:]
    smooth = F.interpolate(torch.from_numpy(coarse), (size, size), mode="bilinear").numpy()
    return np.clip(128 + 50 * smooth + draw.normal(0, 4, smooth.shape), 0, 255).astype(np.uint8)


def dataset(labels=None, seed=0, test=True, **of):
    pool = pictures(seed=seed, **of)
    labels = np.where(np.arange(60) < 20, np.arange(60) % 2, -1) if labels is None else labels
    held = Examples(pool[:20], np.arange(20) % 2) if test else None
    return Dataset("smooth", "images", ("a", "b"), pool, labels.astype(np.int64), test=held)


def fit_of(data, method="fixmatch", parts=None, **changes):
    asked = config.settings(method, find(method).hyperparameters, {**TINY, "network": "whitened_cnn", **changes})
    parts = split(data, np.flatnonzero(data.labels >= 0), asked.pool) if parts is None else parts
    return Fit(data, parts, *plan.complete(asked, data, parts))


def whitening(fit):
    return fit.build()[0].net.model.whitening


# The layer


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [8, 32])
def test_the_first_layers_outputs_are_uncorrelated_and_of_unit_variance(channels, size):
    """Over the pictures it was computed from; each direction comes with either sign."""
    fit = fit_of(dataset(channels=channels, size=size))
    net, inputs = fit.build()[0].net.model, fit._some_inputs()
    directions = 4 * channels
    assert net.whitening.shape == (2 * directions, channels, 2, 2)
    assert torch.equal(net.whitening[:directions], -net.whitening[directions:])
    out = F.conv2d(inputs.double(), net.whitening[:directions].double()).transpose(0, 1).flatten(1)
    second = out @ out.T / out.shape[1]  # about 0: the inputs are normalised
    patches = F.unfold(inputs.double(), 2).transpose(0, 1).flatten(1)
    variances = torch.linalg.eigvalsh(patches @ patches.T / patches.shape[1])
    wanted = torch.diag((variances / (variances + 5e-4)).flip(0))  # what is added to each keeps them a little below 1
    torch.testing.assert_close(second, wanted, atol=2e-3, rtol=0)
    assert wanted.diagonal().min() > 0.8
    assert (patches @ patches.T / patches.shape[1] - torch.eye(directions)).abs().max() > 0.5, "they were correlated"


def test_directions_without_variance_stay_finite_and_small():
    net = WhitenedCNN(3, (8, 8), 2, width=4)
    grey = torch.randn(50, 1, 8, 8).expand(-1, 3, -1, -1)  # of three channels only one says something
    net.whiten(grey)
    assert torch.isfinite(net.whitening).all()
    outputs = F.conv2d(grey, net.whitening)
    assert outputs.abs().max() < 10
    net.whiten(torch.zeros(5, 3, 8, 8))
    assert torch.isfinite(net(torch.zeros(2, 3, 8, 8)).logits).all()


def test_what_comes_before_the_relu_is_kept_with_either_sign():
    net = WhitenedCNN(1, (8, 8), 2, width=4).eval()
    net.whiten(torch.randn(50, 1, 8, 8))
    inputs = torch.randn(2, 1, 8, 8)
    seen = F.relu(F.conv2d(inputs, net.whitening))
    back = seen[:, :4] - seen[:, 4:]
    torch.testing.assert_close(back, F.conv2d(inputs, net.whitening[:4]))
    torch.testing.assert_close(net(inputs).features, net.body(seen))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(8, 8), (9, 9), (12, 20), (28, 28), (32, 32), (33, 17), (64, 64), (64, 8)])
def test_every_size_from_8_to_64(channels, size):
    net = WhitenedCNN(channels, size, 5, width=4)
    output = net(torch.randn(3, channels, *size))
    assert output.logits.shape == (3, 5)
    assert output.features.shape == (3, net.classifier.in_features)
    assert output.features.shape[1] <= 16, "at most four times the width"
    left = net.body[:-2](F.relu(F.conv2d(torch.zeros(1, channels, *size), net.whitening))).shape[2:]
    assert 3 <= min(left) <= 5
    output.logits.sum().backward()
    assert all(weight.grad is not None for weight in net.parameters())
    torch.testing.assert_close(net.classifier(output.features), output.logits)


def test_32_pixels_get_three_convolutions_and_the_weights_that_are_promised():
    net = WhitenedCNN(3, (32, 32), 10)
    widths = [layer.out_channels for layer in net.body if isinstance(layer, torch.nn.Conv2d)]
    assert widths == [64, 128, 256]
    assert 0.35e6 < sum(weight.numel() for weight in net.parameters()) < 0.45e6


# What it depends on


def test_it_depends_on_no_label_and_no_held_out_part():
    """The same examples are labeled, as other classes; and pre-training does not ask which are."""
    labels = dataset().labels
    flipped = np.where(labels >= 0, 1 - labels, -1)
    expected = whitening(fit_of(dataset()))
    for other in (dataset(flipped), dataset(test=False)):
        assert torch.equal(whitening(fit_of(other)), expected)
    unlabeled = np.full_like(labels, -1)
    bare = [whitening(fit_pretraining(dataset(known))) for known in (labels, flipped, unlabeled)]
    assert torch.equal(bare[0], bare[1])
    assert torch.equal(bare[0], bare[2])


def fit_pretraining(data):
    bare, parts = pool_only(data)
    return fit_of(bare, "simclr", parts)


def test_it_depends_on_the_pictures_and_the_seed_decides_only_which_are_looked_at():
    expected = whitening(fit_pretraining(dataset()))
    assert not torch.equal(whitening(fit_pretraining(dataset(seed=1))), expected)
    bare, parts = pool_only(dataset())
    assert torch.equal(whitening(fit_of(bare, "simclr", parts, seed=5)), expected), "all 60 are looked at"
    assert LOOKED_AT >= 1000


def test_the_whole_pool_serves_and_not_the_labeled_alone():
    fit = fit_of(dataset())
    assert len(fit._some_inputs()) == 40
    few = fit_of(dataset(np.arange(60) % 2), "supervised", split(dataset(np.arange(60) % 2), needed=False))
    assert len(few._some_inputs()) == 60, "where all are labeled, those"


# Training and files


def test_no_optimizer_and_no_step_changes_it(tmp_path):
    fit = fit_of(dataset())
    state = fit.build()[0]
    before = state.net.model.whitening.clone()
    assert "model.whitening" in dict(state.net.named_buffers())
    held = {id(weight) for group in build_optimizer(state.net, fit.settings).param_groups for weight in group["params"]}
    assert id(state.net.model.whitening) not in held
    result = fit.run(tmp_path / "fit")
    assert torch.equal(result.model.net.model.whitening, before)


def test_it_is_saved_and_loaded_with_the_model(tmp_path):
    result = fit_of(dataset()).run(tmp_path / "fit")
    loaded = semilla.load(tmp_path / "fit")
    assert torch.equal(loaded.net.model.whitening, result.model.net.model.whitening)
    assert torch.equal(loaded.net.model.whitening, load_file(tmp_path / "fit" / "model.safetensors")["model.whitening"])
    card = json.loads((tmp_path / "fit" / "model.json").read_text())
    assert card["network"]["name"] == "whitened_cnn"
    np.testing.assert_allclose(loaded(pictures()[:7]), result.model(pictures()[:7]), atol=1e-5)


def test_a_start_brings_its_own_whitening(tmp_path):
    """From weights it is not computed anew: what was learnt above it would not fit any other."""
    fit_pretraining(dataset(seed=1)).run(tmp_path / "start")
    weights = str(tmp_path / "start" / "model.safetensors")
    other = whitening(fit_of(dataset(seed=2), weights=weights))
    torch.testing.assert_close(other, load_file(weights)["model.whitening"], rtol=0, atol=0)
    assert not torch.equal(other, whitening(fit_of(dataset(seed=2))))


def test_a_run_resumes_to_the_same_bits(tmp_path):
    whole = fit_of(dataset()).run(tmp_path / "whole")
    fit_of(dataset()).run(tmp_path / "half")
    checkpoints = sorted((tmp_path / "half" / "checkpoints").glob("step-*"))
    for path in checkpoints[1:]:
        for file in path.iterdir():
            file.unlink()
        path.rmdir()
    again = fit_of(dataset()).run(tmp_path / "half", resume=True)
    left, right = whole.model.net.state_dict(), again.model.net.state_dict()
    assert "model.whitening" in left
    assert all(torch.equal(left[name], right[name]) for name in left)
    assert len(checkpoints) == 2


def test_vectors_are_not_for_it():
    data = Dataset("rows", "vectors", ("a", "b"), np.zeros((8, 3), np.float32), np.arange(8) % 2)
    with pytest.raises(semilla.SemillaError, match="does not read vectors") as caught:
        fit_of(dataclasses.replace(data), "supervised", split(data, needed=False)).build()
    assert caught.value.code == "D112"
