"""``semilla export``."""

from __future__ import annotations

import click

from semilla.cli.console import json_option, print_json, progress_stream
from semilla.text import clean


@click.command("export")
@click.argument("run", type=click.Path())
@click.option("--fit", help="Which fit, where the run has several.")
@click.option("--format", "kind", type=click.Choice(["onnx", "safetensors", "all"]), default="all", show_default=True)
@click.option("-o", "--out", type=click.Path(), help="The new folder.  [default: RUN/export]")
@click.option("--samples", type=click.Path(), help="Compare ONNX and PyTorch on this data instead of the run's.")
@click.option("--overwrite", is_flag=True, help="Replace an export that is there.")
@json_option
def command(
    run: str, fit: str | None, kind: str, out: str | None, samples: str | None, overwrite: bool, as_json: bool
) -> None:
    """Write the finished model in RUN as ONNX, as safetensors with JSON, and with a model card.

    ONNX needs: python -m pip install "semilla[onnx]"

    \b
    Examples:
      semilla export runs/digits-1
      semilla export runs/digits-1 --format safetensors -o model
    """
    from semilla.exporting import export

    stream = progress_stream()
    done = export(run, fit=fit, format=kind, out=out, samples=samples, overwrite=overwrite, progress=stream)
    if as_json:
        print_json(done.summary())
        return
    for line in done.lines():
        click.echo(clean(line))
