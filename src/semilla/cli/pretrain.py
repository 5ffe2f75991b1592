"""``semilla pretrain``."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

import click

from semilla.cli.console import assignments_of, json_option, print_json, printer, progress_stream, set_option
from semilla.cli.data_options import data_options, given, repeated
from semilla.cli.train import latest_run, next_run, telling_how_to_resume
from semilla.config import PARAMETERS, settings
from semilla.errors import UsageError
from semilla.methods import PRETRAINING, find
from semilla.methods.catalogue import plug_in


@click.command("pretrain")
@click.argument("data")
@click.option("--method", default="simclr", show_default=True, help=f"One of {', '.join(PRETRAINING)}.")
@click.option("--labels", type=click.IntRange(min=1), help="Labels for the read-out alone.  [default: those known]")
@data_options
@click.option("--network", help="small_cnn, whitened_cnn, wide_resnet, mlp, or a timm model's.  [default: by data]")
@click.option("--steps", type=int, help="Optimizer steps.  [default: 20 times through the data on a CPU, 200 on a GPU]")
@click.option("--minutes", type=float, help="Train for about so long instead of a number of steps.")
@click.option("--seed", type=int, help="Initial weights, order, views.  [default: 0]")
@click.option("--recipe", type=click.Path(), help="A TOML file of settings.")
@click.option("--device", help="cpu, cuda or mps.  [default: the fastest found]")
@click.option("--precision", help="fp32 or bf16.  [default: by device; the faster on a CPU]")
@click.option("--compile", is_flag=True, default=None, help="Let PyTorch compile the network: for long runs on a GPU.")
@click.option("--save-every", type=int, help="Steps between checkpoints.  [default: 10 times in a run]")
@click.option("--out", "-o", type=click.Path(), help="The run folder.  [default: runs/<data>-<n>]")
@click.option("--dry-run", is_flag=True, help="Read the data, say what was understood and planned, and stop.")
@click.option("--profile", "profiled", is_flag=True, help="First say where a step's time goes; a run writes a trace.")
@click.option("--no-readout", is_flag=True, help="Do not score the features with the labels there are.")
@click.option("--resume", is_flag=True, help="Take up the run in --out where it stopped.")
@click.option("--allow-change", multiple=True, metavar="KEY", help="A setting that a resumed run may change.")
@click.option("--allow-data-change", is_flag=True, help="A resumed run may find other data.")
@click.option("--overwrite", is_flag=True, help="Start anew although --out holds this run.")
@click.option("--plugin", multiple=True, metavar="MODULE", help="A Python module with methods of your own; it is run.")
@set_option
@json_option
def command(
    data: str,
    method: str,
    out: str | None,
    resume: bool,
    no_readout: bool,
    plugin: tuple[str, ...],
    assignments: tuple[str, ...],
    as_json: bool,
    **options: Any,
) -> None:
    """Learn from all of DATA without any label; semilla train --init RUN starts from what was learnt.

    DATA is what semilla train reads; a folder of pictures in which nothing is labeled will do. Labels there are only
    serve afterwards, to read out how much a linear classifier gets from the features.

    \b
    Examples:
      semilla pretrain photos/
      semilla pretrain photos/ --method rotation --minutes 10 --out runs/start
      semilla train photos/ --init runs/start
      semilla pretrain table.csv --label-col species
    """
    changes = assignments_of(assignments) | given(options)
    if "minutes" in changes and "steps" in changes:
        raise UsageError("U008", "--minutes and --steps both set the budget", "give one of them")
    for module in plugin:
        plug_in(module)
    flags = {key: value for key, value in given(options).items() if key in PARAMETERS}
    settings(method, find(method).hyperparameters, assignments_of(assignments), flags)  # before PyTorch is loaded
    dry = bool(options["dry_run"])
    folder = Path(out) if out is not None else None if dry else latest_run(data) if resume else next_run(data)
    from semilla.pretraining import pretrain

    show, said = printer(as_json), list[str]()

    def say(line: str) -> None:
        said.extend(line.splitlines())
        show(line)

    with telling_how_to_resume(folder):
        pretrained = pretrain(
            data,
            method=method,
            out=folder,
            resume=resume,
            readout=not no_readout,
            command=shlex.join(["semilla", *sys.argv[1:]]),
            progress=progress_stream(),
            say=say,
            **changes,
        )
    if pretrained is None or folder is None:
        if as_json:
            print_json({"dry_run": True, "said": said})
        return
    if as_json:
        print_json(pretrained.summary())
    train = shlex.join(["semilla", "train", data, *repeated(options), "--init", str(folder)])
    if pretrained.labeled:
        say(f"\nNext:\n  {train}   fine-tune it, and let the unlabeled data help")
    else:
        say(f"\nNext, once a few examples are labeled (docs/data.md says how):\n  {train}")
