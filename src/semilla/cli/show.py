"""``semilla show``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from semilla import files
from semilla.cli.console import json_option, print_json
from semilla.errors import StateError
from semilla.methods import METHODS, PRETRAINING
from semilla.text import clean


@click.command("show")
@click.argument("run", type=click.Path())
@click.option("--fit", help="Which fit, where the run has several.  [default: the one that is shipped]")
@click.option("--recipe", is_flag=True, help="Only the settings, as a recipe for semilla train --recipe.")
@json_option
def command(run: str, fit: str | None, recipe: bool, as_json: bool) -> None:
    """Print how RUN came about: command, data, verdict, and every setting as it was resolved.

    \b
    Examples:
      semilla show runs/photos-1
      semilla show runs/photos-1 --recipe > photos.toml
      semilla train photos/ --recipe photos.toml       the same settings again
    """
    described, folder = _described(Path(run), fit, recipe)
    saved = files.read_json(folder / "fit.json")
    if as_json:
        print_json({"run": described, "fit": saved})
        return
    if not recipe:
        for line in _story(described, saved, folder.name):
            click.echo(line)
    verb = "train" if saved["fit"]["data"]["labeled"] else "pretrain"
    click.echo(_toml(verb, saved["fit"]["settings"], folder.name, described.get("command", "")))
    baseline = folder.with_name(f"supervised-{saved['fit']['settings']['seed']}") / "fit.json"
    if baseline.is_file() and baseline.parent != folder:
        own = files.read_json(baseline)["fit"]["settings"]
        click.echo("\n".join(["", "[baseline]", *_lines(own)]))


def _described(run: Path, fit: str | None, method: bool) -> tuple[dict[str, Any], Path]:
    """What run.json says, and the folder of the fit."""
    from semilla.inference.model import read_run

    described = read_run(run)
    if (run / "fit.json").is_file():
        return {}, run
    names = sorted(path.parent.name for path in (run / "fits").glob("*/fit.json"))
    if not names:
        raise StateError("C023", f"no run in {str(run)!r}", "name a folder that semilla train made")
    own = [name for name in names if not name.startswith(("supervised-", "from_scratch-"))]
    shipped = own[0] if method and len(own) == 1 else described.get("shipped")  # a recipe is the method's
    wanted = fit or shipped or (names[0] if len(names) == 1 else None)
    if wanted not in names:
        raise StateError("C024", f"{str(run)!r} holds {', '.join(names)}", "name one with --fit")
    return described, run / "fits" / str(wanted)


def _story(described: dict[str, Any], saved: dict[str, Any], fit: str) -> list[str]:
    lines = [f"command   {clean(described['command'])}"] if "command" in described else []
    data = saved["fit"]["data"]
    lines.append(f"data      {clean(data['name'])}: {data['labeled']:,} labeled, {data['unlabeled']:,} unlabeled")
    if verdict := described.get("verdict"):
        low, high = (100 * end for end in verdict["difference"][1:])
        lines.append(f"verdict   {verdict['word']} ({low:+.1f} … {high:+.1f} points, {verdict['n']:,} test labels)")
    lines.append(f"fit       {clean(fit)}" + (", shipped" if described.get("shipped") == fit else ""))
    lines.append("versions  " + ", ".join(f"{name} {version}" for name, version in saved["versions"].items()))
    return [*lines, ""]


def _toml(verb: str, settings: dict[str, Any], fit: str, command: str) -> str:
    """The settings as a recipe; what is not set is left out."""
    lines = [f"# semilla {verb} DATA --method {settings['method']} --recipe THIS.toml"]
    lines.append(f"# every setting of {clean(fit)}; what the data are is for the command to say")
    lines += [f"# as did: {clean(command)}"] if command else []
    return "\n".join([*lines, *_lines(settings)])


def _lines(settings: dict[str, Any]) -> list[str]:
    """Every setting that has a value, those of the method among them, whether they were said or not."""
    entry = (METHODS | PRETRAINING).get(settings["method"])
    known = entry.hyperparameters if entry is not None else {}
    values = {key: value for key, value in settings.items() if key not in ("method", "hyperparameters")}
    if not values.get("labeled_batch"):  # a pre-training has none, which is nothing that can be said
        values.pop("labeled_batch", None)
    values |= {name: parameter.ours for name, parameter in known.items()} | settings["hyperparameters"]
    return [f"{key} = {json.dumps(value)}" for key, value in values.items() if value is not None]
