"""What a worker needs to know, as plain data that goes over its control channel as one line of JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, cast

from sinkhole.policy.exceptions import Permission, permission
from sinkhole.resolver.access import ANYONE, Rules
from sinkhole.resolver.listener import DEFAULT_LIMITS, Limits
from sinkhole.resolver.lookup import DEFAULT_HANDLING, Handling
from sinkhole.resolver.recorder import Recording
from sinkhole.resolver.zones import Local
from sinkhole.service.startup import READY

#: (transport, host, port) of an upstream, and the path of one over HTTPS.
Server = tuple[str, str, int] | tuple[str, str, int, str]
#: Octets of a line: many times what the configuration and its hosts files may hold.
MAX_LINE = 64 << 20


class Settings(NamedTuple):
    """``bundle``: directory, empty when there is none; ``timeout`` in seconds; ``mode``: a mode of ``blocking`` or
    addresses; ``ttl`` in seconds; ``state``: one of :mod:`sinkhole.service.startup`; ``conditional``: domains and their
    servers; ``ca``: path of a file, or empty; ``token``: the secret that all workers of this resolver mark their own
    probes with; ``tls``: files of the certificate and its key, if any; ``local``: what is answered without asking
    anyone; ``permissions``: the exceptions that hold, or will, or did; ``cache``: octets of it; ``stale``: seconds that
    answers are kept beyond their time; ``handling`` of answers; ``plain``: the web does without TLS; ``recording``:
    what is written down of queries."""

    bundle: str
    servers: tuple[Server, ...]
    timeout: float
    mode: str | tuple[str, ...]
    ttl: int
    state: str = READY
    strategy: str = "parallel"
    conditional: tuple[tuple[str, tuple[Server, ...]], ...] = ()
    bootstrap: tuple[Server, ...] = ()
    ca: str = ""
    token: str = ""
    access: Rules = ANYONE
    limits: Limits = DEFAULT_LIMITS
    tls: tuple[str, str] | None = None
    local: Local = Local()
    permissions: tuple[Permission, ...] = ()
    cache: int = 4 << 20
    stale: float = 0
    handling: Handling = DEFAULT_HANDLING
    plain: bool = False
    recording: Recording = Recording()

    @property
    def upstream(self) -> tuple[object, ...]:
        """All that upstreams are made from: new ones are needed when it changes."""
        return self.servers, self.timeout, self.strategy, self.conditional, self.bootstrap, self.ca, self.token

    @property
    def lookup(self) -> tuple[object, ...]:
        """All that looking names up depends on: the cache is emptied when it changes."""
        return *self.upstream, self.cache, self.stale, self.handling

    def line(self) -> bytes:
        plain = {
            **self._asdict(),
            "permissions": [found.plain for found in self.permissions],
            "handling": self.handling._asdict(),
        }
        return json.dumps(plain).encode() + b"\n"


def parse(line: bytes) -> Settings:
    """The inverse of :meth:`Settings.line`."""
    data: Mapping[str, Any] = json.loads(line)
    allowed = data["handling"]["rebinding"]
    return Settings(
        data["bundle"],
        _servers(data["servers"]),
        data["timeout"],
        data["mode"] if isinstance(data["mode"], str) else tuple(data["mode"]),
        data["ttl"],
        data["state"],
        data["strategy"],
        tuple((domain, _servers(servers)) for domain, servers in data["conditional"]),
        _servers(data["bootstrap"]),
        data["ca"],
        data["token"],
        Rules(*map(_frozen, data["access"])),
        Limits(*data["limits"]),
        _frozen(data["tls"]),
        _local(*data["local"]),
        tuple(map(permission, data["permissions"])),
        data["cache"],
        data["stale"],
        Handling(**{**data["handling"], "rebinding": allowed if allowed is None else tuple(allowed)}),
        data["plain"],
        Recording(*map(_frozen, data["recording"])),
    )


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _local(records: list[Any], zones: list[str], forward: list[str], *rest: Any) -> Local:
    stated = tuple((name, tuple(texts)) for name, texts in records)
    return Local(stated, tuple(zones), tuple(forward), *rest)


def _servers(data: Iterable[list[Any]]) -> tuple[Server, ...]:
    return tuple(cast(Server, tuple(server)) for server in data)
