from __future__ import annotations

import gzip
import os
import socket
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from threading import Event

import pytest

from sinkhole import __version__
from sinkhole.errors import FeedError
from sinkhole.feeds.body import (
    Fetched,
    Limits,
    Machine,
    NotModified,
    Validators,
    load,
    read_file,
    shown,
)
from sinkhole.feeds.fetch import _is_public, fetch

Reply = Callable[[str], Iterable[bytes]]
Serve = Callable[[Reply], str]

LIST = b"0.0.0.0 ads.example.com\n0.0.0.0 track.example.org\n"
ONCE = Limits(retries=0)


def http(body: bytes = LIST, status: str = "200 OK", *headers: str) -> bytes:
    lines = (f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", "")
    return "\r\n".join(lines).encode() + body


def says(*replies: bytes) -> Reply:
    """A server that gives its replies one after the other, the last one for ever."""
    left = list(replies)
    return lambda request: [left.pop(0) if len(left) > 1 else left[0]]


def moved(to: str) -> bytes:
    return http(b"", "302 Found", f"Location: {to}")


def test_a_list_arrives_with_its_validators_and_the_request_says_who_asks(serve: Serve) -> None:
    requests: list[str] = []

    def reply(request: str) -> list[bytes]:
        requests.append(request)
        return [http(LIST, "200 OK", 'ETag: "a1"', "Last-Modified: Sun, 02 Feb 2025 00:00:00 GMT")]

    url = serve(reply)
    known = Validators('"a0"', "Sat, 01 Feb 2025 00:00:00 GMT")
    assert fetch(f"{url}/list.txt?a=1#top", known, allow_local=True) == Fetched(
        LIST, Validators('"a1"', "Sun, 02 Feb 2025 00:00:00 GMT")
    )
    assert sorted(requests[0].split("\r\n")) == sorted(
        [
            "GET /list.txt?a=1 HTTP/1.1",
            f"Host: {url.removeprefix('http://')}",
            f"User-Agent: sinkhole/{__version__}",
            "Accept: */*",
            "Accept-Encoding: gzip, identity",
            'If-None-Match: "a0"',
            "If-Modified-Since: Sat, 01 Feb 2025 00:00:00 GMT",
            "",
            "",
        ]
    )


@pytest.mark.parametrize(
    "reply",
    [
        http(gzip.compress(LIST, mtime=0), "200 OK", "Content-Encoding: gzip"),
        http(gzip.compress(LIST, mtime=0), "200 OK", "Content-Type: application/gzip"),
        http(
            gzip.compress(LIST[:9], mtime=0) + gzip.compress(LIST[9:], mtime=0) + b"\0" * 512,
            "200 OK",
            "Content-Encoding: x-gzip",
        ),
        http(LIST, "200 OK", "Content-Encoding: gzip"),
        http(LIST, "200 OK", "Content-Encoding: identity"),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(LIST), LIST),
        b"HTTP/1.0 200 OK\r\n\r\n" + LIST,
    ],
    ids=["gzip", "gz file", "members", "gzip in name only", "identity", "chunked", "until close"],
)
def test_however_it_is_packed_the_same_list_arrives(serve: Serve, reply: bytes) -> None:
    assert load(serve(says(reply)), allow_local=True) == Fetched(LIST, Validators())


def test_progress_counts_what_arrives(serve: Serve) -> None:
    body = os.urandom(200_000)
    seen: list[tuple[int, int | None]] = []
    fetch(serve(says(http(body))), progress=lambda *at: seen.append(at), allow_local=True)
    assert seen[0] == (0, 200_000)
    assert seen[-1] == (200_000, 200_000)
    assert len(seen) > 3
    assert seen == sorted(seen)


def test_not_modified_only_answers_a_question(serve: Serve) -> None:
    url = serve(says(http(b"", "304 Not Modified")))
    assert fetch(url, Validators('"a1"'), allow_local=True) == NotModified()
    with pytest.raises(FeedError, match="answered 304"):
        fetch(url, allow_local=True)


