"""Lists of addresses for packet filters."""

from __future__ import annotations

import pytest

from sinkhole.compiler.blocklist import resolve
from sinkhole.exports.fit import fit
from sinkhole.exports.render import render
from sinkhole.formats import FORMATS
from sinkhole.formats.format import Header
from sinkhole.rules import Kind, On, Rank, Rule, Scope, Special
from tests.compiler.test_blocklist import merged
from tests.formats.lines import check, everything

LINES = [
    ("ipset", "add sinkhole4 192.0.2.0/24 -exist", ["block address 192.0.2.0/24"], []),
    ("ipset", "add any 192.0.2.1", ["block address 192.0.2.1/32"], []),
    ("ipset", "add any 2001:db8::/32 nomatch", ["allow address 2001:db8::/32"], []),
    ("ipset", "create sinkhole4 hash:net family inet -exist", [], []),
    ("ipset", "flush sinkhole4", [], []),
    ("ipset", "COMMIT", [], []),
    ("ipset", "# comment", [], []),
    ("ipset", "add any 0.0.0.0/0", [], ["every address"]),
    ("ipset", "add any 192.0.2.1/24", [], ["not a network"]),
    ("ipset", "add any a.test", [], ["not a network"]),
    ("ipset", "destroy", [], ["not an entry of a set"]),
    ("nftables", "add element inet sinkhole blocked4 { 192.0.2.0/24 }", ["block address 192.0.2.0/24"], []),
    (
        "nftables",
        "add element inet t allowed6 { 2001:db8::1, 2001:db8::2 }",
        ["allow address 2001:db8::1/128", "allow address 2001:db8::2/128"],
        [],
    ),
    ("nftables", "add table inet sinkhole", [], []),
    ("nftables", "# comment", [], []),
    ("nftables", "add element inet sinkhole blocked4 { a.test }", [], ["not a network"]),
    ("nftables", "flush ruleset", [], ["not an element of a set"]),
]


@pytest.mark.parametrize(("name", "line", "rules", "reasons"), LINES)
def test_lines(name: str, line: str, rules: list[str], reasons: list[str]) -> None:
    check(name, line, rules, reasons)


NETWORK = Special(0, On.ADDRESS, "192.0.2.0/24", Kind(Scope.EXACT))


@pytest.mark.parametrize("name", ["ipset", "nftables"])
def test_only_networks_without_conditions_are_stated(name: str) -> None:
    state = FORMATS[name].special
    assert state(NETWORK)
    assert state(NETWORK._replace(answer="NXDOMAIN"))
    assert state(NETWORK._replace(what="0.0.0.0/0")) is None
    assert state(NETWORK._replace(types=("A",))) is None
    assert state(NETWORK._replace(clients=("192.0.2.1",))) is None
    assert state(NETWORK._replace(kind=Kind(Scope.EXACT, rank=Rank.IMPORTANT))) is None
    assert state(Special(0, On.CLIENT, "192.0.2.0/24", Kind(Scope.EXACT))) is None
    assert state(Special(0, On.NAME, "a.test", Kind(Scope.EXACT))) is None


@pytest.mark.parametrize("name", ["ipset", "nftables"])
def test_names_are_left_out_and_counted_and_networks_come_back(name: str) -> None:
    masks = merged([Rule("a.test", Kind(Scope.TREE)), Rule("b.test", Kind(Scope.EXACT))]).masks
    networks = [NETWORK, NETWORK._replace(what="2001:db8::/32", kind=Kind(Scope.EXACT, allow=True))]
    fitted = fit(resolve(masks), (), FORMATS[name], networks, masks)
    assert list(fitted.statements) == []
    assert fitted.loss.unfit == 2
    text = b"".join(render(fitted, FORMATS[name], Header(title="T")))
    parsed = FORMATS[name].read(text)
    assert everything(parsed) == ["allow address 2001:db8::/32", "block address 192.0.2.0/24"]
    assert not parsed.skipped
