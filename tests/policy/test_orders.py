"""Orders of February 2025 as the catalogue has them: each enforced for whom it binds, from its instant on."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import dns.edns
import dns.message
import pytest
from dnslib import QTYPE

from sinkhole.bundle import Bundle
from sinkhole.names import key
from sinkhole.policy import exceptions
from sinkhole.policy.policy import Policy
from sinkhole.resolver.answer import blocked, blocking, pack
from sinkhole.resolver.message import read_query
from tests.bundles import CATALOGUE, opened

DEEPSEEK, CHATGPT = "chat.deepseek.com", "chatgpt.com"
#: Who is bound, and who is not.
INSIDE, OUTSIDE = "10.20.0.7", "10.30.0.7"


class Row(NamedTuple):
    """A directive, since when it holds, and what happens to a name for whom it binds; ``ede`` of a block."""

    directive: str
    since: str
    name: str
    action: str
    ede: int | None = None


ROWS = [
    Row("kr-mofa-2025-02-05", "2025-02-05T00:00+09:00", DEEPSEEK, "block", 15),
    Row("kr-motie-2025-02-05", "2025-02-05T00:00+09:00", DEEPSEEK, "block", 15),
    Row("kr-mnd-2025-02-05", "2025-02-05T00:00+09:00", DEEPSEEK, "block", 15),
    Row("kr-moef-2025-02-06", "2025-02-06T00:00+09:00", DEEPSEEK, "block", 15),
    Row("kr-me-2025-02-06", "2025-02-06T09:00+09:00", DEEPSEEK, "block", 15),
    Row("kr-police-2025-02-06", "2025-02-06T07:00+09:00", DEEPSEEK, "block", 15),
    Row("kr-mois-2025-02-04", "2025-02-04T00:00+09:00", DEEPSEEK, "warn"),
    Row("kr-mois-2025-02-04", "2025-02-04T00:00+09:00", CHATGPT, "warn"),
    Row("kr-pipc-2025-02-15", "2025-02-15T09:00Z", DEEPSEEK, "block", 16),
    Row("kr-kakao-2025-02-04", "2025-02-04T00:00+09:00", DEEPSEEK, "block", 15),
    Row("kr-lguplus-2025-02-05", "2025-02-05T00:00+09:00", DEEPSEEK, "block", 15),
    Row("kr-lguplus-personal-2025-02-05", "2025-02-05T00:00+09:00", DEEPSEEK, "warn"),
    *(
        Row(f"kr-{company}-2025-02-05", "2025-02-05T00:00+09:00", name, "block", 15)
        for company in ("samsung", "sk", "lge")
        for name in (DEEPSEEK, CHATGPT)
    ),
    Row("kr-khnp-2025-02-01", "2025-02-01T00:00+09:00", DEEPSEEK, "block", 15),
    Row("kr-kepco-kps-2025-02-05", "2025-02-05T00:00+09:00", DEEPSEEK, "block", 15),
    Row("kr-hyundai-2025-02-07", "2025-02-07T00:00+09:00", DEEPSEEK, "block", 15),
    Row("it-garante-2025-01-30", "2025-01-30T00:00+01:00", DEEPSEEK, "block", 16),
    Row("au-home-affairs-2025-02-04", "2025-02-04T00:00+11:00", DEEPSEEK, "block", 16),
    Row("tw-moda-2025-01-31", "2025-01-31T00:00+08:00", DEEPSEEK, "block", 16),
    Row("us-house-2025-02-07", "2025-02-07T00:00-05:00", DEEPSEEK, "observe"),
]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Every directive for a group of its own: the one client of each is numbered as its row is."""
    ids = sorted({row.directive for row in ROWS})
    groups = "\n".join(f"  g{number}: {{clients: [10.20.{number}.0/24]}}" for number, _ in enumerate(ids))
    policy = "\n".join(f"  - {{groups: [g{number}], directives: [{id}]}}" for number, id in enumerate(ids))
    return opened(tmp_path_factory.mktemp("orders"), f"groups:\n{groups}\npolicy:\n{policy}\n")


def client(directive: str) -> str:
    return f"10.20.{sorted({row.directive for row in ROWS}).index(directive)}.7"


