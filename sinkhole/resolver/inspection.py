"""What an answer leads to, judged: the names of its chain and its targets, and the addresses in it.

The cache holds what upstreams said and serves everyone, so what an answer means to a client is decided when he gets it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from ipaddress import ip_network
from typing import Protocol

from sinkhole.names import key, wire_key
from sinkhole.networks import Networks
from sinkhole.policy.verdict import Action, Verdict
from sinkhole.resolver.answer import Blocking, blocked
from sinkhole.resolver.message import AAAA, HTTPS, IN, QUESTION, SVCB, A, Query, Response

#: Distinct answers whose verdict is kept.
_MAX_JUDGED = 10_000
#: Parameters of SVCB and HTTPS records that hold addresses (RFC 9460 7.3) -> octets of one.
_HINTS = {4: 4, 6: 16}
#: IPv6 networks of which the last four octets are the IPv4 address that is reached: RFC 4291 2.5.5.2, RFC 6052 2.1.
_EMBEDDED = (bytes(10) + b"\xff\xff", bytes.fromhex("0064ff9b") + bytes(8))
#: Networks that lead into the site or the host itself: RFC 1122 3.2.1.3, 1918, 3927, 6598; RFC 4193, 4291.
_INTERNAL = Networks(
    (ip_network(network), None)
    for network in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
        *("192.168.0.0/16", "::1/128", "fc00::/7", "fe80::/10"),
    )
)
#: These lead nowhere: an upstream says so that it blocks the name.
_NOWHERE = (bytes(4), bytes(16))
#: RFC 8914 4.16; with null-ip a browser would reach its own host, so the answer is that there is none.
_REBINDING = Verdict(Action.BLOCK, ede=15, text="an internal address for a public name", mode="nodata")
_TTL = 60


class Policy(Protocol):
    """What decides on names, and on addresses when a list speaks of some."""

    def decide(self, profile: int, key: bytes, qtype: int) -> Verdict: ...

    def beyond(self, profile: int, key: bytes, qtype: int) -> int: ...

    @property
    def by_address(self) -> Callable[[int, tuple[bytes, ...], int], Verdict] | None: ...


class Inspection:
    """Judges answers by one policy, and remembers its judgements."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._by_address = policy.by_address
        self._judged: dict[tuple[int, bytes, int, tuple[bytes, ...], tuple[bytes, ...]], Verdict | None] = {}

    def verdict(self, profile: int, query: Query, response: Response) -> Verdict | None:
        """The verdict that keeps an answer from clients of a profile; None when they may have it."""
        found = tuple(addresses(response)) if self._by_address else ()
        if not found and not response.names:
            return None
        led = profile, query.name, query.qtype, response.names, found
        if led in self._judged:
            return self._judged[led]
        if len(self._judged) >= _MAX_JUDGED:
            self._judged.clear()
        verdict = self._judged[led] = self._judge(*led)
        return verdict

    def _judge(
        self, profile: int, asked: bytes, qtype: int, names: Iterable[bytes], found: tuple[bytes, ...]
    ) -> Verdict | None:
        profile = self._policy.beyond(profile, wire_key(asked), qtype)
        for name in names:
            verdict = self._policy.decide(profile, name, qtype)
            if verdict.action is Action.BLOCK:
                return verdict
            profile = self._policy.beyond(profile, name, qtype)
        if self._by_address and found:
            verdict = self._by_address(profile, found, qtype)
            if verdict.action is Action.BLOCK:
                return verdict
        return None


def addresses(response: Response) -> Iterator[bytes]:
    """The addresses in the answer section, in 4 or 16 octets, with the hints of SVCB and HTTPS records. Of an IPv6
    address that stands for an IPv4 address, that."""
    records = response.records
    for at in response.ttls[: response.counts[0]]:
        kind, klass = QUESTION.unpack_from(records, at - QUESTION.size)
        data = at + 6
        if klass != IN:
            continue
        if kind == A:
            yield records[data : data + 4]
        elif kind == AAAA:
            yield _reached(records[data : data + 16])
        elif kind in (SVCB, HTTPS):
            yield from _hints(records[data : data + int.from_bytes(records[at + 4 : data])])


def _hints(data: bytes) -> Iterator[bytes]:
    """The addresses in the data of an SVCB record (RFC 9460 2.2), up to where it is malformed."""
    at = 2
    while at < len(data) and 0 < (size := data[at]) < 64:
        at += size + 1
    at += 2 if data[at : at + 1] >= b"\xc0" else 1
    while at + QUESTION.size <= len(data):
        name, length = QUESTION.unpack_from(data, at)
        at += QUESTION.size
        value = data[at : at + length]
        if size := _HINTS.get(name, 0):
            for start in range(0, len(value) - size + 1, size):
                yield _reached(value[start : start + size])
        at += length


def _reached(address: bytes) -> bytes:
    return address[12:] if address[:12] in _EMBEDDED else address


class Rebinding:
    """Finds answers that would make a public name lead into the site, so that its pages could speak to what is there.

    ``allowed`` are names that may: ``corp.example`` with all below it, ``=corp.example`` alone; and networks that every
    name may lead to.
    """

    def __init__(self, allowed: Iterable[str] = ()) -> None:
        self._trees: list[bytes] = []
        self._names: list[bytes] = []
        networks = []
        for text in allowed:
            try:
                networks.append((ip_network(text), None))
            except ValueError:
                (self._names if text.startswith("=") else self._trees).append(key(text.removeprefix("=").encode()))
        self._allowed = Networks(networks)

    def answer(self, query: Query, response: Response) -> Response | None:
        """What to say in place of ``response``; None when that may stay."""
        if not any(map(self._inside, addresses(response))):
            return None
        name = wire_key(query.name)
        if name in self._names or name.startswith(tuple(self._trees)):
            return None
        ttl = min(response.ttl, _TTL)
        return blocked(query.qtype, _REBINDING, Blocking(ttl=ttl))._replace(ttl=ttl)

    def _inside(self, address: bytes) -> bool:
        return address not in _NOWHERE and _INTERNAL.have(address) and not self._allowed.have(address)
