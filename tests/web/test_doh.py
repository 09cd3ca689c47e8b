"""DNS over HTTPS as clients and RFC 8484 have it, over HTTP/1.1 and HTTP/2."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
import threading
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dns.edns
import dns.flags
import dns.message
import dns.query
import dns.rcode
import httpx
import pytest

from sinkhole.policy.verdict import FORWARD, Verdict
from sinkhole.resolver.access import Rules
from sinkhole.resolver.engine import Peer, Private, Send
from sinkhole.resolver.listener.tls import HTTP, context
from sinkhole.resolver.message import HEADER, QR, TC
from sinkhole.resolver.upstream import Server
from sinkhole.web.doh import MESSAGE, lifetime
from tests.certificates import Pair, certificate
from tests.dnsserver import Asked, DnsServer, reply
from tests.resolver.serving import BLOCK, Trees
from tests.web.serving import Web, serving

NAME = "dns.example.test"
LOCAL = "127.0.0.1"
TYPE = {"Content-Type": MESSAGE}


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return certificate(tmp_path_factory.mktemp("tls"), NAME)


@pytest.fixture(scope="module")
def server(pair: Pair) -> ssl.SSLContext:
    return context(*pair, HTTP)


@pytest.fixture(scope="module")
def trusting(pair: Pair) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(pair.cert))


@pytest.fixture
def web(server: ssl.SSLContext) -> Iterator[Web]:
    with serving(tls=lambda: server) as web:
        yield web


@pytest.fixture(params=[True, False], ids=["HTTP/2", "HTTP/1.1"])
def client(request: pytest.FixtureRequest, web: Web, trusting: ssl.SSLContext) -> Iterator[httpx.Client]:
    """A client of ``web`` that speaks one of the versions, and nothing else."""
    with httpx.Client(
        base_url=f"https://{LOCAL}:{web.port}",
        http2=request.param,
        http1=not request.param,
        verify=trusting,
        trust_env=False,
    ) as client:
        yield client


def wire(name: str = "x.blocked.test", rtype: str = "A", ident: int = 0, **more: Any) -> bytes:
    """RFC 8484 4.1: the id is 0, for caches' sake."""
    message = dns.message.make_query(name, rtype, **more)
    message.id = ident
    return message.to_wire()


def get(client: httpx.Client, packet: bytes, path: str = "/dns-query", method: str = "GET") -> httpx.Response:
    return client.request(method, path, params={"dns": urlsafe_b64encode(packet).rstrip(b"=").decode()})


def post(client: httpx.Client, packet: bytes, path: str = "/dns-query") -> httpx.Response:
    return client.post(path, content=packet, headers=TYPE)


def addresses(said: httpx.Response) -> list[str]:
    assert (said.status_code, said.headers["Content-Type"]) == (200, MESSAGE)
    return [str(record) for rrset in dns.message.from_wire(said.content).answer for record in rrset]


@pytest.mark.parametrize("way", [get, post])
def test_a_blocked_name(client: httpx.Client, way: Callable[..., httpx.Response]) -> None:
    said = way(client, wire(use_edns=0))
    assert addresses(said) == ["0.0.0.0"]
    assert said.headers["Cache-Control"] == "private, max-age=60"
    assert said.http_version == ("HTTP/2" if said.extensions["http_version"] == b"HTTP/2" else "HTTP/1.1")
    assert "server" not in said.headers
    (error,) = dns.message.from_wire(said.content).options
    assert error.to_text() == "EDE 16 (Censored): restricted by order xx-2025-01-01"


def test_ids_and_letters_come_back_as_they_were(client: httpx.Client) -> None:
    for ident in (0, 1, 0xFFFF):
        packet = wire("X.bLocked.TEST", ident=ident)
        for said in (get(client, packet), post(client, packet)):
            assert said.content[:2] == ident.to_bytes(2)
            assert said.content[12 : len(packet)] == packet[12:]


