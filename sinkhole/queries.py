"""The query log as files: one JSON object a line, in files named by the hour (UTC) that they were begun in.

``2026-11-23T04-00000.jsonl`` is the first of its hour; the order of names is that of time. A busy machine may be late,
so a file may begin with lines of the hour before. What is no whole line (a power cut met its writing) is skipped and
counted. docs/queries.md has the members of a line.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections import deque
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any, NamedTuple

from sinkhole.errors import SinkholeError

#: The directory of the files in the state directory.
DIRECTORY = "queries"
HOUR = timedelta(hours=1)
#: Octets of a line that is still read: a name has 253 octets at most, each of which may be written in six.
MAX_LINE = 16 << 10
#: Files of one hour, from zero.
MAX_NUMBER = 99_999

_NAME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d)-(\d{5})\.jsonl")
_TIME = b'{"time":"'
_STAMP = slice(len(_TIME), len(_TIME) + 24)

Network = IPv4Network | IPv6Network
#: A line as it is stored, without its end, and what it says.
Line = tuple[bytes, dict[str, Any]]


def name(at: datetime, number: int) -> str:
    """The name of a file that is begun at an instant, ``number`` in its hour."""
    return f"{at.astimezone(UTC):%Y-%m-%dT%H}-{number:05}.jsonl"


def files(directory: Path) -> list[Path]:
    """The files of a directory, the oldest first; none where there is no directory. Raises OSError."""
    try:
        return [directory / name for name in sorted(os.listdir(directory)) if begun(Path(name))]
    except FileNotFoundError:
        return []


def begun(path: Path) -> datetime | None:
    """The hour that a file was begun in; None when it is none of ours."""
    found = _NAME.fullmatch(path.name)
    try:
        return found and datetime.strptime(f"{found[1]}+0000", "%Y-%m-%dT%H%z")
    except ValueError:  # a 31 June
        return None


def number(path: Path) -> int:
    """The number of a file of ours in its hour."""
    return int(path.name[14:19])


def _pause() -> None:
    time.sleep(0.2)


class Wanted(NamedTuple):
    """Which lines are meant: all that fit whatever is given. ``name`` means all below it, too."""

    client: Network | None = None
    name: str | None = None
    action: str | None = None
    directive: str | None = None
    list: str | None = None
    since: datetime | None = None
    until: datetime | None = None


EVERYTHING = Wanted()


class Place(NamedTuple):
    """Between two lines: a file, and octets in it before that place."""

    path: Path
    octets: int


class Reader:
    """Reads the lines of a directory that are wanted. ``skipped`` are those that could not be read."""

    def __init__(self, directory: Path, wanted: Wanted = EVERYTHING) -> None:
        self.skipped = 0
        self._directory = directory
        self._wanted = wanted
        self._needles = [
            f'"{key}":{json.dumps(value)}'.encode()
            for key in ("action", "directive", "list")
            if (value := getattr(wanted, key))
        ]
        if wanted.name:
            self._needles.append(wanted.name.encode())
        self._since, self._until = (at and _stamp(at) for at in (wanted.since, wanted.until))
        self._clients: dict[str, bool] = {}

    def all(self, end: Place | None = None) -> Iterator[Line]:
        """Every wanted line up to ``end``, the oldest first."""
        for path, stop in self._parts(end):
            yield from self._lines(path, stop)

    def newest(self, count: int, end: Place | None = None) -> list[Line]:
        """The last ``count`` wanted lines before ``end``, the oldest first."""
        found: deque[Line] = deque()
        for path, stop in reversed(self._parts(end)):
            if len(found) < count:
                found.extendleft(reversed(deque(self._lines(path, stop), maxlen=count - len(found))))
        return sorted(found, key=lambda line: line[1]["time"])  # two workers hand over what they have in turns

    def end(self) -> Place | None:
        """Where the log ends now; None when there is none."""
        try:
            paths = files(self._directory)
            return Place(paths[-1], _whole(paths[-1])) if paths else None
        except OSError as error:
            raise SinkholeError(f"cannot read {self._directory}: {error.strerror}") from error

    def follow(self, place: Place | None, wait: Callable[[], None] = _pause) -> Iterator[Line]:
        """Every wanted line behind ``place``, as it is written; ``wait`` is called when there is none. Without end."""
        while place is None:
            wait()
            place = self.end() and Place(files(self._directory)[0], 0)
        path, at = place.path, place.octets
        rest = b""
        while True:
            try:
                with path.open("rb") as file:
                    file.seek(at)
                    while True:
                        later = next((other for other in files(self._directory) if other > path), None)
                        while text := file.read(1 << 20):
                            *lines, rest = (rest + text).split(b"\n")
                            yield from filter(None, map(self._taken, lines))
                            rest = rest if len(rest) < MAX_LINE else b""
                        if later:  # which was there before the last look at this one
                            break
                        wait()
            except FileNotFoundError:  # it was the oldest, and made room
                later = next((other for other in files(self._directory) if other > path), None)
            except OSError as error:
                raise SinkholeError(f"cannot read {path}: {error.strerror}") from error
            if later:
                path, at, rest = later, 0, b""
            else:
                wait()

    def _parts(self, end: Place | None) -> list[tuple[Path, int | None]]:
        """The files that may hold lines of the time that is wanted, and where to stop in each, if anywhere."""
        since, until = self._wanted.since, self._wanted.until
        try:
            found = files(self._directory)
        except OSError as error:
            raise SinkholeError(f"cannot read {self._directory}: {error.strerror}") from error
        return [
            (path, end.octets if end and path == end.path else None)
            for path in found
            if (hour := begun(path)) and (not since or hour + HOUR >= since) and (not until or hour - HOUR <= until)
            if not end or path <= end.path
        ]

    def _lines(self, path: Path, stop: int | None = None) -> Iterator[Line]:
        try:
            with path.open("rb") as file:
                at = 0
                for line in iter(partial(file.readline, MAX_LINE), b""):
                    at += len(line)
                    if stop is not None and at > stop:
                        return
                    if not line.endswith(b"\n"):
                        self.skipped += 1
                    elif found := self._taken(line[:-1]):
                        yield found
        except FileNotFoundError:  # it was the oldest, and made room
            return
        except OSError as error:
            raise SinkholeError(f"cannot read {path}: {error.strerror}") from error

    def _taken(self, line: bytes) -> Line | None:
        """A line when it is wanted. Most are not, and need not be read for that."""
        if line.startswith(_TIME):
            stamp = line[_STAMP]
            if (self._since and stamp < self._since) or (self._until and stamp > self._until):
                return None
            for needle in self._needles:
                if needle not in line:
                    return None
        try:
            said = json.loads(line)
            fits = self._fits(said)
        except (ValueError, TypeError, AttributeError, KeyError, RecursionError):
            self.skipped += 1
            return None
        return (line, said) if fits else None

    def _fits(self, said: dict[str, Any]) -> bool:
        wanted = self._wanted
        if not isinstance(said["time"], str) or not isinstance(said["name"], str):
            raise TypeError
        if any((value := getattr(wanted, key)) and said.get(key) != value for key in ("action", "directive", "list")):
            return False
        if wanted.name and not _below(said["name"], wanted.name):
            return False
        if wanted.client:
            client = str(said.get("client", ""))
            if client not in self._clients:
                self._clients[client] = _within(client, wanted.client)
            return self._clients[client]
        return True


def _stamp(at: datetime) -> bytes:
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03}Z".encode()


def _whole(path: Path) -> int:
    """Octets of the whole lines of a file."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        start = max(size - MAX_LINE, 0)
        file.seek(start)
        return start + file.read(size - start).rfind(b"\n") + 1


def _below(found: str, name: str) -> bool:
    """Whether a name as it is shown is ``name`` or below it: a dot that is escaped ends no label."""
    if found == name or not found.endswith("." + name):
        return found == name
    before = found[: -len(name) - 1]
    return not (len(before) - len(before.rstrip("\\"))) % 2


def _within(client: str, network: Network) -> bool:
    """Whether a client as it is written, an address or a network, has to do with ``network``."""
    try:
        found = ip_network(client.partition("%")[0])
    except ValueError:  # it was not recorded
        return False
    return found.version == network.version and found.overlaps(network)
