from __future__ import annotations

import asyncio

import pytest

from sinkhole.names import to_wire
from sinkhole.resolver.message import SERVFAIL, Response
from sinkhole.resolver.upstream import Forwarder, crowd
from sinkhole.resolver.upstream.crowd import Crowd, Limits
from tests.resolver.upstream.asking import nobody, query, run


def test_one_client_cannot_take_the_room_of_others() -> None:
    """DNSBomb, CVE-2024-33655: no more of its queries wait than it may have, so no more are answered at one instant."""
    waiting = Crowd(Limits(total=10, client=4))
    assert [waiting.enter("192.0.2.1") for _ in range(6)] == [True] * 4 + [False] * 2
    assert [waiting.enter("192.0.2.2") for _ in range(6)] == [True] * 4 + [False] * 2
    assert [waiting.enter("") for _ in range(3)] == [True] * 2 + [False]
    waiting.leave("192.0.2.1")
    assert waiting.enter("192.0.2.1")
    assert not waiting.enter("192.0.2.3")


def test_random_labels_below_one_domain_take_only_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    """Water torture: the domain is full, whatever stands before it, and other domains have their room."""
    monkeypatch.setattr(crowd, "DOMAINS", ((2, 20), (3, 5)))
    names = Crowd()
    assert sum(names.start(to_wire(f"r{number}.victim.example")) is not None for number in range(50)) == 20
    assert names.start(to_wire("a.b.c.victim.example")) is None
    assert names.start(to_wire("victim.example")) is not None
    assert names.start(to_wire("www.other.example")) is not None


def test_a_domain_below_a_public_suffix_does_not_take_the_room_of_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crowd, "DOMAINS", ((2, 20), (3, 5)))
    names = Crowd()
    assert sum(names.start(to_wire(f"r{number}.victim.co.test")) is not None for number in range(50)) == 5
    assert names.start(to_wire("www.other.co.test")) is not None


def test_nothing_is_kept_of_those_who_left() -> None:
    waiting = Crowd()
    names = [to_wire(f"{number}.{number % 3}.example.com") for number in range(100)]
    started = []
    for number, name in enumerate(names):
        assert waiting.enter(f"192.0.2.{number % 7}")
        started.append(waiting.start(name))
    assert waiting.domains[to_wire("example.com")] == 100
    for number, domains in enumerate(started):
        waiting.leave(f"192.0.2.{number % 7}")
        assert domains is not None
        waiting.end(domains)
    assert (waiting.total, waiting.clients, waiting.domains) == (0, {}, {})


def test_those_without_room_are_told_at_once_and_nothing_is_remembered_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crowd, "DOMAINS", ((2, 5),))
    told: list[Response] = []

    async def main() -> None:
        with nobody() as silent:
            forwarder = Forwarder([silent], 0.2, crowd=Crowd(Limits(total=100, client=8)))
            for number in range(12):  # five questions fit below the domain
                forwarder.ask(query(f"n{number}.example.com"), told.append, "192.0.2.1")
            assert len(told) == 7
            for _ in range(12):  # three more askers fit of this client: the same question costs no domain's room
                forwarder.ask(query("n0.example.com"), told.append, "192.0.2.1")
            assert len(told) == 7 + 9
            forwarder.ask(query("n0.example.com"), told.append, "192.0.2.2")
            assert len(told) == 7 + 9
            assert {(response.rcode, response.ttl) for response in told} == {(SERVFAIL, 0)}
            await asyncio.sleep(0.3)
            assert len(told) == 25
            assert forwarder.crowd.total == forwarder.waiting == 0
            assert not forwarder.crowd.clients
            assert not forwarder.crowd.domains
            forwarder.close()

    run(main())
