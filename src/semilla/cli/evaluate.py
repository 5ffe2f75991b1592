"""``semilla evaluate``."""

from __future__ import annotations

import click

from semilla.cli.console import json_option, print_json


@click.command("evaluate")
@click.argument("run", type=click.Path())
@click.option("--fit", help="Which fit, where the run has several.")
@click.option("--data", help="Score on this data instead of the data of training.")
@click.option("--part", type=click.Choice(["test", "development"]), default="test", show_default=True)
@json_option
def command(run: str, fit: str | None, data: str | None, part: str, as_json: bool) -> None:
    """Score the finished model in RUN on held-out labels: accuracy with its 95 % interval, and each class.

    \b
    Examples:
      semilla evaluate runs/digits-1
      semilla evaluate semilla-demo --fit uda-0
    """
    from semilla.evidence.scores import evaluate

    scores = evaluate(run, fit=fit, data=data, part=part)
    if as_json:
        print_json(scores.summary())
        return
    for line in scores.lines():
        click.echo(line)
