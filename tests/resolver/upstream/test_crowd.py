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
    assert sum(names.start(to_wire(f"r{number}.victim.example")) for number in range(50)) == 20
    assert not names.start(to_wire("a.b.c.victim.example"))
    assert names.start(to_wire("victim.example"))
    assert names.start(to_wire("www.other.example"))


def test_a_domain_below_a_public_suffix_does_not_take_the_room_of_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crowd, "DOMAINS", ((2, 20), (3, 5)))
    names = Crowd()
    assert sum(names.start(to_wire(f"r{number}.victim.co.test")) for number in range(50)) == 5
    assert names.start(to_wire("www.other.co.test"))


@pytest.mark.parametrize("count", [100, 600])
def test_nothing_is_kept_of_those_who_left(count: int) -> None:
    """Few questions, of which no domain is full, and so many that domains are counted."""
    waiting = Crowd()
    names = [to_wire(f"{number}.{number % 7}.example.com") for number in range(count)]
    for number, name in enumerate(names):
        assert waiting.enter(f"192.0.2.{number % 7}")
        assert waiting.start(name)
    assert waiting.domains.get(to_wire("example.com"), 0) == (0 if count == 100 else count)
    for number, name in enumerate(names):
        waiting.leave(f"192.0.2.{number % 7}")
        waiting.end(name)
    assert (waiting.total, waiting.questions, waiting.clients, waiting.names, waiting.domains) == (0, 0, {}, {}, {})


def test_the_room_below_a_domain_is_the_same_however_often_it_is_filled() -> None:
    """Domains are counted anew when there are many questions again, with what is under way by then: several types of
    one name are several questions."""
    names = Crowd()
    wires = [to_wire(f"r{number % 100}.a.victim.example") for number in range(260)]
    others = [to_wire(f"{number}.x{number}.example") for number in range(400)]
    for _ in range(3):
        assert [names.start(wire) for wire in wires] == [True] * 250 + [False] * 10
        assert all(map(names.start, others))
        assert not names.start(wires[0])
        for wire in (*wires[:249], *others):
            names.end(wire)
        assert names.start(wires[1])
        assert not names.domains
        names.end(wires[1])
        names.end(wires[249])
        assert names.questions == 0


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
