"""Looking names up with a clock, timers and upstreams that the test moves."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Sequence
from typing import Any

import dns.message
import dns.query
import pytest

from sinkhole.names import to_wire
from sinkhole.resolver import lookup
from sinkhole.resolver.answer import ede, failure, pack
from sinkhole.resolver.cache import Cache
from sinkhole.resolver.lookup import DEFAULT_HANDLING, PATIENCE, RECHECK, STALE_TTL, Done, Handling, Lookup
from sinkhole.resolver.message import DAY, HOUR, NOERROR, NXDOMAIN, REFUSED, SERVFAIL, Query, Response, read_query
from sinkhole.resolver.upstream import Server
from tests.dnsserver import Asked, DnsServer, reply
from tests.resolver.serving import serving
from tests.resolver.test_chain import SOA, message, read

NAME = "www.example.com"


def query(name: str = NAME, qtype: str = "A", flags: int = 0, edns: int = 0) -> Query:
    asked = dns.message.make_query(name, qtype, use_edns=edns)
    asked.flags |= flags
    found = read_query(asked.to_wire())
    assert found
    return found


def address(number: int = 1, ttl: int = 300) -> Response:
    return read(message([f"{NAME}. {ttl} A 192.0.2.{number}"]))


class Timer:
    def __init__(self, due: float, call: Callable[[], None]) -> None:
        self.due = due
        self.call = call
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class World:
    """A lookup, its upstream, which answers when it is told to, and the time."""

    def __init__(self, handling: Handling = DEFAULT_HANDLING, stale: float = DAY) -> None:
        self.now = 1000.0
        self.timers: list[Timer] = []
        self.clients: list[str] = []
        self.asked: list[tuple[Query, Callable[[Response], None]]] = []
        self.cache = Cache(stale=stale)
        self.lookup = Lookup(lambda name: self, self.cache, handling, None, lambda: self.now, self.later)

    def later(self, delay: float, call: Callable[[], None]) -> Timer:
        self.timers.append(timer := Timer(self.now + delay, call))
        return timer

    def ask(self, query: Query, done: Callable[[Response], None], client: str) -> None:
        """As an upstream."""
        self.clients.append(client)
        self.asked.append((query, done))

    def answer(self, response: Response) -> None:
        """Answer the question that has waited longest."""
        self.asked.pop(0)[1](response)

    def wait(self, seconds: float) -> None:
        self.now += seconds
        for timer in [timer for timer in self.timers if timer.due <= self.now]:
            self.timers.remove(timer)
            if not timer.cancelled:
                timer.call()

    def client(self, asked: Query | None = None) -> list[tuple[Response, int]]:
        """Ask as a client; what he hears is added to the list."""
        heard: list[tuple[Response, int]] = []
        self.lookup.ask(asked or query(), lambda response, age, outcome: heard.append((response, age)), "192.0.2.7")
        return heard

    def known(self, response: Response) -> None:
        """Have an upstream say this."""
        heard = self.client()
        self.answer(response)
        assert heard


def shown(heard: Sequence[tuple[Response, int]], asked: Query | None = None) -> tuple[str, int, list[str]]:
    """(data, TTL, errors) of the one answer that was heard, as its client sees it."""
    ((response, age),) = heard
    told = dns.message.from_wire(pack(asked or query(), response, age=age))
    (rrset,) = told.answer
    return rrset[0].to_text(), rrset.ttl, [option.to_text() for option in told.options]


def test_one_answer_serves_until_its_time() -> None:
    world = World()
    world.known(address())
    world.wait(299.9)
    assert shown(world.client()) == ("192.0.2.1", 1, [])
    assert not world.asked[1:]


@pytest.mark.parametrize(
    ("then", "seen", "count"), [(address(2), "192.0.2.2", 2), (failure(22), "192.0.2.1", 3)], ids=["answer", "failure"]
)
def test_item_34_a_slow_upstream_is_not_waited_for_when_something_stale_is_there(
    then: Response, seen: str, count: int
) -> None:
    """RFC 8767 5: after 1.8 s the client has the stale answer, and the question goes on."""
    world = World()
    world.known(address(1))
    world.wait(400)
    heard = world.client()
    world.wait(PATIENCE - 0.1)
    assert not heard
    world.wait(0.1)
    assert shown(heard) == ("192.0.2.1", STALE_TTL, ["EDE 3 (Stale Answer)"])
    assert shown(world.client()) == ("192.0.2.1", STALE_TTL, ["EDE 3 (Stale Answer)"])  # now nobody waits any more
    assert len(world.asked) == 1
    world.answer(then)
    assert len(heard) == 1
    assert shown(world.client())[0] == seen
    assert world.lookup.counters.stale == count


def test_an_upstream_that_answers_in_time_wins() -> None:
    world = World()
    world.known(address(1))
    world.wait(400)
    heard = world.client()
    world.answer(address(2))
    assert shown(heard) == ("192.0.2.2", 300, [])
    world.wait(10)
    assert len(heard) == 1
    assert world.lookup.counters.stale == 0


@pytest.mark.parametrize("bad", [failure(22), failure(23), Response(REFUSED, ttl=5), failure(23)._replace(ttl=0)])
def test_a_failure_is_answered_with_what_is_stale_and_not_repeated_at_once(bad: Response) -> None:
    """RFC 8767 5: asked again after 30 s, not before; the failure takes the place of nothing."""
    world = World()
    world.known(address())
    world.wait(400)
    heard = world.client()
    world.answer(bad)
    assert shown(heard)[0] == "192.0.2.1"
    world.wait(RECHECK - 0.1)
    assert shown(world.client()) == ("192.0.2.1", STALE_TTL, ["EDE 3 (Stale Answer)"])
    assert not world.asked
    world.wait(0.1)
    heard = world.client()
    assert not heard
    world.answer(address(2))
    assert shown(heard) == ("192.0.2.2", 300, [])


def test_a_day_later_it_is_gone() -> None:
    world = World()
    world.known(address())
    world.wait(300 + DAY)
    heard = world.client()
    world.wait(PATIENCE)
    assert not heard
    world.answer(failure(22))
    assert heard[0][0].rcode == SERVFAIL
    assert len(world.cache) == 1  # RFC 9520: the failure


def test_without_serving_stale_nothing_is_kept() -> None:
    world = World(stale=0)
    world.known(address())
    world.wait(300)
    heard = world.client()
    assert not world.timers
    world.answer(failure(22))
    assert heard[0][0].rcode == SERVFAIL


def test_failures_are_remembered_for_a_moment_and_never_stale() -> None:
    world = World()
    world.known(failure(22))
    world.wait(4.9)
    assert world.client()[0][0].rcode == SERVFAIL
    world.wait(0.1)
    assert not world.client()
    assert len(world.asked) == 1


def test_a_name_that_was_not_there_is_so_stale_too() -> None:
    world = World()
    world.known(read(message([], [f"example.com. 60 SOA {SOA}"], rcode=NXDOMAIN)))
    world.wait(100)
    heard = world.client()
    world.wait(PATIENCE)
    ((response, _),) = heard
    assert (response.rcode, response.options) == (NXDOMAIN, ede(19))


def test_what_cannot_be_validated_ends_what_was() -> None:
    """A bogus answer is not one that is missing: its former state is not given either."""
    world = World()
    world.known(address())
    world.wait(400)
    heard = world.client()
    world.answer(Response(SERVFAIL, ttl=5, options=ede(22) + ede(6, "signature")))
    assert heard[0][0].rcode == SERVFAIL
    assert world.client()[0][0].rcode == SERVFAIL


def test_item_35_an_answer_touches_its_own_name_only() -> None:
    """Crafted answers must not wipe a cache: with a TTL of zero, or a failure, other names stay."""
    world = World()
    world.known(address())
    for response in (address(9, ttl=0), failure(22)):
        other = world.client(query("other.example.com"))
        world.answer(response)
        assert other
    assert shown(world.client()) == ("192.0.2.1", 300, [])


def test_a_popular_name_is_asked_for_before_it_ends() -> None:
    world = World()
    world.known(address(1))
    world.client()
    world.wait(271)
    assert shown(world.client())[0] == "192.0.2.1"
    assert shown(world.client())[0] == "192.0.2.1"
    assert len(world.asked) == 1
    assert world.lookup.counters.prefetched == 1
    assert world.clients == ["192.0.2.7", ""]
    world.answer(address(2))
    assert shown(world.client()) == ("192.0.2.2", 300, [])


def test_a_name_that_was_asked_for_once_is_not() -> None:
    world = World()
    world.known(address(1))
    world.wait(271)
    world.client()
    assert not world.asked


def test_a_prefetch_that_fails_leaves_what_is_there() -> None:
    world = World()
    world.known(address(1))
    world.client()
    world.wait(271)
    world.client()
    world.answer(failure(22))
    assert shown(world.client()) == ("192.0.2.1", 29, [])
    assert not world.asked


@pytest.mark.parametrize(
    "handling", [Handling(prefetch=False), Handling(prefetch=True)], ids=["switched off", "without recursion"]
)
def test_no_prefetch(handling: Handling) -> None:
    world = World(handling)
    world.known(address(1))
    world.client()
    world.wait(271)
    asked = query()
    world.client(asked if not handling.prefetch else asked._replace(flags=0))
    assert not world.asked


@pytest.mark.parametrize(
    ("said", "low", "high", "seen"),
    [
        (300, 0, DAY, 300),
        (5, 60, DAY, 60),
        (0, 60, DAY, 60),
        (300, 0, 100, 100),
        ((1 << 31) - 1, 0, DAY, DAY),
        (1 << 31, 30, DAY, 30),
        (1 << 31, 0, DAY, 0),
    ],
)
def test_item_30_bounds_of_time_are_what_clients_see(said: int, low: int, high: int, seen: int) -> None:
    """TTLs of zero, of more than a day and with the top bit set."""
    world = World(Handling(low, high))
    packet = message([f"{NAME}. 1 A 192.0.2.1"])
    at = packet.index(b"\0\0\0\1\0\4\xc0")
    packet = packet[:at] + struct.pack("!I", said) + packet[at + 4 :]
    heard = world.client()
    world.answer(read(packet))
    assert shown(heard)[1] == seen
    again = world.client()
    assert bool(again) == bool(seen)


def test_item_30_a_huge_negative_minimum_holds_for_an_hour() -> None:
    world = World()
    soa = "ns.example.com. host.example.com. 1 2 3 4 4294967295"
    world.known(read(message([], [f"example.com. 90000 SOA {soa}"], rcode=NXDOMAIN)))
    world.wait(HOUR - 1)
    assert world.client()[0][0].rcode == NXDOMAIN
    world.wait(1)
    assert not world.client()


@pytest.mark.parametrize("cloaking", [True, False])
def test_names_that_are_not_judged_are_not_kept(cloaking: bool) -> None:
    world = World(Handling(cloaking=cloaking))
    heard = world.client()
    world.answer(read(message([f"{NAME}. 300 CNAME cdn.example.net.", "cdn.example.net. 300 A 192.0.2.1"])))
    assert heard[0][0].names == ((b"ten.elpmaxe.ndc.",) if cloaking else ())
    assert heard[0][0].counts == (2, 0, 0)


def test_names_go_where_their_route_leads() -> None:
    default, office = World(), World()

    def route(name: bytes) -> Any:
        return office if name.endswith(to_wire("corp.example")) else default

    routed = Lookup(route, Cache(), clock=lambda: 0.0)
    heard: list[int] = []
    done: Done = lambda response, age, outcome: heard.append(response.rcode)  # noqa: E731
    for name in ("www.example.com", "x.corp.example", "corp.example"):
        routed.ask(query(name), done)
    assert (len(default.asked), len(office.asked)) == (1, 2)


INSIDE = ["10.1.2.3", "127.0.0.1", "127.255.0.1", "192.168.1.1", "172.31.0.1", "169.254.0.1", "100.64.0.1", "0.0.0.1"]
INSIDE6 = ["::1", "fe80::1", "fd00::1", "::ffff:10.0.0.1", "64:ff9b::c0a8:101"]
OUTSIDE = ["192.0.2.1", "172.32.0.1", "100.128.0.1", "9.255.255.255", "0.0.0.0"]
OUTSIDE6 = ["2001:db8::1", "::", "::ffff:192.0.2.1", "64:ff9b::c000:201"]
CASES = [
    *((text, kind, inside) for inside, texts in ((True, INSIDE), (False, OUTSIDE)) for text in texts for kind in ["A"]),
    *((text, "AAAA", inside) for inside, texts in ((True, INSIDE6), (False, OUTSIDE6)) for text in texts),
    ("1 . ipv4hint=192.0.2.1,10.0.0.1", "HTTPS", True),
    ("1 . ipv6hint=2001:db8::1,fd00::1", "HTTPS", True),
    ("1 x.example. alpn=h2 port=443 ipv4hint=192.0.2.1 ipv6hint=2001:db8::1", "HTTPS", False),
]


@pytest.mark.parametrize(("data", "qtype", "inside"), CASES)
def test_item_31_public_names_with_internal_addresses(data: str, qtype: str, inside: bool) -> None:
    """Rebinding: no data instead, and why; 0.0.0.0 and :: lead nowhere, an upstream blocks with them."""
    packet = message([f"{NAME}. 300 CNAME evil.example.", f"evil.example. 300 {qtype} {data}"], qtype=qtype)
    for allowed, stays in ((None, True), ((), not inside), (("www.example.com",), True), (("=www.example.com",), True)):
        world = World(Handling(rebinding=allowed))
        asked = query(qtype=qtype)
        for _ in range(2):
            heard = world.client(asked)
            if world.asked:
                world.answer(read(packet))
            ((response, _),) = heard
            assert (response.counts[0] > 0) == stays
            if not stays:
                told = dns.message.from_wire(pack(asked, response))
                assert told.rcode() == NOERROR
                assert told.authority
                assert [option.to_text() for option in told.options] == [
                    "EDE 15 (Blocked): an internal address for a public name"
                ]
        assert world.lookup.counters.rebound == (not stays)


@pytest.mark.parametrize(
    ("allowed", "name", "stays"),
    [
        (["example.com"], "www.example.com", True),
        (["=example.com"], "www.example.com", False),
        (["ample.com"], "www.example.com", False),
        (["10.0.0.0/8"], "www.example.com", True),
        (["10.0.0.0/16"], "www.example.com", False),
        (["fd00::/8", "lan"], "printer.lan", True),
        (["evil.example"], "www.example.com", False),
    ],
)
def test_item_31_names_and_networks_that_may(allowed: Sequence[str], name: str, stays: bool) -> None:
    """The name that was asked for counts, and not where an alias leads: that is the attacker's choice."""
    world = World(Handling(rebinding=tuple(allowed)))
    heard = world.client(query(name))
    world.answer(read(message([f"{name}. 9 CNAME evil.example.", "evil.example. 300 A 10.9.0.1"], name=name)))
    assert bool(heard[0][0].counts[0]) == stays


def test_stale_answers_over_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the real timer: an upstream that falls silent is waited for a moment, then not at all."""
    monkeypatch.setattr(lookup, "PATIENCE", 0.2)
    answers = [True]

    def script(asked: Asked) -> list[bytes]:
        return [reply(asked.packet, ttl=1, A="192.0.2.1")] if answers else []

    with DnsServer(script, tcp=False) as server, serving([Server("udp", "127.0.0.1", server.port)]) as ours:
        ours.engine.lookup.cache.stale = 60

        def told() -> list[str]:
            found = dns.query.udp(dns.message.make_query(NAME, "A", use_edns=0), "127.0.0.1", port=ours.port, timeout=1)
            return [found.answer[0][0].to_text(), *(option.to_text() for option in found.options)]

        assert told() == ["192.0.2.1"]
        answers.clear()
        time.sleep(1.1)
        for least, most in ((0.2, 1.0), (0.0, 0.15)):
            started = time.monotonic()
            assert told() == ["192.0.2.1", "EDE 3 (Stale Answer)"]
            assert least <= time.monotonic() - started < most
        assert ours.engine.counters.stale == 2
