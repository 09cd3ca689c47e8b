"""Mirrors, and the directories that files may be in."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from sinkhole.errors import FeedError
from sinkhole.feeds.fetch import Fetched, Limits, Validators, load
from sinkhole.feeds.origin import Origin, fetcher

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
