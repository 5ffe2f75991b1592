"""Options that say what the data are: the same words for every command that reads some."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])

_OPTIONS = (
    click.option("--task", type=click.Choice(["text"]), help="Labels are texts: pictures of words or lines are read."),
    click.option("--height", type=int, help="Pixels of height that lines of text are brought to.  [default: 32]"),
    click.option("--unlabeled", "--unlabelled", metavar="PATH", help="A folder or file with more unlabeled examples."),
    click.option("--test", metavar="PATH", help="A folder or file with labeled examples to test on."),
    click.option("--holdout", type=float, help="Keep labels back for testing: a share below 1, or a number."),
    click.option(
        "--path-col", "--path-column", "path_column", metavar="NAME", help="The list column that names the pictures."
    ),
    click.option(
        "--label-col",
        "--label-column",
        "--text-col",
        "--text-column",
        "label_column",
        metavar="NAME",
        help="The column that holds the labels, or the texts.",
    ),
    click.option(
        "--group-col", "--group-column", "group_column", metavar="NAME", help="The column of what belongs together."
    ),
    click.option("--categorical", multiple=True, metavar="NAME", help="A number that is a category. Repeatable."),
    click.option(
        "--impute", type=click.Choice(["median", "mean", "most_frequent"]), help="Fill empty cells of a table."
    ),
    click.option("--size", type=click.IntRange(8, 4096), help="Pixels of each side.  [default: from the pictures]"),
    click.option(
        "--resize", type=click.Choice(["squash", "pad", "crop"]), help="How pictures of another shape get there."
    ),
    click.option("--flip/--no-flip", default=None, help="Whether a mirrored picture means the same."),
    click.option(
        "--on-bad-file", type=click.Choice(["error", "skip"]), help="What to do about labeled pictures nobody can read."
    ),
    click.option("--allow-leak", is_flag=True, default=None, help="Accept test pictures that are also trained on."),
    click.option("--follow-links", is_flag=True, default=None, help="Follow links that lead out of the data folder."),
    click.option("--max-pixels", type=int, help="The largest picture that is opened.  [default: 64,000,000]"),
)


def data_options(command: Command) -> Command:
    """Add the options; the command gets them as keywords, None where they were not given."""
    return reduce(lambda wrapped, option: option(wrapped), reversed(_OPTIONS), command)


def repeated(options: dict[str, Any]) -> list[str]:
    """The words of a command line that say the same of the data, for a command to be run next."""
    words: list[str] = []
    for option in click.command("data")(data_options(lambda **_: None)).params:
        value = options.get(option.name or "")
        if isinstance(value, bool):
            words.append((option.opts if value else option.secondary_opts)[0])
        elif value is not None:
            for each in value if isinstance(value, tuple) else (value,):
                words += [option.opts[0], str(each)]
    return words


def given(options: dict[str, Any]) -> dict[str, Any]:
    """The options that were given."""
    return {key: value for key, value in options.items() if value is not None and value != ()}
