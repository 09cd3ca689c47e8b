from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from dnslib import QTYPE

from sinkhole.bundle import Bundle
from sinkhole.errors import SinkholeError
from sinkhole.names import key
from sinkhole.policy import exceptions
from sinkhole.policy.exceptions import Permission
from sinkhole.policy.policy import Policy
from tests.bundles import opened

AT = datetime(2025, 3, 1, 12, tzinfo=UTC)
ORDER = "kr-mofa-2025-02-05"
TEXT = f"""
groups: {{lab: {{clients: [10.20.0.0/16, "2001:db8:20::/48"]}}}}
lists: {{ads: {{block: [ads.test, tracker.test]}}, seen: {{block: [seen.test]}}}}
policy:
  - {{groups: [all], lists: [ads], directives: [{ORDER}]}}
  - {{groups: [all], lists: [seen], action: observe}}
block: [bad.test]
"""


def asked(*names: str, **settings: Any) -> Permission:
    settings = {"lasts": 1800.0, "clients": ["10.20.0.7"], **settings}
    return exceptions.request(1, AT, "alice", "evaluation", names, **settings)


def approved(*names: str, by: str = "bob", at: datetime = AT, **settings: Any) -> Permission:
    return exceptions.approve(asked(*names, **settings), at, by)


@dataclass
class Asking:
    """The bundle of :data:`TEXT`; called with a name, the action and the exception that decided."""

    bundle: Bundle
    permissions: tuple[Permission, ...] = ()
    at: datetime = AT

    def __call__(self, name: str, client: str = "10.20.0.7") -> tuple[str, str | None]:
        policy = Policy(self.bundle, self.at, self.permissions)
        verdict = policy.decide(policy.profile(client), key(name.encode()), QTYPE.A)
        return verdict.action.value, verdict.exception


@pytest.fixture
def ask(tmp_path: Path) -> Asking:
    return Asking(opened(tmp_path, TEXT))


def test_an_exception_is_above_lists_and_the_operators_own_names(ask: Asking) -> None:
    ask.permissions = (approved("ads.test", "bad.test", "=seen.test"),)
    assert ask("ads.test") == ask("x.bad.test") == ask("seen.test") == ("allow", "x1")
    assert ask("x.seen.test") == ("observe", None)
    assert ask("tracker.test") == ("block", None)
    assert ask("xads.test") == ("forward", None)
    assert ask("ads.test", "10.20.0.8") == ask("ads.test", "192.0.2.1") == ("block", None)


def test_it_holds_for_clients_networks_and_groups(ask: Asking) -> None:
    ask.permissions = (approved("ads.test", clients=["192.0.2.0/28"], groups=["lab"]),)
    for client in ("192.0.2.15", "::ffff:192.0.2.1", "10.20.9.9", "2001:db8:20::1"):
        assert ask("ads.test", client) == ("allow", "x1")
    for client in ("192.0.2.16", "2001:db8:21::1"):
        assert ask("ads.test", client) == ("block", None)


def test_it_holds_from_its_approval_to_its_end_and_no_longer(ask: Asking) -> None:
    ask.permissions = (approved("ads.test", at=AT + timedelta(hours=1)),)
    instants = {minutes: AT + timedelta(minutes=minutes) for minutes in (0, 59, 60, 89, 90)}
    found = {}
    for minutes, ask.at in instants.items():
        found[minutes] = ask("ads.test")[0]
    assert found == {0: "block", 59: "block", 60: "allow", 89: "allow", 90: "block"}
    policy = Policy(ask.bundle, AT, ask.permissions)
    assert policy.changes_at() == instants[60]
    assert Policy(ask.bundle, instants[60], ask.permissions).changes_at() == instants[90]
    assert Policy(ask.bundle, instants[90], ask.permissions).changes_at() is None


def test_what_is_asked_denied_revoked_or_over_does_not_hold(ask: Asking) -> None:
    revoked = exceptions.revoke(approved("ads.test"), AT + timedelta(minutes=1))
    for permission in (asked("ads.test"), exceptions.deny(asked("ads.test"), "bob"), revoked):
        ask.permissions, ask.at = (permission,), AT + timedelta(minutes=2)
        assert ask("ads.test") == ("block", None)
    ask.at = AT + timedelta(seconds=59)  # what was so then is still told
    assert ask("ads.test") == ("allow", "x1")
    assert revoked.state_at(AT) == "revoked"
    assert approved("ads.test").state_at(AT + timedelta(days=1)) == "expired"


