"""v2fly's domain lists, and the files that they include."""

from __future__ import annotations

import pytest

from sinkhole.formats import FORMATS
from sinkhole.formats.v2fly import MAX_DEPTH, expand
from sinkhole.rules import Kind, On, Scope, Special
from tests.formats.lines import Line, check, everything

LINES: list[Line] = [
    ("a.test", ["block tree a.test"], []),
    ("domain:A.test", ["block tree a.test"], []),
    ("domain:a.test @ads @!cn # why", ["block tree a.test"], []),
    ("full:a.test", ["block exact a.test"], []),
    ("full:a.test @ads &other", ["block exact a.test"], []),
    ("keyword:track.er", [r"block pattern track\.er"], []),
    (r"regexp:^ads?\.a\.test$ @ads", [r"block pattern ^ads?\.a\.test$"], []),
    (r"regex:^ads?\.", [r"block pattern ^ads?\."], []),
    ("regexp:(", [], ["a pattern that is not understood"]),
    ("keyword:", [], ["an empty pattern"]),
    ("include:other-file @ads", [], ["includes another file: other-file"]),
    ("geosite:cn", [], ["a rule of type geosite"]),
    ("domain:a.test b.test", [], ["neither an attribute nor an affiliation: b.test"]),
    ("full:", [], ["an empty label"]),
    ("# comment", [], []),
    ("com", [], ["a single label"]),
]


@pytest.mark.parametrize(("line", "rules", "reasons"), LINES)
def test_lines(line: str, rules: list[str], reasons: list[str]) -> None:
    check("v2fly", line, rules, reasons)


FILES = {
    "top": b"a.test\ninclude:ads @ads @-cn\nb.test\n",
    "ads": b"c.test @ads\nd.test\ne.test @ads @cn # @ads\ninclude:more\n",
    "more": b"f.test @ads\ng.test @cn\ninclude:top\n",
}


def files(name: str) -> bytes:
    try:
        return FILES[name]
    except KeyError:
        raise FileNotFoundError(name) from None


def test_files_are_put_in_behind_the_text_so_that_its_lines_keep_their_numbers() -> None:
    parsed = FORMATS["v2fly"].read(expand(FILES["top"], files))
    # the inner `include:top` goes round: it takes its own file in once more, and stops there
    assert everything(parsed) == ["block tree a.test", "block tree b.test", "block tree c.test", "block tree f.test"]
    assert expand(FILES["top"], files).startswith(b"a.test\n\nb.test\n")


def test_each_line_of_another_file_says_where_it_comes_from() -> None:
    lines = expand(FILES["top"], files).decode().split("\n")
    assert [line for line in lines if "#" in line] == [
        "c.test @ads  # ads:1",
        "f.test @ads  # more:1",
        "include:ads @ads @-cn  # top:2",  # where the circle was cut
    ]
    skipped = FORMATS["v2fly"].read(expand(b"include:odd\n", {"odd": b"a.test\nx:y @ads # no\n"}.__getitem__)).samples
    assert [(sample.line, sample.text) for sample in skipped] == [(4, "x:y @ads # no  # odd:2")]


@pytest.mark.parametrize("name", ["..", ".", ".hidden", "../up", "sub/file", "/etc/passwd", "http://x.test/"])
def test_no_include_leads_out_of_the_directory(name: str) -> None:
    def files(name: str) -> bytes:
        raise AssertionError(name)

    assert expand(f"include:{name}\n".encode(), files) == f"include:{name}\n".encode()


def test_a_file_that_cannot_be_had_stays_an_include_that_the_reader_reports() -> None:
    parsed = FORMATS["v2fly"].read(expand(b"a.test\ninclude:none\n", files))
    assert dict(parsed.skipped) == {"includes another file: none": 1}
    assert parsed.samples[0].line == 2


def test_includes_without_end_stop() -> None:
    asked = []

    def endless(name: str) -> bytes:
        asked.append(name)
        return f"x{name}.test\ninclude:{name}1\n".encode()

    text = expand(b"include:a\n", endless)
    assert len(asked) == MAX_DEPTH
    assert text.count(b"include:") == 1


def test_patterns_are_stated_where_the_line_can_hold_them() -> None:
    state = FORMATS["v2fly"].special
    rule = Special(0, On.PATTERN, r"track\.er", Kind(Scope.EXACT))
    assert state(rule) == "keyword:track.er"
    assert state(rule._replace(what="^a[bc]")) == "regexp:^a[bc]"
    assert state(rule._replace(what="^a b")) is None
    assert state(rule._replace(clients=("192.0.2.1",))) is None
