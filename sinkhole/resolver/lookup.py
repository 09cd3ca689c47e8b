"""What is known of a name: from the cache, else from an upstream, else from the cache although it is stale.

What is remembered is what upstreams said, within bounds, and is the same for everyone; who may have it is decided
elsewhere. A name always goes to the same upstreams while a cache lives, so those of different routes never share an
entry.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial
from typing import NamedTuple, Protocol

from sinkhole.resolver.answer import STALE, STALE_NXDOMAIN, ede
from sinkhole.resolver.cache import Cache, Entry, failed
from sinkhole.resolver.counters import Counters
from sinkhole.resolver.inspection import Rebinding
from sinkhole.resolver.message import DAY, NXDOMAIN, RD, TTL, Query, Response
from sinkhole.resolver.recorder import Outcome

#: RFC 8767 5: how long a client waits before it gets what is stale, how long until that is asked for again, and the TTL
#: of a stale answer, in seconds.
PATIENCE, RECHECK, STALE_TTL = 1.8, 30.0, 30
#: A name that was asked for as often again is asked for before it ends, when a tenth of its time is left.
POPULAR, LATE = 2, 0.9
#: EDE codes of data that failed its validation (RFC 8914 4): it is not to be had, and not in its former state either.
_BOGUS = frozenset((6, 7, 8, 25))

#: Takes a response, its age in seconds, and where it is from: an upstream, or what is remembered, stale or not.
Done = Callable[[Response, int, Outcome], None]


class Asker(Protocol):
    """What asks upstreams, and joins those who ask the same at once. ``client`` is empty for ourselves."""

    def ask(self, query: Query, done: Callable[[Response], None], client: str) -> None: ...


class Timer(Protocol):
    def cancel(self) -> None: ...


class Handling(NamedTuple):
    """How answers are taken: bounds of their TTL in seconds; whether popular ones are asked for before they end;
    whether the names they lead to are judged; and, when they are not to lead inside, what may (:class:`Rebinding`)."""

    low: int = 0
    high: int = DAY
    prefetch: bool = True
    cloaking: bool = True
    rebinding: tuple[str, ...] | None = None


DEFAULT_HANDLING = Handling()


class Known(NamedTuple):
    """What a :data:`Done` takes, and until when (monotonic) all who ask get the same."""

    response: Response
    age: int
    outcome: Outcome
    until: float = 0.0


def _later(delay: float, call: Callable[[], None]) -> Timer:
    return asyncio.get_running_loop().call_later(delay, call)


class Lookup:
    """Looks names up. ``route`` gives what asks the upstreams of a wire name.

    ``clock`` gives monotonic seconds, ``later`` calls a function after some.
    """

    def __init__(
        self,
        route: Callable[[bytes], Asker],
        cache: Cache,
        handling: Handling = DEFAULT_HANDLING,
        counters: Counters | None = None,
        clock: Callable[[], float] = time.monotonic,
        later: Callable[[float, Callable[[], None]], Timer] = _later,
    ) -> None:
        self.route = route
        self.cache = cache
        self.handling = handling
        self._low, self._high = handling.low, handling.high
        self.counters = counters or Counters()
        self._rebinding = None if handling.rebinding is None else Rebinding(handling.rebinding)
        self._clock = clock
        self._later = later

    def ask(self, query: Query, done: Done, client: str = "") -> None:
        """Call ``done`` once, now or later."""
        if known := self.look(query, self._clock(), done, client):
            done(*known[:3])

    def look(self, query: Query, now: float, done: Done, client: str = "") -> Known | None:
        """What can be said at once; else None, and ``done`` is called once, now or later."""
        key = query.key
        counters = self.counters
        entry = self.cache.get(key, now)
        if entry is None:
            counters.forwarded += 1
            self._forward(query, key, done, client)
            return None
        age, ttl = now - entry.stored, entry.ttl
        if age < ttl:
            counters.cached += 1
            entry.hits += 1
            if age >= LATE * ttl and now >= entry.retry and self._wanted(entry, query):
                entry.retry = now + RECHECK
                counters.prefetched += 1
                self._forward(query, key, None, "")
            return Known(entry.response, int(age), Outcome.CACHED, self._until(entry, age))
        if now < entry.retry:
            counters.cached += 1
            counters.stale += 1
            return Known(stale(entry.response), 0, Outcome.STALE)
        counters.forwarded += 1
        self._refresh(query, key, entry, done, client)
        return None

    def _until(self, entry: Entry, age: float) -> float:
        """Until when a query for what is ``age`` seconds old gets the same and brings about the same. Its TTL changes
        with each second. What may be asked for ahead has its queries counted until one more makes it popular, and is
        looked at each time when it is late, as another answer may be under way."""
        ttl = entry.ttl
        whole = entry.stored + min(int(age) + 1, ttl)
        if not self.handling.prefetch:
            return whole
        if entry.hits + 1 < POPULAR or age >= LATE * ttl:
            return 0.0
        return min(whole, entry.stored + LATE * ttl)

    def _wanted(self, entry: Entry, query: Query) -> bool:
        """Whether what ends soon is asked for before it does."""
        popular = self.handling.prefetch and entry.hits >= POPULAR
        return popular and bool(query.flags & RD) and not entry.failed

    def _refresh(self, query: Query, key: bytes, entry: Entry, done: Done, client: str) -> None:
        """Ask, and give a client what is stale when that takes too long; the question goes on."""
        waiting: list[Done] = [done]

        def give() -> None:
            self.counters.stale += 1
            waiting.pop()(stale(entry.response), 0, Outcome.STALE)

        def late() -> None:
            entry.retry = self._clock() + RECHECK  # those who come now need not wait as long
            give()

        def heard(response: Response, age: int, outcome: Outcome) -> None:
            timer.cancel()
            if waiting and _missing(response):
                give()
            elif waiting:
                waiting.pop()(response, age, outcome)

        timer = self._later(PATIENCE, late)
        self._forward(query, key, heard, client)

    def _forward(self, query: Query, key: bytes, done: Done | None, client: str) -> None:
        self.route(query.name).ask(query, partial(self._heard, query, key, done), client)

    def _heard(self, query: Query, key: bytes, done: Done | None, response: Response) -> None:
        now = self._clock()
        response = self._handled(query, response)
        if query.flags & RD:  # without it an upstream may know less than it would tell others
            former = self.cache.get(key, now)
            if former and _missing(response) and not former.failed:
                former.retry = now + RECHECK
            else:
                self.cache.put(key, response, now)
        if done:
            done(response, 0, Outcome.FORWARDED)

    def _handled(self, query: Query, response: Response) -> Response:
        """What is to be known of an upstream's answer."""
        if response.ttls:
            response = _bounded(response, self._low, self._high)
            if self._rebinding and (instead := self._rebinding.answer(query, response)):
                self.counters.rebound += 1
                return instead
            if response.names and not self.handling.cloaking:
                return response._replace(names=())
        return response


