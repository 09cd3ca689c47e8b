"""``sinkhole policy``: what another policy would change, before it is applied."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from sinkhole import bundle
from sinkhole.cli import context, instants, tables
from sinkhole.cli.options import ConfigOption, JsonOption
from sinkhole.errors import SinkholeError
from sinkhole.policy import preview
from sinkhole.policy.policy import Policy
from sinkhole.queries import DIRECTORY, Reader

policy = typer.Typer(help="The policy as a whole.", no_args_is_help=True)

#: How many queries of a log are shown; ``--json`` has them all.
_ROWS = 50


@policy.callback()
def _group() -> None:
    """A group even while it has one command."""


@policy.command("preview")
def show_preview(
    queries: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Ask these queries: lines of the query log, or `client name type`; `-` is standard input, `log` the "
            "query log itself.",
        ),
    ] = None,
    at: Annotated[str | None, typer.Option(metavar="TIME", help="At which instant. Default: now.")] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say what the configuration as it is now would change against the bundle in use, and apply nothing.

    Told is, for each group, which names would be answered otherwise, and of a log of queries, which would have been and
    who asked them. Nothing is fetched: the texts are those at hand.

    \b
    sinkhole policy preview -c sinkhole.yaml
    sinkhole policy preview -c sinkhole.yaml --queries log
    sinkhole policy preview -c sinkhole.yaml --queries yesterday.txt
    """
    ctx = context.load(config)
    instant = instants.parse(at, "--at") if at else ctx.now
    current = bundle.current(ctx.bundles)
    if current is None:
        raise SinkholeError(f"no bundle is in use in {ctx.bundles}, so there is nothing to compare with; build first")
    with ExitStack() as stack:
        made = stack.enter_context(ctx.built())
        before, after = (Policy(opened, instant, ctx.permissions) for opened in (bundle.load(current), made))
        changes = list(preview.changes(before, after))
        replay = None
        if queries:
            replay = preview.replay(before, after, _lines(queries, ctx, stack))
    if as_json:
        told = {
            "changes": [change._asdict() for change in changes],
            "replay": replay and {**replay._asdict(), "changes": [asked._asdict() for asked in replay.changes]},
        }
        print(json.dumps(told, ensure_ascii=False))
        return
    if changes:
        rows = [(found.group, found.before, found.after, found.total, _some(found)) for found in changes]
        tables.show(["group", "now", "then", "names", "such as"], rows, right=["names"])
    else:
        print("no name would be answered otherwise")
    if replay:
        _show_replay(replay)


def _show_replay(replay: preview.Replay) -> None:
    affected = sum(asked.times for asked in replay.changes)
    clients = len({asked.client for asked in replay.changes})
    print(f"\n{affected} of {replay.total} queries, of {clients} clients, would have been answered otherwise")
    rows = [
        (asked.times, asked.client, asked.name, asked.rtype, asked.before, asked.after)
        for asked in replay.changes[:_ROWS]
    ]
    if rows:
        tables.show(["times", "client", "name", "type", "now", "then"], rows, right=["times"])
    if len(replay.changes) > _ROWS:
        print(f"and {len(replay.changes) - _ROWS} more; --json tells all")
    for text in replay.bad[:_ROWS]:
        print(f"sinkhole: {text}", file=sys.stderr)


def _some(change: preview.Change) -> str:
    return ", ".join(change.names[:5]) + (", …" if change.total > 5 else "")


def _lines(path: Path, ctx: context.Context, stack: ExitStack) -> Iterable[str]:
    if str(path) == "log":
        return (line.decode(errors="replace") for line, _ in Reader(ctx.config.state_dir / DIRECTORY).all())
    if str(path) == "-":
        return sys.stdin
    try:
        return stack.enter_context(path.open(encoding="utf-8", errors="replace"))
    except OSError as error:
        raise SinkholeError(f"cannot read {path}: {error.strerror}") from error
