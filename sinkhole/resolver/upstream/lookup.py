"""One question under way: who waits for it, which servers have been asked, and the best that was heard.

Servers are asked in the order of the strategy, some of them at once. One that is late comes round again, as packets get
lost; its first answer is still listened for, as servers get slow and forgers send much before it. One that refuses, or
is not there, is replaced at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sinkhole.resolver.answer import NETWORK_ERROR, NO_REACHABLE_AUTHORITY, failure
from sinkhole.resolver.message import FORMERR, NOTIMP, REFUSED, SERVFAIL, Query, Response
from sinkhole.resolver.upstream.question import Exchange
from sinkhole.resolver.upstream.remote import Remote
from sinkhole.resolver.upstream.strategy import arrange
from sinkhole.resolver.upstream.wheel import Slot

if TYPE_CHECKING:
    from sinkhole.resolver.upstream.forwarder import Forwarder, Waiting

#: The longest that anyone waits, in seconds. No server is asked more than TRIES times (RFC 9520 3.1).
BUDGET, TRIES = 7.0, 3

_UNWILLING = frozenset({FORMERR, SERVFAIL, NOTIMP, REFUSED})


class Lookup:
    """Started by :meth:`advance`; tells ``forwarder.finish`` once."""

    __slots__ = (
        "askers",
        "attempts",
        "best",
        "deadline",
        "domains",
        "forwarder",
        "key",
        "left",
        "loop",
        "query",
        "slot",
        "why",
    )

    def __init__(
        self, forwarder: Forwarder, query: Query, key: bytes, domains: Sequence[bytes], asker: Waiting
    ) -> None:
        self.forwarder = forwarder
        self.query = query
        self.key = key
        self.domains = domains
        self.askers = [asker]
        self.attempts: list[_Attempt] = []
        self.best: Response | None = None
        self.why = NO_REACHABLE_AUTHORITY
        order, up = arrange(forwarder.strategy, forwarder.remotes)
        self.left = list(order)
        self.loop = asyncio.get_running_loop()
        # Each server that is there has its share of the time; when none is, one share has to do for all.
        rounds = -(-max(up, 1) // forwarder.strategy.width)
        self.deadline = self.loop.time() + min(forwarder.timeout * rounds, BUDGET)
        self.slot: Slot | None = None

    def advance(self, number: int) -> None:
        """Ask the next ``number`` servers, and wait; finish when nobody is left to ask or to wait for."""
        now = self.loop.time()
        patience = 0.0
        if now < self.deadline:
            while number and self.left:
                remote = self.left.pop(0)
                attempt = _Attempt(self, remote, now)
                if attempt.start():
                    number -= 1
                    patience = max(patience, min(remote.patience * self.tries(remote), self.forwarder.timeout))
        if self.slot is not None:
            self.slot.discard(self)
        if now >= self.deadline or not self.attempts:
            self.finish(self.best or failure(self.why))
            return
        due = min(now + patience, self.deadline) if patience else self.deadline
        self.slot = self.forwarder.wheel.put(self, due)

    def tries(self, remote: Remote) -> int:
        """How often a server was asked and has not answered."""
        return sum(attempt.remote is remote for attempt in self.attempts) if len(self.attempts) > 1 else 1

    def late(self) -> None:
        """No answer in time: a packet may be lost, so who was asked comes round again."""
        self.why = NO_REACHABLE_AUTHORITY
        for attempt in self.attempts:
            if not attempt.late:
                attempt.late = True
                attempt.remote.doubt()
                if attempt.exchange.late() and self.tries(attempt.remote) < TRIES:
                    self.left.append(attempt.remote)
        self.advance(self.forwarder.strategy.width)

    def heard(self, attempt: _Attempt, response: Response) -> None:
        self.drop(attempt)
        attempt.remote.heard(response, self.loop.time() - attempt.since)
        if response.rcode not in _UNWILLING:
            self.finish(response)
            return
        self.best = response
        self.replace(attempt)

    def failed(self, attempt: _Attempt) -> None:
        """Nobody is there: go on without this server."""
        self.drop(attempt)
        attempt.remote.doubt()
        self.why = NETWORK_ERROR
        self.replace(attempt)

    def replace(self, attempt: _Attempt) -> None:
        """Go on without a server; one that was late has been replaced already."""
        if attempt.remote in self.left:
            self.left.remove(attempt.remote)
        if self.slot is not None and attempt.late and self.attempts:
            return
        self.advance(1)

    def finish(self, response: Response) -> None:
        """Hear no more, and tell."""
        if self.slot is not None:
            self.slot.discard(self)
            self.slot = None
        if self.attempts:
            now = self.loop.time()
            for attempt in tuple(self.attempts):
                attempt.remote.outrun(now - attempt.since)
                attempt.exchange.cancel()
                self.drop(attempt)
        self.forwarder.finish(self, response)

    def drop(self, attempt: _Attempt) -> None:
        """Forget an attempt. It and its exchange let go of each other, or only a search for cycles would free them."""
        self.attempts.remove(attempt)
        del attempt.exchange


class _Attempt:
    """One server asked once. ``late``: so long ago that others are asked as well."""

    __slots__ = ("exchange", "late", "lookup", "remote", "since")

    exchange: Exchange

    def __init__(self, lookup: Lookup, remote: Remote, now: float) -> None:
        self.lookup = lookup
        self.remote = remote
        self.since = now
        self.late = False

    def start(self) -> bool:
        """Whether it could be asked."""
        lookup = self.lookup
        try:
            self.exchange = self.remote.transport.ask(lookup.query, self)
        except OSError:
            self.remote.doubt()
            lookup.why = NETWORK_ERROR
            return False
        lookup.attempts.append(self)
        return True

    def heard(self, response: Response) -> None:
        self.lookup.heard(self, response)

    def failed(self) -> None:
        self.lookup.failed(self)
