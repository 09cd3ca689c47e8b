"""The servers of one route, and the questions under way to them: identical ones share one lookup.

Nobody waits who has no room (:mod:`~sinkhole.resolver.upstream.crowd`), and nobody longer than the budget.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Sequence

from sinkhole.resolver.answer import NETWORK_ERROR, NO_REACHABLE_AUTHORITY, failure
from sinkhole.resolver.message import RD, Query, Response
from sinkhole.resolver.upstream.crowd import Crowd, Limits
from sinkhole.resolver.upstream.lookup import Lookup
from sinkhole.resolver.upstream.remote import Remote, Server
from sinkhole.resolver.upstream.strategy import STRATEGIES
from sinkhole.resolver.upstream.transports import Transports
from sinkhole.resolver.upstream.wheel import Wheel

log = logging.getLogger(__name__)

#: Seconds between two lines of the log about a loop.
_REMIND = 60.0

Done = Callable[[Response], object]


#: Whom to tell, and the client who asked; empty for ourselves.
Waiting = tuple[Done, str]


class Forwarder:
    """Asks ``servers``. ``timeout`` in seconds is each server's share of the total, which is at most
    :data:`~sinkhole.resolver.upstream.lookup.BUDGET`; ``strategy`` is a word of
    :data:`~sinkhole.resolver.upstream.strategy.STRATEGIES`.

    Everything else is for those who have several: ``crowd`` counts who waits for any of them and ``limit`` is the bound
    of its own without one; ``token`` marks the probes of this resolver, ``domain`` (wire) is where they lie.
    """

    def __init__(
        self,
        servers: Sequence[Server],
        timeout: float = 2.0,
        limit: int = 10_000,
        *,
        strategy: str = "ordered",
        transports: Transports | None = None,
        crowd: Crowd | None = None,
        token: str = "",
        domain: bytes = b"",
    ) -> None:
        self.timeout = timeout
        self.strategy = STRATEGIES[strategy]
        self.crowd = crowd or Crowd(Limits(total=limit))
        token = token or secrets.token_hex(16)
        self._token = token.encode()
        make = transports or Transports()
        self.remotes = [Remote(server, make(server), token, domain) for server in servers]
        self.wheel = Wheel()
        self._lookups: dict[bytes, Lookup] = {}
        self._quiet_until = 0.0

    @property
    def waiting(self) -> int:
        """How many wait."""
        return sum(len(lookup.askers) for lookup in self._lookups.values())

    @property
    def strays(self) -> int:
        """How many packets came that answered nothing."""
        return sum(remote.transport.strays for remote in self.remotes)

    def route(self, name: bytes) -> Forwarder:
        """Itself: alone, it is the route of every name."""
        return self

    def ask(self, query: Query, done: Done, client: str = "") -> None:
        """Call ``done`` once: with an upstream's answer, or SERVFAIL with EDE 22 or 23 when none can be had.

        A failure that says nothing about the name has a TTL of 0.
        """
        crowd = self.crowd
        if self._token in query.name:
            self._looped(client)
        elif crowd.enter(client):
            key = query.key + (b"\1" if query.flags & RD else b"\0")
            if lookup := self._lookups.get(key):
                lookup.askers.append((done, client))
                return
            if crowd.start(query.name):
                self._lookups[key] = lookup = Lookup(self, query, key, (done, client))
                lookup.advance(self.strategy.width)
                return
            crowd.leave(client)
        done(failure(NO_REACHABLE_AUTHORITY)._replace(ttl=0))

    def finish(self, lookup: Lookup, response: Response) -> None:
        del self._lookups[lookup.key]
        crowd = self.crowd
        crowd.end(lookup.query.name)
        for _, client in lookup.askers:
            crowd.leave(client)
        for done, _ in lookup.askers:
            done(response)

    def _looped(self, client: str) -> None:
        """A probe of ours that somebody forwarded to us. Its server is told SERVFAIL, and so counts as not there."""
        now = asyncio.get_running_loop().time()
        if now >= self._quiet_until:
            self._quiet_until = now + _REMIND
            log.error("forwarding loop: a query of our own came back from %s; an upstream forwards to us", client)

    def close(self) -> None:
        """Answer all who wait with SERVFAIL, and end every connection."""
        for lookup in list(self._lookups.values()):
            lookup.finish(failure(NETWORK_ERROR))
        self.wheel.close()
        for remote in self.remotes:
            remote.close()
