"""A bundle made from a few lists, for tests of what stands on bundles."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from sinkhole import bundle
from sinkhole.catalogue import loader
from sinkhole.compiler import build, plan
from sinkhole.compiler.parsed import Cache
from sinkhole.config import Config
from sinkhole.config import load as load_config
from sinkhole.feeds import body
from sinkhole.feeds.store import Store

CATALOGUE = loader.load()


def configured(directory: Path, text: str) -> Config:
    """A configuration file in ``directory`` with ``text``."""
    path = directory / "sinkhole.yaml"
    path.write_text(text, encoding="utf-8")
    return load_config(path, CATALOGUE)


def made(
    directory: Path, text: str = "", feeds: Mapping[str, str] | None = None, cache: Cache | None = None
) -> build.Built:
    """The result of building the configuration ``text`` with local ``feeds``, a text by file name."""
    directory.mkdir(exist_ok=True)
    for name, content in (feeds or {}).items():
        (directory / name).write_text(content, encoding="utf-8")
    wanted = plan.make(configured(directory, text or "{}"), CATALOGUE)
    now = datetime(2025, 3, 1, tzinfo=UTC)
    copies = build.feeds(wanted, Store(directory / "state"), fetcher=body.load, offline=True, now=now)
    return build.build(wanted, copies, directory / "bundles", cache=cache)


def opened(directory: Path, text: str = "", feeds: Mapping[str, str] | None = None) -> bundle.Bundle:
    return bundle.load(made(directory, text, feeds).path)
