from __future__ import annotations

import gzip
import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from threading import Barrier, Event

import pytest

from sinkhole.errors import FeedError
from sinkhole.feeds.body import Fetched, Limits, NotModified, Progress, Validators, load
from sinkhole.feeds.store import UNCONDITIONAL, Copy, Store

Reply = Callable[[str], Iterable[bytes]]
Serve = Callable[[Reply], str]

LIST = b"0.0.0.0 ads.example.com\n0.0.0.0 track.example.org\n"
SHA256 = hashlib.sha256(LIST).hexdigest()
NOW = datetime(2025, 2, 5, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
FETCHER = partial(load, allow_local=True, limits=Limits(wire=100_000, decoded=100_000, total=0.5, retries=0))


def http(body: bytes = LIST, status: str = "200 OK", *headers: str) -> bytes:
    lines = (f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", "")
    return "\r\n".join(lines).encode() + body


def kept(copy: Copy | FeedError | None) -> Copy:
    assert isinstance(copy, Copy), copy
    assert hashlib.sha256(copy.path.read_bytes()).hexdigest() == copy.sha256
    return copy


class Source:
    """A server whose reply can be changed, and what it was asked."""

    def __init__(self, serve: Serve, *reply: bytes) -> None:
        self.reply: Iterable[bytes] = reply
        self.asked: list[str] = []
        self.url = serve(self._answer)

    def _answer(self, request: str) -> Iterable[bytes]:
        self.asked.append(request)
        return self.reply


def drip() -> Iterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\n\r\n" + LIST
    for _ in range(60):
        Event().wait(0.02)
        yield b"#"


def reset() -> Iterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\n\r\n" + LIST
    raise ConnectionResetError


def test_the_first_copy_is_kept_as_text_with_what_is_known_of_it(serve: Serve, tmp_path: Path) -> None:
    body = gzip.compress(b"\xef\xbb\xbf" + LIST.replace(b"\n", b"\r\n"))
    source = Source(serve, http(body, "200 OK", "Content-Encoding: gzip", 'ETag: "a1"'))
    url = source.url.replace("//", "//user:secret@")
    store = Store(tmp_path / "feeds")
    assert store.latest(url, NOW) is None
    assert not store.directory.exists()

    copy = kept(store.update([url, url], fetcher=FETCHER, now=NOW)[url])
    assert copy == Copy(tmp_path / "feeds" / "blobs" / SHA256, SHA256, NOW, False, 0.0, None)
    assert copy.path.read_bytes() == LIST
    assert len(source.asked) == 1
    (path,) = (tmp_path / "feeds").glob("*.json")
    assert path.stem == hashlib.sha256(url.encode()).hexdigest()[:16]
    assert json.loads(path.read_bytes()) == {
        "url": source.url,
        "etag": '"a1"',
        "last-modified": "",
        "sha256": SHA256,
        "bytes": len(LIST),
        "fetched-at": "2025-02-05T12:00:00Z",
        "checked-at": "2025-02-05T12:00:00Z",
        "error": None,
        "since": None,
        "expires": None,
        "not-before": None,
    }
    assert Store(tmp_path / "feeds").latest(url, NOW + HOUR) == copy._replace(age=3600.0)


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        ([http(b"<!doctype html><title>Log in</title>")], "an HTML or XML page, not a list"),
        ([http(b'{"message": "not found"}')], "JSON, not a list"),
        ([http(b"")], "empty"),
        ([http(b"# moved\n")], "nothing but comments"),
        ([http(b"\x7fELF\0\0")], "binary, not a list: byte 0x7f in line 1"),
        ([http(b"PK\x03\x04")], "a zip archive, not a list"),
        ([http(gzip.compress(gzip.compress(LIST, mtime=0), mtime=0))], "gzip data inside gzip data, not a list"),
        ([http(gzip.compress(bytes(10_000_000), mtime=0))], "larger than 100000 bytes when decompressed"),
        ([http(b"a" * 100_001)], "larger than 100000 bytes"),
        ([http(b"", "404 Not Found")], "answered 404"),
        ([http(LIST, "500 Oops")], "answered 500"),
        ([http(LIST, "429 Slow down", "Retry-After: 86400")], "answered 429 and asks to come back in 86400 s"),
        ([http(b"", "302 Found", "Location: /")], "redirects more than 5 times"),
        ([http(b"", "302 Found", "Location: http://169.254.169.254/")], "is at 169.254.169.254"),
        ([b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n" + LIST], "the body ends too early"),
        ([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n0.0.0"], "the body ends too early"),
        ([], "RemoteDisconnected"),
        (reset(), "reset"),
        (drip(), "not finished within 0.5 s"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_no_failure_takes_the_good_copy_away(serve: Serve, tmp_path: Path, reply: Iterable[bytes], why: str) -> None:
    source = Source(serve, http(LIST, "200 OK", 'ETag: "a1"'))
    store = Store(tmp_path)
    store.update([source.url], fetcher=FETCHER, now=NOW)
    source.reply = reply

    copy = kept(store.update([source.url], fetcher=FETCHER, now=NOW + HOUR)[source.url])
    assert (copy.sha256, copy.fetched_at, copy.stale, copy.age) == (SHA256, NOW, True, 3600.0)
    assert copy.error is not None
    assert copy.error.startswith(f"{source.url}: ")
    assert why in copy.error
    assert store.latest(source.url, NOW + HOUR) == copy
    assert [path.name for path in (tmp_path / "blobs").iterdir()] == [SHA256]
    assert store.state(source.url).since == NOW + HOUR

    source.reply = [http(LIST + b"0.0.0.0 new.example\n")]
    healed = kept(store.update([source.url], fetcher=FETCHER, now=NOW + 26 * HOUR)[source.url])
    assert not healed.stale
    assert healed.path.read_bytes() == LIST + b"0.0.0.0 new.example\n"
    assert store.state(source.url).since is None


def test_a_source_that_never_worked_gives_its_error_and_since_when(serve: Serve, tmp_path: Path) -> None:
    source = Source(serve, http(b"", "404 Not Found"))
    store = Store(tmp_path)
    for hours in range(3):
        got = store.update([source.url], fetcher=FETCHER, now=NOW + hours * HOUR)[source.url]
        assert str(got) == f"{source.url}: answered 404"
    assert store.latest(source.url, NOW) is None
    assert (store.state(source.url).error, store.state(source.url).since) == (f"{source.url}: answered 404", NOW)


def test_one_failure_is_not_the_others(serve: Serve, tmp_path: Path) -> None:
    good, bad = Source(serve, http()), Source(serve, http(b"", "404 Not Found"))
    path = tmp_path / "own.txt"
    path.write_bytes(b"own.example\n")
    got = Store(tmp_path / "feeds").update([bad.url, str(path), good.url], fetcher=FETCHER, now=NOW)
    assert list(got) == [bad.url, str(path), good.url]
    assert isinstance(got[bad.url], FeedError)
    assert kept(got[str(path)]).path.read_bytes() == b"own.example\n"
    assert kept(got[good.url]).path.read_bytes() == LIST


def test_a_file_that_is_gone_leaves_its_copy(tmp_path: Path) -> None:
    path = tmp_path / "own.txt"
    path.write_bytes(b"own.example\n")
    store = Store(tmp_path / "feeds")
    store.update([str(path)], fetcher=FETCHER, now=NOW)
    path.unlink()
    copy = kept(store.update([str(path)], fetcher=FETCHER, now=NOW + HOUR)[str(path)])
    assert (copy.stale, copy.error) == (True, f"{path}: No such file or directory")


def test_an_unchanged_source_is_asked_conditionally_and_once_a_week_without(serve: Serve, tmp_path: Path) -> None:
    source = Source(serve, http(LIST, "200 OK", 'ETag: "a1"'))
    store = Store(tmp_path)
    store.update([source.url], fetcher=FETCHER, now=NOW)
    source.reply = [http(b"", "304 Not Modified")]
    copy = kept(store.update([source.url], fetcher=FETCHER, now=NOW + HOUR)[source.url])
    assert 'If-None-Match: "a1"' in source.asked[-1]
    assert (copy.fetched_at, copy.age, copy.stale) == (NOW, 0.0, False)

    # A server that says 304 for ever, or whose ETag lies, is found out after a week.
    copy = kept(store.update([source.url], fetcher=FETCHER, now=NOW + UNCONDITIONAL)[source.url])
    assert "If-None-Match" not in source.asked[-1]
    assert copy.error == f"{source.url}: answered 304"
    assert copy.age == (UNCONDITIONAL - HOUR).total_seconds()


@pytest.mark.parametrize("damage", ["missing", "other bytes", "no state", "half a state", "older state"])
def test_a_damaged_store_is_fetched_anew_without_conditions(serve: Serve, tmp_path: Path, damage: str) -> None:
    source = Source(serve, http(LIST, "200 OK", 'ETag: "a1"'))
    store = Store(tmp_path)
    copy = kept(store.update([source.url], fetcher=FETCHER, now=NOW)[source.url])
    (state,) = tmp_path.glob("*.json")
    if damage == "missing":
        copy.path.unlink()
    elif damage == "other bytes":
        copy.path.write_bytes(LIST.replace(b"ads", b"adz"))
    elif damage == "no state":
        state.unlink()
    elif damage == "half a state":
        state.write_bytes(state.read_bytes()[:99])
    else:
        state.write_text('{"url": "x", "sha1": "0"}')
    assert store.latest(source.url, NOW) is None
    assert kept(store.update([source.url], fetcher=FETCHER, now=NOW)[source.url]).path.read_bytes() == LIST
    assert "If-None-Match" not in source.asked[-1]


KILLED = """
import os, signal, sys
from datetime import UTC, datetime
from pathlib import Path
from sinkhole.feeds.body import Fetched, Validators
from sinkhole.feeds.store import Store
renames = 0
def hook(event, args):
    global renames
    renames += event == "os.rename"
    if event == "os.rename" and renames == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(hook)
fetched = Fetched(b"new.example\\n", Validators('"b2"'))
Store(Path(sys.argv[1])).update(["x://y"], fetcher=lambda *_: fetched, now=datetime(2025, 2, 6, tzinfo=UTC))
"""


@pytest.mark.parametrize("step", [1, 2])
def test_a_kill_before_the_blob_or_the_state_is_named_leaves_the_old_copy(tmp_path: Path, step: int) -> None:
    def fetcher(location: str, known: Validators, progress: Progress) -> Fetched:
        assert known == Validators('"a1"' if known.etag else "")
        return Fetched(LIST, Validators('"a1"'))

    store = Store(tmp_path)
    copy = kept(store.update(["x://y"], fetcher=fetcher, now=NOW)["x://y"])
    run = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), str(step)], timeout=30, check=False)
    assert run.returncode == -signal.SIGKILL
    assert store.latest("x://y", NOW) == copy
    assert store.state("x://y").etag == '"a1"'
    store.prune()
    assert sorted(path.name for path in tmp_path.rglob("*")) == sorted(
        ["blobs", SHA256, hashlib.sha256(b"x://y").hexdigest()[:16] + ".json"]
    )


def test_prune_removes_what_no_source_needs_any_more(tmp_path: Path) -> None:
    texts = {"x://a": b"a.example\n", "x://b": b"b.example\n", "x://c": b""}

    def fetcher(location: str, known: Validators, progress: Progress) -> Fetched:
        return Fetched(texts[location], Validators())

    store = Store(tmp_path)
    store.prune()
    store.update(texts, fetcher=fetcher, now=NOW)
    texts["x://b"] = b"b2.example\n"
    got = store.update(texts, fetcher=fetcher, now=NOW)
    (tmp_path / "damaged.json").write_text("{")
    store.prune()
    assert store.latest("x://a", NOW) == kept(got["x://a"])
    assert store.latest("x://b", NOW) == kept(got["x://b"])
    assert store.state("x://c").error == "x://c: empty"
    assert len(list((tmp_path / "blobs").iterdir())) == 2
    assert len(list(tmp_path.iterdir())) == 4


def test_downloads_run_side_by_side_up_to_the_limit(tmp_path: Path) -> None:
    barrier = Barrier(3, timeout=5)
    running: list[int] = []
    most: list[int] = []

    def fetcher(location: str, known: Validators, progress: Progress) -> Fetched:
        running.append(1)
        most.append(len(running))
        barrier.wait()  # passes only when three are here at once
        running.pop()
        barrier.wait()
        return Fetched(location.encode(), Validators())

    locations = [f"{n}.example" for n in range(6)]
    got = Store(tmp_path).update(locations, fetcher=fetcher, now=NOW, jobs=3)
    assert [kept(got[location]).path.read_text() for location in locations] == locations
    assert max(most) == 3


def test_progress_names_the_location(serve: Serve, tmp_path: Path) -> None:
    source = Source(serve, http())
    seen: list[tuple[str, int, int | None]] = []
    Store(tmp_path).update([source.url], fetcher=FETCHER, now=NOW, progress=lambda *at: seen.append(at))
    assert seen == [(source.url, 0, len(LIST)), (source.url, len(LIST), len(LIST))]


def test_an_interrupt_ends_every_download(tmp_path: Path) -> None:
    started, interrupted = Event(), Event()

    def fetcher(location: str, known: Validators, progress: Progress) -> NotModified:
        if location == "first":
            assert started.wait(5)
            raise KeyboardInterrupt
        started.set()
        try:
            for received in range(1000):
                progress(received, None)
                Event().wait(0.005)
        except CancelledError:
            interrupted.set()
            raise
        raise AssertionError("not interrupted")

    with pytest.raises(KeyboardInterrupt):
        Store(tmp_path).update(["first", "second", "third"], fetcher=fetcher, now=NOW, jobs=2)
    assert interrupted.is_set()
    assert not list(tmp_path.iterdir())  # to be interrupted is not to fail


def test_what_is_kept_survives_a_clock_that_went_back(tmp_path: Path) -> None:
    path = tmp_path / "own.txt"
    path.write_bytes(LIST)
    store = Store(tmp_path / "feeds")
    store.update([str(path)], fetcher=FETCHER, now=NOW)
    copy = store.latest(str(path), NOW - 24 * HOUR)
    assert copy is not None
    assert copy.age == 0.0


def test_the_same_text_from_two_sources_is_kept_once(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(LIST)
    store = Store(tmp_path / "feeds")
    store.update([str(tmp_path / "a"), str(tmp_path / "b")], fetcher=FETCHER, now=NOW)
    assert os.listdir(tmp_path / "feeds" / "blobs") == [SHA256]


def test_a_source_is_due_after_its_interval_and_a_little_earlier(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert store.due("x://y", 3600, NOW)
    store.update(["x://y"], fetcher=lambda *_: Fetched(LIST, Validators()), now=NOW)
    for minutes, chance, due in ((0, 0.0, False), (56, 0.0, False), (58, 0.0, True), (47, 1.0, False), (49, 1.0, True)):
        assert store.due("x://y", 3600, NOW + minutes * HOUR / 60, chance) is due
    assert store.due("x://y", None, NOW)  # nobody says how long it is good
    assert store.due("x://y", 0, NOW)
    assert store.due("x://y", 3600, NOW - HOUR)  # the clock was wrong then or is now

    def failing(*_: object) -> NotModified:
        raise FeedError("x://y: answered 404")

    store.update(["x://y"], fetcher=failing, now=NOW)
    assert store.due("x://y", 3600, NOW)


@pytest.mark.parametrize(
    ("line", "hours"),
    [
        (b"! Expires: 4 days (update frequency)", 96),
        (b"# Expires: 12 hours", 12),
        (b"!expires:3", 72),
        (b"; Expires: 1 hour", 1),
        (b"! Expires: 0 days", 1),
        (b"! Expires: 9999 days", 14 * 24),
        (b"! Expires: 99999 days", None),
        (b"! Expires: soon", None),
        (b"x Expires: 4 days", None),
    ],
)
def test_a_text_may_say_how_long_it_is_good(tmp_path: Path, line: bytes, hours: int | None) -> None:
    text = b"! Title: x\n" + line + b"\n" + LIST
    store = Store(tmp_path)
    copy = kept(store.update(["x://y"], fetcher=lambda *_: Fetched(text, Validators()), now=NOW)["x://y"])
    assert copy.expires == (hours and hours * 3600)
    assert store.due("x://y", None, NOW + (hours or 0) * HOUR)
    if hours:
        assert not store.due("x://y", None, NOW + 0.9 * hours * HOUR)
        assert store.due("x://y", 60, NOW + 0.9 * hours * HOUR)  # what the source's entry says wins


@pytest.mark.parametrize(("asked", "hours"), [("7200", 3), ("999999999", 24)])
def test_item_57_a_server_that_asks_to_be_left_alone_is(serve: Serve, tmp_path: Path, asked: str, hours: int) -> None:
    """Over several runs; for a day at most, whatever it says."""
    source = Source(serve, http())
    store = Store(tmp_path)
    store.update([source.url], fetcher=FETCHER, now=NOW)
    source.reply = [http(b"", "503 Busy", f"Retry-After: {asked}")]
    first = kept(store.update([source.url], fetcher=FETCHER, now=NOW)[source.url])
    source.reply = [http(LIST + b"0.0.0.0 new.example\n")]
    count = len(source.asked)

    for minutes in (0, 60, 119):
        copy = kept(Store(tmp_path).update([source.url], fetcher=FETCHER, now=NOW + minutes * HOUR / 60)[source.url])
        assert copy._replace(age=0.0) == first
        assert "asks to come back in" in str(copy.error)
    assert len(source.asked) == count
    assert not kept(store.update([source.url], fetcher=FETCHER, now=NOW + hours * HOUR)[source.url]).stale
    assert len(source.asked) == count + 1


def test_a_shadow_takes_updates_in_place_of_the_store(tmp_path: Path) -> None:
    store = Store(tmp_path / "feeds")
    (tmp_path / "shadow").mkdir()
    Store(tmp_path / "feeds").shadow(tmp_path / "shadow")
    store.update(["x://y"], fetcher=lambda *_: Fetched(LIST, Validators()), now=NOW)
    before = {path: path.read_bytes() for path in store.directory.rglob("*") if path.is_file()}
    (tmp_path / "other").mkdir()
    shadow = store.shadow(tmp_path / "other")
    assert kept(shadow.latest("x://y", NOW)).sha256 == SHA256
    shadow.update(["x://y", "x://z"], fetcher=lambda *_: Fetched(b"b.test\n", Validators()), now=NOW)
    assert kept(shadow.latest("x://y", NOW)).path.read_bytes() == b"b.test\n"
    assert {path: path.read_bytes() for path in store.directory.rglob("*") if path.is_file()} == before
