"""What an answer leads to, judged when a client gets it."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import dns.flags
import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.rdata
import dns.rrset
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sinkhole.exports.verify.asking import Question, ask
from sinkhole.exports.verify.engines import wait
from sinkhole.exports.verify.running import free_port, give, running
from sinkhole.policy.policy import Policy
from sinkhole.policy.verdict import FORWARD, Action, Verdict
from sinkhole.resolver import inspection
from sinkhole.resolver.answer import blocking, failure
from sinkhole.resolver.engine import Engine
from sinkhole.resolver.inspection import Inspection, addresses
from sinkhole.resolver.message import Response, read_query
from sinkhole.resolver.upstream import Server
from tests.bundles import opened
from tests.dnsserver import Asked, DnsServer
from tests.resolver.serving import BLOCK, BLOCKED, Trees, serving
from tests.resolver.test_chain import SOA, message, read
from tests.resolver.test_engine import PEER, answer, engine, wire
from tests.resolver.test_lookup import World

A, B, C = "www.example.com.", "cdn.example.net.", "x.blocked.test."
CLOAKED = [f"{A} 300 CNAME {B}", f"{B} 300 CNAME {C}", f"{C} 300 A 192.0.2.1"]
ANSWERS = {
    "A": read(message(CLOAKED)),
    "AAAA": read(message(CLOAKED[:2], [f"blocked.test. 300 SOA {SOA}"], qtype="AAAA")),
    "MX": read(message(CLOAKED[:2], [f"blocked.test. 300 SOA {SOA}"], qtype="MX", rcode=3)),
    "HTTPS": read(message([f"{A} 300 HTTPS 1 {C} alpn=h2"], qtype="HTTPS")),
    "CNAME": read(message([f"{A} 300 CNAME {C}"], qtype="CNAME")),
}


def asked(qtype: str = "A") -> bytes:
    return wire("www.example.com", qtype, edns=0)


@pytest.mark.parametrize("qtype", list(ANSWERS))
def test_item_32_what_leads_to_a_blocked_name_is_blocked(qtype: str) -> None:
    """CNAME cloaking, also when the target has no such data or does not exist; the target of HTTPS and SVCB."""
    target, told = engine(response=ANSWERS[qtype])
    for _ in range(2):  # from the upstream, and from the cache
        found = answer(target, asked(qtype))
        assert found.rcode() == dns.rcode.NOERROR
        assert [option.to_text() for option in found.options] == [f"EDE 16 (Censored): {BLOCK.text}"]
        records = [rdata.to_text() for rrset in found.answer for rdata in rrset]
        assert records == {"A": ["0.0.0.0"], "AAAA": ["::"]}.get(qtype, [])
        assert C not in found.to_text()
    assert len(told.asked) == 1
    assert target.counters.blocked == 2
    assert target.counters.cached == 1


@pytest.mark.parametrize("action", [Action.WARN, Action.OBSERVE, Action.FORWARD])
def test_what_does_not_block_passes(action: Action) -> None:
    target, _ = engine(Trees({"blocked.test": Verdict(action)}), ANSWERS["A"])
    assert len(answer(target, asked()).answer) == 3


@pytest.mark.parametrize("allowed", ["www.example.com", "cdn.example.net"])
def test_rpz_14_what_is_allowed_may_lead_anywhere(allowed: str) -> None:
    """The asked name, or the first of the chain that anything is said about."""
    target, _ = engine(Trees({allowed: Verdict(Action.ALLOW), "blocked.test": BLOCK}), ANSWERS["A"])
    for _ in range(2):
        assert len(answer(target, asked()).answer) == 3
    target, _ = engine(Trees({"cdn.example.net": BLOCK, "x.blocked.test": Verdict(Action.ALLOW)}), ANSWERS["A"])
    assert answer(target, asked()).answer[0][0].to_text() == "0.0.0.0"


class ForOne:
    """Blocks a tree for one client."""

    by_address = None

    def profile(self, client: str, token: str = "") -> int:
        return int(client == PEER[0])

    def beyond(self, profile: int, key: bytes, qtype: int) -> int:
        return profile

    def decide(self, profile: int, key: bytes, qtype: int) -> Verdict:
        return BLOCK if profile and key.startswith(b"tset.dekcolb.") else FORWARD


def test_one_entry_serves_those_who_may_and_those_who_may_not() -> None:
    target, told = engine(ForOne(), ANSWERS["A"])
    replies: list[bytes] = []
    for client in ("192.0.2.7", "192.0.2.8", "192.0.2.7", "192.0.2.8"):
        target.handle(asked(), (client, 1), lambda reply, peer: replies.append(reply))
    assert [len(dns.message.from_wire(reply).answer) for reply in replies] == [1, 3, 1, 3]
    assert len(told.asked) == 1


def test_the_policy_that_decided_on_the_name_judges_the_answer() -> None:
    """Profiles are numbers of one policy: they mean nothing to the next."""
    target, told = engine(Trees({}), None)
    replies: list[bytes] = []
    target.handle(asked(), PEER, lambda reply, peer: replies.append(reply))
    target.policy = BLOCKED
    told.askers[0](ANSWERS["A"])
    assert len(dns.message.from_wire(replies[0]).answer) == 3
    assert answer(target, asked()).answer[0][0].to_text() == "0.0.0.0"


def test_item_34_stale_answers_are_judged_too() -> None:
    world = World()
    target = Engine(Trees({}), world.lookup, blocking("null-ip"), lambda: world.now)
    assert handle_later(target, world, ANSWERS["A"]).answer[2][0].to_text() == "192.0.2.1"
    world.wait(400)
    found = handle_later(target, world, failure(22))
    assert [option.to_text() for option in found.options] == ["EDE 3 (Stale Answer)"]
    target.policy = BLOCKED
    assert answer(target, asked()).answer[0][0].to_text() == "0.0.0.0"


def handle_later(target: Engine, world: World, response: Response) -> dns.message.Message:
    """The reply to a query that the upstream answers when it has been asked."""
    replies: list[bytes] = []
    assert target.handle(asked(), PEER, lambda reply, peer: replies.append(reply))
    assert not replies
    world.answer(response)
    return dns.message.from_wire(replies[0])


@pytest.mark.parametrize("tcp", [False, True])
def test_rules_with_an_answer_of_their_own_give_it_for_a_chain(tcp: bool) -> None:
    def by(mode: str) -> Any:
        return engine(Trees({"blocked.test": BLOCK._replace(mode=mode)}), ANSWERS["A"])[0]

    assert answer(by("nxdomain"), asked(), tcp).rcode() == dns.rcode.NXDOMAIN
    assert answer(by("A 192.0.2.80"), asked(), tcp).answer[0].to_text() == f"{A} 60 IN A 192.0.2.80"
    found = answer(by("tcp-only"), asked(), tcp)
    assert (bool(found.flags & dns.flags.TC), len(found.answer)) == ((False, 3) if tcp else (True, 0))
    replies: list[bytes] = []
    assert by("drop").handle(asked(), PEER, lambda reply, peer: replies.append(reply), tcp)
    assert replies == ([b""] if tcp else [])


def test_rpz_20_to_what_a_rule_states_no_other_rule_applies() -> None:
    """The target of a rule's own alias is not judged, whatever it leads to."""
    target, _ = engine(
        Trees({"www.example.com": BLOCK._replace(mode=f"CNAME {C}")}), read(message([f"{C} 9 A 192.0.2.9"], name=C))
    )
    found = answer(target, asked())
    assert [rrset[0].to_text() for rrset in found.answer] == [C, "192.0.2.9"]


