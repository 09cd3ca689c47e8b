"""Where one list comes from and on what terms, and the download that keeps to them."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import NamedTuple

from sinkhole.errors import FeedError
from sinkhole.feeds.fetch import LIMITS, MACHINE, Fetched, Limits, Machine, NotModified, Progress, Validators, load
from sinkhole.feeds.store import Fetcher


class Origin(NamedTuple):
    """A URL or path, and the ``mirrors`` of a URL in the order to try them.

    ``interval``: for how many seconds a copy is fresh, None when nobody said. ``local``: the URL may lead to an address
    that is not public. ``within``: the directories that a file has to be in or below; none for anywhere.
    """

    location: str
    mirrors: tuple[str, ...] = ()
    interval: float | None = None
    local: bool = False
    within: tuple[str, ...] = ()


def fetcher(origins: Iterable[Origin], *, limits: Limits = LIMITS, machine: Machine = MACHINE) -> Fetcher:
    """Downloads from an origin's location, else from its mirrors. The error is that of the location."""
    known = {origin.location: origin for origin in origins}

    def get(location: str, validators: Validators, progress: Progress) -> Fetched | NotModified:
        origin = known[location]

        def one(place: str, validators: Validators) -> Fetched | NotModified:
            return load(
                place, validators, progress,
                limits=limits, allow_local=origin.local, within=origin.within, machine=machine,
            )  # fmt: skip

        try:
            return one(location, validators)
        except FeedError:
            for mirror in origin.mirrors:
                with suppress(FeedError):
                    return one(mirror, Validators())
            raise

    return get
