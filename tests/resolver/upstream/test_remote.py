from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import dns.message
import dns.query
import pytest

from sinkhole.resolver.message import NOERROR, NXDOMAIN, REFUSED, SERVFAIL
from sinkhole.resolver.upstream import Forwarder, Server, remote
from sinkhole.resolver.upstream.remote import Remote
from sinkhole.resolver.upstream.strategy import STRATEGIES, arrange
from sinkhole.resolver.upstream.transports import Transports
from tests.dnsserver import Asked, DnsServer, reply
from tests.resolver.serving import Running, serving
from tests.resolver.upstream.asking import about, asked, closed, nobody, query, responses, right, run, udp


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Probes at a tenth of their time."""
    monkeypatch.setattr(remote, "PROBE", 0.1)
    monkeypatch.setattr(remote, "CALM", 0.1)


def a_remote(number: int = 1, latency: float | None = None, up: bool = True) -> Remote:
    server = Server("udp", f"192.0.2.{number}", 53)
    made = Remote(server, Transports()(server), "token")
    made.latency, made.up = latency, up
    return made


def is_probe(asked: Asked) -> bool:
    return asked.name.endswith(".sinkhole.example")


def silent_but_for(probes: Callable[[Asked], list[bytes]]) -> Callable[[Asked], list[bytes]]:
    return lambda asked: probes(asked) if is_probe(asked) else []


def no_such_name(asked: Asked) -> list[bytes]:
    return [reply(asked.packet, rcode=NXDOMAIN)]


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not true():
            await asyncio.sleep(0.01)


def test_names_that_are_never_answered_take_no_server_out_of_use() -> None:
    """Anybody can ask for such names; a resolver that waits for them still answers our probe."""
    with DnsServer(silent_but_for(no_such_name)) as server:
        forwarder = Forwarder([udp(server)], 0.3)
        found = run(asked(forwarder, *(query(f"n{number}.example.com") for number in range(20))))
        assert {response.rcode for response in found} == {SERVFAIL}
        assert forwarder.remotes[0].up
        assert 1 <= len([asked for asked in server.asked if is_probe(asked)]) < 5


@pytest.mark.parametrize(("rcode", "up"), [(NXDOMAIN, True), (REFUSED, True), (NOERROR, True), (SERVFAIL, False)])
def test_what_a_probe_takes_for_life(rcode: int, up: bool) -> None:
    """Any answer but SERVFAIL, which is what a resolver says that is cut off itself."""

    async def main() -> None:
        with DnsServer(silent_but_for(lambda asked: [reply(asked.packet, rcode=rcode)])) as server:
            forwarder = Forwarder([udp(server)], 0.1)
            await responses(forwarder, query())
            await asyncio.sleep(0.3)
            assert forwarder.remotes[0].up is up
            forwarder.close()

    run(main())


def test_a_server_that_is_gone_is_asked_last_and_is_back_within_two_probes(caplog: pytest.LogCaptureFixture) -> None:
    """With the log saying so once each way, and nobody waiting for it in between."""
    there = [False]

    async def main() -> None:
        with DnsServer(lambda asked: [right(asked)] if there[0] else []) as first, DnsServer(right_only) as second:
            forwarder = Forwarder([udp(first), udp(second)], 0.2)
            await responses(forwarder, query())
            await until(lambda: not forwarder.remotes[0].up)
            started = time.monotonic()
            before = len(about(first))
            for number in range(20):
                await responses(forwarder, query(f"n{number}.example.com"))
            assert time.monotonic() - started < 0.2
            assert len(about(first)) == before
            await asyncio.sleep(0.5)
            there[0] = True
            back = time.monotonic()
            await until(lambda: forwarder.remotes[0].up)
            assert time.monotonic() - back < 0.3
            await responses(forwarder, query("after.example.com"))
            assert about(first, "after.example.com")
            forwarder.close()

    with caplog.at_level(logging.WARNING):
        run(main())
    said = [record.getMessage().partition(" port ")[2].partition(" ")[2] for record in caplog.records]
    assert said == ["does not answer; asking others first", "answers again"]


def right_only(asked: Asked) -> list[bytes]:
    return [right(asked)]


def test_when_nobody_is_there_everybody_is_still_asked_for_one_share_of_the_time() -> None:
    """So nothing is lost when a probe was wrong, and nobody waits for three servers that are gone."""

    async def main() -> None:
        with nobody() as one, nobody() as two, nobody() as three:
            forwarder = Forwarder([one, two, three], 0.2)
            for each in forwarder.remotes:
                each.up = False
            started = time.monotonic()
            (response,) = await responses(forwarder, query())
            assert response.rcode == SERVFAIL
            assert 0.15 < time.monotonic() - started < 0.35
            forwarder.close()

    run(main())


def test_an_answer_shows_that_a_server_is_there() -> None:
    async def main() -> None:
        with DnsServer(right_only) as server:
            forwarder = Forwarder([udp(server)])
            forwarder.remotes[0].up = False
            await responses(forwarder, query())
            assert forwarder.remotes[0].up
            forwarder.close()

    run(main())


def test_probes_of_a_conditional_route_lie_in_its_domain() -> None:
    """Its servers may know no other name, and theirs is nobody else's business."""
    with DnsServer(lambda asked: []) as server:
        forwarder = Forwarder([udp(server)], 0.1, token="f" * 32, domain=b"\4corp\7example\0")
        run(asked(forwarder, query("www.corp.example")))
        probes = [asked.name for asked in server.asked if asked.name != "www.corp.example"]
    assert probes
    assert all(name.endswith("." + "f" * 32 + ".corp.example") for name in probes)


