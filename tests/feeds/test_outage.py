"""A month of feeds that fail in every way: what is enforced does not change, and the first good fetch heals it."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterable
from datetime import timedelta
from pathlib import Path

from sinkhole import bundle
from sinkhole.compiler import build, plan
from sinkhole.feeds.body import Limits, Machine
from sinkhole.feeds.origin import fetcher
from sinkhole.feeds.store import Store
from tests.bundles import CATALOGUE, configured
from tests.feeds.test_store import NOW, Source, drip, http, reset

Serve = Callable[[Callable[[str], Iterable[bytes]]], str]

GOOD = "".join(f"0.0.0.0 ads-{number}.example.com\n" for number in range(400)).encode()
LIMITS = Limits(wire=200_000, decoded=200_000, total=0.5, retries=1)
MACHINE = Machine(sleep=lambda seconds: None)
HTML = b"<!DOCTYPE html><html><title>Log in</title></html>"

#: A number, what it is -> the raw reply.
WAYS: dict[str, Callable[[], Iterable[bytes]]] = {
    "43 gzip bomb": lambda: [http(gzip.compress(bytes(5_000_000)), "200 OK", "Content-Encoding: gzip")],
    "43 gzip in gzip": lambda: [http(gzip.compress(gzip.compress(GOOD, mtime=0)))],
    "43 brotli": lambda: [http(GOOD, "200 OK", "Content-Encoding: br")],
    "43 zip": lambda: [http(b"PK\x03\x04" + GOOD)],
    "43 larger than allowed": lambda: [http(GOOD * 40)],
    "44 HTML": lambda: [http(HTML)],
    "44 HTML after a mark and blanks": lambda: [http(b"\xef\xbb\xbf\r\n  " + HTML)],
    "44 HTML in UTF-16": lambda: [http(b"\xff\xfe" + HTML.decode().encode("utf-16-le"))],
    "44 XML": lambda: [http(b'<?xml version="1.0"?><Error>AccessDenied</Error>')],
    "44 JSON": lambda: [http(b'{"message": "rate limited"}')],
    "45 shorter than promised": lambda: [b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n" + GOOD],
    "45 a cut chunk": lambda: [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffff\r\n" + GOOD],
    "45 cut gzip": lambda: [http(gzip.compress(GOOD, mtime=0)[:-20], "200 OK", "Content-Encoding: gzip")],
    "45 reset": reset,
    "45 no answer": list,
    "45 empty": lambda: [http(b"")],
    "45 comments": lambda: [http(b"# moved\n" * 900)],
    "45 a third of it": lambda: [http(GOOD[: len(GOOD) // 3])],
    "45 no rules": lambda: [http(b"0.0.0.0 localhost\n" * 400)],
    "45 dripping": drip,
    "46 garbage": lambda: [http(GOOD + b"lorem ipsum dolor\n" * 900)],
    "46 binary": lambda: [http(b"\x7fELF\2\1\1" + GOOD)],
    "47 NUL": lambda: [http(GOOD + b"0.0.0.0 a\0b.example.com\n")],
    "48 one long line": lambda: [http(b"a" * 190_000)],
    "48 many times the rules": lambda: [http(b"".join(b"0.0.0.0 %d.test\n" % number for number in range(9000)))],
    "55 to the metadata of a cloud": lambda: [http(b"", "302 Found", "Location: http://169.254.169.254/")],
    "55 to a file": lambda: [http(b"", "302 Found", "Location: file:///etc/hosts")],
    "55 in circles": lambda: [http(b"", "302 Found", "Location: /")],
    "57 unchanged since nothing": lambda: [http(b"", "304 Not Modified")],
    "57 gone": lambda: [http(b"", "404 Not Found")],
    "57 broken": lambda: [http(GOOD, "500 Oops")],
    "57 busy": lambda: [http(GOOD, "503 Busy", "Retry-After: 999999")],
    "57 too often": lambda: [http(GOOD, "429 Slow down", "Retry-After: Fri, 31 Dec 9999 23:59:59 GMT", "Date: x")],
}  # fmt: skip


def test_no_failure_of_a_feed_changes_what_is_enforced(serve: Serve, tmp_path: Path) -> None:
    source = Source(serve, http(GOOD))  # without an ETag, so nothing may come back as unchanged
    url = source.url
    text = json.dumps({"lists": {"ads": {"sources": [{"url": url, "local": True, "interval": "1d"}]}}})
    wanted = plan.make(configured(tmp_path, text), CATALOGUE)
    fetch = fetcher((entry.origin for entry in wanted.sources), limits=LIMITS, machine=MACHINE)
    now, bundles = NOW, tmp_path / "bundles"

    def one_day() -> build.Built:
        feeds = build.feeds(wanted, Store(tmp_path / "feeds"), fetcher=fetch, offline=False, now=now)
        return build.build(wanted, feeds, bundles)

    first = one_day()
    assert first.stale == []
    for way, reply in WAYS.items():
        now += timedelta(days=1)
        source.reply = reply()
        asked = len(source.asked)
        built = one_day()
        assert len(source.asked) > asked, way
        assert built.stale or built.refused, way  # exit code 3 or 4
        assert bundle.current(bundles) == built.path == first.path, way
        assert not built.changed, way
        assert bundle.load(first.path).entry(b"moc.elpmaxe.7-sda."), way
    (feed,) = built.feeds
    assert feed.copy
    assert feed.copy.age > timedelta(days=3).total_seconds()

    now += timedelta(days=1)
    source.reply = [http(GOOD + b"0.0.0.0 new.example.com\n")]
    healed = one_day()
    assert (healed.stale, healed.refused, healed.changed) == ([], (), True)
    assert bundle.load(healed.path).entry(b"moc.elpmaxe.wen.")


def test_a_copy_that_nobody_confirms_counts_as_stale(tmp_path: Path, serve: Serve) -> None:
    """The alarm after three times the interval, without any fetch that fails."""
    source = Source(serve, http(GOOD))
    text = json.dumps({"lists": {"ads": {"sources": [{"url": source.url, "local": True, "interval": "2d"}]}}})
    wanted = plan.make(configured(tmp_path, text), CATALOGUE)
    fetch = fetcher((entry.origin for entry in wanted.sources), limits=LIMITS, machine=MACHINE)
    for days, error in (
        (0, None),
        (6, None),
        (7, f"{source.url}: not confirmed for 168 hours, three times its interval"),
    ):
        now = NOW + timedelta(days=days)
        (feed,) = build.feeds(wanted, Store(tmp_path / "feeds"), fetcher=fetch, offline=days > 0, now=now)
        assert (feed.error, feed.failed) == (error, error is not None)
        assert feed.copy
