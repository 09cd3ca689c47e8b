"""One list: its sources merged with its own rules, and resolved."""

from __future__ import annotations

import hashlib
import marshal
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import accumulate, compress, pairwise
from operator import add
from typing import Any, BinaryIO, NamedTuple

from sinkhole.bundle import MASK_SHIFT, Entries
from sinkhole.compiler.blocklist import REDUNDANT, Blocklist, Code, Fold, Resolved, keys_of, resolve_nearest
from sinkhole.compiler.parallel import Helper, spare
from sinkhole.compiler.planned import ListPlan, SourcePlan
from sinkhole.compiler.ranges import BOUNDS, COUNT, Ranges, cut, keys_in, range_of
from sinkhole.compiler.source import SourceReport, SourceRules
from sinkhole.names import key
from sinkhole.rules import Kind, Parsed, Rule, Special

#: Of one range: keys, each followed by a line feed; their codes; and the entries.
Part = tuple[bytes, bytes | bytearray, Entries]

#: Keys of fewer octets than this are merged before a helper has begun.
_WORTH_HELP = 4 << 20


@dataclass(frozen=True)
class Compiled:
    """A list ready to be written: what it comes to, the host names known to be on it, its sources' reports.

    ``entries`` are those of the bundle, in ranges. ``stated`` are the special rules, each with the id of its source: a
    list that has some has masks for entries.
    """

    plan: ListPlan
    resolved: Resolved
    entries: Sequence[Entries]
    hosts: frozenset[bytes]
    reports: tuple[SourceReport, ...]
    stated: tuple[tuple[Special, str], ...] = ()

    @cached_property
    def version(self) -> str:
        """Twelve hex digits that change exactly when what the list says changes."""
        digest = hashlib.sha256()
        special = [repr(rule._replace(line=0)).encode() for rule in self.special]
        for part in (self.resolved.text, bytes(self.resolved.codes), *sorted(self.hosts), *special):
            digest.update(len(part).to_bytes(8, "big"))
            digest.update(part)
        return digest.hexdigest()[:12]

    @property
    def special(self) -> tuple[Special, ...]:
        return tuple(rule for rule, _ in self.stated)

    def masks(self) -> dict[bytes, int]:
        """The masks of the keys of a list with special rules; none of any other."""
        return {key: code >> MASK_SHIFT for found in self.entries for key, code in found} if self.stated else {}

    @property
    def size(self) -> int:
        """How many entries there are."""
        return sum(len(found.codes) for found in self.entries)


def compile_list(plan: ListPlan, rules: Callable[[SourcePlan], SourceRules | None]) -> Compiled:
    """Compile one list; a source without any text yet is left out of ``reports``."""
    if plan.nearest:
        resolved = resolve_nearest(own.rule for own in plan.own)
        return Compiled(plan, resolved, _in_ranges(resolved), frozenset(), ())
    sources = list(filter(None, map(rules, plan.sources)))
    stated, gone = _stated(plan, sources)
    own = Parsed()
    for entry in plan.own:
        own.add(entry.rule)
    merge = Merge(
        [found.keys for found in sources],
        [rule for rule in gone if isinstance(rule, Rule)],
        {kind: cut(sorted(found)) for kind, found in keys_of(own).items()},
        bool(stated),
    )
    resolved, entries = merge.all()
    hosts = frozenset(key(host.encode()) for host in plan.hosts)
    return Compiled(plan, resolved, entries, hosts, tuple(found.report for found in sources), stated)


