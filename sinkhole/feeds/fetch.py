"""What is at a URL: the only HTTP client for lists. A URL in, the bytes of its body out.

What arrives is bounded on every side: bytes on the wire, bytes after decompression, hops, retries, and the time of it
all, which a timer enforces on the socket itself, so neither a handshake nor a header nor a body can be dripped past it.
Every failure is a ``FeedError`` of one sentence that names the location without its user name and password.

A source may not point inwards (CWE-918): a host is resolved once, its addresses are checked, and the connection is made
to an address that was checked, so a name that changes its answer gains nothing. ``allow_local`` lifts this for the host
that the source names, never for another one it redirects to. No environment variable brings in a proxy or credentials.
"""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from email.utils import parsedate_to_datetime
from functools import partial
from http.client import IncompleteRead
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from threading import Timer
from urllib.parse import urljoin, urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import HTTPError

from sinkhole import __version__
from sinkhole.errors import FeedError
from sinkhole.feeds.body import (
    LIMITS,
    MACHINE,
    NO_VALIDATORS,
    Failure,
    Fetched,
    Limits,
    Machine,
    NotModified,
    Progress,
    Validators,
    arriving,
    collect,
    inflate,
    no_progress,
    shown,
)

_REDIRECTS = (301, 302, 303, 307, 308)
_PASSING = (429, 500, 502, 503, 504)
_NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052 2.1
_UNICAST = IPv6Network("2000::/3")  # all that is given out of RFC 4291's global unicast


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
        except Failure as error:
            failure = error.with_traceback(None)  # which would keep what was received in memory
        except (requests.RequestException, HTTPError, OSError) as error:
            failure = _transport_failure(error, limits)
        # The timer's cut looks like the end of the body or like any failure of the transport.
        if machine.clock() >= deadline:
            failure = Failure(f"not finished within {limits.total:g} s")
        if failure is None:
            return answer
        wait = (2**attempt if failure.wait is None else failure.wait) * (1 + machine.chance() / 2)
        if not failure.again or attempt == limits.retries or machine.clock() + wait >= deadline:
            raise FeedError(f"{shown(url)}: {failure}", failure.wait and wait) from failure
        machine.sleep(wait)
        attempt += 1


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
            raise Failure(f"redirects from https to {shown(url)}")
    raise Failure(f"redirects more than {limits.redirects} times, last to {shown(url)}")


def _checked(reference: str, base: str = "") -> str:
    """The URL that ``reference`` means at ``base``, if it is one to fetch."""
    try:
        url = urljoin(base, reference)
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError as error:
        raise Failure(f"not a valid URL: {shown(reference)}") from error
    if not usable:
        raise Failure(f"{shown(url)} is not an http:// or https:// URL")
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
        raise Failure(f"cannot resolve {host}: {getattr(error, 'strerror', error)}", again=True) from error
    usable = [address for address in addresses if local or _is_public(address)]
    if not usable:
        where = " and ".join(addresses) or "no address"
        raise Failure(f"{host} is at {where}: only a source marked as local may be at an address that is not public")
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
    raise Failure(
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
            raise Failure(f"answered {status} and asks to come back in {wait:.0f} s", wait=wait)
        raise Failure(f"answered {status}", again=True, wait=wait)
    if status != 200:
        raise Failure(f"answered {status}")
    encoding = headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", "gzip", "x-gzip"):
        raise Failure(f"encoded as {shown(encoding)!r}, where gzip or identity was asked for")
    length = headers.get("content-length", "")
    total = int(length) if re.fullmatch("[0-9]{1,18}", length) else None
    read = partial(response.raw.read, decode_content=False)
    data = collect(inflate(arriving(read, total, progress, limits)), limits)
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


def _transport_failure(error: BaseException | None, limits: Limits) -> Failure:
    """The sentence for what ``requests`` and ``urllib3`` wrap in each other; the innermost error knows."""
    causes: list[BaseException] = []
    while error is not None:
        causes.append(error)
        error = error.__cause__ or error.__context__
    for cause in reversed(causes):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return Failure(f"the certificate is not accepted: {cause.verify_message}")
        if isinstance(cause, TimeoutError):
            return Failure(f"no data for {limits.read:g} s", again=True)
        if isinstance(cause, IncompleteRead):
            return Failure("the body ends too early", again=True)
    innermost = causes[-1]
    # A URL or a header that is not valid will not become so.
    return Failure(shown(f"{type(innermost).__name__}: {innermost}"), again=not isinstance(innermost, ValueError))
