"""A run that is killed, stopped or changed its intervals ends with the bits of one that was left alone."""

import dataclasses
import itertools
import json
import os
import random
import shlex
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import safetensors.torch
import torch
from launcher import Launcher
from small import NAMES, differing, digits, full_digest, go, last_checkpoint, make_fit, same, train, weights
from torch import nn

from semilla.contract import Method
from semilla.errors import Interrupted, StateError
from semilla.fitting import FIT
from semilla.training.monitor import Monitor

FIT_NAME = "mixmatch-3"
SAVES = [f"checkpoint.{point}" for point in ("tensors", "state", "rename", "renamed", "prune")]
PATIENCE = 120.0


def command(out, steps, resume=False):
    """The form of the issue, with a tiny network."""
    tiny = ["width=4", "labeled_batch=12", "unlabeled_batch=8", "threads=1", "log_every=1", "evaluate_every=25"]
    words = f"train digits --no-baseline --labels 40 --method mixmatch --steps {steps} --seed 3".split()
    words += ["--save-every", "7", "--device", "cpu"]
    words += ["--precision", "fp32", "--recipe", "none", "--out", str(out)]
    return [*words, *itertools.chain(*(("--set", word) for word in tiny)), *(["--resume"] if resume else [])]


# Killed with -9


def wait_until(condition, process):
    """Poll a condition; False if the process ended first."""
    end = time.monotonic() + PATIENCE
    while not condition():
        if process.poll() is not None:
            return False
        assert time.monotonic() < end, "nothing happens"
        time.sleep(0.002)
    return True


def ended(process):
    """Its exit code."""
    end = time.monotonic() + PATIENCE
    while process.poll() is None:
        assert time.monotonic() < end, "it does not end"
        time.sleep(0.005)
    return process.returncode


def count(path, text=b"\n"):
    return path.read_bytes().count(text) if path.exists() else 0


def step_reached(fit):
    """Where a resumed run would begin."""
    return max([int(path.name[5:13]) for path in (fit / "checkpoints").glob("step-*")], default=0)


def kill_at(process, fit, starts, steps, delay):
    """Kill so many steps after the start, or so long after it where steps is None."""
    if steps is not None:
        started = wait_until(lambda: count(fit / "events.jsonl", b'"started"') > starts, process)
        assert started, process.poll()
        goal = step_reached(fit) + steps
        assert wait_until(lambda: count(fit / "metrics.jsonl") >= goal, process), process.poll()
    time.sleep(delay)
    process.send_signal(signal.SIGKILL)


def kill_and_resume(start, out, steps, plan):
    """Make every kill of the plan, resuming after each, then let the run finish.

    Args:
        start: starts a command with a fault and returns the process.
        out: the run folder.
        steps: of the whole run.
        plan: for each kill a fault, or (steps after the start or None, seconds after that).
    """
    fit = out / "fits" / FIT_NAME
    for kill in plan:
        starts = count(fit / "events.jsonl", b'"started"')
        fault = f"{kill}:kill" if isinstance(kill, str) else None
        process = start(command(out, steps, resume=(fit / FIT).exists()), fault)
        if fault is None:
            kill_at(process, fit, starts, *kill)
        assert ended(process) == -signal.SIGKILL, kill
    assert ended(start(command(out, steps, resume=True), None)) == 0


def assert_same_run(run, undisturbed):
    """Nothing tells a run from one that was left alone."""
    fit, other = run / "fits" / FIT_NAME, undisturbed / "fits" / FIT_NAME
    assert (fit / "metrics.jsonl").read_bytes() == (other / "metrics.jsonl").read_bytes()
    left, right = (safetensors.torch.load_file(folder / "model.safetensors") for folder in (fit, other))
    assert differing(left, right) == []
    assert differing(last_checkpoint(run).tensors, last_checkpoint(undisturbed).tensors) == []
    assert full_digest(run) == full_digest(undisturbed)
    result, wanted = (json.loads((folder / "result.json").read_text()) for folder in (fit, other))
    assert {**result, "seconds": 0} == {**wanted, "seconds": 0}
    steps = [json.loads(line)["step"] for line in (fit / "metrics.jsonl").read_text().splitlines()]
    assert steps == list(range(1, steps[-1] + 1))
    assert not list(run.rglob(".tmp-*"))


