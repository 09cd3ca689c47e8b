"""Schedules: on which days, between which times of day, by the clocks of which place, something holds.

Pure functions over instants. A window belongs to the day on which it starts, so ``22:00`` to ``06:00`` on ``fri`` ends
on Saturday morning. Where clocks are changed, times are read as in calendars (RFC 5545 3.3.5): of two equal times the
first counts, and one that is left out as if the clocks had not been set forward yet.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, time, timedelta
from typing import Any, NamedTuple

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY = timedelta(days=1)
_WEEK = 7
_MOMENT = timedelta.resolution


class Schedule(NamedTuple):
    """``days`` are words of :data:`DAYS`; a window from ``since`` to ``until`` of equal times is a whole day."""

    days: frozenset[str]
    since: time
    until: time
    zone: str


def read(plain: Mapping[str, Any]) -> Schedule:
    """A schedule from plain data, as the bundle holds it: ``days``, ``from`` and ``to`` as ``HH:MM``, ``zone``."""
    since, until = (time.fromisoformat(plain[edge]) for edge in ("from", "to"))
    return Schedule(frozenset(plain["days"]), since, until, plain["zone"])


def active(when: Schedule, at: datetime) -> bool:
    """Whether a window is open at an instant (aware)."""
    return any(start <= at < end for start, end in _windows(when, at))


def changes_at(when: Schedule, at: datetime) -> datetime | None:
    """The next instant after ``at`` at which a window opens or closes; None when it is always open."""
    now = active(when, at)
    edges = sorted({edge for window in _windows(when, at) for edge in window if edge > at})
    return next((edge for edge in edges if active(when, edge) != now), None)


def changed_at(when: Schedule, at: datetime) -> datetime | None:
    """The last instant up to ``at`` at which a window opened or closed; None when it is always open."""
    windows = [*_windows(when, at - _WEEK * _DAY), *_windows(when, at)]
    edges = sorted({edge for window in windows for edge in window if edge <= at}, reverse=True)
    now = active(when, at)
    return next((edge for edge in edges if active(when, edge - _MOMENT) != now), None)


def _windows(when: Schedule, at: datetime) -> Iterator[tuple[datetime, datetime]]:
    """The windows that can be open at ``at`` or within a week after it, as instants in UTC."""
    from zoneinfo import ZoneInfo  # most policies have no schedule

    zone = ZoneInfo(when.zone)
    first = at.astimezone(zone).date() - 2 * _DAY
    for day in (first + number * _DAY for number in range(_WEEK + 4)):
        if DAYS[day.weekday()] in when.days:
            last = day + _DAY if when.until <= when.since else day
            yield (
                datetime.combine(day, when.since, zone).astimezone(UTC),
                datetime.combine(last, when.until, zone).astimezone(UTC),
            )
