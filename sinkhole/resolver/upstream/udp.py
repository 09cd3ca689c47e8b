"""One question over UDP: a connected socket that is its own meanwhile, a random id, and a random spelling of the name.

So an answer has to come from the server's address to a port, with an id and in letters, that nobody else knows (RFC
5452 9.1). Whatever else comes is counted and ignored, and the wait goes on; the first such packet also sends the
question over TCP, where guessing does not help. So does a truncated answer.

The kernel picks the ports by chance. Making and closing a socket costs more than asking, so one over which nothing but
right answers came has some turns, within a moment: fewer than anybody needs to find it out (RFC 5452 10).

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
#: Questions that a port is used for, the seconds after which it is used no more (up to twice that), and ports that wait
#: for their next one.
TURNS, MOMENT, MAX_FREE = 16, 0.5, 256


class Udp:
    """A server at a literal address; ``stream`` is the way to it over TCP."""

    def __init__(self, host: str, port: int, stream: Stream) -> None:
        self.address = (host, port)
        self.family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.stream = stream
        self.keeps_case = True
        self.strays = 0
        self.era = 0  # counts moments
        self._free: list[_Port] = []
        self._timer: asyncio.TimerHandle | None = None

    def ask(self, query: Query, asker: Asker) -> Exchange:
        return Exchange(self, query, asker)

    def port(self, chance: int) -> _Port:
        """One for a question: any of those that wait, by chance, or a new one."""
        free = self._free
        if not free:
            return _Port(self)
        at = chance % len(free)
        free[at], free[-1] = free[-1], free[at]
        return free.pop()

    def give(self, port: _Port) -> None:
        """Take back one that was used as it should be."""
        port.turns -= 1
        if port.turns and self.era - port.era < 2 and len(self._free) < MAX_FREE:
            self._free.append(port)
            self._timer = self._timer or port.loop.call_later(MOMENT, self._pass)
        else:
            port.close()

    def drop(self, port: _Port) -> None:
        """Close one that was to wait."""
        self._free.remove(port)
        port.close()

    def _pass(self) -> None:
        """A moment has passed."""
        self.era += 1
        old = [port for port in self._free if self.era - port.era >= 2]
        self._free = [port for port in self._free if self.era - port.era < 2]
        for port in old:
            port.close()
        self._timer = self._free[0].loop.call_later(MOMENT, self._pass) if self._free else None

    def close(self) -> None:
        self.stream.close()
        if self._timer:
            self._timer.cancel()
            self._timer = None
        while self._free:
            self._free.pop().close()


class _Port:
    """A socket that is connected to a server, and the exchange whose turn it is. Raises OSError when there is none."""

    __slots__ = ("era", "exchange", "loop", "server", "sock", "turns")

    def __init__(self, server: Udp) -> None:
        self.server = server
        self.era = server.era
        self.turns = TURNS
        self.exchange: Exchange | None = None
        self.loop = asyncio.get_running_loop()
        self.sock = socket.socket(server.family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            self.sock.connect(server.address)
            self.loop.add_reader(self.sock.fileno(), self.readable)
        except OSError:
            self.sock.close()
            raise

    def readable(self) -> None:
        if self.exchange:
            self.exchange.readable(self.sock)
        else:  # after the right answer, whatever it is
            self.server.strays += 1
            self.server.drop(self)

    def close(self) -> None:
        self.loop.remove_reader(self.sock.fileno())
        self.sock.close()


class Exchange:
    """One question under way. Raises OSError when it cannot be sent."""

    __slots__ = ("asker", "ident", "port", "query", "question", "server", "tcp", "tried")

    def __init__(self, server: Udp, query: Query, asker: Asker) -> None:
        self.server = server
        self.query = query
        self.asker = asker
        self.tcp: OverTcp | None = None
        self.tried = False  # over TCP
        chance = secrets.token_bytes(4 + len(query.name))
        self.ident = chance[:2]
        name = spelled(query.name, chance[4:]) if server.keeps_case else query.name
        self.question = name + query.question[-4:]
        self.port: _Port | None = (port := server.port(int.from_bytes(chance[2:4])))
        port.exchange = self
        try:
            port.sock.send(packet(int.from_bytes(self.ident), query, self.question))
        except OSError:
            port.close()
            raise

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
                self.hang_up(right=not self.tried)
                if not response.truncated:
                    self.cancel()
                    self.asker.heard(response)
                    return
            else:
                self.server.strays += 1
            if not self.tried:
                self.tried = True
                if self.port:  # whoever guesses sends much, and the right answer must find room behind it
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BURST)
                with suppress(OSError):
                    self.tcp = self.server.stream.ask(self.query, self, self.question)
            if not self.port:
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
        if not self.port:
            self.asker.failed()

    def late(self) -> bool:
        return True

    def cancel(self) -> None:
        self.hang_up()
        if self.tcp:
            self.tcp.cancel()
            self.tcp = None

    def hang_up(self, right: bool = False) -> None:
        """Listen no more; ``right``: nothing but the right answer came, and nothing else will."""
        if port := self.port:
            self.port = port.exchange = None
            if right:
                self.server.give(port)
            else:
                port.close()
