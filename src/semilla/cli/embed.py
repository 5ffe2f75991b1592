"""``semilla embed``."""

from __future__ import annotations

from typing import Any

import click

from semilla.cli.console import json_option, print_json, printer, progress_stream
from semilla.cli.data_options import data_options, given
from semilla.config import network_name


@click.command("embed")
@click.argument("data")
@click.option("--network", help="A timm model such as resnet18, or a network of semilla's own.")
@click.option("--weights", metavar="PATH|hub", help="A .safetensors file; hub downloads a timm model's.")
@click.option("--run", type=click.Path(), help="Take the model of a finished run instead.")
@click.option("--fit", help="Which fit of the run, where it has several.")
@click.option("--device", help="cpu, cuda or mps.  [default: the fastest found]")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of random weights.")
@click.option("-o", "--out", type=click.Path(), default="embeddings.npz", show_default=True, help=".npz or .parquet.")
@click.option("--overwrite", is_flag=True, help="Replace --out.")
@data_options
@json_option
def command(
    data: str,
    network: str | None,
    weights: str | None,
    run: str | None,
    fit: str | None,
    device: str | None,
    seed: int,
    out: str,
    overwrite: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Write the frozen features of every example of DATA, as vectors that semilla train reads.

    Without --weights a network's weights are random: that is only a baseline to hold others against, not useful
    features. Nothing is downloaded unless --weights hub asks for it.

    \b
    Examples:
      semilla embed pictures/ --network resnet18 --weights resnet18.safetensors
      semilla embed pictures/ --network vit_small_patch14_dinov2 --weights hub -o vit.npz
      semilla embed digits --run runs/digits-1 -o digits.parquet
      semilla train embeddings.npz --labels 40 --method fixmatch
    """
    if network is not None:
        network_name(network)  # a wrong word is told before PyTorch is loaded
    from semilla.data.source import Source
    from semilla.embedding import embed

    about = embed(
        Source(data, **given(options)),
        out,
        network=network,
        weights=weights,
        run=run,
        fit=fit,
        device=device,
        seed=seed,
        overwrite=overwrite,
        progress=progress_stream(),
        say=printer(as_json),
    )
    if as_json:
        print_json(about)
