"""The sources of a list merged with its own rules: all of them, or what changed into what they came to before."""

from __future__ import annotations

import marshal
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import accumulate, chain, compress
from operator import add
from typing import BinaryIO, NamedTuple

from sinkhole.bundle import Entries
from sinkhole.compiler.blocklist import OWN, REDUNDANT, Fold, Keys, Rows
from sinkhole.compiler.merged import Plain
from sinkhole.compiler.parallel import Helper, spare
from sinkhole.compiler.patch import Above, Edit, patch, tally_of
from sinkhole.compiler.ranges import BOUNDS, COUNT, Ranges, lines_in, range_of
from sinkhole.compiler.tally import Difference, Fixed, Tally, changes, tally
from sinkhole.names import key
from sinkhole.rules import Kind, Rule, applying

#: Keys of fewer octets than this are merged before a helper has begun.
_WORTH_HELP = 4 << 20
#: When more than one key in so many changed, all are merged anew.
_MANY = 64


class Part(NamedTuple):
    """One range of a list: its keys, a line feed behind each; how often sources state each, as an array of tallies has
    it; its code; and the entries."""

    text: bytes
    tallies: bytes
    codes: bytes
    entries: Entries


def fixed(gone: Iterable[Rule], own: Keys) -> dict[bytes, Fixed]:
    """The keys of which rules are taken back, or that the list has rules of its own for."""
    found: dict[bytes, Fixed] = {}
    for rule in gone:
        name = key(rule.name.encode())
        before = found.get(name, Fixed())
        found[name] = before._replace(gone=before.gone | rule.kind.mask)
    for kind, names in own.items():
        for name in names:
            before = found.get(name, Fixed())
            found[name] = before._replace(own=before.own | kind.mask)
    return found


