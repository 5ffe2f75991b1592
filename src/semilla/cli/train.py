"""``semilla train``."""

from __future__ import annotations

import glob
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from semilla.cli.console import assignments_of, json_option, print_json, printer, progress_stream, set_option
from semilla.cli.data_options import data_options, given
from semilla.config import PARAMETERS, settings
from semilla.errors import Interrupted, StateError, UsageError, WorseError
from semilla.methods import METHODS, find
from semilla.methods.catalogue import plug_in


@click.command("train")
@click.argument("data")
@click.option("--labels", type=click.IntRange(min=1), help="Labeled examples in all, the same number for each class.")
@click.option(
    "--labels-file", type=click.Path(), help="Positions of the labeled examples: .txt, .json, .npy, .npz#key."
)
@data_options
@click.option("--method", default="fixmatch", show_default=True, help=f"One of {', '.join(METHODS)}.")
@click.option("--no-baseline", is_flag=True, help="Do not fit supervised training beside the method: no verdict.")
@click.option(
    "--network",
    help="small_cnn, whitened_cnn, wide_resnet, mlp, a timm model's; of text crnn, conv_transformer, attention_reader.",
)
@click.option("--weights", metavar="PATH", help="Start from this safetensors file; hub downloads a timm model's own.")
@click.option("--init", metavar="RUN", help="Start from this run (see semilla pretrain) or safetensors file.")
@click.option("--pretrain", "pretraining", metavar="METHOD", help="First make such a start; for text: generated.")
@click.option(
    "--generated",
    multiple=True,
    metavar="KEY=VALUE",
    help="What generated lines are like: corpus=FILE, look=handwriting, lines=40000, steps=4000, …; repeatable.",
)
@click.option("--layer-decay", type=float, help="Learning rate factor from each layer to the one below it.")
@click.option("--steps", type=int, help="Optimizer steps.")
@click.option("--minutes", type=float, help="Train for about so long instead of a number of steps.")
@click.option("--seed", type=int, help="Label draw, initial weights, order, views.  [default: 0]")
@click.option("--recipe", default="auto", show_default=True, help="A recipe's name, a TOML file, or none.")
@click.option("--device", help="cpu, cuda or mps.  [default: the fastest found]")
@click.option("--precision", help="fp32 or bf16.  [default: by device; the faster on a CPU]")
@click.option("--compile", is_flag=True, default=None, help="Let PyTorch compile the network: for long runs on a GPU.")
@click.option("--save-every", type=int, help="Steps between checkpoints.  [default: 10 times in a run]")
@click.option("--out", "-o", type=click.Path(), help="The run folder.  [default: runs/<data>-<n>]")
@click.option("--dry-run", is_flag=True, help="Read the data, say what was understood and planned, and stop.")
@click.option("--profile", "profiled", is_flag=True, help="First say where a step's time goes; a run writes a trace.")
@click.option("--resume", is_flag=True, help="Take up the run in --out where it stopped.")
@click.option("--allow-change", multiple=True, metavar="KEY", help="A setting that a resumed run may change.")
@click.option("--allow-data-change", is_flag=True, help="A resumed run may find other data.")
@click.option("--overwrite", is_flag=True, help="Start anew although --out holds this run.")
@click.option("--strict", is_flag=True, default=None, help="A suspected collapse ends the run with exit code 5.")
@click.option("--fail-if-worse", is_flag=True, help="Exit code 8 if the unlabeled data hurt.")
@click.option("--plugin", multiple=True, metavar="MODULE", help="A Python module with methods of your own; it is run.")
@set_option
@json_option
def command(
    data: str,
    method: str,
    no_baseline: bool,
    recipe: str,
    out: str | None,
    resume: bool,
    fail_if_worse: bool,
    plugin: tuple[str, ...],
    generated: tuple[str, ...],
    assignments: tuple[str, ...],
    as_json: bool,
    **options: Any,
) -> None:
    """Train a method on DATA, and the supervised baseline that it has to beat.

    DATA is a folder of pictures (a subfolder for each class, and one called unlabeled; or train, test, … with those
    inside), a list of pictures (.csv, .tsv, .jsonl with path and label; an empty label is not known), a table of
    features (.csv, .parquet), Parquet files of pictures, an .npz of arrays, or digits, digit_strings or cifar10.

    \b
    Examples:
      semilla train photos/
      semilla train photos/ --unlabeled more/ --test checked/ --method mean_teacher
      semilla train labels.csv --holdout 0.2 --dry-run
      semilla train table.csv --label-col species --impute median
      semilla train lines/ --task text --method mean_teacher --pretrain generated
      semilla train lines/ --task text --pretrain generated --generated corpus=texts.txt --generated look=print
      semilla train digits --labels 40 --method uda --set threshold=0.8
      semilla pretrain photos/ --out START && semilla train photos/ --init START
      semilla train photos/ --out RUN --resume

    An .npz file holds x_train, y_train and, if you have them, x_test, y_test, x_unlabeled; a label of −1 means unknown.
    """
    said_lines: list[str] = []
    show = printer(as_json)

    def say(line: str) -> None:
        said_lines.extend(line.splitlines())
        show(line)

    said = assignments_of(assignments)
    changes = said | given(options)
    if "minutes" in changes and "steps" in changes:
        raise UsageError("U008", "--minutes and --steps both set the budget", "give one of them")
    for module in plugin:
        plug_in(module)
    flags = {key: value for key, value in given(options).items() if key in PARAMETERS}
    settings(method, find(method).hyperparameters, said, flags)  # wrong words are told before PyTorch is loaded
    dry = bool(options["dry_run"])
    folder = Path(out) if out is not None else None if dry else latest_run(data) if resume else next_run(data)
    from semilla.runs import next_steps, train

    with telling_how_to_resume(folder):
        trained = train(
            data,
            method=method,
            baseline=not no_baseline,
            generated=assignments_of(generated) or None,
            recipe=None if recipe == "none" else recipe,
            out=folder,
            resume=resume,
            command=shlex.join(["semilla", *sys.argv[1:]]),
            progress=progress_stream(),
            say=say,
            **changes,
        )
    if trained is None or folder is None:
        if as_json:
            print_json({"dry_run": True, "said": said_lines})
        return
    if as_json:
        print_json(trained.summary())
    say("\n".join(next_steps(folder)))
    if fail_if_worse and trained.verdict is not None and trained.verdict.word == "hurt":
        raise WorseError("V001", trained.verdict.sentence(), f"use {trained.shipped}, which the run ships")


