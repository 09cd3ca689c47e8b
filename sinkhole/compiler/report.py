"""What a build did, as plain data: per source, per list and per feed, against the bundle that was in use before it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from itertools import compress, pairwise
from typing import Any

from sinkhole import bundle
from sinkhole.compiler.build import Built
from sinkhole.compiler.compile import Compiled
from sinkhole.compiler.parsed import Cache
from sinkhole.compiler.planned import Plan
from sinkhole.compiler.ranges import BOUNDS
from sinkhole.compiler.source import SourceReport, SourceRules, Text
from sinkhole.compiler.tally import difference
from sinkhole.policy.verdict import INTERNAL
from sinkhole.rules import ENFORCED, Special

#: (added, removed).
Change = tuple[int, int]


def report(built: Built, plan: Plan, cache: Cache) -> dict[str, Any]:
    """The report of a build as JSON has it. ``cache`` holds what the texts of before came to.

    ``added`` and ``removed`` count rules of a source and entries of a list; a rule that changed is both.
    """
    lists = [dict(entry) for entry in built.described if entry["id"] not in INTERNAL]
    compiled = {entry.plan.id: entry for entry in built.lists}

    @functools.cache
    def opened() -> bundle.Bundle:
        assert built.before
        return bundle.load(built.before.path)

    for entry in lists:
        was = built.before.list(entry["id"]) if built.before else None
        entry["before"] = was and was["entries"]
        made = compiled.get(entry["id"])
        same = made is None or (was is not None and was["version"] == entry["version"])
        entry["added"], entry["removed"] = (0, 0) if same or not made else _list_change(made, was, opened)
        changes = (
            {found.source.id: _source_change(built, made, found, plan, cache) for found in made.reports} if made else {}
        )
        entry["sources"] = [
            {**source, **dict(zip(("added", "removed"), changes.get(source["id"], (0, 0)), strict=True))}
            for source in entry["sources"]
        ]
    return {
        "bundle": built.path.name if built.kept else None,
        "changed": built.changed,
        "refused": list(built.refused),
        "accepted": list(built.accepted),
        "rolled-back": built.left or None,
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
    }


def _list_change(made: Compiled, was: Mapping[str, Any] | None, opened: Callable[[], bundle.Bundle]) -> Change:
    if was and made.since and made.since.version == was["version"] and not made.stated:
        return made.since.came, made.since.went
    now = made.size
    new = {(rule._replace(line=0), source) for rule, source in made.stated if rule.on in ENFORCED}
    if not was:
        return now + len(new), 0
    from sinkhole.policy.special import stated  # with the engine for patterns

    before = opened()
    number = before.lists.index(made.plan.id)
    kept = sum(
        _kept(found, number, *before.between(start, end))
        for found, (start, end) in zip(made.entries, pairwise((b"", *BOUNDS, b"\xff")), strict=True)
    )
    old: set[tuple[Special, str]] = {
        (entry.rule._replace(line=0), entry.source) for entry in stated(before.special) if entry.list == number
    }
    return now - kept + len(new - old), was["entries"] - kept + len(old - new)


def _kept(now: bundle.Entries, number: int, keys: Sequence[bytes], attributes: Sequence[bundle.Attribute]) -> int:
    """How many entries were there before, when ``keys`` had ``attributes``."""
    kept = 0
    for code in set(now.codes):
        having = {attribute for attribute in set(attributes) if (number, code) in attribute}
        before = compress(keys, map(having.__contains__, attributes))
        kept += len(set(compress(now.keys, map(code.__eq__, now.codes))).intersection(before))
    return kept


def _source_change(built: Built, made: Compiled, found: SourceReport, plan: Plan, cache: Cache) -> Change:
    was = built.before and built.before.source(made.plan.id, found.source.id)
    if was and was["sha256"] == found.sha256:
        return 0, 0
    copy = next(feed.copy for feed in built.feeds if feed.copy and feed.copy.sha256 == found.sha256)

    def read(text: Text) -> SourceRules:
        return cache.read(found.source, text, made.plan.allows, plan.fence)

    if not was or not built.before:
        return found.distinct, 0
    before, now = read(built.before.text(was["sha256"])), read(Text(copy.path, copy.sha256))
    old, new = ({rule._replace(line=0) for rule in rules.special} for rules in (before, now))
    changed = cache.difference(before.name, now.name) or difference(before.keys, now.keys)
    added, removed = (sum(len(each[side]) for some in changed for each in some) for side in (2, 1))
    return added + len(new - old), removed + len(old - new)
