"""Which records of an upstream's answer are kept: those of the question's chain of aliases."""

from __future__ import annotations

import os
import random
import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import pairwise

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sinkhole.names import to_wire
from sinkhole.resolver.inspection import addresses
from sinkhole.resolver.lookup import stale
from sinkhole.resolver.message import MAX_ALIASES, MAX_RECORDS, SERVFAIL, BadResponse, Response, read_response
from tests.resolver.test_message import ASKED, IDENT, SOA_RECORD, answer, record

#: How many mutated answers are read; more with SINKHOLE_FUZZ=1000000 in the environment.
ROUNDS = int(os.environ.get("SINKHOLE_FUZZ", "40000"))
QNAME = "www.example.com."
SOA = "ns.example.com. host.example.com. 1 2 3 4 120"
SIGNED = "5 2 300 20300101000000 20200101000000 1 {} AAAA"


def message(*sections: Sequence[str], qtype: str = "A", rcode: int = 0, name: str = QNAME) -> bytes:
    """An answer with records as text: ``OWNER TTL TYPE DATA``, each an RRset of its own, in their order."""
    found = dns.message.make_response(dns.message.make_query(name, qtype, id=IDENT, use_edns=0))
    found.set_rcode(dns.rcode.Rcode(rcode))
    for section, lines in zip((found.answer, found.authority, found.additional), sections, strict=False):
        for line in lines:
            owner, ttl, kind, data = line.split(" ", 3)
            rdata = dns.rdata.from_text("IN", kind, data)
            section.append(dns.rrset.from_rdata(dns.name.from_text(owner), int(ttl), rdata))
    return found.to_wire(max_size=65535)


def read(packet: bytes) -> Response:
    return read_response(packet, IDENT, packet[12 : packet.index(0, 12) + 5])


def kept(packet: bytes) -> list[list[str]]:
    """What is kept, read by dnspython: the records of the three sections, names in lower case."""
    response = read(packet)
    question = packet[12 : packet.index(0, 12) + 5]
    wire = struct.pack("!6H", IDENT, 0x8180 | response.rcode, 1, *response.counts) + question + response.records
    parsed = dns.message.from_wire(wire, one_rr_per_rrset=True)
    times = [struct.unpack_from("!I", response.records, at)[0] for at in response.ttls]
    assert times == [rrset.ttl for section in parsed.sections[1:] for rrset in section]
    return [[rrset.to_text().lower().replace(" in ", " ") for rrset in section] for section in parsed.sections[1:]]


def lowered(lines: Sequence[str]) -> list[str]:
    return [line.lower() for line in lines]


A, B, C = "www.example.com.", "cdn.example.net.", "edge.example.org."
CHAIN = [f"{A} 300 CNAME {B}", f"{B} 60 CNAME {C}", f"{C} 30 A 192.0.2.1", f"{C} 30 A 192.0.2.2"]
FOREIGN = [
    "bank.example. 300 A 203.0.113.9",
    "example.com. 300 A 203.0.113.9",
    "x.www.example.com. 300 A 203.0.113.9",
    f"{C} 300 AAAA 2001:db8::9",
    f"{A} 300 A 203.0.113.9",  # beside an alias nothing stands (RFC 1034 3.6.2)
    f"{A} 300 CNAME bank.example.",
    f"{C} 300 TXT forged",
    "net. 300 NS ns.bank.example.",
    "example.com. 300 DNAME bank.example.",
    f"{C} 300 RRSIG {'MX ' + SIGNED.format('example.org.')}",
]


def test_a_clean_answer_is_relayed_as_it_came() -> None:
    packet = message(CHAIN)
    response = read(packet)
    assert response.records in packet
    assert response.names == (b"ten.elpmaxe.ndc.", b"gro.elpmaxe.egde.")
    assert (response.counts, response.ttl) == ((4, 0, 0), 30)
    assert kept(packet)[0] == lowered(CHAIN)


