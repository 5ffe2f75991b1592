"""Methods of one's own: a class, a module named with ``--plugin``, an installed package's entry point."""

import contextlib
import importlib
import io
import json
import sys
from importlib import metadata

import numpy as np
import pytest

import semilla
from semilla.cli import main
from semilla.config import settings
from semilla.contract import Method
from semilla.errors import UsageError
from semilla.methods import METHODS, find
from semilla.methods.catalogue import PLUGGED, entry_of, plug_in

TINY = {"steps": 4, "width": 4, "threads": 1, "device": "cpu", "precision": "fp32", "log_every": 2, "recipe": None}


class TwoLosses(Method):
    """The labeled loss and a pull of the predictions for unlabeled examples.

    More lines that are no title.
    """

    unlabeled_views = ("weak",)

    def __init__(self, info, pull: float = 0.5, views: int = 1, shape: str = "linear", cap: float | None = None):
        super().__init__()
        self.info, self.pull, self.cap = info, pull, cap

    def forward(self, net, batch, run):
        labeled = run.task.loss(net(batch.x[0]), batch.y).mean()
        pulled = self.pull * net(batch.u[0]).logits.square().mean()
        return {"labeled": labeled, "pull": pulled}, {}


class ForStrings(TwoLosses):
    """For strings only."""

    tasks = frozenset({"ctc"})


