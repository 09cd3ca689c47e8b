from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from dnslib import QTYPE, RR, A, DNSRecord

from sinkhole.errors import ConfigError
from sinkhole.resolver.message import NOERROR, SERVFAIL, Query, Response
from sinkhole.resolver.upstream import Done, Server, Upstreams, bootstrap
from sinkhole.resolver.upstream.bootstrap import Host, addresses
from tests.authority import Authority
from tests.dnsserver import Asked, DnsServer, reply
from tests.dohserver import DohServer, Said
from tests.resolver.upstream.asking import ADDRESS, about, query, responses, right, run, udp

HOST = "dns.example.net"


def named(asked: Asked) -> list[bytes]:
    """127.0.0.1, and no IPv6 address."""
    kind = asked.packet[asked.packet.index(0, 12) + 2]
    return [reply(asked.packet, A="127.0.0.1") if kind == 1 else reply(asked.packet)]


def test_a_host_name_is_resolved_by_the_plain_servers_and_the_certificate_is_its_own(authority: Authority) -> None:
    """Over TLS and over HTTPS: one look-up, the name of the host in the certificate and in the request."""
    issued = authority.issue(HOST)
    with (
        DnsServer(named) as plain,
        DnsServer(lambda asked: [right(asked)], tls=issued.context()) as secure,
        DohServer(lambda asked: Said(right(asked)), issued) as web,
    ):

        async def main() -> list[Response]:
            found = []
            for server in (Server("tls", HOST, secure.port), Server("https", HOST, web.port, "/q")):
                upstreams = Upstreams([server], bootstrap=[udp(plain)], ca=str(authority.file))
                for _ in range(2):
                    found += await responses(upstreams.default, query())
                upstreams.close()
            return found

        found = run(main())
        assert all(response.records.endswith(ADDRESS) for response in found)
        assert len(about(plain, HOST)) == 4  # A and AAAA, for each of the two
        assert web.got[0].headers[b"host"] == f"{HOST}:{web.port}".encode()


def test_a_certificate_for_the_address_is_not_one_for_the_host_name(authority: Authority) -> None:
    issued = authority.issue("127.0.0.1", "other.example.net")
    with DnsServer(named) as plain, DnsServer(lambda asked: [right(asked)], tls=issued.context()) as secure:

        async def main() -> list[Response]:
            server = Server("tls", HOST, secure.port)
            upstreams = Upstreams([server], bootstrap=[udp(plain)], ca=str(authority.file))
            found = await responses(upstreams.default, query())
            upstreams.close()
            return found

        assert [response.rcode for response in run(main())] == [SERVFAIL]
        assert not secure.asked


class Told:
    """A resolver that answers at once what ``answers`` holds for each type, in turn."""

    def __init__(self, **answers: Sequence[Response]) -> None:
        self.answers = {kind: list(responses) for kind, responses in answers.items()}
        self.asked: list[int] = []

    def ask(self, query: Query, done: Done) -> None:
        self.asked.append(query.qtype)
        kind = "A" if query.qtype == 1 else "AAAA"
        told = self.answers[kind]
        done(told.pop(0) if len(told) > 1 else told[0])


def answer(address: bytes, ttl: int) -> Response:
    kind = b"\0\1" if len(address) == 4 else b"\0\x1c"
    records = b"\xc0\x0c" + kind + b"\0\1" + ttl.to_bytes(4) + len(address).to_bytes(2) + address
    return Response(NOERROR, counts=(1, 0, 0), records=records, ttls=(6,), ttl=ttl)


FAILED = Response(SERVFAIL, ttl=5)
FIRST, SECOND = answer(b"\xc0\0\2\1", 300), answer(b"\xc0\0\2\2", 300)


