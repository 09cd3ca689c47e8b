"""What is answered without asking anyone: the operator's records, and zones that no query may leave the house for.

Two questions are asked at two places of the engine's order:

* :meth:`Zones.stated`, before the policy: names that the operator states records for. Nothing stands above his word.
* :meth:`Zones.reserved`, in place of the upstreams: names of the operator's own zones, and of those that mean something
  only on a host or in a network (special-use names). What no record states there does not exist.

The nearest entry decides, so a zone that is forwarded may lie in one that is not, and the other way round.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from ipaddress import ip_address
from typing import NamedTuple

from sinkhole.names import lineage, to_wire, wire_key
from sinkhole.resolver.answer import OWNER, minimal_any, negative, record, soa_times
from sinkhole.resolver.message import ANY, CH, CNAME, NOERROR, NS, NXDOMAIN, SERVFAIL, SOA, TXT, Query, Response
from sinkhole.resolver.rdata import encode

#: RFC 6303 3: how long the zones below tell clients to remember, in seconds.
RESERVED_TTL = 10_800
#: Aliases that are followed among local records, one behind the other.
MAX_ALIASES = 8
#: The name whose TXT record, in either class, is the name of the bundle in force.
BUNDLE = "bundle.sinkhole"

#: Names that no resolver may ask others for, each with all below it.
SPECIAL_USE = (
    *("alt", "invalid", "local", "localhost", "onion", "test"),  # RFC 9476, 6761, 6762, 7686
    *("home.arpa", "resolver.arpa", "service.arpa"),  # RFC 8375, 9462, 9665
    # RFC 6303 4, RFC 7793: the reverse names of addresses that mean something else in every network
    *(f"{net}.in-addr.arpa" for net in ("0", "10", "127", "254.169", "168.192", "2.0.192", "100.51.198", "113.0.203")),
    *(f"{net}.172.in-addr.arpa" for net in range(16, 32)),
    *(f"{net}.100.in-addr.arpa" for net in range(64, 128)),
    "255.255.255.255.in-addr.arpa",
    *(ip_address(address).reverse_pointer for address in ("::", "::1")),
    *(f"{net}.ip6.arpa" for net in ("d.f", "8.e.f", "9.e.f", "a.e.f", "b.e.f", "8.b.d.0.1.0.0.2")),
    BUNDLE.partition(".")[2],
)

_LOOPBACK = ("127.0.0.1", "::1")


class Local(NamedTuple):
    """What the operator says, as plain data.

    ``records`` are a name, or one with ``*.`` in front for all below it that have none of their own, and its records as
    text. ``zones`` are the operator's own, ``forward`` those that upstreams answer after all. ``ttl`` is in seconds; an
    empty ``version`` or ``server_id`` is not told.
    """

    records: tuple[tuple[str, tuple[str, ...]], ...] = ()
    zones: tuple[str, ...] = ()
    forward: tuple[str, ...] = ()
    ttl: int = 300
    version: str = ""
    server_id: str = ""


class Found(NamedTuple):
    """What is known here of a query. With a ``target`` it is the way to a name that others have to be asked for."""

    response: Response
    target: bytes = b""


class _Node(NamedTuple):
    """The records of a name: type -> data of each. An alias has no others."""

    records: Mapping[int, tuple[bytes, ...]]
    ttl: int
    alias: bytes = b""


class _Zone(NamedTuple):
    """A zone that is answered here. ``everywhere`` are the records of each of its names; without, only the apex is."""

    name: bytes
    ttl: int
    everywhere: _Node | None = None


class Zones:
    """:class:`Local` ready to be asked."""

    def __init__(self, local: Local) -> None:
        self._names: dict[bytes, _Node] = {}
        self._wild: dict[bytes, _Node] = {}
        self._zones = dict(_zones(local))
        # Most names end in none of these, and one comparison shows it; octets that only look like it do no harm.
        self._ends = tuple({_top(name) for name in self._zones})
        for name, stated in local.records:
            table = self._wild if name.startswith("*.") else self._names
            table[to_wire(name.removeprefix("*."))] = _node(stated, local.ttl)
        for reverse, name in _reverse(local.records):
            self._names.setdefault(to_wire(reverse), _node([f"PTR {name}"], local.ttl))
        for address in _LOOPBACK:  # RFC 1912 4.1
            if self._zone(wire := to_wire(ip_address(address).reverse_pointer)):
                self._names.setdefault(wire, _node(["PTR localhost"], RESERVED_TTL))
        told = {"version.bind": local.version, "version.server": local.version}
        told |= {"hostname.bind": local.server_id, "id.server": local.server_id}  # RFC 4892
        self._chaos = {to_wire(name): _text(text) for name, text in told.items() if text}
        #: The keys of names that :meth:`stated` has something for, and of those that it may have something below.
        self.keys = frozenset(map(wire_key, [*self._names, to_wire(BUNDLE)]))
        self.trees = tuple(map(wire_key, self._wild))
        #: Names without records that have names with some below them: they exist (RFC 8020 2).
        self._between = {above for name in [*self._names, *self._wild] for above in _above(name)} | self._wild.keys()

    def tell(self, bundle: str) -> None:
        """The name of the bundle in force, for :data:`BUNDLE`."""
        self._names[to_wire(BUNDLE)] = self._chaos[to_wire(BUNDLE)] = _text(bundle)

    def chaos(self, query: Query) -> Response | None:
        """The answer to a query in class CHAOS, if there is one to give."""
        if query.question[-2:] != CH.to_bytes(2) or query.qtype not in (TXT, ANY):
            return None
        node = self._chaos.get(query.name)
        if node is None:
            return None
        return Response(NOERROR, counts=(1, 0, 0), records=record(TXT, node.ttl, node.records[TXT][0], klass=CH))

    def stated(self, query: Query) -> Found | None:
        """What the operator's records say, up to :data:`MAX_ALIASES` aliases followed; None where they say nothing."""
        node = self._node(query.name)
        if node is None:
            return None
        if query.qtype == ANY:
            return Found(minimal_any())
        name, owner, way, links = query.name, OWNER, b"", 0
        while node and node.alias and query.qtype != CNAME:
            if links == MAX_ALIASES:  # they lead round, by way of a pattern
                return Found(Response(SERVFAIL))
            way += record(CNAME, node.ttl, node.alias, owner)
            links += 1
            name = owner = node.alias
            node = self._node(name)
        zone = self._zone(name)
        if node is None and zone is None:
            return Found(Response(NOERROR, counts=(links, 0, 0), records=way), name)
        end = self._answer(name, query.qtype, owner, node, zone)
        return Found(end._replace(counts=(end.counts[0] + links, *end.counts[1:]), records=way + end.records))

    def reserved(self, query: Query) -> Response | None:
        """The answer to a name of a zone that is answered here, after :meth:`stated` had none; None for all others."""
        zone = self._zone(query.name)
        return zone and self._answer(query.name, query.qtype, OWNER, None, zone)

    def _node(self, name: bytes) -> _Node | None:
        node = self._names.get(name)
        if node is None and self._wild:
            node = next((self._wild[above] for above in _above(name) if above in self._wild), None)
        return node

    def _zone(self, name: bytes) -> _Zone | None:
        if not name.endswith(self._ends):
            return None
        at = 0
        while size := name[at]:
            if (suffix := name[at:]) in self._zones:
                return self._zones[suffix]
            at += size + 1
        return None

    def _answer(self, name: bytes, qtype: int, owner: bytes, node: _Node | None, zone: _Zone | None) -> Response:
        """The records of a type, or their denial, for a name with a ``node`` or in a ``zone``."""
        node = node or (zone and zone.everywhere)
        found, ttl = (node.records.get(qtype), node.ttl) if node else (None, 0)
        if zone and name == zone.name and qtype in (SOA, NS):
            found, ttl = (_soa(zone) if qtype == SOA else zone.name,), zone.ttl
        if found:
            records = b"".join(record(qtype, ttl, data, owner) for data in found)
            return Response(NOERROR, counts=(len(found), 0, 0), records=records)
        exists = bool(node) or name in self._between or (zone is not None and name == zone.name)
        if exists and qtype == ANY:
            return minimal_any()
        if zone is None:
            return negative(NOERROR, ttl, owner)
        denial = record(SOA, zone.ttl, _soa(zone), zone.name)
        return Response(NOERROR if exists else NXDOMAIN, counts=(0, 1, 0), records=denial)


