"""A whole build: fetch what the plan needs, compile every list, and put a new bundle in the place of the old one.

The order is the one promise: nothing that is in use changes before everything new is complete. A feed that fails leaves
its last good copy in use; a guard that refuses leaves the bundle in use.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import NamedTuple

from sinkhole import __version__, bundle
from sinkhole.compiler.blocklist import Code
from sinkhole.compiler.compile import Compiled, compile_list, own_rules
from sinkhole.compiler.guard import Fence
from sinkhole.compiler.plan import ListPlan, Plan, SourcePlan
from sinkhole.compiler.source import SourceRules, Text, read_source
from sinkhole.errors import FeedError, GuardError
from sinkhole.feeds.fetch import shown
from sinkhole.feeds.store import Copy, Fetcher, Store
from sinkhole.files import swap_link

#: How many bundles stay for a look back.
KEEP = 5

#: Called with what is being done, how far it is, and of how much (None: unknown).
Progress = Callable[[str, int, int | None], None]


def quiet(what: str, done: int, total: int | None) -> None:
    """The :data:`Progress` that shows nothing."""


class Feed(NamedTuple):
    """A source and its copy, or why there is none. ``failed`` covers a copy that could not be renewed."""

    source: SourcePlan
    copy: Copy | None
    error: str | None

    @property
    def failed(self) -> bool:
        return self.copy is None or self.copy.stale


class Built(NamedTuple):
    """A finished build. ``accepted`` are the refusals that were overridden; ``changed``: the bundle is a new one."""

    path: Path
    lists: tuple[Compiled, ...]
    feeds: tuple[Feed, ...]
    accepted: tuple[str, ...]
    changed: bool

    @property
    def stale(self) -> list[Feed]:
        return [feed for feed in self.feeds if feed.failed]


def feeds(
    plan: Plan, store: Store, *, fetcher: Fetcher, offline: bool, now: datetime, progress: Progress = quiet
) -> list[Feed]:
    """The copy of every source, renewed by ``fetcher`` first; ``offline``: only files are, and the last good copies of
    URLs count as they are."""
    remote = [source.location for source in plan.sources if offline and "://" in source.location]
    found = {
        location: store.latest(location, now) or FeedError(f"{shown(location)}: no copy yet") for location in remote
    }
    renewed = [source.location for source in plan.sources if source.location not in found]
    found |= store.update(renewed, fetcher=fetcher, now=now, progress=progress)
    return [_feed(source, found[source.location]) for source in plan.sources]


def _feed(source: SourcePlan, found: Copy | FeedError) -> Feed:
    return Feed(source, None, str(found)) if isinstance(found, FeedError) else Feed(source, found, found.error)


def compile_lists(
    plan: Plan, lists: Sequence[ListPlan], feeds: Iterable[Feed], progress: Progress = quiet
) -> tuple[Compiled, ...]:
    """Compile ``lists`` from the copies there are."""
    copies = {feed.source.location: feed.copy for feed in feeds if feed.copy}

    compiled = []
    for at, entry in enumerate(lists):
        progress("compile", at, len(lists))
        compiled.append(compile_list(entry, partial(_rules, copies, entry.allows, plan.fence)))
    progress("compile", len(lists), len(lists))
    return tuple(compiled)


def _rules(copies: Mapping[str, Copy], allows: bool, fence: Fence, source: SourcePlan) -> SourceRules | None:
    copy = copies.get(source.location)
    return read_source(source, Text(copy.path.read_bytes(), copy.sha256), allows, fence) if copy else None


def refusals(lists: Iterable[Compiled]) -> list[str]:
    """What the guards refuse, in sentences; none when all is well."""
    return [
        f"{report.source.id}: {report.rules} rules, fewer than its min-rules {report.source.min_rules}"
        for compiled in lists
        for report in compiled.reports
        if report.rules < report.source.min_rules
    ]


def build(
    plan: Plan,
    feeds: Iterable[Feed],
    directory: Path,
    *,
    accept: bool = False,
    keep: bool = True,
    progress: Progress = quiet,
) -> Built:
    """Compile ``plan`` into a bundle below ``directory`` and make it the current one; not ``keep``: change nothing.

    Raises :class:`~sinkhole.errors.GuardError` when a guard refuses and ``accept`` does not override it.
    """
    feeds = tuple(feeds)
    lists = compile_lists(plan, plan.lists, feeds, progress)
    refused = refusals(lists)
    if refused and not accept:
        raise GuardError("\n".join([*refused, "nothing was changed; --accept-change accepts it"]))
    before = bundle.current(directory)
    if keep:
        progress("bundle", 0, None)
        path = _write(plan, lists, refused, feeds, directory)
        swap_link(directory / bundle.CURRENT, path.name)
        bundle.prune(directory, KEEP)
        progress("bundle", 1, 1)
    else:
        path = before or directory
    return Built(path, lists, feeds, tuple(refused), path != before)


def _write(plan: Plan, lists: Iterable[Compiled], accepted: list[str], feeds: Iterable[Feed], directory: Path) -> Path:
    index = bundle.Index()
    for number, compiled in enumerate(lists):
        codes: dict[int, list[bytes]] = {}
        for key, code in compiled.resolved.entries():
            codes.setdefault(code & ~Code.INHERITED, []).append(key)
        index.add(number, codes)
    manifest = {
        "tool": __version__,
        "inputs": inputs(plan, feeds),
        "lists": [describe(compiled) for compiled in lists],
        "accepted": accepted,
    }
    return bundle.write(
        directory,
        index,
        manifest=manifest,
        policy=plan.policy,
        own=own_rules(plan.lists),
        texts=[bundle.Text(feed.copy.path, feed.copy.sha256) for feed in feeds if feed.copy],
    )


def inputs(plan: Plan, feeds: Iterable[Feed]) -> str:
    """A hash of all that a bundle is made of: an equal one means that there is nothing to build."""
    copies = [(feed.source.id, feed.copy and feed.copy.sha256) for feed in feeds]
    return hashlib.sha256(repr((__version__, plan.portable, copies)).encode()).hexdigest()


def describe(compiled: Compiled) -> Mapping[str, object]:
    """One list as the manifest keeps it."""
    plan = compiled.plan
    return {
        "id": plan.id,
        "title": plan.title,
        "description": plan.description,
        "homepage": plan.homepage,
        "license": plan.license,
        "updated": plan.updated,
        "type": "allow" if plan.allows else "block",
        "entries": sum(1 for _ in compiled.resolved.entries()),
        "own": len(plan.own),
        "version": version(compiled),
        "sources": [report.data() for report in compiled.reports],
    }


def version(compiled: Compiled) -> str:
    """Twelve hex digits that change exactly when what the list says changes."""
    digest = hashlib.sha256()
    for part in (b"\n".join(compiled.resolved.keys), bytes(compiled.resolved.codes), *sorted(compiled.hosts)):
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.hexdigest()[:12]