@pytest.fixture(scope="module")
def launcher():
    with Launcher() as ready:
        yield ready


@pytest.fixture(scope="module")
def undisturbed(launcher, tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    process = launcher.start(command(folder / "run", STEPS), folder)
    assert ended(process) == 0, process.text("err")
    return folder / "run"


STEPS = 46
SIX_KILLS = [(3, 0.01), "checkpoint.state:2", (8, 0.0), "checkpoint.renamed:1", (None, 0.1), "checkpoint.prune:2"]


def test_six_kills_three_of_them_inside_a_save_leave_the_bits_of_an_undisturbed_run(launcher, undisturbed, tmp_path):
    def start(arguments, fault):
        return launcher.start(arguments, tmp_path, fault)

    kill_and_resume(start, tmp_path / "run", STEPS, SIX_KILLS)
    assert_same_run(tmp_path / "run", undisturbed)


@pytest.mark.slow
def test_twenty_kills_of_real_processes_eight_of_them_inside_a_save(tmp_path):
    draw, steps = random.Random(20), 160
    plan = [f"{point}:{draw.choice([1, 1, 2])}" for point in (*SAVES, *draw.sample(SAVES, 3))]
    plan += [(draw.randrange(10), draw.uniform(0, 0.03)) for _ in range(10)]
    plan += [(None, draw.uniform(0.5, 5)) for _ in range(2)]
    draw.shuffle(plan)
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}

    def start(arguments, fault):
        environment = {**os.environ, **({"SEMILLA_FAULT": fault} if fault else {})}
        return subprocess.Popen([sys.executable, "-m", "semilla", *arguments], env=environment, **quiet)

    assert ended(start(command(tmp_path / "undisturbed", steps), None)) == 0
    kill_and_resume(start, tmp_path / "run", steps, plan)
    assert_same_run(tmp_path / "run", tmp_path / "undisturbed")


def test_a_run_killed_before_its_first_checkpoint_begins_anew(launcher, undisturbed, tmp_path):
    out = tmp_path / "run"
    process = launcher.start(command(out, STEPS), tmp_path, "metrics.append:4:kill")
    assert ended(process) == -signal.SIGKILL
    assert step_reached(out / "fits" / FIT_NAME) == 0
    assert ended(launcher.start(command(out, STEPS, resume=True), tmp_path)) == 0
    assert_same_run(out, undisturbed)


# Asked to stop


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_saves_and_the_printed_command_resumes(launcher, undisturbed, tmp_path, number, code):
    out = tmp_path / "run"
    process = launcher.start(command(out, STEPS), tmp_path)
    assert wait_until(lambda: count(out / "fits" / FIT_NAME / "metrics.jsonl") >= 9, process), process.text("err")
    process.send_signal(number)
    assert ended(process) == code, process.text("err")
    assert 9 <= step_reached(out / "fits" / FIT_NAME) < STEPS
    assert "Traceback" not in process.text("err")
    (line,) = [line for line in process.text("err").splitlines() if line.strip().startswith("semilla ")]
    words = shlex.split(line)[1:]
    assert words == command(out, STEPS, resume=True)
    assert ended(launcher.start(words, tmp_path)) == 0
    assert_same_run(out, undisturbed)


def test_the_events_of_a_stopped_run_end_with_interrupted(tmp_path, monkeypatch):
    interrupt_at(monkeypatch, 5)
    with pytest.raises(Interrupted):
        train(out=tmp_path)
    (events,) = tmp_path.glob("fits/*/events.jsonl")
    assert json.loads(events.read_text().splitlines()[-1])["event"] == "interrupted"


