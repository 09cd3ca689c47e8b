"""Answers that a rule states itself, as clients get them."""

from __future__ import annotations

import struct
import time
from itertools import pairwise

import dns.edns
import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sinkhole.names import to_wire
from sinkhole.policy.structured import structured
from sinkhole.policy.verdict import Action, Verdict
from sinkhole.resolver import local
from sinkhole.resolver.answer import pack
from sinkhole.resolver.message import Query, Response, read_query, read_response
from sinkhole.resolver.upstream import Server
from tests.dnsserver import DnsServer, reply
from tests.resolver.serving import Trees, serving

VERDICT = Verdict(Action.BLOCK, list="l", ede=15, text="list l")
LONG = ".".join(["a" * 60] * 4)
RULES = {
    "drop.test": "drop",
    "tcp.test": "tcp-only",
    "data.test": 'A 192.0.2.7\nA 192.0.2.8\nTXT "two words"\nMX 10 mail.data.test.',
    "alias.test": "CNAME target.example.",
    "garden.test": "CNAME *.walled.example.",
    "refused.test": "refused",
    "null.test": "null-ip",
    "long.test": f"CNAME *.{LONG}.",
}
POLICY = Trees(
    {name: Verdict(Action.BLOCK, list="l", ede=15, text="list l", mode=mode) for name, mode in RULES.items()}
)


def ask(port: int, name: str, rtype: str = "A", tcp: bool = False, timeout: float = 2.0) -> dns.message.Message:
    query = dns.message.make_query(name, rtype, use_edns=0)
    send = dns.query.tcp if tcp else dns.query.udp
    return send(query, "127.0.0.1", port=port, timeout=timeout)


def records(message: dns.message.Message) -> list[str]:
    return sorted(
        f"{rrset.name} {dns.rdatatype.to_text(rrset.rdtype)} {rdata}" for rrset in message.answer for rdata in rrset
    )


def test_item_15_drop_answers_nothing_over_udp_and_tcp() -> None:
    with serving(policy=POLICY) as running:
        with pytest.raises(dns.exception.Timeout):
            ask(running.port, "x.drop.test", timeout=0.3)
        with pytest.raises((dns.exception.Timeout, EOFError)):
            ask(running.port, "x.drop.test", tcp=True, timeout=0.3)


def test_item_16_tcp_only_is_truncated_over_udp_and_resolved_over_tcp() -> None:
    with (
        DnsServer(lambda asked: [reply(asked.packet, A="192.0.2.99")]) as upstream,
        serving([Server("udp", "127.0.0.1", upstream.port)], policy=POLICY) as running,
    ):
        short = ask(running.port, "tcp.test")
        assert short.flags & dns.flags.TC
        assert records(short) == []
        assert records(ask(running.port, "tcp.test", tcp=True)) == ["tcp.test. A 192.0.2.99"]


def test_item_17_local_data_is_the_whole_set_of_the_type_and_nothing_of_others() -> None:
    with serving(policy=POLICY) as running:
        found = ask(running.port, "X.data.test")
        assert records(found) == ["X.data.test. A 192.0.2.7", "X.data.test. A 192.0.2.8"]
        assert [option.code for option in found.options if isinstance(option, dns.edns.EDEOption)] == [15, 4]
        assert records(ask(running.port, "data.test", "TXT")) == ['data.test. TXT "two words"']
        assert records(ask(running.port, "data.test", "MX")) == ["data.test. MX 10 mail.data.test."]
        nothing = ask(running.port, "data.test", "AAAA")
        assert (nothing.rcode(), records(nothing), len(nothing.authority)) == (dns.rcode.NOERROR, [], 1)


def test_item_18_a_local_alias_comes_with_what_its_target_resolves_to() -> None:
    with DnsServer(lambda asked: [reply(asked.packet, A="192.0.2.99")]) as upstream:
        with serving([Server("udp", "127.0.0.1", upstream.port)], policy=POLICY) as running:
            for _ in range(2):  # from the upstream, then from the cache
                assert records(ask(running.port, "alias.test")) == [
                    "alias.test. CNAME target.example.",
                    "target.example. A 192.0.2.99",
                ]
            assert records(ask(running.port, "alias.test", "CNAME")) == ["alias.test. CNAME target.example."]
            assert records(ask(running.port, "www.garden.test")) == [
                "www.garden.test. CNAME www.garden.test.walled.example.",
                "www.garden.test.walled.example. A 192.0.2.99",
            ]
        assert len(upstream.asked) == 2


