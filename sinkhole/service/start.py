"""A start that answers before anything is worked out: what the workers have to know is kept from the last time.

To read and to check the configuration and two hundred files of YAML takes longer than all else that a start does. So
``<state-dir>/start.json`` holds what they came to, with a digest of everything that this follows from. :func:`begin`
opens the sockets and has the workers answer by it, from the bundle in use; whoever called it reads and checks all as
ever, and tells the workers what came of it. What is missing, damaged or different, and whatever goes wrong, ends in
None: then nothing was begun, and the long way says what is wrong. So this module imports next to nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, NoReturn

import sinkhole
from sinkhole import kept
from sinkhole.endpoint import Endpoint, Where
from sinkhole.errors import SinkholeError
from sinkhole.files import Lock
from sinkhole.places import catalogue_directory
from sinkhole.seals import seal
from sinkhole.service import process, startup
from sinkhole.service.process import Process
from sinkhole.service.sockets import Listening, listen, listen_web

NAME, LOCK = "start.json", "serve.lock"
#: Seconds that a worker may take to say that it is ready; octets of what it says.
PATIENCE, _MAX_WORD = 20.0, 4096
#: Which name servers the system has, when the configuration names none.
RESOLVERS = Path("/etc/resolv.conf")


class Places(NamedTuple):
    """Where the configuration wants to listen, with how many workers; ``optional``: with those of ``dns`` that the
    machine has."""

    where: Where
    workers: int
    optional: bool

    def listen(self) -> list[Listening]:
        """The sockets for DNS, for each worker. Raises ListenError."""
        return listen(self.where.dns, self.workers, dot=self.where.dot, optional=self.optional)


class Kept(NamedTuple):
    """What a start needs to know.

    All of it follows from the configuration, the catalogue and the program, of which ``digest`` is, and from ``files``,
    which stand here with their seals. ``plan`` is the hash of what people asked for, which the bundle has to be made
    of, and ``sources`` are the (list, source) that it wants a text of. ``startup`` is the mode. ``settings`` are those
    of a worker, without what belongs to one start.
    """

    digest: str
    files: tuple[tuple[str, str], ...]
    state_dir: str
    places: Places
    plan: str
    sources: tuple[tuple[str, str], ...]
    startup: str
    settings: Mapping[str, Any]


def digest(config: Path | None) -> str:
    """What is another text after any change of what a start follows from; empty while one could not be seen."""
    package, catalogue = Path(sinkhole.__file__).parent, catalogue_directory()
    environment = [os.environ.get(name) for name in ("HOME", "XDG_STATE_HOME")]
    try:
        text = config.read_bytes() if config else b""
        seals = sealed((*_files(str(package), ".py"), *_files(str(catalogue), ".yaml"), str(RESOLVERS)))
        places = str(config), os.getcwd(), str(catalogue), environment, os.geteuid(), sys.version
    except OSError:
        return ""
    if not all(found for _, found in seals):
        return ""
    return hashlib.sha256(repr((text, seals, places)).encode()).hexdigest()


def sealed(paths: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """Files, and what is another text after every change of each. Raises OSError."""
    return tuple((path, seal(path) if os.path.exists(path) else "none") for path in paths)


def _files(directory: str, suffix: str) -> Iterator[str]:
    """The files below a directory whose names end so, in order."""
    with os.scandir(directory) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if entry.name.endswith(suffix):
                yield entry.path
            elif "." not in entry.name and entry.name != "__pycache__" and entry.is_dir():
                yield from _files(entry.path, suffix)


def keep(found: Kept) -> None:
    """Keep it for the next start."""
    kept.write(Path(found.state_dir) / NAME, found)


def _read(config: Path | None) -> Kept:
    """What was kept for a configuration. Raises OSError, ValueError, LookupError and TypeError when nothing was."""
    path = kept.directory(config.read_bytes() if config else b"") / NAME
    known, files, state_dir, places, *rest = kept.read(path)
    files = tuple(map(tuple, files))
    if not known or known != digest(config) or files != sealed(file for file, _ in files):
        raise ValueError(f"{path}: of something else")
    where, workers, optional = places
    endpoints = (tuple(Endpoint(*each) for each in kind) for kind in where)
    return Kept(known, files, state_dir, Places(Where(*endpoints), workers, optional), *rest)


class Begun:
    """A start whose workers answer: the lock of the state directory, the sockets, and a process for each of them.

    At its end, those that still run are ended, and the lock is released.
    """

    def __init__(
        self,
        places: Places,
        sockets: list[Listening],
        web: list[socket.socket],
        processes: list[Process],
        token: str,
        undo: ExitStack,
    ) -> None:
        self.places = places
        self.sockets = sockets
        self.web = web
        self.processes = processes
        self.token = token
        self._undo = undo

    def __enter__(self) -> Begun:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.end()

    def end(self) -> None:
        """Have nothing begun."""
        self._undo.close()


def begin(config: Path | None) -> Begun | None:
    """Have workers answer by what was kept for the configuration at ``config``; None when that cannot be."""
    if "LISTEN_FDS" in os.environ:  # what systemd listens on has to be judged first; its queries wait meanwhile
        return None
    with suppress(OSError, ValueError, LookupError, TypeError, SinkholeError), ExitStack() as undo:
        undo.callback(signal.signal, signal.SIGTERM, signal.signal(signal.SIGTERM, _leave))
        found = _read(config)
        state = Path(found.state_dir)
        token = os.urandom(16).hex()
        line = json.dumps({**found.settings, **_now(found, state), "token": token}).encode() + b"\n"
        undo.enter_context(Lock(state / LOCK))
        sockets = found.places.listen()
        for sock in (sock for each in sockets for sock in each.every):
            undo.enter_context(sock)
        web = [undo.enter_context(sock) for sock in listen_web(found.places.where.web)]
        processes: list[Process] = []
        for listening in sockets:
            processes.append(process.start(listening))
            undo.callback(_end, processes[-1])
        for one in processes:
            one.control.settimeout(PATIENCE)
            one.control.sendall(line)
        for one in processes:
            _hear(one)
        return Begun(found.places, sockets, web, processes, token, undo.pop_all())
    return None


def _now(found: Kept, state: Path) -> dict[str, Any]:
    """What the settings are to hold at this start. Raises ValueError for a bundle of another plan."""
    current = (state / "bundles" / "current").resolve(strict=True)
    manifest = json.loads((current / "manifest.json").read_bytes())
    if manifest["plan"] != found.plan:
        raise ValueError(f"{current}: of another plan")
    there = {(entry["id"], source["id"]) for entry in manifest["lists"] for source in entry["sources"]}
    complete = there.issuperset(map(tuple, found.sources))
    said = startup.state(found.startup, bundle=True, complete=complete, begun=False)
    return {"bundle": str(current), "state": said, "permissions": _permissions(state)}


def _permissions(state: Path) -> list[dict[str, Any]]:
    """The exceptions that are not over. Raises JournalError."""
    path = state / "exceptions.jsonl"
    if not path.exists():
        return []
    from datetime import UTC, datetime

    from sinkhole import journal
    from sinkhole.policy.exceptions import pending

    return [permission.plain for permission in pending(journal.read(path), datetime.now(UTC))]


def _hear(one: Process) -> None:
    """Wait until a worker is ready. Raises OSError and ValueError when it never is."""
    word = b""
    while not word.endswith(b"\n"):
        part = one.control.recv(_MAX_WORD)
        word += part
        if not part or len(word) > _MAX_WORD:
            raise ValueError("a worker ended")
    if not word.startswith(b"ready "):
        raise ValueError(word.decode(errors="replace"))


def _leave(*_: object) -> NoReturn:
    """Stop when that is asked for before there is anybody who knows how, with all that was begun."""
    raise SystemExit(0)


def _end(one: Process) -> None:
    """End a process that nobody asks any more."""
    one.control.close()
    one.records.close()
    one.send(signal.SIGKILL)
    one.wait()