@pytest.mark.parametrize(
    ("terms", "permission", "action"),
    [
        (None, approved("deepseek.com"), "block"),
        ({"two-person": False, "at-most": None}, approved("deepseek.com", by="alice"), "allow"),
        ({"two-person": True, "at-most": None}, approved("deepseek.com", by="alice"), "block"),
        ({"two-person": True, "at-most": None}, approved("deepseek.com", by="bob"), "allow"),
        ({"two-person": True, "at-most": 1799.0}, approved("deepseek.com"), "block"),
        ({"two-person": True, "at-most": 1800.0}, approved("deepseek.com"), "allow"),
        ({"two-person": False, "at-most": 60.0}, approved("ads.test"), "block"),
    ],
)
def test_a_directive_lets_through_what_meets_its_terms(
    ask: Asking, terms: dict[str, Any] | None, permission: Permission, action: str
) -> None:
    ask.bundle.policy["directives"][ORDER]["exceptions"] = terms
    ask.permissions = (permission,)
    assert ask("chat.deepseek.com")[0] == action
    assert ask("chat.deepseek.com", "10.20.0.8")[0] == "block"


def test_an_exception_for_a_tree_does_not_reach_into_what_a_directive_forbids_below_it(ask: Asking) -> None:
    ask.permissions = (approved("=ads.test", "chat.deepseek.com", "ads.test"),)
    assert ask("ads.test") == ("allow", "x1")
    assert ask("chat.deepseek.com") == ("block", None)


def test_who_holds_different_exceptions_has_another_profile_and_who_holds_the_same_has_not(ask: Asking) -> None:
    policy = Policy(ask.bundle, AT, (approved("ads.test", clients=["10.20.0.0/31"]),))
    assert policy.profile("10.20.0.0") == policy.profile("10.20.0.1") != policy.profile("10.20.0.2")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"clients": []}, "for somebody"),
        ({"clients": ["192.0.2.1"] * 300}, "at most 256 clients"),
        ({"lasts": None}, "has an end"),
        ({"until": AT + timedelta(days=1)}, "has an end"),
        ({"lasts": 0.0}, "in the future, after a year at most"),
        ({"lasts": 1e9}, "in the future, after a year at most"),
        ({"lasts": None, "until": AT}, "in the future"),
        ({"ticket": "x\n"}, "a ticket of 1 to 500 printable"),
        ({"ticket": "x" * 501}, "a ticket of 1 to 500 printable"),
    ],
)
def test_what_is_missing_or_too_much_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SinkholeError, match=message):
        asked("ads.test", **settings)


def test_no_names_and_no_reason_are_refused() -> None:
    with pytest.raises(SinkholeError, match="1 to 256 names, not 0"):
        asked()
    with pytest.raises(SinkholeError, match="a reason"):
        exceptions.request(1, AT, "alice", " ", ["ads.test"], groups=["lab"], lasts=60)
    with pytest.raises(SinkholeError, match="a requester"):
        exceptions.request(1, AT, "", "why", ["ads.test"], groups=["lab"], lasts=60)


def test_what_was_decided_is_not_decided_again() -> None:
    for decided in (approved("ads.test"), exceptions.deny(asked("ads.test"), "bob")):
        with pytest.raises(SinkholeError, match="already, by bob"):
            exceptions.approve(decided, AT, "eve")
        with pytest.raises(SinkholeError, match="already, by bob"):
            exceptions.deny(decided, "eve")
    with pytest.raises(SinkholeError, match="x1 is requested, so there is nothing to revoke"):
        exceptions.revoke(asked("ads.test"), AT)
    late = asked("ads.test", lasts=None, until=AT + timedelta(hours=1))
    with pytest.raises(SinkholeError, match="is over; it needs a new request"):
        exceptions.approve(late, AT + timedelta(hours=1), "bob")


def test_plain_data_and_back() -> None:
    permission = approved("ads.test", "=x.test", groups=["lab"], ticket="T-1")
    assert exceptions.permission(permission.plain) == permission
