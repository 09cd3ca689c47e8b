"""The bounded reader of DNS packets: what stands between the wire and everything else, dnslib included.

* :func:`read_query` decides from the header first, then reads question and OPT. It never raises: a packet is dropped
  (``None``), refused with an rcode, or a :class:`Query`.
* :func:`read_response` matches an upstream's answer to its query, checks every record, and keeps those that belong to
  the question's chain of aliases, so that the bytes can be relayed; it raises :class:`BadResponse` and nothing else.

Both are iterative, and their work is bounded by the packet's length: a name has at most 255 octets, a pointer always
leads backwards, and what a pointer leads to is read once.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

from sinkhole.names import wire_key

HEADER = struct.Struct("!6H")
QUESTION = struct.Struct("!HH")
RECORD = struct.Struct("!HHIH")
TTL = struct.Struct("!I")

QR, OPCODE, TC, RD, RA, AD, CD = 0x8000, 0x7800, 0x0200, 0x0100, 0x0080, 0x0020, 0x0010
NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED, YXDOMAIN, NOTAUTH, BADVERS = 0, 1, 2, 3, 4, 5, 6, 9, 16
A, NS, CNAME, SOA, PTR, HINFO, MX, TXT, AAAA, SRV, DNAME, OPT = 1, 2, 5, 6, 12, 13, 15, 16, 28, 33, 39, 41
RRSIG, NSEC, NSEC3, SVCB, HTTPS, TSIG, ANY, CAA = 46, 47, 50, 64, 65, 250, 255, 257
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
#: Aliases of one answer; Unbound restarts as often, and a longer chain is a loop or an attack.
MAX_ALIASES = 11
#: Octets of a wire name (RFC 1035 2.3.4).
MAX_NAME = 255
#: How long a failure is remembered, in seconds (RFC 9520 3.2: at least 1, at most 300).
FAILURE_TTL = 5

_MAX_LABELS = 4 * MAX_RECORDS
_MAX_JUMPS = 64
_MAX_EXTRAS = 2  # OPT and TSIG
_MAX_OPTIONS = 512  # octets of EDE that are passed on
_MAX_AUTHORITIES = 64
_MAX_TARGETS = 32  # names that an answer leads to, all of which are judged
_MAX_REBUILT = 65_535 - HEADER.size - MAX_NAME - QUESTION.size  # octets of records

#: Query types that no resolver forwards (RFC 6895 3.1: 0, OPT and 128 to 254 are no data); unlisted ones are NOTIMP.
_NO_DATA = {0: FORMERR, OPT: FORMERR, 128: FORMERR, TSIG: FORMERR, 251: REFUSED, 252: REFUSED}
#: Record data that is checked: (octets before the names, names, octets after, None for any number). Names elsewhere are
#: never compressed (RFC 3597 4).
SHAPES: dict[int, tuple[int, int, int | None]] = {
    A: (0, 0, 4),
    AAAA: (0, 0, 16),
    NS: (0, 1, 0),
    CNAME: (0, 1, 0),
    SOA: (0, 2, 20),
    PTR: (0, 1, 0),
    MX: (2, 1, 0),
    SRV: (6, 1, 0),
    DNAME: (0, 1, 0),
    RRSIG: (18, 1, None),
    SVCB: (2, 1, None),
    HTTPS: (2, 1, None),
}
_SERVICES = (SVCB, HTTPS)
#: Octets of a record with an address and a pointer to its owner, and the length in it, by type and class.
_OF_ADDRESS = {QUESTION.pack(A, IN): (16, b"\0\4"), QUESTION.pack(AAAA, IN): (28, b"\0\x10")}
#: A pointer to the asked name; type and class of an alias, and of an SOA record.
_FIRST, _ALIAS, _SOA = b"\xc0\x0c", QUESTION.pack(CNAME, IN), QUESTION.pack(SOA, IN)
_FIRST_ALIAS = _FIRST + _ALIAS
#: The end of a key by CD and DO.
_WISHES = {cd | do: bytes((do << 1 | bool(cd),)) for cd in (0, CD) for do in (0, 1)}
#: How an OPT record starts: the root as its owner, and its type.
_ROOT_OPT = b"\0" + OPT.to_bytes(2)
#: An Extended DNS Error, Other (RFC 8914 4.1), for an answer that goes in circles.
_LOOP = b"alias loop"
_LOOP = struct.pack("!3H", EDE, 2 + len(_LOOP), 0) + _LOOP


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
        return self.name + self.question[-4:] + _WISHES[self.flags & CD | self.do]


class Response(NamedTuple):
    """An upstream's answer, ready to be relayed to, or remembered for, anyone who asks the same.

    ``records`` are all octets between the question and the OPT record, ``counts`` how many records they hold by
    section, ``ttls`` where in them the TTL fields stand. ``ttl`` is the seconds for which they may be remembered,
    ``options`` the EDE options (RFC 8914) as wire, ``shorter`` what may stand in their place where they do not fit, the
    longest first. A ``truncated`` answer holds nothing. ``names`` are the names that the answer leads to, as keys
    (:func:`sinkhole.names.wire_key`): aliases in their order, then the targets of HTTPS and SVCB records.
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
    names: tuple[bytes, ...] = ()


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
            if size > 63 or end >= HEADER.size + MAX_NAME:  # no pointers: nothing stands before the question
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

    What is kept belongs to the question's chain of aliases: in the answer section the aliases, the records of the
    asked type at its end, and their signatures; in the authority section SOA and NS of the zones that hold these
    names, and the signed proofs of those zones. Nothing of the additional section is owed to a client, so it goes. A
    chain that never ends is SERVFAIL. Raises :class:`BadResponse`.
    """
    try:
        return _usual(packet, ident, question) or _read_response(packet, ident, question)
    except (IndexError, struct.error) as error:
        raise BadResponse("cut short") from error


class _Record(NamedTuple):
    """A record: its owner's wire name in lower case, its type (-1 for another class than IN), its TTL, where in the
    packet its fixed part stands, and where it ends."""

    owner: bytes
    kind: int
    ttl: int
    at: int
    end: int


class _Answer(NamedTuple):
    """An answer whose shape was checked. ``start`` is where its records start; ``names`` are the names in it, in lower
    case, by position."""

    packet: bytes
    start: int
    names: Mapping[int, bytes]
    asked: bytes
    qtype: int
    answers: list[_Record]
    authorities: list[_Record]

    def target(self, record: _Record) -> bytes:
        """The name in the data of a record."""
        before, _, _ = SHAPES[record.kind]
        return self.names.get(record.at + RECORD.size + before, b"\0")

    def covered(self, record: _Record) -> int:
        """The type that a signature covers (RFC 4034 3.1.1)."""
        data = record.at + RECORD.size
        return int.from_bytes(self.packet[data : data + 2])


def _read_response(packet: bytes, ident: int, question: bytes) -> Response:
    found, flags, questions, answers, authorities, extras = HEADER.unpack_from(packet)
    start = HEADER.size + len(question)
    if found != ident or not flags & QR or flags >> 11 & 0xF or questions != 1 or packet[12:start] != question:
        raise BadResponse("not the answer to this query")
    rcode = flags & 0xF
    if flags & TC:
        return Response(rcode, truncated=True)
    if answers + authorities + extras > MAX_RECORDS:
        raise BadResponse(f"more than {MAX_RECORDS} records")
    lower = packet.lower()  # only names are taken from it, and in those no length is a letter
    names: dict[int, bytes] = {}
    asked, at = _read_name(packet, lower, HEADER.size, names)
    (qtype, _) = QUESTION.unpack_from(packet, at)
    answer = _Answer(packet, start, names, asked, qtype, [], [])
    at = start
    options: bytes | None = None
    for section, count in ((answer.answers, answers), (answer.authorities, authorities), (None, extras)):
        for _ in range(count):
            root = not packet[at]
            owner, at = _read_name(packet, lower, at, names)
            kind, klass, ttl, length = RECORD.unpack_from(packet, at)
            data = at + RECORD.size
            end = data + length
            if end > len(packet):
                raise BadResponse("cut short")
            if kind == OPT:
                if section is not None or options is not None or not root:
                    raise BadResponse("a misplaced OPT record")
                if (options := _read_options(packet, data, end)) is None:
                    raise BadResponse("a malformed OPT record")
                rcode |= ttl >> 24 << 4
            elif shape := SHAPES.get(kind):
                before, inside, after = shape
                data += before
                for _ in range(inside):
                    _, data = _read_name(packet, lower, data, names)
                if data > end if after is None else data + after != end:
                    raise BadResponse("record data of the wrong length")
            if section is not None:
                section.append(_Record(owner, kind if klass == IN else -1, ttl, at, end))
            at = end
    return _response(answer, rcode, bool(flags & AD), options or b"")


def _usual(packet: bytes, ident: int, question: bytes) -> Response | None:
    """A usual answer, without looking for anything else: aliases, each owned by the target of the one before; then
    addresses, or an SOA record because there are none; perhaps an OPT record. None when it is another one, or odd."""
    shape = _shape(packet[2:12])
    start = HEADER.size + len(question)
    if shape is None or packet[12:start] != question or int.from_bytes(packet[:2]) != ident:
        return None
    rcode, authentic, answers, authorities, extras = shape
    asked, owner, end = question[-4:], _FIRST, start
    chain: list[bytes] = []
    ttls: list[int] = []
    if answers and asked != _ALIAS and packet[start : start + 6] == _FIRST_ALIAS:
        if (aliases := _aliases(packet, start, answers, question[:-4].lower())) is None:
            return None
        chain, ttls, owner, end = aliases
    ttl = DAY
    if addresses := answers - len(ttls):
        step, length = _OF_ADDRESS.get(asked, (0, b""))
        if not step or rcode or authorities:
            return None
        head = owner + asked
        for _ in range(addresses):
            if packet[end : end + 6] != head or packet[end + 10 : end + 12] != length:
                return None
            ttls.append(end + 6 - start)
            end += step
    elif not authorities:  # without an SOA it is not remembered (RFC 2308 5)
        ttl = 0
    else:
        fixed = _name_end(packet, end)
        zone = _name(packet, end, fixed)
        names = chain or [question[:-4].lower()]
        if zone is None or packet[fixed : fixed + 4] != _SOA or not any(zone in _ancestors(name) for name in names):
            return None
        ttls.append(fixed + 4 - start)
        data = fixed + RECORD.size
        end = data + int.from_bytes(packet[data - 2 : data])
        middle = _name_end(packet, data)
        if _name(packet, data, middle) is None or _name(packet, middle, end - 20) is None:
            return None
        ttl = min(int.from_bytes(packet[end - 4 : end]), HOUR)
    options: bytes | None = b""
    size = len(packet)
    if extras:
        rest = end + 1 + RECORD.size
        if size < rest or packet[end : end + 3] != _ROOT_OPT or packet[end + 5]:
            return None
        data = int.from_bytes(packet[rest - 2 : rest])
        if data and (size < rest + data or (options := _read_options(packet, rest, rest + data)) is None):
            return None
    elif size < end:
        return None
    records = packet[start:end]
    for at in ttls:
        found = int.from_bytes(records[at : at + 4])
        if found < ttl or found >= 1 << 31:  # as in _response
            ttl = found if found < 1 << 31 else 0
    led = tuple(map(wire_key, chain[1:])) if chain else ()
    counts = answers, authorities, 0
    return Response(rcode, authentic, counts, records, tuple(ttls), ttl, options or b"", False, (), led)


@lru_cache(1024)
def _shape(head: bytes) -> tuple[int, bool, int, int, int] | None:
    """(rcode, AD, answers, authorities, OPT records) by a header without its id; None when no usual answer has it."""
    if len(head) < HEADER.size - 2:
        return None
    flags, questions, answers, authorities, extras = struct.unpack("!5H", head)
    if flags & (QR | OPCODE | TC) != QR or questions != 1 or authorities > 1 or extras > 1:
        return None
    rcode = flags & 0xF
    if rcode not in (NOERROR, NXDOMAIN) or answers > MAX_RECORDS - 2:
        return None
    return rcode, bool(flags & AD), answers, authorities, extras


def _aliases(packet: bytes, start: int, most: int, asked: bytes) -> tuple[list[bytes], list[int], bytes, int] | None:
    """The names from the asked one along the aliases that stand at ``start``, how far from there their TTLs are, the
    pointer to the last name, and where they end; None when one is odd, or they lead to the root, round, or too far."""
    chain, owner, at = [asked], _FIRST, start
    ttls: list[int] = []
    while len(ttls) < most and packet[at : at + 6] == owner + _ALIAS:
        data = at + 2 + RECORD.size
        end = data + int.from_bytes(packet[data - 2 : data])
        target = _name(packet, data, end)
        if not target or target == b"\0" or target in chain or len(chain) > MAX_ALIASES or data > 0x3FFF:
            return None
        chain.append(target)
        ttls.append(at + 6 - start)
        owner, at = (0xC000 | data).to_bytes(2), end
    return chain, ttls, owner, at


def _name(packet: bytes, at: int, end: int) -> bytes | None:
    """The name that stands from ``at`` to ``end``, in lower case; None when it ends elsewhere, or is odd."""
    name = b""
    limit = begin = at
    ends = 0
    while len(name) + at - begin < MAX_NAME:
        if (size := packet[at]) < 64:
            at += size + 1
            if not size:
                return (name + packet[begin:at]).lower() if (ends or at) == end else None
            continue
        name += packet[begin:at]
        ends = ends or at + 2
        target = (size << 8 | packet[at + 1]) - 0xC000
        if not HEADER.size <= target < limit or (begin == at and ends != at + 2):  # a pointer to a pointer
            return None
        limit = begin = at = target
    return None


def _response(answer: _Answer, rcode: int, authentic: bool, options: bytes) -> Response:
    """What is kept of an answer."""
    packet, start, _, asked, qtype, everything, authorities = answer
    if rcode not in (NOERROR, NXDOMAIN):  # the records of a failure are nobody's
        return Response(rcode, authentic, ttl=FAILURE_TTL, options=options)
    chain = [asked]
    kept = everything
    for record in everything:
        if record.kind != qtype or record.owner != asked or qtype == CNAME:
            if not (found := _chain(answer)):
                return Response(SERVFAIL, ttl=FAILURE_TTL, options=_LOOP)
            chain = found
            kept = _answering(answer, chain)
            break
    answered = rcode == NOERROR and any(record.kind == qtype for record in kept)
    counts = len(kept), 0, 0
    negative = 0  # without an SOA not at all (RFC 2308 5)
    if authorities:
        proofs = _covering(answer, chain)
        for record in proofs:
            if record.kind == SOA:
                (minimum,) = TTL.unpack_from(packet, record.end - TTL.size)
                negative = min(minimum, HOUR)
        counts = len(kept), len(proofs), 0
        kept, everything = kept + proofs, everything + authorities
    ttl = DAY if answered else negative
    for record in kept:
        if record.ttl < ttl or record.ttl >= 1 << 31:  # RFC 2181 8: a TTL with the top bit set is zero
            ttl = record.ttl if record.ttl < 1 << 31 else 0
    if not kept or kept[-1] is everything[len(kept) - 1]:  # nothing before the last of them was left out
        records = packet[start : kept[-1].end] if kept else b""
        ttls = tuple([record.at + 4 - start for record in kept])
    else:
        records, ttls = _rebuilt(answer, kept)
    names = _leads(answer, chain, kept) if len(chain) > 1 or qtype in _SERVICES else ()
    return Response(rcode, authentic, counts, records, ttls, ttl, options, names=names)


def _leads(answer: _Answer, chain: Sequence[bytes], kept: Sequence[_Record]) -> tuple[bytes, ...]:
    """The keys of the names that an answer leads to. Every one is judged, so there may not be many."""
    targets = [answer.target(record) for record in kept if record.kind == answer.qtype in _SERVICES]
    if len(targets) > _MAX_TARGETS:
        raise BadResponse(f"more than {_MAX_TARGETS} targets")
    return tuple(dict.fromkeys(wire_key(name) for name in (*chain[1:], *targets) if name != b"\0"))


def _chain(answer: _Answer) -> list[bytes] | None:
    """The names from the asked one along its aliases; None when they go round in a circle or on for too long."""
    aliases: dict[bytes, _Record] = {}
    for record in answer.answers:
        if record.kind == CNAME:
            aliases.setdefault(record.owner, record)
    chain = [answer.asked]
    while (link := aliases.get(chain[-1])) and (answer.qtype != CNAME or len(chain) == 1):
        target = answer.target(link)
        if target in chain or len(chain) > MAX_ALIASES:
            return None
        chain.append(target)
    return chain


def _answering(answer: _Answer, chain: Sequence[bytes]) -> list[_Record]:
    """The records of the answer section that are links of a chain, stand at its end, or sign such records.

    A DNAME is kept where it is what a link was made of (RFC 6672 3.1).
    """
    qtype = answer.qtype
    links = dict(pairwise(chain))
    end = answer.asked if qtype == CNAME else chain[-1]
    signed = {(owner, CNAME) for owner in links} | {(end, qtype)}
    wanted = []
    linked = set()
    for record in answer.answers:
        if record.kind == CNAME:
            if record.owner in links and record.owner not in linked:  # one alias for a name (RFC 2181 10.1)
                linked.add(record.owner)
                wanted.append(record)
        elif record.kind == DNAME != qtype:
            target = answer.target(record)
            made = (alias[: -len(record.owner)] + target == aim for alias, aim in links.items())
            if any(made) and any(record.owner in _ancestors(alias) for alias in links):
                wanted.append(record)
                signed.add((record.owner, DNAME))
        elif record.kind == RRSIG or (record.owner == end and record.kind == qtype):
            wanted.append(record)
    return [
        record
        for record in wanted
        if record.kind != RRSIG or (record.owner, answer.covered(record)) in signed or (record.owner, RRSIG) in signed
    ]


def _covering(answer: _Answer, chain: Sequence[bytes]) -> list[_Record]:
    """The records of the authority section that speak of a zone which holds a name of ``chain``: one SOA, NS, and what
    is signed inside such a zone: these, and the proofs that there is nothing (NSEC, NSEC3)."""
    authorities = answer.authorities
    if len(authorities) > _MAX_AUTHORITIES:
        raise BadResponse(f"more than {_MAX_AUTHORITIES} authority records")
    zones = {zone for name in chain for zone in _ancestors(name)}
    soa = next((record for record in authorities if record.kind == SOA and record.owner in zones), None)
    proven = {
        (record.owner, answer.covered(record))
        for record in authorities
        if record.kind == RRSIG and (zone := answer.target(record)) in zones and zone in _ancestors(record.owner)
    }.intersection((record.owner, kind) for record in authorities for kind in (SOA, NS, NSEC, NSEC3))
    return [
        record
        for record in authorities
        if record is soa
        or (record.kind == NS and record.owner in zones)
        or (record.kind in (NSEC, NSEC3) and (record.owner, record.kind) in proven)
        or (record.kind == RRSIG and (record.owner, answer.covered(record)) in proven)
    ]


def _ancestors(name: bytes) -> Iterator[bytes]:
    """A wire name and every name above it, up to the root."""
    at = 0
    while size := name[at]:
        yield name[at:]
        at += size + 1
    yield b"\0"


def _rebuilt(answer: _Answer, kept: Sequence[_Record]) -> tuple[bytes, tuple[int, ...]]:
    """(octets, where the TTL fields stand) of records from whose middle others were taken.

    Owners become pointers to where the same name stands whole; names in data are written whole.
    """
    packet = answer.packet
    made, ttls = bytearray(), []
    places = {answer.asked: HEADER.size}

    def write(name: bytes) -> None:
        if answer.start + len(made) < 0x4000:
            places.setdefault(name, answer.start + len(made))
        made.extend(name)

    for record in kept:
        if place := places.get(record.owner):
            made += (0xC000 | place).to_bytes(2)
        else:
            write(record.owner)
        ttls.append(len(made) + 4)
        made += packet[record.at : record.at + 8]
        size_at, data = len(made), record.at + RECORD.size
        made += b"\0\0"
        if shape := SHAPES.get(record.kind):
            before, inside, _ = shape
            made += packet[data : data + before]
            data += before
            for _ in range(inside):
                write(answer.names.get(data, b"\0"))
                data = _name_end(packet, data)
        made += packet[data : record.end]
        made[size_at : size_at + 2] = (len(made) - size_at - 2).to_bytes(2)
        if len(made) > _MAX_REBUILT:
            raise BadResponse("too large without compression")
    return bytes(made), tuple(ttls)


def _name_end(packet: bytes, at: int) -> int:
    while 0 < (size := packet[at]) < 64:
        at += size + 1
    return at + (2 if size else 1)


def _read_name(packet: bytes, lower: bytes, at: int, names: dict[int, bytes]) -> tuple[bytes, int]:
    """Check the name at ``at``; give it in lower case, and the position after it.

    ``names`` holds the name from each position that was read before, so that nothing is read twice.
    """
    path = []
    end = 0
    limit = at
    octets, jumps = 1, 0
    while size := packet[at]:
        path.append(at)
        if size < 64:
            octets += size + 1
            if octets > MAX_NAME:
                raise BadResponse(f"a name of more than {MAX_NAME} octets")
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
    name = names.get(at, b"\0")
    for place in reversed(path):
        size = packet[place]
        if size < 64:
            name = lower[place : place + size + 1] + name
        names[place] = name
    if len(name) > MAX_NAME or len(names) > _MAX_LABELS:
        raise BadResponse(f"a name of more than {MAX_NAME} octets, or more than {_MAX_LABELS} labels")
    return name, end
