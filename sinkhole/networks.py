"""Networks that are looked up by address."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Network, IPv6Network
from typing import Generic, TypeVar

Network = IPv4Network | IPv6Network
T = TypeVar("T")


class Networks(Generic[T]):
    """A value for each network, found by any address in it. A look-up costs as much as there are prefix lengths."""

    def __init__(self, entries: Iterable[tuple[Network, T]]) -> None:
        tables: dict[tuple[int, int], dict[int, list[T]]] = {}
        for network, value in entries:
            octets, shift = network.max_prefixlen // 8, network.max_prefixlen - network.prefixlen
            prefix = int(network.network_address) >> shift
            tables.setdefault((octets, shift), {}).setdefault(prefix, []).append(value)
        self._tables = {
            octets: [(shift, table) for (size, shift), table in sorted(tables.items()) if size == octets]
            for octets in (4, 16)
        }

    def __bool__(self) -> bool:
        return any(self._tables.values())

    def find(self, address: bytes) -> Iterator[T]:
        """The values of all networks that have an address of 4 or 16 octets, the longest prefix first."""
        number = int.from_bytes(address)
        for shift, table in self._tables.get(len(address), ()):
            yield from table.get(number >> shift, ())

    def have(self, address: bytes) -> bool:
        """Whether any of them has the address."""
        return next((True for _ in self.find(address)), False)
