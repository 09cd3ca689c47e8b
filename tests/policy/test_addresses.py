"""Rules on the addresses of an answer: which one decides, inside a list and between lists."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path

import pytest

from sinkhole.policy.explain import explain
from sinkhole.policy.policy import Policy
from sinkhole.policy.verdict import Action, Verdict
from tests.bundles import opened

AT = datetime(2025, 3, 1, tzinfo=UTC)
ZONE = "$TTL 60\n@ SOA a. b. 1 2 3 4 5\n"
ONE = "lists: {l: {sources: [{path: ./zone.txt, format: rpz}]}}\npolicy: [{groups: [all], lists: [l]}]\n"


def policy(directory: Path, text: str, feeds: Mapping[str, str]) -> Policy:
    return Policy(opened(directory, text, feeds), AT)


def zone(directory: Path, *rules: str) -> Policy:
    return policy(directory, ONE, {"zone.txt": ZONE + "".join(f"{rule}\n" for rule in rules)})


def decide(found: Policy, *addresses: str, client: str = "198.51.100.1") -> Verdict:
    assert found.by_address
    return found.by_address(found.profile(client), tuple(ip_address(text).packed for text in addresses), 1)


HOLE = ("24.0.2.0.192.rpz-ip CNAME .", "32.1.2.0.192.rpz-ip CNAME rpz-passthru.")


@pytest.mark.parametrize(
    ("rules", "addresses", "blocked"),
    [
        (HOLE, ["192.0.2.7"], True),
        (HOLE, ["192.0.2.1"], False),
        (HOLE, ["192.0.2.7", "192.0.2.1"], False),  # item 8: the longest prefix of all addresses
        (HOLE, ["192.0.3.1"], False),
        (HOLE, ["2001:db8::1"], False),
        (("24.0.2.0.192.rpz-ip CNAME rpz-passthru.", "32.1.2.0.192.rpz-ip CNAME ."), ["192.0.2.1"], True),
        (("24.0.2.0.192.rpz-ip CNAME rpz-passthru.", "24.0.3.0.192.rpz-ip CNAME ."), ["192.0.3.1", "192.0.2.1"], False),
        (("24.0.2.0.192.rpz-ip CNAME .", "24.0.3.0.192.rpz-ip CNAME rpz-passthru."), ["192.0.3.1", "192.0.2.1"], True),
        (("32.zz.db8.2001.rpz-ip CNAME .",), ["2001:db8::1"], True),
        (("128.1.zz.db8.2001.rpz-ip CNAME .",), ["2001:db8::1"], True),
        (("128.1.zz.db8.2001.rpz-ip CNAME .",), ["2001:db8::2"], False),
        (
            ("32.1.2.0.192.rpz-ip CNAME .", "64.zz.db8.2001.rpz-ip CNAME rpz-passthru."),
            ["192.0.2.1", "2001:db8::1"],
            True,
        ),
    ],
)
def test_rpz_08_the_longest_prefix_decides_and_then_the_smallest_address(
    tmp_path: Path, rules: tuple[str, ...], addresses: list[str], blocked: bool
) -> None:
    verdict = decide(zone(tmp_path, *rules), *addresses)
    assert (verdict.action is Action.BLOCK) == blocked
    assert verdict.list == ("l" if blocked else None)


def test_rules_may_state_their_answer(tmp_path: Path) -> None:
    found = zone(tmp_path, "32.1.2.0.192.rpz-ip CNAME rpz-drop.", "32.2.2.0.192.rpz-ip A 203.0.113.1")
    assert [decide(found, f"192.0.2.{number}").mode for number in (1, 2)] == ["drop", "A 203.0.113.1"]


def test_rules_on_names_do_not_meet_addresses_nor_these_names(tmp_path: Path) -> None:
    found = zone(tmp_path, "a.test CNAME .", "32.1.2.0.192.rpz-ip CNAME .")
    profile = found.profile("198.51.100.1")
    assert found.decide(profile, b"tset.a.", 1).action is Action.BLOCK
    assert found.decide(profile, b"1.2.0.291.", 1).action is Action.FORWARD
    assert zone(tmp_path, "a.test CNAME .").by_address is None


LISTS = """
lists:
  bad: {sources: [{path: ./bad.txt, format: ipset}]}
  other: {sources: [{path: ./zone.txt, format: rpz}]}
  trusted: {type: allow, sources: [{path: ./good.txt, format: ipset}]}
groups: {office: {clients: ["10.0.0.0/8"]}}
policy:
  - {groups: [all], lists: [bad, trusted]}
  - {groups: [office], lists: [other], action: observe}
