"""Wildcard lists: ``*.name`` is the name and everything below it, a plain name that name alone, ``/…/`` a pattern.

Source: https://0xerr0r.github.io/blocky/latest/configuration/ (lists of names, wildcards and Go's regular expressions,
which are RE2's). The lists that hagezi publishes as "Domains Wildcard" have ``*.name`` only, and mean the same in
dnscrypt-proxy.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from sinkhole.formats.format import Format
from sinkhole.formats.parts import pattern, stated
from sinkhole.formats.reading import bulk, read_lines, rule, uncomment
from sinkhole.rules import Kind, Rule, Scope, Special

TREE, EXACT = Kind(Scope.TREE), Kind(Scope.EXACT)
_BULKS = (bulk(rb"\*\.", rb"\.?", TREE), bulk(b"", rb"\.?", EXACT))


def read_line(line: str) -> Iterator[Rule | Special | str]:
    text = uncomment(line)
    if not text or text.startswith(("!", "//")):
        return
    if text.startswith("/") and text.endswith("/"):
        yield pattern(text[1:-1])
    elif text.startswith("*."):
        yield rule(text[2:], TREE)
    else:
        yield rule(text, EXACT)


def special(found: Special) -> str | None:
    what = stated(found)
    return what and f"/{what}/"


FORMAT = Format(
    name="wildcard",
    title="wildcard domain names",
    use="blocky: an entry of `denylists`",
    suffix="txt",
    comment="#",
    read=partial(read_lines, bulks=_BULKS, line=read_line),
    lines={TREE: b"*.%s", EXACT: b"%s"},
    special=special,
)
