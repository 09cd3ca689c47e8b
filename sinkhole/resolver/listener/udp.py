"""DNS over UDP: what arrives is read in batches, and answered from the address it was sent to."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

from sinkhole.resolver.answer import brief
from sinkhole.resolver.engine import Handle, Peer, Send
from sinkhole.resolver.message import MAX_QUERY

_BURST = 4 << 20  # octets asked of the kernel for packets that wait; it gives what net.core.rmem_max allows
_BATCH = 64  # queries handled before other sockets get their turn
_MUTE = frozenset({0, 7, 19})  # source ports of no client: none at all, echo, chargen
_SERVER = 53  # the source port of a server, and of hardly any client since random ports came (RFC 5452 9.2)
_ANYWHERE = frozenset({"0.0.0.0", "::"})
_IP_PKTINFO = 8  # Linux ip(7); the socket module knows it from Python 3.14 on

Receive = Callable[[], tuple[bytes, Peer]]


def serve_udp(sock: socket.socket, handle: Handle, stamp: Callable[[], None] = lambda: None) -> Callable[[], None]:
    """Answer what arrives at a bound UDP socket. ``stamp`` is called before what arrived together is handled."""
    loop = asyncio.get_running_loop()
    sock.setblocking(False)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BURST)
    host, port = sock.getsockname()[:2]
    receive, send = (_by_arrival if host in _ANYWHERE else _plainly)(sock)
    odd = {*_MUTE, _SERVER, port}

    def drain() -> None:
        stamp()
        for _ in range(_BATCH):
            try:
                packet, peer = receive()
            except OSError:  # nothing more
                return
            if peer[1] in odd:
                handle_odd(packet, peer)
            else:
                handle(packet, peer, send)

    def handle_odd(packet: bytes, peer: Peer) -> None:
        """From a port that hints at a forged source: ourselves are never answered, and servers with few octets."""
        itself = peer[1] == port and peer[0] == (_asked(peer) if host in _ANYWHERE else host)
        if peer[1] not in _MUTE and not itself:
            handle(packet, peer, send_brief if peer[1] == _SERVER else send)

    def send_brief(reply: bytes, peer: Peer) -> None:
        send(brief(reply), peer)

    def close() -> None:
        loop.remove_reader(sock.fileno())
        sock.close()

    loop.add_reader(sock.fileno(), drain)
    return close


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


def _asked(peer: Peer) -> str:
    """The address that a packet was sent to, as :func:`_by_arrival` received it (in_pktinfo in ip(7) and ipv6(7))."""
    for level, _, info in peer[3]:
        if level == socket.IPPROTO_IPV6:
            return socket.inet_ntop(socket.AF_INET6, info[:16])
        return socket.inet_ntop(socket.AF_INET, info[8:12])
    return ""