@dataclass(frozen=True)
class Merge:
    """The rules of a list: of its sources, and those of the keys that are ``fixed``. ``special``: it has others too,
    and so masks for entries. ``kept`` is how tallies were made that were kept."""

    sources: Sequence[Mapping[Kind, Ranges]]
    fixed: Mapping[bytes, Fixed] = field(default_factory=dict)
    special: bool = False
    kept: Tally | None = None

    @cached_property
    def tally(self) -> Tally:
        return self.kept or tally(self.sources)

    @cached_property
    def rows(self) -> Rows:
        return Rows(self.tally.mask)

    @cached_property
    def _fixed(self) -> dict[int, list[bytes]]:
        """The keys that are fixed, by range."""
        found: dict[int, list[bytes]] = {}
        for name in self.fixed:
            found.setdefault(range_of(name), []).append(name)
        return found

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
            return list(self.parts(0, COUNT))
        half = bisect_left(sums, sums[-1] // 2)
        helper = Helper(partial(self._say, half))
        try:
            found = list(self.parts(0, half))
            try:
                while len(found) < COUNT:
                    text, tallies, codes, entered, entry_codes = marshal.load(helper.said)
                    found.append(Part(text, tallies, codes, Entries(text if entered is None else entered, entry_codes)))
            except (EOFError, ValueError, TypeError):
                found += self.parts(len(found), COUNT)
        finally:
            helper.close()
        return found

    def _say(self, half: int, said: BinaryIO) -> None:
        """What a helper does: the second part."""
        for part in self.parts(half, COUNT):
            text, tallies, codes, entries = part
            other = entries.text if entries.text != text else None
            marshal.dump(
                (text, tallies, codes, other, tuple(entries.codes) if self.special else bytes(entries.codes)), said
            )

    def parts(self, start: int, end: int) -> Iterator[Part]:
        """The ranges from ``start`` to before ``end``."""
        fold, fold_masks = Fold(self.rows), Fold(self.rows)
        if start:
            above = self._above(BOUNDS[start - 1])
            fold.resolve(list(above), list(above.values()))
            list(fold_masks.masked(above))
        for at in range(start, end):
            counts, instead = self._counts(at)
            keys = sorted(counts)
            tallies = list(map(counts.__getitem__, keys))
            kept = array(self.tally.typecode, tallies).tobytes() if self.tally.typecode else b""
            for name, value in instead.items():
                tallies[bisect_left(keys, name)] = value
            codes = bytes(fold.resolve(keys, tallies))
            text = _lines(keys)
            entries = _masked(fold_masks, keys, tallies) if self.special else deciding(text, codes, keys)
            yield Part(text, kept, codes, entries)

    def entries(self, parts: Iterable[Part | Plain]) -> list[Entries]:
        """Those of all ranges."""
        fold = Fold(self.rows)
        return [
            part.entries
            if isinstance(part, Part)
            else _masked(fold, keys := lines_in(part[0]), self._values(keys, array(self.tally.typecode, part[1])))
            if self.special
            else deciding(part[0], part[2])
            for part in parts
        ]

    def patched(
        self, before: Sequence[Plain], differences: Iterable[Sequence[Sequence[Difference]]]
    ) -> tuple[list[Plain], list[Edit]] | None:
        """What the rules come to when they came to ``before`` without some ``differences``, each by range, and what
        became of entries that are not special. None when all have to be merged, because many names changed, or one that
        has others below it in many ranges, or one of which rules are taken back, or because there are kinds or more
        sources now than ``kept`` tallies have room for."""
        known = self.tally
        every = [list(chain.from_iterable(each)) for each in zip([[]] * COUNT, *differences, strict=True)]
        if len(self.sources) >= 1 << known.width or any(kind not in known.kinds for each in every for kind, *_ in each):
            return None
        changed = [changes(known, each) for each in every]
        if _MANY * sum(map(len, changed)) > sum(len(codes) for *_, codes in before):
            return None
        refused = _WIDE | {name for name, rules in self.fixed.items() if rules.gone}
        if not all(refused.isdisjoint(each) for each in changed):
            return None
        parts: list[Plain] = []
        edits: list[Edit] = []
        reaches = {b"": 0}
        for at, part in enumerate(before):
            if changed[at]:
                top = BOUNDS[at - 1][: BOUNDS[at - 1].find(b".") + 1] if at else b""
                if top not in reaches:
                    (value,) = self._values([top], [tally_of(before[range_of(top)], top, known.typecode)])
                    reaches[top] = applying(self.rows.mask(value), False)
                part, more = patch(part, changed[at], self.fixed, self.rows, known.typecode, Above(top, reaches[top]))
                edits += more
            parts.append(part)
        return parts, edits

    def _values(self, keys: Sequence[bytes], tallies: Iterable[int]) -> list[int]:
        """Tallies, with what takes their place for keys that are fixed."""
        mask, fixed = self.tally.mask, self.fixed
        return [
            fixed[name].over(mask(found)) if name in fixed else found for name, found in zip(keys, tallies, strict=True)
        ]

    def _counts(self, at: int) -> tuple[dict[bytes, int], dict[bytes, int]]:
        """The tallies of one range, and what takes the place of some of them."""
        counts = self.tally.counts(self.sources, at)
        instead: dict[bytes, int] = {}
        for name in self._fixed.get(at, ()):
            value = self.fixed[name].over(self.tally.mask(counts.get(name, 0)))
            if self.tally.mask(value):
                counts.setdefault(name, 0)
                instead[name] = value
            else:
                counts.pop(name, None)
        return counts, instead

    def _above(self, bound: bytes) -> dict[bytes, int]:
        """The tallies of all keys above those from ``bound`` on, or what takes their place."""
        found: dict[bytes, int] = {}
        end = bound.find(b".") + 1
        while end:
            counts, instead = self._counts(range_of(above := bound[:end]))
            if above in counts:
                found[above] = instead.get(above, counts[above])
            end = bound.find(b".", end) + 1
        return found


def deciding(text: bytes, codes: bytes, keys: Sequence[bytes] | None = None) -> Entries:
    """The entries of sorted keys that say something new, without what they would inherit."""
    if any(map(codes.count, REDUNDANT)):
        text = _lines(list(compress(lines_in(text) if keys is None else keys, codes.translate(_KEPT))))
    return Entries(text, codes.translate(OWN, _DROPPED))


def _masked(fold: Fold, keys: Sequence[bytes], tallies: Iterable[int]) -> Entries:
    """The entries of sorted keys in a list with special rules."""
    pairs = list(fold.masked(dict(zip(keys, tallies, strict=True))))
    return Entries(_lines([name for name, _ in pairs]), tuple(code for _, code in pairs))


def _lines(keys: Sequence[bytes]) -> bytes:
    return b"\n".join((*keys, b"")) if keys else b""


_DROPPED = bytes(REDUNDANT)
_KEPT = bytes(code not in REDUNDANT for code in range(256))
#: The keys that are above the first keys of ranges: what is below those lies in many.
_WIDE = frozenset(bound[: bound.find(b".") + 1] for bound in BOUNDS if 0 < bound.find(b".") < len(bound) - 1)
