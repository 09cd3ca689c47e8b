from __future__ import annotations

import json
import struct
import subprocess
from collections.abc import Callable
from typing import Any

import dns.edns
import dns.flags
import dns.message
import dns.name
import dns.rcode
import pytest
from dnslib import QTYPE, DNSRecord
from hypothesis import given
from hypothesis import strategies as st

from sinkhole.names import to_wire
from sinkhole.policy.structured import structured
from sinkhole.policy.verdict import Action, Verdict
from sinkhole.resolver.answer import MODES, Blocking, blocked, blocking, ede, failure, minimal_any, pack
from sinkhole.resolver.message import Query, Response, read_query, read_response
from tests.resolver.serving import serving

VERDICT = Verdict(Action.BLOCK, "xx-2025-01-01", "ai", 16, "by order xx-2025-01-01, Gemäß §1")
TEXT = "EDE 16 (Censored): by order xx-2025-01-01, Gemäß §1"


def ask(name: str = "wWw.Example.COM", qtype: str = "A", flags: int = 0, edns: dict[str, int] | None = None) -> Query:
    """A query as dnspython makes it; EDNS when any of its settings is given."""
    message = dns.message.make_query(name, qtype, id=4711)
    message.flags |= flags
    if edns:
        message.use_edns(0, edns.get("do", 0) and dns.flags.DO, edns.get("payload", 1232))
    query = read_query(message.to_wire())
    assert query
    return query


def told(wire: bytes) -> tuple[dns.message.Message, list[str]]:
    """The answer as dnspython reads it, and its EDE options as text. dnslib has to read the same records."""
    message = dns.message.from_wire(wire)
    oracle = DNSRecord.parse(wire)
    sections = ((oracle.rr, message.answer), (oracle.auth, message.authority))
    for ours, theirs in sections:
        assert [(str(rr.rname), QTYPE[rr.rtype], rr.ttl) for rr in ours] == [
            (rrset.name.to_text(), dns.rdatatype.to_text(rrset.rdtype), rrset.ttl) for rrset in theirs for _ in rrset
        ]
    return message, [option.to_text() for option in message.options]


@pytest.mark.parametrize(
    ("mode", "qtype", "rcode", "answer"),
    [
        ("null-ip", "A", "NOERROR", ["0.0.0.0"]),
        ("null-ip", "AAAA", "NOERROR", ["::"]),
        ("null-ip", "HTTPS", "NOERROR", []),
        ("null-ip", "ANY", "NOERROR", []),
        ("nxdomain", "A", "NXDOMAIN", []),
        ("nodata", "A", "NOERROR", []),
        ("refused", "A", "REFUSED", []),
        (["192.0.2.1", "2001:db8::1", "192.0.2.2"], "A", "NOERROR", ["192.0.2.1", "192.0.2.2"]),
        (["192.0.2.1", "2001:db8::1"], "AAAA", "NOERROR", ["2001:db8::1"]),
        (["192.0.2.1"], "AAAA", "NOERROR", []),
        (["192.0.2.1"], "TXT", "NOERROR", []),
    ],
)
def test_modes(mode: str | list[str], qtype: str, rcode: str, answer: list[str]) -> None:
    query = ask(qtype=qtype, edns={"payload": 1232})
    message, options = told(pack(query, blocked(query.qtype, VERDICT, blocking(mode, 30))))
    assert dns.rcode.to_text(message.rcode()) == rcode
    assert [rdata.to_text() for rrset in message.answer for rdata in rrset] == answer
    assert [rrset.ttl for rrset in message.answer] == [30] * bool(answer)
    negative = not answer and rcode != "REFUSED"
    assert [rrset.to_text() for rrset in message.authority] == negative * [
        "wWw.Example.COM. 30 IN SOA sinkhole.invalid. nobody.invalid. 1 3600 600 86400 30"
    ]
    assert options == [TEXT] + ["EDE 4 (Forged Answer)"] * (isinstance(mode, list) and bool(answer))


def test_a_verdict_may_bring_its_own_mode() -> None:
    protected = Verdict(Action.BLOCK, mode="nxdomain", ede=15)
    message, _ = told(pack(ask(), blocked(1, protected, blocking("null-ip", 7))))
    assert message.rcode() == dns.rcode.NXDOMAIN
    assert message.authority[0].ttl == 7


@pytest.mark.parametrize(("mode", "error"), [("nul-ip", KeyError), (["192.0.2"], ValueError)])
def test_modes_that_are_none(mode: str | list[str], error: type[Exception]) -> None:
    with pytest.raises(error):
        blocking(mode)