def test_head_is_get_without_the_body(client: httpx.Client) -> None:
    whole, head = get(client, wire()), get(client, wire(), method="HEAD")
    assert (head.status_code, head.content) == (200, b"")
    kept = ("content-type", "content-length", "cache-control")
    assert [head.headers[name] for name in kept] == [whole.headers[name] for name in kept]


def test_answers_are_padded_where_the_query_is(client: httpx.Client) -> None:
    """RFC 8467 4.1: in blocks of 468 octets."""
    assert len(post(client, wire(use_edns=0, pad=128)).content) == 468
    assert len(post(client, wire(use_edns=0)).content) < 200


@pytest.mark.parametrize(
    "given",
    [
        "",
        "=",
        "AAAA",
        "AAAAA",
        "AAAA====",
        "A" * 15,  # no octets come to that
        "AAABAAABAAAAAAAA!AAA",
        "AAABAAABAAAAAAAA+AAA",
        "AAABAAABAAAAAAAA/AAA",
        "AAABAAABAAAAAAAA AAA",
        "\x00",
        "ä" * 16,
        "A" * 6000,  # 4500 octets
        urlsafe_b64encode(wire()[:11]).decode(),
        urlsafe_b64encode(wire("a.blocked.test")).decode() + "=",
    ],
)
def test_what_is_no_message_in_base64url_is_a_bad_request(client: httpx.Client, given: str) -> None:
    said = client.get("/dns-query", params={"dns": given})
    assert said.status_code == 400
    assert said.headers["Content-Type"].startswith("text/plain")
    assert get(client, wire()).status_code == 200


def test_the_parameter_has_to_be_there_once(client: httpx.Client) -> None:
    packet = urlsafe_b64encode(wire()).rstrip(b"=").decode()
    for query in ("", "?", "?dns", f"?DNS={packet}", f"?dns={packet}&dns={packet}"):
        assert client.get(f"/dns-query{query}").status_code == 400
    assert client.get(f"/dns-query?x=1&dns={packet}&y=&y").status_code == 200


@pytest.mark.parametrize("packet", [b"", b"\0", b"\0" * 11, b"\0\0\x80\0" + b"\0" * 8, b"\0" * 4097, b"\xff" * 65_536])
def test_a_packet_that_is_no_query_is_a_bad_request(client: httpx.Client, packet: bytes) -> None:
    """Too short, a response, too long."""
    assert post(client, packet).status_code == 400


def test_a_query_that_is_wrong_is_told_so_by_dns(client: httpx.Client) -> None:
    """HTTP went well."""
    for packet, rcode in (
        (wire()[:-1], dns.rcode.FORMERR),
        (wire()[:2] + b"\x28" + wire()[3:], dns.rcode.NOTIMP),
        (wire() + b"\0" * (4096 - len(wire())), dns.rcode.NOERROR),
    ):
        said = post(client, packet)
        assert (said.status_code, dns.message.from_wire(said.content, question_only=True).rcode()) == (200, rcode)
    assert post(client, wire()[:-1]).headers["Cache-Control"] == "private, max-age=0"


@pytest.mark.parametrize("given", ["", "text/plain", "application/dns-json", "application/dns-messages", "dns-message"])
def test_another_type_of_body_is_not_supported(client: httpx.Client, given: str) -> None:
    assert client.post("/dns-query", content=wire(), headers={"Content-Type": given}).status_code == 415
    for good in ("application/dns-message", "Application/DNS-Message", "application/dns-message; charset=x"):
        assert client.post("/dns-query", content=wire(), headers={"Content-Type": good}).status_code == 200


