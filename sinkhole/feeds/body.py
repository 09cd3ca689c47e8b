"""Where a list comes from: a location in, the bytes of its body out, bounded on every side, and the local files.

What is behind a URL is fetched by :mod:`sinkhole.feeds.fetch`, which is imported when there is any. Every failure is a
``FeedError`` of one sentence that names the location without its user name and password.
"""

from __future__ import annotations

import io
import os
import random
import re
import socket
import stat
import time
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from sinkhole.errors import FeedError
from sinkhole.seals import seal

#: Called with (bytes received, bytes expected or ``None``), first with 0; what it raises ends the download.
Progress = Callable[[int, int | None], None]


class Limits(NamedTuple):
    """Bounds of one fetch: ``wire`` and ``decoded`` in bytes, the times in seconds.

    ``total`` covers everything, the waits between attempts too; ``read`` is the longest silence; ``retry_after`` is the
    longest wait that a server may ask for: a longer one ends the fetch.
    """

    wire: int = 256 << 20
    decoded: int = 256 << 20
    connect: float = 10
    read: float = 30
    total: float = 300
    redirects: int = 5
    retries: int = 2
    retry_after: float = 60


class Validators(NamedTuple):
    """What makes the next request conditional (RFC 9110 8.8); empty when the server gave none."""

    etag: str = ""
    last_modified: str = ""


class Fetched(NamedTuple):
    """A whole body, decompressed; nothing is known yet of what it holds."""

    data: bytes
    validators: Validators


class NotModified(NamedTuple):
    """The copy that the given validators belong to is still the current one."""


def resolve(host: str, port: int) -> list[str]:
    """The addresses of a host as the system resolves it, in the order to try them. Raises ``OSError``."""
    return [str(at[0]) for *_, at in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


class Machine(NamedTuple):
    """What a fetch needs from its surroundings. ``verify`` is true, or the path of the CA bundle to trust instead."""

    resolve: Callable[[str, int], list[str]] = resolve
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    chance: Callable[[], float] = random.random
    verify: bool | str = True


LIMITS = Limits()
MACHINE = Machine()
NO_VALIDATORS = Validators()

_STEP = 65536


def shown(location: str) -> str:
    """A URL or path as it may be printed: no user name and password, no control characters, at most 200 characters."""
    text = re.sub(r"(?<=://)[^/?#]*@", "", location)[:200]
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def no_progress(received: int, total: int | None) -> None:
    """The ``Progress`` that tells nobody."""


def load(
    location: str,
    validators: Validators = NO_VALIDATORS,
    progress: Progress = no_progress,
    *,
    limits: Limits = LIMITS,
    allow_local: bool = False,
    within: Collection[str] = (),
    machine: Machine = MACHINE,
) -> Fetched | NotModified:
    """:func:`~sinkhole.feeds.fetch.fetch` for a URL, :func:`read_file` for anything else."""
    if "://" in location:
        from sinkhole.feeds.fetch import fetch

        return fetch(location, validators, progress, limits=limits, allow_local=allow_local, machine=machine)
    return _read(location, validators, progress, limits, within)


def read_file(
    path: str | os.PathLike[str],
    progress: Progress = no_progress,
    *,
    limits: Limits = LIMITS,
    within: Collection[str] = (),
) -> Fetched:
    """A regular file, decompressed when it is gzip; with ``within``, one in or below these directories after all links
    are followed. Its validator is its :func:`~sinkhole.seals.seal`. Raises ``FeedError``."""
    got = _read(path, NO_VALIDATORS, progress, limits, within)
    assert isinstance(got, Fetched)
    return got


def _read(
    path: str | os.PathLike[str], validators: Validators, progress: Progress, limits: Limits, within: Collection[str]
) -> Fetched | NotModified:
    try:
        real = os.path.realpath(path)
        if within and not any(Path(real).is_relative_to(os.path.realpath(directory)) for directory in within):
            raise Failure(f"it is {shown(real)}, and files are read from {' and '.join(within)} only")
        # Not blocking, because to open a pipe would wait for its writer.
        with open(os.open(real, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise Failure("not a regular file")
            sealed = seal(file.fileno())
            if sealed and sealed == validators.etag:
                return NotModified()
            data = collect(inflate(arriving(file.read, status.st_size, progress, limits)), limits)
    except (Failure, OSError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise FeedError(f"{shown(os.fspath(path))}: {why}") from error
    return Fetched(data, Validators(sealed))


def read_stream(read: Callable[[int], bytes], name: str, *, limits: Limits = LIMITS) -> Fetched:
    """All that ``read`` gives, such as standard input, decompressed when it is gzip. Raises ``FeedError``."""
    try:
        return Fetched(collect(inflate(arriving(read, None, no_progress, limits)), limits), NO_VALIDATORS)
    except Failure as error:
        raise FeedError(f"{name}: {error}") from error


class Failure(Exception):
    """Why an attempt failed, without the location; ``wait`` in seconds when the server said when to come back."""

    def __init__(self, why: str, *, again: bool = False, wait: float | None = None) -> None:
        super().__init__(why)
        self.again = again
        self.wait = wait


def arriving(read: Callable[[int], bytes], total: int | None, progress: Progress, limits: Limits) -> Iterator[bytes]:
    """What arrives, in steps, until there is no more."""
    received = 0
    while True:
        progress(received, total)
        if max(received, total or 0) > limits.wire:
            raise Failure(f"larger than {limits.wire} bytes")
        if not (chunk := read(_STEP)):
            return
        received += len(chunk)
        yield chunk


def inflate(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Gzip data (RFC 1952, any number of members) decompressed in pieces of at most 64 KiB; anything else as it is.

    The first bytes decide rather than a header or a suffix: servers send a ``.gz`` file with and without
    ``Content-Encoding: gzip``. One layer only; a second one is not a list.
    """
    head = b""
    while len(head) < 2 and (chunk := next(chunks, b"")):
        head += chunk
    if not head.startswith(b"\x1f\x8b"):
        yield from chain((head,), chunks)
        return
    decoder = zlib.decompressobj(31)
    try:
        for chunk in chain((head,), chunks):
            while chunk:
                if decoder.eof:
                    chunk = chunk.lstrip(b"\0")  # padding, as tape drives leave it
                    decoder = zlib.decompressobj(31) if chunk else decoder
                    continue
                yield decoder.decompress(chunk, _STEP)
                chunk = decoder.unused_data if decoder.eof else decoder.unconsumed_tail
        while not decoder.eof:
            if not (piece := decoder.decompress(b"", _STEP)):
                raise Failure("gzip data that ends too early", again=True)
            yield piece
    except zlib.error as error:
        raise Failure("damaged gzip data") from error


def collect(pieces: Iterable[bytes], limits: Limits) -> bytes:
    body = io.BytesIO()
    for piece in pieces:
        if body.tell() + len(piece) > limits.decoded:
            raise Failure(f"larger than {limits.decoded} bytes when decompressed")
        body.write(piece)
    return body.getvalue()
