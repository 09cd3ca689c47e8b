"""A running web server for tests: an engine behind it, on a free loopback port."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from sinkhole.resolver.access import ANYONE, Access, Rules
from sinkhole.resolver.answer import blocking
from sinkhole.resolver.cache import Cache
from sinkhole.resolver.engine import Engine, Policy
from sinkhole.resolver.listener import DEFAULT_LIMITS, Limits
from sinkhole.resolver.lookup import Lookup
from sinkhole.resolver.upstream import Forwarder, Server
from sinkhole.web import server
from sinkhole.web.app import app
from tests.resolver.serving import BLOCKED


class Web(NamedTuple):
    """A server on ``port``, and what its loop complained of."""

    engine: Engine
    port: int
    server: server.Server
    complaints: list[dict[str, object]]


@contextmanager
def serving(
    servers: Sequence[Server] = (),
    *,
    policy: Policy = BLOCKED,
    limits: Limits = DEFAULT_LIMITS,
    access: Rules = ANYONE,
    tls: Callable[[], ssl.SSLContext | None] = lambda: None,
    application: Callable[[Engine], server.App] = app,
) -> Iterator[Web]:
    """Run one in a thread. A complaint of its loop (an exception that nobody caught) fails the test."""
    started: list[Web] = []
    complaints: list[dict[str, object]] = []
    ready, stop = threading.Event(), threading.Event()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: complaints.append(context))
        sock = socket.socket()
        sock.bind(("127.0.0.1", 0))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 14)  # so that it is soon full
        upstreams = Forwarder(servers, 2.0, 1000)
        engine = Engine(policy, Lookup(upstreams.route, Cache()), blocking("null-ip"), access=Access(access))
        web = server.Server(application(engine), limits, tls, engine.hears, engine.access.trusts)
        close = web.serve(sock)
        started.append(Web(engine, sock.getsockname()[1], web, complaints))
        ready.set()
        await loop.run_in_executor(None, stop.wait)
        close()
        upstreams.close()
        await asyncio.sleep(0.05)  # for the connections to say goodbye

    thread = threading.Thread(target=asyncio.run, args=(main(),))
    thread.start()
    try:
        assert ready.wait(5)
        yield started[0]
    finally:
        stop.set()
        thread.join(5)
    assert not complaints, complaints
