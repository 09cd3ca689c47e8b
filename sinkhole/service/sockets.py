"""Listening sockets: for each address one UDP and one TCP socket a worker, all on one port (``SO_REUSEPORT``), and one
for DNS over TLS; for the web one in all; or those that systemd opened.

The supervisor opens them and keeps them open, so queries that arrive while a worker is replaced wait in its socket.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import MutableMapping, Sequence
from contextlib import ExitStack
from itertools import zip_longest
from typing import NamedTuple

from sinkhole.endpoint import Endpoint, Where
from sinkhole.errors import ListenError

#: Octets of queries that wait in the kernel; what the system allows may be less (net.core.rmem_max).
_RECEIVE_BUFFER = 4 << 20
#: Connections that wait for a worker; net.core.somaxconn may allow less.
_BACKLOG = 4096
_PORT_TRIES = 20
_KINDS = (socket.SOCK_DGRAM, socket.SOCK_STREAM, socket.SOCK_STREAM)  # of the fields of a DNS process
_FIRST = 3  # the number of the first socket of systemd: SD_LISTEN_FDS_START

#: errno -> what to do about it; ``{}`` is the address, then the key it stands at.
_ADVICE = {
    errno.EADDRINUSE: "{}: the port is in use by another program; stop it, or set another port in {}",
    errno.EACCES: "{}: only a privileged process may use a port below 1024; run it as a service with "
    "CAP_NET_BIND_SERVICE (systemd: AmbientCapabilities=CAP_NET_BIND_SERVICE), or set {} to a higher port "
    "such as 5353",
    errno.EADDRNOTAVAIL: "{}: this machine does not have that address",
    errno.EAFNOSUPPORT: "{}: this machine has no such protocol",
}
_ABSENT = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)


class Listening(NamedTuple):
    """The sockets of one process. Those of ``dot`` are for DNS over TLS, those of ``web`` for a process of its own."""

    udp: list[socket.socket]
    tcp: list[socket.socket]
    dot: list[socket.socket]
    web: Sequence[socket.socket] = ()

    @property
    def every(self) -> list[socket.socket]:
        """All of them."""
        return [*self.udp, *self.tcp, *self.dot, *self.web]

    @property
    def where(self) -> Where:
        return Where(tuple(self.endpoints), tuple(self.encrypted), tuple(self.webs))

    @property
    def endpoints(self) -> list[Endpoint]:
        """Where plain DNS is answered, with real ports."""
        return _endpoints([*self.udp, *self.tcp])

    @property
    def encrypted(self) -> list[Endpoint]:
        """Where DNS over TLS is."""
        return _endpoints(self.dot)

    @property
    def webs(self) -> list[Endpoint]:
        """Where the web is."""
        return _endpoints(self.web)


def _endpoints(sockets: Sequence[socket.socket]) -> list[Endpoint]:
    return list(dict.fromkeys(Endpoint(*sock.getsockname()[:2]) for sock in sockets))


def listen(
    endpoints: Sequence[Endpoint], workers: int, *, dot: Sequence[Endpoint] = (), optional: bool = False
) -> list[Listening]:
    """Bind every endpoint for every worker. Raises :class:`~sinkhole.errors.ListenError` with what to do about it.

    ``optional``: an address of ``endpoints`` that the machine does not have is left out, as long as another one is
    there.
    """
    found = [Listening([], [], []) for _ in range(workers)]
    missing: ListenError | None = None
    with ExitStack() as undo:
        for key, wanted, start, stop in (("listen.dns", endpoints, 0, 2), ("listen.dot", dot, 2, 3)):
            for endpoint in wanted:
                try:
                    groups = _bind(endpoint, _KINDS[start:stop], workers)
                except OSError as error:
                    missing = ListenError(_advice(error, endpoint, key))
                    if not optional or key != "listen.dns" or error.errno not in _ABSENT:
                        raise missing from error
                    continue
                for worker, sockets in zip(found, groups, strict=True):
                    for place, sock in zip((worker.udp, worker.tcp, worker.dot)[start:stop], sockets, strict=True):
                        place.append(undo.enter_context(sock))
        if missing and not found[0].udp:
            raise missing
        undo.pop_all()
    return found


def listen_web(endpoints: Sequence[Endpoint]) -> list[socket.socket]:
    """Bind every endpoint of the web once. Raises :class:`~sinkhole.errors.ListenError` with what to do about it."""
    with ExitStack() as undo:
        found = []
        for endpoint in endpoints:
            try:
                ((sock,),) = _bind(endpoint, (socket.SOCK_STREAM,), 1)
            except OSError as error:
                raise ListenError(_advice(error, endpoint, "listen.web")) from error
            found.append(undo.enter_context(sock))
        undo.pop_all()
    return found


def inherited(environ: MutableMapping[str, str]) -> Listening:
    """The sockets that systemd opened for this process (sd_listen_fds(3)), if any, which every worker shares.

    Datagram sockets are for UDP, streams for TCP, and those whose ``FileDescriptorName=`` is ``dot`` for DNS over TLS,
    or ``web`` for the web. The variables that speak of them are removed. Raises
    :class:`~sinkhole.errors.ListenError` for any other socket.
    """
    pid, count, names = (environ.pop(f"LISTEN_{name}", "") for name in ("PID", "FDS", "FDNAMES"))
    if pid != str(os.getpid()) or not count.isdecimal() or not int(count):
        return Listening([], [], [])
    web: list[socket.socket] = []
    listening = Listening([], [], [], web)
    streams = {"dot": listening.dot, "web": web}
    for number, name in zip_longest(range(_FIRST, _FIRST + int(count)), names.split(":")[: int(count)], fillvalue=""):
        try:
            sock = socket.socket(fileno=int(number))
            usable = sock.family in (socket.AF_INET, socket.AF_INET6) and (
                sock.type == socket.SOCK_DGRAM or bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
            )
        except OSError as error:
            raise ListenError(f"socket {number} of systemd: {error.strerror}") from error
        if not usable:
            raise ListenError(f"socket {number} of systemd ({name}): neither UDP nor a listening TCP socket")
        sock.set_inheritable(False)
        (listening.udp if sock.type == socket.SOCK_DGRAM else streams.get(name, listening.tcp)).append(sock)
    return listening


def _advice(error: OSError, endpoint: Endpoint, key: str = "listen.dns") -> str:
    return _ADVICE.get(error.errno or 0, f"{{}}: {error.strerror}").format(endpoint, key)


def _bind(endpoint: Endpoint, kinds: Sequence[socket.SocketKind], workers: int) -> list[list[socket.socket]]:
    """A socket of each kind, for each worker. With port 0 all kinds get the same free port."""
    for attempt in range(_PORT_TRIES):
        with ExitStack() as undo:
            try:
                # Without SO_REUSEPORT first: with it, the kernel would share the port with a stranger of the same user.
                port = endpoint.port
                with ExitStack() as probes:
                    for kind in kinds:
                        probe = probes.enter_context(_open(Endpoint(endpoint.host, port), kind, False))
                        port = probe.getsockname()[1]
                found = [
                    [undo.enter_context(_open(Endpoint(endpoint.host, port), kind, True)) for kind in kinds]
                    for _ in range(workers)
                ]
            except OSError as error:
                if endpoint.port or error.errno != errno.EADDRINUSE or attempt == _PORT_TRIES - 1:
                    raise
                continue
            undo.pop_all()
            return found
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
            sock.listen(_BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock
