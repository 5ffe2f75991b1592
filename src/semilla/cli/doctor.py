"""``semilla doctor``."""

from __future__ import annotations

import sys

import click

from semilla.cli.console import json_option, print_json


@click.command("doctor")
@json_option
def command(as_json: bool) -> None:
    """Check this machine: versions, device, threads, cache, and whether torch and torchvision belong together."""
    from semilla.doctor import examine

    report = examine()
    if as_json:
        print_json(
            {"ok": not report.problems, "healthy": not report.problems, **report.facts, "problems": report.problems}
        )
    else:
        for name, value in report.facts.items():
            click.echo(f"{name:<14}{value}")
        for problem, fix in report.problems.items():
            click.echo(f"\nproblem: {problem}\n  fix: {fix}")
        click.echo("\nready. No data leaves this machine." if not report.problems else "")
    sys.exit(2 if report.problems else 0)
