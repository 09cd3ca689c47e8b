"""Where a list comes from: the only HTTP client for lists, and the reader of local files. A location in, bytes out.

What arrives is bounded on every side: bytes on the wire, bytes after decompression, hops, retries, and the time of it
all, which a timer enforces on the socket itself, so neither a handshake nor a header nor a body can be dripped past it.
Every failure is a ``FeedError`` of one sentence that names the location without its user name and password.

A source may not point inwards (CWE-918): a host is resolved once, its addresses are checked, and the connection is made
to an address that was checked, so a name that changes its answer gains nothing. ``allow_local`` lifts this for the host
that the source names, never for another one it redirects to. No environment variable brings in a proxy or credentials.
"""

from __future__ import annotations

import io
import os
import random
import re
import socket
import ssl
import stat
import time
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, suppress
from email.utils import parsedate_to_datetime
from functools import partial
from http.client import IncompleteRead
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from itertools import chain
from pathlib import Path
from threading import Timer
from typing import NamedTuple
from urllib.parse import urljoin, urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import HTTPError

from sinkhole import __version__
from sinkhole.errors import FeedError

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
_REDIRECTS = (301, 302, 303, 307, 308)
_PASSING = (429, 500, 502, 503, 504)
_NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052 2.1
_UNICAST = IPv6Network("2000::/3")  # all that is given out of RFC 4291's global unicast


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
    """:func:`fetch` for a URL, :func:`read_file` for anything else."""
    if "://" in location:
        return fetch(location, validators, progress, limits=limits, allow_local=allow_local, machine=machine)
    return read_file(location, progress, limits=limits, within=within)


