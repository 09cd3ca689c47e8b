"""The benchmark of exports measures what it says: every format, on rules of every kind."""

from __future__ import annotations

from collections import Counter

from benchmarks import exports
from sinkhole.compiler.blocklist import Code
from sinkhole.formats import FORMATS
from sinkhole.rules import Rank, Scope


def test_the_list_has_rules_of_every_kind_and_exceptions_in_exceptions() -> None:
    stated = list(exports.rules(5000, seed=1))
    assert len(stated) == len(set(stated)) == 5000
    assert stated == list(exports.rules(5000, seed=1))
    kinds = Counter((kind.scope, kind.allow) for _, kind in stated)
    assert set(kinds) == {(scope, False) for scope in (Scope.EXACT, Scope.SUBDOMAINS, Scope.TREE)} | {
        (scope, True) for scope in (Scope.EXACT, Scope.TREE)
    }
    assert kinds[Scope.TREE, True] > 200
    assert any(kind.rank is Rank.IMPORTANT for _, kind in stated)
    codes = exports.compiled(stated).resolved.codes
    assert {Code.INHERITED, Code.BELOW | Code.INHERITED, 7} <= set(codes)


def test_every_format_is_measured_on_a_file_that_has_the_rules() -> None:
    report = exports.measure(300, 1, seed=1)
    assert list(report["formats"]) == list(FORMATS)
    assert all(found["rules-a-second"] > 0 and found["bytes"] > 3000 for found in report["formats"].values())
    assert report["all"]["bytes"] > sum(found["bytes"] for found in report["formats"].values()) / 2
