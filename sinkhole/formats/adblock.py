"""AdGuard's DNS filtering syntax: ``||name^``, ``|name^``, ``@@`` exceptions and ``$important``.

Source: https://adguard-dns.io/kb/general/dns-filtering-syntax/. Plain names block exactly there, and hosts lines are
hosts lines. Rules that can act only inside a page, or on part of a name, are skipped with their reason.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial

from sinkhole.formats import hosts
from sinkhole.formats.format import Format
from sinkhole.formats.reading import bulk, read_lines, rule
from sinkhole.rules import Kind, Rank, Rule, Scope

TREE, EXACT = Kind(Scope.TREE), Kind(Scope.EXACT)
ALLOW_TREE, ALLOW_EXACT = Kind(Scope.TREE, allow=True), Kind(Scope.EXACT, allow=True)
_LINES = {
    TREE: b"||%s^",
    EXACT: b"|%s^",
    ALLOW_TREE: b"@@||%s^",
    ALLOW_EXACT: b"@@|%s^",
    **{
        Kind(scope, allow, Rank.IMPORTANT): (b"@@" if allow else b"") + bars + b"%s^$important"
        for scope, bars in ((Scope.TREE, b"||"), (Scope.EXACT, b"|"))
        for allow in (False, True)
    },
}
_BULKS = (
    bulk(rb"\|\|", rb"\^", TREE, b"!"),
    bulk(rb"@@\|\|", rb"\^", ALLOW_TREE, b"!"),
    bulk(rb"\|", rb"\^", EXACT, b"!"),
)
_RULE = re.compile(
    r"(?P<allow>@@)?(?P<bars>\|\|?)(?P<name>[^\^|$/*]+)\^?(?P<end>(?<=\^)\|?|\|)(?:\$(?P<modifiers>.+))?"
)
_COSMETIC = re.compile(r"#[@?$%]*#|\$\$")


def read_line(line: str) -> Iterator[Rule | str]:
    if line.startswith(("!", "[Adblock")):
        return
    if _COSMETIC.search(line):
        yield "a cosmetic rule, which means nothing in DNS"
    elif line.startswith("#"):
        return
    elif match := _RULE.fullmatch(line):
        yield _rule(match)
    elif line.startswith(("/", "|", "@@")) or "*" in line:
        yield "a pattern, not a name"
    elif " " in line or "\t" in line:
        yield from hosts.read_line(line)
    else:
        yield rule(line, EXACT)


def _rule(match: re.Match[str]) -> Rule | str:
    modifiers = (match["modifiers"] or "").split(",")
    if unknown := [name for name in modifiers if name not in ("", "important")]:
        return f"the modifier ${unknown[0].partition('=')[0][:20]}"
    scope = Scope.TREE if match["bars"] == "||" else Scope.EXACT
    return rule(match["name"], Kind(scope, bool(match["allow"]), Rank("important" in modifiers)))


FORMAT = Format(
    name="adblock",
    title="AdGuard DNS filter",
    suffix="txt",
    comment="!",
    read=partial(read_lines, bulks=_BULKS, line=read_line),
    lines=_LINES,
)
