"""Unbound configuration."""

from __future__ import annotations

import pytest

from sinkhole.formats import FORMATS
from tests.formats.lines import Line, check, everything

LINES: list[Line] = [
    ('local-zone: "a.test." always_nxdomain', ["block tree a.test"], []),
    ('local-zone: "A.test" always_null', ["block tree a.test"], []),
    ("  local-zone: 'a.test' always_refuse # why", ["block tree a.test"], []),
    ("local-zone: a.test always_nodata", ["block tree a.test"], []),
    ('local-zone: "a.test" "always_deny"', ["block tree a.test"], []),
    ('local-zone: "a.test" static', ["block tree a.test"], []),
    ('local-zone: "a.test" redirect', ["block tree a.test"], []),
    ('local-zone: "a.test" refuse', ["block tree a.test"], []),
    ('local-zone: "a.test" deny', ["block tree a.test"], []),
    ('local-zone: "a.test" always_transparent', ["allow tree a.test"], []),
    ('local-zone: "a.test." transparent', ["allow tree a.test"], []),
    ('local-zone: "a.test" typetransparent', ["allow tree a.test"], []),
    ('local-zone: "a.test" inform', [], ["the zone type inform"]),
    ('local-zone: "com" refuse', [], ["a single label"]),
    ('local-zone: "." refuse', [], ["an empty label"]),
    ('local-data: "a.test. A 0.0.0.0"', ["block exact a.test"], []),
    ("local-data: 'a.test. 60 IN AAAA ::'", ["block exact a.test"], []),
    ('local-data: "a.test A 127.0.0.1"', ["block exact a.test"], []),
    ('local-data: "a.test A 192.0.2.1"', [], ["local data"]),
    ('local-data: "a.test CNAME b.test"', [], ["local data"]),
    ("local-data: 'a.test TXT \"0.0.0.0\"'", [], ["local data"]),
    ("server:", [], []),
    ("# comment", [], []),
    ('include: "/etc/passwd"', [], ["the option include"]),
    ("interface: 127.0.0.1", [], ["the option interface"]),
    ('local-data: "a.test', [], ["the option local-data"]),
    ("nonsense", [], ["not an option"]),
]


@pytest.mark.parametrize("name", ["unbound", "unbound-null"])
@pytest.mark.parametrize(("line", "rules", "reasons"), LINES)
def test_lines(name: str, line: str, rules: list[str], reasons: list[str]) -> None:
    check(name, line, rules, reasons)


@pytest.mark.parametrize("type", ["redirect", "static"])
def test_a_zone_that_answers_with_data_of_its_own_does_not_block(type: str) -> None:
    text = f'local-data: "www.a.test. CNAME safe.example."\nlocal-zone: "a.test" {type}\nlocal-zone: "b.test" {type}\n'
    parsed = FORMATS["unbound"].read(text.encode())
    assert everything(parsed) == ["block tree b.test"]
    assert dict(parsed.skipped) == {"local data": 1, "a zone with local data": 1}


def test_what_is_more_specific_is_read_at_a_higher_rank() -> None:
    text = b"""server:
local-zone: "a.test." always_nxdomain
local-zone: "ok.a.test." transparent
local-data: "ok.a.test. A 0.0.0.0"
local-zone: "bad.ok.a.test." always_nxdomain
"""
    assert everything(FORMATS["unbound"].read(text)) == [
        "allow subdomains ok.a.test",
        "block tree a.test",
        "block tree bad.ok.a.test important",
    ]
