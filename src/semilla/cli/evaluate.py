"""``semilla evaluate``."""

from __future__ import annotations

from pathlib import Path

import click

from semilla.cli.console import json_option, print_json, progress_stream


@click.command("evaluate")
@click.argument("run", type=click.Path())
@click.option("--fit", help="Which fit, where the run has several.")
@click.option("--data", help="Score on this data instead of the data of training.")
@click.option("--part", type=click.Choice(["test", "development"]), default="test", show_default=True)
@click.option("--allow-leak", is_flag=True, help="Accept pictures in --data that were trained on.")
@click.option(
    "--protocol",
    type=click.Choice(["exact", "english36"]),
    help="What readings of text are compared by.  [default: exact]",
)
@click.option("--predictions", metavar="FILE.csv", help="Write path, truth, label and confidence of every example.")
@json_option
def command(
    run: str,
    fit: str | None,
    data: str | None,
    part: str,
    allow_leak: bool,
    protocol: str | None,
    predictions: str | None,
    as_json: bool,
) -> None:
    """Score the finished model in RUN on held-out labels: over all and for each class, each with its 95 % interval.

    DATA may hold nothing but what is to be scored: a folder with a subfolder for each class, a list of pictures, a
    table, or an .npz with x_test and y_test.

    \b
    Examples:
      semilla evaluate runs/digits-1
      semilla evaluate semilla-demo --fit uda-0
      semilla evaluate runs/photos-1 --data checked/ --predictions right-and-wrong.csv
    """
    from semilla.evidence.scores import evaluate

    scores = evaluate(
        run, fit=fit, data=data, part=part, allow_leak=allow_leak, protocol=protocol, progress=progress_stream()
    )
    if predictions is not None:
        scores.write_predictions(Path(predictions))
    if as_json:
        print_json(scores.summary())
        return
    for line in scores.lines():
        click.echo(line)