@pytest.mark.parametrize("size", [65_537, 200_000])
def test_a_body_that_is_too_large(client: httpx.Client, size: int) -> None:
    """Said to who has sent it all, whatever it is; the connection goes on where it can."""
    assert post(client, bytes(size)).status_code == 413
    assert client.put("/", content=bytes(size)).status_code == 413
    assert addresses(post(client, wire())) == ["0.0.0.0"]


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"])
def test_other_methods_are_not_allowed(client: httpx.Client, method: str) -> None:
    said = client.request(method, "/dns-query/kiosk", content=b"")
    assert said.status_code == 405
    assert set(said.headers["Allow"].split(", ")) == {"GET", "HEAD", "POST"}


@pytest.mark.parametrize(
    "path",
    ["/", "/dns-query/", "/dns-query/a/b", "/dns-query/-a", "/dns-query/a.b", "/dns-query/%2e%2e", "/dns-query/a%2Fb",
     "/dns-query/" + "a" * 64, "/dns-query/%00", "/dns-query/%ff", "/DNS-QUERY", "/resolve", "//dns-query",
     "/dns-query//"],
)  # fmt: skip
def test_there_is_nothing_elsewhere(client: httpx.Client, path: str) -> None:
    """Nor a redirect to anywhere."""
    said = client.get(path, params={"dns": urlsafe_b64encode(wire()).rstrip(b"=").decode()})
    assert said.status_code == 404
    assert "location" not in said.headers


class Tokens(Trees):
    """The policy holds for who asks by the token ``kiosk``, or ``dns``."""

    def profile(self, client: str, token: str = "") -> int:
        return int(token in ("kiosk", "dns"))

    def decide(self, profile: int, key: bytes, qtype: int) -> Verdict:
        return super().decide(profile, key, qtype) if profile else FORWARD


def test_the_path_or_the_name_of_the_server_is_the_token(
    server: ssl.SSLContext, trusting: ssl.SSLContext, pair: Pair
) -> None:
    """What a token blocks another one resolves; one that nobody has is none; that of the path counts first."""
    with (
        DnsServer(lambda asked: [reply(asked.packet, A="192.0.2.1")]) as upstream,
        serving(
            [Server("udp", LOCAL, upstream.port)], tls=lambda: server, policy=Tokens({"blocked.test": BLOCK})
        ) as web,
    ):
        url = f"https://{LOCAL}:{web.port}/dns-query"
        by_name = {"sni_hostname": NAME}
        with httpx.Client(http2=True, verify=trusting, trust_env=False) as client:
            for path, answer in (
                ("", "192.0.2.1"),
                ("/kiosk", "0.0.0.0"),
                ("/KIOSK", "0.0.0.0"),
                ("/other", "192.0.2.1"),
                ("/" + "a" * 63, "192.0.2.1"),
            ):
                said = client.post(url + path, content=wire(), headers=TYPE)
                assert addresses(said) == [answer]
        with httpx.Client(http2=True, verify=trusting, trust_env=False) as client:
            for path, answer in (("", "0.0.0.0"), ("/other", "192.0.2.1")):
                said = client.post(url + path, content=wire(), headers=TYPE, extensions=by_name)
                assert addresses(said) == [answer]


def test_what_is_forwarded_is_kept_for_the_lowest_of_its_times(
    server: ssl.SSLContext, trusting: ssl.SSLContext
) -> None:
    """RFC 8484 5.1, RFC 2308 5."""

    def script(asked: Asked) -> list[bytes]:
        message = dns.message.make_response(dns.message.from_wire(asked.packet))
        name = str(message.question[0].name).lower()
        if name == "many.example.com.":
            message.answer = [
                dns.rrset.from_text(message.question[0].name, 300, "IN", "CNAME", "b.example.com."),
                dns.rrset.from_text("b.example.com.", 77, "IN", "A", "192.0.2.1", "192.0.2.2"),
            ]
        else:
            soa = "ns.example.com. x.example.com. 1 2 3 4 120"
            message.authority = [dns.rrset.from_text("example.com.", 900, "IN", "SOA", soa)]
            message.set_rcode(dns.rcode.NXDOMAIN if name == "none.example.com." else dns.rcode.NOERROR)
        return [message.to_wire()]

    with (
        DnsServer(script) as upstream,
        serving([Server("udp", LOCAL, upstream.port)], tls=lambda: server) as web,
        httpx.Client(base_url=f"https://{LOCAL}:{web.port}", verify=trusting, trust_env=False) as client,
    ):
        for name, most in (("many.example.com", 77), ("none.example.com", 120), ("empty.example.com", 120)):
            for _ in range(2):
                kept = post(client, wire(name)).headers["Cache-Control"]
                assert kept.startswith("private, max-age=")
                assert most - 2 <= int(kept.rpartition("=")[2]) <= most
        for number in range(20):
            assert post(client, wire(f"x{number}.example.com")).content[:2] == b"\0\0"
        assert len({asked.packet[:2] for asked in upstream.asked}) > 15  # whatever clients send, 0 for the most part


