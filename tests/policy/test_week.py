"""A week with everything that changes by itself in it, against an evaluation by hand of every moment."""

from __future__ import annotations

import random
import shutil
from datetime import datetime, timedelta
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import NamedTuple
from zoneinfo import ZoneInfo

import yaml
from dnslib import QTYPE

from sinkhole import bundle
from sinkhole.catalogue import loader
from sinkhole.compiler import build, plan
from sinkhole.config import load
from sinkhole.names import key
from sinkhole.places import catalogue_directory
from sinkhole.policy import exceptions
from sinkhole.policy.exceptions import Permission
from sinkhole.policy.policy import Policy

START = datetime(2025, 3, 3, tzinfo=ZoneInfo("Asia/Seoul"))
WEEK = 7 * 24 * 3600
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
GROUPS = {"office": "10.1.0.0/16", "lab": "10.1.2.0/24", "guests": "2001:db8::/32"}
LISTS = {"ads": "ads.test", "games": "games.test", "chat": "chat.test", "news": "news.test"}
CLIENTS = ["10.1.1.1", "10.1.2.2", "10.1.2.3", "10.2.0.1", "2001:db8::5", "192.0.2.1"]
NAMES = ["ads.test", "x.games.test", "chat.test", "a.chat.test", "news.test", "own.test", "free.test"]


class Order(NamedTuple):
    list: str
    group: str
    action: str
    announce: datetime | None
    since: datetime
    until: datetime | None
    terms: bool | dict[str, object]


class Timed(NamedTuple):
    list: str
    group: str
    action: str
    days: tuple[str, ...]
    since: str
    until: str
    zone: str


def test_a_simulated_week_equals_what_is_worked_out_by_hand(tmp_path: Path) -> None:
    draw = random.Random(20250303)
    orders = {f"xx-order-{number}": _order(draw) for number in range(8)}
    timed = [_timed(draw) for _ in range(6)]
    permissions = tuple(_permission(draw, number) for number in range(12))
    opened = _opened(tmp_path, orders, timed)

    policy = Policy(opened, START, permissions)
    changes = 0
    seen = set()
    for at in sorted(START + timedelta(seconds=draw.randrange(WEEK)) for _ in range(10_000)):
        while (due := policy.changes_at()) and due <= at:  # as a worker does it, each boundary in its turn
            policy = Policy(opened, due, permissions)
            changes += 1
        client, name = draw.choice(CLIENTS), draw.choice(NAMES)
        verdict = policy.decide(policy.profile(client), key(name.encode()), QTYPE.A)
        wanted = _by_hand(orders, timed, permissions, at, client, name)
        assert (verdict.action.value, bool(verdict.exception)) == wanted, (at, client, name)
        seen.add(wanted)
    assert changes > 50
    assert seen == {(action, False) for action in ("block", "warn", "observe", "forward")} | {("allow", True)}


def _order(draw: random.Random) -> Order:
    announce, since, until = (START + timedelta(minutes=minute) for minute in sorted(draw.sample(range(10_000), 3)))
    choices: list[bool | dict[str, object]] = [
        False,
        True,
        {"two-person": True},
        {"two-person": False, "at-most": "6h"},
    ]
    terms = draw.choice(choices)
    return Order(
        draw.choice(list(LISTS)),
        draw.choice([*GROUPS, "all"]),
        draw.choice(["block", "warn", "warn", "observe"]),
        draw.choice([announce, None]),
        since,
        draw.choice([until, None]),
        terms,
    )


def _timed(draw: random.Random) -> Timed:
    since, until = (f"{draw.randrange(24):02}:{draw.randrange(60):02}" for _ in "fu")
    days = tuple(sorted(draw.sample(DAYS, draw.randint(1, 5)), key=DAYS.index))
    zone = draw.choice(["Asia/Seoul", "UTC", "America/New_York"])
    return Timed(
        draw.choice(list(LISTS)),
        draw.choice([*GROUPS, "all"]),
        draw.choice(["block", "observe"]),
        days,
        since,
        until,
        zone,
    )


def _permission(draw: random.Random, number: int) -> Permission:
    at = START + timedelta(seconds=draw.randrange(WEEK))
    names = draw.sample(["ads.test", "=chat.test", "games.test", "own.test"], 2)
    clients, groups = ([draw.choice(CLIENTS)], []) if draw.random() < 0.5 else ([], [draw.choice(list(GROUPS))])
    lasts = float(draw.randrange(600, 60_000))
    asked = exceptions.request(number, at, "alice", "why", names, clients=clients, groups=groups, lasts=lasts)
    approved = exceptions.approve(asked, at, draw.choice(["alice", "bob"]))
    if draw.random() < 0.3:
        return exceptions.revoke(approved, at + timedelta(seconds=int(lasts / 2)))
    return approved


