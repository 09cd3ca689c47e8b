"""Plain domain lists: one name a line, blocked exactly.

Comments begin with ``#``, ``!``, ``;`` or ``//``. Whether a plain list was meant as whole trees is known to its
maintainer only; a source says so with ``subdomains: true``.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from sinkhole.formats.format import Format
from sinkhole.formats.reading import bulk, read_lines, rule, uncomment
from sinkhole.rules import Kind, Rule, Scope

EXACT = Kind(Scope.EXACT)
_BULKS = (bulk(b"", rb"\.?", EXACT),)


def read_line(line: str) -> Iterator[Rule | str]:
    text = uncomment(line)
    if text and not text.startswith(("!", "//")):
        yield rule(text, EXACT)


FORMAT = Format(
    name="domains",
    title="plain domain names",
    use="any software that takes plain lists of names",
    suffix="txt",
    comment="#",
    read=partial(read_lines, bulks=_BULKS, line=read_line),
    lines={EXACT: b"%s"},
)
