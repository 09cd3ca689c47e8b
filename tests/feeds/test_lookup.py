"""Feeds arrive while our own resolver is the one of the system: their hosts are asked of the upstreams directly."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from dnslib import RR, DNSRecord

from sinkhole.config import Endpoint, Server
from sinkhole.errors import FeedError
from sinkhole.feeds import lookup
from sinkhole.feeds.body import Fetched, Limits, Machine
from sinkhole.feeds.fetch import fetch
from tests.dnsserver import Asked, DnsServer, reply

OWN = [Endpoint("127.0.0.1", 53)]
BODY = b"0.0.0.0 ads.test\n" * 10


def known(asked: Asked) -> list[bytes]:
    """Knows ``feed.test`` at 127.0.0.1, through an alias."""
    question = DNSRecord.parse(asked.packet).q
    if question.qtype != 1:
        return [reply(asked.packet)]
    return [reply(asked.packet, A="127.0.0.1") if str(question.qname) == "feed.test." else reply(asked.packet, rcode=3)]


def never(host: str, port: int) -> list[str]:
    raise AssertionError(f"the system was asked for {host}")


def fails(host: str, port: int) -> list[str]:
    raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")


def at(upstream: DnsServer, protocol: str = "udp") -> list[Server]:
    return [Server(protocol, "127.0.0.1", upstream.port)]


@pytest.fixture
def resolv(tmp_path: Path) -> Callable[..., Path]:
    def write(*servers: str) -> Path:
        path = tmp_path / "resolv.conf"
        path.write_text("".join(f"nameserver {server}\n" for server in servers) + "options timeout:1\n")
        return path

    return write


@pytest.fixture
def page(serve: Callable[..., str]) -> str:
    """The URL of a list on a real server, by the name that only the upstream knows."""

    def answered(head: str) -> Iterator[bytes]:
        assert f"Host: feed.test:{url.rpartition(':')[2]}\r\n" in head
        yield b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(BODY) + BODY

    url = serve(answered)
    return url.replace("127.0.0.1", "feed.test") + "/list.txt"


@pytest.mark.parametrize("protocol", ["udp", "tcp"])
def test_item_58_a_feed_is_fetched_while_the_system_asks_nobody_but_us(
    resolv: Callable[..., Path], page: str, protocol: str
) -> None:
    with DnsServer(known) as upstream:
        resolve = lookup.resolver(at(upstream, protocol), OWN, system=never, path=resolv("127.0.0.1"))
        got = fetch(page, allow_local=True, machine=Machine(resolve))
        assert isinstance(got, Fetched)
        assert got.data == BODY
        assert {asked.transport for asked in upstream.asked} == {protocol}


def test_item_58_an_address_that_is_not_public_is_refused_whoever_said_it(
    resolv: Callable[..., Path], page: str
) -> None:
    with DnsServer(known) as upstream:
        resolve = lookup.resolver(at(upstream), OWN, system=never, path=resolv("127.0.0.1"))
        with pytest.raises(FeedError, match=r"feed\.test is at 127\.0\.0\.1: only a source marked as local"):
            fetch(page, machine=Machine(resolve))


def test_item_58_the_upstreams_are_asked_when_the_system_fails(resolv: Callable[..., Path], page: str) -> None:
    with DnsServer(known) as upstream:
        resolve = lookup.resolver(at(upstream), OWN, system=fails, path=resolv("192.0.2.53"))
        assert isinstance(fetch(page, allow_local=True, machine=Machine(resolve)), Fetched)
        assert upstream.asked


def test_the_system_comes_first_when_it_asks_others_and_last_when_it_asks_us(resolv: Callable[..., Path]) -> None:
    with DnsServer(known) as upstream:
        elsewhere = lookup.resolver(
            at(upstream), OWN, system=lambda host, port: ["192.0.2.7"], path=resolv("192.0.2.53", "127.0.0.1")
        )
        assert elsewhere("feed.test", 80) == ["192.0.2.7"]
        assert not upstream.asked
        # What no upstream knows may stand in the machine's own hosts file.
        here = lookup.resolver(at(upstream), OWN, system=lambda host, port: ["192.0.2.8"], path=resolv("127.0.0.1"))
        assert here("intranet.test", 80) == ["192.0.2.8"]
        assert here("feed.test", 80) == ["127.0.0.1"]


@pytest.mark.parametrize("host", ["localhost", "192.0.2.1", "2001:db8::1", "printer"])
def test_names_of_the_machine_itself_and_addresses_never_leave_it(resolv: Callable[..., Path], host: str) -> None:
    with DnsServer(known) as upstream:
        resolve = lookup.resolver(at(upstream), OWN, system=lambda host, port: ["::1"], path=resolv("127.0.0.1"))
        assert resolve(host, 80) == ["::1"]
        assert not upstream.asked


def test_a_listener_on_every_address_is_us_on_each_of_them(resolv: Callable[..., Path]) -> None:
    everywhere = [Endpoint("0.0.0.0", 53)]
    with DnsServer(known) as upstream:
        resolve = lookup.resolver(at(upstream), everywhere, system=never, path=resolv("127.0.0.77"))
        assert resolve("feed.test", 80) == ["127.0.0.1"]
        other = lookup.resolver(at(upstream), everywhere, system=lambda *_: ["192.0.2.7"], path=resolv("192.0.2.53"))
        assert other("feed.test", 80) == ["192.0.2.7"]


def test_without_a_resolv_conf_the_machine_asks_itself(tmp_path: Path) -> None:
    with DnsServer(known) as upstream:
        resolve = lookup.resolver(at(upstream), OWN, system=never, path=tmp_path / "none")
        assert resolve("feed.test", 80) == ["127.0.0.1"]


def test_a_server_that_is_silent_or_lies_does_not_keep_the_next_from_being_asked(
    resolv: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookup, "PATIENCE", 0.2)

    def forged(asked: Asked) -> list[bytes]:
        other = bytes([asked.packet[0] ^ 1]) + asked.packet[1:]
        return [b"\0", reply(other, A="192.0.2.66"), reply(DNSRecord.question("x.test").pack(), A="192.0.2.66")]

    with (
        DnsServer(lambda asked: []) as silent,
        DnsServer(forged) as forger,
        DnsServer(lambda asked: [reply(asked.packet, rcode=2)]) as broken,
        DnsServer(known) as honest,
    ):
        servers = [*at(silent), *at(forger), *at(broken), *at(honest)]
        began = time.monotonic()
        resolve = lookup.resolver(servers, OWN, system=never, path=resolv("127.0.0.1"))
        assert resolve("feed.test", 80) == ["127.0.0.1"]
        assert time.monotonic() - began < 3


def test_servers_that_never_answer_cost_a_bounded_time_and_a_plain_sentence(
    resolv: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookup, "PATIENCE", 0.1)
    monkeypatch.setattr(lookup, "BUDGET", 0.5)
    with DnsServer(lambda asked: []) as silent:
        resolve = lookup.resolver(at(silent) * 50, OWN, system=fails, path=resolv("127.0.0.1"))
        began = time.monotonic()
        with pytest.raises(FeedError, match=r"cannot resolve feed\.test"):
            fetch("http://feed.test/", limits=Limits(retries=0), machine=Machine(resolve))
        assert time.monotonic() - began < 2


CHAIN = [
    "feed.test CNAME a.test.",
    "a.test CNAME b.test.",
    "b.test A 192.0.2.1",
    "b.test A 192.0.2.2",
    "other.test A 192.0.2.3",
]


def test_a_long_answer_comes_over_tcp_and_a_chain_of_aliases_is_followed(resolv: Callable[..., Path]) -> None:
    def script(asked: Asked) -> list[bytes]:
        answer = DNSRecord.parse(asked.packet).reply(aa=0, ra=1)
        if asked.transport == "udp":
            answer.header.tc = 1
        else:
            answer.add_answer(*RR.fromZone("\n".join(row.replace(" ", ". 60 IN ", 1) for row in CHAIN)))
        return [bytes(answer.pack())]

    with DnsServer(script) as upstream:
        resolve = lookup.resolver(at(upstream), OWN, system=never, path=resolv("127.0.0.1"))
        assert resolve("feed.test", 80) == ["192.0.2.1", "192.0.2.2"]
