"""One list as data: every name that a rule mentions, with all rules of that name merged into one mask.

Merging is ``|`` on masks (:class:`sinkhole.rules.Kind`); :func:`resolve` then works out what each name comes to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain, compress, count, islice

from sinkhole import names
from sinkhole.bundle import MASK_SHIFT, MASKED
from sinkhole.rules import Kind, Parsed, Rule, Scope, applying, strongest

#: Keys of one kind, sorted or not, as a reader and a guard leave them.
Keys = Mapping[Kind, list[bytes]]

#: Texts of sorted keys with a line feed behind each, and their codes.
Pieces = Sequence[tuple[bytes, bytes | bytearray]]


def keys_of(parsed: Parsed, meant: Callable[[Kind], Kind] = lambda kind: kind) -> dict[Kind, list[bytes]]:
    """The keys of all names by kind, as they come; ``meant`` gives the kind that one stands for."""
    keys: dict[Kind, list[bytes]] = {}
    for kind, texts in parsed.bulk.items():
        found = keys.setdefault(meant(kind), [])
        for text in texts:
            found += text[::-1].split(b"\n")[1:]
    for kind, names_ in parsed.single.items():
        keys.setdefault(meant(kind), []).extend(map(names.key, names_))
    return keys


@dataclass
class Blocklist:
    """``masks``: key -> merged mask of its rules."""

    masks: dict[bytes, int] = field(default_factory=dict)

    def merge(self, keys: Keys) -> None:
        """Add the rules of some sources."""
        for kind, found in keys.items():
            mask = kind.mask
            stated = dict.fromkeys(found, mask)
            if self.masks:
                stated.update({key: self.masks[key] | mask for key in self.masks.keys() & stated.keys()})
                self.masks.update(stated)
            else:
                self.masks = stated

    def take_back(self, rule: Rule) -> None:
        """Remove what every source said in the kind of ``rule`` about its name."""
        found = names.key(rule.name.encode())
        left = self.masks.get(found, 0) & ~rule.kind.mask
        if left:
            self.masks[found] = left
        else:
            self.masks.pop(found, None)


class Code:
    """What a key comes to, as bits: itself blocked, everything below blocked, and what it would inherit."""

    EXACT, BELOW, INHERITED = 1, 2, 4


#: Codes of a key that says nothing beyond what its ancestors say already.
REDUNDANT = frozenset((0, Code.EXACT | Code.BELOW | Code.INHERITED))


#: A code without what the key would inherit: that of an entry.
OWN = bytes(code & ~Code.INHERITED for code in range(256))


def _blocked(bits: int) -> bool:
    """Whether the strongest of the applying rules, given as SUBDOMAINS bits, is a block."""
    deciding = strongest(bits)
    return deciding is not None and not deciding[1]


class Resolved:
    """Sorted keys and, in step, their codes; ancestors stand before what is below them.

    They may be in pieces, each of them keys with a line feed behind each, and codes: those are put together and taken
    apart when somebody asks for them.
    """

    def __init__(self, keys: Sequence[bytes], codes: bytes | bytearray) -> None:
        self.keys, self.codes = keys, codes
        self._pieces: Callable[[], Pieces] = lambda: [(b"".join([key + b"\n" for key in self.keys]), self.codes)]

    @classmethod
    def of(cls, pieces: Callable[[], Pieces]) -> Resolved:
        """What is in pieces that are made when they are needed."""
        resolved = cls.__new__(cls)
        resolved._pieces = pieces
        return resolved

    @property
    def pieces(self) -> Pieces:
        return self._pieces()

    @property
    def text(self) -> bytes:
        """The keys, each followed by a line feed."""
        return b"".join([text for text, _ in self.pieces])

    @cached_property
    def keys(self) -> Sequence[bytes]:
        return self.text.split(b"\n")[:-1]

    @cached_property
    def codes(self) -> bytes | bytearray:
        return b"".join([codes for _, codes in self.pieces])

    def entries(self) -> Iterator[tuple[bytes, int]]:
        """(key, code) of the keys that decide something; the most specific one decides for a name."""
        return ((key, code) for key, code in zip(self.keys, self.codes, strict=True) if code not in REDUNDANT)

    @property
    def size(self) -> int:
        """How many :meth:`entries` there are."""
        return sum(len(codes) - sum(map(codes.count, REDUNDANT)) for _, codes in self.pieces)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Resolved) and (self.keys, self.codes) == (other.keys, other.codes)

    __hash__ = None  # type: ignore[assignment]


class _Row(dict[int, tuple[int, int]]):
    """What tallies come to below ancestors with one reach: tally -> (code, reach below)."""

    def __init__(self, reach: int, mask: Callable[[int], int]) -> None:
        self.reach, self.mask = reach, mask
        self.codes = _Codes(self)

    def __missing__(self, tally: int) -> tuple[int, int]:
        reach, mask = self.reach, self.mask(tally)
        below, exact = reach | applying(mask, False), reach | applying(mask, True)
        code = _blocked(exact) * Code.EXACT | _blocked(below) * Code.BELOW | _blocked(reach) * Code.INHERITED
        self[tally] = code, below
        return self[tally]


class _Codes(dict[int, int]):
    """The codes of a row alone."""

    def __init__(self, row: _Row) -> None:
        self.row = row

    def __missing__(self, tally: int) -> int:
        self[tally] = self.row[tally][0]
        return self[tally]


class Rows(dict[int, _Row]):
    """The row of each reach; ``mask`` gives the mask of a tally, which is one itself when nobody says otherwise."""

    def __init__(self, mask: Callable[[int], int] = lambda tally: tally) -> None:
        self.mask = mask

    def __missing__(self, reach: int) -> _Row:
        self[reach] = _Row(reach, self.mask)
        return self[reach]


class Fold:
    """Works out what the keys of one list come to, in one pass over them in order; it may be given them in pieces.

    It remembers the ancestors of the next key that reach below themselves: (key, reach) of each. ``reach`` are the
    kinds that apply to names below what stands above all of them.
    """

    def __init__(self, rows: Rows | None = None, reach: int = 0) -> None:
        self._rows = Rows() if rows is None else rows
        self._above: list[tuple[bytes, int]] = []
        self._top, self._reach = b"", reach
        self._least = reach

    def resolve(self, keys: Sequence[bytes], tallies: Sequence[int]) -> bytearray:
        """The codes of sorted keys with these tallies: the strongest rule that covers a name decides.

        What is below a key follows it at once. So all are worked out as if nothing stood above them, and then those
        from a key on that the next one is below, as far as any reaches."""
        codes = bytearray(map(self._rows[self._least].codes.__getitem__, tallies))
        above, top, reach, rows = self._above, self._top, self._reach, self._rows
        row, at, last = rows[reach], 0, len(keys) - 1
        parents = compress(count(), map(bytes.startswith, islice(keys, 1, None), keys))
        for first in chain((0,), parents, (last,)):  # of the last key nobody knows yet what follows
            at = max(at, first)
            while at <= last:
                key = keys[at]
                while top and not key.startswith(top):
                    top, reach = above.pop()
                    row = rows[reach]
                if not top and at > first:
                    break
                codes[at], below = row[tallies[at]]
                if below != reach:
                    above.append((top, reach))
                    top, reach = key, below
                    row = rows[reach]
                at += 1
        self._top, self._reach = top, reach
        return codes

    def masked(self, tallies: Mapping[bytes, int]) -> Iterator[tuple[bytes, int]]:
        """(key, code) of the keys of a list with special rules: every kind that an ancestor does not state already."""
        for key in sorted(tallies):
            while not key.startswith(self._top):
                self._top, self._reach = self._above.pop()
            if left := self._rows.mask(tallies[key]) & ~(self._reach | self._reach >> 1):
                yield key, left << MASK_SHIFT | MASKED
                self._above.append((self._top, self._reach))
                self._top, self._reach = key, self._reach | applying(left, False)


def resolve(masks: Mapping[bytes, int]) -> Resolved:
    """What each key of a list comes to."""
    keys = sorted(masks)
    return Resolved(keys, Fold().resolve(keys, list(map(masks.__getitem__, keys))))


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