def test_failures_are_not_kept() -> None:
    record = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\0\0\0\0"
    question = wire()[12:]

    def packet(flags: int, *ttls: int) -> bytes:
        records = b"".join(record[:6] + ttl.to_bytes(4) + record[10:] for ttl in ttls)
        return HEADER.pack(0, QR | flags, 1, len(ttls), 0, 0) + question + records

    assert lifetime(packet(0, 60, 30, 90)) == 30
    assert lifetime(packet(3, 60)) == 60
    assert lifetime(packet(0, 60, 1 << 31)) == 0  # RFC 2181 8
    assert lifetime(packet(0)) == lifetime(packet(2, 60)) == lifetime(packet(5, 60)) == lifetime(packet(TC, 60)) == 0
    assert lifetime(HEADER.pack(0, QR | 1, 0, 0, 0, 0)) == 0


def test_who_may_not_ask_hears_it_from_dns_or_nothing(server: ssl.SSLContext, trusting: ssl.SSLContext) -> None:
    rules = Rules(allow=("10.0.0.0/8",))
    with serving(tls=lambda: server, access=rules) as web:
        url = f"https://{LOCAL}:{web.port}/dns-query/kiosk"
        said = httpx.post(url, content=wire(use_edns=0), headers=TYPE, verify=trusting, trust_env=False)
        message = dns.message.from_wire(said.content)
        assert (said.status_code, message.rcode()) == (200, dns.rcode.REFUSED)
        assert [option.to_text() for option in message.options] == ["EDE 18 (Prohibited)"]
    with serving(tls=lambda: server, access=rules._replace(silent=True)) as web, pytest.raises(httpx.TransportError):
        httpx.post(f"https://{LOCAL}:{web.port}/dns-query", content=wire(), verify=trusting, trust_env=False)


def test_a_proxy_asks_for_the_client_that_it_names() -> None:
    """Its word decides who may ask, and to which group he belongs; nobody else's does."""
    seen: list[Peer] = []

    class Watched(Trees):
        def profile(self, client: str, token: str = "") -> int:
            seen.append((client, token))
            return 0

    rules = Rules(allow=("10.0.0.0/8",), silent=True, proxies=(LOCAL,))
    with (
        serving(access=rules, policy=Watched({"blocked.test": BLOCK})) as web,
        httpx.Client(base_url=f"http://{LOCAL}:{web.port}", trust_env=False) as client,
    ):

        def ask(path: str = "/dns-query", **headers: str) -> httpx.Response:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            return client.post(path, content=wire(), headers={**TYPE, **named})

        assert addresses(ask("/dns-query/kiosk", x_forwarded_for="192.0.2.9, 10.1.2.3")) == ["0.0.0.0"]
        assert addresses(ask(forwarded="for=10.1.2.4")) == ["0.0.0.0"]
        assert ("10.1.2.3", "kiosk") in seen
        assert ("10.1.2.4", "") in seen
        assert ask(x_forwarded_for="10.1.2.3, 192.0.2.9").status_code == 403  # `denied: drop`
        assert ask().status_code == ask(x_forwarded_for="x").status_code == 400
        assert ask(x_forwarded_for="10.1.2.3", forwarded="for=10.1.2.4").status_code == 400
    with (
        serving(access=Rules(allow=(LOCAL,))) as web,
        httpx.Client(base_url=f"http://{LOCAL}:{web.port}", trust_env=False) as client,
    ):
        assert addresses(ask(x_forwarded_for="192.0.2.9", forwarded="for=x")) == ["0.0.0.0"]