"""
FEEDS = {
    "bad.txt": "create bad hash:net family inet\nadd bad 192.0.2.0/24\nadd bad 192.0.2.128/25 nomatch\n",
    "good.txt": "create good hash:net family inet\nadd good 192.0.2.5/32\n",
    "zone.txt": ZONE + "24.0.2.0.192.rpz-ip CNAME rpz-passthru.\n32.9.113.0.203.rpz-ip CNAME .\n",
}


@pytest.mark.parametrize(
    ("address", "client", "action", "listed"),
    [
        ("192.0.2.1", "198.51.100.1", "block", "bad"),
        ("192.0.2.200", "198.51.100.1", "forward", None),
        ("192.0.2.5", "198.51.100.1", "allow", "trusted"),
        ("192.0.2.1", "10.0.0.1", "block", "bad"),  # an exception acts inside its own list
        ("203.0.113.9", "10.0.0.1", "observe", "other"),
        ("203.0.113.9", "198.51.100.1", "forward", None),
    ],
)
def test_lists_keep_their_order(tmp_path: Path, address: str, client: str, action: str, listed: str | None) -> None:
    verdict = decide(policy(tmp_path, LISTS, FEEDS), address, client=client)
    assert (verdict.action.value, verdict.list) == (action, listed)


def test_an_address_is_explained_by_its_line(tmp_path: Path) -> None:
    found = zone(tmp_path, *HOLE)
    told = explain(found, "192.0.2.7", "198.51.100.1", "A")
    assert (told["action"], told["list"], told["source"], told["line"]) == ("block", "l", "zone.txt", 3)
    told = explain(found, "192.0.2.1", "198.51.100.1", "A")
    assert told["action"] == "forward"
    assert [(link["action"], link["line"], link["won"]) for link in told["chain"]] == [
        ("allow", 4, False),
        ("block", 3, False),
    ]
    assert explain(found, "2001:db8::1", "198.51.100.1", "AAAA")["chain"] == []


def test_item_49_a_network_that_would_take_out_half_of_everything_is_quarantined(tmp_path: Path) -> None:
    rules = [
        "1.0.0.0.128.rpz-ip CNAME .",
        "3.zz.2000.rpz-ip CNAME .",
        "8.0.0.0.10.rpz-ip CNAME .",
        "7.zz.fc00.rpz-ip CNAME .",
    ]
    found = zone(tmp_path, *rules, "2.0.0.0.64.rpz-ip CNAME rpz-passthru.")
    actions = [
        decide(found, text).action.value for text in ("192.0.2.1", "2001:db8::1", "10.1.1.1", "fd00::1", "64.0.0.1")
    ]
    assert actions == ["forward", "forward", "block", "block", "forward"]
    (source,) = next(entry for entry in found.bundle.manifest["lists"] if entry["id"] == "l")["sources"]
    assert [entry["why"] for entry in source["quarantined"]] == ["a network as wide as many"] * 2


FOLLOWED = """
lists:
  one: {sources: [{path: ./one.txt, format: adblock}]}
  two: {sources: [{path: ./two.txt, format: domains}]}
policy: [{groups: [all], lists: [one, two]}]
"""


@pytest.mark.parametrize(
    ("asked", "target", "blocked"),
    [
        (b"tset.nialp.", b"tset.sda.x.", "one"),
        (b"tset.sda.ko.", b"tset.sda.x.", None),
        (b"tset.sda.ko.", b"tset.htob.", "two"),
        (b"tset.sda.ko.repeed.", b"tset.sda.x.", None),
        (b"tset.ylno.woleb.", b"tset.sda.x.", "one"),  # the entry of an ancestor alone is no exception
    ],
)
def test_what_a_list_excepts_may_lead_to_what_it_blocks(
    tmp_path: Path, asked: bytes, target: bytes, blocked: str | None
) -> None:
    feeds = {"one.txt": "||ads.test^\n@@||ok.ads.test^\n||both.test^\n|only.test^\n", "two.txt": "both.test\n"}
    found = policy(tmp_path, FOLLOWED, feeds)
    profile = found.profile("198.51.100.1")
    for _ in range(2):
        beyond = found.beyond(profile, asked, 1)
        assert (beyond == profile) == (asked not in (b"tset.sda.ko.", b"tset.sda.ko.repeed."))
        assert found.decide(beyond, target, 1).list == blocked


ORDERED = """
lists:
  ai: {block: [order.test]}
  ads: {block: [ads.test]}
  trusted: {type: allow, sources: [{path: ./good.txt, format: domains}]}
block: [own.test]
allow: [free.test]
policy: [{groups: [all], lists: [ads, trusted], directives: [kr-mofa-2025-02-05]}]
"""


@pytest.mark.parametrize(
    ("asked", "reached"),
    [
        (b"tset.nialp.", set()),
        (b"tset.doog.", {b"tset.sda."}),
        (b"tset.eerf.", {b"tset.sda.", b"tset.nwo.", b"moc.keespeed."}),
    ],
)
def test_nothing_in_a_list_leads_past_an_order(tmp_path: Path, asked: bytes, reached: set[bytes]) -> None:
    """A list of type allow lets its names lead to what lists block, and only the operator to what a directive does."""
    found = policy(tmp_path, ORDERED, {"good.txt": "good.test\n"})
    beyond = found.beyond(found.profile("198.51.100.1"), asked, 1)
    targets = (b"tset.sda.", b"tset.nwo.", b"moc.keespeed.")
    assert {name for name in targets if found.decide(beyond, name, 1).action is not Action.BLOCK} == reached
