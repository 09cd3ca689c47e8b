from __future__ import annotations

import asyncio
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import dns.flags
import dns.message
import dns.query
import dns.rcode
import pytest

from sinkhole.policy.verdict import Verdict
from sinkhole.resolver.listener import Limits, serve_udp
from sinkhole.resolver.listener.batch import CALLS
from sinkhole.resolver.upstream import Server
from tests.dnsserver import Asked, DnsServer, reply
from tests.resolver.serving import BLOCK, Running, Trees, serving

LOCAL = "127.0.0.1"
ROOT = Path(__file__).parent.parent.parent


def wire(name: str = "x.blocked.test", qtype: str = "A", ident: int = 4711) -> bytes:
    return dns.message.make_query(name, qtype, id=ident, use_edns=0).to_wire()


def framed(*packets: bytes) -> bytes:
    return b"".join(len(packet).to_bytes(2) + packet for packet in packets)


def connect(resolver: Running, timeout: float = 5.0, source: str = LOCAL) -> socket.socket:
    return socket.create_connection((LOCAL, resolver.port), timeout, (source, 0))


def read(sock: socket.socket) -> bytes:
    """One message, or nothing when the resolver has hung up."""
    head = _exactly(sock, 2)
    return _exactly(sock, int.from_bytes(head)) if head else b""


def _exactly(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        try:
            part = sock.recv(size - len(data))
        except ConnectionResetError:
            return b""
        if not part:
            return b""
        data += part
    return data


def alive(resolver: Running) -> bool:
    """Whether a blocked name is answered, over UDP and TCP, as it should be."""
    query = dns.message.make_query("blocked.test", "A")
    answers = [ask(query, LOCAL, timeout=2, port=resolver.port) for ask in (dns.query.udp, dns.query.tcp)]
    return all(answer.answer[0][0].to_text() == "0.0.0.0" for answer in answers)


def upstream(server: DnsServer) -> list[Server]:
    return [Server("udp", LOCAL, server.port)]


def right(asked: Asked) -> list[bytes]:
    return [reply(asked.packet, A="192.0.2.1")]


@pytest.fixture(params=[True, False], ids=["in batches", "one by one"])
def batches(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """How datagrams come and go: as Linux can, or as everywhere."""
    if not request.param:
        monkeypatch.setattr("sinkhole.resolver.listener.udp.CALLS", None)
        monkeypatch.setattr("sinkhole.resolver.upstream.udp.CALLS", None)
    elif not CALLS:
        pytest.skip("no recvmmsg here")
    return bool(request.param)


both = pytest.mark.usefixtures("batches")


@both
@pytest.mark.parametrize("ask", [dns.query.udp, dns.query.tcp])
def test_blocked_forwarded_and_cached(ask: Callable[..., dns.message.Message]) -> None:
    with DnsServer(right) as server, serving(upstream(server)) as resolver:
        for name, address in (
            ("www.blocked.test", "0.0.0.0"),
            ("example.com", "192.0.2.1"),
            ("eXample.com", "192.0.2.1"),
        ):
            answer = ask(dns.message.make_query(name, "A", use_edns=0), LOCAL, timeout=2, port=resolver.port)
            assert answer.answer[0][0].to_text() == address
        assert len(server.asked) == 1
        counters = resolver.engine.counters
        assert (counters.blocked, counters.forwarded, counters.cached) == (1, 1, 1)


def test_a_large_answer_is_truncated_over_udp_and_whole_over_tcp() -> None:
    text = " ".join(f'"{"x" * 200}"' for _ in range(20))
    with DnsServer(lambda asked: [reply(asked.packet, TXT=text)]) as server, serving(upstream(server)) as resolver:
        query = dns.message.make_query("example.com", "TXT", use_edns=0, payload=4096)
        answer, over_tcp = dns.query.udp_with_fallback(query, LOCAL, timeout=2, port=resolver.port)
    assert over_tcp
    assert len(answer.answer[0][0].strings) == 20


@both
@pytest.mark.parametrize(
    ("packet", "answered"),
    [
        (b"", False),
        (wire()[:11], False),
        (wire()[:2] + b"\x81" + wire()[3:], False),
        (wire()[:12] + b"\xc0\x0c\0\1\0\1", True),
    ],
)
def test_items_01_02_05_over_udp(packet: bytes, answered: bool) -> None:
    """What is dropped gets no octet, and the next query its answer."""
    with serving() as resolver, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(2)
        client.connect((LOCAL, resolver.port))
        client.send(packet)
        client.send(wire(ident=7))
        first = client.recv(2000)
        assert (first[:2] != b"\0\7") == answered
        assert alive(resolver)


@both
@pytest.mark.skipif(os.geteuid() != 0, reason="a packet from port 0 takes a raw socket")
@pytest.mark.parametrize("port", [0, 7, 19])
def test_item_13_source_ports_that_no_client_has(port: int) -> None:
    with serving() as resolver:
        with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP) as raw:
            raw.sendto(struct.pack("!4H", port, resolver.port, 8 + len(wire()), 0) + wire(), (LOCAL, 0))
        assert alive(resolver)
        assert resolver.engine.counters.queries == 2


@both
@pytest.mark.skipif(os.geteuid() != 0, reason="a packet from a port in use takes a raw socket")
@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_item_13_a_packet_from_ourselves(host: str) -> None:
    """From the address and port that it is sent to: dropped. From the same port of another address it is answered, and
    where that is ours too the answer, as any response, goes no further."""
    with serving(host=host) as resolver:
        with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP) as raw:
            for source in ("127.0.0.1", "127.0.0.9"):
                raw.bind((source, 0))
                raw.sendto(struct.pack("!4H", resolver.port, resolver.port, 8 + len(wire()), 0) + wire(), (LOCAL, 0))
        counters, end = resolver.engine.counters, time.monotonic() + 2
        while counters.queries < 1 + (host == "0.0.0.0") and time.monotonic() < end:
            time.sleep(0.01)
        assert alive(resolver)
        assert counters.queries == 3 + (host == "0.0.0.0")


