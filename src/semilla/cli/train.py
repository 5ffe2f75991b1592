"""``semilla train``."""

from __future__ import annotations

import glob
import shlex
import sys
from pathlib import Path
from typing import Any

import click

from semilla.cli.console import assignments_of, json_option, print_json, printer, progress_stream, set_option
from semilla.config import settings
from semilla.errors import Interrupted, StateError, UsageError
from semilla.methods import METHODS, find


@click.command("train")
@click.argument("data")
@click.option("--labels", type=click.IntRange(min=1), help="Labeled examples in all, the same number for each class.")
@click.option(
    "--labels-file", type=click.Path(), help="Positions of the labeled examples: .txt, .json, .npy, .npz#key."
)
@click.option("--method", default="fixmatch", show_default=True, help=f"One of {', '.join(METHODS)}.")
@click.option("--steps", type=int, help="Optimizer steps.")
@click.option("--minutes", type=float, help="Train for about so long instead of a number of steps.")
@click.option("--seed", type=int, help="Label draw, initial weights, order, views.  [default: 0]")
@click.option("--recipe", default="auto", show_default=True, help="A recipe's name, a TOML file, or none.")
@click.option("--device", help="cpu, cuda or mps.  [default: the fastest found]")
@click.option("--precision", help="fp32 or bf16.  [default: by device]")
@click.option("--save-every", type=int, help="Steps between checkpoints.  [default: 10 times in a run]")
@click.option("--out", type=click.Path(), help="The run folder.  [default: runs/<data>-<n>]")
@click.option("--resume", is_flag=True, help="Take up the run in --out where it stopped.")
@click.option("--overwrite", is_flag=True, help="Start anew although --out holds this fit.")
@click.option("--strict", is_flag=True, default=None, help="A suspected collapse ends the run with exit code 5.")
@set_option
@json_option
def command(
    data: str,
    labels: int | None,
    labels_file: str | None,
    method: str,
    minutes: float | None,
    recipe: str,
    out: str | None,
    resume: bool,
    overwrite: bool,
    assignments: tuple[str, ...],
    as_json: bool,
    **flags: Any,
) -> None:
    """Train one method on DATA: digits, cifar10, a folder of CIFAR-10 files, or an .npz file of arrays.

    \b
    Examples:
      semilla train digits --labels 40 --method uda
      semilla train cifar10 --labels 250 --method fixmatch --minutes 30
      semilla train mine.npz --labels 100 --set threshold=0.9 --out runs/mine
      semilla train digits --labels 40 --method uda --out RUN --resume

    An .npz file holds x_train, y_train and, if you have them, x_test, y_test, x_unlabeled; a label of −1 means unknown.
    """
    say = printer(as_json)
    changes = assignments_of(assignments) | {key: value for key, value in flags.items() if value is not None}
    if minutes is not None and "steps" in changes:
        raise UsageError("U008", "--minutes and --steps both set the budget", "give one of them")
    settings(method, find(method).hyperparameters, changes)  # wrong words are told before PyTorch is loaded
    folder = Path(out) if out is not None else _latest_run(data) if resume else _next_run(data)
    say(f"run folder: {folder}")

    from semilla.fitting import train

    try:
        result = train(
            data,
            labels=labels,
            labels_file=labels_file,
            method=method,
            recipe=None if recipe == "none" else recipe,
            minutes=minutes,
            out=folder,
            resume=resume,
            overwrite=overwrite,
            progress=progress_stream(),
            say=say,
            **changes,
        )
    except Interrupted as stop:
        if stop.saved:
            click.echo(f"saved; continue with:\n  {_resume_command(folder)}", err=True)
        raise
    if as_json:
        print_json(result.summary())
        return
    from semilla.report.summary import fit_summary

    say("\n".join(fit_summary(result, folder)))


def _next_run(data: str) -> Path:
    """``runs/<name>-<n>``: one more than the highest there is."""
    numbers = _runs(data)
    return Path("runs") / f"{Path(data).stem or 'run'}-{max(numbers, default=0) + 1}"


def _latest_run(data: str) -> Path:
    """The last run of that name: what a bare ``--resume`` means."""
    numbers = _runs(data)
    if not numbers:
        raise StateError("C002", f"no run of {data!r} to resume in 'runs'", "name its folder with --out")
    return numbers[max(numbers)]


def _runs(data: str) -> dict[int, Path]:
    name = Path(data).stem or "run"
    found = {path.name.removeprefix(f"{name}-"): path for path in Path("runs").glob(f"{glob.escape(name)}-*")}
    return {int(number): path for number, path in found.items() if number.isdecimal()}


def _resume_command(folder: Path) -> str:
    arguments = [word for word in sys.argv[1:] if word != "--overwrite"]
    if not any(word == "--out" or word.startswith("--out=") for word in arguments):
        arguments += ["--out", str(folder)]
    return shlex.join(["semilla", *arguments, *([] if "--resume" in arguments else ["--resume"])])
