"""The last good copy of every feed, kept so that no failure of a source takes a working list away.

::

    <directory>/<key>.json       one :class:`State` a source; the key is 16 hex digits of the SHA-256 of its location
    <directory>/blobs/<sha256>   the text as ``sniff.decode`` leaves it, named by its content, never changed

A location is a URL or the absolute path of a file. A blob is written before the state that names it, both atomically,
so a crash leaves the old copy or the new one. Only a body that passes ``sniff.why_not_a_list`` replaces a copy. Nothing
kept here holds the user name or password of a URL.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from concurrent.futures import CancelledError, ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path
from threading import Event
from typing import NamedTuple

from sinkhole.errors import FeedError
from sinkhole.feeds.body import Fetched, NotModified, Progress, Validators, shown
from sinkhole.feeds.sniff import decode, expires, why_not_a_list
from sinkhole.files import TEMPORARY, write_atomic
from sinkhole.seals import Seals

#: After this long a feed is fetched without conditions, because servers do reuse an ETag for new content.
UNCONDITIONAL = timedelta(days=7)

#: For so long the record of a file that did not change may say that it was seen last.
NOTED = timedelta(hours=1)

#: The longest time for which a server's Retry-After keeps everybody away, whatever it says.
LONGEST_WAIT = timedelta(days=1)

#: What downloads, called with (location, validators, progress): ``body.load``, or it with its settings bound.
Fetcher = Callable[[str, Validators, Progress], Fetched | NotModified]


class State(NamedTuple):
    """What is remembered about one source; the JSON file with kebab-case keys. An empty ``sha256``: never fetched."""

    url: str
    etag: str = ""
    last_modified: str = ""
    sha256: str = ""
    bytes: int = 0
    fetched_at: datetime | None = None
    checked_at: datetime | None = None
    error: str | None = None
    since: datetime | None = None
    expires: float | None = None
    not_before: datetime | None = None


#: The types of the members of a state; instants are written as ISO 8601 with an offset.
_INSTANTS = ("fetched_at", "checked_at", "since", "not_before")
_TYPES: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("url", "etag", "last_modified", "sha256"), (str,)),
    "bytes": (int,),
    "error": (str, type(None)),
    "expires": (int, float, type(None)),
    **dict.fromkeys(_INSTANTS, (datetime, type(None))),
}


def _written(state: State) -> bytes:
    values = {name.replace("_", "-"): value for name, value in state._asdict().items()}
    return json.dumps(values, default=_instant, indent=2).encode() + b"\n"


def _instant(value: datetime) -> str:
    return value.isoformat().replace("+00:00", "Z")


def _state(data: bytes) -> State:
    """The state in a file; raises ValueError or TypeError when it is none."""
    values = {name.replace("-", "_"): value for name, value in dict(json.loads(data)).items()}
    for name in _INSTANTS:
        if values.get(name) is not None:
            values[name] = datetime.fromisoformat(values[name])
            if values[name].tzinfo is None:
                raise ValueError("an instant without an offset")
    state = State(**values)
    if not all(isinstance(value, _TYPES[name]) for name, value in zip(state._fields, state, strict=True)):
        raise ValueError("a member of another type")
    return state


class Copy(NamedTuple):
    """The last good copy of a source.

    ``fetched_at`` is when its bytes arrived; ``age`` the seconds since the source last confirmed them. It is ``stale``
    when the last attempt failed, and ``error`` says how. ``expires``: the seconds for which the text itself says that
    it is good.
    """

    path: Path
    sha256: str
    fetched_at: datetime
    stale: bool
    age: float
    error: str | None
    expires: float | None = None


class Store:
    """The copies below ``directory``, made when first written. Who writes holds the lock of the state directory."""

    def __init__(self, directory: Path, seals: Seals | None = None) -> None:
        self.directory = directory
        self.seals = seals or Seals()

    def state(self, location: str) -> State:
        """What is known of a source, also of one that never worked. A damaged state file counts as none."""
        try:
            return _state(self._state_path(location).read_bytes())
        except (OSError, ValueError, TypeError):
            return State(url=shown(location))

    def latest(self, location: str, now: datetime) -> Copy | None:
        """The last good copy, its bytes just checked against their hash; ``None`` when missing or damaged."""
        return self._copy(self.state(location), now)

    def shadow(self, directory: Path) -> Store:
        """A store in ``directory`` that begins with what is here, for updates that leave no trace here."""
        for path in (*self.directory.glob("*.json"), *self._blobs.glob("*")):
            link = directory / path.relative_to(self.directory)
            link.parent.mkdir(exist_ok=True)
            link.symlink_to(path.absolute())
        return Store(directory)

    def due(self, location: str, interval: float | None, now: datetime, chance: float = 0.0) -> bool:
        """Whether to ask a source again: after ``interval`` seconds, else when its text expires, else always.

        The time is up to a fifth shorter, by ``chance`` from 0 to 1, so that many machines do not come at once, and at
        least a twentieth, so that a daily job never comes a few seconds too early. A source that failed is due.
        """
        state = self.state(location)
        if state.checked_at is None or state.error is not None:
            return True
        fresh = interval if interval is not None else state.expires or 0.0
        return not 0 <= (now - state.checked_at).total_seconds() < fresh * (0.95 - 0.15 * chance)

    def update(
        self,
        locations: Iterable[str],
        *,
        fetcher: Fetcher,
        now: datetime,
        jobs: int = 4,
        progress: Callable[[str, int, int | None], None] = lambda location, received, total: None,
    ) -> dict[str, Copy | FeedError]:
        """Fetch every location, at most ``jobs`` at once: what can be used now, in the order given.

        A failure gives the last good copy as ``stale``, or the ``FeedError`` when there is none; a source that asked to
        be left alone until a later time still fails as it did, and is not asked. ``progress`` is called
        with (location, bytes received, bytes expected or ``None``) from the threads that download. An interrupt ends
        running downloads at their next read.
        """
        stop = Event()

        def one(location: str) -> Copy | FeedError:
            def report(received: int, total: int | None) -> None:
                if stop.is_set():
                    raise CancelledError
                progress(location, received, total)

            return self._update(location, fetcher, report, now)

        order = list(dict.fromkeys(locations))
        with ThreadPoolExecutor(max_workers=jobs, thread_name_prefix="feed") as pool:
            try:
                return dict(zip(order, pool.map(one, order), strict=True))
            except BaseException:
                stop.set()
                pool.shutdown(cancel_futures=True)
                raise

    def prune(self) -> None:
        """Remove what no source needs any more: blobs that no state names, damaged states, and what a crash left."""
        named = set()
        for path in self.directory.glob("*.json"):
            try:
                named.add(_state(path.read_bytes()).sha256)
            except (ValueError, TypeError):
                path.unlink()
        for path in (*self._blobs.glob("*"), *self.directory.glob(f"{TEMPORARY}*")):
            if path.name not in named:
                path.unlink()

    @property
    def _blobs(self) -> Path:
        return self.directory / "blobs"

    def _state_path(self, location: str) -> Path:
        return self.directory / f"{hashlib.sha256(location.encode()).hexdigest()[:16]}.json"

    def _copy(self, state: State, now: datetime) -> Copy | None:
        if not (state.sha256 and state.fetched_at and state.checked_at):
            return None
        path = self._blobs / state.sha256
        try:
            if self.seals.sha256(path) != state.sha256:
                return None
        except OSError:
            return None
        age = max(0.0, (now - state.checked_at).total_seconds())
        return Copy(path, state.sha256, state.fetched_at, state.error is not None, age, state.error, state.expires)

    def _update(self, location: str, fetcher: Fetcher, progress: Progress, now: datetime) -> Copy | FeedError:
        state = self.state(location)
        copy = self._copy(state, now)
        if state.not_before and state.error and now < state.not_before <= now + LONGEST_WAIT:
            return copy or FeedError(state.error)
        known = Validators()
        if copy and now - copy.fetched_at < UNCONDITIONAL:
            known = Validators(state.etag, state.last_modified)
        try:
            got = fetcher(location, known, progress)
            if isinstance(got, NotModified):
                new = state._replace(checked_at=now, error=None, since=None, not_before=None)
            else:
                new = self._keep(location, got, now)
        except FeedError as error:
            later = now + min(timedelta(seconds=error.wait), LONGEST_WAIT) if error.wait else None
            self._write(location, state._replace(error=str(error), since=state.since or now, not_before=later))
            # A new error, because the traceback of this one keeps the body that was refused in memory.
            return copy._replace(stale=True, error=str(error)) if copy else FeedError(str(error))
        if not (new._replace(checked_at=state.checked_at) == state and self._noted(location, state, now)):
            self._write(location, new)
        kept = self._copy(new, now)
        return kept or FeedError(f"{shown(location)}: the copy just written is damaged: check the disk")

    @staticmethod
    def _noted(location: str, state: State, now: datetime) -> bool:
        """Whether a source that did not change is a file, which is looked at in every build: that need not be written
        down each time."""
        return "://" not in location and state.checked_at is not None and timedelta() <= now - state.checked_at < NOTED

    def _keep(self, location: str, got: Fetched, now: datetime) -> State:
        text = decode(got.data)
        if why := why_not_a_list(text):
            raise FeedError(f"{shown(location)}: {why}")
        sha256 = hashlib.sha256(text).hexdigest()
        write_atomic(self._blobs / sha256, text)
        self.seals.put(self._blobs / sha256, sha256)
        return State(
            url=shown(location),
            etag=got.validators.etag,
            last_modified=got.validators.last_modified,
            sha256=sha256,
            bytes=len(text),
            fetched_at=now,
            checked_at=now,
            expires=expires(text),
        )

    def _write(self, location: str, state: State) -> None:
        write_atomic(self._state_path(location), _written(state))