def test_two_signals_end_at_once_and_leave_the_last_checkpoint_whole(launcher, undisturbed, tmp_path):
    out = tmp_path / "run"
    process = launcher.start(command(out, STEPS), tmp_path, "checkpoint.state:2:sleep")  # for five seconds
    assert wait_until(lambda: list(out.glob("fits/*/checkpoints/.tmp-*-step-00000014/tensors*")), process)
    process.send_signal(signal.SIGTERM)
    time.sleep(0.2)
    assert process.poll() is None, process.text("err")  # the first one is only remembered
    sent = time.monotonic()
    process.send_signal(signal.SIGTERM)
    assert ended(process) == 143
    assert time.monotonic() - sent < 2
    assert last_checkpoint(out).step == 7
    assert ended(launcher.start(command(out, STEPS, resume=True), tmp_path)) == 0
    assert_same_run(out, undisturbed)


# What a checkpoint must hold


def few():
    """Digits with so few examples that a short run goes through both pools several times."""
    whole = digits()
    return dataclasses.replace(whole, inputs=whole.inputs[:110], labels=whole.labels[:110])


class Remembering(Method):
    """A toy with memory: it draws the predictions away from the running mean of its own predictions."""

    unlabeled_views = ("weak",)

    def __init__(self, classes):
        super().__init__()
        self.register_buffer("mean", torch.full((classes,), 1 / classes))

    def forward(self, net, batch, run):
        p = net(batch.u[0]).logits.softmax(1)
        distance = (p * self.mean.clone()).sum(1).mean()
        self.mean.lerp_(p.detach().mean(0), 0.1)
        supervised = run.task.loss(net(batch.x[0]), batch.y).mean()
        return {"supervised": supervised, "far": distance}, {"used": torch.ones(())}


def remembering(state):
    state.method = Remembering(10)


ABLATED = {"data": few, "steps": 20, "save_every": 12, "log_every": 5, "evaluate_every": 20, "ema_decay": 0.8}


@pytest.fixture(scope="module")
def whole():
    """Mean Teacher, whose loss reads the average, up to step 20, with its checkpoint of step 12.

    Twelve steps of 12 labeled and 8 unlabeled examples end within an epoch of 40 and of 70, and within a log window.
    """
    fit = make_fit("mean_teacher", **{**ABLATED, "data": few()})
    done = go(fit)
    return fit, done.recorder.taken[12], done.digest


def test_a_whole_snapshot_resumes_to_the_same_state(whole):
    fit, snapshot, digest = whole
    assert go(fit, snapshot).digest == digest


def differs_or_is_refused(fit, tensors, values, lines, digest, **options):
    try:
        return go(fit, (tensors, values, lines), **options).digest != digest
    except StateError as error:
        return error.code == "C013"


def changed(tensor):
    """Zeros, or ones where it was zero already."""
    return torch.ones_like(tensor) if not tensor.any() else torch.zeros_like(tensor)


ZEROED = [
    "net.model.classifier.weight",
    "net.model.body.0.weight",
    "net.model.body.1.running_mean",
    "net.model.body.1.running_var",
    "net.model.body.1.num_batches_tracked",
    "ema.model.classifier.bias",
    "ema.model.body.1.running_var",
    "optimizer.model.body.0.weight.momentum_buffer",
    "optimizer.model.classifier.bias.momentum_buffer",
    "monitor.loss",
    "monitor.prediction",
    "generators.numpy",
    "generators.python",
]


@pytest.mark.parametrize("name", ZEROED)
def test_a_zeroed_tensor_changes_where_the_run_ends(whole, name):
    fit, (tensors, values, lines), digest = whole
    assert differs_or_is_refused(fit, {**tensors, name: changed(tensors[name])}, values, lines, digest)


def test_no_tensor_can_be_left_out(whole):
    fit, (tensors, values, lines), digest = whole
    assert {name.split(".")[0] for name in tensors} == {"net", "ema", "method", "optimizer", "monitor", "generators"}
    for name in tensors:
        if name not in ("generators.torch", "monitor.prediction", "monitor.used"):  # the last two below
            left = {key: tensor for key, tensor in tensors.items() if key != name}
            assert differs_or_is_refused(fit, left, values, lines, digest), name


