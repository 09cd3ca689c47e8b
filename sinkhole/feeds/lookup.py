"""The addresses of the hosts of feeds, also while our own resolver is the one of the system.

A machine that resolves through us cannot ask the system for the host of a feed while we start, and need not ask at all
when resolv.conf(5) names nobody else: then the upstream servers are asked directly, and the system only for what they
do not know. Otherwise the system is asked, and the upstream servers when it fails. Every wait is bounded, and what
comes out is checked and connected to by :mod:`sinkhole.feeds.fetch` like any other address.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path

import dns.exception
import dns.message
import dns.query
import dns.rcode

from sinkhole.config import Endpoint, Server, is_address, system_resolvers
from sinkhole.errors import ConfigError
from sinkhole.feeds.body import resolve as ask_system

#: From a host name and a port to the addresses to try, in order; raises OSError.
Resolve = Callable[[str, int], list[str]]

RESOLV_CONF = Path("/etc/resolv.conf")
#: Seconds for one question to one server, and for all questions about one host.
PATIENCE, BUDGET = 2.0, 8.0
#: How many addresses of a host are tried at most.
MOST = 16


def resolver(
    servers: Iterable[Server], own: Collection[Endpoint], *, system: Resolve = ask_system, path: Path = RESOLV_CONF
) -> Resolve:
    """What resolves the hosts of feeds: ``servers`` are the upstreams, ``own`` is where we answer ourselves."""
    usable = [server for server in servers if server.protocol in _WAYS and is_address(server.host)]

    def direct(host: str, port: int) -> list[str]:
        return ask(host, usable)

    def resolve(host: str, port: int) -> list[str]:
        # A name of one label and an address are for the machine itself to know (RFC 6761 6.3).
        if not usable or is_address(host) or "." not in host.rstrip("."):
            return system(host, port)
        first, second = (direct, system) if _only_we(path, own) else (system, direct)
        try:
            return first(host, port)
        except OSError as error:
            with suppress(OSError):
                return second(host, port)
            raise error

    return resolve


def ask(host: str, servers: Iterable[Server]) -> list[str]:
    """The addresses of ``host`` as ``servers`` know them, IPv4 first. Raises OSError."""
    end = time.monotonic() + BUDGET
    why = "no upstream server answered"
    for server in servers:
        found: list[str] = []
        for kind in ("A", "AAAA"):
            if (left := end - time.monotonic()) <= 0:
                break
            try:
                query = dns.message.make_query(host, kind)
                answer = _WAYS[server.protocol](query, server.host, min(PATIENCE, left), server.port)
                if answer.rcode() not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
                    raise OSError(f"{server} answered {dns.rcode.to_text(answer.rcode())}")
                assert isinstance(answer, dns.message.QueryMessage)
                records = answer.resolve_chaining().answer
            except (dns.exception.DNSException, OSError, EOFError) as error:
                why = str(error) or type(error).__name__
                continue
            found += (record.address for record in records or ())
            why = f"{server} knows no address of it"
        if found:
            return found[:MOST]
    raise OSError(why)


def _udp(query: dns.message.Message, where: str, timeout: float, port: int) -> dns.message.Message:
    answer, _ = dns.query.udp_with_fallback(
        query, where, timeout, port, ignore_unexpected=True, ignore_errors=True
    )  # what a stranger sends must not end the wait for the answer
    return answer


#: The ways to ask a server at an address.
_WAYS: dict[str, Callable[[dns.message.Message, str, float, int], dns.message.Message]] = {
    "udp": _udp,
    "tcp": dns.query.tcp,
    "tls": dns.query.tls,
}


def _only_we(path: Path, own: Collection[Endpoint]) -> bool:
    """Whether the system asks nobody but us. Without any server in the file it asks this machine."""
    try:
        others = system_resolvers(path, own)
    except ConfigError:
        return True
    anywhere = any(ip_address(endpoint.host).is_unspecified and endpoint.port == 53 for endpoint in own)
    return anywhere and all(_is_here(server.host) for server in others)


def _is_here(address: str) -> bool:
    """Whether an address is one of this machine: only such a one can be bound."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.bind((address, 0))
        return True
    return False