def test_item_19_an_alias_over_255_octets_is_yxdomain() -> None:
    with serving(policy=POLICY) as running:
        assert ask(running.port, "www.long.test").rcode() == dns.rcode.YXDOMAIN


def test_modes_of_a_rule_stand_above_the_configured_one() -> None:
    with serving(policy=POLICY, mode="nxdomain") as running:
        assert ask(running.port, "refused.test").rcode() == dns.rcode.REFUSED
        assert records(ask(running.port, "null.test")) == ["null.test. A 0.0.0.0"]


def test_an_upstream_that_is_down_leaves_the_alias_with_a_failure() -> None:
    with serving([Server("udp", "127.0.0.1", 1)], policy=POLICY, timeout=0.3) as running:
        assert ask(running.port, "alias.test").rcode() == dns.rcode.SERVFAIL


def octets(name: dns.name.Name) -> bytes:
    return b"".join(bytes((len(label),)) + label for label in name.labels)


LABELS = st.lists(st.sampled_from([b"a", b"www", b"Example", b"x" * 18, b"\0."]), min_size=1, max_size=6)


def answered(target: dns.name.Name, data: st.DataObject) -> tuple[str, list[dns.rrset.RRset], list[dns.rrset.RRset]]:
    """(type, answer, authority) of an upstream that answers through aliases, with names that share endings with each
    other and with the question."""
    names = [target, *(dns.name.Name(data.draw(LABELS)).concatenate(target.parent()) for _ in range(3))]
    chain = list(dict.fromkeys(names))[: data.draw(st.integers(1, 4))]
    other = data.draw(st.sampled_from(names))
    kind, text = data.draw(
        st.sampled_from(
            [
                ("A", "192.0.2.{}"),
                ("MX", f"{{}} {other}"),
                ("SRV", f"{{}} 0 53 {other}"),
                ("TXT", '"\\192\\012 looks like a pointer {}"'),
                ("SOA", f"{target} {other} {{}} 1 1 1 1"),
                ("HTTPS", f"{{}} {other} alpn=h2"),
            ]
        )
    )
    lines = [(owner, "CNAME", str(alias)) for owner, alias in pairwise(chain)]
    lines += [(chain[-1], kind, text.replace("{}", str(number + 1))) for number in range(data.draw(st.integers(0, 3)))]
    zone = data.draw(st.sampled_from([chain[0].parent(), chain[-1].parent(), dns.name.root]))
    above = [(zone, "NS", str(other)), (zone, "SOA", f"{other} {zone} 1 1 1 1 1")][: data.draw(st.integers(0, 2))]
    answer, authority = (
        [dns.rrset.from_text(owner, 300 + number, "IN", *rest) for number, (owner, *rest) in enumerate(section)]
        for section in (lines, above)
    )
    return kind, answer, authority


@given(st.data(), LABELS, LABELS, st.integers(0, 50))
def test_what_stands_behind_an_alias_is_what_the_upstream_said(
    data: st.DataObject, asked: list[bytes], aimed: list[bytes], age: int
) -> None:
    """Compressed as dnspython does it, the records come out the same, with the alias in front and their TTLs aged."""
    name, target = dns.name.Name([*asked, b""]), dns.name.Name([b"t", *aimed, b""])
    kind, answer, authority = answered(target, data)
    upstream = dns.message.make_response(dns.message.make_query(target, kind, id=1))
    upstream.answer, upstream.authority = answer, authority
    query = read_query(dns.message.make_query(name, kind, use_edns=0).to_wire())
    assert query
    wanted = local.asked(query, octets(target))
    wire = upstream.to_wire(max_size=65_535)
    response = read_response(wire, 1, wire[12 : 12 + len(wanted.question)])
    way = local.way(wanted.name, query, VERDICT, 60)

    found = dns.message.from_wire(
        pack(query, local.behind(query, way, wanted, response, age), tcp=True), one_rr_per_rrset=True
    )

    expected = dns.message.from_wire(wire, one_rr_per_rrset=True)
    for rrset in [*expected.answer, *expected.authority]:
        rrset.ttl -= age
    assert found.answer[0].to_text() == f"{name} 60 IN CNAME {target}"
    assert [rrset.to_text() for rrset in found.answer[1:]] == [rrset.to_text() for rrset in expected.answer]
    assert [rrset.to_text() for rrset in found.authority] == [rrset.to_text() for rrset in expected.authority]


