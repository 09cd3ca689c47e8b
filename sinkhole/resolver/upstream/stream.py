"""Questions over TCP and TLS: few connections, kept and shared, with many questions under way on each (RFC 7766 6.2).

A connection is made when it is needed, matched by ids of its own, and closed when it has brought nothing for a while,
whatever waits on it. What waits on a connection that the server ends is asked once more on another one (RFC 7766
6.2.4), and a server that ends every connection after one answer gets one question at a time.
"""

from __future__ import annotations

import asyncio
import secrets
import ssl
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import cast

from sinkhole.resolver.message import BadResponse, Query
from sinkhole.resolver.upstream.question import Asker, packet, read_any_case

#: Questions under way on one connection, and connections to one server.
DEPTH, CONNECTIONS = 256, 32
#: Seconds: for one address to take a connection, for that to bring anything, and after which silence means it is dead.
CONNECT, IDLE, SILENCE = 2.0, 10.0, 0.9
#: Seconds for which a server that ended a connection over its second question is asked one question on each.
SINGLY = 60.0

#: The literal addresses of a server, best first. Raises OSError when there are none.
Addresses = Callable[[], Awaitable[Sequence[str]]]


def literally(host: str) -> Addresses:
    """Of a server that is given by its address."""

    async def addresses() -> Sequence[str]:
        return (host,)

    return addresses


class Stream:
    """The connections to one server. With ``trust`` they are TLS, verified for ``name`` (a host name or an address)."""

    def __init__(
        self, addresses: Addresses, port: int, trust: ssl.SSLContext | None = None, name: str | None = None
    ) -> None:
        self.addresses = addresses
        self.port = port
        self.trust = trust
        self.name = name
        self.strays = 0
        self.address = ""  # the one that took the last connection
        self._connections: list[_Connection] = []
        self._singly_until = 0.0

    def ask(self, query: Query, asker: Asker, question: bytes = b"") -> Exchange:
        """``question`` is how to spell it, else lower case. Raises OSError when too much is under way."""
        exchange = Exchange(query, question or query.name + query.question[-4:], asker)
        if not self.dispatch(exchange):
            raise OSError("too much is under way")
        return exchange

    def dispatch(self, exchange: Exchange) -> bool:
        """Put it on a connection; whether there was room."""
        singly = asyncio.get_running_loop().time() < self._singly_until
        for connection in self._connections:
            if connection.open and len(connection.waiting) < DEPTH and not singly:
                connection.take(exchange)
                return True
        if len(self._connections) >= CONNECTIONS:
            return False
        connection = _Connection(self)
        self._connections.append(connection)
        connection.take(exchange)
        return True

    def ask_singly(self) -> None:
        """The server takes one question on each connection."""
        self._singly_until = asyncio.get_running_loop().time() + SINGLY

    def forget(self, connection: _Connection) -> None:
        if connection in self._connections:
            self._connections.remove(connection)

    def close(self) -> None:
        for connection in list(self._connections):
            connection.abort()


class Exchange:
    """One question under way on a connection. ``kept_case``: whether the answer echoed the spelling.

    ``asker`` is None when it was cancelled, which may happen while another one of its connection is told something.
    """

    __slots__ = ("asker", "connection", "ident", "kept_case", "query", "question", "since", "tries")

    def __init__(self, query: Query, question: bytes, asker: Asker) -> None:
        self.query = query
        self.question = question
        self.asker: Asker | None = asker
        self.kept_case = True
        self.tries = 0
        self.ident = 0
        self.since = 0.0
        self.connection: _Connection | None = None

    def late(self) -> bool:
        """On a connection that is dead it is asked once more on another one."""
        if self.connection:
            self.connection.check(self.since)
        return False

    def cancel(self) -> None:
        """Hear no more of it; its id stays taken until the answer comes."""
        self.asker = None
        if connection := self.connection:
            self.connection = None
            connection.waiting[self.ident] = None
            connection.check(self.since)


