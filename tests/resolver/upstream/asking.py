"""What tests of upstreams share: queries, a forwarder that is asked and leaves nothing behind, and places to ask."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

import dns.message

from sinkhole.resolver.message import Query, Response, read_query
from sinkhole.resolver.upstream import Done, Forwarder, Server
from tests.dnsserver import Asked, DnsServer, reply

Result = TypeVar("Result")

ADDRESS = b"\xc0\0\2\1"  # 192.0.2.1 as a record ends in it


class Asking(Protocol):
    """A :class:`Forwarder`, or an :class:`~sinkhole.resolver.upstream.Upstreams` bound to a name."""

    @property
    def waiting(self) -> int: ...

    def ask(self, query: Query, done: Done, client: str = "") -> None: ...

    def close(self) -> None: ...


def query(name: str = "example.com", qtype: str = "A", flags: int = 0, do: bool = False) -> Query:
    message = dns.message.make_query(name, qtype, want_dnssec=do)
    message.flags |= flags
    read = read_query(message.to_wire())
    assert read
    return read


def ask(
    servers: Sequence[Server], *queries: Query, timeout: float = 2.0, limit: int = 100, **more: Any
) -> list[Response]:
    """The responses to queries that are asked at once. Nothing may be left behind."""
    return run(asked(Forwarder(servers, timeout, limit, **more), *queries))


def run(work: Coroutine[Any, Any, Result]) -> Result:
    """Run ``work``; a complaint of its loop (an exception that nobody caught) fails the test."""

    async def main() -> Result:
        complaints: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
        try:
            return await work
        finally:
            async with asyncio.timeout(5):  # for what was closed to say goodbye
                await asyncio.sleep(0.02)
                while asyncio.all_tasks() != {asyncio.current_task()}:
                    await asyncio.sleep(0.02)
            assert not complaints, complaints

    return asyncio.run(main())


async def responses(forwarder: Asking, *queries: Query, client: str = "") -> list[Response]:
    """What each of ``queries`` is told, asked at once."""
    futures = [asyncio.get_running_loop().create_future() for _ in queries]
    for each, future in zip(queries, futures, strict=True):
        forwarder.ask(each, future.set_result, client)
    return list(await asyncio.gather(*futures))


async def asked(forwarder: Asking, *queries: Query) -> list[Response]:
    """The same, by a forwarder that is closed then."""
    found = await responses(forwarder, *queries)
    assert forwarder.waiting == 0
    forwarder.close()
    return found


def udp(server: DnsServer) -> Server:
    return Server("udp", "127.0.0.1", server.port)


def right(asked: Asked) -> bytes:
    return reply(asked.packet, A="192.0.2.1")


def about(server: DnsServer, name: str = "example.com") -> list[Asked]:
    """The queries that came for ``name``: others are probes."""
    return [asked for asked in server.asked if asked.name == name]


@contextmanager
def nobody() -> Iterator[Server]:
    """An address where nobody answers, not even to say so."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mute:
        mute.bind(("127.0.0.1", 0))
        yield Server("udp", *mute.getsockname())


@contextmanager
def closed() -> Iterator[Server]:
    """An address that refuses: bound over TCP by nobody who listens, and over UDP by nobody."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield Server("udp", *taken.getsockname())