def test_judgements_are_remembered_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspection, "_MAX_JUDGED", 10)
    decided: list[bytes] = []

    class Asked(Trees):
        def decide(self, profile: int, key: bytes, qtype: int) -> Verdict:
            decided.append(key)
            return super().decide(profile, key, qtype)

    judge = Inspection(Asked({"blocked.test": BLOCK}))
    query = read_query(asked())
    assert query
    assert judge.verdict(0, query, ANSWERS["A"]) == BLOCK
    assert decided[-1] == b"tset.dekcolb.x."
    times = len(decided)
    assert judge.verdict(0, query, ANSWERS["A"]) == BLOCK
    assert len(decided) == times
    for number in range(100):
        judge.verdict(0, query, ANSWERS["A"]._replace(names=(b"n%d." % number,)))
        assert len(judge._judged) <= 10


def test_the_addresses_of_an_answer() -> None:
    lines = [
        f"{A} 300 HTTPS 0 pool.example.",
        f"{A} 300 HTTPS 1 . alpn=h2,h3 port=443 ipv4hint=192.0.2.1,192.0.2.2 ipv6hint=2001:db8::1,::ffff:192.0.2.3",
        f"{A} 300 HTTPS 2 {B} port=8443 ipv6hint=64:ff9b::c000:204",
    ]
    found = [str(ip_address(one)) for one in addresses(read(message(lines, qtype="HTTPS")))]
    assert found == ["192.0.2.1", "192.0.2.2", "2001:db8::1", "192.0.2.3", "192.0.2.4"]
    assert [*addresses(ANSWERS["A"])] == [bytes((192, 0, 2, 1))]
    assert [*addresses(ANSWERS["MX"])] == []
    assert [*addresses(Response(0))] == []


