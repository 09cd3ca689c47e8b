"""``sinkhole lists``: what is on them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from sinkhole import bundle
from sinkhole.cli import context, tables
from sinkhole.cli.options import ConfigOption, JsonOption
from sinkhole.compiler.build import describe
from sinkhole.errors import SinkholeError
from sinkhole.names import unkey
from sinkhole.policy.special import stated
from sinkhole.rules import DECIDING, Rank, Scope

lists = typer.Typer(help="What lists there are, what is on them, and how two bundles differ.", no_args_is_help=True)

#: Services that take more characters than this are counted, not named.
_WIDE = 60


@lists.command("list")
def list_lists(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """The lists that the catalogue and the configuration define."""
    ctx = context.load(config)
    specs = ctx.config.all_lists(ctx.catalogue)
    rows = [
        (id, spec.type, len(spec.sources), ", ".join(map(str, spec.services)), spec.title or "")
        for id, spec in sorted(specs.items())
    ]
    columns = ["id", "type", "sources", "services", "title"]
    if as_json:
        print(json.dumps([dict(zip(columns, row, strict=True)) for row in rows], ensure_ascii=False))
        return
    few = [(*row[:3], f"{row[3].count(',') + 1} services" if len(row[3]) > _WIDE else row[3], row[4]) for row in rows]
    tables.show(columns, few, right=["sources"])


@lists.command()
def show(
    list_id: Annotated[str, typer.Argument(metavar="ID", help="The list.")],
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """One list: what it is made of, and every rule that its author states, with the line that states it."""
    ctx = context.load(config)
    compiled = ctx.compile(list_id)
    facts = {key: value for key, value in describe(compiled).items() if value not in ("", None, [])}
    if as_json:
        own = [{**own._asdict(), "rule": str(own.rule)} for own in compiled.plan.own]
        own += [{"rule": str(rule), "source": source, "line": rule.line} for rule, source in compiled.plan.special]
        print(json.dumps({**facts, "rules": own}, ensure_ascii=False))
        return
    sources = facts.pop("sources", [])
    tables.show(["", ""], facts.items())
    assert isinstance(sources, list)
    for source in sources:
        print(f"source   {source['id']}: {source['rules']} rules, {sum(source['skipped'].values())} skipped")
    tables.show(
        ["rule", "stated by", "at"],
        [
            *((own.rule, own.source, f"{own.file}:{own.line}") for own in compiled.plan.own),
            *((rule, source, f"line {rule.line}") for rule, source in compiled.plan.special),
        ],
    )


@lists.command()
def diff(
    before: Annotated[str, typer.Argument(metavar="A", help="A bundle: its name, its directory, or `current`.")],
    after: Annotated[str, typer.Argument(metavar="B", help="Another one.")],
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """The entries that differ between two bundles, one a line: `-` for what only A has, `+` for what only B has.

    Names stand with what is blocked: exact, subdomains, tree, or nothing, which is a hole in a larger tree. Special
    rules and names of lists that have some stand with their rules.
    """
    bundles = context.load(config).bundles
    old, new = (_bundle(bundles, name) for name in (before, after))
    found = [
        {"list": list_id, "change": change, "says": says, "name": name}
        for list_id, _, change, says, name in sorted({*_only(old, new, "removed"), *_only(new, old, "added")})
    ]
    if as_json:
        print(json.dumps(found, ensure_ascii=False))
        return
    for entry in found:
        words = ("-" if entry["change"] == "removed" else "+", entry["list"], entry["says"], entry["name"])
        print(" ".join(filter(None, words)))


def _bundle(bundles: Path, name: str) -> bundle.Bundle:
    for path in (bundles / name, Path(name)):
        if (path / "manifest.json").exists():
            return bundle.load(path)
    raise SinkholeError(f"no bundle {name!r} in {bundles}")


def _only(one: bundle.Bundle, other: bundle.Bundle, change: str) -> Iterator[tuple[str, bytes, str, str, str]]:
    """(list, key, ``change``, what it says, name) of what only ``one`` has."""
    for key, attribute in one.items():
        known = {(other.lists[number], code) for number, code in other.entry(key)}
        for number, code in attribute:
            if (one.lists[number], code) not in known:
                yield one.lists[number], key, change, _said(code), unkey(key).decode()
    for list_id, rule in sorted(_special(one) - _special(other)):
        yield list_id, b"", change, rule, ""


def _said(code: int) -> str:
    if not code & bundle.MASKED:
        return ("nothing", "exact", "subdomains", "tree")[code]
    mask = code >> bundle.MASK_SHIFT
    rules = ((allow, Scope(mask >> shift & Scope.TREE), Rank(shift // 4)) for allow, shift in DECIDING)
    return ", ".join(
        f"{'allow' if allow else 'block'} {scope.label}" + (f" ({rank.name.lower()})" if rank else "")
        for allow, scope, rank in rules
        if scope
    )


def _special(opened: bundle.Bundle) -> set[tuple[str, str]]:
    return {(opened.lists[found.list], str(found.rule)) for found in stated(opened.special)}
