"""What upstreams said, remembered for as long as they allow, and some time beyond, within a budget of bytes.

Time is an argument (monotonic seconds), so a clock that jumps ages nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice, product

from sinkhole.resolver.message import NOERROR, NXDOMAIN, Response

#: What an entry costs beside its octets on CPython 3.11: slots of a dict that entries come to and go from, numbers,
#: headers, and what is lost between them.
OVERHEAD = 330
#: What a form costs that is not shared, beside its octets: itself, a TTL in it, and some octets in it.
_FORM, _TTL, _PART = 220, 40, 60
#: What is to go next is looked for at once for so many entries, and a share of all.
_SOME, _SHARE = 64, 64

#: All of a response but its records and TTL, and what it costs.
_Form = tuple[int, bool, tuple[int, int, int], tuple[int, ...], bytes, bool, tuple[bytes, ...], tuple[bytes, ...], int]
#: The forms of nearly all responses, which share them: some addresses of the asked name and nothing else.
_FORMS: dict[tuple[object, ...], _Form] = {
    form[:-1]: form
    for authentic, size, count in product((False, True), (16, 28), range(1, 9))
    for form in [(NOERROR, authentic, (count, 0, 0), tuple(range(6, 6 + count * size, size)), b"", False, (), (), 0)]
}


class Entry:
    """A response, when it was ``stored``, how many ``hits`` it had, and the instant before which it is not to be asked
    for again (``retry``)."""

    __slots__ = ("_form", "_records", "hits", "retry", "stored", "ttl")

    def __init__(self, response: Response, stored: float) -> None:
        rcode, authentic, counts, self._records, ttls, self.ttl, options, truncated, shorter, names = response
        form = rcode, authentic, counts, ttls, options, truncated, shorter, names
        self._form: _Form = _FORMS.get(form) or (*form, _cost(ttls, (options, *shorter, *names)))
        self.stored = self.retry = stored
        self.hits = 0

    @property
    def response(self) -> Response:
        """The response, put together anew."""
        rcode, authentic, counts, ttls, options, truncated, shorter, names, _ = self._form
        return Response(rcode, authentic, counts, self._records, ttls, self.ttl, options, truncated, shorter, names)

    @property
    def failed(self) -> bool:
        return failed(self._form[0])

    @property
    def size(self) -> int:
        """What it costs, in octets, without its key."""
        return OVERHEAD + len(self._records) + self._form[-1]


class Cache:
    """Responses by key, the least recently used dropped when ``budget`` bytes are exceeded.

    What is neither a failure nor forbidden to remember stays for ``stale`` seconds after its time (RFC 8767).
    """

    def __init__(self, budget: int = 4 << 20, stale: float = 0) -> None:
        self.budget = budget
        self.stale = stale
        self.size = 0
        self._entries: dict[bytes, Entry] = {}  # the least recently used first
        self._due: dict[bytes, None] = {}  # some of the first, the very first last

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: bytes, now: float) -> Entry | None:
        """The entry, which may be stale."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        beyond = now - entry.stored - entry.ttl
        if beyond >= 0 and (beyond >= self.stale or entry.failed):
            self._drop(key)
            return None
        del self._entries[key]
        self._entries[key] = entry
        self._due.pop(key, None)
        return entry

    def put(self, key: bytes, response: Response, now: float) -> None:
        """Remember ``response`` if its TTL allows."""
        if key in self._entries:
            self._drop(key)
        if not response.ttl:
            return
        entry = Entry(response, now)
        size = len(key) + entry.size
        if size > self.budget:
            return
        self._entries[key] = entry
        self.size += size
        while self.size > self.budget:
            if not self._due:  # a dict passes over what was taken out of it, so this is not done for each
                first = islice(self._entries, _SOME + len(self._entries) // _SHARE)
                self._due = dict.fromkeys(reversed(list(first)))
            self._drop(next(reversed(self._due)))

    def _drop(self, key: bytes) -> None:
        self._due.pop(key, None)
        self.size -= len(key) + self._entries.pop(key).size


def failed(rcode: int) -> bool:
    """Whether a response with this rcode says nothing about its name."""
    return rcode not in (NOERROR, NXDOMAIN)


def _cost(ttls: Sequence[int], parts: Sequence[bytes]) -> int:
    """What a form costs that is not shared."""
    return _FORM + _TTL * len(ttls) + sum(map(len, parts)) + _PART * len(parts)
