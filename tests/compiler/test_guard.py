"""What a feed may never say."""

from __future__ import annotations

import pytest

from sinkhole.catalogue.model import Target
from sinkhole.compiler.blocklist import keys_of
from sinkhole.compiler.guard import fence, guard
from sinkhole.names import unkey
from sinkhole.rules import Kind, Parsed, Rule, Scope

FENCE = fence(
    [Target("update.vendor.example", Scope.TREE), Target("time.example.net", Scope.EXACT)], ["mask.icloud.com"]
)
TREE, EXACT = Kind(Scope.TREE), Kind(Scope.EXACT)
CASES = [
    (Rule("com", TREE), "a public suffix"),
    (Rule("co.uk", TREE), "a public suffix"),
    (Rule("github.io", Kind(Scope.SUBDOMAINS)), "a public suffix"),
    (Rule("foo.ck", TREE), "a public suffix"),
    (Rule("github.io", EXACT), None),
    (Rule("a.github.io", TREE), None),
    (Rule("update.vendor.example", EXACT), "a never-block name"),
    (Rule("cdn.update.vendor.example", TREE), "a never-block name"),
    (Rule("vendor.example", TREE), "covers a never-block name"),
    (Rule("vendor.example", Kind(Scope.SUBDOMAINS)), "covers a never-block name"),
    (Rule("vendor.example", EXACT), None),
    (Rule("xupdate.vendor.example", TREE), None),
    (Rule("example.net", TREE), "covers a never-block name"),
    (Rule("time.example.net", EXACT), "a never-block name"),
    (Rule("time.example.net", TREE), "a never-block name"),
    (Rule("time.example.net", Kind(Scope.SUBDOMAINS)), None),
    (Rule("x.time.example.net", TREE), None),
    (Rule("update.vendor.example", Kind(Scope.TREE, allow=True)), None),
    (Rule("mask.icloud.com", EXACT), "a protected name"),
    (Rule("mask.icloud.com", Kind(Scope.TREE, allow=True)), "a protected name"),
    (Rule("x.mask.icloud.com", TREE), "a protected name"),
    (Rule("icloud.com", TREE), None),
]


@pytest.mark.parametrize(("rule", "why"), CASES, ids=[f"{rule.kind.allow}-{rule}" for rule, _ in CASES])
def test_item_49_a_rule_that_would_take_out_too_much_is_quarantined(rule: Rule, why: str | None) -> None:
    other = Rule("ads.test", TREE)
    parsed = Parsed()
    parsed.add(rule)
    parsed.add(other)
    keys = keys_of(parsed)
    found = guard(keys, FENCE)
    left = {Rule(unkey(name).decode(), kind) for kind, names in keys.items() for name in names}
    if why:
        assert [(quarantined.rule, quarantined.why) for quarantined in found] == [(rule, why)]
        assert left == {other}
    else:
        assert found == []
        assert left == {rule, other}
