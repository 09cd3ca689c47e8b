"""What a worker needs to know, as plain data that goes over its control channel as one line of JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from sinkhole.resolver.lookup import DEFAULT_HANDLING, Handling


class Settings(NamedTuple):
    """``bundle``: directory; ``servers``: (transport, host, port); ``timeout`` in seconds; ``mode``: a mode of
    ``blocking`` or addresses; ``ttl`` in seconds; ``cache``: octets of it; ``stale``: seconds that answers are kept
    beyond their time; ``handling`` of answers."""

    bundle: str
    servers: tuple[tuple[str, str, int], ...]
    timeout: float
    mode: str | tuple[str, ...]
    ttl: int
    cache: int = 16 << 20
    stale: float = 0
    handling: Handling = DEFAULT_HANDLING

    @property
    def outside(self) -> tuple[object, ...]:
        """What decides how names are looked up; a change of it empties the cache."""
        return self.servers, self.timeout, self.cache, self.stale, self.handling

    def line(self) -> bytes:
        return json.dumps({**self._asdict(), "handling": self.handling._asdict()}).encode() + b"\n"


def parse(line: bytes) -> Settings:
    """The inverse of :meth:`Settings.line`."""
    data: Mapping[str, Any] = json.loads(line)
    allowed = data["handling"]["rebinding"]
    return Settings(
        data["bundle"],
        tuple((transport, host, port) for transport, host, port in data["servers"]),
        data["timeout"],
        data["mode"] if isinstance(data["mode"], str) else tuple(data["mode"]),
        data["ttl"],
        data["cache"],
        data["stale"],
        Handling(**{**data["handling"], "rebinding": allowed if allowed is None else tuple(allowed)}),
    )
