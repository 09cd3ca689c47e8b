"""Squid's access lists of domains."""

from __future__ import annotations

import pytest

from tests.formats.lines import Line, check

LINES: list[Line] = [
    (".a.test", ["block tree a.test"], []),
    ("a.test", ["block exact a.test"], []),
    (".A.Test # why", ["block tree a.test"], []),
    ("# .a.test", [], []),
    ("..a.test", [], ["an empty label"]),
    (".com", [], ["a single label"]),
    ("*.a.test", [], ["a character that no name has"]),
    ("acl blocked dstdomain .a.test", [], ["a character that no name has"]),
]


@pytest.mark.parametrize(("line", "rules", "reasons"), LINES)
def test_lines(line: str, rules: list[str], reasons: list[str]) -> None:
    check("squid", line, rules, reasons)
