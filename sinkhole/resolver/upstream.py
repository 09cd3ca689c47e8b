"""Asking upstream resolvers: UDP with TCP where needed, failover, and one answer for all who ask the same at once.

Every attempt leaves from a fresh connected socket (so from a random port, and hearing one address only) with a fresh
random id, and nothing but an answer that matches all of it is taken (RFC 5452 9.1). What does not match is ignored and
the wait goes on; the first such packet also sends the query over TCP, where guessing does not help.

The UDP path runs in callbacks; only TCP costs a task.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from sinkhole.resolver.answer import NETWORK_ERROR, NO_REACHABLE_AUTHORITY, failure
from sinkhole.resolver.message import (
    AD,
    CD,
    DO,
    FORMERR,
    HEADER,
    NOTIMP,
    OPT,
    RD,
    RECORD,
    REFUSED,
    SERVFAIL,
    UDP_SIZE,
    BadResponse,
    Query,
    Response,
    read_response,
)

#: After how long without an answer the next server is asked, and the longest that anyone waits, in seconds.
PATIENCE, BUDGET = 1.5, 7.0

_RECEIVE = 4096  # octets of a datagram; we ask for UDP_SIZE
_BATCH = 64  # datagrams read before others get their turn
_UNWILLING = frozenset({FORMERR, SERVFAIL, NOTIMP, REFUSED})

Done = Callable[[Response], None]


class Server(NamedTuple):
    """An upstream: ``udp`` (with TCP for what is truncated) or ``tcp``, a literal address, and a port."""

    transport: str
    host: str
    port: int


class Forwarder:
    """Asks ``servers`` in order, each again while there is time.

    ``timeout`` in seconds is each server's share of the total, which is at most :data:`BUDGET`. ``limit`` bounds the
    askers that wait at one time. ``waiting`` is how many do, ``strays`` counts the packets that answered nothing.
    """

    def __init__(self, servers: Sequence[Server], timeout: float = 2.0, limit: int = 10_000) -> None:
        self.servers = tuple(Server(*server) for server in servers)
        self.timeout = timeout
        self.limit = limit
        self.waiting = 0
        self.strays = 0
        self._lookups: dict[bytes, _Lookup] = {}

    def ask(self, query: Query, done: Done, client: str = "") -> None:
        """Call ``done`` once: with an upstream's answer, or SERVFAIL with EDE 22 or 23 when none can be had."""
        if self.waiting >= self.limit:
            done(failure(NO_REACHABLE_AUTHORITY)._replace(ttl=0))  # says nothing about the name
            return
        self.waiting += 1
        key = query.key + bytes((bool(query.flags & RD),))
        if lookup := self._lookups.get(key):
            lookup.askers.append(done)
        else:
            self._lookups[key] = lookup = _Lookup(self, query, key, done)
            lookup.attempt()

    def finish(self, key: bytes, response: Response) -> None:
        askers = self._lookups.pop(key).askers
        self.waiting -= len(askers)
        for done in askers:
            done(response)

    def close(self) -> None:
        """Answer all who wait with SERVFAIL."""
        for lookup in list(self._lookups.values()):
            lookup.finish(failure(NETWORK_ERROR))


