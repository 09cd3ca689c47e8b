"""DNS over TLS: everything that holds over TCP, and what only TLS brings."""

from __future__ import annotations

import socket
import ssl
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dns.edns
import dns.message
import dns.query
import dns.rcode
import pytest

from sinkhole.errors import ListenError
from sinkhole.policy.verdict import FORWARD, Verdict
from sinkhole.resolver.access import PRIVATE, Rules
from sinkhole.resolver.engine import Peer, Private, Send
from sinkhole.resolver.listener import Limits
from sinkhole.resolver.listener.tls import Tls, context, hush
from sinkhole.resolver.upstream import Server
from tests.certificates import Pair, certificate
from tests.dnsserver import DnsServer, reply
from tests.resolver.serving import BLOCK, Running, Trees, serving
from tests.resolver.test_listener import LOCAL, framed, read, right, wire

NAME = "dns.example.test"


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return certificate(tmp_path_factory.mktemp("tls"), NAME)


@pytest.fixture(scope="module")
def server(pair: Pair) -> ssl.SSLContext:
    return context(*pair)


@pytest.fixture(scope="module")
def trusting(pair: Pair) -> ssl.SSLContext:
    """A client's context that trusts the server's certificate."""
    return ssl.create_default_context(cafile=str(pair.cert))


@pytest.fixture
def resolver(server: ssl.SSLContext) -> Iterator[Running]:
    with serving(tls=lambda: server) as running:
        yield running


def connect(resolver: Running, trusting: ssl.SSLContext, name: str = NAME, timeout: float = 5.0) -> ssl.SSLSocket:
    sock = socket.create_connection((LOCAL, resolver.port), timeout)
    try:
        return trusting.wrap_socket(sock, server_hostname=name)
    except BaseException:
        sock.close()
        raise


def ask(resolver: Running, trusting: ssl.SSLContext, name: str = "x.blocked.test", **query: Any) -> dns.message.Message:
    message = dns.message.make_query(name, "A", **query)
    return dns.query.tls(message, LOCAL, timeout=5, port=resolver.port, ssl_context=trusting, server_hostname=NAME)


def test_dnspython_verifies_and_is_answered(resolver: Running, trusting: ssl.SSLContext) -> None:
    answer = ask(resolver, trusting, use_edns=0)
    assert answer.answer[0][0].to_text() == "0.0.0.0"
    assert [option.otype for option in answer.options] == [dns.edns.OptionType.EDE]


@pytest.mark.parametrize("more", [[], ["+tls-ca=CERT", f"+tls-hostname={NAME}"]])
def test_dig_is_answered(resolver: Running, pair: Pair, peer: Callable[[str], str], more: list[str]) -> None:
    options = [option.replace("CERT", str(pair.cert)) for option in more]
    command = [peer("dig"), f"@{LOCAL}", "-p", str(resolver.port), "+tls", *options, "chat.blocked.test"]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout
    assert "0.0.0.0" in shown
    assert "(TLS)" in shown


def test_answers_are_padded_where_the_query_is(resolver: Running, trusting: ssl.SSLContext) -> None:
    """RFC 8467 4.1: in blocks of 468 octets."""
    padded = dns.message.make_query("x.blocked.test", "A", use_edns=0, pad=128)
    with connect(resolver, trusting) as client:
        client.sendall(framed(padded.to_wire()) + framed(wire()))
        assert len(read(client)) == 468
        assert len(read(client)) < 200


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_versions_and_protocol(resolver: Running, pair: Pair, version: ssl.TLSVersion) -> None:
    client_side = ssl.create_default_context(cafile=str(pair.cert))
    client_side.minimum_version = client_side.maximum_version = version
    client_side.set_alpn_protocols(["h2", "dot"])
    with connect(resolver, client_side) as client:
        assert client.selected_alpn_protocol() == "dot"
        client.sendall(framed(wire()))
        assert read(client)[:2] == wire()[:2]


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1:DeprecationWarning")
def test_old_versions_are_refused(resolver: Running, pair: Pair) -> None:
    """RFC 8996."""
    client_side = ssl.create_default_context(cafile=str(pair.cert))
    client_side.set_ciphers("ALL:@SECLEVEL=0")
    client_side.minimum_version = ssl.TLSVersion.TLSv1
    client_side.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises((ssl.SSLError, ConnectionError)):
        connect(resolver, client_side)


