"""``sinkhole build``: the verb for cron."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from typing import Annotated, Any

import typer

from sinkhole import bundle
from sinkhole.cli import context, tables
from sinkhole.cli.progress import Bars
from sinkhole.compiler import build as building
from sinkhole.exports.publish import Published, publish
from sinkhole.files import Lock
from sinkhole.formats import FORMATS

#: Exit code: built, but some feed is stale.
STALE = 3


def build(
    config: context.ConfigOption = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="Fetch nothing: use files and the last good copies of everything else.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Fetch and compile, say what would change, and change nothing.")
    ] = False,
    accept_change: Annotated[
        bool, typer.Option("--accept-change", help="Accept what a guard would refuse; the bundle records it.")
    ] = False,
    exports: Annotated[bool, typer.Option(help="Write the exported lists too.")] = True,
    as_json: context.JsonOption = False,
) -> None:
    """Fetch the feeds, compile the bundle, and publish the exports.

    A feed that cannot be fetched, or that is no list, keeps its last good copy (exit code 3). A guard that refuses,
    such as a source with fewer rules than its min-rules, leaves everything as it was (exit code 4). Running resolvers
    take the new bundle over within a second.

    \b
    sinkhole build                        # with the catalogue's defaults
    sinkhole build -c sinkhole.yaml       # as configured; the line for cron
    sinkhole build --offline --dry-run    # what would an edit of the configuration change?
    """
    ctx = context.load(config)
    with Lock(ctx.config.state_dir / "build.lock"), Bars() as bars:
        feeds = ctx.feeds(offline=offline, bars=bars)
        before = _lists(ctx)
        built = building.build(
            ctx.plan, feeds, ctx.bundles, accept=accept_change, keep=not dry_run, progress=bars.update
        )
        if not dry_run:
            ctx.store.prune()
        wanted = set(ctx.exported)
        lists = [compiled for compiled in built.lists if compiled.plan.id in wanted]
        written: list[Published] = []
        if exports and not dry_run:
            bars.update("exports", 0, None)
            written = publish(ctx.config.exports.dir, lists, [FORMATS[name] for name in ctx.config.exports.formats])
    report = _report(built, before, written, dry_run)
    if as_json:
        print(json.dumps(report, ensure_ascii=False))
    else:
        _show(report)
    for refusal in built.accepted:
        print(f"sinkhole: accepted: {refusal}", file=sys.stderr)
    for feed in built.stale:
        kept = (
            f"; its last good copy is {_age(feed.copy.age)} old and stays in use" if feed.copy else "; it is left out"
        )
        print(f"sinkhole: {feed.error}{kept}", file=sys.stderr)
    if built.stale:
        raise typer.Exit(STALE)


def _lists(ctx: context.Context) -> dict[str, int]:
    """List id -> entries in the bundle that is in use."""
    path = bundle.current(ctx.bundles)
    return {entry["id"]: entry["entries"] for entry in bundle.load(path).manifest["lists"]} if path else {}


def _report(
    built: building.Built, before: dict[str, int], written: Iterable[Published], dry_run: bool
) -> dict[str, Any]:
    lists = [dict(building.describe(compiled)) for compiled in built.lists if not compiled.plan.id.startswith("=")]
    for entry in lists:
        entry["before"] = before.get(str(entry["id"]))
    return {
        "bundle": None if dry_run else built.path.name,
        "changed": built.changed,
        "accepted": list(built.accepted),
        "lists": lists,
        "feeds": [
            {
                "id": feed.source.id,
                "sha256": feed.copy and feed.copy.sha256,
                "age": feed.copy and round(feed.copy.age),
                "stale": feed.failed,
                "error": feed.error,
            }
            for feed in built.feeds
        ],
        "exports": [file.data() for file in written],
    }


def _show(report: dict[str, Any]) -> None:
    feeds = {feed["id"]: feed for feed in report["feeds"]}
    rows = [
        (
            entry["id"], source["id"], source["format"], source["lines"], source["rules"],
            sum(source["skipped"].values()), len(source["quarantined"]),
            "stale" if feeds[source["id"]]["stale"] else "",
        )
        for entry in report["lists"]
        for source in entry["sources"]
    ]  # fmt: skip
    if rows:
        numbers = ["lines", "rules", "skipped", "quarantined"]
        tables.show(["list", "source", "format", *numbers, ""], rows, right=numbers)
        print()
    tables.show(
        ["list", "entries", "before", "title"],
        [(entry["id"], entry["entries"], entry["before"], entry["title"]) for entry in report["lists"]],
        right=["entries", "before"],
    )
    if report["exports"]:
        print(f"\n{len(report['exports'])} exports in place; what they could not state is in index.json")
    if report["bundle"]:
        print(f"\nbundle {report['bundle']}{'' if report['changed'] else ', unchanged'}")


def _age(seconds: float) -> str:
    for size, unit in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} seconds"