@pytest.mark.parametrize("name", ["generators.torch", "monitor.prediction", "monitor.used"])
def test_nor_these(whole, name):
    fit, (tensors, values, lines), digest = whole
    left = {key: tensor for key, tensor in tensors.items() if key != name}
    assert differs_or_is_refused(fit, left, values, lines, digest)


@pytest.mark.parametrize("name", ["step", "ema_decay", "monitor", "generators", "optimizer"])
def test_a_missing_value_is_refused(whole, name):
    fit, (tensors, values, lines), _ = whole
    left = {key: value for key, value in values.items() if key != name}
    with pytest.raises(StateError, match=name) as caught:
        go(fit, (tensors, left, lines))
    assert caught.value.code == "C013"


@pytest.mark.parametrize(
    "change",
    [{"step": 0}, {"step": 11}, {"ema_decay": 0.5}, {"monitor": {"steps": 0, "strikes": {"T101": 0, "T102": 0}}}],
    ids=str,
)
def test_a_wrong_value_changes_where_the_run_ends(whole, change):
    fit, (tensors, values, lines), digest = whole
    assert differs_or_is_refused(fit, tensors, {**values, **change}, lines, digest)


def test_the_strikes_of_the_monitor_are_part_of_the_state():
    fit = make_fit("fixmatch", **{**ABLATED, "data": few(), "log_every": 2}, threshold=1.01)
    done = go(fit)
    tensors, values, lines = done.recorder.taken[12]
    assert values["monitor"]["strikes"]["T102"] > 0
    assert go(fit, (tensors, values, lines)).digest == done.digest
    none = {**values["monitor"], "strikes": {"T101": 0, "T102": 0}}
    assert go(fit, (tensors, {**values, "monitor": none}, lines)).digest != done.digest


def test_the_memory_of_a_method_is_part_of_the_state():
    fit = make_fit("pseudo_label", **{**ABLATED, "data": few()})  # its place is taken by the toy
    done = go(fit, change_state=remembering)
    tensors, values, lines = done.recorder.taken[12]
    assert go(fit, (tensors, values, lines), change_state=remembering).digest == done.digest
    zeroed = {**tensors, "method.mean": torch.full((10,), 0.1)}
    assert go(fit, (zeroed, values, lines), change_state=remembering).digest != done.digest
    del zeroed["method.mean"]
    with pytest.raises(StateError, match="mean"):
        go(fit, (zeroed, values, lines), change_state=remembering)


def test_adamw_resumes_and_needs_its_moments():
    fit = make_fit("uda", **{**ABLATED, "data": few()}, optimizer="adamw", threshold=0.1)
    done = go(fit)
    tensors, values, lines = done.recorder.taken[12]
    assert go(fit, (tensors, values, lines)).digest == done.digest
    for key in ("step", "exp_avg", "exp_avg_sq"):
        name = f"optimizer.model.classifier.weight.{key}"
        assert differs_or_is_refused(fit, {**tensors, name: changed(tensors[name])}, values, lines, done.digest), key
        left = {other: tensor for other, tensor in tensors.items() if other != name}
        with pytest.raises(StateError, match="lacks"):
            go(fit, (left, values, lines))


@pytest.mark.parametrize("method", NAMES)
def test_every_method_resumes_bit_for_bit(method):
    options = {"threshold": 0.2} if "threshold" in method_parameters(method) else {}
    fit = make_fit(method, **{**ABLATED, "data": few(), "steps": 16, "save_every": 9}, **options)
    done = go(fit)
    assert go(fit, done.recorder.taken[9]).digest == done.digest


def method_parameters(method):
    from semilla.methods import find

    return find(method).hyperparameters


def test_dropout_too_is_a_function_of_seed_and_step():
    class Dropping(nn.Module):
        def __init__(self):
            super().__init__()
            self.hidden, self.dropout, self.classifier = nn.Linear(64, 16), nn.Dropout(0.5), nn.Linear(16, 10)

        def forward(self, inputs):
            features = self.dropout(self.hidden(inputs.flatten(1)).relu())
            return self.classifier(features), features

    fit = make_fit("pi_model", **{**ABLATED, "data": few()}, network=Dropping())
    start = {name: value.clone() for name, value in fit.network.state_dict().items()}
    done = go(fit)
    fit.network.load_state_dict(start)
    assert go(fit, done.recorder.taken[12]).digest == done.digest


