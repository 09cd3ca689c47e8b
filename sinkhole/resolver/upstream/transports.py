"""From what a server is to the way of asking it: one function for each transport."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from ipaddress import ip_address

from sinkhole.errors import ConfigError, Problem
from sinkhole.resolver.upstream.bootstrap import Host, Resolver
from sinkhole.resolver.upstream.https import Https
from sinkhole.resolver.upstream.question import Transport
from sinkhole.resolver.upstream.remote import Server
from sinkhole.resolver.upstream.stream import Addresses, Stream, literally
from sinkhole.resolver.upstream.udp import Udp


class Transports:
    """Makes the transports of servers. ``resolver`` is who is asked for their host names, ``ca`` the path of a file of
    certificates to trust beside those of the system. A context is made when the first server needs it; that raises
    ConfigError for a file that cannot be used."""

    def __init__(self, resolver: Resolver | None = None, ca: str = "") -> None:
        self._resolver = resolver
        self._ca = ca
        self._hosts: dict[str, Addresses] = {}
        self._contexts: dict[str, ssl.SSLContext] = {}

    def __call__(self, server: Server) -> Transport:
        return _TRANSPORTS[server.transport](self, Server(*server))

    def addresses(self, host: str) -> Addresses:
        if host not in self._hosts:
            try:
                ip_address(host)
            except ValueError:
                if not self._resolver:
                    raise ValueError(f"nobody to ask for the address of {host}") from None
                self._hosts[host] = Host(host, self._resolver)
            else:
                self._hosts[host] = literally(host)
        return self._hosts[host]

    def trust(self, protocol: str) -> ssl.SSLContext:
        """One for each protocol: httpx writes its own into what it gets."""
        if protocol not in self._contexts:
            context = ssl.create_default_context()
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            context.set_alpn_protocols([protocol])
            if self._ca:
                try:
                    context.load_verify_locations(self._ca)
                except OSError as error:
                    why = error.strerror or "no certificates"
                    raise ConfigError([Problem(self._ca, 0, 0, "upstream.ca", why)]) from error
            self._contexts[protocol] = context
        return self._contexts[protocol]


def _udp(made: Transports, server: Server) -> Transport:
    return Udp(server.host, server.port, _tcp(made, server))


def _tcp(made: Transports, server: Server) -> Stream:
    return Stream(literally(server.host), server.port)


def _tls(made: Transports, server: Server) -> Transport:
    return Stream(made.addresses(server.host), server.port, made.trust("dot"), server.host)


def _https(made: Transports, server: Server) -> Transport:
    return Https(made.addresses(server.host), server.host, server.port, server.path, made.trust("h2"))


_TRANSPORTS: dict[str, Callable[[Transports, Server], Transport]] = {
    "udp": _udp,
    "tcp": _tcp,
    "tls": _tls,
    "https": _https,
}
