"""Building answers: what was decided or heard, as a packet for one asker.

A :class:`~sinkhole.resolver.message.Response` is everything but the asker's part; :func:`pack` puts the asker's id,
question (octet for octet as sent, for clients that check its case) and size limit around it. Owners are pointers to the
question, so one response serves every name that was decided alike.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from functools import lru_cache
from ipaddress import ip_address
from typing import NamedTuple

from sinkhole.names import to_wire
from sinkhole.policy.verdict import Verdict
from sinkhole.resolver.message import (
    AAAA,
    AD,
    CD,
    DO,
    EDE,
    FAILURE_TTL,
    HEADER,
    HINFO,
    HOUR,
    IN,
    NOERROR,
    NXDOMAIN,
    OPCODE,
    OPT,
    PADDING,
    QR,
    QUESTION,
    RA,
    RD,
    RECORD,
    REFUSED,
    SERVFAIL,
    SOA,
    TC,
    UDP_SIZE,
    A,
    Query,
    Response,
)

#: The largest message over TCP, and over UDP to a client without EDNS (RFC 1035 4.2).
MAX_TCP, MAX_PLAIN = 65_535, 512
#: EDE codes that the resolver gives by itself (RFC 8914 4); a verdict brings its own.
OTHER, STALE, FORGED, NOT_READY, PROHIBITED, STALE_NXDOMAIN, NOT_SUPPORTED = 0, 3, 4, 14, 18, 19, 21
NO_REACHABLE_AUTHORITY, NETWORK_ERROR = 22, 23
#: Padded answers come in multiples of so many octets (RFC 8467 4.1).
PADDED = 468

#: The owner of a record for the name that is asked: a pointer to the question (RFC 1035 4.1.4).
OWNER = struct.pack("!H", 0xC000 | HEADER.size)

_TTL = struct.Struct("!I")
_OPTION = struct.Struct("!HH")


class Blocking(NamedTuple):
    """How blocked names are answered: an rcode, packed addresses of each family, and a TTL in seconds.

    A type without addresses gets NODATA. ``forged`` says that the addresses lead somewhere (a block page).
    """

    rcode: int = NOERROR
    a: tuple[bytes, ...] = ()
    aaaa: tuple[bytes, ...] = ()
    ttl: int = 60
    forged: bool = False


MODES = {
    "null-ip": Blocking(a=(bytes(4),), aaaa=(bytes(16),)),
    "nxdomain": Blocking(NXDOMAIN),
    "nodata": Blocking(),
    "refused": Blocking(REFUSED),
    "servfail": Blocking(SERVFAIL),
}


def blocking(mode: str | Iterable[str], ttl: int = 60) -> Blocking:
    """The :class:`Blocking` of a mode: ``null-ip``, ``nxdomain``, ``nodata``, ``refused``, or addresses.

    Raises :class:`KeyError` for an unknown mode and :class:`ValueError` for what is no address.
    """
    if isinstance(mode, str):
        return MODES[mode]._replace(ttl=ttl)
    packed = [ip_address(address).packed for address in mode]
    a, aaaa = (tuple(address for address in packed if len(address) == size) for size in (4, 16))
    return Blocking(NOERROR, a, aaaa, ttl, forged=True)


def blocked(qtype: int, verdict: Verdict, how: Blocking, structured: bool = False) -> Response:
    """The answer to a blocked name, with the verdict's EDE."""
    if verdict.mode:  # a protected name has one right answer
        how = blocking(verdict.mode, how.ttl)
    addresses = how.a if qtype == A else how.aaaa if qtype == AAAA else ()
    response = negative(how.rcode, how.ttl) if how.rcode not in (REFUSED, SERVFAIL) else Response(how.rcode)
    if addresses:
        records = b"".join(record(qtype, how.ttl, address) for address in addresses)
        response = Response(how.rcode, counts=(len(addresses), 0, 0), records=records)
    return explained(response, verdict, structured, forged=how.forged and bool(addresses))


def explained(response: Response, verdict: Verdict, structured: bool, *, forged: bool = False) -> Response:
    """``response`` with the EDE of the verdict behind it: ``structured`` for those who ask for that, else as text, and
    then, for made-up addresses, with Forged too (RFC 8914 4.5)."""
    if verdict.ede is None:
        return response
    if structured and verdict.structured:
        # draft-ietf-dnsop-structured-dns-error-25, 5.2: never Forged; what does not fit first loses "j" and "o".
        options, *shorter = [ede(verdict.ede, text) for text in (*verdict.structured, "")]
        return response._replace(options=options, shorter=tuple(shorter))
    return response._replace(options=ede(verdict.ede, verdict.text) + (ede(FORGED) if forged else b""))