def test_the_name_that_a_client_asks_for_comes_with_its_queries(server: ssl.SSLContext, pair: Pair) -> None:
    """For groups by name. In lower case; none is none."""
    seen: list[Peer] = []

    def handle(packet: bytes, peer: Peer, send: Send, tcp: bool = False) -> bool:
        seen.append(peer)
        send(packet, peer)
        return True

    client_side = ssl.create_default_context(cafile=str(pair.cert))
    client_side.check_hostname = False
    with serving(tls=lambda: server, handle=handle) as resolver:
        for name in ("Phone-7.dns.example.test", None):
            sock = socket.create_connection((LOCAL, resolver.port), 5)
            with client_side.wrap_socket(sock, server_hostname=name) as client:
                client.sendall(framed(wire()))
                assert read(client) == wire()
                host, port = client.getsockname()
                assert seen[-1] == Private(host, port, (name or "").lower())


def test_names_that_are_none_harm_nothing(
    resolver: Running, trusting: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """NUL, not ASCII, empty labels, line breaks: answered or refused without a word, and the next client is served."""
    monkeypatch.setattr("sys.unraisablehook", hush)
    hello = _client_hello(b"a" * 16)
    for name in (b"a" * 16, b"\xff" * 16, b"a\0" * 8, b"." * 16, b"a" * 15 + b"\n"):
        with socket.create_connection((LOCAL, resolver.port), 2) as client:
            client.sendall(hello.replace(b"a" * 16, name))
            assert client.recv(4096)[:1] in (b"\x15", b"\x16", b"")
    assert ask(resolver, trusting).answer
    assert capfd.readouterr() == ("", "")


def _client_hello(name: bytes) -> bytes:
    client_side = ssl.create_default_context()
    outgoing = ssl.MemoryBIO()
    connection = client_side.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name.decode())
    with pytest.raises(ssl.SSLWantReadError):
        connection.do_handshake()
    return outgoing.read()


def test_pipelined_queries_are_answered_as_answers_come(server: ssl.SSLContext, trusting: ssl.SSLContext) -> None:
    def script(asked: Any) -> list[bytes]:
        if b"slow" in asked.packet.lower():
            time.sleep(0.3)
        return right(asked)

    with (
        DnsServer(script) as upstream,
        serving([Server("udp", LOCAL, upstream.port)], tls=lambda: server) as resolver,
        connect(resolver, trusting) as client,
    ):
        client.sendall(framed(wire("slow.example.com", ident=1), wire("fast.example.com", ident=2), wire(ident=3)))
        assert [read(client)[1] for _ in range(3)] == [3, 2, 1]
        client.sendall(framed(*(wire(ident=ident) for ident in range(1000))))
        assert sorted(int.from_bytes(read(client)[:2]) for _ in range(1000)) == list(range(1000))


def test_a_query_in_many_records(resolver: Running, trusting: ssl.SSLContext) -> None:
    with connect(resolver, trusting) as client:
        for octet in framed(wire()):
            client.sendall(bytes((octet,)))
        assert read(client)[:2] == wire()[:2]


def test_large_answers_come_whole(server: ssl.SSLContext, trusting: ssl.SSLContext) -> None:
    """More than one TLS record."""
    text = " ".join(f'"{"x" * 250}"' for _ in range(200))
    with (
        DnsServer(lambda asked: [reply(asked.packet, TXT=text)]) as upstream,
        serving([Server("tcp", LOCAL, upstream.port)], tls=lambda: server) as resolver,
        connect(resolver, trusting) as client,
    ):
        client.sendall(framed(wire("example.com", "TXT")))
        assert len(dns.message.from_wire(read(client)).answer[0][0].strings) == 200


