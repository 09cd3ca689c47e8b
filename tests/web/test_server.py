"""What a web server meets beside requests: slow, silent, greedy and malformed clients. The others are served."""

from __future__ import annotations

import logging
import random
import socket
import ssl
import struct
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator

import dns.message
import h2.errors
import h2.events
import h2.settings
import httpx
import pytest

from sinkhole.resolver.listener import Limits
from sinkhole.resolver.listener.tls import HTTP, context
from sinkhole.web import server as module
from sinkhole.web.doh import MESSAGE
from sinkhole.web.server import MAX_HEAD
from tests.certificates import Pair, certificate
from tests.web.frames import Client, http2, status
from tests.web.serving import Web, serving

LOCAL = "127.0.0.1"
WIRE = dns.message.make_query("x.blocked.test", "A", id=0).to_wire()
PATH = f"/dns-query?dns={urlsafe_b64encode(WIRE).rstrip(b'=').decode()}"
GET = f"GET {PATH} HTTP/1.1\r\nHost: dns.example.test\r\n\r\n".encode()
HEAD_OF_POST = f"POST /dns-query HTTP/1.1\r\nHost: x\r\nContent-Type: {MESSAGE}\r\n".encode()
#: The kernel's own share in what a client that never reads is sent.
SMALL = Limits(complete=0.3, idle=0.6, unsent=1 << 14)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def server(pair: Pair) -> ssl.SSLContext:
    return context(*pair, HTTP)


@pytest.fixture(scope="module")
def trusting(pair: Pair) -> ssl.SSLContext:
    made = ssl.create_default_context(cafile=str(pair.cert))
    made.set_alpn_protocols(["h2"])
    return made


@pytest.fixture
def web() -> Iterator[Web]:
    with serving(limits=SMALL) as web:
        yield web


def connect(web: Web, timeout: float = 5.0) -> socket.socket:
    return socket.create_connection((LOCAL, web.port), timeout)


def told(sock: socket.socket) -> bytes:
    """All that comes until the other side ends it."""
    parts = []
    try:
        while part := sock.recv(65_536):
            parts.append(part)
    except ConnectionError:
        pass
    return b"".join(parts)


def ask(web: Web) -> None:
    """Another client, who is answered."""
    with connect(web) as client:
        client.sendall(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        assert told(client).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    ("talk", "drip"),
    [
        (b"", b""),
        (b"G", b""),
        (GET[:-2], b""),
        (b"GET / HTTP/1.1\r\n", b"X: y\r\n"),  # a head that never ends
    ],
)
def test_a_head_that_does_not_come_to_an_end(web: Web, talk: bytes, drip: bytes) -> None:
    """Octets that make no request buy no time."""
    started = time.monotonic()
    with connect(web, 0.1) as client:
        client.sendall(talk)
        while time.monotonic() < started + 3:
            try:
                if not client.recv(100):
                    break
            except TimeoutError:
                client.sendall(drip)
            except ConnectionError:
                break
    assert 0.4 < time.monotonic() - started < 1.5


def test_a_handshake_that_does_not_come_to_an_end(server: ssl.SSLContext) -> None:
    with serving(limits=SMALL, tls=lambda: server) as web, connect(web) as client:
        client.sendall(b"\x16\x03\x01\x02\0\x01\0")
        started = time.monotonic()
        told(client)
        assert 0.2 < time.monotonic() - started < 1.0


@pytest.mark.parametrize("length", [b"Content-Length: 100\r\n", b"Transfer-Encoding: chunked\r\n"])
def test_a_body_that_comes_octet_by_octet(web: Web, length: bytes) -> None:
    """408 within the time of a query, and the connection ends."""
    with connect(web, 0.05) as client:
        client.sendall(HEAD_OF_POST + length + b"\r\n")
        started = time.monotonic()
        said = b""
        while time.monotonic() < started + 3 and not said.startswith(b"HTTP/1.1 408"):
            try:
                client.sendall(b"x" if b"Content" in length else b"1\r\nx\r\n")
                said += client.recv(1000)
            except TimeoutError:
                pass
        assert 0.2 < time.monotonic() - started < 1.5
        client.settimeout(5)
        told(client)
    ask(web)


