"""``sinkhole queries``: what clients asked for, and what became of it, from the query log."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime, timedelta
from ipaddress import ip_network
from typing import Annotated, Any

import typer

from sinkhole.catalogue.model import parse_duration
from sinkhole.cli import context, instants, tables
from sinkhole.cli.options import ConfigOption
from sinkhole.errors import SinkholeError
from sinkhole.names import BadName, parse_name
from sinkhole.policy.verdict import Action
from sinkhole.queries import DIRECTORY, Line, Network, Reader, Wanted

#: Lines that are shown when nobody says how many.
_SHOWN = 100
_ACTIONS = (*Action, "local")
_COLUMNS = ("time", "client", "name", "type", "action", "by", "outcome", "rcode")
#: Characters of the columns while lines come one by one.
_WIDTHS = (24, 15, 40, 5, 7, 30, 9, 8)


def queries(
    client: Annotated[
        str | None, typer.Option(metavar="IP", help="Only of this client, or of this network: 10.20.0.0/16.")
    ] = None,
    name: Annotated[str | None, typer.Option(metavar="NAME", help="Only for this name and all below it.")] = None,
    action: Annotated[
        str | None, typer.Option(metavar="ACTION", help=f"Only with this action: {', '.join(_ACTIONS)}.")
    ] = None,
    directive: Annotated[str | None, typer.Option(metavar="ID", help="Only what this directive decided.")] = None,
    list_: Annotated[str | None, typer.Option("--list", metavar="ID", help="Only what this list decided.")] = None,
    since: Annotated[
        str | None,
        typer.Option(
            metavar="TIME", help="Only from this instant on, or for so long back: 2025-02-15T18:00+09:00, 1h."
        ),
    ] = None,
    until: Annotated[
        str | None, typer.Option(metavar="TIME", help="Only up to this instant, or until so long ago.")
    ] = None,
    limit: Annotated[
        int, typer.Option(metavar="N", min=0, help="Show the newest so many; 0 is all that there are.")
    ] = _SHOWN,
    follow: Annotated[bool, typer.Option("--follow", help="Then show what comes, until interrupted.")] = False,
    config: ConfigOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the lines as they are stored, JSON.")] = False,
) -> None:
    """Show what clients asked for, when, and what became of it: which order, list or exception decided.

    It reads the query log in the state directory of this configuration, whether an instance runs or not. What the
    members of a line mean is told in the documentation; names are shown with escapes for all that is not printable.

    \b
    sinkhole queries --action block --since 1h
    sinkhole queries --client 10.20.0.0/16 --name deepseek.com --follow
    sinkhole queries --directive kr-mnd-2025-02-05 --since 2025-02-15T18:00+09:00 --limit 0 --json
    """
    ctx = context.load(config)
    if action is not None and action not in _ACTIONS:
        raise typer.BadParameter(f"{action!r} is none of {', '.join(_ACTIONS)}", param_hint="--action")
    wanted = Wanted(
        None if client is None else _network(client),
        None if name is None else _name(name),
        action,
        directive,
        list_,
        None if since is None else _instant(since, "--since", ctx.now),
        None if until is None else _instant(until, "--until", ctx.now),
    )
    directory = ctx.config.state_dir / DIRECTORY
    reader = Reader(directory, wanted)
    end = reader.end()
    if not (end or follow):
        raise SinkholeError(f"there is no query log in {directory}: no instance has recorded anything there yet")
    found = reader.newest(limit, end) if limit else reader.all(end)
    if limit and not (as_json or follow):
        tables.show(_COLUMNS, map(_row, found))
    else:
        show = _print if as_json else _show
        show(found)
        with suppress(KeyboardInterrupt):
            show(reader.follow(end) if follow else ())
    if reader.skipped:
        print(f"sinkhole: lines that are damaged and were left out: {reader.skipped}", file=sys.stderr)


def _print(lines: Iterable[Line]) -> None:
    for line, said in lines:
        print(line.decode() if line.isascii() else json.dumps(said), flush=True)


def _show(lines: Iterable[Line]) -> None:
    for line in lines:
        cells = zip(_row(line), _WIDTHS, strict=True)
        print(" ".join(f"{cell:{width}}" for cell, width in cells).rstrip(), flush=True)


def _row(line: Line) -> list[str]:
    _, said = line
    return [_shown(_by(said) if column == "by" else said.get(column, "")) for column in _COLUMNS]


def _by(said: dict[str, Any]) -> str:
    """What decided."""
    found = [f"{kind} {said[kind]}" for kind in ("exception", "directive", "list") if kind in said]
    return ", ".join(found) + ", by its answer" * ("judged" in said)


def _shown(value: object) -> str:
    """A text without anything that a terminal obeys, whoever wrote it into the file."""
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in str(value))


def _network(text: str) -> Network:
    try:
        return ip_network(text, strict=False)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no IP address and no network", param_hint="--client") from None


def _name(text: str) -> str:
    try:
        return parse_name(text, single=True)
    except BadName as error:
        raise typer.BadParameter(f"{text!r} is not a name: {error}", param_hint="--name") from None


def _instant(text: str, option: str, now: datetime) -> datetime:
    """An instant, or a duration before now."""
    try:
        return now - timedelta(seconds=parse_duration(text))
    except ValueError:
        return instants.parse(text, option)
    except OverflowError:
        raise typer.BadParameter(f"{text!r} is before all time", param_hint=option) from None