class Drawing(nn.Module):
    """Draws from PyTorch's global generator in every pass, in evaluation too."""

    def __init__(self):
        super().__init__()
        self.classifier = nn.Linear(64, 10)

    def forward(self, inputs):
        features = inputs.flatten(1) + 0.1 * torch.randn(len(inputs), 64)
        return self.classifier(features), features


def test_a_network_that_draws_while_it_is_scored_is_not_disturbed_by_that():
    found = []
    for every in (1, 10**6):
        torch.manual_seed(0)
        found.append(weights(train("pi_model", network=Drawing(), steps=6, evaluate_every=every)))
    assert same(*found)


# What a resumed run may say differently


def interrupt_at(monkeypatch, step):
    """SIGTERM arrives while that step is made."""
    add, seen = Monitor.add, itertools.count(1)

    def interrupting(self, *arguments):
        if next(seen) == step:
            os.kill(os.getpid(), signal.SIGTERM)
        return add(self, *arguments)

    monkeypatch.setattr(Monitor, "add", interrupting)


@pytest.fixture
def stopped(tmp_path, monkeypatch):
    """A run stopped at step 5 of 12."""
    with monkeypatch.context() as patch:
        interrupt_at(patch, 5)
        with pytest.raises(Interrupted) as caught:
            train(out=tmp_path, seed=2)
    assert caught.value.exit_code == 143
    return tmp_path


CHANGES = [
    ({"learning_rate": 0.05}, "settings.learning_rate: 0.03 → 0.05"),
    ({"steps": 13}, "settings.steps: 12 → 13"),
    ({"width": 5}, "settings.width: 4 → 5"),
    ({"weight": 50.0}, "settings.hyperparameters.weight: None → 50.0"),
    ({"labeled_batch": 10}, "settings.labeled_batch: 12 → 10"),
    ({"threads": 2}, "settings.threads: 1 → 2"),
    ({"evaluate_on": "development"}, "evaluate_on: test → development"),
    ({"labels": 50}, "data.labeled: 40 → 50"),
]


@pytest.mark.parametrize(("change", "line"), CHANGES, ids=lambda value: value if isinstance(value, str) else "")
def test_other_settings_are_refused_with_old_and_new(stopped, change, line):
    files = {path: path.read_bytes() for path in stopped.rglob("*") if path.is_file()}
    with pytest.raises(StateError, match="started otherwise") as caught:
        train(out=stopped, resume=True, **{"seed": 2, **change})
    assert (caught.value.code, caught.value.exit_code) == ("C003", 4)
    assert line in str(caught.value)
    assert {path: path.read_bytes() for path in stopped.rglob("*") if path.is_file()} == files


def test_other_data_and_labels_are_refused(stopped, tmp_path):
    whole = digits()
    brighter = whole.inputs.copy()
    brighter[0, 0, 0, 0] ^= 1
    other_rows = tmp_path / "rows.json"
    rows = np.concatenate([np.flatnonzero(whole.labels == label)[:4] for label in range(10)])
    other_rows.write_text(json.dumps(rows.tolist()))
    renamed = dataclasses.replace(whole, classes=(*whole.classes[:9], "nine"))
    for change in (
        {"data": dataclasses.replace(whole, inputs=brighter)},
        {"data": renamed},
        {"labels_file": other_rows},
    ):
        with pytest.raises(StateError, match="→") as caught:
            train(out=stopped, resume=True, seed=2, **change)
        assert caught.value.code == "C003"


def test_one_changed_label_is_refused(stopped):
    whole = digits()
    fit = make_fit(seed=2)
    row = fit.parts.labeled_index[0]
    labels = whole.labels.copy()
    labels[row] = (labels[row] + 1) % 10
    path = stopped / "rows.json"
    path.write_text(json.dumps(fit.parts.labeled_index.tolist()))
    relabeled = dataclasses.replace(whole, labels=labels)
    with pytest.raises(StateError, match=r"data\.fingerprint"):
        train(data=relabeled, out=stopped, resume=True, seed=2, labels_file=path)