@pytest.mark.parametrize("flags", [0, dns.flags.CD, dns.flags.AD, dns.flags.CD | dns.flags.AD])
@pytest.mark.parametrize("edns", [{}, {"payload": 4096}, {"do": 1}])
def test_flags(flags: int, edns: dict[str, int]) -> None:
    query = ask(flags=flags, edns=edns)
    wire = pack(query, blocked(1, VERDICT, blocking("null-ip")))
    message, options = told(wire)
    assert message.id == 4711
    assert message.flags == dns.flags.QR | dns.flags.RA | dns.flags.RD | flags & dns.flags.CD
    assert message.question[0].to_text() == "wWw.Example.COM. IN A"
    assert (message.edns, message.payload) == ((0, 1232) if edns else (-1, 0))
    assert bool(message.ednsflags & dns.flags.DO) == bool(edns.get("do"))
    assert options == [TEXT] * bool(edns)


@pytest.mark.parametrize("asked", [(0, {}), (dns.flags.AD, {}), (0, {"do": 1})])
def test_ad_is_told_to_those_who_know_it(asked: tuple[int, dict[str, int]]) -> None:
    """RFC 6840 5.8."""
    flags, edns = asked
    message, _ = told(pack(ask(flags=flags, edns=edns), Response(0, authentic=True)))
    assert bool(message.flags & dns.flags.AD) == bool(flags or edns)


def test_item_08_nothing_of_the_query_but_its_question_comes_back() -> None:
    wire = dns.message.make_query("example.com", "A").to_wire()
    plain, trailing = read_query(wire), read_query(wire + b"trailing")
    assert plain
    assert trailing
    assert pack(plain, minimal_any()) == pack(trailing, minimal_any())


@pytest.mark.parametrize(
    ("edns", "tcp", "size", "fits"),
    [
        ({}, False, 512, True),
        ({}, False, 513, False),
        ({"payload": 512}, False, 512, True),
        ({"payload": 512}, False, 513, False),
        ({"payload": 900}, False, 900, True),
        ({"payload": 900}, False, 901, False),
        ({"payload": 4096}, False, 1232, True),
        ({"payload": 65535}, False, 1233, False),
        ({}, True, 65_535, True),
        ({}, True, 65_536, False),
        ({"payload": 512}, True, 65_535, True),
    ],
)
def test_item_16_size(edns: dict[str, int], tcp: bool, size: int, fits: bool) -> None:
    """Min(client size, 1232) over UDP, otherwise TC and no records; OPT stays."""
    query = ask(edns=edns)
    room = size - 12 - len(query.question) - (11 if edns else 0)
    record = b"\xc0\x0c" + struct.pack("!HHIH", 65_280, 1, 60, 0)
    count, rest = divmod(room, len(record))
    records = record * (count - 1) + record[:-2] + struct.pack("!H", rest) + bytes(rest)
    wire = pack(query, Response(0, counts=(count, 0, 0), records=records), tcp=tcp)
    message = dns.message.from_wire(wire)
    assert bool(message.flags & dns.flags.TC) == (not fits)
    assert bool(message.answer) == fits
    assert message.edns == (0 if edns else -1)
    assert len(wire) == size if fits else len(wire) < 60


def test_an_ede_that_does_not_fit_is_left_out_before_anything_is_truncated() -> None:
    """RFC 8914 3: the option is supplemental."""
    query = ask(name=".".join(["a" * 63] * 3 + ["a" * 61]), edns={"payload": 512})
    wire = pack(query, Response(0, options=ede(16, "x" * 240)))
    message, options = told(wire)
    assert not message.flags & dns.flags.TC
    assert not options
    assert message.edns == 0


@pytest.mark.parametrize(("rcode", "edns", "told_rcode"), [(16, {"payload": 512}, 16), (23, {}, 2), (5, {}, 5)])
def test_extended_rcodes(rcode: int, edns: dict[str, int], told_rcode: int) -> None:
    """RFC 6891 6.1.3; who has no EDNS has no code above 15."""
    assert dns.message.from_wire(pack(ask(edns=edns), Response(rcode))).rcode() == told_rcode


def test_opcodes_come_back() -> None:
    query = read_query(struct.pack("!6H", 1, 5 << 11, 1, 0, 0, 0))
    assert query
    assert pack(query, Response(query.rcode)) == struct.pack("!6H", 1, 0x8080 | 5 << 11 | 4, 0, 0, 0, 0)