def test_addresses_are_kept_for_their_time_and_then_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The old ones are used meanwhile; nobody waits."""
    resolver = Told(A=[FIRST, SECOND], AAAA=[Response(NOERROR)])

    async def main() -> None:
        loop = asyncio.get_running_loop()
        start = loop.time()
        now = [start]
        monkeypatch.setattr(loop, "time", lambda: now[0])
        host = Host(HOST, resolver)
        assert await host() == ["192.0.2.1"]
        now[0] = start + 299
        assert await host() == ["192.0.2.1"]
        assert len(resolver.asked) == 2
        now[0] = start + 301
        assert await host() == ["192.0.2.1"]
        for _ in range(10):
            await asyncio.sleep(0)
        assert await host() == ["192.0.2.2"]
        assert len(resolver.asked) == 4

    asyncio.run(main())


def test_the_last_good_addresses_stay_when_nobody_can_tell_and_failures_are_asked_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bootstrap, "LEAST", 0)
    monkeypatch.setattr(bootstrap, "AGAIN", 0)
    resolver = Told(A=[answer(b"\xc0\0\2\1", 0), FAILED], AAAA=[FAILED])

    async def main() -> None:
        host = Host(HOST, resolver)
        for _ in range(5):
            assert await host() == ["192.0.2.1"]
            await asyncio.sleep(0.001)
        assert len(resolver.asked) > 4

    asyncio.run(main())


def test_a_host_that_nobody_knows_is_an_error_that_is_remembered_for_a_moment() -> None:
    resolver = Told(A=[FAILED], AAAA=[FAILED])

    async def main() -> None:
        host = Host(HOST, resolver)
        for _ in range(3):
            with pytest.raises(OSError, match="no address"):
                await host()
        assert len(resolver.asked) == 2

    asyncio.run(main())


def test_addresses_of_both_families_and_no_more_than_a_few() -> None:
    many = b"".join(b"\xc0\x0c\0\1\0\1\0\0\1\x2c\0\4\xc0\0\2" + bytes((number,)) for number in range(100))
    crowd = Response(NOERROR, counts=(100, 0, 0), records=many, ttls=tuple(6 + 16 * n for n in range(100)), ttl=300)
    assert addresses(crowd, 1)[:2] == ["192.0.2.0", "192.0.2.1"]
    assert addresses(crowd, 28) == []
    assert addresses(answer(bytes(15) + b"\1", 300), 28) == ["::1"]
    resolver = Told(A=[crowd], AAAA=[answer(bytes(15) + b"\1", 300)])
    assert len(asyncio.run(Host(HOST, resolver)())) == bootstrap.MOST


def test_the_next_address_is_tried_when_one_takes_no_connection(authority: Authority) -> None:
    """The first is one where nobody listens; the one that worked is tried first from then on."""
    tls = authority.issue(HOST).context()

    def several(asked: Asked) -> list[bytes]:
        if asked.packet[asked.packet.index(0, 12) + 2] != 1:
            return [reply(asked.packet)]
        message = DNSRecord.parse(asked.packet).reply(aa=0, ra=1)
        for address in ("127.0.0.3", "127.0.0.2", "127.0.0.1"):
            message.add_answer(RR(message.q.qname, QTYPE.A, rdata=A(address), ttl=300))
        return [bytes(message.pack())]

    with DnsServer(several) as plain, DnsServer(lambda asked: [right(asked)], tls=tls) as secure:

        async def main() -> list[Response]:
            server = Server("tls", HOST, secure.port)
            upstreams = Upstreams([server], bootstrap=[udp(plain)], ca=str(authority.file))
            found = await responses(upstreams.default, query())
            assert upstreams.default.remotes[0].transport.address == "127.0.0.1"  # type: ignore[attr-defined]
            upstreams.close()
            return found

        assert [response.rcode for response in run(main())] == [NOERROR]


def test_without_anybody_to_ask_a_host_name_is_refused() -> None:
    with pytest.raises(ValueError, match=r"nobody to ask for the address of dns.example.net"):
        Upstreams([Server("tls", HOST, 853)])


def test_a_file_of_certificates_that_is_gone_is_an_error_with_its_path() -> None:
    with pytest.raises(ConfigError, match=r"/none/ca.pem: upstream.ca: No such file"):
        Upstreams([Server("tls", "127.0.0.1", 853)], ca="/none/ca.pem")
