from __future__ import annotations

import json
import random
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from sinkhole import queries
from sinkhole.errors import SinkholeError
from sinkhole.queries import MAX_LINE, Place, Reader, Wanted

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


def line(at: datetime = NOON, name: str = "www.example.com", **more: Any) -> bytes:
    said = {"time": f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03}Z", "client": "192.0.2.7", "name": name}
    said |= {"type": "A", "action": "forward", "outcome": "forwarded", **more}
    return json.dumps(said, separators=(",", ":")).encode() + b"\n"


def write(directory: Path, at: datetime, *lines: bytes, number: int = 0) -> Path:
    path = directory / queries.name(at, number)
    with path.open("ab") as file:
        file.writelines(lines)
    return path


def names(reader: Reader) -> list[str]:
    return [said["name"] for _, said in reader.all()]


def test_files_are_named_by_their_hour_and_read_in_its_order(tmp_path: Path) -> None:
    east = NOON.astimezone(tz=None) + timedelta(hours=1)
    for at, number in ((NOON, 10), (NOON, 2), (east, 0), (NOON - timedelta(days=300), 0)):
        write(tmp_path, at, line(name=f"{at.astimezone(UTC):%m-%dT%H}-{number}"), number=number)
    for stray in ("note.txt", "2026-06-31T00-00000.jsonl", "2026-11-23T12-0.jsonl", "2026-11-23T12-00000.jsonl.gz"):
        (tmp_path / stray).write_bytes(line(name="stray"))
    assert names(Reader(tmp_path)) == ["01-27T12-0", "11-23T12-2", "11-23T12-10", "11-23T13-0"]
    assert queries.begun(queries.files(tmp_path)[-1]) == NOON + timedelta(hours=1)


def test_no_directory_is_no_log(tmp_path: Path) -> None:
    reader = Reader(tmp_path / "none")
    assert ([*reader.all()], reader.newest(5), reader.end()) == ([], [], None)


def test_a_directory_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SinkholeError, match=r"cannot read .*file: Not a directory"):
        [*Reader(tmp_path / "file").all()]
    (tmp_path / queries.name(NOON, 0)).mkdir()
    with pytest.raises(SinkholeError, match=r"cannot read .*: Is a directory"):
        [*Reader(tmp_path).all()]


@pytest.mark.parametrize(
    "damage",
    [
        line()[:-20],
        b"\n",
        b"\0" * 4096 + b"\n",
        b"[1, 2]\n",
        b'"text"\n',
        b"{}\n",
        b'{"time":"2026-11-23T12:00:00.000Z"}\n',
        b'{"time":5,"name":"x"}\n',
        b"\xff\xfe\n",
        b"[" * 5000 + b"\n",
        b'{"time":"' + b"x" * MAX_LINE + b"\n",
    ],
    ids=["cut off", "empty", "zeros", "a list", "a text", "nothing", "no name", "no time", "no text", "deep", "long"],
)
def test_a_damaged_line_is_skipped_and_counted_and_the_others_are_read(tmp_path: Path, damage: bytes) -> None:
    """What a power cut, a full disk or a hand leaves in a file."""
    write(tmp_path, NOON, line(name="a.test"), damage.removesuffix(b"\n") + b"\n", line(name="b.test"))
    reader = Reader(tmp_path, Wanted(name="test"))
    assert names(reader) == ["a.test", "b.test"]
    reader = Reader(tmp_path)
    assert names(reader) == ["a.test", "b.test"]
    assert reader.skipped >= 1


def test_the_end_of_a_file_that_was_cut_off_is_skipped(tmp_path: Path) -> None:
    write(tmp_path, NOON, line(name="a.test"), line(name="b.test")[:-5])
    write(tmp_path, NOON, line(name="c.test"), number=1)
    reader = Reader(tmp_path)
    assert (names(reader), reader.skipped) == (["a.test", "c.test"], 1)


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (Wanted(client=ip_network("192.0.2.7")), "ace"),
        (Wanted(client=ip_network("192.0.2.0/24")), "abce"),
        (Wanted(client=ip_network("192.0.2.200")), "e"),
        (Wanted(client=ip_network("2001:db8::/32")), "d"),
        (Wanted(client=ip_network("0.0.0.0/0")), "abce"),
        (Wanted(name="example.com"), "abe"),
        (Wanted(name="www.example.com"), "a"),
        (Wanted(name="com"), "abde"),
        (Wanted(action="block"), "bc"),
        (Wanted(directive="xx-2025"), "b"),
        (Wanted(list="ads"), "bc"),
        (Wanted(list="ad"), ""),
        (Wanted(action="block", list="ads", client=ip_network("192.0.2.7"), name="test"), "c"),
        (Wanted(since=NOON + timedelta(seconds=2)), "cdef"),
        (Wanted(until=NOON + timedelta(seconds=2)), "abc"),
        (Wanted(since=NOON + timedelta(seconds=1.001), until=NOON + timedelta(seconds=3.999)), "cd"),
        (Wanted(since=NOON - timedelta(days=900), until=NOON + timedelta(days=900)), "abcdef"),
    ],
)
def test_what_is_wanted(tmp_path: Path, wanted: Wanted, found: str) -> None:
    said: dict[str, dict[str, Any]] = {
        "a": {},
        "b": {
            "name": "b.example.com",
            "client": "192.0.2.70",
            "action": "block",
            "list": "ads",
            "directive": "xx-2025",
        },
        "c": {"name": "c.test", "action": "block", "list": "ads"},
        "d": {"name": r"x\.example.com", "client": "2001:db8::1%eth0"},
        "e": {"name": r"x\\.example.com", "client": "192.0.2.0/24", "list": "other"},
        "f": {"name": "notexample.org", "client": None},
    }
    lines = [
        line(NOON + timedelta(seconds=number), **members, id=letter)
        for number, (letter, members) in enumerate(said.items())
    ]
    write(tmp_path, NOON, *lines)
    assert "".join(told["id"] for _, told in Reader(tmp_path, wanted).all()) == found