@both
@pytest.mark.skipif(os.geteuid() != 0, reason="source port 53 is privileged")
@pytest.mark.parametrize("edns", [-1, 0])
@pytest.mark.parametrize(
    ("name", "rcode", "truncated"),
    [("x.blocked.test", "NOERROR", True), ("example.com", "NOERROR", True), ("nothing.test", "SERVFAIL", False)],
)
def test_item_13_source_port_53_gets_no_more_than_an_error(name: str, rcode: str, truncated: bool, edns: int) -> None:
    """It may be a server that somebody wants to flood: no records, not even EDE; a client comes back over TCP."""

    def script(asked: Asked) -> list[bytes]:
        return right(asked) if b"example" in asked.packet.lower() else [reply(asked.packet, rcode=2)]

    query = dns.message.make_query(name, "A", use_edns=edns)
    with DnsServer(script) as server, serving(upstream(server)) as resolver:
        answer = dns.query.udp(query, LOCAL, timeout=2, port=resolver.port, source="127.0.0.53", source_port=53)
        assert (dns.rcode.to_text(answer.rcode()), bool(answer.flags & dns.flags.TC)) == (rcode, truncated)
        assert len(answer.to_wire()) == 12 + len(name) + 2 + 4
        whole = dns.query.tcp(query, LOCAL, timeout=2, port=resolver.port)
        assert bool(whole.answer) == truncated


@both
@pytest.mark.parametrize("name", ["x.blocked.test", "example.com"])
def test_a_socket_on_all_addresses_answers_from_the_one_that_was_asked(name: str) -> None:
    """Also when the answer comes later."""
    with (
        DnsServer(right) as server,
        serving(upstream(server), host="0.0.0.0") as resolver,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
    ):
        client.settimeout(2)
        client.sendto(wire(name), ("127.0.0.9", resolver.port))
        packet, address = client.recvfrom(2000)
        assert address == ("127.0.0.9", resolver.port)
        assert packet[:2] == wire()[:2]


