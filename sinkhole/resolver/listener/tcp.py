"""DNS over TCP (RFC 7766) and over TLS (RFC 7858): queries may be pipelined, and are answered as answers come.

Every wait has a deadline, every buffer and every number a bound. When there is one connection too many, of one client
or in all, the one whose last query is longest ago makes room. Closing the newest instead would protect connections that
only stay open: those lose nothing but a handshake, while a client that has just come would lose its query whenever
somebody else floods. Octets that make no query do not count, so a slow sender is old, however busy it looks.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import ssl
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from functools import partial
from itertools import islice
from typing import Any, NamedTuple, Protocol, cast

from sinkhole.resolver.engine import Handle, Peer, Private
from sinkhole.resolver.listener.tls import Tls
from sinkhole.resolver.message import MAX_QUERY

log = logging.getLogger(__name__)

_BATCH = 64  # queries handled before other sockets get their turn
_ACCEPTED = 8  # connections accepted before other sockets get their turn
_BACKLOG = 4096  # connections that wait for that; the kernel gives what net.core.somaxconn allows
#: What accept(2) says when the system has no room for a connection; seconds until it is asked again, and between two
#: lines about it in the log.
_NO_ROOM = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_PAUSE, _QUIET = 0.2, 60.0


class Limits(NamedTuple):
    """Bounds on TCP: connections, queries in flight on each, seconds to complete a query or a handshake and to idle,
    octets unsent."""

    connections: int = 1000
    per_client: int = 100
    in_flight: int = 128
    complete: float = 2.0
    idle: float = 10.0
    unsent: int = 1 << 18


DEFAULT_LIMITS = Limits()


class Connection(Protocol):
    """One client's connection."""

    def abort(self) -> None:
        """End it now, and leave :class:`Connections`."""


class Connections:
    """The open connections of a process, on whatever sockets, in the order of their last query: all, and by client."""

    def __init__(self, limits: Limits = DEFAULT_LIMITS) -> None:
        self.limits = limits
        self.all: OrderedDict[Connection, None] = OrderedDict()
        self._clients: defaultdict[str, OrderedDict[Connection, None]] = defaultdict(OrderedDict)

    def enter(self, connection: Connection, client: str) -> None:
        """Count a new connection; where that is one too many, another one makes room."""
        bounds = ((self._clients[client], self.limits.per_client), (self.all, self.limits.connections))
        for within, most in bounds:
            if len(within) >= most:
                next(iter(within)).abort()
        self.all[connection] = self._clients[client][connection] = None

    def touch(self, connection: Connection, client: str) -> None:
        """A query has come."""
        if connection in self.all:
            self.all.move_to_end(connection)
            self._clients[client].move_to_end(connection)

    def leave(self, connection: Connection, client: str) -> None:
        """Forget a connection, once or again."""
        self.all.pop(connection, None)
        self._clients[client].pop(connection, None)
        if not self._clients[client]:
            del self._clients[client]

    def free(self, count: int) -> None:
        """Close so many that are longest without a query."""
        for connection in list(islice(self.all, count)):
            connection.abort()


def serve_tcp(
    sock: socket.socket,
    handle: Handle,
    connections: Connections,
    welcome: Callable[[str], bool] = lambda client: True,
    tls: Callable[[], ssl.SSLContext] | None = None,
    stamp: Callable[[], None] = lambda: None,
) -> Callable[[], None]:
    """Answer what arrives over connections to a bound TCP socket, over TLS with the context that ``tls`` gives.

    Clients that are not ``welcome`` are hung up on. ``stamp`` is called before what arrived together is handled.
    """
    served = _Served(asyncio.get_running_loop(), handle, connections, tls, stamp)
    return accept(sock, partial(_Connection, served), connections, welcome)


def accept(
    sock: socket.socket,
    make: Callable[[Peer], asyncio.Protocol],
    connections: Connections,
    welcome: Callable[[str], bool],
) -> Callable[[], None]:
    """Give every client that connects to a bound TCP socket, and is ``welcome``, what ``make`` gives for it.

    Returns what ends this, and with it all ``connections``.
    """
    acceptor = _Acceptor(sock, make, connections, welcome)
    sock.setblocking(False)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # connections inherit it: no answer waits for an ACK
    sock.listen(_BACKLOG)
    acceptor.loop.add_reader(sock.fileno(), acceptor.accept)
    return acceptor.close


class _Served(NamedTuple):
    """What the connections of one listening socket need."""

    loop: asyncio.AbstractEventLoop
    handle: Handle
    connections: Connections
    tls: Callable[[], ssl.SSLContext] | None
    stamp: Callable[[], None]