def test_slow_bodies_on_every_stream(server: ssl.SSLContext, trusting: ssl.SSLContext) -> None:
    """Each is told 408; what comes of them afterwards is thrown away, and the connection goes on."""
    with serving(limits=SMALL, tls=lambda: server) as web, http2(web, trusting) as client:
        streams = [client.post(b"x", length=100, end=False) for _ in range(50)]
        client.flush()
        assert status(client.until(h2.events.StreamEnded, 50)) == ["408"] * 50
        for stream in streams:
            client.http.send_data(stream, b"y" * 99, end_stream=True)
        client.post()
        client.flush()
        assert status(client.until(h2.events.StreamEnded)) == ["200"]
        assert web.server.crowd.total == 0


def test_idle_connections_end(server: ssl.SSLContext, trusting: ssl.SSLContext) -> None:
    """With pings and settings too, and after a stream that the client itself has ended."""
    with serving(limits=SMALL, tls=lambda: server) as web:
        for busy in (False, True):
            with http2(web, trusting, 0.1) as client:
                client.http.reset_stream(client.post(b"x", length=5, end=False))
                client.flush()
                started = time.monotonic()
                while time.monotonic() < started + 3:
                    try:
                        if not client.hear():
                            break
                    except TimeoutError:
                        if busy:
                            client.http.ping(b"12345678")
                            client.http.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 70_000})
                            client.flush()
                assert 0.4 < time.monotonic() - started < 1.5
    with serving(limits=SMALL) as web, connect(web) as plain:
        plain.sendall(GET)
        started = time.monotonic()
        assert told(plain).startswith(b"HTTP/1.1 200")
        assert 0.4 < time.monotonic() - started < 1.5


def test_heads_are_bounded(web: Web, server: ssl.SSLContext, trusting: ssl.SSLContext) -> None:
    for head in (
        b"GET / HTTP/1.1\r\nX: " + b"y" * (2 * MAX_HEAD),
        b"GET /" + b"a" * (2 * MAX_HEAD),
        b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * MAX_HEAD,
    ):
        with connect(web) as client:
            client.sendall(head)
            assert told(client).startswith((b"HTTP/1.1 431 ", b"HTTP/1.1 400 "))
    with serving(tls=lambda: server) as web2, http2(web2, trusting) as client2:
        headers = [(":method", "GET"), (":path", PATH), (":scheme", "https"), (":authority", "x")]
        client2.http.send_headers(1, [*headers, ("x", "y" * (2 * MAX_HEAD))], end_stream=True)
        client2.flush()
        ended = client2.until(h2.events.ConnectionTerminated)[-1]
        assert isinstance(ended, h2.events.ConnectionTerminated)
        assert ended.error_code == h2.errors.ErrorCodes.ENHANCE_YOUR_CALM


def test_connections_of_one_client_and_in_all_are_capped(server: ssl.SSLContext) -> None:
    """The one whose last request is longest ago makes room; a proxy's are not those of one client."""
    for limits, trusted in ((Limits(per_client=5), False), (Limits(connections=5), True)):
        with serving(limits=limits) as web:
            web.server.trusts = lambda client, trusted=trusted: trusted  # type: ignore[misc]
            clients = [connect(web) for _ in range(5)]
            for client in clients:  # until all are there
                client.sendall(GET)
                assert client.recv(1000).startswith(b"HTTP/1.1 200")
            clients[0].sendall(GET)
            assert clients[0].recv(1000).startswith(b"HTTP/1.1 200")
            ask(web)
            assert told(clients[1]) == b""
            assert len(web.server.connections.all) <= 5
            clients[0].sendall(GET)
            assert clients[0].recv(1000).startswith(b"HTTP/1.1 200")
            for client in clients:
                client.close()
    with serving(limits=Limits(per_client=2)) as web:
        web.server.trusts = lambda client: True
        clients = [connect(web) for _ in range(10)]
        for client in clients:
            client.sendall(GET)
            assert client.recv(1000).startswith(b"HTTP/1.1 200")
            client.close()


