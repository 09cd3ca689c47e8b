from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from sinkhole.policy.schedule import DAYS, active, changed_at, changes_at, read

NIGHTS = {"days": ["mon", "fri"], "from": "22:00", "to": "06:00", "zone": "Asia/Seoul"}


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


@pytest.mark.parametrize(
    ("instant", "open_"),
    [
        ("2025-03-03T21:59:59+09:00", False),
        ("2025-03-03T22:00:00+09:00", True),
        ("2025-03-03T13:00:00Z", True),
        ("2025-03-04T05:59:59+09:00", True),
        ("2025-03-04T06:00:00+09:00", False),
        ("2025-03-04T23:00:00+09:00", False),
        ("2025-03-08T01:00:00+09:00", True),  # Friday's window, on Saturday
        ("2025-03-09T01:00:00+09:00", False),
    ],
)
def test_a_window_across_midnight_belongs_to_the_day_on_which_it_starts(instant: str, open_: bool) -> None:
    assert active(read(NIGHTS), at(instant)) is open_


def test_whole_days_that_follow_each_other_have_no_seam() -> None:
    weekend = read({"days": ["sat", "sun"], "from": "00:00", "to": "00:00", "zone": "Asia/Seoul"})
    assert changes_at(weekend, at("2025-03-08T00:00:00+09:00")) == at("2025-03-10T00:00:00+09:00")
    always = read({"days": list(DAYS), "from": "00:00", "to": "00:00", "zone": "Asia/Seoul"})
    assert changes_at(always, at("2025-03-08T00:00:00+09:00")) is None
    assert changed_at(always, at("2025-03-08T00:00:00+09:00")) is None
    assert changed_at(weekend, at("2025-03-10T00:00:00+09:00")) == at("2025-03-10T00:00:00+09:00")
    assert changed_at(weekend, at("2025-03-09T23:59:59+09:00")) == at("2025-03-08T00:00:00+09:00")
    assert changed_at(weekend, at("2025-03-07T23:59:59+09:00")) == at("2025-03-03T00:00:00+09:00")


def test_where_clocks_change_times_are_read_as_in_calendars() -> None:
    """RFC 5545 3.3.5: what is left out counts as before the change, and of two equal times the first."""
    early = read({"days": list(DAYS), "from": "02:30", "to": "05:00", "zone": "Europe/Berlin"})
    spring = changes_at(early, at("2025-03-29T12:00:00Z"))
    assert spring == at("2025-03-30T01:30:00Z") == at("2025-03-30T03:30:00+02:00")
    assert changes_at(early, spring) == at("2025-03-30T05:00:00+02:00")
    autumn = changes_at(early, at("2025-10-25T12:00:00Z"))
    assert autumn == at("2025-10-26T02:30:00+02:00")
    assert changes_at(early, autumn) == at("2025-10-26T05:00:00+01:00")


@pytest.mark.parametrize("zone", ["Asia/Seoul", "America/New_York", "Pacific/Apia", "Australia/Lord_Howe"])
def test_changes_are_exactly_where_the_state_changes(zone: str) -> None:
    """Against every minute of a fortnight with a change of clocks, by the local clock alone."""
    draw = random.Random(zone)
    plain = {"days": draw.sample(DAYS, 3), "from": "21:15", "to": "03:45", "zone": zone}
    when = read(plain)
    start = datetime(2025, 3, 1, tzinfo=UTC)
    minutes = [start + timedelta(minutes=number) for number in range(14 * 1440)]

    def by_the_clock(instant: datetime) -> bool:
        local = instant.astimezone(ZoneInfo(zone))
        today, yesterday = (DAYS[(local.date() - timedelta(days=back)).weekday()] for back in (0, 1))
        clock = local.strftime("%H:%M")
        return (today in plain["days"] and clock >= "21:15") or (yesterday in plain["days"] and clock < "03:45")

    states = [active(when, minute) for minute in minutes]
    assert states == [by_the_clock(minute) for minute in minutes]
    both = pairwise(zip(minutes, states, strict=True))
    turns = [minute for (_, was), (minute, now) in both if now != was]
    found, instant = [], start
    while (turn := changes_at(when, instant)) and turn <= minutes[-1]:
        found.append(turn)
        instant = turn
    assert found == turns
    for minute in draw.sample(minutes[minutes.index(turns[0]) :], 200):
        assert changed_at(when, minute) == max(turn for turn in turns if turn <= minute)
