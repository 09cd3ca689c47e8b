"""What to compile, as plain data.

A plan names its lists (each with its sources and its own rules), the policy that the bundle carries, and the fence
around feeds.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from sinkhole.compiler.guard import Fence
from sinkhole.feeds.origin import Origin
from sinkhole.rules import Rule, Special


class SourcePlan(NamedTuple):
    """One text of rules. ``location`` is a URL or a path; ``id`` is how people know it.

    ``max_skipped`` and ``max_change`` are shares; the fields from ``mirrors`` on are those of
    :class:`~sinkhole.feeds.origin.Origin`, and no bundle depends on them.
    """

    id: str
    location: str
    format: str = "auto"
    subdomains: bool = False
    min_rules: int = 0
    max_rules: int | None = None
    max_skipped: float = 0.5
    max_change: float = 0.5
    title: str = ""
    license: str = ""
    homepage: str = ""
    mirrors: tuple[str, ...] = ()
    interval: float | None = None
    local: bool = False
    within: tuple[str, ...] = ()

    @property
    def origin(self) -> Origin:
        return Origin(self.location, self.mirrors, self.interval, self.local, self.within, self.format == "v2fly")


class Own(NamedTuple):
    """A rule of the catalogue or the configuration, and the line that states it."""

    rule: Rule
    source: str
    file: str
    line: int
    text: str


class ListPlan(NamedTuple):
    """One list: what is known of it, and what it is made of.

    ``updated`` is a date or empty. ``allows``: its names are allowed on all lists. ``nearest``: the most
    specific of its own rules decides, instead of the strongest. ``special`` are its own rules about the addresses in
    answers, each with who states it. ``protected`` are the names that have one right answer, whatever it says.
    """

    id: str
    title: str = ""
    description: str = ""
    homepage: str = ""
    license: str = ""
    updated: str = ""
    allows: bool = False
    nearest: bool = False
    sources: tuple[SourcePlan, ...] = ()
    own: tuple[Own, ...] = ()
    hosts: tuple[str, ...] = ()
    special: tuple[tuple[Special, str], ...] = ()
    max_change: float = 0.5
    protected: tuple[str, ...] = ()

    @property
    def portable(self) -> ListPlan:
        """All of it that a bundle depends on; files count by the name that people know them by."""
        nowhere = {name: value for name, value in Origin("")._asdict().items() if name in SourcePlan._fields}
        return self._replace(sources=tuple(source._replace(**nowhere) for source in self.sources))


class Plan(NamedTuple):
    """``policy`` is the bundle's ``policy.json``; ``lists`` begin with the internal ones, which are never exported."""

    lists: tuple[ListPlan, ...]
    policy: dict[str, Any]
    fence: Fence

    @property
    def portable(self) -> tuple[object, ...]:
        """All of the plan that a bundle depends on."""
        return (*(entry.portable for entry in self.lists), self.policy, *self.fence.portable)

    @property
    def sources(self) -> list[SourcePlan]:
        """Every source once, in the order of the lists."""
        return list({source.location: source for entry in self.lists for source in entry.sources}.values())
