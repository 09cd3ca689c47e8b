"""Pi-hole's regular expressions and their extensions, line by line."""

from __future__ import annotations

from typing import Any

import pytest

from sinkhole.formats import FORMATS
from sinkhole.formats.pihole import read_line, read_regex, special
from sinkhole.rules import Special

# (line, the rule or the reason)
REGEXES = [
    (r"(\.|^)a\.test$", "block tree a.test"),
    (r"(^|\.)a\.test$", "block tree a.test"),
    (r"^a\.test$", "block exact a.test"),
    (r"\.a\.test$", "block subdomains a.test"),
    ("a.test", "block pattern a.test"),
    (r"^Ads[0-9]+\.", r"block pattern (?i)^Ads[0-9]+\."),
    ("a(?#why)b", "block pattern ab"),
    (r"^ads\.;querytype=A,AAAA", r"block pattern ^ads\. types=A|AAAA"),
    (r"^ads\.;querytype=!a,aaaa", r"block pattern ^ads\. types=~A|~AAAA"),
    (r"(\.|^)a\.test$;querytype=!A", "block tree a.test types=~A"),
    (r"^a\.test$;reply=nxdomain", "block exact a.test answer='NXDOMAIN'"),
    (".*;querytype=ANY", "block pattern .* types=ANY"),
    (r"^a\.test$;invert", r"block not-pattern ^a\.test$"),
    ("x;invert;querytype=AAAA", "block not-pattern x types=AAAA"),
    ("x;reply=NODATA", "block pattern x answer='NODATA'"),
    ("x;reply=refused", "block pattern x answer='REFUSED'"),
    ("x;reply=none", "block pattern x answer='DROP'"),
    ("x;reply=ip", "block pattern x"),
    ("x;reply=192.0.2.1", "block pattern x answer='A 192.0.2.1\\nAAAA ::'"),
    ("x;reply=2001:db8::1", "block pattern x answer='A 0.0.0.0\\nAAAA 2001:db8::1'"),
    ("x;reply=2001:db8::1;reply=192.0.2.1", "block pattern x answer='A 192.0.2.1\\nAAAA 2001:db8::1'"),
    ("x;reply=0.0.0.0", "block pattern x answer='NULL'"),
    (".*", "a pattern that finds every name"),
    (r"(a|b)\.\1", "a pattern with a back-reference"),
    ("a{~1}", "approximate matching"),
    ("x;reply=what", "a ;reply= that is not understood"),
    ("x;reply=192.0.2.1;reply=192.0.2.2", "a ;reply= that is not understood"),
    ("x;querytype=OTHER", "the query type OTHER"),
    ("x;querytype=A;querytype=AAAA", "the option ;querytype"),
    ("x;foo=bar", "the option ;foo"),
]


@pytest.mark.parametrize(("line", "meaning"), REGEXES)
def test_an_expression_means_what_it_means_to_pihole(line: str, meaning: str) -> None:
    (found,) = read_regex(line)
    assert str(found) == meaning


@pytest.mark.parametrize(("line", "meaning"), [pair for pair in REGEXES if pair[0] != "a.test"])
def test_an_expression_among_names_is_one(line: str, meaning: str) -> None:
    if any(char in line for char in "|^$*()[]\\?+{;"):
        (found,) = read_line(line)
        assert str(found) == meaning


@pytest.mark.parametrize("line", [line for line, _ in REGEXES])
def test_what_was_read_can_be_written_and_read_again(line: str) -> None:
    (found,) = read_regex(line)
    if isinstance(found, Special):
        assert (text := special(found)) is not None
        assert list(read_regex(text)) == [found]


@pytest.mark.parametrize(
    "change",
    [
        {"clients": ("192.0.2.1",)},
        {"types": ("A", "~AAAA")},
        {"types": ("URI",)},
        {"except_names": ("b.test",)},
        {"answer": "CNAME a.test"},
        {"answer": "TCP-ONLY"},
        {"what": "a;b"},
        {"what": r"[\d]x"},
        {"what": r"\pL"},
    ],
)
def test_what_pihole_would_read_otherwise_is_not_written(change: dict[str, Any]) -> None:
    (rule,) = read_regex("x;querytype=A")
    assert isinstance(rule, Special)
    assert special(rule._replace(**change)) is None


def test_an_undecided_text_is_never_a_list_of_expressions() -> None:
    assert not FORMATS["pihole-regex"].sniffed