def test_streams_of_one_connection_are_capped(server: ssl.SSLContext, trusting: ssl.SSLContext) -> None:
    with serving(limits=Limits(in_flight=10), tls=lambda: server) as web, http2(web, trusting) as client:
        client.flush()
        client.until(h2.events.RemoteSettingsChanged)
        assert client.http.remote_settings.max_concurrent_streams == 10
        client.http.remote_settings[h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS] = 1000
        client.http.remote_settings.acknowledge()
        for _ in range(11):
            client.post(b"x", length=2, end=False)
        client.flush()
        assert any(isinstance(e, h2.events.ConnectionTerminated) for e in client.until(h2.events.ConnectionTerminated))


def test_requests_in_all_are_capped(
    server: ssl.SSLContext, trusting: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of one client too, when it is no proxy."""
    monkeypatch.setattr(module, "MAX_OF_CLIENT", 20)
    with serving(limits=SMALL, tls=lambda: server) as web, http2(web, trusting) as client:
        for _ in range(30):
            client.post(b"x", length=2, end=False)
        client.flush()
        assert sorted(status(client.until(h2.events.StreamEnded, 30))) == ["408"] * 20 + ["503"] * 10
        client.post()
        client.flush()
        assert status(client.until(h2.events.StreamEnded)) == ["200"]
    monkeypatch.setattr(module, "MAX_REQUESTS", 25)
    with serving(limits=SMALL, tls=lambda: server) as web:
        web.server.trusts = lambda client: True
        with http2(web, trusting) as client:
            for _ in range(30):
                client.post(b"x", length=2, end=False)
            client.flush()
            assert sorted(status(client.until(h2.events.StreamEnded, 30))) == ["408"] * 25 + ["503"] * 5


def test_a_client_that_never_reads(server: ssl.SSLContext, trusting: ssl.SSLContext) -> None:
    """Over HTTP/1.1, and over HTTP/2 with a window that stays shut: both end, and hold little meanwhile."""
    with serving(limits=SMALL) as web:
        with connect(web, 0.3) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            with pytest.raises(OSError):  # noqa: PT011 - a full buffer or a reset, whichever comes first
                client.sendall(GET * 200_000)
            time.sleep(1)
            assert web.engine.counters.queries < 100_000
            assert not web.server.connections.all
        ask(web)
    with serving(limits=SMALL, tls=lambda: server) as web, http2(web, trusting) as client2:
        client2.http.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 0})
        for _ in range(50):
            client2.post()
        client2.flush()
        assert status(client2.until(h2.events.ResponseReceived, 50)) == ["200"] * 50
        assert web.server.crowd.total == 50


def test_what_is_not_taken_is_given_up(
    server: ssl.SSLContext, trusting: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A window that stays shut holds a request no longer than any other."""
    monkeypatch.setattr(module, "PATIENCE", 0.3)
    with serving(limits=SMALL, tls=lambda: server) as web, http2(web, trusting) as client:
        client.http.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 0})
        for _ in range(50):
            client.post()
        client.flush()
        started = time.monotonic()
        while client.hear():
            pass
        assert 0.5 < time.monotonic() - started < 2.5
        assert web.server.crowd.total == 0


def test_half_closed_is_still_answered(web: Web, server: ssl.SSLContext, pair: Pair) -> None:
    """Over TLS, where the end comes with the request, too."""
    for _ in range(3):
        with connect(web) as client:
            client.sendall(GET * 3)
            client.shutdown(socket.SHUT_WR)
            assert told(client).count(b"HTTP/1.1 200") == 3
    with serving(tls=lambda: server) as secure, connect(secure) as raw:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        trusting = ssl.create_default_context(cafile=str(pair.cert))
        tls = trusting.wrap_bio(incoming, outgoing, server_hostname="dns.example.test")

        def done(step: Callable[[], bytes | None]) -> bytes | None:
            while True:
                try:
                    return step()
                except ssl.SSLWantReadError:
                    raw.sendall(outgoing.read())
                    heard = raw.recv(65_536)
                    assert heard
                    incoming.write(heard)

        done(tls.do_handshake)
        tls.write(GET)
        with pytest.raises(ssl.SSLWantReadError):
            tls.unwrap()
        assert (done(lambda: tls.read(1000)) or b"").startswith(b"HTTP/1.1 200")


