"""What must never be in the source, and what a run must never do."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src"

MODULES = {
    *("pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "yaml", "runpy", "code"),
    *("socket", "ssl", "http", "urllib", "urllib3", "requests", "httpx", "aiohttp", "ftplib", "smtplib", "xmlrpc"),
    *("tarfile", "torch.hub", "torch.utils.model_zoo", "PIL.ImageMath", "ctypes", "subprocess"),
}
"""Never imported: they run code from files, open connections or archives, or start other programs."""
CALLS = {
    *("eval", "exec", "compile", "__import__", "os.system", "os.popen", "shutil.unpack_archive"),
    *("torch.load", "torch.save", "torch.jit.load", "torch.export.load", "torch.package.PackageImporter"),
}
"""Never used, whatever name they were imported under."""
ATTRIBUTES = {
    "extractall",
    "allow_pickle",
    "LOAD_TRUNCATED_IMAGES",
    "MAX_IMAGE_PIXELS",
    "hub",
    "ImageMath",
    "set_start",
}
ATTRIBUTES |= {"load_state_dict_from_url", "trust_remote_code", "from_pretrained"}
"""Never read or assigned as an attribute of anything."""


def violations(source):
    """What the ban list finds in a module, as line number and name."""
    tree = ast.parse(source)
    known = {}  # local name → what it stands for
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _module(node, alias.name)
                known[alias.asname or alias.name.split(".")[0]] = (
                    alias.name if alias.asname else alias.name.split(".")[0]
                )
        elif isinstance(node, ast.ImportFrom):
            yield from _module(node, node.module or "")
            for alias in node.names:
                known[alias.asname or alias.name] = f"{node.module}.{alias.name}"
                yield from _module(node, f"{node.module}.{alias.name}", whole=False)
    for node in ast.walk(tree):
        read = isinstance(node, ast.Attribute | ast.Name) and isinstance(node.ctx, ast.Load)  # a field may be called so
        if read and (name := _full(node, known)) in CALLS:
            yield node.lineno, name
        if isinstance(node, ast.Attribute) and node.attr in ATTRIBUTES:
            yield node.lineno, node.attr
        if isinstance(node, ast.Call):
            yield from _arguments(node, _full(node.func, known))


def _module(node, name, whole=True):
    if name.startswith("urllib.parse"):  # text only, it opens nothing
        return
    parts = name.split(".")
    prefixes = {".".join(parts[:length]) for length in range(1, len(parts) + 1)} if whole else {name}
    yield from ((node.lineno, banned) for banned in prefixes & MODULES)
    if name in CALLS:
        yield node.lineno, name


def _arguments(call, name):
    given = {keyword.arg: keyword.value for keyword in call.keywords}
    if name in ("numpy.load", "numpy.save") and not _is(given.get("allow_pickle"), False):
        yield call.lineno, f"{name} without allow_pickle=False"
    if "shell" in given and not _is(given["shell"], False):
        yield call.lineno, "shell=True"
    if "weights_only" in given:
        yield call.lineno, "weights_only: nothing that needs it is read"
    if name == "PIL.Image.open" and "formats" not in given:
        yield call.lineno, "Image.open without formats"


def _is(node, value):
    return isinstance(node, ast.Constant) and node.value is value


def _full(node, known):
    """The dotted name of an expression, imports resolved."""
    if isinstance(node, ast.Attribute):
        inner = _full(node.value, known)
        return f"{inner}.{node.attr}" if inner else ""
    return known.get(node.id, node.id) if isinstance(node, ast.Name) else ""


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda path: str(path.relative_to(SOURCE)))
def test_the_source_uses_nothing_that_runs_code_from_data(path):
    assert list(violations(path.read_text("utf-8"))) == []


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from pickle import loads",
        "import joblib as j",
        "import urllib.request",
        "from torch import hub",
        "from PIL import ImageMath",
        "import torch as t; t.load('x')",
        "from torch import load",
        "from torch import save as keep; keep(1, 'x')",
        "import torch; reader = torch.jit.load",
        "import numpy as np; np.load('x')",
        "import numpy as np; np.load('x', allow_pickle=True)",
        "import numpy as np; np.load('x', allow_pickle=flag)",
        "from numpy import load; load('x')",
        "eval('1')",
        "run = exec",
        "archive.extractall('x')",
        "call('ls', shell=True)",
        "import yaml",
        "from PIL import Image; Image.MAX_IMAGE_PIXELS = None",
        "from PIL import ImageFile; ImageFile.LOAD_TRUNCATED_IMAGES = True",
        "from PIL import Image; Image.open('x')",
        "import socket",
        "from http.client import HTTPConnection",
    ],
)
def test_the_ban_list_sees_each_form(line):
    assert list(violations(line))


def test_the_ban_list_lets_the_safe_forms_pass():
    safe = (
        "import numpy as np, re, safetensors.torch\nnp.load('x', allow_pickle=False)\nre.compile('x')\nmodel.eval()\n"
        "safetensors.torch.load(b'')\nfrom PIL import Image\nImage.open('x', formats=['PNG'])\n"
    )
    assert list(violations(safe)) == []


NO_NETWORK = """
import sys, urllib.request
opened = []