def shaped(records: bytes, count: int, target: Query | None = None) -> Response:
    """An upstream's answer for ``target.example`` as it is read, or BadResponse."""
    header = struct.pack("!6H", 1, 0x8180, 1, count, 0, 0)
    question = (target or TARGET).question
    return read_response(header + question + records, 1, question)


QUERY = read_query(dns.message.make_query("alias.test", "A").to_wire()) or pytest.fail("unreadable")
TARGET = local.asked(QUERY, to_wire("target.example"))
WAY = local.way(TARGET.name, QUERY, VERDICT, 60)
ADDRESS = struct.pack("!HHIH", 1, 1, 60, 4) + bytes(4)


def test_a_pointer_into_the_type_of_the_question_is_refused() -> None:
    """It reads as a name as long as the question stays in its place."""
    alias = b"\xc0\x0c" + struct.pack("!HHIHH", 5, 1, 60, 2, 0xC000 | 12 + len(TARGET.name))
    response = shaped(alias, 1)
    with pytest.raises(ValueError, match="type or class"):
        local.behind(QUERY, WAY, TARGET, response, 0)


def test_a_pointer_that_cannot_say_its_new_place_is_refused() -> None:
    owner = 0x3FF8
    query = QUERY._replace(qtype=16, question=QUERY.question[:-4] + b"\0\x10\0\1")
    target = local.asked(query, TARGET.name)
    size = owner - 12 - len(target.question) - 12
    filler = b"\xc0\x0c" + struct.pack("!HHIH", 16, 1, 60, size) + bytes(size)
    assert owner < 0x4000 < owner + len(WAY.records)
    text = struct.pack("!HHIH", 16, 1, 60, 1) + b"\0"
    records = filler + target.name + text + struct.pack("!H", 0xC000 | owner) + text
    with pytest.raises(ValueError, match="reach"):
        local.behind(query, WAY, target, shaped(records, 3, target), 0)


def test_the_dearest_message_costs_little() -> None:
    """A thousand pointers to one name of 127 labels: dnslib takes a third of a second for these."""
    chain = b"\xc0\x0c" + struct.pack("!HHIH", 5, 1, 60, 202) + b"\1a" * 100 + b"\xc0\x0c"
    at = 12 + len(TARGET.question) + 12
    response = shaped(chain + (struct.pack("!H", 0xC000 | at) + ADDRESS) * 1000, 1001)
    took = []
    for _ in range(5):
        start = time.process_time()
        local.behind(QUERY, WAY, TARGET, response, 1)
        took.append(time.process_time() - start)
    assert min(took) < 0.02


def test_who_asks_for_structured_errors_gets_them_with_every_answer_of_a_rule() -> None:
    texts = structured(15, "list l", 6)
    rules = {
        name: Verdict(Action.BLOCK, ede=15, text="list l", mode=mode, structured=texts) for name, mode in RULES.items()
    }
    with (
        DnsServer(lambda asked: [reply(asked.packet, A="192.0.2.99")]) as upstream,
        serving([Server("udp", "127.0.0.1", upstream.port)], policy=Trees(rules)) as running,
    ):
        for name in (
            "tcp.test",
            "data.test",
            "alias.test",
            "garden.test",
            "refused.test",
            "null.test",
            "www.long.test",
        ):
            query = dns.message.make_query(
                name, "A", use_edns=0, options=[dns.edns.GenericOption(dns.edns.OptionType.make(26), b"")]
            )
            found = dns.query.udp(query, "127.0.0.1", port=running.port, timeout=2)
            told = [option for option in found.options if isinstance(option, dns.edns.EDEOption)]
            assert [(int(option.code), option.text) for option in told] == [(15, texts[0])], name
