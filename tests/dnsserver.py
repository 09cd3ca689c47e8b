"""A DNS server that answers what a test tells it to, over UDP and TCP (or TLS) on one free loopback port.

::

    with DnsServer(lambda asked: [reply(asked.packet, A="192.0.2.1")]) as upstream:
        ...
        assert upstream.asked[0].transport == "udp"
"""

from __future__ import annotations

import socket
import socketserver
import ssl
import threading
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, BinaryIO, NamedTuple, Self

from dnslib import QTYPE, RR, DNSRecord


class Asked(NamedTuple):
    """A query that came: its octets, ``udp``, ``tcp``, ``tls`` or ``https``, and the port it came from."""

    packet: bytes
    transport: str
    port: int

    @property
    def name(self) -> str:
        """The name asked for, in lower case: the packet has it in letters of either case, by chance."""
        return str(DNSRecord.parse(self.packet).q.qname).lower().removesuffix(".")


#: What to send back for a query: packets in their order, none for silence. It may sleep: each query has its own thread.
Script = Callable[[Asked], Iterable[bytes]]


def reply(packet: bytes, *, ttl: int = 300, rcode: int = 0, **records: str) -> bytes:
    """The answer to ``packet`` with records by type (``A="192.0.2.1"``); ``SOA`` goes to the authority section."""
    answer = DNSRecord.parse(packet).reply(aa=0, ra=1)
    answer.header.rcode = rcode
    for kind, data in records.items():
        for record in RR.fromZone(f"{answer.q.qname} {ttl} IN {kind} {data}"):
            record.rname = answer.q.qname
            (answer.add_auth if record.rtype == QTYPE.SOA else answer.add_answer)(record)
    return bytes(answer.pack())


class DnsServer:
    """A context manager: listens from entry to exit. ``asked`` is every query in order of arrival.

    With ``tls`` it speaks TLS where it would speak TCP. It ends each connection after ``answers`` queries, if given.
    """

    def __init__(
        self, script: Script, *, tcp: bool = True, tls: ssl.SSLContext | None = None, answers: int = 0
    ) -> None:
        self.asked: list[Asked] = []
        self.tls = tls
        self.most = answers or 1 << 30
        self._script = script
        self._servers: list[Any] = []
        while not self._servers:
            udp = _Udp(("127.0.0.1", 0), _Datagram)
            self.port: int = udp.server_address[1]
            if not tcp:
                self._servers = [udp]
                break
            try:
                self._servers = [udp, _Tcp(udp.server_address, _Stream)]
            except OSError:  # somebody has this port over TCP
                udp.server_close()
        for server in self._servers:
            server.owner = self

    def answers(self, packet: bytes, transport: str, port: int) -> Iterable[bytes]:
        self.asked.append(asked := Asked(packet, transport, port))
        return self._script(asked)

    def __enter__(self) -> Self:
        for server in self._servers:
            threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()


class _Udp(socketserver.ThreadingUDPServer):
    daemon_threads = True
    owner: DnsServer


class _Tcp(socketserver.ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 128
    owner: DnsServer


def _read(stream: BinaryIO) -> bytes:
    """The length of the next query; nothing when the client is gone."""
    try:
        return stream.read(2)
    except OSError:
        return b""


class _Datagram(socketserver.BaseRequestHandler):
    server: _Udp

    def handle(self) -> None:
        packet, sock = self.request
        for answer in self.server.owner.answers(packet, "udp", self.client_address[1]):
            try:
                sock.sendto(answer, self.client_address)
            except OSError:
                return


class _Stream(socketserver.BaseRequestHandler):
    server: _Tcp

    def handle(self) -> None:
        owner = self.server.owner
        sock: socket.socket = self.request
        if owner.tls:
            try:
                sock = owner.tls.wrap_socket(sock, server_side=True)
            except OSError:  # the client does not trust us
                return
        with sock, sock.makefile("rb") as stream:
            for _ in range(owner.most):
                size = _read(stream)
                if not size:
                    return
                packet = stream.read(int.from_bytes(size))
                for answer in owner.answers(packet, "tls" if owner.tls else "tcp", self.client_address[1]):
                    try:
                        sock.sendall(len(answer).to_bytes(2) + answer)
                    except OSError:
                        return
