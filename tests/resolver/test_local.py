"""Answers that a rule states itself, as clients get them."""

from __future__ import annotations

import dns.message
import dns.query
import dns.rcode
import dns.rdatatype
import pytest

from sinkhole.policy.verdict import Action, Verdict
from sinkhole.resolver.upstream import Server
from tests.dnsserver import DnsServer, reply
from tests.resolver.serving import Trees, serving

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
        assert [option.code for option in found.options if isinstance(option, dns.edns.EDEOption)] == [15]
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
