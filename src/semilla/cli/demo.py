"""``semilla demo``."""

from __future__ import annotations

import click

from semilla.cli.console import json_option, print_json, printer, progress_stream
from semilla.methods import names_for


@click.command("demo")
@click.argument("what", type=click.Choice(["digits", "text"]), default="digits")
@click.option("--draws", type=click.IntRange(min=1), default=3, show_default=True, help="Label draws for each method.")
@click.option(
    "--method",
    "methods",
    multiple=True,
    help=f"Only this one beside supervised; repeatable; for digits: {', '.join(names_for('classes'))}; for text: "
    f"{', '.join(names_for('ctc'))}.",
)
@click.option("--labels", type=click.IntRange(min=1), help="Labeled examples in all.  [default: 40; text: 20]")
@click.option("--out", type=click.Path(), help="Folder for runs and figure.  [default: semilla-demo]")
@json_option
def command(
    what: str, draws: int, methods: tuple[str, ...], labels: int | None, out: str | None, as_json: bool
) -> None:
    """See on real data what each method does with a few labels.

    Trains every method on scikit-learn's handwritten digits, a few of them labeled and the rest of the pool unlabeled,
    over several label draws, and compares each with supervised training on the same draws. "semilla demo text" does so
    with strings of these digits: a recogniser learns to read from 20 transcribed strings and many without a
    transcription.

    \b
    Examples:
      semilla demo
      semilla demo --draws 10 --method uda --method mixmatch
      semilla demo --labels 100
      semilla demo text
    """
    from semilla.demo import run_demo

    summary = run_demo(draws, methods, labels, out, progress_stream(), printer(as_json), what)
    if as_json:
        print_json(summary)
