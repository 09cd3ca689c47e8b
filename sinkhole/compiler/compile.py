"""One list: its sources merged with its own rules, and resolved."""

from __future__ import annotations

import hashlib
import sys
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache as once
from functools import cached_property
from itertools import pairwise, zip_longest
from typing import Any, NamedTuple

from sinkhole.bundle import MASK_SHIFT, Entries
from sinkhole.compiler.blocklist import Resolved, keys_of, resolve_nearest
from sinkhole.compiler.merge import Merge, Part, deciding, fixed
from sinkhole.compiler.merged import Merged, Plain
from sinkhole.compiler.parsed import Cache
from sinkhole.compiler.patch import Edit
from sinkhole.compiler.planned import ListPlan, SourcePlan
from sinkhole.compiler.ranges import BOUNDS, COUNT
from sinkhole.compiler.source import SourceReport, SourceRules
from sinkhole.compiler.tally import Difference, Tally
from sinkhole.compiler.tool import tool
from sinkhole.names import key
from sinkhole.rules import Parsed, Rule, Special

#: Lists of sources with fewer rules together are merged anew: that is done at once.
_WORTH_KEEPING = 4096


class Since(NamedTuple):
    """What became of the entries of a list since the one of that version."""

    version: str
    edits: Sequence[Edit]

    @property
    def came(self) -> int:
        return sum(edit.now is not None for edit in self.edits)

    @property
    def went(self) -> int:
        return sum(edit.before is not None for edit in self.edits)


class Known(NamedTuple):
    """What need not be worked out of a list."""

    entries: int | None = None
    version: str = ""


_UNKNOWN = Known()


@dataclass(frozen=True)
class Compiled:
    """A list ready to be written: what it comes to, the host names known to be on it, its sources' reports.

    ``entries`` are those of the bundle, in ranges. ``stated`` are the special rules, each with the id of its source: a
    list that has some has masks for entries. ``since``: what changed, where that is known; then it is ``known``
    how many entries there are, and the version, when nothing changed.
    """

    plan: ListPlan
    resolved: Resolved
    entries: Sequence[Entries]
    hosts: frozenset[bytes]
    reports: tuple[SourceReport, ...]
    stated: tuple[tuple[Special, str], ...] = ()
    since: Since | None = None
    known: Known = _UNKNOWN

    @cached_property
    def version(self) -> str:
        """Twelve hex digits that change exactly when what the list says changes."""
        if self.known.version:
            return self.known.version
        digest = hashlib.sha256()
        special = [repr(rule._replace(line=0)).encode() for rule in self.special]
        texts, codes = zip(*self.resolved.pieces, strict=True)
        for part in (texts, codes, *((host,) for host in sorted(self.hosts)), *((rule,) for rule in special)):
            digest.update(sum(map(len, part)).to_bytes(8, "big"))
            for piece in part:
                digest.update(piece)
        return digest.hexdigest()[:12]

    @property
    def special(self) -> tuple[Special, ...]:
        return tuple(rule for rule, _ in self.stated)

    def masks(self) -> dict[bytes, int]:
        """The masks of the keys of a list with special rules; none of any other."""
        return {key: code >> MASK_SHIFT for found in self.entries for key, code in found} if self.stated else {}

    @cached_property
    def size(self) -> int:
        """How many entries there are."""
        return sum(len(found.codes) for found in self.entries) if self.known.entries is None else self.known.entries


#: What gives the ranges of a list.
Parts = Callable[[], Sequence[Part | Plain]]


class Later(Sequence[Entries]):
    """Entries in ranges that are made when somebody asks for them."""

    def __init__(self, made: Callable[[], Sequence[Entries]]) -> None:
        self._made = once(made)

    def __len__(self) -> int:
        return COUNT

    def __getitem__(self, at: Any) -> Any:
        return self._made()[at]

    def __iter__(self) -> Iterator[Entries]:
        return iter(self._made())