@pytest.mark.parametrize(
    ("first", "waits"),
    [
        (http(b"", "503 Busy"), [1]),
        (http(b"", "500 Oops"), [1]),
        (http(b"", "503 Busy", "Retry-After: 7"), [7]),
        (http(b"", "429 Slow down", "Retry-After: 0"), [0]),
        (
            http(
                b"",
                "429 Slow down",
                "Date: Sun, 02 Feb 2025 00:00:00 GMT",
                "Retry-After: Sun, 02 Feb 2025 00:00:09 GMT",
            ),
            [9],
        ),
        (http(b"", "503 Busy", "Retry-After: soon"), [1]),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\ncut", [1]),
        (b"no HTTP at all\r\n\r\n", [1]),
        (b"", [1]),
    ],
)
def test_what_may_pass_is_tried_again(serve: Serve, first: bytes, waits: list[float]) -> None:
    slept: list[float] = []
    machine = Machine(sleep=slept.append, chance=lambda: 0.0)
    got = fetch(serve(says(first, http())), allow_local=True, machine=machine)
    assert got == Fetched(LIST, Validators())
    assert slept == waits


def test_waits_grow_with_jitter_and_end(serve: Serve) -> None:
    slept: list[float] = []
    url = serve(says(http(b"", "503 Busy")))
    with pytest.raises(FeedError, match=f"^{url}: answered 503$"):
        fetch(url, allow_local=True, machine=Machine(sleep=slept.append, chance=lambda: 0.5))
    assert slept == [1.25, 2.5]
    with pytest.raises(FeedError, match="answered 503"):  # a wait that would end after the deadline is not begun
        fetch(url, allow_local=True, limits=Limits(total=0.9), machine=Machine(sleep=slept.append))
    assert len(slept) == 2


def no_sleep(seconds: float) -> None:
    raise AssertionError(f"waited {seconds} s")


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (http(b"", "404 Not Found"), "answered 404"),
        (http(b"", "206 Partial Content"), "answered 206"),
        (http(b"", "503 Busy", "Retry-After: 3600"), "answered 503 and asks to come back in 3600 s"),
        (http(LIST, "200 OK", "Content-Encoding: br"), "encoded as 'br', where gzip or identity was asked for"),
        (http(b"\x1f\x8b" + b"x" * 100), "damaged gzip data"),
        (http(gzip.compress(LIST, mtime=0) + b"more"), "damaged gzip data"),
        (moved("ftp://feed.test/x"), "ftp://feed.test/x is not an http:// or https:// URL"),
        (moved("file:///etc/passwd"), "file:///etc/passwd is not an http:// or https:// URL"),
        (moved("http://[::1"), "not a valid URL"),
        (moved("/again"), "redirects more than 5 times"),
        (http(b"", "302 Found"), "redirects more than 5 times"),
        (moved("http://169.254.169.254/meta"), "169.254.169.254 is at 169.254.169.254: only a source marked as local"),
        (moved("http://127.0.0.2/"), "127.0.0.2 is at 127.0.0.2: only a source marked as local"),
        (moved("http://[::1]/"), "::1 is at ::1: only a source marked as local"),
    ],
)
def test_what_stays_is_refused_at_once(serve: Serve, reply: bytes, why: str) -> None:
    url = serve(says(reply))
    with pytest.raises(FeedError) as caught:
        fetch(url, allow_local=True, machine=Machine(sleep=no_sleep))
    assert str(caught.value).startswith(f"{url}: ")
    assert why in str(caught.value)


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n" + LIST, "the body ends too early"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s" % (2 * len(LIST), LIST), "too early"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n" % (len(LIST), LIST), "too early"),
        (http(gzip.compress(LIST, mtime=0)[:-9]), "gzip data that ends too early"),
        (b"", "RemoteDisconnected"),
    ],
)
def test_a_body_that_is_cut_is_no_body(serve: Serve, reply: bytes, why: str) -> None:
    with pytest.raises(FeedError, match=why):
        fetch(serve(says(reply)), allow_local=True, limits=ONCE)