class Merge(NamedTuple):
    """The rules of a list: of its sources, those that are taken back, and its own. ``special``: it has others too, and
    so masks for entries."""

    sources: Sequence[Mapping[Kind, Ranges]]
    gone: Sequence[Rule]
    own: Mapping[Kind, Ranges]
    special: bool

    def all(self) -> tuple[Resolved, list[Entries]]:
        """What the rules come to, and the entries in ranges; a helper does half of a large list."""
        sizes = [0] * COUNT
        for ranges in (ranges for source in self.sources for ranges in source.values()):
            sizes = list(map(add, sizes, map(len, ranges)))
        sums = list(accumulate(sizes))
        if not spare() or sums[-1] < _WORTH_HELP:
            return _joined(self.part(0, COUNT))
        half = bisect_left(sums, sums[-1] // 2)
        helper = Helper(partial(self._say, half))
        try:
            found = self.part(0, half)
            try:
                found += [(text, codes, Entries(*entries)) for text, codes, entries in marshal.load(helper.said)]
            except (EOFError, ValueError, TypeError):
                found += self.part(half, COUNT)
        finally:
            helper.close()
        return _joined(found)

    def _say(self, half: int, said: BinaryIO) -> None:
        """What a helper does: the second part."""
        found = [
            (text, bytes(codes), (entries.text, tuple(entries.codes) if self.special else bytes(entries.codes)))
            for text, codes, entries in self.part(half, COUNT)
        ]
        marshal.dump(found, said)

    def part(self, start: int, end: int) -> list[Part]:
        """The ranges from ``start`` to before ``end``."""
        taken_back: dict[int, list[Rule]] = {}
        for rule in self.gone:
            taken_back.setdefault(range_of(key(rule.name.encode())), []).append(rule)
        fold, fold_masks = Fold(), Fold()
        if start:
            above = self._above(BOUNDS[start - 1], taken_back)
            fold.resolve(above)
            list(fold_masks.masked(above))
        found: list[Part] = []
        for at in range(start, end):
            masks = self._masks(at, taken_back.get(at, ()))
            keys, codes = fold.resolve(masks)
            entries = _deciding(keys, codes)
            if self.special:
                pairs = list(fold_masks.masked(masks))
                entries = Entries(b"\n".join([key for key, _ in pairs]), [code for _, code in pairs])
            found.append((b"".join((b"\n".join(keys), b"\n")) if keys else b"", codes, entries))
        return found

    def _masks(self, at: int, taken_back: Iterable[Rule]) -> dict[bytes, int]:
        """The masks of the keys in one range."""
        blocklist = Blocklist()
        blocklist.merge(_keys(self.sources, at))
        for rule in taken_back:
            blocklist.take_back(rule)
        blocklist.merge(_keys([self.own], at))
        return blocklist.masks

    def _above(self, bound: bytes, taken_back: Mapping[int, list[Rule]]) -> dict[bytes, int]:
        """The masks of all keys above those from ``bound`` on."""
        found: dict[bytes, int] = {}
        end = bound.find(b".") + 1
        while end:
            at = range_of(above := bound[:end])
            masks = self._masks(at, taken_back.get(at, ()))
            if above in masks:
                found[above] = masks[above]
            end = bound.find(b".", end) + 1
        return found


def _joined(parts: Sequence[Part]) -> tuple[Resolved, list[Entries]]:
    resolved = Resolved(b"".join([text for text, _, _ in parts]), b"".join([codes for _, codes, _ in parts]))
    return resolved, [entries for _, _, entries in parts]


def _keys(sources: Iterable[Mapping[Kind, Ranges]], at: int) -> dict[Kind, list[bytes]]:
    """The keys of one range, by kind."""
    keys: dict[Kind, list[bytes]] = {}
    for source in sources:
        for kind, ranges in source.items():
            keys.setdefault(kind, []).extend(keys_in(ranges[at]))
    return keys


def _deciding(keys: Sequence[bytes], codes: bytes | bytearray) -> Entries:
    """The entries of sorted keys that say something new, without what they would inherit."""
    if any(map(codes.count, REDUNDANT)):
        says = [code not in REDUNDANT for code in range(8)]
        kept = list(map(says.__getitem__, codes))
        keys, codes = list(compress(keys, kept)), bytes(compress(codes, kept))
    return Entries(b"\n".join(keys), codes.translate(_OWN))


def _in_ranges(resolved: Resolved) -> list[Entries]:
    places = [0, *(bisect_left(resolved.keys, bound) for bound in BOUNDS), len(resolved.keys)]
    return [_deciding(resolved.keys[at:end], resolved.codes[at:end]) for at, end in pairwise(places)]


#: A code without what the key would inherit.
_OWN = bytes(code & ~Code.INHERITED for code in range(256))


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