def _opened(directory: Path, orders: dict[str, Order], timed: list[Timed]) -> bundle.Bundle:
    feeds = directory / "feeds"
    shutil.copytree(catalogue_directory(), feeds)
    listed = yaml.safe_load((feeds / "lists.yaml").read_text())
    for id, name in LISTS.items():
        listed[id] = {"title": id, "description": id, "updated": "2025-03-01", "block": [name]}
    (feeds / "lists.yaml").write_text(yaml.safe_dump(listed))
    for id, order in orders.items():
        instants = {"announce-from": order.announce, "effective-from": order.since, "effective-until": order.until}
        text = {
            "id": id,
            "title": id,
            "authority": "An authority",
            "country": "KR",
            "kind": "own-assessment",
            "binds": "some",
            "citations": [{"publisher": "P", "title": "T", "date": "2025-03-01"}],
            "lists": [order.list],
            "action": order.action,
            "message": {"en": "m"},
            "exceptions": order.terms,
            **{field: at.isoformat() for field, at in instants.items() if at},
        }
        (feeds / "directives" / f"{id}.yaml").write_text(yaml.safe_dump(text))
    entries: list[dict[str, object]] = [{"groups": [order.group], "directives": [id]} for id, order in orders.items()]
    for entry in timed:
        when = {"days": list(entry.days), "from": entry.since, "to": entry.until, "zone": entry.zone}
        entries.append({"groups": [entry.group], "lists": [entry.list], "action": entry.action, "schedule": when})
    path = directory / "sinkhole.yaml"
    groups = {id: {"clients": [network]} for id, network in GROUPS.items()}
    path.write_text(yaml.safe_dump({"groups": groups, "policy": entries, "block": ["own.test"]}))
    catalogue = loader.load(feeds)
    built = build.build(plan.make(load(path, catalogue), catalogue), [], directory / "bundles")
    return bundle.load(built.path)


def _by_hand(
    orders: dict[str, Order],
    timed: list[Timed],
    permissions: tuple[Permission, ...],
    at: datetime,
    client: str,
    name: str,
) -> tuple[str, bool]:
    groups = {"all", *(id for id, network in GROUPS.items() if ip_address(client) in ip_network(network))}
    on = {id for id, listed in LISTS.items() if name == listed or name.endswith("." + listed)}
    acting = {id: action for id, order in orders.items() if order.list in on and order.group in groups
              and (action := _acts(order, at))}  # fmt: skip
    blocking = {id for id, action in acting.items() if action == "block"}
    met = [found for found in permissions if _meets(found, at, client, groups, name)]
    if met and all(any(_lets(found, orders[id].terms) for found in met) for id in blocking):
        return "allow", True
    actions = {
        *acting.values(),
        *(entry.action for entry in timed if entry.list in on and entry.group in groups and _open(entry, at)),
    }
    if name == "own.test":
        actions.add("block")
    return next((action for action in ("block", "warn", "observe") if action in actions), "forward"), False


def _acts(order: Order, at: datetime) -> str | None:
    if order.until and at >= order.until:
        return None
    if at >= order.since:
        return order.action
    return "warn" if order.announce and at >= order.announce else None


def _open(entry: Timed, at: datetime) -> bool:
    local = at.astimezone(ZoneInfo(entry.zone))
    clock, today = local.strftime("%H:%M"), DAYS[local.weekday()]
    yesterday = DAYS[local.weekday() - 1]
    if entry.since < entry.until:
        return today in entry.days and entry.since <= clock < entry.until
    return (today in entry.days and clock >= entry.since) or (yesterday in entry.days and clock < entry.until)


def _meets(found: Permission, at: datetime, client: str, groups: set[str], name: str) -> bool:
    assert found.since
    assert found.until
    held = datetime.fromisoformat(found.since) <= at < datetime.fromisoformat(found.until)
    bound = client in found.clients or bool(groups & set(found.groups))
    covered = any(
        name == text[1:] if text[0] == "=" else name == text or name.endswith("." + text) for text in found.names
    )
    return held and bound and covered


def _lets(found: Permission, terms: bool | dict[str, object]) -> bool:
    if isinstance(terms, bool):
        return terms
    if terms["two-person"] and found.requester == found.decider:
        return False
    lasted = datetime.fromisoformat(str(found.until)) - datetime.fromisoformat(str(found.since))
    return "at-most" not in terms or lasted <= timedelta(hours=6)
