"""Faults of other programs, by the names of their advisories: what each was, and that the same does nothing here.

Advisories about parts that this program does not have are not here; see docs/security.md.
"""

from __future__ import annotations

import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

import dns.edns
import dns.flags
import dns.message
import dns.query
import dns.rcode
import dns.rdatatype
import dns.rrset
import h2.errors
import h2.events
import pytest
from hyperframe.frame import ContinuationFrame, HeadersFrame, WindowUpdateFrame

from sinkhole.names import to_wire
from sinkhole.policy.verdict import Action, Verdict
from sinkhole.resolver.listener.tls import HTTP, context
from sinkhole.resolver.message import FORMERR, BadResponse, read_query, read_response
from sinkhole.resolver.upstream import Server
from tests.certificates import certificate
from tests.conftest import Site
from tests.dnsserver import Asked, DnsServer, Script, reply
from tests.resolver.serving import BLOCKED, Running, Trees, serving
from tests.web import serving as web_serving
from tests.web.frames import Client, http2, status

LOCAL = "127.0.0.1"
RIGHT, POISON = "192.0.2.1", "198.51.100.66"
QUESTION = to_wire("example.com") + b"\0\1\0\1"
IDENT = 4711


@contextmanager
def behind(
    script: Script, *, tcp: bool = True, policy: Trees = BLOCKED, timeout: float = 1.0
) -> Iterator[tuple[Running, DnsServer]]:
    with (
        DnsServer(script, tcp=tcp) as server,
        serving([Server("udp", LOCAL, server.port)], policy=policy, timeout=timeout) as resolver,
    ):
        yield resolver, server


def ask(resolver: Running, name: str, rtype: str = "A", **options: object) -> dns.message.Message:
    query = dns.message.make_query(name, rtype, **options)  # type: ignore[arg-type]
    return dns.query.udp(query, LOCAL, port=resolver.port, timeout=5)


def addresses(answer: dns.message.Message) -> set[str]:
    return {str(record) for rrset in answer.answer for record in rrset}


def message(*records: bytes, sections: tuple[int, int, int] | None = None) -> bytes:
    counts = sections or (len(records), 0, 0)
    return struct.pack("!6H", IDENT, 0x8180, 1, *counts) + QUESTION + b"".join(records)


def record(kind: int, data: bytes, owner: bytes = b"\xc0\x0c") -> bytes:
    return owner + struct.pack("!HHIH", kind, 1, 300, len(data)) + data


def cost(packet: bytes) -> float:
    """Processor seconds to read a response, the best of several runs."""
    best = 1.0
    for _ in range(5):
        started = time.process_time()
        with suppress(BadResponse):
            read_response(packet, IDENT, QUESTION)
        best = min(best, time.process_time() - started)
    return best


# Answers that nobody asked for


@pytest.mark.parametrize("tcp", [False, True])
def test_cve_2022_22846_an_answer_with_another_id_is_not_taken(tcp: bool) -> None:
    """dnslib: what came first was the answer, whatever its id."""

    def script(asked: Asked) -> Iterator[bytes]:
        if asked.transport == "udp":
            yield bytes((asked.packet[0] ^ 1,)) + reply(asked.packet, A=POISON)[1:]
        yield reply(asked.packet, A=RIGHT)

    with behind(script, tcp=tcp) as (resolver, _):
        assert addresses(ask(resolver, "example.com")) == {RIGHT}


@pytest.mark.parametrize(
    "stump",
    [b"", b"\0", b"id\x81\x80", b"id\x81\x80\0\1\0\1\0\0\0\0\xc0\x0c", b"id" + bytes(10), b"id\xff" + bytes(600)],
)
def test_cve_2023_29483_a_malformed_answer_does_not_end_the_wait(stump: bytes) -> None:
    """TuDoor, dnspython: one bad packet from anywhere, and the right answer was not waited for."""

    def script(asked: Asked) -> Iterator[bytes]:
        for _ in range(3):
            yield stump.replace(b"id", asked.packet[:2])
        yield reply(asked.packet, A=RIGHT)

    with behind(script, tcp=False) as (resolver, server):
        assert addresses(ask(resolver, "example.com")) == {RIGHT}
        assert len(server.asked) == 1


def test_cve_2025_5994_and_cve_2024_56089_many_who_ask_the_same_are_one_query() -> None:
    """RebirthDay: a query for each client subnet gave a guess as many chances. Also those with other subnets join."""
    release = threading.Event()

    def script(asked: Asked) -> Iterator[bytes]:
        release.wait(3)
        yield reply(asked.packet, A=RIGHT)

    with behind(script, timeout=4) as (resolver, server), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.connect((LOCAL, resolver.port))
        client.settimeout(5)
        for number in range(100):
            subnet = dns.edns.ECSOption(f"192.0.{number}.0", 24)
            client.send(dns.message.make_query("example.com", "A", options=[subnet], id=number).to_wire())
        time.sleep(0.3)
        assert len(server.asked) == 1
        assert not dns.message.from_wire(server.asked[0].packet).options
        release.set()
        assert {client.recv(4096)[1] for _ in range(100)} == set(range(100))


