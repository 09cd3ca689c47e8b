"""Wildcard lists."""

from __future__ import annotations

import pytest

from sinkhole.formats import FORMATS
from sinkhole.rules import Kind, On, Rank, Scope, Special
from tests.formats.lines import Line, check

LINES: list[Line] = [
    ("*.a.test", ["block tree a.test"], []),
    ("  *.A.Test.  # why", ["block tree a.test"], []),
    ("a.test", ["block exact a.test"], []),
    ("*.bücher.test", ["block tree xn--bcher-kva.test"], []),
    ("/^ads?[0-9]*\\./", ["block pattern ^ads?[0-9]*\\."], []),
    ("/(a/", [], ["a pattern that is not understood"]),
    ("/.*/", [], ["a pattern that finds every name"]),
    ("//comment", [], []),
    ("# *.a.test", [], []),
    ("! *.a.test", [], []),
    ("*.*.a.test", [], ["a character that no name has"]),
    ("ads.*", [], ["a character that no name has"]),
    ("*.com", [], ["a single label"]),
    ("*.192.0.2.1", [], ["an address, not a name"]),
]


@pytest.mark.parametrize(("line", "rules", "reasons"), LINES)
def test_lines(line: str, rules: list[str], reasons: list[str]) -> None:
    check("wildcard", line, rules, reasons)


def test_a_plain_pattern_is_stated_and_no_other_special_rule() -> None:
    pattern = Special(7, On.PATTERN, r"^ads\.", Kind(Scope.EXACT))
    state = FORMATS["wildcard"].special
    assert state(pattern) == r"/^ads\./"
    assert state(pattern._replace(types=("A",))) is None
    assert state(pattern._replace(kind=Kind(Scope.EXACT, allow=True))) is None
    assert state(pattern._replace(kind=Kind(Scope.EXACT, rank=Rank.IMPORTANT))) is None
    assert state(pattern._replace(answer="NXDOMAIN")) is None
    assert state(pattern._replace(on=On.NOT_PATTERN)) is None
