"""One question under way: who waits for it, which servers have been asked, and the best that was heard.

Servers are asked in the order of the strategy, some of them at once. One that is late comes round again, as packets get
lost; its first answer is still listened for, as servers get slow and forgers send much before it. One that refuses, or
is not there, is replaced at once.
"""

from __future__ import annotations

from time import monotonic  # which is the time of the event loop, without finding that
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
        "forwarder",
        "key",
        "left",
        "query",
        "slot",
        "why",
    )

    def __init__(self, forwarder: Forwarder, query: Query, key: bytes, asker: Waiting) -> None:
        self.forwarder = forwarder
        self.query = query
        self.key = key
        self.askers = [asker]
        self.attempts: list[_Attempt] = []
        self.best: Response | None = None
        self.why = NO_REACHABLE_AUTHORITY
        self.slot: Slot | None = None
        order, up = arrange(forwarder.strategy, forwarder.remotes)
        self.left = list(order)
        # Each server that is there has its share of the time; when none is, one share has to do for all.
        time = forwarder.timeout * -(-up // forwarder.strategy.width) if up > 1 else forwarder.timeout
        self.deadline = monotonic() + (time if time < BUDGET else BUDGET)

    def advance(self, number: int) -> None:
        """Ask the next ``number`` servers, and wait; finish when nobody is left to ask or to wait for."""
        now = monotonic()
        due = deadline = self.deadline
        if now < deadline:
            patience = 0.0
            while number and self.left:
                remote = self.left.pop(0)
                attempt = _Attempt(self, remote, now)
                try:
                    attempt.exchange = remote.transport.ask(self.query, attempt)
                except OSError:
                    remote.doubt()
                    self.why = NETWORK_ERROR
                    continue
                number -= 1
                self.attempts.append(attempt)
                patience = max(patience, remote.patience * self.tries(remote))
            if patience:
                due = min(now + min(patience, self.forwarder.timeout), deadline)
        if self.slot is not None:
            self.slot.discard(self)
        if now >= deadline or not self.attempts:
            self.finish(self.best or failure(self.why))
            return
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
        attempt.remote.heard(response, monotonic() - attempt.since)
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
            now = monotonic()
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

    def heard(self, response: Response) -> None:
        self.lookup.heard(self, response)

    def failed(self) -> None:
        self.lookup.failed(self)
