"""Questions over UDP: connected sockets that are their own meanwhile, random ids, and random spellings of names.

So an answer has to come from the server's address to a port, with an id and in letters, that nobody else knows (RFC
5452 9.1). Whatever else comes is counted and ignored, and the wait goes on; the first such packet also sends what is
under way over that port over TCP, where guessing does not help. So does a truncated answer its own question.

The kernel picks the ports by chance. Making and closing a socket costs more than asking, so one over which nothing but
right answers came has some turns, within a moment: fewer than anybody needs to find it out (RFC 5452 10). Questions
that are asked at one time take their turns together, by one call to the kernel. That gives a forger nothing: his packet
says which question it answers, for which he has to know the port, the id and the letters as before, and identical
questions, of which any would do (RFC 5452 5), are never under way together.

A server that answers right in all but the letters is found out over that TCP connection, where nobody else can speak
for it, and is sent lower case from then on.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterable, Sequence
from contextlib import suppress

from sinkhole.resolver.listener.batch import CALLS, Singly, Volley
from sinkhole.resolver.message import BadResponse, Query, Response, read_response
from sinkhole.resolver.upstream.question import Asker, around, spelled
from sinkhole.resolver.upstream.stream import Exchange as OverTcp
from sinkhole.resolver.upstream.stream import Stream

_BATCH = 64  # datagrams read before others get their turn
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
        self.datagrams = (Volley if CALLS else Singly)(_BATCH)
        self._asking: list[Exchange] = []
        self._free: list[_Port] = []
        self._timer: asyncio.TimerHandle | None = None

    def ask(self, query: Query, asker: Asker) -> Exchange:
        """What is asked until the event loop comes round again is sent together."""
        if not self._asking:
            asyncio.get_running_loop().call_soon(self._send)
        exchange = Exchange(self, query, asker)
        self._asking.append(exchange)
        return exchange

    def _send(self) -> None:
        asking, self._asking = [exchange for exchange in self._asking if not exchange.over], []
        while asking:
            try:
                port = self._port()
            except OSError:
                for exchange in asking:
                    exchange.lost()
                return
            exchanges, asking = asking[: port.turns], asking[port.turns :]
            port.ask(exchanges)

    def _port(self) -> _Port:
        """One for questions: any of those that wait, by chance, or a new one."""
        free = self._free
        if not free:
            return _Port(self)
        at = int.from_bytes(os.urandom(2)) % len(free)
        free[at], free[-1] = free[-1], free[at]
        return free.pop()

    def give(self, port: _Port) -> None:
        """Take back one over which nothing is under way any more."""
        if port.turns and self.era - port.era < 2 and len(self._free) < MAX_FREE:
            self._free.append(port)
            self._timer = self._timer or port.loop.call_later(MOMENT, self._pass)
        else:
            port.close()

    def drop(self, port: _Port) -> None:
        """Close one that was to wait."""
        with suppress(ValueError):
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
    """A socket that is connected to a server, and by their ids the exchanges whose turn it is. Raises OSError when
    there is none."""

    __slots__ = ("era", "loop", "server", "sock", "turns", "under_way")

    def __init__(self, server: Udp) -> None:
        self.server = server
        self.era = server.era
        self.turns = TURNS
        self.under_way: dict[bytes, Exchange] = {}
        self.loop = asyncio.get_running_loop()
        self.sock = socket.socket(server.family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            self.sock.connect(server.address)
            self.loop.add_reader(self.sock.fileno(), self._readable)
        except OSError:
            self.sock.close()
            raise

    def ask(self, exchanges: Sequence[Exchange]) -> None:
        """Send questions, of which there are no more than there are turns left."""
        names = b"".join([exchange.query.name for exchange in exchanges])
        idents, chance = _chance(len(exchanges), len(names))
        if self.server.keeps_case:
            names = spelled(names, chance)
        packets = []
        end = 0
        for exchange, ident in zip(exchanges, idents, strict=True):
            query = exchange.query
            begin, end = end, end + len(query.name)
            exchange.ident = ident
            exchange.question = question = names[begin:end] + query.question[-4:]
            exchange.port = self
            self.under_way[ident] = exchange
            head, tail = around(query)
            packets.append(ident + head + question + tail)
        self.turns -= len(exchanges)
        try:
            self.server.datagrams.send(self.sock, packets)
        except OSError:
            self._fail()

    def _readable(self) -> None:
        try:
            answers = self.server.datagrams.receive(self.sock)
        except OSError:  # an ICMP error: nobody is there
            self._fail()
            return
        for answer in answers:
            try:
                self._take(answer)
            except Exception as error:  # noqa: BLE001 - whatever one answer brings about, the next ones are heard
                self.loop.call_exception_handler({"message": "an answer could not be told", "exception": error})

    def _take(self, answer: bytes) -> None:
        exchange = self.under_way.get(answer[:2])  # the cheapest look first
        response = exchange and exchange.read(answer)
        if not exchange or not response:
            self._stray()
            return
        self.end(exchange)
        if response.truncated:
            exchange.ask_over_tcp()
        else:
            exchange.over = True
            if exchange.tcp:
                exchange.cancel()
            exchange.asker.heard(response)

    def _stray(self) -> None:
        """Something else has come. What is guessed here shall not be guessed again."""
        self.server.strays += 1
        self.turns = 0
        if not self.under_way:  # after the right answer, whatever it is
            self.server.drop(self)
        elif alone := [exchange for exchange in self.under_way.values() if not exchange.tried]:
            # whoever guesses sends much, and the right answers must find room behind it
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BURST)
            for exchange in alone:
                exchange.ask_over_tcp()

    def end(self, exchange: Exchange) -> None:
        """Its turn is over."""
        exchange.port = None
        del self.under_way[exchange.ident]
        if not self.under_way:
            self.server.give(self)

    def _fail(self) -> None:
        exchanges = tuple(self.under_way.values())
        self.under_way.clear()
        self.server.drop(self)
        for exchange in exchanges:
            exchange.port = None
            if not exchange.tcp:
                exchange.lost()

    def close(self) -> None:
        if self.sock.fileno() >= 0:
            self.loop.remove_reader(self.sock.fileno())
            self.sock.close()


class Exchange:
    """One question under way. ``over``: whoever asked it wants to hear no more."""

    __slots__ = ("asker", "ident", "over", "port", "query", "question", "server", "tcp", "tried")

    ident: bytes
    question: bytes

    def __init__(self, server: Udp, query: Query, asker: Asker) -> None:
        self.server = server
        self.query = query
        self.asker = asker
        self.port: _Port | None = None
        self.tcp: OverTcp | None = None
        self.tried = False  # over TCP
        self.over = False

    def read(self, answer: bytes) -> Response | None:
        """The response, when it is to this question."""
        try:
            return read_response(answer, int.from_bytes(self.ident), self.question)
        except BadResponse:
            return None

    def ask_over_tcp(self) -> None:
        """As well, or instead; once."""
        if not self.tried:
            self.tried = True
            with suppress(OSError):
                self.tcp = self.server.stream.ask(self.query, self, self.question)
        if not (self.port or self.tcp):
            self.lost()

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

    def lost(self) -> None:
        """Nobody is there."""
        if not self.over:
            self.over = True
            self.asker.failed()

    def late(self) -> bool:
        return True

    def cancel(self) -> None:
        self.over = True
        self.hang_up()
        if self.tcp:
            self.tcp.cancel()
            self.tcp = None

    def hang_up(self) -> None:
        """Listen no more; something may still come."""
        if port := self.port:
            port.turns = 0
            port.end(self)


def _chance(count: int, octets: int) -> tuple[Iterable[bytes], bytes]:
    """So many different ids, and octets."""
    while True:
        drawn = os.urandom(2 * count + octets)
        idents = {drawn[at : at + 2] for at in range(0, 2 * count, 2)}
        if len(idents) == count:
            return idents, drawn[2 * count :]