def stale(response: Response) -> Response:
    """A response after its time (RFC 8767 4): with the TTL of 30 seconds and the error that says so."""
    code = STALE_NXDOMAIN if response.rcode == NXDOMAIN else STALE
    records = bytearray(response.records)
    for at in response.ttls:
        TTL.pack_into(records, at, STALE_TTL)
    return response._replace(records=bytes(records), ttl=STALE_TTL, options=ede(code) + response.options)


def _bounded(response: Response, low: int, high: int) -> Response:
    """With every TTL from ``low`` to ``high``, one with the top bit set taken as zero (RFC 2181 8)."""
    octets = response.records
    records = None
    for at in response.ttls:
        ttl = int.from_bytes(octets[at : at + 4])
        if not low <= ttl <= high:
            records = records or bytearray(octets)
            TTL.pack_into(records, at, low if ttl < low or ttl >= 1 << 31 else high)
    if records:
        response = response._replace(records=bytes(records))
    ttl = response.ttl
    return response if low <= ttl <= high else response._replace(ttl=min(max(ttl, low), high))


def _missing(response: Response) -> bool:
    """Whether there is no answer: a failure, but for data that did not pass validation (RFC 4035 5.5)."""
    if not failed(response.rcode):
        return False
    at = 0
    while at + 6 <= len(response.options):
        _, length, code = (int.from_bytes(response.options[at + part : at + part + 2]) for part in (0, 2, 4))
        if code in _BOGUS:
            return False
        at += 4 + length
    return True
