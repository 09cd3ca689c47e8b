"""All upstreams: which servers are asked for a name.

A conditional route is for a domain with all below it, and the longest one that a name lies below is its route. Routes
share nothing but the count of those who wait, so what one route's servers say never speaks for another's names.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from functools import partial

from sinkhole.names import to_wire
from sinkhole.resolver.upstream.crowd import Crowd, Limits
from sinkhole.resolver.upstream.forwarder import Forwarder
from sinkhole.resolver.upstream.remote import Server
from sinkhole.resolver.upstream.transports import Transports


class Upstreams:
    """``servers`` are asked for every name that no domain in ``conditional`` (names to servers) claims.

    ``bootstrap`` are asked for the host names of all of them: plain servers, given by address. ``ca`` is the path of a
    file of certificates to trust beside the system's. ``token`` is known to all processes of this resolver and to
    nobody else. Raises ConfigError for a ``ca`` that cannot be used, ValueError for a host name without ``bootstrap``.
    """

    def __init__(
        self,
        servers: Sequence[Server],
        *,
        strategy: str = "parallel",
        timeout: float = 2.0,
        conditional: Mapping[str, Sequence[Server]] | None = None,
        bootstrap: Sequence[Server] = (),
        ca: str = "",
        token: str = "",
        limits: Limits = Limits(),  # noqa: B008 - immutable
    ) -> None:
        self._crowd = Crowd(limits)
        token = token or secrets.token_hex(16)
        plain = Forwarder(bootstrap, timeout, crowd=Crowd(limits), token=token) if bootstrap else None
        make = partial(
            Forwarder,
            timeout=timeout,
            strategy=strategy,
            transports=Transports(plain, ca),
            crowd=self._crowd,
            token=token,
        )
        self.default: Forwarder = make(servers)
        self._routes: dict[bytes, Forwarder] = {}
        for domain, own in (conditional or {}).items():
            wire = to_wire(domain)
            self._routes[wire] = make(own, domain=wire)
        self._all = [self.default, *self._routes.values(), *([plain] if plain else [])]

    def route(self, name: bytes) -> Forwarder:
        """Who is to be asked about a lower-case wire name: the same one for as long as this exists."""
        if self._routes:
            at = 0
            while size := name[at]:
                if found := self._routes.get(name[at:]):
                    return found
                at += size + 1
        return self.default

    @property
    def waiting(self) -> int:
        """How many wait for an answer."""
        return self._crowd.total

    def close(self) -> None:
        """Answer all who wait with SERVFAIL, and end every connection."""
        for forwarder in self._all:
            forwarder.close()
