"""HTTP/1.1 and HTTP/2 on sockets that are bound already. hypercorn speaks them; what it leaves open is bounded here.

By hypercorn: octets of a head, streams of a connection, parts of a body that wait. Here: connections, of one client and
in all; the time of a handshake, of a body, of a whole request, of a client that does not read, and of doing nothing;
octets of a body; requests in all; streams that a client resets (CVE-2023-44487), or has us reset (CVE-2025-8671).

A request reaches the application whole, so nothing behind it waits for a client.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable, MutableMapping
from functools import partial
from typing import Any, cast

import h11
from h2.errors import ErrorCodes
from h2.events import DataReceived, StreamReset
from h2.events import Event as H2Event
from hypercorn.asyncio.task_group import TaskGroup
from hypercorn.asyncio.worker_context import WorkerContext
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData
from hypercorn.protocol.h2 import H2Protocol
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.typing import ConnectionState
from starlette.responses import PlainTextResponse

from sinkhole.resolver.engine import Peer
from sinkhole.resolver.listener.tcp import Connections, Limits, accept
from sinkhole.resolver.listener.tls import Tls
from sinkhole.resolver.upstream.crowd import Crowd
from sinkhole.resolver.upstream.crowd import Limits as Most

log = logging.getLogger(__name__)

#: Octets of a head and of a body; octets of a body that are read at all, so that who sends it hears it is too large.
MAX_HEAD, MAX_BODY, MAX_READ = 16 << 10, 64 << 10, 1 << 20
#: Requests at a time: in all, and of one client.
MAX_REQUESTS, MAX_OF_CLIENT = 1024, 256
#: Streams that may be reset on one connection; seconds from a whole request to its end, more than any look-up takes.
MAX_RESETS, PATIENCE = 100, 15.0
#: Octets that wait to be understood before no more are read from a connection.
_UNREAD = 1 << 16
#: Seconds between two lines in the log about faults.
_QUIET = 1.0

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]


class Server:
    """Serves ``app``. ``tls`` gives the context of the moment, or None for plain HTTP; ``welcome`` says whether an
    address is served at all, and ``trusts`` whether it is a proxy's, whose connections are not those of one client."""

    def __init__(
        self,
        app: App,
        limits: Limits,
        tls: Callable[[], ssl.SSLContext | None] = lambda: None,
        welcome: Callable[[str], bool] = lambda client: True,
        trusts: Callable[[str], bool] = lambda client: False,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.app = app
        self.connections = Connections(limits)
        self.tls = tls
        self.trusts = trusts
        self.config = _config(limits)
        self.context = WorkerContext(None)
        #: Requests under way.
        self.crowd = Crowd(Most(MAX_REQUESTS, MAX_OF_CLIENT))
        self._welcome = welcome
        self._quiet_until = 0.0

    def serve(self, sock: socket.socket) -> Callable[[], None]:
        """Take connections; returns what ends all."""
        return accept(sock, partial(_Connection, self), self.connections, self._welcome)

    async def finish(self) -> None:
        """From now on a connection ends with the requests that are under way on it."""
        await self.context.terminated.set()

    def fault(self, client: str, error: Exception) -> None:
        """Tell of what nobody foresaw, at most once a second: clients may bring it about at will."""
        now = self.loop.time()
        if now >= self._quiet_until:
            self._quiet_until = now + _QUIET
            log.warning("a connection from %s failed: %r", client, error)


def _config(limits: Limits) -> Config:
    config = Config()
    config.errorlog = None
    config.include_server_header = False
    config.h11_max_incomplete_size = config.h2_max_header_list_size = MAX_HEAD
    config.h2_max_concurrent_streams = limits.in_flight
    config.keep_alive_max_requests = 1 << 30  # it would cut off those under way
    return config


class _Http1(H11Protocol):
    """Never becomes HTTP/2 by an Upgrade: a proxy that passes one on would then see nothing of what follows."""

    async def _check_protocol(self, event: h11.Request) -> None:
        pass


class _Http2(H2Protocol):
    """Ends when too many streams were reset: each costs us more than the client."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.connection.decoder.max_header_list_size = MAX_HEAD  # also before the client says that it knows
        self.resets = 0

    async def _handle_events(self, events: list[H2Event]) -> None:
        self.resets += sum(isinstance(event, StreamReset) for event in events)
        if self.resets > MAX_RESETS:
            self.connection.close_connection(ErrorCodes.ENHANCE_YOUR_CALM)
            await self._flush()
            await self.send(Closed())
            return
        for event in events:
            if isinstance(event, DataReceived) and event.stream_id not in self.streams:  # it has its answer already
                self.connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            else:
                await super()._handle_events([event])


class _Connection(asyncio.Protocol):
    """One client's connection: what it says is read by one task, :meth:`_talk`, and every request is another."""

    def __init__(self, server: Server, peer: Peer) -> None:
        self._server = server
        self._connections = server.connections
        self._limits = server.connections.limits
        self._peer = peer
        trusted = server.trusts(peer[0])
        self._client = str(peer) if trusted else peer[0]
        self._asker = "" if trusted else peer[0]
        context = server.tls()
        self._tls = Tls(context) if context else None
        self._timer: asyncio.TimerHandle | None = None
        self._talking: asyncio.Task[None] | None = None
        self._unread = bytearray()
        self._unsent = bytearray()  # by hypercorn in this turn of the loop: its many small pieces make one packet
        self._news = asyncio.Event()  # something was said, or will never be
        self._writable = asyncio.Event()
        self._writable.set()
        self._requests = 0
        self._answered = asyncio.Event()  # no request is under way
        self._answered.set()
        self._ended = False  # the client will say no more
        self._finished = False  # nor shall we

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(self._limits.unsent)
        self._connections.enter(self, self._client)
        if self._tls:
            self._wait(self._limits.complete)
        else:
            self._begin()

    def connection_lost(self, exc: Exception | None) -> None:
        self._finished = True
        if self._timer:
            self._timer.cancel()
        if self._talking:
            self._talking.cancel()
        self._connections.leave(self, self._client)

    def data_received(self, data: bytes) -> None:
        if self._finished:
            return
        if self._tls:
            try:
                data = self._tls.receive(data)
            except ssl.SSLError:
                self._transport.write(self._tls.pending())  # the alert that says why
                self._transport.close()
                return
            if pending := self._tls.pending():
                self._transport.write(pending)
            if self._tls.established and not self._talking:
                self._begin()
            self._ended = self._ended or self._tls.ended
        self._unread += data
        if len(self._unread) >= _UNREAD:
            self._transport.pause_reading()
        self._news.set()

    def eof_received(self) -> bool:
        self._ended = True
        self._news.set()
        return bool(self._talking) and not self._finished  # half-closed: what was asked is still answered

    def pause_writing(self) -> None:
        self._writable.clear()
        self._wait(self._limits.idle)

    def resume_writing(self) -> None:
        self._writable.set()
        self._pace()

    def abort(self) -> None:
        self._connections.leave(self, self._client)
        self._transport.abort()

    def _begin(self) -> None:
        self._wait(self._limits.idle)
        self._talking = self._server.loop.create_task(self._talk())

    async def _talk(self) -> None:
        kind = _Http2 if self._tls and self._tls.protocol == "h2" else _Http1
        server, host = self._server, (self._peer[0], self._peer[1])
        state = ConnectionState({"asked": self._tls.asked if self._tls else ""})
        try:
            async with TaskGroup(server.loop) as group:
                http = kind(
                    cast(Any, self._run),
                    server.config,
                    server.context,
                    group,
                    state,
                    bool(self._tls),
                    host,
                    None,
                    self._send,
                )
                await http.initiate()
                while said := await self._read():
                    await http.handle(RawData(said))
                await asyncio.sleep(0)  # for what was said last to become requests
                await self._answered.wait()
                await http.handle(Closed())
        except Exception as error:  # noqa: BLE001 - whatever one client brings about, the others are served
            server.fault(self._peer[0], error)
        self._finish()

    async def _read(self) -> bytes:
        """What the client said since; empty when nothing more will come of it."""
        while not (self._unread or self._ended or self._finished):
            self._news.clear()
            await self._news.wait()
        if self._finished:
            return b""
        said = bytes(self._unread)
        self._unread.clear()
        self._transport.resume_reading()
        return said

    async def _send(self, event: Event) -> None:
        """What hypercorn has for the client."""
        if isinstance(event, Closed):
            self._finish()
        elif isinstance(event, RawData) and not (self._finished or self._transport.is_closing()):
            if not self._unsent:
                self._server.loop.call_soon(self._flush)
            self._unsent += event.data
            await self._writable.wait()

    def _flush(self) -> None:
        if self._unsent and not self._transport.is_closing():
            said = bytes(self._unsent)
            self._transport.write(self._tls.send(said) if self._tls else said)
        self._unsent.clear()

    def _finish(self) -> None:
        """Say that nothing more will come, and wait a moment for the client to hear it: who is still sending would
        otherwise lose the last that we said (RFC 9112 9.6)."""
        if self._finished or self._transport.is_closing():
            return
        self._flush()
        self._finished = True
        self._news.set()
        if self._tls:
            self._transport.write(self._tls.end())
        if self._ended:
            self._transport.close()
        else:
            self._transport.write_eof()
            self._transport.resume_reading()
        self._wait(self._limits.complete)

    async def _run(self, scope: MutableMapping[str, Any], receive: Receive, send: Send, *_: object) -> None:
        """One request, from its head to the end of its answer."""
        server = self._server
        self._connections.touch(self, self._client)
        self._requests += 1
        self._answered.clear()
        self._pace()
        try:
            async with asyncio.timeout(self._limits.complete + PATIENCE):
                if server.crowd.enter(self._asker):
                    try:
                        await self._serve(scope, receive, send)
                    finally:
                        server.crowd.leave(self._asker)
                elif scope["type"] == "http":
                    await PlainTextResponse("", 503)(scope, receive, send)
        except TimeoutError:
            pass  # the client does not take its answer
        except Exception as error:  # noqa: BLE001 - as above
            server.fault(self._peer[0], error)
        finally:
            self._requests -= 1
            if not self._requests:
                self._answered.set()
            self._pace()

    async def _serve(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await send({"type": "websocket.close"})
            return
        body, status, more = b"", 0, {}
        if {b"content-length", b"transfer-encoding"} <= {name for name, _ in scope["headers"]}:
            status, more = 400, {"Connection": "close"}  # where it ends is a matter of opinion (RFC 9112 6.1)
        else:
            try:
                async with asyncio.timeout(self._limits.complete):
                    body = await _body(receive)
                status = 413 if len(body) > MAX_BODY else 0
            except ConnectionError:
                return
            except TimeoutError:
                status = 408
        if status:
            await PlainTextResponse("", status, more)(scope, receive, send)
        else:
            await self._server.app(scope, partial(_whole, [body], receive), send)

    def _pace(self) -> None:
        """Set the clock for what is awaited now: a request has its own."""
        if self._finished or not self._writable.is_set():
            return
        if not self._requests:
            self._wait(self._limits.idle)
        elif self._timer:
            self._timer.cancel()

    def _wait(self, seconds: float) -> None:
        if self._timer:
            self._timer.cancel()
        self._timer = self._server.loop.call_later(seconds, self.abort)


async def _body(receive: Receive) -> bytes:
    """The body of a request, of one that is too large only so much as shows it. ConnectionError: the client is gone."""
    body, size, more = bytearray(), 0, True
    while more and size <= MAX_READ:
        event = await receive()
        if event["type"] != "http.request":
            raise ConnectionError
        size += len(event.get("body", b""))
        if len(body) <= MAX_BODY:
            body += event.get("body", b"")
        more = event.get("more_body", False)
    return bytes(body)


async def _whole(bodies: list[bytes], receive: Receive) -> Message:
    """What an application receives: the body, then that the client is gone, when it is."""
    return {"type": "http.request", "body": bodies.pop(), "more_body": False} if bodies else await receive()
