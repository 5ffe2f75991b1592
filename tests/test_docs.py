"""The code in the documents runs as it stands."""

import re
import shlex
from pathlib import Path

import pytest

from semilla.cli import cli

DOCS = Path(__file__).parents[1] / "docs"
BLOCKS = [
    pytest.param(block, id=f"{path.stem}-{number}")
    for path in [DOCS / "extend.md"]  # the others show commands on a run of yours
    for number, block in enumerate(re.findall(r"```python\n(.*?)```", path.read_text("utf-8"), re.DOTALL))
]


@pytest.mark.parametrize("block", BLOCKS)
def test_a_python_block_runs(block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "docs", "exec"), {"__name__": "docs"})


@pytest.mark.parametrize("heading", ["A network", "Data", "A method", "A method without labels"])
def test_an_extension_takes_fewer_than_twenty_lines(heading):
    text = (DOCS / "extend.md").read_text("utf-8").split(f"## {heading}\n")[1]
    lines = re.search(r"```python\n(.*?)```", text, re.DOTALL)[1].splitlines()
    use = ("import", "from", "started", "trained", "print")
    own = [line for line in lines if line.strip() and not line.startswith(use)]
    assert len(own) < 20


COMMANDS = [
    line.partition("#")[0].strip()
    for page in (DOCS.parent / "README.md", *sorted(DOCS.glob("*.md")))
    for block in re.findall(r"```sh\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
    for line in block.splitlines()
    if line.startswith("semilla ")
]


@pytest.mark.parametrize("line", sorted(set(COMMANDS)))
def test_a_command_of_the_documents_has_words_that_there_are(line):
    """Read, and not run: it speaks of files of the reader's."""
    _, name, *words = shlex.split(line)
    cli.get_command(None, name).make_context(name, words)


def test_the_documents_say_how_to_start_without_labels():
    assert "semilla pretrain digits --steps 200 --out START" in COMMANDS
    assert "semilla train digits --labels 40 --init START" in COMMANDS
