"""What a worker needs to know, as plain data that goes over its control channel as one line of JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, cast

#: (transport, host, port) of an upstream, and the path of one over HTTPS.
Server = tuple[str, str, int] | tuple[str, str, int, str]


class Settings(NamedTuple):
    """``bundle``: directory; ``timeout`` in seconds; ``mode``: a mode of ``blocking`` or addresses; ``ttl`` in seconds;
    ``conditional``: domains and their servers; ``ca``: path of a file, or empty; ``token``: the secret that all workers
    of this resolver mark their own probes with."""

    bundle: str
    servers: tuple[Server, ...]
    timeout: float
    mode: str | tuple[str, ...]
    ttl: int
    strategy: str = "parallel"
    conditional: tuple[tuple[str, tuple[Server, ...]], ...] = ()
    bootstrap: tuple[Server, ...] = ()
    ca: str = ""
    token: str = ""

    @property
    def upstream(self) -> tuple[object, ...]:
        """All that upstreams are made from: new ones are needed when it changes."""
        return self.servers, self.timeout, self.strategy, self.conditional, self.bootstrap, self.ca, self.token

    def line(self) -> bytes:
        return json.dumps(self._asdict()).encode() + b"\n"


def parse(line: bytes) -> Settings:
    """The inverse of :meth:`Settings.line`."""
    data: Mapping[str, Any] = json.loads(line)
    return Settings(
        data["bundle"],
        _servers(data["servers"]),
        data["timeout"],
        data["mode"] if isinstance(data["mode"], str) else tuple(data["mode"]),
        data["ttl"],
        data["strategy"],
        tuple((domain, _servers(servers)) for domain, servers in data["conditional"]),
        _servers(data["bootstrap"]),
        data["ca"],
        data["token"],
    )


def _servers(data: Iterable[list[Any]]) -> tuple[Server, ...]:
    return tuple(cast(Server, tuple(server)) for server in data)
