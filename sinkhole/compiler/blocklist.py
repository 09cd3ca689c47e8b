"""One list as data: every name that a rule mentions, with all rules of that name merged into one mask.

Merging is ``|`` on masks (:class:`sinkhole.rules.Kind`); :func:`resolve` then works out what each name comes to.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import compress, groupby
from typing import NamedTuple

from sinkhole import names
from sinkhole.bundle import MASK_SHIFT, MASKED
from sinkhole.rules import Kind, Rule, Scope, applying, strongest

#: Keys of one kind, sorted or not, as a reader and a guard leave them.
Keys = Mapping[Kind, list[bytes]]


def keys_of(rules: Mapping[Kind, list[bytes]]) -> dict[Kind, list[bytes]]:
    """Names by kind -> distinct keys by kind, sorted."""
    keys = {kind: [b".".join(name.split(b".")[::-1]) + b"." for name in found] for kind, found in rules.items()}
    for found in keys.values():
        found.sort()  # and then equal ones are neighbours: no set of a million
    return {kind: [key for key, _ in groupby(found)] for kind, found in keys.items()}


@dataclass
class Blocklist:
    """``masks``: key -> merged mask of its rules. ``hosts``: keys known to exist below trees."""

    masks: dict[bytes, int] = field(default_factory=dict)
    hosts: set[bytes] = field(default_factory=set)

    def merge(self, keys: Keys) -> None:
        """Add the rules of one source."""
        for kind, found in keys.items():
            mask = kind.mask
            both = {key: self.masks[key] | mask for key in self.masks.keys() & found}
            self.masks.update(dict.fromkeys(found, mask))
            self.masks.update(both)

    def take_back(self, rule: Rule) -> None:
        """Remove what every source said in the kind of ``rule`` about its name."""
        found = names.key(rule.name.encode())
        left = self.masks.get(found, 0) & ~rule.kind.mask
        if left:
            self.masks[found] = left
        else:
            self.masks.pop(found, None)

    def masked(self) -> dict[int, list[bytes]]:
        """Keys by code for a list with special rules: every kind that an ancestor does not state already."""
        found: dict[int, list[bytes]] = {}
        above: list[tuple[bytes, int]] = []
        top, reach = b"", 0
        for key in sorted(self.masks):
            while not key.startswith(top):
                top, reach = above.pop()
            left = self.masks[key] & ~(reach | reach >> 1)
            if left:
                found.setdefault(left << MASK_SHIFT | MASKED, []).append(key)
                above.append((top, reach))
                top, reach = key, reach | applying(left, False)
        return found

    def know(self, hosts: Iterable[str]) -> None:
        self.hosts.update(names.key(host.encode()) for host in hosts)


class Code:
    """What a key comes to, as bits: itself blocked, everything below blocked, and what it would inherit."""

    EXACT, BELOW, INHERITED = 1, 2, 4


#: Codes of a key that says nothing beyond what its ancestors say already.
REDUNDANT = frozenset((0, Code.EXACT | Code.BELOW | Code.INHERITED))


def _blocked(bits: int) -> bool:
    """Whether the strongest of the applying rules, given as SUBDOMAINS bits, is a block."""
    deciding = strongest(bits)
    return deciding is not None and not deciding[1]


class Resolved(NamedTuple):
    """Sorted keys and, in step, their codes; ancestors stand before what is below them."""

    keys: list[bytes]
    codes: bytearray

    def entries(self) -> Iterator[tuple[bytes, int]]:
        """(key, code) of the keys that decide something; the most specific one decides for a name."""
        return ((key, code) for key, code in zip(self.keys, self.codes, strict=True) if code not in REDUNDANT)

    @property
    def size(self) -> int:
        """How many :meth:`entries` there are."""
        return len(self.codes) - sum(map(self.codes.count, REDUNDANT))

    def by_code(self) -> dict[int, list[bytes]]:
        """The keys of :meth:`entries` by code, less what they would inherit."""
        found: dict[int, list[bytes]] = {}
        for code in sorted(set(self.codes) - REDUNDANT):
            found.setdefault(code & ~Code.INHERITED, []).extend(compress(self.keys, map(code.__eq__, self.codes)))
        return found


def resolve(masks: Mapping[bytes, int]) -> Resolved:
    """What each key of a list comes to when the strongest rule that covers a name decides.

    One pass over the sorted keys with a stack of the ancestors that reach below themselves.
    """
    keys = sorted(masks)
    codes = bytearray(len(keys))
    known: dict[tuple[int, int], tuple[int, int]] = {}
    above: list[tuple[bytes, int]] = []
    top, reach = b"", 0
    for at, key in enumerate(keys):
        while not key.startswith(top):
            top, reach = above.pop()
        mask = masks[key]
        state = known.get((mask, reach))
        if state is None:
            below = reach | applying(mask, False)
            exact = reach | applying(mask, True)
            code = _blocked(exact) * Code.EXACT | _blocked(below) * Code.BELOW | _blocked(reach) * Code.INHERITED
            state = known[mask, reach] = code, below
        codes[at], below = state
        if below != reach:
            above.append((top, reach))
            top, reach = key, below
    return Resolved(keys, codes)


def resolve_nearest(rules: Iterable[Rule]) -> Resolved:
    """What each name comes to when the most specific rule decides, and at one name an exact rule over a tree."""
    stated: dict[bytes, dict[Scope, bool]] = {}
    for rule in sorted(rules, key=lambda rule: rule.kind.scope, reverse=True):
        sides = stated.setdefault(names.key(rule.name.encode()), {})
        sides.update((side, not rule.kind.allow) for side in (Scope.EXACT, Scope.SUBDOMAINS) if side & rule.kind.scope)
    keys, codes = sorted(stated), bytearray()
    above: list[tuple[bytes, bool]] = [(b"", False)]
    for key in keys:
        while not key.startswith(above[-1][0]):
            above.pop()
        inherited = above[-1][1]
        exact, below = (stated[key].get(side, inherited) for side in (Scope.EXACT, Scope.SUBDOMAINS))
        codes.append(exact * Code.EXACT | below * Code.BELOW | inherited * Code.INHERITED)
        above.append((key, below))
    return Resolved(keys, codes)
