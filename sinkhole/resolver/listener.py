"""Sockets to engine and back: UDP in batches, TCP with every wait and every buffer bounded.

Both servers take a socket that is already bound (a supervisor opened it, perhaps as root) and give the function that
stops them. TCP is RFC 7766: queries may be pipelined, and are answered in the order in which answers come.
"""

from __future__ import annotations

import asyncio
import socket
from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import NamedTuple, Protocol, cast

from sinkhole.resolver.engine import Peer, Send

#: Octets of a query. Nothing honest comes near.
MAX_QUERY = 4096

_BURST = 4 << 20  # octets asked of the kernel for packets that wait; it gives what net.core.rmem_max allows
_BATCH = 64  # queries handled before other sockets get their turn
_MUTE = frozenset({0, 7, 19})  # source ports of no client: none at all, echo, chargen
_ANYWHERE = frozenset({"0.0.0.0", "::"})
_IP_PKTINFO = 8  # Linux ip(7); the socket module knows it from Python 3.14 on

Close = Callable[[], None]


class Handle(Protocol):
    """:meth:`sinkhole.resolver.engine.Engine.handle`."""

    def __call__(self, packet: bytes, peer: Peer, send: Send, tcp: bool = False) -> bool: ...


class Limits(NamedTuple):
    """Bounds on TCP: connections, queries in flight on each, seconds to complete a query and to idle, octets unsent."""

    connections: int = 1000
    per_client: int = 100
    in_flight: int = 128
    complete: float = 2.0
    idle: float = 10.0
    unsent: int = 1 << 18


DEFAULT_LIMITS = Limits()


def serve_udp(sock: socket.socket, handle: Handle) -> Close:
    """Answer what arrives at a bound UDP socket."""
    loop = asyncio.get_running_loop()
    sock.setblocking(False)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BURST)
    receive, send = (_by_arrival if sock.getsockname()[0] in _ANYWHERE else _plainly)(sock)

    def drain() -> None:
        for _ in range(_BATCH):
            try:
                packet, peer = receive()
            except OSError:  # nothing more
                return
            if peer[1] not in _MUTE:
                handle(packet, peer, send)

    def close() -> None:
        loop.remove_reader(sock.fileno())
        sock.close()

    loop.add_reader(sock.fileno(), drain)
    return close


def _plainly(sock: socket.socket) -> tuple[Callable[[], tuple[bytes, Peer]], Send]:
    def receive() -> tuple[bytes, Peer]:
        return sock.recvfrom(MAX_QUERY)

    def send(reply: bytes, peer: Peer) -> None:
        try:
            sock.sendto(reply, peer)
        except OSError:  # a full buffer, or no way there: UDP may lose
            return

    return receive, send


def _by_arrival(sock: socket.socket) -> tuple[Callable[[], tuple[bytes, Peer]], Send]:
    """For a socket bound to every address: answer from the address that was asked, or the client ignores the answer."""
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
    else:
        sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
    space = socket.CMSG_SPACE(20)  # struct in6_pktinfo, the larger one

    def receive() -> tuple[bytes, Peer]:
        packet, arrival, _, peer = sock.recvmsg(MAX_QUERY, space)
        return packet, (*peer[:2], peer, arrival)

    def send(reply: bytes, peer: Peer) -> None:
        try:
            sock.sendmsg([reply], peer[3], 0, peer[2])
        except OSError:  # as above
            return

    return receive, send


async def serve_tcp(sock: socket.socket, handle: Handle, limits: Limits = DEFAULT_LIMITS) -> Close:
    """Answer what arrives over connections to a bound TCP socket."""
    served = _Served(handle, limits)
    server = await asyncio.get_running_loop().create_server(lambda: _Connection(served), sock=sock, backlog=256)

    def close() -> None:
        server.close()
        for connection in list(served.connections):
            connection.abort()

    return close


