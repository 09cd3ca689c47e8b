"""Block lists of Technitium DNS Server: ``||name^`` blocks a name and everything below it, ``@@||name^`` allows that.

Source: https://technitium.com/dns/help.html (Blocking, Allow / Block List URLs). It looks a name and all above it up in
its block list zone, so that plain names and hosts lines are trees there too, and an exception wins over every block. A
name alone cannot be said, and is left out; an exception for a name alone spares what is below it too. Every line that
is no rule for a tree is skipped, as there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial

from sinkhole.formats.format import Format
from sinkhole.formats.hosts import LOCAL
from sinkhole.formats.reading import bulk, read_lines, rule
from sinkhole.rules import Kind, Rule, Scope

TREE, ALLOW_TREE = Kind(Scope.TREE), Kind(Scope.TREE, allow=True)
_BULKS = (bulk(rb"\|\|", rb"\^", TREE, b"!"), bulk(rb"@@\|\|", rb"\^", ALLOW_TREE, b"!"))
_ADBLOCK = re.compile(r"(?P<allow>@@)?\|\|(?P<name>[^\^]+)(?:\^(?P<options>.*))?")


def read_line(line: str) -> Iterator[Rule | str]:
    text = line.lstrip(" \t*.")
    if not text or text.startswith(("#", "!")):
        return
    if match := _ADBLOCK.fullmatch(text):
        options = match["options"]
        if options and not (options.startswith("$") and ("doc" in options or "all" in options)):
            yield "a rule with modifiers"
        else:
            yield rule(match["name"], ALLOW_TREE if match["allow"] else TREE)
        return
    words = text.split()
    name = words[1] if len(words) > 1 and not words[1].startswith("#") else words[0]
    if name.strip(".").lower() not in LOCAL:
        yield rule(name.strip("."), TREE)


FORMAT = Format(
    name="technitium",
    title="Technitium DNS Server block list",
    use="Technitium DNS Server: Settings, Blocking, Allow / Block List URLs",
    suffix="txt",
    comment="!",
    read=partial(read_lines, bulks=_BULKS, line=read_line),
    lines={TREE: b"||%s^", ALLOW_TREE: b"@@||%s^"},
    sniffed=False,
)