@given(st.binary(max_size=60))
def test_hints_of_any_octets(data: bytes) -> None:
    """They end where they are malformed, and are whole addresses."""
    record = b"\xc0\x0c\0\x41\0\1\0\0\0\1" + len(data).to_bytes(2) + data
    found = [*addresses(Response(0, counts=(1, 0, 0), records=record, ttls=(6,)))]
    assert all(len(one) in (4, 16) for one in found)
    assert sum(map(len, found)) <= 2 * len(data)


# The whole way, over sockets, with a real policy, beside BIND.

ZONE = """\
$TTL 60
@ SOA localhost. nobody.invalid. 1 3600 600 86400 60
@ NS localhost.
tracker.test CNAME .
*.tracker.test CNAME .
ok.tracker.test CNAME rpz-passthru.
nodata.test CNAME *.
free.test CNAME rpz-passthru.
24.0.113.0.203.rpz-ip CNAME .
32.7.113.0.203.rpz-ip CNAME rpz-passthru.
32.8.113.0.203.rpz-ip CNAME *.
48.zz.bad.db8.2001.rpz-ip CNAME .
"""
CONFIG = "lists: {l: {sources: [{path: ./zone.txt, format: rpz}]}}\npolicy: [{groups: [all], lists: [l]}]\n"
WORLD = {
    "plain.test": ["A 198.51.100.1"],
    "cloaked.test": ["CNAME x.tracker.test"],
    "deep.test": ["CNAME one.test"],
    "exempt.test": ["CNAME ok.tracker.test"],
    "free.test": ["CNAME bad.test"],
    "tono.test": ["CNAME nodata.test"],
    "bad.test": ["CNAME x.tracker.test"],
    "address.test": ["A 203.0.113.1"],
    "hole.test": ["A 203.0.113.7"],
    "both.test": ["A 203.0.113.7", "A 203.0.113.9"],
    "none.test": ["A 203.0.113.8"],
    "behind.test": ["CNAME address.test"],
    "beside.test": ["A 198.51.100.9", "A 203.0.113.1"],
    "six.test": ["AAAA 2001:db8:bad::1"],
    "six-plain.test": ["AAAA 2001:db8:600d::1"],
    "other.test": ["TXT hello"],
    "one.test": ["CNAME two.test"],
    "two.test": ["CNAME tracker.test"],
    "tracker.test": ["A 198.51.100.2"],
    "x.tracker.test": ["A 198.51.100.2"],
    "ok.tracker.test": ["A 198.51.100.2"],
    "nodata.test": ["A 198.51.100.2"],
}


