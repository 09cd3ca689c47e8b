from __future__ import annotations

import errno
import logging
import os
import random
import re
import signal
import socket
import stat
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dns.message
import dns.query
import pytest

from sinkhole import queries
from sinkhole.names import present
from sinkhole.queries import Reader
from sinkhole.service.querylog import Keeping, QueryLog, Store
from tests.conftest import Running, Site
from tests.test_queries import line

AT = datetime(2026, 11, 23, 4, 30, tzinfo=UTC).timestamp()
HOUR, DAY = 3600.0, 86_400.0
MB = 1 << 20


class World:
    """A store with a clock."""

    def __init__(self, directory: Path, keeping: Keeping = Keeping()) -> None:  # noqa: B008 - a constant
        self.now = AT
        self.directory = directory
        self.store = Store(directory, keeping, lambda: self.now)

    def write(self, *lines: bytes) -> None:
        self.store.write(b"".join(lines))

    def files(self) -> list[str]:
        return [path.name for path in queries.files(self.directory)]

    def size(self) -> int:
        return sum(path.stat().st_size for path in self.directory.iterdir())


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path / "queries")
    yield made
    made.store.close()


def test_a_file_an_hour_for_the_owner_alone(world: World) -> None:
    former = os.umask(0)
    try:
        world.write(line(name="a.test"), line(name="b.test"))
        world.now += HOUR / 2
        world.write(line(name="c.test"))
    finally:
        os.umask(former)
    assert world.files() == ["2026-11-23T04-00000.jsonl", "2026-11-23T05-00000.jsonl"]
    assert [said["name"] for _, said in Reader(world.directory).all()] == ["a.test", "b.test", "c.test"]
    assert stat.S_IMODE(world.directory.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in world.directory.iterdir()} == {0o600}


def test_another_start_in_the_same_hour_goes_on_in_its_file(world: World) -> None:
    world.write(line(name="a.test"))
    again = Store(world.directory, Keeping(), lambda: world.now)
    again.write(line(name="b.test"))
    again.close()
    assert world.files() == ["2026-11-23T04-00000.jsonl"]


def test_a_line_that_a_crash_cut_off_harms_no_other(world: World) -> None:
    world.write(line(name="a.test"), line(name="b.test"))
    (path,) = queries.files(world.directory)
    os.truncate(path, path.stat().st_size - 9)
    again = Store(world.directory, Keeping(), lambda: world.now)
    again.write(line(name="c.test"))
    again.close()
    reader = Reader(world.directory)
    assert [said["name"] for _, said in reader.all()] == ["a.test", "c.test"]
    assert reader.skipped == 1


def test_what_is_too_old_goes_by_the_hour(world: World) -> None:
    world.store.keeping = Keeping(age=3 * HOUR)
    for _ in range(5):
        world.write(line())
        world.now += HOUR
    world.store.tidy()  # it is 9:30: what was written before 6:30 goes, where all of its file is older
    assert world.files() == ["2026-11-23T06-00000.jsonl", "2026-11-23T07-00000.jsonl", "2026-11-23T08-00000.jsonl"]
    world.now += 30 * DAY  # nobody asked for anything since
    world.store.tidy()
    assert (world.files(), world.store.size, world.store.since) == ([], 0, None)
    world.write(line())
    assert world.files() == ["2026-12-23T09-00000.jsonl"]


