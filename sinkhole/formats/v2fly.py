"""Data files of v2fly's domain-list-community: ``domain:`` and plain names are trees, ``full:`` a name alone.

Source: https://github.com/v2fly/domain-list-community/blob/master/README.md. ``keyword:`` and ``regexp:`` are
patterns in Go's syntax, which is RE2's. Attributes (``@ads``) and affiliations (``&list``) only choose what other
files take over, so they change nothing here. ``include:file`` takes over another file: a reader sees one text and
skips such a line with its reason; :func:`expand` puts the files in, which is done for the files beside a source
(:mod:`sinkhole.feeds.origin`) and beside the one that ``sinkhole convert`` reads.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

from sinkhole.formats.format import Format
from sinkhole.formats.parts import part, pattern, stated
from sinkhole.formats.reading import bulk, read_lines, rule
from sinkhole.rules import Kind, Rule, Scope, Special

TREE, EXACT = Kind(Scope.TREE), Kind(Scope.EXACT)
#: How deep files may include each other, and how many there may be in one list.
MAX_DEPTH, MAX_FILES = 16, 2000
_MARKS = rb"(?:[ \t]++[@&][^\s#]++)*+"
_BULKS = (bulk(rb"(?:domain:)?", _MARKS, TREE), bulk(rb"full:", _MARKS, EXACT))
_INCLUDE = re.compile(
    rb"^[ \t]*include:[ \t]*(?P<name>(?!\.)[A-Za-z0-9!_.-]++)(?![^\s#])(?P<marks>[^#\n]*)[^\n]*$", re.M
)
_ATTRIBUTE = re.compile(rb"[ \t]@(-?)([^\s#@]+)")
_SAYS = re.compile(rb"[ \t]*[^\s#]")
_ENTRY = re.compile(rb"^[ \t]*(?!#|include:)\S[^\n]*$", re.M)

#: The text of a file by its name; raises OSError when there is none.
Files = Callable[[str], bytes]


class Include(NamedTuple):
    """Another file that is taken over: of its entries those with all ``required`` attributes and no ``forbidden``
    one."""

    name: str
    required: frozenset[str]
    forbidden: frozenset[str]


def read_line(line: str) -> Iterator[Rule | Special | str]:
    text = line.partition("#")[0]
    what, *marks = text.split() or [""]
    if not what:
        return
    if odd := [mark for mark in marks if mark[0] not in "@&"]:
        yield f"neither an attribute nor an affiliation: {odd[0][:20]}"
        return
    kind, colon, value = what.partition(":")
    match kind if colon else "domain":
        case "domain":
            yield rule(value or kind, TREE)
        case "full":
            yield rule(value, EXACT)
        case "keyword":
            yield pattern(re.escape(value.lower()))
        case "regexp" | "regex":
            yield pattern(value)
        case "include":
            yield f"includes another file: {value[:40]}"
        case _:
            yield f"a rule of type {kind[:20]}"


def _include(match: re.Match[bytes]) -> Include:
    chosen: dict[bool, set[str]] = {False: set(), True: set()}
    for minus, name in _ATTRIBUTE.findall(match["marks"]):
        chosen[bool(minus)].add(name.decode("utf-8", "replace"))
    return Include(match["name"].decode(), frozenset(chosen[False]), frozenset(chosen[True]))


def expand(text: bytes, files: Files) -> bytes:
    """``text`` with what it includes behind it, so that its own lines keep their numbers. Each line of another file
    ends in a comment with the name of that file and its number there.

    A file that cannot be had, stands in its own line of includes, or lies too deep stays an ``include:`` line, which
    the reader reports.
    """
    budget = [MAX_FILES]

    def entries(text: bytes, above: tuple[str, ...]) -> bytes:
        behind = [b""]

        def included(match: re.Match[bytes]) -> bytes:
            wanted = _include(match)
            if wanted.name in above or len(above) >= MAX_DEPTH or not budget[0]:
                return match[0]
            budget[0] -= 1
            try:
                found = _placed(files(wanted.name), wanted.name)
            except OSError:
                return match[0]
            behind.append(_chosen(entries(found, (*above, wanted.name)), wanted))
            return b""

        own = _INCLUDE.sub(included, text)
        return b"\n".join([own, *behind[1:]])

    return entries(text, ())


def _placed(text: bytes, name: str) -> bytes:
    lines = enumerate(text.split(b"\n"), 1)
    return b"\n".join(line + f"  # {name}:{at}".encode() if _SAYS.match(line) else line for at, line in lines)


def _chosen(text: bytes, wanted: Include) -> bytes:
    def keep(match: re.Match[bytes]) -> bytes:
        marks = {name.decode("utf-8", "replace") for _, name in _ATTRIBUTE.findall(match[0].partition(b"#")[0])}
        return match[0] if wanted.required <= marks and not wanted.forbidden & marks else b""

    return _ENTRY.sub(keep, text) if wanted.required or wanted.forbidden else text


def special(found: Special) -> str | None:
    what = stated(found)
    if what is None or re.search(r"[\s#]", what):
        return None
    literal = part(what)
    return f"keyword:{literal[1]}" if literal and not literal[0] else f"regexp:{what}"


FORMAT = Format(
    name="v2fly",
    title="v2fly domain list",
    use="a data file of a geosite build for v2ray and Xray",
    suffix="txt",
    comment="#",
    read=partial(read_lines, bulks=_BULKS, line=read_line),
    lines={TREE: b"domain:%s", EXACT: b"full:%s"},
    special=special,
)
