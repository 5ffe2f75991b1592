"""``semilla generate``."""

from __future__ import annotations

import click

from semilla.cli.console import json_option, print_json, printer, progress_stream
from semilla.text import clean

_LOOKS = ("plain", "print", "scene", "handwriting", "all")
_CASES = ("keep", "mixed", "lower", "upper", "title")


@click.group("generate", context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Make labeled data: pictures of text to train recognizers on before the few real labels.

    \b
    Examples:
      semilla generate text --count 1000
      semilla generate text addresses.txt --look handwriting --fonts system
    """


@command.command("text")
@click.argument("corpus", default="vietnamese")
@click.option("-o", "--out", type=click.Path(), default="generated", show_default=True, help="The folder to write to.")
@click.option("--count", type=click.IntRange(min=1), default=1000, show_default=True, help="How many lines.")
@click.option("--height", type=int, default=32, show_default=True, help="Of the pictures, in pixels; 48 is usual too.")
@click.option(
    "--fonts",
    multiple=True,
    metavar="PATH|system|bundled",
    help="Font files or folders; may be repeated.  [default: bundled, the DejaVu fonts that matplotlib brings]",
)
@click.option("--mode", type=click.Choice(("lines", "words")), default="lines", show_default=True)
@click.option(
    "--words", type=int, nargs=2, metavar="MIN MAX", help="Words of a text.  [default: 1 12, or 1 1 in words]"
)
@click.option("--max-length", type=int, default=70, show_default=True, help="Most characters of a text.")
@click.option("--case", type=click.Choice(_CASES), default="keep", show_default=True, help="mixed draws among them.")
@click.option(
    "--balance", type=float, default=0.0, show_default=True, help="Up to 1: texts with rare characters more often."
)
@click.option(
    "--look", type=click.Choice(_LOOKS), default="all", show_default=True, help="all draws print, scene, handwriting."
)
@click.option("--text-column", metavar="NAME", help="The column of texts in a .csv or .jsonl.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Same seed, same lines.")
@click.option("--workers", type=click.IntRange(min=0), help="Processes; 0 draws in this one.  [default: one a core]")
@json_option
def text_command(
    corpus: str,
    out: str,
    count: int,
    height: int,
    fonts: tuple[str, ...],
    mode: str,
    words: tuple[int, int] | None,
    max_length: int,
    case: str,
    balance: float,
    look: str,
    text_column: str | None,
    seed: int,
    workers: int | None,
    as_json: bool,
) -> None:
    """Draw words or lines of CORPUS into a folder with labels.csv, which semilla train reads.

    CORPUS is a text file with a line each, a .csv or .jsonl with a column of texts, or a built-in corpus: vietnamese
    (words and addresses), english, digits.

    A text is drawn only in fonts that have all of its characters, so that no label says what its picture does not show;
    texts that no font covers are left out, and the characters are named. The same command gives the same lines; one
    that was stopped goes on, and a larger --count adds lines to a folder. Look at preview.png before you train.

    \b
    Examples:
      semilla generate text --count 20000 --out lines
      semilla generate text addresses.txt --look handwriting --fonts system --height 48
      semilla generate text sentences.csv --text-column sentence --words 2 8 --case mixed
      semilla generate text english --mode words --look scene --balance 0.5
    """
    from semilla.generating import generate_text

    say = printer(as_json)
    made = generate_text(
        corpus,
        out,
        count=count,
        height=height,
        fonts=fonts,
        mode=mode,
        words=words,
        max_length=max_length,
        case=case,
        balance=balance,
        look=look,
        text_column=text_column,
        seed=seed,
        workers=workers,
        progress=progress_stream(),
        say=lambda text: say("\n".join(map(clean, text.split("\n")))),
    )
    if as_json:
        print_json(made)
