"""One upstream server: the way to it, how long it takes, and whether it is there.

Nobody but a probe of our own says that a server is not there. Whenever a question goes without an answer for too long,
or ends in SERVFAIL, the server is in doubt, and is sent a question that every resolver answers at once. So names that
are slow to resolve, forged packets and lost ones take no server out of use; and one that is out is probed every second
until it is back.

A probe is also how a loop shows: its name has a label that only we know, and when it comes to us as a query, then the
server forwards to us. It lies below ``sinkhole.example``, which resolvers treat like any name (RFC 6761 6.5), or below
the domain of a conditional route, whose servers may know no other.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from typing import NamedTuple

from sinkhole.resolver.message import IN, NOERROR, QUESTION, RD, SERVFAIL, A, Query, Response
from sinkhole.resolver.upstream.question import Exchange, Transport

log = logging.getLogger(__name__)

#: The longest wait until another server is asked too, in seconds.
PATIENCE = 1.5
#: Seconds: for a probe to be answered and between two that are not; until a server that answered one may be doubted
#: again.
PROBE, CALM = 1.0, 3.0
#: Probes without an answer, one after the other, that show that a server is not there.
PROBES = 2

#: The shortest wait by transport, in seconds; a connection may have to be made first.
_LEAST = {"udp": 0.4}
_ELSEWHERE = b"\x08sinkhole\x07example\0"


class Server(NamedTuple):
    """An upstream: ``udp`` (with TCP for what is truncated), ``tcp``, ``tls`` or ``https``; an address, or for the last
    two a host name; a port, and the path of ``https``."""

    transport: str
    host: str
    port: int
    path: str = ""


class Remote:
    """A server in use. ``up`` is False when its own probes say so. ``latency`` is smoothed, in seconds."""

    def __init__(self, server: Server, transport: Transport, token: str, domain: bytes = b"") -> None:
        self.server = server
        self.transport = transport
        self.up = True
        self.latency: float | None = None
        self._spread = 0.0
        self._least = _LEAST.get(server.transport, 1.0)
        self._token = token
        self._domain = domain or _ELSEWHERE
        self._probe: _Probe | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._unanswered = 0
        self._calm_until = 0.0

    @property
    def patience(self) -> float:
        """Seconds after which an answer is late: RFC 6298 2, which is how TCP waits."""
        if self.latency is None:
            return min(2 * self._least, PATIENCE)
        return min(max(self.latency + 4 * self._spread, self._least), PATIENCE)

    def took(self, seconds: float) -> None:
        """An answer took so long."""
        if self.latency is None:
            self.latency, self._spread = seconds, seconds / 2
        else:
            self._spread += (abs(self.latency - seconds) - self._spread) / 4
            self.latency += (seconds - self.latency) / 8

    def outrun(self, seconds: float) -> None:
        """Another server answered while this one had taken so long already: count it as twice as slow, at least."""
        if self.latency is None or 2 * seconds > self.latency:
            self.took(2 * seconds)

    def heard(self, response: Response, seconds: float) -> None:
        self.took(seconds)
        if response.rcode == SERVFAIL:
            self.doubt()
        elif not self.up:
            self._set(True)

    def doubt(self) -> None:
        """It was late, could not be reached, or could find nothing out."""
        if not self._probe and not self._timer and asyncio.get_running_loop().time() >= self._calm_until:
            self._ask()

    def _ask(self) -> None:
        self._timer = None
        self._probe = _Probe(self)
        self._probe.start(self.transport, _question(self._token, self._domain))

    def probed(self, answered: bool) -> None:
        """What a probe says. The next one waits until a second after its start, however it ended."""
        probe, self._probe = self._probe, None
        assert probe
        loop = asyncio.get_running_loop()
        self._unanswered = 0 if answered else self._unanswered + 1
        if answered:
            self._calm_until = loop.time() + CALM
            self._set(True)
            return
        if self._unanswered >= PROBES:
            self._set(False)
        self._timer = loop.call_at(probe.since + PROBE, self._ask)

    def _set(self, up: bool) -> None:
        if up is not self.up:
            self.up = up
            log.warning("upstream %s %s", self, "answers again" if up else "does not answer; asking others first")

    def close(self) -> None:
        if self._timer:
            self._timer.cancel()
        if self._probe:
            self._probe.stop()
        self.transport.close()

    def __str__(self) -> str:
        return f"{self.server.transport}://{self.server.host} port {self.server.port}"  # a path may be a secret


class _Probe:
    """One question of our own. SERVFAIL is no answer: it is what a resolver says that is cut off, or in a loop."""

    def __init__(self, remote: Remote) -> None:
        self.remote = remote
        self.loop = asyncio.get_running_loop()
        self.since = self.loop.time()
        self.timer = self.loop.call_later(PROBE, self.late)
        self.exchange: Exchange | None = None

    def start(self, transport: Transport, query: Query) -> None:
        try:
            self.exchange = transport.ask(query, self)
        except OSError:
            self.failed()

    def heard(self, response: Response) -> None:
        self.timer.cancel()
        self.remote.probed(response.rcode != SERVFAIL)

    def failed(self) -> None:
        self.timer.cancel()
        self.remote.probed(False)

    def late(self) -> None:
        self.stop()
        self.remote.probed(False)

    def stop(self) -> None:
        self.timer.cancel()
        if self.exchange:
            self.exchange.cancel()


def _question(token: str, domain: bytes) -> Query:
    """A name that no cache holds, recognisable by ``token``."""
    name = b"".join(bytes((len(label),)) + label.encode() for label in (secrets.token_hex(4), token)) + domain
    if len(name) > 255:
        name = domain
    return Query(0, RD, NOERROR, name + QUESTION.pack(A, IN), name, A)
