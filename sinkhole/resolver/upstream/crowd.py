"""Who waits for upstreams, counted so that no client and no domain can take up all the room.

Without bounds a client that asks for names that nobody answers (random labels below a slow domain) would keep every
socket and all memory, and could have many answers held back to be released at one instant (DNSBomb, CVE-2024-33655).
"""

from __future__ import annotations

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
    """The askers that wait now: ``total`` and by client; and the ``questions`` under way, by name and by domain.

    Domains are counted only while there are so many questions that one of them could have too many.
    """

    def __init__(self, limits: Limits = Limits()) -> None:  # noqa: B008 - immutable
        self.limits = limits
        self.total = 0
        self.questions = 0
        self.clients: dict[str, int] = {}
        self.names: dict[bytes, int] = {}
        self.domains: dict[bytes, int] = {}
        self._few = min(most for _, most in DOMAINS)
        self._counting = False

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

    def start(self, name: bytes) -> bool:
        """Let one more question about a wire name be asked, if there is room below its domains."""
        names = self.names
        if self._counting or self.questions >= self._few:
            if not self._counting:
                self._counting = True
                for other, count in names.items():
                    self._count(other, count)
            if any(self.domains.get(domain, 0) >= most for domain, most in _domains(name)):
                return False
            self._count(name, 1)
        names[name] = names.get(name, 0) + 1
        self.questions += 1
        return True

    def end(self, name: bytes) -> None:
        """A question about it is under way no more."""
        _less(self.names, name)
        self.questions -= 1
        if self._counting:
            for domain, _ in _domains(name):
                _less(self.domains, domain)
            if self.questions < self._few // 2:
                self._counting = False
                self.domains.clear()

    def _count(self, name: bytes, questions: int) -> None:
        for domain, _ in _domains(name):
            self.domains[domain] = self.domains.get(domain, 0) + questions


def _less(counts: dict[_Key, int], key: _Key) -> None:
    if (left := counts[key] - 1) > 0:
        counts[key] = left
    else:
        del counts[key]


def _domains(name: bytes) -> list[tuple[bytes, int]]:
    """The suffixes of a wire name that are counted, each with its bound. A name itself is none: its askers share."""
    starts = []
    at = 0
    while size := name[at]:
        starts.append(at)
        at += size + 1
    return [(name[starts[-labels] :], most) for labels, most in DOMAINS if len(starts) > labels]