def _zones(local: Local) -> Iterator[tuple[bytes, _Zone | None]]:
    """The zones by wire name; None are those that are forwarded, though they may lie in one that is not."""
    free = frozenset(local.forward)
    for name in SPECIAL_USE:
        if free.isdisjoint(lineage(name)):
            wire = to_wire(name)
            loopback = _node(["A 127.0.0.1", "AAAA ::1"], RESERVED_TTL) if name == "localhost" else None  # RFC 6761 6.3
            yield wire, _Zone(wire, RESERVED_TTL, loopback)
    for name in local.zones:
        yield to_wire(name), _Zone(to_wire(name), local.ttl)
    for name in local.forward:
        yield to_wire(name), None


def _text(text: str) -> _Node:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return _node([f'TXT "{escaped}"'], 0)


def _node(stated: Iterable[str], ttl: int) -> _Node:
    records: dict[int, tuple[bytes, ...]] = {}
    for kind, data in map(encode, stated):
        records[kind] = (*records.get(kind, ()), data)
    return _Node(records, ttl, records.get(CNAME, (b"",))[0])


def _reverse(records: Iterable[tuple[str, Iterable[str]]]) -> Iterator[tuple[str, str]]:
    """(reverse name, name) of every address, for the first name that states it; nobody is at 0.0.0.0 and ::."""
    for name, stated in records:
        if name.startswith("*."):
            continue
        for text in stated:
            kind, _, data = text.partition(" ")
            if kind in ("A", "AAAA") and not (address := ip_address(data)).is_unspecified:
                yield address.reverse_pointer, name


def _above(wire: bytes) -> Iterator[bytes]:
    """The ancestors of a wire name, nearest first, without the root."""
    at = wire[0] + 1 if wire[0] else 0
    while wire[at]:
        yield wire[at:]
        at += wire[at] + 1


def _top(wire: bytes) -> bytes:
    *_, top = (wire, *_above(wire))
    return top


def _soa(zone: _Zone) -> bytes:
    return zone.name + to_wire("nobody.invalid") + soa_times(zone.ttl)  # RFC 6303 3: it names itself
