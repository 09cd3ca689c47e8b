"""Which format a text is in, and lines of other formats in it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings

from sinkhole.compiler.blocklist import resolve
from sinkhole.exports.fit import fit
from sinkhole.exports.render import render
from sinkhole.formats import FORMATS, detect, format_named, read_mixed
from sinkhole.formats.format import Format, Header
from sinkhole.rules import SAMPLES, Kind, On, Rule, Scope, Special
from tests.compiler.test_blocklist import merged
from tests.formats.lines import everything
from tests.lists import blocked, rules, strongest

SNIFFED = [format for format in FORMATS.values() if format.sniffed]
NAMED = [format for format in SNIFFED if format.lines]


def exported(stated: list[Rule], format: Format) -> bytes:
    return b"".join(render(fit(resolve(merged(stated).masks), (), format), format, Header(title="test")))


@pytest.mark.parametrize("format", NAMED, ids=lambda format: format.name)
@settings(max_examples=150)
@given(stated=rules)
def test_every_export_is_detected_as_a_format_with_the_same_meaning(format: Format, stated: list[Rule]) -> None:
    text = exported(stated, format)
    own = list(format.read(text).rules())
    if own:
        found = detect(text)
        assert blocked(strongest, list(found.read(text).rules())) == blocked(strongest, own)
        assert everything(read_mixed(text, found)) == everything(found.read(text))


@pytest.mark.parametrize("name", ["nftables", "ipset"])
def test_exports_of_addresses_are_detected(name: str) -> None:
    networks = [Special(0, On.ADDRESS, what, Kind(Scope.EXACT)) for what in ("192.0.2.0/24", "2001:db8::/32")]
    lines = "\n".join(FORMATS[name].special(rule) or "" for rule in networks)
    text = FORMATS[name].start(Header(title="T")) + lines.encode() + b"\n" + FORMATS[name].end
    assert detect(text).name == name
    assert everything(format_named(name).read(text)) == ["block address 192.0.2.0/24", "block address 2001:db8::/32"]


MIXED = b"""\
# a hosts file, mostly
0.0.0.0 a.test
0.0.0.0 b.test c.test
||d.test^
@@||e.test^$important
*.f.test
address=/g.test/#
server=/h.test/192.0.2.1
local-zone: "i.test" always_null
192.0.2.1 j.test
k.test
||l.test^$third-party
/pattern[0-9]/
0.0.0.0 m.test
"""


def test_lines_of_other_formats_in_a_file_are_read_as_what_they_are() -> None:
    parsed = read_mixed(MIXED, FORMATS["hosts"])
    assert everything(parsed) == [
        "allow tree e.test important",
        "block exact a.test",
        "block exact b.test",
        "block exact c.test",
        "block exact m.test",
        "block tree d.test",
        "block tree f.test",
        "block tree g.test",
        "block tree i.test",
    ]
    assert [(sample.line, sample.text) for sample in parsed.samples] == [
        (8, "server=/h.test/192.0.2.1"),
        (10, "192.0.2.1 j.test"),
        (11, "k.test"),
        (12, "||l.test^$third-party"),
        (13, "/pattern[0-9]/"),
    ]
    assert dict(parsed.skipped) == {"no address": 4, "not a sink address": 1}
    assert parsed.lines == 14


def test_a_mixed_file_is_read_whole_whatever_most_of_it_is() -> None:
    text = b"local=/a.test/\nlocal=/b.test/\nlocal=/c.test/\n||d.test^\n0.0.0.0 e.test\n"
    format = detect(text)
    assert format.name == "dnsmasq"
    assert len(read_mixed(text, format)) == 5


def test_a_format_that_was_named_is_strict() -> None:
    parsed = FORMATS["hosts"].read(MIXED)
    assert {rule.name for rule in parsed.rules()} == {"a.test", "b.test", "c.test", "m.test"}
    assert dict(parsed.skipped) == {"no address": 9, "not a sink address": 1}


def test_an_address_that_is_no_sink_blocks_nothing_in_any_file() -> None:
    """Pi-hole's lists are read so; a file of unknown format is not."""
    for name, line in (("hosts", b"0.0.0.0 a.test"), ("domains", b"a.test"), ("adblock", b"||a.test^")):
        parsed = read_mixed(line + b"\n192.0.2.1 intranet.test\n", FORMATS[name])
        assert "intranet.test" not in {rule.name for rule in parsed.rules()}


def test_samples_and_counts_are_those_of_what_is_left() -> None:
    text = b"a.test\n" + b"".join(b"||b%d.test^\nbad line %d\n" % (n, n) for n in range(100))
    parsed = read_mixed(text, FORMATS["domains"])
    assert len(parsed) == 101
    assert dict(parsed.skipped) == {"a character that no name has": 100}
    assert len(parsed.samples) <= SAMPLES
