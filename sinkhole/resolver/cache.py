"""What upstreams said, remembered for as long as they allow, and some time beyond, within a budget of bytes.

Time is an argument (monotonic seconds), so a clock that jumps ages nothing.
"""

from __future__ import annotations

from collections import OrderedDict

from sinkhole.resolver.message import NOERROR, NXDOMAIN, Response

#: What an entry costs beside its octets, measured with tracemalloc on CPython 3.11: dict slots, tuples, headers.
OVERHEAD = 600
_NAME = 50  # octets of one name's header and slot


class Entry:
    """A response, what it costs in bytes, when it was ``stored``, how many ``hits`` it had, and the instant before
    which it is not to be asked for again (``retry``)."""

    __slots__ = ("cost", "hits", "response", "retry", "stored")

    def __init__(self, response: Response, cost: int, stored: float) -> None:
        self.response = response
        self.cost = cost
        self.stored = stored
        self.hits = 0
        self.retry = stored


class Cache:
    """Responses by key, the least recently used dropped when ``budget`` bytes are exceeded.

    What is neither a failure nor forbidden to remember stays for ``stale`` seconds after its time (RFC 8767).
    """

    def __init__(self, budget: int = 16 << 20, stale: float = 0) -> None:
        self.budget = budget
        self.stale = stale
        self.size = 0
        self._entries: OrderedDict[bytes, Entry] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: bytes, now: float) -> Entry | None:
        """The entry, which may be stale."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        beyond = now - entry.stored - entry.response.ttl
        if beyond >= 0 and (beyond >= self.stale or failed(entry.response)):
            self._drop(key)
            return None
        self._entries.move_to_end(key)
        return entry

    def put(self, key: bytes, response: Response, now: float) -> None:
        """Remember ``response`` if its TTL allows."""
        entries = self._entries
        if key in entries:
            self._drop(key)
        cost = _cost(key, response)
        if not response.ttl or cost > self.budget:
            return
        entries[key] = Entry(response, cost, now)
        self.size += cost
        while self.size > self.budget:
            self.size -= entries.popitem(last=False)[1].cost

    def _drop(self, key: bytes) -> None:
        self.size -= self._entries.pop(key).cost


def failed(response: Response) -> bool:
    """Whether a response says nothing about its name."""
    return response.rcode not in (NOERROR, NXDOMAIN)


def _cost(key: bytes, response: Response) -> int:
    octets = len(key) + len(response.records) + len(response.options)
    names = sum(_NAME + len(name) for name in response.names) if response.names else 0
    return OVERHEAD + octets + 40 * len(response.ttls) + names