def test_any_is_minimal() -> None:
    """RFC 8482 4.2."""
    message, _ = told(pack(ask(qtype="ANY"), minimal_any()))
    assert message.answer[0].to_text() == 'wWw.Example.COM. 3600 IN HINFO "RFC8482" ""'


def test_failures_say_why() -> None:
    message, options = told(pack(ask(edns={"payload": 1232}), failure(22)))
    assert message.rcode() == dns.rcode.SERVFAIL
    assert options == ["EDE 22 (No Reachable Authority)"]


def test_a_relayed_answer_is_the_upstreams_but_for_id_case_opt_and_age() -> None:
    question = dns.message.make_query("example.com", "MX", use_edns=0)
    upstream = dns.message.make_response(question)
    for text in ("example.com. 300 IN CNAME www.example.com.", "www.example.com. 300 IN MX 10 mx.example.com."):
        name, *rest = text.split(" ", 4)
        upstream.answer.append(dns.rrset.from_text(name, int(rest[0]), *rest[1:]))
    upstream.authority.append(dns.rrset.from_text("example.com.", 100, "IN", "NS", "ns.example.com."))
    wire = to_wire("example.com") + b"\0\x0f\0\1"
    response = read_response(upstream.to_wire(), question.id, wire)
    message, _ = told(pack(ask("eXample.com", "MX"), response, age=130))
    assert message.id == 4711
    assert message.edns == -1
    assert [rrset.to_text() for rrset in message.answer] == [
        "eXample.com. 170 IN CNAME www.eXample.com.",
        "www.eXample.com. 170 IN MX 10 mx.eXample.com.",
    ]
    assert message.authority[0].ttl == 0


def test_null_addresses_are_no_forgery() -> None:
    assert not blocking("null-ip").forged
    assert blocking(["192.0.2.1"]) == Blocking(0, (b"\xc0\0\2\1",), (), 60, forged=True)


STRUCTURED = VERDICT._replace(
    ede=15, structured=structured(15, VERDICT.text, 5, contact="help@example.org", organisation="Office for §1")
)
#: Both ways of asking for structured errors: the option of its own, whatever it holds, and the empty EDE 0.
SDE = dns.edns.OptionType.make(26)
WISHES: list[dns.edns.Option] = [
    dns.edns.GenericOption(SDE, b""),
    dns.edns.GenericOption(SDE, b"data"),
    dns.edns.EDEOption(dns.edns.EDECode.OTHER),
]


def wishing(*options: dns.edns.Option, name: str = "example.com", payload: int = 1232) -> Query:
    message = dns.message.make_query(name, "A", use_edns=0, payload=payload, options=list(options))
    query = read_query(message.to_wire())
    assert query
    return query


def extra_text(wire: bytes) -> list[tuple[int, str]]:
    options = dns.message.from_wire(wire).options
    return [(option.code, option.text or "") for option in options if isinstance(option, dns.edns.EDEOption)]


@pytest.mark.parametrize("wish", WISHES, ids=["SDE", "SDE with data", "EDE 0"])
def test_who_asks_for_structured_errors_gets_them_and_never_forged(wish: dns.edns.Option) -> None:
    """draft-ietf-dnsop-structured-dns-error-25, 5.2."""
    query = wishing(dns.edns.CookieOption(b"12345678", b""), wish)
    wire = pack(query, blocked(query.qtype, STRUCTURED, blocking(["192.0.2.1"]), query.structured))
    ((code, text),) = extra_text(wire)
    assert code == 15
    assert json.loads(text) == {
        "c": ["mailto:help@example.org"],
        "j": "by order xx-2025-01-01, Gemäß §1",
        "s": 5,
        "o": "Office for §1",
        "l": "en",
    }
    assert " " not in text.replace(VERDICT.text, "").replace("Office for §1", "")


@pytest.mark.parametrize(
    "options",
    [
        [],
        [dns.edns.CookieOption(b"12345678", b"")],
        [dns.edns.EDEOption(dns.edns.EDECode.BLOCKED)],
        [dns.edns.EDEOption(dns.edns.EDECode.OTHER, "text")],
    ],
)
def test_who_does_not_ask_for_them_gets_text(options: list[dns.edns.Option]) -> None:
    query = wishing(*options)
    wire = pack(query, blocked(query.qtype, STRUCTURED, blocking(["192.0.2.1"]), query.structured))
    assert extra_text(wire) == [(15, VERDICT.text), (4, "")]