class _Served:
    """What the connections of one server share. ``connections`` stand in the order of their last activity."""

    def __init__(self, handle: Handle, limits: Limits) -> None:
        self.handle = handle
        self.limits = limits
        self.connections: OrderedDict[_Connection, None] = OrderedDict()
        self.clients: Counter[str] = Counter()


class _Connection(asyncio.Protocol):
    """One client's connection. All but writing happens in :meth:`_work`, which runs again when its turn comes."""

    def __init__(self, served: _Served) -> None:
        self._served = served
        self._limits = served.limits
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._buffer = bytearray()
        self._in_flight = 0
        self._partial = False  # the buffer ends in a part of a query
        self._held = False  # the buffer holds queries that must wait
        self._stuck = False  # the client does not read
        self._ended = False  # the client will send no more
        self._scheduled = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(self._limits.unsent)
        self._peer: Peer = transport.get_extra_info("peername") or ("", 0)
        served = self._served
        if len(served.connections) >= self._limits.connections:
            next(iter(served.connections)).abort()  # the one that has been idle longest makes room
        served.connections[self] = None
        served.clients[self._peer[0]] += 1
        self._wait(self._limits.idle)
        if served.clients[self._peer[0]] > self._limits.per_client:
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer:
            self._timer.cancel()
        served = self._served
        served.connections.pop(self, None)
        served.clients[self._peer[0]] -= 1
        if not served.clients[self._peer[0]]:
            del served.clients[self._peer[0]]

    def data_received(self, data: bytes) -> None:
        self._served.connections.move_to_end(self)
        self._buffer += data
        self._work()

    def eof_received(self) -> bool:
        self._ended = True
        self._work()
        return True  # half-closed: what was asked is still answered

    def pause_writing(self) -> None:
        self._stuck = True
        self._wait(self._limits.idle)

    def resume_writing(self) -> None:
        self._stuck = False
        self._schedule()

    def abort(self) -> None:
        self._served.connections.pop(self, None)
        self._transport.abort()

    def _work(self) -> None:
        """Handle the queries in the buffer, as far as the bounds allow, and set the clock for what comes next."""
        self._scheduled = False
        if self._transport.is_closing():
            return
        buffer, fresh = self._buffer, not self._partial
        for _ in range(_BATCH):
            self._held = self._stuck or self._in_flight >= self._limits.in_flight
            end = 2 + int.from_bytes(buffer[:2])
            if self._held or len(buffer) < max(end, 2) or end > 2 + MAX_QUERY:
                break
            packet = bytes(buffer[2:end])
            del buffer[:end]
            fresh = True
            self._in_flight += 1
            if not self._served.handle(packet, self._peer, self._send, True):
                self._in_flight -= 1
        else:
            self._held = True
            self._schedule()
        if int.from_bytes(buffer[:2]) > MAX_QUERY:
            self.abort()
            return
        self._partial = bool(buffer) and not (self._held or self._ended)
        if self._held:
            self._transport.pause_reading()
            self._wait(self._limits.idle)
            return
        self._transport.resume_reading()
        if not self._partial:
            self._wait(self._limits.idle)
        elif fresh:  # the time of a query runs from its first octet, however slowly the others come
            self._wait(self._limits.complete)
        if self._ended and not self._in_flight:
            self._transport.close()

    def _send(self, reply: bytes, peer: Peer) -> None:
        self._in_flight -= 1
        if self._transport.is_closing():
            return
        if reply:  # nothing is said to a query that is dropped when its answer is known
            self._transport.write(len(reply).to_bytes(2) + reply)
        if self._transport.get_write_buffer_size() > 4 * self._limits.unsent:
            self.abort()
        if self._held or self._ended:
            self._schedule()

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._work)

    def _wait(self, seconds: float) -> None:
        if self._timer:
            self._timer.cancel()
        self._timer = self._loop.call_later(seconds, self._expire)

    def _expire(self) -> None:
        if self._in_flight and not self._partial and not self._stuck:
            self._wait(self._limits.idle)
        else:
            self.abort()
