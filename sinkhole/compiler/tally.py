"""How often the sources of a list state each name, as one number: so many bits for each kind of rule.

What a name comes to follows from the kinds that occur at all; how often they do tells, when one source loses a rule,
whether any other has it, without a look at the others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import repeat
from operator import lshift
from typing import NamedTuple

from sinkhole.compiler.ranges import COUNT, Ranges, keys_in
from sinkhole.rules import Kind

#: The types of array elements, and how many bits they have.
_TYPES = (("H", 16), ("I", 32), ("Q", 64))


class Tally(NamedTuple):
    """``kinds`` in the order of their bits, lowest first, and the bits of each."""

    kinds: tuple[Kind, ...]
    width: int

    @property
    def typecode(self) -> str:
        """The type of an array of tallies; empty when no type has so many bits."""
        return next((code for code, bits in _TYPES if len(self.kinds) * self.width <= bits), "")

    def unit(self, kind: Kind) -> int:
        """What one rule adds."""
        return 1 << self.width * self.kinds.index(kind)

    def mask(self, tally: int) -> int:
        """The merged mask of the rules; ``~mask`` stands for a mask itself."""
        if tally < 0:
            return ~tally
        mask = 0
        for kind in self.kinds:
            if tally & ((1 << self.width) - 1):
                mask |= kind.mask
            tally >>= self.width
        return mask

    def counts(self, sources: Sequence[Mapping[Kind, Ranges]], at: int) -> dict[bytes, int]:
        """The tally of each key that sources have in one range."""
        found: Counter[bytes] = Counter()
        for kind in reversed(self.kinds):
            if found:  # the keys of the first kind, which has most, are never gone through again
                dict.update(found, zip(found, list(map(lshift, found.values(), repeat(self.width))), strict=True))
            for source in sources:
                if kind in source:
                    found.update(keys_in(source[kind][at]))
        return found


def tally(sources: Sequence[Mapping[Kind, Ranges]]) -> Tally:
    """One that holds all rules of some sources."""
    octets: Counter[Kind] = Counter()
    for source in sources:
        for kind, ranges in source.items():
            octets[kind] += sum(map(len, ranges))
    return Tally(tuple(kind for kind, _ in octets.most_common()), len(sources).bit_length())


#: Of one range: a kind, the keys that lost a rule of it, and those that got one.
Difference = tuple[Kind, set[bytes], set[bytes]]


def difference(before: Mapping[Kind, Ranges], now: Mapping[Kind, Ranges]) -> list[list[Difference]]:
    """What changed, by range."""
    kinds = [kind for kind in {**before, **now} if before.get(kind) != now.get(kind)]
    return [
        [
            (kind, was - has, has - was)
            for kind in kinds
            for was, has in [[set(keys_in(side[kind][at])) if kind in side else set() for side in (before, now)]]
            if was != has
        ]
        for at in range(COUNT)
    ]


def changes(tally: Tally, differences: Iterable[Difference]) -> dict[bytes, int]:
    """What is added to the tally of each key."""
    found: dict[bytes, int] = {}
    for kind, lost, stated in differences:
        unit = tally.unit(kind)
        for key in stated:
            found[key] = found.get(key, 0) + unit
        for key in lost:
            found[key] = found.get(key, 0) - unit
    return {key: change for key, change in found.items() if change}


class Fixed(NamedTuple):
    """Of a key that has rules which no source states: the mask of those that are taken back, and of its own."""

    gone: int = 0
    own: int = 0

    def over(self, mask: int) -> int:
        """What takes the place of a tally of sources that comes to ``mask``."""
        return ~(mask & ~self.gone | self.own)
