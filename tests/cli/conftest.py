"""A feed on loopback."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

#: A hosts list: ``ads-0.example.com`` in its first line, and nine more.
NAMES = "".join(f"0.0.0.0 ads-{number}.example.com\n" for number in range(10))


class Web:
    """An HTTP server on loopback; what it answers next, and what it does before that, is set on it."""

    def __init__(self) -> None:
        web = self
        self.status, self.body = 200, NAMES.encode()
        self.before: Callable[[], object] = lambda: None

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                web.before()
                self.send_response(web.status)
                self.send_header("Content-Length", str(len(web.body)))
                self.end_headers()
                self.wfile.write(web.body)

            def log_message(self, format: str, *arguments: object) -> None:
                """Quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/list.txt"


@pytest.fixture
def web() -> Iterator[Web]:
    web = Web()
    thread = threading.Thread(target=web.server.serve_forever, args=(0.01,))
    thread.start()
    yield web
    web.server.shutdown()
    thread.join()
    web.server.server_close()
