"""Between which instants what a group may not reach stays the same: plain data, without opening a bundle."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from sinkhole.policy import schedule
from sinkhole.policy.exceptions import Permission
from sinkhole.policy.verdict import Action


class Span(NamedTuple):
    """From which instant on something holds, and until when; None: since ever, and until somebody changes it."""

    since: datetime | None
    until: datetime | None


def span(plain: Mapping[str, Any], permissions: Iterable[Permission], at: datetime, group: str) -> Span:
    """The span around ``at``, by the policy of a bundle and the exceptions to it."""
    groups = frozenset(("all", group))
    instants: list[datetime | None] = []
    for entry in plain["entries"]:
        if groups.isdisjoint(entry["groups"]):
            continue
        if entry["schedule"]:
            when = schedule.read(entry["schedule"])
            instants += [schedule.changed_at(when, at), schedule.changes_at(when, at)]
        for name in entry["directives"]:
            directive = plain["directives"][name]
            if (entry["action"] or directive["action"]) == Action.BLOCK:
                instants += [_instant(directive[field]) for field in ("effective-from", "effective-until")]
    for found in permissions:
        if not groups.isdisjoint(found.groups):
            instants += [_instant(found.since), _instant(found.until)]
    stated = [instant for instant in instants if instant]
    return Span(
        max((instant for instant in stated if instant <= at), default=None),
        min((instant for instant in stated if instant > at), default=None),
    )


def _instant(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
