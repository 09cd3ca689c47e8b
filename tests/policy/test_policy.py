"""The order of precedence: who is blocked from what, by what, at which instant."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from dnslib import QTYPE

from sinkhole.names import key
from sinkhole.policy.policy import Policy
from sinkhole.policy.structured import MAX_TEXT
from sinkhole.policy.verdict import FORWARD, Action, Verdict
from tests.bundles import opened

AT = datetime(2025, 3, 1, tzinfo=UTC)
ADS = {"ads.txt": "||ads.test^\n@@||ok.ads.test^\n||both.test^\n"}


def decide(policy: Policy, name: str, client: str = "198.51.100.1", rtype: str = "A") -> Verdict:
    return policy.decide(policy.profile(client), key(name.encode()), QTYPE.reverse[rtype])


def actions(directory: Path, text: str, feeds: dict[str, str], *names: str, client: str = "198.51.100.1") -> list[str]:
    policy = Policy(opened(directory, text, feeds), AT)
    return [decide(policy, name, client).action.value for name in names]


def test_a_list_blocks_its_names_and_its_exceptions_act_inside_it(tmp_path: Path) -> None:
    text = "lists: {ads: {sources: [./ads.txt]}}\npolicy: [{groups: [all], lists: [ads]}]"
    names = ("ads.test", "x.ads.test", "ok.ads.test", "x.ok.ads.test", "xads.test", "test")
    assert actions(tmp_path, text, ADS, *names) == ["block", "block", "forward", "forward", "forward", "forward"]


def test_an_exception_in_one_list_does_not_act_in_another(tmp_path: Path) -> None:
    text = """
lists: {ads: {sources: [./ads.txt]}, more: {block: [ok.ads.test]}}
policy: [{groups: [all], lists: [ads, more]}]
"""
    assert actions(tmp_path, text, ADS, "ok.ads.test") == ["block"]


def test_a_list_of_type_allow_acts_on_all_lists_but_on_no_directive_and_no_operator_block(tmp_path: Path) -> None:
    text = """
lists: {ads: {sources: [./ads.txt]}, trusted: {type: allow, sources: [./allow.txt], block: [no.both.test]}}
policy:
  - {groups: [all], lists: [ads, trusted], directives: [kr-mofa-2025-02-05]}
block: [bad.ads.test]
"""
    feeds = {**ADS, "allow.txt": "both.test\n@@||x.both.test^\n||no.both.test^\ndeepseek.com\nbad.ads.test\n"}
    names = ("both.test", "x.both.test", "y.both.test", "no.both.test", "deepseek.com", "bad.ads.test")
    assert actions(tmp_path, text, feeds, *names) == ["allow", "allow", "block", "block", "block", "block"]


def test_the_operators_names_come_first_and_the_most_specific_of_them_decides(tmp_path: Path) -> None:
    text = """
lists: {ads: {sources: [./ads.txt]}}
policy: [{groups: [all], lists: [ads], directives: [kr-mofa-2025-02-05]}]
allow: [ads.test, chat.deepseek.com, deep.bad.test, =one.bad.test]
block: [bad.test, very.deep.bad.test, =exact.test]
"""
    expected = {
        "ads.test": "allow",
        "chat.deepseek.com": "allow",
        "deepseek.com": "block",
        "bad.test": "block",
        "x.bad.test": "block",
        "x.deep.bad.test": "allow",
        "x.very.deep.bad.test": "block",
        "one.bad.test": "allow",
        "x.one.bad.test": "block",
        "exact.test": "block",
        "x.exact.test": "forward",
    }
    assert actions(tmp_path, text, ADS, *expected) == list(expected.values())


def test_protected_names_have_their_one_answer_and_the_operator_has_the_last_word(tmp_path: Path) -> None:
    text = """
lists: {ads: {sources: [./ads.txt]}, trusted: {type: allow, block: [], allow: [use-application-dns.net]}}
policy: [{groups: [all], lists: [ads, trusted]}]
allow: [mask.icloud.com]
"""
    feeds = {"ads.txt": "||mask-h2.icloud.com^\n||icloud.com^\n"}
    policy = Policy(opened(tmp_path, text, feeds), AT)
    assert (decide(policy, "use-application-dns.net").action, decide(policy, "use-application-dns.net").mode) == (
        Action.BLOCK,
        "nxdomain",
    )
    assert decide(policy, "mask-h2.icloud.com").mode
    assert decide(policy, "mask.icloud.com").action is Action.ALLOW


def test_groups_by_address_and_network_and_everyone(tmp_path: Path) -> None:
    text = """
groups:
  office: {clients: ["10.20.0.0/16", "2001:db8:20::/48"]}
  kiosk: {clients: ["10.20.0.7"]}
lists: {a: {block: [a.test]}, b: {block: [b.test]}, c: {block: [c.test]}}
policy:
  - {groups: [office], lists: [a]}
  - {groups: [kiosk], lists: [b]}
  - {groups: [all], lists: [c]}
"""
    policy = Policy(opened(tmp_path, text), AT)

    def blocked(client: str) -> str:
        return "".join(name for name in "abc" if decide(policy, f"{name}.test", client).action is Action.BLOCK)

    assert blocked("10.20.0.7") == "abc"
    assert blocked("::ffff:10.20.0.7") == "abc"
    assert blocked("10.20.1.1") == "ac"
    assert blocked("2001:db8:20::1") == "ac"
    assert blocked("2001:db8:21::1") == "c"
    assert blocked("fe80::1%eth0") == "c"
    assert policy.profile("10.20.1.1") == policy.profile("2001:db8:20::1") != policy.profile("10.20.0.7")
    assert list(policy.groups("10.20.0.7")) == ["all", "kiosk", "office"]


def test_warn_and_observe_resolve_and_never_weaken_a_block(tmp_path: Path) -> None:
    text = """