def next_run(data: str) -> Path:
    """``runs/<name>-<n>``: one more than the highest there is."""
    numbers = _runs(data)
    return Path("runs") / f"{Path(data).stem or 'run'}-{max(numbers, default=0) + 1}"


def latest_run(data: str) -> Path:
    """The last run of that name: what a bare ``--resume`` means."""
    numbers = _runs(data)
    if not numbers:
        raise StateError("C002", f"no run of {data!r} to resume in 'runs'", "name its folder with --out")
    return numbers[max(numbers)]


def _runs(data: str) -> dict[int, Path]:
    name = Path(data).stem or "run"
    found = {path.name.removeprefix(f"{name}-"): path for path in Path("runs").glob(f"{glob.escape(name)}-*")}
    return {int(number): path for number, path in found.items() if number.isdecimal()}


@contextmanager
def telling_how_to_resume(folder: Path | None) -> Iterator[None]:
    """Where a signal ends what was saved, the command that goes on with it."""
    try:
        yield
    except Interrupted as stop:
        if stop.saved and folder is not None:
            click.echo(f"saved; continue with:\n  {_resume_command(folder)}", err=True)
        raise


def _resume_command(folder: Path) -> str:
    """What was typed, as it goes on with what is in the folder."""
    arguments = [word for word in sys.argv[1:] if word != "--overwrite"]
    if not any(word in ("--out", "-o") or word.startswith("--out=") for word in arguments):
        arguments += ["--out", str(folder)]
    return shlex.join(["semilla", *arguments, *([] if "--resume" in arguments else ["--resume"])])
