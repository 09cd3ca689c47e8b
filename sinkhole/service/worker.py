"""One DNS process: ``python -m sinkhole.service.worker CONTROL UDP,… TCP,…`` (socket numbers).

The supervisor writes :class:`~sinkhole.service.settings.Settings` to the control socket, a line whenever they change;
the worker answers each with ``ready NAME`` or ``failed WHY`` and keeps what it had on failure. When the supervisor is
gone, so is the worker. It touches no network but DNS, no database, and reads no file but the bundle.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import resource
import signal
import socket
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from sinkhole import bundle
from sinkhole.errors import SinkholeError
from sinkhole.policy.policy import Policy
from sinkhole.resolver.answer import blocking
from sinkhole.resolver.cache import Cache
from sinkhole.resolver.counters import Counters
from sinkhole.resolver.engine import Engine
from sinkhole.resolver.listener import Close, serve_tcp, serve_udp
from sinkhole.resolver.lookup import Lookup
from sinkhole.resolver.upstream import Forwarder, Server
from sinkhole.service.settings import Settings, parse

#: How long queries under way may still take when the worker is told to stop, in seconds.
DRAIN = 4.0
#: The longest time between two looks at the wall clock, in seconds; it may be set while we wait.
_LOOK = 30.0


class Worker:
    """The engine of this process, and the instant at which its policy changes."""

    def __init__(self, udp: Sequence[socket.socket], tcp: Sequence[socket.socket]) -> None:
        self._udp = udp
        self._tcp = tcp
        self._engine: Engine | None = None
        self._settings: Settings | None = None
        self._upstreams: Forwarder | None = None
        self._counters = Counters()
        self._timer: asyncio.TimerHandle | None = None
        self._closing: list[Close] = []

    async def apply(self, settings: Settings) -> str:
        """Take over new settings; returns the name of the bundle. Raises before anything has changed."""
        loaded = bundle.load(Path(settings.bundle))
        policy = Policy(loaded, datetime.now(UTC))
        answers = blocking(settings.mode, settings.ttl)
        if self._engine is None:
            self._engine = Engine(policy, self._lookup(settings), answers)
            gc.collect()
            gc.freeze()
            self._closing = [serve_udp(sock, self._engine.handle) for sock in self._udp]
            self._closing += [await serve_tcp(sock, self._engine.handle) for sock in self._tcp]
        else:
            if self._settings and self._settings.outside != settings.outside:
                self._engine.lookup = self._lookup(settings)
            self._engine.blocking = answers
            self._engine.policy = policy
        self._settings = settings
        self._watch(policy)
        return loaded.name

    def _lookup(self, settings: Settings) -> Lookup:
        """Upstreams and an empty cache."""
        self._upstreams = upstreams = Forwarder([Server(*server) for server in settings.servers], settings.timeout)
        return Lookup(lambda name: upstreams, Cache(settings.cache, settings.stale), settings.handling, self._counters)

    def _watch(self, policy: Policy) -> None:
        """Look again when the policy changes by itself, and at times in between whether the clock was set."""
        if self._timer:
            self._timer.cancel()
        due = policy.changes_at()
        wait = _LOOK if due is None else min(_LOOK, max((due - datetime.now(UTC)).total_seconds(), 0))
        self._timer = asyncio.get_running_loop().call_later(wait, self._look, policy, due)

    def _look(self, policy: Policy, due: datetime | None) -> None:
        now = datetime.now(UTC)
        if (due and now >= due) or now < policy.at:
            policy = Policy(policy.bundle, now)
            assert self._engine
            self._engine.policy = policy
        self._watch(policy)

    async def stop(self) -> None:
        """Take no more queries, answer those under way, and close."""
        loop = asyncio.get_running_loop()
        end = loop.time() + DRAIN
        for sock in self._udp:
            loop.remove_reader(sock.fileno())
        while self._upstreams and self._upstreams.waiting and loop.time() < end:
            await asyncio.sleep(0.02)
        for close in self._closing:
            close()


async def run(control: socket.socket, udp: Sequence[socket.socket], tcp: Sequence[socket.socket]) -> None:
    """Serve until told to stop, or until the supervisor is gone."""
    worker = Worker(udp, tcp)
    reader, writer = await asyncio.open_unix_connection(sock=control)
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    following = asyncio.create_task(_follow(worker, reader, writer))
    following.add_done_callback(lambda task: stopping.set())
    await stopping.wait()
    following.cancel()
    await worker.stop()


async def _follow(worker: Worker, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while line := await reader.readline():
        try:
            writer.write(f"ready {await worker.apply(parse(line))}\n".encode())
        except SinkholeError as error:
            writer.write(f"failed {' '.join(str(error).split())}\n".encode())


def main(arguments: Sequence[str]) -> None:
    logging.basicConfig(format="sinkhole: worker: %(message)s", level=logging.INFO)
    _raise_file_limit()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt from the terminal is the supervisor's to pass on
    control, *listening = arguments
    udp, tcp = (list(map(_socket, filter(None, numbers.split(",")))) for numbers in listening)
    asyncio.run(run(_socket(control), udp, tcp))


def _raise_file_limit() -> None:
    """Every query that is forwarded has a socket of its own, and the usual limit of 1024 is made for select(2)."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _socket(number: str) -> socket.socket:
    return socket.socket(fileno=int(number))


if __name__ == "__main__":
    main(sys.argv[1:])
