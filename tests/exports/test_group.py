"""What a group may not reach as one list: never more than the policy decides, and all where a format can say it."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from dnslib import QTYPE

from sinkhole.exports.fit import fit_ready
from sinkhole.exports.group import Group, group
from sinkhole.exports.render import render
from sinkhole.exports.special import Ready
from sinkhole.formats import FORMATS
from sinkhole.formats.format import Header
from sinkhole.names import key
from sinkhole.policy.exceptions import APPROVED, Permission
from sinkhole.policy.policy import Policy
from sinkhole.policy.span import Span
from sinkhole.policy.verdict import Action
from tests.bundles import opened
from tests.lists import MEANING, NAMES, blocked

AT = datetime(2025, 3, 1, tzinfo=UTC)
#: A client of the group and of no other.
CLIENT = "10.0.0.7"
#: Formats that can say everything about names.
EXACTLY = ("rpz", "knot", "dnsmasq", "dnsmasq-address", "dnsmasq-server", "powerdns", "pac", "json")
#: What is put behind a rule for a name, the more often the more it stands here.
CONDITIONS = (
    "",
    "",
    "",
    "",
    "$important",
    "$dnstype=A",
    "$dnstype=~A",
    "$client=office",
    "$client=~office",
    "$ctag=pc",
)


def excepted(names: tuple[str, ...], groups: tuple[str, ...], number: int = 1) -> Permission:
    since, until = (AT + timedelta(hours=hours) for hours in (-number, number))
    return Permission(
        f"x{number}", APPROVED, names, None, (), groups, "work", "a", "b", since.isoformat(),
        since.isoformat(), until.isoformat(), None, None,
    )  # fmt: skip


def feed(draw: random.Random, special: bool) -> str:
    lines = []
    for _ in range(draw.randrange(12)):
        name = draw.choice(NAMES)
        rule = draw.choice((f"||{name}^", f"|{name}^", f"@@||{name}^", f"@@|{name}^"))
        lines.append(rule + (draw.choice(CONDITIONS) if special else ""))
    if special and draw.random() < 0.5:
        lines += draw.sample(
            ("@@/^a\\./", "/^b\\./", "@@/b$/", "@@/a.b/$important", "||a.z.test^$denyallow=b.a.z.test"), 2
        )
    return "".join(f"{line}\n" for line in lines)


def policies(directory: Path, special: bool, count: int) -> Iterator[Policy]:
    """Policies of every kind over the names below z.test."""
    for seed in range(count):
        draw = random.Random(seed)
        feeds = {f"{name}.txt": feed(draw, special) for name in "abcd"}
        own = {
            key: draw.sample([*NAMES, *(f"={name}" for name in NAMES)], draw.randrange(3)) for key in ("block", "allow")
        }
        entries = [
            {
                "groups": [draw.choice(("all", "office", "others"))],
                "lists": [name],
                **({"action": draw.choice(("warn", "observe"))} if draw.random() < 0.2 else {}),
            }
            for name in "abcd"
        ]
        lists = {name: {"sources": [{"path": f"./{name}.txt", "format": "adblock"}]} for name in "abcd"}
        lists["d"]["type"] = "allow"  # type: ignore[assignment]
        settings = {
            "groups": {"office": {"clients": ["10.0.0.0/8"]}, "others": {"clients": ["192.0.2.0/24"]}},
            "lists": lists,
            "policy": entries,
            **own,
        }
        permissions = [
            excepted(tuple(draw.sample(NAMES, 2)), (draw.choice(("all", "office", "others")),), number)
            for number in range(1, 1 + draw.randrange(3))
        ]
        yield Policy(opened(directory / str(seed), json.dumps(settings), feeds), AT, permissions)


def decided(policy: Policy, rtype: str) -> set[str]:
    profile = policy.profile(CLIENT)
    return {
        name
        for name in NAMES
        if policy.decide(profile, key(name.encode()), QTYPE.reverse[rtype]).action is Action.BLOCK
    }


def stated(found: Group, format: str) -> list[set[str]]:
    """What each kind of consumer of a format blocks when it reads the file back."""
    fitted = fit_ready(Ready(found.resolved), (), FORMATS[format])
    text = b"".join(render(fitted, FORMATS[format], Header(title="T")))
    rules = list(FORMATS[format].read(text).rules())
    return [blocked(meaning, rules) for meaning in MEANING[format]]


@pytest.mark.parametrize("special", [False, True], ids=["plain", "special"])
def test_a_file_blocks_what_the_policy_does_and_never_more(tmp_path: Path, special: bool) -> None:
    """Lists of both types with rules of every kind, actions, the operator's names, and exceptions, for one group."""
    some = 0
    for policy in policies(tmp_path, special, 60):
        found = group(policy, "office")
        always = decided(policy, "A") & decided(policy, "AAAA") & decided(policy, "TXT")
        some += bool(always)
        for format in FORMATS:
            if FORMATS[format].lines:
                for names in stated(found, format):
                    assert names <= always, (policy.bundle.path, format)
                    if not special and format in EXACTLY:
                        assert names == always, (policy.bundle.path, format)
    assert some > 10