def compile_list(
    plan: ListPlan, rules: Callable[[SourcePlan], SourceRules | None], cache: Cache | None = None
) -> Compiled:
    """Compile one list, with ``cache`` from what it came to before. A source without any text yet is left out of
    ``reports``."""
    if plan.nearest:
        resolved = resolve_nearest(own.rule for own in plan.own)
        return Compiled(plan, resolved, _in_ranges(resolved), frozenset(), ())
    sources = list(filter(None, map(rules, plan.sources)))
    stated, gone = _stated(plan, sources)
    hosts = frozenset(key(host.encode()) for host in plan.hosts)
    reports, names = tuple(found.report for found in sources), tuple(found.name for found in sources)
    own = Parsed()
    for entry in plan.own:
        own.add(entry.rule)
    around = fixed((rule for rule in gone if isinstance(rule, Rule)), keys_of(own))

    def compiled(merge: Merge, parts: Parts, **more: Any) -> Compiled:
        parts = once(parts)
        resolved = Resolved.of(lambda: [(part[0], part[2]) for part in parts()])
        return Compiled(plan, resolved, Later(lambda: merge.entries(parts())), hosts, reports, stated, **more)

    keys = [found.keys for found in sources]
    merge = Merge(keys, around, bool(stated))
    if not cache or not names or not all(names) or sum(report.distinct for report in reports) < _WORTH_KEEPING:
        return compiled(merge, merge.all)
    rest, beside = _rest(plan, gone, bool(stated)), _beside(plan, stated)
    before, found = cache.merged(plan.id), None
    parts: Sequence[Part | Plain]
    if before and before.rest == rest:
        past = Merge(keys, around, bool(stated), Tally(before.kinds, before.width))
        if (before.sources, before.beside) == (names, beside):
            same, known = Since(before.version, ()), Known(before.entries, before.version)
            return compiled(past, lambda: cache.parts(plan.id) or past.all(), since=same, known=known)
        found = _patched(plan, before, past, names, cache)
    if before and found:
        merge, (parts, edits) = past, found
        since = Since(before.version, edits)
        known = Known(before.entries + since.came - since.went)
        made = compiled(merge, lambda: parts, **({} if stated else {"since": since, "known": known}))
    else:
        parts = merge.all()
        made = compiled(merge, lambda: parts)
    if merge.tally.typecode:
        kept = Merged(rest, beside, names, made.version, made.size, merge.tally.kinds, merge.tally.width)
        cache.keep_merged(plan.id, kept, [(text, tallies, codes) for text, tallies, codes, *_ in parts])
    return made


def _patched(
    plan: ListPlan, before: Merged, merge: Merge, names: tuple[str, ...], cache: Cache
) -> tuple[Sequence[Plain], list[Edit]] | None:
    """:meth:`Merge.patched`, when the cache has what the sources that changed were."""
    less, more = (Counter(one) - Counter(other) for one, other in ((before.sources, names), (names, before.sources)))
    differences: list[Sequence[Sequence[Difference]]] = []
    for pair in zip_longest(less.elements(), more.elements()):
        if (difference := cache.difference(*pair)) is None:
            return None
        differences.append(difference)
    parts = cache.parts(plan.id)
    return merge.patched(parts, differences) if parts else None


def _rest(plan: ListPlan, gone: Iterable[Rule | Special], special: bool) -> str:
    """A digest of all but the sources that the merged rules of a list follow from."""
    asked = (tool(), sys.byteorder, special, sorted(map(repr, gone)), sorted(repr(own.rule) for own in plan.own))
    return hashlib.sha256(repr(asked).encode()).hexdigest()


def _beside(plan: ListPlan, stated: Iterable[tuple[Special, str]]) -> str:
    """A digest of what a list says beside its merged rules."""
    special = [(rule._replace(line=0), source) for rule, source in stated]
    return hashlib.sha256(repr((plan.hosts, special)).encode()).hexdigest()


def _in_ranges(resolved: Resolved) -> list[Entries]:
    keys, codes = resolved.keys, bytes(resolved.codes)
    places = [0, *(bisect_left(keys, bound) for bound in BOUNDS), len(keys)]
    return [deciding(b"".join(key + b"\n" for key in keys[at:end]), codes[at:end]) for at, end in pairwise(places)]


def _stated(
    plan: ListPlan, sources: Iterable[SourceRules]
) -> tuple[tuple[tuple[Special, str], ...], set[Rule | Special]]:
    """(the special rules of the list and of all sources, each once; what any source takes back, which is gone from
    those of the sources)."""
    gone = {
        rule._replace(line=0) if isinstance(rule, Special) else rule for found in sources for rule in found.disabled
    }
    stated = {
        plain: (rule, found.report.source.id)
        for found in sources
        for rule in found.special
        if (plain := rule._replace(line=0)) not in gone
    } | {rule._replace(line=0): (rule, source) for rule, source in plan.special}
    return tuple(stated[rule] for rule in sorted(stated, key=repr)), gone


def own_rules(plans: Iterable[ListPlan]) -> list[dict[str, Any]]:
    """The rules of catalogue and configuration with their places, as the bundle keeps them."""
    return [
        {
            "list": plan.id,
            "name": own.rule.name,
            "scope": own.rule.kind.scope.label,
            "allow": own.rule.kind.allow,
            "source": own.source,
            "file": own.file,
            "line": own.line,
            "text": own.text,
        }
        for plan in plans
        for own in plan.own
    ]