class _Acceptor:
    """One listening socket."""

    def __init__(
        self,
        sock: socket.socket,
        make: Callable[[Peer], asyncio.Protocol],
        connections: Connections,
        welcome: Callable[[str], bool],
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self._sock = sock
        self._make = make
        self._connections = connections
        self._welcome = welcome
        self._coming: set[asyncio.Task[Any]] = set()
        self._pause: asyncio.TimerHandle | None = None
        self._quiet_until = 0.0

    def accept(self) -> None:
        for _ in range(_ACCEPTED):
            try:
                sock, peer = self._sock.accept()
            except OSError as error:
                if error.errno in _NO_ROOM:
                    self._rest(error)
                return
            if not self._welcome(peer[0]):
                sock.close()
                continue
            coming = self.loop.connect_accepted_socket(partial(self._make, peer), sock)
            task = self.loop.create_task(coming)
            self._coming.add(task)
            task.add_done_callback(partial(self._came, sock))

    def _came(self, sock: socket.socket, task: asyncio.Task[Any]) -> None:
        self._coming.discard(task)
        if task.cancelled() or task.exception():  # it has gone already
            sock.close()

    def _rest(self, error: OSError) -> None:
        """There is no descriptor for a connection that waits: free some, and do not spin until they are."""
        now = self.loop.time()
        if now >= self._quiet_until:
            self._quiet_until = now + _QUIET
            log.warning("%d connections open, and no more are possible: %s", len(self._connections.all), error.strerror)
        self._connections.free(_ACCEPTED)
        self.loop.remove_reader(self._sock.fileno())
        self._pause = self.loop.call_later(_PAUSE, self.loop.add_reader, self._sock.fileno(), self.accept)

    def close(self) -> None:
        if self._pause:
            self._pause.cancel()
        self.loop.remove_reader(self._sock.fileno())
        self._sock.close()
        for task in self._coming:
            task.cancel()
        for connection in list(self._connections.all):
            connection.abort()


class _Connection(asyncio.Protocol):
    """One client's connection. All but writing happens in :meth:`_work`, which runs again when its turn comes."""

    def __init__(self, served: _Served, peer: Peer) -> None:
        self.served = served
        self._connections = served.connections
        self._limits = served.connections.limits
        self._peer = peer
        self._client: str = peer[0]
        self._tls = Tls(served.tls()) if served.tls else None
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
        self._connections.enter(self, self._client)
        self._wait(self._limits.complete if self._tls else self._limits.idle)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer:
            self._timer.cancel()
        self._connections.leave(self, self._client)

    def data_received(self, data: bytes) -> None:
        if self._tls:
            self._decrypt(self._tls, data)
        else:
            self._buffer += data
            self._work()

    def _decrypt(self, tls: Tls, data: bytes) -> None:
        strange = not tls.established
        try:
            said = tls.receive(data)
        except ssl.SSLError:
            self._transport.write(tls.pending())  # the alert that says why
            self._transport.close()
            return
        if pending := tls.pending():
            self._transport.write(pending)
        if strange and tls.established:
            self._peer = Private(self._client, self._peer[1], tls.asked)
            self._wait(self._limits.idle)
        self._buffer += said
        self._ended = self._ended or tls.ended
        if said or tls.ended:  # other records, such as keep-alives, buy no time
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
        self._connections.leave(self, self._client)
        self._transport.abort()

    def _work(self) -> None:
        """Handle the queries in the buffer, as far as the bounds allow, and set the clock for what comes next."""
        self._scheduled = False
        if self._transport.is_closing():
            return
        buffer, fresh = self._buffer, not self._partial
        self.served.stamp()
        for _ in range(_BATCH):
            self._held = self._stuck or self._in_flight >= self._limits.in_flight
            end = 2 + int.from_bytes(buffer[:2])
            if self._held or len(buffer) < max(end, 2) or end > 2 + MAX_QUERY:
                break
            packet = bytes(buffer[2:end])
            del buffer[:end]
            fresh = True
            self._connections.touch(self, self._client)
            self._in_flight += 1
            if not self.served.handle(packet, self._peer, self._send, True):
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
            if self._tls:
                self._transport.write(self._tls.end())
            self._transport.close()

    def _send(self, reply: bytes, peer: Peer) -> None:
        self._in_flight -= 1
        if self._transport.is_closing():
            return
        if reply:  # nothing is said to a query that is dropped when its answer is known
            framed = len(reply).to_bytes(2) + reply
            self._transport.write(self._tls.send(framed) if self._tls else framed)
        if self._transport.get_write_buffer_size() > 4 * self._limits.unsent:
            self.abort()
        if self._held or self._ended:
            self._schedule()

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self.served.loop.call_soon(self._work)

    def _wait(self, seconds: float) -> None:
        if self._timer:
            self._timer.cancel()
        self._timer = self.served.loop.call_later(seconds, self._expire)

    def _expire(self) -> None:
        if self._in_flight and not self._partial and not self._stuck:
            self._wait(self._limits.idle)
        else:
            self.abort()
