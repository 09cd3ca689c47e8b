"""Pi-hole lists: plain names block exactly, ``||name^`` a tree, ``@@||name^`` allows a tree (antigravity).

Source: https://docs.pi-hole.net/database/domain-database/ and the ABP-style lists of https://docs.pi-hole.net/regex/.
Hosts lines count by their names, whatever the address. The regular expression ``(\\.|^)name$``, which Pi-hole's own
interface writes for "wildcard", is read as the tree that it is. A published list has no allow rules: Pi-hole takes them
from separate lists.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial

from sinkhole.formats import adblock, hosts
from sinkhole.formats.format import Format
from sinkhole.formats.reading import bulk, read_lines, rule, uncomment
from sinkhole.rules import Kind, Rule, Scope

TREE, EXACT = Kind(Scope.TREE), Kind(Scope.EXACT)
_BULKS = (
    bulk(b"", rb"\.?", EXACT),
    bulk(rb"\|\|", rb"\^", TREE),
    bulk(rb"@@\|\|", rb"\^", adblock.ALLOW_TREE),
)
_TREE_REGEX = re.compile(r"\((?:\\\.\|\^|\^\|\\\.)\)(?P<name>(?:[\w-]|\\\.|\\-)+)\$")
_ABP = re.compile(r"(?P<allow>@@)?\|\|(?P<name>[^\^|$/*]+)\^")


def read_line(line: str) -> Iterator[Rule | str]:
    text = uncomment(line)
    if not text or text.startswith(("!", "[", "//")):
        return
    if match := _TREE_REGEX.fullmatch(text):
        yield rule(match["name"].replace("\\", ""), TREE)
    elif match := _ABP.fullmatch(text):
        yield rule(match["name"], Kind(Scope.TREE, bool(match["allow"])))
    elif any(char in text for char in "|^$*()[]\\?+"):
        yield "a pattern, not a name"
    else:
        first, *names = text.split()
        yield from (rule(name, EXACT) for name in names or [first] if name.lower() not in hosts.LOCAL)


FORMAT = Format(
    name="pihole",
    title="Pi-hole list",
    suffix="txt",
    comment="#",
    read=partial(read_lines, bulks=_BULKS, line=read_line),
    lines={TREE: b"||%s^", EXACT: b"%s"},
)
