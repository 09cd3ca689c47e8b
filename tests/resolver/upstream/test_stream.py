from __future__ import annotations

import asyncio
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import dns.message
import pytest

from sinkhole.resolver.message import NOERROR, SERVFAIL, Response
from sinkhole.resolver.upstream import Forwarder, Server, stream
from sinkhole.resolver.upstream.transports import Transports
from tests.authority import Authority
from tests.dnsserver import Asked, DnsServer, reply
from tests.relay import Relay
from tests.resolver.upstream.asking import ADDRESS, ask, asked, closed, query, responses, right, run


def tcp(server: DnsServer | Relay) -> Server:
    return Server("tcp", "127.0.0.1", server.port)


def secure(port: int, authority: Authority | None, host: str = "127.0.0.1") -> Forwarder:
    transports = Transports(None, str(authority.file) if authority else "")
    return Forwarder([Server("tls", host, port)], transports=transports)


def answering(asked: Asked) -> list[bytes]:
    return [right(asked)]


def test_a_hundred_questions_share_one_connection() -> None:
    """And the next ones too: it stays. Every id on it is another one."""
    with DnsServer(answering) as server:
        forwarder = Forwarder([tcp(server)])

        async def main() -> None:
            for batch in range(2):
                await responses(forwarder, *(query(f"n{batch}-{number}.example.com") for number in range(100)))
            forwarder.close()

        run(main())
    assert len({asked.port for asked in server.asked}) == 1
    assert len(server.asked) == 200


def test_answers_in_any_order() -> None:
    """They are told apart by their ids (RFC 7766 6.2.1.1)."""
    held: list[bytes] = []

    def script(asked: Asked) -> list[bytes]:
        held.append(reply(asked.packet, A=f"192.0.2.{len(held)}"))
        return held[::-1] if len(held) == 5 else []

    with DnsServer(script) as server:
        found = ask([tcp(server)], *(query(f"n{number}.example.com") for number in range(5)))
    assert [response.records[-1] for response in found] == [0, 1, 2, 3, 4]


def test_a_server_that_ends_each_connection_after_one_answer_gets_one_question_at_a_time() -> None:
    """Ten at once are answered all the same, and the ten after them."""
    with DnsServer(answering, answers=1) as server:
        forwarder = Forwarder([tcp(server)])

        async def main() -> list[Response]:
            found = []
            for batch in range(2):
                found += await responses(forwarder, *(query(f"n{batch}-{number}.example.com") for number in range(10)))
            forwarder.close()
            return found

        assert {response.rcode for response in run(main())} == {NOERROR}


def test_a_connection_that_the_server_ended_is_replaced() -> None:
    """Between two questions, and with one under way (RFC 7766 6.2.4)."""
    with DnsServer(answering, answers=3) as server:
        forwarder = Forwarder([tcp(server)])

        async def main() -> list[Response]:
            found = []
            for number in range(10):
                found += await responses(forwarder, query(f"n{number}.example.com"))
            forwarder.close()
            return found

        assert {response.rcode for response in run(main())} == {NOERROR}
    assert len({asked.port for asked in server.asked}) == 4


def test_a_connection_that_says_nothing_any_more_is_replaced() -> None:
    """Such as behind a router that forgot it. What was asked on it is asked again on another, in time."""
    with DnsServer(answering) as server, Relay(server.port) as relay:
        forwarder = Forwarder([tcp(relay)], 3.0)

        async def main() -> list[Response]:
            found = await responses(forwarder, query())
            relay.freeze()
            found += await responses(forwarder, query("lost.example.com"))
            found += await responses(forwarder, query("next.example.com"))
            forwarder.close()
            return found

        assert [response.rcode for response in run(main())] == [NOERROR, NOERROR, NOERROR]
        assert relay.accepted == 2


def test_a_connection_is_closed_when_it_has_been_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "IDLE", 0.1)
    with DnsServer(answering) as server:
        forwarder = Forwarder([tcp(server)])

        async def main() -> None:
            for _ in range(2):
                await responses(forwarder, query())
                await asyncio.sleep(0.2)
            forwarder.close()

        run(main())
    assert len({asked.port for asked in server.asked}) == 2


