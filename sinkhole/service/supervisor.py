"""The control process: holds the sockets, keeps the workers alive, and tells them of every new bundle.

It does no DNS itself. Feeds are fetched and compiled in a process of their own (``sinkhole build``), whoever starts it:
the supervisor watches the ``current`` bundle and passes it on, so a build by cron counts as much as its own.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path

from sinkhole import bundle
from sinkhole.config import Endpoint
from sinkhole.errors import SinkholeError
from sinkhole.service.settings import Settings
from sinkhole.service.sockets import Listening

log = logging.getLogger(__name__)

#: Seconds: between looks at the current bundle; before a worker that died at once is started again; to stop a worker.
WATCH, BACK_OFF, STOP = 0.5, (0.0, 0.2, 0.5, 1.0, 2.0, 5.0), 5.0
#: A worker that lived this long, in seconds, starts with no delay again.
_SETTLED = 5.0


class _Worker:
    """One place for a worker process: its sockets, the process in it now, and the channel to it."""

    def __init__(self, number: int, listening: Listening) -> None:
        self.number = number
        self.listening = listening
        self.process: asyncio.subprocess.Process | None = None
        self.writer: asyncio.StreamWriter | None = None
        self.ready = asyncio.Event()

    async def start(self, settings: Settings) -> asyncio.StreamReader:
        ours, theirs = socket.socketpair()
        udp, tcp = ([sock.fileno() for sock in socks] for socks in (self.listening.udp, self.listening.tcp))
        with theirs:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", "sinkhole.service.worker", str(theirs.fileno())),
                *(",".join(map(str, numbers)) for numbers in (udp, tcp)),
                pass_fds=[theirs.fileno(), *udp, *tcp],
                stdin=asyncio.subprocess.DEVNULL,
            )
        if self.writer:
            self.writer.close()
        reader, self.writer = await asyncio.open_unix_connection(sock=ours)
        self.tell(settings)
        return reader

    def tell(self, settings: Settings) -> None:
        if self.writer and not self.writer.is_closing():
            self.writer.write(settings.line())

    async def stop(self) -> None:
        if self.process and self.process.returncode is None:
            with suppress(ProcessLookupError):
                self.process.terminate()
            try:
                await asyncio.wait_for(self.process.wait(), STOP)
            except TimeoutError:
                self.process.kill()
                await self.process.wait()


class Supervisor:
    """Runs the workers until it is told to stop.

    ``reload`` gives new settings (with any bundle) or raises SinkholeError, and ``refresh`` starts a build; both are
    called on SIGHUP, ``refresh`` also every ``interval`` seconds when there is one.
    """

    def __init__(
        self,
        listening: Sequence[Listening],
        settings: Settings,
        bundles: Path,
        *,
        reload: Callable[[], Settings],
        refresh: Callable[[bool], Awaitable[None]],
        interval: float | None,
        ready: Callable[[list[Endpoint]], None],
    ) -> None:
        self._workers = [_Worker(number, sockets) for number, sockets in enumerate(listening, 1)]
        self._settings = settings
        self._bundles = bundles
        self._reload = reload
        self._refresh = refresh
        self._interval = interval
        self._ready = ready
        self._stopping = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT; then stop the workers, which answer what is under way."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        loop.add_signal_handler(signal.SIGHUP, lambda: self._spawn(self._on_hangup()))
        for worker in self._workers:
            self._spawn(self._keep(worker))
        self._spawn(self._announce())
        self._spawn(self._watch())
        if self._interval:
            self._spawn(self._refresh_at_times(self._interval))
        await self._stopping.wait()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(worker.stop() for worker in self._workers))

    def _spawn(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Future[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.error("internal fault: %r", error)
            self._stopping.set()

    async def _announce(self) -> None:
        await asyncio.gather(*(worker.ready.wait() for worker in self._workers))
        self._ready(self._workers[0].listening.endpoints)

    async def _keep(self, worker: _Worker) -> None:
        """A worker in its place at all times: one that ends is replaced, on the same sockets."""
        loop = asyncio.get_running_loop()
        failures = 0
        while True:
            await asyncio.sleep(BACK_OFF[min(failures, len(BACK_OFF) - 1)])
            started = loop.time()
            reader = await worker.start(self._settings)
            assert worker.process
            await self._listen(worker, reader)
            code = await worker.process.wait()
            failures = 0 if loop.time() - started > _SETTLED else failures + 1
            how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
            log.warning("worker %d (process %d) ended: %s; starting another", worker.number, worker.process.pid, how)

    async def _listen(self, worker: _Worker, reader: asyncio.StreamReader) -> None:
        """What a worker says, until it ends."""
        with suppress(ConnectionError):
            while line := await reader.readline():
                word, _, rest = line.decode(errors="replace").strip().partition(" ")
                if word == "ready":
                    worker.ready.set()
                else:
                    log.error("worker %d keeps what it had: %s", worker.number, rest)

    def _apply(self, settings: Settings) -> None:
        self._settings = settings
        for worker in self._workers:
            worker.tell(settings)

    async def _watch(self) -> None:
        """Pass on every new current bundle."""
        while True:
            await asyncio.sleep(WATCH)
            current = bundle.current(self._bundles)
            if current and str(current) != self._settings.bundle:
                log.info("bundle %s", current.name)
                self._apply(self._settings._replace(bundle=str(current)))

    async def _on_hangup(self) -> None:
        try:
            settings = self._reload()
        except SinkholeError as error:
            log.error("not reloaded, everything stays as it was:\n%s", error)
            return
        self._apply(settings._replace(bundle=self._settings.bundle))
        await self._refresh(True)
        log.info("reloaded")

    async def _refresh_at_times(self, interval: float) -> None:
        while True:
            await self._refresh(False)
            await asyncio.sleep(interval)