def test_cve_2024_56089_the_first_wrong_answer_moves_the_query_to_tcp() -> None:
    def script(asked: Asked) -> Iterator[bytes]:
        if asked.transport == "tcp":
            yield reply(asked.packet, A=RIGHT)
        else:
            yield from (ident.to_bytes(2) + reply(asked.packet, A=POISON)[2:] for ident in (0, 1))

    with behind(script) as (resolver, server):
        assert addresses(ask(resolver, "example.com")) == {RIGHT}
        assert [asked.transport for asked in server.asked] == ["udp", "tcp"]


@pytest.mark.parametrize("section", ["answer", "authority", "additional"])
def test_cve_2025_40778_and_cve_2021_43105_records_of_other_names_answer_no_other_question(section: str) -> None:
    """BIND, Technitium, and the forwarders of MaginotDNS: what came along with an answer was remembered as one."""

    def script(asked: Asked) -> Iterator[bytes]:
        if b"victim" in asked.packet.lower():  # however it is spelled
            yield reply(asked.packet, A=RIGHT)
            return
        answer = dns.message.make_response(dns.message.from_wire(asked.packet))
        forged = dns.rrset.from_text("victim.example.com.", 86400, "IN", "A", POISON)
        getattr(answer, section).append(forged)
        yield answer.to_wire()

    with behind(script) as (resolver, _):
        ask(resolver, "attacker.example.org")
        assert addresses(ask(resolver, "victim.example.com")) == {RIGHT}


def test_cve_2025_59023_and_cve_2025_59024_forged_delegations_move_nothing() -> None:
    """PowerDNS Recursor: a forged delegation was remembered. We remember answers, and ask whom we are told to ask."""

    def script(asked: Asked) -> Iterator[bytes]:
        answer = dns.message.from_wire(reply(asked.packet, A=RIGHT))
        answer.authority.append(dns.rrset.from_text("com.", 86400, "IN", "NS", "ns.attacker.example."))
        answer.additional.append(dns.rrset.from_text("ns.attacker.example.", 86400, "IN", "A", POISON))
        yield answer.to_wire()

    with behind(script) as (resolver, server):
        for name in ("one.example.com", "two.example.com", "ns.attacker.example"):
            assert addresses(ask(resolver, name)) == {RIGHT}
        assert len(server.asked) == 3


def test_cve_2023_26437_noise_does_not_make_a_server_count_as_dead() -> None:
    """PowerDNS Recursor: spoofed answers had the real server throttled."""

    def script(asked: Asked) -> Iterator[bytes]:
        if asked.transport == "udp":
            yield from (reply(asked.packet, A=POISON)[:20] for _ in range(50))
        yield reply(asked.packet, A=RIGHT)

    with behind(script) as (resolver, _):
        for number in range(20):
            assert addresses(ask(resolver, f"n{number}.example.com")) == {RIGHT}


@pytest.mark.parametrize(
    "script",
    [
        lambda asked: [reply(asked.packet)[:2] + b"\x81\x80\0\1\xff\xff\xff\xff\xff\xff" + asked.packet[12:]],
        lambda asked: [asked.packet],
        lambda asked: [asked.packet[:2] + b"\x81\x80" + asked.packet[4:]],
        lambda asked: [reply(asked.packet, A=RIGHT) * 30],
    ],
)
def test_cve_2024_25583_a_crafted_answer_to_a_forwarder_stops_nothing(script: Script) -> None:
    """PowerDNS Recursor: a crafted answer of the server that is forwarded to ended the process."""
    with behind(script, tcp=False, timeout=0.3) as (resolver, _):
        ask(resolver, "example.com")
        assert addresses(ask(resolver, "blocked.test")) == {"0.0.0.0"}
        assert resolver.engine.counters.errors == 0


# Packets that cost more than they should


def test_cve_2024_8508_an_answer_of_64_kib_is_packed_without_compressing_its_names() -> None:
    """Unbound: large record sets cost a compression without bound. We relay octets, and what is too large is cut."""
    names = b"".join(record(2, b"\x0f" + b"%015d" % number + b"\xc0\x0c") for number in range(1020))
    assert cost(message(names, sections=(1020, 0, 0))) < 0.03
    large = " ".join(f'"{"x" * 250}"' for _ in range(250))
    with behind(lambda asked: [reply(asked.packet, TXT=large)]) as (resolver, _):
        started = time.process_time()
        assert ask(resolver, "example.com", "TXT").flags & dns.flags.TC
        assert time.process_time() - started < 0.5


