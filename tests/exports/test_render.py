"""Statements as the lines of a file."""

from __future__ import annotations

import pytest

from sinkhole.compiler.blocklist import resolve
from sinkhole.errors import FormatError
from sinkhole.exports.fit import fit
from sinkhole.exports.render import MAX_PER_LINE, render
from sinkhole.formats import FORMATS
from sinkhole.formats.format import Format, Header
from sinkhole.rules import Kind, Rule, Scope
from tests.compiler.test_blocklist import merged

LIST = [Rule(f"{name}.test", Kind(Scope.EXACT)) for name in "abcdefg"]


def lines(name: str, per_line: int) -> list[str]:
    fitted = fit(resolve(merged(LIST).masks), (), FORMATS[name])
    text = b"".join(render(fitted, FORMATS[name], Header(title="T"), per_line)).decode()
    return [line for line in text.split("\n") if line and not line.startswith("#")]


@pytest.mark.parametrize("name", ["hosts", "coredns"])
def test_several_names_in_a_line_of_a_hosts_file(name: str) -> None:
    assert lines(name, 3) == ["0.0.0.0 a.test b.test c.test", "0.0.0.0 d.test e.test f.test", "0.0.0.0 g.test"]
    text = "\n".join(lines(name, 3)).encode()
    assert sorted(rule.name for rule in FORMATS[name].read(text).rules()) == [rule.name for rule in LIST]


@pytest.mark.parametrize(("name", "per_line"), [("domains", 2), ("hosts", 0), ("hosts", MAX_PER_LINE + 1), ("csv", 9)])
def test_a_format_that_takes_one_name_a_line_says_so(name: str, per_line: int) -> None:
    with pytest.raises(FormatError, match=f"{per_line} names in a line: {name} takes"):
        lines(name, per_line)


@pytest.mark.parametrize(
    "format", [format for format in FORMATS.values() if format.comment], ids=lambda format: format.name
)
def test_a_header_says_what_clients_get_where_the_format_decides_it(format: Format) -> None:
    fitted = fit(resolve(merged(LIST).masks), (), format)
    head = b"".join(render(fitted, format, Header(title="T"))).decode()
    said = f"{format.comment} Effect: {format.effect}\n"
    assert (said in head) is bool(format.effect)


def test_variants_of_one_syntax_differ_in_what_they_say_of_it() -> None:
    for names in (("hosts", "hosts-dual"), ("unbound", "unbound-null"), ("dnsmasq", "dnsmasq-address")):
        effects = [FORMATS[name].effect for name in names]
        assert all(effects)
        assert len({*effects}) == len(effects)