ORDERED = """
groups: {office: {clients: [10.0.0.0/8]}, others: {clients: [192.0.2.0/24]}}
lists: {ads: {title: Ads, block: [ads.test]}}
policy:
  - {groups: [office], directives: [kr-mofa-2025-02-05]}
  - {groups: [office], lists: [ads], schedule: {days: [mon], from: "08:00", to: "18:00", zone: Asia/Seoul}}
  - {groups: [others], lists: [ads], schedule: {days: [tue], from: "10:00", to: "11:00", zone: Asia/Seoul}}
block: [bad.test]
"""


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


@pytest.mark.parametrize(
    ("instant", "since", "until", "blocks"),
    [
        ("2025-01-26T12:00Z", "2025-01-20T09:00Z", "2025-01-26T23:00Z", {"bad.test"}),
        ("2025-01-27T08:00+09:00", "2025-01-26T23:00Z", "2025-01-27T09:00Z", {"bad.test", "ads.test"}),
        ("2025-01-27T18:00+09:00", "2025-01-27T09:00Z", "2025-02-02T23:00Z", {"bad.test"}),
        ("2025-02-05T12:00+09:00", "2025-02-05T00:00+09:00", "2025-02-09T23:00Z", {"bad.test", "deepseek.com"}),
    ],
)
def test_a_file_is_for_an_instant_and_says_until_when(
    tmp_path: Path, instant: str, since: str, until: str, blocks: set[str]
) -> None:
    """A directive's start and the edges of a group's own schedules; those of others change nothing."""
    policy = Policy(opened(tmp_path, ORDERED), at(instant))
    found = group(policy, "office")
    assert found.span == Span(at(since), at(until))
    names = stated_names(found)
    assert {name for name in ("bad.test", "ads.test", "deepseek.com") if name in names} == blocks
    last = Policy(policy.bundle, at(until) - timedelta(microseconds=1))
    assert (group(last, "office").resolved, group(last, "office").span) == (found.resolved, found.span)


def stated_names(found: Group) -> set[str]:
    text = b"".join(render(fit_ready(Ready(found.resolved), (), FORMATS["domains"]), FORMATS["domains"], Header("T")))
    return {line for line in text.decode().split("\n") if line and not line.startswith("#")}


def test_an_exception_counts_for_its_whole_group_while_it_holds(tmp_path: Path) -> None:
    bundle = opened(tmp_path, ORDERED)
    office, others = (excepted(("x.bad.test",), (id,)) for id in ("office", "others"))
    found = group(Policy(bundle, AT, [office, others]), "office")
    assert found.exceptions == ("x1",)
    assert found.span == Span(AT - timedelta(hours=1), AT + timedelta(hours=1))
    assert "bad.test" in stated_names(found)
    allowed = FORMATS["rpz"].read(
        b"".join(render(fit_ready(Ready(found.resolved), (), FORMATS["rpz"]), FORMATS["rpz"], Header("T")))
    )
    assert sorted({rule.name for rule in allowed.rules() if rule.kind.allow}) == ["x.bad.test"]
    one_client = office._replace(groups=(), clients=("10.0.0.7",))
    assert group(Policy(bundle, AT, [one_client]), "office").exceptions == ()


def test_protected_names_are_apart(tmp_path: Path) -> None:
    """Only formats whose blocked names do not exist may hold them; one whose answer is no data is in neither."""
    found = group(Policy(opened(tmp_path, "block: [bad.test]"), AT), "all")
    canary, resolver = key(b"use-application-dns.net"), key(b"resolver.arpa")
    assert canary not in [key for key, _ in found.resolved.entries()]
    assert canary in found.protected.keys
    assert not [each for each in found.protected.keys if each.startswith(resolver)]