def test_cve_2026_44390_pointers_are_read_once() -> None:
    """A name that thousands of records point to, and a chain of pointers below it."""
    deep = record(5, b"\1a" * 120 + b"\0")
    assert cost(message(deep, *[record(16, b"\0", owner=b"\xc0\x29")] * 1000, sections=(1001, 0, 0))) < 0.03
    with pytest.raises(BadResponse):
        read_response(message(record(1, b"\1\1\1\1", owner=b"\xc0\x1d")), IDENT, QUESTION)  # itself


@pytest.mark.parametrize("option", [b"\0\3\0\0", b"\0\x0a\0\x08abcdefgh", b"\0\x0f\0\2\0\0", b"\xff\xff\0\0"])
def test_cve_2026_41292_and_cve_2026_42944_long_lists_of_options(option: bytes) -> None:
    """Thousands of EDNS options in a query or an answer: read once, kept within a bound."""
    options = option * (4000 // len(option))
    opt = b"\0" + struct.pack("!HHIH", 41, 1232, 0, len(options)) + options
    started = time.process_time()
    query = read_query(struct.pack("!6H", 1, 0x0100, 1, 0, 0, 1) + QUESTION + opt)
    assert query
    assert query.edns == 1232
    assert time.process_time() - started < 0.02
    options = option * (60_000 // len(option))
    opt = b"\0" + struct.pack("!HHIH", 41, 1232, 0, len(options)) + options
    assert cost(message(opt, sections=(0, 0, 1))) < 0.05
    assert len(read_response(message(opt, sections=(0, 0, 1)), IDENT, QUESTION).options) <= 512


def test_cve_2023_50387_and_cve_2023_50868_keys_and_signatures_are_octets_to_us() -> None:
    """KeyTrap and NSEC3: nothing is validated here, so nothing can be made to be; AD is never made up."""
    flood = [
        *(record(48, b"\1\1\3\x0d" + bytes((number % 256,)) * 32) for number in range(200)),
        *(record(46, b"\0\1\x0d\2" + bytes(14) + b"\0" + bytes((number % 256,)) * 64) for number in range(200)),
        *(record(50, b"\1\0\xff\xff\0\x14" + bytes(20)) for _ in range(200)),
    ]
    assert cost(message(*flood)) < 0.03
    assert not read_response(message(*flood), IDENT, QUESTION).authentic


@pytest.mark.parametrize("counts", [(1, 0, 0, 65535), (1, 65535, 0, 0), (65535, 0, 0, 0), (1, 0, 65535, 1)])
def test_cve_2026_42389_counts_of_the_header_are_checked_before_anything_is_made_of_them(
    counts: tuple[int, int, int, int],
) -> None:
    started = time.process_time()
    query = read_query(struct.pack("!6H", 1, 0x0100, *counts) + QUESTION)
    assert query
    assert query.rcode == FORMERR
    assert time.process_time() - started < 0.002


def test_cve_2026_52682_what_a_packet_holds_in_memory_is_bounded() -> None:
    """An answer of 64 KiB of minimal records is refused; what is kept of the largest allowed one is its octets."""
    with pytest.raises(BadResponse):
        read_response(message(*[record(16, b"", owner=b"\0")] * 5000, sections=(5000, 0, 0)), IDENT, QUESTION)
    kept = read_response(message(*[record(16, b"", owner=b"\0")] * 1024), IDENT, QUESTION)
    assert len(kept.records) + 8 * len(kept.ttls) < 32_768


def test_cve_2024_33655_queries_that_wait_are_bounded_and_end_soon() -> None:
    """DNSBomb: queries were collected for as long as an upstream could be slow, then answered in one burst. Those who
    ask the same have one query, all have an end, and beyond the limit there is an answer at once."""
    with (
        DnsServer(lambda asked: []) as server,
        serving([Server("udp", LOCAL, server.port)], timeout=0.5, limit=50) as resolver,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
    ):
        client.connect((LOCAL, resolver.port))
        client.settimeout(5)
        started = time.monotonic()
        for number in range(200):
            client.send(dns.message.make_query(f"n{number}.example.com", "A", id=number).to_wire())
        for _ in range(150):
            assert client.recv(4096)[3] & 0xF == dns.rcode.SERVFAIL
        assert time.monotonic() - started < 0.45  # beyond the limit: not when the others end
        assert resolver.upstreams.waiting <= 50
        for _ in range(50):
            client.recv(4096)
        assert time.monotonic() - started < 3


# Policy


def test_cve_2017_3140_an_alias_to_itself_or_in_a_circle_ends() -> None:
    """BIND: a policy zone with an alias back to its own name was followed for ever."""
    looping = Trees(
        {
            "self.test": Verdict(Action.BLOCK, mode="CNAME self.test."),
            "one.test": Verdict(Action.BLOCK, mode="CNAME two.test."),
            "two.test": Verdict(Action.BLOCK, mode="CNAME one.test."),
            "deep.test": Verdict(Action.BLOCK, mode="CNAME *.deep.test."),
        }
    )
    with behind(lambda asked: [reply(asked.packet, A=RIGHT)], policy=looping) as (resolver, server):
        for name in ("self.test", "one.test", "two.test", "x.deep.test"):
            assert ask(resolver, name).answer[0].rdtype == dns.rdatatype.CNAME
        assert len(server.asked) <= 4
        assert resolver.engine.counters.errors == 0


# HTTP/2


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Callable[[], AbstractContextManager[Client]]]:
    """Gives clients of one server; that the last one is answered is shown in the end."""
    pair = certificate(tmp_path)
    server, trusting = context(*pair, HTTP), ssl.create_default_context(cafile=str(pair.cert))
    trusting.set_alpn_protocols(["h2"])
    with web_serving.serving(tls=lambda: server) as running:
        yield lambda: http2(running, trusting)
        with http2(running, trusting) as client:
            client.post()
            client.flush()
            assert status(client.until(h2.events.StreamEnded)) == ["200"]
        assert running.server.crowd.total == 0
        assert running.engine.counters.queries < 200


def _ended(client: Client) -> h2.errors.ErrorCodes | int | None:
    """Why the server ended the connection, after whatever else it said; None when it did not say."""
    last = client.until(h2.events.ConnectionTerminated)[-1:]
    return last[0].error_code if last and isinstance(last[0], h2.events.ConnectionTerminated) else None


def test_cve_2023_44487_streams_that_are_reset_at_once_end_the_connection(
    web: Callable[[], AbstractContextManager[Client]],
) -> None:
    """Rapid reset: requests that cost the client nothing, without an end, and never more at a time than allowed."""
    with web() as client:
        for _ in range(1000):
            client.http.reset_stream(client.post(end=False))
        with suppress(OSError):
            client.flush()
        assert _ended(client) == h2.errors.ErrorCodes.ENHANCE_YOUR_CALM
    with web() as client:
        with suppress(OSError, ssl.SSLError):
            for _ in range(1000):
                client.http.reset_stream(client.post(end=False))
                client.flush()
        with suppress(OSError, ssl.SSLError):
            assert _ended(client) in (h2.errors.ErrorCodes.ENHANCE_YOUR_CALM, None)


def test_cve_2025_8671_streams_that_we_are_made_to_reset_count_too(
    web: Callable[[], AbstractContextManager[Client]],
) -> None:
    """MadeYouReset: a window that overflows has the server reset the stream, and the request goes on."""
    with web() as client:
        with suppress(OSError, ssl.SSLError):
            for _ in range(1000):
                overflow = WindowUpdateFrame(client.post(end=False), window_increment=2**31 - 1)
                client.sock.sendall(client.http.data_to_send() + overflow.serialize())
        with suppress(OSError, ssl.SSLError):
            assert _ended(client) in (h2.errors.ErrorCodes.ENHANCE_YOUR_CALM, None)


def test_cve_2024_27316_a_head_of_endless_pieces_is_not_gathered(
    web: Callable[[], AbstractContextManager[Client]],
) -> None:
    """CONTINUATION frames without an end were kept without a bound."""
    with web() as client:
        client.flush()
        with suppress(OSError):
            client.sock.sendall(HeadersFrame(1, data=b"\x82").serialize())
            for _ in range(10_000):
                client.sock.sendall(ContinuationFrame(1, data=b"\0\1x\1y").serialize())
        with suppress(OSError):
            assert _ended(client) in (h2.errors.ErrorCodes.PROTOCOL_ERROR, None)


# Lists


def test_cve_2024_36814_a_list_is_no_way_to_read_other_files(
    site: Site, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """AdGuard Home: a list could be any file of the machine. Here no link leads out of the directory of a list."""
    secret = tmp_path_factory.mktemp("elsewhere") / "secret.txt"
    secret.write_text("0.0.0.0 secret.example.com\n")
    (site.directory / "own.txt").symlink_to(secret)
    lists = {"own": {"sources": ["./own.txt"]}}
    config = site.configure({"lists": lists, "policy": [{"groups": ["all"], "lists": ["own"]}]})
    site.run("build", "-c", config, "--no-exports", code=3)
    (found,) = site.run("explain", "-c", config, "--json", "secret.example.com").lines
    assert found["action"] == "forward"
