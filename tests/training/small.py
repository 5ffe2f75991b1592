"""Fits of a second: digits with 40 labels, a four-channel network, a few steps, one thread."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass, field

import torch

from semilla import config
from semilla.data.dataset import split
from semilla.data.labels import choose_labels
from semilla.data.sources import load
from semilla.fitting import Fit, fit
from semilla.methods import find, names_for
from semilla.training import checkpoint, devices, plan
from semilla.training.batches import Batches
from semilla.training.evaluate import Evaluation
from semilla.training.loop import train_loop
from semilla.training.progress import Progress
from semilla.training.recorder import Recorder

NAMES = names_for("classes")
CPU = torch.device("cpu")
SMALL = {
    "steps": 12,
    "width": 4,
    "labeled_batch": 12,  # 40 labeled and 857 unlabeled examples: 12 and 8 divide neither
    "unlabeled_batch": 8,
    "threads": 1,
    "device": "cpu",
    "precision": "fp32",
    "log_every": 5,
    "evaluate_every": 6,
    "save_every": 7,
}


@functools.cache
def digits():
    return load("digits")


def train(method="mixmatch", data=None, **changes):
    """`fit` on 40 digits; what is not said is as in `SMALL`."""
    options = {"labels": 40, "recipe": None, **SMALL, **changes}
    if "labels_file" in changes:
        del options["labels"]
    return fit(digits() if data is None else data, method=method, **options)


def make_fit(method="mixmatch", data=None, rows=None, network=None, **changes):
    """The same fit, not yet run."""
    data = digits() if data is None else data
    asked = config.settings(method, find(method).hyperparameters, {**SMALL, **changes})
    rows = choose_labels(data.labels, data.classes, 40, asked.seed) if rows is None else rows
    parts = split(data, rows, asked.pool, needed=method != "supervised")
    chosen, reasons = plan.complete(asked, data, parts)
    return Fit(data, parts, chosen, reasons, network=network)


class Snapshots(Recorder):
    """Keeps every checkpoint in memory, with the log as it was."""

    def __init__(self):
        super().__init__(None, {}, Progress("", 0, None))
        self.taken = {}

    def save(self, state):
        tensors, values = state.capture()
        # As the disk gives them back: in the plain order of memory, whatever the network's is.
        kept = {name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()}
        self.taken[state.step] = (kept, json.loads(json.dumps(values)), [dict(line) for line in self.lines])


@dataclass
class Trained:
    state: object
    recorder: Snapshots
    digest: str = field(default="")

    def __post_init__(self):
        tensors, values = self.state.capture()
        self.digest = checkpoint.digest(tensors, {**values, "lines": self.recorder.lines})


def go(fit, snapshot=None, change_state=None, evaluate=False):
    """Run a fit to its end, from the beginning or from a snapshot, without a folder.

    Args:
        fit: from `make_fit`.
        snapshot: (tensors, values, lines) to start from.
        change_state: called with the fresh state, for example to put a toy method into it.
        evaluate: score on the test part along the way.
    """
    with devices.own_generators():
        state, _ = fit.build()
        if change_state is not None:
            change_state(state)
        recorder = Snapshots()
        if snapshot is not None:
            tensors, values, lines = snapshot
            state.restore(tensors, values)
            recorder.lines = [dict(line) for line in lines]
        batches = Batches(fit.parts, state.method, fit.views, fit.settings, CPU)
        evaluation = Evaluation("test", fit.dataset.test, fit.task, fit.views, CPU) if evaluate else None
        train_loop(state, fit.task, batches, fit.settings, evaluation, recorder)
        return Trained(state, recorder)


def last_checkpoint(folder):
    """The newest checkpoint below a run folder that holds one fit."""
    (checkpoints,) = folder.glob("fits/*/checkpoints")
    found = checkpoint.load_latest(checkpoints)
    assert found is not None
    return found


def full_digest(folder):
    """Of everything the newest checkpoint holds."""
    found = last_checkpoint(folder)
    return checkpoint.digest(found.tensors, found.state)


def differing(left, right):
    """Names of the tensors that are not equal bit for bit."""
    common = left.keys() & right.keys()
    unequal = {name for name in common if not same({"": left[name]}, {"": right[name]})}
    return sorted(unequal | (left.keys() ^ right.keys()))


def same(left, right):
    """Whether two dictionaries of tensors are equal bit for bit."""
    return checkpoint.digest(left, {}) == checkpoint.digest(right, {})


def weights(result):
    """The tensors of a result's model."""
    return result.model.net.state_dict()
