"""Who waits for upstreams, counted so that no client and no domain can take up all the room.

Without bounds a client that asks for names that nobody answers (random labels below a slow domain) would keep every
socket and all memory, and could have many answers held back to be released at one instant (DNSBomb, CVE-2024-33655).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

_Key = TypeVar("_Key")

#: Labels of a suffix (without the root) and how many questions may be under way for names below it: a domain such as
#: example.com, and with one label more, so that one domain below co.uk does not use up the room of all of them.
DOMAINS = ((2, 1000), (3, 250))


class Limits(NamedTuple):
    """The most askers that wait at one time: in total, and of one client."""

    total: int = 10_000
    client: int = 1000


class Crowd:
    """The askers that wait now: ``total`` and by client; and the questions under way by domain."""

    def __init__(self, limits: Limits = Limits()) -> None:  # noqa: B008 - immutable
        self.limits = limits
        self.total = 0
        self.clients: dict[str, int] = {}
        self.domains: dict[bytes, int] = {}

    def enter(self, client: str) -> bool:
        """Let one more asker wait, if there is room. ``client`` is empty for ourselves."""
        waiting = self.clients.get(client, 0)
        if self.total >= self.limits.total or (client and waiting >= self.limits.client):
            return False
        self.total += 1
        self.clients[client] = waiting + 1
        return True

    def leave(self, client: str) -> None:
        self.total -= 1
        _less(self.clients, client)

    def start(self, name: bytes) -> Sequence[bytes] | None:
        """One more question about a wire name: what :meth:`end` is to be told, or None without room below a domain."""
        counts = self.domains
        domains = _domains(name)
        for domain, (_, most) in zip(domains, DOMAINS, strict=False):
            if counts.get(domain, 0) >= most:
                return None
        for domain in domains:
            counts[domain] = counts.get(domain, 0) + 1
        return domains

    def end(self, domains: Sequence[bytes]) -> None:
        for domain in domains:
            _less(self.domains, domain)


def _less(counts: dict[_Key, int], key: _Key) -> None:
    if (left := counts[key] - 1) > 0:
        counts[key] = left
    else:
        del counts[key]


def _domains(name: bytes) -> list[bytes]:
    """The suffixes of a wire name that are counted, in the order of :data:`DOMAINS`. A name itself is none: its askers
    share."""
    starts = []
    at = 0
    while size := name[at]:
        starts.append(at)
        at += size + 1
    return [name[starts[-labels] :] for labels, _ in DOMAINS if len(starts) > labels]
