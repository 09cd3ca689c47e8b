"""Addresses and ports to listen on."""

from __future__ import annotations

from typing import NamedTuple


class Endpoint(NamedTuple):
    """An address and port to listen on; port 0 lets the system choose."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Where(NamedTuple):
    """Where DNS is answered, DNS over TLS, and the web."""

    dns: tuple[Endpoint, ...]
    dot: tuple[Endpoint, ...]
    web: tuple[Endpoint, ...]