lists: {a: {block: [a.test, both.test]}, b: {block: [b.test, both.test]}}
policy:
  - {groups: [all], lists: [a], action: observe}
  - {groups: [all], lists: [b], action: warn}
  - {groups: [all], directives: [kr-mofa-2025-02-05], action: observe}
"""
    names = ("a.test", "b.test", "both.test", "deepseek.com")
    assert actions(tmp_path, text, {}, *names) == ["observe", "warn", "warn", "observe"]
    text += "  - {groups: [all], lists: [a, b]}\n"
    assert actions(tmp_path, text, {}, *names) == ["block", "block", "block", "observe"]


@pytest.mark.parametrize(
    ("at", "action"),
    [
        ("2025-02-04T23:59:59.999999+09:00", Action.FORWARD),
        ("2025-02-05T00:00:00+09:00", Action.BLOCK),
        ("2025-02-04T15:00:00+00:00", Action.BLOCK),
        ("2035-01-01T00:00:00+00:00", Action.BLOCK),
    ],
)
def test_a_directive_holds_from_its_instant_on(tmp_path: Path, at: str, action: Action) -> None:
    text = "policy: [{groups: [all], directives: [kr-mofa-2025-02-05]}]"
    policy = Policy(opened(tmp_path, text), datetime.fromisoformat(at))
    assert decide(policy, "chat.deepseek.com").action is action


def timed(directory: Path, at: str, **instants: str | None) -> Policy:
    """The directive of the catalogue with other instants."""
    bundle = opened(directory, "policy: [{groups: [all], directives: [kr-mofa-2025-02-05]}]")
    bundle.policy["directives"]["kr-mofa-2025-02-05"].update(
        {name.replace("_", "-"): value for name, value in instants.items()}
    )
    return Policy(bundle, datetime.fromisoformat(at))


@pytest.mark.parametrize(
    ("at", "action", "changes"),
    [
        ("2025-02-01T00:00:00+00:00", Action.FORWARD, "2025-02-10T00:00:00+00:00"),
        ("2025-02-10T00:00:00+00:00", Action.WARN, "2025-02-15T09:00:00+00:00"),
        ("2025-02-15T08:59:59+00:00", Action.WARN, "2025-02-15T09:00:00+00:00"),
        ("2025-02-15T18:00:00+09:00", Action.BLOCK, "2025-04-01T00:00:00+00:00"),
        ("2025-04-01T00:00:00+00:00", Action.FORWARD, None),
    ],
)
def test_announced_in_force_and_ended(tmp_path: Path, at: str, action: Action, changes: str | None) -> None:
    policy = timed(
        tmp_path,
        at,
        announce_from="2025-02-10T00:00:00+00:00",
        effective_from="2025-02-15T18:00:00+09:00",
        effective_until="2025-04-01T00:00:00+00:00",
    )
    assert decide(policy, "deepseek.com").action is action
    assert policy.changes_at() == (datetime.fromisoformat(changes) if changes else None)


def test_a_verdict_names_what_decided_and_fits_an_answer(tmp_path: Path) -> None:
    bundle = opened(tmp_path)
    verdict = decide(Policy(bundle, AT), "chat.deepseek.com")
    assert verdict == Verdict(
        Action.BLOCK,
        "kr-mofa-2025-02-05",
        "deepseek",
        15,
        "kr-mofa-2025-02-05: Access is restricted.",
        structured=(
            '{"s":5,"j":"kr-mofa-2025-02-05: Access is restricted.","o":"Ministry of Foreign Affairs","l":"en"}',
            '{"s":5}',
        ),
    )
    bundle.policy["directives"]["kr-mofa-2025-02-05"]["message"]["en"] = "제한" * 200
    assert len(decide(Policy(bundle, AT), "deepseek.com").text.encode()) <= MAX_TEXT


def test_a_name_that_no_list_knows_is_forwarded(tmp_path: Path) -> None:
    policy = Policy(opened(tmp_path), AT)
    assert decide(policy, "example.org") == FORWARD
    assert policy.decide(policy.profile("192.0.2.1"), b"", 1) == FORWARD


def test_a_token_makes_a_client_a_member_too(tmp_path: Path) -> None:
    text = """
groups: {kiosk: {tokens: [kiosk-7f3a]}, office: {clients: [10.20.0.0/16], tokens: [o]}}
lists: {a: {block: [a.test]}, b: {block: [b.test]}}
policy: [{groups: [kiosk], lists: [a]}, {groups: [office], lists: [b]}]
"""
    policy = Policy(opened(tmp_path, text), AT)

    def blocked(client: str, token: str) -> str:
        profile = policy.profile(client, token)
        wires = {name: key(f"{name}.test".encode()) for name in "ab"}
        return "".join(
            name for name, wire in wires.items() if policy.decide(profile, wire, QTYPE.A).action is Action.BLOCK
        )

    assert blocked("192.0.2.1", "kiosk-7f3a") == "a"
    assert blocked("10.20.0.1", "kiosk-7f3a") == "ab"
    assert blocked("192.0.2.1", "o") == blocked("10.20.0.1", "") == "b"
    assert blocked("192.0.2.1", "other") == blocked("192.0.2.1", "") == ""
