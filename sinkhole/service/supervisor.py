"""The control process: holds the sockets, keeps the workers alive, and tells them of every new bundle.

It does no DNS itself. Feeds are fetched and compiled in a process of their own (``sinkhole build``), whoever starts it:
the supervisor watches the ``current`` bundle and passes it on, so a build by cron counts as much as its own.

Nothing that is in force changes before what takes its place is known to be good: a new configuration is read, then
built, then taken over by all workers, and when any of these fails all stays, or becomes again, as it was.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

from sinkhole import __version__, bundle
from sinkhole.compiler import history
from sinkhole.errors import SinkholeError
from sinkhole.policy.exceptions import Permission
from sinkhole.service import control, process, startup
from sinkhole.service.process import Process
from sinkhole.service.publishing import Publishing
from sinkhole.service.querylog import Keeping, QueryLog
from sinkhole.service.settings import Settings
from sinkhole.service.sockets import Listening
from sinkhole.service.worker import STATUS

log = logging.getLogger(__name__)

#: Seconds: between looks at the current bundle; before the place of a worker that never got ready is filled again, the
#: more often the longer; to stop a worker.
WATCH, BACK_OFF, STOP = 0.5, (0.0, 0.2, 0.5, 1.0, 2.0, 5.0), 5.0
#: Seconds: between looks at each worker, after which one that does not answer is killed, and between builds while the
#: first one fails.
PULSE, HUNG, AGAIN = 10.0, 60.0, 30.0

#: Counters of a worker that say how it is now rather than how often it was.
_NOW = frozenset({"waiting", "remembered"})
#: What a worker that ended has answered.
_GONE = "gone", ""


class Built(NamedTuple):
    """How a build ended: whether there is a bundle of it, its exit code, and what it said to people."""

    ok: bool
    code: int
    said: str


class Configured(NamedTuple):
    """What a configuration says to the supervisor.

    ``settings`` have any bundle; feeds are fetched every ``interval`` seconds, or never; ``startup`` is the mode;
    ``missing`` are the sources of which a bundle has no text; ``publishes``: groups are exported; ``later`` is what
    only the next start can change; ``keeping`` is how much of the query log is kept.
    """

    settings: Settings
    interval: float | None
    startup: str
    missing: Callable[[Path], list[str]]
    publishes: bool = False
    later: tuple[str, ...] = ()
    keeping: Keeping = Keeping()


class Reloaded(NamedTuple):
    """How a reload ended, and lines for people: why not, or what to know."""

    ok: bool
    said: list[str]


class _Worker:
    """One place for a worker process: its sockets, the process in it now, and the channel to it; ``begun`` is one that
    runs already."""

    def __init__(self, name: str, listening: Listening, begun: Process | None = None) -> None:
        self.name = name
        self.listening = listening
        self.process: Process | None = None
        self.ready = asyncio.Event()  # that it ever was
        self.serves = False
        self.starts = 0
        self.last: dict[str, Any] = {}
        self._begun = begun
        self._writer: asyncio.StreamWriter | None = None
        self._asked: deque[asyncio.Future[tuple[str, str]]] = deque()

    async def start(self, queries: QueryLog) -> asyncio.StreamReader:
        """Fill the place; what the new process says comes from the reader, and goes to ``queries`` what it records."""
        self.process, self._begun = self._begun or process.start(self.listening), None
        queries.take(self.process.records)
        self.starts += 1
        reader, self._writer = await asyncio.open_unix_connection(sock=self.process.control)
        return reader

    async def ask(self, line: bytes) -> tuple[str, str]:
        """What the worker answers to a line: a word and the rest. One that does not is killed, and ``gone``."""
        if not self._writer or self._writer.is_closing():
            return _GONE
        future: asyncio.Future[tuple[str, str]] = asyncio.get_running_loop().create_future()
        self._asked.append(future)
        self._writer.write(line)
        try:
            return await asyncio.wait_for(future, HUNG)
        except TimeoutError:
            log.error("%s does not answer; it is replaced", self.name)
            self.kill()
            return _GONE

    async def hear(self, reader: asyncio.StreamReader) -> None:
        """Hand out what a worker answers until it ends; it answers in the order in which it was asked."""
        with suppress(ConnectionError):
            while line := await reader.readline():
                word, _, rest = line.decode(errors="replace").strip().partition(" ")
                if self._asked and not (future := self._asked.popleft()).done():
                    future.set_result((word, rest))
        if self._writer:
            self._writer.close()
        while self._asked:
            if not (future := self._asked.popleft()).done():
                future.set_result(_GONE)

    def status(self) -> dict[str, Any]:
        return {
            "pid": self.process and self.process.pid,
            "ready": self.serves,
            "restarts": max(self.starts - 1, 0),
            **self.last,
        }

    def kill(self) -> None:
        if self.process:
            self.process.send(signal.SIGKILL)

    async def ended(self) -> int:
        """The exit code of the process, when it has one."""
        assert self.process
        if self.process.code is None:
            loop, ended = asyncio.get_running_loop(), asyncio.Event()
            loop.add_reader(self.process.handle, ended.set)
            try:
                await ended.wait()
            finally:
                loop.remove_reader(self.process.handle)
        return self.process.wait()

    async def stop(self) -> None:
        if self.process:
            self.process.send(signal.SIGTERM)
            try:
                await asyncio.wait_for(self.ended(), STOP)
            except TimeoutError:
                self.kill()
                await self.ended()


class Supervisor:
    """Runs the workers until it is told to stop: one for each of ``listening``, and one for the ``web``, if any.

    ``begun`` are processes for DNS that answer already, one for each of ``listening`` or none; they are told what new
    ones are told. ``configure`` reads the configuration again, or raises SinkholeError. ``refresh`` does a build; it
    is told whether to leave the network alone: so after a reload, and then with the network every ``interval`` seconds
    when there is one. Cancelled, it ends the build first. ``found`` is the bundle to start with, ``fresh`` whether it
    is all that this machine has the texts for. ``ready`` is called when all workers answer. ``commands`` is where
    reloads and the status are asked for. ``register`` gives the exceptions when they changed since it was called last,
    else None; it raises SinkholeError when their record cannot be trusted, and then those from before stay.
    ``queries`` keeps what workers record. ``publishing`` is told when what it publishes may have changed.
    """

    def __init__(
        self,
        listening: Sequence[Listening],
        configured: Configured,
        bundles: Path,
        *,
        found: Path | None,
        fresh: bool,
        configure: Callable[[], Configured],
        refresh: Callable[[bool], Awaitable[Built]],
        ready: Callable[[Listening], None],
        queries: QueryLog,
        commands: socket.socket | None = None,
        register: Callable[[], tuple[Permission, ...] | None] = lambda: None,
        publishing: Publishing | None = None,
        web: Sequence[socket.socket] = (),
        begun: Sequence[Process] = (),
    ) -> None:
        places = enumerate(zip_longest(listening, begun), 1)
        self._dns = [_Worker(f"worker {number}", *place) for number, place in places]
        self._web = [_Worker("web", Listening([], [], [], web))] if web else []
        self._workers = [*self._dns, *self._web]
        self._listening = listening[0]._replace(web=web)
        self._configured = configured
        self._bundles = bundles
        self._configure = configure
        self._refresh = refresh
        self._ready = ready
        self._queries = queries
        self._commands = commands
        self._fresh = fresh
        self._begun = fresh and not configured.interval
        self._was_ready = False
        self._register = register
        self._publishing = publishing
        self._permissions: tuple[Permission, ...] = ()
        self._note_exceptions()
        self._rejected: Path | None = None
        self._missing: list[str] = []
        self._settings = self._judge(found)
        self._started = time.monotonic()
        self._changing = asyncio.Lock()
        self._reloading = False
        self._asked: asyncio.Future[Reloaded] | None = None
        self._ask = asyncio.Event()
        self._last: dict[str, Any] = {"reload": None, "build": None}
        self._past: dict[str, int] = {}
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
            self._spawn(self._attend(worker))
        self._spawn(self._announce())
        self._spawn(self._watch())
        self._spawn(self._keep_reloading())
        self._refreshing = self._spawn(self._keep_fresh())
        if self._publishing:
            self._publish()
            self._spawn(self._publishing.run())
        actions: dict[str, control.Do] = {"reload": self._on_reload, "status": self.status}
        server = self._commands and await control.serve(self._commands, actions)
        await self._stopping.wait()
        if server:
            server.close()
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
        self._ready(self._listening)

    # Workers

    async def _keep(self, worker: _Worker) -> None:
        """A worker in its place at all times: one that ends is replaced, on the same sockets."""
        failures = 0
        while True:
            await asyncio.sleep(BACK_OFF[min(failures, len(BACK_OFF) - 1)])
            reader = await worker.start(self._queries)
            assert worker.process
            began = self._spawn(self._begin(worker))
            await worker.hear(reader)
            await asyncio.wait([began])
            failures = 0 if worker.serves else failures + 1
            worker.serves = False
            code = await worker.ended()
            how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
            log.warning("%s (process %d) ended: %s; starting another", worker.name, worker.process.pid, how)
            for name, count in worker.last.get("counters", {}).items():
                if name not in _NOW:
                    self._past[name] = self._past.get(name, 0) + count
            worker.last = {}

    async def _begin(self, worker: _Worker) -> None:
        """Have a new worker answer: by what is in force, else by the newest earlier bundle that it can use, else that
        nothing is ready."""
        settings = self._settings
        word, rest = await worker.ask(settings.line())
        earlier = [path for path in history.bundles(self._bundles) if str(path) != settings.bundle]
        while word == "failed":
            path = earlier.pop(0) if earlier else None
            instead = f"serves the bundle {path.name}, from before" if path else "answers SERVFAIL"
            log.error("%s cannot use what is in force, and %s: %s", worker.name, instead, rest)
            settings = self._settings._replace(
                bundle=str(path or ""), state=startup.INCOMPLETE if path else startup.CLOSED
            )
            word, rest = await worker.ask(settings.line())
        if word == "ready":
            worker.serves = True
            worker.ready.set()

    async def _attend(self, worker: _Worker) -> None:
        """Ask now and then how a worker is; one that does not answer is killed, and so replaced."""
        while True:
            await asyncio.sleep(PULSE)
            await self._look(worker)

    async def _look(self, worker: _Worker) -> None:
        word, rest = await worker.ask(STATUS)
        if word == "status":
            worker.last = json.loads(rest)

    async def _apply(self, settings: Settings) -> list[str]:
        """Have every worker take over ``settings``; when one cannot, all go back to the former. Returns why."""
        async with self._changing:
            former, self._settings = self._settings, settings
            said = await asyncio.gather(*(worker.ask(settings.line()) for worker in self._workers))
            failures = list(dict.fromkeys(rest for word, rest in said if word == "failed"))
            if failures:
                self._settings = former
                await asyncio.gather(*(worker.ask(former.line()) for worker in self._workers))
            elif settings.state != former.state:
                self._tell_state()
            if not failures and (settings.bundle, settings.permissions) != (former.bundle, former.permissions):
                self._publish()
            return failures

    def _publish(self) -> None:
        if self._publishing and self._configured.publishes and self._settings.bundle:
            self._publishing.due()

    # Bundles

    def _judge(self, path: Path | None, configured: Configured | None = None) -> Settings:
        """The settings with a bundle, and with the state that it comes to."""
        configured = configured or self._configured
        try:
            self._missing = configured.missing(path) if path else []
        except (OSError, ValueError, LookupError) as error:
            raise SinkholeError(f"{path}: damaged: {error}") from error
        state = startup.state(
            startup.SERVE_LAST if self._was_ready else configured.startup,
            bundle=path is not None,
            complete=not self._missing,
            begun=self._begun,
        )
        self._was_ready = self._was_ready or state == startup.READY
        return configured.settings._replace(bundle=str(path or ""), state=state, permissions=self._permissions)

    def _tell_state(self) -> None:
        state = self._settings.state
        level = logging.INFO if state == startup.READY else logging.ERROR
        log.log(level, "%s: %s%s", state, startup.TEXTS[state], f" ({', '.join(self._missing)})" * bool(self._missing))

    async def _watch(self) -> None:
        """Pass on every new current bundle. While a reload builds, it is the reload that does."""
        if self._settings.state != startup.READY:
            self._tell_state()
        while True:
            await asyncio.sleep(WATCH)
            self._note_exceptions()
            if self._settings.permissions != self._permissions and not self._changing.locked():
                await self._apply(self._settings._replace(permissions=self._permissions))
            if not self._reloading:
                await self._take_current()

    def _note_exceptions(self) -> None:
        try:
            found = self._register()
        except SinkholeError as error:
            log.error("exceptions stay as they were: %s", error)
            return
        if found is not None and found != self._permissions:
            log.info("exceptions in force or to come: %d", len(found))
            self._permissions = found

    async def _take_current(self, *, again: bool = False) -> None:
        """Put the current bundle in force, ``again`` also the one that is: its state may be another now.

        One that cannot be used is told of once, and what is in force stays.
        """
        current = bundle.current(self._bundles)
        if current in (None, self._rejected) or (str(current) == self._settings.bundle and not again):
            return
        try:
            settings = self._judge(current)
            failures = await self._apply(settings) if settings != self._settings else []
        except SinkholeError as error:
            failures = [str(error)]
        if failures:
            self._rejected = current
            log.error("bundle %s is not taken over: %s", current and current.name, "; ".join(failures))
        elif not again:
            log.info("bundle %s", current and current.name)

    async def _keep_fresh(self) -> None:
        """Build from what is here when the bundle to start with is older than that; then fetch and build for ever.

        Until the lists are ready, it tries again sooner.
        """
        failures = 0
        while (interval := self._configured.interval) or not self._fresh:
            offline = not self._fresh
            built = await self._build(offline)
            if built.ok:
                self._begun = self._begun or not offline or not interval
                await self._take_current(again=True)
            self._fresh = built.ok or bool(interval)
            if not (offline and interval):
                failures = 0 if self._was_ready else failures + 1
                sooner = AGAIN * 2 ** min(failures - 1, 20)
                await asyncio.sleep(min(interval or sooner, sooner) if failures else interval or AGAIN)

    async def _build(self, offline: bool) -> Built:
        built = await self._refresh(offline)
        self._last["build"] = {"at": time.time(), "code": built.code, "offline": offline}
        return built

    # Commands

    def _on_hangup(self) -> None:
        self._want_reload()

    def _want_reload(self) -> asyncio.Future[Reloaded]:
        """A reload that begins after now: who asks while one runs, and everyone else who does, gets the next one."""
        if self._asked is None:
            self._asked = asyncio.get_running_loop().create_future()
            self._ask.set()
        return self._asked

    async def _on_reload(self) -> Mapping[str, Any]:
        reloaded = await asyncio.shield(self._want_reload())
        return reloaded._asdict()

    async def _keep_reloading(self) -> None:
        while True:
            await self._ask.wait()
            self._ask.clear()
            asked, self._asked = self._asked, None
            reloaded = await self._reload()
            self._last["reload"] = {"at": time.time(), **reloaded._asdict()}
            text = "\n".join(reloaded.said)
            if reloaded.ok:
                log.info("reloaded%s", f"; {text}" if text else "")
            else:
                log.error("not reloaded, everything stays as it was:\n%s", text)
            if asked and not asked.done():
                asked.set_result(reloaded)

    async def _reload(self) -> Reloaded:
        """Read the configuration, build it without the network, and have the workers take over both."""
        try:
            configured = self._configure()
        except SinkholeError as error:
            return Reloaded(False, str(error).splitlines())
        self._reloading = True
        self._refreshing.cancel()  # what it builds is of the former configuration
        await asyncio.wait([self._refreshing])
        try:
            built = await self._build(True)
            notes = built.said.splitlines()
            if not built.ok:
                return Reloaded(False, notes or [f"the build ended with exit code {built.code}"])
            current = bundle.current(self._bundles)
            if failures := await self._apply(self._judge(current, configured)):
                self._rejected = current
                return Reloaded(False, failures)
            self._configured, self._fresh = configured, True
            self._publish()
            self._queries.keep(configured.keeping)
            return Reloaded(True, [*notes, *configured.later])
        except SinkholeError as error:
            return Reloaded(False, str(error).splitlines())
        finally:
            self._reloading = False
            self._refreshing = self._spawn(self._keep_fresh())

    async def status(self) -> dict[str, Any]:
        """The running instance as data for ``sinkhole status``."""
        await asyncio.gather(*(self._look(worker) for worker in self._workers))
        settings = self._settings
        listening = self._listening
        counters = dict(self._past)
        for worker in self._workers:
            for name, count in worker.last.get("counters", {}).items():
                counters[name] = counters.get(name, 0) + count
        recorded = self._queries.status()
        counters["unlogged"] = counters.get("unlogged", 0) + recorded["lost"]
        path = Path(settings.bundle) if settings.bundle else None
        changes = [at for worker in self._workers if (at := worker.last.get("policy-changes-at"))]
        return {
            "version": __version__,
            "pid": os.getpid(),
            "uptime": round(time.monotonic() - self._started),
            "listen": [str(at) for at in (*listening.endpoints, *listening.encrypted, *listening.webs)],
            "startup": self._configured.startup,
            "state": settings.state,
            "missing": self._missing,
            "bundle": path and {"name": path.name, "age": round(max(time.time() - path.stat().st_mtime, 0))},
            "rejected": self._rejected and self._rejected.name,
            "policy-changes-at": min(changes, default=None),
            "workers": [{"number": number, **worker.status()} for number, worker in enumerate(self._dns, 1)],
            "web": next((worker.status() for worker in self._web), None),
            "counters": counters,
            "query-log": recorded,
            **self._last,
        }
