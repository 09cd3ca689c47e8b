"""Building answers: what was decided or heard, as a packet for one asker.

A :class:`~sinkhole.resolver.message.Response` is everything but the asker's part; :func:`pack` puts the asker's id,
question (octet for octet as sent, for clients that check its case) and size limit around it. Owners are pointers to the
question, so one response serves every name that was decided alike.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
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
    OPT,
    QR,
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
STALE, FORGED, STALE_NXDOMAIN, NO_REACHABLE_AUTHORITY, NETWORK_ERROR = 3, 4, 19, 22, 23

_OPCODE = 0x7800
_OWNER = struct.pack("!H", 0xC000 | HEADER.size)
_AUTHORITY = to_wire("sinkhole.invalid") + to_wire("nobody.invalid") + struct.pack("!4I", 1, 3600, 600, 86_400)


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


def blocked(qtype: int, verdict: Verdict, how: Blocking) -> Response:
    """The answer to a blocked name, with the verdict's EDE and, for made-up addresses, Forged (RFC 8914 4.5)."""
    if verdict.mode:  # a protected name has one right answer
        how = blocking(verdict.mode, how.ttl)
    addresses = how.a if qtype == A else how.aaaa if qtype == AAAA else ()
    options = b"" if verdict.ede is None else ede(verdict.ede, verdict.text)
    if addresses:
        if how.forged:
            options += ede(FORGED)
        records = b"".join(_record(qtype, how.ttl, address) for address in addresses)
        return Response(how.rcode, counts=(len(addresses), 0, 0), records=records, options=options)
    if how.rcode == REFUSED:
        return Response(how.rcode, options=options)
    authority = _record(SOA, how.ttl, _AUTHORITY + struct.pack("!I", how.ttl))  # RFC 2308 3: how long "no" holds
    return Response(how.rcode, counts=(0, 1, 0), records=authority, options=options)


def minimal_any() -> Response:
    """The answer to QTYPE ANY (RFC 8482 4.2)."""
    return Response(NOERROR, counts=(1, 0, 0), records=_record(HINFO, HOUR, b"\x07RFC8482\x00"))


def failure(code: int) -> Response:
    """SERVFAIL with an EDE, to be remembered for a moment (RFC 9520 3.2)."""
    return Response(SERVFAIL, ttl=FAILURE_TTL, options=ede(code))


def ede(code: int, text: str = "") -> bytes:
    """An Extended DNS Error as an EDNS option (RFC 8914 2)."""
    extra = text.encode()
    return struct.pack("!3H", EDE, 2 + len(extra), code) + extra


def pack(query: Query, response: Response, *, tcp: bool = False, age: int = 0) -> bytes:
    """The packet that tells ``query``'s asker the ``response``, remembered for ``age`` seconds.

    What does not fit loses first its EDE, which is supplemental, then all records, with TC set.
    """
    rcode = response.rcode if query.edns or response.rcode < 16 else SERVFAIL
    flags = QR | RA | query.flags & (_OPCODE | RD | CD) | rcode & 0xF
    if response.authentic and (query.do or query.flags & AD):  # RFC 6840 5.8: for those who show that they know it
        flags |= AD
    room = (MAX_TCP if tcp else min(query.edns, UDP_SIZE) or MAX_PLAIN) - HEADER.size - len(query.question)
    (answers, authorities, extras), records = response.counts, response.records
    for options in (response.options, b""):
        opt = _opt(query, rcode, options)
        if len(records) + len(opt) <= room:
            break
    else:
        flags |= TC
        answers = authorities = extras = 0
        records = b""
    if response.truncated:  # the client is to come back over TCP
        flags |= TC
    if age and records:
        records = _aged(records, response.ttls, age)
    header = HEADER.pack(query.id, flags, bool(query.question), answers, authorities, extras + bool(opt))
    return header + query.question + records + opt


def _opt(query: Query, rcode: int, options: bytes) -> bytes:
    """RFC 6891 6.1.1: an OPT for an OPT; version 0."""
    if not query.edns:
        return b""
    return b"\0" + RECORD.pack(OPT, UDP_SIZE, rcode >> 4 << 24 | query.do * DO, len(options)) + options


def _record(kind: int, ttl: int, data: bytes) -> bytes:
    return _OWNER + RECORD.pack(kind, IN, ttl, len(data)) + data


def _aged(records: bytes, ttls: tuple[int, ...], age: int) -> bytes:
    aged = bytearray(records)
    for at in ttls:
        (ttl,) = _TTL.unpack_from(aged, at)
        _TTL.pack_into(aged, at, max(ttl - age, 0))
    return bytes(aged)


_TTL = struct.Struct("!I")