def test_a_goodbye_is_answered_after_what_was_asked(resolver: Running, trusting: ssl.SSLContext) -> None:
    client = connect(resolver, trusting)
    client.sendall(framed(wire()))
    assert read(client)
    raw = client.unwrap()  # waits for the other side's goodbye
    assert raw.recv(1) == b""
    raw.close()


@pytest.mark.parametrize("talk", [b"", b"\x16", b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03"])
def test_a_handshake_that_does_not_come_to_an_end(server: ssl.SSLContext, talk: bytes) -> None:
    """Nothing, or an octet now and then: it has the time of one query."""
    with serving(limits=Limits(complete=0.3), tls=lambda: server) as resolver:
        started = time.monotonic()
        with socket.create_connection((LOCAL, resolver.port), 0.1) as client:
            client.sendall(talk)
            while time.monotonic() < started + 2:
                try:
                    if client.recv(1) == b"":
                        break
                except TimeoutError:
                    client.sendall(b"\0" if talk else b"")
                except ConnectionError:
                    break
        assert 0.2 < time.monotonic() - started < 1.0


@pytest.mark.parametrize(
    "talk",
    [framed(wire()), b"GET / HTTP/1.1\r\nHost: dns.example.test\r\n\r\n", b"\xff" * 300, b"\x16\x03\x03\xff\xff" * 50],
)
def test_what_is_no_tls_ends_the_connection(resolver: Running, trusting: ssl.SSLContext, talk: bytes) -> None:
    with socket.create_connection((LOCAL, resolver.port), 2) as client:
        client.sendall(talk)
        started = time.monotonic()
        try:
            while client.recv(100):
                pass
        except ConnectionError:
            pass
        assert time.monotonic() - started < 1
    assert resolver.engine.counters.queries == 0
    assert ask(resolver, trusting).answer


def test_idle_and_slow_connections_end(server: ssl.SSLContext, trusting: ssl.SSLContext) -> None:
    """A part of a query, and nothing: as over TCP."""
    limits = Limits(complete=0.3, idle=0.5)
    with serving(limits=limits, tls=lambda: server) as resolver:
        for part, most in ((b"\0\x20abc", 0.45), (framed(wire()), 0.8)):
            with connect(resolver, trusting) as client:
                client.sendall(part)
                if part == framed(wire()):
                    assert read(client)
                started = time.monotonic()
                assert not read(client)
                assert 0.2 < time.monotonic() - started < most


def test_reset_while_we_write(resolver: Running, trusting: ssl.SSLContext) -> None:
    for number in range(20):
        client = connect(resolver, trusting)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.sendall(framed(*[wire(f"{number}.blocked.test")] * 50))
        client.close()
    assert ask(resolver, trusting).answer


def test_a_client_that_never_reads(server: ssl.SSLContext, trusting: ssl.SSLContext) -> None:
    text = " ".join(f'"{"x" * 250}"' for _ in range(200))
    with (
        DnsServer(lambda asked: [reply(asked.packet, TXT=text)]) as upstream,
        serving(
            [Server("tcp", LOCAL, upstream.port)], limits=Limits(idle=0.3, unsent=1 << 16), tls=lambda: server
        ) as resolver,
        connect(resolver, trusting, timeout=0.5) as client,
    ):
        queries = framed(*[wire("example.com", "TXT")] * 200_000)
        with pytest.raises(OSError):  # noqa: PT011 - a full buffer or a reset, whichever comes first
            client.sendall(queries)
        time.sleep(0.5)
        assert resolver.engine.counters.queries < 2000
        assert ask(resolver, trusting).answer


def test_who_is_not_heard_gets_no_handshake(server: ssl.SSLContext, trusting: ssl.SSLContext) -> None:
    rules = Rules(allow=("10.0.0.0/8",), silent=True)
    with serving(access=rules, tls=lambda: server) as resolver, pytest.raises((ssl.SSLError, ConnectionError)):
        connect(resolver, trusting)
    with serving(access=rules._replace(silent=False), tls=lambda: server) as resolver:
        assert ask(resolver, trusting).rcode() == dns.rcode.REFUSED
    with serving(access=rules._replace(allow=PRIVATE), tls=lambda: server) as resolver:
        assert ask(resolver, trusting).answer


def test_a_new_certificate_is_for_new_connections(pair: Pair, server: ssl.SSLContext, tmp_path: Path) -> None:
    newer = certificate(tmp_path, NAME)
    current = [server]
    trusts = [ssl.create_default_context(cafile=str(known.cert)) for known in (pair, newer)]
    with serving(tls=lambda: current[-1]) as resolver, connect(resolver, trusts[0]) as before:
        current.append(context(*newer))
        before.sendall(framed(wire()))
        assert read(before)
        assert ask(resolver, trusts[1]).answer
        with pytest.raises(ssl.SSLCertVerificationError):
            connect(resolver, trusts[0])


def test_many_clients_at_once(server: ssl.SSLContext, trusting: ssl.SSLContext) -> None:
    """Over UDP meanwhile, too."""
    with serving(tls=lambda: server) as resolver, ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(ask, resolver, trusting, f"{number}.blocked.test") for number in range(80)]
        query = dns.message.make_query("blocked.test", "A")
        assert all(dns.query.udp(query, LOCAL, timeout=5, port=resolver.port).answer for _ in range(80))
        assert all(answer.result().answer for answer in answers)


@pytest.mark.parametrize(
    ("cert", "key", "why"),
    [
        ("cert.pem", "none.pem", "none.pem: cannot be read: No such file or directory"),
        ("none.pem", "key.pem", "none.pem: cannot be read: No such file or directory"),
        ("cert.pem", "cert.pem", "no certificate with its key in PEM"),
        ("text.pem", "key.pem", "no certificate with its key in PEM"),
        ("cert.pem", "other.pem", "no certificate with its key in PEM: key values mismatch"),
        ("cert.pem", "locked.pem", "no certificate with its key in PEM"),
        (".", "key.pem", "cannot be read: Is a directory"),
    ],
)
def test_files_that_cannot_be_used(tmp_path: Path, cert: str, key: str, why: str) -> None:
    """An error that says which; a key with a password is not asked for it."""
    made = certificate(tmp_path)
    certificate(tmp_path, cert="other-cert.pem", key="other.pem")
    (tmp_path / "text.pem").write_text("nothing\n")
    locked = ["openssl", "ec", "-aes128", "-passout", "pass:secret", "-in", str(made.key), "-out"]
    subprocess.run([*locked, str(tmp_path / "locked.pem")], check=True, capture_output=True)
    with pytest.raises(ListenError, match=r"^tls: ") as caught:
        context(tmp_path / cert, tmp_path / key)
    assert why in str(caught.value)


def test_a_connection_is_small(server: ssl.SSLContext) -> None:
    """Before its handshake as after it: a flood of connections may not fill the memory."""
    import tracemalloc

    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    held = [Tls(server) for _ in range(100)]
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (after - before) / len(held) < 8192


def test_the_first_label_of_the_name_that_it_is_called_by_is_the_token(
    server: ssl.SSLContext, trusting: ssl.SSLContext
) -> None:
    class Tokens(Trees):
        def profile(self, client: str, token: str = "") -> int:
            return int(token == "dns")

        def decide(self, profile: int, key: bytes, qtype: int) -> Verdict:
            return super().decide(profile, key, qtype) if profile else FORWARD

    with serving(tls=lambda: server, policy=Tokens({"blocked.test": BLOCK})) as resolver:
        assert ask(resolver, trusting).answer[0][0].to_text() == "0.0.0.0"
        trusting.check_hostname = False
        for name in ("other.example.test", "xdns.example.test"):
            with connect(resolver, trusting, name) as sock:
                sock.sendall(framed(dns.message.make_query("x.blocked.test", "A").to_wire()))
                assert dns.message.from_wire(read(sock)).rcode() == dns.rcode.SERVFAIL
