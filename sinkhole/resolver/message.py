"""The bounded reader of DNS packets: what stands between the wire and everything else, dnslib included.

* :func:`read_query` decides from the header first, then reads question and OPT. It never raises: a packet is dropped
  (``None``), refused with an rcode, or a :class:`Query`.
* :func:`read_response` matches an upstream's answer to its query and checks every record, so that the bytes can be
  relayed; it raises :class:`BadResponse` and nothing else.

Both are iterative, and their work is bounded by the packet's length: a name has at most 255 octets, a pointer always
leads backwards, and what a pointer leads to is read once.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

HEADER = struct.Struct("!6H")
QUESTION = struct.Struct("!HH")
RECORD = struct.Struct("!HHIH")

QR, TC, RD, RA, AD, CD = 0x8000, 0x0200, 0x0100, 0x0080, 0x0020, 0x0010
NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED, YXDOMAIN, NOTAUTH, BADVERS = 0, 1, 2, 3, 4, 5, 6, 9, 16
A, NS, CNAME, SOA, PTR, HINFO, MX, TXT, AAAA, SRV, DNAME, OPT = 1, 2, 5, 6, 12, 13, 15, 16, 28, 33, 39, 41
SVCB, HTTPS, TSIG, ANY, CAA = 64, 65, 250, 255, 257
IN, CH = 1, 3
#: EDNS options: client subnet (RFC 7871), padding (RFC 7830), errors (RFC 8914) and the wish for structured ones.
ECS, PADDING, EDE, SDE = 8, 12, 15, 26
DO = 0x8000
NOTIFY = 4

#: Octets of an OPT record without options: the only form whose answer may be prepared ahead.
BARE_OPT = 11
#: Octets of a query that are read. Nothing honest comes near.
MAX_QUERY = 4096
#: The largest message that is surely not fragmented (DNS flag day 2020): what is advertised and sent over UDP.
UDP_SIZE = 1232
#: Records of one upstream answer; 65,535 octets hold 4,095 addresses, and nothing honest comes near a quarter of that.
MAX_RECORDS = 1024
DAY, HOUR = 86_400, 3_600
#: How long a failure is remembered, in seconds (RFC 9520 3.2: at least 1, at most 300).
FAILURE_TTL = 5

_MAX_NAME = 255
_MAX_LABELS = 8 * MAX_RECORDS
_MAX_JUMPS = 64
_MAX_EXTRAS = 2  # OPT and TSIG
_MAX_OPTIONS = 512  # octets of EDE that are passed on

#: Query types that no resolver forwards (RFC 6895 3.1: 0, OPT and 128 to 254 are no data); unlisted ones are NOTIMP.
_NO_DATA = {0: FORMERR, OPT: FORMERR, 128: FORMERR, TSIG: FORMERR, 251: REFUSED, 252: REFUSED}
#: Record data that is checked: (octets before the names, names, octets after). Names elsewhere are never compressed.
SHAPES = {
    A: (0, 0, 4),
    AAAA: (0, 0, 16),
    NS: (0, 1, 0),
    CNAME: (0, 1, 0),
    SOA: (0, 2, 20),
    PTR: (0, 1, 0),
    MX: (2, 1, 0),
    SRV: (6, 1, 0),
    DNAME: (0, 1, 0),
}


class Query(NamedTuple):
    """A query. ``rcode`` other than NOERROR is the answer: nothing else may be done for it.

    ``question`` is as sent and ``name`` is its wire name lower-cased; both are empty when the packet could not be read.
    ``edns`` is the client's UDP size, at least 512, or 0 without OPT. ``padded`` says that the answer is to be padded
    (RFC 7830), ``subnet`` is the data of the ECS option (RFC 7871), which anybody may write; ``structured``: it wants
    structured DNS errors.
    """

    id: int
    flags: int
    rcode: int
    question: bytes = b""
    name: bytes = b""
    qtype: int = 0
    edns: int = 0
    do: bool = False
    padded: bool = False
    subnet: bytes = b""
    structured: bool = False

    @property
    def key(self) -> bytes:
        """What makes two queries the same to a cache: name, type, class, and the flags that change an answer."""
        return self.name + self.question[-4:] + bytes((self.do << 1 | bool(self.flags & CD),))


class Response(NamedTuple):
    """An upstream's answer, ready to be relayed to, or remembered for, anyone who asks the same.

    ``records`` are all octets between the question and the OPT record, ``counts`` how many records they hold by
    section, ``ttls`` where in them the TTL fields stand. ``ttl`` is the seconds for which they may be remembered,
    ``options`` the EDE options (RFC 8914) as wire, ``shorter`` what may stand in their place where they do not fit, the
    longest first. A ``truncated`` answer holds nothing.
    """

    rcode: int
    authentic: bool = False
    counts: tuple[int, int, int] = (0, 0, 0)
    records: bytes = b""
    ttls: tuple[int, ...] = ()
    ttl: int = 0
    options: bytes = b""
    truncated: bool = False
    shorter: tuple[bytes, ...] = ()


class BadResponse(ValueError):
    """A packet that is not the answer to the query, or that is malformed; ``str()`` says why."""


def read_query(packet: bytes, encrypted: bool = False) -> Query | None:
    """Read a client's packet: ``None`` to drop it, or a :class:`Query`, refused by its ``rcode`` or good.

    Only who asks ``encrypted`` gets padding (RFC 7830 6).
    """
    if len(packet) < HEADER.size:
        return None
    ident, flags, questions, answers, authorities, extras = HEADER.unpack_from(packet)
    if flags & QR:  # never answer an answer: two servers would do so for ever
        return None
    if opcode := flags >> 11 & 0xF:
        return Query(ident, flags, REFUSED if opcode == NOTIFY else NOTIMP)
    malformed = Query(ident, flags, FORMERR)
    if questions != 1 or answers or authorities or extras > _MAX_EXTRAS:
        return malformed
    try:
        end = HEADER.size
        while size := packet[end]:
            end += size + 1
            if size > 63 or end >= HEADER.size + _MAX_NAME:  # no pointers: nothing stands before the question
                return malformed
        end += 1
        qtype, qclass = QUESTION.unpack_from(packet, end)
        extra = _read_extras(packet, end + QUESTION.size, extras)
    except (IndexError, struct.error):
        return malformed
    if extra is None:
        return malformed
    rcode, edns, do, options = extra
    if not rcode and qclass != IN:
        rcode = REFUSED
    if not rcode and (qtype in _NO_DATA or 128 <= qtype < ANY):
        rcode = _NO_DATA.get(qtype, NOTIMP)
    # Lower-casing is safe on the whole name: lengths stay under 64 and so are no letters.
    question, name = packet[12 : end + QUESTION.size], packet[12:end].lower()
    padded = encrypted and PADDING in options
    # draft-ietf-dnsop-structured-dns-error-25, 5.4: the SDE option, whatever its data; earlier drafts: an empty EDE 0
    structured = SDE in options or options.get(EDE) == b"\0\0"
    return Query(ident, flags, rcode, question, name, qtype, edns, do, padded, options.get(ECS, b""), structured)


def _read_extras(packet: bytes, at: int, count: int) -> tuple[int, int, bool, dict[int, bytes]] | None:
    """(rcode, UDP size, DO, EDNS options) of a query's additional section, ``None`` when malformed. Raises when cut
    short."""
    rcode, edns, do = NOERROR, 0, False
    options: dict[int, bytes] = {}
    for left in reversed(range(count)):
        owner = at
        while size := packet[at]:
            if size >= 0xC0:
                at += 1
                break
            if size > 63:
                return None
            at += size + 1
        kind, klass, ttl, length = RECORD.unpack_from(packet, at + 1)
        at += 1 + RECORD.size
        if at + length > len(packet):
            return None
        if kind == OPT and packet[owner] == 0 and not edns:  # RFC 6891 6.1.1: one, owned by the root
            edns, do = max(klass, 512), bool(ttl & DO)  # RFC 6891 6.2.3
            if ttl >> 16 & 0xFF:
                rcode = BADVERS
            if (found := _query_options(packet, at, at + length)) is None:
                return None
            options = found
        elif kind == TSIG and klass == ANY and not left:  # RFC 8945 5.1: the last record
            rcode = rcode or NOTAUTH  # no key is shared with anyone
        else:
            return None
        at += length
    return rcode, edns, do, options


def _query_options(packet: bytes, at: int, end: int) -> dict[int, bytes] | None:
    """Code -> data, the last of each code, of the EDNS options between ``at`` and ``end``; ``None`` when malformed."""
    found = {}
    while at + 4 <= end:
        code, length = QUESTION.unpack_from(packet, at)
        found[code] = packet[at + 4 : at + 4 + length]
        at += 4 + length
    return found if at == end else None


def _read_options(packet: bytes, at: int, end: int) -> bytes | None:
    """The EDE options among the EDNS options between ``at`` and ``end``, cut to a bound; ``None`` when malformed."""
    kept = b""
    while at + 4 <= end:
        code, length = QUESTION.unpack_from(packet, at)
        stop = at + 4 + length
        if code == EDE and length >= 2 and len(kept) + stop - at <= _MAX_OPTIONS:
            kept += packet[at : min(stop, end)]
        at = stop
    return kept if at == end else None


def read_response(packet: bytes, ident: int, question: bytes) -> Response:
    """Check that ``packet`` answers ``question`` (compared with its case) under ``ident``, and walk all of its records.

    Raises :class:`BadResponse`.
    """
    try:
        return _read_response(packet, ident, question)
    except (IndexError, struct.error) as error:
        raise BadResponse("cut short") from error


def _read_response(packet: bytes, ident: int, question: bytes) -> Response:
    found, flags, questions, *counts = HEADER.unpack_from(packet)
    start = HEADER.size + len(question)
    if found != ident or not flags & QR or flags >> 11 & 0xF or questions != 1 or packet[12:start] != question:
        raise BadResponse("not the answer to this query")
    rcode = flags & 0xF
    if flags & TC:
        return Response(rcode, truncated=True)
    if sum(counts) > MAX_RECORDS:
        raise BadResponse(f"more than {MAX_RECORDS} records")
    (qtype, _) = QUESTION.unpack_from(question, len(question) - QUESTION.size)
    names: dict[int, int] = {}
    _read_name(packet, HEADER.size, names)
    at = start
    cut, kept = 0, counts[2]
    ttls: list[int] = []
    lowest, answered, minimum = DAY, False, -1
    options: bytes | None = b""
    for section, count in enumerate(counts):
        for index in range(count):
            owner = at
            at = _read_name(packet, at, names)
            kind, _, ttl, length = RECORD.unpack_from(packet, at)
            data = at + RECORD.size
            end = data + length
            if end > len(packet):
                raise BadResponse("cut short")
            if kind == OPT:
                options = _read_options(packet, data, end)
                if section != 2 or cut or packet[owner] or options is None:
                    raise BadResponse("a malformed OPT record")
                rcode |= ttl >> 24 << 4
                cut, kept = owner, index
            else:
                if shape := SHAPES.get(kind):
                    before, inside, after = shape
                    data += before
                    for _ in range(inside):
                        data = _read_name(packet, data, names)
                    if data + after != end:
                        raise BadResponse("record data of the wrong length")
                if not cut:
                    ttls.append(at + 4 - start)
                    lowest = min(lowest, ttl if ttl < 1 << 31 else 0)  # RFC 2181 8
                if section == 0:
                    answered = answered or kind == qtype
                elif section == 1 and kind == SOA:
                    (minimum,) = struct.unpack_from("!I", packet, end - 4)
            at = end
    if rcode not in (NOERROR, NXDOMAIN):
        lowest = FAILURE_TTL
    elif rcode == NXDOMAIN or not answered:  # RFC 2308 5: as the SOA says, and without one not at all
        lowest = min(lowest, minimum, HOUR) if minimum >= 0 else 0
    # What follows the OPT record goes with it: taking out the middle would move the targets of later pointers, and
    # nothing in the additional section is owed to a client.
    return Response(
        rcode,
        bool(flags & AD),
        (counts[0], counts[1], kept),
        packet[start : cut or at],
        tuple(ttls),
        lowest,
        options or b"",
    )


def _read_name(packet: bytes, at: int, names: dict[int, int]) -> int:
    """Check the name at ``at`` and give the position after it.

    ``names`` holds, for each position already read, the octets of the name from there, so that nothing is read twice.
    """
    path = []
    end = 0
    limit = at
    octets, jumps = 1, 0
    while size := packet[at]:
        path.append(at)
        if size < 64:
            octets += size + 1
            if octets > _MAX_NAME:
                raise BadResponse(f"a name of more than {_MAX_NAME} octets")
            at += size + 1
            continue
        target = (size << 8 | packet[at + 1]) - 0xC000
        end = end or at + 2
        jumps += 1
        if not HEADER.size <= target < limit or jumps > _MAX_JUMPS:  # also label types 0x40 and 0x80
            raise BadResponse("a compression pointer that does not lead back")
        limit = at = target
        if at in names:
            break
    end = end or at + 1
    tail = names.get(at, 1)
    for place in reversed(path):
        size = packet[place]
        tail += size + 1 if size < 64 else 0
        names[place] = tail
    if tail > _MAX_NAME or len(names) > _MAX_LABELS:
        raise BadResponse(f"a name of more than {_MAX_NAME} octets, or more than {_MAX_LABELS} labels")
    return end
