"""``semilla compare``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from semilla.cli.console import assignments_of, json_option, print_json, printer, progress_stream, set_option
from semilla.cli.data_options import data_options, given
from semilla.methods import METHODS


@click.command("compare")
@click.argument("data")
@click.option("--method", "methods", multiple=True, help=f"Repeatable; all that apply if none: {', '.join(METHODS)}.")
@click.option("--labels", type=click.IntRange(min=1), help="Labeled examples in all, drawn anew for each draw.")
@click.option("--draws", type=click.IntRange(min=1), default=5, show_default=True, help="Label draws for each method.")
@click.option("--init", metavar="RUN", help="Start every fit from this run, with the labels alone from scratch beside.")
@click.option("--steps", type=int, help="Optimizer steps of each fit.")
@click.option("--network", help="As for semilla train.")
@click.option("--workers", type=click.IntRange(min=1), help="Fits side by side.  [default: the cores there are]")
@click.option("--out", "-o", type=click.Path(), help="Folder for fits, table and figure.  [default: compare-<data>]")
@data_options
@set_option
@json_option
def command(
    data: str,
    methods: tuple[str, ...],
    labels: int | None,
    draws: int,
    workers: int | None,
    out: str | None,
    assignments: tuple[str, ...],
    as_json: bool,
    **options: Any,
) -> None:
    """Compare methods on the same label draws, each with its gain over supervised training.

    The interval is over the draws: it covers which examples are labeled, the initial weights and the order of training.
    Without --labels every label is used, and the draws differ in weights and order only.

    An interrupted comparison is not gone on with: the same command starts anew in the next free folder, such as
    compare-<data>-2; with --out it needs the name of another one.

    \b
    Examples:
      semilla compare photos/ --method fixmatch --method mixmatch
      semilla compare digits --labels 40 --draws 10 --method uda
      semilla compare digit_strings --labels 40 --method mean_teacher
    """
    from semilla.comparing import compare
    from semilla.evidence.comparison import free_folder

    folder = Path(out) if out is not None else free_folder(Path(f"compare-{Path(data).stem or 'data'}"))
    changes = assignments_of(assignments) | given(options)
    stream = progress_stream()
    done = compare(data, methods, labels=labels, draws=draws, out=folder, workers=workers, progress=stream, **changes)
    say = printer(as_json)
    if as_json:
        print_json({**done.summary(), "folder": str(folder)})
    say("\n".join(done.lines()))
    say(f"\nfigure: {done.figure}   fits: {folder / 'fits'}   table: {folder / 'compare.json'}")
