"""DNS over UDP: what arrives is read in batches, and answered from the address it was sent to."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from sinkhole.resolver.answer import brief
from sinkhole.resolver.engine import Peer, Send
from sinkhole.resolver.listener.batch import ADDRESS, BATCH, CALLS, Batches
from sinkhole.resolver.message import MAX_QUERY

_BURST = 4 << 20  # octets asked of the kernel for packets that wait; it gives what net.core.rmem_max allows
#: After so many datagrams at once more are looked for, so many times, before other sockets get their turn.
_MANY, _ROUNDS = BATCH // 4, 4
_MUTE = frozenset({0, 7, 19})  # source ports of no client: none at all, echo, chargen
_SERVER = 53  # the source port of a server, and of hardly any client since random ports came (RFC 5452 9.2)
_ANYWHERE = frozenset({"0.0.0.0", "::"})
_IP_PKTINFO = 8  # Linux ip(7); the socket module knows it from Python 3.14 on

Receive = Callable[[], tuple[bytes, Peer]]
#: What reads and answers what has come, and what sends all that waits for others to be sent with it.
Calls = tuple[Callable[[], None], Callable[[], None]]


class Engine(Protocol):
    """What answers: :class:`sinkhole.resolver.engine.Engine`."""

    def tick(self) -> None: ...

    def answer(
        self, packet: bytes, host: str | bytes, peer: Any, send: Callable[[bytes, Any], object]
    ) -> bytes | None: ...


def serve_udp(sock: socket.socket, engine: Engine) -> Callable[[], None]:
    """Answer what arrives at a bound UDP socket."""
    loop = asyncio.get_running_loop()
    sock.setblocking(False)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BURST)
    host, port = sock.getsockname()[:2]
    if arrival := host in _ANYWHERE:  # answered from the address that was asked, or the client ignores the answer
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        else:
            sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
    drain, flush = (_by_batches if CALLS else _one_by_one)(sock, engine, arrival, host, port)

    def close() -> None:
        flush()
        loop.remove_reader(sock.fileno())
        sock.close()

    loop.add_reader(sock.fileno(), drain)
    return close


def _by_batches(sock: socket.socket, engine: Engine, arrival: bool, host: str, port: int) -> Calls:
    soon = asyncio.get_running_loop().call_soon
    batches = Batches(sock, arrival, {number.to_bytes(2) for number in (*_MUTE, _SERVER, port)}, soon)
    size, pktinfo = (16, 0) if sock.family == socket.AF_INET6 else (4, 8)  # in6_pktinfo in ipv6(7), in_pktinfo in ip(7)
    asked = ADDRESS + socket.CMSG_LEN(0) + pktinfo

    def take_odd(packet: bytes, address: bytes, peer: bytes, send: Callable[[bytes, bytes], None]) -> bytes | None:
        own = peer[asked : asked + size] if arrival else socket.inet_pton(sock.family, host)
        source = int.from_bytes(peer[2:4])
        if _unwelcome(source, port, address[:size] == own):
            return b""
        if source != _SERVER:
            return engine.answer(packet, address, peer, send)
        reply = engine.answer(packet, address, peer, partial(_send_brief, send))
        return reply and brief(reply)

    def drain() -> None:
        for _ in range(_ROUNDS):
            engine.tick()
            if batches.drain(engine.answer, take_odd) < _MANY:
                break

    return drain, batches.flush


def _one_by_one(sock: socket.socket, engine: Engine, arrival: bool, host: str, port: int) -> Calls:
    """Where the kernel, or its library, knows no batches."""
    receive, send = (_by_arrival if arrival else _plainly)(sock)
    odd = {*_MUTE, _SERVER, port}

    def take(packet: bytes, peer: Peer) -> bytes | None:
        if peer[1] not in odd:
            return engine.answer(packet, peer[0], peer, send)
        if _unwelcome(peer[1], port, peer[0] == (_asked(peer) if arrival else host)):
            return b""
        if peer[1] != _SERVER:
            return engine.answer(packet, peer[0], peer, send)
        reply = engine.answer(packet, peer[0], peer, partial(_send_brief, send))
        return reply and brief(reply)

    def drain() -> None:
        engine.tick()
        for _ in range(BATCH):
            try:
                packet, peer = receive()
            except OSError:  # nothing more
                return
            if reply := take(packet, peer):
                send(reply, peer)

    return drain, lambda: None


def _unwelcome(source: int, port: int, own: bool) -> bool:
    """Whether nothing is said to a source port that hints at a forged source: ourselves are never answered. Servers are
    with few octets."""
    return source in _MUTE or (own and source == port)


def _send_brief(send: Send, reply: bytes, peer: Any) -> None:
    send(brief(reply), peer)


def _plainly(sock: socket.socket) -> tuple[Receive, Send]:
    def receive() -> tuple[bytes, Peer]:
        return sock.recvfrom(MAX_QUERY)

    def send(reply: bytes, peer: Peer) -> None:
        try:
            sock.sendto(reply, peer)
        except OSError:  # a full buffer, or no way there: UDP may lose
            return

    return receive, send


def _by_arrival(sock: socket.socket) -> tuple[Receive, Send]:
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


def _asked(peer: Peer) -> str:
    """The address that a packet was sent to, as :func:`_by_arrival` received it (in_pktinfo in ip(7) and ipv6(7))."""
    for level, _, info in peer[3]:
        if level == socket.IPPROTO_IPV6:
            return socket.inet_ntop(socket.AF_INET6, info[:16])
        return socket.inet_ntop(socket.AF_INET, info[8:12])
    return ""
