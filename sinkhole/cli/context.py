"""What most commands start from: the catalogue, the configuration, and the places that the configuration names."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from sys import stderr
from tempfile import TemporaryDirectory

from sinkhole import bundle, journal
from sinkhole import config as configuration
from sinkhole.catalogue.loader import Catalogue
from sinkhole.catalogue.loader import load as load_catalogue
from sinkhole.cli.job import Exports, Job, Review, Server
from sinkhole.cli.progress import Bars
from sinkhole.compiler import build, change
from sinkhole.compiler.compile import Compiled
from sinkhole.compiler.parsed import Cache
from sinkhole.compiler.plan import make as make_plan
from sinkhole.compiler.plan import only
from sinkhole.compiler.planned import Plan
from sinkhole.config import Config
from sinkhole.errors import SinkholeError
from sinkhole.feeds.store import Store
from sinkhole.policy.exceptions import Permission, register
from sinkhole.policy.expected import Expected


@dataclass(frozen=True)
class Context:
    """A configuration with its catalogue; ``now`` is the instant of this command."""

    config: Config
    catalogue: Catalogue
    now: datetime

    @cached_property
    def job(self) -> Job:
        """All of it that a build needs."""
        config, plan = self.config, make_plan(self.config, self.catalogue)
        named = {id for entry in config.policy for id in entry.directives}
        lists = config.exports.lists or [id for entry in config.policy for id in entry.lists]
        return Job(
            config.state_dir,
            plan,
            Exports(config.exports.dir, tuple(dict.fromkeys(lists)), tuple(config.exports.formats)),
            tuple(
                Expected(
                    "{}:{}".format(*config.where("expect", number)),
                    entry.client, entry.name, entry.rtype, entry.at, entry.action, entry.token or "",
                )
                for number, entry in enumerate(config.expect)
            ),
            tuple(
                Review(id, entry.review_at, entry.effective_until)
                for id, entry in sorted(self.catalogue.directives.items())
                if id in named and entry.review_at
            ),
            tuple(Server(*server) for server in (*config.upstream.servers, *config.upstream.bootstrap)),
            tuple((endpoint.host, endpoint.port) for endpoint in config.listen.dns),
        )  # fmt: skip

    @property
    def plan(self) -> Plan:
        return self.job.plan

    @property
    def store(self) -> Store:
        return self.job.store()

    @property
    def bundles(self) -> Path:
        return self.job.bundles

    @property
    def exported(self) -> tuple[str, ...]:
        """The lists to export: those that the configuration names, else those of the policy."""
        return self.job.exports.lists

    @property
    def lock(self) -> Path:
        return self.job.lock

    @property
    def journal(self) -> Path:
        """The record of exceptions."""
        return self.config.state_dir / "exceptions.jsonl"

    @contextmanager
    def in_use(self) -> Iterator[bundle.Bundle]:
        """The bundle in use, or before the first build one that is made for this command alone."""
        current = bundle.current(self.bundles)
        feeds = self.feeds(offline=True)
        if current:
            opened = bundle.load(current)
            if opened.manifest["inputs"] != build.inputs(self.plan, feeds):
                print("sinkhole: the configuration or a source changed since the bundle in use was built", file=stderr)
            yield opened
            return
        with self.built() as made:
            yield made

    @contextmanager
    def built(self) -> Iterator[bundle.Bundle]:
        """A bundle of what the configuration says now, from the texts at hand; it is gone afterwards."""
        with TemporaryDirectory(prefix="sinkhole-") as directory:
            feeds, cache = self.feeds(offline=True), self.cache(keep=False)
            yield bundle.load(build.build(self.plan, feeds, Path(directory), accept=True, cache=cache).path)

    @property
    def reviews(self) -> list[str]:
        """What to tell of directives in the policy that were to be looked at again by now."""
        return self.job.overdue(self.now)

    @property
    def permissions(self) -> tuple[Permission, ...]:
        """Every exception that there ever was. Raises JournalError for a record that somebody changed."""
        return tuple(register(journal.read(self.journal)).values())

    def unexpected(self, made: bundle.Bundle) -> Iterator[str]:
        """The expectations of the configuration that a bundle does not meet."""
        return self.job.unexpected(made, self.now)

    def cache(self, *, keep: bool = True) -> Cache:
        return self.job.cache(keep=keep)

    def feeds(self, *, offline: bool, refresh: bool = False, bars: Bars | None = None) -> list[build.Feed]:
        return self.job.feeds(self.now, self.store, offline=offline, refresh=refresh, bars=bars)

    def compile(self, id: str) -> Compiled:
        """One list by its id, from the copies there are."""
        spec = self.config.all_lists(self.catalogue).get(id)
        if spec is None:
            raise SinkholeError(
                f"no list {id!r}; there are: {', '.join(sorted(self.config.all_lists(self.catalogue)))}"
            )
        wanted = only(self.config, self.catalogue, id)
        feeds = build.feeds(wanted, self.store, fetcher=self.job.fetcher(wanted), offline=True, now=self.now)
        for feed in feeds:
            if feed.copy is None:
                raise SinkholeError(f"{feed.error}; run `sinkhole build` first")
        before = change.before(self.bundles)
        return build.compile_lists(wanted, wanted.lists, feeds, before, cache=self.cache(keep=False)).lists[0]


def load(path: Path | None) -> Context:
    """The configuration in ``path`` (None: the defaults) with its catalogue; raises ConfigError with every problem."""
    catalogue = load_catalogue()
    return Context(configuration.load(path, catalogue), catalogue, datetime.now(UTC).replace(microsecond=0))