def test_a_body_that_is_cut_off_reaches_nobody(web: Web) -> None:
    for end in (socket.SHUT_WR, socket.SHUT_RDWR):
        with connect(web) as client:
            client.sendall(HEAD_OF_POST + f"Content-Length: {len(WIRE) + 1}\r\n\r\n".encode() + WIRE)
            client.shutdown(end)
            told(client)
    ask(web)
    assert web.engine.counters.queries == 1


def test_pipelined_requests(web: Web) -> None:
    with connect(web) as client:
        client.sendall(GET * 99 + GET.replace(b"Host: ", b"Connection: close\r\nHost: "))
        assert told(client).count(b"HTTP/1.1 200") == 100


def test_octet_by_octet(web: Web) -> None:
    with connect(web) as client:
        for octet in GET.replace(b"Host: ", b"Connection: close\r\nHost: "):
            client.sendall(bytes((octet,)))
        assert told(client).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    "head",
    [
        b"Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n",
        b"Upgrade: TLS/1.2\r\nConnection: Upgrade\r\n",
    ],
)
def test_a_connection_is_never_upgraded(web: Web, head: bytes) -> None:
    """Through a proxy that passes this on, a client could speak without the proxy's headers from then on."""
    with connect(web) as client:
        client.sendall(GET.replace(b"Host: ", head + b"Host: "))
        assert client.recv(1000).startswith(b"HTTP/1.1 200")
        client.sendall(GET)
        assert client.recv(1000).startswith(b"HTTP/1.1 200")


def test_http2_is_not_assumed_without_tls(web: Web) -> None:
    with connect(web) as client:
        client.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9))
        assert told(client).startswith((b"HTTP/1.1 400", b"HTTP/1.1 404", b"HTTP/1.1 405", b"HTTP/1.1 505"))


def test_web_sockets_are_refused(web: Web) -> None:
    head = (
        b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: MTIzNDU2Nzg5MDEyMzQ1Ng==\r\n"
    )
    with connect(web) as client:
        client.sendall(GET.replace(b"Host: ", head + b"Host: "))
        assert told(client).startswith(b"HTTP/1.1 403")
    ask(web)


def test_a_length_and_chunks_at_once_are_refused(web: Web) -> None:
    """Where the body ends would be a matter of opinion, and a proxy's may be another one."""
    for lengths in (
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        b"Content-Length: 5\r\nContent-Length: 6\r\n",
        b"Content-Length: -1\r\n",
        b"Transfer-Encoding: gzip, chunked\r\n",
        b"Transfer-Encoding: identity\r\n",
    ):
        with connect(web) as client:
            client.sendall(HEAD_OF_POST + lengths + b"\r\n0\r\n\r\n" + GET)
            said = told(client)
            assert said.startswith((b"HTTP/1.1 400", b"HTTP/1.1 501")), lengths
            assert said.count(b"HTTP/1.1 ") == 1  # what may be another request is none


def test_a_body_without_end_is_told_so(web: Web) -> None:
    """Not read for ever, and not kept."""
    with connect(web) as client:
        client.sendall(HEAD_OF_POST + b"Transfer-Encoding: chunked\r\n\r\n")
        try:
            for _ in range(100):
                client.sendall(b"10000\r\n" + bytes(65_536) + b"\r\n")
        except ConnectionError:
            pass
        assert told(client)[:12] in (b"HTTP/1.1 413", b"")
    ask(web)


def test_a_fault_costs_one_request_and_one_line_a_second(caplog: pytest.LogCaptureFixture) -> None:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    async def fails(request: Request) -> Response:
        raise ValueError("secret")

    with (
        caplog.at_level(logging.INFO),
        serving(application=lambda engine: Starlette(routes=[Route("/", fails)])) as web,
        httpx.Client(base_url=f"http://{LOCAL}:{web.port}", trust_env=False) as client,
    ):
        for _ in range(10):
            said = client.get("/")
            assert said.status_code == 500
            assert "secret" not in said.text
        assert client.get("/x").status_code == 404
    lines = [record.getMessage() for record in caplog.records if record.name == "sinkhole.web.server"]
    assert 1 <= len(lines) <= 2
    assert lines[0] == "a connection from 127.0.0.1 failed: ValueError('secret')"


