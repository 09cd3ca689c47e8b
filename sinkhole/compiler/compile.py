"""One list: its sources merged with its own rules, and resolved."""

from __future__ import annotations

import hashlib
import marshal
import sys
from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial, reduce
from itertools import accumulate, chain, compress, pairwise
from operator import add, or_
from typing import Any, BinaryIO, NamedTuple

from sinkhole.bundle import MASK_SHIFT, Entries
from sinkhole.compiler.blocklist import OWN, REDUNDANT, Blocklist, Fold, Resolved, keys_of, patch, resolve_nearest
from sinkhole.compiler.merged import Merged, Plain
from sinkhole.compiler.parallel import Helper, spare
from sinkhole.compiler.parsed import Cache
from sinkhole.compiler.planned import ListPlan, SourcePlan
from sinkhole.compiler.ranges import BOUNDS, COUNT, Ranges, cut, keys_in, range_of
from sinkhole.compiler.source import SourceReport, SourceRules
from sinkhole.compiler.tool import tool
from sinkhole.names import key
from sinkhole.rules import Kind, Parsed, Rule, Special, applying

#: Keys of fewer octets than this are merged before a helper has begun.
_WORTH_HELP = 4 << 20
#: Lists of fewer octets are merged anew: that is done at once.
_WORTH_KEEPING = 1 << 16


class Part(NamedTuple):
    """One range of a list: its keys, a line feed between two; the merged mask of each, as an array of uint16 has it;
    its code; and the entries."""

    text: bytes
    masks: bytes
    codes: bytes
    entries: Entries


class Since(NamedTuple):
    """How many entries of a list came and went since the one of that version."""

    version: str
    came: int
    went: int


@dataclass(frozen=True)
class Compiled:
    """A list ready to be written: what it comes to, the host names known to be on it, its sources' reports.

    ``entries`` are those of the bundle, in ranges. ``stated`` are the special rules, each with the id of its source: a
    list that has some has masks for entries. ``since``: what changed, where that is known.
    """

    plan: ListPlan
    resolved: Resolved
    entries: Sequence[Entries]
    hosts: frozenset[bytes]
    reports: tuple[SourceReport, ...]
    stated: tuple[tuple[Special, str], ...] = ()
    since: Since | None = None

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

    def finished(parts: Sequence[Part], since: Since | None = None) -> Compiled:
        entries, reports = [part.entries for part in parts], tuple(found.report for found in sources)
        return Compiled(plan, _resolved(parts), entries, hosts, reports, stated, since)

    own = Parsed()
    for entry in plan.own:
        own.add(entry.rule)
    merge = Merge(
        [found.keys for found in sources],
        [rule for rule in gone if isinstance(rule, Rule)],
        {kind: cut(sorted(found)) for kind, found in keys_of(own).items()},
        bool(stated),
    )
    names = [found.name for found in sources]
    if not cache or not names or not all(names) or sum(merge.sizes()) < _WORTH_KEEPING:
        return finished(merge.all())
    before, rest = cache.merged(plan.id), _rest(plan, gone, merge.special)
    patched = _patched(before, merge, names, cache) if before and before.rest == rest else None
    if before and patched:
        parts, came, went = patched
        compiled = finished(parts, Since(before.version, came, went))
    else:
        parts = merge.all()
        compiled = finished(parts)
    if not before or (before.rest, list(before.sources)) != (rest, names):
        plain = [(part.text, part.masks, part.codes) for part in parts]
        cache.keep_merged(plan.id, Merged(rest, tuple(names), compiled.version, plain))
    return compiled


def _patched(before: Merged, merge: Merge, names: list[str], cache: Cache) -> tuple[list[Part], int, int] | None:
    """:meth:`Merge.patched`, when few of the sources changed and the cache has what they were. ``names`` are those of
    the sources in the cache."""
    gone = [cache.keys(name) for name in (Counter(before.sources) - Counter(names)).elements()]
    less = [keys for keys in gone if keys is not None]
    more = []
    new = Counter(names) - Counter(before.sources)
    for name, source in zip(names, merge.sources, strict=True):
        if new[name]:
            new[name] -= 1
            more.append(source)
    if len(less) < len(gone) or 2 * max(len(less), len(more)) > len(names):
        return None
    return merge.patched(before.parts, less, more)


