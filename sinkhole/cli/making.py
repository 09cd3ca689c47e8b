"""A build from end to end, as ``sinkhole build`` asks for it, and what it tells people."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from sinkhole.cli import job as jobs
from sinkhole.cli import publishing, tables
from sinkhole.cli.progress import Bars
from sinkhole.compiler import build as building
from sinkhole.compiler.report import report as report_of
from sinkhole.errors import GuardError
from sinkhole.files import Lock, sweep

#: Exit code: built, but some feed is stale.
STALE = 3

#: How many reasons for skipped lines are told of each source; ``--json`` has them all.
_REASONS = 5


class Asked(NamedTuple):
    """The options of ``sinkhole build``."""

    config: Path | None = None
    offline: bool = False
    refresh: bool = False
    dry_run: bool = False
    accept_change: bool = False
    exports: bool = True
    quiet: bool = False
    wait: float = 0
    as_json: bool = False


#: The options that take no value: which one of :class:`Asked` each sets, and to what.
_FLAGS = {
    "--offline": ("offline", True),
    "--refresh": ("refresh", True),
    "--dry-run": ("dry_run", True),
    "--accept-change": ("accept_change", True),
    "--exports": ("exports", True),
    "--no-exports": ("exports", False),
    "--quiet": ("quiet", True),
    "-q": ("quiet", True),
    "--json": ("as_json", True),
}


def plainly(arguments: Sequence[str]) -> Asked | None:
    """What ``arguments`` ask for, when each is an option written out or ``-c FILE``, as in the line for cron. None for
    all others, which what reads every command line reads: that takes as long to import as a build of nothing new."""
    asked: dict[str, Any] = {}
    rest = iter(arguments)
    for argument in rest:
        if argument in _FLAGS:
            name, value = _FLAGS[argument]
            asked[name] = value
        elif argument in ("-c", "--config") and (path := next(rest, "-")) and not path.startswith("-"):
            asked["config"] = Path(path)
        else:
            return None
    return Asked(**asked)


def make(asked: Asked) -> int:
    """Build, and return the exit code."""
    now = datetime.now(UTC).replace(microsecond=0)
    with ExitStack() as stack:
        job = stack.enter_context(jobs.load(asked.config, keep=not asked.dry_run))
        cache, seals = job.cache(keep=not asked.dry_run), job.seals()
        if asked.dry_run:
            store = job.store().shadow(Path(stack.enter_context(TemporaryDirectory(prefix="sinkhole-"))))
        else:
            stack.enter_context(Lock(job.lock, asked.wait))
            store = job.store(seals)
        bars = stack.enter_context(Bars())
        feeds = job.feeds(now, store, offline=asked.offline, refresh=asked.refresh, bars=bars)
        built = building.build(
            job.plan,
            feeds,
            job.bundles,
            accept=asked.accept_change,
            keep=not asked.dry_run,
            cache=cache,
            test=partial(job.unexpected, now=now) if job.expected else None,
            seals=seals,
            progress=bars.update,
        )
        report = report_of(built, job.plan, cache)
        updated = publishing.Updated(False, [], [])
        if asked.exports:
            bars.update("exports", 0, None)
            updated = publishing.update(job, built, cache, seals, now)
        report["exports"] = updated.files
        if built.lists and not asked.dry_run:
            store.prune()
            cache.prune()
            for directory in (job.state_dir, job.bundles):
                sweep(directory)
        if not asked.dry_run:
            seals.save()
    if not asked.quiet or built.changed or updated.written or built.left or built.stale or built.refused:
        if asked.as_json:
            print(json.dumps(report, ensure_ascii=False))
        else:
            _show(report, asked.dry_run)
    for line in [*_notes(built), *(() if asked.quiet else job.overdue(now))]:
        print(f"sinkhole: {line}", file=sys.stderr)
    failures = publishing.after(job, updated.changed) if asked.exports and not asked.dry_run else []
    for line in failures:
        print(f"sinkhole: exports.after: {line}", file=sys.stderr)
    if built.refused:
        raise GuardError("\n".join([*built.refused, "what was in use before stays in use; --accept-change accepts it"]))
    return 1 if failures else STALE if built.stale else 0


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
