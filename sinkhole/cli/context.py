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
from typing import Annotated

import typer

from sinkhole import bundle, journal
from sinkhole import config as configuration
from sinkhole.catalogue.loader import Catalogue
from sinkhole.catalogue.loader import load as load_catalogue
from sinkhole.cli.progress import Bars
from sinkhole.compiler import build, change, plan
from sinkhole.compiler.compile import Compiled
from sinkhole.compiler.parsed import Cache
from sinkhole.config import Config
from sinkhole.errors import SinkholeError
from sinkhole.feeds.fetch import Machine
from sinkhole.feeds.lookup import resolver
from sinkhole.feeds.origin import fetcher
from sinkhole.feeds.store import Fetcher, Store
from sinkhole.policy.exceptions import Permission, register
from sinkhole.policy.expect import Expected, failures

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "-c", "--config", metavar="FILE", help="Configuration file. Default: none, everything at its default."
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


@dataclass(frozen=True)
class Context:
    """A configuration with its catalogue; ``now`` is the instant of this command."""

    config: Config
    catalogue: Catalogue
    now: datetime

    @cached_property
    def plan(self) -> plan.Plan:
        return plan.make(self.config, self.catalogue)

    @property
    def store(self) -> Store:
        return Store(self.config.state_dir / "feeds")

    @property
    def bundles(self) -> Path:
        return self.config.state_dir / "bundles"

    @property
    def exported(self) -> list[str]:
        """The lists to export: those that the configuration names, else those of the policy."""
        named = self.config.exports.lists or [id for entry in self.config.policy for id in entry.lists]
        return list(dict.fromkeys(named))

    @property
    def lock(self) -> Path:
        """What a command holds that writes to the state directory."""
        return self.config.state_dir / "build.lock"

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
        named = {id for entry in self.config.policy for id in entry.directives}
        return [
            f"directive {id} was to be reviewed by {entry.review_at.isoformat()}; see what became of it"
            for id, entry in sorted(self.catalogue.directives.items())
            if id in named and entry.review_at and entry.review_at <= self.now
            if not entry.effective_until or entry.effective_until > self.now
        ]

    @property
    def permissions(self) -> tuple[Permission, ...]:
        """Every exception that there ever was. Raises JournalError for a record that somebody changed."""
        return tuple(register(journal.read(self.journal)).values())

    def unexpected(self, made: bundle.Bundle) -> Iterator[str]:
        """The expectations of the configuration that a bundle does not meet."""
        wanted = [
            Expected(
                "{}:{}".format(*self.config.where("expect", number)),
                entry.client, entry.name, entry.rtype, entry.at, entry.action, entry.token or "",
            )
            for number, entry in enumerate(self.config.expect)
        ]  # fmt: skip
        return failures(made, wanted, self.now)

    def cache(self, *, keep: bool = True) -> Cache:
        return Cache(self.config.state_dir / "parsed", keep=keep)

    def feeds(
        self, *, offline: bool, refresh: bool = False, store: Store | None = None, bars: Bars | None = None
    ) -> list[build.Feed]:
        return build.feeds(
            self.plan,
            store or self.store,
            fetcher=_fetcher(self.config, self.plan),
            offline=offline,
            refresh=refresh,
            now=self.now,
            progress=bars.update if bars else build.quiet,
        )

    def compile(self, id: str) -> Compiled:
        """One list by its id, from the copies there are."""
        spec = self.config.all_lists(self.catalogue).get(id)
        if spec is None:
            raise SinkholeError(
                f"no list {id!r}; there are: {', '.join(sorted(self.config.all_lists(self.catalogue)))}"
            )
        wanted = plan.only(self.config, self.catalogue, id)
        feeds = build.feeds(wanted, self.store, fetcher=_fetcher(self.config, wanted), offline=True, now=self.now)
        for feed in feeds:
            if feed.copy is None:
                raise SinkholeError(f"{feed.error}; run `sinkhole build` first")
        before = change.before(self.bundles)
        return build.compile_lists(wanted, wanted.lists, feeds, before, cache=self.cache(keep=False)).lists[0]


def _fetcher(config: Config, wanted: plan.Plan) -> Fetcher:
    upstream = config.upstream
    resolve = resolver((*upstream.servers, *upstream.bootstrap), config.listen.dns)
    return fetcher((source.origin for source in wanted.sources), machine=Machine(resolve))


def load(path: Path | None) -> Context:
    """The configuration in ``path`` (None: the defaults) with its catalogue; raises ConfigError with every problem."""
    catalogue = load_catalogue()
    return Context(configuration.load(path, catalogue), catalogue, datetime.now(UTC).replace(microsecond=0))