def test_what_is_under_way_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that never answers: questions on each connection and connections have a bound; beyond is a failure."""
    monkeypatch.setattr(stream, "DEPTH", 4)
    monkeypatch.setattr(stream, "CONNECTIONS", 3)
    with DnsServer(lambda asked: []) as server:
        forwarder = Forwarder([tcp(server)], 0.3)
        queries = [query(f"n{number}.example.com") for number in range(20)]
        found = run(asked(forwarder, *queries))
        assert len({asked.port for asked in server.asked}) == 3
        assert len([asked for asked in server.asked if "sinkhole" not in asked.name]) == 12
    assert {response.rcode for response in found} == {SERVFAIL}


def framed(*packets: bytes) -> bytes:
    return b"".join(len(packet).to_bytes(2) + packet for packet in packets)


RUBBISH: dict[str, Callable[[bytes], bytes]] = {
    "page": lambda packet: b"HTTP/1.1 400 Bad Request\r\n\r\n" * 100,
    "nothing": lambda packet: framed(b""),
    "octet": lambda packet: framed(packet[:1]),
    "id that nobody asked with": lambda packet: framed(bytes((packet[0] ^ 1,)) + reply(packet)[1:]),
    "question": lambda packet: framed(reply(packet).replace(b"\7example", b"\7exbmple")),
    "query": lambda packet: framed(packet),
    "cut": lambda packet: framed(packet[:2] + b"\x81\x80" + bytes(8)),
    "truncated": lambda packet: framed(packet[:2] + b"\x83\x80" + reply(packet)[4:]),
    "cut off": lambda packet: framed(reply(packet))[:-3],
}


@contextmanager
def saying(told: Callable[[bytes], bytes]) -> Iterator[int]:
    """A server that answers the first query of each connection with these octets, and ends it."""

    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    sock, _ = listening.accept()
                except OSError:
                    return
                with sock, sock.makefile("rb") as read:
                    packet = read.read(int.from_bytes(read.read(2)))
                    if packet:
                        sock.sendall(told(packet))

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)
        thread.join(5)


@pytest.mark.parametrize("told", RUBBISH.values(), ids=RUBBISH)
def test_rubbish_over_a_connection_is_a_failure_at_once(told: Callable[[bytes], bytes]) -> None:
    with saying(told) as port:
        started = time.monotonic()
        (response,) = ask([Server("tcp", "127.0.0.1", port)], query())
    assert (response.rcode, response.options) == (SERVFAIL, b"\0\x0f\0\2\0\x17")
    assert time.monotonic() - started < 1


def test_what_is_sent_over_tls(authority: Authority) -> None:
    """Padded to whole blocks (RFC 8467), and in lower case: TLS says who answers."""
    with DnsServer(answering, tls=authority.issue("127.0.0.1").context()) as server:
        found = run(asked(secure(server.port, authority), query(), query("a-longer-name.example.com"), query(do=True)))
    assert all(response.records.endswith(ADDRESS) for response in found)
    assert {len(asked.packet) for asked in server.asked} == {128}
    assert {asked.transport for asked in server.asked} == {"tls"}
    assert len({asked.port for asked in server.asked}) == 1
    sent = dns.message.from_wire(server.asked[0].packet)
    assert sent.question[0].to_text() == "example.com. IN A"
    assert [option.otype for option in sent.options] == [12]


@pytest.mark.parametrize("fault", ["name", "expired", "authority"])
def test_a_certificate_that_is_not_right_is_a_failure(fault: str, authority: Authority) -> None:
    """At once, and no query is sent."""
    issued = authority.issue("127.0.0.2" if fault == "name" else "127.0.0.1", days=-1 if fault == "expired" else 30)
    with DnsServer(answering, tls=issued.context()) as server:
        started = time.monotonic()
        (response,) = run(asked(secure(server.port, None if fault == "authority" else authority), query()))
        assert time.monotonic() - started < 1
    assert (response.rcode, response.options) == (SERVFAIL, b"\0\x0f\0\2\0\x17")
    assert not server.asked


def test_a_server_that_speaks_no_tls_is_a_failure(authority: Authority) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    sock, _ = listening.accept()
                except OSError:
                    return
                with sock:
                    sock.recv(1000)
                    sock.sendall(b"220 mail.example.com ESMTP\r\n")

        thread = threading.Thread(target=serve)
        thread.start()
        (response,) = run(asked(secure(listening.getsockname()[1], authority), query()))
        listening.shutdown(socket.SHUT_RDWR)
        thread.join(5)
    assert (response.rcode, response.options) == (SERVFAIL, b"\0\x0f\0\2\0\x17")


def test_nobody_there_is_a_failure_at_once(authority: Authority) -> None:
    with closed() as place:
        started = time.monotonic()
        (response,) = run(asked(secure(place.port, authority), query()))
        assert time.monotonic() - started < 1
    assert response.rcode == SERVFAIL


def test_unbound_over_tls(authority: Authority, peer: Callable[[str], str], tmp_path: Path) -> None:
    """Two hundred questions at once, over as many connections as it takes, some of them with large answers."""
    issued = authority.issue("127.0.0.1")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    text = " ".join(f'"{"x" * 200}"' for _ in range(20))
    config = tmp_path / "unbound.conf"
    config.write_text(f"""
server:
  interface: 127.0.0.1@{port}
  tls-port: {port}
  tls-service-key: "{issued.key}"
  tls-service-pem: "{issued.certificate}"
  username: ""
  chroot: ""
  directory: "{tmp_path}"
  pidfile: ""
  use-syslog: no
  do-daemonize: no
  local-zone: "example.com." redirect
  local-data: "example.com. 300 IN A 192.0.2.1"
  local-data: 'example.com. 300 IN TXT {text}'
remote-control:
  control-enable: no
""")
    with subprocess.Popen([peer("unbound"), "-d", "-c", config], stderr=subprocess.DEVNULL) as process:
        try:
            for _ in range(200):
                try:
                    socket.create_connection(("127.0.0.1", port)).close()
                    break
                except OSError:
                    time.sleep(0.02)
            queries = [query(f"n{number}.example.com", "TXT" if number % 5 == 0 else "A") for number in range(200)]
            found = run(asked(secure(port, authority), *queries))
        finally:
            process.terminate()
    assert {response.rcode for response in found} == {NOERROR}
    assert {len(response.records) > 4000 for response in found[::5]} == {True}
