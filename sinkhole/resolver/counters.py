"""What the resolver counts."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Counters:
    """How many packets came, and what became of them.

    Beside those: answers that were ``stale``, questions that nobody waited for (``prefetched``), and answers of
    upstreams that led inside (``rebound``); and lines of the query log that nobody took (``unlogged``).
    """

    queries: int = 0
    blocked: int = 0
    warned: int = 0
    observed: int = 0
    local: int = 0
    cached: int = 0
    forwarded: int = 0
    refused: int = 0
    denied: int = 0
    limited: int = 0
    dropped: int = 0
    errors: int = 0
    stale: int = 0
    prefetched: int = 0
    rebound: int = 0
    unlogged: int = 0
