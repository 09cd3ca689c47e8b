"""The list of encrypted DNS of others: its names for the resolver, its addresses for packet filters."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from dnslib import QTYPE

from sinkhole.compiler import plan
from sinkhole.compiler.compile import compile_list
from sinkhole.exports.publish import export
from sinkhole.formats import format_named
from sinkhole.names import key
from sinkhole.policy.explain import cite
from sinkhole.policy.policy import Policy
from sinkhole.policy.special import Stated
from tests.bundles import CATALOGUE, configured, opened

CONFIG = "policy: [{groups: [all], lists: [bypass]}]\n"
ADDRESSES = [address for resolver in CATALOGUE.resolvers.values() for address in resolver.addresses]


@pytest.mark.parametrize(
    ("name", "action"), [("dns.google", "block"), ("x.dns.google", "block"), ("google", "forward")]
)
def test_its_names_are_blocked(tmp_path: Path, name: str, action: str) -> None:
    policy = Policy(opened(tmp_path, CONFIG), datetime(2025, 3, 1, tzinfo=UTC))

    assert policy.decide(policy.profile("192.0.2.1"), key(name.encode()), QTYPE.reverse["A"]).action.value == action
    described = next(entry for entry in policy.bundle.manifest["lists"] if entry["id"] == "bypass")
    assert described["not-enforced"] == 0


def test_answers_with_its_addresses_are_blocked(tmp_path: Path) -> None:
    policy = Policy(opened(tmp_path, CONFIG), datetime(2025, 3, 1, tzinfo=UTC))
    profile = policy.profile("192.0.2.1")

    assert policy.by_address
    for network in ADDRESSES:
        found = policy.by_address(profile, (network.network_address.packed,), QTYPE.reverse["A"])
        assert (found.action.value, found.list) == ("block", "bypass")
    assert policy.by_address(profile, (bytes((192, 0, 2, 1)),), QTYPE.reverse["A"]).action.value == "forward"


@pytest.mark.parametrize(
    ("format", "line"),
    [
        ("nftables", "add element inet sinkhole blocked4 {{ {} }}"),
        ("ipset", "add sinkhole4 {} -exist"),
        ("rpz", "32.8.8.8.8.rpz-ip CNAME ."),
    ],
)
def test_its_addresses_are_in_the_formats_that_can_say_them(tmp_path: Path, format: str, line: str) -> None:
    wanted = plan.only(configured(tmp_path, "{}"), CATALOGUE, "bypass")
    fitted, pieces = export(compile_list(wanted.lists[0], lambda source: None), format_named(format))

    assert line.format("8.8.8.8/32") in b"".join(pieces).decode().splitlines()
    assert fitted.loss.special == 0


def test_a_rule_about_an_address_is_traced_to_its_line(tmp_path: Path) -> None:
    bundle = opened(tmp_path, CONFIG)
    (listing,) = [entry for entry in plan.make(configured(tmp_path, CONFIG), CATALOGUE).lists if entry.id == "bypass"]
    number = bundle.lists.index("bypass")
    (stated,) = [Stated(rule, number, source) for rule, source in listing.special if rule.what == "8.8.8.8/32"]
    (found,) = cite(bundle, number, "x.test", [stated])

    assert found.source == "encrypted DNS, google (feeds/bypass.yaml)"
    lines = (Path(__file__).parents[2] / "feeds/bypass.yaml").read_text().splitlines()
    assert "8.8.8.8" in lines[found.line - 1]
    assert found.text == "block address 8.8.8.8/32"
