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
    """Show what is kept of data sets that were decoded: a line a set, with its size, last use, and where it lies.

    Besides pictures it holds what the last look at their files found, by which a changed file is told, and how fast
    networks are on this machine. Everything in it can be made again; the limit is SEMILLA_CACHE_LIMIT, the place
    SEMILLA_CACHE.

    \b
    Examples:
      semilla cache
      semilla cache clear --older-than 30
    """
    if context.invoked_subcommand is not None:
        return
    from semilla.data.store import cache_folder, cache_limit, entries, sets

    found, limit = entries(), cache_limit()
    total = sum(entry.size for entry in found)
    if as_json:
        told = [_plain(entry) for entry in found]
        print_json({"folder": str(cache_folder()), "limit": limit, "bytes": total, "entries": told})
        return
    click.echo(f"{clean(cache_folder())}: {_entries(len(found))}, {_size(total)} of at most {_size(limit)}")
    for line in _table(sets(found)):
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
    click.echo(f"{_entries(len(removed))} removed, {_size(freed)} free again")


def _table(found: Iterable[list[Entry]]) -> Iterable[str]:
    rows = []
    for own in found:
        total, used = sum(entry.size for entry in own), max(entry.used for entry in own)
        rows.append((_size(total), _ago(time.time() - used), _what(own), _called(own)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for size, ago, what, called in rows:
        yield f"  {size:>{widths[0]}}  {ago:>{widths[1]}}  {what:<{widths[2]}}  {called}"


def _what(own: list[Entry]) -> str:
    """What there is of a set."""
    if own[0].kind == "probes":
        return "speed of a network"
    pools = [entry for entry in own if entry.kind == "pixels"]
    looks = len(own) - len(pools)
    told = [f"{pools[0].pictures:,} picture{'s' * (pools[0].pictures != 1)}"] if pools else []
    if len(pools) > 1:
        told[0] += f" in {len(pools)} versions"
    return ", ".join([*told, *(["last look" if looks == 1 else f"{looks} last looks"] if looks else [])])


def _called(own: list[Entry]) -> str:
    """Its name, and what tells it from others of that name: where it lay when it was read, or a key."""
    name = clean(own[0].name)
    if own[0].kind == "probes":
        return name
    first, *more = next((entry.place for entry in own if entry.place), "").split("\n")
    key = next((entry for entry in own if entry.kind == "pixels"), own[0]).key
    return f"{name}  {clean(first)}{' …' if more else ''}" if first else f"{name}  [{key}]"


def _ago(seconds: float) -> str:
    minutes = max(0.0, seconds) / 60
    for unit, length, most in (("minute", 1, 90), ("hour", 60, 48 * 60)):
        if minutes < most:
            count = round(minutes / length)
            return f"{count} {unit}{'s' * (count != 1)} ago"
    return f"{minutes / 1440:.0f} days ago"


def _entries(count: int) -> str:
    return f"{count:,} {'entry' if count == 1 else 'entries'}"


def _plain(entry: Entry) -> dict[str, object]:
    return {
        "name": entry.name,
        "kind": entry.kind,
        "pictures": entry.pictures,
        "bytes": entry.size,
        "used": round(entry.used),
        "place": entry.place,
        "path": str(entry.path),
    }


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.{0 if unit == 'B' else 1}f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
