"""DNS over HTTPS (RFC 8484): one message each way. HTTP's status says how HTTP went; the message, what DNS says."""

from __future__ import annotations

import asyncio
import re
from base64 import urlsafe_b64decode
from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from sinkhole.resolver.engine import Engine, Peer, Private
from sinkhole.resolver.message import HEADER, MAX_QUERY, NOERROR, NXDOMAIN, QR, QUESTION, RECORD, SOA, TC, TTL
from sinkhole.web import forwarded

MESSAGE = "application/dns-message"
_BASE64URL = re.compile(r"[A-Za-z0-9_-]+")  # RFC 8484 6: without padding
#: What a group's token may be (a label of a name); in a path nothing else is a way to ask.
_TOKEN = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


class _Bad(ValueError):
    """A request that is not answered; ``args`` are the HTTP status and why."""


def endpoint(engine: Engine) -> Callable[[Request], Awaitable[Response]]:
    """Answers by ``engine``, for the group whose token is in the path, else in the name that TLS called us by."""

    async def answer(request: Request) -> Response:
        try:
            packet, peer = await _packet(request), _peer(request, engine)
            if not (reply := await _asked(engine, packet, peer)):
                raise _Bad(403, "there is no answer for you")  # `denied: drop`, and rules that say so
        except _Bad as error:
            status, why = error.args
            return PlainTextResponse(f"{why}\n", status)
        # Another client may get another answer, so no cache may share it.
        kept = {"Cache-Control": f"private, max-age={lifetime(reply)}"}
        return Response(reply, media_type=MESSAGE, headers=kept)

    return answer


async def _packet(request: Request) -> bytes:
    """The message of a request. Raises _Bad."""
    if request.method == "POST":
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != MESSAGE:
            raise _Bad(415, f"the body has to be {MESSAGE}")
        packet = await request.body()
    else:
        given = request.query_params.getlist("dns")
        if len(given) != 1 or not _BASE64URL.fullmatch(given[0]) or len(given[0]) % 4 == 1:
            raise _Bad(400, "expected ?dns= and one message in base64url without padding")
        packet = urlsafe_b64decode(given[0] + "=" * (-len(given[0]) % 4))
    if not HEADER.size <= len(packet) <= MAX_QUERY or HEADER.unpack_from(packet)[1] & QR:
        raise _Bad(400, "that is no DNS query")
    return packet


def _peer(request: Request, engine: Engine) -> Peer:
    """Who asks. Raises _Bad."""
    token = request.path_params.get("token", "").lower()
    if token and not _TOKEN.fullmatch(token):
        raise _Bad(404, "that is no token")
    assert request.client
    listed, other = (request.headers.getlist(name) for name in ("x-forwarded-for", "forwarded"))
    try:
        host = forwarded.client(request.client.host, listed, other, engine.access.trusts)
    except forwarded.Unclear as error:
        raise _Bad(400, str(error)) from error
    return Private(host, request.client.port, token or request.state.asked)


async def _asked(engine: Engine, packet: bytes, peer: Peer) -> bytes:
    """The engine's reply; empty when there is none."""
    answered: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def send(reply: bytes, _: Peer) -> None:
        if not answered.done():  # the client may be gone
            answered.set_result(reply)

    engine.recorder.stamp()
    return await answered if engine.handle(packet, peer, send, True) else b""


def lifetime(reply: bytes) -> int:
    """For how many seconds a reply of ours may be kept (RFC 8484 5.1): the lowest TTL in its answer section; without
    one what its SOA says (RFC 2308 5); 0 for a failure."""
    _, flags, questions, answers, authorities, _ = HEADER.unpack_from(reply)
    if flags & TC or flags & 0xF not in (NOERROR, NXDOMAIN):
        return 0
    at, found = HEADER.size, []
    for _ in range(questions):
        at = _after_name(reply, at) + QUESTION.size
    for _ in range(answers or authorities):
        at = _after_name(reply, at)
        kind, _, ttl, length = RECORD.unpack_from(reply, at)
        at += RECORD.size + length
        ttl = ttl if ttl < 1 << 31 else 0  # RFC 2181 8
        if answers:
            found.append(ttl)
        elif kind == SOA:
            found.append(min(ttl, TTL.unpack_from(reply, at - TTL.size)[0]))
    return min(found, default=0)


def _after_name(reply: bytes, at: int) -> int:
    """Where a name ends; the reply is ours, so it is whole."""
    while (size := reply[at]) and size < 0xC0:
        at += size + 1
    return at + (2 if size else 1)