def _frames() -> Iterator[bytes]:
    """HTTP/2 frames of every type, with lengths, flags and streams that are right or not."""
    source = random.Random(7)
    while True:
        length = source.choice((0, 1, 4, 5, 6, 8, 9, 30))
        kind = source.choice((*range(11), 255))
        head = length.to_bytes(3) + bytes((kind, source.getrandbits(8)))
        yield head + source.choice((0, 1, 3, 2, 0x7FFFFFFF)).to_bytes(4) + source.randbytes(length)


def test_rubbish(server: ssl.SSLContext, trusting: ssl.SSLContext) -> None:
    """Octets by chance, requests with some of them wrong, frames that make no sense: an error or the end, and nothing
    that nobody caught."""
    source = random.Random(7)
    with serving(limits=SMALL) as web:
        for number in range(150):
            if number % 3:
                talk = bytearray(HEAD_OF_POST + f"Content-Length: {len(WIRE)}\r\n\r\n".encode() + WIRE)
                for _ in range(number % 7):
                    talk[source.randrange(len(talk))] = source.getrandbits(8)
            else:
                talk = bytearray(source.randbytes(200))
            with connect(web) as client:
                client.sendall(talk)
                client.shutdown(socket.SHUT_WR)
                assert told(client)[:5] in (b"", b"HTTP/")
        ask(web)
    frames = _frames()
    with serving(limits=SMALL, tls=lambda: server) as web:
        for _ in range(60):
            with http2(web, trusting) as client2:
                client2.post()
                client2.flush()
                try:
                    client2.sock.sendall(b"".join(next(frames) for _ in range(source.randrange(1, 8))))
                    while client2.sock.recv(65_536):
                        pass
                except (OSError, ssl.SSLError):
                    pass
        with http2(web, trusting) as client2:
            client2.post()
            client2.flush()
            assert status(client2.until(h2.events.StreamEnded)) == ["200"]


def test_reset_while_we_write(web: Web) -> None:
    for _ in range(20):
        client = connect(web)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.sendall(GET * 50)
        client.close()
    ask(web)


def test_a_new_certificate_is_for_new_connections(pair: Pair, trusting: ssl.SSLContext, tmp_path: object) -> None:
    from pathlib import Path

    newer = certificate(Path(str(tmp_path)))
    current = [context(*pair, HTTP)]
    with serving(tls=lambda: current[-1]) as web, http2(web, trusting) as before:
        current.append(context(*newer, HTTP))
        before.post()
        before.flush()
        assert status(before.until(h2.events.StreamEnded)) == ["200"]
        with pytest.raises(ssl.SSLCertVerificationError), http2(web, trusting):
            pass
        again = ssl.create_default_context(cafile=str(newer.cert))
        again.set_alpn_protocols(["h2"])
        with http2(web, again):
            pass


def test_the_end_waits_for_what_is_under_way(server: ssl.SSLContext, trusting: ssl.SSLContext) -> None:
    """After it, connections end with their last request."""
    import asyncio

    with serving(limits=SMALL, tls=lambda: server) as web, http2(web, trusting) as client:
        stream = client.post(WIRE[:5], length=len(WIRE), end=False)
        client.flush()
        client.until(h2.events.RemoteSettingsChanged)
        asyncio.run_coroutine_threadsafe(web.server.finish(), web.server.loop).result(5)
        client.http.send_data(stream, WIRE[5:], end_stream=True)
        client.flush()
        assert status(client.until(h2.events.ConnectionTerminated)) == ["200"]


def test_a_connection_is_small(server: ssl.SSLContext, trusting: ssl.SSLContext) -> None:
    """With a request behind it: a flood of connections may not fill the memory."""
    import gc
    import tracemalloc

    with serving(tls=lambda: server) as web:
        held: list[ssl.SSLSocket] = []
        for warm in (True, False):
            for _ in range(20):
                raw = socket.create_connection((LOCAL, web.port), 5)
                sock = trusting.wrap_socket(raw, server_hostname="dns.example.test")
                client = Client(sock)
                client.post()
                client.flush()
                assert status(client.until(h2.events.StreamEnded)) == ["200"]
                held.append(sock)
                del client
            if warm:
                gc.collect()
                tracemalloc.start()
                before, _ = tracemalloc.get_traced_memory()
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        for sock in held:
            sock.close()
        assert (after - before) / 20 < 100_000
