"""Mirrors, and the directories that files may be in."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sinkhole import bundle
from sinkhole.compiler import build, plan
from sinkhole.errors import FeedError
from sinkhole.feeds.body import Fetched, Limits, NotModified, Validators, load
from sinkhole.feeds.origin import Origin, fetcher
from sinkhole.feeds.store import Store
from sinkhole.formats import FORMATS
from sinkhole.policy.explain import explain
from sinkhole.policy.policy import Policy
from tests.bundles import CATALOGUE, configured

Serve = Callable[[Callable[[str], Iterable[bytes]]], str]

LIMITS = Limits(total=2, retries=0)
QUICK = Validators()
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\na.test\n"
GONE = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"


def ignore(received: int, total: int | None) -> None:
    """No progress."""


def test_mirrors_are_tried_in_their_order_and_without_conditions(serve: Serve) -> None:
    asked: list[str] = []

    def answering(name: str, reply: bytes) -> str:
        def answer(request: str) -> Iterable[bytes]:
            asked.append(f"{name} {'conditional' if 'If-None-Match' in request else 'plain'}")
            return [reply]

        return serve(answer)

    urls = [answering("first", GONE), answering("second", GONE), answering("third", OK), answering("fourth", OK)]
    get = fetcher([Origin(urls[0], tuple(urls[1:]), local=True)], limits=LIMITS)
    assert get(urls[0], Validators('"a"'), ignore) == Fetched(b"a.test\n", Validators())
    assert asked == ["first conditional", "second plain", "third plain"]


def test_the_error_is_that_of_the_source(serve: Serve) -> None:
    url, mirror = (serve(lambda request: [GONE]) for _ in range(2))
    with pytest.raises(FeedError, match=f"{url}: answered 404"):
        fetcher([Origin(url, (mirror,), local=True)], limits=LIMITS)(url, QUICK, ignore)


def test_only_a_source_that_is_marked_leads_to_private_addresses(serve: Serve) -> None:
    url = serve(lambda request: [OK])
    with pytest.raises(FeedError, match="only a source marked as local"):
        fetcher([Origin(url)], limits=LIMITS)(url, QUICK, ignore)


@pytest.mark.parametrize("way", ["file", "link", "directory", "dots"])
def test_item_55_no_way_leads_out_of_the_directories_of_files(tmp_path: Path, way: str) -> None:
    inside, outside = tmp_path / "in", tmp_path / "out"
    for directory in (inside, outside):
        directory.mkdir()
        (directory / "list.txt").write_text("a.test\n")
    (inside / "link.txt").symlink_to(outside / "list.txt")
    (inside / "below").symlink_to(outside)
    paths = {"file": outside / "list.txt", "link": inside / "link.txt", "directory": inside / "below/list.txt"}
    path = str(paths.get(way, inside / ".." / "out" / "list.txt"))

    with pytest.raises(FeedError) as refused:
        load(path, within=(str(inside),))
    assert str(refused.value) == (f"{path}: it is {outside}/list.txt, and files are read from {inside} only")
    assert load(path, within=(str(inside), str(outside))) == load(path) == Fetched(b"a.test\n", Validators())


def test_a_link_inside_is_followed(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("a.test\n")
    (tmp_path / "current").symlink_to("list.txt")
    (tmp_path / "alias").symlink_to(tmp_path)
    assert load(str(tmp_path / "alias/current"), within=(str(tmp_path),)) == Fetched(b"a.test\n", Validators())


def site(serve: Serve, pages: dict[str, bytes]) -> tuple[str, list[str]]:
    """A server that has ``pages`` by path, and what it was asked for."""
    asked: list[str] = []

    def answer(request: str) -> Iterable[bytes]:
        path = request.split(" ", 2)[1]
        asked.append(path + (" conditional" if "If-None-Match" in request else ""))
        body = pages.get(path)
        return [
            GONE if body is None else b'HTTP/1.1 200 OK\r\nETag: "x"\r\nContent-Length: %d\r\n\r\n' % len(body) + body
        ]

    return serve(answer), asked


def listed(url: str, limits: Limits = LIMITS) -> Fetched | NotModified:
    get = fetcher([Origin(url, local=True, includes=True)], limits=limits)
    return get(url, Validators('"x"'), ignore)


def test_what_a_v2fly_list_includes_comes_from_beside_it_and_is_part_of_it(serve: Serve) -> None:
    pages = {
        "/data/top": b"\xef\xbb\xbfa.test\r\ninclude:ads @ads\r\n",
        "/data/ads": b"b.test @ads\nc.test\ninclude:more\ninclude:top\n",
        "/data/more": b"full:d.test @ads\n",
    }
    base, asked = site(serve, pages)
    got = listed(f"{base}/data/top")
    assert isinstance(got, Fetched)
    parsed = FORMATS["v2fly"].read(got.data)
    assert sorted(map(str, parsed.rules())) == ["block exact d.test", *(f"block tree {name}.test" for name in "ab")]
    assert b"full:d.test @ads  # more:1\n" in got.data
    # Each once, without conditions now and next time: what is included changes by itself.
    assert asked == ["/data/top", "/data/ads", "/data/more"]
    assert got.validators == Validators()


@pytest.mark.parametrize(
    ("pages", "why"),
    [
        ({"/top": b"a.test\ninclude:none\n"}, "none: answered 404"),
        ({"/top": b"include:page\n", "/page": b"<!doctype html>"}, "page: an HTML or XML page, not a list"),
        (
            {"/top": b"include:big\n" * 9, "/big": b"x.test\n" * 90},
            "top: larger than 5000 bytes with all that it includes",
        ),
    ],
)
def test_an_include_that_fails_is_a_failure_of_the_source(serve: Serve, pages: dict[str, bytes], why: str) -> None:
    base, _ = site(serve, pages)
    with pytest.raises(FeedError, match=f"^{base}/{why}$"):
        listed(f"{base}/top", LIMITS._replace(decoded=5000))


def test_all_includes_together_have_the_time_of_one_fetch(serve: Serve) -> None:
    def slowly(request: str) -> Iterable[bytes]:
        time.sleep(0.2)
        name = request.split(" ", 2)[1].encode()
        body = b"include:%sx\n" % name[1:]
        return [b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body]

    began = time.monotonic()
    with pytest.raises(FeedError, match="not finished within"):
        listed(f"{serve(slowly)}/top", LIMITS._replace(total=0.7))
    assert time.monotonic() - began < 2


def test_a_file_that_includes_others_is_built_with_them_and_explained_by_them(tmp_path: Path) -> None:
    text = "lists: {ads: {sources: [{path: lists/top, format: v2fly}]}}\npolicy: [{groups: [all], lists: [ads]}]"
    (tmp_path / "lists").mkdir()
    files = {"lists/top": "a.test\ninclude:other\n", "lists/other": "# why\nb.test\n"}
    config = configured(tmp_path, text)
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    wanted = plan.make(config, CATALOGUE)
    get = fetcher(source.origin for source in wanted.sources)
    now = datetime(2025, 3, 1, tzinfo=UTC)
    copies = build.feeds(wanted, Store(tmp_path / "state"), fetcher=get, offline=True, now=now)
    built = build.build(wanted, copies, tmp_path / "bundles")
    found = explain(Policy(bundle.load(built.path), now), "x.b.test", "192.0.2.1", "A")
    assert [link["text"] for link in found["chain"]] == ["b.test  # other:2"]
    (tmp_path / "secret").write_text("c.test\n")
    (tmp_path / "lists/other").unlink()
    (tmp_path / "lists/other").symlink_to(tmp_path / "secret")
    beside = Origin(str(tmp_path / "lists/top"), within=(str(tmp_path / "lists"),), includes=True)
    with pytest.raises(FeedError, match=f"other: it is {tmp_path}/secret, and files are read from"):
        fetcher([beside])(beside.location, QUICK, ignore)
