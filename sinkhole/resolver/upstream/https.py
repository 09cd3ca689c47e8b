"""Questions over HTTPS (RFC 8484): POST over one HTTP/2 connection that httpx keeps, with id 0 on the wire.

httpx is imported when the first question is asked, in a thread, so that workers without such a server stay small and a
running one does not stop for it. The address comes from :mod:`~sinkhole.resolver.upstream.bootstrap`, never from the
system, and the certificate is verified for the host name. Nothing is taken from the environment, no redirect is
followed.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import ssl
from collections.abc import Coroutine
from typing import Any

from sinkhole.resolver.message import BadResponse, Query, Response
from sinkhole.resolver.upstream.question import Asker, packet, read_any_case
from sinkhole.resolver.upstream.stream import CONNECT, IDLE, SILENCE, Addresses

MAX_BODY = 65_535
#: Questions that wait for one server, and those of them that are sent at a time: BIND 9.18 falls silent over 16 on one
#: connection, and httpcore trips over its own count of them at 100.
DEPTH, SENT = 1024, 8

#: What httpx raises when no connection could be made, or none with a certificate that is verified.
_UNREACHED = frozenset({"ConnectError", "ConnectTimeout"})
_TYPE = "application/dns-message"


class Https:
    """A server by host name (or address), port and path."""

    def __init__(self, addresses: Addresses, host: str, port: int, path: str, trust: ssl.SSLContext) -> None:
        self.addresses = addresses
        self.host = f"[{host}]" if ":" in host else host
        self.name = host
        self.port = port
        self.path = path
        self.trust = trust
        self.strays = 0
        self.heard_at = 0.0
        self._address = ""  # the one that answered last
        self._client: asyncio.Future[Any] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._room = asyncio.Semaphore(SENT)

    def ask(self, query: Query, asker: Asker) -> Exchange:
        if len(self._tasks) >= DEPTH:
            raise OSError("too much is under way")
        return Exchange(self, query, asker)

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def exchange(self, query: Query) -> Response:
        """Raises OSError when there is no answer, and :class:`~sinkhole.resolver.message.BadResponse` for a bad one."""
        question = query.name + query.question[-4:]
        asked = packet(0, query, question, padded=True)  # RFC 8484 4.1: id 0 suits caches, and tells nothing
        error: Exception = OSError("no address")
        for address in sorted(await self.addresses(), key=lambda address: address != self._address):
            for _ in range(2):  # a connection that was kept may have ended meanwhile
                try:
                    async with self._room:
                        answer = await self._send(address, asked)
                except BadResponse:
                    raise
                except Exception as failure:  # noqa: BLE001 - whatever three libraries raise, it is no answer
                    error = failure
                    if type(failure).__name__ in _UNREACHED:
                        break
                else:
                    self._address = address
                    return read_any_case(answer, 0, question)[0]
        raise OSError(str(error)) from error

    async def _open(self) -> Any:
        """The client of httpx."""
        httpx = await asyncio.to_thread(importlib.import_module, "httpx")
        logging.getLogger("httpx").setLevel(logging.WARNING)  # it has a line for every request
        await asyncio.to_thread(importlib.import_module, "h2.connection")
        return httpx.AsyncClient(
            http2=True,
            verify=self.trust,
            trust_env=False,
            follow_redirects=False,
            headers={"accept": _TYPE, "content-type": _TYPE, "user-agent": "", "accept-encoding": "identity"},
            timeout=httpx.Timeout(None, connect=CONNECT),  # the lookup ends what takes too long
            limits=httpx.Limits(max_connections=4, max_keepalive_connections=4, keepalive_expiry=3 * IDLE),
        )

    async def _send(self, address: str, asked: bytes) -> bytes:
        if self._client is None or self._client.cancelled():
            self._client = asyncio.ensure_future(self._open())
        client = await asyncio.shield(self._client)
        request = client.build_request(
            "POST",
            f"https://{f'[{address}]' if ':' in address else address}:{self.port}{self.path}",
            content=asked,
            headers={"host": f"{self.host}:{self.port}" if self.port != 443 else self.host},
            extensions={"sni_hostname": self.name},
        )
        response = await client.send(request, stream=True)
        try:
            self.heard_at = asyncio.get_running_loop().time()
            if response.status_code != 200:
                raise BadResponse(f"status {response.status_code}")
            if response.headers.get("content-type", "").partition(";")[0].strip().lower() != _TYPE:
                raise BadResponse("another content type")
            answer = bytearray()
            async for chunk in response.aiter_raw():
                answer += chunk
                if len(answer) > MAX_BODY:
                    raise BadResponse("longer than a message")
            return bytes(answer)
        finally:
            await response.aclose()

    def check(self, since: float) -> bool:
        """Somebody waited in vain since then: connections that brought nothing either are dead, so begin anew."""
        dead = 0 < self.heard_at < since < asyncio.get_running_loop().time() - SILENCE
        if dead:
            self.close()
        return dead

    def close(self) -> None:
        if self._client and self._client.done() and not self._client.cancelled() and not self._client.exception():
            self.spawn(self._client.result().aclose())
        self._client = None
        self.heard_at = 0.0  # what is not made yet is not dead


class Exchange:
    """One question under way, in a task of its own."""

    def __init__(self, server: Https, query: Query, asker: Asker) -> None:
        self.server = server
        self.asker = asker
        self.query = query
        self.since = asyncio.get_running_loop().time()
        self.task = server.spawn(self._run())

    async def _run(self) -> None:
        try:
            response = await self.server.exchange(self.query)
        except OSError:
            self.asker.failed()
        except BadResponse:
            self.server.strays += 1
            self.asker.failed()
        else:
            self.asker.heard(response)

    def late(self) -> bool:
        """On a connection that is dead it is asked once more on another one."""
        if self.server.check(self.since):
            self.task.cancel()
            self.task = self.server.spawn(self._run())
        return False

    def cancel(self) -> None:
        self.task.cancel()
        self.server.check(self.since)
