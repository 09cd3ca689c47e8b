"""``sinkhole export`` and ``sinkhole lists``: lists as files, and what is on them."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from sinkhole import bundle
from sinkhole.cli import context, tables
from sinkhole.compiler.build import describe
from sinkhole.errors import SinkholeError
from sinkhole.exports.publish import export as export_list
from sinkhole.files import write_atomic
from sinkhole.formats import FORMATS, format_named
from sinkhole.names import unkey

lists = typer.Typer(help="What lists there are, what is on them, and how two bundles differ.", no_args_is_help=True)

OutputOption = Annotated[
    Path | None, typer.Option("-o", "--output", metavar="FILE", help="Where to write it. Default: standard output.")
]


def export(
    list_id: Annotated[str, typer.Argument(metavar="LIST", help="A list of the catalogue or the configuration.")],
    format: Annotated[str, typer.Option("--format", metavar="FMT", help=f"One of: {', '.join(FORMATS)}.")],
    output: OutputOption = None,
    config: context.ConfigOption = None,
) -> None:
    """Write one list in one format.

    The file never blocks more than the list says; what the format cannot state is left out, counted in the header and
    reported on standard error.

    \b
    sinkhole export deepseek --format hosts
    sinkhole export deepseek --format rpz -o /etc/bind/deepseek.zone
    """
    target = format_named(format)
    fitted, pieces = export_list(context.load(config).compile(list_id), target, previous=output)
    put(pieces, output)
    for note in fitted.loss.notes():
        print(f"sinkhole: {list_id}: {note}", file=sys.stderr)


def put(pieces: Iterable[bytes], output: Path | None) -> None:
    """Write to a file in one step, or to standard output."""
    if output:
        write_atomic(output, pieces)
    else:
        for piece in pieces:
            sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()


@lists.command("list")
def list_lists(config: context.ConfigOption = None, as_json: context.JsonOption = False) -> None:
    """The lists that the catalogue and the configuration define."""
    ctx = context.load(config)
    specs = ctx.config.all_lists(ctx.catalogue)
    rows = [
        (id, spec.type, len(spec.sources), ", ".join(map(str, spec.services)), spec.title or "")
        for id, spec in sorted(specs.items())
    ]
    if as_json:
        keys = ("id", "type", "sources", "services", "title")
        print(json.dumps([dict(zip(keys, row, strict=True)) for row in rows], ensure_ascii=False))
    else:
        tables.show(["id", "type", "sources", "services", "title"], rows, right=["sources"])


@lists.command()
def show(
    list_id: Annotated[str, typer.Argument(metavar="ID", help="The list.")],
    config: context.ConfigOption = None,
    as_json: context.JsonOption = False,
) -> None:
    """One list: what it is made of, and every rule that its author states, with the line that states it."""
    ctx = context.load(config)
    compiled = ctx.compile(list_id)
    facts = {key: value for key, value in describe(compiled).items() if value not in ("", None, [])}
    if as_json:
        own = [{**own._asdict(), "rule": str(own.rule)} for own in compiled.plan.own]
        print(json.dumps({**facts, "rules": own}, ensure_ascii=False))
        return
    sources = facts.pop("sources", [])
    tables.show(["", ""], facts.items())
    assert isinstance(sources, list)
    for source in sources:
        print(f"source   {source['id']}: {source['rules']} rules, {sum(source['skipped'].values())} skipped")
    tables.show(
        ["rule", "stated by", "at"],
        [(own.rule, own.source, f"{own.file}:{own.line}") for own in compiled.plan.own],
    )


@lists.command()
def diff(
    before: Annotated[str, typer.Argument(metavar="A", help="A bundle: its name, its directory, or `current`.")],
    after: Annotated[str, typer.Argument(metavar="B", help="Another one.")],
    config: context.ConfigOption = None,
) -> None:
    """The entries that differ between two bundles, one a line: `-` for what only A has, `+` for what only B has."""
    bundles = context.load(config).bundles
    old, new = (_entries(_bundle(bundles, name)) for name in (before, after))
    for list_id, key, code in sorted(old ^ new):
        sign = "-" if (list_id, key, code) in old else "+"
        scope = ("nothing", "exact", "subdomains", "tree")[code]
        print(f"{sign} {list_id} {scope} {unkey(key).decode()}")


def _bundle(bundles: Path, name: str) -> bundle.Bundle:
    for path in (bundles / name, Path(name)):
        if (path / "manifest.json").exists():
            return bundle.load(path)
    raise SinkholeError(f"no bundle {name!r} in {bundles}")


def _entries(opened: bundle.Bundle) -> set[tuple[str, bytes, int]]:
    return {(opened.lists[number], key, code) for key, attribute in opened.items() for number, code in attribute}
