"""``sinkhole feeds`` and ``sinkhole directive``: what the catalogue holds, and how its files are written."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from sinkhole.catalogue import written
from sinkhole.catalogue.loader import Catalogue
from sinkhole.catalogue.model import Directive, Service, Source
from sinkhole.cli import context, tables
from sinkhole.cli.making import STALE
from sinkhole.cli.options import ConfigOption, JsonOption
from sinkhole.cli.progress import Bars
from sinkhole.errors import ConfigError, Problem, SinkholeError
from sinkhole.feeds.body import shown
from sinkhole.files import Lock, write_atomic
from sinkhole.places import catalogue_directory

feeds = typer.Typer(
    help="Sources of rules and services: what there is, what is known of each, and fetching.", no_args_is_help=True
)
directive = typer.Typer(
    help="Orders that the catalogue knows: who decided what, and when it holds.", no_args_is_help=True
)


@feeds.command("list")
def list_feeds(
    services: Annotated[bool, typer.Option("--services", help="The services, instead of the sources.")] = False,
    as_json: JsonOption = False,
) -> None:
    """The sources in the catalogue, or its services."""
    catalogue = context.load(None).catalogue
    entries: Mapping[str, Source | Service] = catalogue.services if services else catalogue.sources
    if as_json:
        print(json.dumps([entry.model_dump(mode="json") for entry in entries.values()], ensure_ascii=False))
    elif services:
        _list_services(catalogue.services)
    else:
        rows = [
            (id, _category(catalogue, id), entry.format, entry.license, entry.min_rules, entry.max_rules, entry.title)
            for id, entry in sorted(catalogue.sources.items())
        ]
        columns = ["id", "category", "format", "license", "min-rules", "max-rules", "title"]
        tables.show(columns, rows, right=["min-rules", "max-rules"])


def _list_services(services: Mapping[str, Service]) -> None:
    rows = [
        (id, entry.kind, entry.country, sum(map(len, entry.tiers.values())), ", ".join(entry.tiers), entry.title)
        for id, entry in sorted(services.items())
    ]
    tables.show(["id", "kind", "country", "names", "tiers", "title"], rows, right=["names"])


def _category(catalogue: Catalogue, source_id: str) -> str:
    return Path(catalogue.where("source", source_id)[0]).stem


@feeds.command("show")
def show_feed(
    id: Annotated[str, typer.Argument(metavar="ID", help="A source or a service of the catalogue.")],
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """One source: where it comes from, on what terms, and its last good copy. Or one service: its names, by what they
    do, with the evidence for each."""
    ctx = context.load(config)
    if id not in ctx.catalogue.sources and id in ctx.catalogue.services:
        _show_service(ctx.catalogue.services[id], as_json)
        return
    source = _entry(ctx.catalogue.sources, "source", id)
    copy = ctx.store.latest(source.url, ctx.now)
    facts = source.model_dump(mode="json", exclude_none=True)
    facts["category"] = _category(ctx.catalogue, id)
    facts["lists"] = [
        list_id
        for list_id, spec in sorted(ctx.config.all_lists(ctx.catalogue).items())
        if any(entry.source == id for entry in spec.sources)
    ]
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


def _show_service(service: Service, as_json: bool) -> None:
    facts = service.model_dump(mode="json", exclude=None if as_json else {"tiers"})
    _show(facts, as_json)
    if as_json:
        return
    proofs = {proof: number for number, proof in enumerate(_proofs(service), 1)}
    rows = [
        (
            tier, entry.name, entry.scope.label, entry.status,
            " ".join(f"[{proofs[proof]}]" for proof in entry.evidence), entry.note,
        )
        for tier, entries in service.tiers.items()
        for entry in entries
    ]  # fmt: skip
    print()
    tables.show(["tier", "name", "scope", "status", "evidence", "note"], rows)
    print()
    tables.show(["", ""], [(f"[{number}]", _told(proof.model_dump(mode="json"))) for proof, number in proofs.items()])


def _proofs(service: Service) -> Iterable[Any]:
    """The evidence of a service, each piece once."""
    return dict.fromkeys(proof for entries in service.tiers.values() for entry in entries for proof in entry.evidence)


@feeds.command("fmt")
def format_feeds(
    directory: Annotated[
        Path | None, typer.Argument(metavar="[DIR]", help="A catalogue. Default: the one in use.")
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Change nothing; fail when something would change.")] = False,
) -> None:
    """Write the files of a catalogue in the one order and style that they have.

    Keys in the order of the documentation, entries sorted, comments at the head of a file only: one elsewhere is an
    error, because it would get lost.
    """
    problems: list[Problem] = []
    changed = []
    for path, type_ in written.files(directory or catalogue_directory()):
        text = path.read_bytes()
        try:
            wanted = written.written(text, type_, str(path))
        except ConfigError as error:
            problems += error.problems
            continue
        if wanted != text:
            changed.append(str(path))
            if not check:
                write_atomic(path, [wanted])
    if problems:
        raise ConfigError(problems)
    if check and changed:
        raise SinkholeError(f"not as `sinkhole feeds fmt` writes them: {', '.join(changed)}")
    for name in changed:
        print(f"wrote {name}")


@feeds.command()
def update(config: ConfigOption = None) -> None:
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
def list_directives(as_json: JsonOption = False) -> None:
    """The directives in the catalogue, and whether they are in force today."""
    ctx = context.load(None)
    directives = ctx.catalogue.directives
    if as_json:
        print(json.dumps([entry.model_dump(mode="json") for entry in directives.values()], ensure_ascii=False))
        return
    rows = [
        (
            id, entry.action.value, entry.effective_from.isoformat(), entry.authority, _state(entry, ctx.now),
            ", ".join([*map(str, entry.services), *entry.lists]), entry.binds,
        )
        for id, entry in sorted(directives.items())
    ]  # fmt: skip
    tables.show(["id", "action", "effective from", "authority", "state", "about", "binds"], rows)


@directive.command("show")
def show_directive(
    id: Annotated[str, typer.Argument(metavar="ID", help="A directive of the catalogue.")],
    as_json: JsonOption = False,
) -> None:
    """One directive: who is bound to what, since when, and on what record."""
    ctx = context.load(None)
    entry = _entry(ctx.catalogue.directives, "directive", id)
    facts = entry.model_dump(mode="json", exclude_none=True)
    _show({**facts, "ede": entry.ede, "state": _state(entry, ctx.now)}, as_json)


def _state(entry: Directive, now: datetime) -> str:
    """Whether a directive holds at ``now``."""
    if entry.effective_until and now >= entry.effective_until:
        return "ended"
    if now < entry.effective_from:
        return "announced" if entry.announce_from and now >= entry.announce_from else "not yet"
    return "review due" if entry.review_at and now >= entry.review_at else "in force"


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
        if {"publisher", "title", "date"} <= value.keys():
            read = ", as read" if value.get("retrieved") else ""
            return f"{value['publisher']}: {value['title']} ({value['date']}{read}) {value.get('url') or ''}".rstrip()
        return "\n".join(f"{key}: {_told(entry)}" for key, entry in value.items())
    if isinstance(value, list):
        return "\n".join(map(_told, value))
    return str(value)