@pytest.mark.parametrize("most", [64 << 10, MB, 10 * MB])
def test_the_log_never_grows_over_its_size_and_the_oldest_goes_first(tmp_path: Path, most: int) -> None:
    """Messages of every size over some hours; after each, the octets on the disk are within the bound."""
    draw = random.Random(most)
    world = World(tmp_path / "queries", Keeping(size=most))
    number = 0
    for _ in range(4):
        for _ in range(most // 60_000 * 2):
            lines = [line(name=f"{number + count}.test") for count in range(draw.randint(1, 450))]
            number += len(lines)
            world.write(*lines)
            assert world.size() == world.store.size <= most
        world.now += HOUR
    kept = [int(said["name"].partition(".")[0]) for _, said in Reader(world.directory).all()]
    assert kept == [*range(number - len(kept), number)]
    assert world.size() > most / 2
    world.store.close()


def test_less_is_kept_when_the_bound_is_lowered(world: World) -> None:
    world.store.keeping = Keeping(size=MB)
    for _ in range(30):
        world.write(*[line()] * 300)
    assert world.store.size > MB / 2
    world.store.keeping = Keeping(size=MB // 4)
    world.store.tidy()
    assert 0 < world.size() <= MB / 4


def test_a_clock_that_is_set_back_writes_where_it_says(world: World) -> None:
    world.write(line(name="a.test"))
    world.now -= 2 * HOUR
    world.write(line(name="b.test"))
    world.now += 2 * HOUR
    world.write(line(name="c.test"))
    assert world.files() == ["2026-11-23T02-00000.jsonl", "2026-11-23T04-00000.jsonl"]


def test_files_that_were_removed_by_hand_do_not_count(world: World) -> None:
    world.write(line(name="a.test"))
    for path in queries.files(world.directory):
        path.unlink()
    world.store.tidy()
    assert world.store.size == 0
    world.write(line(name="b.test"))
    assert [said["name"] for _, said in Reader(world.directory).all()] == ["b.test"]


def test_no_link_leads_out_of_the_directory(world: World, tmp_path: Path) -> None:
    """Somebody who can write to the directory cannot make another file of the user's grow."""
    world.directory.mkdir()
    (tmp_path / "victim").write_text("x")
    (world.directory / "2026-11-23T04-00000.jsonl").symlink_to(tmp_path / "victim")
    with pytest.raises(OSError, match=os.strerror(errno.ELOOP)):
        world.write(line())
    assert (tmp_path / "victim").read_text() == "x"


def test_a_full_disk_costs_whole_lines_and_no_more(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk takes a part of a message, then nothing, then everything again."""
    real, room = os.write, [10, 0]

    def full(fd: int, data: bytes) -> int:
        if not room:
            return real(fd, data)
        if taken := room.pop(0):
            return real(fd, data[:taken])
        raise OSError(errno.ENOSPC, "No space left on device")

    world.write(line(name="a.test"))
    monkeypatch.setattr(os, "write", full)
    for _ in range(2):
        with pytest.raises(OSError, match="No space left"):
            world.write(line(name="b.test"))
    world.write(line(name="c.test"))
    reader = Reader(world.directory)
    assert ([said["name"] for _, said in reader.all()], reader.skipped) == (["a.test", "c.test"], 0)


# The thread


def eventually(told: Callable[[], object], within: float = 10.0) -> None:
    end = time.monotonic() + within
    while not told():
        assert time.monotonic() < end
        time.sleep(0.005)


def pair() -> tuple[socket.socket, socket.socket]:
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def test_everything_that_was_handed_over_is_written_before_the_end(tmp_path: Path) -> None:
    directory = tmp_path / "queries"
    with QueryLog(Store(directory, Keeping())) as log:
        for number in range(8):
            ours, theirs = pair()
            log.take(ours)
            with theirs:
                theirs.send(b"".join(line(name=f"{number}.{count}.test") for count in range(100)))
    assert len([*Reader(directory).all()]) == 800


class Broken(Store):
    """A store on a disk that is full until it is not."""

    full = True

    def write(self, lines: bytes) -> None:
        if self.full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        super().write(lines)


def test_trouble_is_said_once_and_counted_and_ends_by_itself(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = Broken(tmp_path / "queries", Keeping())
    with QueryLog(store) as log:
        ours, theirs = pair()
        log.take(ours)
        with theirs:
            for _ in range(5):
                theirs.send(line() * 3)
            eventually(lambda: log.status()["lost"] == 15)
            assert log.status() == {"bytes": 0, "since": None, "lost": 15, "error": "No space left on device"}
            store.full = False
            theirs.send(line())
            eventually(lambda: not log.status()["error"])
    assert log.status()["bytes"] == len(line())
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [
        (logging.ERROR, "the query log cannot be written: [Errno 28] No space left on device"),
        (logging.WARNING, "the query log is written again; lines lost so far: 15"),
    ]


# The whole program

SETTINGS: dict[str, Any] = {
    "workers": 1,
    "groups": {"lab": {"clients": ["127.0.0.7"]}},
    "lists": {
        "ads": {"block": ["ads.example.org"]},
        "watched": {"block": ["watched.example.org"]},
        "odd": {"block": ["odd.example.org"]},
    },
    "policy": [
        {"groups": ["all"], "directives": ["kr-mofa-2025-02-05"], "lists": ["ads"]},
        {"groups": ["all"], "lists": ["watched"], "action": "observe"},
        {"groups": ["all"], "lists": ["odd"], "action": "warn"},
    ],
    "allow": ["ok.ads.example.org"],
    "block": ["bad.example.org"],
    "records": {"printer.lan": ["192.0.2.10"]},
}
CONFIG = ("-c", "sinkhole.yaml")


def recorded(site: Site) -> list[dict[str, Any]]:
    return [said for _, said in Reader(site.state / queries.DIRECTORY).all()]


def written(running: Running, count: int) -> list[dict[str, Any]]:
    running.eventually(lambda: len(recorded(running.site)) >= count)
    return recorded(running.site)


def test_the_log_says_what_explain_and_the_answer_say(site: Site) -> None:
    """Names decided by a directive, a list, an exception, the operator, a warning, an observation, and by nothing; over
    UDP and TCP, new and remembered, from a client inside an exception and one outside."""
    names = [
        *("chat.deepseek.com", "x.ads.example.org", "ok.ads.example.org", "watched.example.org", "odd.example.org"),
        *("bad.example.org", "plain.example.org", "printer.lan", "tracker.test", "excepted.ads.example.org"),
    ]
    site.configure(SETTINGS)
    asked = ("exception", "request", "excepted.ads.example.org", "--client", "127.0.0.7", "--for", "1h")
    (entry,) = [
        word
        for word in re.findall(r"\S+", site.run(*asked, "--why", "a test", "--by", "alice", *CONFIG).out)
        if re.fullmatch(r"[0-9a-z]+-?[0-9a-z-]*", word) and any(char.isdigit() for char in word)
    ][:1]
    site.run("exception", "approve", entry, "--by", "bob", *CONFIG)
    with site.running(SETTINGS) as running:
        answers: dict[tuple[str, str], dns.message.Message] = {}
        for client in ("127.0.0.1", "127.0.0.7"):
            for name in names:
                answers[client, name] = running.ask(name, source=client)
                running.ask(name.upper(), tcp=True, source=client)
        lines = written(running, 4 * len(names))
    assert len(lines) == 4 * len(names)
    told: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for said in lines:
        told.setdefault((said["client"], said["name"]), []).append(said)
    for client in ("127.0.0.1", "127.0.0.7"):
        for explained in site.run("explain", "--client", client, "--json", *CONFIG, *names).lines:
            over_udp, over_tcp = told[client, explained["name"]]
            assert over_udp["type"] == "A"
            for key in ("action", "directive", "list", "exception"):
                assert over_udp.get(key) == over_tcp.get(key) == explained[key], (client, explained["name"], key)
            texts = [option.text for option in answers[client, explained["name"]].options if option.otype == 15]
            if explained["action"] == "block":
                assert texts == [explained["answer"]["text"]]
                assert (explained["directive"] or explained["list"] or "operator") in texts[0]
    actions = {name: told["127.0.0.1", name][0]["action"] for name in names}
    decided = ["block", "block", "allow", "observe", "warn", "block", "forward", "local", "local", "block"]
    assert [*actions.values()] == decided
    assert told["127.0.0.7", "excepted.ads.example.org"][0]["exception"] == entry
    assert [said["outcome"] for said in told["127.0.0.1", "plain.example.org"]] == ["forwarded", "cached"]
    assert {said["outcome"] for said in told["127.0.0.1", "chat.deepseek.com"]} == {"blocked"}
    now = time.time()
    assert all(0 <= now - datetime.fromisoformat(said["time"]).timestamp() < 60 for said in lines)


HOSTILE = [
    b"a\nb",
    b'{"time":"',
    b"\\",
    b"\0",
    b"\x1b]0;pwned\x07",
    b"\xff" * 63,
    b"<script>alert(1)</script>",
    b"a.b",
    "뭐".encode(),
    b"\r\t \x7f",
]


def test_hostile_names_are_one_line_each_and_harm_no_terminal(site: Site) -> None:
    """Labels of line feeds, quotes, NUL, escapes, other octets; and a name of 255 octets."""
    longest = b"\n" * 63, b"\0" * 63, b"\x1b" * 63, b'"' * 45
    labels = [(*odd, b"ads", b"example", b"org") for odd in (*((label,) for label in HOSTILE), longest)]
    with site.running(SETTINGS) as running:
        for found in labels:
            wire = b"".join(bytes((len(label),)) + label for label in found) + b"\0"
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.connect(running.endpoints[0])
                sock.settimeout(5)
                sock.send(b"\0\1\1\0\0\1\0\0\0\0\0\0" + wire + b"\0\1\0\1")
                assert sock.recv(4096)[:2] == b"\0\1"
        lines = written(running, len(labels))
    assert sorted(said["name"] for said in lines) == sorted(
        present(b"".join(bytes((len(label),)) + label.lower() for label in found) + b"\0") for found in labels
    )
    for path in queries.files(site.state / queries.DIRECTORY):
        text = path.read_bytes()
        assert text.count(b"\n") == len(labels)
        assert not text.translate(None, bytes(range(0x20, 0x7F)) + b"\n")
    for options in ((), ("--json",), ("--limit", "0")):
        shown = site.run("queries", *CONFIG, *options).out
        assert all(char == "\n" or char.isprintable() for char in shown)
        if options:
            assert len(shown.splitlines()) == len(labels)


def test_a_supervisor_that_stands_still_delays_no_answer_and_what_is_lost_is_counted(site: Site) -> None:
    """It is stopped while a worker answers; memory is bounded, and afterwards everything is written or counted."""
    with site.running({**SETTINGS, "rate-limit": {"queries": 0}}) as running:
        os.kill(running.process.pid, signal.SIGSTOP)
        try:
            sent = flood(running, 40_000, ".".join(["x" * 60] * 3) + ".ads.example.org")
        finally:
            os.kill(running.process.pid, signal.SIGCONT)

        def accounted() -> bool:
            counters = site.run("status", "--json", *CONFIG).data["counters"]
            return bool(counters["unlogged"]) and len(recorded(site)) + counters["unlogged"] == counters["queries"]

        running.eventually(accounted)
        assert site.run("status", "--json", *CONFIG).data["counters"]["queries"] >= sent
        before = len(recorded(site))
        running.ask("chat.deepseek.com")
        running.eventually(lambda: len(recorded(site)) == before + 1)


def flood(running: Running, count: int, name: str = "chat.deepseek.com") -> int:
    """Ask for a blocked name so many times, and see that each is answered."""
    query = dns.message.make_query(name, "A").to_wire()[2:]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect(running.endpoints[0])
        sock.settimeout(5)
        for number in range(0, count, 100):
            for ident in range(number, number + 100):
                sock.send((ident % 65_536).to_bytes(2) + query)
            for _ in range(100):
                assert sock.recv(4096).endswith(bytes(4))
    return count


@pytest.mark.parametrize("victim", ["worker", "supervisor"])
def test_a_kill_leaves_whole_lines_and_the_log_goes_on(site: Site, victim: str) -> None:
    with site.running(SETTINGS) as running:
        running.ask("first.example.org")
        written(running, 1)
        flood(running, 3000)
        os.kill(running.process.pid if victim == "supervisor" else min(running.workers()), signal.SIGKILL)
        if victim == "worker":
            running.eventually(lambda: "starting another" in running.log)
            running.ask("last.example.org", wait=20)
            running.eventually(lambda: recorded(site)[-1]["name"] == "last.example.org")
    if victim == "supervisor":
        with site.running(SETTINGS) as running:
            running.ask("last.example.org")
            running.eventually(lambda: recorded(site)[-1]["name"] == "last.example.org")
    reader = Reader(site.state / queries.DIRECTORY)
    lines = [said for _, said in reader.all()]
    assert (lines[0]["name"], reader.skipped) == ("first.example.org", 0)
    assert len(lines) > 1000


@pytest.mark.parametrize(
    ("settings", "client"),
    [({"clients": "network"}, "127.0.0.0/24"), ({"clients": "none"}, None), ({"record": "none"}, "nothing")],
)
def test_a_reload_changes_what_is_recorded_and_no_address_is_in_any_file(
    site: Site, settings: dict[str, str], client: str | None
) -> None:
    """From the reload on, a search of every file finds of clients and names what the setting promises."""
    with site.running(SETTINGS) as running:
        running.ask("planted-before.example.org", source="127.0.0.9")
        written(running, 1)
        running.configure({**SETTINGS, "query-log": settings})
        running.eventually(lambda: "reloaded" in running.log)
        running.ask("planted-after.ads.example.org", source="127.0.0.8")
        running.ask("planted-after.example.org", source="127.0.0.8")
        if client != "nothing":
            written(running, 3)
    text = b"".join(path.read_bytes() for path in (site.state / queries.DIRECTORY).iterdir())
    assert text.count(b"planted-after") == (0 if client == "nothing" else 2)
    assert b"127.0.0.8" not in text
    assert b"127.0.0.9" in text  # what was recorded before stays until its time is over
    assert {said.get("client") for said in recorded(site)[1:]} == (set() if client == "nothing" else {client})


def test_decisions_alone_leave_no_trace_of_what_was_forwarded(site: Site) -> None:
    with site.running({**SETTINGS, "query-log": {"record": "decisions"}}) as running:
        for name in ("plain.example.org", "printer.lan", "x.ads.example.org", "watched.example.org"):
            running.ask(name)
        lines = written(running, 2)
    assert [said["name"] for said in lines] == ["x.ads.example.org", "watched.example.org"]
    assert not any(b"plain.example.org" in path.read_bytes() for path in site.directory.rglob("*") if path.is_file())


def test_a_reload_bounds_what_is_kept(site: Site) -> None:
    with site.running({**SETTINGS, "rate-limit": {"queries": 0}}) as running:
        flood(running, 3000)
        written(running, 3000)
        assert site.run("status", "--json", *CONFIG).data["query-log"]["bytes"] > 400_000
        running.configure({**SETTINGS, "query-log": {"max-size": "128KB"}})
        running.eventually(lambda: "reloaded" in running.log)
        running.eventually(lambda: site.run("status", "--json", *CONFIG).data["query-log"]["bytes"] <= 128 << 10)


def test_a_disk_that_is_full_is_told_and_dns_goes_on(site: Site) -> None:
    """The place of the directory is taken by a file, which no user can write into; then it is gone."""
    site.state.mkdir(parents=True)
    (site.state / queries.DIRECTORY).write_text("")
    with site.running(SETTINGS) as running:
        for _ in range(3):
            assert running.ask("chat.deepseek.com").answer
        running.eventually(lambda: site.run("status", "--json", *CONFIG).data["counters"]["unlogged"] == 3)
        ran = site.run("status", *CONFIG)
        assert "it cannot be written: " in ran.out
        assert running.log.count("the query log cannot be written") == 1
        (site.state / queries.DIRECTORY).unlink()
        running.ask("chat.deepseek.com")
        written(running, 1)
        assert "the query log is written again; lines lost so far: 3" in running.log
