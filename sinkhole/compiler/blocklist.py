"""One list as data: every name that a rule mentions, with all rules of that name merged into one mask.

Merging is ``|`` on masks (:class:`sinkhole.rules.Kind`); :func:`resolve` then works out what each name comes to.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import chain, islice

from sinkhole import names
from sinkhole.bundle import MASK_SHIFT, MASKED
from sinkhole.rules import Kind, Parsed, Rule, Scope, applying, strongest

#: Keys of one kind, sorted or not, as a reader and a guard leave them.
Keys = Mapping[Kind, list[bytes]]


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
#: The same, and something else for what is no entry.
_ENTRY = bytes(255 if code in REDUNDANT else own for code, own in enumerate(OWN))


def _blocked(bits: int) -> bool:
    """Whether the strongest of the applying rules, given as SUBDOMAINS bits, is a block."""
    deciding = strongest(bits)
    return deciding is not None and not deciding[1]


class Resolved:
    """Sorted keys and, in step, their codes; ancestors stand before what is below them.

    ``keys`` may be given as one text of lines: they are taken apart when somebody asks for them.
    """

    def __init__(self, keys: Sequence[bytes] | bytes, codes: bytes | bytearray) -> None:
        self._keys = keys
        self.codes = codes

    @property
    def keys(self) -> Sequence[bytes]:
        if isinstance(self._keys, bytes):
            self._keys = self._keys.split(b"\n")[:-1]
        return self._keys

    @property
    def text(self) -> bytes:
        """The keys, each followed by a line feed."""
        return self._keys if isinstance(self._keys, bytes) else b"".join([key + b"\n" for key in self._keys])

    def entries(self) -> Iterator[tuple[bytes, int]]:
        """(key, code) of the keys that decide something; the most specific one decides for a name."""
        return ((key, code) for key, code in zip(self.keys, self.codes, strict=True) if code not in REDUNDANT)

    @property
    def size(self) -> int:
        """How many :meth:`entries` there are."""
        return len(self.codes) - sum(map(self.codes.count, REDUNDANT))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Resolved) and (self.text, self.codes) == (other.text, other.codes)

    __hash__ = None  # type: ignore[assignment]


class Fold:
    """Works out what the keys of one list come to, in one pass over them in order; it may be given them in pieces.

    It remembers the ancestors of the next key that reach below themselves: (key, reach) of each. ``reach`` are the
    kinds that apply to names below what stands above all of them.
    """

    def __init__(self, reach: int = 0) -> None:
        self._above: list[tuple[bytes, int]] = []
        self._top, self._reach = b"", reach

    def resolve(self, keys: Sequence[bytes], masks: Iterable[int]) -> bytearray:
        """The codes of sorted keys with these masks: the strongest rule that covers a name decides."""
        codes = bytearray()
        add = codes.append
        above, top, reach = self._above, self._top, self._reach
        row = _row(reach)
        for key, mask, following in zip(keys, masks, chain(islice(keys, 1, None), keys[-1:]), strict=True):
            while not key.startswith(top):
                top, reach = above.pop()
                row = _row(reach)
            code, below = row[mask]
            add(code)
            # Of the last key nobody knows yet what follows: it stands in for what does.
            if below != reach and following.startswith(key):
                above.append((top, reach))
                top, reach = key, below
                row = _row(reach)
        self._top, self._reach = top, reach
        return codes

    def masked(self, masks: Mapping[bytes, int]) -> Iterator[tuple[bytes, int]]:
        """(key, code) of the keys of a list with special rules: every kind that an ancestor does not state already."""
        for key in sorted(masks):
            while not key.startswith(self._top):
                self._top, self._reach = self._above.pop()
            if left := masks[key] & ~(self._reach | self._reach >> 1):
                yield key, left << MASK_SHIFT | MASKED
                self._above.append((self._top, self._reach))
                self._top, self._reach = key, self._reach | applying(left, False)


class _Row(dict[int, tuple[int, int]]):
    """What masks come to below ancestors with one reach: mask -> (code, reach below)."""

    def __init__(self, reach: int) -> None:
        self.reach = reach

    def __missing__(self, mask: int) -> tuple[int, int]:
        reach = self.reach
        below, exact = reach | applying(mask, False), reach | applying(mask, True)
        code = _blocked(exact) * Code.EXACT | _blocked(below) * Code.BELOW | _blocked(reach) * Code.INHERITED
        self[mask] = code, below
        return self[mask]


@cache
def _row(reach: int) -> _Row:
    return _Row(reach)


def resolve(masks: Mapping[bytes, int]) -> Resolved:
    """What each key of a list comes to."""
    keys = sorted(masks)
    return Resolved(keys, Fold().resolve(keys, map(masks.__getitem__, keys)))


def patch(
    keys: list[bytes], masks: array[int], codes: bytearray, changed: Mapping[bytes, int], reach: int
) -> tuple[int, int]:
    """Give some of the sorted keys of a list other masks, 0 for none, and work out anew what they come to, and those
    below them where that is another reach. ``reach`` is that of what stands above all of them.

    Returns how many entries came and went; one that changed is both.
    """
    came = went = 0
    moved: list[tuple[bytes, bool]] = []
    for key, mask in changed.items():
        at = bisect_left(keys, key)
        there = at < len(keys) and keys[at] == key
        was = masks[at] if there else 0
        if mask == was:
            continue
        if not mask:
            went += codes[at] not in REDUNDANT
            del keys[at], masks[at], codes[at]
        elif there:
            masks[at] = mask
        else:
            keys.insert(at, key)
            masks.insert(at, mask)
            codes.insert(at, 0)
        moved.append((key, applying(was, False) != applying(mask, False)))
    for key, deep in moved:
        at = bisect_left(keys, key)
        end = bisect_left(keys, key + b"\xff", at) if deep else at + (key in keys[at : at + 1])
        if at < end:
            above = _reach_above(keys, masks, key) | reach
            now = Fold(above).resolve(keys[at:end], masks[at:end])
            for before, after in zip(codes[at:end].translate(_ENTRY), now.translate(_ENTRY), strict=True):
                went += 255 != before != after
                came += 255 != after != before
            codes[at:end] = now
    return came, went


def _reach_above(keys: Sequence[bytes], masks: Sequence[int], key: bytes) -> int:
    """The kinds that the ancestors of ``key`` among ``keys`` state for what is below them."""
    reach = 0
    end = key.find(b".") + 1
    while end < len(key):
        at = bisect_left(keys, key[:end])
        if at < len(keys) and keys[at] == key[:end]:
            reach |= applying(masks[at], False)
        end = key.find(b".", end) + 1
    return reach


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
