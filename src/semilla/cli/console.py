"""What the commands share: options that mean the same everywhere, and printing."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from typing import Any, TextIO

import click

from semilla.config import parse_assignment

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout, nothing else.")
set_option = click.option(
    "--set",
    "assignments",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change any setting or hyperparameter, such as threshold=0.9. May be repeated.",
)


def assignments_of(texts: tuple[str, ...]) -> dict[str, Any]:
    """The ``--set`` options as a dictionary."""
    return dict(parse_assignment(text) for text in texts)


def printer(as_json: bool) -> Callable[..., None]:
    """Prints for people; says nothing where a program reads stdout."""
    return (lambda *text: None) if as_json else click.echo


def print_json(value: dict[str, Any]) -> None:
    """One object on stdout, strict JSON: what is not a number becomes null."""
    click.echo(json.dumps({"ok": True, **_strict(value)}, ensure_ascii=True, allow_nan=False))


def progress_stream(rows_on_stdout: bool = False) -> TextIO | None:
    """Where progress goes; None where it would stand between the rows that a command prints.

    That is wherever stdout and stderr may lead to the same place: only a terminal that rows are not shown on is sure
    not to be.
    """
    if rows_on_stdout and (sys.stdout.isatty() or not sys.stderr.isatty()):
        return None
    return sys.stderr


def _strict(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _strict(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_strict(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