def test_patience_follows_the_latency_of_a_server() -> None:
    """RFC 6298: longer than it takes, by four times how much that varies; between 0.4 and 1.5 seconds."""
    fresh = a_remote()
    assert fresh.patience == 0.8
    for _ in range(50):
        fresh.took(0.01)
    assert fresh.patience == 0.4
    for _ in range(50):
        fresh.took(0.5)
    assert 0.5 < fresh.patience < 0.7
    for _ in range(50):
        fresh.took(3.0)
    assert fresh.patience == 1.5


def test_one_that_was_outrun_counts_as_slower() -> None:
    """How slow it is stays unknown; so long it had taken, and it may be twice that. What is known to be worse stays."""
    fresh, slow = a_remote(), a_remote(latency=0.5)
    fresh.outrun(0.01)
    slow.outrun(0.01)
    assert (fresh.latency, slow.latency) == (0.02, 0.5)


def test_parallel_asks_two_and_takes_the_first_answer() -> None:
    def late(asked: Asked) -> Iterator[bytes]:
        time.sleep(0.3)
        yield reply(asked.packet, A="192.0.2.66")

    with DnsServer(late) as slow, DnsServer(right_only) as fast, DnsServer(right_only) as third:
        forwarder = Forwarder([udp(slow), udp(fast), udp(third)], strategy="parallel")

        async def main() -> None:
            for number in range(30):
                started = time.monotonic()
                await responses(forwarder, query(f"n{number}.example.com"))
                assert time.monotonic() - started < 0.3
            forwarder.close()

        run(main())
        asked_of = [len(server.asked) for server in (slow, fast, third)]
    assert sum(asked_of) == 60
    assert all(asked_of)  # each is tried now and then
    assert asked_of[0] < 30


@pytest.mark.parametrize("rcode", [SERVFAIL, REFUSED])
def test_parallel_waits_for_the_other_when_one_will_not(rcode: int) -> None:
    def late(asked: Asked) -> Iterator[bytes]:
        time.sleep(0.1)
        yield right(asked)

    with DnsServer(lambda asked: [reply(asked.packet, rcode=rcode)]) as unwilling, DnsServer(late) as server:
        (response,) = run(asked(Forwarder([udp(unwilling), udp(server)], strategy="parallel"), query()))
    assert response.rcode == NOERROR


def test_parallel_with_one_that_is_not_there_is_as_fast_as_the_other() -> None:
    with closed() as gone, nobody() as silent, DnsServer(right_only) as server:
        started = time.monotonic()
        found = run(asked(Forwarder([gone, silent, udp(server)], strategy="parallel"), query()))
        assert time.monotonic() - started < 1.2
    assert found[0].rcode == NOERROR


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_those_that_are_not_there_come_last(strategy: str) -> None:
    remotes = [a_remote(1, 0.01, up=False), a_remote(2, 0.02), a_remote(3, None), a_remote(4, 0.03, up=False)]
    for _ in range(50):
        order, up = arrange(STRATEGIES[strategy], remotes)
        assert up == 2
        assert {each.server.host[-1] for each in order[:2]} == {"2", "3"}
        assert len(set(order)) == 4