def upstream(asked: Asked) -> Iterator[bytes]:
    query = dns.message.from_wire(asked.packet)
    found = dns.message.make_response(query)
    owner: str | None = query.question[0].name.to_text(omit_final_dot=True).lower()
    while owner:
        lines, name, owner = WORLD.get(owner, ()), dns.name.from_text(owner), None
        for kind, data in (line.split(" ", 1) for line in lines):
            if kind == "CNAME":
                owner, data = data, f"{data}."
            rdata = dns.rdata.from_text("IN", kind, data)
            if kind == "CNAME" or rdata.rdtype == query.question[0].rdtype:
                found.answer.append(dns.rrset.from_rdata(name, 60, rdata))
    yield found.to_wire()


NAMED = """\
options {{
  directory "{directory}"; pid-file none; session-keyfile none;
  listen-on port {port} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }};
  forward only; forwarders {{ 127.0.0.1 port {upstream}; }}; dnssec-validation no; qname-minimization off;
  response-policy {{ zone "rpz.invalid"; }} qname-wait-recurse no;
}};
controls {{ }};
logging {{ category default {{ null; }}; category rpz {{ null; }}; }};
zone "rpz.invalid" {{ type primary; file "{zone}"; }};
"""


def outcome(port: int, name: str, qtype: str) -> tuple[str, list[str]]:
    """(rcode, data at the end of the chain) of an answer."""
    found = dns.query.udp(dns.message.make_query(name, qtype), "127.0.0.1", port=port, timeout=5)
    data = [rdata.to_text() for rrset in found.answer if rrset.rdtype != dns.rdatatype.CNAME for rdata in rrset]
    return dns.rcode.to_text(found.rcode()), sorted(data)


def test_rpz_items_07_08_12_13_14_and_32_as_in_bind(tmp_path: Path, peer: Callable[[str], str]) -> None:
    """Chains, addresses, holes and exceptions come to the same in BIND, with the same zone and the same upstream."""
    named = peer("named")
    policy = Policy(opened(tmp_path, CONFIG, {"zone.txt": ZONE}), datetime(2025, 3, 1, tzinfo=UTC))
    with DnsServer(upstream) as server, TemporaryDirectory() as name:
        port = free_port()
        directory = Path(name)
        config, zone = directory / "named.conf", directory / "zone.txt"
        zone.write_bytes((tmp_path / "zone.txt").read_bytes())
        config.write_text(NAMED.format(directory=directory, port=port, upstream=server.port, zone=zone))
        give(directory)
        with (
            running([named, "-g", "-c", str(config)], directory) as engine,
            serving([Server("udp", "127.0.0.1", server.port)], policy=policy, mode="nxdomain") as ours,
        ):
            wait(engine, lambda: ask(port, [Question("up.test")], [0.1]) != ["drop"])
            for asked in WORLD:
                qtype = "AAAA" if asked.startswith("six") else "TXT" if asked == "other.test" else "A"
                for _ in range(2):
                    assert outcome(ours.port, asked, qtype) == outcome(port, asked, qtype), asked
            assert outcome(ours.port, "cloaked.test", "A")[0] == "NXDOMAIN"
            assert outcome(ours.port, "hole.test", "A") == ("NOERROR", ["203.0.113.7"])


def test_a_chain_that_is_dropped_leaves_no_query_open_over_tcp(tmp_path: Path) -> None:
    """No answer at all; the connection goes on, and ends when the client says so."""
    trees = Trees({"tracker.test": BLOCK._replace(mode="drop")})
    with DnsServer(upstream) as server, serving([Server("udp", "127.0.0.1", server.port)], policy=trees) as ours:
        with socket.create_connection(("127.0.0.1", ours.port), 5) as client:
            for name in ("cloaked.test", "plain.test"):
                dns.query.send_tcp(client, dns.message.make_query(name, "A", id=len(name)))
            found, _ = dns.query.receive_tcp(client)
            assert found.id == len("plain.test")
            client.shutdown(socket.SHUT_WR)
            assert client.recv(10) == b""
        with pytest.raises(dns.exception.Timeout):
            dns.query.udp(dns.message.make_query("cloaked.test", "A"), "127.0.0.1", port=ours.port, timeout=0.3)