def test_no_order_of_the_catalogue_is_left_out() -> None:
    assert {row.directive for row in ROWS} == set(CATALOGUE.directives)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.directive}-{row.name}")
def test_an_order_is_enforced_for_whom_it_binds_from_its_instant_on(bundle: Bundle, row: Row) -> None:
    since, instant = datetime.fromisoformat(row.since), timedelta(microseconds=1)
    bound, others = client(row.directive), OUTSIDE
    for at, who, action in (
        (since - instant, bound, "forward"),
        (since, bound, row.action),
        (since + timedelta(days=3650), bound, row.action),
        (since, others, "forward"),
    ):
        policy = Policy(bundle, at)
        profile = policy.profile(who)
        assert policy.decide(profile, key(row.name.encode()), QTYPE.A).action.value == action, (at, who)
        assert policy.decide(profile, key(b"www.example.org"), QTYPE.A).action.value == "forward"
    if row.action == "block":
        _check_answer(Policy(bundle, since), bound, row)


def _check_answer(policy: Policy, bound: str, row: Row) -> None:
    """The packet, read by another implementation."""
    message = dns.message.make_query(row.name, "A", use_edns=0, payload=1232)
    query = read_query(message.to_wire())
    assert query
    verdict = policy.decide(policy.profile(bound), key(row.name.encode()), QTYPE.A)
    answer = dns.message.from_wire(pack(query, blocked(QTYPE.A, verdict, blocking("null-ip"))))
    assert [record.to_text() for rrset in answer.answer for record in rrset] == ["0.0.0.0"]
    (error,) = [option for option in answer.options if isinstance(option, dns.edns.EDEOption)]
    said = CATALOGUE.directives[row.directive].message["en"]
    assert (int(error.code), error.text) == (row.ede, f"{row.directive}: {said}")


@pytest.mark.parametrize("company", ["samsung", "sk", "lge"])
def test_prior_authorisation_lets_one_client_through_and_no_other(tmp_path: Path, company: str) -> None:
    directive = f"kr-{company}-2025-02-05"
    made = opened(tmp_path, f"policy: [{{groups: [all], directives: [{directive}]}}]")
    at = datetime.fromisoformat("2025-03-01T09:00+09:00")
    asked = exceptions.request(1, at, "alice", "evaluation", [CHATGPT], clients=[INSIDE], lasts=3600)
    policy = Policy(made, at, (exceptions.approve(asked, at, "the security officer"),))
    found = {
        (who, name): policy.decide(policy.profile(who), key(name.encode()), QTYPE.A).action.value
        for who in (INSIDE, OUTSIDE)
        for name in (CHATGPT, DEEPSEEK)
    }
    assert found == {
        (INSIDE, CHATGPT): "allow",
        (INSIDE, DEEPSEEK): "block",
        (OUTSIDE, CHATGPT): "block",
        (OUTSIDE, DEEPSEEK): "block",
    }


def test_an_order_without_exceptions_lets_nobody_through(tmp_path: Path) -> None:
    made = opened(tmp_path, "policy: [{groups: [all], directives: [kr-mofa-2025-02-05]}]")
    at = datetime.fromisoformat("2025-03-01T09:00+09:00")
    asked = exceptions.request(1, at, "alice", "evaluation", [DEEPSEEK], clients=[INSIDE], lasts=3600)
    policy = Policy(made, at, (exceptions.approve(asked, at, "bob"),))
    assert policy.decide(policy.profile(INSIDE), key(DEEPSEEK.encode()), QTYPE.A).action.value == "block"


def test_a_company_may_allow_the_service_that_it_develops_itself(tmp_path: Path) -> None:
    text = """
policy: [{groups: [all], directives: [kr-samsung-2025-02-05]}]
allow: [own-ai.example.com]
block: [example.com]
"""
    policy = Policy(opened(tmp_path, text), datetime.fromisoformat("2025-03-01T09:00+09:00"))
    profile = policy.profile(INSIDE)
    assert policy.decide(profile, key(b"own-ai.example.com"), QTYPE.A).action.value == "allow"
    assert policy.decide(profile, key(CHATGPT.encode()), QTYPE.A).action.value == "block"
