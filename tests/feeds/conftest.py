"""A real HTTP server on loopback that says exactly the bytes a test wants, well formed or not."""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from threading import Thread

import pytest

#: From the request's head to the pieces of the raw reply; to raise ``ConnectionResetError`` resets the connection.
Reply = Callable[[str], Iterable[bytes]]


@pytest.fixture
def serve() -> Iterator[Callable[[Reply], str]]:
    """``serve(reply)`` starts a server and gives its URL without the last slash."""
    yield from _server(None)


@pytest.fixture
def serve_tls(certificate: str) -> Iterator[Callable[[Reply], str]]:
    """The same with TLS, under the certificate of ``feed.test``, ``localhost`` and 127.0.0.1."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    yield from _server(context)


@pytest.fixture(scope="session")
def certificate() -> str:
    """A self-signed certificate with its key, made for these tests; it ends in 2120."""
    return str(Path(__file__).with_name("feed.test.pem"))


def _server(context: ssl.SSLContext | None) -> Iterator[Callable[[Reply], str]]:
    listeners: list[socket.socket] = []
    threads: list[Thread] = []

    def start(target: Callable[..., None], *args: object) -> None:
        threads.append(Thread(target=target, args=args))
        threads[-1].start()

    def serve(reply: Reply) -> str:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)
        start(accept, listener, reply)
        return f"http{'s' if context else ''}://127.0.0.1:{listener.getsockname()[1]}"

    def accept(listener: socket.socket, reply: Reply) -> None:
        with suppress(OSError):
            while True:
                start(answer, listener.accept()[0], reply)

    def answer(connection: socket.socket, reply: Reply) -> None:
        connection.settimeout(5)
        with suppress(OSError), connection:
            stream = context.wrap_socket(connection, server_side=True) if context else connection
            with stream:
                head = b""
                while not head.endswith(b"\r\n\r\n"):
                    if not (piece := stream.recv(4096)):
                        return
                    head += piece
                try:
                    for piece in reply(head.decode("latin-1")):
                        stream.sendall(piece)
                except ConnectionResetError:
                    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    yield serve
    for listener in listeners:
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
    for thread in threads:
        thread.join(5)
        assert not thread.is_alive()
