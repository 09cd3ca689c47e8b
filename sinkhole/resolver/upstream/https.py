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
from typing import Any

from sinkhole.resolver.message import BadResponse, Query, Response
from sinkhole.resolver.upstream.question import Asker, packet, read_any_case
from sinkhole.resolver.upstream.stream import CONNECT, IDLE, SILENCE, Addresses

MAX_BODY = 65_535
#: Questions under way to one server.
DEPTH = 1024

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

    def ask(self, query: Query, asker: Asker) -> Exchange:
        if len(self._tasks) >= DEPTH:
            raise OSError("too much is under way")
        exchange = Exchange(self, query, asker)
        self._tasks.add(exchange.task)
        exchange.task.add_done_callback(self._tasks.discard)
        return exchange

    async def exchange(self, query: Query) -> Response:
        """Raises OSError when there is no answer, and :class:`~sinkhole.resolver.message.BadResponse` for a bad one."""
        if self._client is None or self._client.cancelled():
            self._client = asyncio.ensure_future(self._open())
        httpx, client = await asyncio.shield(self._client)
        question = query.name + query.question[-4:]
        asked = packet(0, query, question, padded=True)  # RFC 8484 4.1: id 0 suits caches, and tells nothing
        error: Exception = OSError("no address")
        for address in sorted(await self.addresses(), key=lambda address: address != self._address):
            where = f"[{address}]" if ":" in address else address
            request = client.build_request(
                "POST",
                f"https://{where}:{self.port}{self.path}",
                content=asked,
                headers={"host": f"{self.host}:{self.port}" if self.port != 443 else self.host},
                extensions={"sni_hostname": self.name},
            )
            for _ in range(2):  # a connection that was kept may have ended meanwhile
                try:
                    answer = await self._send(client, request)
                except BadResponse:
                    raise
                except (httpx.ConnectError, httpx.ConnectTimeout) as failure:  # also an unverified certificate
                    error = failure
                    break
                except Exception as failure:  # noqa: BLE001 - whatever three libraries raise, it is no answer
                    error = failure
                else:
                    self._address = address
                    return read_any_case(answer, 0, question)[0]
        raise OSError(str(error)) from error

    async def _open(self) -> Any:
        """(httpx, its client)"""
        httpx = await asyncio.to_thread(importlib.import_module, "httpx")
        logging.getLogger("httpx").setLevel(logging.WARNING)  # it has a line for every request
        await asyncio.to_thread(importlib.import_module, "h2.connection")
        client = httpx.AsyncClient(
            http2=True,
            verify=self.trust,
            trust_env=False,
            follow_redirects=False,
            headers={"accept": _TYPE, "content-type": _TYPE, "user-agent": "", "accept-encoding": "identity"},
            timeout=httpx.Timeout(None, connect=CONNECT),  # the lookup ends what takes too long
            limits=httpx.Limits(max_connections=4, max_keepalive_connections=4, keepalive_expiry=3 * IDLE),
        )
        return httpx, client

    async def _send(self, client: Any, request: Any) -> bytes:
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

    def check(self, since: float) -> None:
        """Somebody waited in vain since then: connections that brought nothing either are dead, so begin anew."""
        if self.heard_at < since < asyncio.get_running_loop().time() - SILENCE:
            self.close()

    def close(self) -> None:
        if self._client and self._client.done() and not self._client.cancelled() and not self._client.exception():
            task = asyncio.ensure_future(self._client.result()[1].aclose())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        self._client = None


class Exchange:
    """One question under way, in a task of its own."""

    def __init__(self, server: Https, query: Query, asker: Asker) -> None:
        self.server = server
        self.asker = asker
        loop = asyncio.get_running_loop()
        self.since = loop.time()
        self.task = loop.create_task(self._run(query))

    async def _run(self, query: Query) -> None:
        try:
            response = await self.server.exchange(query)
        except OSError:
            self.asker.failed()
        except BadResponse:
            self.server.strays += 1
            self.asker.failed()
        else:
            self.asker.heard(response)

    def cancel(self) -> None:
        self.task.cancel()
        self.server.check(self.since)
