"""All that a build needs of the configuration and the catalogue, as plain data, and kept from one build to the next.

To read and to check two hundred files of YAML takes longer than a build of nothing new. ``<state-dir>/job.json`` is the
job with the digest of everything that it follows from: the bytes of all those files, the program, and the places that
paths start from. So one that is found is the right one, or of no use.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from enum import Enum
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, NamedTuple, Union, get_args, get_origin, get_type_hints

from sinkhole import kept
from sinkhole.cli.progress import Bars
from sinkhole.compiler import build
from sinkhole.compiler.parsed import Cache
from sinkhole.compiler.planned import Plan
from sinkhole.compiler.tool import tool
from sinkhole.feeds.body import Machine, shown
from sinkhole.feeds.origin import fetcher
from sinkhole.feeds.store import Fetcher, Store
from sinkhole.places import catalogue_directory
from sinkhole.policy.expected import Expected
from sinkhole.seals import Seals
from sinkhole.service import start

if TYPE_CHECKING:
    from sinkhole.bundle import Bundle

NAME = "job.json"


class Exports(NamedTuple):
    """What is exported, and where to. ``signed_at`` is where the configuration names the key to sign with."""

    dir: Path
    lists: tuple[str, ...]
    formats: tuple[str, ...]
    groups: tuple[str, ...] = ()
    gzip: bool = False
    sign: Path | None = None
    signed_at: str = ""
    after: tuple[tuple[str, ...], ...] = ()


class Review(NamedTuple):
    """A directive of the policy that is to be looked at again, and when it ends by itself."""

    directive: str
    at: datetime
    until: datetime | None


class Server(NamedTuple):
    """As :class:`sinkhole.config.Server`, before anything is asked."""

    protocol: str
    host: str
    port: int
    path: str


class Job(NamedTuple):
    """``upstreams`` know the hosts of feeds, and ``own`` is where we answer ourselves."""

    state_dir: Path
    plan: Plan
    exports: Exports
    expected: tuple[Expected, ...]
    reviews: tuple[Review, ...]
    upstreams: tuple[Server, ...]
    own: tuple[tuple[str, int], ...]

    @property
    def bundles(self) -> Path:
        return self.state_dir / "bundles"

    @property
    def journal(self) -> Path:
        """The record of exceptions."""
        return self.state_dir / "exceptions.jsonl"

    @property
    def lock(self) -> Path:
        """What a command holds that writes to the state directory."""
        return self.state_dir / "build.lock"

    def seals(self) -> Seals:
        return Seals(self.state_dir / "seals.json")

    def store(self, seals: Seals | None = None) -> Store:
        return Store(self.state_dir / "feeds", seals)

    def cache(self, *, keep: bool = True) -> Cache:
        return Cache(self.state_dir / "parsed", keep=keep)

    def feeds(
        self, now: datetime, store: Store, *, offline: bool, refresh: bool = False, bars: Bars | None = None
    ) -> list[build.Feed]:
        return build.feeds(
            self.plan,
            store,
            fetcher=self.fetcher(self.plan),
            offline=offline,
            refresh=refresh,
            now=now,
            progress=bars.update if bars else build.quiet,
        )

    def fetcher(self, plan: Plan) -> Fetcher:
        return fetcher((source.origin for source in plan.sources), machine=Machine(self._resolve))

    def _resolve(self, host: str, port: int) -> list[str]:
        from sinkhole import config
        from sinkhole.feeds.lookup import resolver

        own = [config.Endpoint(*endpoint) for endpoint in self.own]
        return resolver([config.Server(*server) for server in self.upstreams], own)(host, port)

    def unexpected(self, made: Bundle, now: datetime) -> Iterator[str]:
        """The expectations of the configuration that a bundle does not meet."""
        from sinkhole.policy.expect import failures  # and with it all that decides

        yield from failures(made, self.expected, now)

    def overdue(self, now: datetime) -> list[str]:
        """What to tell of directives in the policy that were to be looked at again by now."""
        return [
            f"directive {review.directive} was to be reviewed by {review.at.isoformat()}; see what became of it"
            for review in self.reviews
            if review.at <= now and (not review.until or review.until > now)
        ]

    def keep(self, digest: str) -> None:
        """Write it down for the next build, unless it holds what nobody may write down."""
        if any(shown(place) != place for source in self.plan.sources for place in (source.location, *source.mirrors)):
            return
        kept.write(self.state_dir / NAME, [digest, self], _plain)


@contextmanager
def load(path: Path | None, *, keep: bool = True) -> Iterator[Job]:
    """The job of the configuration in ``path``, as it was worked out before, or else kept after it is done."""
    digest = _digest(path)
    if job := _kept(path, digest):
        yield job
        return
    from sinkhole.cli import context  # and with it all that reads and checks files of YAML

    begun = start.digest(path)
    made = context.load(path)
    yield made.job
    if keep and digest and digest == _digest(path):
        from sinkhole.service import configured

        made.job.keep(digest)
        configured.keep(path, begun, made.config, made.plan)


def _kept(path: Path | None, digest: str) -> Job | None:
    with suppress(OSError, ValueError, TypeError, LookupError):
        known, job = kept.read(kept.directory(path.read_bytes() if path else b"") / NAME)
        if known == digest:
            made: Job = _reader(Job)(job)
            return made
    return None


def _digest(path: Path | None) -> str:
    """A digest of all that the job of the configuration in ``path`` follows from."""
    directory = catalogue_directory()
    places = [os.environ.get(name) for name in ("HOME", "XDG_STATE_HOME")]
    digest = hashlib.sha256(repr((tool(), str(path), os.getcwd(), places, str(directory))).encode())
    for file in [*([path] if path else []), *sorted(directory.rglob("*.yaml"))]:
        try:
            text = file.read_bytes()
        except OSError:  # as who reads it next will say
            return ""
        digest.update(b"%s\0%d\0%s" % (os.fsencode(file), len(text), text))
    return digest.hexdigest()


def _plain(value: object) -> object:
    """What JSON has no word for."""
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if isinstance(value, datetime):
        return value.isoformat()
    return sorted(value) if isinstance(value, frozenset) else str(value)


@cache
def _reader(kind: Any) -> Callable[[Any], Any]:
    """What makes a value of the type ``kind`` of what :func:`_plain` and JSON made of one."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin is tuple and inner[1:] == (...,):
        return _each(tuple, _reader(inner[0]))
    if origin is tuple or hasattr(kind, "_fields"):
        types: Iterable[Any] = inner if origin else get_type_hints(kind).values()
        return _row(tuple if origin else kind._make, tuple(map(_reader, types)))
    if origin is frozenset:
        return _each(frozenset, _reader(inner[0]))
    if origin in (UnionType, Union):
        (some,) = (each for each in inner if each is not NoneType)
        return _maybe(_reader(some))
    if kind is Any or origin is dict or kind in (str, int, float, bool):
        return _same
    assert kind in _WAYS or issubclass(kind, Enum)
    return _WAYS.get(kind, kind)


def _each(collect: Callable[[Any], Any], read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda values: collect(map(read, values))


def _row(collect: Callable[[Any], Any], readers: tuple[Callable[[Any], Any], ...]) -> Callable[[Any], Any]:
    return lambda values: collect([read(value) for read, value in zip(readers, values, strict=True)])


def _maybe(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: None if value is None else read(value)


def _same(value: Any) -> Any:
    return value


_WAYS: Mapping[Any, Callable[[Any], Any]] = {
    Path: Path,
    bytes: lambda text: text.encode("latin-1"),
    datetime: datetime.fromisoformat,
}