def test_intervals_may_change_and_the_weights_do_not(stopped):
    result = train(
        out=stopped, resume=True, seed=2, log_every=2, evaluate_every=3, save_every=4, strict=True, progress=None
    )
    assert same(weights(result), weights(train(seed=2)))


def test_a_wrong_folder_or_seed_is_not_resumed(stopped, tmp_path_factory):
    for change in ({"seed": 3}, {"method": "uda", "seed": 2}, {"out": tmp_path_factory.mktemp("other"), "seed": 2}):
        with pytest.raises(StateError, match="no run to resume") as caught:
            train(**{"out": stopped, "resume": True, **change})
        assert caught.value.code == "C002"


def test_a_finished_run_resumes_to_itself(tmp_path):
    first = train(out=tmp_path)
    log = (first.folder / "metrics.jsonl").read_bytes()
    again = train(out=tmp_path, resume=True)
    assert same(weights(first), weights(again))
    assert (again.folder / "metrics.jsonl").read_bytes() == log
    assert again.scores == first.scores


def test_resume_together_with_overwrite_destroys_nothing(stopped):
    before = last_checkpoint(stopped).step
    with pytest.raises(Exception, match=r"overwrite|resume"):
        train(out=stopped, seed=2, resume=True, overwrite=True)
    assert last_checkpoint(stopped).step == before == 5


def test_a_budget_in_minutes_is_measured_once_and_replayed(tmp_path, monkeypatch):
    from semilla import fitting

    monkeypatch.setattr(fitting, "step_seconds", lambda fit: 0.0625)
    with monkeypatch.context() as patch:
        interrupt_at(patch, 5)
        with pytest.raises(Interrupted):
            train(out=tmp_path, minutes=0.0125, steps=None)
    monkeypatch.setattr(fitting, "step_seconds", lambda fit: 0.03125)  # now the machine is faster
    result = train(out=tmp_path, minutes=0.0125, steps=None, resume=True)
    assert result.settings.steps == 12
    assert result.history[-1]["step"] == 12


# What must not matter


@pytest.fixture(scope="module")
def plain():
    return weights(train(steps=14))


@pytest.mark.parametrize(
    "intervals",
    [
        {"save_every": 1},
        {"save_every": 7},
        {"save_every": 10**6},
        {"evaluate_every": 1},
        {"evaluate_every": 10**6},
        {"log_every": 1},
        {"log_every": 50},
        {"save_every": 3, "evaluate_every": 2, "log_every": 5},
    ],
    ids=str,
)
def test_watching_a_run_does_not_change_it(plain, tmp_path, intervals):
    assert same(weights(train(steps=14, out=tmp_path, **intervals)), plain)


def test_a_run_without_held_out_part_has_the_same_weights(plain):
    assert same(weights(train(data=dataclasses.replace(digits(), test=None), steps=14)), plain)


@pytest.mark.parametrize("method", NAMES)
def test_the_same_seed_gives_the_same_bits_and_another_seed_others(method):
    first, again, other = (go(make_fit(method, steps=4, seed=seed)) for seed in (5, 5, 6))
    assert first.digest == again.digest
    assert not same(first.state.net.state_dict(), other.state.net.state_dict())


def test_the_state_of_the_process_does_not_matter(tmp_path):
    digests = []
    for seed in (1, 2):
        np.random.seed(seed)
        random.seed(seed)
        torch.manual_seed(seed)
        train(out=tmp_path / str(seed), seed=9)
        digests.append(full_digest(tmp_path / str(seed)))
    assert digests[0] == digests[1]


def test_a_run_gives_the_global_generators_back(tmp_path):
    def drawn():
        return random.random(), np.random.rand(), torch.rand(1).item()

    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    expected = drawn()
    random.setstate(states[0])
    np.random.set_state(states[1])
    torch.set_rng_state(states[2])
    train(steps=3)
    assert drawn() == expected