def test_a_reset_connection_is_no_body(serve: Serve) -> None:
    def reply(request: str) -> Iterator[bytes]:
        yield b"HTTP/1.1 200 OK\r\n\r\n" + LIST
        raise ConnectionResetError

    with pytest.raises(FeedError, match="reset"):
        fetch(serve(reply), allow_local=True, limits=ONCE)


def test_redirects_are_followed_five_times(serve: Serve) -> None:
    hops = [moved(f"/{n}") for n in range(5)]
    assert fetch(serve(says(*hops, http())), allow_local=True) == Fetched(LIST, Validators())


def test_a_redirect_takes_no_credentials_to_another_host(serve: Serve) -> None:
    requests: list[str] = []

    def other(request: str) -> list[bytes]:
        requests.append(request)
        return [http()]

    target = serve(other)
    machine = Machine(resolve=lambda host, port: ["127.0.0.1"])
    source = serve(says(moved(target.replace("127.0.0.1", "feed.test")))).replace("127.0.0.1", "user:secret@feed.test")
    assert fetch(source, allow_local=True, machine=machine) == Fetched(LIST, Validators())
    assert "authorization" not in requests[0].lower()


def test_credentials_are_sent_and_never_shown(serve: Serve) -> None:
    requests: list[str] = []

    def reply(request: str) -> list[bytes]:
        requests.append(request)
        return [http(b"", "401 Unauthorized")]

    url = serve(reply).replace("//", "//user:s3cret@")
    with pytest.raises(FeedError) as caught:
        fetch(url, allow_local=True)
    assert f"Authorization: Basic {b64encode(b'user:s3cret').decode()}" in requests[0]
    assert str(caught.value) == f"{url.replace('user:s3cret@', '')}: answered 401"


@pytest.mark.parametrize(
    ("location", "text"),
    [
        ("https://user:pass@example.com/a@b", "https://example.com/a@b"),
        ("https://a@b:c@example.com?x=@", "https://example.com?x=@"),
        ("https://example.com/\x1b[31m\u202etxt\n", "https://example.com/\ufffd[31m\ufffdtxt\ufffd"),
        ("/home/user@host/own.txt", "/home/user@host/own.txt"),
        ("https://example.com/" + "x" * 999, "https://example.com/" + "x" * 180),
    ],
)
def test_shown_is_safe_to_print(location: str, text: str) -> None:
    assert shown(location) == text


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.com/",
        "file:///etc/passwd",
        "http://",
        "http:///x",
        "http://[::1",
        "http://example.com:99999/",
        "x://",
    ],
)
def test_what_is_no_http_url_is_refused(url: str) -> None:
    with pytest.raises(FeedError, match=r"(?i)url|port"):
        load(url, machine=Machine(sleep=no_sleep))


INSIDE = [
    "0.0.0.0",
    "10.1.2.3",
    "100.64.0.1",
    "127.0.0.1",
    "169.254.169.254",
    "172.16.0.1",
    "192.0.2.1",
    "192.168.0.1",
    "224.0.0.251",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::ffff:127.0.0.1",
    "64:ff9b::a9fe:a9fe",
    "2002:7f00:1::",
    "fc00::1",
    "fe80::1%lo",
    "fec0::1",
    "ff02::1",
]


@pytest.mark.parametrize("address", INSIDE)
def test_a_name_that_leads_inside_is_not_connected_to(address: str) -> None:
    machine = Machine(resolve=lambda host, port: [address], sleep=no_sleep)
    with pytest.raises(FeedError, match="not public") as caught:
        fetch("https://feed.test/list.txt", machine=machine)
    assert f"feed.test is at {address}" in str(caught.value)


@pytest.mark.parametrize("address", ["9.9.9.9", "2620:fe::fe", "::ffff:9.9.9.9", "64:ff9b::909:909", "2002:909:909::"])
def test_a_public_address_may_be_connected_to(address: str) -> None:
    assert _is_public(address)


