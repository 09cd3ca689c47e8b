"""Listening sockets: for each address one UDP and one TCP socket a worker, all on one port (``SO_REUSEPORT``).

The supervisor opens them and keeps them open, so queries that arrive while a worker is replaced wait in its socket.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Sequence
from contextlib import ExitStack
from typing import NamedTuple

from sinkhole.config import Endpoint
from sinkhole.errors import ListenError

#: Octets of queries that wait in the kernel; what the system allows may be less (net.core.rmem_max).
_RECEIVE_BUFFER = 4 << 20
_PORT_TRIES = 20

#: errno -> what to do about it; ``{}`` is the address.
_ADVICE = {
    errno.EADDRINUSE: "{}: the port is in use by another program; stop it, or set another port in listen.dns",
    errno.EACCES: "{}: only a privileged process may use a port below 1024; run it as a service with "
    "CAP_NET_BIND_SERVICE (systemd: AmbientCapabilities=CAP_NET_BIND_SERVICE), or set listen.dns to a higher port "
    "such as 5353",
    errno.EADDRNOTAVAIL: "{}: this machine does not have that address",
    errno.EAFNOSUPPORT: "{}: this machine has no such protocol",
}
_ABSENT = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)


class Listening(NamedTuple):
    """The sockets of one worker, and the endpoints they are bound to with their real ports."""

    endpoints: list[Endpoint]
    udp: list[socket.socket]
    tcp: list[socket.socket]


def listen(endpoints: Sequence[Endpoint], workers: int, *, optional: bool = False) -> list[Listening]:
    """Bind every endpoint for every worker. Raises :class:`~sinkhole.errors.ListenError` with what to do about it.

    ``optional``: an address that the machine does not have is left out, as long as another one is there.
    """
    groups: list[list[tuple[socket.socket, socket.socket]]] = []
    bound: list[Endpoint] = []
    missing: ListenError | None = None
    with ExitStack() as undo:
        for endpoint in endpoints:
            try:
                groups.append(_bind(endpoint, workers))
            except OSError as error:
                failure = ListenError(_advice(error, endpoint))
                if not optional or error.errno not in _ABSENT:
                    raise failure from error
                missing = failure
            else:
                for pair in groups[-1]:
                    for sock in pair:
                        undo.enter_context(sock)
                bound.append(Endpoint(*groups[-1][0][0].getsockname()[:2]))
        if not groups and missing:
            raise missing
        undo.pop_all()
    return [
        Listening(bound, [group[worker][0] for group in groups], [group[worker][1] for group in groups])
        for worker in range(workers)
    ]


def _advice(error: OSError, endpoint: Endpoint) -> str:
    return _ADVICE.get(error.errno or 0, f"{{}}: {error.strerror}").format(endpoint)


def _bind(endpoint: Endpoint, workers: int) -> list[tuple[socket.socket, socket.socket]]:
    """(UDP, TCP) for each worker. With port 0 both protocols get the same free port."""
    for attempt in range(_PORT_TRIES):
        with ExitStack() as undo:
            try:
                # Without SO_REUSEPORT first: with it, the kernel would share the port with a stranger of the same user.
                with _open(endpoint, socket.SOCK_DGRAM, False) as probe, _open(endpoint, socket.SOCK_STREAM, False):
                    port = probe.getsockname()[1]
                pairs = []
                for _ in range(workers):
                    pair = tuple(
                        undo.enter_context(_open(Endpoint(endpoint.host, port), kind, True))
                        for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM)
                    )
                    pairs.append((pair[0], pair[1]))
            except OSError as error:
                if endpoint.port or error.errno != errno.EADDRINUSE or attempt == _PORT_TRIES - 1:
                    raise
                continue
            undo.pop_all()
            return pairs
    raise AssertionError("the last attempt returns or raises")


def _open(endpoint: Endpoint, kind: socket.SocketKind, shared: bool) -> socket.socket:
    family = socket.AF_INET6 if ":" in endpoint.host else socket.AF_INET
    sock = socket.socket(family, kind)
    try:
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if kind == socket.SOCK_STREAM:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        else:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(endpoint)
        if shared and kind == socket.SOCK_STREAM:
            sock.listen(256)
    except OSError:
        sock.close()
        raise
    return sock
