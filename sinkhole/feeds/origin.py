"""Where one list comes from and on what terms, and the download that keeps to them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urljoin

from sinkhole.errors import FeedError
from sinkhole.feeds.body import (
    LIMITS,
    MACHINE,
    NO_VALIDATORS,
    Fetched,
    Limits,
    Machine,
    NotModified,
    Progress,
    Validators,
    load,
    shown,
)
from sinkhole.feeds.sniff import decode, why_not_a_list
from sinkhole.feeds.store import Fetcher


class Origin(NamedTuple):
    """A URL or path, and the ``mirrors`` of a URL in the order to try them.

    ``interval``: for how many seconds a copy is fresh, None when nobody said. ``local``: the URL may lead to an address
    that is not public. ``within``: the directories that a file has to be in or below; none for anywhere.
    ``includes``: a v2fly list, of which the files that it includes are a part.
    """

    location: str
    mirrors: tuple[str, ...] = ()
    interval: float | None = None
    local: bool = False
    within: tuple[str, ...] = ()
    includes: bool = False


def fetcher(origins: Iterable[Origin], *, limits: Limits = LIMITS, machine: Machine = MACHINE) -> Fetcher:
    """Downloads from an origin's location, else from its mirrors. The error is that of the location."""
    known = {origin.location: origin for origin in origins}

    def get(location: str, validators: Validators, progress: Progress) -> Fetched | NotModified:
        origin = known[location]

        def one(place: str, validators: Validators) -> Fetched | NotModified:
            get = partial(load, allow_local=origin.local, within=origin.within, machine=machine)
            if origin.includes:
                return _with_includes(place, get, limits, machine)
            return get(place, validators, progress, limits=limits)

        try:
            return one(location, validators)
        except FeedError:
            for mirror in origin.mirrors:
                with suppress(FeedError):
                    return one(mirror, Validators())
            raise

    return get


def _with_includes(place: str, get: Callable[..., Fetched | NotModified], limits: Limits, machine: Machine) -> Fetched:
    """A v2fly list and all that it includes as one text, within the bounds of one fetch: any that fails is a failure of
    the whole. Without validators, because what is included may change while the list does not."""
    from sinkhole.formats import v2fly  # and all other formats, which nobody else needs in order to fetch

    texts: dict[str, bytes] = {}
    deadline = machine.clock() + limits.total
    size = 0

    def read(where: str) -> bytes:
        nonlocal size
        if where not in texts:
            left = deadline - machine.clock()
            if left <= 0:
                raise FeedError(f"{shown(place)}: not finished within {limits.total:g} s with all that it includes")
            got = get(where, limits=limits._replace(total=left))
            assert isinstance(got, Fetched)
            texts[where] = decode(got.data)
            if why := why_not_a_list(texts[where]):
                raise FeedError(f"{shown(where)}: {why}")
        size += len(texts[where])
        if size > limits.decoded:
            raise FeedError(f"{shown(place)}: larger than {limits.decoded} bytes with all that it includes")
        return texts[where]

    beside = (lambda name: urljoin(place, name)) if "://" in place else Path(place).parent.joinpath
    return Fetched(v2fly.expand(read(place), lambda name: read(str(beside(name)))), NO_VALIDATORS)