def test_the_connection_goes_to_the_address_that_was_checked(serve: Serve) -> None:
    requests: list[str] = []
    asked: list[str] = []

    def reply(request: str) -> list[bytes]:
        requests.append(request)
        return [http()]

    def resolve(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.99", "127.0.0.1"]  # nothing listens at the first one

    port = serve(reply).rpartition(":")[2]
    fetch(f"http://feed.test:{port}/", allow_local=True, machine=Machine(resolve=resolve))
    assert asked == ["feed.test"]
    assert f"Host: feed.test:{port}\r\n" in requests[0]


def test_a_host_that_is_not_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(FeedError, match=rf"cannot connect to 127.0.0.1 port {port}: Connection refused$"):
        fetch(f"http://127.0.0.1:{port}/", allow_local=True, limits=ONCE)

    def unknown(host: str, port: int) -> list[str]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    with pytest.raises(FeedError, match=r"^http://feed.test/: cannot resolve feed.test: Name or service not known$"):
        fetch("http://feed.test/", limits=ONCE, machine=Machine(resolve=unknown))


def test_the_environment_brings_no_proxy(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert fetch(serve(says(http())), allow_local=True, limits=ONCE) == Fetched(LIST, Validators())


def test_tls_is_verified_for_the_name_in_the_url(serve_tls: Serve, certificate: str) -> None:
    port = serve_tls(says(http())).rpartition(":")[2]
    machine = Machine(resolve=lambda host, port: ["127.0.0.1"], sleep=no_sleep, verify=certificate)
    url = f"https://feed.test:{port}/"
    assert fetch(url, allow_local=True, machine=machine) == Fetched(LIST, Validators())
    with pytest.raises(FeedError, match="the certificate is not accepted: Hostname mismatch"):
        fetch(f"https://other.test:{port}/", allow_local=True, machine=machine)
    with pytest.raises(FeedError, match="the certificate is not accepted: self-signed"):
        fetch(url, allow_local=True, machine=machine._replace(verify=True))


def test_https_is_not_left_for_http(serve: Serve, serve_tls: Serve, certificate: str) -> None:
    reached: list[str] = []

    def plain(request: str) -> list[bytes]:
        reached.append(request)
        return [http()]

    target = serve(plain)
    machine = Machine(verify=certificate, sleep=no_sleep)
    with pytest.raises(FeedError, match=f"redirects from https to {target}"):
        fetch(serve_tls(says(moved(target))), allow_local=True, machine=machine)
    assert not reached
    upwards = serve(says(moved(serve_tls(says(http())))))
    assert fetch(upwards, allow_local=True, machine=machine) == Fetched(LIST, Validators())


@pytest.mark.parametrize(
    ("reply", "limits"),
    [
        (http(b"a" * 1001), Limits(wire=1000)),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n", Limits(wire=1000)),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"a" * 1001, Limits(wire=1000)),
        (http(b"a" * 1001), Limits(decoded=1000)),
        (http(gzip.compress(b"a" * 1001, mtime=0)), Limits(decoded=1000)),
    ],
    ids=["wire", "announced", "until close", "decoded", "gzip"],
)
def test_a_byte_over_a_limit_is_too_much(serve: Serve, reply: bytes, limits: Limits) -> None:
    with pytest.raises(FeedError, match="larger than 1000 bytes"):
        fetch(serve(says(reply)), allow_local=True, limits=limits, machine=Machine(sleep=no_sleep))


def test_exactly_the_limit_is_allowed(serve: Serve) -> None:
    body = gzip.compress(b"a" * 1000, mtime=0)
    got = fetch(serve(says(http(body))), allow_local=True, limits=Limits(wire=len(body), decoded=1000))
    assert got == Fetched(b"a" * 1000, Validators())


MEASURE = """
import re, sys
from sinkhole.errors import FeedError
from sinkhole.feeds.body import Limits
from sinkhole.feeds.fetch import fetch
def peak(): return int(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1])
before = peak()
try:
    print(len(fetch(sys.argv[1], allow_local=True, limits=Limits(decoded=int(sys.argv[2]))).data))
except FeedError as error:
    print(str(error).partition(": ")[2])
print(peak() - before)
"""


@pytest.mark.parametrize(
    ("limit", "says_what", "most"),
    [(1 << 20, "larger than 1048576 bytes when decompressed", 6 << 10), (256 << 20, str(64 << 20), 84 << 10)],
    ids=["bomb", "large"],
)
def test_memory_is_bounded_by_the_limit_and_not_by_the_body(
    serve: Serve, limit: int, says_what: str, most: int
) -> None:
    """64 MiB of zeros in 64 KiB of gzip: ``most`` is in KiB, above what the process held before."""
    url = serve(says(http(gzip.compress(bytes(64 << 20)), "200 OK", "Content-Encoding: gzip")))
    run = subprocess.run(
        [sys.executable, "-c", MEASURE, url, str(limit)], capture_output=True, text=True, timeout=60, check=True
    )
    answer, grown = run.stdout.splitlines()
    assert answer == says_what
    assert int(grown) < most


def test_silence_ends_an_attempt(serve: Serve) -> None:
    done = Event()

    def reply(request: str) -> Iterator[bytes]:
        done.wait(5)
        yield b""

    url = serve(reply)
    try:
        with pytest.raises(FeedError, match=r"no data for 0.1 s"):
            fetch(url, allow_local=True, limits=Limits(read=0.1, retries=0))
    finally:
        done.set()


@pytest.mark.parametrize(
    "start",
    [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"],
    ids=["status line", "headers", "body", "chunk size"],
)
def test_drip_by_drip_still_ends_at_the_deadline(serve: Serve, start: bytes) -> None:
    done = Event()

    def reply(request: str) -> Iterator[bytes]:
        yield start
        while not done.wait(0.02):
            yield b"0"

    url = serve(reply)
    began = time.monotonic()
    try:
        with pytest.raises(FeedError, match=r"not finished within 0.3 s"):
            fetch(url, allow_local=True, limits=Limits(total=0.3))
    finally:
        done.set()
    assert 0.3 <= time.monotonic() - began < 1.5


def test_a_tls_handshake_that_never_ends_is_cut_too(serve: Serve) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"https://127.0.0.1:{listener.getsockname()[1]}/"
        with pytest.raises(FeedError, match=r"not finished within 0.2 s"):
            fetch(url, allow_local=True, limits=Limits(total=0.2))


def test_a_progress_that_raises_ends_the_download(serve: Serve) -> None:
    def interrupt(received: int, total: int | None) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(serve(says(http())), progress=interrupt, allow_local=True)


def test_a_file_is_read_and_unpacked(tmp_path: Path) -> None:
    plain, packed, link = tmp_path / "own.txt", tmp_path / "own.txt.gz", tmp_path / "link"
    plain.write_bytes(LIST)
    packed.write_bytes(gzip.compress(LIST, mtime=0))
    link.symlink_to(plain)
    for path in (plain, packed, link):
        assert load(str(path)) == read_file(path) == Fetched(LIST, Validators())


@pytest.mark.parametrize("size", [0, 1])
def test_a_file_shorter_than_a_magic_number(tmp_path: Path, size: int) -> None:
    path = tmp_path / "short"
    path.write_bytes(b"x" * size)
    assert read_file(path).data == b"x" * size


def test_what_is_no_usable_file_is_refused_without_blocking(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "large").write_bytes(b"a" * 1001)
    (tmp_path / "bomb.gz").write_bytes(gzip.compress(bytes(1 << 20)))
    (tmp_path / "cut.gz").write_bytes(gzip.compress(LIST, mtime=0)[:-9])
    for name, why in {
        "pipe": "not a regular file",
        ".": "Is a directory",
        "missing": "No such file or directory",
        "large": "larger than 1000 bytes",
        "bomb.gz": "larger than 1000 bytes when decompressed",
        "cut.gz": "gzip data that ends too early",
    }.items():
        path = tmp_path / name
        with pytest.raises(FeedError) as caught:
            read_file(path, limits=Limits(wire=1000 if name == "large" else 1 << 20, decoded=1000))
        assert str(caught.value).startswith(f"{path}: {why}")
    with pytest.raises(FeedError, match="not a regular file"):
        read_file("/dev/zero")
