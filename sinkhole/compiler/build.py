"""A whole build: fetch what the plan needs, compile every list, and put a new bundle in the place of the old one.

The order is the one promise: nothing that is in use changes before everything new is complete. A feed that fails leaves
its last good copy in use; a text that a guard refuses leaves that of the bundle in use. When nothing changed at all,
nothing is compiled.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from sinkhole import bundle
from sinkhole.compiler import change, history
from sinkhole.compiler.change import Before
from sinkhole.compiler.compile import Compiled, compile_list, own_rules
from sinkhole.compiler.parallel import spare
from sinkhole.compiler.parsed import Cache
from sinkhole.compiler.planned import ListPlan, Plan, SourcePlan
from sinkhole.compiler.source import SourceRules, Text
from sinkhole.compiler.tool import tool
from sinkhole.errors import FeedError, FormatError, SinkholeError
from sinkhole.feeds.body import shown
from sinkhole.feeds.store import Copy, Fetcher, Store
from sinkhole.rules import ENFORCED
from sinkhole.seals import Seals

#: How many bundles stay for a look back.
KEEP = 5

#: How often a source should be confirmed when nobody says, in seconds; after three times that it counts as stale.
DAY = 86400.0

#: Called with what is being done, how far it is, and of how much (None: unknown).
Progress = Callable[[str, int, int | None], None]


def quiet(what: str, done: int, total: int | None) -> None:
    """The :data:`Progress` that shows nothing."""


class Feed(NamedTuple):
    """A source and its copy. ``error``: why there is none, or why the one there is could not be renewed."""

    source: SourcePlan
    copy: Copy | None
    error: str | None

    @property
    def failed(self) -> bool:
        return self.error is not None


class Built(NamedTuple):
    """A finished build.

    ``described`` are the lists of the bundle as its manifest has them; ``lists`` are empty when there was nothing to
    compile. ``refused`` is what guards kept out, ``accepted`` what they would have. ``changed``: the bundle is a new
    one, and ``before`` is what was in use. ``kept``: this was no dry run. ``left``: the bundle that was rolled back
    from, and that this build would have made again.
    """

    path: Path
    described: tuple[Mapping[str, Any], ...]
    lists: tuple[Compiled, ...]
    feeds: tuple[Feed, ...]
    refused: tuple[str, ...] = ()
    accepted: tuple[str, ...] = ()
    before: Before | None = None
    changed: bool = False
    kept: bool = True
    left: str = ""

    @property
    def stale(self) -> list[Feed]:
        return [feed for feed in self.feeds if feed.failed]


class Choice(NamedTuple):
    """Compiled lists, the texts that they were made of by list and location, and what guards had to say."""

    lists: tuple[Compiled, ...]
    texts: Mapping[tuple[str, str], Text]
    refused: tuple[str, ...]
    accepted: tuple[str, ...]


def feeds(
    plan: Plan,
    store: Store,
    *,
    fetcher: Fetcher,
    offline: bool,
    now: datetime,
    refresh: bool = False,
    chance: Callable[[], float] = random.random,
    progress: Progress = quiet,
) -> list[Feed]:
    """The copy of every source, renewed by ``fetcher`` first when it is due.

    Files are always renewed. URLs are with ``refresh``, and are not when ``offline``.
    """
    found: dict[str, Copy | FeedError] = {}
    for source in plan.sources:
        url = source.location if "://" in source.location else None
        if url and not refresh and (offline or not store.due(url, source.interval, now, chance())):
            if copy := store.latest(url, now):
                found[url] = copy
            elif offline:
                found[url] = FeedError(f"{shown(url)}: no copy yet")
    renewed = [source.location for source in plan.sources if source.location not in found]
    found |= store.update(renewed, fetcher=fetcher, now=now, progress=progress)
    return [judged(source, found[source.location]) for source in plan.sources]


def judged(source: SourcePlan, found: Copy | FeedError) -> Feed:
    """A source with what there is of it: a failed attempt, or a copy too old, is an error."""
    if isinstance(found, FeedError):
        return Feed(source, None, str(found))
    error = found.error
    period = source.interval or found.expires or DAY
    if error is None and found.age > 3 * period:
        error = f"{shown(source.location)}: not confirmed for {found.age / 3600:.0f} hours, three times its interval"
    return Feed(source, found, error)


def compile_lists(
    plan: Plan,
    lists: Sequence[ListPlan],
    feeds: Iterable[Feed],
    before: Before | None = None,
    *,
    accept: bool = False,
    cache: Cache | None = None,
    progress: Progress = quiet,
) -> Choice:
    """Compile ``lists`` from the copies there are, or, where a guard refuses one, from the text in use ``before``."""
    copies = {feed.source.location: Text(feed.copy.path, feed.copy.sha256) for feed in feeds if feed.copy}
    cache = cache or Cache()
    wanted = [
        (source, copies[source.location], entry.allows, plan.fence)
        for entry in lists
        for source in entry.sources
        if source.location in copies
    ]
    cache.ahead(wanted, spare())
    compiled: list[Compiled] = []
    texts: dict[tuple[str, str], Text] = {}
    refused: list[str] = []
    accepted: list[str] = []
    for at, entry in enumerate(lists):
        progress("compile", at, len(lists))
        chooser = _Chooser(plan, entry, copies, before, accept, cache)
        compiled.append(chooser.compile())
        texts |= {(entry.id, location): text for location, text in chooser.used.items()}
        refused += chooser.refused
        accepted += chooser.accepted
    cache.close()
    progress("compile", len(lists), len(lists))
    return Choice(tuple(compiled), texts, tuple(dict.fromkeys(refused)), tuple(dict.fromkeys(accepted)))


class _Chooser:
    """Compiles one list, and decides for each of its sources which text is used."""

    def __init__(
        self, plan: Plan, entry: ListPlan, copies: Mapping[str, Text], before: Before | None, accept: bool, cache: Cache
    ) -> None:
        self.plan, self.entry, self.copies, self.before, self.accept = plan, entry, copies, before, accept
        self.cache = cache
        self.used: dict[str, Text] = {}
        self.refused: list[str] = []
        self.accepted: list[str] = []

    def compile(self) -> Compiled:
        compiled = compile_list(self.entry, self._newest, self.cache)
        was = self.before.list(self.entry.id) if self.before else None
        if was and [report.sha256 for report in compiled.reports] != [found["sha256"] for found in was["sources"]]:
            why = list(change.list_refusals(compiled, was))
            if self.accept:
                self.accepted += [] if self.accepted else why
            elif why:
                self.refused += why
                self.used.clear()
                compiled = compile_list(self.entry, self._previous, self.cache)
        return compiled

    def _newest(self, source: SourcePlan) -> SourceRules | None:
        """The rules of the newest text that is not refused."""
        text = self.copies.get(source.location)
        if text is None:
            return None
        was = self._was(source)
        if was and was["sha256"] == text.sha256:
            return self._read(source, text)
        try:
            rules = self._read(source, text)
            why = list(change.source_refusals(rules.report, was))
        except FormatError as error:
            self.refused.append(f"{source.id}: {error}")
            return self._previous(source)
        if why and not self.accept:
            self.refused += why
            return self._previous(source)
        self.accepted += why
        return rules

    def _previous(self, source: SourcePlan) -> SourceRules | None:
        """The rules of the text in use; none for a source that is new."""
        self.used.pop(source.location, None)
        was = self._was(source)
        return self._read(source, self.before.text(was["sha256"])) if was and self.before else None

    def _was(self, source: SourcePlan) -> Mapping[str, Any] | None:
        return self.before.source(self.entry.id, source.id) if self.before else None

    def _read(self, source: SourcePlan, text: Text) -> SourceRules:
        self.used[source.location] = text
        return self.cache.read(source, text, self.entry.allows, self.plan.fence)


def build(
    plan: Plan,
    feeds: Iterable[Feed],
    directory: Path,
    *,
    accept: bool = False,
    keep: bool = True,
    cache: Cache | None = None,
    test: Callable[[bundle.Bundle], Iterable[str]] | None = None,
    seals: Seals | None = None,
    progress: Progress = quiet,
) -> Built:
    """Compile ``plan`` into a bundle below ``directory`` and make it the current one; not ``keep``: change nothing.

    ``test`` gives what is wrong with the bundle that is to be used; then it raises SinkholeError, and the other stays.
    ``seals`` know the hashes of files that did not change.

    What a guard refuses is left out unless ``accept``. When the inputs are those of the bundle in use, or of one that
    was rolled back from, nothing is compiled.
    """
    feeds = tuple(feeds)
    seals = seals or Seals()
    before = change.before(directory, seals)
    back = history.rolled_back(directory)
    wanted = inputs(plan, feeds)
    if before and wanted in (before.inputs, back and back.inputs):
        left = back.left if back and wanted == back.inputs != before.inputs else ""
        if test:
            _try(before.path, test, seals)
        return Built(before.path, tuple(before.manifest["lists"]), (), feeds, before=before, kept=keep, left=left)
    choice = compile_lists(plan, plan.lists, feeds, before, accept=accept, cache=cache, progress=progress)
    described = tuple(map(describe, choice.lists))
    path = before.path if before else directory
    if keep:
        progress("bundle", 0, None)
        path = _write(plan, choice, described, directory, before)
        for name, sha256 in json.loads((path / "manifest.json").read_bytes())["files"].items():
            seals.put(path / name, sha256)
        _try(path, test, seals)
        history.use(directory, path)
        bundle.prune(directory, KEEP)
        progress("bundle", 1, 1)
    changed = before is None or path != before.path
    return Built(path, described, choice.lists, feeds, choice.refused, choice.accepted, before, changed, keep)


def _try(path: Path, test: Callable[[bundle.Bundle], Iterable[str]] | None, seals: Seals) -> None:
    made = bundle.load(path, seals.sha256)
    if test and (wrong := list(test(made))):
        raise SinkholeError("\n".join([*wrong, "the bundle in use stays in use"]))


def _write(
    plan: Plan, choice: Choice, described: Iterable[Mapping[str, Any]], directory: Path, before: Before | None
) -> Path:
    from sinkhole.policy.special import record  # with the engine for patterns, which a build of nothing new is without

    manifest = {
        "tool": tool(),
        "inputs": _inputs(plan, choice.texts),
        "plan": planned(plan),
        "lists": described,
        "accepted": choice.accepted,
    }
    return bundle.write(
        directory,
        [compiled.entries for compiled in choice.lists],
        manifest=manifest,
        policy=plan.policy,
        own=own_rules(plan.lists),
        special=[
            record(rule, number, source)
            for number, made in enumerate(choice.lists)
            for rule, source in made.stated
            if rule.on in ENFORCED
        ],
        texts=[bundle.Text(*text) for text in dict.fromkeys(choice.texts.values())],
        before=before.path if before else None,
        edits=_edits(plan, choice, before) if before else None,
    )


def _edits(plan: Plan, choice: Choice, before: Before) -> bundle.Edits | None:
    """What became of the entries in the bundle in use; None when that is not known of some list."""
    if (before.manifest["tool"], before.manifest["plan"]) != (tool(), planned(plan)):
        return None
    found: dict[bytes, dict[int, int | None]] = {}
    for number, (compiled, was) in enumerate(zip(choice.lists, before.manifest["lists"], strict=True)):
        since = compiled.since
        if [report.sha256 for report in compiled.reports] == [source["sha256"] for source in was["sources"]]:
            continue
        if since is None or since.version != was["version"]:
            return None
        for edit in since.edits:
            found.setdefault(edit.key, {})[number] = edit.now
    return found


def inputs(plan: Plan, feeds: Iterable[Feed]) -> str:
    """A hash of all that a bundle is made of: an equal one means that there is nothing to build."""
    copies = {feed.source.location: Text(feed.copy.path, feed.copy.sha256) for feed in feeds if feed.copy}
    wanted = ((entry.id, source.location) for entry in plan.lists for source in entry.sources)
    return _inputs(plan, {place: copies[place[1]] for place in wanted if place[1] in copies})


def planned(plan: Plan) -> str:
    """A hash of all that people asked for, whatever the lists say today."""
    return hashlib.sha256(repr(plan.portable).encode()).hexdigest()


def missing(plan: Plan, manifest: Mapping[str, Any]) -> list[str]:
    """The sources of which a bundle has no text: none was ever fetched, or a guard refused the first one."""
    there = {(entry["id"], source["id"]) for entry in manifest["lists"] for source in entry["sources"]}
    wanted = ((entry.id, source.id) for entry in plan.lists for source in entry.sources)
    return list(dict.fromkeys(place[1] for place in wanted if place not in there))


def _inputs(plan: Plan, texts: Mapping[tuple[str, str], Text]) -> str:
    """The same of the texts of each list, by its id and their location; only their order in the plan counts."""
    used = [
        text and text.sha256
        for entry in plan.lists
        for source in entry.sources
        for text in [texts.get((entry.id, source.location))]
    ]
    return hashlib.sha256(repr((tool(), plan.portable, used)).encode()).hexdigest()


def describe(compiled: Compiled) -> Mapping[str, Any]:
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
        "entries": compiled.size,
        "not-enforced": sum(rule.on not in ENFORCED for rule in compiled.special),
        "own": len(plan.own),
        "version": compiled.version,
        "authored": change.authored(plan),
        "sources": [report.data() for report in compiled.reports],
    }