@pytest.mark.parametrize("foreign", FOREIGN)
@pytest.mark.parametrize("at", [1, 2, 4])
def test_item_28_what_does_not_belong_to_the_chain_is_removed(foreign: str, at: int) -> None:
    """A record for another name or of another type amid the answer: gone, and the rest is whole."""
    packet = message([*CHAIN[:at], foreign, *CHAIN[at:]])
    assert kept(packet) == [lowered(CHAIN), [], []]
    assert read(packet).names == read(message(CHAIN)).names


@pytest.mark.parametrize("foreign", ["bank.example. 300 A 203.0.113.9", "bank.example. 0 CNAME www.example.com."])
def test_item_28_a_foreign_record_in_front(foreign: str) -> None:
    assert kept(message([foreign, *CHAIN])) == [lowered(CHAIN), [], []]
    assert read(message([foreign, *CHAIN])).ttl == 30


def test_the_order_of_the_links_does_not_matter() -> None:
    """Some resolvers shuffle records; no client is helped by losing them."""
    lines = [CHAIN[2], CHAIN[1], CHAIN[0], CHAIN[3]]
    assert kept(message(lines))[0] == lowered(lines)


def test_another_class_is_another_tree() -> None:
    packet = answer([record(1, b"\1\1\1\1"), b"\xc0\x0c" + struct.pack("!HHIH", 1, 3, 9, 4) + b"\1\1\1\2"])
    assert read(packet).counts == (1, 0, 0)


def test_item_28_authority_and_additional_sections() -> None:
    """MaginotDNS, CVE-2025-40778, CVE-2021-43105: NS of other zones, glue, and records that nobody asked for."""
    packet = message(
        [],
        [
            "net. 300 NS ns.bank.example.",
            f"example.net. 300 SOA {SOA}",
            f"example.com. 900 SOA {SOA}",
            f"com. 900 SOA {SOA}",
            "example.com. 300 NS ns.example.com.",
            "www.example.com. 300 A 203.0.113.9",
            "other.example.com. 300 NS ns.bank.example.",
        ],
        ["ns.example.com. 300 A 203.0.113.9", "www.example.com. 300 A 203.0.113.9"],
    )
    expected = [f"example.com. 900 soa {SOA}", "example.com. 300 ns ns.example.com."]
    assert kept(packet) == [[], expected, []]
    assert read(packet).ttl == 120


def test_signatures_and_proofs_stay_with_what_they_are_about() -> None:
    """DO: signatures of the chain, of the DNAME that made a link, and the signed proof of a zone that holds a name."""
    links = [
        "example.com. 300 DNAME example.net.",
        f"example.com. 300 RRSIG DNAME {SIGNED.format('example.com.')}",
        f"{A} 300 CNAME www.example.net.",
        f"www.example.net. 300 RRSIG A {SIGNED.format('example.net.')}",
        "www.example.net. 300 A 192.0.2.1",
    ]
    proofs = [
        "a.example.net. 300 NSEC c.example.net. A RRSIG NSEC",
        f"a.example.net. 300 RRSIG NSEC {SIGNED.format('example.net.')}",
    ]
    foreign = [
        "a.bank.example. 300 NSEC c.bank.example. A RRSIG NSEC",
        f"a.bank.example. 300 RRSIG NSEC {SIGNED.format('bank.example.')}",
        f"b.example.net. 300 RRSIG A {SIGNED.format('example.net.')}",
        "unsigned.example.net. 300 NSEC c.example.net. A",
    ]
    assert kept(message(links, [*foreign, *proofs])) == [lowered(links), lowered(proofs), []]


def test_a_dname_that_made_no_link_goes() -> None:
    lines = ["example.com. 300 DNAME bank.example.", f"{A} 300 CNAME {B}", f"{B} 300 A 192.0.2.1"]
    assert kept(message(lines))[0] == lowered(lines[1:])