MODULE = '''
"""A module with two methods and what is none."""
from semilla.contract import Method
from semilla.methods.pi_model import PiModel

class Helper:
    pass

class MyOwnMethod(Method):
    """Trains on the labels, loudly."""

    def __init__(self, info, loudness=2.0):
        super().__init__()
        self.loudness = loudness

    def forward(self, net, batch, run):
        return {"labeled": self.loudness * run.task.loss(net(batch.x[0]), batch.y).mean()}, {}

class Other(MyOwnMethod):
    """Another."""
'''


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Writes modules that Python finds, and forgets them afterwards."""
    folder = tmp_path / "modules"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delenv("PYTHONPATH", raising=False)
    before, names = dict(PLUGGED), []

    def write(name, text):
        (folder / f"{name}.py").write_text(text)
        importlib.invalidate_caches()
        names.append(name)
        return name

    yield write
    PLUGGED.clear()
    PLUGGED.update(before)
    for name in names:
        sys.modules.pop(name, None)


@pytest.fixture
def arrays():
    draw = np.random.default_rng(0)
    x = draw.normal(size=(60, 3)).astype(np.float32)
    y = (x[:, 0] > 0).astype(int)
    return {
        "x_train": x[:40],
        "y_train": np.where(np.arange(40) < 16, y[:40], -1),
        "x_test": x[40:],
        "y_test": y[40:],
    }


@pytest.fixture
def saved(arrays, tmp_path):
    np.savez(tmp_path / "mine.npz", **arrays)
    return tmp_path / "mine.npz"


def invoke(*words):
    """Run a command: exit code, stdout, stderr."""
    out, err, argv = io.StringIO(), io.StringIO(), sys.argv
    sys.argv = ["semilla", *map(str, words)]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as stop:
            main()
    finally:
        sys.argv = argv
    return int(stop.value.code or 0), out.getvalue(), err.getvalue()


def command(saved, out, *more):
    words = ["train", saved, "--steps", 4, "--device", "cpu", "--precision", "fp32", "--recipe", "none", "--out", out]
    return [*words, "--set", "width=4", "--set", "threads=1", *more]


def refused(code, call, *arguments, **more):
    with pytest.raises(UsageError) as caught:
        call(*arguments, **more)
    assert caught.value.code == code
    assert caught.value.fix
    return caught.value


# A class


def test_a_class_is_trained_and_judged(arrays, tmp_path):
    trained = semilla.train(arrays, method=TwoLosses, out=tmp_path, **{**TINY, "pull": 0.25})
    assert list(trained.fits) == ["supervised-0", "two_losses-0"]
    own = trained.fits["two_losses-0"]
    assert own.settings.method == trained.verdict.method == "two_losses"
    assert own.settings.hyperparameters == {"pull": 0.25}
    assert {"loss/labeled", "loss/pull"} <= set(own.history[0])
    assert json.loads((tmp_path / "run.json").read_text())["fits"] == ["supervised-0", "two_losses-0"]
    assert semilla.load(tmp_path).classes == ("0", "1")


def test_its_hyperparameters_reach_it(arrays):
    def loss(**more):
        result = semilla.fit(arrays, method=TwoLosses, **TINY, **more)
        return [line["loss/pull"] for line in result.history]

    assert set(loss(pull=0.0)) == {0.0}
    assert loss() == loss(pull=0.5)
    assert loss(pull=1.0)[0] > loss(pull=0.5)[0] > 0


def test_its_entry_is_read_from_the_class():
    entry = entry_of(TwoLosses)
    assert (entry.name, entry.class_name) == ("two_losses", "TwoLosses")
    assert entry.title == "The labeled loss and a pull of the predictions for unlabeled examples."
    assert list(entry.hyperparameters) == ["pull", "views", "shape", "cap"]
    assert entry.hyperparameters["pull"].ours == 0.5
    assert entry.load() is TwoLosses
    assert find(TwoLosses).name == "two_losses"
    assert "two_losses" not in METHODS
    assert refused("U001", find, "two_losses").message == "unknown method 'two_losses'"


@pytest.mark.parametrize(
    ("code", "wrong"),
    [
        ("U002", {"pul": 0.5}),
        ("U002", {"threshold": 0.5}),
        ("U005", {"pull": "much"}),
        ("U005", {"views": 1.5}),
        ("U005", {"shape": 3}),
        ("U005", {"pull": None}),
    ],
)
def test_its_hyperparameters_are_checked(arrays, code, wrong):
    error = refused(code, semilla.train, arrays, method=TwoLosses, **TINY, **wrong)
    assert next(iter(wrong)) in error.message
    if "pul" in wrong:
        assert "'pull'" in error.fix


def test_what_may_be_none_may_be_given():
    known = entry_of(TwoLosses).hyperparameters
    assert settings("two_losses", known, {"cap": None}).hyperparameters == {"cap": None}
    assert settings("two_losses", known, {"cap": 3}).hyperparameters == {"cap": 3.0}


def test_a_method_for_other_labels_is_refused(arrays):
    assert "ctc" in refused("U007", semilla.train, arrays, method=ForStrings, **TINY).fix


# A module


def test_a_module_is_plugged_in(module):
    names = plug_in(module("my_methods_a", MODULE))
    assert names == ["my_own_method", "other"]  # not PiModel, which it only imports, nor what is no method
    assert find("my_own_method").title == "Trains on the labels, loudly."
    assert find("my_own_method").load().__module__ == "my_methods_a"
    assert "'my_own_method'" in refused("U001", find, "my_own_methud").fix


def test_a_module_on_the_command_line(module, saved, tmp_path):
    name = module("my_methods_b", MODULE)
    more = ("--plugin", name, "--method", "my_own_method", "--set", "loudness=3.5")
    code, out, err = invoke(*command(saved, tmp_path / "run", *more))
    assert code == 0, err
    assert "4 steps of supervised" in out
    assert "and my_own_method" in out
    fit = json.loads((tmp_path / "run" / "fits" / "my_own_method-0" / "fit.json").read_text())["fit"]
    assert fit["settings"]["hyperparameters"] == {"loudness": 3.5}
    assert (tmp_path / "run" / "fits" / "supervised-0" / "model.safetensors").is_file()
    code, out, err = invoke("evaluate", tmp_path / "run", "--fit", "my_own_method-0", "--json")
    assert code == 0, err
    assert json.loads(out)["n"] == 20


def test_without_the_module_the_method_is_unknown(module, saved, tmp_path):
    module("my_methods_c", MODULE)
    code, _, err = invoke(*command(saved, tmp_path / "run", "--method", "my_own_method"))
    assert code == 2
    assert "error[U001]" in err
    assert "my_methods_c" not in sys.modules  # nothing is imported that was not named


@pytest.mark.parametrize(("word", "code"), [("loudnes=1", "U002"), ("loudness=high", "U005")])
def test_wrong_hyperparameters_on_the_command_line(module, saved, tmp_path, word, code):
    name = module("my_methods_d", MODULE)
    more = ("--plugin", name, "--method", "my_own_method", "--set", word)
    exit_code, _, err = invoke(*command(saved, tmp_path / "run", *more))
    assert exit_code == 2
    assert f"error[{code}]" in err
    assert "loudness" in err
    assert not (tmp_path / "run").exists()


def test_a_module_that_is_not_there(saved, tmp_path):
    assert "'no_such_module_of_mine'" in refused("U021", plug_in, "no_such_module_of_mine").message
    code, _, err = invoke(*command(saved, tmp_path / "run", "--plugin", "no_such_module_of_mine"))
    assert code == 2
    assert "error[U021]" in err
    assert not (tmp_path / "run").exists()


def test_a_module_that_needs_another(module):
    error = refused("U021", plug_in, module("my_methods_e", "import a_package_nobody_has\n"))
    assert "'a_package_nobody_has'" in error.message


@pytest.mark.parametrize("text", ["x = 1\n", "class Own:\n    pass\n", "from semilla.methods.uda import UDA\n"])
def test_a_module_without_methods(module, saved, tmp_path, text):
    name = module("my_methods_f", text)
    assert repr(name) in refused("U021", plug_in, name).message
    code, _, err = invoke(*command(saved, tmp_path / "run", "--plugin", name))
    assert code == 2
    assert "error[U021]" in err


# An installed package


class Offered:
    """What `importlib.metadata` gives for an entry point."""

    def __init__(self, name, value):
        self.name, self.value, self.loaded = name, value, 0

    def load(self):
        self.loaded += 1
        return self.value


@pytest.fixture
def offered(monkeypatch):
    points = [Offered("pulled", TwoLosses), Offered("uda", TwoLosses), Offered("elsewhere", ForStrings)]

    def entry_points(*, group, name=None):
        assert group == "semilla.methods"
        return [point for point in points if name in (None, point.name)]

    monkeypatch.setattr(metadata, "entry_points", entry_points)
    return {point.name: point for point in points}


def test_an_entry_point_is_found_by_its_name(offered, arrays):
    trained = semilla.train(arrays, method="pulled", baseline=False, **TINY, pull=0.1)
    assert list(trained.fits) == ["pulled-0"]
    assert trained.result.settings.hyperparameters == {"pull": 0.1}
    assert "loss/pull" in trained.result.history[0]
    assert refused("U002", semilla.train, arrays, method="pulled", **TINY, pul=1.0).fix == "did you mean 'pull'?"
    assert offered["elsewhere"].loaded == 0


def test_the_catalogue_goes_before_what_is_installed(offered):
    assert find("uda") is METHODS["uda"]
    assert offered["uda"].loaded == 0
    refused("U001", find, "nobody_offers_this")


def test_an_entry_point_on_the_command_line(offered, saved, tmp_path):
    code, _, err = invoke(*command(saved, tmp_path / "run", "--method", "pulled", "--no-baseline"))
    assert code == 0, err
    assert (tmp_path / "run" / "fits" / "pulled-0" / "model.safetensors").is_file()
