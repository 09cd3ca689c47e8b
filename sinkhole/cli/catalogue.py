"""``sinkhole feeds`` and ``sinkhole directive``: what the catalogue holds."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from sinkhole.cli import context, tables
from sinkhole.cli.building import STALE
from sinkhole.cli.progress import Bars
from sinkhole.errors import SinkholeError
from sinkhole.feeds.fetch import shown
from sinkhole.files import Lock

feeds = typer.Typer(
    help="Sources of rules: what there is, what is known of each, and fetching them.", no_args_is_help=True
)
directive = typer.Typer(
    help="Orders that the catalogue knows: who decided what, and when it holds.", no_args_is_help=True
)


@feeds.command("list")
def list_feeds(as_json: context.JsonOption = False) -> None:
    """The sources in the catalogue."""
    sources = context.load(None).catalogue.sources
    if as_json:
        print(json.dumps([source.model_dump(mode="json") for source in sources.values()], ensure_ascii=False))
        return
    rows = [(id, source.format, source.license, source.title) for id, source in sorted(sources.items())]
    tables.show(["id", "format", "license", "title"], rows)


@feeds.command("show")
def show_feed(
    id: Annotated[str, typer.Argument(metavar="ID", help="A source of the catalogue.")],
    config: context.ConfigOption = None,
    as_json: context.JsonOption = False,
) -> None:
    """One source: where it comes from, on what terms, and its last good copy."""
    ctx = context.load(config)
    source = _entry(ctx.catalogue.sources, "source", id)
    copy = ctx.store.latest(source.url, ctx.now)
    facts = source.model_dump(mode="json", exclude_none=True)
    facts["copy"] = (
        {
            "sha256": copy.sha256,
            "fetched": copy.fetched_at.isoformat(),
            "age": round(copy.age),
            "stale": copy.stale,
            "error": copy.error,
        }
        if copy
        else None
    )
    _show(facts, as_json)


@feeds.command()
def update(config: context.ConfigOption = None) -> None:
    """Fetch every source that the configuration uses, whether it is due or not, and compile nothing.

    A server that asked to be left alone for some time (Retry-After) is.
    """
    ctx = context.load(config)
    with Lock(ctx.lock), Bars() as bars:
        fetched = ctx.feeds(offline=False, refresh=True, bars=bars)
    rows = [
        (feed.source.id, "failed" if feed.failed else "fresh", feed.copy.sha256[:12] if feed.copy else "", feed.error)
        for feed in fetched
    ]
    tables.show(["source", "state", "copy", "error"], rows)
    if any(feed.failed for feed in fetched):
        raise typer.Exit(STALE)


@directive.command("list")
def list_directives(as_json: context.JsonOption = False) -> None:
    """The directives in the catalogue."""
    directives = context.load(None).catalogue.directives
    if as_json:
        print(json.dumps([entry.model_dump(mode="json") for entry in directives.values()], ensure_ascii=False))
        return
    rows = [
        (id, entry.action.value, entry.effective_from.isoformat(), entry.authority)
        for id, entry in sorted(directives.items())
    ]
    tables.show(["id", "action", "effective from", "authority"], rows)


@directive.command("show")
def show_directive(
    id: Annotated[str, typer.Argument(metavar="ID", help="A directive of the catalogue.")],
    as_json: context.JsonOption = False,
) -> None:
    """One directive: who is bound to what, since when, and on what record."""
    entry = _entry(context.load(None).catalogue.directives, "directive", id)
    _show(entry.model_dump(mode="json", exclude_none=True), as_json)


def _entry(entries: dict[str, Any], kind: str, id: str) -> Any:
    if id not in entries:
        raise SinkholeError(f"no {kind} {shown(id)!r}; there are: {', '.join(sorted(entries))}")
    return entries[id]


def _show(facts: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(facts, ensure_ascii=False))
        return
    tables.show(["", ""], [(key, _told(value)) for key, value in facts.items() if value not in ([], {}, None)])


def _told(value: Any) -> str:
    if isinstance(value, dict):
        return "\n".join(f"{key}: {_told(entry)}" for key, entry in value.items())
    if isinstance(value, list):
        return "\n".join(map(_told, value))
    return str(value)
