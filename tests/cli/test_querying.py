from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sinkhole import queries
from tests.conftest import PATIENCE, Site
from tests.test_queries import line, write

NOW = datetime.now(UTC)
BLOCKED = {"action": "block", "rcode": "NOERROR"}


@pytest.fixture
def logged(site: Site) -> Site:
    """A site with a log of three hours, in which each line has another minute."""
    directory = site.state / queries.DIRECTORY
    directory.mkdir(parents=True)
    members: list[dict[str, Any]] = [
        {"name": "old.example.com", "ago": 170},
        {"name": "ads.example.org", "ago": 90, "directive": "xx-2025", "list": "ads", **BLOCKED},
        {"name": "x.example.com", "ago": 5, "client": "2001:db8::7", "action": "allow", "exception": "e1"},
        {"name": "www.example.com", "ago": 1, "action": "block", "list": "ai", "judged": "answer"},
    ]  # fmt: skip
    for told in members:
        at = datetime.now(UTC) - timedelta(minutes=told.pop("ago"))
        write(directory, at, line(at, **told))
    return site


def names(site: Site, *options: str) -> list[str]:
    return [said["name"] for said in site.run("queries", "--json", *options).lines]


def test_a_table_says_who_asked_for_what_and_what_decided(logged: Site) -> None:
    heading, *rows = (re.split(r"  +", row) for row in logged.run("queries").out.splitlines())
    assert heading == ["time", "client", "name", "type", "action", "by", "outcome", "rcode"]
    assert [row[1:] for row in rows] == [
        ["192.0.2.7", "old.example.com", "A", "forward", "forwarded"],
        ["192.0.2.7", "ads.example.org", "A", "block", "directive xx-2025, list ads", "forwarded", "NOERROR"],
        ["2001:db8::7", "x.example.com", "A", "allow", "exception e1", "forwarded"],
        ["192.0.2.7", "www.example.com", "A", "block", "list ai, by its answer", "forwarded"],
    ]


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ((), ["old.example.com", "ads.example.org", "x.example.com", "www.example.com"]),
        (("--limit", "0"), ["old.example.com", "ads.example.org", "x.example.com", "www.example.com"]),
        (("--limit", "2"), ["x.example.com", "www.example.com"]),
        (("--client", "192.0.2.0/24", "--name", "Example.COM."), ["old.example.com", "www.example.com"]),
        (("--client", "2001:db8::7"), ["x.example.com"]),
        (("--action", "block"), ["ads.example.org", "www.example.com"]),
        (("--directive", "xx-2025"), ["ads.example.org"]),
        (("--list", "ai"), ["www.example.com"]),
        (("--since", "2h"), ["ads.example.org", "x.example.com", "www.example.com"]),
        (("--since", "2h", "--until", "3m"), ["ads.example.org", "x.example.com"]),
        (("--until", (NOW - timedelta(hours=2)).isoformat()), ["old.example.com"]),
        (("--list", "none"), []),
    ],
)
def test_what_is_shown(logged: Site, options: tuple[str, ...], found: list[str]) -> None:
    assert names(logged, *options) == found


def test_json_is_what_is_stored(logged: Site) -> None:
    stored = b"".join(path.read_bytes() for path in queries.files(logged.state / queries.DIRECTORY))
    assert logged.run("queries", "--json").out.encode() == stored


def test_a_log_that_somebody_wrote_into_harms_no_terminal(logged: Site) -> None:
    """Escapes, line ends, letters of other scripts and damage in the file itself."""
    odd = line(NOW, "\x1b[2J\u202e뭐\n.test", client="\x9b31m", type="\u2028").replace(b"\\u", b"\\u")
    raw = '{"time":"2026-11-23T12:00:00.000Z","name":"뭐\u202e.test"}\n'.encode()
    write(logged.state / queries.DIRECTORY, NOW, odd, raw, b"\x1b[2J\n", line(NOW)[:30])
    for options in ((), ("--json",), ("--limit", "0")):
        ran = logged.run("queries", *options)
        assert all(char == "\n" or char.isprintable() for char in ran.out)
        assert "lines that are damaged and were left out: 1" in ran.err  # the last one may be under way
    assert "\\x1b[2J" in logged.run("queries").out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--client", "10.0.0.300"), "'10.0.0.300' is no IP address and no network"),
        (("--name", "no name"), "is not a name"),
        (("--action", "blok"), "'blok' is none of block, allow, warn, observe, forward, local"),
        (("--since", "yesterday"), "is no instant"),
        (("--until", "2025-02-15T18:00"), "has no UTC offset"),
        (("--since", "999999999d"), "is before all time"),
        (("--limit", "-1"), "Input should be greater than or equal to 0"),
    ],
)
def test_what_cannot_be_meant_is_wrong_usage(logged: Site, options: tuple[str, ...], message: str) -> None:
    assert message in " ".join(logged.run("queries", *options, code=2).err.replace("│", "").split())