@both
@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_what_comes_together_is_answered_each_to_its_own(host: str) -> None:
    """More than a batch, from several clients: blocked names, names that an upstream is asked for, and packets that get
    no answer, in any order, while the resolver is busy."""
    packets = {number: (wire(f"{number}.blocked.test", ident=number), "0.0.0.0") for number in range(300)}
    packets |= {number: (wire(f"{number}.example", ident=number), "192.0.2.1") for number in range(0, 300, 3)}
    packets |= {number: (packets[number][0][:2] + b"\x81" + bytes(40), "") for number in range(0, 300, 7)}
    with DnsServer(right) as server, serving(upstream(server), host=host) as resolver, ExitStack() as stack:
        clients = [stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(5)]
        for client in clients:
            client.settimeout(2)
            client.connect((LOCAL, resolver.port))
        resolver.loop.call_soon_threadsafe(time.sleep, 0.1)
        for number, (packet, _) in packets.items():
            clients[number // 3 % 5].send(packet)  # more than one after the other
        for at, client in enumerate(clients):
            wanted = {number: address for number, (_, address) in packets.items() if number // 3 % 5 == at and address}
            answers = [dns.message.from_wire(client.recv(2000)) for _ in wanted]
            assert {answer.id: answer.answer[0][0].to_text() for answer in answers} == wanted
            for answer in answers:
                assert answer.question[0].name.to_text().startswith(f"{answer.id}.")
        assert resolver.engine.counters.dropped == len(range(0, 300, 7))


@both
@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_replies_that_are_ready_later_leave_each_to_its_own_and_before_the_socket_closes(host: str) -> None:
    """More than fit into one call, all at one instant, of different sizes."""
    late: list[tuple[bytes, Any, Callable[[bytes, Any], object]]] = []

    class Engine:
        def tick(self) -> None: ...

        def answer(
            self, packet: bytes, host: str | bytes, peer: Any, send: Callable[[bytes, Any], object]
        ) -> bytes | None:
            late.append((packet, peer, send))
            return None

    async def main() -> None:
        with ExitStack() as stack:
            sock, *clients = (stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(4))
            sock.bind((host, 0))
            close = serve_udp(sock, Engine())
            for client in clients:
                client.connect((LOCAL, sock.getsockname()[1]))
                client.setblocking(False)
            for number in range(200):
                clients[number % 3].send(number.to_bytes(2) + bytes(number))
                await asyncio.sleep(0)
            while len(late) < 200:
                await asyncio.sleep(0.001)
            for packet, peer, send in late:
                send(packet * 2, peer)
            close()
            for number in range(200):
                assert clients[number % 3].recv(2000) == 2 * (number.to_bytes(2) + bytes(number))

    asyncio.run(asyncio.wait_for(main(), 10))


ADDRESSES = ["192.0.2.1", "192.0.2.2", "198.51.100.1", "2001:db8::1", "2001:db8::2", "2001:db8:1::1"]

ON_ALL = f"""
import dns.message, dns.query, subprocess, sys
from sinkhole.resolver.access import Rules
from tests.resolver.serving import serving
from sinkhole.resolver.listener import udp
if sys.argv[1] == "False":
    udp.CALLS = None
addresses = {ADDRESSES}
for command in ("link set lo up", *(f"addr add {{address}} dev lo nodad" for address in addresses)):
    subprocess.run(["ip", *command.split()], check=True)
query = dns.message.make_query("x.blocked.test", "A")
rules = Rules(allow=("192.0.2.0/24", "2001:db8::/48"))
for host in ("0.0.0.0", "::"):
    with serving(host=host, access=rules) as resolver:
        family = [address for address in addresses if (":" in address) == (":" in host)]
        for asked in family:
            for client in family:
                for ask in (dns.query.udp, dns.query.tcp):
                    answer = ask(query, asked, port=resolver.port, source=client, timeout=2)
                    print(asked, client, ask.__name__, answer.answer[0][0] if answer.answer else answer.rcode())
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes a network of its own")
def test_each_of_several_addresses_answers_for_itself(peer: Callable[[str], str], batches: bool) -> None:
    """In a network of its own, IPv4 and IPv6: dnspython takes an answer only from the address that it asked."""
    command = [peer("unshare"), "--net", sys.executable, "-c", ON_ALL, str(batches)]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    if "unshare failed" in ran.stderr:
        pytest.skip(ran.stderr)
    expected = [
        f"{asked} {client} {ask} {'5' if client in ('198.51.100.1', '2001:db8:1::1') else '0.0.0.0'}"
        for family in (ADDRESSES[:3], ADDRESSES[3:])
        for asked in family
        for client in family
        for ask in ("udp", "tcp")
    ]
    assert ran.stdout.splitlines() == expected, ran.stderr


@pytest.mark.parametrize("opcode", [1, 2, 4, 5, 15])
def test_item_11_opcodes_over_tcp(opcode: int) -> None:
    """Over TCP as over UDP."""
    packet = wire()[:2] + bytes((opcode << 3,)) + wire()[3:]
    with serving() as resolver, connect(resolver) as client:
        client.sendall(framed(packet))
        answer = dns.message.from_wire(read(client))
    assert answer.rcode() == (dns.rcode.REFUSED if opcode == 4 else dns.rcode.NOTIMP)
    assert answer.opcode() == opcode


def test_item_20_a_query_that_comes_octet_by_octet() -> None:
    """Also the length in two parts."""
    with serving() as resolver, connect(resolver) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for octet in framed(wire()):
            client.sendall(bytes((octet,)))
        assert read(client)[:2] == wire()[:2]


@pytest.mark.parametrize("start", [b"\0", b"\0\x20", framed(wire())[:20], framed(wire()) + b"\0\x20abc"])
def test_item_20_an_incomplete_query_is_not_waited_for(start: bytes) -> None:
    """Slow-loris; each further octet buys no time."""
    with serving(limits=Limits(complete=0.3)) as resolver, connect(resolver) as client:
        client.sendall(start)
        started = time.monotonic()
        if len(start) > len(wire()) + 2:
            assert read(client)
        client.settimeout(0.1)
        for _ in range(20):
            try:
                client.sendall(b"\x20")
                if client.recv(1) == b"":
                    break
            except TimeoutError:
                continue
            except OSError:
                break
        assert 0.2 < time.monotonic() - started < 0.6
        assert alive(resolver)


def test_item_20_idle_connections_end() -> None:
    with serving(limits=Limits(idle=0.2)) as resolver, connect(resolver) as client:
        client.sendall(framed(wire()))
        assert read(client)
        started = time.monotonic()
        assert not read(client)
        assert 0.1 < time.monotonic() - started < 0.5


def test_a_connection_that_waits_for_an_answer_is_not_idle() -> None:
    def script(asked: Asked) -> list[bytes]:
        time.sleep(0.4)
        return right(asked)

    with DnsServer(script) as server, serving(upstream(server), limits=Limits(idle=0.1)) as resolver:
        answer = dns.query.tcp(dns.message.make_query("example.com", "A"), LOCAL, timeout=2, port=resolver.port)
    assert answer.answer


def test_item_20_connections_are_capped_per_client() -> None:
    """One too many of one client: its own that is idle longest makes room, and others keep theirs."""
    with serving(limits=Limits(per_client=3)) as resolver, connect(resolver, source="127.0.0.2") as other:
        clients = [connect(resolver) for _ in range(3)]
        for client in clients:
            client.sendall(framed(wire()))
            assert read(client)
        with connect(resolver) as fourth:
            fourth.sendall(framed(wire()))
            assert read(fourth)
            assert not read(clients[0])
            for client in (*clients[1:], other):
                client.sendall(framed(wire()))
                assert read(client)
        for client in clients:
            client.close()


def test_item_20_connections_are_capped_in_total() -> None:
    """The one that has been idle longest makes room, so new clients are served."""
    with serving(limits=Limits(connections=3)) as resolver:
        clients = [connect(resolver) for _ in range(3)]
        for client in clients:
            client.sendall(framed(wire()))
            assert read(client)
        clients[0].sendall(framed(wire()))
        assert read(clients[0])
        with connect(resolver) as fourth:
            fourth.sendall(framed(wire()))
            assert read(fourth)
            assert not read(clients[1])
            clients[0].sendall(framed(wire()))
            assert read(clients[0])
        for client in clients:
            client.close()


@pytest.mark.parametrize("count", [100, 1000])
def test_item_21_pipelining(count: int) -> None:
    """Every query has its answer, under its id; more at once than may be in flight only wait."""
    with DnsServer(right) as server, serving(upstream(server), limits=Limits(in_flight=50)) as resolver:
        names = ["x.blocked.test", "a.example.com", "b.example.com"]
        with connect(resolver) as client:
            client.sendall(framed(*(wire(names[ident % 3], ident=ident) for ident in range(count))))
            answers = [dns.message.from_wire(read(client)) for _ in range(count)]
    assert sorted(answer.id for answer in answers) == list(range(count))
    for answer in answers:
        assert answer.question[0].name.to_text() == names[answer.id % 3] + "."
        assert answer.answer


def test_item_20_queries_in_flight_are_capped() -> None:
    """On one connection; others have their own share."""
    release = threading.Event()

    def script(asked: Asked) -> list[bytes]:
        release.wait(5)
        return right(asked)

    with (
        DnsServer(script) as server,
        serving(upstream(server), limits=Limits(in_flight=5)) as resolver,
        connect(resolver) as client,
    ):
        client.sendall(framed(*(wire(f"{ident}.example.com", ident=ident) for ident in range(20))))
        assert alive(resolver)
        time.sleep(0.1)
        assert len(server.asked) == 5
        release.set()
        assert sorted(read(client)[1] for _ in range(20)) == list(range(20))


def test_item_21_answers_come_as_they_come() -> None:
    """A slow name holds up no other."""

    def script(asked: Asked) -> list[bytes]:
        if "slow" in asked.name:
            time.sleep(0.3)
        return right(asked)

    with DnsServer(script) as server, serving(upstream(server)) as resolver, connect(resolver) as client:
        client.sendall(framed(wire("slow.example.com", ident=1), wire("fast.example.com", ident=2), wire(ident=3)))
        assert [read(client)[1] for _ in range(3)] == [3, 2, 1]


@pytest.mark.parametrize("tail", [b"", b"\0", framed(wire())[:20]])
def test_item_21_half_close(tail: bytes) -> None:
    """Who has sent all still gets all, then the end; a part of a query changes nothing."""

    def script(asked: Asked) -> list[bytes]:
        time.sleep(0.1)
        return right(asked)

    packets = [wire(f"{ident}.example.com", ident=ident) for ident in range(5)]
    with (
        DnsServer(script) as server,
        serving(upstream(server), limits=Limits(in_flight=2)) as resolver,
        connect(resolver) as client,
    ):
        client.sendall(framed(*packets) + tail)
        client.shutdown(socket.SHUT_WR)
        assert sorted(read(client)[1] for _ in range(5)) == list(range(5))
        assert not read(client)


def test_item_21_reset_while_we_write() -> None:
    """No signal, no traceback, no complaint."""

    def script(asked: Asked) -> list[bytes]:
        time.sleep(0.05)
        return right(asked)

    with DnsServer(script) as server, serving(upstream(server)) as resolver:
        for number in range(20):
            client = connect(resolver)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.sendall(framed(wire(f"{number}.example.com"), wire(), wire("slow.example.com")))
            client.close()
        time.sleep(0.1)
        assert alive(resolver)


def test_item_21_a_client_that_never_reads() -> None:
    """What waits for it is bounded, and so is its time."""
    text = " ".join(f'"{"x" * 250}"' for _ in range(200))
    with (
        DnsServer(lambda asked: [reply(asked.packet, TXT=text)]) as server,
        serving([Server("tcp", LOCAL, server.port)], limits=Limits(idle=0.3, unsent=1 << 16)) as resolver,
        connect(resolver, 0.5) as client,
    ):
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        queries = framed(*[wire("example.com", "TXT")] * 100_000)
        with pytest.raises(OSError):  # noqa: PT011 - a full buffer or a reset, whichever comes first
            client.sendall(queries)
        time.sleep(0.5)
        assert alive(resolver)
        assert resolver.engine.counters.queries < 2000


@pytest.mark.parametrize("head", [b"\x10\x01", b"\xff\xff", b"\xff\xff" + bytes(65_535)])
def test_item_22_queries_over_4_kib_end_the_connection(head: bytes) -> None:
    """At their length, before their content."""
    with serving() as resolver, connect(resolver) as client:
        started = time.monotonic()
        with suppress(ConnectionError):
            client.sendall(head)
        assert not read(client)
        assert time.monotonic() - started < 0.5
        assert resolver.engine.counters.queries == 0
        assert alive(resolver)


def test_item_22_a_query_of_4_kib_is_answered() -> None:
    plain = dns.message.make_query("blocked.test", "A").to_wire()
    packet = plain + bytes(4096 - len(plain))
    with serving() as resolver, connect(resolver) as client:
        client.sendall(framed(packet))
        assert read(client)


@pytest.mark.parametrize("dropped", [b"", b"\0" * 11, wire()[:2] + b"\x81" + wire()[3:]])
def test_items_01_02_over_tcp(dropped: bytes) -> None:
    """What is dropped holds up nothing, however much of it comes."""
    with serving(limits=Limits(in_flight=3)) as resolver, connect(resolver) as client:
        client.sendall(framed(*[dropped] * 300, wire(ident=9)))
        client.shutdown(socket.SHUT_WR)
        assert read(client)[:2] == b"\0\x09"
        assert not read(client)


class Faulty(Trees):
    """A policy that fails for one name."""

    def decide(self, profile: int, key: bytes, qtype: int) -> Verdict:
        if key.startswith(b"tset.tluaf."):
            raise UnicodeDecodeError("ascii", b"", 0, 1, "a fault")
        return super().decide(profile, key, qtype)


def test_item_24_the_loop_lives() -> None:
    with serving(policy=Faulty({"blocked.test": BLOCK})) as resolver:
        for ask in (dns.query.udp, dns.query.tcp):
            answer = ask(dns.message.make_query("fault.test", "A"), LOCAL, timeout=2, port=resolver.port)
            assert answer.rcode() == dns.rcode.SERVFAIL
        assert alive(resolver)


def test_policies_are_swapped_while_queries_come() -> None:
    with serving() as resolver:
        assert alive(resolver)
        resolver.call(lambda: setattr(resolver.engine, "policy", Trees({})))
        answer = dns.query.udp(dns.message.make_query("blocked.test", "A"), LOCAL, timeout=2, port=resolver.port)
        assert answer.rcode() == dns.rcode.SERVFAIL
