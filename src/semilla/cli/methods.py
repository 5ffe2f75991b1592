"""``semilla methods``."""

from __future__ import annotations

from typing import Any

import click

from semilla.cli.console import json_option, print_json
from semilla.methods import METHODS, PRETRAINING, Entry, find


@click.command("methods")
@click.argument("name", required=False)
@json_option
def command(name: str | None, as_json: bool) -> None:
    """List the methods, or show one: its paper, equations, views, hyperparameters, memory and file.

    \b
    Examples:
      semilla methods
      semilla methods mixmatch
    """
    if name is None:
        if as_json:
            print_json(
                {
                    "methods": [_plain(entry) for entry in METHODS.values()],
                    "pretraining": [_plain(entry) for entry in PRETRAINING.values()],
                }
            )
            return
        for entry in METHODS.values():
            click.echo(f"{entry.name:<22}{entry.title}")
        click.echo("\nwithout labels, as a start (semilla pretrain):")
        for entry in PRETRAINING.values():
            click.echo(f"{entry.name:<22}{entry.title}")
        click.echo("\nsemilla methods NAME shows one: paper, equations, hyperparameters.")
    elif as_json:
        print_json({"method": _plain(find(name))})
    else:
        _show(find(name))


def _show(entry: Entry) -> None:
    click.echo(f"{entry.name}: {entry.title}\n")
    click.echo(f"paper    {entry.paper}")
    for place, line in enumerate(entry.equations):
        click.echo(f"{'' if place else 'loss':<9}{line}")
    click.echo(f"views    {entry.views}")
    click.echo(f"memory   {entry.memory}")
    click.echo(f"tasks    {', '.join(entry.tasks)}")
    click.echo(f"file     {entry.file}\n")
    click.echo(f"{'hyperparameter':<18}{'ours':<16}{'paper':<32}meaning")
    for name, parameter in entry.hyperparameters.items():
        click.echo(f"{name:<18}{_word(parameter.ours):<16}{parameter.paper:<32}{parameter.meaning}")
    words = "pretrain digits" if entry.name in PRETRAINING else "train digits --labels 40"
    if "classes" not in entry.tasks:
        words = "train LINES --task text --network attention_reader"
    click.echo(f"\nsemilla {words} --method {entry.name} --set {_example(entry)}")


def _example(entry: Entry) -> str:
    name, parameter = next(iter(entry.hyperparameters.items()))
    return f"{name}={_word(parameter.ours)}"


def _word(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(value)
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _plain(entry: Entry) -> dict[str, Any]:
    return {
        "name": entry.name,
        "title": entry.title,
        "paper": entry.paper,
        "equations": list(entry.equations),
        "views": entry.views,
        "memory": entry.memory,
        "tasks": list(entry.tasks),
        "file": entry.file,
        "hyperparameters": {
            name: {"ours": parameter.ours, "paper": parameter.paper, "meaning": parameter.meaning}
            for name, parameter in entry.hyperparameters.items()
        },
    }