class _Lookup:
    """One question under way: who asks, which servers are left, and the sockets of the running attempt."""

    __slots__ = (
        "askers",
        "best",
        "deadline",
        "forwarder",
        "ident",
        "key",
        "left",
        "loop",
        "query",
        "server",
        "sock",
        "task",
        "timer",
        "why",
    )

    def __init__(self, forwarder: Forwarder, query: Query, key: bytes, done: Done) -> None:
        self.forwarder = forwarder
        self.query = query
        self.key = key
        self.askers = [done]
        self.left = deque(forwarder.servers)
        self.best: Response | None = None
        self.why = NO_REACHABLE_AUTHORITY
        self.loop = asyncio.get_running_loop()
        self.deadline = self.loop.time() + min(forwarder.timeout * len(forwarder.servers), BUDGET)
        self.ident = 0
        self.sock: socket.socket | None = None
        self.task: asyncio.Task[None] | None = None
        self.timer: asyncio.TimerHandle | None = None

    @property
    def question(self) -> bytes:
        """The question as we send it: lower-case, whoever asks."""
        return self.query.name + self.query.question[-4:]

    def packet(self) -> bytes:
        """RD, CD and DO as asked, AD because we understand it (RFC 6840 5.7); no other EDNS option goes any further."""
        flags = self.query.flags & (RD | CD) | AD
        header = HEADER.pack(self.ident, flags, 1, 0, 0, 1)
        return header + self.question + b"\0" + RECORD.pack(OPT, UDP_SIZE, self.query.do * DO, 0)

    def attempt(self) -> None:
        """Ask the next server, or finish with the best that was heard."""
        self.stop()
        remaining = self.deadline - self.loop.time()
        if not self.left or remaining <= 0:
            self.finish(self.best or failure(self.why))
            return
        self.server = self.left.popleft()
        self.ident = secrets.randbits(16)
        self.timer = self.loop.call_later(min(PATIENCE, self.forwarder.timeout, remaining), self.late)
        if self.server.transport == "tcp":
            self.task = self.loop.create_task(self.ask_tcp())
            return
        try:
            family = socket.AF_INET6 if ":" in self.server.host else socket.AF_INET
            self.sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
            self.sock.connect((self.server.host, self.server.port))
            self.sock.send(self.packet())
            self.loop.add_reader(self.sock.fileno(), self.readable, self.sock)
        except OSError:
            self.failed()

    def readable(self, sock: socket.socket) -> None:
        for _ in range(_BATCH):
            try:
                packet = sock.recv(_RECEIVE)
            except BlockingIOError:
                return
            except OSError:  # an ICMP error: nobody is there
                self.failed()
                return
            try:
                response = read_response(packet, self.ident, self.question)
            except BadResponse:
                self.forwarder.strays += 1
            else:
                if not response.truncated:
                    self.heard(response)
                    return
                self.hang_up()
            if not self.task:
                self.task = self.loop.create_task(self.ask_tcp())
            if not self.sock:
                return

    async def ask_tcp(self) -> None:
        try:
            packet = await _exchange(self.server, self.packet())
            response = read_response(packet, self.ident, self.question)
            if response.truncated:
                raise BadResponse("truncated over TCP")
        except (OSError, EOFError, BadResponse):
            if not self.sock:  # otherwise the right answer may still come over UDP
                self.failed()
        else:
            self.heard(response)

    def heard(self, response: Response) -> None:
        if response.rcode in _UNWILLING:
            self.best = response
            self.attempt()
        else:
            self.finish(response)

    def failed(self) -> None:
        """Nobody is there: go on without this server."""
        self.why = NETWORK_ERROR
        self.attempt()

    def late(self) -> None:
        """No answer in time: a packet may be lost, so the server comes round again."""
        self.why = NO_REACHABLE_AUTHORITY
        self.left.append(self.server)
        self.attempt()

    def finish(self, response: Response) -> None:
        self.stop()
        self.forwarder.finish(self.key, response)

    def stop(self) -> None:
        """End the running attempt."""
        self.hang_up()
        if self.timer:
            self.timer.cancel()
        if self.task:
            self.task.cancel()
            self.task = None

    def hang_up(self) -> None:
        if self.sock:
            self.loop.remove_reader(self.sock.fileno())
            self.sock.close()
            self.sock = None


async def _exchange(server: Server, packet: bytes) -> bytes:
    """One query over its own connection (RFC 7766 8: two octets of length first). Raises OSError and EOFError."""
    reader, writer = await asyncio.open_connection(server.host, server.port)
    try:
        writer.write(len(packet).to_bytes(2) + packet)
        return await reader.readexactly(int.from_bytes(await reader.readexactly(2)))
    finally:
        writer.transport.abort()
