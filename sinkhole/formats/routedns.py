"""Domain lists of RouteDNS: ``name`` is that name, ``.name`` it and everything below, ``*.name`` everything below
alone.

Source: https://github.com/folbricht/routedns/blob/master/doc/configuration.md (query blocklists, format ``domain``).
It takes exceptions from lists of their own, so a tree with one in it is cut to its name.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from sinkhole.formats.format import Format
from sinkhole.formats.reading import bulk, read_lines, rule, uncomment
from sinkhole.rules import Kind, Rule, Scope

TREE, EXACT, BELOW = Kind(Scope.TREE), Kind(Scope.EXACT), Kind(Scope.SUBDOMAINS)
_BULKS = (bulk(rb"\.", b"", TREE), bulk(rb"\*\.", b"", BELOW), bulk(b"", b"", EXACT))


def read_line(line: str) -> Iterator[Rule | str]:
    if text := uncomment(line):
        name = text.lstrip("*")
        scope = BELOW if name != text else TREE if name.startswith(".") else EXACT
        yield rule(name.removeprefix("."), scope)


FORMAT = Format(
    name="routedns",
    title="RouteDNS domain list",
    use='RouteDNS: type = "blocklist-v2", blocklist-format = "domain", blocklist-source = [{source = "FILE"}]',
    suffix="txt",
    comment="#",
    read=partial(read_lines, bulks=_BULKS, line=read_line),
    lines={TREE: b".%s", EXACT: b"%s", BELOW: b"*.%s"},
    sniffed=False,
)
