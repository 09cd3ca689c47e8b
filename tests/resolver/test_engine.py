from __future__ import annotations

import asyncio
import logging
import random
import struct
from collections.abc import Iterator
from typing import Any

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import pytest

from sinkhole.policy.verdict import FORWARD, Action, Verdict
from sinkhole.resolver.access import PRIVATE, Access, Rules
from sinkhole.resolver.answer import blocking, pack
from sinkhole.resolver.cache import Cache
from sinkhole.resolver.engine import MAX_LINES, Engine, Policy, Private
from sinkhole.resolver.lookup import Lookup
from sinkhole.resolver.message import Query, Response
from sinkhole.resolver.upstream import Done, Forwarder
from sinkhole.resolver.zones import Local, Zones
from tests.resolver.serving import BLOCK, BLOCKED, Trees

PEER = ("192.0.2.7", 4242)


class Told(Forwarder):
    """A forwarder that answers at once with ``response``, or never when that is ``None``."""

    def __init__(self, response: Response | None) -> None:
        super().__init__([])
        self.response = response
        self.asked: list[Query] = []
        self.askers: list[Done] = []

    def ask(self, query: Query, done: Done, client: str = "") -> None:
        self.asked.append(query)
        if self.response:
            done(self.response)
        else:
            self.askers.append(done)


ADDRESS = Response(0, True, (1, 0, 0), b"\xc0\x0c\0\1\0\1\0\0\1\x2c\0\4\xc0\0\2\1", (6,), 300, b"\0\x0f\0\3\0\x0fx")


class Clock:
    def __init__(self) -> None:
        self.now = 5000.0

    def __call__(self) -> float:
        return self.now


def engine(
    policy: Policy = BLOCKED, response: Response | None = ADDRESS, mode: str = "null-ip", clock: Clock | None = None
) -> tuple[Engine, Told]:
    told = Told(response)
    clock = clock or Clock()
    return Engine(policy, Lookup(lambda name: told, Cache(), clock=clock), blocking(mode), clock), told


def wire(name: str = "example.com", qtype: str = "A", *, flags: int = 0, edns: int = -1, **options: Any) -> bytes:
    message = dns.message.make_query(name, qtype, id=options.pop("id", 4711))
    message.flags |= flags
    message.use_edns(edns, **options)
    return message.to_wire()


def handle(target: Engine, packet: bytes, tcp: bool = False) -> bytes | None:
    """The one reply, or ``None``; that it goes to its asker and that the result says so is checked."""
    replies: list[bytes] = []

    def send(reply: bytes, peer: tuple[Any, ...]) -> None:
        assert peer == PEER
        replies.append(reply)

    assert target.handle(packet, PEER, send, tcp) == bool(replies)
    assert len(replies) < 2
    return replies[0] if replies else None


def answer(target: Engine, packet: bytes, tcp: bool = False) -> dns.message.Message:
    reply = handle(target, packet, tcp)
    assert reply
    return dns.message.from_wire(reply)


@pytest.mark.parametrize("action", [Action.ALLOW, Action.WARN, Action.OBSERVE, Action.FORWARD])
def test_only_blocks_are_blocked(action: Action) -> None:
    target, told = engine(Trees({"example.com": Verdict(action)}))
    assert answer(target, wire()).answer[0][0].to_text() == "192.0.2.1"
    assert len(told.asked) == 1


def test_warnings_and_observations_resolve_and_are_counted_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    watched = {
        "warn.test": Verdict(Action.WARN, "xx-2025-01-01", "ai", text="from 1 May: order xx-2025-01-01"),
        "observe.test": Verdict(Action.OBSERVE, None, "ads"),
    }
    target, told = engine(Trees(watched))
    warned, observed = (answer(target, wire(f"a\nb.{name}", edns=0)) for name in watched)
    assert [message.answer[0][0].to_text() for message in (warned, observed)] == ["192.0.2.1"] * 2
    assert [option.to_text() for option in warned.options] == [
        "EDE 0 (Other): from 1 May: order xx-2025-01-01",
        "EDE 15 (Blocked): x",
    ]
    assert [option.to_text() for option in observed.options] == ["EDE 15 (Blocked): x"]
    assert (target.counters.warned, target.counters.observed, target.counters.blocked) == (1, 1, 0)
    assert len(told.asked) == 2
    assert [record.getMessage() for record in caplog.records] == [
        r"warn: 192.0.2.7 asked for a\010b.warn.test type 1 (directive xx-2025-01-01)",
        r"observe: 192.0.2.7 asked for a\010b.observe.test type 1 (list ads)",
    ]