def test_what_does_not_fit_loses_its_texts_then_all_then_the_option() -> None:
    """draft-ietf-dnsop-structured-dns-error-25, 5.2: "j" and "o" go first; no answer is truncated for it."""
    seen = []
    how = blocking([f"192.0.2.{number}" for number in range(1, 15)])
    for length in range(3, 250):
        query = wishing(WISHES[0], name=("a" * 49 + ".") * (length // 50) + "a" * (length % 50), payload=512)
        wire = pack(query, blocked(query.qtype, STRUCTURED, how, query.structured))
        message = dns.message.from_wire(wire)
        assert not message.flags & dns.flags.TC
        assert len(message.answer[0]) == 14
        assert len(wire) <= 512
        found = [sorted(json.loads(text)) if text else [] for _, text in extra_text(wire)]
        seen.append(found[0] if found else None)
    steps = [keys for keys, before in zip(seen, [0, *seen], strict=False) if keys != before]
    assert steps == [["c", "j", "l", "o", "s"], ["c", "s"], []]
    whole = pack(query, blocked(1, STRUCTURED, how, True), tcp=True)
    assert extra_text(whole) == [(15, STRUCTURED.structured[0])]


LABEL = st.binary(min_size=1, max_size=63)
NAMES = st.lists(LABEL, max_size=8).filter(lambda labels: sum(map(len, labels)) + len(labels) < 255)


@given(
    NAMES,
    st.sampled_from([1, 2, 5, 15, 16, 28, 64, 65, 99, 255, 65_280]),
    st.sampled_from([*MODES, ("192.0.2.1", "192.0.2.2", "2001:db8::1")]),
    st.sampled_from([None, 0, 512, 700, 1232, 4096]),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)
def test_every_answer_reads_and_rebuilds_as_the_same_message(
    labels: list[bytes], qtype: int, mode: Any, size: int | None, do: bool, wish: bool, tcp: bool
) -> None:
    """Any name, in any case and of any octets: what dnspython reads, it writes and reads again as the same."""
    rdtype = dns.rdatatype.RdataType.make(qtype)
    question = dns.message.make_query(dns.name.Name([*labels, b""]), rdtype, id=4711)
    if size is not None:
        question.use_edns(0, do and dns.flags.DO, size, options=WISHES[:wish])
    query = read_query(question.to_wire())
    assert query
    assert not query.rcode
    response = blocked(qtype, STRUCTURED, blocking(mode), query.structured) if qtype != 255 else minimal_any()
    wire = pack(query, response, tcp=tcp)
    message = dns.message.from_wire(wire)
    assert (message.id, message.question) == (4711, question.question)
    assert message.question[0].name.labels == (*labels, b"")
    assert len(wire) <= (65_535 if tcp else max(min(size, 1232), 512) if size is not None else 512)
    assert not message.flags & (dns.flags.TC | dns.flags.AD | dns.flags.AA)
    assert (message.edns, bool(message.ednsflags & dns.flags.DO)) == ((-1, False) if size is None else (0, do))
    again = dns.message.from_wire(message.to_wire(max_size=65_535))
    assert again == message
    assert [option.to_wire() for option in again.options] == [option.to_wire() for option in message.options]
    if all(label.isalnum() and label.isascii() for label in labels) and labels:
        told(wire)


@pytest.mark.parametrize(
    ("mode", "said"),
    [
        ("null-ip", "status: NOERROR"),
        ("nodata", "status: NOERROR"),
        ("nxdomain", "status: NXDOMAIN"),
        ("refused", "status: REFUSED"),
        (["192.0.2.1"], "status: NOERROR"),
    ],
)
@pytest.mark.parametrize("rtype", ["HTTPS", "SVCB"])
def test_dig_gets_no_hint_around_a_block(
    mode: str | list[str], said: str, rtype: str, peer: Callable[[str], str]
) -> None:
    """A service record would name other addresses of a blocked site (RFC 9460)."""
    with serving(mode=mode) as running:
        command = [peer("dig"), "@127.0.0.1", "-p", str(running.port), "+tries=1", "+ednsopt=26", rtype, "blocked.test"]
        found = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout
    assert said in found
    assert "ANSWER: 0" in found
    assert f"AUTHORITY: {int(mode != 'refused')}" in found
    assert "EDE: 16 (Censored): (restricted by order xx-2025-01-01)" in found
    assert "WARNING" not in found
