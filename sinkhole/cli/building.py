"""``sinkhole build`` and ``sinkhole rollback``: the verb for cron, and the way back."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer

from sinkhole.cli import job as jobs
from sinkhole.cli import publishing, tables
from sinkhole.cli.options import ConfigOption, JsonOption
from sinkhole.cli.progress import Bars
from sinkhole.compiler import build as building
from sinkhole.compiler import history
from sinkhole.compiler.report import report as report_of
from sinkhole.errors import GuardError
from sinkhole.files import Lock, sweep

#: Exit code: built, but some feed is stale.
STALE = 3

#: How many reasons for skipped lines are told of each source; ``--json`` has them all.
_REASONS = 5


def build(
    config: ConfigOption = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="Fetch nothing: use files and the last good copies of everything else.")
    ] = False,
    refresh: Annotated[
        bool, typer.Option("--refresh", help="Ask every source, also those whose copy still counts as fresh.")
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Fetch and compile, say what would change and what exports cannot state, and change nothing.",
        ),
    ] = False,
    accept_change: Annotated[
        bool, typer.Option("--accept-change", help="Accept what a guard would refuse; the bundle records it.")
    ] = False,
    exports: Annotated[bool, typer.Option(help="Write the exported lists too.")] = True,
    quiet: Annotated[
        bool, typer.Option("-q", "--quiet", help="Print nothing when nothing changed and all is well.")
    ] = False,
    wait: Annotated[
        float, typer.Option(metavar="SECONDS", min=0, max=3600, help="How long another build may take to end first.")
    ] = 0,
    as_json: JsonOption = False,
) -> None:
    """Fetch the feeds that are due, compile the bundle, and publish the exports.

    A feed that cannot be fetched, or that is no list, keeps its last good copy (exit code 3). A text that a guard
    refuses, because it has too few rules, too many that cannot be used, or too many more or less than before, leaves
    the text in use (exit code 4); the rest is built. Running resolvers take the new bundle over within a second. When
    nothing changed, nothing is compiled.

    \b
    sinkhole build                        # with the catalogue's defaults
    sinkhole build -q -c sinkhole.yaml    # as configured; the line for cron
    sinkhole build --offline --dry-run    # what would an edit of the configuration change?
    """
    now = datetime.now(UTC).replace(microsecond=0)
    with ExitStack() as stack:
        job = stack.enter_context(jobs.load(config, keep=not dry_run))
        cache, seals = job.cache(keep=not dry_run), job.seals()
        if dry_run:
            store = job.store().shadow(Path(stack.enter_context(TemporaryDirectory(prefix="sinkhole-"))))
        else:
            stack.enter_context(Lock(job.lock, wait))
            store = job.store(seals)
        bars = stack.enter_context(Bars())
        feeds = job.feeds(now, store, offline=offline, refresh=refresh, bars=bars)
        built = building.build(
            job.plan,
            feeds,
            job.bundles,
            accept=accept_change,
            keep=not dry_run,
            cache=cache,
            test=partial(job.unexpected, now=now) if job.expected else None,
            seals=seals,
            progress=bars.update,
        )
        report = report_of(built, job.plan, cache)
        updated = publishing.Updated(False, [], [])
        if exports:
            bars.update("exports", 0, None)
            updated = publishing.update(job, built, cache, seals, now)
        report["exports"] = updated.files
        if built.lists and not dry_run:
            store.prune()
            cache.prune()
            for directory in (job.state_dir, job.bundles):
                sweep(directory)
        if not dry_run:
            seals.save()
    if not quiet or built.changed or updated.written or built.left or built.stale or built.refused:
        if as_json:
            print(json.dumps(report, ensure_ascii=False))
        else:
            _show(report, dry_run)
    for line in [*_notes(built), *(() if quiet else job.overdue(now))]:
        print(f"sinkhole: {line}", file=sys.stderr)
    failures = publishing.after(job, updated.changed) if exports and not dry_run else []
    for line in failures:
        print(f"sinkhole: exports.after: {line}", file=sys.stderr)
    if built.refused:
        raise GuardError("\n".join([*built.refused, "what was in use before stays in use; --accept-change accepts it"]))
    if failures or built.stale:
        raise typer.Exit(1 if failures else STALE)


def rollback(
    name: Annotated[
        str | None, typer.Argument(metavar="[BUNDLE]", help="The bundle to go back to. Default: the one before.")
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Put an earlier bundle in use again.

    Running resolvers take it over within a second. It stays in use until something changes: a build of the same feeds
    and configuration leaves it, and says so; a build of anything else makes a new bundle. Exports stay as they are.

    \b
    sinkhole rollback
    sinkhole lists diff current 0123456789abcdef    # what did that change?
    """
    with jobs.load(config, keep=False) as job, Lock(job.lock):
        back = history.roll_back(job.bundles, name)
    print(f"{back.to} is in use instead of {back.left}, until a build finds anything new")


