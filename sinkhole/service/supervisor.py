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
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any

from sinkhole import bundle
from sinkhole.errors import SinkholeError
from sinkhole.service.settings import Settings
from sinkhole.service.sockets import Listening

log = logging.getLogger(__name__)

#: Seconds: between looks at the current bundle; before the place of a worker that never got ready is filled again, the
#: more often the longer; to stop a worker.
WATCH, BACK_OFF, STOP = 0.5, (0.0, 0.2, 0.5, 1.0, 2.0, 5.0), 5.0


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
        numbers = [[sock.fileno() for sock in socks] for socks in self.listening]
        with theirs:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", "sinkhole.service.worker", str(theirs.fileno())),
                *(",".join(map(str, kind)) for kind in numbers),
                pass_fds=[theirs.fileno(), *chain(*numbers)],
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

    ``reload``, called on SIGHUP, gives new settings (with any bundle) and a new ``interval``, or raises SinkholeError.
    ``refresh`` does a build and says whether it came to one; it is told whether to leave the network alone: so after a
    reload, and then with the network every ``interval`` seconds when there is one. Cancelled, it ends the build first.
    """

    def __init__(
        self,
        listening: Sequence[Listening],
        settings: Settings,
        bundles: Path,
        *,
        reload: Callable[[], tuple[Settings, float | None]],
        refresh: Callable[[bool], Awaitable[bool]],
        interval: float | None,
        ready: Callable[[Listening], None],
    ) -> None:
        self._workers = [_Worker(number, sockets) for number, sockets in enumerate(listening, 1)]
        self._settings = settings
        self._bundles = bundles
        self._reload = reload
        self._refresh = refresh
        self._interval = interval
        self._ready = ready
        self._building = asyncio.Lock()
        self._stopping = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT; then stop the workers, which answer what is under way."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        loop.add_signal_handler(signal.SIGHUP, self._on_hangup)
        for worker in self._workers:
            self._spawn(self._keep(worker))
        self._spawn(self._announce())
        self._spawn(self._watch())
        self._refreshing = self._spawn(self._keep_fresh(self._interval))
        await self._stopping.wait()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(worker.stop() for worker in self._workers))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.error("internal fault: %r", error)
            self._stopping.set()

    async def _announce(self) -> None:
        await asyncio.gather(*(worker.ready.wait() for worker in self._workers))
        self._ready(self._workers[0].listening)

    async def _keep(self, worker: _Worker) -> None:
        """A worker in its place at all times: one that ends is replaced, on the same sockets."""
        failures = 0
        while True:
            await asyncio.sleep(BACK_OFF[min(failures, len(BACK_OFF) - 1)])
            reader = await worker.start(self._settings)
            assert worker.process
            failures = 0 if await self._listen(worker, reader) else failures + 1
            code = await worker.process.wait()
            how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
            log.warning("worker %d (process %d) ended: %s; starting another", worker.number, worker.process.pid, how)

    async def _listen(self, worker: _Worker, reader: asyncio.StreamReader) -> bool:
        """Hear what a worker says until it ends; whether it ever was ready."""
        ready = False
        with suppress(ConnectionError):
            while line := await reader.readline():
                word, _, rest = line.decode(errors="replace").strip().partition(" ")
                if word == "ready":
                    ready = True
                    worker.ready.set()
                else:
                    log.error("worker %d keeps what it had: %s", worker.number, rest)
        return ready

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

    def _on_hangup(self) -> None:
        try:
            settings, interval = self._reload()
        except SinkholeError as error:
            log.error("not reloaded, everything stays as it was:\n%s", error)
            return
        self._apply(settings._replace(bundle=self._settings.bundle))
        self._refreshing.cancel()  # what it builds is of the former configuration
        self._refreshing = self._spawn(self._keep_fresh(interval, reloaded=True))

    async def _keep_fresh(self, interval: float | None, reloaded: bool = False) -> None:
        if reloaded:
            async with self._building:
                built = await self._refresh(True)
            if built:
                log.info("reloaded")
            else:  # such as while another build holds the lock
                log.error("lists and policy stay those of the last build; the other settings are the new ones")
        while interval:
            async with self._building:
                await self._refresh(False)
            await asyncio.sleep(interval)
