"""Who may ask, and how often: worked out once for each address, so that a packet costs one look-up and one subtraction.

:class:`Rules` is what an operator states, as plain data. :class:`Access` gives for an address its standing and its
*bucket*: the queries it has left, shared by all addresses of one network, because whoever forges addresses, or has a
whole IPv6 network, has many of them. A bucket is filled when it is found empty, so only then a clock is read.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from ipaddress import ip_network
from math import inf
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton
from sys import byteorder
from typing import NamedTuple

#: Where clients are when nobody says otherwise: loopback, RFC 1918, RFC 6598, link-local, RFC 4193.
PRIVATE = (
    *("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "169.254.0.0/16"),
    *("::1/128", "fe80::/10", "fc00::/7"),
)
#: Standings: may ask; is told that it may not; is not answered at all; asks for the client that it names (ECS).
WELCOME, DENIED, IGNORED, PROXY = 0, -1, -2, -3

#: Networks that have a bucket of their own; when there are more, all start anew.
MAX_BUCKETS = 100_000
#: Sources that no packet honestly has (RFC 6890): an answer would go to many, or to nobody.
_NO_CLIENT = ("0.0.0.0/8", "224.0.0.0/4", "255.255.255.255/32", "::/128", "ff00::/8")
_MAPPED = bytes(10) + b"\xff\xff"

#: [queries left, when it was filled]
Bucket = list[float]


class Rules(NamedTuple):
    """Who may ask, and how often.

    ``allow`` are networks, or None for everybody; the others are told so, or with ``silent`` hear nothing. ``rate`` is
    queries a second over UDP from each network of ``prefixes`` (IPv4, IPv6) bits, 0 for no limit, and does not concern
    ``exempt`` networks. Of the queries beyond it, every ``truncate``-th gets an empty answer that sends the client to
    TCP; 0 is none. ``proxies`` may ask, without limit, and are believed when they say for whom.
    """

    allow: tuple[str, ...] | None = None
    silent: bool = False
    rate: int = 0
    prefixes: tuple[int, int] = (24, 56)
    exempt: tuple[str, ...] = ()
    truncate: int = 0
    proxies: tuple[str, ...] = ()


ANYONE = Rules()


class Networks:
    """A set of networks: whether it has an address is one look-up for each length of prefix in it."""

    def __init__(self, networks: Iterable[str]) -> None:
        self._prefixes: dict[int, dict[int, set[int]]] = {4: {}, 16: {}}
        for network in map(ip_network, networks):
            octets = network.network_address.packed
            shift = network.max_prefixlen - network.prefixlen
            self._prefixes[len(octets)].setdefault(shift, set()).add(int.from_bytes(octets) >> shift)

    def __contains__(self, address: bytes) -> bool:
        value = int.from_bytes(address)
        return any(value >> shift in known for shift, known in self._prefixes[len(address)].items())


class Access:
    """:class:`Rules` at work. ``clock`` gives monotonic seconds."""

    def __init__(self, rules: Rules = ANYONE, clock: Callable[[], float] = time.monotonic) -> None:
        self.rules = rules
        self._clock = clock
        self._allow = None if rules.allow is None else Networks(rules.allow)
        self._exempt = Networks(rules.exempt)
        self._nobody = Networks(_NO_CLIENT)
        self._proxies = Networks(rules.proxies)
        self._shift = {4: 32 - rules.prefixes[0], 16: 128 - rules.prefixes[1]}
        self._buckets: dict[tuple[int, int], Bucket] = {}
        self._unlimited: Bucket = [inf, 0.0]

    def meet(self, client: str) -> tuple[int, Bucket]:
        """The standing and the bucket of an address (``192.0.2.7``, ``fe80::1%eth0``). Raises OSError."""
        address = packed(client)
        if address in self._nobody:
            return IGNORED, self._unlimited
        if address in self._proxies:
            return PROXY, self._unlimited
        if self._allow is None or address in self._allow:
            return WELCOME, self._bucket(address)
        return IGNORED if self.rules.silent else DENIED, self._bucket(address)

    def trusts(self, client: str) -> bool:
        """Whether an address is that of a proxy, which is believed when it says for whom it asks."""
        return packed(client) in self._proxies

    def refill(self, bucket: Bucket) -> bool:
        """Fill an empty bucket with what the time since has brought, a second's worth at most, and take one of it.

        False when there is none yet. The long-term rate is exact; a burst may come to two seconds' worth.
        """
        now = self._clock()
        earned = min((now - bucket[1]) * self.rules.rate, self.rules.rate)
        if earned < 1:
            bucket[0] = 0
            return False
        bucket[:] = earned - 1, now
        return True

    def _bucket(self, address: bytes) -> Bucket:
        if not self.rules.rate or address in self._exempt:
            return self._unlimited
        network = len(address), int.from_bytes(address) >> self._shift[len(address)]
        bucket = self._buckets.get(network)
        if bucket is None:
            if len(self._buckets) >= MAX_BUCKETS:
                self._buckets.clear()
            bucket = self._buckets[network] = [float(self.rules.rate), self._clock()]
        return bucket


def packed(client: str) -> bytes:
    """An address as 4 or 16 octets. An IPv4-mapped one (RFC 4291 2.5.5.2), as dual-stack sockets give, is IPv4."""
    if ":" not in client:
        return inet_pton(AF_INET, client)
    octets = inet_pton(AF_INET6, client.partition("%")[0])
    return octets[12:] if octets.startswith(_MAPPED) else octets


def spelled(address: bytes) -> str:
    """An address as text: 4 octets, or 16 and the number of the scope, as in a socket address (ipv6(7))."""
    if len(address) == 4:
        return inet_ntop(AF_INET, address)
    scope = int.from_bytes(address[16:], byteorder)
    return inet_ntop(AF_INET6, address[:16]) + (f"%{scope}" if scope else "")


def behind(subnet: bytes) -> str | None:
    """The address in an ECS option's data, with zeros for what it leaves out; None when there is none (RFC 7871 6)."""
    family, size = (AF_INET, 4) if subnet[:2] == b"\0\1" else (AF_INET6, 16)
    if len(subnet) < 5 or subnet[1] not in (1, 2) or subnet[0] or len(subnet) > 4 + size or not subnet[2]:
        return None
    return inet_ntop(family, subnet[4:].ljust(size, b"\0"))
