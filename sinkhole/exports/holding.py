"""Names that a format cannot hold: too long for it, or with a beginning that means something else there.

A block of such a name is left out. What an exception takes out of a tree is then taken out with all beside it: of the
nearest name above that the format can hold, nothing below is blocked any more but what other rules name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from sinkhole.compiler.blocklist import Resolved
from sinkhole.exports.loss import Loss
from sinkhole.formats.format import Format
from sinkhole.names import unkey


class Entry(NamedTuple):
    """A key with the level that decides for its name, for names below it, and for those below its parent.

    Odd levels block, even ones allow, and 0 says nothing.
    """

    key: bytes
    exact: int
    below: int
    inherited: int


@dataclass(frozen=True)
class Entries:
    """Entries in order of their keys; each takes three octets beside its key."""

    keys: list[bytes]
    exact: bytearray
    below: bytearray
    inherited: bytearray

    def __iter__(self) -> Iterator[Entry]:
        return map(Entry._make, zip(self.keys, self.exact, self.below, self.inherited, strict=True))

    @property
    def decided(self) -> Resolved:
        """What the names come to."""
        sides = zip(self.exact, self.below, self.inherited, strict=True)
        return Resolved(
            self.keys, bytearray(exact % 2 | below % 2 << 1 | above % 2 << 2 for exact, below, above in sides)
        )


def gather(rows: Iterable[tuple[bytes, int, int, int]]) -> Entries:
    """The entries of ``rows``, which are in order."""
    keys: list[bytes] = []
    levels = exact, below, inherited = bytearray(), bytearray(), bytearray()
    for key, *found in rows:
        keys.append(key)
        for level, now in zip(levels, found, strict=True):
            level.append(now)
    return Entries(keys, exact, below, inherited)


def without(entries: Entries, unheld: Iterable[bytes], format: Format, loss: Loss) -> Entries:
    """``entries`` without those of the keys ``unheld``."""
    known = {entry.key: entry for entry in entries}
    left = dict(known)
    lost = 0
    for key in sorted(unheld):
        _, exact, below, inherited = left.pop(key)
        lost += (exact % 2, below % 2) != (inherited % 2, inherited % 2)
        if inherited % 2 and not exact % 2 & below % 2:
            uppers = list(_above(key))
            if up := next((upper for upper in uppers if format.holds(unkey(upper))), None):
                own = next((known[each].below for each in uppers if len(each) < len(up) and each in known), 0)
                left[up] = left.get(up, Entry(up, own, own, own))._replace(below=inherited + 1)
    loss.add(unsaid(lost, format))
    above = [(b"", 0)]
    held = []
    for key in sorted(left):
        while not key.startswith(above[-1][0]):
            above.pop()
        held.append(left[key]._replace(inherited=above[-1][1]))
        above.append((key, left[key].below))
    return gather(held)


def unsaid(lost: int, format: Format) -> Loss:
    """The loss of ``lost`` rules whose names ``format`` cannot hold."""
    return Loss(unfit=lost) if format.unfit else Loss(too_long=lost)


def _above(key: bytes) -> Iterator[bytes]:
    """The keys above ``key``, nearest first."""
    while key := key[: key.rfind(b".", 0, -1) + 1]:
        yield key
