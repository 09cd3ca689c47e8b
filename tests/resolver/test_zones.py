"""What is answered without asking anyone, as real clients get it. The upstream tells of every query that reaches it."""

from __future__ import annotations

import random
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import dns.edns
import dns.flags
import dns.message
import dns.query
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.reversename
import pytest

from sinkhole.policy.verdict import Action, Verdict
from sinkhole.resolver.answer import pack
from sinkhole.resolver.message import read_query
from sinkhole.resolver.upstream import Server
from sinkhole.resolver.zones import RESERVED_TTL, SPECIAL_USE, Local, Zones
from tests.dnsserver import DnsServer, reply
from tests.resolver.serving import BLOCK, Running, Trees, serving

RECORDS = {
    "printer.lan": ("A 192.0.2.10", "A 192.0.2.11", "AAAA 2001:db8::10"),
    "print.lan": ("CNAME printer.lan",),
    "twice.lan": ("CNAME print.lan",),
    "*.round.lan": ("CNAME x.round.lan",),
    "gone.lan": ("CNAME nothing.lan",),
    "outside.lan": ("CNAME www.example.com",),
    "long-way.lan": ("CNAME outside.lan",),
    "loop.lan": ("CNAME pool.lan",),
    "pool.lan": ("CNAME loop.lan",),
    "lan": ("MX 10 mail.lan", 'TXT "a text"'),
    "_ldap._tcp.lan": ("SRV 0 5 389 printer.lan",),
    "web.lan": ("HTTPS 1 . alpn=h2 port=8443",),
    "a.b.c.lan": ("A 192.0.2.30",),
    "*.apps.lan": ("A 192.0.2.20",),
    "*.deep.apps.lan": ("CNAME printer.lan",),
    "own.apps.lan": ("A 192.0.2.21",),
    "many.lan": tuple(f"A 198.51.100.{number}" for number in range(1, 201)),
    "elsewhere.example": ("A 192.0.2.40",),
    "nas.home.arpa": ("A 10.1.2.3",),
    "blocked.example": ("A 192.0.2.50",),
    "empty.example": ("A 0.0.0.0",),
}
LOCAL = Local(tuple(RECORDS.items()), zones=("lan",), version="9 of them", server_id="resolver-1")
POLICY = Trees({"blocked.example": BLOCK, "blocked.test": BLOCK, "watched.test": Verdict(Action.OBSERVE, list="l")})


class Asker(NamedTuple):
    """Asks a resolver; ``upstream`` is what stands behind it."""

    running: Running
    upstream: DnsServer

    def __call__(self, name: str, rtype: str = "A", *, tcp: bool = False, rdclass: str = "IN") -> dns.message.Message:
        query = dns.message.make_query(name, rtype, rdclass, use_edns=0)
        send = dns.query.tcp if tcp else dns.query.udp
        return send(query, "127.0.0.1", port=self.running.port, timeout=5)


@contextmanager
def site(local: Local = LOCAL) -> Iterator[Asker]:
    """A query that reaches the upstream is answered with 203.0.113.9."""
    zones = Zones(local)
    zones.tell("0123456789abcdef")
    with (
        DnsServer(lambda asked: [reply(asked.packet, A="203.0.113.9")]) as upstream,
        serving([Server("udp", "127.0.0.1", upstream.port)], policy=POLICY, zones=zones) as running,
    ):
        yield Asker(running, upstream)


@pytest.fixture(scope="module")
def ask() -> Iterator[Asker]:
    with site() as asking:
        yield asking


def records(message: dns.message.Message) -> list[str]:
    return [
        f"{rrset.name} {rrset.ttl} {dns.rdatatype.to_text(rrset.rdtype)} {rdata}"
        for rrset in message.answer
        for rdata in sorted(rrset)
    ]


