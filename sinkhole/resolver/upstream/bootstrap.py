"""The addresses of upstreams that are given by host name.

They are asked from plain servers, never through our own policy, so that no list can cut us off. Addresses are kept for
as long as they may be, at least :data:`LEAST`; the last good ones stay in use while new ones are asked for, and for as
long as nobody can tell.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from ipaddress import ip_address
from typing import Protocol

from sinkhole.names import to_wire
from sinkhole.resolver.message import AAAA, IN, NOERROR, QUESTION, RD, A, Query, Response

#: Seconds that addresses are kept at least, and after which a failure is tried again; the most addresses of a host.
LEAST, AGAIN, MOST = 60, 5, 8


class Resolver(Protocol):
    """:class:`~sinkhole.resolver.upstream.forwarder.Forwarder`."""

    def ask(self, query: Query, done: Done) -> None: ...


class Done(Protocol):
    def __call__(self, response: Response) -> object: ...


class Host:
    """One host name and its addresses; called for them."""

    def __init__(self, name: str, resolver: Resolver) -> None:
        self.name = to_wire(name)
        self.resolver = resolver
        self._known: Sequence[str] = ()
        self._until = 0.0
        self._asking: asyncio.Task[None] | None = None

    async def __call__(self) -> Sequence[str]:
        """Raises OSError when there never were any."""
        if asyncio.get_running_loop().time() >= self._until:
            if not self._asking:
                self._asking = asyncio.get_running_loop().create_task(self._ask())
            if not self._known:
                await asyncio.shield(self._asking)
        if not self._known:
            raise OSError("its host name has no address")
        return self._known

    async def _ask(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            answers = await asyncio.gather(*(self._query(qtype) for qtype in (A, AAAA)))
            found = [address for response, qtype in answers for address in addresses(response, qtype)]
            self._until = loop.time() + AGAIN
            if found:
                self._known = found[:MOST]
                self._until = loop.time() + max(
                    min(response.ttl for response, _ in answers if response.counts[0]), LEAST
                )
        finally:
            self._asking = None

    async def _query(self, qtype: int) -> tuple[Response, int]:
        answer: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        question = self.name + QUESTION.pack(qtype, IN)

        def done(response: Response) -> None:
            if not answer.done():
                answer.set_result(response)

        self.resolver.ask(Query(0, RD, NOERROR, question, self.name, qtype), done)
        return await answer, qtype


def addresses(response: Response, qtype: int) -> list[str]:
    """The addresses of type ``qtype`` in the answers; a TTL stands behind type and class (RFC 1035 3.2.1)."""
    size = 4 if qtype == A else 16
    return [
        str(ip_address(response.records[at + 6 : at + 6 + size]))
        for at in response.ttls[: response.counts[0]]
        if response.records[at - 4 : at] == QUESTION.pack(qtype, IN)
    ]
