"""One question over UDP: a socket of its own, connected, with a random id and a random spelling of the name.

So an answer has to come from the server's address to a port, with an id and in letters, that nobody else knows (RFC
5452 9.1). Whatever else comes is counted and ignored, and the wait goes on; the first such packet also sends the
question over TCP, where guessing does not help. So does a truncated answer.

A server that answers right in all but the letters is found out over that TCP connection, where nobody else can speak
for it, and is sent lower case from then on.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
from contextlib import suppress

from sinkhole.resolver.message import BadResponse, Query, Response, read_response
from sinkhole.resolver.upstream.question import Asker, packet, spelled
from sinkhole.resolver.upstream.stream import Exchange as OverTcp
from sinkhole.resolver.upstream.stream import Stream

_RECEIVE = 4096  # octets of a datagram; we ask for UDP_SIZE
_BATCH = 256  # datagrams read before others get their turn
_BURST = 1 << 20  # octets asked of the kernel for packets that wait; it gives what net.core.rmem_max allows


class Udp:
    """A server at a literal address; ``stream`` is the way to it over TCP."""

    def __init__(self, host: str, port: int, stream: Stream) -> None:
        self.address = (host, port)
        self.family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.stream = stream
        self.keeps_case = True
        self.strays = 0
        self.loop: asyncio.AbstractEventLoop | None = None  # from the first question on

    def ask(self, query: Query, asker: Asker) -> Exchange:
        return Exchange(self, query, asker)

    def close(self) -> None:
        self.stream.close()


class Exchange:
    """One question under way. Raises OSError when it cannot be sent."""

    __slots__ = ("asker", "ident", "loop", "query", "question", "server", "sock", "tcp", "tried")

    def __init__(self, server: Udp, query: Query, asker: Asker) -> None:
        self.server = server
        self.query = query
        self.asker = asker
        self.tcp: OverTcp | None = None
        self.tried = False  # over TCP
        chance = secrets.token_bytes(2 + len(query.name))
        self.ident = chance[:2]
        name = spelled(query.name, chance[2:]) if server.keeps_case else query.name
        self.question = name + query.question[-4:]
        self.loop = server.loop = server.loop or asyncio.get_running_loop()
        self.sock: socket.socket | None = socket.socket(server.family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            self.sock.connect(server.address)  # the kernel picks the port, at random
            self.sock.send(packet(int.from_bytes(self.ident), query, self.question))
        except OSError:
            self.sock.close()
            raise
        self.loop.add_reader(self.sock.fileno(), self.readable, self.sock)

    def readable(self, sock: socket.socket) -> None:
        for _ in range(_BATCH):
            try:
                answer = sock.recv(_RECEIVE)
            except BlockingIOError:
                return
            except OSError:  # an ICMP error: nobody is there
                self.hang_up()
                if not self.tcp:
                    self.asker.failed()
                return
            if response := self.read(answer):
                self.hang_up()
                if not response.truncated:
                    self.cancel()
                    self.asker.heard(response)
                    return
            else:
                self.server.strays += 1
            if not self.tried:
                self.tried = True
                if self.sock:  # whoever guesses sends much, and the right answer must find room behind it
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BURST)
                with suppress(OSError):
                    self.tcp = self.server.stream.ask(self.query, self, self.question)
            if not self.sock:
                if not self.tcp:
                    self.asker.failed()
                return

    def read(self, answer: bytes) -> Response | None:
        """The response, when it is to this question."""
        if answer[:2] != self.ident:  # the cheapest look first
            return None
        try:
            return read_response(answer, int.from_bytes(self.ident), self.question)
        except BadResponse:
            return None

    def heard(self, response: Response) -> None:
        """Over TCP."""
        if self.tcp and not self.tcp.kept_case:
            self.server.keeps_case = False
        self.hang_up()
        self.asker.heard(response)

    def failed(self) -> None:
        """Over TCP; the right answer may still come over UDP."""
        self.tcp = None
        if not self.sock:
            self.asker.failed()

    def late(self) -> bool:
        return True

    def cancel(self) -> None:
        self.hang_up()
        if self.tcp:
            self.tcp.cancel()
            self.tcp = None

    def hang_up(self) -> None:
        if self.sock:
            self.loop.remove_reader(self.sock.fileno())
            self.sock.close()
            self.sock = None
