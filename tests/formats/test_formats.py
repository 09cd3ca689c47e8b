"""Each format's reader, line by line: what is a rule, what is nothing, and what is skipped with which reason."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sinkhole.errors import FormatError
from sinkhole.formats import FORMATS, detect, format_named
from sinkhole.formats.format import Format, Header
from sinkhole.formats.reading import MAX_LINE
from sinkhole.rules import SAMPLES, Rank, Rule

NOTHING: list[str] = []


def shown(rule: Rule) -> str:
    rank = "" if rule.kind.rank is Rank.FEED else f" {rule.kind.rank.name.lower()}"
    return f"{rule}{rank}"


# (format, line, rules, reasons for skipping)
LINES: list[tuple[str, str, list[str], list[str]]] = [
    ("domains", "Ads.Example.COM", ["block exact ads.example.com"], NOTHING),
    ("domains", "  a.test.  ", ["block exact a.test"], NOTHING),
    ("domains", "a.test # why", ["block exact a.test"], NOTHING),
    ("domains", "# a.test", NOTHING, NOTHING),
    ("domains", "! a.test", NOTHING, NOTHING),
    ("domains", "; a.test", NOTHING, NOTHING),
    ("domains", "// a.test", NOTHING, NOTHING),
    ("domains", "bücher.test", ["block exact xn--bcher-kva.test"], NOTHING),
    ("domains", "com", NOTHING, ["a single label"]),
    ("domains", "1.2.3.4", NOTHING, ["an address, not a name"]),
    ("domains", "*.a.test", NOTHING, ["a character that no name has"]),
    ("domains", "xn--a.test", NOTHING, ["invalid punycode"]),
    ("domains", "a\x00b.test", NOTHING, ["a control character"]),
    ("domains", "a\x0bb.test", NOTHING, ["a control character"]),
    ("domains", ".".join(["abcdefgh"] * 29), NOTHING, ["longer than 253 octets"]),
    ("hosts", "0.0.0.0 a.test", ["block exact a.test"], NOTHING),
    ("hosts", "127.0.0.1\ta.test\tb.test # both", ["block exact a.test", "block exact b.test"], NOTHING),
    ("hosts", ":: a.test", ["block exact a.test"], NOTHING),
    ("hosts", "::1 a.test#comment", ["block exact a.test"], NOTHING),
    ("hosts", "0.0.0.0 A.test. B.TEST", ["block exact a.test", "block exact b.test"], NOTHING),
    ("hosts", "127.0.0.1 localhost", NOTHING, NOTHING),
    ("hosts", "127.0.0.1 localhost.localdomain", NOTHING, NOTHING),
    ("hosts", "::1 ip6-localhost ip6-loopback", NOTHING, NOTHING),
    ("hosts", "255.255.255.255 broadcasthost", NOTHING, NOTHING),
    ("hosts", "fe80::1%lo0 localhost", NOTHING, NOTHING),
    ("hosts", "0.0.0.0 0.0.0.0", NOTHING, NOTHING),
    ("hosts", "0.0.0.0", NOTHING, NOTHING),
    ("hosts", "# 0.0.0.0 a.test", NOTHING, NOTHING),
    ("hosts", "0.0.0.0 1.2.3.4", NOTHING, ["an address, not a name"]),
    ("hosts", "192.0.2.1 a.test", NOTHING, ["not a sink address"]),
    ("hosts", "[::] x.test", NOTHING, ["not a sink address"]),
    ("hosts", "nonsense x", NOTHING, ["no address"]),
    ("adblock", "||a.test^", ["block tree a.test"], NOTHING),
    ("adblock", "|a.test^", ["block exact a.test"], NOTHING),
    ("adblock", "|a.test^|", ["block exact a.test"], NOTHING),
    ("adblock", "@@||a.test^", ["allow tree a.test"], NOTHING),
    ("adblock", "@@|a.test^", ["allow exact a.test"], NOTHING),
    ("adblock", "||a.test^$important", ["block tree a.test important"], NOTHING),
    ("adblock", "@@||a.test^$important", ["allow tree a.test important"], NOTHING),
    ("adblock", "||BÜCHER.test^", ["block tree xn--bcher-kva.test"], NOTHING),
    ("adblock", "a.test", ["block exact a.test"], NOTHING),
    ("adblock", "0.0.0.0 a.test", ["block exact a.test"], NOTHING),
    ("adblock", "! comment", NOTHING, NOTHING),
    ("adblock", "# comment", NOTHING, NOTHING),
    ("adblock", "[Adblock Plus 2.0]", NOTHING, NOTHING),
    ("adblock", "||a.test^$third-party", NOTHING, ["the modifier $third-party"]),
    ("adblock", "||com^", NOTHING, ["a single label"]),
    ("adblock", "||1.1.1.1^", NOTHING, ["an address, not a name"]),
    ("adblock", "a.test##.banner", NOTHING, ["a cosmetic rule, which means nothing in DNS"]),
    ("adblock", "a.test#@#.banner", NOTHING, ["a cosmetic rule, which means nothing in DNS"]),
    ("pihole", "a.test", ["block exact a.test"], NOTHING),
    ("pihole", "||a.test^", ["block tree a.test"], NOTHING),
    ("pihole", "@@||a.test^", ["allow tree a.test"], NOTHING),
    ("pihole", "0.0.0.0 a.test", ["block exact a.test"], NOTHING),
    ("pihole", "192.0.2.1 a.test", NOTHING, ["not a sink address"]),
    ("pihole", r"(\.|^)a\.test$", ["block tree a.test"], NOTHING),
    ("pihole", r"(^|\.)a-b\.test$", ["block tree a-b.test"], NOTHING),
    ("pihole", "# comment", NOTHING, NOTHING),
    ("rpz", "a.test CNAME .", ["block exact a.test"], NOTHING),
    ("rpz", "a.test 60 IN CNAME . ; why", ["block exact a.test"], NOTHING),
    ("rpz", "*.a.test cname .", ["block subdomains a.test"], NOTHING),
    ("rpz", "a.test CNAME rpz-passthru.", ["allow exact a.test"], NOTHING),
    ("rpz", "a.test CNAME a.test.", ["allow exact a.test"], NOTHING),  # item 21
    ("rpz", "a.test A 0.0.0.0", ["block exact a.test"], NOTHING),
    ("rpz", "a.test AAAA ::", ["block exact a.test"], NOTHING),
    ("rpz", "a.test CNAME rpz-foo.", NOTHING, ["the action rpz-foo."]),  # item 22
    ("rpz", "* CNAME .", NOTHING, ["the root wildcard"]),
    ("rpz", "@ SOA localhost. root.localhost. 1 2 3 4 5", NOTHING, NOTHING),
    ("rpz", "@ NS localhost.", NOTHING, NOTHING),
    ("rpz", "$TTL 60", NOTHING, NOTHING),
    ("rpz", "$INCLUDE /etc/passwd", NOTHING, ["the directive $INCLUDE"]),
    ("rpz", "; comment", NOTHING, NOTHING),
    ("rpz", "gibberish", NOTHING, ["not a record"]),
]


@pytest.mark.parametrize(("name", "line", "rules", "reasons"), LINES)
def test_a_line_has_the_meaning_that_its_consumer_gives_it(
    name: str, line: str, rules: list[str], reasons: list[str]
) -> None:
    """Alone, and between other lines, whichever way (in bulk or by line) it is read."""
    format = FORMATS[name]
    other = format.lines[next(iter(format.lines))] % b"other.test"
    for before, after in (("", ""), ("\n\n", "\n"), (f"{other.decode()}\n", f"\n{other.decode()}\n")):
        parsed = format.read(f"{before}{line}{after}".encode())
        found = sorted(shown(rule) for rule in parsed.rules() if rule.name != "other.test")
        assert found == sorted(rules)
        assert list(parsed.skipped) == reasons
        for sample in parsed.samples:
            assert sample.line == before.count("\n") + 1
            assert sample.text == line[:200].strip().lower() or sample.text == line[:200].strip()


@pytest.mark.parametrize("format", FORMATS.values(), ids=FORMATS)
@given(data=st.binary(max_size=400))
def test_any_bytes_are_read_without_an_error_and_every_rule_is_sound(format: Format, data: bytes) -> None:
    parsed = format.read(data)
    for rule in parsed.rules():
        assert set(rule.name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-_.")
        assert "." in rule.name
        assert len(rule.name) <= 253


TOKENS = [
    "||",
    "|",
    "^",
    "@@",
    "a.test",
    "b.a.test",
    "0.0.0.0",
    "*.",
    "CNAME",
    "$ORIGIN x.test.",
    "IN",
    "60",
    "xn--",
    "ü",
]
TOKENS += list(" \n#!;.$()\t\r\x00")


@pytest.mark.parametrize("format", FORMATS.values(), ids=FORMATS)
@given(tokens=st.lists(st.sampled_from(TOKENS), max_size=30))
def test_lines_of_every_odd_combination_are_counted(format: Format, tokens: list[str]) -> None:
    text = "".join(tokens).encode()
    parsed = format.read(text)
    assert parsed.lines == text.count(b"\n") + (text != b"" and not text.endswith(b"\n"))
    assert all(1 <= sample.line <= parsed.lines for sample in parsed.samples)


def test_item_48_a_line_over_the_cap_is_skipped_and_the_rest_is_read() -> None:
    text = b"a.test\n" + b"x" * (MAX_LINE + 1) + b"\nb.test\n"
    parsed = FORMATS["domains"].read(text)
    assert [rule.name for rule in parsed.rules()] == ["a.test", "b.test"]
    assert dict(parsed.skipped) == {f"a line longer than {MAX_LINE} octets": 1}
    assert parsed.samples[0].line == 2


def test_item_47_only_lf_ends_a_line() -> None:
    parsed = FORMATS["domains"].read("a.test\u2028b.test\n".encode())
    assert list(parsed.rules()) == []
    assert sum(parsed.skipped.values()) == 1


def test_a_reason_is_counted_in_full_and_shown_a_few_times() -> None:
    parsed = FORMATS["domains"].read(b"com\n" * 100 + b"xn--a.test\n" * 100)
    assert dict(parsed.skipped) == {"a single label": 100, "invalid punycode": 100}
    assert len(parsed.samples) == 2 * SAMPLES


def test_a_zone_read_with_its_origin_takes_owners_inside_it_only() -> None:
    zone = b"""$TTL 60