def read_file(
    path: str | os.PathLike[str],
    progress: Progress = no_progress,
    *,
    limits: Limits = LIMITS,
    within: Collection[str] = (),
) -> Fetched:
    """A regular file, decompressed when it is gzip; with ``within``, one in or below these directories after all links
    are followed. Raises ``FeedError``."""
    try:
        real = os.path.realpath(path)
        if within and not any(Path(real).is_relative_to(os.path.realpath(directory)) for directory in within):
            raise _Failure(f"it is {shown(real)}, and files are read from {' and '.join(within)} only")
        # Not blocking, because to open a pipe would wait for its writer.
        with open(os.open(real, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise _Failure("not a regular file")
            data = _collect(_inflate(_received(file.read, status.st_size, progress, limits)), limits)
    except (_Failure, OSError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise FeedError(f"{shown(os.fspath(path))}: {why}") from error
    return Fetched(data, NO_VALIDATORS)


def read_stream(read: Callable[[int], bytes], name: str, *, limits: Limits = LIMITS) -> Fetched:
    """All that ``read`` gives, such as standard input, decompressed when it is gzip. Raises ``FeedError``."""
    try:
        return Fetched(_collect(_inflate(_received(read, None, no_progress, limits)), limits), NO_VALIDATORS)
    except _Failure as error:
        raise FeedError(f"{name}: {error}") from error


def fetch(
    url: str,
    validators: Validators = NO_VALIDATORS,
    progress: Progress = no_progress,
    *,
    limits: Limits = LIMITS,
    allow_local: bool = False,
    machine: Machine = MACHINE,
) -> Fetched | NotModified:
    """The body at a URL, or that it did not change since ``validators``. Raises ``FeedError``.

    Transport failures and the statuses 429, 500, 502, 503 and 504 are tried again, after the wait the server asks for
    or 1, 2, 4… seconds, each up to half longer by chance so that many machines do not come back at once.
    """
    deadline = machine.clock() + limits.total
    attempt = 0
    while True:
        try:
            with ExitStack() as stack:
                response = _follow(stack, url, validators, limits, allow_local, machine, deadline)
                answer = _answer(response, validators, progress, limits)
            failure = None
        except _Failure as error:
            failure = error.with_traceback(None)  # which would keep what was received in memory
        except (requests.RequestException, HTTPError, OSError) as error:
            failure = _transport_failure(error, limits)
        # The timer's cut looks like the end of the body or like any failure of the transport.
        if machine.clock() >= deadline:
            failure = _Failure(f"not finished within {limits.total:g} s")
        if failure is None:
            return answer
        wait = (2**attempt if failure.wait is None else failure.wait) * (1 + machine.chance() / 2)
        if not failure.again or attempt == limits.retries or machine.clock() + wait >= deadline:
            raise FeedError(f"{shown(url)}: {failure}", failure.wait and wait) from failure
        machine.sleep(wait)
        attempt += 1


class _Failure(Exception):
    """Why an attempt failed, without the location; ``wait`` in seconds when the server said when to come back."""

    def __init__(self, why: str, *, again: bool = False, wait: float | None = None) -> None:
        super().__init__(why)
        self.again = again
        self.wait = wait


def _follow(
    stack: ExitStack,
    url: str,
    validators: Validators,
    limits: Limits,
    allow_local: bool,
    machine: Machine,
    deadline: float,
) -> requests.Response:
    """The first response that is no redirect; every hop is checked as the first one was."""
    headers = {"User-Agent": f"sinkhole/{__version__}", "Accept": "*/*", "Accept-Encoding": "gzip, identity"}
    if validators.etag:
        headers["If-None-Match"] = validators.etag
    if validators.last_modified:
        headers["If-Modified-Since"] = validators.last_modified
    url = _checked(url)
    source: str | None = None
    for _ in range(limits.redirects + 1):
        request = requests.Request("GET", url, headers=headers).prepare()
        url = str(request.url)  # as requests understood it: this is what it connects to
        source = source or urlsplit(url).hostname
        local = allow_local and urlsplit(url).hostname == source
        adapter = _adapter(partial(_dial, stack=stack, local=local, limits=limits, machine=machine, deadline=deadline))
        stack.callback(adapter.close)
        response = adapter.send(request, stream=True, timeout=(limits.connect, limits.read), verify=machine.verify)
        stack.callback(response.close)
        if response.status_code not in _REDIRECTS:
            return response
        target = response.headers.get("location", "").encode("latin-1").decode("utf-8", "replace")
        secure = urlsplit(url).scheme == "https"
        url = _checked(target, url)
        if secure and urlsplit(url).scheme != "https":
            raise _Failure(f"redirects from https to {shown(url)}")
    raise _Failure(f"redirects more than {limits.redirects} times, last to {shown(url)}")


def _checked(reference: str, base: str = "") -> str:
    """The URL that ``reference`` means at ``base``, if it is one to fetch."""
    try:
        url = urljoin(base, reference)
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError as error:
        raise _Failure(f"not a valid URL: {shown(reference)}") from error
    if not usable:
        raise _Failure(f"{shown(url)} is not an http:// or https:// URL")
    return url


def _adapter(dial: Callable[[str, int], socket.socket]) -> HTTPAdapter:
    """A transport of ``requests`` whose sockets come from ``dial``; Host, SNI and certificate stay those of the URL."""

    class Plain(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            return dial(self.host, self.port)

    class Secure(HTTPSConnection):
        def _new_conn(self) -> socket.socket:
            return dial(self.host, self.port)

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain

    class SecurePool(HTTPSConnectionPool):
        ConnectionCls = Secure

    adapter = HTTPAdapter()
    adapter.poolmanager.pool_classes_by_scheme = {"http": PlainPool, "https": SecurePool}
    return adapter


def _dial(
    host: str, port: int, *, stack: ExitStack, local: bool, limits: Limits, machine: Machine, deadline: float
) -> socket.socket:
    """A connection to an address of ``host`` that may be used, which the timer cuts at the deadline."""
    host = host.strip("[]")
    try:
        addresses = machine.resolve(host, port)
    except (OSError, UnicodeError) as error:
        raise _Failure(f"cannot resolve {host}: {getattr(error, 'strerror', error)}", again=True) from error
    usable = [address for address in addresses if local or _is_public(address)]
    if not usable:
        where = " and ".join(addresses) or "no address"
        raise _Failure(f"{host} is at {where}: only a source marked as local may be at an address that is not public")
    failure: OSError | None = None
    for address in usable:
        try:
            sock = socket.create_connection(
                (address, port), max(0.001, min(limits.connect, deadline - machine.clock()))
            )
        except OSError as error:
            failure = error
            continue
        guard = stack.enter_context(sock.dup())  # TLS takes over the socket object, but not the connection
        timer = Timer(max(0, deadline - machine.clock()), _cut, (guard,))
        timer.daemon = True
        timer.start()
        stack.callback(timer.cancel)
        return sock
    raise _Failure(
        f"cannot connect to {usable[-1]} port {port}: {(failure and failure.strerror) or failure}", again=True
    )


def _cut(guard: socket.socket) -> None:
    with suppress(OSError):
        guard.shutdown(socket.SHUT_RDWR)


def _is_public(text: str) -> bool:
    """Whether an address is one of the public internet, as are the IPv4 addresses that an IPv6 one can stand for."""
    address: IPv4Address | IPv6Address = ip_address(text)
    if isinstance(address, IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if address in _NAT64:
            inner = IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is None:
            return address in _UNICAST and address.is_global
        address = inner
    return address.is_global and not address.is_multicast


def _answer(
    response: requests.Response, validators: Validators, progress: Progress, limits: Limits
) -> Fetched | NotModified:
    status, headers = response.status_code, response.headers
    if status == 304 and any(validators):
        return NotModified()
    if status in _PASSING:
        wait = _retry_after(headers)
        if wait is not None and wait > limits.retry_after:
            raise _Failure(f"answered {status} and asks to come back in {wait:.0f} s", wait=wait)
        raise _Failure(f"answered {status}", again=True, wait=wait)
    if status != 200:
        raise _Failure(f"answered {status}")
    encoding = headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", "gzip", "x-gzip"):
        raise _Failure(f"encoded as {shown(encoding)!r}, where gzip or identity was asked for")
    length = headers.get("content-length", "")
    total = int(length) if re.fullmatch("[0-9]{1,18}", length) else None
    read = partial(response.raw.read, decode_content=False)
    data = _collect(_inflate(_received(read, total, progress, limits)), limits)
    return Fetched(data, Validators(*(headers.get(name, "")[:1024] for name in ("etag", "last-modified"))))


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait (RFC 9110 10.2.3); a date counts from the server's own, so no clock here has to be right."""
    value = headers.get("retry-after", "")
    if re.fullmatch("[0-9]{1,9}", value):
        return float(value)
    with suppress(TypeError, ValueError, OverflowError):
        asked = parsedate_to_datetime(value) - parsedate_to_datetime(headers.get("date", ""))
        return max(0.0, asked.total_seconds())
    return None


def _received(read: Callable[[int], bytes], total: int | None, progress: Progress, limits: Limits) -> Iterator[bytes]:
    """What arrives, in steps, until there is no more."""
    received = 0
    while True:
        progress(received, total)
        if max(received, total or 0) > limits.wire:
            raise _Failure(f"larger than {limits.wire} bytes")
        if not (chunk := read(_STEP)):
            return
        received += len(chunk)
        yield chunk


def _inflate(chunks: Iterator[bytes]) -> Iterator[bytes]:
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
                raise _Failure("gzip data that ends too early", again=True)
            yield piece
    except zlib.error as error:
        raise _Failure("damaged gzip data") from error


def _collect(pieces: Iterable[bytes], limits: Limits) -> bytes:
    body = io.BytesIO()
    for piece in pieces:
        if body.tell() + len(piece) > limits.decoded:
            raise _Failure(f"larger than {limits.decoded} bytes when decompressed")
        body.write(piece)
    return body.getvalue()


def _transport_failure(error: BaseException | None, limits: Limits) -> _Failure:
    """The sentence for what ``requests`` and ``urllib3`` wrap in each other; the innermost error knows."""
    causes: list[BaseException] = []
    while error is not None:
        causes.append(error)
        error = error.__cause__ or error.__context__
    for cause in reversed(causes):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return _Failure(f"the certificate is not accepted: {cause.verify_message}")
        if isinstance(cause, TimeoutError):
            return _Failure(f"no data for {limits.read:g} s", again=True)
        if isinstance(cause, IncompleteRead):
            return _Failure("the body ends too early", again=True)
    innermost = causes[-1]
    # A URL or a header that is not valid will not become so.
    return _Failure(shown(f"{type(innermost).__name__}: {innermost}"), again=not isinstance(innermost, ValueError))