class Merge(NamedTuple):
    """The rules of a list: of its sources, those that are taken back, and its own. ``special``: it has others too, and
    so masks for entries."""

    sources: Sequence[Mapping[Kind, Ranges]]
    gone: Sequence[Rule]
    own: Mapping[Kind, Ranges]
    special: bool

    def sizes(self) -> list[int]:
        """How many octets of keys there are in each range, all sources together."""
        sizes = [0] * COUNT
        for ranges in (ranges for source in self.sources for ranges in source.values()):
            sizes = list(map(add, sizes, map(len, ranges)))
        return sizes

    def all(self) -> list[Part]:
        """What the rules come to; a helper does half of a large list."""
        sums = list(accumulate(self.sizes()))
        if not spare() or sums[-1] < _WORTH_HELP:
            return self.part(0, COUNT)
        half = bisect_left(sums, sums[-1] // 2)
        helper = Helper(partial(self._say, half))
        try:
            found = self.part(0, half)
            try:
                found += [
                    Part(text, masks, codes, Entries(*entries))
                    for (text, masks, codes), entries in marshal.load(helper.said)
                ]
            except (EOFError, ValueError, TypeError):
                found += self.part(half, COUNT)
        finally:
            helper.close()
        return found

    def _say(self, half: int, said: BinaryIO) -> None:
        """What a helper does: the second part."""
        found = [(part[:3], (part.entries.text, part.entries.codes)) for part in self.part(half, COUNT)]
        marshal.dump(found, said)

    def part(self, start: int, end: int) -> list[Part]:
        """The ranges from ``start`` to before ``end``."""
        taken_back = self._taken_back()
        fold, fold_masks = Fold(), Fold()
        if start:
            above = self._above(BOUNDS[start - 1], taken_back)
            fold.resolve(list(above), above.values())
            list(fold_masks.masked(above))
        found: list[Part] = []
        for at in range(start, end):
            masks = self._masks(at, taken_back.get(at, ()))
            keys = sorted(masks)
            merged = array("H", map(masks.__getitem__, keys))
            codes = bytes(fold.resolve(keys, merged))
            entries = _masked(fold_masks, keys, merged) if self.special else _deciding(keys, codes)
            found.append(Part(b"\n".join(keys), merged.tobytes(), codes, entries))
        return found

    def patched(
        self, before: Sequence[Plain], less: Sequence[Mapping[Kind, Ranges]], more: Sequence[Mapping[Kind, Ranges]]
    ) -> tuple[list[Part], int, int] | None:
        """What the rules come to when they came to ``before`` without the sources ``more`` and with the sources
        ``less``, and how many entries came and went, as long as none is special. None when all have to be merged,
        because a name changed that has others below it in many ranges."""
        taken_back = self._taken_back()
        kinds = {kind for source in (*less, *more) for kind in source}
        reaches = {b"": 0}
        found: list[Part] = []
        came = went = 0
        for at, (text, merged, codes) in enumerate(before):
            stated, lost = self._changed(at, kinds, less, more)
            if not _WIDE.isdisjoint((*stated, *lost)):
                return None
            keys = keys_in(text)
            masks = array("H", merged)
            top = BOUNDS[at - 1][: BOUNDS[at - 1].find(b".") + 1] if at else b""
            if top not in reaches:
                reaches[top] = applying(_mask(before[range_of(top)], top), False)
            reach = reaches[top]
            if stated or lost:
                if at in taken_back:
                    lost |= stated.keys()
                else:  # a rule more adds to what there is
                    places = ((name, bisect_left(keys, name)) for name in stated)
                    stated |= {name: stated[name] | masks[to] for name, to in places if keys[to : to + 1] == [name]}
                stated |= self._masks_of(at, lost, taken_back.get(at, ()))
                own = bytearray(codes)
                new, old = patch(keys, masks, own, stated, reach)
                came, went = came + new, went + old
                text, merged, codes = b"\n".join(keys), masks.tobytes(), bytes(own)
            entries = _masked(Fold(reach), keys, masks) if self.special else _deciding(keys, codes)
            found.append(Part(text, merged, codes, entries))
        return found, came, went

    @staticmethod
    def _changed(
        at: int, kinds: Iterable[Kind], less: Sequence[Mapping[Kind, Ranges]], more: Sequence[Mapping[Kind, Ranges]]
    ) -> tuple[dict[bytes, int], set[bytes]]:
        """Of one range: the masks of what is stated now and was not, by key, and the keys that lost a rule."""
        stated: dict[bytes, int] = {}
        lost: set[bytes] = set()
        for kind in kinds:
            old, new = ([source[kind][at] for source in side if kind in source] for side in (less, more))
            if old != new:
                before, now = ({*chain.from_iterable(map(keys_in, texts))} for texts in (old, new))
                lost |= before - now
                stated |= {name: stated.get(name, 0) | kind.mask for name in now - before}
        return stated, lost

    def _taken_back(self) -> dict[int, list[Rule]]:
        """The rules that are taken back, by range."""
        found: dict[int, list[Rule]] = {}
        for rule in self.gone:
            found.setdefault(range_of(key(rule.name.encode())), []).append(rule)
        return found

    def _masks_of(self, at: int, keys: Iterable[bytes], taken_back: Iterable[Rule]) -> dict[bytes, int]:
        """The masks of a few of the keys in one range: 0 of those that nobody states."""
        texts: dict[Kind, list[bytes]] = {}
        for source in self.sources:
            for kind, ranges in source.items():
                texts.setdefault(kind, [b""]).append(ranges[at])
        joined = [(kind.mask, b"\n".join((*found, b""))) for kind, found in texts.items()]
        masks = {key: _union(mask for mask, text in joined if b"\n%s\n" % key in text) for key in keys}
        for rule in taken_back:
            if (name := key(rule.name.encode())) in masks:
                masks[name] &= ~rule.kind.mask
        for kind, ranges in self.own.items():
            for name in masks.keys() & set(keys_in(ranges[at])):
                masks[name] |= kind.mask
        return masks

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


def _resolved(parts: Iterable[Part]) -> Resolved:
    texts, codes = zip(*((part.text, part.codes) for part in parts), strict=True)
    return Resolved(b"\n".join([*filter(None, texts), b""]), b"".join(codes))


def _rest(plan: ListPlan, gone: Iterable[Rule | Special], special: bool) -> str:
    """A digest of all but the sources that the merged rules of a list follow from."""
    asked = (tool(), sys.byteorder, special, sorted(map(repr, gone)), sorted(repr(own.rule) for own in plan.own))
    return hashlib.sha256(repr(asked).encode()).hexdigest()


def _union(masks: Iterable[int]) -> int:
    return reduce(or_, masks, 0)


def _mask(part: Plain, key: bytes) -> int:
    """The mask of a key of one range; 0 of one that is not there."""
    keys = keys_in(part[0])
    return array("H", part[1])[keys.index(key)] if key in keys else 0


def _keys(sources: Iterable[Mapping[Kind, Ranges]], at: int) -> dict[Kind, list[bytes]]:
    """The keys of one range, by kind."""
    keys: dict[Kind, list[bytes]] = {}
    for source in sources:
        for kind, ranges in source.items():
            keys.setdefault(kind, []).extend(keys_in(ranges[at]))
    return keys


def _masked(fold: Fold, keys: Sequence[bytes], masks: Sequence[int]) -> Entries:
    """The entries of sorted keys in a list with special rules."""
    pairs = list(fold.masked(dict(zip(keys, masks, strict=True))))
    return Entries(b"\n".join([key for key, _ in pairs]), tuple(code for _, code in pairs))


def _deciding(keys: Sequence[bytes], codes: bytes | bytearray) -> Entries:
    """The entries of sorted keys that say something new, without what they would inherit."""
    if any(map(codes.count, REDUNDANT)):
        keys = list(compress(keys, codes.translate(_KEPT)))
    return Entries(b"\n".join(keys), codes.translate(OWN, _DROPPED))


def _in_ranges(resolved: Resolved) -> list[Entries]:
    places = [0, *(bisect_left(resolved.keys, bound) for bound in BOUNDS), len(resolved.keys)]
    return [_deciding(resolved.keys[at:end], resolved.codes[at:end]) for at, end in pairwise(places)]


_DROPPED = bytes(REDUNDANT)
_KEPT = bytes(code not in REDUNDANT for code in range(256))
#: The keys that are above the first keys of ranges: what is below those lies in many.
_WIDE = frozenset(bound[: bound.find(b".") + 1] for bound in BOUNDS if 0 < bound.find(b".") < len(bound) - 1)


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
