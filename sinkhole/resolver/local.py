"""Answers made of records that a rule states: local data of policy zones, and ``$dnsrewrite``.

The records are text, and come from rules that were read long before; dnslib makes octets of them. It is imported when
the first such rule is met, because most bundles have none.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sinkhole.names import to_wire
from sinkhole.policy.verdict import Verdict
from sinkhole.resolver.answer import Blocking, blocked, ede
from sinkhole.resolver.message import CNAME, HEADER, NOERROR, QUESTION, Query, Response

_CNAME = "CNAME "
#: How many records of one rule are used.
MAX_RECORDS = 256


def alias(records: str, query: Query) -> Query | None:
    """The query for what a query's name is an alias of; None when ``records`` hold the answer themselves.

    ``*.garden.test`` stands for the queried name below ``garden.test`` (RPZ 3.6). Raises OverflowError for a target
    that becomes too long: the answer to that is YXDOMAIN.
    """
    if not records.startswith(_CNAME) or query.qtype == CNAME:
        return None
    target = records.removeprefix(_CNAME).rstrip(".").lower()
    wire = query.name[:-1] + to_wire(target[2:]) if target.startswith("*.") else to_wire(target)
    if len(wire) > 255:
        raise OverflowError("an alias longer than 255 octets")
    return query._replace(name=wire, question=wire + query.question[-4:])


def answer(query: Query, records: str, verdict: Verdict, how: Blocking) -> Response:
    """The records of the queried type, or NODATA when there are none of it (RPZ 3.6)."""
    rrs = [rr for rr in _parsed(query, records, how.ttl) if rr.rtype == query.qtype]
    if not rrs:
        return blocked(query.qtype, verdict._replace(mode="nodata"), how)
    return Response(NOERROR, counts=(len(rrs), 0, 0), records=_packed(query, rrs), options=_options(verdict))


def aliased(query: Query, records: str, target: Query, found: Response, verdict: Verdict, ttl: int) -> Response:
    """What was found for the target of an alias, behind the alias itself (RFC 1034 3.6.2)."""
    from dnslib import DNSRecord

    header = HEADER.pack(0, 0, 1, *found.counts)
    inner = DNSRecord.parse(header + target.question + found.records)
    link = _parsed(query, records if "*" not in records else _CNAME + _text(target.name), ttl)
    return Response(
        found.rcode,
        counts=(found.counts[0] + 1, *found.counts[1:]),
        records=_packed(query, [*link, *inner.rr, *inner.auth, *inner.ar]),
        ttl=min(found.ttl, ttl),
        options=_options(verdict) + found.options,
    )


def _options(verdict: Verdict) -> bytes:
    return b"" if verdict.ede is None else ede(verdict.ede, verdict.text)


def _parsed(query: Query, records: str, ttl: int) -> list[Any]:
    from dnslib import RR

    name = _label(query.name)
    found = []
    for line in records.split("\n")[:MAX_RECORDS]:
        for rr in RR.fromZone(f". {ttl} IN {line}"):
            rr.rname = name
            found.append(rr)
    return found


def _label(wire: bytes) -> Any:
    from dnslib import DNSLabel

    labels = []
    at = 0
    while size := wire[at]:
        labels.append(wire[at + 1 : at + 1 + size])
        at += size + 1
    return DNSLabel(labels)


def _text(wire: bytes) -> str:
    return str(_label(wire))


def _packed(query: Query, rrs: Iterable[Any]) -> bytes:
    """Records as they stand behind the question of ``query``."""
    from dnslib import DNSBuffer

    buffer = DNSBuffer()
    buffer.append(bytes(HEADER.size))
    buffer.encode_name(_label(query.name))
    buffer.append(query.question[-QUESTION.size :])
    start = len(buffer.data)
    for rr in rrs:
        rr.pack(buffer)
    return bytes(buffer.data[start:])