def test_a_flood_of_watched_names_is_counted_and_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    clock = Clock()
    target, _ = engine(Trees({"observe.test": Verdict(Action.OBSERVE, None, "ads")}), clock=clock)
    for _ in range(1000):
        answer(target, wire("observe.test"))
    assert (target.counters.observed, len(caplog.records)) == (1000, MAX_LINES)
    clock.now += 1
    answer(target, wire("observe.test"))
    assert len(caplog.records) == MAX_LINES + 1


@pytest.mark.parametrize("edns", [-1, 0])
@pytest.mark.parametrize("flags", [0, dns.flags.CD, dns.flags.AD])
def test_a_prepared_answer_is_the_one_that_was_built(edns: int, flags: int) -> None:
    """The second packet takes the short way; a fresh engine and dnspython say what must come."""
    target, told = engine()
    for name in ("x.blocked.test", "X.bLocked.TEST", "y.blocked.test"):
        for ident in (0, 1, 65_535):
            packet = wire(name, id=ident, flags=flags, edns=edns)
            fresh, _ = engine()
            assert handle(target, packet) == handle(fresh, packet)
            message = answer(target, packet, tcp=True)
            assert (message.id, message.question[0].name.to_text()) == (ident, name + ".")
            assert message.answer[0][0].to_text() == "0.0.0.0"
    assert target.counters.blocked == target.counters.queries == 18
    assert not told.asked


def test_item_10_a_prepared_answer_is_only_for_the_same_octets() -> None:
    """Options are no reason for another answer, but nothing is prepared for them either."""
    target, _ = engine()
    assert answer(target, wire("blocked.test", edns=0)).options
    cookie = wire("blocked.test", edns=0, options=[dns.edns.CookieOption(b"12345678", b"")])
    assert [option.otype for option in answer(target, cookie).options] == [dns.edns.OptionType.EDE]
    assert not answer(target, wire("blocked.test")).options
    assert not answer(target, wire("blocked.test", "AAAA")).answer[0][0].to_text().startswith("0")
    assert handle(target, wire("blocked.test") + b"trailing") == handle(target, wire("blocked.test"))
    assert target._kept == 3


def test_structured_errors_go_to_those_who_ask_and_never_to_the_next() -> None:
    """The same name with and without the wish, in either order: what was prepared for one is not for the other."""
    verdict = BLOCK._replace(structured=('{"c":["mailto:help@example.org"]}',))
    target, _ = engine(Trees({"blocked.test": verdict}))
    wish = dns.edns.GenericOption(dns.edns.OptionType.make(26), b"")
    plain, wishing = wire("blocked.test", edns=0), wire("blocked.test", edns=0, options=[wish])
    for packet, text in ((plain, BLOCK.text), (wishing, verdict.structured[0])) * 2:
        (option,) = answer(target, packet).options
        assert isinstance(option, dns.edns.EDEOption)
        assert (option.code, option.text) == (16, text)
    assert target._kept == 1


def test_types_are_not_lowered_with_names() -> None:
    """Type 65 is the octet ``A`` and type 97 the octet ``a``."""
    target, _ = engine(mode="nodata")
    first = answer(target, wire("blocked.test", "TYPE65"))
    second = answer(target, wire("blocked.test", "TYPE97"))
    assert [message.question[0].rdtype for message in (first, second)] == [65, 97]
    assert target._kept == 2


def test_names_with_zero_octets_do_not_meet() -> None:
    target, _ = engine()
    for name in (r"a\000B.blocked.test", r"a\000b.blocked.test", r"a.\000.blocked.test"):
        for _ in range(2):
            assert answer(target, wire(name)).question[0].name == dns.name.from_text(name)