def test_who_asks_is_who_is_connected(web: Web, client: httpx.Client) -> None:
    peers: list[Peer] = []
    handle = web.engine.handle

    def seen(packet: bytes, peer: Peer, send: Send, tcp: bool = False) -> bool:
        peers.append(peer)
        assert tcp
        return handle(packet, peer, send, tcp)

    web.engine.handle = seen  # type: ignore[method-assign]
    assert addresses(post(client, wire(), "/dns-query/Kiosk")) == ["0.0.0.0"]
    (peer,) = peers
    assert isinstance(peer, Private)
    assert (peer.host, peer.name) == (LOCAL, "kiosk")
    assert peer.port > 1024


def test_queries_at_once_are_answered_as_answers_come(server: ssl.SSLContext, trusting: ssl.SSLContext) -> None:
    """Many over one connection; one whose upstream is slow holds none of them up."""
    others = threading.Event()

    def script(asked: Asked) -> list[bytes]:
        if b"slow" in asked.packet.lower():
            others.wait(4)
        return [reply(asked.packet, A="192.0.2.1")]

    async def all_at_once(port: int) -> list[str]:
        done: list[str] = []
        async with httpx.AsyncClient(http2=True, verify=trusting, trust_env=False) as client:

            async def one(name: str) -> None:
                said = await client.post(f"https://{LOCAL}:{port}/dns-query", content=wire(name), headers=TYPE)
                assert addresses(said)
                done.append(name)

            await one("first.blocked.test")
            slow = asyncio.create_task(one("slow.example.com"))
            await asyncio.gather(*(one(f"x{n}.blocked.test") for n in range(20)))
            others.set()
            await slow
        return done

    with DnsServer(script) as upstream, serving([Server("udp", LOCAL, upstream.port)], tls=lambda: server) as web:
        done = asyncio.run(all_at_once(web.port))
        assert len(done) == 22
        assert done[-1] == "slow.example.com"


@pytest.mark.parametrize("options", [["+https"], ["+https-get"], ["+https=/dns-query/kiosk"]])
def test_kdig_is_answered(web: Web, pair: Pair, peer: Callable[[str], str], options: list[str]) -> None:
    command = [
        peer("kdig"),
        f"@{LOCAL}",
        "-p",
        str(web.port),
        *options,
        f"+tls-ca={pair.cert}",
        f"+tls-hostname={NAME}",
    ]
    shown = subprocess.run([*command, "x.blocked.test"], capture_output=True, text=True, timeout=10, check=True).stdout
    assert "0.0.0.0" in shown
    assert "(status: 200)" in shown
    assert "EDE: 16 (Censored): 'restricted by order xx-2025-01-01'" in shown
    assert "PADDING" in shown


def test_dig_is_answered(web: Web, peer: Callable[[str], str]) -> None:
    command = [peer("dig"), f"@{LOCAL}", "-p", str(web.port), "+https", "x.blocked.test"]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout
    assert "0.0.0.0" in shown
    assert "(HTTPS)" in shown


def test_curl_resolves_by_it(web: Web, pair: Pair, peer: Callable[[str], str], tmp_path: Path) -> None:
    url = f"https://{LOCAL}:{web.port}/dns-query"
    command = [peer("curl"), "-sv", "--doh-insecure", "--doh-url", url, "--max-time", "5", "http://x.blocked.test:1/"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=10)
    assert "DoH A: 0.0.0.0" in ran.stderr
    assert (ran.returncode, ran.stdout) == (7, "")  # nothing listens there