def test_the_newest_are_those_that_fit_over_many_files(tmp_path: Path) -> None:
    """Against a plain reading of everything, for every number and with random contents."""
    draw = random.Random(5)
    at = NOON
    all_of_them: list[bytes] = []
    for hour in range(6):
        for number in range(draw.randint(1, 3)):
            lines: list[bytes] = []
            for _ in range(draw.randint(0, 9)):
                at += timedelta(seconds=draw.randint(0, 60))
                lines.append(line(at, name=draw.choice(["a.test", "b.test"]), id=len(all_of_them) + len(lines)))
            all_of_them += lines
            write(tmp_path, NOON + timedelta(hours=hour), *lines, number=number)
        at = NOON + timedelta(hours=hour + 1)
    fit = [json.loads(text)["id"] for text in all_of_them if b"a.test" in text]
    reader = Reader(tmp_path, Wanted(name="a.test"))
    for count in range(1, len(fit) + 3):
        assert [said["id"] for _, said in reader.newest(count)] == fit[-count:]
    middle = Place(queries.files(tmp_path)[3], len(all_of_them[0]))
    until = [said["id"] for _, said in reader.all(middle)]
    assert fit[: len(until)] == until
    assert [said["id"] for _, said in reader.newest(len(fit), middle)] == until


class Enough(Exception):
    """Nothing more will come."""


class Followed:
    """What a reader that follows gives, while files change whenever it has nothing to read."""

    def __init__(self, directory: Path, steps: list[Callable[[], object]], wanted: Wanted) -> None:
        self.steps = steps
        self.names: list[str] = []
        reader = Reader(directory, wanted)
        try:
            for _, said in reader.follow(reader.end(), self._wait):
                self.names.append(said["name"])
        except Enough:
            pass

    def _wait(self) -> None:
        if not self.steps:
            raise Enough
        self.steps.pop(0)()


def test_following_reads_what_comes_whole_lines_only_over_new_files(tmp_path: Path) -> None:
    write(tmp_path, NOON, line(name="before.test"))
    part, rest = line(name="c.test")[:30], line(name="c.test")[30:]
    later = NOON + timedelta(hours=1)
    steps: list[Callable[[], object]] = [
        lambda: write(tmp_path, NOON, line(name="a.test"), line(name="b.example")),
        lambda: write(tmp_path, NOON, part),
        lambda: write(tmp_path, NOON, rest, line(name="d.test")),
        lambda: (write(tmp_path, NOON, line(name="e.test")), write(tmp_path, NOON, line(name="f.test"), number=1)),
        lambda: write(tmp_path, later, line(name="g.test")),
        lambda: write(tmp_path, NOON, line(name="h.test"), number=1),
        lambda: write(tmp_path, later, line(name="i.test")),
    ]
    found = Followed(tmp_path, steps, Wanted(name="test"))
    assert found.names == ["a.test", "c.test", "d.test", "e.test", "f.test", "g.test", "i.test"]


def test_following_begins_before_there_is_anything_and_survives_that_files_go(tmp_path: Path) -> None:
    directory = tmp_path / "queries"
    steps: list[Callable[[], object]] = [
        directory.mkdir,
        lambda: write(directory, NOON, line(name="a.test")),
        lambda: (directory / queries.name(NOON, 0)).unlink(),
        lambda: write(directory, NOON, line(name="b.test"), number=1),
        lambda: write(directory, NOON, line(name="c.test"), number=1),
    ]
    assert Followed(directory, steps, Wanted()).names == ["a.test", "b.test", "c.test"]


def test_reading_while_somebody_writes_gives_whole_lines(tmp_path: Path) -> None:
    text = [line(NOON, name=f"{number}.test", filler="x" * (number % 700)) for number in range(4000)]
    stop = threading.Event()

    def work() -> None:
        for start in range(0, len(text), 40):
            write(tmp_path, NOON, *text[start : start + 40], number=start // 400)
        stop.set()

    thread = threading.Thread(target=work)
    thread.start()
    while not stop.is_set():
        reader = Reader(tmp_path)
        found = [said["name"] for _, said in reader.all(reader.end())]
        assert found == [f"{number}.test" for number in range(len(found))]
        assert reader.skipped == 0
    thread.join()
    assert len([*Reader(tmp_path).all()]) == len(text)
