"""The code in the documents runs as it stands."""

import re
from pathlib import Path

import pytest

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


@pytest.mark.parametrize("heading", ["A network", "Data", "A method"])
def test_an_extension_takes_fewer_than_twenty_lines(heading):
    text = (DOCS / "extend.md").read_text("utf-8").split(f"## {heading}\n")[1]
    lines = re.search(r"```python\n(.*?)```", text, re.DOTALL)[1].splitlines()
    own = [line for line in lines if line.strip() and not line.startswith(("import", "from", "trained", "print"))]
    assert len(own) < 20