def test_orders() -> None:
    """``ordered`` as written, ``random`` all alike, ``parallel`` the fastest first and each other one beside it."""
    remotes = [a_remote(1, 0.05), a_remote(2, 0.01), a_remote(3, 0.02), a_remote(4, 0.03)]

    def firsts(strategy: str) -> list[tuple[str, ...]]:
        return [
            tuple(each.server.host[-1] for each in arrange(STRATEGIES[strategy], remotes)[0][:2]) for _ in range(400)
        ]

    assert set(firsts("ordered")) == {("1", "2")}
    assert set(firsts("parallel")) == {("2", "1"), ("2", "3"), ("2", "4")}
    assert all(60 < [pair[0] for pair in firsts("random")].count(number) < 140 for number in "1234")


def test_a_lookup_asks_no_server_more_than_three_times() -> None:
    """RFC 9520 3.1."""
    with DnsServer(silent_but_for(no_such_name)) as server:
        forwarder = Forwarder([udp(server)], 3.0)
        forwarder.remotes[0].took(0.0001)
        run(asked(forwarder, query()))
    assert len(about(server)) == 3


def test_an_answer_to_the_first_attempt_still_counts_when_it_comes_late() -> None:
    """A server that suddenly takes a second longer than before."""

    def late(asked: Asked) -> Iterator[bytes]:
        time.sleep(0.8)
        yield right(asked)

    with DnsServer(late) as server:
        forwarder = Forwarder([udp(server)], 2.0)
        for _ in range(20):
            forwarder.remotes[0].took(0.001)
        started = time.monotonic()
        (response,) = run(asked(forwarder, query()))
        assert time.monotonic() - started < 1.1
    assert response.rcode == NOERROR


def forwards_to(running: Running, *ports: int) -> Forwarder:
    """Have a resolver forward to others on these ports."""
    made: list[Forwarder] = []

    def change() -> None:
        running.upstreams.close()
        made.append(Forwarder([Server("udp", "127.0.0.1", port) for port in ports], 0.5))
        running.engine.lookup.route = made[0].route

    running.call(change)
    return made[0]


def client(port: int, name: str) -> int:
    """The rcode of an answer."""
    return dns.query.udp(dns.message.make_query(name, "A"), "127.0.0.1", port=port, timeout=5).rcode()


@pytest.mark.parametrize("length", [1, 2, 3])
def test_a_forwarding_loop_ends_by_itself_and_is_told(length: int, caplog: pytest.LogCaptureFixture) -> None:
    """To itself, there and back, and round three: each question goes round once, since what comes back is the question
    that is under way already; and the probes that follow say what it is."""
    with ExitStack() as stack, caplog.at_level(logging.ERROR):
        ring = [stack.enter_context(serving()) for _ in range(length)]
        upstreams = [forwards_to(running, ring[(at + 1) % length].port) for at, running in enumerate(ring)]
        started = time.monotonic()
        assert client(ring[0].port, "www.example.com") == SERVFAIL
        assert time.monotonic() - started < 1
        end = time.monotonic() + 5
        while not any("forwarding loop" in record.getMessage() for record in caplog.records):
            assert time.monotonic() < end
            time.sleep(0.02)
        assert max(running.engine.counters.queries for running in ring) < 40
        for running, forwarder in zip(ring, upstreams, strict=True):
            running.call(forwarder.close)


def test_a_loop_is_no_loss_when_another_server_answers() -> None:
    """One of two forwards to us: it is found out, and asked last from then on."""
    with DnsServer(right_only) as server, serving() as ours, serving() as theirs:
        back = forwards_to(theirs, ours.port)
        upstreams = forwards_to(ours, theirs.port, server.port)
        assert client(ours.port, "www.example.com") == NOERROR
        end = time.monotonic() + 5
        while upstreams.remotes[0].up:
            assert time.monotonic() < end
            time.sleep(0.02)
        started = time.monotonic()
        assert client(ours.port, "next.example.com") == NOERROR
        assert time.monotonic() - started < 0.2
        for running, forwarder in ((ours, upstreams), (theirs, back)):
            running.call(forwarder.close)