def _notes(built: building.Built) -> Iterator[str]:
    if built.left:
        yield (
            f"{built.path.name} stays in use: {built.left} was rolled back, and nothing changed since; "
            f"`sinkhole rollback {built.left}` puts it in use again"
        )
    for refusal in built.accepted:
        yield f"accepted: {refusal}"
    for feed in built.stale:
        kept = f"its last good copy is {age(feed.copy.age)} old and stays in use" if feed.copy else "it is left out"
        yield f"{feed.error}; {kept}"


def _show(report: dict[str, Any], dry_run: bool) -> None:
    feeds = {feed["id"]: feed for feed in report["feeds"]}
    rows = [
        (
            entry["id"], source["id"], source["format"], source["lines"], source["rules"],
            source["added"], source["removed"], sum(source["skipped"].values()), len(source["quarantined"]),
            f"stale, {age(feeds[source['id']]['age'] or 0)} old" if feeds[source["id"]]["stale"] else "",
        )
        for entry in report["lists"]
        for source in entry["sources"]
    ]  # fmt: skip
    if rows:
        numbers = ["lines", "rules", "added", "removed", "skipped", "quarantined"]
        tables.show(["list", "source", "format", *numbers, ""], rows, right=numbers)
        print()
    for line in (line for entry in report["lists"] for source in entry["sources"] for line in _left_out(source)):
        print(line)
    tables.show(
        ["list", "entries", "before", "added", "removed", "title"],
        [
            tuple(entry[key] for key in ("id", "entries", "before", "added", "removed", "title"))
            for entry in report["lists"]
        ],
        right=["entries", "before", "added", "removed"],
    )
    for entry in report["lists"]:
        if count := entry["not-enforced"]:
            print(f"{entry['id']}: {count} rules about name servers, which the resolver does not enforce")
    if report["exports"]:
        losses = [(file["path"], _loss(file["loss"])) for file in report["exports"] if _loss(file["loss"])]
        done, some = ("would be in place", "cannot") if dry_run else ("in place", "could not")
        print(f"\n{len(report['exports'])} exports {done}{f'; rules that some {some} state:' if losses else ''}")
        if losses:
            tables.show(["", ""], losses)
    if report["bundle"]:
        print(f"\nbundle {report['bundle']}{'' if report['changed'] else ', unchanged'}")


def _left_out(source: dict[str, Any]) -> Iterator[str]:
    """Why lines of a source became no rules, most frequent reasons first, each with the first line that has it."""
    samples: dict[str, str] = {}
    for sample in source["samples"]:
        text = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in sample["text"][:60])
        samples.setdefault(sample["why"], f"line {sample['line']}: {text}")
    reasons = sorted(source["skipped"].items(), key=lambda reason: -reason[1])
    for why, count in reasons[:_REASONS]:
        yield f"{source['id']}: {count} skipped: {why}; {samples.get(why, '')}"
    if rest := sum(count for _, count in reasons[_REASONS:]):
        yield f"{source['id']}: {rest} skipped for other reasons"
    for found in source["quarantined"][:_REASONS]:
        yield f"{source['id']}: quarantined: {found['rule']}: {found['why']}"
    if reasons or source["quarantined"]:
        yield ""


def _loss(loss: dict[str, int]) -> str:
    return ", ".join(f"{count} {what.replace('_', ' ')}" for what, count in loss.items() if count and what != "hosts")


def age(seconds: float) -> str:
    for size, unit in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} seconds"