class _Connection(asyncio.Protocol):
    """``waiting`` holds, by id, what is asked and not answered; None where nobody wants to know any more."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.waiting: dict[int, Exchange | None] = {}
        self.answered = 0
        self.usable = True
        self.heard_at = 0.0
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = self._loop.create_task(self._connect())
        self._timer: asyncio.TimerHandle | None = None

    @property
    def open(self) -> bool:
        """Whether it is being made, or can be written to."""
        return self.usable and not (self._transport and self._transport.is_closing())

    def take(self, exchange: Exchange) -> None:
        if not self.waiting:
            self._watch()
        while (ident := secrets.randbits(16)) in self.waiting:
            pass
        exchange.ident = ident
        exchange.since = self._loop.time()
        exchange.connection = self
        exchange.tries += 1
        self.waiting[ident] = exchange
        if self._transport:
            self._write(exchange)

    def check(self, since: float) -> None:
        """Somebody waited in vain since then: a connection that brought nothing to anyone either is dead."""
        if self._transport and self.heard_at < since < self._loop.time() - SILENCE:
            self.abort()

    async def _connect(self) -> None:
        """To the first address that takes it, starting with the one that did so last."""
        stream = self.stream
        try:
            for address in sorted(await stream.addresses(), key=lambda address: address != stream.address):
                with suppress(OSError):  # also a timeout, and a certificate that is not verified
                    async with asyncio.timeout(CONNECT):
                        await self._loop.create_connection(
                            lambda: self, address, stream.port, ssl=stream.trust, server_hostname=stream.name
                        )
                    stream.address = address
                    return
        except OSError:  # no address
            return
        finally:
            self._task = None
            if not self._transport:
                self.connection_lost(None)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if not self.usable:  # nobody wants it any more
            self._transport.abort()
            return
        self.heard_at = self._loop.time()
        self._watch()
        for exchange in self.waiting.values():
            if exchange:
                self._write(exchange)

    def _write(self, exchange: Exchange) -> None:
        assert self._transport
        asked = packet(exchange.ident, exchange.query, exchange.question, padded=self.stream.trust is not None)
        self._transport.write(len(asked).to_bytes(2) + asked)

    def data_received(self, data: bytes) -> None:
        self.heard_at = self._loop.time()
        self._watch()
        buffer = self._buffer
        buffer += data
        while len(buffer) >= 2 and len(buffer) >= (end := 2 + int.from_bytes(buffer[:2])):
            answer = bytes(buffer[2:end])
            del buffer[:end]
            ident = int.from_bytes(answer[:2])
            if len(answer) < 2 or ident not in self.waiting:  # this is not what a resolver sends
                self.stream.strays += 1
                self.abort()
                return
            self.answered += 1
            if exchange := self.waiting.pop(ident):
                self._answer(exchange, answer)

    def _answer(self, exchange: Exchange, answer: bytes) -> None:
        exchange.connection = None
        asker = exchange.asker
        assert asker
        try:
            response, exchange.kept_case = read_any_case(answer, exchange.ident, exchange.question)
        except BadResponse:
            self.stream.strays += 1
            asker.failed()
        else:
            asker.heard(response)

    def connection_lost(self, exc: Exception | None) -> None:
        """The server, or :meth:`abort`, ended it."""
        by_server, self.usable = self.usable, False
        self.stream.forget(self)
        if self._timer:
            self._timer.cancel()
        waiting = [exchange for exchange in self.waiting.values() if exchange]
        # The first answer may not have reached us: ending a connection with queries unread resets it.
        several = by_server and self._transport is not None and self.answered + len(self.waiting) > 1 >= self.answered
        self.waiting.clear()
        if several and waiting:
            self.stream.ask_singly()
        again = several or self.answered
        for exchange in waiting:
            exchange.connection = None
        for exchange in waiting:
            if exchange.asker and not (again and exchange.tries < 2 and self.stream.dispatch(exchange)):
                exchange.asker.failed()

    def abort(self) -> None:
        self.usable = False
        self.stream.forget(self)
        if self._task:
            self._task.cancel()
        elif self._transport:
            self._transport.abort()

    def _watch(self) -> None:
        if self._timer:
            self._timer.cancel()
        self._timer = self._loop.call_later(IDLE, self.abort)
