"""Squid's ``dstdomain`` access lists: ``.name`` is the name and everything below it, a plain name that name alone.

Source: https://www.squid-cache.org/Doc/config/acl/. Loaded with ``acl blocked dstdomain "/etc/squid/blocked.txt"``.
Squid refuses a list in which one name lies below another's tree, so none is written.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from sinkhole.formats.format import Format
from sinkhole.formats.reading import bulk, read_lines, rule, uncomment
from sinkhole.rules import Kind, Rule, Scope

TREE, EXACT = Kind(Scope.TREE), Kind(Scope.EXACT)
_BULKS = (bulk(rb"\.", b"", TREE), bulk(b"", b"", EXACT))


def read_line(line: str) -> Iterator[Rule | str]:
    if text := uncomment(line):
        yield rule(text.removeprefix("."), TREE if text.startswith(".") else EXACT)


FORMAT = Format(
    name="squid",
    title="Squid dstdomain list",
    use='Squid: acl blocked dstdomain "FILE"',
    suffix="txt",
    comment="#",
    read=partial(read_lines, bulks=_BULKS, line=read_line),
    lines={TREE: b".%s", EXACT: b"%s"},
)