def negative(rcode: int, ttl: int, owner: bytes = OWNER) -> Response:
    """NXDOMAIN or no data, for ``ttl`` seconds (RFC 2308 3 and 5)."""
    authority = to_wire("sinkhole.invalid") + to_wire("nobody.invalid") + soa_times(ttl)
    return Response(rcode, counts=(0, 1, 0), records=record(SOA, ttl, authority, owner))


def soa_times(ttl: int) -> bytes:
    """Serial, refresh, retry, expire and minimum of an SOA record that nobody transfers."""
    return struct.pack("!5I", 1, 3600, 600, 86_400, ttl)


def minimal_any() -> Response:
    """The answer to QTYPE ANY (RFC 8482 4.2)."""
    return Response(NOERROR, counts=(1, 0, 0), records=record(HINFO, HOUR, b"\x07RFC8482\x00"))


def failure(code: int) -> Response:
    """SERVFAIL with an EDE, to be remembered for a moment (RFC 9520 3.2)."""
    return Response(SERVFAIL, ttl=FAILURE_TTL, options=ede(code))


def ede(code: int, text: str = "") -> bytes:
    """An Extended DNS Error as an EDNS option (RFC 8914 2)."""
    extra = text.encode()
    return struct.pack("!3H", EDE, 2 + len(extra), code) + extra


def pack(query: Query, response: Response, *, tcp: bool = False, age: int = 0) -> bytes:
    """The packet that tells ``query``'s asker the ``response``, remembered for ``age`` seconds.

    What does not fit loses first of its EDE, which is supplemental, then all records, with TC set.
    """
    rcode = response.rcode if query.edns or response.rcode < 16 else SERVFAIL
    flags = QR | RA | query.flags & (OPCODE | RD | CD) | rcode & 0xF
    if response.authentic and (query.do or query.flags & AD):  # RFC 6840 5.8: for those who show that they know it
        flags |= AD
    edns = query.edns
    size = MAX_TCP if tcp else UDP_SIZE if edns >= UDP_SIZE else edns or MAX_PLAIN
    room = size - HEADER.size - len(query.question)
    (answers, authorities, extras), records = response.counts, response.records
    opt = _opt(rcode, query.do, options := response.options) if edns else b""
    if len(records) + len(opt) > room:
        for options in (*response.shorter, b""):
            opt = _opt(rcode, query.do, options) if edns else b""
            if len(records) + len(opt) <= room:
                break
        else:
            flags |= TC
            answers = authorities = extras = 0
            records = b""
    if response.truncated:  # the client is to come back over TCP
        flags |= TC
    if age and records:
        records = aged(response, age)
    if query.padded:
        size = HEADER.size + len(query.question) + len(records) + len(opt) + _OPTION.size
        if (fill := -size % PADDED) <= MAX_TCP - size:
            opt = _opt(rcode, query.do, options + _OPTION.pack(PADDING, fill) + bytes(fill))
    header = HEADER.pack(query.id, flags, bool(query.question), answers, authorities, extras + bool(opt))
    return header + query.question + records + opt


def brief(reply: bytes) -> bytes:
    """A reply without any of its records; when it had some to tell, TC says so."""
    ident, flags, questions, answers, authorities, _ = HEADER.unpack_from(reply)
    end = HEADER.size
    if questions:
        while size := reply[end]:
            end += size + 1
        end += 1 + QUESTION.size
    return HEADER.pack(ident, flags | bool(answers or authorities) * TC, questions, 0, 0, 0) + reply[HEADER.size : end]


@lru_cache(512)
def _opt(rcode: int, do: bool, options: bytes) -> bytes:
    """RFC 6891 6.1.1: an OPT for an OPT; version 0."""
    return b"\0" + RECORD.pack(OPT, UDP_SIZE, rcode >> 4 << 24 | do * DO, len(options)) + options


def record(kind: int, ttl: int, data: bytes, owner: bytes = OWNER, klass: int = IN) -> bytes:
    """One record as octets."""
    return owner + RECORD.pack(kind, klass, ttl, len(data)) + data


def aged(response: Response, age: int) -> bytes:
    """The records of a response that was remembered for ``age`` seconds."""
    records = bytearray(response.records)
    for at in response.ttls:
        (ttl,) = _TTL.unpack_from(records, at)
        _TTL.pack_into(records, at, max(ttl - age, 0))
    return bytes(records)
