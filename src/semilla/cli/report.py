"""``semilla report``."""

from __future__ import annotations

import click

from semilla.cli.console import json_option, print_json
from semilla.text import clean


@click.command("report")
@click.argument("run", type=click.Path())
@click.option("--fit", help="Which fit, where the run has several.  [default: the one that is shipped]")
@click.option("--data", metavar="PATH", help="Where the data of the run lie now, if they have moved.")
@click.option("--no-pictures", is_flag=True, help="Show no examples of the data.")
@json_option
def command(run: str, fit: str | None, data: str | None, no_pictures: bool, as_json: bool) -> None:
    """Write RUN/report.html, one page that says whether the unlabeled data helped and shows what was learnt.

    The page needs nothing but itself: no network, no script. Every figure also lies in RUN/figures as PNG, SVG and CSV.

    \b
    Examples:
      semilla report runs/digits-1
      semilla report semilla-demo --fit uda-0
      semilla report runs/photos-1 --data moved/photos
    """
    from semilla.reporting.run_report import FIGURES, report

    def say(line: str) -> None:
        click.echo(clean(line), err=True)

    page = report(run, fit, pictures=not no_pictures, data=data, say=say)
    if as_json:
        print_json({"report": str(page), "figures": str(page.parent / FIGURES)})
        return
    click.echo(f"report: {clean(page)}   figures: {clean(page.parent / FIGURES)}")
