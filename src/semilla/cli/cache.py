"""``semilla cache``."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

from semilla.cli.console import json_option, print_json
from semilla.text import clean

if TYPE_CHECKING:
    from semilla.data.store import Entry


@click.group("cache", invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@json_option
@click.pass_context
def command(context: click.Context, as_json: bool) -> None:
    """Show what is kept of data sets that were decoded: entries, sizes, last use, limit.

    Everything in it can be made again; the limit is SEMILLA_CACHE_LIMIT, the place SEMILLA_CACHE.

    \b
    Examples:
      semilla cache
      semilla cache clear --older-than 30
    """
    if context.invoked_subcommand is not None:
        return
    from semilla.data.store import cache_folder, cache_limit, entries

    found, limit = entries(), cache_limit()
    total = sum(entry.size for entry in found)
    if as_json:
        told = [_plain(entry) for entry in found]
        print_json({"folder": str(cache_folder()), "limit": limit, "bytes": total, "entries": told})
        return
    click.echo(f"{clean(cache_folder())}: {len(found)} entries, {_size(total)} of at most {_size(limit)}")
    for line in _table(found):
        click.echo(line)


@command.command("clear")
@click.option("--older-than", type=click.FloatRange(min=0), default=0.0, metavar="DAYS", help="Keep what is younger.")
@json_option
def clear_command(older_than: float, as_json: bool) -> None:
    """Remove entries; the data they were made from are not touched.

    \b
    Examples:
      semilla cache clear
      semilla cache clear --older-than 30
    """
    from semilla.data.store import clear

    removed = clear(older_than)
    freed = sum(entry.size for entry in removed)
    if as_json:
        print_json({"removed": [_plain(entry) for entry in removed], "bytes": freed})
        return
    click.echo(f"{len(removed)} entries removed, {_size(freed)} free again")


def _table(found: Iterable[Entry]) -> Iterable[str]:
    now = time.time()
    for entry in found:
        days = max(0.0, now - entry.used) / 86_400
        used = f"{days:.0f} days ago" if days >= 2 else f"{24 * days:.0f} hours ago"
        what = f"{entry.pictures:,} pictures" if entry.kind == "pixels" else "last look"
        yield f"  {_size(entry.size):>9}  {used:>12}  {what:>18}  {clean(entry.name)}"


def _plain(entry: Entry) -> dict[str, object]:
    return {
        "name": entry.name,
        "kind": entry.kind,
        "pictures": entry.pictures,
        "bytes": entry.size,
        "used": round(entry.used),
        "path": str(entry.path),
    }


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.{0 if unit == 'B' else 1}f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