def test_without_a_log_there_is_an_error(site: Site) -> None:
    assert "there is no query log in " in site.run("queries", code=1).err


@contextmanager
def following(site: Site, *options: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "sinkhole", "queries", "--follow", *options],
        cwd=site.directory,
        env=site.environ(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def heard(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    assert select.select([process.stdout], [], [], PATIENCE)[0]
    return process.stdout.readline()


def test_following_shows_the_last_lines_and_then_those_that_come(logged: Site) -> None:
    directory = logged.state / queries.DIRECTORY
    with following(logged, "--limit", "1", "--name", "example.com") as process:
        assert "www.example.com" in heard(process)
        write(directory, NOW, line(NOW, "x.example.net"), line(NOW, "new.example.com"))
        assert heard(process).split()[1:3] == ["192.0.2.7", "new.example.com"]
        write(directory, NOW + timedelta(hours=1), line(NOW, "newer.example.com"))
        assert heard(process).split()[2] == "newer.example.com"
        os.kill(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE)
        assert (process.returncode, out, err) == (0, "", "")


def test_following_a_running_instance(site: Site) -> None:
    """From before it has recorded anything."""
    with following(site, "--json", "-c", "sinkhole.yaml") as process, site.running({"workers": 2}) as running:
        for name in ("chat.deepseek.com", "example.org"):
            running.ask(name)
            said = json.loads(heard(process))
            assert said["name"] == name


def test_a_preview_replays_the_query_log(site: Site) -> None:
    """What clients asked for is asked of the policy to come: by the log itself, and as a file of its lines."""
    settings = {
        "groups": {"lab": {"clients": ["10.20.0.0/16"]}},
        "lists": {"ads": {"block": ["ads.example.org"]}},
        "policy": [{"groups": ["all"], "lists": ["ads"]}],
    }
    site.configure(settings)
    site.run("build", "--no-exports", "-c", "sinkhole.yaml")
    (site.state / queries.DIRECTORY).mkdir(parents=True)
    lines = [
        line(NOW, "ads.example.org", client="10.20.0.7", type="AAAA"),
        line(NOW, "new.example.org", client="10.20.0.0/24"),
        line(NOW, "new.example.org", client="10.20.0.0/24"),
        line(NOW, "new.example.org", client="192.0.2.7"),
        json.dumps({"time": "2026-11-23T12:00:00.000Z", "name": "new.example.org", "type": "A"}).encode() + b"\n",
        line(NOW, r"odd\010.new.example.org"),
        line(NOW, "new.example.org", type=7),
    ]
    log = write(site.state / queries.DIRECTORY, NOW, *lines)
    changed = {"lists": {"ads": {"block": ["ads.example.org"]}, "more": {"block": ["new.example.org"]}}}
    site.configure({**settings, **changed, "policy": [*settings["policy"], {"groups": ["lab"], "lists": ["more"]}]})
    for given in ("log", str(log)):
        found = site.run("policy", "preview", "--queries", given, "--json", "-c", "sinkhole.yaml").data["replay"]
        assert found["total"] == 5
        assert [(asked["client"], asked["name"], asked["times"], asked["after"]) for asked in found["changes"]] == [
            ("10.20.0.0", "new.example.org", 2, "block")
        ]
        assert [text.partition(":")[0] for text in found["bad"]] == ["line 6", "line 7"]