def forbid(event, arguments):
    if event.startswith("socket.") and event != "socket.gethostname":
        opened.append(event)
        raise PermissionError(event)

sys.addaudithook(forbid)
try:
    urllib.request.urlopen("http://127.0.0.1:9")
except OSError:
    pass
assert opened, "the hook does not see connections"
opened.clear()

from semilla.cli import main
out = sys.argv[1]
train = ["train", "digits", "--labels", "40", "--method", "fixmatch", "--steps", "2", "--out", out]
for words in (["methods"], train, ["evaluate", out]):
    try:
        main([*words, "--json"])
    except SystemExit as end:
        assert not end.code, words
assert not opened, opened
"""


def test_no_command_opens_a_connection(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(SOURCE), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", NO_NETWORK, str(tmp_path / "run")]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert len(done.stdout.splitlines()) == 3


# The repository


def tracked():
    """Files that are in the repository or about to be."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        names = {ROOT / name for name in done.stdout.split("\0") if name}
    else:  # an unpacked source distribution
        names = {path for path in ROOT.rglob("*") if not any(part[0] == "." for part in path.relative_to(ROOT).parts)}
    return sorted(path for path in names if path.is_file())


SECRETS = {
    # Two names in pieces, so that this file does not hold what it forbids.
    "a registry's or hub's host": r"\b(py"
    r"pi|python"
    r"hosted|npmjs|anaconda|huggingface)\.[a-z]|download\.pytorch\.",
    "a machine's path": r"(?<![\w.~])/(home|root|work|tmp|Users|mnt|opt|srv|private)/\w|[A-Z]:\\Users",
    "an e-mail address": r"[\w.+-]+@[\w-]+\.[a-z]{2,}",
    "a key": r"BEGIN [A-Z ]*PRIVATE KEY|\b(ghp|gho|hf|sk|pypi)[_-][A-Za-z0-9]{20,}|\bAKIA[A-Z0-9]{16}",
}


def test_no_file_holds_hosts_paths_addresses_or_keys():
    found = []
    for path in tracked():
        try:
            text = path.read_text("utf-8")
        except UnicodeDecodeError:
            continue
        for what, pattern in SECRETS.items():
            found += [f"{path.relative_to(ROOT)}: {what}: {hit[0]}" for hit in re.finditer(pattern, text)]
    assert found == []


@pytest.mark.parametrize(
    ("what", "text"),
    [
        ("a registry's or hub's host", "https://pypi" + ".org/simple"),
        ("a machine's path", "open('/" + "tmp/data')"),
        ("an e-mail address", "someone" + "@example.org"),
        ("a key", "token = ghp_" + "a1" * 12),
    ],
)
def test_each_pattern_finds_what_it_is_for(what, text):
    assert re.search(SECRETS[what], text)


def test_no_file_is_large():
    sizes = {str(path.relative_to(ROOT)): path.stat().st_size for path in tracked()}
    assert "pyproject.toml" in sizes
    assert {name: size for name, size in sizes.items() if size > 2_000_000} == {}
