"""Who asks through a reverse proxy: ``X-Forwarded-For``, or ``Forwarded`` (RFC 7239), of proxies that are trusted.

Each proxy appends whom it was asked by, so a header is read from its end, and no further than to the first address that
is not a proxy's: what stands before that, anybody may have written.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from ipaddress import ip_address

#: An address, or an IPv6 one in brackets, and perhaps a port.
_NODE = re.compile(r"\[([0-9A-Fa-f:.]+)\](?::\d+)?|([0-9.]+)(?::\d+)?|([0-9A-Fa-f:.]+)")
_FOR = re.compile(r'(?:^|;)\s*for\s*=\s*"?([^";]*)', re.IGNORECASE)


class Unclear(ValueError):
    """A proxy names no client, or two: then one of the headers came from the client itself."""


def client(peer: str, listed: Sequence[str], forwarded: Sequence[str], trusts: Callable[[str], bool]) -> str:
    """The address of who asks: ``peer``, who is connected, or whom it names when it ``trusts`` it.

    ``listed`` and ``forwarded`` are the values of all ``X-Forwarded-For`` and all ``Forwarded``. Raises
    :class:`Unclear`.
    """
    if not trusts(peer):
        return peer
    chains = [",".join(listed).split(",")] if listed else []
    if forwarded:
        found = map(_FOR.search, ",".join(forwarded).split(","))
        chains.append([match[1] if match else "" for match in found])
    named = {_named(chain, trusts) for chain in chains}
    if len(named) != 1 or "" in named:
        raise Unclear(f"{peer} is a proxy and has to name one client, by X-Forwarded-For or Forwarded")
    return named.pop()


def _named(chain: Sequence[str], trusts: Callable[[str], bool]) -> str:
    """The last address of a chain that is not a proxy's, or the first of all; empty where something else stands."""
    address = ""
    for text in reversed(chain):
        address = _address(text.strip())
        if not address or not trusts(address):
            break
    return address


def _address(text: str) -> str:
    """The address of a node, in its one spelling; empty when there is none."""
    try:
        return str(ip_address(match[match.lastindex or 0])) if (match := _NODE.fullmatch(text)) else ""
    except ValueError:
        return ""
