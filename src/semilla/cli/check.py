"""``semilla check``."""

from __future__ import annotations

import sys
from typing import Any

import click

from semilla.cli.console import json_option, print_json, printer, progress_stream
from semilla.cli.data_options import data_options, given
from semilla.text import clean


@click.command("check")
@click.argument("data")
@data_options
@click.option(
    "-o", "--out", type=click.Path(), help="The folder to write to.  [default: check-<name>, or the next free name]"
)
@click.option("--strict", is_flag=True, help="Exit with 3 instead of 0 if an error is found.")
@json_option
def command(data: str, out: str | None, strict: bool, as_json: bool, **options: Any) -> None:
    """Look at all of DATA without training: files, copies, labels, classes, parts.

    Every picture is decoded. What would stop training or spoil its test is listed at once, with what mends it, and
    written to check.html and check.json, in a folder that the last line names. Nothing in DATA is changed.

    The exit code is 0 whatever is found; with --strict it is 3 if there is an error among the findings.

    \b
    Examples:
      semilla check photos
      semilla check photos --unlabeled more --test held-out -o report
      semilla check photos --strict --json
    """
    from semilla.checking import check
    from semilla.data.source import Source

    checked = check(Source(data, **given(options)), out, progress_stream())
    say = printer(as_json)
    for line in checked.lines():
        say(clean(line))
    say(clean(f"written: {checked.folder}/check.html and check.json"))
    if as_json:
        print_json(checked.summary())
    if strict and checked.number("error"):
        sys.exit(3)