def test_item_07_one_label_is_not_two() -> None:
    target, told = engine()
    answer(target, wire(r"x\.blocked.test"))
    answer(target, wire(r"blocked\.test"))
    assert len(told.asked) == 2


def test_a_long_blocked_name_without_edns() -> None:
    """Too long for 512 octets with many addresses: TC over UDP, and not that over TCP."""
    name = ".".join(["a" * 63] * 3 + ["a" * 40, "blocked.test"])
    told = Told(None)
    target = Engine(BLOCKED, Lookup(lambda name: told, Cache()), blocking([f"192.0.2.{n}" for n in range(1, 30)]))
    for _ in range(2):
        assert answer(target, wire(name)).flags & dns.flags.TC
        assert len(answer(target, wire(name), tcp=True).answer[0]) == 29


@pytest.mark.parametrize("edns", [-1, 0])
def test_names_of_any_length_are_answered_as_without_a_form(edns: int) -> None:
    """Below a blocked name, after another one was answered: up to where there is no room for the addresses, for the
    error, and for the name itself."""
    extra = wire("blocked.test", edns=edns, payload=512)[len(wire("blocked.test")) :]
    head = wire("blocked.test", edns=edns)[:12]
    seen = set()
    for addresses in (1, 20):
        long, short = (engine(mode="null-ip")[0] for _ in range(2))
        long.blocking = short.blocking = blocking([f"192.0.2.{number}" for number in range(addresses)])
        handle(short, wire("blocked.test", edns=edns, payload=512))
        for octets in (*range(20, 300, 7), *range(225, 250)):
            labels = bytes((40,)) + b"x" * 40
            name = labels * (octets // 41) + (bytes((octets % 41 or 1,)) + b"y" * (octets % 41 or 1))
            packet = head + name + b"\x07blocked\x04test\0\0\1\0\1" + extra
            long.forget()
            replies = [handle(target, packet, tcp) for tcp in (False, True) for target in (long, short)]
            assert replies[0] == replies[1]
            assert replies[2] == replies[3]
            long.forget()
            assert handle(long, packet, True) == handle(short, packet, True)
            message = dns.message.from_wire(replies[0] or b"")
            seen.add((message.rcode(), bool(message.flags & dns.flags.TC), bool(message.options)))
    assert {(0, False, not edns), (0, True, False), (1, False, False)} <= seen
    assert ((0, False, False) in seen) or edns


def test_a_new_policy_forgets_what_the_former_decided() -> None:
    target, told = engine()
    answer(target, wire("blocked.test"))
    target.policy = Trees({})
    answer(target, wire("blocked.test"))
    assert len(told.asked) == 1


class ByClient:
    """Blocks everything for one client."""

    by_address = None

    def profile(self, client: str, token: str = "") -> int:
        return int(client == PEER[0])

    def beyond(self, profile: int, key: bytes, qtype: int) -> int:
        return profile

    def decide(self, profile: int, key: bytes, qtype: int) -> Verdict:
        return BLOCK if profile else FORWARD


def test_profiles_do_not_share_prepared_answers() -> None:
    target, told = engine(ByClient())
    replies: list[bytes] = []
    for client in ("192.0.2.7", "192.0.2.8", "192.0.2.7", "192.0.2.8"):
        target.handle(wire("shared.test"), (client, 1), lambda reply, peer: replies.append(reply))
    assert [dns.message.from_wire(reply).answer[0][0].to_text() for reply in replies] == ["0.0.0.0", "192.0.2.1"] * 2
    assert len(told.asked) == 1


def test_item_17_prepared_answers_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random names below a blocked one and beside it, in random letters, with all kinds of flags and UDP sizes."""
    monkeypatch.setattr("sinkhole.resolver.engine.MAX_PREPARED", 50)
    monkeypatch.setattr("sinkhole.resolver.engine.MAX_FORMS", 20)
    monkeypatch.setattr("sinkhole.resolver.engine.MAX_SHAPES", 2)
    target, _ = engine()
    for number in range(2000):
        name = f"{number}.{'bLocked' if number % 2 else 'blocked'}.test"
        for packet in (wire(name), wire(name, edns=0, payload=512 + number), wire(f"{number % 70}.test")):
            assert handle(target, packet)
        assert sum(map(len, target._told.values())) == target._kept <= 50
        assert len(target._shapes) <= 2
        assert sum(1 + len(form.alike) for form in target._forms.values()) <= target._forms_kept <= 20


def test_the_cache_answers_everyone_with_the_age_and_in_his_own_way() -> None:
    clock = Clock()
    target, told = engine(clock=clock)
    answer(target, wire(edns=0))
    clock.now += 100.5
    message = answer(target, wire("eXample.com", id=9))
    assert (message.id, message.answer[0].ttl, message.edns) == (9, 200, -1)
    assert message.answer[0].name.to_text() == "eXample.com."
    message = answer(target, wire(edns=0, flags=dns.flags.AD), tcp=True)
    assert [option.to_text() for option in message.options] == ["EDE 15 (Blocked): x"]
    assert message.flags & dns.flags.AD
    assert not message.flags & dns.flags.AA
    assert len(told.asked) == 1
    clock.now += 200
    answer(target, wire())
    assert len(told.asked) == 2
    assert target.counters.cached == 2


@pytest.mark.parametrize("other", [{"edns": 0, "ednsflags": dns.flags.DO}, {"flags": dns.flags.CD}, {"qtype": "AAAA"}])
def test_what_changes_an_answer_is_cached_apart(other: dict[str, Any]) -> None:
    target, told = engine()
    answer(target, wire())
    answer(target, wire(**other))
    assert len(told.asked) == 2


def test_an_answer_to_a_query_without_rd_is_not_remembered() -> None:
    target, told = engine()
    packet = bytearray(wire())
    packet[2] &= 0xFE
    for _ in range(2):
        answer(target, bytes(packet))
    assert len(told.asked) == 2


def test_item_12_any_is_minimal_and_never_forwarded() -> None:
    target, told = engine()
    message = answer(target, wire(qtype="ANY"))
    assert message.answer[0][0].to_text() == '"RFC8482" ""'
    assert not told.asked


@pytest.mark.parametrize("name", [".", "com", "_dns.resolver.arpa"])
def test_short_names(name: str) -> None:
    target, _ = engine()
    assert answer(target, wire(name)).rcode() == dns.rcode.NOERROR


class Broken:
    """A policy with a fault in either method."""

    by_address = None

    def __init__(self, method: str) -> None:
        self._method = method

    def profile(self, client: str, token: str = "") -> int:
        if self._method == "profile":
            raise RuntimeError("a fault")
        return 0

    def beyond(self, profile: int, key: bytes, qtype: int) -> int:
        return profile

    def decide(self, profile: int, key: bytes, qtype: int) -> Verdict:
        if key.startswith(b"tset.tluaf."):
            raise RecursionError("a fault")
        return FORWARD


def test_item_24_a_fault_costs_one_query_and_one_line(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    target, _ = engine(Broken("decide"), clock=clock)
    for _ in range(100):
        message = answer(target, wire(r"line\010break.fault.test", edns=0))
        assert message.rcode() == dns.rcode.SERVFAIL
    assert answer(target, wire()).rcode() == dns.rcode.NOERROR
    assert target.counters.errors == 100
    assert len(caplog.records) == 1
    assert "\n" not in caplog.records[0].getMessage()
    clock.now += 1
    answer(target, wire("fault.test"))
    assert len(caplog.records) == 2


def test_item_24_a_fault_before_the_query_is_read(caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is known of the query, so nothing is said."""
    target, _ = engine(Broken("profile"))
    assert handle(target, wire()) is None
    assert caplog.records[0].levelno == logging.ERROR


def test_item_24_a_fault_when_the_answer_comes(caplog: pytest.LogCaptureFixture) -> None:
    target, told = engine(response=None)
    replies: list[bytes] = []
    assert target.handle(wire(edns=0), PEER, lambda reply, peer: replies.append(reply))
    told.askers[0](ADDRESS._replace(counts=None))  # type: ignore[arg-type]
    assert dns.message.from_wire(replies[0]).rcode() == dns.rcode.SERVFAIL
    assert len(caplog.records) == 1


def seeds() -> Iterator[bytes]:
    for name in ("blocked.test", "www.example.com", ".", r"a\.b\000.test", "a." * 120 + "test"):
        for edns in (-1, 0):
            yield wire(name, "A", edns=edns)
    yield wire(edns=0, options=[dns.edns.ECSOption("192.0.2.0", 24), dns.edns.EDEOption(dns.edns.EDECode.BLOCKED, "x")])
    yield wire(qtype="ANY")
    for name in ("printer.test", "a.x.test", "1.10.in-addr.arpa", "localhost"):
        yield wire(name, "A", edns=0, options=[dns.edns.GenericOption(dns.edns.OptionType.make(26), b"")])
    yield dns.message.make_query("version.bind", "TXT", "CH").to_wire()
    yield struct.pack("!6H", 1, 0x0100, 1, 0, 0, 2) + b"\xc2\x8c" * 331


def test_mutated_packets() -> None:
    """20,000 packets: no fault, no reply to a response; each reply is readable and not too long."""
    rng = random.Random(3)
    originals = list(seeds())
    target, _ = engine()
    records = (("printer.test", ("A 192.0.2.1", "HTTPS 1 . alpn=h2")), ("*.x.test", ("CNAME www.example.com",)))
    target.zones = Zones(Local(records, ("test",), version="v"))
    target.zones.tell("bundle")
    for _ in range(20_000):
        packet = bytearray(rng.choice(originals))
        for _ in range(rng.randint(0, 5)):
            packet[rng.randrange(len(packet))] = rng.choice((0, 1, 0x40, 0x80, 0xC0, 0xFF, 41, rng.randrange(256)))
        if rng.random() < 0.2:
            packet += rng.randbytes(rng.randint(1, 30))
        mutated = bytes(packet[: rng.randint(0, len(packet))] if rng.random() < 0.3 else packet)
        reply = handle(target, mutated)
        if len(mutated) < 12 or mutated[2] & 0x80:
            assert reply is None
            continue
        assert reply
        assert reply[:2] == mutated[:2]
        assert reply[2] & 0x80
        assert len(reply) <= 1232
        message = dns.message.from_wire(reply)
        assert not message.question or reply[12:].startswith(mutated[12:17])
    assert target.counters.errors == 0
    assert target.counters.queries == 20_000
    assert (
        min(target.counters.blocked, target.counters.forwarded, target.counters.refused, target.counters.dropped) > 100
    )


def test_workers_import_nothing_heavy() -> None:
    """A worker is small and starts quickly: the standard library is enough for it."""
    import subprocess
    import sys

    code = "import sys, sinkhole.resolver.listener; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"pydantic", "requests", "typer", "rich", "yaml", "dns", "publicsuffixlist", "sqlite3"} & set(loaded)


def test_a_real_forwarder_without_servers_says_so() -> None:
    async def main() -> bytes | None:
        return handle(Engine(BLOCKED, Lookup(lambda name: Forwarder([]), Cache()), blocking("null-ip")), wire(edns=0))

    reply = asyncio.run(main())
    assert reply
    assert dns.message.from_wire(reply).rcode() == dns.rcode.SERVFAIL


def of(target: Engine, packet: bytes, client: str = PEER[0], tcp: bool = False) -> dns.message.Message | None:
    """The answer to a client's query."""
    replies: list[bytes] = []
    target.handle(packet, (client, 4242), lambda reply, peer: replies.append(reply), tcp)
    return dns.message.from_wire(replies[0]) if replies else None


@pytest.mark.parametrize("tcp", [False, True])
@pytest.mark.parametrize("name", ["blocked.test", "example.com"])
def test_who_may_not_ask_is_told_so_and_nothing_is_asked_for_him(name: str, tcp: bool) -> None:
    """REFUSED with EDE 18 (RFC 8914 4.19), also for what is prepared or in the cache for others."""
    target, told = engine()
    target.access = Access(Rules(allow=PRIVATE))
    for _ in range(2):
        assert of(target, wire(name, edns=0), "10.0.0.1", tcp)
        message = of(target, wire(name, edns=0), "198.51.100.1", tcp)
        assert message
        assert message.rcode() == dns.rcode.REFUSED
        assert not message.answer
        assert [(option.otype, option.to_text()) for option in message.options] == [(15, "EDE 18 (Prohibited)")]
    assert target.counters.denied == 2
    assert len(told.asked) == (name == "example.com")


def test_who_may_not_ask_hears_nothing_where_so_configured() -> None:
    """Not even what is wrong with his packet."""
    target, told = engine()
    target.access = Access(Rules(allow=PRIVATE, silent=True))
    for packet in (wire("blocked.test"), wire(), wire()[:14], wire(flags=0x1000)):
        assert of(target, packet, "198.51.100.1") is None
    assert not target.hears("198.51.100.1")
    assert target.hears("10.0.0.1")
    assert not told.asked
    assert target.counters.dropped == 4


@pytest.mark.parametrize("client", ["224.0.0.251", "255.255.255.255", "0.0.0.0", "ff02::fb", "::"])
def test_item_13_an_address_that_no_client_has_is_not_answered(client: str) -> None:
    """Multicast, broadcast, none: whoever may ask."""
    target, told = engine()
    assert of(target, wire("blocked.test"), client) is None
    assert of(target, wire(), client) is None
    assert not told.asked


def test_other_rules_hold_at_once_for_addresses_that_are_known() -> None:
    target, _ = engine()
    assert of(target, wire("blocked.test"), "198.51.100.1")
    target.access = Access(Rules(allow=PRIVATE, silent=True))
    assert of(target, wire("blocked.test"), "198.51.100.1") is None
    target.policy = Trees({})
    assert of(target, wire("blocked.test"), "198.51.100.1") is None
    target.access = Access()
    assert of(target, wire("blocked.test"), "198.51.100.1")


def test_addresses_are_remembered_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forged sources, each seen once."""
    monkeypatch.setattr("sinkhole.resolver.engine.MAX_ASKERS", 50)
    target, _ = engine()
    for number in range(500):
        assert of(target, wire("blocked.test"), f"10.0.{number // 250}.{number % 250}")
        assert len(target._askers) <= 50


def test_queries_over_the_limit_get_no_octet() -> None:
    """Prepared answers and what is malformed or not allowed count too; TCP does not, nor do other networks."""
    clock = Clock()
    target, _ = engine()
    target.access = Access(Rules(allow=("192.0.2.0/24", "10.0.0.0/8"), rate=20), clock)
    packets = [wire("blocked.test"), wire(), wire()[:13], wire(qtype="ANY")]
    for client in ("192.0.2.1", "198.51.100.1"):
        assert sum(of(target, packets[number % 4], client) is not None for number in range(100)) == 20
    assert target.counters.limited == 160
    assert of(target, wire(), "10.1.2.3")
    assert all(of(target, wire(), "192.0.2.1", tcp=True) for _ in range(100))
    clock.now += 1
    assert sum(of(target, packets[0], "192.0.2.9") is not None for _ in range(100)) == 20


def test_one_in_so_many_over_the_limit_is_sent_to_tcp() -> None:
    """No larger than the query, and nothing that would not be answered anyway."""
    target, told = engine()
    target.access = Access(Rules(rate=1, truncate=3), Clock())
    assert of(target, wire())
    asked = len(told.asked)
    for edns in (-1, 0):
        packet = wire("www.blocked.test", edns=edns)
        replies = [handle(target, packet) for _ in range(30)]
        assert [bool(reply) for reply in replies] == [False, False, True] * 10
        for reply in filter(None, replies):
            message = dns.message.from_wire(reply)
            assert (message.flags & dns.flags.TC, message.answer, message.edns) == (dns.flags.TC, [], edns)
            assert len(reply) <= len(packet)
    assert not any(handle(target, wire()[:2] + b"\x81" + wire()[3:]) for _ in range(30))
    assert len(told.asked) == asked


def subnet(client: str, bits: int = 32) -> dns.edns.ECSOption:
    return dns.edns.ECSOption(client, bits)


class Blocks(Trees):
    """Blocks ``blocked.test`` for one client only, and remembers who was asked about."""

    def __init__(self, client: str) -> None:
        super().__init__({"blocked.test": BLOCK})
        self.client = client

    def profile(self, client: str, token: str = "") -> int:
        return int(client == self.client)

    def decide(self, profile: int, key: bytes, qtype: int) -> Verdict:
        return super().decide(profile, key, qtype) if profile else FORWARD


def test_item_10_nobody_is_believed_about_his_client() -> None:
    """An ECS option from just anybody: no other policy, and it goes no further; neither does any other option."""
    target, told = engine(Blocks("10.0.0.9"))
    target.access = Access(Rules(allow=("192.0.2.0/24",)))
    for client in ("10.0.0.9", "198.51.100.1"):
        message = of(target, wire("blocked.test", edns=0, options=[subnet(client)]), "192.0.2.7")
        assert message
        assert message.answer[0][0].to_text() == "192.0.2.1"
        assert not any(option.otype == dns.edns.OptionType.ECS for option in message.options)
    assert all(query.key == told.asked[0].key for query in told.asked)


def test_a_listed_proxy_is_believed_about_its_client() -> None:
    target, _ = engine(Blocks("10.0.0.9"))
    target.access = Access(Rules(allow=("10.0.0.0/8",), rate=5, proxies=("192.0.2.53/32",)), Clock())

    def asked(*options: dns.edns.Option, name: str = "blocked.test", edns: int = 0) -> str:
        message = of(target, wire(name, edns=edns, options=options), "192.0.2.53")
        assert message
        assert not any(option.otype == dns.edns.OptionType.ECS for option in message.options)
        return message.answer[0][0].to_text() if message.answer else dns.rcode.to_text(message.rcode())

    for _ in range(10):
        assert asked(subnet("10.0.0.9")) == "0.0.0.0"
        assert asked(subnet("10.0.0.8")) == "192.0.2.1"
        assert asked(subnet("198.51.100.1")) == "REFUSED"
        assert asked(subnet("192.0.2.53")) == "192.0.2.1"
        assert asked() == asked(edns=-1) == asked(subnet("10.0.0.9", 0)) == "192.0.2.1"
    assert of(target, wire("blocked.test", edns=0, options=[subnet("224.0.0.1")]), "192.0.2.53") is None


@pytest.mark.parametrize(("length", "padded"), [(0, 468), (100, 468)])
def test_padding_is_answered_with_padding_only_where_it_hides_something(length: int, padded: int) -> None:
    """RFC 8467 4.1 over TLS; elsewhere an answer would only grow (RFC 7830 6)."""
    target, _ = engine()
    option = dns.edns.GenericOption(dns.edns.OptionType.PADDING, bytes(length))
    packets = [wire(name, edns=0, options=[option]) for name in ("blocked.test", "example.com", "version.test")]
    packets.append(wire("x.test", "TYPE251", edns=0, options=[option]))  # refused
    for packet in packets:
        sizes = {}
        for peer in (PEER, Private(*PEER, "dns.example.test")):
            replies: list[bytes] = []
            target.handle(packet, peer, lambda reply, _, replies=replies: replies.append(reply), True)  # type: ignore[misc]
            sizes[type(peer)] = len(replies[0])
            dns.message.from_wire(replies[0])
        assert sizes[Private] == padded
        assert sizes[tuple] < 200


@pytest.mark.parametrize(("size", "padded"), [(464, 468), (465, 936), (65_516, 65_520), (65_517, 65_517)])
def test_padding_stays_below_the_largest_message(size: int, padded: int) -> None:
    """Sizes without the four octets of the option's own head; 65,520 is the last multiple."""
    query = Query(1, 0, 0, b"\1x\0\0\x10\0\1", b"\1x\0", 16, 4096, padded=True)
    data = size - 12 - len(query.question) - 11 - 12
    record = b"\xc0\x0c\0\x10\0\1\0\0\0\0" + data.to_bytes(2) + bytes(data)
    assert len(pack(query, Response(0, counts=(1, 0, 0), records=record), tcp=True)) == padded
