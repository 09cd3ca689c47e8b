"""A DNS server that answers what a test tells it to, over UDP and TCP on one free loopback port.

::

    with DnsServer(lambda asked: [reply(asked.packet, A="192.0.2.1")]) as upstream:
        ...
        assert upstream.asked[0].transport == "udp"
"""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, NamedTuple, Self

from dnslib import QTYPE, RR, DNSRecord


class Asked(NamedTuple):
    """A query that came: its octets, ``udp`` or ``tcp``, and the port it came from."""

    packet: bytes
    transport: str
    port: int


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
    """A context manager: listens from entry to exit. ``asked`` is every query in order of arrival."""

    def __init__(self, script: Script, *, tcp: bool = True) -> None:
        self.asked: list[Asked] = []
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
    owner: DnsServer


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
        sock: socket.socket = self.request
        with sock.makefile("rb") as stream:
            while size := stream.read(2):
                packet = stream.read(int.from_bytes(size))
                for answer in self.server.owner.answers(packet, "tcp", self.client_address[1]):
                    try:
                        sock.sendall(len(answer).to_bytes(2) + answer)
                    except OSError:
                        return