def test_asked_for_an_alias_nothing_behind_it_is_told() -> None:
    packet = message(CHAIN, qtype="CNAME")
    assert kept(packet)[0] == lowered(CHAIN[:1])
    assert read(packet).names == (b"ten.elpmaxe.ndc.",)


def test_an_alias_in_the_way_of_the_answer_makes_it_none() -> None:
    """Data beside an alias does not count: without an SOA such an answer is not remembered."""
    packet = message([f"{A} 300 A 192.0.2.1", f"{A} 300 CNAME {B}"])
    assert kept(packet)[0] == [f"{A} 300 cname {B}"]
    assert read(packet).ttl == 0


@pytest.mark.parametrize("length", [1, 2, 11, 12, 40])
def test_item_29_chains_have_an_end(length: int) -> None:
    """At most eleven aliases; more, or a circle of any length, is SERVFAIL and says why."""
    names = [QNAME, *(f"n{number}.example." for number in range(1, length + 1))]
    links = [f"{one} 300 CNAME {other}" for one, other in pairwise(names)]
    good = read(message([*links, f"{names[-1]} 300 A 192.0.2.1"]))
    assert (good.rcode, bool(good.records)) == ((0, True) if length <= MAX_ALIASES else (SERVFAIL, False))
    for back in {0, length // 2}:
        circle = read(message([*links[:-1], f"{names[-2]} 300 CNAME {names[back]}"]))
        assert (circle.rcode, circle.records, circle.ttl) == (SERVFAIL, b"", 5)
        assert circle.options.endswith(b"alias loop")


def test_targets_of_services_are_names_that_the_answer_leads_to() -> None:
    lines = [
        f"{A} 300 CNAME {B}",
        f"{B} 300 HTTPS 0 pool.example.",
        f'{B} 300 HTTPS 1 . alpn="h2"',
        f'{B} 300 HTTPS 2 Svc.Example. ipv4hint="192.0.2.1"',
    ]
    packet = message(lines, qtype="HTTPS")
    assert read(packet).names == (b"ten.elpmaxe.ndc.", b"elpmaxe.loop.", b"elpmaxe.cvs.")
    assert kept(packet)[0] == lowered(lines)
    with pytest.raises(BadResponse):
        read(message([f"{A} 300 HTTPS 1 t{number}.example." for number in range(33)], qtype="HTTPS"))


def test_a_large_answer_with_something_foreign_in_it() -> None:
    """Written without compression it may not fit: then it is no answer."""
    data = ".".join(["a" * 60] * 3)
    lines = [f"{A} 300 MX 1 m{number}.{data}." for number in range(20)]
    assert kept(message(["bank.example. 1 A 192.0.2.9", *lines], qtype="MX"))[0] == lowered(lines)
    question = to_wire("example.com") + b"\0\x0f\0\1"
    foreign = record(1, b"\1\1\1\1")
    tail = record(15, b"\0\1" + (b"\x3f" + b"a" * 63) * 3 + b"\0")
    first = 12 + len(ASKED) + len(foreign) + 14  # where the name in the tail's data stands
    many = [record(15, b"\0\2" + struct.pack("!H", 0xC000 | first)) for _ in range(900)]
    packet = answer([foreign, tail, *many], question=question)
    with pytest.raises(BadResponse, match="too large"):
        read(packet)


# The slow way, with dnspython's names: what a random answer comes to.

POOL = [QNAME, B, C, "example.com.", "com.", ".", "a.b.example.net.", "bank.example."]


def _line(owner: str, kind: str, other: str, number: int) -> str:
    data = {"A": f"192.0.2.{number}", "TXT": '"x"', "MX": f"1 {other}", "SOA": SOA}.get(kind, other)
    return f"{owner} {300 + number} {kind} {data}"


_lines = st.builds(
    _line,
    st.sampled_from(POOL),
    st.sampled_from(["A", "CNAME", "CNAME", "NS", "TXT", "MX", "SOA", "PTR"]),
    st.sampled_from(POOL),
    st.integers(1, 250),
)


def meant(answers: Sequence[str], authorities: Sequence[str], qtype: str) -> tuple[list[str], list[str]] | None:
    """The records that belong to the question; None for a chain without an end."""
    aliases: dict[str, str] = {}
    for line in answers:
        owner, _, kind, data = line.split(" ", 3)
        if kind == "CNAME":
            aliases.setdefault(owner, data)
    chain = [QNAME]
    while chain[-1] in aliases and not (qtype == "CNAME" and len(chain) == 2):
        chain.append(aliases[chain[-1]])
        if len(set(chain)) < len(chain):
            return None
    found = []
    for line in answers:
        owner, _, kind, data = line.split(" ", 3)
        link = kind == "CNAME" and owner in chain[:-1] and aliases.pop(owner, None) == data
        if link or (kind == qtype != "CNAME" and owner == chain[-1]):
            found.append(line)
    above = []
    soa = False
    for line in authorities:
        owner, _, kind, _ = line.split(" ", 3)
        covers = any(dns.name.from_text(name).is_subdomain(dns.name.from_text(owner)) for name in chain)
        if covers and (kind == "NS" or (kind == "SOA" and not soa)):
            soa = soa or kind == "SOA"
            above.append(line)
    return found, above


@settings(max_examples=400)
@given(
    st.lists(_lines, max_size=8),
    st.lists(_lines, max_size=5),
    st.lists(_lines, max_size=2),
    st.sampled_from(["A", "CNAME", "MX", "TXT"]),
)
def test_what_is_kept_is_what_the_slow_way_keeps(
    answers: list[str], authorities: list[str], extras: list[str], qtype: str
) -> None:
    packet = message(answers, authorities, extras, qtype=qtype)
    expected = meant(answers, authorities, qtype)
    if expected is None:
        assert read(packet).rcode == SERVFAIL
    else:
        assert kept(packet) == [*map(lowered, expected), []]


# Hostile octets.


def owners(packet: bytes, response: Response) -> Iterator[tuple[dns.name.Name, int, dns.name.Name | None]]:
    """(owner, type, target of an alias) of the kept answer records, read by dnspython's reader of names."""
    question = packet[12 : packet.index(0, 12) + 5]
    wire = struct.pack("!6H", IDENT, 0x8180, 1, *response.counts) + question + response.records
    at = 12 + len(question)
    for number in range(sum(response.counts)):
        owner, used = dns.name.from_wire(wire, at)
        kind, _, _, length = struct.unpack_from("!HHIH", wire, at + used)
        data = at + used + 10
        assert response.ttls[number] == data - 6 - 12 - len(question)
        if number < response.counts[0]:
            yield owner, kind, dns.name.from_wire(wire, data)[0] if kind == 5 else None
        at = data + length
    assert at == len(wire)


def seeds() -> list[bytes]:
    return [
        message(CHAIN),
        message(["bank.example. 300 A 203.0.113.9", *CHAIN], [f"example.org. 300 SOA {SOA}"]),
        message([CHAIN[0]], ["bank.example. 1 NS ns.bank.example.", f"example.net. 300 SOA {SOA}"], rcode=3),
        message(
            [f"{A} 300 CNAME {B}", f"{B} 300 HTTPS 1 pool.example. alpn=h2 ipv4hint=192.0.2.1 ipv6hint=2001:db8::1"],
            qtype="HTTPS",
        ),
        message(["bank.example. 1 A 192.0.2.9", f"{A} 300 MX 1 mx.example.com.", f"{A} 300 MX 2 {B}"], qtype="MX"),
        message(["example.com. 300 DNAME example.net.", f"{A} 300 CNAME www.example.net."]),
    ]


def test_mutated_answers_keep_nothing_outside_the_chain() -> None:
    """Figure 5: no exception but one, and no name that the question's aliases do not lead to."""
    chance = random.Random(28)
    found = seeds()
    accepted = 0
    for _ in range(ROUNDS):
        packet = bytearray(chance.choice(found))
        start = packet.index(0, 12) + 5
        for _ in range(chance.randint(1, 4)):
            at = chance.randrange(start, len(packet))
            packet[at] = chance.choice((0, 1, 5, 12, 0xC0, packet[at] ^ 1, chance.randrange(256)))
        if chance.random() < 0.2:  # one more pointer to somewhere
            packet[start : start + 2] = struct.pack("!H", 0xC000 | chance.randrange(12, len(packet)))
        if chance.random() < 0.3:
            packet[6:12] = struct.pack("!3H", *(chance.randint(0, 5) for _ in range(3)))
        try:
            response = read(bytes(packet))
        except BadResponse:
            continue
        accepted += 1
        assert all(len(one) in (4, 16) for one in addresses(response))
        assert len(stale(response).records) == len(response.records)
        chain = {dns.name.from_wire(bytes(packet), 12)[0]}
        records = list(owners(bytes(packet), response))
        for _ in records:
            chain.update(target for owner, _, target in records if target and owner in chain)
        for owner, kind, _ in records:
            assert owner in chain or kind in (39, 46), (owner, kind)
            if kind == 39:
                assert any(name.is_subdomain(owner) for name in chain)
    assert accepted > ROUNDS / 20


def dear() -> Iterator[tuple[str, bytes]]:
    """Answers that are as dear to sort out as the format allows."""
    deep = b"".join(b"\1a" for _ in range(120)) + b"\0"
    first = 12 + len(ASKED) + 12
    below = [struct.pack("!H", 0xC000 | first + 2 * (number % 110)) for number in range(MAX_RECORDS)]
    head = record(5, deep)
    yield "owners all over a deep name", answer([head, *(record(1, b"\1\1\1\1", owner=name) for name in below[1:])])
    links = [record(39, b"\1b" * 20 + b"\0", owner=name) for name in below[:900]]
    yield "DNAMEs", answer([head, *links])
    signature = b"\0\6" + bytes(16) + b"\0"
    yield "signatures", answer([head], [record(46, signature, owner=name) for name in below[:64]])
    yield "signatures of the chain", answer([record(46, b"\0\1" + bytes(16) + b"\0")] * 1000)
    yield "authorities", answer([head], [record(6, b"\0\0" + bytes(20), owner=name) for name in below[:64]])
    foreign = record(1, b"\1\1\1\1", owner=b"\1x\xc0\x0c")
    yield "to be rebuilt", answer([foreign, *([record(1, b"\1\1\1\1")] * 1000)])
    mail = [record(15, b"\0\1\3mx%x" % (number % 10) + b"\xc0\x0c") for number in range(1000)]
    yield "to be rebuilt, with names", answer([foreign, *mail], question=to_wire("example.com") + b"\0\x0f\0\1")
    labels = [record(2, b"\1b" * 8 + b"\xc0\x0c") for _ in range(MAX_RECORDS)]
    yield "labels", answer(labels)


def _processor_time(packet: bytes) -> float:
    best = 1.0
    for _ in range(5):
        started = time.process_time()
        with suppress(BadResponse):
            read(packet)
        best = min(best, time.process_time() - started)
    return best


@pytest.mark.parametrize(("what", "packet"), list(dear()))
def test_item_30_the_dearest_answers_are_bounded(what: str, packet: bytes) -> None:
    """Figure 4: 5 ms of processor time for 64 KiB and 1 ms for 1,232 octets, with room for a busy machine."""
    assert _processor_time(packet) < 0.02, what
    few = min(int.from_bytes(packet[6:8]), 60), min(int.from_bytes(packet[8:10]), 20)
    assert _processor_time(packet[:6] + struct.pack("!2H", *few) + packet[10:1232]) < 0.003, what


def test_soa_record_of_the_name_itself_counts() -> None:
    assert read(answer([], [SOA_RECORD])).ttl == 120
