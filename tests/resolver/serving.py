"""A running resolver for tests: engine, cache, forwarder and both listeners on one free loopback port."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from sinkhole.names import key as name_key
from sinkhole.policy.verdict import FORWARD, Action, Verdict
from sinkhole.resolver.access import ANYONE, Access, Rules
from sinkhole.resolver.answer import blocking
from sinkhole.resolver.cache import Cache
from sinkhole.resolver.engine import Engine, Handle, Policy
from sinkhole.resolver.listener import DEFAULT_LIMITS, Connections, Limits, serve_tcp, serve_udp
from sinkhole.resolver.lookup import Lookup
from sinkhole.resolver.upstream import Forwarder, Server
from sinkhole.resolver.zones import Zones

BLOCK = Verdict(Action.BLOCK, "xx-2025-01-01", "ai", 16, "restricted by order xx-2025-01-01")


class Trees:
    """A policy: trees of names and their verdicts, for all clients alike. What is allowed may lead anywhere."""

    by_address = None

    def __init__(self, trees: dict[str, Verdict]) -> None:
        self._trees = [(name_key(name.encode()), verdict) for name, verdict in trees.items()]

    def profile(self, client: str, token: str = "") -> int:
        return 0

    def beyond(self, profile: int, key: bytes, qtype: int) -> int:
        return -1 if self.decide(profile, key, qtype).action is Action.ALLOW else profile

    def decide(self, profile: int, key: bytes, qtype: int) -> Verdict:
        if profile < 0:
            return FORWARD
        return next((verdict for tree, verdict in self._trees if key.startswith(tree)), FORWARD)


BLOCKED = Trees({"blocked.test": BLOCK})


class Running(NamedTuple):
    """A resolver that answers on ``port``, over UDP and TCP."""

    engine: Engine
    port: int
    loop: asyncio.AbstractEventLoop
    upstreams: Forwarder

    def call(self, function: Callable[[], object]) -> None:
        """Run ``function`` in the resolver's thread and wait for it."""
        done = threading.Event()
        self.loop.call_soon_threadsafe(function)
        self.loop.call_soon_threadsafe(done.set)
        assert done.wait(5)


@contextmanager
def serving(
    servers: Sequence[Server] = (),
    *,
    policy: Policy = BLOCKED,
    mode: str | Sequence[str] = "null-ip",
    timeout: float = 2.0,
    limit: int = 1000,
    limits: Limits = DEFAULT_LIMITS,
    host: str = "127.0.0.1",
    access: Rules = ANYONE,
    tls: Callable[[], ssl.SSLContext] | None = None,
    handle: Handle | None = None,
    zones: Zones | None = None,
) -> Iterator[Running]:
    """Run a resolver in a thread, with ``tls`` over TLS in place of TCP, where ``handle`` may stand in for the engine.

    A complaint of its loop (an exception that nobody caught) fails the test.
    """
    started: list[Running] = []
    complaints: list[dict[str, object]] = []
    ready, stop = threading.Event(), threading.Event()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: complaints.append(context))
        tcp, udp = _sockets(host)
        upstreams = Forwarder(servers, timeout, limit)
        lookup = Lookup(upstreams.route, Cache())
        engine = Engine(policy, lookup, blocking(mode), access=Access(access), zones=zones)
        closers = [
            serve_udp(udp, engine),
            serve_tcp(tcp, handle or engine.handle, Connections(limits), engine.hears, tls),
            upstreams.close,
        ]
        started.append(Running(engine, udp.getsockname()[1], loop, upstreams))
        ready.set()
        await loop.run_in_executor(None, stop.wait)
        for close in closers:
            close()
        await asyncio.sleep(0.01)  # for the transports to say goodbye

    thread = threading.Thread(target=asyncio.run, args=(main(),))
    thread.start()
    try:
        assert ready.wait(5)
        yield started[0]
    finally:
        stop.set()
        thread.join(5)
    assert not complaints, complaints


def _sockets(host: str) -> tuple[socket.socket, socket.socket]:
    """A TCP and a UDP socket on one free port."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    while True:
        tcp, udp = socket.socket(family), socket.socket(family, socket.SOCK_DGRAM)
        tcp.bind((host, 0))
        try:
            udp.bind((host, tcp.getsockname()[1]))
        except OSError:
            tcp.close()
            udp.close()
        else:
            return tcp, udp
