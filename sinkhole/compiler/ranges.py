"""Keys in ranges: a list of a million is merged some ten thousand keys at a time, which stay in the processor's cache.

The bounds are fixed, so what is kept of one source fits what is kept of any other. They are chosen so that real lists
fall into parts of like size, and made-up ones, which are below ``test``; a list where they do not is only slower.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import groupby, islice, pairwise
from operator import eq

_OCTETS = [bytes((octet,)) for octet in b"-0123456789abcdefghijklmnopqrstuvwxyz"]
_LARGE = (b"moc.", b"ten.", b"gro.", b"ofni.", b"zyx.", b"ur.", b"ed.", b"ku.", b"rb.", b"pj.", b"nc.", b"tset.")
#: The first key of each range but the first.
BOUNDS = sorted(
    {
        *_OCTETS,
        *(top + octet for top in _LARGE for octet in _OCTETS),
        *(_LARGE[0] + octet + (b"%c" % second) for octet in _OCTETS for second in b"0aeimqu"),
    }
)
COUNT = len(BOUNDS) + 1

#: Keys of each range, with a line feed between two.
Ranges = Sequence[bytes]


def cut(keys: Sequence[bytes]) -> list[bytes]:
    """Sorted keys in ranges, each key once."""
    places = [0, *(bisect_left(keys, bound) for bound in BOUNDS), len(keys)]
    return [b"\n".join(_once(keys[at:end])) for at, end in pairwise(places)]


def _once(keys: Sequence[bytes]) -> Sequence[bytes]:
    return [key for key, _ in groupby(keys)] if any(map(eq, keys, islice(keys, 1, None))) else keys


def count(ranges: Ranges) -> int:
    """How many keys there are."""
    return sum(text.count(b"\n") + 1 for text in ranges if text)


def keys_in(text: bytes) -> list[bytes]:
    """The keys of one range."""
    return text.split(b"\n") if text else []


def lines_in(text: bytes) -> list[bytes]:
    """The keys of a text that has a line feed behind each."""
    return text.split(b"\n")[:-1]


def range_of(key: bytes) -> int:
    """The number of the range that a key is in."""
    return bisect_right(BOUNDS, key)
