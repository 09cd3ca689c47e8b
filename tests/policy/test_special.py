"""Special rules where they act: which record types, clients and names they hold for, and what they answer."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from pathlib import Path

import pytest
from dnslib import QTYPE

from sinkhole.names import key
from sinkhole.policy.explain import explain
from sinkhole.policy.policy import Policy
from sinkhole.policy.special import Specials, Stated
from sinkhole.policy.verdict import Verdict
from sinkhole.rules import Kind, On, Scope, Special
from tests.bundles import opened

AT = datetime(2025, 3, 1, tzinfo=UTC)
LIST = "lists: {l: {sources: [{path: ./feed.txt, format: FORMAT}]}}\npolicy: [{groups: [all], lists: [l]}]\n"
GROUPS = 'groups: {kids: {clients: ["10.0.0.0/24"]}, device-phone: {clients: ["10.0.0.9"]}}\n'


def policy(directory: Path, feed: str, format: str = "adblock", text: str = LIST) -> Policy:
    return Policy(opened(directory, text.replace("FORMAT", format) + GROUPS, {"feed.txt": feed}), AT)


def decide(found: Policy, name: str, rtype: str = "A", client: str = "192.0.2.1") -> Verdict:
    return found.decide(found.profile(client), key(name.encode()), QTYPE.reverse[rtype])


CASES = [
    # (rules, name, type, client, action, mode)
    ("||a.test^$dnstype=AAAA", "x.a.test", "AAAA", "192.0.2.1", "block", None),
    ("||a.test^$dnstype=AAAA", "x.a.test", "A", "192.0.2.1", "forward", None),
    ("||a.test^$dnstype=~A", "a.test", "A", "192.0.2.1", "forward", None),
    ("||a.test^$dnstype=~A", "a.test", "HTTPS", "192.0.2.1", "block", None),
    ("||a.test^$client=192.0.2.1", "a.test", "A", "192.0.2.1", "block", None),
    ("||a.test^$client=192.0.2.1", "a.test", "A", "192.0.2.2", "forward", None),
    ("||a.test^$client=192.0.2.0/24", "a.test", "A", "192.0.2.2", "block", None),
    ("||a.test^$client=~192.0.2.1", "a.test", "A", "192.0.2.1", "forward", None),
    ("||a.test^$client=~192.0.2.1", "a.test", "A", "192.0.2.2", "block", None),
    ("||a.test^$client=kids", "a.test", "A", "10.0.0.7", "block", None),
    ("||a.test^$client=kids", "a.test", "A", "192.0.2.1", "forward", None),
    ("||a.test^$ctag=device_phone", "a.test", "A", "10.0.0.9", "block", None),
    ("||a.test^$ctag=device_phone", "a.test", "A", "10.0.0.7", "forward", None),
    ("||test^$denyallow=ok.test", "x.ok.test", "A", "192.0.2.1", "forward", None),
    ("||a.test^$denyallow=ok.a.test", "ok.a.test", "A", "192.0.2.1", "forward", None),
    ("||a.test^$denyallow=ok.a.test", "no.a.test", "A", "192.0.2.1", "block", None),
    ("||a.test^\n@@||a.test^$dnstype=A", "a.test", "A", "192.0.2.1", "forward", None),
    ("||a.test^\n@@||a.test^$dnstype=A", "a.test", "AAAA", "192.0.2.1", "block", None),
    ("||a.test^$important\n@@||a.test^$dnstype=A", "a.test", "A", "192.0.2.1", "block", None),
    ("||a.test^$important\n@@||a.test^$dnstype=A,important", "a.test", "A", "192.0.2.1", "forward", None),
    ("/^ads?[0-9]+\\./", "ad7.a.test", "A", "192.0.2.1", "block", None),
    ("/^ads?[0-9]+\\./", "bad7.a.test", "A", "192.0.2.1", "forward", None),
    ("||ads*.a.test^", "ads1.a.test", "A", "192.0.2.1", "block", None),
    ("||ads*.a.test^", "ads1.b.test", "A", "192.0.2.1", "forward", None),
    ("/^ads[0-9]/\n@@||ok.test^", "ads1.ok.test", "A", "192.0.2.1", "forward", None),
    ("/^ads[0-9]/\n@@||ok.test^\n||ads1.ok.test^$badfilter", "ads2.x.test", "A", "192.0.2.1", "block", None),
    ("||a.test^\n||a.test^$badfilter", "a.test", "A", "192.0.2.1", "forward", None),
    ("||a.test^$dnstype=A\n||a.test^$dnstype=A,badfilter", "a.test", "A", "192.0.2.1", "forward", None),
    ("||a.test^$dnsrewrite=NXDOMAIN", "a.test", "A", "192.0.2.1", "block", "nxdomain"),
    ("||a.test^$dnsrewrite=192.0.2.7", "a.test", "A", "192.0.2.1", "block", "A 192.0.2.7"),
    ("||a.test^$dnsrewrite=NOERROR;A;192.0.2.7\n@@||a.test^$dnsrewrite", "a.test", "A", "192.0.2.1", "forward", None),
    ("||a.test^\n||a.test^$dnsrewrite=REFUSED", "a.test", "A", "192.0.2.1", "block", "refused"),
]


@pytest.mark.parametrize(("rules", "name", "rtype", "client", "action", "mode"), CASES)
def test_a_special_rule_holds_where_it_says(
    tmp_path: Path, rules: str, name: str, rtype: str, client: str, action: str, mode: str | None
) -> None:
    found = policy(tmp_path, f"{rules}\n||other.example^\n")
    verdict = decide(found, name, rtype, client)
    assert (verdict.action.value, verdict.mode) == (action, mode)
    assert decide(found, "x.other.example").action.value == "block"
    again = decide(found, name, rtype, client)
    assert again == verdict


@pytest.mark.parametrize(
    ("rule", "name", "action", "mode"),
    [
        ("a.test CNAME rpz-drop.", "a.test", "block", "drop"),
        ("a.test CNAME rpz-tcp-only.", "a.test", "block", "tcp-only"),
        ("a.test A 192.0.2.7", "a.test", "block", "A 192.0.2.7"),
        ("24.0.2.0.192.rpz-client-ip CNAME .", "anything.example", "block", None),
        ("24.0.2.0.10.rpz-client-ip CNAME .", "anything.example", "forward", None),
    ],
)
def test_policy_zones_act_as_their_engines_do(
    tmp_path: Path, rule: str, name: str, action: str, mode: str | None
) -> None:
    verdict = decide(policy(tmp_path, f"$TTL 60\n@ SOA a. b. 1 2 3 4 5\n{rule}\n", "rpz"), name)
    assert (verdict.action.value, verdict.mode) == (action, mode)


def test_of_nested_local_data_the_longest_owner_answers(tmp_path: Path) -> None:
    zone = "$TTL 60\n@ SOA a. b. 1 2 3 4 5\n*.a.test A 192.0.2.1\n*.b.a.test A 192.0.2.2\n"
    found = policy(tmp_path, zone, "rpz")
    assert decide(found, "x.b.a.test").mode == "A 192.0.2.2"
    assert decide(found, "x.a.test").mode == "A 192.0.2.1"


def test_a_pattern_is_explained_by_its_line(tmp_path: Path) -> None:
    found = policy(tmp_path, "! title\n||other.test^\n/^ads[0-9]/\n@@||ok.test^\n")
    told = explain(found, "ads1.x.test", "192.0.2.1", "A")
    assert (told["action"], told["line"], told["source"]) == ("block", 3, "feed.txt")
    told = explain(found, "ads1.ok.test", "192.0.2.1", "A")
    assert told["action"] == "forward"
    assert [link["line"] for link in told["chain"]] == [4, 3]


def test_a_pattern_that_would_take_out_a_never_block_name_is_quarantined(tmp_path: Path) -> None:
    found = policy(tmp_path, "/^time\\./\n/^ads[0-9]/\n")
    assert decide(found, "time.apple.com").action.value == "forward"
    assert decide(found, "ads1.test").action.value == "block"
    (source,) = next(entry for entry in found.bundle.manifest["lists"] if entry["id"] == "l")["sources"]
    assert [entry["why"] for entry in source["quarantined"]] == ["matches a never-block name"]


def test_rules_that_a_forwarder_cannot_enforce_are_counted_and_left_out_of_decisions(tmp_path: Path) -> None:
    zone = (
        "$TTL 60\n@ SOA a. b. 1 2 3 4 5\n32.1.2.0.192.rpz-ip CNAME .\nns.a.test.rpz-nsdname CNAME .\nb.test CNAME .\n"
    )
    bundle = policy(tmp_path, zone, "rpz").bundle
    assert [entry["not-enforced"] for entry in bundle.manifest["lists"] if entry["id"] == "l"] == [1]
    assert [Special(*entry["rule"]).on for entry in bundle.special] == ["address"]


@pytest.mark.parametrize("rule", ["||*.com^", "/\\.kr$/", "/^[^.]+\\.github\\.io$/", "||*.com^$dnstype=AAAA"])
def test_item_49_a_pattern_over_a_whole_suffix_is_quarantined(tmp_path: Path, rule: str) -> None:
    found = policy(tmp_path, f"{rule}\n/^a[a-z0-9]{{7}}\\.com$/\n")
    assert decide(found, "example.com").action.value == "forward"
    assert decide(found, "a1b2c3d4.com").action.value == "block"
    (source,) = next(entry for entry in found.bundle.manifest["lists"] if entry["id"] == "l")["sources"]
    assert [entry["why"] for entry in source["quarantined"]] == ["matches every name below a public suffix"]


def test_a_list_without_special_rules_has_none(tmp_path: Path) -> None:
    assert policy(tmp_path, "||a.test^\n").bundle.special == []


def test_ten_thousand_patterns_find_what_each_alone_would_find() -> None:
    chance = random.Random(7)
    words = [f"{chance.choice('abcdefgh')}{number}" for number in range(10_000)]
    rules = [Stated(Special(1, On.PATTERN, rf"(^|\.){word}[a-z]*\.", Kind(Scope.EXACT)), 0, "s") for word in words]
    specials = Specials(rules)
    for word in chance.sample(words, 200):
        name = f"{word}x.{chance.choice(words)}.example"
        found = {rules[number].rule.what for number in specials.match(key(name.encode()))}
        labels = name.split(".")[:2]
        assert found == {rf"(^|\.){one}[a-z]*\." for one in words if any(_alike(label, one) for label in labels)}
    assert specials.match(key(b"nothing.example")) == ()


def _alike(label: str, word: str) -> bool:
    rest = label.removeprefix(word)
    return rest != label and (rest == "" or rest.isalpha())
