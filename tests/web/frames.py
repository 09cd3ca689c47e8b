"""An HTTP/2 client over TLS, frame by frame: for what no ordinary client would send."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import dns.message
import h2.config
import h2.connection
import h2.events

from sinkhole.web.doh import MESSAGE
from tests.web.serving import Web

#: A query for a name that is blocked.
WIRE = dns.message.make_query("x.blocked.test", "A").to_wire()


class Client:
    """One HTTP/2 connection over TLS, frame by frame."""

    def __init__(self, sock: ssl.SSLSocket) -> None:
        self.sock = sock
        self.http = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding=None))
        self.http.initiate_connection()

    def flush(self) -> None:
        self.sock.sendall(self.http.data_to_send())

    def hear(self) -> list[h2.events.Event]:
        """What comes next; nothing more: an empty list."""
        while True:
            try:
                data = self.sock.recv(65_536)
            except (ConnectionError, ssl.SSLError):
                return []
            if not data:
                return []
            if events := self.http.receive_data(data):
                if reply := self.http.data_to_send():
                    self.sock.sendall(reply)
                return events

    def until(self, kind: type[h2.events.Event], count: int = 1) -> list[h2.events.Event]:
        """All events until the ``count``-th of a kind, or the end."""
        found: list[h2.events.Event] = []
        while sum(isinstance(event, kind) for event in found) < count and (more := self.hear()):
            found += more
        return found

    def post(self, body: bytes = WIRE, *, length: int | None = None, end: bool = True) -> int:
        stream = self.http.get_next_available_stream_id()
        headers = [(":method", "POST"), (":path", "/dns-query"), (":scheme", "https"), (":authority", "x")]
        headers += [("content-type", MESSAGE), ("content-length", str(len(body) if length is None else length))]
        self.http.send_headers(stream, headers)
        if body:
            self.http.send_data(stream, body, end_stream=end)
        return stream


@contextmanager
def http2(web: Web, trusting: ssl.SSLContext, timeout: float = 5.0) -> Iterator[Client]:
    with (
        socket.create_connection(("127.0.0.1", web.port), timeout) as raw,
        trusting.wrap_socket(raw, server_hostname="dns.example.test") as sock,
    ):
        assert sock.selected_alpn_protocol() == "h2"
        yield Client(sock)


def status(events: Sequence[h2.events.Event]) -> list[str]:
    """The status of every response."""
    return [
        dict(event.headers)[b":status"].decode() for event in events if isinstance(event, h2.events.ResponseReceived)
    ]