@pytest.mark.parametrize(
    ("name", "rtype", "expected"),
    [
        ("PRINTER.lan", "A", ["PRINTER.lan. 300 A 192.0.2.10", "PRINTER.lan. 300 A 192.0.2.11"]),
        ("printer.lan", "AAAA", ["printer.lan. 300 AAAA 2001:db8::10"]),
        ("print.lan", "AAAA", ["print.lan. 300 CNAME printer.lan.", "printer.lan. 300 AAAA 2001:db8::10"]),
        ("twice.lan", "CNAME", ["twice.lan. 300 CNAME print.lan."]),
        ("lan", "MX", ["lan. 300 MX 10 mail.lan."]),
        ("lan", "TXT", ['lan. 300 TXT "a text"']),
        ("_ldap._tcp.lan", "SRV", ["_ldap._tcp.lan. 300 SRV 0 5 389 printer.lan."]),
        ("web.lan", "HTTPS", ['web.lan. 300 HTTPS 1 . alpn="h2" port="8443"']),
        ("x.apps.lan", "A", ["x.apps.lan. 300 A 192.0.2.20"]),
        ("x.y.apps.lan", "A", ["x.y.apps.lan. 300 A 192.0.2.20"]),
        ("own.apps.lan", "A", ["own.apps.lan. 300 A 192.0.2.21"]),
        ("x.deep.apps.lan", "AAAA", ["x.deep.apps.lan. 300 CNAME printer.lan.", "printer.lan. 300 AAAA 2001:db8::10"]),
        ("nas.home.arpa", "A", ["nas.home.arpa. 300 A 10.1.2.3"]),
        ("empty.example", "A", ["empty.example. 300 A 0.0.0.0"]),
        ("10.2.0.192.in-addr.arpa", "PTR", ["10.2.0.192.in-addr.arpa. 300 PTR printer.lan."]),
        ("3.2.1.10.in-addr.arpa", "PTR", ["3.2.1.10.in-addr.arpa. 300 PTR nas.home.arpa."]),
        (
            "twice.lan",
            "A",
            [
                "twice.lan. 300 CNAME print.lan.",
                "print.lan. 300 CNAME printer.lan.",
                "printer.lan. 300 A 192.0.2.10",
                "printer.lan. 300 A 192.0.2.11",
            ],
        ),
        ("lan", "NS", ["lan. 300 NS lan."]),
        ("lan", "SOA", ["lan. 300 SOA lan. nobody.invalid. 1 3600 600 86400 300"]),
        ("localhost", "A", [f"localhost. {RESERVED_TTL} A 127.0.0.1"]),
        ("any.localhost", "AAAA", [f"any.localhost. {RESERVED_TTL} AAAA ::1"]),
        ("1.0.0.127.in-addr.arpa", "PTR", [f"1.0.0.127.in-addr.arpa. {RESERVED_TTL} PTR localhost."]),
        ("bundle.sinkhole", "TXT", ['bundle.sinkhole. 0 TXT "0123456789abcdef"']),
        ("printer.lan", "ANY", ['printer.lan. 3600 HINFO "RFC8482" ""']),
        ("10.in-addr.arpa", "NS", [f"10.in-addr.arpa. {RESERVED_TTL} NS 10.in-addr.arpa."]),
        ("invalid", "ANY", ['invalid. 3600 HINFO "RFC8482" ""']),
    ],
)
def test_what_a_record_says_is_answered_and_asked_of_nobody(
    ask: Asker, name: str, rtype: str, expected: list[str]
) -> None:
    before = len(ask.upstream.asked)
    message = ask(name, rtype)
    assert (message.rcode(), records(message)) == (dns.rcode.NOERROR, expected)
    assert not message.flags & (dns.flags.AA | dns.flags.AD)
    assert not message.options
    assert len(ask.upstream.asked) == before


def test_a_reverse_name_of_an_ipv6_address(ask: Asker) -> None:
    reverse = dns.reversename.from_address("2001:db8::10").to_text()
    assert records(ask(reverse, "PTR")) == [f"{reverse} 300 PTR printer.lan."]


@pytest.mark.parametrize(
    ("name", "rtype", "rcode", "zone", "ttl"),
    [
        ("printer.lan", "TXT", dns.rcode.NOERROR, "lan.", 300),  # another type
        ("x.apps.lan", "AAAA", dns.rcode.NOERROR, "lan.", 300),
        ("apps.lan", "A", dns.rcode.NOERROR, "lan.", 300),  # a pattern does not meet its own name, which exists
        ("b.c.lan", "A", dns.rcode.NOERROR, "lan.", 300),  # RFC 8020 2: something is below it
        ("nothing.lan", "A", dns.rcode.NXDOMAIN, "lan.", 300),
        ("x.printer.lan", "A", dns.rcode.NXDOMAIN, "lan.", 300),
        ("elsewhere.example", "AAAA", dns.rcode.NOERROR, "elsewhere.example.", 300),
        ("localhost", "MX", dns.rcode.NOERROR, "localhost.", RESERVED_TTL),
        ("2.1.10.in-addr.arpa", "PTR", dns.rcode.NOERROR, "10.in-addr.arpa.", RESERVED_TTL),
        ("home.arpa", "A", dns.rcode.NOERROR, "home.arpa.", RESERVED_TTL),
        ("x.home.arpa", "HTTPS", dns.rcode.NXDOMAIN, "home.arpa.", RESERVED_TTL),
        ("other.sinkhole", "TXT", dns.rcode.NXDOMAIN, "sinkhole.", RESERVED_TTL),
    ],
)
def test_what_no_record_says_is_denied_with_the_soa_of_its_zone(
    ask: Asker, name: str, rtype: str, rcode: int, zone: str, ttl: int
) -> None:
    message = ask(name, rtype)
    assert (message.rcode(), message.answer) == (rcode, [])
    (soa,) = message.authority
    assert (soa.name.to_text(), soa.rdtype, soa.ttl, soa[0].minimum) == (zone, dns.rdatatype.SOA, ttl, ttl)


