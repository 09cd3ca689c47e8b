"""One DNS process: ``python -m sinkhole.service.worker CONTROL[,LOG] UDP,… TCP,… DOT,… WEB,…`` (socket numbers).

That of the web is one with sockets of the last kind only: it is told the same, and answers by an engine of its own.

The supervisor writes :class:`~sinkhole.service.settings.Settings` to the control socket, a line whenever they change;
the worker answers each with ``ready NAME`` or ``failed WHY`` and keeps what it had on failure. To :data:`STATUS` it
answers ``status JSON``. What becomes of queries goes over the log socket (:mod:`sinkhole.resolver.recorder`). When the
supervisor is gone, so is the worker. It touches no network but DNS, no database, and reads no file but the bundle.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import resource
import signal
import socket
import ssl
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sinkhole import bundle
from sinkhole.errors import SinkholeError
from sinkhole.policy.policy import Policy
from sinkhole.resolver.access import Access
from sinkhole.resolver.answer import NOT_READY, blocking, ede
from sinkhole.resolver.cache import Cache
from sinkhole.resolver.counters import Counters
from sinkhole.resolver.engine import Engine
from sinkhole.resolver.listener import Connections, serve_tcp, serve_udp
from sinkhole.resolver.listener.tls import DOT, HTTP, context, hush
from sinkhole.resolver.lookup import Lookup
from sinkhole.resolver.recorder import Recorder
from sinkhole.resolver.upstream import BUDGET, Server, Upstreams
from sinkhole.resolver.upstream.crowd import Limits
from sinkhole.resolver.zones import Zones
from sinkhole.service import turns
from sinkhole.service.settings import MAX_LINE, Settings, parse
from sinkhole.service.startup import CLOSED, NOTICES, OPEN
from sinkhole.service.waiting import Waiting

if TYPE_CHECKING:
    from sinkhole.web.server import Server as WebServer

#: What the supervisor writes to hear how the worker is.
STATUS = b"status\n"
#: How long queries under way may still take when the worker is told to stop, in seconds.
DRAIN = 4.0
#: How long queries that came before that may still be read.
BACKLOG = 0.2
#: How much the web gives way to DNS (nice(1)).
WEB_NICE = 5
#: After how many new objects, and how many times that, the interpreter looks for cycles: seldom among all objects,
#: because every query waits for that, and hardly any object is in a cycle.
COLLECT = 2000, 10, 50
#: The longest time between two looks at the wall clock, in seconds; it may be set while we wait.
_LOOK = 30.0


class Worker:
    """The engine of this process, and the instant at which its policy changes. ``log`` is the log socket, if any."""

    def __init__(
        self,
        udp: Sequence[socket.socket],
        tcp: Sequence[socket.socket],
        dot: Sequence[socket.socket] = (),
        web: Sequence[socket.socket] = (),
        *,
        log: socket.socket | None = None,
    ) -> None:
        self._udp = udp
        self._tcp = tcp
        self._dot = dot
        self._web = web
        self._server: WebServer | None = None
        self._tls: ssl.SSLContext | None = None
        self._engine: Engine | None = None
        self._settings: Settings | None = None
        self._upstreams: Upstreams | None = None
        self._counters = Counters()
        self._recorder = Recorder(log, self._counters)
        self._zones: Zones | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._due: datetime | None = None
        self._change: asyncio.Task[None] | None = None  # so that it is not forgotten while it runs
        self._closing: list[Callable[[], None]] = []

    async def apply(self, settings: Settings) -> str:
        """Take over new settings; returns the name of the bundle. Raises before anything has changed.

        A bundle is read and checked in a thread, because that may take longer than a query may wait. Meanwhile nothing
        looks for cycles, which would stop all threads, and never among what a bundle consists of.
        """
        gc.disable()
        try:
            policy = await asyncio.to_thread(_policy, settings, self._engine and self._engine.policy)
            gc.freeze()
        finally:
            gc.enable()
        answers = blocking(settings.mode, settings.ttl)
        self._tls = self._context(settings)
        former = self._settings
        zones = self._zones
        if zones is None or former is None or former.local != settings.local:
            zones = self._zones = Zones(settings.local)
        zones.tell(Path(settings.bundle).name)
        lookup = self._lookup(settings)
        if self._engine is None:
            assert lookup
            access = Access(settings.access)
            self._engine = Engine(policy, lookup, answers, access=access, zones=zones, recorder=self._recorder)
            self._serve(self._engine, settings)
        else:
            if settings.access != self._engine.access.rules:
                self._engine.access = Access(settings.access)
            if lookup:
                self._engine.lookup = lookup
            self._engine.blocking = answers
            self._engine.zones = zones
            self._engine.policy = policy
        notice = NOTICES.get(settings.state)
        self._engine.notice = ede(NOT_READY, notice) if notice else b""
        self._engine.forget()
        if former is None or former.recording != settings.recording:
            self._recorder.configure(settings.recording)
        self._settings = settings
        self._watch(policy)
        return Path(settings.bundle).name

    def _lookup(self, settings: Settings) -> Lookup | None:
        """What looks names up, with an empty cache; None when the former can stay."""
        former = self._settings
        if former and former.lookup == settings.lookup:
            return None
        if self._upstreams is None or former is None or former.upstream != settings.upstream:
            upstreams = _upstreams(settings)
            if self._upstreams:  # what is under way to the former ones is still answered
                asyncio.get_running_loop().call_later(BUDGET + 1, self._upstreams.close)
            self._upstreams = upstreams
        cache = Cache(settings.cache, settings.stale)
        return Lookup(self._upstreams.route, cache, settings.handling, self._counters)

    def status(self) -> dict[str, Any]:
        """How this process is, ready for JSON."""
        engine, settings = self._engine, self._settings
        if not engine or not settings:
            return {}
        return {
            "bundle": Path(settings.bundle).name,
            "state": settings.state,
            "policy-changes-at": self._due and self._due.isoformat(),
            "counters": {
                **asdict(engine.counters),
                "waiting": self._upstreams.waiting if self._upstreams else 0,
                "remembered": len(engine.lookup.cache),
            },
        }

    def _serve(self, engine: Engine, settings: Settings) -> None:
        stamp = self._recorder.stamp
        streams = engine.handle, Connections(settings.limits), engine.hears
        self._closing = [serve_udp(sock, engine) for sock in self._udp]
        self._closing += [serve_tcp(sock, *streams, stamp=stamp) for sock in self._tcp]
        self._closing += [serve_tcp(sock, *streams, self._current_tls, stamp) for sock in self._dot]
        if self._web:
            self._closing += self._serve_web(engine, settings)

    def _serve_web(self, engine: Engine, settings: Settings) -> list[Callable[[], None]]:
        from sinkhole.web.app import app
        from sinkhole.web.server import Server

        self._server = server = Server(
            app(engine),
            settings.limits,
            (lambda: None) if settings.plain else (lambda: self._tls),
            engine.hears,
            lambda client: engine.access.trusts(client),
        )
        return [server.serve(sock) for sock in self._web]

    def _context(self, settings: Settings) -> ssl.SSLContext | None:
        """What encrypted listeners prove themselves with, if they do. Raises ListenError."""
        if not settings.tls:
            return None
        cert, key = map(Path, settings.tls)
        return context(cert, key, HTTP if self._web else DOT)

    def _current_tls(self) -> ssl.SSLContext:
        assert self._tls
        return self._tls

    def _watch(self, policy: Policy | Waiting) -> None:
        """Look again when the policy changes by itself, and at times in between whether the clock was set."""
        if self._timer:
            self._timer.cancel()
        self._due = due = policy.changes_at() if isinstance(policy, Policy) else None
        if not isinstance(policy, Policy):
            return
        wait = _LOOK if due is None else min(_LOOK, max((due - datetime.now(UTC)).total_seconds(), 0))
        self._timer = asyncio.get_running_loop().call_later(wait, self._look, policy, due)

    def _look(self, policy: Policy, due: datetime | None) -> None:
        now = datetime.now(UTC)
        if (due and now >= due) or now < policy.at:
            self._change = asyncio.get_running_loop().create_task(self._turn(policy, now))
        else:
            self._watch(policy)

    async def _turn(self, policy: Policy, now: datetime) -> None:
        """Put the policy of another instant in force, unless a new one came first."""
        turned = await asyncio.to_thread(Policy, policy.bundle, now, policy.permissions)
        if self._engine and self._engine.policy is policy:
            self._engine.policy = turned
            self._watch(turned)

    async def stop(self) -> None:
        """Take no more queries, answer those under way, and close."""
        loop = asyncio.get_running_loop()
        end = loop.time() + DRAIN
        while any(map(_pending, self._udp)) and loop.time() < end - DRAIN + BACKLOG:
            await asyncio.sleep(0)  # what came before the order to stop waits in the socket
        for sock in self._udp:
            loop.remove_reader(sock.fileno())
        if self._server:
            await self._server.finish()
        while self._busy and loop.time() < end:
            await asyncio.sleep(0.02)
        if self._server:
            await asyncio.sleep(0.02)  # for the last answers to leave
        for close in self._closing:
            close()
        if self._upstreams:
            self._upstreams.close()
        self._recorder.close()

    @property
    def _busy(self) -> bool:
        """Whether somebody waits for an answer."""
        return bool(self._upstreams and self._upstreams.waiting) or bool(self._server and self._server.crowd.total)


def _upstreams(settings: Settings) -> Upstreams:
    """One asker may cost six sockets at a time, when nobody answers; and clients need some too."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return Upstreams(
        [Server(*server) for server in settings.servers],
        strategy=settings.strategy,
        timeout=settings.timeout,
        conditional={domain: [Server(*server) for server in servers] for domain, servers in settings.conditional},
        bootstrap=[Server(*server) for server in settings.bootstrap],
        ca=settings.ca,
        token=settings.token,
        limits=Limits(total=min(Limits().total, files // 8)),
    )


def _policy(settings: Settings, former: object) -> Policy | Waiting:
    """What decides under these settings; a bundle that is open already is not read again."""
    if settings.state in (CLOSED, OPEN):
        return Waiting(settings.state)
    path = Path(settings.bundle)
    opened = former.bundle if isinstance(former, Policy) and former.bundle.path == path else bundle.load(path)
    return Policy(opened, datetime.now(UTC), settings.permissions)


def _pending(sock: socket.socket) -> bool:
    """Whether a datagram waits in a socket."""
    try:
        sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except OSError:
        return False
    return True


async def run(control: socket.socket, *listening: Sequence[socket.socket], log: socket.socket | None = None) -> None:
    """Serve until told to stop, or until the supervisor is gone."""
    worker = Worker(*listening, log=log)
    reader, writer = await asyncio.open_unix_connection(sock=control, limit=MAX_LINE)
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    following = asyncio.create_task(_follow(worker, reader, writer))
    following.add_done_callback(lambda task: stopping.set())
    await stopping.wait()
    following.cancel()
    await worker.stop()


async def _follow(worker: Worker, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while line := await reader.readline():
        if line == STATUS:
            writer.write(f"status {json.dumps(worker.status())}\n".encode())
            continue
        try:
            writer.write(f"ready {await worker.apply(parse(line))}\n".encode())
        except SinkholeError as error:
            writer.write(f"failed {' '.join(str(error).split())}\n".encode())


def main() -> None:
    sys.unraisablehook = hush
    _raise_file_limit()
    gc.set_threshold(*COLLECT)
    sys.setswitchinterval(0.0005)  # seconds that queries wait for the thread that reads a bundle
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt from the terminal is the supervisor's to pass on
    (control, *log), *listening = (list(map(_socket, filter(None, numbers.split(",")))) for numbers in sys.argv[1:])
    web = any(listening[3:])
    logging.basicConfig(format=f"sinkhole: {'web' if web else 'worker'}: %(message)s", level=logging.INFO)
    if web:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))  # niceness means nothing to others (sched(7))
        os.nice(WEB_NICE)
    else:
        turns.shorten()
    asyncio.run(run(control, *listening, log=next(iter(log), None)))


def _raise_file_limit() -> None:
    """Queries that are forwarded, and clients over TCP, have sockets; the usual limit of 1024 is made for select(2)."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _socket(number: str) -> socket.socket:
    return socket.socket(fileno=int(number))


if __name__ == "__main__":
    main()
