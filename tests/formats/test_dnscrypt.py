"""dnscrypt-proxy's lists of blocked names."""

from __future__ import annotations

import pytest

from sinkhole.formats import FORMATS
from sinkhole.formats.patterns import compiled
from sinkhole.rules import Kind, On, Scope, Special
from tests.formats.lines import Line, check

LINES: list[Line] = [
    ("a.test", ["block tree a.test"], []),
    ("*.a.test", ["block tree a.test"], []),
    (".a.test", ["block tree a.test"], []),
    ("*a.test", ["block tree a.test"], []),  # a suffix of whole labels there, with or without the dot
    ("=a.test", ["block exact a.test"], []),
    ("a.test  # inline", ["block tree a.test"], []),
    ("*tracker*", ["block pattern tracker"], []),
    ("ads.*", [r"block pattern ^ads\."], []),
    ("Ads[0-9]*", ["block pattern ^ads[0-9].*$"], []),
    ("ads*.example*", [r"block pattern ^ads.*\.example.*$"], []),
    ("a?.test", [r"block pattern ^a.\.test$"], []),
    (r"[a-z0-9\-_]*.example.com", [r"block pattern ^[a-z0-9\-_].*\.example\.com$"], []),
    ("*.youtube.*  @time-to-sleep", [], ["the schedule time-to-sleep"]),
    ("a.test @work", [], ["the schedule work"]),
    ("*", [], ["every name"]),
    ("**", [], ["every name"]),
    ("*.*", [], ["a pattern that finds every name"]),
    ("a[b.test", [], ["not a pattern"]),
    ("a[z-a]*.test", [], ["a pattern that is not understood"]),
    ("# comment", [], []),
    ("com", [], ["a single label"]),
]


@pytest.mark.parametrize(("line", "rules", "reasons"), LINES)
def test_lines(line: str, rules: list[str], reasons: list[str]) -> None:
    check("dnscrypt", line, rules, reasons)


@pytest.mark.parametrize(
    ("glob", "name", "found"),
    [
        ("ads[0-9]*", "ads1.x.test", True),
        ("ads[0-9]*", "my-ads1.x.test", False),
        ("ads[^0-9]*", "ads1.x.test", False),
        ("a?.test", "ab.test", True),
        ("a?.test", "abc.test", False),
        ("ad*x.test", "ads.fox.test", True),
    ],
)
def test_globs_match_whole_names(glob: str, name: str, found: bool) -> None:
    (rule,) = FORMATS["dnscrypt"].read(glob.encode()).special
    assert bool(compiled(rule.what).search(name.encode())) is found


@pytest.mark.parametrize("line", ["*tracker*", "ads.*"])
def test_parts_are_stated_as_they_were_read(line: str) -> None:
    format = FORMATS["dnscrypt"]
    (rule,) = format.read(line.encode()).special
    assert format.special(rule) == line
    assert format.special(Special(0, On.PATTERN, "a[bc]", Kind(Scope.EXACT))) is None
    assert format.special(rule._replace(types=("A",))) is None
