"""The keeper of the query log: takes lines from the workers and writes them, in a thread of its own.

A worker hands over messages of whole lines and never waits. When the disk is slow, they wait in the sockets and in the
workers, and then are dropped and counted there; when it is full, here. Neither DNS nor the supervisor notices.
"""

from __future__ import annotations

import errno
import logging
import os
import selectors
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from sinkhole import queries

log = logging.getLogger(__name__)

#: Octets of a message that are taken; a worker sends fewer. Messages of one worker before others get their turn.
_MAX_MESSAGE, _BATCH = 1 << 16, 32
#: Seconds between two looks for what is too old, and that the rest may take at the end.
TIDY, FAREWELL = 30.0, 2.0
#: A file holds at most this share of all, and this many octets, so that what goes is never much at once.
_SHARE, _MAX_FILE = 16, 64 << 20


class Keeping(NamedTuple):
    """How long lines are kept, in seconds, and how many octets of them."""

    age: float = 7 * 86_400
    size: int = 512 << 20


class Store:
    """The files, written by one process. ``clock`` gives seconds since 1970. An OSError is as the system gave it."""

    def __init__(self, directory: Path, keeping: Keeping, clock: Callable[[], float] = time.time) -> None:
        self.directory = directory
        self.keeping = keeping
        self._clock = clock
        self._fd = -1
        self._path = directory
        self._hour: datetime | None = None
        self._sizes = dict[Path, int]()

    @property
    def size(self) -> int:
        """Octets of all files."""
        return sum(self._sizes.values())

    @property
    def since(self) -> datetime | None:
        """When the oldest file was begun."""
        paths = list(self._sizes)  # in one step, for this is asked from another thread
        return queries.begun(min(paths)) if paths else None

    def write(self, lines: bytes) -> None:
        """Add whole lines: all or, with an OSError, none of them. The oldest files make room."""
        hour = datetime.fromtimestamp(self._clock(), UTC).replace(minute=0, second=0, microsecond=0)
        if self._fd < 0 or hour != self._hour or self._sizes[self._path] + len(lines) > self._most:
            self._begin(hour)
        while self._sizes and self.size + len(lines) > self.keeping.size:
            self._remove(min(self._sizes))
        if self._fd < 0:
            self._begin(hour)
        size = self._sizes[self._path]
        try:
            if os.write(self._fd, lines) != len(lines):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._path))
        except OSError:
            with suppress(OSError):
                os.ftruncate(self._fd, size)
            self.close()
            raise
        self._sizes[self._path] = size + len(lines)

    def tidy(self) -> None:
        """Remove what is older, and more, than is kept; what was removed by hand does not count any more."""
        self._sizes = self._found()
        if self._fd >= 0 and self._path not in self._sizes:
            self.close()
        now = datetime.fromtimestamp(self._clock(), UTC)
        age = timedelta(seconds=self.keeping.age)
        for path in sorted(self._sizes):
            hour = queries.begun(path)
            if self.size > self.keeping.size or (hour and hour + queries.HOUR + age <= now):
                self._remove(path)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1

    @property
    def _most(self) -> int:
        """Octets of one file."""
        return min(self.keeping.size // _SHARE, _MAX_FILE)

    def _found(self) -> dict[Path, int]:
        sizes = {}
        for path in queries.files(self.directory):
            with suppress(FileNotFoundError):
                sizes[path] = path.stat().st_size
        return sizes

    def _begin(self, hour: datetime) -> None:
        """Open the file for what comes: the last one of this hour, or a new one when that is full."""
        self.close()
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._sizes = self._found()
        last = max((path for path in self._sizes if queries.begun(path) == hour), default=None)
        number = 0 if last is None else queries.number(last) + (self._sizes[last] >= self._most)
        path = self.directory / queries.name(hour, min(number, queries.MAX_NUMBER))
        fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            size = os.fstat(fd).st_size
            if size and os.pread(fd, 1, size - 1) != b"\n":  # a power cut left a part of a line
                size += os.write(fd, b"\n")
        except OSError:
            os.close(fd)
            raise
        self._fd, self._path, self._hour, self._sizes[path] = fd, path, hour, size

    def _remove(self, path: Path) -> None:
        if path == self._path:
            self.close()
        path.unlink(missing_ok=True)
        self._sizes.pop(path, None)


class QueryLog:
    """A :class:`Store` and the thread that writes to it. Use it as a context: at its end, what was handed over is
    written."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lost = 0
        self._error = ""
        self._coming: list[socket.socket] = []
        self._ending = False
        self._ear, self._mouth = socket.socketpair()
        self._thread = threading.Thread(target=self._run, name="query log", daemon=True)

    def __enter__(self) -> QueryLog:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending = True
        self._wake()
        self._thread.join(FAREWELL)

    def take(self, sock: socket.socket) -> None:
        """Write what comes from ``sock`` until its other end is closed."""
        self._coming.append(sock)
        self._wake()

    def keep(self, keeping: Keeping) -> None:
        """Keep so much from now on."""
        self._store.keeping = keeping
        self._wake()

    def status(self) -> dict[str, Any]:
        """How the log is, ready for JSON."""
        since = self._store.since
        return {
            "bytes": self._store.size,
            "since": since and since.isoformat(),
            "lost": self._lost,
            "error": self._error or None,
        }

    def _wake(self) -> None:
        with suppress(OSError):
            self._mouth.send(b"!", socket.MSG_DONTWAIT)

    def _run(self) -> None:
        with selectors.DefaultSelector() as selector, self._ear, self._mouth:
            selector.register(self._ear, selectors.EVENT_READ)
            tidied = -TIDY
            while True:
                for key, _ in selector.select(TIDY):
                    sock = key.fileobj
                    assert isinstance(sock, socket.socket)
                    if sock is self._ear:
                        self._ear.recv(4096)
                        tidied = -TIDY
                    elif not self._read(sock):
                        selector.unregister(sock)
                        sock.close()
                while self._coming:
                    selector.register(self._coming.pop(0), selectors.EVENT_READ)
                if time.monotonic() >= tidied + TIDY:
                    tidied = time.monotonic()
                    self._try(self._store.tidy)
                if self._ending and len(selector.get_map()) == 1:  # the workers are gone
                    break
            self._store.close()

    def _read(self, sock: socket.socket) -> bool:
        """Write what waits in a socket; False when nothing more will come."""
        for _ in range(_BATCH):
            try:
                lines = sock.recv(_MAX_MESSAGE, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return True
            except OSError:
                return False
            if not lines:
                return False
            if not self._try(lambda lines=lines: self._store.write(lines)):  # type: ignore[misc]
                self._lost += lines.count(b"\n")
            elif self._error:
                log.warning("the query log is written again; lines lost so far: %d", self._lost)
                self._error = ""
        return True

    def _try(self, work: Callable[[], None]) -> bool:
        """Do something with the files; trouble is told when it comes."""
        try:
            work()
        except OSError as error:
            if not self._error:
                log.error("the query log cannot be written: %s", error)
            self._error = error.strerror or str(error)
            return False
        return True