@pytest.mark.parametrize("zone", [zone for zone in SPECIAL_USE if zone != "localhost"])
def test_special_use_names_never_leave(ask: Asker, zone: str) -> None:
    before = len(ask.upstream.asked)
    for name in (f"x.{zone}", f"_x._y.{zone}"):
        message = ask(name)
        assert (message.rcode(), message.authority[0].name.to_text()) == (dns.rcode.NXDOMAIN, f"{zone}.")
    assert len(ask.upstream.asked) == before


@pytest.mark.parametrize("address", ["10.9.8.7", "172.16.0.1", "172.31.9.9", "192.168.1.1", "100.64.1.1", "fe80::1"])
@pytest.mark.parametrize("flip", [False, True])
def test_private_addresses_have_no_reverse_name_elsewhere(ask: Asker, address: str, flip: bool) -> None:
    name = dns.reversename.from_address(address).to_text()
    assert ask(name.upper() if flip else name, "PTR").rcode() == dns.rcode.NXDOMAIN


@pytest.mark.parametrize("address", ["172.15.0.1", "172.32.0.1", "100.63.1.1", "100.128.1.1", "2001:db9::1"])
def test_public_addresses_are_asked_for(ask: Asker, address: str) -> None:
    before = len(ask.upstream.asked)
    ask(dns.reversename.from_address(address).to_text(), "PTR")
    assert len(ask.upstream.asked) == before + 1


def test_names_beside_and_below_known_ones_are_forwarded(ask: Asker) -> None:
    for name in ("below.elsewhere.example", "notlan", "x.example.lan.example", "localhost.example", "xtest"):
        assert records(ask(name)) == [f"{name}. 300 A 203.0.113.9"]


@pytest.mark.parametrize(
    ("forward", "forwarded", "kept"),
    [
        ("10.in-addr.arpa", "1.2.3.10.in-addr.arpa", "1.168.192.in-addr.arpa"),
        ("20.10.in-addr.arpa", "1.2.20.10.in-addr.arpa", "1.2.21.10.in-addr.arpa"),
        ("172.in-addr.arpa", "1.20.172.in-addr.arpa", "1.10.in-addr.arpa"),
        ("test", "x.test", "x.invalid"),
        ("corp.local", "pc.corp.local", "pc.local"),
        ("127.in-addr.arpa", "1.0.0.127.in-addr.arpa", "x.test"),
    ],
)
def test_a_zone_may_be_forwarded_after_all(forward: str, forwarded: str, kept: str) -> None:
    with site(Local(forward=(forward,))) as ask:
        assert records(ask(forwarded)) == [f"{forwarded}. 300 A 203.0.113.9"]
        assert ask(kept).rcode() == dns.rcode.NXDOMAIN
        assert len(ask.upstream.asked) == 1


def test_an_alias_of_a_name_outside_comes_with_what_that_resolves_to(ask: Asker) -> None:
    for _ in range(2):  # from the upstream, then from the cache
        message = ask("long-way.lan")
        assert [line.partition(" ")[0] + line.rpartition(" ")[2] for line in records(message)] == [
            "long-way.lan.outside.lan.",
            "outside.lan.www.example.com.",
            "www.example.com.203.0.113.9",
        ]
    assert records(ask("outside.lan", "CNAME")) == ["outside.lan. 300 CNAME www.example.com."]


def test_an_alias_of_nothing_is_nxdomain_behind_the_alias(ask: Asker) -> None:
    message = ask("gone.lan")
    assert (message.rcode(), records(message)) == (dns.rcode.NXDOMAIN, ["gone.lan. 300 CNAME nothing.lan."])
    assert message.authority[0].name.to_text() == "lan."


def test_aliases_that_lead_round_end(ask: Asker) -> None:
    """A loop that the configuration check would refuse costs a bounded answer, and no query to anyone."""
    before = len(ask.upstream.asked)
    for name in ("loop.lan", "y.round.lan"):
        assert (ask(name).rcode(), ask(name).answer) == (dns.rcode.SERVFAIL, [])
    assert len(ask.upstream.asked) == before


def test_item_16_an_answer_that_is_too_long_is_truncated_over_udp_and_whole_over_tcp(
    ask: Asker,
) -> None:
    """200 addresses do not fit 1232 octets."""
    short = ask("many.lan")
    assert short.flags & dns.flags.TC
    assert not short.answer
    assert len(short.to_wire()) < 100
    assert len(ask("many.lan", tcp=True).answer[0]) == 200


