"""Policy zones, record by record: every trigger and every action (the numbers are those of the trusted suites)."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from sinkhole.compiler.blocklist import resolve
from sinkhole.exports.fit import fit
from sinkhole.exports.render import render
from sinkhole.formats import FORMATS
from sinkhole.formats.format import Header
from sinkhole.formats.rpz import read, serial_after, special
from sinkhole.rules import Kind, On, Parsed, Rule, Scope, Special

SECOND = "a second rule of one owner"


def shown(parsed: Parsed) -> list[str]:
    rules: list[Rule | Special] = [*parsed.rules(), *parsed.special]
    return sorted(str(rule) + (" important" if rule.kind.rank else "") for rule in rules)


# (records, rules, reasons)
RECORDS: list[tuple[str, list[str], list[str]]] = [
    ("a.test CNAME *.", ["block exact a.test answer='NODATA'"], []),  # item 13
    ("*.a.test CNAME *.", ["block subdomains a.test answer='NODATA'"], []),
    ("a.test CNAME *.\n*.a.test CNAME *.", ["block tree a.test answer='NODATA'"], []),
    ("a.test CNAME rpz-drop.", ["block exact a.test answer='DROP'"], []),
    ("a.test CNAME RPZ-TCP-Only.", ["block exact a.test answer='TCP-ONLY'"], []),
    ("a.test CNAME a.test.", ["allow exact a.test"], []),  # item 21
    ("a.test CNAME rpz-foo.", [], ["the action rpz-foo."]),  # item 22
    ("a.test CNAME rpz-foo.com.", ["block exact a.test answer='CNAME rpz-foo.com'"], []),
    ("a.test DNAME b.test.", ["block exact a.test answer='NODATA'"], []),  # item 23
    ("a.test NS b.test.", [], ["a record of the type NS, which is no policy"]),
    ("a.test RRSIG A 8 2 60 1 1 1 a. xx", [], ["a record of the type RRSIG, which is no policy"]),
    ("a.test CNAME one.test.\na.test CNAME two.test.", ["block exact a.test answer='CNAME one.test'"], [SECOND]),  # 24
    ("a.test CNAME one.test.\na.test A 192.0.2.1", ["block exact a.test answer='CNAME one.test'"], [SECOND]),
    ("a.test A 192.0.2.1\na.test CNAME .", ["block exact a.test"], [SECOND]),
    ("a.test CNAME walled.garden.", ["block exact a.test answer='CNAME walled.garden'"], []),
    ("*.a.test CNAME *.garden.", ["block subdomains a.test answer='CNAME *.garden'"], []),
    ("a.test A 192.0.2.1", ["block exact a.test answer='A 192.0.2.1'"], []),
    (
        "a.test A 192.0.2.1\n  A 192.0.2.2\n  AAAA ::1",
        ["block exact a.test answer='A 192.0.2.1\\nA 192.0.2.2\\nAAAA ::1'"],
        [],
    ),
    ("a.test A 0.0.0.0\na.test AAAA ::", ["block exact a.test"], []),
    ("a.test A 0.0.0.0\na.test A 192.0.2.1", ["block exact a.test answer='A 0.0.0.0\\nA 192.0.2.1'"], []),
    ('a.test TXT "Hi; (you)" x', ['block exact a.test answer=\'TXT "Hi; (you)" "x"\''], []),
    ("a.test 1h IN MX 10 mail.test.", ["block exact a.test answer='MX 10 mail.test'"], []),
    ("a.test HTTPS 1 . alpn=h2,h3", ["block exact a.test answer='HTTPS 1 . alpn=h2,h3'"], []),
    ("a.test LOC 51 30 N 0 7 W 10m", ["block exact a.test answer='LOC 51 30 N 0 7 W 10m'"], []),
    ('a.test CAA 0 issue "x', [], ["a record of the type CAA that is not understood"]),
    ("a.test A nonsense", [], ["a record of the type A that is not understood"]),
    ("32.1.2.0.192.rpz-ip CNAME .", ["block address 192.0.2.1/32"], []),
    ("32.1.2.0.192.rpz-ip CNAME walled.garden.", ["block address 192.0.2.1/32 answer='CNAME walled.garden'"], []),
    ("32.zz.db8.2001.rpz-ip CNAME rpz-passthru.", ["allow address 2001:db8::/32"], []),
    ("24.0.2.0.192.rpz-client-ip CNAME rpz-passthru.", ["allow client 192.0.2.0/24 important"], []),
    ("24.0.2.0.192.rpz-client-ip CNAME rpz-drop.", ["block client 192.0.2.0/24 answer='DROP' important"], []),
    ("ns.a.test.rpz-nsdname CNAME .", ["block server-name ns.a.test"], []),
    ("*.a.test.rpz-nsdname CNAME .", ["block server-name a.test"], []),
    ("16.0.1.0.10.rpz-nsip CNAME .", [], ["not a network"]),
    ("8.0.0.0.10.rpz-nsip CNAME .", ["block server-address 10.0.0.0/8"], []),
    ("* CNAME rpz-passthru.", [], ["the root wildcard"]),
]


@pytest.mark.parametrize(("records", "rules", "reasons"), RECORDS)
def test_records_mean_what_they_mean_in_a_zone(records: str, rules: list[str], reasons: list[str]) -> None:
    parsed = read(records.encode())
    assert shown(parsed) == rules
    assert list(parsed.skipped) == reasons


@pytest.mark.parametrize(
    ("owner", "network"),
    [  # item 9
        ("32.1.2.0.192", "192.0.2.1/32"),
        ("24.0.2.0.192", "192.0.2.0/24"),
        ("8.0.0.0.10", "10.0.0.0/8"),
        ("128.5.zz.db8.2001", "2001:db8::5/128"),
        ("128.zz", "::/128"),
        ("128.1.zz", "::1/128"),
        ("32.zz.db8.2001", "2001:db8::/32"),
        ("48.zz.1.db8.2001", "2001:db8:1::/48"),
        ("128.8.7.6.5.4.3.2.1", "1:2:3:4:5:6:7:8/128"),
        ("128.8.zz.5.4.3.2.1", "1:2:3:4:5::8/128"),
        ("64.zz.4.3.2.1", "1:2:3:4::/64"),
    ],
)
def test_item_9_a_network_is_read_and_written_in_its_one_spelling(owner: str, network: str) -> None:
    parsed = read(f"{owner}.rpz-ip CNAME .".encode())
    assert shown(parsed) == [f"block address {network}"]
    assert special(parsed.special[0]) == f"{owner}.rpz-ip CNAME ."


@pytest.mark.parametrize(
    ("owner", "network"), [("128.5.0.0.0.0.0.db8.2001", "2001:db8::5/128"), ("32.zz.0db8.2001", "2001:db8::/32")]
)
def test_item_9_other_spellings_are_read_as_well(owner: str, network: str) -> None:
    assert shown(read(f"{owner}.rpz-client-ip CNAME .".encode())) == [f"block client {network} important"]


@pytest.mark.parametrize(
    "owner",
    [  # item 10
        "1000.4.0.53.10", "33.1.2.0.192", "0.0.0.0.0", "032.1.2.0.192", "32.01.2.0.192", "32.256.2.0.192",
        "24.1.2.0.192", "32.2.0.192", "129.zz", "0.zz", "128.zz.1.zz", "128.1.2.3.4.5.6.7", "128.zz.10000",
        "16.zz.db8.2001", "x.zz", "zz",
    ],
)  # fmt: skip
def test_item_10_a_bad_prefix_is_skipped_and_the_rest_of_the_zone_is_read(owner: str) -> None:
    parsed = read(f"{owner}.rpz-ip CNAME .\na.test CNAME .\n".encode())
    assert shown(parsed) == ["block exact a.test"]
    assert parsed.skipped == {"not a network": 1}


def test_names_in_data_are_relative_to_the_origin() -> None:
    zone = b"$ORIGIN rpz.test.\n@ SOA a. b. 1 2 3 4 5\na.example CNAME garden\nb.example MX 1 mail.test.\n"
    assert shown(read(zone)) == [
        "block exact a.example answer='CNAME garden.rpz.test'",
        "block exact b.example answer='MX 1 mail.test'",
    ]


def test_the_most_specific_owner_wins_among_special_rules_too() -> None:
    zone = (
        b"*.a.test CNAME rpz-passthru.\n"
        b"b.a.test CNAME garden.\n*.b.a.test CNAME garden.\nok.b.a.test CNAME rpz-passthru.\n"
        b"8.0.0.0.10.rpz-ip CNAME rpz-passthru.\n16.0.0.1.10.rpz-ip CNAME .\n16.0.0.0.10.rpz-ip CNAME .\n"
    )
    assert shown(read(zone)) == [
        "allow address 10.0.0.0/8",
        "allow exact ok.b.a.test important",
        "allow subdomains a.test",
        "block address 10.0.0.0/16 important",
        "block address 10.1.0.0/16 important",
        "block tree b.a.test answer='CNAME garden' important",
    ]


@pytest.mark.parametrize(
    "rule",
    [
        Special(0, On.PATTERN, "x", Kind(Scope.EXACT)),
        Special(0, On.NAME, "a.test", Kind(Scope.TREE), types=("A",)),
        Special(0, On.NAME, "a.test", Kind(Scope.TREE), answer="REFUSED"),
        Special(0, On.NAME, "a.test", Kind(Scope.TREE), answer="CNAME a.test"),
        Special(0, On.NAME, "a.test", Kind(Scope.TREE, allow=True), answer="ANY"),
        Special(0, On.NAME, ".".join(["a" * 50] * 4) + ".test", Kind(Scope.TREE), answer="DROP"),
    ],
)
def test_what_a_zone_cannot_say_is_not_written(rule: Special) -> None:
    assert special(rule) is None


def test_a_zone_with_every_trigger_and_action_is_one_that_bind_takes(
    tmp_path: Path, peer: Callable[[str], str]
) -> None:
    found = [read(records.replace("a.test", f"n{at}.test").encode()) for at, (records, *_) in enumerate(RECORDS)]
    special = {(rule.on, rule.what): rule for parsed in found for rule in parsed.special}
    fitted = fit(resolve({}), (), FORMATS["rpz"], special.values(), {})
    assert not fitted.loss
    assert len(fitted.special) >= len(special)
    (tmp_path / "zone").write_bytes(b"".join(render(fitted, FORMATS["rpz"], Header(title="test"))))
    done = subprocess.run(
        [peer("named-checkzone"), "rpz.test", tmp_path / "zone"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("former", "wanted", "same", "serial"),
    [
        (2026112300, 2026112300, True, 2026112300),
        (2026112300, 2026112300, False, 2026112301),
        (2026112300, 2026112400, False, 2026112400),
        (2026112399, 2026112300, False, 2026112400),
        (2027010100, 2026112300, False, 2027010101),  # the date went back by a year
        (2027010100, 2026112300, True, 2027010100),
        (4294967295, 2026112300, False, 2026112300),  # which comes after it
        (4294967295, 1, False, 1),
        (4294967295, 4294967295, False, 1),  # over the end, and past 0
        (4294967294, 4294967294, False, 4294967295),
        (1, 1 + 2**31, False, 2),  # half-way: after nor before (RFC 1982 3.2)
        (1, 2**31, False, 2**31),
        (0, 1, True, 1),
        (2**32 + 5, 5, False, 6),  # more than a serial can be
    ],
)
def test_item_41_a_serial_rises_whatever_the_date_does(former: int, wanted: int, same: bool, serial: int) -> None:
    assert serial_after(former, wanted, same=same) == serial
    assert same or 0 < (serial - former) % 2**32 < 2**31


def test_item_41_no_serial_is_used_for_other_content_however_often_it_changes() -> None:
    serial = 2**32 - 50
    for wanted in [2026112300] * 5 + [2025010100] * 60 + [5] * 60:
        after = serial_after(serial, wanted, same=False)
        assert 0 < (after - serial) % 2**32 < 2**31
        assert 0 < after < 2**32
        serial = after
