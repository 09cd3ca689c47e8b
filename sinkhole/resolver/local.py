"""Answers made of records that a rule states: local data of policy zones, and ``$dnsrewrite``.

The records are text, and come from rules that were read long before.
"""

from __future__ import annotations

import struct

from sinkhole.names import to_wire
from sinkhole.policy.verdict import Verdict
from sinkhole.resolver.answer import Blocking, aged, blocked, explained, record
from sinkhole.resolver.message import AAAA, CNAME, HEADER, NOERROR, RECORD, SHAPES, A, Query, Response
from sinkhole.resolver.rdata import encode

_CNAME = "CNAME "
#: How many records of one rule are used.
MAX_RECORDS = 256
#: The highest position that a compression pointer can say (RFC 1035 4.1.4).
MAX_POINTER = 0x3FFF

_POINTER = struct.Struct("!H")


def alias(records: str, query: Query) -> bytes | None:
    """The wire name that a query's name is an alias of; None when ``records`` hold the answer themselves.

    ``*.garden.test`` stands for the queried name below ``garden.test`` (RPZ 3.6). Raises OverflowError for a target
    that becomes too long: the answer to that is YXDOMAIN.
    """
    if not records.startswith(_CNAME) or query.qtype == CNAME:
        return None
    target = records.removeprefix(_CNAME).rstrip(".").lower()
    wire = query.name[:-1] + to_wire(target[2:]) if target.startswith("*.") else to_wire(target)
    if len(wire) > 255:
        raise OverflowError("an alias longer than 255 octets")
    return wire


def answer(query: Query, records: str, verdict: Verdict, how: Blocking) -> Response:
    """The records of the queried type, or NODATA when there are none of it (RPZ 3.6)."""
    stated = map(encode, records.split("\n")[:MAX_RECORDS])
    found = [data for kind, data in stated if kind == query.qtype]
    if not found:
        return blocked(query.qtype, verdict._replace(mode="nodata"), how, query.structured)
    octets = b"".join(record(query.qtype, how.ttl, data) for data in found)
    response = Response(NOERROR, counts=(len(found), 0, 0), records=octets)
    return explained(response, verdict, query.structured, forged=query.qtype in (A, AAAA))


def way(target: bytes, query: Query, verdict: Verdict, ttl: int) -> Response:
    """The alias that a rule makes of the queried name, to be followed to its ``target``."""
    response = Response(NOERROR, counts=(1, 0, 0), records=record(CNAME, ttl, target))
    return explained(response, verdict, query.structured)


def asked(query: Query, target: bytes) -> Query:
    """The query for an alias's target."""
    return query._replace(name=target, question=target + query.question[-4:])


def behind(query: Query, way: Response, target: Query, found: Response, age: int) -> Response:
    """What was found for ``target``, ``age`` seconds ago, behind the aliases that lead to it (RFC 1034 3.6.2).

    ``way`` ends in the target's name. The records of ``found`` stay as they are but for their compression pointers:
    what pointed to the question points to that name, and everything else moved by one distance. Raises ValueError for
    a message that grows beyond what pointers reach.
    """
    start = HEADER.size + len(query.question) + len(way.records)
    name, moved = start - len(target.name), start - HEADER.size - len(target.question)
    records = bytearray(aged(found, age))
    for at in _pointers(records, sum(found.counts)):
        to = _POINTER.unpack_from(records, at)[0] - 0xC000
        if to < HEADER.size + len(target.name):
            to += name - HEADER.size
        elif to < HEADER.size + len(target.question):
            raise ValueError("a compression pointer into a type or class")
        else:
            to += moved
        if to > MAX_POINTER:
            raise ValueError("a compression pointer beyond its reach")
        _POINTER.pack_into(records, at, 0xC000 | to)
    return Response(
        found.rcode,
        counts=(way.counts[0] + found.counts[0], *found.counts[1:]),
        records=way.records + bytes(records),
        options=way.options + found.options,
        shorter=tuple(options + found.options for options in way.shorter),
    )


def _pointers(records: bytearray, count: int) -> list[int]:
    """Where the compression pointers stand in records that were checked."""
    found = []

    def past_name(at: int) -> int:
        while size := records[at]:
            if size >= 0xC0:
                found.append(at)
                return at + 2
            at += size + 1
        return at + 1

    at = 0
    for _ in range(count):
        at = past_name(at)
        kind, _, _, length = RECORD.unpack_from(records, at)
        at += RECORD.size
        if shape := SHAPES.get(kind):
            data = at + shape[0]
            for _ in range(shape[1]):
                data = past_name(data)
        at += length
    return found