$ORIGIN rpz.test.
@ SOA localhost. root.localhost. ( ; begins
   1 2 3 4 5 )
   NS localhost.
a.example CNAME .
b.example.rpz.test. CNAME .
c.example. CNAME .
$ORIGIN sub.rpz.test.
d CNAME .
   TXT "not a rule"
"""
    parsed = FORMATS["rpz"].read(zone)
    assert sorted(map(str, parsed.rules())) == [
        "block exact a.example",
        "block exact b.example",
        "block exact d.sub",
    ]
    assert parsed.skipped == {"outside the zone": 1, "a second rule of one owner": 1}


def test_a_block_below_a_pass_through_still_blocks() -> None:
    zone = (
        b"*.a.test CNAME .\n*.ok.a.test CNAME rpz-passthru.\n"
        b"bad.ok.a.test CNAME .\nfine.bad.ok.a.test CNAME rpz-passthru.\n"
    )
    assert sorted(map(shown, FORMATS["rpz"].read(zone).rules())) == [
        "allow exact fine.bad.ok.a.test",
        "allow subdomains ok.a.test",
        "block exact bad.ok.a.test important",
        "block subdomains a.test",
    ]


DETECTED = {
    "domains": b"# list\na.test\nb.test\n",
    "hosts": b"127.0.0.1 localhost\n0.0.0.0 a.test b.test\n",
    "adblock": b"! list\n||a.test^\n@@||b.test^\n",
    "pihole": b"a.test\n||b.test^\n(\\.|^)c\\.test$\n",
    "rpz": b"$TTL 60\n@ SOA a. b. 1 2 3 4 5\na.test CNAME .\n*.a.test CNAME .\n",
}


@pytest.mark.parametrize(("name", "text"), DETECTED.items())
def test_a_format_is_recognised_by_its_lines(name: str, text: bytes) -> None:
    assert detect(text).name == name
    assert detect(text * 20_000).name == name


def test_a_text_without_any_rule_has_no_format() -> None:
    with pytest.raises(FormatError, match="no line is a rule"):
        detect(b"# nothing\nbut words\n")


def test_an_unknown_format_is_refused_with_those_there_are() -> None:
    with pytest.raises(FormatError, match=f"no format 'host'; there are: {', '.join(FORMATS)}"):
        format_named("host")


def test_a_header_has_one_field_a_line_in_the_usual_order() -> None:
    header = Header(title="T", license="MIT", version="1", notes=["n"])
    assert header.fields("hosts file", "append it", 7) == [
        ("Title", "T"),
        ("License", "MIT"),
        ("Version", "1"),
        ("Syntax", "hosts file"),
        ("Usage", "append it"),
        ("Number of entries", "7"),
        ("Note", "n"),
    ]
