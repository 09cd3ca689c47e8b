"""What upstreams said, remembered for as long as they allow and within a budget of bytes.

Time is an argument (monotonic seconds), so a clock that jumps ages nothing.
"""

from __future__ import annotations

from collections import OrderedDict

from sinkhole.resolver.message import Response

#: What an entry costs beside its octets, measured with tracemalloc on CPython 3.11: dict slots, tuples, headers.
OVERHEAD = 700


class Cache:
    """Responses by key, the least recently used dropped when ``budget`` bytes are exceeded."""

    def __init__(self, budget: int = 16 << 20) -> None:
        self.budget = budget
        self.size = 0
        self._entries: OrderedDict[bytes, tuple[float, Response]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: bytes, now: float) -> tuple[Response, int] | None:
        """The response and its age in whole seconds, or ``None``."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        stored, response = entry
        if now - stored >= response.ttl:
            self._drop(key)
            return None
        self._entries.move_to_end(key)
        return response, int(now - stored)

    def put(self, key: bytes, response: Response, now: float) -> None:
        """Remember ``response`` if its TTL allows."""
        if key in self._entries:
            self._drop(key)
        cost = _cost(key, response)
        if not response.ttl or cost > self.budget:
            return
        self._entries[key] = now, response
        self.size += cost
        while self.size > self.budget:
            self._drop(next(iter(self._entries)))

    def _drop(self, key: bytes) -> None:
        self.size -= _cost(key, self._entries.pop(key)[1])


def _cost(key: bytes, response: Response) -> int:
    return OVERHEAD + len(key) + len(response.records) + len(response.options) + 40 * len(response.ttls)
