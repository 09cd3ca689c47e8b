"""One list as data: every name that a rule mentions, with all rules of that name merged into one mask.

Merging is ``|`` on masks (:class:`sinkhole.rules.Kind`); :func:`resolve` then works out what each name comes to.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from sinkhole import names
from sinkhole.rules import DECIDING, Kind, Rule, Scope

#: Keys of one kind, sorted or not, as a reader and a guard leave them.
Keys = Mapping[Kind, list[bytes]]


def keys_of(rules: Mapping[Kind, list[bytes]]) -> dict[Kind, list[bytes]]:
    """Names by kind -> distinct keys by kind, sorted."""
    return {kind: sorted({b".".join(name.split(b".")[::-1]) + b"." for name in found}) for kind, found in rules.items()}


@dataclass
class Blocklist:
    """``masks``: key -> merged mask of its rules. ``hosts``: keys known to exist below trees."""

    masks: dict[bytes, int] = field(default_factory=dict)
    hosts: set[bytes] = field(default_factory=set)

    def merge(self, keys: Keys) -> None:
        """Add the rules of one source."""
        for kind, found in keys.items():
            mask = kind.mask
            if both := self.masks.keys() & found:
                for shared in both:
                    self.masks[shared] |= mask
                self.masks.update((new, mask) for new in found if new not in both)
            else:
                self.masks.update(dict.fromkeys(found, mask))

    def know(self, hosts: Iterable[str]) -> None:
        self.hosts.update(names.key(host.encode()) for host in hosts)


class Code:
    """What a key comes to, as bits: itself blocked, everything below blocked, and what it would inherit."""

    EXACT, BELOW, INHERITED = 1, 2, 4


#: Codes of a key that says nothing beyond what its ancestors say already.
REDUNDANT = frozenset((0, Code.EXACT | Code.BELOW | Code.INHERITED))

_EXACT_BITS = sum(Scope.EXACT << shift for _, shift in DECIDING)
_BELOW_BITS = sum(Scope.SUBDOMAINS << shift for _, shift in DECIDING)


def _blocked(bits: int) -> bool:
    """Whether the strongest of the applying rules, given as SUBDOMAINS bits, is a block."""
    for allow, shift in DECIDING:
        if bits & (Scope.SUBDOMAINS << shift):
            return not allow
    return False


class Resolved(NamedTuple):
    """Sorted keys and, in step, their codes; ancestors stand before what is below them."""

    keys: list[bytes]
    codes: bytearray

    def entries(self) -> Iterator[tuple[bytes, int]]:
        """(key, code) of the keys that decide something; the most specific one decides for a name."""
        return ((key, code) for key, code in zip(self.keys, self.codes, strict=True) if code not in REDUNDANT)


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
            below = reach | mask & _BELOW_BITS
            exact = reach | (mask & _EXACT_BITS) << 1
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