def test_a_record_stands_above_lists_and_a_list_above_special_use(ask: Asker) -> None:
    assert records(ask("blocked.example")) == ["blocked.example. 300 A 192.0.2.50"]
    assert records(ask("x.blocked.test")) == ["x.blocked.test. 60 A 0.0.0.0"]
    observed = ask.running.engine.counters.observed
    assert ask("x.watched.test").rcode() == dns.rcode.NXDOMAIN
    assert ask.running.engine.counters.observed == observed + 1


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("version.bind", "9 of them"),
        ("VERSION.server", "9 of them"),
        ("id.server", "resolver-1"),
        ("hostname.bind", "resolver-1"),
        ("bundle.sinkhole", "0123456789abcdef"),
    ],
)
def test_item_12_chaos_names_tell_what_is_configured(ask: Asker, name: str, text: str) -> None:
    (rrset,) = ask(name, "TXT", rdclass="CH").answer
    assert (rrset.rdclass, rrset.ttl, rrset[0].to_text()) == (dns.rdataclass.CHAOS, 0, f'"{text}"')


@pytest.mark.parametrize(
    ("name", "rtype", "rdclass"),
    [
        ("version.bind", "TXT", "CH"),
        ("id.server", "TXT", "CH"),
        ("authors.bind", "TXT", "CH"),
        ("bundle.sinkhole", "A", "CH"),
        ("bundle.sinkhole", "TXT", "HS"),
        ("printer.lan", "A", "CH"),
        ("version.bind", "TXT", "ANY"),
        ("example.com", "AXFR", "IN"),
    ],
)
def test_item_12_other_classes_and_transfers_are_refused_with_the_reason(name: str, rtype: str, rdclass: str) -> None:
    """Nothing is told that is not configured; EDE 21 Not Supported."""
    with site(Local(tuple(RECORDS.items()))) as ask:
        message = ask(name, rtype, rdclass=rdclass)
        assert (message.rcode(), message.answer) == (dns.rcode.REFUSED, [])
        assert [option.code for option in message.options if isinstance(option, dns.edns.EDEOption)] == [21]


def test_dig_reads_it(ask: Asker, peer: Callable[[str], str]) -> None:
    def dig(*words: str) -> str:
        command = [peer("dig"), "@127.0.0.1", "-p", str(ask.running.port), "+tries=1", *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout

    assert dig("+short", "HTTPS", "web.lan") == '1 . alpn="h2" port=8443\n'
    assert dig("+short", "-x", "192.0.2.10") == "printer.lan.\n"
    assert dig("+short", "CH", "TXT", "bundle.sinkhole") == '"0123456789abcdef"\n'
    assert dig("+short", "print.lan") == "printer.lan.\n192.0.2.10\n192.0.2.11\n"
    assert "status: NXDOMAIN" in (said := dig("x.invalid"))
    assert "WARNING" not in said
    assert "malformed" not in said.lower()


def test_what_was_stated_is_told_apart_by_the_bundle() -> None:
    zones = Zones(Local())
    for name in ("one", "two"):
        zones.tell(name)
        with serving(zones=zones) as running:
            query = dns.message.make_query("bundle.sinkhole", "TXT")
            message = dns.query.udp(query, "127.0.0.1", port=running.port, timeout=5)
            assert message.answer[0][0].to_text() == f'"{name}"'


def judged(name: str) -> str:
    """Who answers a name, worked out from the text of the settings alone."""
    above = [name.split(".", at)[at] for at in range(1, name.count(".") + 1)]
    if name in RECORDS or any(f"*.{suffix}" in RECORDS for suffix in above):
        return "record"
    nearest = next((suffix for suffix in (name, *above) if suffix in (*SPECIAL_USE, "lan", *FREE)), None)
    return "upstream" if nearest is None or nearest in FREE else "zone"


FREE = ("corp.local", "x.lan")


def test_random_names_go_where_the_settings_say() -> None:
    rng = random.Random(11)
    labels = ["lan", "apps", "deep", "x", "printer", "c", "b", "a", "home", "own", "WWW", "round"]
    ends = ["lan", "apps.lan", "LAN", "home.arpa", "test", "corp.local", "local", "example", "x"]
    zones = Zones(LOCAL._replace(forward=FREE))
    seen = Counter[str]()
    for _ in range(5_000):
        name = ".".join([*rng.choices(labels, k=rng.randint(0, 4)), rng.choice(ends)])
        query = read_query(dns.message.make_query(name, rng.choice(["A", "MX", "ANY", "CNAME", "SOA"])).to_wire())
        assert query
        stated, reserved = zones.stated(query), zones.reserved(query)
        where = "record" if stated else "zone" if reserved else "upstream"
        assert where == judged(name.lower()), name
        seen[where] += 1
        if response := (stated and stated.response) or reserved:
            message = dns.message.from_wire(pack(query, response, tcp=True))
            assert dns.message.from_wire(message.to_wire(max_size=65_535)) == message
    assert min(seen.values()) > 100
