"""What a worker needs to know, as plain data that goes over its control channel as one line of JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from sinkhole.resolver.zones import Local

#: Octets of a line: many times what the configuration and its hosts files may hold.
MAX_LINE = 64 << 20


class Settings(NamedTuple):
    """``bundle``: directory; ``servers``: (transport, host, port); ``timeout`` in seconds; ``mode``: a mode of
    ``blocking`` or addresses; ``ttl`` in seconds; ``local``: what is answered without asking anyone."""

    bundle: str
    servers: tuple[tuple[str, str, int], ...]
    timeout: float
    mode: str | tuple[str, ...]
    ttl: int
    local: Local = Local()

    def line(self) -> bytes:
        return json.dumps(self._asdict()).encode() + b"\n"


def parse(line: bytes) -> Settings:
    """The inverse of :meth:`Settings.line`."""
    data: Mapping[str, Any] = json.loads(line)
    return Settings(
        data["bundle"],
        tuple((transport, host, port) for transport, host, port in data["servers"]),
        data["timeout"],
        data["mode"] if isinstance(data["mode"], str) else tuple(data["mode"]),
        data["ttl"],
        _local(*data["local"]),
    )


def _local(records: list[Any], zones: list[str], forward: list[str], *rest: Any) -> Local:
    stated = tuple((name, tuple(texts)) for name, texts in records)
    return Local(stated, tuple(zones), tuple(forward), *rest)
