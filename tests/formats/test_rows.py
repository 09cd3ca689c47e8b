"""CSV and JSON: the same rules as rows."""

from __future__ import annotations

import csv
import io
import json

import pytest

from sinkhole.compiler.blocklist import resolve
from sinkhole.exports.fit import fit
from sinkhole.exports.render import render
from sinkhole.formats import FORMATS
from sinkhole.formats.format import Header
from sinkhole.rules import Kind, Rule, Scope
from tests.compiler.test_blocklist import merged
from tests.formats.lines import Line, check, everything

CSV: list[Line] = [
    ("a.test,tree,block,feed", ["block tree a.test"], []),
    ("a.test,tree,allow,important", ["allow tree a.test important"], []),
    ("A.test", ["block exact a.test"], []),
    ('"a.test", subdomains ,allow', ["allow subdomains a.test"], []),
    ("a.test,,,", ["block exact a.test"], []),
    ("name,scope,action,rank", [], []),
    (",tree,block", [], ["no name"]),
    ("a.test,everything", [], ["scope is none of exact, subdomains, tree"]),
    ("a.test,tree,drop", [], ["action is none of block, allow"]),
    ("a.test,tree,block,own", [], ["rank is none of feed, important"]),
    ("a.test,tree,block,feed,more", [], ["more cells than columns"]),
    ('a.test,"tree', [], ["not a row"]),
    ("=cmd|x,tree", [], ["a character that no name has"]),
]
JSON: list[Line] = [
    ('{"name":"a.test","scope":"tree","action":"block","rank":"feed"}', ["block tree a.test"], []),
    (',{"name":"a.test","scope":"tree","action":"allow","rank":"important"}', ["allow tree a.test important"], []),
    ('{"name": "A.test", "why": "x"},', ["block exact a.test"], []),
    ('[{"name": "a.test"}, {"name": "b.test"}]', ["block exact a.test", "block exact b.test"], []),
    ('{"name": "a.test"}]', ["block exact a.test"], []),
    ('[{"name": "a.test"},', ["block exact a.test"], []),
    ("[", [], []),
    ("]", [], []),
    ('{"list": {"title": "T"}}', [], []),
    ('{"title": "T"}', [], ["no name"]),
    ('{"name": 7}', [], ["no name"]),
    ('{"name": "a.test", "scope": 7}', [], ["scope is none of exact, subdomains, tree"]),
    ('"a.test"', [], ["not an object"]),
    ("{", [], ["not JSON"]),
    ("[" * 5000, [], ["not JSON"]),
]


@pytest.mark.parametrize(("line", "rules", "reasons"), CSV)
def test_rows_of_csv(line: str, rules: list[str], reasons: list[str]) -> None:
    check("csv", line, rules, reasons)


@pytest.mark.parametrize(("line", "rules", "reasons"), JSON)
def test_objects_of_json(line: str, rules: list[str], reasons: list[str]) -> None:
    check("json", line, rules, reasons)


def test_the_first_line_says_what_the_columns_are_and_is_needed_to_read_another() -> None:
    format = FORMATS["csv"]
    text = b"id,action,name,scope\r\n1,allow,a.test,tree\r\n2,,b.test,\r\n"
    assert everything(format.read(text)) == ["allow tree a.test", "block exact b.test"]
    line = text.split(b"\n")[1]
    assert everything(format.read(format.context(text) + line)) == ["allow tree a.test"]
    assert everything(format.read(format.context(b"") + b"a.test,tree")) == ["block tree a.test"]


def test_an_object_on_several_lines_is_found_at_its_first() -> None:
    parsed = FORMATS["json"].read(
        b'[\n  {\n    "name": "a.test",\n    "scope": "tree"\n  },\n  {\n    "name": "x"\n  }\n]\n'
    )
    assert everything(parsed) == ["block tree a.test"]
    assert [(sample.line, sample.why) for sample in parsed.samples] == [(6, "a single label")]
    assert parsed.lines == 9


def exported(name: str, header: Header, *stated: Rule) -> str:
    fitted = fit(resolve(merged(list(stated)).masks), (), FORMATS[name])
    return b"".join(render(fitted, FORMATS[name], header)).decode()


RULES = (
    Rule("a.test", Kind(Scope.TREE)),
    Rule("ok.a.test", Kind(Scope.TREE, allow=True)),
    Rule("-b.test", Kind(Scope.EXACT)),
)


def test_csv_parses_as_such_and_no_cell_is_a_formula() -> None:
    fitted = fit(resolve(merged(list(RULES)).masks), (), FORMATS["csv"])
    assert fitted.loss.data()["unfit"] == 1
    rows = list(csv.reader(io.StringIO(exported("csv", Header("=T"), *RULES)), strict=True))
    assert rows == [
        ["name", "scope", "action", "rank"],
        ["a.test", "tree", "block", "feed"],
        ["ok.a.test", "tree", "allow", "feed"],
    ]
    assert all(cell[0] not in "=+-@" for row in rows for cell in row)


def test_json_parses_as_such_and_says_what_the_list_is() -> None:
    found = json.loads(exported("json", Header('T"\n', license="MIT", version="1", notes=["n"]), *RULES))
    assert found[0] == {"list": {"title": 'T"\n', "license": "MIT", "version": "1", "notes": ["n"]}}
    assert [entry["name"] for entry in found[1:]] == ["a.test", "ok.a.test", "-b.test"]
    assert json.loads(exported("json", Header("T"))) == [{"list": {"title": "T"}}]
