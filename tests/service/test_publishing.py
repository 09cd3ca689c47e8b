"""When the exports of groups are made anew."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from sinkhole.service.publishing import AGAIN, Published, Publishing
from tests.conftest import Site

START = datetime(2025, 2, 5, 8, 59, tzinfo=UTC)
SECOND = timedelta(seconds=1)


class Clock:
    """A clock that is set by hand, and a publisher of what changes at the instants ``changes``."""

    def __init__(self, *changes: datetime) -> None:
        self.now = START
        self.changes = changes
        self.made: list[datetime] = []
        self.ok = True
        self.publishing = Publishing(self.make, lambda: self.now, look=0.001)

    async def make(self) -> Published:
        self.made.append(self.now)
        return Published(self.ok, min((change for change in self.changes if change > self.now), default=None))

    async def at(self, now: datetime) -> int:
        """How often was published when it is ``now`` and some time went by."""
        self.now = now
        for _ in range(5):
            await asyncio.sleep(0.002)
        return len(self.made)

    def run(self, told: Callable[[], object]) -> None:
        async def running() -> None:
            task = asyncio.create_task(self.publishing.run())
            await told()  # type: ignore[misc]
            task.cancel()

        asyncio.run(running())


def test_it_publishes_at_each_instant_and_when_it_is_told() -> None:
    clock = Clock(START + 60 * SECOND, START + 120 * SECOND)

    async def told() -> None:
        assert await clock.at(START) == 0
        clock.publishing.due()
        assert await clock.at(START) == 1
        assert await clock.at(START + 59 * SECOND) == 1
        assert await clock.at(START + 60 * SECOND) == 2
        clock.publishing.due()
        assert await clock.at(START + 61 * SECOND) == 3
        assert await clock.at(START + 120 * SECOND) == 4
        assert await clock.at(START + 999 * SECOND) == 4

    clock.run(told)


def test_a_failure_is_told_and_tried_again_later(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    clock.ok = False

    async def told() -> None:
        clock.publishing.due()
        assert await clock.at(START) == 1
        assert await clock.at(START + (AGAIN - 1) * SECOND) == 1
        clock.ok = True
        assert await clock.at(START + AGAIN * SECOND) == 2
        assert await clock.at(START + 9 * AGAIN * SECOND) == 2

    with caplog.at_level(logging.ERROR):
        clock.run(told)
    assert "the exports of groups stay as they were" in caplog.text


def test_an_instant_that_does_not_pass_costs_one_look_a_second() -> None:
    """As when what is published says that it should have changed already."""
    clock = Clock()

    async def late() -> Published:
        clock.made.append(clock.now)
        return Published(True, START - SECOND)

    clock.publishing = Publishing(late, lambda: clock.now, look=0.001)

    async def told() -> None:
        clock.publishing.due()
        assert await clock.at(START) == 1
        assert await clock.at(START + SECOND) == 2

    clock.run(told)


def test_a_clock_that_is_set_back_is_noticed() -> None:
    clock = Clock(START + 60 * SECOND)

    async def told() -> None:
        clock.publishing.due()
        assert await clock.at(START) == 1
        assert await clock.at(START + 61 * SECOND) == 2
        assert await clock.at(START - 3600 * SECOND) == 3

    clock.run(told)


def test_a_running_resolver_publishes_what_changes_and_at_the_instant_at_which_it_does(site: Site) -> None:
    """An exception of seconds stands for it: it takes a name out, and its end puts it back. A reload counts too."""
    settings = {
        "groups": {"office": {"clients": ["10.20.0.0/16"]}},
        "lists": {"ads": {"block": ["ads.test"]}},
        "policy": [{"groups": ["office"], "lists": ["ads"]}],
        "exports": {"groups": ["office"], "formats": ["rpz"]},
    }
    zone = site.directory / "exports/rpz/group_office.zone"
    with site.running(settings) as running:
        running.eventually(lambda: zone.exists() and "\nads.test CNAME .\n" in zone.read_text())
        assert sorted(path.name for path in zone.parent.iterdir()) == ["group_office.zone"]
        config = ("-c", "sinkhole.yaml")
        ask = ("exception", "request", "x.ads.test", "--group", "office", "--for", "8s", "--why", "work", "--approve")
        site.run(*ask, *config)
        running.eventually(lambda: "\nx.ads.test CNAME rpz-passthru.\n" in zone.read_text())
        running.eventually(lambda: "x.ads.test" not in zone.read_text())
        assert "; In force from: " in zone.read_text()
        running.configure({**settings, "block": ["more.test"]})
        running.eventually(lambda: "\nmore.test CNAME .\n" in zone.read_text())
