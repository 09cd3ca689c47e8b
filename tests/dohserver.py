"""A DNS server over HTTPS that answers what a test tells it to, on a free loopback port: hypercorn with a small app.

::

    with DohServer(lambda asked: Said(reply(asked.packet, A="192.0.2.1")), issued) as upstream:
        ...
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, NamedTuple, Self

from hypercorn.asyncio import serve
from hypercorn.config import Config

from tests.authority import Issued
from tests.dnsserver import Asked


class Said(NamedTuple):
    """A response: its body, sent ``pieces`` times over, status, type, more headers, and seconds before it comes."""

    body: bytes
    status: int = 200
    type: str = "application/dns-message"
    headers: tuple[tuple[bytes, bytes], ...] = ()
    pieces: int = 1
    wait: float = 0.0


class Got(NamedTuple):
    """A request: method, path, its headers, and the HTTP version."""

    method: str
    path: str
    headers: dict[bytes, bytes]
    version: str


class DohServer:
    """A context manager: listens from entry to exit. ``asked`` and ``got`` are every request in order of arrival.

    It ends a connection that brought nothing for half a second.
    """

    def __init__(self, script: Callable[[Asked], Said], issued: Issued) -> None:
        self.asked: list[Asked] = []
        self.got: list[Got] = []
        self._script = script
        sock = socket.create_server(("127.0.0.1", 0))
        self.port: int = sock.getsockname()[1]
        self._config = Config()
        self._config.bind = [f"fd://{sock.detach()}"]
        self._config.certfile, self._config.keyfile = str(issued.certificate), str(issued.key)
        self._config.graceful_timeout = 0.2
        self._config.keep_alive_timeout = 0.5
        self._config.loglevel = "CRITICAL"
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    async def _app(
        self,
        scope: dict[str, Any],
        receive: Callable[[], Awaitable[dict[str, Any]]],
        send: Callable[[dict[str, Any]], Awaitable[None]],
    ) -> None:
        if scope["type"] != "http":
            return
        body, more = b"", True
        while more:
            event = await receive()
            if event["type"] == "http.disconnect":
                return
            body += event.get("body", b"")
            more = event.get("more_body", False)
        self.got.append(Got(scope["method"], scope["raw_path"].decode(), dict(scope["headers"]), scope["http_version"]))
        self.asked.append(asked := Asked(body, "https", scope["client"][1]))
        said = self._script(asked)
        await asyncio.sleep(said.wait)
        headers = [(b"content-type", said.type.encode()), *said.headers]
        await send({"type": "http.response.start", "status": said.status, "headers": headers})
        for left in reversed(range(said.pieces)):
            await send({"type": "http.response.body", "body": said.body, "more_body": bool(left)})

    def _run(self) -> None:
        async def stopped() -> None:
            while not self._stop.is_set():
                await asyncio.sleep(0.02)

        async def main() -> None:
            asyncio.get_running_loop().set_exception_handler(lambda *_: None)  # of connections that a test cuts
            await serve(self._app, self._config, shutdown_trigger=stopped, mode="asgi")  # type: ignore[arg-type]

        asyncio.run(main())

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(10)
