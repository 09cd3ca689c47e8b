"""Lists of type allow: files that let names through, and never more than the list has."""

from __future__ import annotations

from pathlib import Path

import pytest

from sinkhole.compiler.compile import Compiled
from sinkhole.errors import FormatError
from sinkhole.exports.allowing import NEUTRAL, exceptions
from sinkhole.exports.publish import export, publish
from sinkhole.exports.verify.asking import Question
from sinkhole.exports.verify.comparison import Asked
from sinkhole.exports.verify.standins import STANDINS
from sinkhole.formats import FORMATS
from sinkhole.rules import Kind, Rule, Scope
from tests.exports.verify.everything import compiled, rules
from tests.lists import any_wildcard, closest_encloser, strongest

TREE, EXACT = Kind(Scope.TREE), Kind(Scope.EXACT)


def made(stated: list[Rule]) -> Compiled:
    found = compiled(stated)
    return Compiled(found.plan._replace(allows=True), found.resolved, found.entries, found.hosts, ())


SMALL = made([Rule("a.example", TREE), Rule("b.example", EXACT), Rule("c.example", Kind(Scope.SUBDOMAINS))])


def body(format: str) -> list[str]:
    _, pieces = export(SMALL, FORMATS[format])
    sign = FORMATS[format].comment
    return [line for line in b"".join(pieces).decode().split("\n") if line and not line.startswith(sign)]


def test_what_the_files_say() -> None:
    assert body("adblock") == ["@@||a.example^", "@@|b.example^"]
    assert body("pihole") == ["@@||a.example^", "b.example"]
    assert body("technitium") == ["||a.example^"]
    assert body("routedns") == [".a.example", "b.example", "*.c.example"]
    assert body("rpz")[3:] == [
        "a.example CNAME rpz-passthru.",
        "*.a.example CNAME rpz-passthru.",
        "b.example CNAME rpz-passthru.",
        "*.c.example CNAME rpz-passthru.",
    ]


def test_no_file_that_blocks_is_written_of_what_is_to_be_let_through(tmp_path: Path) -> None:
    published = publish(tmp_path, [SMALL], FORMATS.values())
    assert {file.format for file in published} == {name for name, format in FORMATS.items() if exceptions(format)}
    for name in ("hosts", "hosts-dual", "unbound", "dnsmasq", "dnsdist", "pac", "nftables", "coredns"):
        assert not (tmp_path / name).exists()
        with pytest.raises(FormatError, match="is a list of type allow"):
            export(SMALL, FORMATS[name])


@pytest.mark.parametrize("name", [name for name, format in FORMATS.items() if exceptions(format)])
def test_nothing_more_is_let_through_than_the_list_has(name: str) -> None:
    stated = rules(3, 30)
    every = made(stated)
    fitted, pieces = export(every, FORMATS[name])
    text = b"".join(pieces)
    told = Asked(compiled(stated), 3000)
    on_the_list = {question.name.lower() for question, said in told.said.items() if said.blocked}
    asked = {question.name.lower() for question in told.questions}
    standin = next((standin for standin in STANDINS.values() if name in standin.loads), None)
    if name in NEUTRAL and standin:  # as the software has it, blocked or let through
        meets = standin.loads[name](text.decode())
        found = {each for each in asked if meets(Question(each))}
        assert found <= on_the_list
        assert found
        return
    read = FORMATS[name].read(text)
    assert not read.skipped
    let = [Rule(rule.name, rule.kind._replace(allow=False)) for rule in read.rules()]
    assert all(rule.kind.allow for rule in read.rules()) or name in ("pihole", "squid")  # where a plain name is one
    near = {each: [rule for rule in let if f".{each}".endswith(f".{rule.name}")] for each in asked}
    for meaning in (closest_encloser, any_wildcard) if FORMATS[name].nested else (strongest,):
        found = {each for each in asked if meaning(near[each], each)}
        assert found <= on_the_list
        assert found
        if not fitted.loss:
            assert found == on_the_list
