"""The packet that asks an upstream, and the answer to it read with what was random about the packet.

Of a client's query only name, type, RD, CD and DO go any further. The spelling of the name is ours: over UDP each
letter is upper or lower case by chance (draft-vixie-dnsext-dns0x20), so that a forged answer has to guess that too.
"""

from __future__ import annotations

import struct
from typing import Protocol

from sinkhole.resolver.message import (
    AD,
    CD,
    DO,
    HEADER,
    OPT,
    RD,
    RECORD,
    UDP_SIZE,
    BadResponse,
    Query,
    Response,
    read_response,
)

#: 0x20 where a lower-case letter stands: what upper case takes away. Lengths are under 64 and so are no letters.
_LETTERS = bytes(0x20 if ord("a") <= octet <= ord("z") else 0 for octet in range(256))
_PADDING = 12
_BLOCK = 128  # octets: what encrypted queries are padded to a multiple of (RFC 8467 4.1)
_AROUND = {
    (flags, do): (HEADER.pack(0, flags | AD, 1, 0, 0, 1)[2:], b"\0" + RECORD.pack(OPT, UDP_SIZE, do * DO, 0))
    for flags in (0, RD, CD, RD | CD)
    for do in (False, True)
}


class Asker(Protocol):
    """Whoever wants an answer: exactly one of these is called, once, unless the exchange is cancelled first."""

    def heard(self, response: Response) -> None:
        """This matched, and is whole."""

    def failed(self) -> None:
        """There will be no answer: nobody is there, or what is there speaks no DNS."""


class Exchange(Protocol):
    """One question that is under way to one server."""

    def late(self) -> bool:
        """It takes long: whether to ask again, because a packet may be lost. A connection sees to itself."""

    def cancel(self) -> None:
        """Hear no more of it."""


class Transport(Protocol):
    """A way to one server. ``ask`` raises OSError when it cannot even start; it never calls the asker itself.

    ``strays`` counts what came and answered nothing.
    """

    strays: int

    def ask(self, query: Query, asker: Asker) -> Exchange: ...

    def close(self) -> None: ...


def spelled(name: bytes, chance: bytes) -> bytes:
    """A lower-case wire name with its letters in upper case wherever ``chance``, as many octets, says so."""
    upper = int.from_bytes(name.translate(_LETTERS)) & int.from_bytes(chance)
    return (int.from_bytes(name) ^ upper).to_bytes(len(name))


def packet(ident: int, query: Query, question: bytes, padded: bool = False) -> bytes:
    """RD, CD and DO as asked, AD because we understand it (RFC 6840 5.7), and no EDNS option but padding."""
    head, opt = around(query)
    if padded:
        bare = HEADER.size + len(question) + len(opt) + 4
        padding = struct.pack("!HH", _PADDING, -bare % _BLOCK) + bytes(-bare % _BLOCK)
        opt = opt[:-2] + len(padding).to_bytes(2) + padding
    return ident.to_bytes(2) + head + question + opt


def around(query: Query) -> tuple[bytes, bytes]:
    """What stands between id and question, and behind the question."""
    return _AROUND[query.flags & (RD | CD), query.do]


def read_any_case(answer: bytes, ident: int, question: bytes) -> tuple[Response, bool]:
    """The answer to ``question`` from a connection, where no 0x20 is needed, and whether it kept the case.

    Raises :class:`~sinkhole.resolver.message.BadResponse`.
    """
    echoed = answer[HEADER.size : HEADER.size + len(question)]
    if echoed[:-4].lower() + echoed[-4:] != question[:-4].lower() + question[-4:]:  # type 65 is the letter A
        raise BadResponse("not the answer to this query")
    response = read_response(answer, ident, echoed)
    if response.truncated:
        raise BadResponse("truncated over a connection")
    return response, echoed == question
