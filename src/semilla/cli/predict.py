"""``semilla predict``."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import click

from semilla.cli.console import json_option, print_json, progress_stream
from semilla.errors import Interrupted, UsageError
from semilla.text import clean


@click.command("predict")
@click.argument("run", type=click.Path())
@click.argument("inputs", nargs=-1, required=True, metavar="FILES…")
@click.option(
    "--output",
    "--out",
    "-o",
    "output",
    type=click.Path(),
    help="A .csv, .jsonl or .parquet file.  [default: CSV on stdout]",
)
@click.option("--fit", help="Which fit, where the run has several.")
@click.option("--no-probabilities", is_flag=True, help="Leave out the column of each class.")
@click.option("--precision", type=float, help="Accept only predictions of which at least this share is right.")
@click.option("--embeddings", metavar="FILE.npy", help="Write features too; 'column' puts them into a .parquet file.")
@click.option(
    "--on-bad-file", type=click.Choice(["error", "skip"]), default="error", show_default=True, help="Exit with 3 or 0."
)
@click.option("--no-csv-safe", is_flag=True, help="Write text that a spreadsheet takes for a formula as it is.")
@click.option("--resume", is_flag=True, help="Go on behind what an interrupted run wrote to --output.")
@click.option("--overwrite", is_flag=True, help="Replace --output.")
@click.option(
    "--shard",
    metavar="I/N",
    help="Only the I-th of N shares, from 0, into a file with its number.  [default: torchrun's rank]",
)
@click.option("--follow-links", is_flag=True, help="Follow links that lead out of a folder.")
@click.option("--max-pixels", type=click.IntRange(min=1), help="The largest picture that is opened.")
@click.option("--device", help="cpu, cuda or mps.  [default: the fastest found]")
@click.option("--workers", type=click.IntRange(min=0), help="Decoding processes.  [default: one for two cores]")
@json_option
def command(
    run: str,
    inputs: tuple[str, ...],
    output: str | None,
    no_probabilities: bool,
    no_csv_safe: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Predict the class of FILES, or read their text, with the finished model in RUN.

    FILES are pictures and folders of them, or tables for a model of tables. @LIST is a file with one name a line, - the
    same on standard input. Each row has path, label (or text), confidence, p:CLASS for each class, accepted with
    --precision, and error: why a file could not be read. In a path, %XX is a byte; in CSV, ' at the start of a text is
    not part of it.

    \b
    Examples:
      semilla predict RUN photos/ -o preds.csv
      semilla predict RUN photos/ -o preds.parquet --precision 0.95 --embeddings column
      find / -name '*.png' -print0 | semilla predict RUN - -o preds.jsonl
      semilla predict RUN photos/ -o preds.csv --resume
      semilla predict RUN photos/ -o preds.csv --shard 0/4      writes preds.part-0-of-4.csv
    """
    if as_json and output in (None, "-"):
        raise UsageError("U008", "--json and the predictions would both be on stdout", "name a file with --output")
    from semilla.inference.files import predict

    try:
        done = predict(
            run,
            inputs,
            "-" if output is None else output,
            probabilities=not no_probabilities,
            csv_safe=not no_csv_safe,
            progress=progress_stream(rows_on_stdout=output in (None, "-")),
            say=lambda line: click.echo(clean(line), err=True),
            **{key: value for key, value in options.items() if value is not None},
        )
    except Interrupted as stop:
        if stop.saved:
            click.echo("stopped between two rows; the same command with --resume goes on from there", err=True)
        raise
    except BrokenPipeError:  # whoever read the rows has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return
    if as_json:
        print_json(done.summary())
    elif done.output is not None:
        accepted = "" if done.accepted is None else f", {done.accepted:,} accepted"
        share = "" if done.output == Path(str(output)) else " (each share has a file of its own)"
        what = f"{done.count:,} prediction{'s' * (done.count != 1)}{accepted}"
        click.echo(f"{what}: {clean(done.output)}{share}", err=True)
